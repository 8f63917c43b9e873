//! The one catalogue of metrics: name, unit, kind, buckets, labels and meaning of each, once. Prometheus names,
//! documentation and every rendering derive from it. It must not know how a value comes about.

pub mod buckets;
mod spec;

pub use spec::{Key, Kind, Spec, Subject, Unit};

use Kind::{Counter, Gauge, Histogram};

/// Codes that `tokenbeat_http_responses_total` tells apart; any other is `other`.
pub const HTTP_CODES: [u16; 24] = [
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

macro_rules! catalogue {
    ($($id:ident = $name:literal, $unit:ident, $kind:expr, $subject:ident [$($key:ident),*], $help:literal;)*) => {
        /// Every metric. The help text in the catalogue says what each one is.
        #[expect(missing_docs, reason = "each variant is documented by its help text, which users see")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Metric { $($id),* }

        impl Metric {
            /// Every metric, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$id),*];

            /// What it is made of.
            pub const fn spec(self) -> &'static Spec {
                match self {
                    $(Self::$id => {
                        static SPEC: Spec = Spec {
                            name: $name,
                            unit: Unit::$unit,
                            kind: $kind,
                            subject: Subject::$subject,
                            labels: &[$(Key::$key),*],
                            help: $help,
                        };
                        &SPEC
                    })*
                }
            }
        }
    };
}

catalogue! {
    OfferedRequests = "tokenbeat.offered_requests", None, Counter, Stage [],
        "Requests that the arrival process asked for. Offered = skipped + in flight + requests.";
    SkippedRequests = "tokenbeat.skipped_requests", None, Counter, Stage [Reason],
        "Offered requests that were not sent, by reason.";
    Requests = "tokenbeat.requests", None, Counter, Step [Outcome],
        "Requests that ended, by outcome: ok or why it failed. Cancelled and internal do not judge the target.";
    HttpResponses = "tokenbeat.http_responses", None, Counter, Step [Code],
        "Answers by HTTP status; a status that is not in the list counts as other.";
    WarmUpRequests = "tokenbeat.warm_up_requests", None, Counter, Stage [Outcome],
        "Requests due in a warm-up that ended, by outcome. They count in tokens, cost and budgets, in nothing else.";
    RequestsInFlight = "tokenbeat.requests_in_flight", None, Gauge, Run [],
        "Requests that were offered and have neither ended nor been skipped. Warm-up left out.";
    RequestDuration = "tokenbeat.request_duration", Seconds, Histogram(&buckets::DURATION), Step [],
        "Time from the send to the end of the answer, of answers that completed (ok and check).";
    ResponseTime = "tokenbeat.response_time", Seconds, Histogram(&buckets::DURATION), Step [],
        "Time from the due instant to the end of the answer, of answers that completed: free of coordinated omission.";
    FailedRequestDuration = "tokenbeat.failed_request_duration", Seconds, Histogram(&buckets::FAILED_DURATION), Step [],
        "Time from the send to the failure, of requests without a complete answer; cancelled and internal left out.";
    TimeToFirstByte = "tokenbeat.time_to_first_byte", Seconds, Histogram(&buckets::FIRST_MARK), Step [],
        "Time from the send to the first byte of the body, of answers that completed.";
    TimeToFirstChunk = "tokenbeat.time_to_first_chunk", Seconds, Histogram(&buckets::FIRST_MARK), Step [],
        "Time from the send to the first event of the stream, whatever it carries, of answers that completed.";
    TimeToFirstToken = "tokenbeat.time_to_first_token", Seconds, Histogram(&buckets::FIRST_TOKEN), Step [],
        "Time from the send to the first event with generated content, of streamed answers that completed.";
    TimeToFirstText = "tokenbeat.time_to_first_text", Seconds, Histogram(&buckets::FIRST_MARK), Step [],
        "Time from the send to the first event with visible text, of streamed answers that completed.";
    ChunkGap = "tokenbeat.chunk_gap", Seconds, Histogram(&buckets::GAP), Step [],
        "Time between consecutive events with generated content, of streamed answers that completed.";
    LongestChunkGap = "tokenbeat.longest_chunk_gap", Seconds, Histogram(&buckets::LONGEST_GAP), Step [],
        "The longest chunk gap of each streamed answer that completed.";
    TimePerOutputToken = "tokenbeat.time_per_output_token", Seconds, Histogram(&buckets::GAP), Step [],
        "Time from first to last token over the tokens after the first, of streamed answers that completed.";
    OutputPace = "tokenbeat.output_pace", TokensPerSecond, Histogram(&buckets::PACE), Step [],
        "Output tokens over the whole request's duration, of answers that completed; hidden reasoning left out.";
    Stalls = "tokenbeat.stalls", None, Counter, Step [],
        "Chunk gaps over the target's stall threshold, of failed requests too.";
    Tokens = "tokenbeat.tokens", Token, Counter, Step [Type, Source],
        "Tokens of all requests as far as known, warm-up and failed ones included, by who counted them.";
    CachedInputTokens = "tokenbeat.cached_input_tokens", Token, Counter, Step [],
        "Input tokens that came from the provider's cache: part of the input tokens.";
    ReasoningTokens = "tokenbeat.reasoning_tokens", Token, Counter, Step [],
        "Output tokens that were reasoning: part of the output tokens.";
    RequestInputTokens = "tokenbeat.request_input_tokens", Token, Histogram(&buckets::INPUT_TOKENS), Step [],
        "Input tokens of each answer that completed, as far as known.";
    RequestOutputTokens = "tokenbeat.request_output_tokens", Token, Histogram(&buckets::OUTPUT_TOKENS), Step [],
        "Output tokens of each answer that completed, as far as known.";
    OutputLengthRatio = "tokenbeat.output_length_ratio", Ratio, Histogram(&buckets::LENGTH_RATIO), Step [],
        "Output tokens over those asked for, of answers that completed.";
    TokenCountRatio = "tokenbeat.token_count_ratio", Ratio, Histogram(&buckets::COUNT_RATIO), Step [],
        "Output tokens that the server reported over those that the tokenizer counts, of answers that completed.";
    Cost = "tokenbeat.cost", None, Counter, Step [Currency],
        "Cost by the target's prices as far as tokens are known, warm-up and failed requests included.";
    ConnectionPhase = "tokenbeat.connection_phase", Seconds, Histogram(&buckets::CONNECTION), Run [Phase],
        "Time of each phase of connections that were set up. Warm-up left out.";
    ConnectionsOpened = "tokenbeat.connections_opened", None, Counter, Run [],
        "Connections opened. Warm-up left out.";
    StaleConnections = "tokenbeat.stale_connections", None, Counter, Run [],
        "Kept connections that the server had closed and that were replaced: a possible double charge. Warm-up left out.";
    DispatchLag = "tokenbeat.dispatch_lag", Seconds, Histogram(&buckets::DISPATCH_LAG), Run [],
        "Time from the due instant to the send less connection set-up, of requests that were sent: the prober's own lag.";
    ScheduleLag = "tokenbeat.schedule_lag", Seconds, Histogram(&buckets::SCHEDULE_LAG), Run [],
        "Time from a run's scheduled instant to its start.";
    LoadActive = "tokenbeat.load_active", Seconds, Counter, Stage [],
        "Time in which load was offered; throughput is the rate of tokens over the rate of this.";
    Journeys = "tokenbeat.journeys", None, Counter, Stage [Outcome],
        "Journeys that ended: ok, the outcome of the request that failed and ended it, or cancelled. Warm-up left out.";
    JourneyDuration = "tokenbeat.journey_duration", Seconds, Histogram(&buckets::JOURNEY), Stage [],
        "What a user waited in a journey: its steps' response times added up, of journeys that completed (ok and check); set-up and think time left out.";
    JourneyTokens = "tokenbeat.journey_tokens", Token, Counter, Stage [Type],
        "Tokens of the requests of all journeys that ended, set-up included, as far as known. Warm-up left out.";
    JourneyCost = "tokenbeat.journey_cost", None, Counter, Stage [Currency],
        "Cost of the requests of all journeys that ended, set-up included, as far as tokens are known. Warm-up left out.";
    Runs = "tokenbeat.runs", None, Counter, Run [Result],
        "Runs that ended, by result.";
    SkippedRuns = "tokenbeat.skipped_runs", None, Counter, Run [Reason],
        "Runs that were due and did not take place, by reason.";
    RunActive = "tokenbeat.run_active", None, Gauge, Run [],
        "Runs that began and whose last request has not ended; two while one drains beside the next.";
    LastRunStarted = "tokenbeat.last_run_started_timestamp", Seconds, Gauge, Run [],
        "When the last run began, seconds since the epoch; 0 before the first.";
    LastRunCompleted = "tokenbeat.last_run_completed_timestamp", Seconds, Gauge, Run [],
        "When the last run that was not cancelled had ended, seconds since the epoch; 0 before the first.";
    LastSuccess = "tokenbeat.last_success_timestamp", Seconds, Gauge, Run [],
        "When the last run with result ok had ended, seconds since the epoch; 0 before the first.";
    NextRun = "tokenbeat.next_run_timestamp", Seconds, Gauge, Run [],
        "When the next run is due, seconds since the epoch; 0 while none is.";
    ScheduleInterval = "tokenbeat.schedule_interval", Seconds, Gauge, Run [],
        "Time from run to run; absent where it is not constant (cron, manual).";
    ProfileInfo = "tokenbeat.profile_info", None, Gauge, Run [Revision, Schedule],
        "1. The revision is a hash of workload, load and model: compare like with like.";
    TargetInfo = "tokenbeat.target_info", None, Gauge, Target [Api, Provider, Server],
        "1. The server is what the target's answers said last; empty before the first, other after many.";
    SloEvents = "tokenbeat.slo_events", None, Counter, Run [Slo],
        "Requests that an SLO judged; an answer without the mark is none. The SLO all is goodput.";
    SloErrors = "tokenbeat.slo_errors", None, Counter, Run [Slo],
        "Requests that missed an SLO; a failed request is an error of every SLO.";
    SloObjective = "tokenbeat.slo_objective", Ratio, Gauge, Run [Slo],
        "Share of requests that must meet an SLO.";
    SloThreshold = "tokenbeat.slo_threshold", Seconds, Gauge, Run [Slo],
        "What a request must stay below to meet an SLO.";
    SloThresholdTokens = "tokenbeat.slo_threshold_tokens", TokensPerSecond, Gauge, Run [Slo],
        "What a request's pace must stay above to meet an SLO.";
    CheckFailures = "tokenbeat.check_failures", None, Counter, Step [Check],
        "Checks that answers failed; one answer can fail several.";
    RateLimitRemaining = "tokenbeat.rate_limit_remaining", None, Gauge, Run [Kind],
        "What the server last said is left of a rate limit; absent until it does.";
    RateLimitLimit = "tokenbeat.rate_limit_limit", None, Gauge, Run [Kind],
        "What the server last said a rate limit is; absent until it does.";
    BudgetSpent = "tokenbeat.budget_spent", Ratio, Gauge, Agent [Scope, Unit],
        "Share of a budget that is spent in its present period, reservations included.";
    CertificateExpiry = "tokenbeat.tls_certificate_expiry_timestamp", Seconds, Gauge, Target [],
        "When the target's certificate expires, seconds since the epoch; absent until a TLS connection was opened.";
    ConfigReloadSuccessful = "tokenbeat.config_last_reload_successful", None, Gauge, Agent [],
        "Whether the last load of the config succeeded.";
    ConfigReloadTime = "tokenbeat.config_last_reload_success_timestamp", Seconds, Gauge, Agent [],
        "When the config was last loaded with success, seconds since the epoch.";
    BuildInfo = "tokenbeat.build_info", None, Gauge, Agent [Version, Revision],
        "1. The revision is that of the source, empty where the build did not say.";
    ExportFailures = "tokenbeat.telemetry.export_failures", None, Counter, Agent [Signal],
        "Attempts to export by OTLP that failed; absent where OTLP is off.";
    Dropped = "tokenbeat.telemetry.dropped", None, Counter, Agent [Signal, Reason],
        "Spans, log records and metric points that did not arrive by OTLP: queue_full, rejected by the receiver, or failed after every attempt; absent where OTLP is off.";
    RuntimeLag = "tokenbeat.runtime_lag", Seconds, Histogram(&buckets::RUNTIME_LAG), Agent [],
        "How late a timer of the traffic runtime fired.";
}

impl Metric {
    /// The metric of this Prometheus name (without `_bucket` and the like).
    pub fn of_prometheus_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|metric| metric.spec().prometheus() == name)
    }
}

/// No metric has this name, ours or the process's: `telemetry.disable` should not hold it.
pub fn is_unknown(name: &str) -> bool {
    Metric::of_prometheus_name(name).is_none() && !PROCESS.contains(&name)
}

#[cfg(test)]
mod tests;
