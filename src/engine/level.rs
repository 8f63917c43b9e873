//! What a capacity search observes under one load. It listens to the facts of the run, and stops the load as soon as
//! more of it would do harm: when the target fails, or a budget is exhausted.

use super::result;
use crate::capacity::{JudgedObjective, LoadObservation, SearchInterruption};
use crate::event::{Failure, LoadMeasurement, LoadVerdict, Outcome, Request, SkipReason};
use crate::fact::Fact;
use crate::plan::Objective;
use crate::tally::{Distribution as _, RunTally, Times};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A target has failed if it failed more than half of its last requests; at least 10 of them, and at most 20, are looked at.
const MIN_RECENT: u32 = 10;
const MAX_RECENT: u32 = 20;

/// The prober is the limit if more than this share of the requests was late: one that cannot keep up is late with nearly
/// all of them, and a short pause of its machine makes a few late.
const LATE_SHARE: f64 = 0.5;

/// Likewise if more than this share was over the limit of requests in flight, unless those that were sent clearly missed
/// the objectives. It is small, because a user that was refused pauses.
const REFUSED_SHARE: f64 = 0.01;

/// A load, in all its rounds.
pub(super) struct LoadObserver {
    /// Cancelled when no more of the load is to be offered.
    pub(super) stop: CancellationToken,
    seen: Mutex<ObservedLoad>,
}

/// What was counted.
#[derive(Default)]
struct ObservedLoad {
    tally: RunTally,
    /// Time per output token over the whole request; the inverse of the pace.
    per_token: Times<2>,
    recent: RecentFailures,
    progress: Progress,
    /// What ended while the load was measured, and how long that was.
    measured: (Progress, Duration),
}

/// The last requests that judge the target, warm-up included.
#[derive(Default)]
struct RecentFailures {
    /// How many there are.
    judged: u32,
    /// One bit for each, the latest lowest; set if the target failed it.
    broken: u32,
    /// How many of how many were failed when it was too many.
    too_many: Option<(u32, u32)>,
}

impl RecentFailures {
    fn add(&mut self, outcome: Outcome) {
        if !outcome.judges_target() || self.too_many.is_some() {
            return;
        }
        self.judged = (self.judged + 1).min(MAX_RECENT);
        self.broken = ((self.broken << 1) | u32::from(is_broken(outcome))) & ((1 << MAX_RECENT) - 1);
        let broken = self.broken.count_ones();
        if self.judged >= MIN_RECENT && 2 * broken > self.judged {
            self.too_many = Some((broken, self.judged));
        }
    }
}

/// What has ended so far, warm-up included.
#[derive(Clone, Copy, Default)]
pub(super) struct Progress {
    requests: u64,
    output_tokens: u64,
}

/// Whether the target is broken, rather than busy: a refusal is an answer.
fn is_broken(outcome: Outcome) -> bool {
    let refused = [Failure::RateLimited, Failure::Overloaded, Failure::Check].map(Outcome::Failed);
    outcome.judges_target() && outcome != Outcome::Ok && !refused.contains(&outcome)
}

impl LoadObserver {
    /// A load that nothing is known about. Cancelling `stop` stops it as well.
    pub(super) fn new(stop: &CancellationToken) -> Self {
        Self { stop: stop.child_token(), seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, ObservedLoad> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a fact of the run.
    pub(super) fn record(&self, fact: &Fact) {
        let mut seen = self.seen();
        fact.count_in(&mut seen.tally);
        if let Fact::Ended { request, .. } = fact {
            seen.ended(request);
        }
        if seen.recent.too_many.is_some() || seen.tally.skipped[SkipReason::Budget].total() > 0 {
            self.stop.cancel();
        }
    }

    /// What has ended so far.
    pub(super) fn progress(&self) -> Progress {
        self.seen().progress
    }

    /// Everything that has ended since `before` was measured, in this time.
    pub(super) fn measured(&self, before: Progress, time: Duration) {
        let mut seen = self.seen();
        let now = seen.progress;
        let (sum, all) = &mut seen.measured;
        sum.requests += now.requests - before.requests;
        sum.output_tokens += now.output_tokens - before.output_tokens;
        *all += time;
    }

    /// What was observed. `whole` says whether the last round was played to its end.
    pub(super) fn observed<'a>(
        &self,
        objectives: impl Iterator<Item = &'a Objective>,
        whole: bool,
    ) -> LoadObservation {
        let seen = self.seen();
        let judged = objectives.map(|slo| {
            let counts = seen.tally.judged.get(&slo.name).copied().unwrap_or_default();
            JudgedObjective {
                name: slo.name.clone(),
                objective: slo.objective,
                events: counts.events,
                errors: counts.errors,
            }
        });
        LoadObservation {
            judged: judged.collect(),
            offered: seen.tally.offered.measured,
            interruption: seen.interruption(whole),
            measured: seen.point(),
        }
    }
}

impl ObservedLoad {
    fn ended(&mut self, request: &Request) {
        self.recent.add(request.outcome);
        self.progress.requests += u64::from(request.outcome == Outcome::Ok);
        self.progress.output_tokens += request.observed.tokens.output.map_or(0, |count| count.n);
        let pace =
            request.observed.output_pace().filter(|_| request.outcome.is_answered() && !request.warm_up);
        if let Some(Ok(time)) = pace.map(|pace| Duration::try_from_secs_f64(1.0 / pace)) {
            self.per_token.record(time);
        }
    }

    fn interruption(&self, whole: bool) -> Option<SearchInterruption> {
        let skipped = |reason| self.tally.skipped[reason].total();
        if let Some((broken, of)) = self.recent.too_many {
            return Some(SearchInterruption::TargetFailed(format!(
                "{broken} of its last {of} requests failed"
            )));
        }
        if skipped(SkipReason::Budget) > 0 {
            return Some(SearchInterruption::Budget);
        }
        if !whole {
            return Some(SearchInterruption::Stopped);
        }
        let is_more = |part: u64, share: f64, of: u64| part as f64 > share * of as f64;
        // What a prober that is late measures is no miss of the target, so this comes first.
        let late = result::lateness(&self.tally);
        if is_more(late.late, LATE_SHARE, late.of) {
            return Some(SearchInterruption::Late { why: late.words(), of: late.of });
        }
        let refused = skipped(SkipReason::InFlight);
        let offered = self.tally.offered.total();
        is_more(refused, REFUSED_SHARE, offered).then(|| {
            let why = format!("{refused} of {offered} requests were over the in-flight limit");
            SearchInterruption::LeftOut(why)
        })
    }

    fn point(&self) -> LoadMeasurement {
        let (ended, time) = self.measured;
        let per_second = |n: u64| if time.is_zero() { 0.0 } else { n as f64 / time.as_secs_f64() };
        let per_token = self.per_token.quantile(0.5).filter(|time| !time.is_zero());
        LoadMeasurement {
            load: 0.0,
            verdict: LoadVerdict::Unjudged,
            missed: Vec::new(),
            samples: 0,
            seconds: time.as_secs_f64(),
            requests_per_second: per_second(ended.requests),
            output_tokens_per_second: per_second(ended.output_tokens),
            time_to_first_token_p95_seconds: self.tally.first_token.quantile(0.95).map(|it| it.as_secs_f64()),
            output_pace_p50_tokens_per_second: per_token.map(|time| time.as_secs_f64().recip()),
        }
    }
}
