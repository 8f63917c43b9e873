//! `POST {base_url}/embeddings`: vectors for texts. Nothing is generated, and nothing is streamed. Pure: no connection,
//! no clock.

use super::body_decoder::MAX_BODY;
use super::dialect::{Decoder, Demands, Dialect, Malformed, StreamEnd};
use super::openai;
use super::wire::{List, Object, any_value, missing, parse, reads_as_nothing};
use crate::exchange::{Ask, Call, Delta, Role};
use crate::framing::Event;
use crate::plan::{Target, apply_patch};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// The OpenAI embeddings dialect.
pub(super) struct OpenAiEmbeddings;

#[derive(Default, Deserialize)]
#[serde(default)]
struct EmbeddingsAnswer {
    data: List<Object<EmbeddingsItem>>,
    usage: Object<openai::Usage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct EmbeddingsItem {
    embedding: Vector,
}

/// Whether there is a vector: an array of numbers (or of such arrays, one for each token), or their bytes in base64. One that
/// has only `null` in it, as which numbers that are none are written, is none.
#[derive(Default)]
struct Vector(bool);

impl<'de> Deserialize<'de> for Vector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Vectors;
        impl<'de> Visitor<'de> for Vectors {
            type Value = Vector;

            reads_as_nothing!(Vector(false); bool, null, object);

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                any_value(f)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Vector, E> {
                Ok(Vector(true))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Vector, E> {
                Ok(Vector(true))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Vector, E> {
                Ok(Vector(true))
            }

            fn visit_str<E>(self, text: &str) -> Result<Vector, E> {
                Ok(Vector(!text.is_empty()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vector, A::Error> {
                while let Some(Vector(is)) = seq.next_element()? {
                    if is {
                        while seq.next_element::<IgnoredAny>()?.is_some() {}
                        return Ok(Vector(true));
                    }
                }
                Ok(Vector(false))
            }
        }
        deserializer.deserialize_any(Vectors)
    }
}

impl Decoder for OpenAiEmbeddings {
    /// An answer sent as a stream has its document in a single event.
    fn decode_event(&self, event: Event<'_>) -> Result<Delta, Malformed> {
        match openai::common_event(event) {
            Some(delta) => Ok(delta),
            None => self.decode_whole(event.data.as_bytes()),
        }
    }

    fn decode_whole(&self, body: &[u8]) -> Result<Delta, Malformed> {
        let answer: EmbeddingsAnswer = parse("the answer", body)?;
        let items = &answer.data.0;
        let is_vector = |item: &Object<EmbeddingsItem>| item.0.as_ref().is_some_and(|it| it.embedding.0);
        if items.is_empty() || !items.iter().all(is_vector) {
            return Err(missing("the answer's embedding", body));
        }
        Ok(Delta {
            usage: answer.usage.0.map(|usage| openai::input_counts(*usage)),
            terminal: true,
            ..Delta::default()
        })
    }

    fn places(&self, _: bool) -> Option<String> {
        None
    }

    fn demands(&self) -> Demands {
        Demands { end: StreamEnd::Marked, content: false, awaits: false, most_whole: MAX_BODY }
    }
}

impl Dialect for OpenAiEmbeddings {
    /// The texts of the user's messages become the input. There is no output to limit.
    fn encode(&self, target: &Target, ask: &Ask) -> Call {
        let mut body = Map::new();
        if !target.model.is_empty() {
            body.insert("model".into(), Value::from(&*target.model));
        }
        let texts = ask.messages.iter().filter(|message| message.role == Role::User);
        body.insert("input".into(), texts.map(|message| Value::from(&*message.text)).collect());
        apply_patch(&mut body, &ask.params);
        Call { most_output_tokens: Some(0), ..openai::call("/embeddings".into(), body, None) }
    }

    fn prompt_texts(&self, body: &[u8]) -> Vec<String> {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        body.get("input").map(openai::texts).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::testing::target;
    use crate::exchange::{Message, Usage};
    use serde_json::json;
    use std::sync::Arc;

    #[test]
    fn a_request() {
        let message = |role, text: &str| Message { role, text: text.into() };
        let messages =
            vec![message(Role::System, "Be brief."), message(Role::User, "a"), message(Role::User, "b")];
        let params = Arc::new(json!({ "dimensions": 8 }).as_object().unwrap().clone());
        let ask = Ask {
            messages,
            stream: true,
            output_tokens: Some(7),
            params,
            conversation: None,
            cache_system: false,
        };
        let call = OpenAiEmbeddings.encode(&target("http://h/v1"), &ask);
        assert_eq!((call.path.as_str(), call.stream), ("/embeddings", false));
        assert_eq!((call.output_tokens, call.most_output_tokens), (None, Some(0)));
        let body: Value = serde_json::from_slice(&call.body).unwrap();
        assert_eq!(body, json!({ "model": "m", "input": ["a", "b"], "dimensions": 8 }));
        assert_eq!(OpenAiEmbeddings.prompt_texts(&call.body), ["a", "b"]);
    }

    #[test]
    fn an_answer() {
        let usage = Usage { input: Some(5), ..Usage::default() };
        let expected = Delta { usage: Some(usage), terminal: true, ..Delta::default() };
        for embedding in ["[0.5,-1]", "[0,0]", "[null,1]", "[[],[0.5]]", "\"AAAA\""] {
            let body = format!(
                r#"{{"object":"list","data":[{{"index":0,"embedding":{embedding}}}],"usage":{{"prompt_tokens":5,"total_tokens":5}}}}"#
            );
            assert_eq!(OpenAiEmbeddings.decode_whole(body.as_bytes()).unwrap(), expected);
        }
        for (usage, input) in [
            (r#"{"total_tokens":10}"#, Some(10)),
            (r#"{"prompt_tokens":0,"total_tokens":10}"#, Some(10)),
            (r#"{"prompt_tokens":null,"total_tokens":10.0}"#, Some(10)),
            (r#"{"prompt_tokens":7}"#, Some(7)),
            (r#"{"prompt_tokens":0}"#, Some(0)),
            ("{}", None),
        ] {
            let body = format!(r#"{{"data":[{{"embedding":[1]}}],"usage":{usage}}}"#);
            let read = OpenAiEmbeddings.decode_whole(body.as_bytes()).unwrap().usage.unwrap();
            assert_eq!(read, Usage { input, ..Usage::default() }, "{usage}");
        }
        for body in [
            r#"{"data":[]}"#,
            r#"{"data":[{"embedding":[]}]}"#,
            r#"{"data":[{"embedding":""}]}"#,
            r#"{"data":[{"embedding":[null,null]}]}"#,
            r#"{"data":[{"embedding":[NaN,NaN]}]}"#,
            r#"{"data":[{"embedding":[0.5]},{"embedding":null}]}"#,
            r#"{"data":[{"embedding":[0.5]},null]}"#,
            "{}",
        ] {
            let error = OpenAiEmbeddings.decode_whole(body.as_bytes()).unwrap_err().to_string();
            assert_eq!(error, format!("the answer's embedding is missing; it is `{body}`"));
        }
    }
}
