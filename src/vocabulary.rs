//! Closed lists of words and plain records that are the same in the config and in the plan. Each meaning has one type
//! here; the meaning of combinations is defined by the plan.

mod at_limit;
mod chat_template;
mod conversation;
mod dataset;
mod dns_record;
mod honoured;
mod incident;
mod money;
mod percent;
mod quantity;
mod reasoning;
mod record;
mod search;
mod shown;
mod telemetry_detail;
mod tokenizer;
mod trace;
mod traffic_priority;

pub use at_limit::AtLimit;
pub use chat_template::ChatTemplate;
pub use conversation::{HistoryAnswers, SummaryBy};
pub use dataset::{DatasetFormat, RowOrder};
pub use dns_record::DnsRecord;
pub use honoured::HonouredParam;
pub use incident::IncidentKind;
pub use money::money;
pub use percent::{exact_percent, judged_percent};
pub use quantity::Quantity;
pub use reasoning::ReasoningEffort;
pub use record::RecordMode;
pub use search::{SearchProgression, SearchVariable};
pub use shown::{is_unshown, shown};
pub use telemetry_detail::TelemetryDetail;
pub use tokenizer::Tokenizer;
pub use trace::TraceFormat;
pub use traffic_priority::TrafficPriority;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::time::Duration;
use strum::{IntoStaticStr, VariantArray};

/// Implements the schema of a type as that of its serialized form.
macro_rules! schema_of {
    ($type:ident, $form:ident) => {
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                <$form as schemars::JsonSchema>::schema_name()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                <$form as schemars::JsonSchema>::json_schema(generator)
            }
        }
    };
}
use schema_of;

/// Dialects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Api {
    /// `POST {base_url}/chat/completions`, supported by OpenAI, vLLM, SGLang, LiteLLM and many others.
    #[serde(rename = "openai-chat")]
    OpenAiChat,
    /// `POST {base_url}/completions`: text that continues a prompt, without a chat template.
    #[serde(rename = "openai-completions")]
    OpenAiCompletions,
    /// `POST {base_url}/responses`: OpenAI's API of items and named events.
    #[serde(rename = "openai-responses")]
    OpenAiResponses,
    /// `POST {base_url}/embeddings`: vectors for texts; nothing is generated, and nothing is streamed.
    #[serde(rename = "openai-embeddings")]
    OpenAiEmbeddings,
    /// `POST {base_url}/v1/messages`: Anthropic's Messages, also supported by llama.cpp, vLLM, LiteLLM and others.
    #[serde(rename = "anthropic")]
    Anthropic,
    /// `generateContent` and `streamGenerateContent` of the Gemini API and of Vertex AI.
    #[serde(rename = "gemini")]
    Gemini,
    /// `Converse` and `ConverseStream` of Amazon Bedrock: `POST {base_url}/model/{model}/converse`, streamed as AWS' event
    /// stream.
    #[serde(rename = "bedrock")]
    Bedrock,
    /// `POST {base_url}/api/chat`: Ollama's chat.
    #[serde(rename = "ollama-chat")]
    OllamaChat,
    /// `POST {base_url}/api/generate`: Ollama's completion of one prompt.
    #[serde(rename = "ollama-generate")]
    OllamaGenerate,
    /// `POST {base_url}/generate` and `/generate_stream`: Text Generation Inference. Its chat is `openai-chat`.
    #[serde(rename = "tgi")]
    Tgi,
    /// `POST {base_url}/v2/rerank` in Cohere's form. The first line of a prompt is the query,
    /// and each further line is a document.
    #[serde(rename = "rerank-cohere")]
    RerankCohere,
    /// `POST {base_url}/v1/rerank` in Jina's form, also supported by vLLM and others. Prompts are read as for
    /// `rerank-cohere`.
    #[serde(rename = "rerank-jina")]
    RerankJina,
    /// An application without a model API, called by the HTTP steps of scenarios.
    #[serde(rename = "http")]
    Http,
}

impl Api {
    /// All dialects.
    pub const ALL: [Self; 13] = [
        Self::OpenAiChat,
        Self::OpenAiCompletions,
        Self::OpenAiResponses,
        Self::OpenAiEmbeddings,
        Self::Anthropic,
        Self::Gemini,
        Self::Bedrock,
        Self::OllamaChat,
        Self::OllamaGenerate,
        Self::Tgi,
        Self::RerankCohere,
        Self::RerankJina,
        Self::Http,
    ];

    /// Its name in the config, and a label value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenAiChat => "openai-chat",
            Self::OpenAiCompletions => "openai-completions",
            Self::OpenAiResponses => "openai-responses",
            Self::OpenAiEmbeddings => "openai-embeddings",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Bedrock => "bedrock",
            Self::OllamaChat => "ollama-chat",
            Self::OllamaGenerate => "ollama-generate",
            Self::Tgi => "tgi",
            Self::RerankCohere => "rerank-cohere",
            Self::RerankJina => "rerank-jina",
            Self::Http => "http",
        }
    }

    /// The path appended to the base URL; `None` if there is more than one.
    pub const fn path(self) -> Option<&'static str> {
        match self.endings() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// How the addresses of its calls end: with a path, or with the method of a model.
    pub const fn endings(self) -> &'static [&'static str] {
        match self {
            Self::OpenAiChat => &["/chat/completions"],
            Self::OpenAiCompletions => &["/completions"],
            Self::OpenAiResponses => &["/responses"],
            Self::OpenAiEmbeddings => &["/embeddings"],
            Self::Anthropic => &["/messages"],
            Self::Gemini => &[":generateContent", ":streamGenerateContent"],
            Self::Bedrock => &["/converse", "/converse-stream"],
            Self::OllamaChat => &["/api/chat"],
            Self::OllamaGenerate => &["/api/generate"],
            Self::Tgi => &["/generate", "/generate_stream"],
            Self::RerankCohere | Self::RerankJina => &["/rerank"],
            Self::Http => &[],
        }
    }

    /// `gen_ai.provider.name` in the OpenTelemetry conventions.
    pub const fn provider(self) -> &'static str {
        match self {
            Self::OpenAiChat | Self::OpenAiCompletions | Self::OpenAiResponses | Self::OpenAiEmbeddings => {
                "openai"
            }
            Self::Anthropic => "anthropic",
            Self::Gemini => "gcp.gen_ai",
            Self::Bedrock => "aws.bedrock",
            Self::OllamaChat | Self::OllamaGenerate => "ollama",
            Self::Tgi => "huggingface",
            Self::RerankCohere => "cohere",
            Self::RerankJina => "jina",
            Self::Http => "http",
        }
    }

    /// Whether its answers contain generated content.
    pub const fn generates(self) -> bool {
        !matches!(self, Self::OpenAiEmbeddings | Self::RerankCohere | Self::RerankJina | Self::Http)
    }

    /// Whether its servers keep conversations, so that a request can name the answer before it.
    pub const fn keeps_conversations(self) -> bool {
        matches!(self, Self::OpenAiResponses)
    }

    /// Whether it orders documents by a query.
    pub const fn ranks(self) -> bool {
        matches!(self, Self::RerankCohere | Self::RerankJina)
    }

    /// Whether servers that speak it may take `ignore_eos` and `min_tokens`: those of vLLM, SGLang, llama.cpp and
    /// others do beside what OpenAI's API defines.
    pub const fn has_sampling_extensions(self) -> bool {
        matches!(self, Self::OpenAiChat | Self::OpenAiCompletions)
    }

    /// `gen_ai.operation.name` in the OpenTelemetry conventions.
    pub const fn operation(self) -> &'static str {
        match self {
            Self::OpenAiChat | Self::OpenAiResponses | Self::Anthropic | Self::Bedrock | Self::OllamaChat => {
                "chat"
            }
            Self::Gemini => "generate_content",
            Self::OpenAiCompletions | Self::OllamaGenerate | Self::Tgi => "text_completion",
            Self::OpenAiEmbeddings => "embeddings",
            Self::RerankCohere | Self::RerankJina => "rerank",
            Self::Http => "http",
        }
    }
}

/// How an OAuth 2.0 client authenticates itself (RFC 6749, section 2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// `Authorization: Basic`, which every server accepts.
    #[default]
    Basic,
    /// `client_id` and `client_secret` in the body.
    Body,
}

/// HTTP protocol versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HttpVersion {
    /// HTTP/1.1.
    #[default]
    #[serde(rename = "1.1")]
    Http1,
    /// HTTP/2: by ALPN over TLS, with prior knowledge over plain TCP.
    #[serde(rename = "2")]
    Http2,
}

/// Whether connections are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Connection")]
pub enum ConnectionMode {
    /// Connections are kept and reused. Connection set-up is not part of a request's time.
    #[default]
    Warm,
    /// Each request uses a new connection, without TLS resumption. Its set-up is part of the request's time.
    Cold,
}

/// Prices per million tokens, in the agent's currency.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Input.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub input: f64,
    /// Input that came from the provider's cache. Default: as `input`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub cached_input: Option<f64>,
    /// Output, reasoning included.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub output: f64,
}

impl Price {
    /// The price of input that came from the provider's cache.
    pub fn cached_input(&self) -> f64 {
        self.cached_input.unwrap_or(self.input)
    }

    /// The maximum cost of these tokens, whether or not input comes from a cache: a provider may charge more for writes
    /// to its cache.
    pub fn most(&self, input: u64, output: u64) -> f64 {
        self.cost(input, 0, output).max(self.cost(input, input, output))
    }

    /// The cost of these tokens. `cached_input` is part of `input`.
    pub fn cost(&self, input: u64, cached_input: u64, output: u64) -> f64 {
        let cached = cached_input.min(input);
        let fresh = input - cached;
        (fresh as f64 * self.input + cached as f64 * self.cached_input() + output as f64 * self.output) / 1e6
    }
}

/// Whether requests avoid prefix caches or use them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cache {
    /// Each prompt begins with a nonce, so that no prefix is shared and the model is measured rather than the cache. All
    /// turns of a conversation have the same one.
    #[default]
    Bust,
    /// Prompts are sent unchanged.
    Reuse,
}

/// The metric of an objective. A failed request counts against every objective on requests, a failed journey against
/// every objective on journeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SloMetric {
    /// The request did not fail.
    Availability,
    /// From the send to the first byte of the body.
    TimeToFirstByte,
    /// From the send to the first event of a streamed answer.
    TimeToFirstChunk,
    /// From the send to the first generated content of a streamed answer.
    TimeToFirstToken,
    /// From the send to the first visible text of a streamed answer.
    TimeToFirstText,
    /// The longest time between two pieces of content of a streamed answer.
    LongestChunkGap,
    /// Time per output token after the first, of a streamed answer.
    TimePerOutputToken,
    /// Output tokens per second over the whole request.
    OutputPace,
    /// From the send to the end.
    RequestDuration,
    /// From the instant at which the request was due to the end.
    ResponseTime,
    /// The journey did not fail.
    JourneyAvailability,
    /// How long the user of a journey waited: the sum of the response times of its steps.
    JourneyDuration,
}

impl SloMetric {
    /// All metrics.
    pub const ALL: [Self; 12] = [
        Self::Availability,
        Self::TimeToFirstByte,
        Self::TimeToFirstChunk,
        Self::TimeToFirstToken,
        Self::TimeToFirstText,
        Self::LongestChunkGap,
        Self::TimePerOutputToken,
        Self::OutputPace,
        Self::RequestDuration,
        Self::ResponseTime,
        Self::JourneyAvailability,
        Self::JourneyDuration,
    ];

    /// Its name in the config.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Availability => "availability",
            Self::TimeToFirstByte => "time_to_first_byte",
            Self::TimeToFirstChunk => "time_to_first_chunk",
            Self::TimeToFirstToken => "time_to_first_token",
            Self::TimeToFirstText => "time_to_first_text",
            Self::LongestChunkGap => "longest_chunk_gap",
            Self::TimePerOutputToken => "time_per_output_token",
            Self::OutputPace => "output_pace",
            Self::RequestDuration => "request_duration",
            Self::ResponseTime => "response_time",
            Self::JourneyAvailability => "journey_availability",
            Self::JourneyDuration => "journey_duration",
        }
    }

    /// Whether it is a metric of journeys; all others are of requests.
    pub const fn is_of_journeys(self) -> bool {
        matches!(self, Self::JourneyAvailability | Self::JourneyDuration)
    }

    /// Whether it says only that something did not fail, and so has no bound.
    pub const fn is_availability(self) -> bool {
        matches!(self, Self::Availability | Self::JourneyAvailability)
    }
}

/// What happens to a run that is due while the one before it still offers load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// The run is skipped and counted.
    Skip,
    /// The run starts when the previous run has offered its last request. At most one run waits; further runs are
    /// skipped.
    Queue,
}

/// Calendar periods.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    JsonSchema,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Period {
    /// From each full hour.
    Hour,
    /// From midnight.
    #[default]
    Day,
    /// From Monday's midnight.
    Week,
    /// From midnight on the first of the month.
    Month,
}

impl Period {
    /// All periods.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Its name in the config.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Forms of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "AnswerForm")]
pub enum BodyForm {
    /// One JSON document.
    Json,
    /// Server-sent events, with JSON in their data.
    Sse,
    /// JSON, one value on each line.
    Ndjson,
    /// Plain text, all of which is visible text.
    Text,
}

impl BodyForm {
    /// Whether a stream is expected.
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::Sse | Self::Ndjson)
    }
}

/// Maximum number of tokens that an answer may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Reserve {
    /// Maximum number of input tokens. Default: 0.
    pub input_tokens: u64,
    /// Maximum number of output tokens. Default: 0.
    pub output_tokens: u64,
}

/// OTLP transports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// HTTP with protobuf bodies.
    Http,
}

/// Compression of the exported data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// gzip.
    Gzip,
    /// None.
    None,
}

/// Form of histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Histograms {
    /// The bucket bounds that Prometheus shows.
    Explicit,
    /// Base-2 exponential buckets.
    Exponential,
}

/// Sets of OpenTelemetry's GenAI client metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GenAi {
    /// `gen_ai.client.inference.*`.
    Current,
    /// `gen_ai.client.operation.*` and `gen_ai.client.token.usage`.
    Legacy,
    /// Both sets.
    Both,
    /// Neither.
    None,
}

/// Trace context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Propagate {
    /// W3C `traceparent`.
    #[default]
    W3c,
    /// None.
    None,
}

/// Headers in which an endpoint is told the latency that is expected of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SloHeaders {
    /// None.
    #[default]
    None,
    /// Those of llm-d's endpoint picker: `x-llm-d-slo-ttft-ms` and `x-llm-d-slo-tpot-ms`.
    LlmD,
}

impl SloHeaders {
    /// Whether it is none, which need not be written.
    pub const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The headers, and the metric whose objective each one states, in milliseconds.
    pub const fn names(self) -> &'static [(&'static str, SloMetric)] {
        match self {
            Self::None => &[],
            Self::LlmD => &[
                ("x-llm-d-slo-ttft-ms", SloMetric::TimeToFirstToken),
                ("x-llm-d-slo-tpot-ms", SloMetric::TimePerOutputToken),
            ],
        }
    }
}

/// Which failed requests become spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Failures")]
pub enum TracedFailures {
    /// All.
    Always,
    /// Those that were sampled.
    Sampled,
}

/// How the state of a target follows from the requests that are sent to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "TargetHealth", bound = "T: JsonSchema + Serialize")]
pub struct TargetHealth<T = Duration> {
    /// Number of requests in a row that must fail (or, for `slow`, miss the objective) before the state gets worse.
    /// Default: 3.
    pub failing_after: NonZeroU32,
    /// Number of requests in a row that must succeed before the state gets better. Default: 2.
    pub recovered_after: NonZeroU32,
    /// Objective whose misses are slowness, by its name in the profiles that use the target. Default: every objective on
    /// the time to first token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub slow: Option<String>,
    /// Time without a request after which the state is `unknown`, such as `30m`. Default: three times the interval of the
    /// most frequent profile that uses the target, but at least 10m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_after: Option<T>,
}

impl<T> Default for TargetHealth<T> {
    fn default() -> Self {
        let number = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        Self { failing_after: number(3), recovered_after: number(2), slow: None, unknown_after: None }
    }
}

/// Timeouts of a request. Each is reported as a separate kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Timeouts", bound = "T: JsonSchema + Serialize, Timeouts<T>: Default")]
pub struct Timeouts<T = Duration> {
    /// Maximum time for DNS, TCP and TLS together. Default: 5s.
    pub connect: T,
    /// Maximum time from the send to the first generated content of a streamed answer. Default: 30s.
    pub first_token: T,
    /// Maximum time without progress after the first content. In a stream, progress is an event with content, a finish
    /// reason or usage, but not a comment or an empty event. In an answer that is not streamed, it is any byte.
    /// Default: 15s.
    pub stall: T,
    /// Maximum time from the send to the end of the answer. Default: 2m.
    pub total: T,
}
