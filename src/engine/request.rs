//! One request from its due time to its record: permits, budget, the call, checks, cost, verdicts.

use super::in_flight::Place;
use super::run::Prepared;
use super::settle::{self, Asked};
use super::stage::Stage;
use super::{CANCEL_LEEWAY, OVERRUN};
use crate::checks::{self, Evidence};
use crate::client::{Answer, Context, How};
use crate::event::{Failure, Hold, Marks, Outcome, Request, SkipReason, Ticket, TraceIds};
use crate::exchange::Call;
use crate::plan::{PairPlan, Work};
use crate::slo;
use futures_util::FutureExt as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What came of a request, as far as a user cares.
pub(super) enum Played {
    /// It was not sent, or not even offered.
    Skipped,
    /// It has ended.
    Ended {
        /// How.
        outcome: Outcome,
        /// When.
        at: Instant,
    },
}

/// What a request holds while it is out.
struct Admitted {
    hold: Hold,
    _place: Place,
}

impl Stage {
    /// The ticket of a request that is offered now; `None` if the pair has just left the plan.
    pub(super) fn ticket(&self, due: Instant, ids: TraceIds) -> Option<Ticket> {
        let run = &self.run;
        run.player.gate.pass(|| {
            run.begin();
            Ticket::offer(
                Arc::<super::record::Record>::clone(&run.record),
                Arc::clone(&self.place),
                Arc::clone(&run.ident),
                run.next_seq(),
                self.warm_up,
                ids,
                due,
            )
        })
    }

    /// Plays a request whose due time has come.
    pub(super) async fn send(&self, due: Instant, prepared: Prepared) -> Played {
        let ids = prepared.ids;
        let Some(ticket) = self.ticket(due, ids) else { return Played::Skipped };
        let Some(call) = prepared.call else { return self.unspeakable(ticket) };
        let admitted = match self.admit(due, &call) {
            Ok(admitted) => admitted,
            Err(reason) => {
                ticket.skip(reason);
                return Played::Skipped;
            }
        };
        let plan = &self.run.player.plan;
        let asked = Asked { most_input: call.most_input_tokens, output: call.output_tokens };
        let Some(answer) = self.call(call, due, ids).await else {
            // The ticket records `cancelled`; the reservation stays spent, because the target may charge for it.
            return Played::Ended { outcome: Outcome::Failed(Failure::Cancelled), at: Instant::now() };
        };
        let spent = settle::actual(&answer, asked, plan.target.price.as_ref());
        self.run.player.shared.ledger.settle(admitted.hold, spent);
        let at = answer.marks.end;
        match ticket.finish(|request| fill(request, answer, asked.output, plan)) {
            Some(request) => {
                self.log(&request);
                Played::Ended { outcome: request.outcome, at }
            }
            None => Played::Skipped,
        }
    }

    /// Ends a request that could not be built.
    fn unspeakable(&self, ticket: Ticket) -> Played {
        if let Some(request) =
            ticket.finish(|request| request.detail = Some("the request could not be built".into()))
        {
            self.log(&request);
        }
        Played::Ended { outcome: Outcome::Failed(Failure::Internal), at: Instant::now() }
    }

    /// Takes what a request needs, in the order in which it costs least to give back.
    fn admit(&self, due: Instant, call: &Call) -> Result<Admitted, SkipReason> {
        if Instant::now().saturating_duration_since(due) > OVERRUN {
            self.run.log_skip(SkipReason::Overrun, None);
            return Err(SkipReason::Overrun);
        }
        let player = &self.run.player;
        let Some(place) = player.shared.in_flight.take() else {
            self.run.log_skip(SkipReason::InFlight, None);
            return Err(SkipReason::InFlight);
        };
        let most = settle::most(call, player.plan.target.price.as_ref());
        match player.shared.ledger.reserve(&player.plan.profile.name, most) {
            Ok(hold) => Ok(Admitted { hold, _place: place }),
            Err(exhausted) => {
                self.run.log_skip(SkipReason::Budget, Some(&exhausted));
                Err(SkipReason::Budget)
            }
        }
    }

    /// Calls the target. A caller that panics has failed by our own fault; one that does not heed the
    /// cancellation is dropped, and gives no answer.
    async fn call(&self, call: Call, due: Instant, ids: TraceIds) -> Option<Answer> {
        let player = &self.run.player;
        let started = Instant::now();
        let context = Context { due, ids, cancel: player.shared.hard.clone(), how: How::default() };
        let caller = player.caller();
        let answer = AssertUnwindSafe(async { caller.call(call, context).await }).catch_unwind();
        tokio::select! {
            biased;
            answer = answer => Some(answer.unwrap_or_else(|_| {
                let mut marks = Marks::begin(due, started);
                marks.end = Instant::now();
                Answer::failed(Failure::Internal, "the client panicked", marks)
            })),
            () = cancelled_for_long(&player.shared.hard) => None,
        }
    }

    fn log(&self, request: &Request) {
        let Outcome::Failed(failure) = request.outcome else { return };
        let Some(suppressed) = self.run.player.quiet.line() else { return };
        tracing::warn!(
            run = self.run.ident.id,
            seq = request.seq,
            outcome = failure.label(),
            status = request.status,
            trace_id = request.ids.trace_hex(),
            span_id = request.ids.span_hex(),
            detail = request.detail,
            suppressed,
            "request failed"
        );
    }
}

async fn cancelled_for_long(hard: &CancellationToken) {
    hard.cancelled().await;
    tokio::time::sleep(CANCEL_LEEWAY).await;
}

fn evidence(answer: &Answer) -> Evidence<'_> {
    Evidence {
        status: answer.status,
        headers: &answer.headers,
        text: &answer.text,
        body: answer.body.as_deref(),
        finish_reason: answer.finish_reason.as_deref(),
        tokens: &answer.tokens,
        marks: &answer.marks,
        streamed: answer.streamed,
    }
}

/// Fills the record of a request from its answer.
fn fill(request: &mut Request, answer: Answer, asked_output_tokens: Option<u64>, plan: &PairPlan) {
    request.text_chars = answer.text.chars().count() as u64;
    request.outcome = answer.outcome;
    request.detail = answer.detail.clone();
    if answer.outcome == Outcome::Ok {
        if let Work::Prompts(work) = &plan.profile.work {
            request.failed_checks = checks::failed(&work.expect, &evidence(&answer));
        }
        if !request.failed_checks.is_empty() {
            request.outcome = Outcome::Failed(Failure::Check);
            request.detail = Some(format!("failed checks: {}", request.failed_checks.join(", ")));
        }
    }
    request.status = answer.status;
    request.marks = answer.marks;
    request.streamed = answer.streamed;
    request.stalls = answer.gaps.stalls(plan.target.stall_threshold);
    request.gaps = answer.gaps;
    request.cost = settle::cost(&answer.tokens, plan.target.price.as_ref());
    request.tokens = answer.tokens;
    request.asked_output_tokens = asked_output_tokens;
    request.finish_reason = answer.finish_reason;
    request.connection = answer.connection;
    request.server = answer.server;
    request.limits = answer.limits;
    // Last, because it looks at all of the above.
    request.verdicts = slo::verdicts(&plan.profile.slos, request);
}
