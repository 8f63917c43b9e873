//! The JSON format of chat completions. Unknown fields are ignored; those that we use must have the documented type.

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, SeqAccess, Visitor};
use std::fmt;

/// An answer, or one chunk of it.
#[derive(Deserialize)]
pub(super) struct Answer {
    pub(super) choices: Option<First>,
    pub(super) usage: Option<Usage>,
    error: Option<Problem>,
    object: Option<Label>,
    message: Option<Label>,
    code: Option<Label>,
}

impl Answer {
    /// The message of the error object in it, if there is one.
    pub(super) fn error(&self) -> Option<String> {
        said(self.error.as_ref(), self.object.as_ref(), self.message.as_ref(), self.code.as_ref())
    }
}

/// An error answer, parsed leniently because only people read it.
#[derive(Deserialize)]
pub(super) struct Failed {
    error: Option<Problem>,
    message: Option<Label>,
    detail: Option<Label>,
    code: Option<Label>,
}

impl Failed {
    pub(super) fn error(&self) -> Option<String> {
        let text = self.message.as_ref().and_then(Label::text).or(self.detail.as_ref().and_then(Label::text));
        match &self.error {
            Some(problem) => Some(problem.to_string()),
            None => Some(coded(self.code.as_ref().and_then(Label::text), text?)),
        }
    }
}

fn said(
    error: Option<&Problem>,
    object: Option<&Label>,
    message: Option<&Label>,
    code: Option<&Label>,
) -> Option<String> {
    if let Some(problem) = error {
        return Some(problem.to_string());
    }
    // vLLM's older format has the fields at the top level.
    (object.and_then(Label::text)? == "error").then(|| {
        let message = message.and_then(Label::text).unwrap_or("an error without a message");
        coded(code.and_then(Label::text), message)
    })
}

fn coded(code: Option<&str>, message: &str) -> String {
    match code {
        Some(code) => format!("{code}: {message}"),
        None => message.to_owned(),
    }
}

/// The first choice (index 0) is the answer. Others exist only if params ask for more than one, and are ignored.
pub(super) struct First(pub(super) Option<Choice>);

/// One choice.
#[derive(Deserialize)]
pub(super) struct Choice {
    #[serde(default)]
    index: u64,
    pub(super) delta: Option<Message>,
    pub(super) message: Option<Message>,
    pub(super) finish_reason: Option<String>,
}

/// A message of the model, or a piece of it.
#[derive(Deserialize)]
pub(super) struct Message {
    pub(super) content: Option<Text>,
    pub(super) reasoning_content: Option<String>,
    pub(super) reasoning: Option<String>,
    pub(super) refusal: Option<String>,
    pub(super) tool_calls: Option<Vec<ToolCall>>,
}

#[derive(Deserialize)]
pub(super) struct ToolCall {
    pub(super) function: Option<Function>,
}

#[derive(Deserialize)]
pub(super) struct Function {
    pub(super) name: Option<String>,
    pub(super) arguments: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Usage {
    #[serde(default, deserialize_with = "count")]
    pub(super) prompt_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    pub(super) completion_tokens: Option<u64>,
    pub(super) prompt_tokens_details: Option<InputDetails>,
    pub(super) completion_tokens_details: Option<OutputDetails>,
    /// SGLang's field for it.
    #[serde(default, deserialize_with = "count")]
    pub(super) reasoning_tokens: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct InputDetails {
    #[serde(default, deserialize_with = "count")]
    pub(super) cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct OutputDetails {
    #[serde(default, deserialize_with = "count")]
    pub(super) reasoning_tokens: Option<u64>,
}

/// The messages of a request.
#[derive(Deserialize)]
pub(super) struct Prompt {
    pub(super) messages: Vec<Asked>,
}

#[derive(Deserialize)]
pub(super) struct Asked {
    pub(super) content: Option<Text>,
}

/// Content: a string, or parts.
pub(super) enum Text {
    One(String),
    Parts(Vec<Part>),
}

/// One part of content that is an array. Mistral's reasoning models put theirs under `thinking`.
#[derive(Deserialize)]
pub(super) struct Part {
    text: Option<String>,
    refusal: Option<String>,
    thinking: Option<Box<Text>>,
}

/// A piece of content.
pub(super) enum Piece {
    Visible(String),
    Reasoning(String),
    Refusal(String),
}

impl Text {
    pub(super) fn into_parts(self) -> Vec<Piece> {
        match self {
            Self::One(text) => vec![Piece::Visible(text)],
            Self::Parts(parts) => parts.into_iter().flat_map(Part::into_pieces).collect(),
        }
    }

    /// The visible pieces alone.
    pub(super) fn into_visible(self) -> impl Iterator<Item = String> {
        self.into_parts().into_iter().filter_map(|piece| match piece {
            Piece::Visible(text) => Some(text),
            Piece::Reasoning(_) | Piece::Refusal(_) => None,
        })
    }
}

impl Part {
    fn into_pieces(self) -> impl Iterator<Item = Piece> {
        let thinking = self.thinking.into_iter().flat_map(|text| text.into_visible());
        thinking
            .map(Piece::Reasoning)
            .chain(self.text.map(Piece::Visible))
            .chain(self.refusal.map(Piece::Refusal))
    }
}

/// An error object: a map, or only its message.
pub(super) struct Problem {
    message: Label,
    code: Option<Label>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let message = self.message.text().unwrap_or("an error without a message");
        f.write_str(&coded(self.code.as_ref().and_then(Label::text), message))
    }
}

/// A scalar that servers send as a string or as a number; any other type reads as nothing.
pub(super) struct Label(Option<String>);

impl Label {
    fn text(&self) -> Option<&str> {
        self.0.as_deref().filter(|text| !text.is_empty())
    }
}

/// Accepts any JSON value: strings and numbers as text, anything else as nothing.
struct Scalar;

impl<'de> Visitor<'de> for Scalar {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Scalar).map(Self)
    }
}

/// A count of tokens, also if it is written as a float or as a string. What is no count reads as none: an answer does not
/// fail because of what its server counts.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(Label::deserialize(deserializer)?.text().and_then(|text| text.trim().parse().ok()))
}

impl<'de> Deserialize<'de> for First {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Choices;
        impl<'de> Visitor<'de> for Choices {
            type Value = First;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an array of choices")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut first = None;
                while let Some(choice) = seq.next_element::<Choice>()? {
                    if choice.index == 0 && first.is_none() {
                        first = Some(choice);
                    }
                }
                Ok(First(first))
            }
        }
        deserializer.deserialize_seq(Choices)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Content;
        impl<'de> Visitor<'de> for Content {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a string or an array of parts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut parts = Vec::new();
                while let Some(part) = seq.next_element()? {
                    parts.push(part);
                }
                Ok(Text::Parts(parts))
            }
        }
        deserializer.deserialize_any(Content)
    }
}

impl<'de> Deserialize<'de> for Problem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Said;
        impl<'de> Visitor<'de> for Said {
            type Value = Problem;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an error object or its message")
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Problem { message: Label(Some(text.to_owned())), code: None })
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut message, mut code, mut kind) = (Label(None), None, None);
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "message" => message = map.next_value()?,
                        "code" => code = map.next_value()?,
                        "type" => kind = map.next_value()?,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                let told = |label: &Label| label.text().is_some();
                Ok(Problem { message, code: code.filter(told).or(kind) })
            }
        }
        deserializer.deserialize_any(Said)
    }
}
