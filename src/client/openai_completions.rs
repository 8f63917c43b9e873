//! `POST {base_url}/completions`: text that continues a prompt, without a chat template. Pure: no connection, no clock.

use super::dialect::{Decoder, Dialect, Malformed};
use super::openai;
use crate::exchange::{Ask, Call, Delta};
use crate::framing::Event;
use crate::plan::{Target, apply_patch, has_output_cap};
use serde_json::{Map, Value, json};

/// The OpenAI completions dialect.
pub(super) struct OpenAiCompletions;

impl Decoder for OpenAiCompletions {
    fn decode_event(&self, event: Event<'_>) -> Result<Delta, Malformed> {
        openai::decode_event(event)
    }

    fn decode_whole(&self, body: &[u8]) -> Result<Delta, Malformed> {
        openai::decode_whole(body)
    }

    fn first_token(&self, answer: &Value) -> Vec<(String, f64)> {
        openai::first_token(answer)
    }

    fn places(&self, _: bool) -> Option<String> {
        Some("`choices[].text`".to_owned())
    }
}

impl Dialect for OpenAiCompletions {
    /// The prompt is the text of the messages, separated by blank lines. The parameters are a JSON merge patch, as in
    /// chat completions.
    fn encode(&self, target: &Target, ask: &Ask) -> Call {
        let mut body = Map::new();
        if !target.model.is_empty() {
            body.insert("model".into(), Value::from(&*target.model));
        }
        let texts: Vec<&str> = ask.messages.iter().map(|message| &*message.text).collect();
        body.insert("prompt".into(), texts.join("\n\n").into());
        body.insert("stream".into(), ask.stream.into());
        if ask.stream {
            body.insert("stream_options".into(), json!({ "include_usage": true }));
        }
        if let Some(most) = ask.output_tokens
            && !has_output_cap(&ask.params)
        {
            body.insert("max_tokens".into(), most.into());
        }
        apply_patch(&mut body, &ask.params);
        let output_tokens = body.get("max_tokens").and_then(Value::as_u64);
        openai::call("/completions".into(), body, output_tokens)
    }

    fn prompt_texts(&self, body: &[u8]) -> Vec<String> {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        body.get("prompt").map(openai::texts).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::testing::target;
    use crate::exchange::{Content, Message, Role, Usage};
    use std::sync::Arc;

    fn call(stream: bool, params: &Value) -> Call {
        let message = |role, text: &str| Message { role, text: text.into() };
        let messages = vec![message(Role::System, "Be brief."), message(Role::User, "Once")];
        let params = Arc::new(params.as_object().unwrap().clone());
        let ask =
            Ask { messages, stream, output_tokens: Some(7), params, conversation: None, cache_system: false };
        OpenAiCompletions.encode(&target("http://h/v1"), &ask)
    }

    fn body(call: &Call) -> Value {
        serde_json::from_slice(&call.body).unwrap()
    }

    #[test]
    fn a_request() {
        let streamed = call(true, &json!({ "temperature": 0 }));
        assert_eq!(
            (streamed.path.as_str(), streamed.stream, streamed.output_tokens),
            ("/completions", true, Some(7))
        );
        let expected = json!({
            "model": "m", "prompt": "Be brief.\n\nOnce", "stream": true,
            "stream_options": { "include_usage": true }, "max_tokens": 7, "temperature": 0,
        });
        assert_eq!(body(&streamed), expected);
        assert_eq!(OpenAiCompletions.prompt_texts(&streamed.body), ["Be brief.\n\nOnce"]);
        assert!(streamed.most_input_tokens >= "Be brief.\n\nOnce".len() as u64);
        let whole = call(false, &json!({ "max_tokens": 9 }));
        assert_eq!((whole.stream, whole.output_tokens), (false, Some(9)));
        assert!(body(&whole).get("stream_options").is_none());
    }

    #[test]
    fn an_answer() {
        let event = |data| OpenAiCompletions.decode_event(Event { data, ..Event::default() }).unwrap();
        let delta =
            event(r#"{"object":"text_completion","choices":[{"index":0,"text":"a","finish_reason":null}]}"#);
        assert_eq!(delta, Delta { content: vec![Content::Text("a".into())], ..Delta::default() });
        let finish = event(r#"{"choices":[{"index":0,"text":"","finish_reason":"length"}]}"#);
        assert_eq!(finish, Delta { finish: Some("length".into()), ..Delta::default() });
        assert!(event("[DONE]").terminal);
        let whole = OpenAiCompletions
            .decode_whole(
                br#"{"choices":[{"text":"ab","finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#,
            )
            .unwrap();
        let usage = Usage { input: Some(3), output: Some(2), ..Usage::default() };
        let expected = Delta {
            content: vec![Content::Text("ab".into())],
            finish: Some("stop".into()),
            usage: Some(usage),
            terminal: true,
            ..Delta::default()
        };
        assert_eq!(whole, expected);
    }
}
