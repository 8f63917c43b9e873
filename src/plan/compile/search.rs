//! Compiles a capacity search.

use super::stage::UNLIMITED;
use super::{Findings, arrivals, stage};
use crate::config::{self, Config, KeyPath, SearchLoad, nearest, show_duration};
use crate::limits;
use crate::plan::{Arrivals, CapacitySearch, Scenario, Think};
use crate::vocabulary::SearchVariable;
use std::sync::Arc;
use std::time::Duration;

/// The share of a load's time in which it settles, by default.
const SETTLE_SHARE: u32 = 4;

/// Maximum number of users, as in a stage.
const MAX_USERS: f64 = 65_536.0;

/// Compiles a search; `None` if it is not valid.
pub(super) fn compile(
    profile: &config::Profile,
    written: &config::CapacitySearch,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<CapacitySearch> {
    let before = findings.errors.len();
    let from = load(written.over, written.from, &path.key("from"), findings);
    let to = load(written.over, written.to, &path.key("to"), findings);
    if let (Some(from), Some(to)) = (from, to)
        && to <= from
    {
        findings.error(&path.key("to"), "must be more than `from`");
    }
    if written.hold.0.is_zero() {
        findings.error(&path.key("hold"), "must be more than 0s");
    }
    companions(profile, written, path, findings);
    let arrivals = match &written.arrivals {
        Some(written) => arrivals::compile(written, &path.key("arrivals"), findings),
        None => Some(Arrivals::Constant),
    };
    let until = until(profile, written, path, findings);
    if findings.errors.len() > before {
        return None;
    }
    let none = Think { min: Duration::ZERO, max: Duration::ZERO };
    Some(CapacitySearch {
        over: written.over,
        from: from?,
        to: to?,
        step: written.step,
        hold: written.hold.0,
        settle: written.settle.map_or(written.hold.0 / SETTLE_SHARE, |settle| settle.0),
        until,
        refine: written.refine,
        samples: written.samples.into(),
        think: written.think.map_or(none, |think| Think { min: think.min, max: think.max }),
        spawn: stage::spawn_of_each(profile.scenario.is_some()),
        arrivals: arrivals?,
    })
}

/// One end of the search.
fn load(over: SearchVariable, written: SearchLoad, path: &KeyPath, findings: &mut Findings) -> Option<f64> {
    let number = written.number();
    let wrong = match over {
        SearchVariable::Users if matches!(written, SearchLoad::Rate(_)) => {
            Some("must be a number of users; a rate goes with `over: rate`".to_owned())
        }
        SearchVariable::Users if number.fract() != 0.0 || !(1.0..=MAX_USERS).contains(&number) => {
            Some(format!("must be a whole number of users, from 1 to {MAX_USERS}"))
        }
        SearchVariable::Rate if number <= 0.0 || number > f64::from(limits::RATE) => {
            Some(format!("must be more than 0 and at most {} requests per second", limits::RATE))
        }
        _ => None,
    };
    match wrong {
        Some(wrong) => {
            findings.error(path, wrong);
            None
        }
        None => Some(number),
    }
}

/// Rejects what a search does not go with.
fn companions(
    profile: &config::Profile,
    written: &config::CapacitySearch,
    path: &KeyPath,
    findings: &mut Findings,
) {
    if !profile.load.is_empty() {
        findings.error(path, "takes the place of `load`: a profile has one of them");
    }
    if profile.workload.as_ref().is_some_and(|workload| workload.cache_pair.is_some()) {
        findings.error(
            path,
            "does not go with `workload: cache_pair`: a loaded target says little about its cache",
        );
    }
    if profile.workload.as_ref().is_some_and(|workload| workload.trace.is_some()) {
        findings.error(path, "does not go with `workload: trace`: a trace has its own times");
    }
    if profile.schedule.continuous.is_some() {
        findings.error(
            path,
            "does not go with `schedule: continuous`: how long a search takes is not known before",
        );
    }
    if written.over == SearchVariable::Rate && written.think.is_some() {
        findings.error(&path.key("think"), "goes with `over: users`");
    }
    if written.over == SearchVariable::Users && written.arrivals.is_some() {
        findings.error(&path.key("arrivals"), "goes with `over: rate`");
    }
}

/// The objectives that a load must meet.
fn until(
    profile: &config::Profile,
    written: &config::CapacitySearch,
    path: &KeyPath,
    findings: &mut Findings,
) -> Vec<Arc<str>> {
    if profile.slo.is_empty() {
        findings.error(path, "needs objectives to judge a load by: the profile has no `slo`");
        return Vec::new();
    }
    let known = || profile.slo.iter().map(|slo| slo.name.as_str());
    for (index, name) in written.until.iter().enumerate() {
        if !known().any(|known| known == name) {
            let near = nearest(name, known());
            let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            let message = format!("there is no objective `{name}` in this profile{hint}");
            findings.error(&path.key("until").index(index), message);
        }
    }
    let wanted = |name: &&str| written.until.is_empty() || written.until.iter().any(|it| it == name);
    known().filter(wanted).map(Arc::from).collect()
}

/// Warns of a search that cannot tell, as far as that follows from its times.
pub(super) fn check_times(
    search: &CapacitySearch,
    scenario: &Scenario,
    attempts: u32,
    path: &KeyPath,
    findings: &mut Findings,
) {
    if let Some(hold) = least_hold(search, scenario, attempts).filter(|hold| *hold > search.hold) {
        let message = format!(
            "is too short for any load to have {} samples in {} rounds, so no load can be the answer: at least {} are \
             needed, or fewer `samples`",
            search.samples,
            CapacitySearch::MAX_ROUNDS,
            show_duration(hold),
        );
        findings.warn(&path.key("hold"), message);
    }
    let (thought, whole) = (least_thought(scenario), search.settle.saturating_add(search.hold));
    let shown = show_duration(thought);
    match search.over {
        SearchVariable::Rate if search.settle < thought => {
            let message = format!(
                "is shorter than a journey, which thinks for at least {shown}: until one has ended, fewer are under way \
                 than the rate brings"
            );
            findings.warn(&path.key("settle"), message);
        }
        SearchVariable::Users if whole < thought => {
            let message = format!(
                "is, with `settle`, shorter than a journey, which thinks for at least {shown}: its last requests are never \
                 sent"
            );
            findings.warn(&path.key("hold"), message);
        }
        SearchVariable::Rate | SearchVariable::Users => {}
    }
}

/// How long the highest load must be held at least to have enough samples, in whole seconds; `None` if that depends on how
/// fast the target answers.
fn least_hold(search: &CapacitySearch, scenario: &Scenario, attempts: u32) -> Option<Duration> {
    let thought = search.think.min;
    // Of each load in each round.
    let samples = search.samples as f64 / f64::from(CapacitySearch::MAX_ROUNDS);
    let seconds = match search.over {
        SearchVariable::Rate => samples / (search.to * most_plays(scenario) * f64::from(attempts)),
        SearchVariable::Users if thought.is_zero() || scenario.journeys || attempts > 1 => return None,
        // Each user asks at once, and then after each thought.
        SearchVariable::Users => (samples / search.to - 1.0) * thought.as_secs_f64(),
    };
    Duration::try_from_secs_f64(seconds.ceil().max(0.0)).ok()
}

/// How many requests a journey has at most.
fn most_plays(scenario: &Scenario) -> f64 {
    let plays = scenario.all().map(|step| match step.conversation() {
        Some(plan) => plan.turns().max as f64,
        None => f64::from(step.repeat),
    });
    // A summary may follow each turn.
    plays.sum::<f64>() * if scenario.summary.is_some() { 2.0 } else { 1.0 }
}

/// How long a complete journey thinks at least.
fn least_thought(scenario: &Scenario) -> Duration {
    let thoughts = scenario.steps.iter().enumerate().map(|(index, step)| {
        // There is no think time before the first step of a journey.
        let times = step.least_plays().saturating_sub(u64::from(index == 0));
        step.think.min.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX))
    });
    thoughts.fold(Duration::ZERO, Duration::saturating_add)
}

/// Warns of searches that limits will stop, or that nothing limits.
pub(super) fn check_all(config: &Config, findings: &mut Findings) {
    let most = stage::in_flight_per_target(config);
    for (name, profile) in &config.profiles {
        let Some(search) = &profile.search else { continue };
        let path = KeyPath::of(["profiles", name, "search"]);
        if search.over == SearchVariable::Users && search.to.number() > f64::from(most.get()) {
            let message = format!(
                "is more than the {most} requests that may be in flight to a target: the search will end there"
            );
            findings.warn(&path.key("to"), message);
        }
        let thinks = search.think.is_some_and(|think| !think.min.is_zero());
        let bounded = profile.budget.is_some() || config.agent.budget.is_some();
        if search.over == SearchVariable::Users && !thinks && !bounded {
            findings.warn(&path, format!("{UNLIMITED}: give the profile a `budget`"));
        }
    }
}
