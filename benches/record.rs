//! Measures what it costs to record a request that has ended, at each place that a daemon records it, and to draw when the
//! next request or user is due. Nothing is sent. The cost per request is that of an answer of one chunk, from the offer to
//! the end; that of each further chunk is the difference to an answer of many. Prints nanoseconds, of the fastest of
//! several rounds, which other processes disturb the least.
//!
//! `cargo bench --bench record [-- ROUNDS]`

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokenbeat::comparison::Comparisons;
use tokenbeat::config::ConfigSource;
use tokenbeat::engine::system;
use tokenbeat::event::{Count, CountSource, Outcome, Place, RunRef, TraceIds};
use tokenbeat::fact::{Fact, Fanout, OfferedRequest, Sink};
use tokenbeat::model_changes::ModelChanges;
use tokenbeat::pacing::{self, ArrivalTimes};
use tokenbeat::plan::{self, Arrivals, LoadCurve, Plan, StageBounds, Think};
use tokenbeat::regression::RegressionWatch;
use tokenbeat::report::DiagnosisRecorder;
use tokenbeat::seed;
use tokenbeat::siblings::SiblingWatch;
use tokenbeat::state::{BudgetLedger, EarlierEvents, Events, HistoryRecorder, Recent, Timeline};
use tokenbeat::tally::RunTally;
use tokenbeat::target_state::TargetStates;
use tokenbeat::telemetry::Store;
use tokio::time::Instant;

/// Requests per round.
const REQUESTS: u64 = 500;
/// Chunks of a long answer.
const CHUNKS: u64 = 257;
/// Arrivals and users per round.
const ARRIVALS: u32 = 20_000;

fn main() -> anyhow::Result<()> {
    // Cargo passes `--bench`.
    let mut numbers = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let rounds: usize = numbers.next().map_or(Ok(20), |arg| arg.parse()).context("ROUNDS")?;
    let plan = load()?;
    let nobody: Arc<dyn Sink> = Arc::new(Fanout::new(Vec::new()));
    let bare = record(&plan, &nobody, rounds)?;
    println!(
        "{:>22}: {:6.0} ns per request, {:5.1} ns per further chunk",
        "the record itself", bare.0, bare.1
    );
    for (name, sink) in sinks(&plan) {
        let (request, chunk) = record(&plan, &sink, rounds)?;
        let (request, chunk) = (request - bare.0, chunk - bare.1);
        println!("{name:>22}: {request:6.0} ns per request, {chunk:5.1} ns per further chunk");
    }
    for (name, nanos) in paced(rounds)? {
        println!("{name:>22}: {nanos:6.1} ns each");
    }
    Ok(())
}

/// What the run itself counts.
#[derive(Default)]
struct Counted(Mutex<RunTally>);

impl Sink for Counted {
    fn record(&self, fact: &Fact) {
        fact.count_in(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Each place that a daemon records a request at, and all of them with those that derive facts in front, as in
/// `tokenbeat serve`.
fn sinks(plan: &Arc<Plan>) -> Vec<(&'static str, Arc<dyn Sink>)> {
    let each = |plan: &Arc<Plan>| -> Vec<(&'static str, Arc<dyn Sink>)> {
        vec![
            ("the run's own counts", Arc::new(Counted::default())),
            ("budgets", Arc::new(BudgetLedger::new(plan, system()))),
            ("metrics", Store::new(plan)),
            ("latest requests", Recent::new(plan)),
            ("history", HistoryRecorder::new(plan)),
            ("diagnosis", DiagnosisRecorder::of_daemon(plan)),
            ("events of the page", Arc::new(Events::default())),
            ("timeline", Timeline::new(plan, EarlierEvents::default(), None, system())),
        ]
    };
    let nobody = || -> Arc<dyn Sink> { Arc::new(Fanout::new(Vec::new())) };
    let mut sinks = each(plan);
    sinks.push(("regressions", RegressionWatch::new(plan, None, nobody())));
    sinks.push(("model changes", ModelChanges::new(plan, &BTreeMap::new(), nobody())));
    sinks.push(("target states", TargetStates::new(plan, nobody())));
    let whole = Arc::new(Fanout::new(each(plan).into_iter().map(|(_, sink)| sink).collect()));
    let regressions = RegressionWatch::new(plan, None, whole);
    let models = ModelChanges::new(plan, &BTreeMap::new(), regressions);
    let siblings = SiblingWatch::new(plan, Comparisons::new(plan, models));
    sinks.push(("all of these", TargetStates::new(plan, siblings)));
    sinks
}

/// Nanoseconds per request, and per further chunk.
fn record(plan: &Plan, sink: &Arc<dyn Sink>, rounds: usize) -> anyhow::Result<(f64, f64)> {
    let pair = plan.pairs.first().context("a pair")?;
    let place = pair.places.first().context("a place")?;
    let scheduled = SystemTime::UNIX_EPOCH;
    let run = Arc::new(RunRef { pair: pair.pair.clone(), id: "bench".to_owned(), seed: 7, scheduled });
    let (mut short, mut long) = (Duration::MAX, Duration::MAX);
    for _ in 0..rounds.max(1) {
        short = short.min(round(sink, place, &run, 1)?);
        long = long.min(round(sink, place, &run, CHUNKS)?);
    }
    let each = |time: Duration| time.as_nanos() as f64 / REQUESTS as f64;
    Ok((each(short), (each(long) - each(short)) / (CHUNKS - 1) as f64))
}

/// The time in which [`REQUESTS`] requests are offered and end, each with an answer of this many chunks.
fn round(
    sink: &Arc<dyn Sink>,
    place: &Arc<Place>,
    run: &Arc<RunRef>,
    chunks: u64,
) -> anyhow::Result<Duration> {
    let began = Instant::now();
    for seq in 0..REQUESTS {
        let ids = TraceIds { trace_id: [7; 16], span_id: [7; 8], parent_id: None, sampled: false };
        let due = Instant::now();
        let (sink, place, run) = (Arc::clone(sink), Arc::clone(place), Arc::clone(run));
        let ended = OfferedRequest::offer(sink, place, run, seq, false, ids, due).finish(|request| {
            let at = |millis: u64| due + Duration::from_millis(millis) + Duration::from_micros(seq);
            request.outcome = Outcome::Ok;
            let observed = &mut request.observed;
            (observed.status, observed.streamed) = (Some(200), true);
            let marks = &mut observed.marks;
            marks.sent = Some(at(0));
            (marks.headers, marks.first_byte, marks.first_chunk) = (Some(at(20)), Some(at(20)), Some(at(20)));
            (marks.first_token, marks.first_text) = (Some(at(21)), Some(at(21)));
            (marks.last_token, marks.end) = (Some(at(20 + chunks)), at(21 + chunks));
            observed.tokens.output = Some(Count { n: chunks, source: CountSource::Usage });
            observed.read_lag = Some(Duration::from_micros(30));
            observed.sizes.push(5);
            for chunk in 1..chunks {
                // Not all alike, so that they are counted in several buckets.
                observed.gaps.push(Duration::from_micros(8_000 + chunk * 7_919 % 9_000));
                observed.sizes.push(5);
            }
        });
        ensure!(ended.is_some(), "the request has not ended");
    }
    Ok(began.elapsed())
}

/// Nanoseconds per arrival of an open loop by how arrivals are spread, per start of a user, and per think time.
fn paced(rounds: usize) -> anyhow::Result<Vec<(&'static str, f64)>> {
    let rate = LoadCurve::constant(1_000.0);
    let rising = LoadCurve::from(plan::Ramp { from: 100.0, to: 2_000.0 });
    let most = StageBounds { time: None, requests: Some(ARRIVALS.into()) };
    let while_rising = StageBounds { time: Some(Duration::from_mins(1)), ..most };
    let cases = [
        ("constant arrivals", &rate, Arrivals::Constant, most),
        ("Poisson arrivals", &rate, Arrivals::Poisson, most),
        ("gamma arrivals", &rate, Arrivals::Gamma { cv: 2.0 }, most),
        ("Weibull arrivals", &rate, Arrivals::Weibull { cv: 2.0 }, most),
        ("arrivals of a ramp", &rising, Arrivals::Poisson, while_rising),
    ];
    let start = Timestamp::UNIX_EPOCH;
    let mut rows = Vec::new();
    for (name, curve, arrivals, bounds) in cases {
        rows.push((name, fastest(rounds, || ArrivalTimes::new(curve, &arrivals, bounds, start, 7).count())?));
    }
    let spawn = Duration::from_secs(10);
    let starts = || {
        for user in 0..ARRIVALS {
            black_box(pacing::spawn_offset(user, ARRIVALS, spawn));
        }
        ARRIVALS as usize
    };
    rows.push(("starts of users", fastest(rounds, starts)?));
    let ramp = LoadCurve::from(plan::Ramp { from: 1.0, to: f64::from(ARRIVALS) });
    let levels = || pacing::user_levels(&ramp, Some(Duration::from_mins(1)), start).count();
    rows.push(("users of a ramp", fastest(rounds, levels)?));
    let bounds = Think { min: Duration::from_secs(1), max: Duration::from_secs(3) };
    let mut rng = seed::rng("bench", &[7]);
    let thinks = || {
        for _ in 0..ARRIVALS {
            black_box(pacing::think(bounds, &mut rng));
        }
        ARRIVALS as usize
    };
    rows.push(("think times", fastest(rounds, thinks)?));
    Ok(rows)
}

/// Nanoseconds for each of [`ARRIVALS`].
fn fastest(rounds: usize, mut draw: impl FnMut() -> usize) -> anyhow::Result<f64> {
    let mut fastest = Duration::MAX;
    for _ in 0..rounds.max(1) {
        let began = Instant::now();
        let count = draw();
        fastest = fastest.min(began.elapsed());
        // A curve that rises to the last one at its very end does not reach it.
        ensure!(count + 1 >= ARRIVALS as usize, "{count} of {ARRIVALS}");
    }
    Ok(fastest.as_nanos() as f64 / f64::from(ARRIVALS))
}

/// One profile at one target.
fn load() -> anyhow::Result<Arc<Plan>> {
    let text = "agent: { location: here }\n\
                targets:\n  sim: { api: openai-chat, base_url: 'http://127.0.0.1:1/v1', model: m }\n\
                profiles:\n  chat: { targets: [sim], schedule: { every: 1m }, workload: { prompts: [x], output_tokens: 8 } }\n";
    let source = ConfigSource::Text { name: "bench.yaml".to_owned(), text: text.to_owned() };
    let loaded = plan::load(&[source], []).map_err(|errors| anyhow::anyhow!("{errors}"))?;
    Ok(Arc::new(loaded.plan))
}
