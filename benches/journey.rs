//! Measures the cost of a journey: 2,000 users of a five-step journey (templates, extracted values, checks, a schema)
//! in one process, compared with the same number of users with bare requests at the same rate. The caller answers in
//! process, 20 ms after the send, so that the bench measures the engine, the scenario and the checks, and not a client.
//! Each row is a separate process. In the third, every fiftieth answer is a document of one megabyte, which also passes
//! a path, a schema and an extraction; its cost must not show in the lag and the timestamps of other requests.
//!
//! `cargo bench --bench journey [-- SECONDS [USERS]]`

#[path = "parts/plan.rs"]
mod parts;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hdrhistogram::Histogram;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::json;
use serde_json_path::JsonPath;
use std::collections::HashMap;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokenbeat::client::{Answer, Caller, Context};
use tokenbeat::cpu_pool::CpuPool;
use tokenbeat::engine::dispatch::Precise;
use tokenbeat::engine::{Deps, Engine, OVERRUN, Once, system};
use tokenbeat::event::{Failure, Marks, Outcome};
use tokenbeat::exchange::{Ask, Call};
use tokenbeat::fact::{Fact, Sink};
use tokenbeat::plan;
use tokenbeat::state::BudgetLedger;
use tokenbeat::template::{Templates, Vars};

/// Time from the send to the end of each answer.
const TAKES: Duration = Duration::from_millis(20);

/// One in this many answers is large.
const LARGE_ONE_IN: u64 = 50;

/// The load to play.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Bare,
    Journeys,
    Large,
}

/// Answers with a document.
struct Instantly {
    small: Bytes,
    large: Option<Bytes>,
    calls: AtomicU64,
}

impl Caller for Instantly {
    fn prepare(&self, ask: &Ask) -> Call {
        let body = ask.messages.iter().map(|message| &*message.text).collect::<String>();
        Call {
            method: Method::POST,
            path: "/chat/completions".into(),
            headers: HeaderMap::new(),
            most_output_tokens: None,
            most_input_tokens: body.len() as u64,
            body: body.into(),
            stream: ask.stream,
            output_tokens: ask.output_tokens,
        }
    }

    fn call(&self, _: Call, context: Context) -> BoxFuture<'_, Answer> {
        let sent = tokio::time::Instant::now();
        let large = self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(LARGE_ONE_IN);
        let body = self.large.as_ref().filter(|_| large).unwrap_or(&self.small).clone();
        async move {
            tokio::time::sleep(TAKES).await;
            let mut marks = Marks::begin(context.due, sent);
            marks.sent = Some(sent);
            marks.end = tokio::time::Instant::now();
            let mut answer = Answer::failed(Failure::Internal, "", marks);
            (answer.outcome, answer.detail) = (Outcome::Ok, None);
            (answer.observed.status, answer.body) = (Some(200), Some(body));
            answer
        }
        .boxed()
    }
}

/// The measurements, in nanoseconds.
struct Seen {
    lags: Mutex<Histogram<u64>>,
    /// The delay between the end of an answer and its timestamp.
    late: Mutex<Histogram<u64>>,
    failed: AtomicU64,
    journeys: AtomicU64,
    /// Resident memory in bytes.
    most_memory: AtomicU64,
}

impl Sink for Seen {
    fn record(&self, fact: &Fact) {
        let note = |histogram: &Mutex<Histogram<u64>>, time: Duration| {
            let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            histogram.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(nanos);
        };
        match fact {
            Fact::Ended { request, .. } => {
                note(&self.lags, request.observed.marks.dispatch_lag());
                note(&self.late, request.observed.marks.duration().saturating_sub(TAKES));
                self.failed.fetch_add(u64::from(request.outcome != Outcome::Ok), Ordering::Relaxed);
            }
            Fact::JourneyEnded { .. } => drop(self.journeys.fetch_add(1, Ordering::Relaxed)),
            _ => {}
        }
    }
}

fn main() -> anyhow::Result<()> {
    // Cargo passes `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    if let [seconds, users, mode] = arguments.as_slice() {
        return measure(seconds.parse()?, users.parse()?, named(mode)?);
    }
    let seconds = arguments.first().map_or("20", String::as_str);
    let users = arguments.get(1).map_or("2000", String::as_str);
    println!("{users} users, {seconds} s each, a request of a user every 2 s; a journey is five requests");
    for mode in ["bare", "journeys", "large"] {
        let status = Command::new(std::env::current_exe()?).args([seconds, users, mode]).status()?;
        if !status.success() {
            bail!("{mode} failed");
        }
    }
    Ok(())
}

fn named(mode: &str) -> anyhow::Result<Mode> {
    Ok(match mode {
        "bare" => Mode::Bare,
        "journeys" => Mode::Journeys,
        "large" => Mode::Large,
        other => bail!("there is no mode {other}"),
    })
}

fn measure(seconds: u64, users: u32, mode: Mode) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let plan = build(seconds, users, mode)?;
    let histogram = || Ok::<_, anyhow::Error>(Mutex::new(Histogram::new_with_bounds(1, 60_000_000_000, 3)?));
    let seen = Arc::new(Seen {
        lags: histogram()?,
        late: histogram()?,
        failed: AtomicU64::new(0),
        journeys: AtomicU64::new(0),
        most_memory: AtomicU64::new(0),
    });
    let caller: Arc<dyn Caller> = Arc::new(Instantly {
        small: document(4),
        large: (mode == Mode::Large).then(|| document(12_000)),
        calls: AtomicU64::new(0),
    });
    let deps = Deps {
        sink: Arc::<Seen>::clone(&seen),
        ledger: Arc::new(BudgetLedger::new(&plan, system())),
        callers: HashMap::from([("target".into(), caller)]),
        dispatcher: Arc::new(Precise::start()?),
        cpu_pool: CpuPool::start()?,
        wall: system(),
        handle: runtime.handle().clone(),
        overrun: OVERRUN,
    };
    let pair = plan.pairs.first().context("a pair")?.pair.clone();
    let engine = Engine::new(plan, deps)?;
    let before = (cpu()?, memory()?);
    let summary = runtime.block_on(async {
        let watching = tokio::spawn(watch(Arc::clone(&seen)));
        let summary = engine.run_once(&pair, Once::default()).await;
        watching.abort();
        summary
    })?;
    let memory = seen.most_memory.load(Ordering::Relaxed).saturating_sub(before.1);
    report(mode, &seen, (cpu()?.saturating_sub(before.0), memory), (summary.offered, users));
    Ok(())
}

async fn watch(seen: Arc<Seen>) {
    loop {
        seen.most_memory.fetch_max(memory().unwrap_or_default(), Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn report(mode: Mode, seen: &Seen, (cpu, memory): (Duration, u64), (offered, users): (u64, u32)) {
    let name = match mode {
        Mode::Bare => "bare requests",
        Mode::Journeys => "journeys",
        Mode::Large => "with large answers",
    };
    let micros = |histogram: &Mutex<Histogram<u64>>, quantile: f64| {
        let histogram = histogram.lock().unwrap_or_else(PoisonError::into_inner);
        histogram.value_at_quantile(quantile) as f64 / 1e3
    };
    let per_request = cpu.as_secs_f64() * 1e6 / offered as f64;
    println!(
        "{name:>18}: {offered} requests, {} failed, {} journeys; CPU {per_request:.1} us per request, {:.0} us per \
         five; lag p50 {:.0} us, p99 {:.0} us; marks late by p50 {:.0} us, p99 {:.0} us; {:.1} KiB per user",
        seen.failed.load(Ordering::Relaxed),
        seen.journeys.load(Ordering::Relaxed),
        per_request * 5.0,
        micros(&seen.lags, 0.5),
        micros(&seen.lags, 0.99),
        micros(&seen.late, 0.5),
        micros(&seen.late, 0.99),
        memory as f64 / 1024.0 / f64::from(users),
    );
}

/// The processor time of this process so far.
fn cpu() -> anyhow::Result<Duration> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = text.rsplit_once(')').context("no name")?;
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(|field| field.parse().unwrap_or(0)).sum();
    // A tick is 10 ms on all current Linux systems.
    Ok(Duration::from_millis(ticks * 10))
}

/// The resident memory of this process in bytes.
fn memory() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}

fn build(seconds: u64, users: u32, mode: Mode) -> anyhow::Result<Arc<plan::Plan>> {
    let scenario = match mode {
        Mode::Bare => parts::prompts(),
        Mode::Journeys | Mode::Large => scenario()?,
    };
    let users = f64::from(users);
    let shape = plan::Shape::Users {
        users: plan::LoadCurve::constant(users),
        think: thought(),
        spawn: Duration::from_secs(2),
        bounds: plan::StageBounds { time: Some(Duration::from_secs(seconds)), requests: None },
    };
    parts::plan(shape, scenario)
}

fn thought() -> plan::Think {
    plan::Think { min: Duration::from_secs(1), max: Duration::from_secs(3) }
}

/// The answer of the application, with this many citations.
fn document(citations: usize) -> Bytes {
    let citation =
        |n: usize| json!({ "source": format!("doc-{n}.md"), "score": 0.5, "text": "words ".repeat(8) });
    let document = json!({
        "id": "6f1c", "answer": "Paris is the capital of France. ".repeat(10),
        "usage": { "prompt_tokens": 1200, "completion_tokens": 60 },
        "citations": (0..citations).map(citation).collect::<Vec<_>>(),
    });
    document.to_string().into()
}

/// Logs in, opens a session, asks twice, and closes the session.
fn scenario() -> anyhow::Result<plan::Scenario> {
    let mut templates = Templates::default();
    let login = r#"{"email": "user-{{ user }}@example.com", "request": "{{ uuid() }}"}"#;
    let ask = r#"{"query": "{{ pick(queries) }}", "top_k": {{ top_k }}, "at": "{{ now() }}"}"#;
    let written = [
        ("login", "/login", Some(login)),
        ("open", "/sessions?user={{ user }}", Some(r#"{"token": "{{ token }}"}"#)),
        ("first", "/sessions/{{ session }}/ask", Some(ask)),
        ("second", "/sessions/{{ session }}/ask?turn={{ iteration }}", Some(ask)),
        ("close", "/sessions/{{ session }}", None),
    ];
    let mut steps = Vec::new();
    for (number, (name, path, body)) in written.into_iter().enumerate() {
        let taken = match name {
            "login" => Some("token"),
            "open" => Some("session"),
            _ => None,
        };
        steps.push(Arc::new(plan::Step {
            name: name.into(),
            number,
            action: http(path, body, &mut templates)?,
            think: thought(),
            repeat: 1,
            turns: false,
            timeout: None,
            expect: expect()?,
            take: taken.map(take).transpose()?.into_iter().collect(),
            comparison: None,
        }));
    }
    let queries: Vec<String> =
        (0..50).map(|n| format!("What does document {n} say about capitals?")).collect();
    let vars = [("queries", json!(queries)), ("top_k", json!(5))];
    Ok(plan::Scenario {
        summary: None,
        journeys: true,
        setup: Vec::new(),
        steps,
        templates,
        vars: vars.into_iter().collect::<Vars>(),
        secrets: Vec::new(),
        cookies: false,
        variables: std::collections::BTreeMap::new(),
    })
}

fn http(path: &str, body: Option<&str>, templates: &mut Templates) -> anyhow::Result<plan::StepAction> {
    let body = match body {
        None => plan::BodyTemplate::None,
        Some(text) => plan::BodyTemplate::Raw {
            content_type: HeaderValue::from_static("application/json"),
            text: templates.add(text)?,
        },
    };
    Ok(plan::StepAction::Http(Box::new(plan::HttpStep {
        method: Method::POST,
        path: templates.add(path)?,
        headers: Vec::new(),
        body,
        reading: None,
        reserve: plan::Reserve::default(),
        route: format!("POST {path}").into(),
    })))
}

fn take(name: &str) -> anyhow::Result<plan::Take> {
    let from = plan::AnswerPart::Json(JsonPath::parse("$.id")?);
    Ok(plan::Take { name: name.into(), from, default: None })
}

/// Enough citations, each of the right form.
fn expect() -> anyhow::Result<plan::Expect> {
    let schema = json!({
        "type": "object", "required": ["answer", "citations"],
        "properties": { "citations": { "type": "array", "items": {
            "type": "object", "required": ["source", "score"],
            "properties": { "source": { "type": "string" }, "score": { "type": "number", "maximum": 1 } },
        } } },
    });
    let validator = jsonschema::validator_for(&schema).map_err(|error| anyhow!("{error}"))?;
    let is = plan::JsonRule { min_items: Some(1), ..plan::JsonRule::default() };
    let rules = [
        ("citations", plan::Rule::Json { path: JsonPath::parse("$.citations")?, is }),
        (
            "schema",
            plan::Rule::Schema { schema: Arc::new(schema), validator: Arc::new(validator), of_text: false },
        ),
    ];
    let check = |(name, rule): (&str, plan::Rule)| plan::Check { name: name.into(), rule };
    Ok(plan::Expect { checks: rules.into_iter().map(check).collect(), ..plan::Expect::default() })
}
