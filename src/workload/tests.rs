use super::*;
use crate::plan::AskStep;
use crate::testing::{Build, prompts};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// A pair with a workload.
struct Workload(Arc<PairPlan>);

impl Workload {
    fn ask(&self, run_seed: u64, number: RequestNumber) -> Ask {
        self.due(run_seed, run_seed, number)
    }

    /// The same in a run that is due at another time, on which its nonces depend.
    fn due(&self, draws: u64, nonces: u64, number: RequestNumber) -> Ask {
        ask(&self.0, &self.0.profile.scenario.steps[0], RunSeeds { draws, nonces }, number).unwrap()
    }
}

fn workloads(build: Build) -> Vec<Workload> {
    build.plan().pairs.iter().map(|pair| Workload(Arc::clone(pair))).collect()
}

fn number(n: u64) -> RequestNumber {
    RequestNumber { stage: 0, user: None, n }
}

fn texts(ask: &Ask) -> Vec<(Role, String)> {
    ask.messages.iter().map(|message| (message.role, message.text.to_string())).collect()
}

fn set_system(ask: &mut AskStep, text: &str) {
    let AskText::Fixed { system, .. } = &mut ask.text else { panic!("a template") };
    *system = Some(text.into());
}

fn map(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn every_target_is_asked_the_same() {
    let prompts = prompts(&["a", "b", "c", "d", "e"]);
    let two = workloads(Build { targets: vec!["llama", "gpt"], prompts, ..Build::default() });
    let asked = |workload: &Workload, seed| {
        (0..200).map(|n| texts(&workload.ask(seed, number(n)))).collect::<Vec<_>>()
    };
    assert_eq!(asked(&two[0], 1), asked(&two[1], 1));
    assert_ne!(asked(&two[0], 1), asked(&two[0], 2));
    let mut seen = asked(&two[0], 1);
    seen.sort_by(|a, b| a[0].1.cmp(&b[0].1));
    seen.dedup();
    assert_eq!(seen.len(), 5, "each prompt comes up");
}

#[test]
fn draws_are_golden() {
    let one = workloads(Build { prompts: prompts(&["a", "b", "c", "d", "e"]), ..Build::default() });
    let drawn: String = (0..12).map(|n| one[0].ask(7, number(n)).messages[0].text.to_string()).collect();
    assert_eq!(drawn, "abecbedddaba");
}

#[test]
fn the_nonce_comes_first_and_differs_per_request_and_target() {
    let mut prompts = prompts(&["Hello"]);
    prompts.cache = Cache::Bust;
    set_system(&mut prompts, "Be brief.");
    let two = workloads(Build { targets: vec!["llama", "gpt"], prompts, ..Build::default() });
    let ask = two[0].ask(7, number(0));
    let (role, text) = texts(&ask)[0].clone();
    assert_eq!(role, Role::System);
    assert!(text.starts_with('[') && text.ends_with("] Be brief.") && text.len() == 15 + 9, "{text}");
    assert!(text[1..13].bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(texts(&ask)[1], (Role::User, "Hello".into()));
    assert_eq!(ask, two[0].ask(7, number(0)), "replayable");
    for other in [two[0].ask(7, number(1)), two[0].ask(8, number(0)), two[1].ask(7, number(0))] {
        assert_ne!(texts(&other)[0], texts(&ask)[0]);
    }
    let again = texts(&two[0].due(7, 8, number(0)));
    assert_eq!(again[1], texts(&ask)[1], "a replay asks the same");
    assert_ne!(again[0], texts(&ask)[0], "and finds nothing in the cache");
    let user = RequestNumber { stage: 0, user: Some(0), n: 0 };
    assert_ne!(texts(&two[0].ask(7, user))[0], texts(&ask)[0], "user 0 is not the open loop");
}

#[test]
fn without_a_system_prompt_the_nonce_is_in_the_users() {
    let mut prompts = prompts(&["Hello"]);
    prompts.cache = Cache::Bust;
    let one = workloads(Build { prompts, ..Build::default() });
    let asked = texts(&one[0].ask(7, number(0)));
    assert_eq!(asked.len(), 1);
    assert!(asked[0].1.ends_with("] Hello"));
}

#[test]
fn the_profiles_parameters_are_merged_on_top_of_the_targets() {
    let mut prompts = prompts(&["Hello"]);
    prompts.params = map(&json!({ "temperature": 0.3, "format": { "type": "json" } }));
    let target_params = map(&json!({ "temperature": 1, "format": { "schema": 1 }, "top_p": 0.5 }));
    let one = workloads(Build { prompts, target_params, ..Build::default() });
    let ask = one[0].ask(7, number(0));
    let merged = json!({ "temperature": 0.3, "format": { "schema": 1, "type": "json" }, "top_p": 0.5 });
    assert_eq!(*ask.params, map(&merged));
    assert_eq!((ask.stream, ask.output_tokens), (true, Some(100)));
}
