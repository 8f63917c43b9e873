//! Derives the result of a run, and its reason, from what the run counted. Pure.

use crate::event::{Failure, Outcome, RunResult, SkipReason};
use crate::plan::Objective;
use crate::tally::RunTally;
use std::time::Duration;

/// A run with more dispatch lag than this is degraded, whatever it measured.
const MAX_LAG: Duration = Duration::from_millis(50);

/// A run with more dispatch lag than this share of its median time to first token is degraded.
const LAG_SHARE: f64 = 0.05;

/// Whether the load was offered to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offered {
    /// Every stage ran to its end.
    Whole,
    /// The run was stopped early.
    Stopped,
    /// A bug on our side ended it.
    Broken,
}

/// The result of a run and the reason for it. The first that applies: `cancelled` (a run that was cut short
/// says nothing about its load), `degraded` (the numbers of a late prober say nothing about the target),
/// `failed`, `ok`. The reason lists everything that was found.
pub(super) fn result(tally: &RunTally, offered: Offered, slos: &[Objective]) -> (RunResult, Option<String>) {
    let cancelled = cancelled(tally, offered);
    let degraded = degraded(tally);
    let failed = failed(tally, slos);
    let result = match (&cancelled, &degraded, &failed) {
        (Some(_), _, _) => RunResult::Cancelled,
        (None, Some(_), _) => RunResult::Degraded,
        (None, None, Some(_)) => RunResult::Failed,
        (None, None, None) => RunResult::Ok,
    };
    let reasons: Vec<String> = [cancelled, degraded, failed].into_iter().flatten().collect();
    (result, (!reasons.is_empty()).then(|| reasons.join("; ")))
}

fn cancelled(tally: &RunTally, offered: Offered) -> Option<String> {
    match offered {
        Offered::Stopped => return Some("it was stopped before its load was offered".to_owned()),
        Offered::Broken => return Some("a fault of the prober ended it".to_owned()),
        Offered::Whole => {}
    }
    let open = tally.ended[Outcome::Failed(Failure::Cancelled)].measured;
    (open > 0).then(|| format!("{open} requests were cancelled at shutdown"))
}

fn degraded(tally: &RunTally) -> Option<String> {
    let overrun = tally.skipped[SkipReason::Overrun].total();
    if overrun > 0 {
        return Some(format!("{overrun} requests were skipped because their time had passed"));
    }
    let lag = tally.dispatch_lag.quantile(0.99)?;
    let over = |bound: String| format!("the dispatch lag's p99 of {} is over {bound}", millis(lag));
    if lag > MAX_LAG {
        return Some(over(millis(MAX_LAG)));
    }
    let first_token = tally.first_token.quantile(0.5)?;
    let late = lag > first_token.mul_f64(LAG_SHARE);
    late.then(|| over(format!("5% of the median time to first token of {}", millis(first_token))))
}

fn failed(tally: &RunTally, slos: &[Objective]) -> Option<String> {
    let skipped = |reason| tally.skipped[reason].total();
    if tally.offered.total() > 0 && tally.offered == tally.all_skipped() {
        let (budget, in_flight) = (skipped(SkipReason::Budget), skipped(SkipReason::InFlight));
        return Some(format!(
            "nothing was sent: {budget} for the budget, {in_flight} for the in-flight limit"
        ));
    }
    if tally.offered.measured == 0 {
        return None;
    }
    if slos.is_empty() {
        return failures(tally);
    }
    if tally.judged.is_empty() {
        return Some("no request says anything about the target".to_owned());
    }
    let missed: Vec<String> = slos.iter().filter_map(|slo| missed(tally, slo)).collect();
    (!missed.is_empty()).then(|| format!("missed objectives: {}", missed.join(", ")))
}

fn failures(tally: &RunTally) -> Option<String> {
    let failed = |(outcome, n): (Outcome, u64)| match outcome {
        Outcome::Failed(failure) if n > 0 && failure != Failure::Cancelled => {
            Some(format!("{n} {}", failure.label()))
        }
        Outcome::Ok | Outcome::Failed(_) => None,
    };
    let ended = tally.ended.iter().map(|(outcome, n)| (outcome, n.measured));
    let failures: Vec<String> = ended.filter_map(failed).collect();
    (!failures.is_empty()).then(|| format!("failed requests: {}", failures.join(", ")))
}

fn missed(tally: &RunTally, slo: &Objective) -> Option<String> {
    let judged = *tally.judged.get(&slo.name)?;
    let missed = judged.good_ratio().is_some_and(|ratio| ratio < slo.objective);
    missed.then(|| format!("{} {} of {} bad", slo.name, judged.errors, judged.events))
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
