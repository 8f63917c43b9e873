//! What is expected of answers, as written.

use super::text::{Length, Text};
use crate::vocabulary::HonouredParam;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::borrow::Cow;
use std::path::PathBuf;

/// What is expected of each answer. An answer that does not meet the expectations fails, by default as `check`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// Statuses that count as success: `200`, `2xx`, or a list of them, such as `[200, 404]`. Any other status is a
    /// failure. Default: 2xx.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Statuses>,
    /// Accepted finish reasons, as the server writes them, such as `[stop, length]`. Default: any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub finish_reason: Vec<String>,
    /// Expectations for the visible text.
    #[serde(skip_serializing_if = "ExpectText::is_empty")]
    pub text: ExpectText,
    /// Expectations for values in the JSON of the answer, or of its text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub json: Vec<JsonCheck>,
    /// JSON Schema that the JSON of the answer, or of its text, must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaCheck>,
    /// Tool that the answer must call. The tools themselves are sent with `params: { tools: [...] }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_call: Option<ToolCallCheck>,
    /// Whether the streamed answer must equal the answer to the same request without streaming, which is sent
    /// afterwards as a separate request. Requires a workload with a seed and temperature 0 in its `params`. Default:
    /// false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub same_as_unary: bool,
    /// Request parameters whose effect is verified in the answer. With `seed`, a workload sends each request a second
    /// time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub honours: Vec<HonouredParam>,
    /// The number of output tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<ExpectTokens>,
    /// Whether the server must report input and output tokens, both above zero. Default: false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub usage: bool,
    /// Maximum time to the first token, such as `5s`. Only for streamed answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_to_first_token: Option<Length>,
    /// Maximum duration of the request, such as `60s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Length>,
    /// Headers that the answer must have, such as `[x-request-id]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
}

impl Expect {
    /// Nothing beyond the default.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What is expected of the visible text. Patterns are regular expressions in the syntax of Rust's `regex` crate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectText {
    /// Minimum number of characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_chars: Option<u64>,
    /// Maximum number of characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_chars: Option<u64>,
    /// Texts that it must contain: `Paris`, or `{ name: mentions_paris, value: Paris }`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contains: Vec<TextCheck>,
    /// Patterns that must match somewhere in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<TextCheck>,
    /// Patterns that must not match anywhere in it, such as `(?i)as an ai`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_matches: Vec<TextCheck>,
}

impl ExpectText {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A text or pattern, with a name or without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TextCheck {
    /// Without a name of its own.
    Plain(String),
    /// With a name.
    Named(NamedText),
}

impl TextCheck {
    /// Its name, and the text or pattern.
    pub fn parts(&self) -> (Option<&str>, &str) {
        match self {
            Self::Plain(value) => (None, value),
            Self::Named(named) => (Some(&named.name), &named.value),
        }
    }
}

/// A text or pattern with a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedText {
    /// Name of the check, a value of the label `check`.
    pub name: String,
    /// The text or pattern.
    pub value: String,
}

/// What is expected of a value in JSON. If only the path is set, there must be a value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonCheck {
    /// Name of the check, a value of the label `check`. Default: the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Path of the value, a JSONPath (RFC 9535) such as `$.citations`.
    pub path: String,
    /// Whether there must be a value, which may be null. If false, there must be none. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exists: Option<bool>,
    /// Value that the first match must equal.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub equals: Option<Value>,
    /// Minimum number of items if the first match is a list or a map, or of characters if it is a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_items: Option<u64>,
    /// Maximum number of items or characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_items: Option<u64>,
    /// Minimum of the first match, which must be a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Maximum of the first match, which must be a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

/// A JSON Schema: exactly one of `inline` and `file`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SchemaCheck {
    /// Name of the check, a value of the label `check`. Default: schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The schema itself. References to other documents are not followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inline: Option<Value>,
    /// JSON file with the schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub file: Option<PathBuf>,
    /// What is validated against the schema. Default: `answer` for HTTP steps, `text` for model calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<SchemaOf>,
}

/// An expected tool call. There must be at least one call of the tool with this name, and the expectation applies to
/// all of its calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolCallCheck {
    /// The name of the tool.
    pub name: String,
    /// JSON Schema that the arguments must match. References to other documents are not followed. Default: any
    /// arguments, whether they are JSON or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Value>,
}

/// What a schema validates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SchemaOf {
    /// The answer, a JSON document.
    Answer,
    /// The visible text, read as JSON.
    Text,
}

/// The number of output tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectTokens {
    /// Minimum number of output tokens, from any source.
    #[schemars(range(min = 1))]
    pub min: u64,
}

/// Keeps a null apart from nothing: both `equals: null` and no `equals` are meant.
pub(super) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Statuses: one, a class, or a list of both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Statuses {
    /// One, or a class.
    One(Status),
    /// Several.
    Several(#[schemars(length(min = 1))] Vec<Status>),
}

impl Statuses {
    /// Each of them.
    pub fn each(&self) -> &[Status] {
        match self {
            Self::One(only) => std::slice::from_ref(only),
            Self::Several(several) => several,
        }
    }
}

/// An HTTP status, or a class of them: `200`, `2xx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The first.
    pub from: u16,
    /// The last.
    pub to: u16,
}

impl Status {
    /// Smallest status.
    const MIN: u16 = 100;
    /// Largest status.
    const MAX: u16 = 599;
}

impl Text for Status {
    const FORMAT: &'static str = "http-status";
    const EXAMPLES: &'static [&'static str] = &["2xx", "4xx"];

    fn parse(text: &str) -> Result<Self, String> {
        let says = || "must be an HTTP status, such as 200, or a class of them, such as 2xx".to_owned();
        let of = |from: u16, to: u16| {
            if (Self::MIN..=Self::MAX).contains(&from) { Ok(Self { from, to }) } else { Err(says()) }
        };
        match text.strip_suffix("xx") {
            Some(class) => {
                let class: u16 = class.parse().map_err(|_| says())?;
                let from = class.checked_mul(100).ok_or_else(says)?;
                of(from, from.saturating_add(99))
            }
            None => text.parse().map_err(|_| says()).and_then(|status| of(status, status)),
        }
    }

    fn show(&self) -> String {
        if self.from == self.to { self.from.to_string() } else { format!("{}xx", self.from / 100) }
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.from == self.to {
            serializer.serialize_u16(self.from)
        } else {
            self.show().serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum StatusForm {
            Number(u16),
            Text(String),
        }
        let text = match StatusForm::deserialize(deserializer)? {
            StatusForm::Number(status) => status.to_string(),
            StatusForm::Text(text) => text,
        };
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Status {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Status".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "format": Self::FORMAT,
            "minimum": Self::MIN,
            "maximum": Self::MAX,
            "examples": Self::EXAMPLES,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_numbers_or_classes() {
        let statuses = |text: &str| serde_json::from_str::<Statuses>(text);
        let status = |from, to| Status { from, to };
        assert_eq!(statuses("200").unwrap().each(), [status(200, 200)]);
        assert_eq!(statuses("\"2xx\"").unwrap().each(), [status(200, 299)]);
        assert_eq!(
            statuses("[\"4xx\", 201, \"503\"]").unwrap().each(),
            [status(400, 499), status(201, 201), status(503, 503)]
        );
        for bad in ["99", "600", "\"xx\"", "\"0xx\"", "\"6xx\"", "\"2x\"", "\"700xx\"", "-1", "true"] {
            assert!(statuses(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn statuses_are_read_as_they_are_shown() {
        let text = "[200,\"2xx\"]";
        let statuses: Statuses = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&statuses).unwrap(), text);
    }

    #[test]
    fn a_null_to_equal_is_not_nothing() {
        let check = |text: &str| serde_json::from_str::<JsonCheck>(text).unwrap().equals;
        assert_eq!(check(r#"{"path": "$", "equals": null}"#), Some(Value::Null));
        assert_eq!(check(r#"{"path": "$"}"#), None);
    }
}
