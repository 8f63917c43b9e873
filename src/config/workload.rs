//! The key `workload` of a profile, as written.

use super::conversation::Conversation;
use super::fingerprint::FingerprintWorkload;
use super::lengths::{LengthFile, TokenLength};
use super::text::Length;
use super::trace::TraceFile;
use crate::vocabulary::{Cache, DatasetFormat, RowOrder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

/// What is sent: prompts (exactly one of `prompts`, `synthetic`, `dataset`, `trace`, `cache_pair`, `conversation` and
/// `fingerprint`), and how.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-layers" = "replace"))]
pub struct Workload {
    /// Prompts, of which one is picked at random for each request. An item is a text, or a file with one prompt per
    /// line (`{ file: prompts.txt }`). Empty lines are ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub prompts: Option<Vec<Prompt>>,
    /// Prompts of random words. The number of tokens is drawn for each request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synthetic: Option<Synthetic>,
    /// Prompts from a file of any size, which is not kept in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<DatasetFile>,
    /// Requests of a recorded trace: their lengths, their shared prefixes and, in stages without `rate` and `users`, their
    /// times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceFile>,
    /// Pairs of requests that begin with the same long prefix, to measure the provider's prompt cache: the first one of
    /// each pair is cold, and the second one should find the prefix in the cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_pair: Option<CachePair>,
    /// Conversations. Each has several turns, and each turn is a request that contains the turns before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<Box<Conversation>>,
    /// Fixed prompts whose answers are compared from run to run, to find out whether the provider changed the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Box<FingerprintWorkload>>,
    /// System prompt. With `dataset`, it is used for rows that have none. Not supported with `synthetic`, where
    /// `shared_prefix` takes its place, with a `trace` of lengths, and with `cache_pair`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub system: Option<String>,
    /// Maximum number of output tokens of an answer, sent as `max_tokens` (or under the dialect's own name): a number,
    /// or a distribution from which it is drawn for each request. With `dataset`, it is used for rows without
    /// `max_tokens`. It is required if there is a budget of tokens or cost. For servers that expect another name, set
    /// `params: { max_completion_tokens: 128 }` instead. Default: the server decides; with `fingerprint`, 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<TokenLength>,
    /// Minimum number of output tokens of an answer, sent as `min_tokens`, but never more than the request's maximum.
    /// For `openai-chat` and `openai-completions` with servers that support it (vLLM, SGLang). Default: not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_output_tokens: Option<NonZeroU64>,
    /// Whether the model continues until `output_tokens` is reached, sent as `ignore_eos: true`. For `openai-chat` and
    /// `openai-completions` with servers that support it (vLLM, SGLang, llama.cpp). Default: false.
    #[serde(default)]
    pub ignore_eos: bool,
    /// Whether requests avoid prefix caches or use them. With a `trace`, `bust` lets requests share prefixes within a run,
    /// as recorded, and `reuse` from run to run as well. Not supported with `cache_pair` and `fingerprint`. Default: bust;
    /// with `shared_prefix`, reuse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
    /// Whether answers are streamed; those of a `fingerprint` never are. Default: true.
    #[serde(default = "yes")]
    pub stream: bool,
    /// Parameters that are added to the body of every request, such as `{ temperature: 0.3 }`. They are merged on top
    /// of the target's `params` as a JSON merge patch (RFC 7396): maps are merged key by key, and null removes a key.
    #[serde(default)]
    pub params: Map<String, Value>,
}

impl Workload {
    /// The number of `output_tokens`, if it is the same for each request.
    pub fn fixed_output_tokens(&self) -> Option<u64> {
        match &self.output_tokens {
            Some(TokenLength::Fixed(tokens)) => Some(tokens.get()),
            _ => None,
        }
    }

    /// Whether it specifies the length of answers.
    pub fn asks_for_lengths(&self) -> bool {
        self.output_tokens.is_some()
            || self.fingerprint.is_some()
            || self.trace.is_some()
            || self.synthetic.as_ref().is_some_and(|it| it.joint.is_some())
    }
}

pub(super) const fn yes() -> bool {
    true
}

/// A prompt, or a file of prompts.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Prompt {
    /// A prompt.
    Text(String),
    /// A file of prompts.
    File(PromptFile),
}

/// A file of prompts.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptFile {
    /// One prompt on each line; empty lines are left out. A prompt of more lines is written into the config.
    #[schemars(extend("format" = "path"))]
    pub file: PathBuf,
}

/// Prompts of random English words. With the target's `tokenizer` a prompt has exactly the drawn number of tokens, and
/// with its `chat_template` the request has; without, words are counted for tokens, which is an estimate. Exactly one
/// of `input_tokens` and `joint` says how long they are.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Synthetic {
    /// Tokens of a prompt, the shared prefix and the nonce of `cache: bust` included: a number, or a distribution from
    /// which one is drawn for each request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<TokenLength>,
    /// A file of pairs, of which one is drawn for each request: a line is `input,output`, the tokens of the prompt and
    /// of `output_tokens`. A first line of names is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joint: Option<LengthFile>,
    /// The beginning that prompts have in common, as a system prompt is. It stays the same from run to run. Default:
    /// none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_prefix: Option<SharedPrefix>,
}

/// Prompts in a file, one of which is read for each request.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatasetFile {
    /// Its path.
    #[schemars(extend("format" = "path"))]
    pub file: PathBuf,
    /// How it is written. Default: by its name, `.jsonl` and `.ndjson`, `.csv`, `.json` (sharegpt), or `.txt` (lines).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<DatasetFormat>,
    /// In which order prompts are asked. Default: shuffled.
    #[serde(default)]
    pub order: RowOrder,
    /// Whether rows that are wrong are left out, which `tokenbeat check` and the log count, and are no error. Default:
    /// false.
    #[serde(default)]
    pub skip_bad_lines: bool,
}

/// Two requests with the same prefix, one after the other: a journey of the steps `cold` and `warm`. The prefix consists of
/// random words and is new for each pair. It is sent as the system prompt, followed by a question.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CachePair {
    /// Number of tokens of the prefix. Most providers cache only prefixes of 1024 or more tokens, some only of 4096 or
    /// more.
    #[schemars(range(max = 1_000_000))]
    pub prefix_tokens: NonZeroU64,
    /// Time from the end of the first answer to the second request, shorter than the provider keeps a prefix. Default:
    /// 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<Length>,
    /// The question after the prefix. A number is put in front of it, so that the two requests of a pair differ and are
    /// not answered from a cache of whole answers. Default: what the first three words of the
    /// text are.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub question: Option<String>,
}

/// The beginning that prompts have in common.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SharedPrefix {
    /// Its tokens, fewer than those of the shortest prompt.
    #[schemars(range(max = 1_000_000))]
    pub tokens: NonZeroU64,
    /// How many different ones there are; each prompt begins with one of them. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000))]
    pub count: Option<NonZeroU32>,
    /// How often each of them is taken. Default: all equally often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub popularity: Option<Popularity>,
}

/// How popular things are.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Popularity {
    /// The exponent of Zipf's law: the n-th is taken 1 / n^zipf times as often as the first; 0 is equally often.
    #[schemars(range(min = 0, max = 10))]
    pub zipf: f64,
}
