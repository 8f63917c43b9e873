//! A profile.

use super::{Findings, budget, revision, schedule, slo, stage, workload};
use crate::config::{self, KeyPath};
use crate::plan::{Check, Expect, Profile, PromptWork, Rule, Work};
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
    let stages = stage::compile(&written.load, &path.key("load"), findings);
    let schedule = schedule::compile(&written.schedule, &stages, &path.key("schedule"), findings);
    let workload = workload::compile(&written.workload, &path.key("workload"), findings);
    let expect = expect(&written.expect, &path.key("expect"), findings);
    let slos = slo::compile(written, &path.key("slo"), findings);
    let own_budget = written.budget.as_ref().and_then(|b| budget::compile(b, &path.key("budget"), findings));
    if findings.errors.len() > before {
        return None;
    }
    let work = Work::Prompts(Arc::new(PromptWork { prompts: workload?, expect }));
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

fn expect(written: &config::Expect, path: &KeyPath, findings: &mut Findings) -> Expect {
    let (min_chars, max_chars) = (written.text.min_chars, written.text.max_chars);
    if let (Some(min), Some(max)) = (min_chars, max_chars)
        && min > max
    {
        findings.error(&path.key("text"), "`min_chars` must not be more than `max_chars`");
    }
    for (index, reason) in written.finish_reason.iter().enumerate() {
        if reason.is_empty() {
            findings.error(&path.key("finish_reason").index(index), "must not be empty");
        }
    }
    let mut checks = Vec::new();
    let mut check = |name: &str, rule: Option<Rule>| {
        checks.extend(rule.map(|rule| Check { name: name.into(), rule }));
    };
    let reasons = (!written.finish_reason.is_empty()).then(|| written.finish_reason.clone());
    check("finish_reason", reasons.map(Rule::FinishReason));
    check("min_chars", min_chars.map(Rule::MinChars));
    check("max_chars", max_chars.map(Rule::MaxChars));
    Expect { status: None, checks, written: serde_json::to_value(written).unwrap_or_default() }
}
