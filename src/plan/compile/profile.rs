//! Compiles a profile.

use super::expect::{self, ExpectedAnswers};
use super::trace::FollowedTrace;
use super::{
    Findings, baseline, budget, cache_pair, compare, detect, fingerprint, fluidity, retry, revision,
    scenario, schedule, search, slo, stage, workload,
};
use crate::config::{self, KeyPath};
use crate::plan::{CapacitySearch, Profile, Scenario, Stage, Think};
use std::sync::Arc;
use std::time::Duration;

/// Compiles a profile; `None` if any part of it is not valid.
pub(super) fn compile(
    name: &str,
    written: &config::Profile,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<Profile> {
    let before = findings.errors.len();
    if written.targets.is_empty() && written.compare.is_none() {
        findings.error(path, "needs `targets`, with at least one name, or `compare`");
    }
    let search =
        written.search.as_ref().map(|it| search::compile(written, it, &path.key("search"), findings));
    let scenario = scenario(written, path, findings);
    let comparison = written.compare.as_ref().zip(scenario.as_ref());
    let comparison = comparison
        .and_then(|(it, scenario)| compare::compile(written, it, scenario, &path.key("compare"), findings));
    let stages = stages(written, scenario.as_ref(), search.as_ref(), path, findings)?;
    let schedule = schedule::compile(&written.schedule, &stages, &path.key("schedule"), findings);
    let slos = slo::compile(written, scenario.as_ref(), &path.key("slo"), findings);
    let own_budget = written.budget.as_ref().and_then(|b| budget::compile(b, &path.key("budget"), findings));
    let retry = written.retry.as_ref().map(|r| retry::compile(r, &path.key("retry"), findings));
    let fluidity = fluidity::compile(written, &path.key("fluidity"), findings);
    let baseline = baseline::compile(written, &path.key("baseline"), findings);
    let detect = detect::compile(written, &path.key("detect"), findings);
    if findings.errors.len() > before {
        return None;
    }
    let scenario = scenario?;
    if let Some(Some(search)) = &search {
        let attempts = retry.as_ref().map_or(1, |retry| retry.attempts);
        search::check_times(search, &scenario, attempts, &path.key("search"), findings);
    }
    let revision = revision::of_profile(&scenario, &stages, written.reasoning);
    Some(Profile {
        name: name.into(),
        schedule: schedule?,
        stages,
        search: search.flatten(),
        comparison,
        scenario: Arc::new(scenario),
        seed: written.seed.unwrap_or_else(|| revision::seed(name)),
        reasoning: written.reasoning,
        slos,
        retry,
        fluidity,
        record: written.record,
        baseline,
        detect,
        budget: own_budget,
        revision,
    })
}

/// Compiles the load of a run: its stages, or what a search plays at most; `None` if it follows a trace that is not
/// valid.
fn stages(
    written: &config::Profile,
    scenario: Option<&Scenario>,
    search: Option<&Option<CapacitySearch>>,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<Vec<Stage>> {
    let workload = written.workload.as_ref();
    let pair = workload.and_then(|workload| workload.cache_pair.as_ref());
    let journeys = written.has_journeys();
    match search {
        Some(Some(search)) => return Some(search.most()),
        // Not valid; the checks of the schedule need some time.
        Some(None) => {
            let time = Some(config::Length(Duration::from_mins(1)));
            let minute = [config::Stage { time, ..config::Stage::default() }];
            return Some(stage::compile(&minute, journeys, None, path, findings));
        }
        None => {}
    }
    let at = path.key("load");
    let load = written.stages();
    if let Some(file) = workload.and_then(|workload| workload.trace.as_ref()) {
        let mut followed = FollowedTrace::new(scenario?.replay()?);
        let stages = stage::compile(&load, false, Some(&mut followed), &at, findings);
        followed.check_used(file, &path.key("workload").key("trace"), findings);
        return Some(stages);
    }
    let stages = stage::compile(&load, journeys, None, &at, findings);
    if let Some(pair) = pair {
        cache_pair::check_profile(pair, written, &stages, path, findings);
    }
    Some(stages)
}

/// Compiles what is sent: a scenario, or a workload, which becomes a scenario of one step, of two, or of a
/// conversation's turns.
fn scenario(written: &config::Profile, path: &KeyPath, findings: &mut Findings) -> Option<Scenario> {
    let kinds = [("workload", written.workload.is_some()), ("scenario", written.scenario.is_some())];
    findings.only_one(path, &kinds)?;
    let at_expect = path.key("expect");
    if let Some(scenario) = &written.scenario {
        if !written.expect.is_empty() {
            findings.error(
                &at_expect,
                "goes with `workload`: each step of a scenario has an `expect` of its own",
            );
        }
        return scenario::compile(scenario, &path.key("scenario"), findings);
    }
    let workload = written.workload.as_ref()?;
    let ask = workload::compile(workload, &path.key("workload"), findings);
    // The turns of a conversation differ, and what follows depends on each of them.
    let repeatable = workload.conversation.is_none();
    let streams = workload.stream && workload.fingerprint.is_none();
    let answers = ExpectedAnswers { repeatable, ..ExpectedAnswers::of_workload(streams) };
    if workload.fingerprint.is_some() {
        fingerprint::check_profile(written, path, findings);
    }
    let expect = expect::compile(&written.expect, answers, &at_expect, findings);
    if let Some(conversation) = &workload.conversation {
        return Scenario::of_conversation(ask?, think(conversation.think), expect);
    }
    match &workload.cache_pair {
        Some(pair) => Scenario::of_cache_pair(&ask?, cache_pair::gap(pair), &expect),
        None => Some(Scenario::of_workload(ask?, expect, &expect::comparisons(&written.expect))),
    }
}

/// Compiles a think time; none is zero.
pub(super) fn think(written: Option<config::ThinkTime>) -> Think {
    let (min, max) = written.map_or((Duration::ZERO, Duration::ZERO), |think| (think.min, think.max));
    Think { min, max }
}
