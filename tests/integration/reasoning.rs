//! What is asked of a model's reasoning, in every dialect that has words for it, and what a probe says of it.

use crate::harness::{Simulator, quick};
use crate::process::{Ended, run};
use tokenbeat::sim::Options;

/// Dialects with the base path, the model and the effort at which the simulator thinks 64 tokens of 100.
const DIALECTS: [(&str, &str, &str, &str, &str); 6] = [
    ("chat", "openai-chat", "/v1", "m", "medium"),
    ("responses", "openai-responses", "/v1", "m", "medium"),
    ("anthropic", "anthropic", "", "claude-haiku-4-5", "high"),
    ("gemini", "gemini", "", "gemini-3-flash", "medium"),
    ("ollama", "ollama-chat", "", "m", "medium"),
    ("generate", "ollama-generate", "", "m", "medium"),
];

fn simulator() -> Simulator {
    let models = ["m", "claude-haiku-4-5", "claude-opus-5", "gemini-3-flash"].map(str::to_owned).to_vec();
    Simulator::with(Options { models, ..quick() })
}

fn config(targets: &[(String, String)], profile: &str) -> String {
    let names: Vec<&str> = targets.iter().map(|(name, _)| name.as_str()).collect();
    let targets: Vec<String> = targets.iter().map(|(name, keys)| format!("  {name}: {{ {keys} }}")).collect();
    let targets = targets.join("\n");
    format!(
        "targets:\n{targets}\nprofiles:\n  p: {{ targets: [{}], schedule: {{ manual: {{}} }},\n       \
         workload: {{ prompts: [Tell me something], output_tokens: 5000, cache: reuse }}{profile} }}\n",
        names.join(", ")
    )
}

/// Every dialect with this effort, or the one at which most is reasoning.
fn targets(simulator: &Simulator, effort: Option<&str>) -> Vec<(String, String)> {
    let target = |(name, api, path, model, much): &(&str, &str, &str, &str, &str)| {
        let effort = effort.unwrap_or(much);
        let address = simulator.address;
        let keys = format!(
            "api: {api}, base_url: 'http://{address}{path}', model: {model}, reasoning: {effort}, price: {{ input: 1, output: 8 }}, \
             headers: {{ X-Sim-Fault: 'early_finish;tokens=100' }}"
        );
        ((*name).to_owned(), keys)
    };
    DIALECTS.iter().map(target).collect()
}

fn warning<'a>(ended: &'a Ended, target: &str) -> Option<&'a str> {
    ended.err.lines().find(|line| line.starts_with(&format!("warning: targets.{target}: ")))
}

#[tokio::test]
async fn a_model_that_is_asked_to_reason_does_and_a_probe_says_what_it_costs() {
    let simulator = simulator();
    let much = config(&targets(&simulator, None), "");
    let ended = run(&much, &["check", "--probe"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    for (name, api, ..) in DIALECTS {
        let said = warning(&ended, name).unwrap_or_else(|| panic!("{name}: {ended:?}"));
        let figures = if api.starts_with("ollama") {
            " characters of the answer were reasoning"
        } else {
            ": 64 of 100 output tokens were reasoning, which is billed as output (0.000512 of the "
        };
        assert!(said.contains(figures), "{said}");
        let less = if name == "gemini" { "minimal" } else { "off" };
        assert!(said.contains(&format!("`reasoning: {less}` in targets.{name}")), "{said}");
    }
    let thought: Vec<usize> = simulator.finished().await.iter().map(|truth| truth.reasoning_tokens).collect();
    assert_eq!(thought, [64; 6]);
    let strict = run(&much, &["check", "--probe", "--strict"]).await;
    assert!(strict.code == 64 && strict.err.ends_with("6 warnings in the config\n"), "{strict:?}");
    assert!(
        ended.out.contains(
            "Reasoning is billed as output, and is assumed to stay within the limits above. Effort: "
        ),
        "{}",
        ended.out
    );
    assert!(ended.out.contains("`high` for p on anthropic"), "{}", ended.out);
}

#[tokio::test]
async fn a_profile_turns_reasoning_off_whatever_the_targets_say() {
    let simulator = simulator();
    // A Gemini of this generation cannot be turned off.
    let targets: Vec<_> =
        targets(&simulator, None).into_iter().filter(|(name, _)| name != "gemini").collect();
    let ended = run(&config(&targets, ", reasoning: off"), &["check", "--probe", "--strict"]).await;
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
    let thought: Vec<usize> = simulator.finished().await.iter().map(|truth| truth.reasoning_tokens).collect();
    assert_eq!(thought, [0; 5]);
}

#[tokio::test]
async fn claude_thinks_adaptively_since_its_names_say_so() {
    let simulator = simulator();
    let keys = format!(
        "api: anthropic, base_url: 'http://{}', model: claude-opus-5, reasoning: low, \
         headers: {{ X-Sim-Fault: 'early_finish;tokens=100' }}",
        simulator.address
    );
    let ended = run(&config(&[("claude".to_owned(), keys)], ""), &["check", "--probe"]).await;
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
    assert_eq!(simulator.finished().await[0].reasoning_tokens, 16);
}

#[tokio::test]
async fn a_limit_that_hidden_reasoning_used_up_is_told() {
    let simulator = simulator();
    let keys = format!(
        "api: openai-chat, base_url: 'http://{}/v1', model: m, headers: {{ X-Sim-Fault: 'hidden_reasoning;tokens=5000' }}",
        simulator.address
    );
    let config = config(&[("t".to_owned(), keys)], "").replace("5000, cache", "8, cache");
    let ended = run(&config, &["check", "--probe"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    let said = warning(&ended, "t").unwrap_or_else(|| panic!("{ended:?}"));
    assert!(
        said.contains("reasoning used up the limit of 8 output tokens")
            && said.contains("raise `output_tokens`"),
        "{said}"
    );
    assert!(said.contains("`reasoning: off` in targets.t or in profiles.p"), "{said}");
}
