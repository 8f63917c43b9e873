//! Reads from a whole answer what shows which model gave it: the most likely first tokens, the model's name, the
//! `system_fingerprint`. Pure, and only called for the prompts of a fingerprint: other answers are not read again.

use super::dialect::Decoder;
use super::wire::parse_value;
use crate::event::FingerprintAnswer;
use crate::redactor::{Redactor, shorten};
use serde_json::Value;

/// Maximum number of characters of a text, a token or a name.
const MAX_TEXT: usize = 200;
/// Maximum number of tokens.
const MAX_TOP: usize = 20;

/// The answer to a prompt. `body` is the whole answer; absent if it was streamed, so that only its text is known.
pub(super) fn of(
    prompt: u32,
    body: Option<&[u8]>,
    text: &str,
    decoder: &dyn Decoder,
    redactor: &Redactor,
) -> FingerprintAnswer {
    let answer = body.and_then(|body| parse_value("the answer", body).ok()).unwrap_or_default();
    let shown = |text: &str| shorten(&redactor.mask(text), MAX_TEXT);
    let name = |keys: &[&str]| {
        let found = keys.iter().find_map(|key| answer.get(*key)?.as_str()).filter(|name| !name.is_empty());
        found.map(shown)
    };
    let mut top = decoder.first_token(&answer);
    top.truncate(MAX_TOP);
    for (token, _) in &mut top {
        // Its spaces are a part of it.
        *token = redactor.mask(token).chars().take(MAX_TEXT).collect();
    }
    FingerprintAnswer {
        prompt,
        top,
        text: shown(text),
        model: name(&["model", "modelVersion"]),
        system_fingerprint: name(&["system_fingerprint"]),
    }
}

/// The items of a list of likely tokens, under these names.
pub(super) fn listed(list: Option<&Value>, token: &str, logprob: &str) -> Vec<(String, f64)> {
    let item = |item: &Value| Some((item.get(token)?.as_str()?.to_owned(), item.get(logprob)?.as_f64()?));
    list.and_then(Value::as_array).into_iter().flatten().filter_map(item).collect()
}

#[cfg(test)]
mod tests {
    use super::super::gemini::Gemini;
    use super::super::ollama::Ollama;
    use super::super::openai_chat::OpenAiChat;
    use super::super::openai_completions::OpenAiCompletions;
    use super::super::openai_responses::OpenAiResponses;
    use super::super::tgi::Tgi;
    use super::*;

    fn read(decoder: &dyn Decoder, body: &str) -> FingerprintAnswer {
        of(3, Some(body.as_bytes()), "a", decoder, &Redactor::default())
    }

    #[test]
    fn the_first_token_is_read_in_each_dialect() {
        let wanted = [("a".to_owned(), -0.5), ("b".to_owned(), -1.5)];
        let list = r#"[{"token":"a","logprob":-0.5},{"token":"b","logprob":-1.5},{"token":"c"}]"#;
        let all: [(&dyn Decoder, String); 6] = [
            (
                &OpenAiChat,
                format!(r#"{{"choices":[{{"message":{{"content":"a"}},"logprobs":{{"content":[{{"token":"a","logprob":-0.5,"top_logprobs":{list}}}]}}}}]}}"#),
            ),
            (
                &OpenAiCompletions,
                r#"{"choices":[{"text":"a","logprobs":{"tokens":["a"],"top_logprobs":[{"b":-1.5,"a":-0.5,"c":null}]}}]}"#.to_owned(),
            ),
            (
                &OpenAiResponses,
                format!(r#"{{"output":[{{"type":"reasoning"}},{{"type":"message","content":[{{"text":"a","logprobs":[{{"token":"a","top_logprobs":{list}}}]}}]}}]}}"#),
            ),
            (
                &Gemini,
                r#"{"candidates":[{"logprobsResult":{"topCandidates":[{"candidates":[{"token":"a","logProbability":-0.5},{"token":"b","logProbability":-1.5}]}]}}]}"#.to_owned(),
            ),
            (&Ollama::Chat, format!(r#"{{"message":{{"content":"a"}},"logprobs":[{{"token":"a","top_logprobs":{list}}}]}}"#)),
            (
                &Tgi,
                r#"[{"generated_text":"a","details":{"top_tokens":[[{"text":"a","logprob":-0.5},{"text":"b","logprob":-1.5}]]}}]"#.to_owned(),
            ),
        ];
        for (decoder, body) in all {
            assert_eq!(read(decoder, &body).top, wanted, "{body}");
            assert!(read(decoder, "{}").top.is_empty() && read(decoder, "[]").top.is_empty());
        }
        assert!(read(&super::super::anthropic::Anthropic, "{}").top.is_empty());
    }

    #[test]
    fn names_are_read_and_shortened() {
        let chat = read(&OpenAiChat, r#"{"model":"m-2","system_fingerprint":"fp_1"}"#);
        assert_eq!((chat.prompt, chat.text.as_str()), (3, "a"));
        assert_eq!((chat.model.as_deref(), chat.system_fingerprint.as_deref()), (Some("m-2"), Some("fp_1")));
        let gemini = read(&Gemini, r#"{"modelVersion":"g-1","system_fingerprint":""}"#);
        assert_eq!((gemini.model.as_deref(), gemini.system_fingerprint), (Some("g-1"), None));
        let long = format!(r#"{{"model":"{}"}}"#, "x".repeat(9000));
        assert!(read(&OpenAiChat, &long).model.unwrap().len() < 300);
        let broken = of(0, Some(b"{"), "a", &OpenAiChat, &Redactor::default());
        assert_eq!((broken.model, broken.top.len()), (None, 0));
        assert_eq!(of(0, None, "a", &OpenAiChat, &Redactor::default()).text, "a");
    }
}
