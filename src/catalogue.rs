//! The single catalogue of metrics: name, unit, type, buckets, labels and description of each, and when its series
//! exist. Everything else is derived from it: the cells that store the values, Prometheus names, the documentation, the
//! label names that users may not take, and every rendering. It must not know where the values come from.

pub mod buckets;
mod detail;
mod spec;

pub use detail::SeriesExposure;
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
            "Requests of the arrival process. Offered = skipped + in flight + requests.";
        SkippedRequests = "tokenbeat.skipped_requests", None, Counter, Stage [Reason: SkipReason], Measured,
            "Offered requests that were not sent, by reason.";
        QueuedRequests = "tokenbeat.queued_requests", None, Counter, Stage [], Measured,
            "Requests that waited before they were sent, because the in_flight limit of their stage was reached. They are part of the requests. Without warm-up.";
        Requests = "tokenbeat.requests", None, Counter, Step [Outcome: Outcome], Measured,
            "Ended requests, by outcome: ok or the reason of the failure. Cancelled, internal, credentials and exhausted do not count against the target.";
        HttpResponses = "tokenbeat.http_responses", None, Counter, Step [Code: HttpCode], Measured,
            "Answers by HTTP status; a status outside the list counts as other.";
        FinishReasons = "tokenbeat.finish_reasons", None, Counter, Step [Reason: FinishReason], Measured,
            "Answers by the meaning of their finish reason in any dialect; an unknown one counts as other.";
        Retries = "tokenbeat.retries", None, Counter, Step [Outcome: Outcome], Retried,
            "Attempts after the first one, by outcome; they are included in the requests. Each follows a failed attempt.";
        WarmUpRequests = "tokenbeat.warm_up_requests", None, Counter, Stage [Outcome: Outcome], WarmUp,
            "Ended requests of a warm-up, by outcome. Otherwise they count only in tokens, cost and budgets.";
        RequestsInFlight = "tokenbeat.requests_in_flight", None, Level, Run [], Always,
            "Requests that were offered and have neither ended nor been skipped. Without warm-up.";
        RequestDuration = "tokenbeat.request_duration", Seconds, Histogram(&buckets::DURATION), Step [], Measured,
            "Time from the send to the end of the answer, for completed answers (ok and check).";
        ResponseTime = "tokenbeat.response_time", Seconds, Histogram(&buckets::DURATION), Step [], Measured,
            "Time from the due time to the end of the answer, for completed answers: without coordinated omission.";
        FailedRequestDuration = "tokenbeat.failed_request_duration", Seconds, Histogram(&buckets::FAILED_DURATION), Step [], Measured,
            "Time from the send to the failure, for requests without a complete answer, except cancelled, internal, credentials and exhausted.";
        TimeToFirstByte = "tokenbeat.time_to_first_byte", Seconds, Histogram(&buckets::FIRST_MARK), Step [], Measured,
            "Time from the send to the first byte of the body, for completed answers.";
        TimeToFirstChunk = "tokenbeat.time_to_first_chunk", Seconds, Histogram(&buckets::FIRST_MARK), Step [], MeasuredStreams,
            "Time from the send to the first event of the stream, with any content, for completed answers.";
        TimeToFirstToken = "tokenbeat.time_to_first_token", Seconds, Histogram(&buckets::FIRST_TOKEN), Step [], MeasuredStreams,
            "Time from the send to the first event with generated content, for completed streamed answers.";
        TimeToFirstText = "tokenbeat.time_to_first_text", Seconds, Histogram(&buckets::FIRST_MARK), Step [], MeasuredStreams,
            "Time from the send to the first event with visible text, for completed streamed answers.";
        ChunkGap = "tokenbeat.chunk_gap", Seconds, Histogram(&buckets::GAP), Step [], MeasuredStreams,
            "Time between consecutive events with generated content, for completed streamed answers.";
        LongestChunkGap = "tokenbeat.longest_chunk_gap", Seconds, Histogram(&buckets::LONGEST_GAP), Step [], MeasuredStreams,
            "The longest chunk gap of each completed streamed answer.";
        TimePerOutputToken = "tokenbeat.time_per_output_token", Seconds, Histogram(&buckets::GAP), Step [], MeasuredStreams,
            "Time from first to last token divided by the tokens after the first, for completed streamed answers.";
        OutputPace = "tokenbeat.output_pace", TokensPerSecond, Histogram(&buckets::PACE), Step [], MeasuredTokens,
            "Output tokens divided by the duration of the request, for completed answers; without hidden reasoning.";
        Stalls = "tokenbeat.stalls", None, Counter, Step [], MeasuredStreams,
            "Chunk gaps longer than the target's stall threshold, including failed requests.";
        TokenDeadlines = "tokenbeat.token_deadlines", None, Counter, Step [], MeasuredDeadlines,
            "Deadlines of tokens for a reader, met or missed, including failed requests. Only with fluidity.";
        TokenDeadlinesMissed = "tokenbeat.token_deadlines_missed", None, Counter, Step [], MeasuredDeadlines,
            "Deadlines that passed before their token came, including failed requests. Only with fluidity.";
        ReaderIdle = "tokenbeat.reader_idle", Seconds, Histogram(&buckets::READER_IDLE), Step [], MeasuredDeadlines,
            "Time in which a reader had nothing to read between the first and the last token, for completed streamed answers. Only with fluidity.";
        Tokens = "tokenbeat.tokens", Token, Counter, Step [Type: TokenType, Source: CountSource], Tokens,
            "Tokens of all requests as far as known, including warm-up and failed ones, by the source of the count.";
        CachedInputTokens = "tokenbeat.cached_input_tokens", Token, Counter, Step [], Tokens,
            "Input tokens from the provider's cache; included in the input tokens.";
        ReasoningTokens = "tokenbeat.reasoning_tokens", Token, Counter, Step [], Tokens,
            "Output tokens of reasoning; included in the output tokens.";
        UsageReports = "tokenbeat.usage_reports", None, Counter, Step [Part: UsagePart, Reported: UsageReported], MeasuredTokens,
            "Completed answers, by whether the server reported this part of the usage: a zero is reported, an absent count is not.";
        RequestInputTokens = "tokenbeat.request_input_tokens", Token, Histogram(&buckets::INPUT_TOKENS), Step [], MeasuredTokens,
            "Input tokens of each completed answer, as far as known.";
        RequestOutputTokens = "tokenbeat.request_output_tokens", Token, Histogram(&buckets::OUTPUT_TOKENS), Step [], MeasuredTokens,
            "Output tokens of each completed answer, as far as known.";
        OutputLengthRatio = "tokenbeat.output_length_ratio", Ratio, Histogram(&buckets::LENGTH_RATIO), Step [], MeasuredLimits,
            "Output tokens divided by the requested output tokens, for completed answers.";
        TokenCountRatio = "tokenbeat.token_count_ratio", Ratio, Histogram(&buckets::COUNT_RATIO), Step [], MeasuredTwice,
            "Output tokens reported by the server divided by those that the tokenizer counts, for completed answers.";
        Cost = "tokenbeat.cost", None, Money, Step [Currency: Agent], Priced,
            "Cost by the target's prices as far as tokens are known, including warm-up and failed requests.";
        ConnectionPhase = "tokenbeat.connection_phase", Seconds, Histogram(&buckets::CONNECTION), Run [Phase: ConnectionPhase], Always,
            "Duration of each phase of the set-up of a connection. Without warm-up.";
        ConnectionsOpened = "tokenbeat.connections_opened", None, Counter, Run [], Always,
            "Connections opened. Without warm-up.";
        StaleConnections = "tokenbeat.stale_connections", None, Counter, Run [], Always,
            "Idle connections that the server had closed and that were replaced: the request may be charged twice. Without warm-up.";
        DispatchLag = "tokenbeat.dispatch_lag", Seconds, Histogram(&buckets::DISPATCH_LAG), Run [], Always,
            "Time from the due time to the send, without connection set-up, for sent requests: the prober's own lag.";
        ReadLag = "tokenbeat.read_lag", Seconds, Histogram(&buckets::DISPATCH_LAG), Run [], Always,
            "The longest time from the arrival of bytes of an answer at this machine to their reading, of each answer: the prober's own lag, which is in no other time on Linux.";
        ScheduleLag = "tokenbeat.schedule_lag", Seconds, Histogram(&buckets::SCHEDULE_LAG), Run [], Always,
            "Time from a run's scheduled start to its actual start.";
        LoadActive = "tokenbeat.load_active", Seconds, TimeCounter, Stage [], Always,
            "Time during which load was offered; throughput is the rate of tokens divided by the rate of this. Shards that offer it together count it once.";
        Journeys = "tokenbeat.journeys", None, Counter, Stage [Outcome: Outcome], Journeys,
            "Ended journeys: ok, the outcome of the failed request that ended it, or cancelled. Without warm-up.";
        JourneyDuration = "tokenbeat.journey_duration", Seconds, Histogram(&buckets::JOURNEY), Stage [], Journeys,
            "Time that a user waits in a journey: the sum of the response times of its steps, for completed journeys (ok and check); without set-up and think time.";
        JourneyTokens = "tokenbeat.journey_tokens", Token, Counter, Stage [Type: TokenType], Journeys,
            "Tokens of the requests of all ended journeys, including set-up, as far as known. Without warm-up.";
        JourneyCost = "tokenbeat.journey_cost", None, Money, Stage [Currency: Agent], PricedJourneys,
            "Cost of the requests of all ended journeys, including set-up, as far as tokens are known. Without warm-up.";
        Runs = "tokenbeat.runs", None, Counter, Run [Result: RunResult], Always,
            "Ended runs, by result.";
        DegradedRuns = "tokenbeat.degraded_runs", None, Counter, Run [], Always,
            "Ended runs in which the prober was late, whatever their result: their latencies do not describe the target.";
        RegressionRatio = "tokenbeat.regression", Ratio, OptionalGauge, Run [Quantity: Quantity], Always,
            "While a regression stands, the present level of the quantity divided by its baseline: over 1, of the output pace below it; otherwise 1. Absent if its changes are not found.";
        RegressionSince = "tokenbeat.regression_since_timestamp", Seconds, OptionalGauge, Run [Quantity: Quantity], Always,
            "When the regression that stands began, in seconds since the epoch; 0 if none stands.";
        RegressionEvidence = "tokenbeat.regression_evidence", None, OptionalGauge, Run [Quantity: Quantity], Always,
            "How much of the evidence for a regression there is that is needed to tell it, from 0 to 1; 1 while one stands.";
        CapacityUsers = "tokenbeat.capacity_users", None, OptionalGauge, Run [], Searches,
            "Most users with which the last conclusive search met the objectives, 0 if the fewest missed one; absent before the first, and if the search varies the rate.";
        CapacityRequests = "tokenbeat.capacity_requests", RequestsPerSecond, OptionalGauge, Run [], Searches,
            "Highest rate with which the last conclusive search met the objectives, 0 if the lowest load missed one: the offered rate, which is that of journeys where arrivals play some, or the requests per second that the users achieved.";
        CapacityKneeUsers = "tokenbeat.capacity_knee_users", None, OptionalGauge, Run [], Searches,
            "Users from which on throughput does not grow in proportion, in the last conclusive search; absent if it did, and if the search varies the rate.";
        CapacityKneeRequests = "tokenbeat.capacity_knee_requests", RequestsPerSecond, OptionalGauge, Run [], Searches,
            "Requests completed per second at the load from which on throughput does not grow in proportion, in the last conclusive search; absent if it did.";
        CapacitySearches = "tokenbeat.capacity_searches", None, Counter, Run [End: SearchEnd], Searches,
            "Ended capacity searches, by how they ended. With found, at_least, below_range and target_failed they are conclusive; at_least is a lower bound.";
        ModelChangeEvidence = "tokenbeat.model_change_evidence", None, OptionalGauge, Run [], Fingerprints,
            "Evidence that the model of the target has changed, by its answers to fixed prompts: the decimal logarithm of the e-value; 0 if there is none, and while the first reference is learned.";
        ModelChangeThreshold = "tokenbeat.model_change_threshold", None, OptionalGauge, Run [], Fingerprints,
            "The evidence from which the model is said to have changed: the decimal logarithm of the reciprocal of fingerprint.false_alarms.";
        SkippedRuns = "tokenbeat.skipped_runs", None, Counter, Run [Reason: SkippedRun], Always,
            "Runs that were due but did not start, by reason.";
        RunActive = "tokenbeat.run_active", None, Level, Run [], Always,
            "Started runs whose last request has not ended; two while one drains and the next has started.";
        LastRunStarted = "tokenbeat.last_run_started_timestamp", Seconds, Gauge, Run [], Always,
            "When the last run started, in seconds since the epoch; 0 before the first.";
        LastRunCompleted = "tokenbeat.last_run_completed_timestamp", Seconds, Gauge, Run [], Always,
            "When the last run that was not cancelled ended, in seconds since the epoch; 0 before the first.";
        LastSuccess = "tokenbeat.last_success_timestamp", Seconds, Gauge, Run [], Always,
            "When the last run with result ok ended, in seconds since the epoch; 0 before the first.";
        NextRun = "tokenbeat.next_run_timestamp", Seconds, Gauge, Run [], Always,
            "When the next run is due, in seconds since the epoch; 0 if none is.";
        ScheduleInterval = "tokenbeat.schedule_interval", Seconds, OptionalGauge, Run [], Always,
            "Time between runs; absent if it is not constant (cron, manual).";
        ProfileInfo = "tokenbeat.profile_info", None, Info, Run [Revision: Stated, Schedule: Stated], Always,
            "1. The revision is a hash of workload, load and model; compare only equal revisions.";
        TargetInfo = "tokenbeat.target_info", None, Info, Target [Api: Stated, Provider: Stated, Server: Stated], Always,
            "1. The server is from the target's latest answer; empty before the first, other after many different ones.";
        TargetState = "tokenbeat.target_state", None, Gauge, Target [State: TargetState], Always,
            "1 for the present state of the target, by its requests: ok, slow, failing, hung (requests time out before the first token) or unknown; 0 for the others.";
        TargetStateChanges = "tokenbeat.target_state_changes", None, Counter, Target [To: TargetState], Always,
            "Changes of the target's state, by the new state.";
        BackendHealthy = "tokenbeat.backend_healthy", None, OptionalGauge, Target [], Always,
            "Whether the server says that it is healthy, at backend.health; absent without that setting, and if it does not answer.";
        BackendReads = "tokenbeat.backend_reads", None, Counter, Target [Result: BackendReadResult], ReadBackends,
            "Readings of the server's own metrics, at backend.metrics, by how they ended: ok, restarted (read, but its counters began anew), unreachable, refused, too_large, not_metrics or unknown_engine.";
        ComparisonRatio = "tokenbeat.comparison", Ratio, ReadGauge, Agent [Profile: Read, Quantity: Read, Bound: Read], Always,
            "The treatment divided by the control, as far as the pairs tell: the estimate (mid) and an interval around it (low, high). For failures, 1 plus the difference of the shares. Absent as long as there is no bound.";
        ComparisonVerdict = "tokenbeat.comparison_verdict", None, ReadGauge, Agent [Profile: Read, Quantity: Read, Verdict: Read], Always,
            "1 for the present verdict on the treatment: better, worse, same or unknown; 0 for the others. The quantity all is the verdict on all of them together.";
        SloEvents = "tokenbeat.slo_events", None, Counter, Run [Slo: NamedCells], Always,
            "Requests (for an SLO on journeys: journeys) that count in an SLO; an answer without the measured value does not. The SLO all is goodput.";
        SloErrors = "tokenbeat.slo_errors", None, Counter, Run [Slo: NamedCells], Always,
            "Requests or journeys that missed an SLO; a failed one counts as an error in every SLO that judges it.";
        SloObjective = "tokenbeat.slo_objective", Ratio, Gauge, Run [Slo: NamedCells], Always,
            "Share of requests or journeys that must meet an SLO.";
        SloThreshold = "tokenbeat.slo_threshold", Seconds, Gauge, Run [Slo: NamedCells], Always,
            "Time below which a request or journey is good; the constant part of it if it grows with the prompt.";
        SloThresholdPerToken = "tokenbeat.slo_threshold_per_input_token", Seconds, Gauge, Run [Slo: NamedCells], Always,
            "What each input token of a request adds to the time below which it is good, for objectives that grow with the prompt.";
        SloThresholdTokens = "tokenbeat.slo_threshold_tokens", TokensPerSecond, Gauge, Run [Slo: NamedCells], Always,
            "The pace above which a request meets an SLO.";
        CheckFailures = "tokenbeat.check_failures", None, Counter, Step [Check: NamedCells], Measured,
            "Failed checks of answers; one answer can fail several.";
        RateLimitRemaining = "tokenbeat.rate_limit_remaining", None, OptionalGauge, Run [Kind: LimitKind], Always,
            "The rest of a rate limit, as the server last reported it; absent until then.";
        RateLimitLimit = "tokenbeat.rate_limit_limit", None, OptionalGauge, Run [Kind: LimitKind], Always,
            "A rate limit, as the server last reported it; absent until then.";
        BudgetSpent = "tokenbeat.budget_spent", Ratio, ReadGauge, Agent [Scope: Read, Unit: Read], Always,
            "Spent share of a budget in its current period, including reservations.";
        CertificateExpiry = "tokenbeat.tls_certificate_expiry_timestamp", Seconds, OptionalGauge, Target [], Always,
            "When the target's certificate expires, in seconds since the epoch; absent before the first TLS connection.";
        ReplicaOutlier = "tokenbeat.replica_outlier", None, Gauge, Run [Quantity: OutlierQuantity], Siblings,
            "Whether the replica is slower, or fails more often, than its siblings in the same minutes. Only with discover.";
        DiscoveredReplicas = "tokenbeat.discovered_replicas", None, Gauge, Target [], Discovers,
            "Replicas of the target that are measured, each as a target with the label replica. Only with discover.";
        DiscoveryFailures = "tokenbeat.discovery_failures", None, Counter, Target [Reason: LookFailure], Discovers,
            "Failed attempts to find out the target's replicas, by reason; those that are known stay.";
        DiscoveryLeftOut = "tokenbeat.discovery_left_out", None, Counter, Target [], Discovers,
            "Replicas that were found and are not measured because of discover.max, counted each time the source answers.";
        DiscoveryLeftOutReplicas = "tokenbeat.discovery_left_out_replicas", None, Gauge, Target [], Discovers,
            "Replicas that the source named when it last answered and that are not measured because of discover.max.";
        DiscoverySuccess = "tokenbeat.discovery_last_success_timestamp", Seconds, Gauge, Target [], Discovers,
            "When the source of the target's replicas last answered, in seconds since the epoch; 0 before the first answer.";
        ConfigReloadSuccessful = "tokenbeat.config_last_reload_successful", None, Gauge, Agent [], Always,
            "Whether the last load of the config succeeded.";
        ConfigReloadTime = "tokenbeat.config_last_reload_success_timestamp", Seconds, Gauge, Agent [], Always,
            "When the config was last loaded successfully, in seconds since the epoch.";
        BuildInfo = "tokenbeat.build_info", None, Info, Agent [Version: Stated, Revision: Stated, Rustc: Stated, Built: Stated], Always,
            "1. The revision, date and compiler are those of the build; unknown if the build did not set them.";
        ShardInfo = "tokenbeat.shard_info", None, Info, Agent [Shard: Stated, Shards: Stated], Always,
            "1. Which of the shards that play one schedule this agent is, counted from 0; 0 of 1 if it plays all of it.";
        Shards = "tokenbeat.shards", None, Gauge, Agent [], Always,
            "Number of shards that play the schedule together; 1 if this agent plays all of it.";
        ExportFailures = "tokenbeat.telemetry.export_failures", None, ReadCounter, Agent [Signal: Read], Always,
            "Failed attempts to export by OTLP, or to call the webhook; absent for what is not configured.";
        Dropped = "tokenbeat.telemetry.dropped", None, ReadCounter, Agent [Signal: Read, Reason: Read], Always,
            "Spans, log records, metric points and messages of the webhook that were not delivered: queue_full, rejected by the receiver, or failed after every attempt; absent for what is not configured.";
        StateWritesFailed = "tokenbeat.state_writes_failed", None, Counter, Agent [], Always,
            "Failed writes to the state file; their data is kept in memory and written again.";
        StateBytes = "tokenbeat.state_bytes", Bytes, OptionalGauge, Agent [], Always,
            "Size of the state file, without its write-ahead log; absent without one.";
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
            "Input tokens from the provider's cache.";
        GenAiUsageReasoning = "gen_ai.client.inference.usage.reasoning.output_tokens", Token, Counter, Endpoint [TokenModality: Modality], GenAiCurrent,
            "Output tokens of reasoning.";
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
