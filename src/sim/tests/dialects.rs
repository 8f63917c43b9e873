//! The dialects beside OpenAI's: streams, whole answers and errors, as a client of each API reads them.

use serde_json::{Value, json};

use super::client::{Reply, options, parsed, send, start};
use crate::framing::eventstream::EventStreamDecoder;
use crate::sim::{Options, text};

const ANTHROPIC: &str = "anthropic-version: 2023-06-01\r\n";
const GEMINI: &str = "/v1beta/models/m:";

fn lines(reply: &Reply) -> Vec<Value> {
    reply.body().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The texts at a pointer, joined.
fn joined(events: &[Value], pointer: &str) -> String {
    events.iter().filter_map(|event| event.pointer(pointer)?.as_str()).collect()
}

fn messages(more: &Value) -> Value {
    let mut body = json!({
        "model": "m",
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [{"role": "user", "content": "Tell me something"}],
        "max_tokens": 8,
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn anthropic_streams_blocks_between_a_start_and_a_stop() {
    let server = start(options());
    let body = messages(&json!({"stream": true, "max_tokens": 1030,
        "thinking": {"type": "enabled", "budget_tokens": 1024}}));
    let reply =
        send(&server, "/v1/messages", &format!("{ANTHROPIC}x-sim-fault: early_finish;tokens=20\r\n"), &body)
            .await;
    assert_eq!(reply.header("content-type").as_deref(), Some("text/event-stream; charset=utf-8"));
    let events = parsed(&reply);
    let mut types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert!(reply.body().contains("event: content_block_delta\ndata: {"));
    types.dedup();
    assert_eq!(
        types,
        [
            "message_start",
            "ping",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    let message = &events[0]["message"];
    assert_eq!((&message["role"], &message["stop_reason"]), (&json!("assistant"), &Value::Null));
    assert!(message["usage"]["input_tokens"].as_u64().unwrap() > 4);
    assert_eq!(text::pieces(&joined(&events, "/delta/thinking")).count(), 16);
    assert_eq!(text::pieces(&joined(&events, "/delta/text")).count(), 4);
    assert_eq!(joined(&events, "/delta/signature"), "c2ltdWxhdGVk");
    let indices: Vec<_> =
        events.iter().filter(|it| it["type"] == "content_block_stop").map(|it| &it["index"]).collect();
    assert_eq!(indices, [&json!(0), &json!(1)]);
    let end = &events[events.len() - 2];
    assert_eq!(
        (&end["delta"]["stop_reason"], &end["usage"]["output_tokens"]),
        (&json!("end_turn"), &json!(20))
    );
}

#[tokio::test]
async fn anthropic_answers_whole_and_counts_the_cache_beside_the_input() {
    let server = start(options());
    let long = "heron ".repeat(100);
    let body =
        messages(&json!({"messages": [{"role": "user", "content": [{"type": "text", "text": long}]}]}));
    let first = send(&server, "/v1/messages", ANTHROPIC, &body).await.json();
    assert_eq!(first["type"], "message");
    assert_eq!(first["stop_reason"], "max_tokens");
    assert_eq!(text::pieces(first["content"][0]["text"].as_str().unwrap()).count(), 8);
    let second = send(&server, "/v1/messages", ANTHROPIC, &body).await.json();
    let input = |answer: &Value| answer["usage"]["input_tokens"].as_u64().unwrap();
    let cached = second["usage"]["cache_read_input_tokens"].as_u64().unwrap();
    assert!(cached > 50);
    assert_eq!(input(&second) + cached, input(&first));
}

#[tokio::test]
async fn anthropic_errors_have_a_type() {
    let server = start(Options { rate_limit_requests: Some(9), ..options() });
    let body = messages(&json!({}));
    let without = send(&server, "/v1/messages", "", &body).await;
    assert_eq!((without.status(), &without.json()["error"]["type"]), (400, &json!("invalid_request_error")));
    let header = "anthropic-ratelimit-requests-limit";
    assert_eq!(without.header(header).as_deref(), Some("9"));
    assert!(without.header("anthropic-ratelimit-requests-reset").unwrap().ends_with('Z'));
    assert_eq!(without.header("x-ratelimit-limit-requests"), None);
    for (fault, status, kind) in [
        ("overloaded_529", 529, "overloaded_error"),
        ("rate_limited", 429, "rate_limit_error"),
        ("error_500", 500, "api_error"),
    ] {
        let reply =
            send(&server, "/v1/messages", &format!("{ANTHROPIC}x-sim-fault: {fault}\r\n"), &body).await;
        assert_eq!((reply.status(), &reply.json()["type"]), (status, &json!("error")), "{fault}");
        assert_eq!(reply.json()["error"]["type"], kind);
    }
    let fault = format!("{ANTHROPIC}x-sim-fault: error_in_stream;after=2\r\n");
    let broken = send(&server, "/v1/messages", &fault, &messages(&json!({"stream": true}))).await;
    let events = parsed(&broken);
    assert_eq!(events.last().unwrap()["type"], "error");
    for wrong in [
        json!({"max_tokens": 0}),
        json!({"messages": []}),
        json!({"temperature": 1.5}),
        json!({"messages": [{"role": "system", "content": "x"}]}),
        json!({"thinking": {"type": "enabled", "budget_tokens": 100}}),
        json!({"thinking": {"type": "enabled", "budget_tokens": 2048}}),
    ] {
        assert_eq!(
            send(&server, "/v1/messages", ANTHROPIC, &messages(&wrong)).await.status(),
            400,
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn azure_serves_deployments_and_tells_what_its_filter_found() {
    let keyed = Options { api_keys: vec!["k".to_owned()], rate_limit_requests: Some(9), ..options() };
    let server = start(keyed);
    let body = json!({"messages": [{"role": "user", "content": "Tell me something"}], "max_tokens": 8,
        "model": "whatever", "stream": true});
    let path = "/openai/deployments/m/chat/completions?api-version=2024-10-21";
    let reply = send(&server, path, "api-key: k\r\n", &body).await;
    let events: Vec<Value> =
        reply.events().iter().filter_map(|data| serde_json::from_str(data).ok()).collect();
    assert_eq!((&events[0]["choices"], &events[0]["id"]), (&json!([]), &json!("")));
    assert!(events[0]["prompt_filter_results"][0]["content_filter_results"]["hate"].is_object());
    let verdict = |event: &Value| event["choices"][0]["content_filter_results"].is_object();
    assert!(events[1..].iter().all(|event| event["choices"][0].is_null() || verdict(event)));
    assert_eq!(text::pieces(&reply.content()).count(), 8);
    assert_eq!(reply.header("x-ratelimit-remaining-requests").as_deref(), Some("8"));
    assert_eq!(reply.header("x-ratelimit-reset-requests"), None);
    let whole = json!({"model": "m", "messages": body["messages"], "max_tokens": 3});
    let v1 = send(&server, "/openai/v1/chat/completions", "api-key: k\r\n", &whole).await.json();
    assert!(v1["prompt_filter_results"].is_array() && verdict(&v1));
    for (path, headers, status, code) in [
        ("/openai/deployments/m/chat/completions", "api-key: k\r\n", 404, "404"),
        ("/openai/deployments/other/embeddings?api-version=1", "api-key: k\r\n", 400, ""),
        (
            "/openai/deployments/other/chat/completions?api-version=1",
            "api-key: k\r\n",
            404,
            "DeploymentNotFound",
        ),
        (path, "", 401, "401"),
        (path, "api-key: k\r\nx-sim-fault: rate_limited;retry_after=1500ms\r\n", 429, "429"),
    ] {
        let reply = send(&server, path, headers, &body).await;
        assert_eq!(reply.status(), status, "{path}");
        assert!(code.is_empty() || reply.json()["error"]["code"] == code, "{}", reply.text());
        assert_eq!(reply.header("retry-after-ms").as_deref(), (status == 429).then_some("1500"));
    }
}

#[tokio::test]
async fn responses_go_on_from_a_stored_one() {
    let server = start(options());
    let ask = |more: Value| {
        let mut body = json!({"model": "m", "input": "Tell me something", "max_output_tokens": 8, "instructions": "Be brief."});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let path = "/v1/responses";
    let first = send(&server, path, "", &ask(json!({}))).await.json();
    let id = first["id"].clone();
    let next = send(&server, path, "", &ask(json!({"previous_response_id": id, "stream": true}))).await;
    let events = parsed(&next);
    let last = &events.last().unwrap()["response"];
    assert_eq!(last["previous_response_id"], id);
    let item = last["output"].as_array().unwrap().last().unwrap();
    let said = joined(&events, "/delta");
    assert!(item["content"][0]["text"] == said.as_str() && text::pieces(&said).count() == 8);
    // The question once more, its answer, and a marker at each end of a turn; the instructions are not carried over.
    let input = |response: &Value| response["usage"]["input_tokens"].as_u64().unwrap();
    let question = text::pieces("Tell me something").count() as u64 + 2;
    assert_eq!(input(last), input(&first) + question + 8 + 2);
    let unstored = send(&server, path, "", &ask(json!({"store": false}))).await.json();
    for id in [&json!("resp_none"), &unstored["id"]] {
        let reply = send(&server, path, "", &ask(json!({"previous_response_id": id}))).await;
        let error = &reply.json()["error"];
        assert_eq!((reply.status(), &error["code"]), (400, &json!("previous_response_not_found")));
        assert_eq!(error["param"], "previous_response_id");
    }
}

fn contents(thoughts: bool) -> Value {
    json!({
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [{"role": "user", "parts": [{"text": "Tell me something"}]}],
        "generationConfig": {
            "maxOutputTokens": 12,
            "thinkingConfig": {"thinkingBudget": 256, "includeThoughts": thoughts},
        },
    })
}

#[tokio::test]
async fn gemini_streams_events_or_an_array() {
    let server = start(options());
    let path = |query: &str| format!("{GEMINI}streamGenerateContent{query}");
    let events = parsed(&send(&server, &path("?alt=sse"), "", &contents(true)).await);
    let array = send(&server, &path(""), "", &contents(true)).await;
    assert_eq!(array.header("content-type").as_deref(), Some("application/json; charset=UTF-8"));
    let array: Vec<Value> = serde_json::from_str(&array.body()).unwrap();
    for chunks in [&events, &array] {
        assert_eq!(chunks.len(), 13);
        let thoughts =
            chunks.iter().filter(|it| it["candidates"][0]["content"]["parts"][0]["thought"] == true);
        assert_eq!(thoughts.count(), 4);
        let last = chunks.last().unwrap();
        assert_eq!(last["candidates"][0]["finishReason"], "MAX_TOKENS");
        let usage = &last["usageMetadata"];
        assert_eq!((&usage["candidatesTokenCount"], &usage["thoughtsTokenCount"]), (&json!(8), &json!(4)));
        assert!(chunks[..12].iter().all(|it| it["candidates"][0].get("finishReason").is_none()));
    }
    let text = "/candidates/0/content/parts/0/text";
    assert_eq!(joined(&events, text), joined(&array, text));
}

#[tokio::test]
async fn gemini_answers_whole_at_each_path_and_hides_thoughts() {
    let server = start(options());
    let below = [
        "/v1/projects/p/locations/global/publishers/google",
        "/v1beta1/projects/p/locations/global/publishers/google",
        "/v1/publishers/google",
        "/v1beta1/publishers/google",
        "/v1",
        "/v1alpha",
    ];
    for path in below.map(|path| format!("{path}/models/m:")).iter().map(String::as_str).chain([GEMINI]) {
        let answer = send(&server, &format!("{path}generateContent"), "", &contents(false)).await.json();
        let parts = answer["candidates"][0]["content"]["parts"].as_array().unwrap();
        assert_eq!(parts.len(), 1);
        assert_eq!(text::pieces(parts[0]["text"].as_str().unwrap()).count(), 8);
        assert_eq!(answer["usageMetadata"]["thoughtsTokenCount"], 4);
        assert_eq!(answer["modelVersion"], "m");
    }
    let unknown = send(&server, "/v1beta/models/other:generateContent", "", &contents(false)).await;
    assert_eq!((unknown.status(), &unknown.json()["error"]["status"]), (404, &json!("NOT_FOUND")));
    assert_eq!(send(&server, &format!("{GEMINI}countTokens"), "", &contents(false)).await.status(), 404);
    assert_eq!(
        send(&server, &format!("{GEMINI}generateContent"), "", &json!({"contents": []})).await.status(),
        400
    );
    let refused =
        send(&server, &format!("{GEMINI}generateContent"), "x-sim-fault: rate_limited\r\n", &contents(true))
            .await;
    assert_eq!(refused.json()["error"]["status"], "RESOURCE_EXHAUSTED");
}

fn converse(more: &Value) -> Value {
    let mut body = json!({
        "system": [{"text": "Be brief."}],
        "messages": [{"role": "user", "content": [{"text": "Tell me something"}]}],
        "inferenceConfig": {"maxTokens": 1030},
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// The messages of a binary stream: their names, and whether they are exceptions.
fn messages_of(reply: &Reply) -> Vec<(String, bool, Value)> {
    let mut messages = Vec::new();
    let mut decoder = EventStreamDecoder::new(1 << 20);
    let each = |event: crate::framing::Event<'_>| {
        let data = serde_json::from_str(event.data).unwrap();
        messages.push((event.name.unwrap().to_owned(), event.error, data));
    };
    decoder.push(&reply.body_bytes().unwrap(), each).unwrap();
    decoder.finish(|_| {}).unwrap();
    messages
}

#[tokio::test]
async fn bedrock_streams_binary_messages() {
    let server = start(options());
    let thinking = json!({"thinking": {"type": "enabled", "budget_tokens": 1024}});
    let body = converse(&json!({"additionalModelRequestFields": thinking}));
    let early = "x-sim-fault: early_finish;tokens=20\r\n";
    let reply = send(&server, "/model/m/converse-stream", early, &body).await;
    assert_eq!(reply.header("content-type").as_deref(), Some("application/vnd.amazon.eventstream"));
    let messages = messages_of(&reply);
    let mut names: Vec<&str> = messages.iter().map(|(name, ..)| name.as_str()).collect();
    names.dedup();
    let block = ["contentBlockDelta", "contentBlockStop"];
    assert_eq!(names, [&["messageStart"][..], &block, &block, &["messageStop", "metadata"]].concat());
    let data: Vec<Value> = messages.into_iter().map(|(.., data)| data).collect();
    assert_eq!(text::pieces(&joined(&data, "/delta/reasoningContent/text")).count(), 16);
    let written = joined(&data, "/delta/text");
    assert_eq!(text::pieces(&written).count(), 4);
    let whole = send(&server, "/model/m/converse", early, &body).await.json();
    let blocks = &whole["output"]["message"]["content"];
    assert_eq!(blocks[1]["text"], written.as_str());
    assert!(blocks[0]["reasoningContent"]["reasoningText"]["signature"].is_string());
    let [stop, metadata] = &data[data.len() - 2..] else { panic!() };
    assert_eq!((&stop["stopReason"], &whole["stopReason"]), (&json!("end_turn"), &json!("end_turn")));
    let usage = &metadata["usage"];
    assert_eq!((&usage["outputTokens"], &whole["usage"]["outputTokens"]), (&json!(20), &json!(20)));
    assert_eq!(usage["inputTokens"].as_u64().unwrap() + 20, usage["totalTokens"].as_u64().unwrap());
}

#[tokio::test]
async fn bedrock_errors_have_a_class_in_a_header_or_are_exceptions() {
    let server = start(options());
    let stream = "/model/m/converse-stream";
    for (path, fault, status, class) in [
        (stream, "rate_limited", 429, "ThrottlingException"),
        (stream, "unavailable_503", 503, "ServiceUnavailableException"),
        (stream, "error_500", 500, "InternalServerException"),
        ("/model/arn%3Aaws%3Ax%2Fother/converse", "no_usage", 404, "ResourceNotFoundException"),
    ] {
        let reply = send(&server, path, &format!("x-sim-fault: {fault}\r\n"), &converse(&json!({}))).await;
        assert_eq!(reply.header("x-amzn-errortype").as_deref(), Some(class));
        assert!(reply.status() == status && reply.json()["message"].is_string(), "{fault}");
    }
    let broken = "x-sim-fault: error_in_stream;after=2\r\n";
    let reply = send(&server, stream, broken, &converse(&json!({}))).await;
    let (name, exception, data) = messages_of(&reply).pop().unwrap();
    assert_eq!((name.as_str(), exception), ("internalServerException", true));
    assert_eq!(data["message"], "The engine stopped.");
    for wrong in [
        json!({"messages": []}),
        json!({"messages": [{"role": "system", "content": []}]}),
        json!({"inferenceConfig": {"maxTokens": 0}}),
        json!({"inferenceConfig": {"temperature": 2}}),
        json!({"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 5000}}}),
    ] {
        let reply = send(&server, "/model/m/converse", "", &converse(&wrong)).await;
        assert_eq!(reply.status(), 400, "{wrong}");
        assert_eq!(reply.header("x-amzn-errortype").as_deref(), Some("ValidationException"));
    }
}

#[tokio::test]
async fn ollama_streams_lines_unless_told_otherwise() {
    let server = start(options());
    let chat = json!({"model": "m", "think": "low", "options": {"num_predict": 20},
        "messages": [{"role": "user", "content": "Tell me something"}]});
    let generate =
        json!({"model": "m", "prompt": "Tell me something", "think": "low", "options": {"num_predict": 20}});
    for (path, body, text_at, thinking_at) in [
        ("/api/chat", chat, "/message/content", "/message/thinking"),
        ("/api/generate", generate, "/response", "/thinking"),
    ] {
        let reply = send(&server, path, "", &body).await;
        assert_eq!(reply.header("content-type").as_deref(), Some("application/x-ndjson"));
        let events = lines(&reply);
        assert_eq!(events.len(), 21);
        assert_eq!(text::pieces(&joined(&events, thinking_at)).count(), 16);
        let end = events.last().unwrap();
        assert_eq!(
            (&end["done"], &end["done_reason"], &end["eval_count"]),
            (&json!(true), &json!("length"), &json!(20))
        );
        assert!(end["prompt_eval_count"].as_u64().unwrap() > 3);
        let mut body = body;
        body["stream"] = json!(false);
        let answer = send(&server, path, "", &body).await.json();
        assert_eq!(answer.pointer(text_at).unwrap().as_str().unwrap(), joined(&events, text_at));
        assert_eq!(answer["done"], true);
        body["model"] = json!("other");
        let unknown = send(&server, path, "", &body).await;
        assert!(unknown.status() == 404 && unknown.json()["error"].is_string());
        body["think"] = json!("hard");
        assert_eq!(send(&server, path, "", &body).await.status(), 400);
    }
}

#[tokio::test]
async fn tgi_streams_tokens_and_repeats_the_text_at_the_end() {
    let server = start(options());
    let body = json!({"inputs": "Tell me something",
        "parameters": {"max_new_tokens": 8, "details": true, "decoder_input_details": true}});
    let events = parsed(&send(&server, "/generate_stream", "", &body).await);
    assert_eq!(events.len(), 9);
    let end = events.last().unwrap();
    assert_eq!(end["generated_text"], joined(&events[..8], "/token/text"));
    assert_eq!(
        (&end["token"]["special"], &end["details"]["finish_reason"]),
        (&json!(true), &json!("length"))
    );
    assert_eq!(
        (&end["details"]["generated_tokens"], &end["details"]["input_length"]),
        (&json!(8), &json!(6))
    );
    let answer = send(&server, "/generate", "", &body).await.json();
    assert_eq!(answer["generated_text"], end["generated_text"]);
    assert_eq!(answer["details"]["prefill"].as_array().unwrap().len(), 6);
    assert_eq!(answer["details"]["tokens"].as_array().unwrap().len(), 8);
    assert_eq!(joined(answer["details"]["tokens"].as_array().unwrap(), "/text"), answer["generated_text"]);
    let wrong = send(&server, "/generate", "", &json!({"inputs": ""})).await;
    assert_eq!((wrong.status(), &wrong.json()["error_type"]), (422, &json!("validation")));
    let none = json!({"inputs": "x", "parameters": {"max_new_tokens": 0}});
    assert_eq!(send(&server, "/generate", "", &none).await.status(), 422);
}

#[tokio::test]
async fn at_the_root_tgi_streams_as_the_request_says_and_puts_a_whole_answer_in_an_array() {
    let server = start(options());
    let mut body =
        json!({"inputs": "Tell me something", "parameters": {"max_new_tokens": 8, "details": true}});
    let whole = send(&server, "/", "", &body).await.json();
    assert_eq!(whole[0]["details"]["generated_tokens"], 8);
    body["stream"] = json!(true);
    let events = parsed(&send(&server, "/", "", &body).await);
    assert_eq!(events.last().unwrap()["generated_text"], whole[0]["generated_text"]);
}

#[tokio::test]
async fn rerankers_order_documents_and_generate_nothing() {
    let server = start(options());
    let body = json!({"model": "m", "query": "red heron", "top_n": 2, "return_documents": true,
        "documents": ["a blue whale", "the red heron", {"text": "a red fox"}]});
    let cohere = send(&server, "/v2/rerank", "", &body).await.json();
    let jina = send(&server, "/v1/rerank", "", &body).await.json();
    for answer in [&cohere, &jina] {
        let results = answer["results"].as_array().unwrap();
        let order: Vec<_> = results
            .iter()
            .map(|it| (it["index"].as_u64().unwrap(), it["relevance_score"].as_f64().unwrap()))
            .collect();
        assert_eq!(order, [(1, 1.0), (2, 0.5)]);
        assert_eq!(results[1]["document"]["text"], "a red fox");
    }
    assert_eq!(cohere["meta"]["tokens"]["input_tokens"], jina["usage"]["prompt_tokens"]);
    let truth = server.truth(|truth| truth.finished.is_some()).await;
    assert_eq!((truth.output_tokens, truth.chunks.len()), (0, 0));
    assert!(truth.input_tokens > 8);
    let empty = json!({"model": "m", "query": "x", "documents": []});
    let wrong = send(&server, "/v2/rerank", "", &empty).await;
    assert!(wrong.status() == 400 && wrong.json()["message"].is_string());
    let wrong = send(&server, "/v1/rerank", "", &empty).await;
    assert!(wrong.status() == 400 && wrong.json()["detail"].is_string());
}
