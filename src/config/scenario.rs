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

/// What a user does: the set-up once, then the steps, again and again. Texts of a step may hold templates
/// (minijinja): `{{ name }}`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-layers" = "replace"))]
pub struct Scenario {
    /// Variables of the templates, by name: any values.
    #[serde(default, skip_serializing_if = "Values::is_empty")]
    pub vars: Values,
    /// Lists from files, by name; variables of the templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, DataFile>,
    /// Secrets, by name; in templates `secret.NAME`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretSource>,
    /// Cookies are kept, per user. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cookies: bool,
    /// Steps that are played once per user, before its first iteration, such as a login. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub setup: Vec<Step>,
    /// Steps of an iteration (a journey), one after the other. One that fails ends the journey.
    #[schemars(length(min = 1, max = 100))]
    pub steps: Vec<Step>,
}

/// A list from a file.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataFile {
    /// The file: `.txt` (a text on each line), `.csv` (with a header; maps of texts), `.json` (a list), `.jsonl` or
    /// `.ndjson` (a value on each line). Empty lines are left out.
    #[schemars(extend("format" = "path"))]
    pub file: PathBuf,
}

/// One request of a user: exactly one of `get`, `post`, `put`, `patch`, `delete`, `head`, `request` and `ask`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its name, a label on its series.
    pub name: String,
    /// Time before it: `2s`, or between two lengths, `1s..3s`. Not before the first request of a journey, where the
    /// stage's `think` counts. Default: 0s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub think: Option<ThinkTime>,
    /// GET of this path, with its query; it is appended to the target's `base_url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub get: Option<PathText>,
    /// POST to this path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post: Option<PathText>,
    /// PUT to this path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub put: Option<PathText>,
    /// PATCH of this path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<PathText>,
    /// DELETE of this path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete: Option<PathText>,
    /// HEAD of this path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<PathText>,
    /// A request by any other method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<AnyRequest>,
    /// A model call in the target's dialect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask: Option<AskModel>,
    /// Headers, on top of the target's.
    #[serde(default, skip_serializing_if = "Texts::is_empty")]
    #[schemars(extend("maxProperties" = 100))]
    pub headers: Texts,
    /// A JSON body: any value. A text in it that is exactly one expression, such as `"{{ x }}"`, keeps the type of
    /// x; any other is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<Json>,
    /// A form as the body, sent as `application/x-www-form-urlencoded`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<Texts>,
    /// Any other text as the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Type of `body`. Default: text/plain; charset=utf-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Longest time from the send to the end; other timeouts of the target that are longer are cut. Default: the
    /// target's `timeouts.total`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Length>,
    /// Times that it is played in a row within an iteration. Default: 1.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    #[schemars(range(min = 1, max = 10_000))]
    pub repeat: NonZeroU32,
    /// Each time that it is played is a turn of a conversation, with the label `turn`. Default: true for an `ask`
    /// with `history`, else false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turns: Option<bool>,
    /// What the answer means. Default: it is complete at its end, regardless of its content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<Read>,
    /// The most tokens that the answer may cost: what budgets reserve. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserve: Option<Reserve>,
    /// What is expected of the answer.
    #[serde(default, skip_serializing_if = "Expect::is_empty")]
    pub expect: Expect,
    /// Values that are taken from the answer, by name: `$.path`, or one of the other sources.
    /// Later steps of the same user have them as variables.
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

/// A request by any method.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnyRequest {
    /// The method, such as `OPTIONS`.
    pub method: String,
    /// The path, with its query; it is appended to the target's `base_url`.
    pub path: PathText,
}

/// A model call in the target's dialect.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AskModel {
    /// What the user says.
    #[schemars(length(min = 1))]
    pub prompt: String,
    /// System prompt. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub system: Option<String>,
    /// Maximum number of output tokens of the answer, as in a workload. Default: what the server takes; budgets of
    /// tokens and cost need it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<NonZeroU64>,
    /// How prefix caches are dealt with. Default: bust.
    #[serde(default)]
    pub cache: Cache,
    /// Whether the answer is streamed. Default: true.
    #[serde(default = "yes")]
    pub stream: bool,
    /// Passed through into the body: merged on top of the target's as a JSON merge patch (RFC 7396), where maps are
    /// merged key by key and null removes a key. Texts in it are no templates.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Value>,
    /// Earlier turns (question and answer) of this step that are sent along; the oldest are dropped. Default: 0.
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

/// How an answer is read. Places are JSONPaths (RFC 9535): in the document, or in each event of a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// The form of the answer; `sse` and `ndjson` are streams. Default: by its content type.
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    pub form: Option<BodyForm>,
    /// Visible text; several places are joined. With `as: text` it is the whole answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// The finish reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish: Option<String>,
    /// Tokens of the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<String>,
    /// Tokens of the answer, reasoning included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<String>,
    /// Part of the input tokens that came from a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_input_tokens: Option<String>,
    /// Part of the output tokens that was reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<String>,
    /// An error: if anything but null and false is there, the request fails as `stream_error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The last event of a stream: its data, such as `"[DONE]"`, or `{ event: NAME }`, or `{ path: $.done }`. Default:
    /// the stream is complete at its clean end.
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
    /// An event that has anything but null and false at this place.
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
    /// The first group of this pattern's first match, or the whole match where it has no group; in the visible text,
    /// or in the answer where no text is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// A cookie that the answer sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// The visible text, or the answer where no text is read. Write `text: true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<bool>,
    /// The value if there is none. Default: the request fails as `extract`.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}
