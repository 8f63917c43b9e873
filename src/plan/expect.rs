//! The expectations of an answer.

use super::{HonouredParam, serialize};
use regex::Regex;
use serde::Serialize;
use serde_json::Value;
use serde_json_path::JsonPath;
use std::sync::Arc;
use std::time::Duration;

/// What is expected of each answer.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Expect {
    /// Statuses that are a success; `None`: 2xx.
    pub status: Option<StatusSet>,
    /// The other checks, in the order of the documentation.
    pub checks: Vec<Check>,
}

/// Name of the check of the HTTP status.
pub const STATUS_CHECK: &str = "status";

/// A check and its name, which is a label value.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// Its name; several checks may share one.
    pub name: Arc<str>,
    /// The rule that an answer must satisfy.
    pub rule: Rule,
}

/// A rule for answers.
#[derive(Clone, Debug, Serialize)]
pub enum Rule {
    /// The finish reason is one of these.
    FinishReason(Vec<String>),
    /// At least this many characters (Unicode scalar values) of visible text.
    MinChars(u64),
    /// At most this many characters of visible text.
    MaxChars(u64),
    /// The visible text contains this.
    Contains(String),
    /// The visible text matches this.
    Matches(#[serde(serialize_with = "serialize::pattern")] Regex),
    /// The visible text does not match this.
    NotMatches(#[serde(serialize_with = "serialize::pattern")] Regex),
    /// Nodes of the JSON answer satisfy a rule.
    Json {
        /// The nodes.
        path: JsonPath,
        /// The rule.
        is: JsonRule,
    },
    /// A JSON value is valid under a schema.
    Schema {
        /// The schema.
        schema: Arc<Value>,
        /// The schema, compiled.
        #[serde(skip)]
        validator: Arc<jsonschema::Validator>,
        /// Whether the value is the visible text, parsed as JSON; otherwise it is the JSON answer.
        of_text: bool,
    },
    /// The answer calls the tool of this name, and all such calls have valid arguments.
    ToolCall {
        /// The name of the tool.
        name: String,
        /// The arguments are JSON that is valid under this; `None`: any.
        arguments: Option<ArgumentsSchema>,
    },
    /// The effect of this parameter shows in the answer.
    Honours(HonouredParam),
    /// Text and calls of tools are those of the answer to the request that was sent before.
    SameAnswer(Comparison),
    /// At least this many output tokens, from any source.
    MinOutputTokens(u64),
    /// The server reports input and output tokens, above zero.
    Usage,
    /// At most this time to the first token; an answer that was not streamed fails.
    TimeToFirstToken(Duration),
    /// At most this request duration.
    Duration(Duration),
    /// The answer has this header.
    Header(#[serde(serialize_with = "serialize::text")] http::HeaderName),
}

/// A JSON Schema of the arguments of a tool.
#[derive(Clone, Debug, Serialize)]
pub struct ArgumentsSchema {
    /// The schema.
    pub schema: Arc<Value>,
    /// The schema, compiled.
    #[serde(skip)]
    pub validator: Arc<jsonschema::Validator>,
}

/// Why a request is sent once more, right after the first time: so that the two answers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Comparison {
    /// Without a stream: the streamed answer must be the same.
    Unary,
    /// As it is: with the same seed the answer must be the same.
    Seed,
}

impl Comparison {
    /// The name of its step, a label value.
    pub const fn step(self) -> &'static str {
        match self {
            Self::Unary => "same_as_unary",
            Self::Seed => "same_seed",
        }
    }

    /// The name of its check, a label value.
    pub fn check(self) -> Arc<str> {
        match self {
            Self::Unary => "same_as_unary".into(),
            Self::Seed => honours_check(HonouredParam::Seed),
        }
    }
}

/// The name of the check of a parameter, a label value.
pub(super) fn honours_check(param: HonouredParam) -> Arc<str> {
    format!("honours:{}", param.name()).into()
}

/// A rule for the nodes that a path finds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct JsonRule {
    /// Whether there must be a node at all (null counts as one). `Some(false)` is not combined with other conditions.
    pub exists: Option<bool>,
    /// The first node equals this. Numbers compare by value.
    // Expecting null is not the same as having no expectation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equals: Option<Value>,
    /// The first node, an array or an object (or a string), has at least this many items (or characters).
    pub min_items: Option<u64>,
    /// It has at most this many.
    pub max_items: Option<u64>,
    /// The first node, a number, is at least this.
    pub min: Option<f64>,
    /// The first node, a number, is at most this.
    pub max: Option<f64>,
}

/// A set of HTTP statuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatusSet(pub Vec<StatusRange>);

/// A range of statuses, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StatusRange {
    /// The first.
    pub from: u16,
    /// The last.
    pub to: u16,
}

impl StatusSet {
    /// Whether the set contains a status.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| (range.from..=range.to).contains(&status))
    }
}

impl Expect {
    /// Whether a check looks at calls of tools.
    pub fn wants_tool_calls(&self) -> bool {
        self.checks.iter().any(|check| matches!(check.rule, Rule::ToolCall { .. } | Rule::SameAnswer(_)))
    }

    /// The names of the checks, each once: label values.
    pub fn names(&self) -> Vec<Arc<str>> {
        let status = self.status.iter().map(|_| STATUS_CHECK.into());
        let mut names: Vec<Arc<str>> = Vec::new();
        for name in status.chain(self.checks.iter().map(|check| Arc::clone(&check.name))) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}
