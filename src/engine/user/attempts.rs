//! What a failed request asks of its user: another attempt, where the profile wants one, and in any case no request
//! before the time that the target asks for.

use super::ScenarioUser;
use super::ongoing::{Interruption, OngoingJourney};
use crate::engine::request::Attempt;
use crate::event::{Outcome, Request};
use crate::pacing;
use crate::plan::Retry;
use crate::scenario::JourneyStep;
use crate::seed;
use std::time::Duration;
use tokio::time::Instant;

/// The longest `Retry-After` that is waited for where the stage has no end of its own. A run that lasts for hours
/// because a quota is used up holds up those that are due after it.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(10);

impl ScenarioUser {
    /// Plays a request, and plays it again as long as it fails in a way for which the profile asks for another attempt.
    /// Returns why the journey was interrupted, if it was: where a further attempt was not sent, the failure that it
    /// followed.
    pub(super) async fn attempts(
        &mut self,
        at: &JourneyStep,
        journey: &mut OngoingJourney,
    ) -> Option<Interruption> {
        let mut attempt = Attempt::FIRST;
        let mut before = None;
        loop {
            match self.request(at, attempt, journey).await {
                Some(Interruption::Failed(failed)) => {
                    let due = self.next_attempt(&failed, attempt.number, journey.ended);
                    let next = attempt.after(failed.seq);
                    let interruption = Some(Interruption::Failed(failed));
                    let Some(due) = due else { return interruption };
                    (attempt, before, journey.due) = (next, interruption, due);
                }
                Some(unsent) => {
                    if matches!(unsent, Interruption::Stopped) {
                        self.stage.run.interrupt(self.stage.warm_up);
                    }
                    return before.or(Some(unsent));
                }
                None => return None,
            }
        }
    }

    /// How the profile wants a request to be sent again after this attempt; `None` if it was the last one.
    pub(super) fn retry(&self, attempt: u32) -> Option<&Retry> {
        let retry = self.stage.run.runtime.plan.profile.retry.as_ref();
        retry.filter(|retry| self.thinks && attempt < retry.attempts)
    }

    /// When the next attempt is due; `None` if there is none, or if it would come after the end of the stage.
    fn next_attempt(&self, failed: &Request, attempt: u32, ended: Option<Instant>) -> Option<Instant> {
        let retry = self.retry(attempt)?;
        let Outcome::Failed(failure) = failed.outcome else { return None };
        if !retry.on.contains(&failure) {
            return None;
        }
        let asked = failed.observed.retry_after.unwrap_or_default();
        let parts = [
            self.context.seeds.draws,
            self.stage.number.into(),
            self.id.number().into(),
            self.progress.iteration,
            u64::from(attempt),
        ];
        let backoff = pacing::backoff(retry.backoff, attempt, &mut seed::rng("retry", &parts));
        let ended = ended.unwrap_or(failed.observed.marks.end);
        let due = ended.checked_add(backoff.max(asked))?;
        let is_in_time = match self.stage.end {
            Some(end) => due < end,
            None => asked <= MAX_RETRY_AFTER,
        };
        is_in_time.then_some(due)
    }

    /// The shortest pause after a journey. A user of a closed loop waits for as long as the target asked for, in place
    /// of hammering it; where that is longer than its stage, it sends no more.
    pub(super) fn pause(&self, pause: Duration, last: Option<&(JourneyStep, Interruption)>) -> Duration {
        let Some((_, Interruption::Failed(failed))) = last else { return pause };
        let asked = failed.observed.retry_after.unwrap_or_default();
        pause.max(if self.stage.end.is_some() { asked } else { asked.min(MAX_RETRY_AFTER) })
    }
}
