//! Checks that the dialects support the reasoning efforts of targets and profiles.

use super::{Findings, scenario};
use crate::config::{Config, KeyPath, Profile, Target, TokenLength};
use crate::plan::effort::{self, BUDGETS};
use crate::plan::{ANTHROPIC_MAX_TOKENS, Api, ReasoningEffort, compose_patches, output_cap, param};
use serde_json::{Map, Value};

/// Checks each target, and each profile with each of its targets.
pub(super) fn check_all(config: &Config, findings: &mut Findings) {
    for (name, target) in &config.targets {
        if let Err(why) = effort::parameters(target.api, &target.model, target.reasoning) {
            let path = KeyPath::of(["targets", name, "reasoning"]);
            findings.error(&path, refusal(target, target.reasoning, why));
        }
    }
    for (name, profile) in &config.profiles {
        of_profile(config, profile, &KeyPath::of(["profiles", name]), findings);
    }
}

fn refusal(target: &Target, effort: ReasoningEffort, why: &str) -> String {
    format!("`{}` does not support `{}`: {why}", target.api.name(), effort.name())
}

/// A model call, as written in the config.
struct WrittenCall<'a> {
    path: KeyPath,
    output_tokens: Option<u64>,
    params: &'a Map<String, Value>,
}

fn calls<'a>(profile: &'a Profile, path: &KeyPath) -> Vec<WrittenCall<'a>> {
    let workload = profile.workload.iter().map(|workload| WrittenCall {
        path: path.key("workload"),
        output_tokens: workload.output_tokens.as_ref().map(TokenLength::shortest),
        params: &workload.params,
    });
    let steps = profile.scenario.iter().flat_map(|scenario| {
        let path = path.key("scenario");
        let steps = scenario.setup.iter().chain(&scenario.steps).enumerate();
        steps.filter_map(move |(number, step)| {
            let ask = step.ask.as_ref()?;
            Some(WrittenCall {
                path: scenario::path_of(scenario, number, &path).key("ask"),
                output_tokens: ask.output_tokens.map(std::num::NonZeroU64::get),
                params: &ask.params,
            })
        })
    });
    workload.chain(steps).collect()
}

fn of_profile(config: &Config, profile: &Profile, path: &KeyPath, findings: &mut Findings) {
    let calls = calls(profile, path);
    let own = path.key("reasoning");
    if profile.reasoning.is_some() && profile.scenario.is_some() && calls.is_empty() {
        findings.error(&own, "only applies to model calls, and no step of the scenario has an `ask`");
        return;
    }
    for name in profile.target_names() {
        // Model calls to targets with the dialect `http` are reported elsewhere.
        let Some(target) = config.targets.get(name).filter(|target| target.api != Api::Http) else {
            continue;
        };
        let effort = profile.reasoning.unwrap_or(target.reasoning);
        match effort::parameters(target.api, &target.model, effort) {
            Err(why) if profile.reasoning.is_some() => {
                findings.error(&own, format!("the target `{name}`: {}", refusal(target, effort, why)));
            }
            // This error is already reported for the target.
            Err(_) => {}
            Ok(words) => {
                for call in calls.iter().filter(|_| effort != ReasoningEffort::Default) {
                    check_budget(call, (name, target), effort, &words, findings);
                }
            }
        }
    }
}

/// Checks a budget of reasoning tokens, which counts towards the output limit.
fn check_budget(
    call: &WrittenCall<'_>,
    (name, target): (&str, &Target),
    effort: ReasoningEffort,
    words: &Map<String, Value>,
    findings: &mut Findings,
) {
    let merged = compose_patches(words, &compose_patches(&target.params, call.params));
    let Some(budget) = BUDGETS.iter().find_map(|path| param(&merged, path)?.as_u64()) else { return };
    let required = matches!(target.api, Api::Anthropic | Api::Bedrock);
    let unset = (target.api == Api::Anthropic).then_some(ANTHROPIC_MAX_TOKENS);
    let Some(most) = output_cap(&merged, call.output_tokens).or(unset).filter(|most| *most <= budget) else {
        return;
    };
    let path = call.path.key("output_tokens");
    let asked =
        format!("`reasoning: {}` at the target `{name}` is a budget of {budget} tokens", effort.name());
    if required {
        let message = format!(
            "must be more than {budget}: {asked}, which this API requires to be less than max_tokens ({most}); \
             otherwise lower the effort or turn reasoning off"
        );
        findings.error(&path, message);
    } else if budget > 0 {
        let message = format!(
            "is {most}, and {asked}, which counts towards it, so there may be no visible text; raise it, or lower \
             the effort"
        );
        findings.warn(&path, message);
    }
}
