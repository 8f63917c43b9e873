use super::*;
use crate::client::testing::{ask, body, target};
use http::header;

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
