//! A profile.

use super::expect::{self, Answers};
use super::{Findings, budget, revision, scenario, schedule, slo, stage, workload};
use crate::config::{self, KeyPath};
use crate::plan::{Profile, PromptWork, Work};
use std::sync::Arc;

/// A profile, if every part of it is sound.
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
    let stages = stage::compile(&written.load, written.scenario.is_some(), &path.key("load"), findings);
    let schedule = schedule::compile(&written.schedule, &stages, &path.key("schedule"), findings);
    let work = work(written, path, findings);
    let slos = slo::compile(written, &path.key("slo"), findings);
    let own_budget = written.budget.as_ref().and_then(|b| budget::compile(b, &path.key("budget"), findings));
    if findings.errors.len() > before {
        return None;
    }
    let work = work?;
    let revision = revision::of_profile(&work, &stages);
    Some(Profile {
        name: name.into(),
        schedule: schedule?,
        stages,
        work,
        seed: written.seed.unwrap_or_else(|| revision::seed(name)),
        slos,
        budget: own_budget,
        revision,
    })
}

/// What is sent: prompts, or a scenario.
fn work(written: &config::Profile, path: &KeyPath, findings: &mut Findings) -> Option<Work> {
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
        let compiled = scenario::compile(scenario, &path.key("scenario"), findings)?;
        return Some(Work::Scenario(Arc::new(compiled)));
    }
    let workload = written.workload.as_ref()?;
    let prompts = workload::compile(workload, &path.key("workload"), findings);
    let answers = Answers::of_model(workload.stream);
    let expect = expect::compile(&written.expect, answers, &at_expect, findings);
    Some(Work::Prompts(Arc::new(PromptWork { prompts: prompts?, expect })))
}
