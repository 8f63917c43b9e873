//! Each dialect between the client and the simulator: outcome, tokens, finish reason and timestamps agree with the
//! server's own record, streamed and not.

use crate::harness::{Simulator, quick};
use crate::player::{play, play_on};
use std::time::Duration;
use tokenbeat::event::{CountSource, Failure, Outcome, Request};
use tokenbeat::sim::{self, Truth};
use tokio::runtime::Handle;
use wiremock::matchers::{body_string_contains, method, path as url_path};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// A dialect: its name, the path of its base URL, and its finish reasons for a limit and for a natural end.
struct Spoken {
    api: &'static str,
    base: &'static str,
    length: &'static str,
    stop: &'static str,
    /// Parameters that request visible reasoning, if the dialect supports it.
    reasoning: Option<&'static str>,
    /// Whether the server reports the reasoning part of the output.
    counts_reasoning: bool,
    /// Whether the server reports the cached part of the input.
    counts_cached: bool,
}

const OLLAMA: Spoken = Spoken {
    api: "ollama-chat",
    base: "",
    length: "length",
    stop: "stop",
    reasoning: Some("{ think: low }"),
    counts_reasoning: false,
    counts_cached: false,
};

const GEMINI: Spoken = Spoken {
    api: "gemini",
    base: "/v1beta",
    length: "MAX_TOKENS",
    stop: "STOP",
    reasoning: Some(
        "{ generationConfig: { thinkingConfig: { thinkingLevel: low, includeThoughts: true } } }",
    ),
    counts_reasoning: true,
    counts_cached: true,
};

const SPOKEN: [Spoken; 7] = [
    Spoken {
        api: "anthropic",
        base: "",
        length: "max_tokens",
        stop: "end_turn",
        reasoning: Some("{ max_tokens: 1030, thinking: { type: enabled, budget_tokens: 1024 } }"),
        counts_reasoning: true,
        counts_cached: true,
    },
    GEMINI,
    Spoken { base: "/v1/projects/p/locations/global", ..GEMINI },
    Spoken {
        api: "bedrock",
        base: "",
        length: "max_tokens",
        stop: "end_turn",
        reasoning: Some(
            "{ inferenceConfig: { maxTokens: 1030 }, \
             additionalModelRequestFields: { thinking: { type: enabled, budget_tokens: 1024 } } }",
        ),
        counts_reasoning: false,
        counts_cached: true,
    },
    OLLAMA,
    Spoken { api: "ollama-generate", ..OLLAMA },
    Spoken {
        api: "tgi",
        base: "",
        length: "length",
        stop: "eos_token",
        reasoning: None,
        counts_reasoning: false,
        counts_cached: false,
    },
];

impl Spoken {
    fn config(&self, workload: &str) -> String {
        let prompt = "heron ".repeat(60);
        format!(
            "agent: {{ id: test }}\nserver: {{ listen: 127.0.0.1:0 }}\n\
             targets:\n  t: {{ api: {}, base_url: 'http://{{SIM}}{}', model: m }}\n\
             profiles:\n  p:\n    targets: [t]\n    schedule: {{ manual: {{}} }}\n    load: [{{ requests: 3 }}]\n    \
             workload: {{ system: Be brief., prompts: ['{prompt}'], {workload} }}\n",
            self.api, self.base
        )
    }
}

/// A model whose times are large compared with the delays of a busy machine.
fn slow() -> sim::Options {
    sim::Options { prefill_rate: 1000.0, step_time: Duration::from_millis(8), ..quick() }
}

fn counts(spoken: &Spoken, request: &Request, truth: &Truth) {
    let tokens = &request.observed.tokens;
    let counts = [tokens.input, tokens.output].map(Option::unwrap);
    assert_eq!(counts.map(|count| count.source), [CountSource::Usage; 2], "{}", spoken.api);
    assert_eq!(counts.map(|count| count.n), [truth.input_tokens, truth.output_tokens].map(|n| n as u64));
    if spoken.counts_cached {
        assert_eq!(tokens.cached_input.unwrap_or(0), truth.cached_tokens as u64, "{}", spoken.api);
    }
    if spoken.counts_reasoning {
        assert_eq!(tokens.reasoning.unwrap_or(0), truth.reasoning_tokens as u64, "{}", spoken.api);
    }
    let finish = if truth.finish_reason.as_deref() == Some("length") { spoken.length } else { spoken.stop };
    assert_eq!(request.observed.finish_reason.as_deref(), Some(finish), "{}", spoken.api);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_read_as_it_was_written() {
    for spoken in SPOKEN {
        let simulator = Simulator::with(slow());
        let pairs = play(&spoken.config("cache: reuse, output_tokens: 12"), &simulator).await;
        assert_eq!(pairs.len(), 3);
        for (request, truth) in &pairs {
            counts(&spoken, request, truth);
            assert!(request.observed.streamed && truth.streamed, "{}", spoken.api);
            assert_eq!(request.observed.gaps.len(), truth.chunks.len() - 1, "{}", spoken.api);
            let marks = &request.observed.marks;
            let ttft = marks.time_to_first_token().unwrap().as_secs_f64();
            let least = truth.queue_seconds.unwrap() + truth.prefill_seconds.unwrap();
            assert!(ttft + 1e-6 >= least, "{}: {ttft} s after {least} s of work", spoken.api);
            assert!(ttft < marks.duration().as_secs_f64(), "{}", spoken.api);
        }
        // All but the first find the prompt in the cache.
        assert!(pairs[2].1.cached_tokens > 40);
        // A busy machine delays client and server occasionally; a wrong timestamp is always wrong.
        let apart = |(request, truth): &(std::sync::Arc<Request>, Truth)| {
            request.observed.marks.time_to_first_token().unwrap().as_secs_f64() / truth.first_token.unwrap()
        };
        let least = pairs.iter().map(apart).fold(f64::INFINITY, f64::min);
        assert!(least < 1.5, "{}: a factor of {least}", spoken.api);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_one_piece_says_the_same() {
    for spoken in SPOKEN {
        let simulator = Simulator::start();
        simulator.inject("early_finish;tokens=5");
        let pairs = play(&spoken.config("output_tokens: 12, stream: false"), &simulator).await;
        for (request, truth) in &pairs {
            counts(&spoken, request, truth);
            assert!(!request.observed.streamed && !truth.streamed);
            assert_eq!(request.observed.finish_reason.as_deref(), Some(spoken.stop));
            assert_eq!(request.observed.tokens.output.unwrap().n, 5);
            assert_eq!(request.observed.marks.time_to_first_token(), None);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reasoning_comes_before_the_text() {
    for spoken in SPOKEN {
        let Some(params) = spoken.reasoning else { continue };
        let simulator = Simulator::start();
        simulator.inject("early_finish;tokens=20");
        let pairs = play(&spoken.config(&format!("output_tokens: 40, params: {params}")), &simulator).await;
        for (request, truth) in &pairs {
            assert_eq!(truth.reasoning_tokens, 16, "{}", spoken.api);
            counts(&spoken, request, truth);
            let marks = &request.observed.marks;
            assert!(marks.first_text.unwrap() > marks.first_token.unwrap(), "{}", spoken.api);
            // What these stream is a summary, and the pace is that of the text after it.
            let summarized = matches!(spoken.api, "gemini" | "openai-responses");
            let (streamed, start) = if summarized { (4, marks.first_text) } else { (20, None) };
            assert_eq!(request.observed.tokens.streamed(), Some(streamed), "{}", spoken.api);
            assert_eq!(marks.pace_start, start, "{}", spoken.api);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_form_of_the_stream_it_is_read() {
    for fault in [
        "tokens_per_chunk;n=3",
        "many_events_per_write;n=4",
        "split_writes;bytes=3",
        "empty_chunks;n=2",
        "reasoning;tokens=4",
        "zero_usage",
        "no_usage",
    ] {
        for spoken in SPOKEN {
            let simulator = Simulator::start();
            simulator.inject(fault);
            let pairs = play(&spoken.config("output_tokens: 12"), &simulator).await;
            for (request, truth) in &pairs {
                assert_eq!(request.observed.gaps.len(), truth.chunks.len() - 1, "{} {fault}", spoken.api);
                let counted = request.observed.tokens.output.unwrap();
                let known = !matches!(fault, "zero_usage" | "no_usage");
                assert_eq!(counted.source == CountSource::Usage, known, "{} {fault}", spoken.api);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_has_its_outcome_and_the_servers_words() {
    let cases = [
        ("error_in_stream;after=3", Failure::StreamError, "stopped"),
        ("truncated;after=3", Failure::Truncated, ""),
        ("reset_mid;after=3", Failure::Reset, ""),
        ("garbage;after=3", Failure::Protocol, ""),
        ("rate_limited;retry_after=2s", Failure::RateLimited, "Too Many Requests"),
        ("overloaded_529", Failure::Overloaded, "529"),
        ("error_500", Failure::Http5xx, "Internal Server Error"),
        ("no_content", Failure::Empty, "no generated content"),
    ];
    for (fault, failure, said) in cases {
        for spoken in SPOKEN {
            let simulator = Simulator::start();
            simulator.inject(fault);
            let yaml = spoken.config("output_tokens: 12");
            let (requests, _) = play_on(Handle::current(), &yaml, &simulator).await;
            assert_eq!(requests.len(), 3);
            for request in requests {
                let detail = request.detail.clone().unwrap_or_default();
                assert_eq!(request.outcome, Outcome::Failed(failure), "{} {fault}: {detail}", spoken.api);
                assert!(detail.contains(said), "{} {fault}: {detail}", spoken.api);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_thoughts_that_use_up_the_output_are_our_own_limit() {
    let simulator = Simulator::start();
    let params = "params: { generationConfig: { thinkingConfig: { thinkingLevel: high } } }";
    let yaml = GEMINI.config(&format!("output_tokens: 12, {params}"));
    let (requests, _) = play_on(Handle::current(), &yaml, &simulator).await;
    for request in requests {
        assert_eq!(request.outcome, Outcome::Failed(Failure::Exhausted), "{:?}", request.detail);
        assert!(request.detail.as_deref().is_some_and(|detail| detail.contains("raise output_tokens")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reranker_has_input_and_no_output() {
    for (api, base) in [("rerank-cohere", ""), ("rerank-jina", "/v1")] {
        let simulator = Simulator::with(slow());
        let yaml = format!(
            "agent: {{ id: test }}\nserver: {{ listen: 127.0.0.1:0 }}\n\
             targets:\n  t: {{ api: {api}, base_url: 'http://{{SIM}}{base}', model: m, price: {{ input: 1, output: 1 }} }}\n\
             profiles:\n  p:\n    targets: [t]\n    schedule: {{ manual: {{}} }}\n    load: [{{ requests: 2 }}]\n    \
             budget: {{ period: day, tokens: 100000, cost: 1 }}\n    \
             workload:\n      prompts: [\"red heron\\na blue whale\\nthe red heron\"]\n"
        );
        for (request, truth) in play(&yaml, &simulator).await {
            assert_eq!(truth.dialect, api);
            assert_eq!(request.observed.tokens.input.unwrap().n, truth.input_tokens as u64);
            assert_eq!((request.observed.tokens.output, truth.output_tokens), (None, 0));
            assert!(!request.observed.streamed && request.observed.gaps.is_empty());
            assert!(request.observed.marks.duration().as_secs_f64() + 1e-6 >= truth.finished.unwrap());
        }
        simulator.inject("no_choices");
        let (requests, _) = play_on(Handle::current(), &yaml, &simulator).await;
        assert!(requests.iter().all(|request| request.outcome != Outcome::Ok), "no result is no success");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn anthropics_own_headers_tell_the_headroom() {
    let simulator = Simulator::with(sim::Options { rate_limit_requests: Some(100), ..quick() });
    let pairs = play(&SPOKEN[0].config("output_tokens: 3"), &simulator).await;
    let limits = &pairs[0].0.observed.limits;
    assert_eq!(limits.len(), 1);
    assert_eq!((limits[0].limit, limits[0].remaining), (Some(100.0), Some(99.0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn bedrock_signs_its_requests_and_tells_the_class_of_an_error() {
    let model = "eu.anthropic.claude-v1:0";
    let mut options = sim::Options { models: vec![model.to_owned()], ..quick() };
    options.api_keys = vec!["AKIDEXAMPLE".to_owned()];
    let simulator = Simulator::with(options);
    let yaml = |key: &str, model: &str| {
        let keys = format!("access_key_id: {{ value: {key} }}, secret_access_key: {{ value: secret }}");
        format!(
            "agent: {{ id: test }}\nserver: {{ listen: 127.0.0.1:0 }}\n\
             targets:\n  t:\n    api: bedrock\n    base_url: 'http://{{SIM}}'\n    model: '{model}'\n    \
             auth: {{ aws: {{ region: eu-west-1, keys: {{ {keys} }} }} }}\n\
             profiles:\n  p:\n    targets: [t]\n    schedule: {{ manual: {{}} }}\n    load: [{{ requests: 2 }}]\n    \
             workload: {{ prompts: [hello], output_tokens: 4 }}\n"
        )
    };
    for (request, truth) in play(&yaml("AKIDEXAMPLE", model), &simulator).await {
        assert_eq!((request.outcome, truth.model.as_deref()), (Outcome::Ok, Some(model)));
    }
    for (key, model, failure, said) in [
        ("AKIDOTHER", model, Failure::Auth, "AccessDeniedException: "),
        (
            "AKIDEXAMPLE",
            "other",
            Failure::Http4xx,
            "ResourceNotFoundException: The model `other` does not exist",
        ),
    ] {
        let (requests, _) = play_on(Handle::current(), &yaml(key, model), &simulator).await;
        for request in requests {
            let detail = request.detail.clone().unwrap_or_default();
            assert_eq!(request.outcome, Outcome::Failed(failure), "{detail}");
            assert!(detail.contains(said), "{detail}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_the_server_keeps_grows_by_what_is_new() {
    let simulator = Simulator::start();
    let yaml = "agent: { id: test }\nserver: { listen: 127.0.0.1:0 }\n\
         targets:\n  t: { api: openai-responses, base_url: 'http://{SIM}/v1', model: m, price: { input: 1, output: 1 } }\n\
         profiles:\n  p:\n    targets: [t]\n    schedule: { manual: {} }\n    load: [{ requests: 1 }]\n    \
         budget: { period: day, tokens: 100000, cost: 1 }\n    scenario:\n      steps:\n        - name: talk\n          \
         repeat: 5\n          ask: { system: Be brief., prompt: 'Fact {{ turn }}', output_tokens: 6, history: 3, \
         stateful: true, cache: reuse }\n";
    // The requests of a journey share their trace, by which the server's own records are found.
    let (requests, _) = play_on(Handle::current(), yaml, &simulator).await;
    let outcomes: Vec<Outcome> = requests.iter().map(|request| request.outcome).collect();
    assert_eq!(outcomes, [Outcome::Ok; 5]);
    let inputs: Vec<u64> = requests.iter().map(|request| request.observed.tokens.input.unwrap().n).collect();
    let grows: Vec<u64> = inputs.windows(2).take(3).map(|two| two[1] - two[0]).collect();
    assert!(grows[0] > 6 && grows.iter().all(|by| *by == grows[0]), "{inputs:?}");
    // A fifth turn would have more earlier ones than three.
    assert_eq!(inputs[4], inputs[0], "{inputs:?}");
    assert!(requests[3].observed.tokens.cached_input.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_is_not_stored_is_told_in_the_servers_words() {
    let simulator = Simulator::start();
    let yaml = "agent: { id: test }\nserver: { listen: 127.0.0.1:0 }\n\
         targets:\n  t: { api: openai-responses, base_url: 'http://{SIM}/v1', model: m, params: { store: false } }\n\
         profiles:\n  p:\n    targets: [t]\n    schedule: { manual: {} }\n    load: [{ requests: 1 }]\n    scenario:\n      \
         steps: [{ name: talk, repeat: 2, ask: { prompt: hello, history: 3, stateful: true } }]\n";
    let (requests, _) = play_on(Handle::current(), yaml, &simulator).await;
    assert_eq!(requests[1].outcome, Outcome::Failed(Failure::Http4xx));
    let detail = requests[1].detail.as_deref().unwrap();
    assert!(detail.contains("previous_response_not_found: Previous response with id 'resp_"), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_is_played_by_deployment_and_by_v1_with_a_key_and_with_entra() {
    let options = sim::Options {
        models: vec!["gpt-4o".to_owned()],
        api_keys: vec!["azure-key".to_owned(), "entra-token".to_owned()],
        rate_limit_requests: Some(1000),
        ..quick()
    };
    let simulator = Simulator::with(options);
    let entra = MockServer::start().await;
    let token =
        serde_json::json!({"token_type": "Bearer", "expires_in": 3599, "access_token": "entra-token"});
    Mock::given(method("POST"))
        .and(url_path("/tenant/oauth2/v2.0/token"))
        .and(body_string_contains("scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default"))
        .respond_with(ResponseTemplate::new(200).set_body_json(token))
        .expect(1..)
        .mount(&entra)
        .await;
    let key = "{ header: { name: api-key, value: { value: azure-key } } }".to_owned();
    let oauth2 = format!(
        "{{ oauth2: {{ token_url: '{}/tenant/oauth2/v2.0/token', client_id: c, client_secret: {{ value: s3cret-s3cret }}, \
         scope: 'https://cognitiveservices.azure.com/.default' }} }}",
        entra.uri()
    );
    let deployment = "/openai/deployments/gpt-4o?api-version=2024-10-21";
    for (api, base, model, auth) in [
        ("openai-chat", deployment, "", &key),
        ("openai-completions", deployment, "ignored", &key),
        ("openai-responses", "/openai/v1", "gpt-4o", &key),
        ("openai-chat", "/openai/v1", "gpt-4o", &oauth2),
        ("openai-chat", deployment, "", &oauth2),
    ] {
        let model = if model.is_empty() { String::new() } else { format!("model: {model}, ") };
        let yaml = format!(
            "agent: {{ id: test }}\nserver: {{ listen: 127.0.0.1:0 }}\n\
             targets:\n  t: {{ api: {api}, base_url: 'http://{{SIM}}{base}', {model}auth: {auth} }}\n\
             profiles:\n  p:\n    targets: [t]\n    schedule: {{ manual: {{}} }}\n    load: [{{ requests: 2 }}]\n    \
             workload: {{ system: Be brief., prompts: [hello], output_tokens: 6 }}\n"
        );
        for (request, truth) in play(&yaml, &simulator).await {
            assert_eq!((truth.dialect.as_str(), truth.model.as_deref()), (api, Some("gpt-4o")));
            let tokens = &request.observed.tokens;
            assert_eq!(tokens.output.unwrap().n, 6, "{api} {base}");
            assert_eq!(tokens.input.unwrap().n, truth.input_tokens as u64, "{api} {base}");
            assert_eq!(request.observed.gaps.len(), truth.chunks.len() - 1, "{api} {base}");
            assert!(request.observed.limits.iter().any(|it| it.remaining.is_some()), "{api} {base}");
        }
    }
}
