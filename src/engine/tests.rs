//! Tests of the engine with a scripted caller and a paused clock.

mod arrivals;
mod budgets;
mod comparisons;
mod conversations;
mod idle;
mod journeys;
mod load;
mod outcomes;
mod pairs;
mod reload;
mod replay;
mod results;
mod retries;
mod schedules;
mod searches;
mod set_up;
mod shapes;
mod shards;
mod shutdown;
mod stops;
mod users;

use super::dispatch::Timers;
use super::*;
use crate::client::{Answer, CallOptions, Context};
use crate::event::{
    BudgetUse, Count, CountSource, Exhausted, Failure, Hold, Journey, Marks, Outcome, Request, SkippedRun,
    Spend,
};
use crate::exchange::{Ask, Call, ToolCall};
use crate::fact::Fact;
use crate::plan::Plan;
use crate::state;
use crate::tally::RunTally;
use crate::testing::Build;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the fake target does with a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Script {
    /// Time from the send to the end; the first token arrives halfway.
    pub(super) takes: Duration,
    /// Time from the call to the send, to simulate a busy prober.
    pub(super) lag: Duration,
    pub(super) outcome: Outcome,
    pub(super) panics: bool,
    /// Whether it ends when it is cancelled.
    pub(super) heeds: bool,
    pub(super) chars: usize,
    pub(super) usage: Option<(u64, u64)>,
    pub(super) status: Option<u16>,
    pub(super) body: Option<&'static str>,
    /// The text, in place of `chars`.
    pub(super) text: Option<&'static str>,
    /// The arguments of a call of a tool.
    pub(super) arguments: Option<&'static str>,
    pub(super) retry_after: Option<Duration>,
    /// For how long the target keeps the body open after the end.
    pub(super) drains: Duration,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            takes: millis(100),
            lag: Duration::ZERO,
            outcome: Outcome::Ok,
            panics: false,
            heeds: true,
            chars: 20,
            usage: None,
            status: Some(200),
            body: None,
            text: None,
            arguments: None,
            retry_after: None,
            drains: Duration::ZERO,
        }
    }
}

type Plot = Box<dyn Fn(usize, &Call) -> Script + Send + Sync>;

/// What was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) path: String,
    pub(super) body: String,
    pub(super) options: CallOptions,
    pub(super) ids: TraceIds,
    pub(super) output_tokens: Option<u64>,
    pub(super) stream: bool,
    pub(super) due: Instant,
}

/// Plays a script per request, chosen by the order of the calls and by what is called.
pub(super) struct Fake {
    plot: Plot,
    sent: Mutex<Vec<Sent>>,
    /// When requests were encoded.
    encoded: Mutex<Vec<Instant>>,
}

impl Fake {
    pub(super) fn new(plot: impl Fn(usize, &Call) -> Script + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { plot: Box::new(plot), sent: Mutex::default(), encoded: Mutex::default() })
    }

    pub(super) fn calls(&self) -> usize {
        self.sent.lock().unwrap().len()
    }
}

impl Caller for Fake {
    fn prepare(&self, ask: &Ask) -> Call {
        let text = ask.messages.last().map(|message| message.text.to_string()).unwrap();
        assert_ne!(text, "unspeakable", "scripted panic");
        self.encoded.lock().unwrap().push(Instant::now());
        Call {
            method: http::Method::POST,
            path: "/chat/completions".into(),
            headers: http::HeaderMap::new(),
            body: text.into(),
            stream: ask.stream,
            output_tokens: ask.output_tokens,
            most_output_tokens: None,
            most_input_tokens: 10,
        }
    }

    fn call(&self, call: Call, context: Context) -> BoxFuture<'_, Answer> {
        let sent = Sent {
            path: call.path.clone(),
            body: String::from_utf8(call.body.to_vec()).unwrap(),
            options: context.options.clone(),
            ids: context.ids,
            output_tokens: call.output_tokens,
            stream: call.stream,
            due: context.due,
        };
        let n = {
            let mut all = self.sent.lock().unwrap();
            all.push(sent);
            all.len() - 1
        };
        let script = (self.plot)(n, &call);
        async move {
            let started = Instant::now();
            if !script.lag.is_zero() {
                tokio::time::sleep(script.lag).await;
            }
            let mut marks = Marks::begin(context.due, started);
            let sent = Instant::now();
            marks.sent = Some(sent);
            assert!(!script.panics, "scripted panic");
            let mut outcome = script.outcome;
            tokio::select! {
                biased;
                () = context.cancel.cancelled(), if script.heeds => outcome = Outcome::Failed(Failure::Cancelled),
                () = tokio::time::sleep(script.takes) => {}
            }
            marks.end = Instant::now();
            tokio::time::sleep(script.drains).await;
            let mut answer = Answer::failed(Failure::Internal, "scripted", marks);
            answer.drained = (!script.drains.is_zero()).then(Instant::now);
            answer.observed.marks.first_token = Some(sent + script.takes / 2);
            answer.observed.streamed = call.stream;
            answer.outcome = outcome;
            answer.text = script.text.map_or_else(|| "x".repeat(script.chars), str::to_owned);
            let call = |arguments: &str| ToolCall { name: "f".into(), arguments: arguments.into() };
            answer.tool_calls = script.arguments.map(call).into_iter().collect();
            answer.observed.finish_reason = Some("stop".into());
            answer.observed.status = script.status;
            answer.observed.retry_after = script.retry_after;
            answer.body = script.body.map(|body| body.as_bytes().into());
            if let Some((input, output)) = script.usage {
                answer.observed.tokens.input = Some(Count { n: input, source: CountSource::Usage });
                answer.observed.tokens.output = Some(Count { n: output, source: CountSource::Usage });
            }
            answer
        }
        .boxed()
    }
}

/// Records every fact, with the time since the start.
pub(super) struct Facts {
    start: Instant,
    all: Mutex<Vec<(Duration, Fact)>>,
}

impl Sink for Facts {
    fn record(&self, fact: &Fact) {
        self.all.lock().unwrap().push((self.start.elapsed(), fact.clone()));
    }
}

impl Facts {
    fn collect<T>(&self, pick: impl Fn(Duration, &Fact) -> Option<T>) -> Vec<T> {
        self.all.lock().unwrap().iter().filter_map(|(at, fact)| pick(*at, fact)).collect()
    }

    pub(super) fn requests(&self) -> Vec<Arc<Request>> {
        self.collect(
            |_, fact| if let Fact::Ended { request, .. } = fact { Some(Arc::clone(request)) } else { None },
        )
    }

    /// Due times of the requests that ended, ordered by due time, in milliseconds from the start.
    pub(super) fn dues(&self) -> Vec<u128> {
        let mut dues: Vec<u128> = self
            .requests()
            .iter()
            .map(|r| r.observed.marks.due.duration_since(self.start).as_millis())
            .collect();
        dues.sort_unstable();
        dues
    }

    pub(super) fn offered(&self) -> usize {
        self.collect(|_, fact| matches!(fact, Fact::Offered { .. }).then_some(())).len()
    }

    pub(super) fn skipped(&self) -> Vec<&'static str> {
        self.collect(
            |_, fact| if let Fact::Skipped { reason, .. } = fact { Some(reason.label()) } else { None },
        )
    }

    pub(super) fn outcomes(&self) -> Vec<&'static str> {
        self.requests().iter().map(|request| request.outcome.label()).collect()
    }

    pub(super) fn summaries(&self) -> Vec<Arc<RunSummary>> {
        self.collect(
            |_, fact| {
                if let Fact::RunEnded { summary, .. } = fact { Some(Arc::clone(summary)) } else { None }
            },
        )
    }

    pub(super) fn tallies(&self) -> Vec<Arc<RunTally>> {
        self.collect(
            |_, fact| if let Fact::RunEnded { tally, .. } = fact { Some(Arc::clone(tally)) } else { None },
        )
    }

    pub(super) fn results(&self) -> Vec<&'static str> {
        self.summaries().iter().map(|summary| summary.result.label()).collect()
    }

    /// When runs started, in whole milliseconds from the start, and their lag.
    pub(super) fn started(&self) -> Vec<(u128, u128)> {
        self.collect(|at, fact| {
            if let Fact::RunStarted { lag, .. } = fact {
                Some((at.as_millis(), lag.as_millis()))
            } else {
                None
            }
        })
    }

    pub(super) fn skipped_runs(&self) -> Vec<(&'static str, u64)> {
        self.collect(|_, fact| {
            if let Fact::RunSkipped { reason, count, .. } = fact {
                Some((reason.label(), *count))
            } else {
                None
            }
        })
    }

    /// How long load was offered, by stage.
    pub(super) fn active(&self, stage: &str) -> Duration {
        self.collect(|_, fact| match fact {
            Fact::LoadActive { place, time, .. } if &*place.stage == stage => Some(*time),
            _ => None,
        })
        .iter()
        .sum()
    }

    pub(super) fn journeys(&self) -> Vec<Arc<Journey>> {
        self.collect(|_, fact| {
            if let Fact::JourneyEnded { journey, .. } = fact { Some(Arc::clone(journey)) } else { None }
        })
    }

    /// Outcome and failed step of the journeys, in the order in which they ended.
    pub(super) fn ends(&self) -> Vec<String> {
        let end = |journey: &Arc<Journey>| match &journey.failed_step {
            Some(step) => format!("{} {step}", journey.outcome.label()),
            None => journey.outcome.label().to_owned(),
        };
        self.journeys().iter().map(end).collect()
    }

    /// Step, due time and end of the requests in the order in which they ended, in milliseconds from the
    /// start of the run.
    pub(super) fn steps(&self) -> Vec<(String, u128, u128)> {
        let since = |at: Instant| at.duration_since(self.start + START_LEAD).as_millis();
        let step = |request: &Arc<Request>| {
            (
                request.place.step.to_string(),
                since(request.observed.marks.due),
                since(request.observed.marks.end),
            )
        };
        self.requests().iter().map(step).collect()
    }

    /// offered = skipped + ended: nothing is in flight any more, and nothing has two outcomes. Each journey
    /// that began has ended exactly once, and contains all requests that claim to belong to it.
    pub(super) fn assert_settled(&self) {
        let began = self.collect(|_, fact| matches!(fact, Fact::JourneyStarted { .. }).then_some(())).len();
        let journeys = self.journeys();
        assert_eq!(began, journeys.len());
        let mut spans: Vec<_> = journeys.iter().map(|journey| journey.ids.span_id).collect();
        spans.sort_unstable();
        spans.dedup();
        assert_eq!(spans.len(), began, "none has two ends");
        for journey in &journeys {
            let own = |request: &&Arc<Request>| request.ids.parent_id == Some(journey.ids.span_id);
            let (requests, all) = (self.requests(), self.requests().len());
            let own: Vec<_> = requests.iter().filter(own).collect();
            assert!(own.len() as u64 == journey.requests && own.len() <= all);
            assert!(own.iter().all(|request| request.ids.trace_id == journey.ids.trace_id));
            assert!(own.iter().all(|request| request.observed.marks.end <= journey.end));
        }
        assert_eq!(self.offered(), self.skipped().len() + self.requests().len());
        let mut numbers: Vec<(String, u64)> =
            self.requests().iter().map(|request| (request.run.id.clone(), request.seq)).collect();
        numbers.sort_unstable();
        let with_twins = numbers.len();
        numbers.dedup();
        assert_eq!(numbers.len(), with_twins);
    }
}

/// Refuses nothing, and records what was settled.
#[derive(Default)]
pub(super) struct Free(pub(super) Mutex<Vec<Spend>>);

impl Ledger for Free {
    fn reserve(&self, pair: &Pair, most: Spend, margin: Spend) -> Result<Hold, Exhausted> {
        Ok(Hold { profile: Arc::clone(&pair.profile), reserved: most + margin, number: 0 })
    }

    fn settle(&self, _: Hold, actual: Spend) {
        self.0.lock().unwrap().push(actual);
    }

    fn uses(&self) -> Vec<BudgetUse> {
        Vec::new()
    }
}

/// What a world waits and checks with, and how late a request may be sent in it.
pub(super) type Means = (Arc<dyn Dispatcher>, CpuPool, Duration);

/// How late a request may be in a test in real time, where a busy machine may be late.
pub(super) const NEVER_OVERRUN: Duration = Duration::from_hours(1);

/// An engine with its environment.
pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) facts: Arc<Facts>,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) fake: Arc<Fake>,
    /// Offset that is added to the wall clock.
    pub(super) jump: Arc<Mutex<jiff::SignedDuration>>,
}

/// An instant on the grid of whole hours, at which the wall clock starts.
pub(super) const START: &str = "2026-11-20T10:00:00Z";

impl World {
    pub(super) fn new(build: Build, plot: impl Fn(usize) -> Script + Send + Sync + 'static) -> Self {
        Self::of(&build.plan(), START, plot)
    }

    /// Like `new`, with a target whose answers depend on what is called.
    pub(super) fn app(build: Build, plot: impl Fn(usize, &Call) -> Script + Send + Sync + 'static) -> Self {
        let means: Means = (Arc::new(Timers), CpuPool::on(&Handle::current()), OVERRUN);
        Self::with(&build.plan(), START, means, Fake::new(plot))
    }

    pub(super) fn of(
        plan: &Arc<Plan>,
        at: &str,
        plot: impl Fn(usize) -> Script + Send + Sync + 'static,
    ) -> Self {
        let means: Means = (Arc::new(Timers), CpuPool::on(&Handle::current()), OVERRUN);
        Self::with(plan, at, means, Fake::new(move |n, _| plot(n)))
    }

    /// In real time, with the real dispatcher. However busy the machine is, no request is skipped.
    pub(super) fn in_real_time(build: Build, plot: impl Fn(usize) -> Script + Send + Sync + 'static) -> Self {
        let precise = Arc::new(dispatch::Precise::start().unwrap());
        let means: Means = (precise, CpuPool::on(&Handle::current()), NEVER_OVERRUN);
        Self::with(&build.plan(), START, means, Fake::new(move |n, _| plot(n)))
    }

    pub(super) fn with(
        plan: &Arc<Plan>,
        at: &str,
        (dispatcher, cpu_pool, overrun): Means,
        fake: Arc<Fake>,
    ) -> Self {
        let jump = Arc::new(Mutex::new(jiff::SignedDuration::ZERO));
        let (steady, jumped) = (anchored(at.parse().unwrap()), Arc::clone(&jump));
        let wall: WallClock = Arc::new(move || steady().checked_add(*jumped.lock().unwrap()).unwrap());
        let ledger = Arc::new(state::BudgetLedger::new(plan, Arc::clone(&wall)));
        let facts = Arc::new(Facts { start: Instant::now(), all: Mutex::default() });
        let caller = |target: &Arc<crate::plan::Target>| {
            let caller: Arc<dyn Caller> = Arc::<Fake>::clone(&fake);
            (Arc::clone(&target.name), caller)
        };
        let deps = Deps {
            sink: Arc::<Facts>::clone(&facts),
            ledger: Arc::<state::BudgetLedger>::clone(&ledger),
            callers: plan.targets.iter().map(caller).collect(),
            dispatcher,
            cpu_pool,
            wall,
            handle: Handle::current(),
            overrun,
        };
        Self { engine: Engine::new(Arc::clone(plan), deps).unwrap(), facts, ledger, fake, jump }
    }

    /// Runs the profile once.
    pub(super) async fn once(&self) -> RunSummary {
        self.once_for(None).await
    }

    pub(super) async fn once_for(&self, seconds: Option<u64>) -> RunSummary {
        let pair = self.engine.plan().pairs[0].pair.clone();
        let time = seconds.map(Duration::from_secs);
        let summary = self.engine.run_once(&pair, Once { time, ..Once::default() }).await.unwrap();
        self.facts.assert_settled();
        summary
    }

    pub(super) fn calls(&self) -> usize {
        self.fake.calls()
    }

    /// Everything that was sent, in order.
    pub(super) fn sent(&self) -> Vec<Sent> {
        self.fake.sent.lock().unwrap().clone()
    }

    /// Runs the schedules for this long, then shuts down with enough time for everything to end.
    pub(super) async fn schedule_for(&self, time: Duration) {
        let schedules = self.engine.start(CancellationToken::new()).unwrap();
        tokio::time::sleep(time).await;
        let left = self.engine.shutdown(Duration::from_mins(10), &CancellationToken::new()).await;
        assert_eq!(left, []);
        schedules.ended().await.unwrap();
        self.facts.assert_settled();
    }
}

pub(super) fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(super) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Every request is answered after this long.
pub(super) fn takes(time: Duration) -> impl Fn(usize) -> Script + Send + Sync + 'static {
    move |_| Script { takes: time, ..Script::default() }
}

/// Every request fails with this failure.
pub(super) fn fails(failure: Failure) -> impl Fn(usize) -> Script + Send + Sync + 'static {
    move |_| Script { outcome: Outcome::Failed(failure), ..Script::default() }
}

#[tokio::test(start_paused = true)]
async fn what_the_plan_does_not_have_is_refused() {
    let plan = Build::default().plan();
    let world = World::of(&plan, START, takes(millis(10)));
    let other = Pair { profile: "chat".into(), target: "gpt".into() };
    let error = world.engine.run_once(&other, Once::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "the profile chat is not played against the target gpt");
    let error = world.engine.trigger("rag").await.unwrap_err();
    assert_eq!(error.to_string(), "there is no profile rag");
    assert_eq!(world.engine.trigger("chat").await.unwrap_err(), Error::NotRunning);
    let deps = Deps {
        sink: Arc::<Facts>::clone(&world.facts),
        ledger: Arc::new(Free::default()),
        callers: HashMap::new(),
        dispatcher: Arc::new(Timers),
        cpu_pool: CpuPool::on(&Handle::current()),
        wall: system(),
        handle: Handle::current(),
        overrun: OVERRUN,
    };
    assert_eq!(Engine::new(plan, deps).err(), Some(Error::NoCaller("llama".into())));
    assert_eq!(world.facts.offered(), 0);
}
