//! The JSON format of OpenAI's chat completions and completions, as many servers write it. Unknown fields are ignored,
//! and a field of an unexpected type reads as absent, except that `choices` must be an array.

use crate::client::wire::{Count, List, Object, Text, Told, any_value, reads_as_nothing};
use crate::exchange::HiddenReasoning;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use std::fmt;

/// An answer, or one chunk of it.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer {
    pub(super) choices: Option<First>,
    pub(super) usage: Object<Usage>,
    pub(super) error: Told,
    /// Groq's extension.
    pub(super) x_groq: Object<Groq>,
    /// llama.cpp's extension.
    pub(super) timings: Object<Timings>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Groq {
    pub(super) usage: Object<Usage>,
    pub(super) error: Told,
}

/// llama.cpp's counts, used if there is no usage.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Timings {
    #[serde(rename = "cache_n")]
    pub(super) cached: Count,
    #[serde(rename = "prompt_n")]
    pub(super) prompt: Count,
    #[serde(rename = "predicted_n")]
    pub(super) predicted: Count,
}

/// The first choice, which is the answer: the one with the lowest index, which is 0 unless a server counts otherwise. There
/// are others only if `params` asks for more than one, and they are ignored.
pub(super) struct First(pub(super) Option<Box<Choice>>);

/// One choice.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Choice {
    pub(super) index: Count,
    pub(super) delta: Object<Message>,
    pub(super) message: Object<Message>,
    /// The text of a completion. Together AI has it in chat completions, too, beside the same text in `delta`.
    pub(super) text: Text,
    pub(super) finish_reason: Finish,
    pub(super) logprobs: Object<Logprobs>,
    pub(super) error: Told,
    /// Moonshot puts the usage here.
    pub(super) usage: Object<Usage>,
}

/// A message of the model, or a piece of it.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Message {
    pub(super) content: Parts,
    pub(super) reasoning_content: Parts,
    pub(super) reasoning: Parts,
    pub(super) reasoning_text: Parts,
    pub(super) thinking: Parts,
    /// `OpenRouter`'s name.
    pub(super) reasoning_details: Parts,
    pub(super) refusal: Text,
    pub(super) tool_calls: List<Object<ToolCall>>,
    pub(super) function_call: Object<Function>,
    pub(super) audio: Object<Audio>,
    pub(super) error: Told,
}

/// Log probabilities: lists of objects with a token each, or for completions lists beside each other.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Logprobs {
    content: List<IgnoredAny>,
    refusal: List<IgnoredAny>,
    tokens: List<IgnoredAny>,
    #[serde(rename = "token_logprobs")]
    of_tokens: List<IgnoredAny>,
}

impl Logprobs {
    /// Number of tokens that have one.
    pub(super) fn tokens(&self) -> u64 {
        let lists = self.content.0.len() + self.refusal.0.len();
        lists.max(self.tokens.0.len()).max(self.of_tokens.0.len()) as u64
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Audio {
    pub(super) transcript: Text,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ToolCall {
    /// Which call of the message a piece belongs to.
    pub(super) index: Count,
    pub(super) function: Object<Function>,
    /// The call of a custom tool.
    pub(super) custom: Object<Function>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Function {
    pub(super) name: Text,
    pub(super) arguments: Text,
    pub(super) input: Text,
}

/// Usage, under the names used by OpenAI's APIs and compatible ones.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::client) struct Usage {
    pub(super) prompt_tokens: Count,
    pub(super) completion_tokens: Count,
    pub(super) input_tokens: Count,
    pub(super) output_tokens: Count,
    pub(super) total_tokens: Count,
    pub(super) prompt_tokens_details: Object<InputDetails>,
    pub(super) input_tokens_details: Object<InputDetails>,
    pub(super) completion_tokens_details: Object<OutputDetails>,
    pub(super) output_tokens_details: Object<OutputDetails>,
    /// Moonshot's name.
    pub(super) cached_tokens: Count,
    /// `DeepSeek`'s name.
    pub(super) prompt_cache_hit_tokens: Count,
    /// Anthropic's name, which some gateways keep.
    pub(super) cache_read_input_tokens: Count,
    pub(super) cache_creation_input_tokens: Count,
    /// SGLang's name.
    pub(super) reasoning_tokens: Count,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct InputDetails {
    pub(super) cached_tokens: Count,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct OutputDetails {
    pub(super) reasoning_tokens: Count,
}

/// A finish reason: a string, or an object with its type and a message (SGLang).
#[derive(Default)]
pub(super) struct Finish {
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
}

/// Content: a string or a number, which is nearly always what comes, or parts.
pub(super) enum Parts {
    Text(Text),
    List(Vec<Part>),
}

impl Default for Parts {
    fn default() -> Self {
        Self::Text(Text::default())
    }
}

/// One part of content that is an array. Reasoning is under `thinking` (Mistral), or the type says that it is some.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Part {
    r#type: Text,
    pub(super) text: Text,
    /// Databricks has a list of parts here.
    summary: Parts,
    pub(super) refusal: Text,
    pub(super) thinking: Parts,
    reasoning: Parts,
    /// Of reasoning, in `OpenRouter`'s details: what it is signed with, or all of it, encrypted.
    signature: Text,
    data: Text,
}

impl Parts {
    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.0.is_none(),
            Self::List(parts) => parts.is_empty(),
        }
    }

    /// What the parts of a reasoning field say about reasoning that they do not show.
    pub(super) fn hidden(&self) -> HiddenReasoning {
        let of = |part: &Part| match &part.signature.0 {
            _ if part.data.0.is_some() || !part.summary.is_empty() => HiddenReasoning::Certain,
            Some(_) => HiddenReasoning::Possible,
            None => HiddenReasoning::Untold,
        };
        match self {
            Self::Text(_) => HiddenReasoning::Untold,
            Self::List(parts) => parts.iter().map(of).max().unwrap_or_default(),
        }
    }

    /// The reasoning in the parts of a reasoning field.
    pub(super) fn reasoning(self) -> String {
        let nested = |part: Part| {
            let mut texts = [part.summary, part.reasoning, part.thinking].into_iter().map(Self::reasoning);
            texts.find(|text| !text.is_empty())
        };
        let text = |mut part: Part| part.text.0.take().or_else(|| nested(part));
        match self {
            Self::Text(text) => text.0.unwrap_or_default(),
            Self::List(parts) => parts.into_iter().filter_map(text).collect(),
        }
    }

    fn into_list(self) -> Vec<Part> {
        match self {
            Self::Text(Text(None)) => Vec::new(),
            Self::Text(text) => vec![Part { text, ..Part::default() }],
            Self::List(parts) => parts,
        }
    }
}

impl Part {
    /// Whether this part of content is reasoning, so that its text is not visible.
    pub(super) fn is_reasoning(&self) -> bool {
        let kind = self.r#type.0.as_deref().unwrap_or_default();
        let named = ["reasoning", "thinking"].iter().any(|name| kind.contains(name));
        named || !self.summary.is_empty() || !self.reasoning.is_empty()
    }
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
                let mut first: Option<Box<Choice>> = None;
                let index = |choice: &Choice| choice.index.0.unwrap_or(0);
                while let Some(choice) = seq.next_element::<Object<Choice>>()? {
                    let Some(choice) = choice.0 else { continue };
                    if first.as_ref().is_none_or(|first| index(&choice) < index(first)) {
                        first = Some(choice);
                    }
                }
                Ok(First(first))
            }
        }
        deserializer.deserialize_seq(Choices)
    }
}

impl<'de> Deserialize<'de> for Finish {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Typed {
            r#type: Text,
            message: Text,
        }

        struct Reason;
        impl<'de> Visitor<'de> for Reason {
            type Value = Finish;

            reads_as_nothing!(Finish::default(); bool, number, null, array);

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                any_value(f)
            }

            fn visit_str<E>(self, text: &str) -> Result<Finish, E> {
                // Some gateways send an empty finish reason, or a name for none, in every chunk.
                let none = matches!(text.trim(), "" | "null" | "None" | "not_finished");
                Ok(Finish { reason: (!none).then(|| text.to_owned()), message: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Finish, A::Error> {
                let typed = Typed::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Finish { reason: typed.r#type.0, message: typed.message.0 })
            }
        }
        deserializer.deserialize_any(Reason)
    }
}

impl<'de> Deserialize<'de> for Parts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Content;

        fn text(text: String) -> Parts {
            Parts::Text(Text(Some(text).filter(|text| !text.is_empty())))
        }

        impl<'de> Visitor<'de> for Content {
            type Value = Parts;

            reads_as_nothing!(Parts::default(); bool, null);

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                any_value(f)
            }

            fn visit_str<E>(self, it: &str) -> Result<Parts, E> {
                Ok(text(it.to_owned()))
            }

            fn visit_string<E>(self, it: String) -> Result<Parts, E> {
                Ok(text(it))
            }

            fn visit_u64<E>(self, it: u64) -> Result<Parts, E> {
                Ok(text(it.to_string()))
            }

            fn visit_i64<E>(self, it: i64) -> Result<Parts, E> {
                Ok(text(it.to_string()))
            }

            fn visit_f64<E>(self, it: f64) -> Result<Parts, E> {
                Ok(text(it.to_string()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Parts, A::Error> {
                let mut parts = Vec::new();
                while let Some(part) = seq.next_element::<Parts>()? {
                    parts.extend(part.into_list());
                }
                Ok(Parts::List(parts))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Parts, A::Error> {
                Ok(Parts::List(vec![Part::deserialize(MapAccessDeserializer::new(map))?]))
            }
        }
        deserializer.deserialize_any(Content)
    }
}
