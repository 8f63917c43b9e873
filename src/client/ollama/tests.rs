use super::*;
use crate::client::testing::{ask, body, target};
use crate::client::tests::golden::read_by;
use crate::event::{Failure, Outcome};
use http::header;
use std::sync::Arc;
use tokio::time::Instant;

#[test]
fn a_chat_has_messages_and_a_generation_one_prompt() {
    let chat = Ollama::Chat.encode(&target("http://h"), &ask(true, Some(7), json!({})));
    assert_eq!((chat.path.as_str(), chat.stream, chat.output_tokens), ("/api/chat", true, Some(7)));
    assert_eq!(chat.headers[header::ACCEPT], "application/x-ndjson");
    let expected = json!({
        "model": "m",
        "messages": [{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "h\u{e9}llo \"x\"\n" }],
        "stream": true,
        "options": { "num_predict": 7 },
    });
    assert_eq!(body(&chat), expected);
    let generate =
        Ollama::Generate.encode(&target("http://h/api"), &ask(false, None, json!({ "think": true })));
    assert_eq!((generate.path.as_str(), generate.stream, generate.output_tokens), ("/generate", false, None));
    let expected = json!({ "model": "m", "system": "Be brief.", "prompt": "h\u{e9}llo \"x\"\n", "stream": false, "think": true });
    assert_eq!(body(&generate), expected);
    for (api, call) in [(Ollama::Chat, chat), (Ollama::Generate, generate)] {
        assert_eq!(api.prompt_texts(&call.body), ["Be brief.", "h\u{e9}llo \"x\"\n"]);
    }
}

#[test]
fn a_limit_among_the_parameters_wins() {
    let params = json!({ "options": { "num_predict": 3, "temperature": 0 } });
    let call = Ollama::Chat.encode(&target("http://h"), &ask(true, Some(7), params));
    assert_eq!(call.output_tokens, Some(3));
    assert_eq!(body(&call)["options"], json!({ "num_predict": 3, "temperature": 0 }));
}

#[test]
fn an_error_answer_is_a_text() {
    let error = br#"{"error":"model \"x\" not found, try pulling it first"}"#;
    assert_eq!(
        Ollama::Chat.decode_error(error).as_deref(),
        Some("model \"x\" not found, try pulling it first")
    );
}

#[test]
fn server_sent_events_are_those_of_all_apis() {
    let token = r#"data: {"message":{"content":"a"},"done":false}"#;
    let done = r#"data: {"message":{"content":""},"done":true}"#;
    let failed = |failure| Outcome::Failed(failure);
    for (events, outcome, says) in [
        (format!("{token}\n\n{done}\n\n"), Outcome::Ok, ""),
        (format!("data:\n\n{token}\n\n{done}\n\ndata: [DONE]\n\n"), Outcome::Ok, ""),
        (format!("event: ping\ndata:\n\n{token}\n\n{done}\n\n"), Outcome::Ok, ""),
        (
            format!("{token}\n\nevent: error\ndata: {{\"message\":\"boom\"}}\n\n{done}\n\n"),
            failed(Failure::StreamError),
            "boom",
        ),
        (format!("{token}\n\nevent: error\ndata: boom\n\n"), failed(Failure::StreamError), "boom"),
        (format!("{token}\n\ndata: [DONE]\n\n"), failed(Failure::Truncated), "neither a terminal event"),
    ] {
        let read = read_by(Arc::new(Ollama::Chat), Mode::Sse, &[&events], Instant::now());
        let detail = read.detail.unwrap_or_default();
        assert_eq!(read.outcome, outcome, "{events}: {detail}");
        assert!(detail.contains(says), "{events}: {detail}");
    }
}
