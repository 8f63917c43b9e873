//! Checks of what a request asked for, between the client and the simulator in each dialect that has it: they pass where the
//! server honours it, and each fault fails the check that is about it and no other.

use crate::harness::Simulator;
use crate::player::play_all;
use std::path::Path;
use std::sync::Arc;
use tokenbeat::event::{Outcome, Request};

const SCHEMA: &str = "{ type: object, required: [city, days], properties: { city: { type: string }, \
                      days: { type: integer, minimum: 1, maximum: 7 } } }";

/// How a dialect is asked for each; empty where it has none.
struct Words {
    api: &'static str,
    base: &'static str,
    /// `SCHEMA` stands for the schema of the arguments.
    tools: &'static str,
    stop: &'static str,
    logprobs: &'static str,
    seed: &'static str,
    /// A seed and temperature 0.
    greedy: &'static str,
    /// JSON of the schema as the text.
    structured: &'static str,
}

const OLLAMA: Words = Words {
    api: "ollama-chat",
    base: "",
    tools: "tools: [{ type: function, function: { name: get_weather, parameters: SCHEMA } }]",
    stop: "options: { stop: ['.'] }",
    logprobs: "logprobs: true",
    seed: "options: { seed: 7 }",
    greedy: "options: { seed: 7, temperature: 0 }",
    structured: "format: SCHEMA",
};

const DIALECTS: [Words; 8] = [
    Words {
        api: "openai-chat",
        base: "/v1",
        tools: "tools: [{ type: function, function: { name: get_weather, parameters: SCHEMA } }]",
        stop: "stop: ['.']",
        logprobs: "logprobs: true",
        seed: "seed: 7",
        greedy: "seed: 7, temperature: 0",
        structured: "response_format: { type: json_schema, json_schema: { name: x, schema: SCHEMA } }",
    },
    Words {
        api: "openai-completions",
        base: "/v1",
        tools: "",
        stop: "stop: '.'",
        logprobs: "logprobs: 1",
        seed: "seed: 7",
        greedy: "seed: 7, temperature: 0",
        structured: "",
    },
    Words {
        api: "openai-responses",
        base: "/v1",
        tools: "tools: [{ type: function, name: get_weather, parameters: SCHEMA }]",
        stop: "",
        logprobs: "include: [message.output_text.logprobs]",
        seed: "",
        greedy: "",
        structured: "text: { format: { type: json_schema, name: x, schema: SCHEMA } }",
    },
    Words {
        api: "anthropic",
        base: "",
        tools: "tools: [{ name: get_weather, input_schema: SCHEMA }]",
        stop: "stop_sequences: ['.']",
        logprobs: "",
        seed: "",
        greedy: "",
        structured: "",
    },
    Words {
        api: "gemini",
        base: "",
        tools: "tools: [{ functionDeclarations: [{ name: get_weather, parameters: SCHEMA }] }]",
        stop: "generationConfig: { stopSequences: ['.'] }",
        logprobs: "generationConfig: { responseLogprobs: true }",
        seed: "generationConfig: { seed: 7 }",
        greedy: "generationConfig: { seed: 7, temperature: 0 }",
        structured: "generationConfig: { responseMimeType: application/json, responseSchema: SCHEMA }",
    },
    OLLAMA,
    Words { api: "ollama-generate", tools: "", ..OLLAMA },
    Words {
        api: "tgi",
        base: "",
        tools: "",
        stop: "parameters: { stop: ['.'] }",
        logprobs: "parameters: { details: true }",
        seed: "parameters: { seed: 7 }",
        greedy: "parameters: { seed: 7 }",
        structured: "",
    },
];

impl Words {
    /// One request with these parameters, and those that follow it to be compared. Each has its step, outcome and what
    /// is wrong.
    async fn played(&self, params: &str, expect: &str, stream: bool, fault: Option<&str>) -> Vec<String> {
        let simulator = Simulator::start();
        if let Some(fault) = fault {
            simulator.inject(fault);
        }
        let config = format!(
            "targets:\n  t: {{ api: {}, base_url: 'http://{{SIM}}{}', model: m }}\n\
             profiles:\n  p:\n    targets: [t]\n    schedule: {{ manual: {{}} }}\n    expect: {{ {} }}\n    \
             workload: {{ prompts: ['Say something.'], stream: {stream}, output_tokens: 64, params: {{ {} }} }}\n",
            self.api,
            self.base,
            expect.replace("SCHEMA", SCHEMA),
            params.replace("SCHEMA", SCHEMA)
        );
        let requests = play_all(&config, &simulator).await;
        let told = |it: &Arc<Request>| {
            let (step, outcome) = (&it.place.step, it.outcome.label());
            format!("{step}:{outcome} {}", it.detail.as_deref().unwrap_or_default()).trim().to_owned()
        };
        requests.iter().map(told).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_are_called_with_valid_arguments() {
    let expect = "tool_call: { name: get_weather, arguments: SCHEMA }";
    for words in DIALECTS.iter().filter(|words| !words.tools.is_empty()) {
        for stream in [true, false] {
            let answers = words.played(words.tools, expect, stream, None).await;
            assert_eq!(answers, [":ok"], "{} {stream}", words.api);
        }
        let whole = words.played(words.tools, expect, false, Some("broken_arguments")).await;
        assert_eq!(whole, [":ok"], "{}: only streams are broken", words.api);
        let broken = words.played(words.tools, expect, true, Some("broken_arguments")).await;
        // Where a call comes whole, it has come without its arguments.
        let why = if matches!(words.api, "gemini" | "ollama-chat") { "valid: " } else { "JSON: " };
        let told = format!(":check failed checks: tool_call (the arguments of `get_weather` are not {why}");
        assert!(broken.len() == 1 && broken[0].starts_with(&told), "{}: {broken:?}", words.api);
        // A tool that is there and is not called.
        let other = words.tools.replacen("get_weather", "get_time", 1);
        let two = match words.api {
            "gemini" => format!("{}, {{ name: get_weather }}] }}]", other.trim_end_matches("] }]")),
            _ => format!("{}, {}", other.trim_end_matches(']'), words.tools.trim_start_matches("tools: [")),
        };
        let missed = words.played(&two, expect, true, None).await;
        let told = ":check failed checks: tool_call (`get_weather` was not called, but `get_time`)";
        assert_eq!(missed, [told], "{}", words.api);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn structured_output_is_json_of_the_schema() {
    for words in DIALECTS.iter().filter(|words| !words.structured.is_empty()) {
        for stream in [true, false] {
            let answers = words.played(words.structured, "schema: { inline: SCHEMA }", stream, None).await;
            assert_eq!(answers, [":ok"], "{} {stream}", words.api);
        }
        let broken =
            words.played(words.structured, "schema: { inline: SCHEMA }", true, Some("stream_differs")).await;
        assert_eq!(broken, [":check failed checks: schema"], "{}", words.api);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_honoured_or_it_is_told() {
    for words in &DIALECTS {
        for stream in [true, false] {
            let of = async |params, param: &str, fault| {
                words.played(params, &format!("honours: [{param}]"), stream, fault).await
            };
            assert_eq!(of("", "max_tokens", None).await, [":ok"], "{}", words.api);
            let more = of("", "max_tokens", Some("ignore_max_tokens")).await;
            let told = ":check failed checks: honours:max_tokens (";
            assert!(more[0].starts_with(told), "{}: {more:?}", words.api);
            assert!(more[0].ends_with(" output tokens, and at most 64 were asked for)"), "{more:?}");
            if !words.stop.is_empty() {
                assert_eq!(of(words.stop, "max_tokens, stop", None).await, [":ok"], "{}", words.api);
                let on = of(words.stop, "max_tokens, stop", Some("ignore_stop")).await;
                let told = ":check failed checks: honours:stop (the text goes on to a stop sequence, after ";
                assert!(on[0].starts_with(told), "{}: {on:?}", words.api);
            }
            if !words.logprobs.is_empty() {
                assert_eq!(of(words.logprobs, "logprobs", None).await, [":ok"], "{} {stream}", words.api);
                let none = of(words.logprobs, "logprobs", Some("no_logprobs")).await;
                assert_eq!(
                    none,
                    [":check failed checks: honours:logprobs (there are none)"],
                    "{}",
                    words.api
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_has_the_same_answer_or_it_is_told() {
    for words in DIALECTS.iter().filter(|words| !words.seed.is_empty()) {
        let again = words.played(words.seed, "honours: [seed]", true, None).await;
        assert_eq!(again, [":ok", "same_seed:ok"], "{}", words.api);
        let other = words.played(words.seed, "honours: [seed]", true, Some("ignore_seed")).await;
        let told = "same_seed:check failed checks: honours:seed (the text of ";
        assert!(other[0] == ":ok" && other[1].starts_with(told), "{}: {other:?}", words.api);

        let both = "same_as_unary: true, honours: [seed]";
        let same = words.played(words.greedy, both, true, None).await;
        assert_eq!(same, [":ok", "same_seed:ok", "same_as_unary:ok"], "{}", words.api);
        let lost = words.played(words.greedy, both, true, Some("stream_differs")).await;
        let told = "same_as_unary:check failed checks: same_as_unary (the text of ";
        assert_eq!(lost[..2], [":ok", "same_seed:ok"], "{}", words.api);
        assert!(lost[2].starts_with(told), "{}: {lost:?}", words.api);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_tools_and_structured_output_passes_its_own_checks() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/tools.yaml");
    let config = std::fs::read_to_string(path).unwrap().replace("127.0.0.1:8000", "{SIM}");
    let play = async |fault: Option<&str>| {
        let options =
            tokenbeat::sim::Options { models: vec!["sim-8b".to_owned()], ..crate::harness::quick() };
        let simulator = Simulator::with(options);
        if let Some(fault) = fault {
            simulator.inject(fault);
        }
        let requests = play_all(&config, &simulator).await;
        let failed = requests.iter().flat_map(|it| it.failed_checks.iter().map(ToString::to_string));
        let mut failed: Vec<String> = failed.collect();
        failed.sort();
        failed.dedup();
        (requests, failed)
    };
    let (requests, failed) = play(None).await;
    assert!(requests.iter().all(|it| it.outcome == Outcome::Ok), "{failed:?}");
    // Three calls and their comparisons, three documents, two answers and their comparisons.
    assert_eq!(requests.len(), 6 + 3 + 4);
    assert!(requests.iter().filter(|it| it.place.step.is_empty()).all(|it| it.observed.streamed));
    for (fault, checks) in [
        ("broken_arguments", ["tool_call"].as_slice()),
        ("stream_differs", &["city"]),
        ("ignore_max_tokens", &["honours:max_tokens"]),
        ("no_logprobs", &["honours:logprobs"]),
    ] {
        assert_eq!(play(Some(fault)).await.1, checks, "{fault}");
    }
}
