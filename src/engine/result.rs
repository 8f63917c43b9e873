//! Derives the result of a run, and its reason, from what the run counted. Pure.

use crate::event::{Failure, Outcome, RunResult, SearchEnd, SearchReport, SkipReason};
use crate::plan::Objective;
use crate::tally::RunTally;
use std::time::Duration;

/// A request with more dispatch lag than this is late, whatever was measured.
const MAX_LAG: Duration = Duration::from_millis(50);

/// A request with less dispatch lag than this is not late: it is the resolution of timers.
const MIN_LAG: Duration = Duration::from_millis(2);

/// Between the two, a request is late if its dispatch lag is more than this share of the run's median time to first
/// token.
const LAG_SHARE: f64 = 0.05;

/// A run is degraded if more than this share of its requests, and more than one, were late.
const LATE_SHARE: f64 = 0.01;

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

/// What became of the load that was to be offered.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfferedLoad {
    /// Whether it was offered to its end. A journey is, once its first request is.
    pub(super) offered: Offered,
    /// Journeys that a stop ended between two requests.
    pub(super) interrupted: u64,
}

/// How a run ended.
#[derive(Debug)]
pub(super) struct RunEnd {
    /// The first that applies: `cancelled` (a run that was cut short says nothing about its load), `failed`, `ok`.
    pub(super) result: RunResult,
    /// Everything that was found.
    pub(super) reason: Option<String>,
    /// How the prober was late, if it was. This changes no result.
    pub(super) degraded: Option<String>,
}

/// How a run ended, by what it counted.
///
/// A capacity search misses objectives on purpose. It is `ok` if it has found the capacity, or that it is more; its
/// answer is the reason.
pub(super) fn of(
    tally: &RunTally,
    load: OfferedLoad,
    slos: &[Objective],
    search: Option<&SearchReport>,
) -> RunEnd {
    let cancelled = cancelled(tally, load);
    let (is_ok, reason) = if let Some(report) = search {
        let is_ok = matches!(report.end, SearchEnd::Found | SearchEnd::AtLeast);
        (is_ok, Some(report.summary.clone()))
    } else {
        let failed = failed(tally, slos);
        (failed.is_none(), failed)
    };
    let result = match (&cancelled, is_ok) {
        (Some(_), _) => RunResult::Cancelled,
        (None, false) => RunResult::Failed,
        (None, true) => RunResult::Ok,
    };
    let reasons: Vec<String> = [cancelled, reason].into_iter().flatten().collect();
    let reason = (!reasons.is_empty()).then(|| reasons.join("; "));
    RunEnd { result, reason, degraded: degraded(tally) }
}

fn cancelled(tally: &RunTally, load: OfferedLoad) -> Option<String> {
    match load.offered {
        Offered::Stopped => return Some("it was stopped before its load was offered".to_owned()),
        Offered::Broken => return Some("a fault of the prober ended it".to_owned()),
        Offered::Whole => {}
    }
    let open = tally.ended[Outcome::Failed(Failure::Cancelled)].measured;
    let requests = (open > 0).then(|| format!("{open} requests were cancelled at shutdown"));
    let journeys = match load.interrupted {
        0 => None,
        1 => Some("1 journey was stopped before its end".to_owned()),
        n => Some(format!("{n} journeys were stopped before their end")),
    };
    let reasons: Vec<String> = [requests, journeys].into_iter().flatten().collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

fn degraded(tally: &RunTally) -> Option<String> {
    let lateness = lateness(tally);
    let Lateness { late, of, .. } = lateness;
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more")]
    let many = late > 1 && late as f64 > LATE_SHARE * of as f64;
    many.then(|| lateness.words())
}

/// How many requests the prober sent late.
pub(super) struct Lateness {
    /// Number of late requests.
    pub(super) late: u64,
    /// Number of all.
    pub(super) of: u64,
    /// Those of the late ones that were not sent at all.
    overrun: u64,
    bound: Duration,
    first_token: Option<Duration>,
}

/// Counts the late requests of a run.
pub(super) fn lateness(tally: &RunTally) -> Lateness {
    let first_token = tally.first_token.quantile(0.5);
    let bound = first_token.map_or(MAX_LAG, |time| time.mul_f64(LAG_SHARE).clamp(MIN_LAG, MAX_LAG));
    // A request whose time had passed was too late to be sent at all.
    let overrun = tally.skipped[SkipReason::Overrun].measured;
    let late = tally.dispatch_lag.over(bound) + overrun;
    Lateness { late, of: tally.dispatch_lag.count() + overrun, overrun, bound, first_token }
}

impl Lateness {
    /// For humans.
    pub(super) fn words(&self) -> String {
        let Self { late, of, overrun, bound, first_token } = self;
        let skipped = if *overrun > 0 {
            format!(", {overrun} of them so late that they were skipped")
        } else {
            String::new()
        };
        let against = first_token.map_or_else(String::new, |time| {
            format!(", against a median time to first token of {}", millis(time))
        });
        format!("{late} of {of} requests were more than {} late{skipped}{against}", millis(*bound))
    }
}

fn failed(tally: &RunTally, slos: &[Objective]) -> Option<String> {
    if tally.offered.total() > 0 && tally.offered == tally.all_skipped() {
        let skipped = SkipReason::ALL.iter().map(|reason| (*reason, tally.skipped[*reason].total()));
        let reasons: Vec<String> =
            skipped.filter(|(_, n)| *n > 0).map(|(reason, n)| format!("{n} {}", reason.label())).collect();
        return Some(format!("nothing was sent: skipped requests: {}", reasons.join(", ")));
    }
    if tally.offered.measured == 0 {
        return None;
    }
    let says_nothing = || "no request says anything about the target".to_owned();
    if slos.is_empty() {
        let own = tally.not_judged() > tally.ended[Outcome::Failed(Failure::Cancelled)].measured;
        return failures(tally).or_else(|| (own && tally.ok() == 0).then(says_nothing));
    }
    if tally.judged.is_empty() {
        return Some(says_nothing());
    }
    let missed: Vec<String> = slos.iter().filter_map(|slo| missed(tally, slo)).collect();
    if missed.is_empty() {
        return unreached(tally, slos);
    }
    Some(format!("missed objectives: {}", missed.join(", ")))
}

/// A step that no journey came to has no events, so what failed before it decides.
fn unreached(tally: &RunTally, slos: &[Objective]) -> Option<String> {
    let slo = slos.iter().find(|slo| slo.step.is_some() && !tally.judged.contains_key(&slo.name))?;
    Some(format!("{} judged no request; {}", slo.name, failures(tally)?))
}

/// What failed, as far as it says something about the target.
fn failures(tally: &RunTally) -> Option<String> {
    let ended = tally.ended.iter().map(|(outcome, n)| (outcome, n.measured));
    let failed = ended.filter(|(outcome, n)| *n > 0 && outcome.judges_target() && *outcome != Outcome::Ok);
    let failures: Vec<String> = failed.map(|(outcome, n)| format!("{n} {}", outcome.label())).collect();
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
