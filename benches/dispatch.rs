//! How late requests go out: the real dispatcher and engine at 500 requests per second, with a caller that marks
//! `sent` at once. Prints the dispatch lag; the goal is a p99 below 1 ms on an idle core.
//!
//! `cargo bench --bench dispatch [-- SECONDS [RATE]]`

use anyhow::Context as _;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hdrhistogram::Histogram;
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokenbeat::client::{Answer, Caller, Context};
use tokenbeat::engine::dispatch::{Dispatcher, Precise, Timers};
use tokenbeat::engine::{Deps, Engine, Once, Workshop, system};
use tokenbeat::event::{Fact, Failure, Marks, Outcome, Sink};
use tokenbeat::exchange::{Ask, Call};
use tokenbeat::plan;
use tokenbeat::state::Memory;

/// Marks `sent` when it is called, and answers 20 ms later.
struct Instantly;

impl Caller for Instantly {
    fn prepare(&self, ask: &Ask) -> Call {
        let body = ask.messages.iter().map(|message| &*message.text).collect::<String>();
        Call {
            method: http::Method::POST,
            path: "/chat/completions".into(),
            headers: http::HeaderMap::new(),
            most_output_tokens: None,
            most_input_tokens: body.len() as u64,
            body: body.into(),
            stream: ask.stream,
            output_tokens: ask.output_tokens,
        }
    }

    fn call(&self, _: Call, context: Context) -> BoxFuture<'_, Answer> {
        let sent = tokio::time::Instant::now();
        async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let mut marks = Marks::begin(context.due, sent);
            marks.sent = Some(sent);
            marks.end = tokio::time::Instant::now();
            let mut answer = Answer::failed(Failure::Internal, "", marks);
            answer.outcome = Outcome::Ok;
            answer
        }
        .boxed()
    }
}

/// Dispatch lag in nanoseconds.
struct Lags(Mutex<Histogram<u64>>);

impl Sink for Lags {
    fn record(&self, fact: &Fact) {
        if let Fact::Ended(request) = fact {
            let lag = u64::try_from(request.marks.dispatch_lag().as_nanos()).unwrap_or(u64::MAX);
            self.0.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(lag);
        }
    }
}

fn main() -> anyhow::Result<()> {
    // Cargo passes `--bench`.
    let mut numbers = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let seconds: u64 = numbers.next().map_or(Ok(10), |arg| arg.parse()).context("SECONDS")?;
    let rate: f64 = numbers.next().map_or(Ok(500.0), |arg| arg.parse()).context("RATE")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for arrivals in [plan::Arrivals::Constant, plan::Arrivals::Poisson] {
        let precise: Arc<dyn Dispatcher> = Arc::new(Precise::start()?);
        measure(&runtime, &format!("precise, {arrivals:?}"), precise, (seconds, rate, arrivals))?;
        measure(&runtime, &format!("timers, {arrivals:?}"), Arc::new(Timers), (seconds, rate, arrivals))?;
    }
    Ok(())
}

fn measure(
    runtime: &tokio::runtime::Runtime,
    name: &str,
    dispatcher: Arc<dyn Dispatcher>,
    (seconds, rate, arrivals): (u64, f64, plan::Arrivals),
) -> anyhow::Result<()> {
    let plan = build(seconds, rate, arrivals)?;
    let lags = Arc::new(Lags(Mutex::new(Histogram::new_with_bounds(1, 60_000_000_000, 3)?)));
    let caller: Arc<dyn Caller> = Arc::new(Instantly);
    let deps = Deps {
        sink: Arc::<Lags>::clone(&lags),
        ledger: Arc::new(Memory::new(&plan, system())),
        callers: HashMap::from([("target".into(), caller)]),
        dispatcher,
        workshop: Workshop::start()?,
        wall: system(),
        handle: runtime.handle().clone(),
    };
    let pair = plan.pairs.first().context("a pair")?.pair.clone();
    let engine = Engine::new(plan, deps)?;
    let summary = runtime.block_on(engine.run_once(&pair, Once::default()))?;
    let lags = lags.0.lock().unwrap_or_else(PoisonError::into_inner);
    let micros = |quantile: f64| lags.value_at_quantile(quantile) as f64 / 1e3;
    println!(
        "{name:>18}: {} of {} requests in {seconds} s; lag p50 {:.0} us, p90 {:.0} us, p99 {:.0} us, max {:.0} us; run {}",
        lags.len(),
        summary.offered,
        micros(0.5),
        micros(0.9),
        micros(0.99),
        micros(1.0),
        summary.result.label(),
    );
    Ok(())
}

fn build(seconds: u64, rate: f64, arrivals: plan::Arrivals) -> anyhow::Result<Arc<plan::Plan>> {
    let bounds = plan::Bounds { time: Some(Duration::from_secs(seconds)), requests: None };
    let shape = plan::Shape::Rate { rate: plan::Ramp { from: rate, to: rate }, arrivals, bounds };
    let profile = Arc::new(plan::Profile {
        name: "profile".into(),
        schedule: plan::Schedule {
            trigger: plan::Trigger::Manual,
            timezone: TimeZone::UTC,
            windows: Vec::new(),
            overlap: plan::Overlap::Skip,
            jitter: Duration::ZERO,
        },
        stages: vec![plan::Stage { name: "".into(), warm_up: false, shape }],
        work: plan::Work::Prompts(Arc::new(plan::PromptWork {
            prompts: prompts(),
            expect: plan::Expect::default(),
        })),
        seed: 7,
        slos: Vec::new(),
        budget: None,
        revision: "".into(),
    });
    let target = Arc::new(target()?);
    let pair = plan::PairPlan::new(Arc::clone(&profile), Arc::clone(&target), "".into());
    let pairs = vec![Arc::new(pair)];
    Ok(Arc::new(plan::Plan {
        agent: agent(),
        server: plan::Server {
            listen: "127.0.0.1:0".parse()?,
            web_config: None,
            probe_interval: Duration::from_secs(10),
        },
        telemetry: plan::Telemetry {
            otlp: None,
            exemplars: false,
            native_histograms: false,
            disable: Vec::new(),
        },
        targets: vec![target],
        profiles: vec![profile],
        pairs,
    }))
}

fn prompts() -> plan::Prompts {
    plan::Prompts {
        prompts: vec!["What is the capital of France?".into(); 8],
        system: Some("You are a concise assistant.".into()),
        output_tokens: Some(128),
        cache: plan::Cache::Bust,
        stream: false,
        params: serde_json::Map::new(),
    }
}

fn target() -> anyhow::Result<plan::Target> {
    let second = Duration::from_secs(1);
    Ok(plan::Target {
        name: "target".into(),
        api: plan::Api::OpenAiChat,
        base_url: "http://127.0.0.1:1/v1".parse()?,
        model: "m".into(),
        auth: plan::Auth::None,
        headers: Vec::new(),
        tls: plan::TlsOptions::default(),
        http: plan::HttpVersion::Http1,
        connection: plan::ConnectionMode::Warm,
        proxy: None,
        propagate: true,
        timeouts: plan::Timeouts { connect: second, first_token: second, stall: second, total: second },
        stall_threshold: None,
        price: None,
        tokenizer: None,
        params: serde_json::Map::new(),
    })
}

fn agent() -> plan::Agent {
    plan::Agent {
        id: "bench".into(),
        location: "".into(),
        labels: BTreeMap::new(),
        currency: "usd".into(),
        in_flight: NonZeroU32::MAX,
        budget: None,
    }
}
