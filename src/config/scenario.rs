//! A scenario, as written.

use super::expect::{Expect, present};
use super::masked::{Json, PathText, Texts, Values};
use super::sensitive::SecretSource;
use super::text::{Length, ThinkTime};
use super::workload::yes;
use crate::vocabulary::{BodyForm, Cache, Reserve};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

/// What a simulated user does: the set-up once, then the steps in a loop. Texts of a step may contain templates
/// (minijinja): `{{ name }}`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-layers" = "replace"))]
pub struct Scenario {
    /// Variables for the templates, by name. Values may have any type.
    #[serde(default, skip_serializing_if = "Values::is_empty")]
    pub vars: Values,
    /// Lists that are read from files, by name. They are variables in the templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, DataFile>,
    /// Secrets, by name. Templates refer to them as `secret.NAME`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretSource>,
    /// Whether cookies are kept, separately for each user. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cookies: bool,
    /// Steps that each user runs once before the first iteration, such as a login. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub setup: Vec<Step>,
    /// Steps of an iteration (a journey), which run one after the other. A step that fails ends the journey.
    #[schemars(length(min = 1, max = 100))]
    pub steps: Vec<Step>,
}

/// A list from a file.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataFile {
    /// File to read: `.txt` (one text per line), `.csv` (with a header; each row is a map of texts), `.json` (a list),
    /// `.jsonl` or `.ndjson` (one value per line). Empty lines are ignored.
    #[schemars(extend("format" = "path"))]
    pub file: PathBuf,
}

/// One request of a user: exactly one of `get`, `post`, `put`, `patch`, `delete`, `head`, `request` and `ask`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Name of the step, a label on its series.
    pub name: String,
    /// Wait before the step: `2s`, or a random time within a range, `1s..3s`. It does not apply to the first request of
    /// a journey, where the `think` of the stage is used. Default: 0s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub think: Option<ThinkTime>,
    /// Sends a GET request to this path, which may have a query. The path is appended to the target's `base_url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub get: Option<PathText>,
    /// Sends a POST request to this path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post: Option<PathText>,
    /// Sends a PUT request to this path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub put: Option<PathText>,
    /// Sends a PATCH request to this path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<PathText>,
    /// Sends a DELETE request to this path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete: Option<PathText>,
    /// Sends a HEAD request to this path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<PathText>,
    /// Sends a request with any other method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<AnyRequest>,
    /// A model call in the target's dialect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask: Option<AskModel>,
    /// Headers, in addition to those of the target.
    #[serde(default, skip_serializing_if = "Texts::is_empty")]
    #[schemars(extend("maxProperties" = 100))]
    pub headers: Texts,
    /// JSON body, which may be any value but null: as everywhere, null is the same as a missing key, and `"{{ none }}"`
    /// sends null. A text that consists of exactly one expression, such as `"{{ x }}"`, gets the type of `x`; every other
    /// template yields text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<Json>,
    /// Form body, sent as `application/x-www-form-urlencoded`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<Texts>,
    /// Body as plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Content type of `body`. Default: text/plain; charset=utf-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Maximum time from the send to the end of the answer. Longer timeouts of the target are reduced to it. Default:
    /// the target's `timeouts.total`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Length>,
    /// Number of times the step is repeated in each iteration. Default: 1.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    #[schemars(range(min = 1, max = 10_000))]
    pub repeat: NonZeroU32,
    /// Whether each repetition of the step is a turn of a conversation, with the label `turn`. Default: true for an
    /// `ask` with `history`, otherwise false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turns: Option<bool>,
    /// How the answer is read. Default: the answer is complete when it ends, whatever it contains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<Read>,
    /// Maximum number of tokens that the answer may use, which budgets reserve. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserve: Option<Reserve>,
    /// What is expected of the answer.
    #[serde(default, skip_serializing_if = "Expect::is_empty")]
    pub expect: Expect,
    /// Values that are extracted from the answer, by name: `$.path`, or one of the other sources. They are variables in
    /// later steps of the same user.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub take: BTreeMap<String, TakeFrom>,
}

const fn once() -> NonZeroU32 {
    NonZeroU32::MIN
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_once(times: &NonZeroU32) -> bool {
    *times == NonZeroU32::MIN
}

impl Step {
    /// Each kind of request, and whether it is written.
    pub fn kinds(&self) -> [(&'static str, bool); 8] {
        [
            ("get", self.get.is_some()),
            ("post", self.post.is_some()),
            ("put", self.put.is_some()),
            ("patch", self.patch.is_some()),
            ("delete", self.delete.is_some()),
            ("head", self.head.is_some()),
            ("request", self.request.is_some()),
            ("ask", self.ask.is_some()),
        ]
    }
}

/// A request with any method.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnyRequest {
    /// The method, such as `OPTIONS`.
    pub method: String,
    /// The path, which may have a query. It is appended to the target's `base_url`.
    pub path: PathText,
}

/// A model call in the target's dialect.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AskModel {
    /// Message of the user.
    #[schemars(length(min = 1))]
    pub prompt: String,
    /// System prompt. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub system: Option<String>,
    /// Maximum number of output tokens of the answer, as in a workload. It is required if there is a budget of tokens
    /// or cost. Default: the server decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<NonZeroU64>,
    /// Whether requests avoid prefix caches or use them. Default: bust.
    #[serde(default)]
    pub cache: Cache,
    /// Whether the answer is streamed. Default: true.
    #[serde(default = "yes")]
    pub stream: bool,
    /// Parameters that are added to the body. They are merged on top of the target's `params` as a JSON merge patch
    /// (RFC 7396): maps are merged key by key, and null removes a key. Templates are not supported here.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Value>,
    /// Maximum number of earlier turns (question and answer) of this step that are sent with the request. The oldest
    /// turns are dropped. Default: 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(max = 1000))]
    pub history: u32,
    /// The server keeps the conversation: each turn names the answer before it (`previous_response_id`) and sends only
    /// what is new. It starts over after a turn that failed, and where it would have more earlier turns than `history`.
    /// Only for targets with `api: openai-responses`. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stateful: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// How an answer is read. Values are JSONPaths (RFC 9535) that apply to the document, or to each event of a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// Format of the answer; `sse` and `ndjson` are streams. Default: determined by the content type.
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    pub form: Option<BodyForm>,
    /// Path of the visible text. Several matches are joined. With `as: text`, the text is the whole answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// The finish reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish: Option<String>,
    /// Path of the number of tokens of the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<String>,
    /// Path of the number of tokens of the answer, including reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<String>,
    /// Path of the number of input tokens that came from a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_input_tokens: Option<String>,
    /// Path of the number of output tokens that were reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<String>,
    /// Path of an error. If the value there is anything but null or false, the request fails as `stream_error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Last event of a stream: its data, such as `"[DONE]"`, or `{ event: NAME }`, or `{ path: $.done }`. Default: a
    /// stream that ends without an error is complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<DoneAt>,
}

impl Read {
    /// The keys that name a place in JSON, and the places, as far as they are written.
    pub fn places(&self) -> Vec<(&'static str, &str)> {
        let done = match &self.done {
            Some(DoneAt::Other(event)) => &event.path,
            _ => &None,
        };
        let all = [
            ("text", &self.text),
            ("reasoning", &self.reasoning),
            ("finish", &self.finish),
            ("input_tokens", &self.input_tokens),
            ("output_tokens", &self.output_tokens),
            ("cached_input_tokens", &self.cached_input_tokens),
            ("reasoning_tokens", &self.reasoning_tokens),
            ("error", &self.error),
            ("done", done),
        ];
        all.into_iter().filter_map(|(key, place)| Some((key, place.as_deref()?))).collect()
    }
}

/// What marks the end of a stream.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum DoneAt {
    /// An event with exactly this data.
    Data(String),
    /// An event that is known in another way.
    Other(DoneEvent),
}

/// The last event of a stream: exactly one of the two.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DoneEvent {
    /// A server-sent event of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// An event whose value at this JSONPath is anything but null or false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Where a value is taken from: a JSONPath, or one of the other sources.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TakeFrom {
    /// The first value at this JSONPath in the JSON of the answer, or of its text.
    Path(String),
    /// One of the other sources.
    Source(Box<TakeSource>),
}

/// Where a value is taken from: exactly one of `json`, `header`, `regex`, `cookie` and `text`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TakeSource {
    /// The first value at this JSONPath in the JSON of the answer, or of its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<String>,
    /// A header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The first group of the first match of this pattern, or the whole match if the pattern has no group. It is
    /// applied to the visible text, or to the whole answer if no text is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// Value of a cookie that the answer sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// The visible text, or the whole answer if no text is read. Write `text: true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<bool>,
    /// Value to use if none is found. Default: the request fails as `extract`.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}
