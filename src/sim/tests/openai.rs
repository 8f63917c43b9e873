//! OpenAI's other APIs, as a client of each reads them: responses, completions, embeddings.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::client::{options, parsed, send, start};

fn asked(more: &Value) -> Value {
    let mut body = json!({"model": "m", "input": "Tell me something", "max_output_tokens": 12});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn a_streamed_response_opens_and_ends_each_item() {
    let server = start(options());
    let body = asked(&json!({"stream": true, "reasoning": {"effort": "minimal"}}));
    let reply = send(&server, "/v1/responses", "", &body).await;
    let events = parsed(&reply);
    let mut types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    types.dedup();
    assert_eq!(
        types,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.reasoning_summary_part.added",
            "response.reasoning_summary_text.delta",
            "response.reasoning_summary_text.done",
            "response.reasoning_summary_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.incomplete",
        ]
    );
    let numbers: Vec<u64> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
    let deltas = |kind: &str| -> Vec<&Value> { events.iter().filter(|it| it["type"] == kind).collect() };
    let (thoughts, texts) =
        (deltas("response.reasoning_summary_text.delta"), deltas("response.output_text.delta"));
    assert_eq!((thoughts.len(), texts.len()), (8, 4));
    assert!(thoughts.iter().all(|it| it["output_index"] == 0 && it["summary_index"] == 0));
    assert!(texts.iter().all(|it| it["output_index"] == 1 && it["content_index"] == 0));
    let text: String = texts.iter().map(|it| it["delta"].as_str().unwrap()).collect();
    let response = &events.last().unwrap()["response"];
    let output = response["output"].as_array().unwrap();
    assert_eq!((output.len(), &output[1]["content"][0]["text"]), (2, &json!(text)));
    assert_eq!((&output[0]["status"], &output[1]["status"]), (&json!("completed"), &json!("incomplete")));
    assert_eq!(output[1]["id"], texts[0]["item_id"]);
    assert_eq!(response["usage"]["output_tokens"], 12);
    let mut body = body;
    body["stream"] = json!(false);
    let answer = send(&server, "/v1/responses", "", &body).await.json();
    assert_eq!(answer["output"][1]["content"], output[1]["content"]);
    assert_eq!(answer["incomplete_details"]["reason"], "max_output_tokens");
}

#[tokio::test]
async fn a_response_without_content_has_no_item() {
    let server = start(options());
    let body = asked(&json!({"stream": true}));
    let reply = send(&server, "/v1/responses", "x-sim-fault: no_content\r\n", &body).await;
    let last = parsed(&reply).pop().unwrap();
    assert_eq!((&last["type"], &last["response"]["output"]), (&json!("response.completed"), &json!([])));
    let reply = send(&server, "/v1/responses", "x-sim-fault: error_in_stream;after=2\r\n", &body).await;
    let last = parsed(&reply).pop().unwrap();
    assert_eq!(last["type"], "response.failed");
    assert_eq!(last["response"]["error"]["message"], "The engine stopped.");
    assert_eq!(last["response"]["output"][0]["status"], "incomplete");
}

#[tokio::test]
async fn what_was_answered_can_be_handed_back_as_input() {
    let server = start(options());
    let body = asked(&json!({"reasoning": {"effort": "minimal"}}));
    let first = send(&server, "/v1/responses", "", &body).await.json();
    let mut input = vec![json!({"role": "user", "content": "Tell me something"})];
    input.extend(first["output"].as_array().unwrap().clone());
    input.push(json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}));
    input.push(json!({"type": "function_call_output", "call_id": "c", "output": "twelve herons"}));
    let second = send(&server, "/v1/responses", "", &asked(&json!({"input": input}))).await;
    assert_eq!(second.status(), 200);
    let tokens = |answer: &Value| answer["usage"]["input_tokens"].as_u64().unwrap();
    assert!(tokens(&second.json()) > tokens(&first) + 12);
    let wrong = send(&server, "/v1/responses", "", &asked(&json!({"input": [{"text": "x"}]}))).await;
    assert_eq!(wrong.status(), 400);
}

#[tokio::test]
async fn a_prompt_is_a_text_a_list_of_one_or_token_ids() {
    let server = start(options());
    for (prompt, tokens) in
        [(json!("three small words"), 3), (json!(["two words"]), 2), (json!([5, 6, 7, 8]), 4)]
    {
        let body = json!({"model": "m", "prompt": prompt, "max_tokens": 4});
        let answer = send(&server, "/v1/completions", "", &body).await.json();
        assert_eq!(answer["usage"]["prompt_tokens"], tokens + 3, "{body}");
        assert_eq!(answer["choices"][0]["finish_reason"], "length");
    }
    let several = json!({"model": "m", "prompt": ["a", "b"], "max_tokens": 4});
    assert_eq!(send(&server, "/v1/completions", "", &several).await.status(), 400);
}

#[tokio::test]
async fn a_vector_is_numbers_or_base64() {
    let server = start(options());
    let body = |more: Value| {
        let mut body = json!({"model": "m", "input": ["a", "b"], "dimensions": 3});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let numbers = send(&server, "/v1/embeddings", "", &body(json!({}))).await.json();
    let written =
        send(&server, "/v1/embeddings", "", &body(json!({"encoding_format": "base64"}))).await.json();
    let bytes = STANDARD.decode(written["data"][1]["embedding"].as_str().unwrap()).unwrap();
    let read: Vec<Value> =
        bytes.chunks_exact(4).map(|it| json!(f32::from_le_bytes(it.try_into().unwrap()))).collect();
    assert_eq!((read.len(), json!(read)), (3, numbers["data"][1]["embedding"].clone()));
    for wrong in [json!({"encoding_format": "ascii"}), json!({"input": 7}), json!({"dimensions": 0})] {
        assert_eq!(send(&server, "/v1/embeddings", "", &body(wrong)).await.status(), 400);
    }
}
