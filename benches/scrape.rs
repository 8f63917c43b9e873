//! Measures scrapes of 50 profiles against 20 targets, in each format and at each level of detail: time, bytes, series, and
//! the time to compress them. The goals at the default level are 150 ms as text and 50 ms as protobuf, on one core.
//!
//! `cargo bench --bench scrape [-- PROFILES TARGETS]`

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokenbeat::config::ConfigSource;
use tokenbeat::event::{Outcome, RunRef, TraceIds};
use tokenbeat::fact::{OfferedRequest, Sink};
use tokenbeat::plan::{self, Plan};
use tokenbeat::telemetry::{Exposition, Store, series_count};
use tokenbeat::vocabulary::TelemetryDetail;
use tokio::time::Instant;

const FORMATS: [(&str, &str); 3] = [
    ("text", "text/plain"),
    ("openmetrics", "application/openmetrics-text; version=1.0.0"),
    (
        "protobuf",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
    ),
];

/// Scrapes of each kind; the fastest is shown, because others share the machine.
const TIMES: usize = 7;

fn main() -> anyhow::Result<()> {
    let numbers: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let (profiles, targets) = match numbers.as_slice() {
        [profiles, targets] => (*profiles, *targets),
        _ => (50, 20),
    };
    println!("{profiles} profiles x {targets} targets");
    for detail in TelemetryDetail::ALL {
        let plan = load(profiles, targets, *detail)?;
        let before = resident();
        let store = Store::new(&plan);
        fill(&store, &plan);
        let held = resident().saturating_sub(before);
        let exposition = Exposition::new(Arc::clone(&store), &plan)?;
        let (all, pair) = series_count(&plan)?;
        println!(
            "{}: {} series, {} per pair; {} KiB held per pair",
            detail.name(),
            all.start,
            pair.start,
            held / (profiles * targets)
        );
        for (name, accept) in FORMATS {
            let mut best = Duration::MAX;
            let mut bytes = 0;
            for _ in 0..TIMES {
                let mut sink = Counted(0);
                let began = Instant::now();
                exposition.write(Some(accept), &mut sink)?;
                best = best.min(began.elapsed());
                bytes = sink.0;
            }
            let began = Instant::now();
            let mut gzip = flate2::write::GzEncoder::new(Counted(0), flate2::Compression::fast());
            exposition.write(Some(accept), &mut gzip)?;
            let (compressed, took) = (gzip.finish()?.0, began.elapsed());
            println!(
                "  {name:<12} {:>7.1} ms {:>6.1} MB; compressed {:>7.1} ms {:>5.1} MB",
                best.as_secs_f64() * 1e3,
                bytes as f64 / 1e6,
                took.as_secs_f64() * 1e3,
                compressed as f64 / 1e6
            );
        }
    }
    Ok(())
}

/// Counts what is written.
struct Counted(usize);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn load(profiles: usize, targets: usize, detail: TelemetryDetail) -> anyhow::Result<Arc<Plan>> {
    let mut yaml =
        format!("agent: {{ location: eu-west-1 }}\ntelemetry: {{ detail: {} }}\ntargets:\n", detail.name());
    let names: Vec<String> = (0..targets).map(|n| format!("target-{n:02}")).collect();
    for name in &names {
        writeln!(
            yaml,
            "  {name}: {{ api: openai-chat, base_url: 'http://127.0.0.1:1/v1', model: some-model-8b }}"
        )?;
    }
    yaml.push_str("profiles:\n");
    for n in 0..profiles {
        writeln!(
            yaml,
            "  profile-{n:02}: {{ targets: [{}], schedule: {{ every: 1m }}, workload: {{ prompts: [x], output_tokens: 8 }} }}",
            names.join(", ")
        )?;
    }
    let source = ConfigSource::Text { name: "bench.yaml".to_owned(), text: yaml };
    let loaded = plan::load(&[source], []).map_err(|errors| anyhow::anyhow!("{errors}"))?;
    Ok(Arc::new(loaded.plan))
}

/// Ends some requests at each place.
fn fill(store: &Arc<Store>, plan: &Plan) {
    let sink: Arc<dyn Sink> = Arc::<Store>::clone(store);
    for pair in &plan.pairs {
        let run = Arc::new(RunRef {
            pair: pair.pair.clone(),
            id: "bench".to_owned(),
            seed: 7,
            scheduled: SystemTime::UNIX_EPOCH,
        });
        for place in &pair.places {
            for seq in 0..20 {
                let ids = TraceIds { trace_id: [7; 16], span_id: [7; 8], parent_id: None, sampled: true };
                let due = Instant::now();
                let (place, run, sink) = (Arc::clone(place), Arc::clone(&run), Arc::clone(&sink));
                OfferedRequest::offer(sink, place, run, seq, false, ids, due).finish(|request| {
                    let at = |millis: u64| due + Duration::from_millis(millis * (seq + 1));
                    request.outcome = Outcome::Ok;
                    request.observed.status = Some(200);
                    request.observed.streamed = true;
                    request.observed.marks.sent = Some(at(1));
                    request.observed.marks.first_byte = Some(at(20));
                    request.observed.marks.first_chunk = Some(at(20));
                    request.observed.marks.first_token = Some(at(21));
                    request.observed.marks.first_text = Some(at(21));
                    request.observed.marks.last_token = Some(at(300));
                    request.observed.marks.end = at(301);
                    for gap in 1..20 {
                        request.observed.gaps.push(Duration::from_millis(gap * (seq + 1)));
                    }
                });
            }
        }
    }
}

/// Resident memory of this process in KiB; 0 where it is not known.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
