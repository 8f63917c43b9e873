//! What is asked of a model beside its prompt, from the config to the bytes of a request: reasoning, and what marks the
//! traffic as synthetic.

use super::server::*;
use crate::client::{BodyMemory, Caller, Client, dialect};
use crate::cpu_pool::CpuPool;
use crate::exchange::Call;
use crate::plan::{PairPlan, from_yaml};
use crate::seed::RunSeeds;
use crate::words::WordList;
use crate::workload::{self, RequestNumber};
use serde_json::{Value, json};
use std::sync::Arc;

fn pair(target: &str, profile: &str) -> Arc<PairPlan> {
    let plan = from_yaml(&format!(
        "targets: {{ t: {{ {target} }} }}\n\
         profiles: {{ p: {{ targets: [t], schedule: {{ manual: {{}} }}, workload: {{ prompts: [hello], cache: reuse, \
         output_tokens: 5000 }}{profile} }} }}"
    ));
    Arc::clone(&plan.unwrap_or_else(|e| panic!("{target}: {e}")).pairs[0])
}

fn call_of(pair: &PairPlan) -> Call {
    let step = &pair.profile.scenario.steps[0];
    let number = RequestNumber { stage: 0, user: None, n: 0 };
    let ask =
        workload::ask(pair, step, RunSeeds { draws: 1, nonces: 1 }, number, WordList::estimated).unwrap();
    dialect::of(pair.target.api).unwrap().encode(&pair.target, &ask)
}

/// The body of a request to a target with these keys.
fn body(target: &str, profile: &str) -> Value {
    serde_json::from_slice(&call_of(&pair(target, profile)).body).unwrap()
}

const CHAT: &str = "api: openai-chat, base_url: 'http://127.0.0.1:1/v1'";
const RESPONSES: &str = "api: openai-responses, base_url: 'http://127.0.0.1:1/v1'";
const ANTHROPIC: &str = "api: anthropic, base_url: 'http://127.0.0.1:1', model: claude-haiku-4-5";
const ADAPTIVE: &str = "api: anthropic, base_url: 'http://127.0.0.1:1', model: claude-sonnet-4-6";
const GEMINI: &str = "api: gemini, base_url: 'http://127.0.0.1:1', model: gemini-2.5-flash";
const GEMINI_3: &str = "api: gemini, base_url: 'http://127.0.0.1:1', model: gemini-3-flash";
const VERTEX: &str = "api: gemini, base_url: 'http://127.0.0.1:1/v1/projects/p/locations/eu', model: m";
const OLLAMA: &str = "api: ollama-chat, base_url: 'http://127.0.0.1:1', model: qwen3";
const GENERATE: &str = "api: ollama-generate, base_url: 'http://127.0.0.1:1', model: qwen3";

#[test]
fn reasoning_goes_out_in_the_words_of_each_dialect() {
    for (target, off, low) in [
        (CHAT, json!({ "reasoning_effort": "none" }), json!({ "reasoning_effort": "low" })),
        (
            RESPONSES,
            json!({ "reasoning": { "effort": "none" } }),
            json!({ "reasoning": { "effort": "low" } }),
        ),
        (
            ANTHROPIC,
            json!({ "thinking": { "type": "disabled" } }),
            json!({ "thinking": { "type": "enabled", "budget_tokens": 1024 } }),
        ),
        (
            ADAPTIVE,
            json!({ "thinking": { "type": "disabled" } }),
            json!({ "thinking": { "type": "adaptive" }, "output_config": { "effort": "low" } }),
        ),
        (
            GEMINI,
            json!({ "generationConfig": { "maxOutputTokens": 5000, "thinkingConfig": { "thinkingBudget": 0 } } }),
            json!({ "generationConfig": { "maxOutputTokens": 5000, "thinkingConfig": { "thinkingBudget": 1024 } } }),
        ),
        (OLLAMA, json!({ "think": false }), json!({ "think": "low" })),
        (GENERATE, json!({ "think": false }), json!({ "think": "low" })),
    ] {
        let silent = body(target, "");
        for (effort, words) in [("off", off), ("low", low)] {
            let mut expected = silent.clone();
            expected.as_object_mut().unwrap().extend(words.as_object().unwrap().clone());
            assert_eq!(body(&format!("{target}, reasoning: {effort}"), ""), expected);
            assert_eq!(body(target, &format!(", reasoning: {effort}")), expected);
            // The profile's wins, and `default` says nothing.
            let other = if effort == "low" { "off" } else { "low" };
            let both = body(&format!("{target}, reasoning: {other}"), &format!(", reasoning: {effort}"));
            assert_eq!(both, expected);
            assert_eq!(body(&format!("{target}, reasoning: {effort}"), ", reasoning: default"), silent);
        }
    }
    let level = &body(&format!("{GEMINI_3}, reasoning: minimal"), "")["generationConfig"]["thinkingConfig"];
    assert_eq!(level, &json!({ "thinkingLevel": "minimal" }));
}

#[test]
fn parameters_are_merged_on_top_of_what_is_asked() {
    let silent = body(CHAT, "");
    assert_eq!(body(&format!("{CHAT}, reasoning: low, params: {{ reasoning_effort: null }}"), ""), silent);
    let thinking =
        &body(&format!("{ANTHROPIC}, reasoning: low, params: {{ thinking: {{ budget_tokens: 1500 }} }}"), "")
            ["thinking"];
    assert_eq!(thinking, &json!({ "type": "enabled", "budget_tokens": 1500 }));
    let marked = body(
        &format!(
            "{CHAT}, mark: {{ user: me, metadata: {{ a: x }} }}, params: {{ user: you, metadata: {{ b: z }} }}"
        ),
        "",
    );
    assert_eq!((&marked["user"], &marked["metadata"]), (&json!("you"), &json!({ "a": "x", "b": "z" })));
}

#[test]
fn a_mark_stands_where_the_dialect_has_a_place_for_it() {
    let user_and_metadata = "mark: { user: probe, metadata: { synthetic: 'true' } }";
    for target in [CHAT, RESPONSES] {
        let marked = body(&format!("{target}, {user_and_metadata}"), "");
        let mut expected = body(target, "");
        expected["user"] = json!("probe");
        expected["metadata"] = json!({ "synthetic": "true" });
        assert_eq!(marked, expected);
    }
    for api in ["openai-completions", "openai-embeddings"] {
        let marked =
            body(&format!("api: {api}, base_url: 'http://127.0.0.1:1/v1', mark: {{ user: probe }}"), "");
        assert_eq!(marked["user"], "probe");
    }
    let claude = body(&format!("{ANTHROPIC}, mark: {{ user: probe }}"), "");
    assert_eq!(claude["metadata"], json!({ "user_id": "probe" }));
    let vertex = body(&format!("{VERTEX}, mark: {{ metadata: {{ synthetic: 'true' }} }}"), "");
    assert_eq!(vertex["labels"], json!({ "synthetic": "true" }));
    // What has a place in headers alone leaves every body as it is.
    for target in [CHAT, ANTHROPIC, GEMINI, OLLAMA] {
        let marked = body(&format!("{target}, mark: {{ tags: [a], headers: {{ x-mark: b }} }}"), "");
        assert_eq!(marked, body(target, ""));
    }
}

#[tokio::test]
async fn headers_of_a_mark_go_out_with_every_request_and_are_no_secrets() {
    let refusal = whole(
        "400 Bad Request",
        "content-type: application/json\r\n",
        r#"{"error":{"message":"not for synthetic-traffic"}}"#,
    );
    let server = Server::always(refusal).await;
    let mark = "mark: { tags: [synthetic, 'team a'], headers: { X-Synthetic: synthetic-traffic } }";
    let target = format!(
        "api: openai-chat, base_url: 'http://{}/v1', headers: {{ x-tenant: acme-corp }}, {mark}",
        server.address
    );
    let pair = pair(&target, "");
    let client = Client::new(
        Arc::clone(&pair.target),
        CpuPool::on(&tokio::runtime::Handle::current()),
        BodyMemory::default(),
    )
    .unwrap();
    let answer = client.call(call_of(&pair), context()).await;
    let sent = server.requests().remove(0).to_lowercase();
    for line in ["x-synthetic: synthetic-traffic", "x-litellm-tags: synthetic,team a", "x-tenant: acme-corp"]
    {
        assert!(sent.contains(&format!("\r\n{line}\r\n")), "{sent}");
    }
    let detail = answer.detail.unwrap();
    assert!(detail.contains("not for synthetic-traffic"), "{detail}");
}
