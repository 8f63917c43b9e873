//! One request from its due time to its record: permits, budget, the call, checks, cost, SLO verdicts. Who
//! sends it, and why, is not known here.

use super::CANCEL_LEEWAY;
use super::in_flight::InFlightPermit;
use super::margin::OpenRequest;
use super::settle::{self, ReservedAmounts};
use super::stage::RunningStage;
use super::stage_limit::StagePermit;
use super::verdict::{JudgedAnswer, Unchecked};
use crate::client::{Answer, CallOptions, CallRecording, Context, RecordScope};
use crate::cpu_pool;
use crate::event::{
    BudgetRefusal, Exhausted, Failure, Hold, Marks, Outcome, Place, RecordedExchange, Request, SkipReason,
    Spend, TraceIds,
};
use crate::exchange::Call;
use crate::fact::OfferedRequest;
use crate::fluidity;
use crate::plan::{PairPlan, RecordMode, Step};
use crate::slo;
use crate::workload::NoAsk;
use futures_util::FutureExt as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

/// Checks of longer answers run one at a time: parsed, a document takes ten times its length.
const MAX_SHARED_CHECK: usize = 256 << 10;

/// A request waiting for its due time.
pub(super) struct Prepared {
    pub(super) place: Arc<Place>,
    /// See [`Request::route`].
    pub(super) route: Option<Arc<str>>,
    pub(super) attempt: Attempt,
    pub(super) ids: TraceIds,
    /// Boxed, because each future that it passes through has room for it.
    pub(super) sending: Result<Box<Sending>, Unsendable>,
}

/// Which attempt at the same request it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    /// See [`Request::attempt`].
    pub(super) number: u32,
    /// See [`Request::first_attempt`].
    pub(super) first: Option<u64>,
}

impl Attempt {
    /// The only one, or the first of several.
    pub(super) const FIRST: Self = Self { number: 1, first: None };

    /// The one after an attempt that has this number in the run.
    pub(super) fn after(self, seq: u64) -> Self {
        Self { number: self.number + 1, first: self.first.or(Some(seq)) }
    }
}

/// What is sent, and how to read the answer.
#[derive(Clone)]
pub(super) struct Sending {
    pub(super) call: Call,
    pub(super) options: CallOptions,
}

/// Why there is nothing to send. The request is still offered, and ends with this failure.
#[derive(Clone)]
pub(super) struct Unsendable {
    pub(super) failure: Failure,
    pub(super) detail: String,
}

impl Unsendable {
    /// The request could not be built because of a fault on our side.
    pub(super) fn by_our_fault() -> Self {
        Self { failure: Failure::Internal, detail: "the request could not be built".to_owned() }
    }

    /// There was nothing to ask, which is up to us, too.
    pub(super) fn because(error: &NoAsk) -> Self {
        Self { failure: Failure::Internal, detail: error.to_string() }
    }
}

/// What became of a request, as far as its user needs to know.
pub(super) enum Played {
    /// It was not offered: the pair has just left the plan.
    NotOffered,
    /// It was offered but not sent.
    Skipped(SkipReason),
    /// It has ended.
    Ended(Arc<Request>),
}

/// A request that was answered, but whose answer has not been checked yet.
pub(super) struct Answered {
    offered: OfferedRequest,
    pub(super) asked_output: Option<u64>,
    /// Whether a stream was asked for.
    streams: bool,
    /// Shared with the CPU pool, so that it survives a panic there.
    pub(super) answer: Arc<Answer>,
    /// What was sent and what came back, with its secrets.
    recording: Option<Arc<CallRecording>>,
    /// The same without, if it is to be kept.
    recorded: Option<Arc<RecordedExchange>>,
}

/// What is kept of a request, in case it is to be recorded. An answer that later requests take values from may contain
/// secrets that are not known yet.
pub(super) fn record_scope(mode: RecordMode, is_used_later: bool) -> RecordScope {
    match mode {
        RecordMode::Off => RecordScope::Nothing,
        RecordMode::Failures | RecordMode::All if is_used_later => RecordScope::WithoutContent,
        RecordMode::Failures | RecordMode::All => RecordScope::Everything,
    }
}

/// What a request holds while it is in flight.
struct AdmittedRequest<'a> {
    hold: Hold,
    open: OpenRequest<'a>,
    /// One permit of the target, one of the total.
    _places: (InFlightPermit, InFlightPermit),
}

impl RunningStage {
    /// Offers a request. Returns `None` if the pair has just left the plan; otherwise `first` is called
    /// before the offer is recorded.
    pub(super) fn offer(&self, due: Instant, of: &Prepared, first: impl FnOnce()) -> Option<OfferedRequest> {
        let run = &self.run;
        run.runtime.gate.pass(|| {
            run.begin();
            first();
            OfferedRequest::offer(
                Arc::<super::record::Record>::clone(&run.record),
                Arc::clone(&of.place),
                Arc::clone(&run.ident),
                run.next_seq(),
                self.is_warm_up(due),
                of.ids,
                due,
            )
            .by_route(of.route.clone())
            .as_attempt(of.attempt.number, of.attempt.first)
        })
    }

    /// Sends a request that is due, and waits for its answer. A request that is skipped, or that ends without
    /// an answer, is completed here. If the request is offered, `first` is called just before.
    pub(super) async fn send(
        &self,
        due: Instant,
        prepared: Prepared,
        first: impl FnOnce(),
    ) -> Result<Answered, Played> {
        let ids = prepared.ids;
        let offered = self.offer(due, &prepared, first).ok_or(Played::NotOffered)?;
        let sending = match prepared.sending {
            Ok(sending) => sending,
            Err(unsendable) => return Err(self.unsendable(offered, unsendable)),
        };
        let skip = |offered: OfferedRequest, reason| {
            offered.skip(reason);
            Err(Played::Skipped(reason))
        };
        // While it waits here, it counts as in flight.
        let permit = match self.stage_permit().await {
            Ok(permit) => permit,
            Err(reason) => return skip(offered, reason),
        };
        let queued = permit.as_ref().map_or(Duration::ZERO, |permit| permit.queued);
        let admitted = match self.admit(due + queued, &sending.call) {
            Ok(admitted) => admitted,
            Err(reason) => return skip(offered, reason),
        };
        let plan = &self.run.runtime.plan;
        let call = &sending.call;
        let (asked, asked_output, streams) = (ReservedAmounts::of(call), call.output_tokens, call.stream);
        let Some(answer) = self.call(sending, due, ids).await else {
            // What it may have cost by its bounds stays spent, because the target may charge for it.
            let most = asked.beyond(admitted.open.known).most.spend(plan.target.price.as_ref());
            self.run.runtime.shared.ledger.settle(admitted.hold, Spend { requests: 1, ..most });
            return Err(self.ended(offered, |request| {
                (request.asked_stream, request.asked_output_tokens) = (streams, asked_output);
                request.outcome = Outcome::Failed(Failure::Cancelled);
            }));
        };
        let (answer, recording) = received(answer, queued);
        let asked_with_excess = asked.beyond(admitted.open.known);
        let spent = settle::actual(&answer, asked_with_excess, plan.target.price.as_ref());
        self.learn(asked, &answer);
        let ledger = &self.run.runtime.shared.ledger;
        // The request counts as in flight until its reservation is recorded, so that a process killed now
        // forgets no more than that.
        ledger.recorded(&admitted.hold).await;
        ledger.settle(admitted.hold, spent);
        Ok(Answered { offered, asked_output, streams, answer, recording, recorded: None })
    }

    /// Takes a permit of the stage, if it has a limit of its own.
    async fn stage_permit(&self) -> Result<Option<StagePermit>, SkipReason> {
        let Some(limit) = &self.limit else { return Ok(None) };
        let permit = Box::pin(limit.take(self.over())).await;
        permit.map(Some).inspect_err(|reason| self.run.log_skip(*reason, None))
    }

    /// Masks what is to be recorded of a request, in the CPU pool. Without a recording, it does nothing.
    pub(super) async fn record(&self, answered: &mut Answered, judged: &JudgedAnswer) {
        let Some(recording) = answered.recording.take() else { return };
        if self.run.runtime.plan.profile.record == RecordMode::Failures && judged.outcome == Outcome::Ok {
            return;
        }
        answered.recorded = self.work(move || Arc::new(recording.masked())).await.ok();
    }

    /// Completes a request with the result of its checks.
    pub(super) fn close(&self, answered: Answered, judged: JudgedAnswer) -> Played {
        let Answered { offered, asked_output, streams, answer, recording: _, recorded } = answered;
        let plan = &self.run.runtime.plan;
        self.ended(offered, |request| {
            (request.asked_stream, request.asked_output_tokens) = (streams, asked_output);
            request.recorded = recorded;
            fill(request, Arc::unwrap_or_clone(answer), judged, plan);
            let fluidity = plan.profile.fluidity.filter(|_| streams);
            request.token_deadlines = fluidity.and_then(|fluidity| fluidity::deadlines(fluidity, request));
        })
    }

    /// Runs work in the CPU pool. Fails as `internal` if the work panics, and as `cancelled` if requests in
    /// flight are being ended before it is done.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            done = self.run.runtime.shared.cpu_pool.run(work) => done.ok_or(Failure::Internal),
            () = cancelled_for_long(self.hard()) => Err(Failure::Cancelled),
        }
    }

    /// Runs the checks of an answer in the CPU pool. How long they take depends on the content of the answer,
    /// so they count as part of the request and must finish within its timeout.
    pub(super) async fn check<T: Send + 'static>(
        &self,
        step: &Step,
        answer: &Answer,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unchecked> {
        let runtime = &self.run.runtime;
        let marks = &answer.observed.marks;
        let allowed = step.timeout.unwrap_or(runtime.plan.target.timeouts.total);
        let until = cpu_pool::deadline(marks.sent.unwrap_or(marks.end), allowed);
        let cpu_pool = &runtime.shared.cpu_pool;
        let done = if answer.body.as_ref().is_some_and(|body| body.len() > MAX_SHARED_CHECK) {
            Either::Left(cpu_pool.run_exclusive_within(until, work))
        } else {
            Either::Right(cpu_pool.run_within(until, work))
        };
        tokio::select! {
            biased;
            done = done => done.map_err(Unchecked::Unfinished),
            () = cancelled_for_long(self.hard()) => Err(Unchecked::Cancelled),
        }
    }

    fn hard(&self) -> &CancellationToken {
        &self.run.runtime.shared.hard
    }

    /// Completes a request for which there is nothing to send.
    fn unsendable(&self, offered: OfferedRequest, why: Unsendable) -> Played {
        self.ended(offered, |request| {
            request.outcome = Outcome::Failed(why.failure);
            request.detail = Some(why.detail);
        })
    }

    fn ended(&self, offered: OfferedRequest, fill: impl FnOnce(&mut Request)) -> Played {
        let slos = &self.run.runtime.plan.profile.slos;
        let ended = offered.finish(|request| {
            fill(request);
            // Last, because verdicts depend on all other fields.
            request.verdicts = slo::verdicts(slos, request);
        });
        let Some(request) = ended else { return Played::NotOffered };
        self.log(&request);
        Played::Ended(request)
    }

    /// Acquires what a request needs, starting with what is cheapest to give back.
    fn admit(&self, due: Instant, call: &Call) -> Result<AdmittedRequest<'_>, SkipReason> {
        if Instant::now().saturating_duration_since(due) > self.run.runtime.shared.overrun {
            self.run.log_skip(SkipReason::Overrun, None);
            return Err(SkipReason::Overrun);
        }
        let runtime = &self.run.runtime;
        // The target's permit first: a request that cannot get one must not take a permit away from other
        // targets.
        let places = runtime.in_flight.take().and_then(|own| Some((own, runtime.shared.in_flight.take()?)));
        let Some(places) = places else {
            self.run.log_skip(SkipReason::InFlight, None);
            return Err(SkipReason::InFlight);
        };
        let open = runtime.margins.open(ReservedAmounts::of(call));
        match self.reserve(call, &open) {
            Ok(hold) => Ok(AdmittedRequest { hold, open, _places: places }),
            Err(exhausted) => {
                self.run.log_skip(SkipReason::Budget, Some(&exhausted));
                Err(SkipReason::Budget)
            }
        }
    }

    /// Reserves the most that a request can cost by its bounds, and what it may use beyond them. Where that does
    /// not fit, one request at a time goes out without a margin: so a budget can be spent to its end, and what has
    /// been learned is corrected when it no longer holds.
    fn reserve(&self, call: &Call, open: &OpenRequest<'_>) -> Result<Hold, Exhausted> {
        let plan = &self.run.runtime.plan;
        let ledger = &self.run.runtime.shared.ledger;
        let price = plan.target.price.as_ref();
        let most = settle::most(call, price);
        match ledger.reserve(&plan.pair, most, open.margin.spend(price)) {
            Err(Exhausted { why: BudgetRefusal::Margin, .. }) if open.alone => {
                ledger.reserve(&plan.pair, most, Spend::default())
            }
            reserved => reserved,
        }
    }

    /// Learns from an answer how far its request was beyond its bounds. A request that failed teaches only what the
    /// server reports.
    fn learn(&self, asked: ReservedAmounts, answer: &Answer) {
        let (input, output) = settle::reported(answer);
        if answer.outcome == Outcome::Ok || input.is_some() {
            self.run.runtime.margins.learn(asked, input, output);
        }
    }

    /// Calls the target. A panic of the caller is a bug on our side. A caller that ignores the cancellation
    /// is dropped, and there is no answer.
    async fn call(&self, sending: Box<Sending>, due: Instant, ids: TraceIds) -> Option<Answer> {
        let started = Instant::now();
        let caller = self.run.runtime.caller();
        let _used = self.run.runtime.used.begin();
        let answer = async {
            // Whole, so that its box does not stay for as long as the answer.
            let sending = unboxed(sending);
            let Sending { call, options } = sending;
            caller.call(call, Context { due, ids, cancel: self.hard().clone(), options }).await
        };
        let answer = AssertUnwindSafe(answer).catch_unwind();
        tokio::select! {
            biased;
            answer = answer => Some(answer.unwrap_or_else(|_| {
                let mut marks = Marks::begin(due, started);
                marks.end = Instant::now();
                Answer::failed(Failure::Internal, "the client panicked", marks)
            })),
            () = cancelled_for_long(self.hard()) => None,
        }
    }

    fn log(&self, request: &Request) {
        let Outcome::Failed(failure) = request.outcome else { return };
        let Some(suppressed) = self.run.runtime.log_throttle.line() else { return };
        let message = match failure {
            _ if request.outcome.judges_target() => "request failed",
            Failure::Cancelled => "request stopped",
            _ => "request failed because of the agent, which does not count against the target",
        };
        tracing::warn!(
            run = self.run.ident.id,
            seq = request.seq,
            step = (!request.place.step.is_empty()).then_some(&*request.place.step),
            outcome = failure.label(),
            attempt = (request.attempt > 1).then_some(request.attempt),
            status = request.observed.status,
            trace_id = request.ids.trace_hex(),
            span_id = request.ids.span_hex(),
            detail = request.detail,
            suppressed,
            "{message}"
        );
    }
}

/// An answer that has just come, and what is to be recorded of it.
fn received(mut answer: Answer, queued: Duration) -> (Arc<Answer>, Option<Arc<CallRecording>>) {
    answer.observed.marks.queued = queued;
    let recording = answer.recording.take();
    (Arc::new(answer), recording)
}

async fn cancelled_for_long(hard: &CancellationToken) {
    hard.cancelled().await;
    tokio::time::sleep(CANCEL_LEEWAY).await;
}

/// Completes the record of a request with its answer.
fn fill(request: &mut Request, answer: Answer, judged: JudgedAnswer, plan: &PairPlan) {
    request.text_chars = answer.text.chars().count() as u64;
    request.outcome = judged.outcome;
    request.detail = judged.detail;
    request.failed_checks = judged.failed_checks;
    request.stalls = answer.observed.gaps.stalls(plan.target.stall_threshold);
    request.cost = settle::cost(&answer.observed.tokens, plan.target.price.as_ref());
    request.observed = answer.observed;
}

/// The value, without its box.
#[expect(clippy::boxed_local, reason = "the box is freed here, and not at the end of its caller")]
fn unboxed<T>(boxed: Box<T>) -> T {
    *boxed
}
