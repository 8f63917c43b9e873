//! Compiles a profile.

use super::expect::{self, ExpectedAnswers};
use super::trace::FollowedTrace;
use super::{
    Findings, budget, cache_pair, fluidity, retry, revision, scenario, schedule, slo, stage, workload,
};
use crate::config::{self, KeyPath};
use crate::plan::{Profile, Scenario, Stage};
use std::sync::Arc;

/// Compiles a profile; `None` if any part of it is not valid.
pub(super) fn compile(
    name: &str,
    written: &config::Profile,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<Profile> {
    let before = findings.errors.len();
    if written.targets.is_empty() {
        findings.error(&path.key("targets"), "must name at least one target");
    }
    let scenario = scenario(written, path, findings);
    let stages = stages(written, scenario.as_ref(), path, findings)?;
    let schedule = schedule::compile(&written.schedule, &stages, &path.key("schedule"), findings);
    let slos = slo::compile(written, &path.key("slo"), findings);
    let own_budget = written.budget.as_ref().and_then(|b| budget::compile(b, &path.key("budget"), findings));
    let retry = written.retry.as_ref().map(|r| retry::compile(r, &path.key("retry"), findings));
    let fluidity = fluidity::compile(written, &path.key("fluidity"), findings);
    if findings.errors.len() > before {
        return None;
    }
    let scenario = scenario?;
    let revision = revision::of_profile(&scenario, &stages, written.reasoning);
    Some(Profile {
        name: name.into(),
        schedule: schedule?,
        stages,
        scenario: Arc::new(scenario),
        seed: written.seed.unwrap_or_else(|| revision::seed(name)),
        reasoning: written.reasoning,
        slos,
        retry,
        fluidity,
        budget: own_budget,
        revision,
    })
}

/// Compiles the load; `None` if it follows a trace that is not valid.
fn stages(
    written: &config::Profile,
    scenario: Option<&Scenario>,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<Vec<Stage>> {
    let at = path.key("load");
    let load = written.stages();
    let workload = written.workload.as_ref();
    if let Some(file) = workload.and_then(|workload| workload.trace.as_ref()) {
        let mut followed = FollowedTrace::new(scenario?.replay()?);
        let stages = stage::compile(&load, false, Some(&mut followed), &at, findings);
        followed.check_used(file, &path.key("workload").key("trace"), findings);
        return Some(stages);
    }
    let pair = workload.and_then(|workload| workload.cache_pair.as_ref());
    let journeys = written.scenario.is_some() || pair.is_some();
    let stages = stage::compile(&load, journeys, None, &at, findings);
    if let Some(pair) = pair {
        cache_pair::check_profile(pair, written, &stages, path, findings);
    }
    Some(stages)
}

/// Compiles what is sent: a scenario, or a workload, which becomes a scenario of one step, or of two.
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
    let answers = ExpectedAnswers::of_workload(workload.stream);
    let expect = expect::compile(&written.expect, answers, &at_expect, findings);
    match &workload.cache_pair {
        Some(pair) => Scenario::of_cache_pair(&ask?, cache_pair::gap(pair), &expect),
        None => Some(Scenario::of_workload(ask?, expect, &expect::comparisons(&written.expect))),
    }
}
