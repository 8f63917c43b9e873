//! The single catalogue of metrics: name, unit, type, buckets, labels and description of each, and when its series
//! exist. Everything else is derived from it: the cells that store the values, Prometheus names, the documentation, the
//! label names that users may not take, and every rendering. It must not know where the values come from.

pub mod buckets;
mod spec;

pub use spec::{Key, MetricKind, MetricUnit, Spec, Subject, When};

macro_rules! http_codes {
    ($($code:literal),* $(,)?) => {
        /// Codes that `tokenbeat_http_responses_total` distinguishes, with their label values; any other code is
        /// `other`.
        pub const HTTP_CODES: [(u16, &str); [$($code),*].len()] = [$(($code, stringify!($code))),*];
    };
}

http_codes![
    200, 201, 204, 301, 302, 307, 308, 400, 401, 402, 403, 404, 408, 409, 413, 422, 424, 429, 499, 500, 502,
    503, 504, 529,
];

/// Metrics of the process itself, from the `prometheus` crate's collector (Linux).
pub const PROCESS: [&str; 7] = [
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_threads",
    "process_virtual_memory_bytes",
];

/// The rows, passed to another macro: the catalogue turns them into specifications, the store into cells.
///
/// `Metric = "OpenTelemetry name", unit, type, subject [label: its values], when its series exist from the start,
/// "help";`
///
/// The type is one of the store's cell types. Most labels take the values of a closed enum. The exceptions are `Named`
/// (names from the plan), `Agent` (one value for the whole agent), `Stated` (values that are set together), `Seen`
/// (outcomes, from their first occurrence on), and `Read` (values read elsewhere at each rendering).
macro_rules! rows {
    ($with:ident) => { $with! {
    // Exported everywhere.
    all {
        OfferedRequests = "tokenbeat.offered_requests", None, Counter, Stage [], Measured,
            "Requests that the arrival process asked for. Offered = skipped + in flight + requests.";
        SkippedRequests = "tokenbeat.skipped_requests", None, Counter, Stage [Reason: SkipReason], Measured,
            "Offered requests that were not sent, by reason.";
        Requests = "tokenbeat.requests", None, Counter, Step [Outcome: Outcome], Measured,
            "Requests that ended, by outcome: ok or why it failed. Cancelled and internal do not judge the target.";
        HttpResponses = "tokenbeat.http_responses", None, Counter, Step [Code: HttpCode], Measured,
            "Answers by HTTP status; a status that is not in the list counts as other.";
        FinishReasons = "tokenbeat.finish_reasons", None, Counter, Step [Reason: FinishReason], Measured,
            "Answers by the meaning of their finish reason, in whatever words; one that is not known counts as other.";
        Retries = "tokenbeat.retries", None, Counter, Step [Outcome: Outcome], Retried,
            "Attempts after the first at the same request, by outcome: a part of the requests. Each follows a failed one.";
        WarmUpRequests = "tokenbeat.warm_up_requests", None, Counter, Stage [Outcome: Outcome], WarmUp,
            "Requests due in a warm-up that ended, by outcome. They count in tokens, cost and budgets, in nothing else.";
        RequestsInFlight = "tokenbeat.requests_in_flight", None, Level, Run [], Always,
            "Requests that were offered and have neither ended nor been skipped. Warm-up left out.";
        RequestDuration = "tokenbeat.request_duration", Seconds, Histogram(&buckets::DURATION), Step [], Measured,
            "Time from the send to the end of the answer, of answers that completed (ok and check).";
        ResponseTime = "tokenbeat.response_time", Seconds, Histogram(&buckets::DURATION), Step [], Measured,
            "Time from the due instant to the end of the answer, of answers that completed: free of coordinated omission.";
        FailedRequestDuration = "tokenbeat.failed_request_duration", Seconds, Histogram(&buckets::FAILED_DURATION), Step [], Measured,
            "Time from the send to the failure, of requests without a complete answer; cancelled and internal left out.";
        TimeToFirstByte = "tokenbeat.time_to_first_byte", Seconds, Histogram(&buckets::FIRST_MARK), Step [], Measured,
            "Time from the send to the first byte of the body, of answers that completed.";
        TimeToFirstChunk = "tokenbeat.time_to_first_chunk", Seconds, Histogram(&buckets::FIRST_MARK), Step [], MeasuredStreams,
            "Time from the send to the first event of the stream, whatever it carries, of answers that completed.";
        TimeToFirstToken = "tokenbeat.time_to_first_token", Seconds, Histogram(&buckets::FIRST_TOKEN), Step [], MeasuredStreams,
            "Time from the send to the first event with generated content, of streamed answers that completed.";
        TimeToFirstText = "tokenbeat.time_to_first_text", Seconds, Histogram(&buckets::FIRST_MARK), Step [], MeasuredStreams,
            "Time from the send to the first event with visible text, of streamed answers that completed.";
        ChunkGap = "tokenbeat.chunk_gap", Seconds, Histogram(&buckets::GAP), Step [], MeasuredStreams,
            "Time between consecutive events with generated content, of streamed answers that completed.";
        LongestChunkGap = "tokenbeat.longest_chunk_gap", Seconds, Histogram(&buckets::LONGEST_GAP), Step [], MeasuredStreams,
            "The longest chunk gap of each streamed answer that completed.";
        TimePerOutputToken = "tokenbeat.time_per_output_token", Seconds, Histogram(&buckets::GAP), Step [], MeasuredStreams,
            "Time from first to last token over the tokens after the first, of streamed answers that completed.";
        OutputPace = "tokenbeat.output_pace", TokensPerSecond, Histogram(&buckets::PACE), Step [], MeasuredTokens,
            "Output tokens over the whole request's duration, of answers that completed; hidden reasoning left out.";
        Stalls = "tokenbeat.stalls", None, Counter, Step [], MeasuredStreams,
            "Chunk gaps over the target's stall threshold, of failed requests too.";
        Tokens = "tokenbeat.tokens", Token, Counter, Step [Type: TokenType, Source: CountSource], Tokens,
            "Tokens of all requests as far as known, warm-up and failed ones included, by who counted them.";
        CachedInputTokens = "tokenbeat.cached_input_tokens", Token, Counter, Step [], Tokens,
            "Input tokens that came from the provider's cache: part of the input tokens.";
        ReasoningTokens = "tokenbeat.reasoning_tokens", Token, Counter, Step [], Tokens,
            "Output tokens that were reasoning: part of the output tokens.";
        UsageReports = "tokenbeat.usage_reports", None, Counter, Step [Part: UsagePart, Reported: UsageReported], MeasuredTokens,
            "Completed answers, by whether the server reported this part of the usage: a zero is reported, an absent count is not.";
        RequestInputTokens = "tokenbeat.request_input_tokens", Token, Histogram(&buckets::INPUT_TOKENS), Step [], MeasuredTokens,
            "Input tokens of each answer that completed, as far as known.";
        RequestOutputTokens = "tokenbeat.request_output_tokens", Token, Histogram(&buckets::OUTPUT_TOKENS), Step [], MeasuredTokens,
            "Output tokens of each answer that completed, as far as known.";
        OutputLengthRatio = "tokenbeat.output_length_ratio", Ratio, Histogram(&buckets::LENGTH_RATIO), Step [], MeasuredLimits,
            "Output tokens over those asked for, of answers that completed.";
        TokenCountRatio = "tokenbeat.token_count_ratio", Ratio, Histogram(&buckets::COUNT_RATIO), Step [], MeasuredTwice,
            "Output tokens that the server reported over those that the tokenizer counts, of answers that completed.";
        Cost = "tokenbeat.cost", None, Money, Step [Currency: Agent], Priced,
            "Cost by the target's prices as far as tokens are known, warm-up and failed requests included.";
        ConnectionPhase = "tokenbeat.connection_phase", Seconds, Histogram(&buckets::CONNECTION), Run [Phase: ConnectionPhase], Always,
            "Time of each phase of connections that were set up. Warm-up left out.";
        ConnectionsOpened = "tokenbeat.connections_opened", None, Counter, Run [], Always,
            "Connections opened. Warm-up left out.";
        StaleConnections = "tokenbeat.stale_connections", None, Counter, Run [], Always,
            "Kept connections that the server had closed and that were replaced: a possible double charge. Warm-up left out.";
        DispatchLag = "tokenbeat.dispatch_lag", Seconds, Histogram(&buckets::DISPATCH_LAG), Run [], Always,
            "Time from the due instant to the send less connection set-up, of requests that were sent: the prober's own lag.";
        ScheduleLag = "tokenbeat.schedule_lag", Seconds, Histogram(&buckets::SCHEDULE_LAG), Run [], Always,
            "Time from a run's scheduled instant to its start.";
        LoadActive = "tokenbeat.load_active", Seconds, TimeCounter, Stage [], Always,
            "Time in which load was offered; throughput is the rate of tokens over the rate of this.";
        Journeys = "tokenbeat.journeys", None, Counter, Stage [Outcome: Outcome], Journeys,
            "Journeys that ended: ok, the outcome of the request that failed and ended it, or cancelled. Warm-up left out.";
        JourneyDuration = "tokenbeat.journey_duration", Seconds, Histogram(&buckets::JOURNEY), Stage [], Journeys,
            "What a user waited in a journey: its steps' response times added up, of journeys that completed (ok and check); set-up and think time left out.";
        JourneyTokens = "tokenbeat.journey_tokens", Token, Counter, Stage [Type: TokenType], Journeys,
            "Tokens of the requests of all journeys that ended, set-up included, as far as known. Warm-up left out.";
        JourneyCost = "tokenbeat.journey_cost", None, Money, Stage [Currency: Agent], PricedJourneys,
            "Cost of the requests of all journeys that ended, set-up included, as far as tokens are known. Warm-up left out.";
        Runs = "tokenbeat.runs", None, Counter, Run [Result: RunResult], Always,
            "Runs that ended, by result.";
        SkippedRuns = "tokenbeat.skipped_runs", None, Counter, Run [Reason: SkippedRun], Always,
            "Runs that were due and did not take place, by reason.";
        RunActive = "tokenbeat.run_active", None, Level, Run [], Always,
            "Runs that began and whose last request has not ended; two while one drains beside the next.";
        LastRunStarted = "tokenbeat.last_run_started_timestamp", Seconds, Gauge, Run [], Always,
            "When the last run began, seconds since the epoch; 0 before the first.";
        LastRunCompleted = "tokenbeat.last_run_completed_timestamp", Seconds, Gauge, Run [], Always,
            "When the last run that was not cancelled had ended, seconds since the epoch; 0 before the first.";
        LastSuccess = "tokenbeat.last_success_timestamp", Seconds, Gauge, Run [], Always,
            "When the last run with result ok had ended, seconds since the epoch; 0 before the first.";
        NextRun = "tokenbeat.next_run_timestamp", Seconds, Gauge, Run [], Always,
            "When the next run is due, seconds since the epoch; 0 while none is.";
        ScheduleInterval = "tokenbeat.schedule_interval", Seconds, OptionalGauge, Run [], Always,
            "Time from run to run; absent where it is not constant (cron, manual).";
        ProfileInfo = "tokenbeat.profile_info", None, Info, Run [Revision: Stated, Schedule: Stated], Always,
            "1. The revision is a hash of workload, load and model: compare like with like.";
        TargetInfo = "tokenbeat.target_info", None, Info, Target [Api: Stated, Provider: Stated, Server: Stated], Always,
            "1. The server is what the target's answers said last; empty before the first, other after many.";
        SloEvents = "tokenbeat.slo_events", None, Counter, Run [Slo: NamedCells], Always,
            "Requests that an SLO judged; an answer without the mark is none. The SLO all is goodput.";
        SloErrors = "tokenbeat.slo_errors", None, Counter, Run [Slo: NamedCells], Always,
            "Requests that missed an SLO; a failed request is an error of every SLO.";
        SloObjective = "tokenbeat.slo_objective", Ratio, Gauge, Run [Slo: NamedCells], Always,
            "Share of requests that must meet an SLO.";
        SloThreshold = "tokenbeat.slo_threshold", Seconds, Gauge, Run [Slo: NamedCells], Always,
            "What a request must stay below to meet an SLO.";
        SloThresholdTokens = "tokenbeat.slo_threshold_tokens", TokensPerSecond, Gauge, Run [Slo: NamedCells], Always,
            "What a request's pace must stay above to meet an SLO.";
        CheckFailures = "tokenbeat.check_failures", None, Counter, Step [Check: NamedCells], Measured,
            "Checks that answers failed; one answer can fail several.";
        RateLimitRemaining = "tokenbeat.rate_limit_remaining", None, OptionalGauge, Run [Kind: LimitKind], Always,
            "What the server last said is left of a rate limit; absent until it does.";
        RateLimitLimit = "tokenbeat.rate_limit_limit", None, OptionalGauge, Run [Kind: LimitKind], Always,
            "What the server last said a rate limit is; absent until it does.";
        BudgetSpent = "tokenbeat.budget_spent", Ratio, ReadGauge, Agent [Scope: Read, Unit: Read], Always,
            "Share of a budget that is spent in its present period, reservations included.";
        CertificateExpiry = "tokenbeat.tls_certificate_expiry_timestamp", Seconds, OptionalGauge, Target [], Always,
            "When the target's certificate expires, seconds since the epoch; absent until a TLS connection was opened.";
        ConfigReloadSuccessful = "tokenbeat.config_last_reload_successful", None, Gauge, Agent [], Always,
            "Whether the last load of the config succeeded.";
        ConfigReloadTime = "tokenbeat.config_last_reload_success_timestamp", Seconds, Gauge, Agent [], Always,
            "When the config was last loaded with success, seconds since the epoch.";
        BuildInfo = "tokenbeat.build_info", None, Info, Agent [Version: Stated, Revision: Stated, Rustc: Stated, Built: Stated], Always,
            "1. The revision, date and compiler are those of the build; unknown where the build did not say.";
        ExportFailures = "tokenbeat.telemetry.export_failures", None, ReadCounter, Agent [Signal: Read], Always,
            "Attempts to export by OTLP that failed; absent where OTLP is off.";
        Dropped = "tokenbeat.telemetry.dropped", None, ReadCounter, Agent [Signal: Read, Reason: Read], Always,
            "Spans, log records and metric points that did not arrive by OTLP: queue_full, rejected by the receiver, or failed after every attempt; absent where OTLP is off.";
        StateWritesFailed = "tokenbeat.state_writes_failed", None, Counter, Agent [], Always,
            "Writes to the state file that failed; what they held is kept in memory and written again.";
        StateBytes = "tokenbeat.state_bytes", Bytes, OptionalGauge, Agent [], Always,
            "Size of the state file, its write-ahead log left out; absent without one.";
        RuntimeLag = "tokenbeat.runtime_lag", Seconds, Histogram(&buckets::RUNTIME_LAG), Agent [], Always,
            "How late a timer of the traffic runtime fired.";
    }
    // OpenTelemetry's client metrics of GenAI calls: exported only over OTLP. The current set follows `docs/gen-ai` of
    // `open-telemetry/semantic-conventions-genai` (client metrics at commit 024a4f94, token metrics at 066d4a7f), which
    // has no release yet; the legacy set is that of the semantic conventions up to 1.42, which most dashboards use.
    genai {
        GenAiDuration = "gen_ai.client.inference.duration", Seconds, Histogram(&buckets::GENAI_DURATION), Endpoint [ErrorType: OutcomeCells], GenAiCurrent,
            "GenAI operation duration.";
        GenAiFirstChunk = "gen_ai.client.inference.time_to_first_chunk", Seconds, Histogram(&buckets::GENAI_DURATION), Endpoint [], GenAiCurrent,
            "Time to receive the first chunk of a streamed response.";
        GenAiOutputChunk = "gen_ai.client.inference.time_per_output_chunk", Seconds, Histogram(&buckets::GENAI_DURATION), Endpoint [], GenAiCurrent,
            "Time between chunks of a streamed response.";
        GenAiInputTokens = "gen_ai.client.inference.operation.input_tokens", Token, Histogram(&buckets::GENAI_TOKENS), Endpoint [ErrorType: OutcomeCells], GenAiCurrent,
            "Input tokens per operation.";
        GenAiOutputTokens = "gen_ai.client.inference.operation.output_tokens", Token, Histogram(&buckets::GENAI_TOKENS), Endpoint [ErrorType: OutcomeCells], GenAiCurrent,
            "Output tokens per operation.";
        GenAiUsageInput = "gen_ai.client.inference.usage.input_tokens", Token, Counter, Endpoint [TokenModality: Modality], GenAiCurrent,
            "Input tokens used.";
        GenAiUsageOutput = "gen_ai.client.inference.usage.output_tokens", Token, Counter, Endpoint [TokenModality: Modality], GenAiCurrent,
            "Output tokens used.";
        GenAiUsageCacheRead = "gen_ai.client.inference.usage.cache_read.input_tokens", Token, Counter, Endpoint [TokenModality: Modality], GenAiCurrent,
            "Input tokens that came from the provider's cache.";
        GenAiUsageReasoning = "gen_ai.client.inference.usage.reasoning.output_tokens", Token, Counter, Endpoint [TokenModality: Modality], GenAiCurrent,
            "Output tokens that were reasoning.";
        GenAiLegacyDuration = "gen_ai.client.operation.duration", Seconds, Histogram(&buckets::GENAI_DURATION), Endpoint [ErrorType: OutcomeCells], GenAiLegacy,
            "GenAI operation duration.";
        GenAiLegacyFirstChunk = "gen_ai.client.operation.time_to_first_chunk", Seconds, Histogram(&buckets::GENAI_DURATION), Endpoint [], GenAiLegacy,
            "Time to receive the first chunk of a streamed response.";
        GenAiLegacyOutputChunk = "gen_ai.client.operation.time_per_output_chunk", Seconds, Histogram(&buckets::GENAI_DURATION), Endpoint [], GenAiLegacy,
            "Time between chunks of a streamed response.";
        GenAiLegacyTokens = "gen_ai.client.token.usage", Token, Histogram(&buckets::GENAI_TOKENS), Endpoint [KindOfToken: TokenType], GenAiLegacy,
            "Number of input and output tokens used.";
    }
    } };
}
pub(crate) use rows;

macro_rules! kind {
    (Histogram, $buckets:expr) => {
        MetricKind::Histogram($buckets)
    };
    (Counter) => {
        MetricKind::Counter
    };
    (TimeCounter) => {
        MetricKind::Counter
    };
    (Money) => {
        MetricKind::Counter
    };
    (ReadCounter) => {
        MetricKind::Counter
    };
    ($gauge:ident) => {
        MetricKind::Gauge
    };
}

macro_rules! specifications {
    ($($set:ident { $(
        $id:ident = $name:literal, $unit:ident, $value:ident $(($buckets:expr))?,
        $subject:ident [$($key:ident: $values:ident),*], $when:ident, $help:literal;
    )* })*) => {
        /// Every metric. The help text in the catalogue says what each one is.
        #[expect(missing_docs, reason = "each variant is documented by its help text, which users see")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Metric { $($($id,)*)* }

        /// The metrics of each set, in the order of the documentation.
        struct Sets { $($set: &'static [Metric]),* }

        const SETS: Sets = Sets { $($set: &[$(Metric::$id),*]),* };

        impl Metric {
            /// The specification of this metric.
            pub const fn spec(self) -> &'static Spec {
                match self {
                    $($(Self::$id => {
                        static SPEC: Spec = Spec {
                            name: $name,
                            unit: MetricUnit::$unit,
                            kind: kind!($value $(, $buckets)?),
                            subject: Subject::$subject,
                            labels: &[$(Key::$key),*],
                            when: When::$when,
                            help: $help,
                        };
                        &SPEC
                    })*)*
                }
            }
        }
    };
}

rows!(specifications);

impl Metric {
    /// Every metric of tokenbeat, in the order of the documentation.
    pub const ALL: &'static [Self] = SETS.all;

    /// OpenTelemetry's metrics of GenAI calls, which are exported only over OTLP.
    pub const GENAI: &'static [Self] = SETS.genai;

    /// The metric with this Prometheus name (without suffixes such as `_bucket`).
    pub fn of_prometheus_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|metric| metric.spec().prometheus() == name)
    }
}

/// Whether no metric has this name, neither in the catalogue nor in [`PROCESS`], so that `telemetry.disable` should not
/// contain it.
pub fn is_unknown(name: &str) -> bool {
    Metric::of_prometheus_name(name).is_none() && !PROCESS.contains(&name)
}

#[cfg(test)]
mod tests;
