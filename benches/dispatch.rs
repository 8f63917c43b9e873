//! Measures how late requests are sent: the real dispatcher and engine at 500 requests per second, with a caller that
//! sets `sent` at once. Prints the dispatch lag. The goal is a p99 below 1 ms on an idle core.
//!
//! `cargo bench --bench dispatch [-- SECONDS [RATE]]`

#[path = "parts/plan.rs"]
mod parts;

use anyhow::Context as _;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hdrhistogram::Histogram;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokenbeat::client::{Answer, Caller, Context};
use tokenbeat::cpu_pool::CpuPool;
use tokenbeat::engine::dispatch::{Dispatcher, Precise, Timers};
use tokenbeat::engine::{Deps, Engine, OVERRUN, Once, system};
use tokenbeat::event::{Failure, Marks, Outcome};
use tokenbeat::exchange::{Ask, Call};
use tokenbeat::fact::{Fact, Sink};
use tokenbeat::plan;
use tokenbeat::state::BudgetLedger;

/// Sets `sent` when it is called, and answers 20 ms later.
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
        if let Fact::Ended { request, .. } = fact {
            let lag = u64::try_from(request.observed.marks.dispatch_lag().as_nanos()).unwrap_or(u64::MAX);
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
        measure(&runtime, &format!("precise, {arrivals:?}"), precise, (seconds, rate, arrivals.clone()))?;
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
        ledger: Arc::new(BudgetLedger::new(&plan, system())),
        callers: HashMap::from([("target".into(), caller)]),
        dispatcher,
        cpu_pool: CpuPool::start()?,
        wall: system(),
        handle: runtime.handle().clone(),
        overrun: OVERRUN,
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
    let bounds = plan::StageBounds { time: Some(Duration::from_secs(seconds)), requests: None };
    let shape = plan::Shape::Rate { rate: plan::LoadCurve::constant(rate), arrivals, bounds };
    parts::plan(shape, parts::prompts())
}
