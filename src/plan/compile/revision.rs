//! Hashes that are stable across restarts, versions and machines as long as what they identify does not change.

use crate::plan::{
    Expect, Profile, ReasoningEffort, Scenario, Stage, Step, StepAction, Take, Target, Think, Variable,
    canonical, compared_params, merged_params,
};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Number of hex digits of a revision: two revisions collide with a probability of 1 in 2^48.
const DIGITS: usize = 12;

/// The default seed of a profile: the first eight bytes of the SHA-256 of its name.
pub(super) fn seed(name: &str) -> u64 {
    let digest = Sha256::digest(name.as_bytes());
    digest.iter().take(8).fold(0, |seed, byte| (seed << 8) | u64::from(*byte))
}

/// Hash of scenario and load, with the reasoning that the profile asks for.
pub(super) fn of_profile(
    scenario: &Scenario,
    stages: &[Stage],
    reasoning: Option<ReasoningEffort>,
) -> Arc<str> {
    digest(&Compared { reasoning, ..Compared::new(scenario, stages, &Map::new(), None) })
}

/// Hash of scenario, load and model, with the parameters sent to this target.
pub(super) fn of_pair(profile: &Profile, target: &Target) -> Arc<str> {
    let params = compared_params(profile, target);
    digest(&Compared::new(&profile.scenario, &profile.stages, &params, Some(&target.model)))
}

/// Everything that must be equal for results to be comparable.
#[derive(Serialize)]
struct Compared<'a> {
    setup: Vec<ComparedStep<'a>>,
    steps: Vec<ComparedStep<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<ComparedStep<'a>>,
    variables: &'a BTreeMap<String, Variable>,
    secrets: Vec<&'a str>,
    cookies: bool,
    load: &'a [Stage],
    model: Option<&'a str>,
    /// Of a profile alone; with a target it is in the parameters, in the words of its dialect.
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<ReasoningEffort>,
}

/// A step, with the parameters of its model call merged over those of the target.
#[derive(Serialize)]
struct ComparedStep<'a> {
    name: &'a str,
    action: &'a StepAction,
    params: Map<String, Value>,
    think: Think,
    repeat: u32,
    turns: bool,
    timeout: Option<Duration>,
    /// Only in a journey, which ends with an answer that fails a check.
    expect: Option<&'a Expect>,
    take: &'a [Take],
}

impl<'a> Compared<'a> {
    fn new(
        scenario: &'a Scenario,
        load: &'a [Stage],
        params: &Map<String, Value>,
        model: Option<&'a str>,
    ) -> Self {
        // Every field is named, so that a new field forces a decision on whether it counts.
        let Scenario { journeys, setup, steps, summary, templates: _, vars: _, variables, secrets, cookies } =
            scenario;
        let compared = |steps: &'a [Arc<Step>]| {
            steps.iter().map(|step| ComparedStep::new(step, *journeys, params)).collect()
        };
        Self {
            setup: compared(setup),
            steps: compared(steps),
            summary: summary.as_ref().map(|step| ComparedStep::new(step, *journeys, params)),
            variables,
            // The source of a secret does not count: it may be stored elsewhere, or be rotated.
            secrets: secrets.iter().map(|(name, _)| &**name).collect(),
            cookies: *cookies,
            load,
            model,
            reasoning: None,
        }
    }
}

impl<'a> ComparedStep<'a> {
    fn new(step: &'a Step, journey: bool, below: &Map<String, Value>) -> Self {
        // A comparison shows in the action and the name.
        let Step { name, number: _, action, think, repeat, turns, timeout, expect, take, comparison: _ } =
            step;
        Self {
            name,
            action,
            params: merged_params(action, below),
            think: *think,
            repeat: *repeat,
            turns: *turns,
            timeout: *timeout,
            expect: journey.then_some(expect),
            take,
        }
    }
}

fn digest(value: &impl Serialize) -> Arc<str> {
    canonical::hex_of(value, DIGITS / 2).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hashes_stay_what_they_are() {
        // A change here changes every seed and revision in existing installations.
        assert_eq!(seed("chat"), 0x31e0_6f7d_89fe_b99a);
        assert_eq!(&*digest(&json!({ "b": [1, null, "x"], "a": { "c": 0.5 } })), "89fb8d57b8db");
    }

    #[test]
    fn reasoning_counts_and_a_mark_does_not() {
        let revisions = |target: &str, profile: &str| {
            let plan = crate::plan::from_yaml(&format!(
                "targets: {{ t: {{ api: openai-chat, base_url: 'http://127.0.0.1:1/v1'{target} }} }}\n\
                 profiles: {{ p: {{ targets: [t], schedule: {{ manual: {{}} }}, workload: {{ prompts: [x] }}{profile} }} }}"
            ));
            let plan = plan.unwrap_or_else(|e| panic!("{e}"));
            (plan.pairs[0].revision.clone(), plan.profiles[0].revision.clone())
        };
        let plain = revisions("", "");
        assert_eq!(revisions(", mark: { user: me, tags: [a], headers: { x-mark: a } }", ""), plain);
        assert_eq!(revisions(", reasoning: default", "").0, plain.0);
        let low = revisions(", reasoning: low", "");
        assert_ne!(low.0, plain.0);
        assert_ne!(revisions("", ", reasoning: off").1, plain.1);
        // It is what goes out that counts, wherever it is written.
        assert_eq!(revisions(", reasoning: high", ", reasoning: low").0, low.0);
        assert_eq!(revisions(", reasoning: high", ", reasoning: default").0, plain.0);
        assert_eq!(revisions(", params: { reasoning_effort: low }", "").0, low.0);
    }

    #[test]
    fn the_order_of_keys_in_what_is_sent_makes_another_pair_of_the_same_revision() {
        let pair = |body: &str, params: &str| {
            let plan = crate::plan::from_yaml(&format!(
                "targets: {{ t: {{ api: openai-chat, base_url: 'http://127.0.0.1:1/v1' }} }}\n\
                 profiles: {{ p: {{ targets: [t], schedule: {{ manual: {{}} }}, scenario: {{ steps: [\
                 {{ name: a, post: /x, json: {body} }}, {{ name: b, ask: {{ prompt: x, params: {params} }} }}] }} }} }}"
            ));
            let plan = plan.unwrap_or_else(|e| panic!("{e}"));
            (plan.pairs[0].revision.clone(), plan.pairs[0].fingerprint())
        };
        let base = pair("{ a: '{{ user }}', b: { c: 1, d: 2 } }", "{ f: { x: 1, y: 2 } }");
        for (body, params) in [
            ("{ b: { c: 1, d: 2 }, a: '{{ user }}' }", "{ f: { x: 1, y: 2 } }"),
            ("{ a: '{{ user }}', b: { d: 2, c: 1 } }", "{ f: { x: 1, y: 2 } }"),
            ("{ a: '{{ user }}', b: { c: 1, d: 2 } }", "{ f: { y: 2, x: 1 } }"),
        ] {
            let other = pair(body, params);
            assert_eq!(other.0, base.0, "{body} {params}");
            assert_ne!(other.1, base.1, "{body} {params}");
        }
    }

    #[test]
    fn the_order_of_keys_does_not_count() {
        let one: Value = serde_json::from_str(r#"{"a":1,"b":{"c":2,"d":3}}"#).unwrap();
        let two: Value = serde_json::from_str(r#"{"b":{"d":3,"c":2},"a":1}"#).unwrap();
        assert_eq!(digest(&one), digest(&two));
        assert_ne!(digest(&one), digest(&json!({ "a": 1, "b": { "c": 2, "d": 4 } })));
    }
}
