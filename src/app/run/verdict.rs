//! The verdict on the runs of `tokenbeat run`: the exit code, and the reasons for it, which are told on stderr. There is
//! no miss without a reason.

use crate::app::terminal;
use crate::cli::Exit;
use crate::event::{ComparisonReport, ComparisonVerdict, Outcome, Pair, RunResult, RunSummary};
use crate::plan::{Bound, Objective, PairPlan, Shard};
use crate::report::{ObjectiveResult, PairReport, Report, counts};
use crate::vocabulary::{exact_percent, judged_percent};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What was to be run.
pub(super) struct RunRequest<'a> {
    /// The pairs.
    pub(super) pairs: &'a [Arc<PairPlan>],
    /// How long, if that was said.
    pub(super) time: Option<Duration>,
    /// Which shard of it.
    pub(super) shard: Shard,
}

/// The verdict on all runs of an invocation.
pub(super) struct RunVerdict {
    /// 1 if a run was cut short; 2 if an objective or a check failed, if a profile without objectives had a failure, if
    /// nothing was measured or sent or no outcome says anything about the target, or if the treatment of a comparison is
    /// worse than the control. A late prober is reported, but does not change the exit code.
    pub(super) exit: Exit,
    /// Why each pair failed that did; nothing is said of those that were stopped.
    pub(super) reasons: Vec<(Pair, Vec<String>)>,
    lines: Vec<String>,
}

impl RunVerdict {
    /// Judges the runs that have ended.
    pub(super) fn of(
        report: &Report,
        ended: &[RunSummary],
        compared: &[ComparisonReport],
        asked: &RunRequest<'_>,
    ) -> Self {
        let late = |run: &RunSummary| {
            let why = run.degraded.as_ref()?;
            Some(format!("warning: {}: the prober was late, take its numbers with care: {why}", run.run.id))
        };
        let mut lines: Vec<String> = ended.iter().filter_map(late).collect();
        // What was stopped has neither met nor missed anything; what had ended before has.
        let stopped: Vec<&Pair> =
            ended.iter().filter(|run| run.result == RunResult::Cancelled).map(|run| &run.run.pair).collect();
        if !stopped.is_empty() {
            lines.push("error: stopped before the end".to_owned());
        }
        let is_of_others = |pair: &PairReport| !asked.shard.is_whole() && pair.total.offered == 0;
        lines.extend(report.pairs.iter().filter(|pair| is_of_others(pair)).map(|pair| {
            let (profile, target, shard) = (&pair.profile, &pair.target, asked.shard);
            format!("note: {profile} on {target}: nothing of it is for shard {shard}; other shards play it")
        }));
        let warnings = lines.len();
        let mut failed = Vec::new();
        for pair in &report.pairs {
            let (profile, target) = (&pair.profile, &pair.target);
            let is_stopped = stopped.iter().any(|it| it.profile == *profile && it.target == *target);
            if is_stopped || is_of_others(pair) {
                continue;
            }
            let plan = asked
                .pairs
                .iter()
                .find(|it| it.pair.profile == *profile && it.pair.target == *target)
                .map(|plan| &**plan);
            let reasons = reasons(pair, plan, asked.time);
            lines.extend(reasons.iter().map(|why| format!("failed: {profile} on {target}: {why}")));
            if !reasons.is_empty() {
                let pair = Pair { profile: Arc::clone(profile), target: Arc::clone(target) };
                failed.push((pair, reasons));
            }
        }
        let is_over = |it: &&ComparisonReport| stopped.iter().all(|pair| pair.profile != it.profile);
        let worse = compared.iter().filter(|it| it.verdict == ComparisonVerdict::Worse).filter(is_over);
        lines.extend(worse.map(|it| {
            let ComparisonReport { profile, control, treatment, .. } = it;
            format!("failed: {profile}: {treatment} is worse than {control}: {}", it.sentence())
        }));
        let exit = match (stopped.is_empty(), lines.len() > warnings) {
            (false, _) => Exit::Failed,
            (true, true) => Exit::Missed,
            (true, false) => Exit::Ok,
        };
        Self { exit, reasons: failed, lines }
    }

    /// Prints warnings and reasons to stderr.
    pub(super) fn tell(&self) {
        for line in &self.lines {
            terminal::tell(line);
        }
    }
}

/// Why a pair failed, if it did. Without its plan, less is said of a pair of which nothing was measured.
pub(in crate::app) fn reasons(
    pair: &PairReport,
    plan: Option<&PairPlan>,
    time: Option<Duration>,
) -> Vec<String> {
    // A search goes on until objectives are missed; its result says whether it found the capacity.
    if pair.runs.iter().any(|run| run.search.is_some()) {
        let failed = pair.runs.iter().filter(|run| run.result == RunResult::Failed.label());
        let reason = failed.map(|run| run.reason.clone().unwrap_or_else(|| "the search failed".to_owned()));
        return reason.collect();
    }
    let total = &pair.total;
    if total.offered == 0 {
        return vec![format!(
            "nothing was measured: {}",
            plan.map_or(NOT_DUE.to_owned(), |it| idle(it, time))
        )];
    }
    if total.skipped.values().sum::<u64>() == total.offered {
        let all = total.offered;
        return vec![format!(
            "nothing was sent: all {all} requests were skipped ({})",
            counts(&total.skipped)
        )];
    }
    let failures = |wanted: &dyn Fn(&str) -> bool| -> BTreeMap<&'static str, u64> {
        let failures = total.requests.iter().filter(|(outcome, _)| **outcome != "ok" && wanted(outcome));
        failures.map(|(outcome, n)| (*outcome, *n)).collect()
    };
    let ended: u64 = total.requests.values().sum();
    let failed = failures(&Outcome::label_judges_target);
    let judging = failed.values().sum::<u64>();
    // If all failures are the prober's own, no objective was met.
    if ended > 0 && judging == 0 && !total.requests.contains_key("ok") {
        let own = counts(&failures(&|_| true));
        return vec![format!("no request says anything about the target: {own}")];
    }
    let mut reasons: Vec<String> =
        pair.objectives.iter().filter_map(|objective| missed(objective, plan)).collect();
    let answered = total.requests.get("ok").copied().unwrap_or(0);
    reasons.extend(pair.objectives.iter().filter_map(|it| judged_nothing(it, plan?, answered)));
    if total.has_failed_checks() {
        let checks: Vec<String> =
            total.missed_checks().iter().map(|(check, n)| format!("{n} {check}")).collect();
        reasons.push(format!("checks failed: {}", checks.join(", ")));
    }
    let bare = pair.objectives.iter().all(|objective| objective.objective.is_none());
    // A failed request misses every objective but those of steps that no journey came to.
    let unreached = pair.objectives.iter().any(|it| it.objective.is_some() && it.events == 0);
    if judging > 0 && (bare || unreached || !reasons.is_empty()) {
        reasons.push(format!("{judging} of {ended} requests failed: {}", counts(&failed)));
    }
    reasons
}

/// What was asked for and not measured was not met: `objective ttft judged none of 30 answers`, as where streams are
/// answered as a whole. A step may have been left out by the journeys, and journeys may not have ended.
fn judged_nothing(result: &ObjectiveResult, plan: &PairPlan, answered: u64) -> Option<String> {
    let known = plan.profile.slos.iter().find(|it| it.name == result.name)?;
    let expected = known.step.is_none() && !known.metric.is_of_journeys() && answered > 0;
    (expected && result.events == 0)
        .then(|| format!("objective {} judged none of {answered} answers", result.name))
}

const NOT_DUE: &str = "no request was due";

/// `objective ttft (below 0.8 s) missed: 83 of 1200 are bad, 12 may be; 93.08% are good, 99% are wanted`.
fn missed(result: &ObjectiveResult, plan: Option<&PairPlan>) -> Option<String> {
    let ObjectiveResult { name, events, errors, ratio, objective, met } = result;
    if *met != Some(false) {
        return None;
    }
    let (ratio, wanted) = (ratio.unwrap_or_default(), objective.unwrap_or_default());
    let known = plan.and_then(|plan| plan.profile.slos.iter().find(|it| it.name == *name));
    let bound = known.and_then(bound).map_or_else(String::new, |bound| format!(" ({bound})"));
    let may = allowed(*events, wanted);
    let of = if *events == 1 {
        "the only one is bad".to_owned()
    } else {
        format!("{errors} of {events} are bad, {may} may be")
    };
    Some(format!(
        "objective {name}{bound} missed: {of}; {} are good, {} are wanted",
        judged_percent(ratio, wanted),
        exact_percent(wanted)
    ))
}

/// How many of these may be bad.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a count")]
fn allowed(events: u64, objective: f64) -> u64 {
    // The tolerance is for products such as 100 * (1 - 0.99), which are slightly below a whole number.
    ((events as f64).mul_add(1.0 - objective, 1e-9)).floor().max(0.0) as u64
}

fn bound(objective: &Objective) -> Option<String> {
    Some(match objective.bound? {
        Bound::Below(seconds) => format!("below {seconds} s"),
        Bound::BelowByPrompt { base, per_input_token } => {
            format!("below {base} s and {per_input_token} s per input token")
        }
        Bound::Above(pace) => format!("above {pace} tokens/s"),
    })
}

/// Why no request was measured, and what would help.
fn idle(plan: &PairPlan, time: Option<Duration>) -> String {
    let stages = &plan.profile.stages;
    if stages.iter().all(|stage| stage.warm_up) {
        return "every stage of the profile is a warm-up; add one that is not".to_owned();
    }
    let warm_up: Duration =
        stages.iter().take_while(|stage| stage.warm_up).filter_map(|stage| stage.shape.bounds().time).sum();
    match time {
        Some(time) if !warm_up.is_zero() && time <= warm_up => format!(
            "--for {time:?} is over before the warm-up, which takes {warm_up:?}; give --for more than that"
        ),
        Some(time) => {
            format!("{NOT_DUE} in {time:?}; give --for more time, or raise the rate of the profile")
        }
        None => format!("{NOT_DUE}; give the stages of the profile more time, or raise their rate"),
    }
}

#[cfg(test)]
mod tests;
