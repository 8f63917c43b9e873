//! The specification of a metric, and how its Prometheus name follows from its OpenTelemetry name.

use super::buckets::Buckets;
use strum::VariantArray;

/// Unit of a metric, in OpenTelemetry's notation (UCUM).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricUnit {
    /// None: the name says what is counted, or the value is a flag.
    None,
    /// Tokens: an annotation, dropped in Prometheus.
    Token,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// A ratio.
    Ratio,
    /// Tokens per second.
    TokensPerSecond,
    /// Requests per second.
    RequestsPerSecond,
}

impl MetricUnit {
    /// The unit in OpenTelemetry's notation.
    pub const fn otel(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Token => "{token}",
            Self::Seconds => "s",
            Self::Bytes => "By",
            Self::Ratio => "1",
            Self::TokensPerSecond => "tokens/s",
            Self::RequestsPerSecond => "requests/s",
        }
    }

    /// The unit in OpenMetrics' notation, if the Prometheus name ends in it.
    pub const fn open_metrics(self) -> Option<&'static str> {
        match self {
            Self::None | Self::Token => None,
            Self::Seconds => Some("seconds"),
            Self::Bytes => Some("bytes"),
            Self::Ratio => Some("ratio"),
            Self::TokensPerSecond => Some("tokens_per_second"),
            Self::RequestsPerSecond => Some("requests_per_second"),
        }
    }
}

/// The type of a metric.
#[derive(Clone, Copy, Debug)]
pub enum MetricKind {
    /// Only increases.
    Counter,
    /// Increases and decreases.
    Gauge,
    /// Counts of values in buckets.
    Histogram(&'static Buckets),
}

impl MetricKind {
    /// Its name in an exposition.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// Label keys, a closed list. In addition, there are `location` and the agent's own labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, VariantArray)]
pub enum Key {
    /// Name of a profile.
    Profile,
    /// Name of a target.
    Target,
    /// Name of a replica of a target, if its replicas are discovered.
    Replica,
    /// Requested model.
    Model,
    /// Name of a stage.
    Stage,
    /// Name of a scenario's step.
    Step,
    /// Turn of a conversation, in buckets.
    Turn,
    /// The reason why a request or a run was skipped.
    Reason,
    /// Outcome of a request.
    Outcome,
    /// HTTP status.
    Code,
    /// Type of tokens: input or output.
    Type,
    /// Source of a token count.
    Source,
    /// Part of the usage.
    Part,
    /// Whether it was reported.
    Reported,
    /// Currency of a cost.
    Currency,
    /// Phase of a connection's set-up.
    Phase,
    /// Result of a run.
    Result,
    /// State of a target.
    State,
    /// The new state of a target.
    To,
    /// What is compared.
    Quantity,
    /// Bound of an interval.
    Bound,
    /// Verdict of a comparison.
    Verdict,
    /// How a capacity search ended.
    End,
    /// Name of an SLO.
    Slo,
    /// Name of a check.
    Check,
    /// Kind of rate limit.
    Kind,
    /// Owner of a budget.
    Scope,
    /// Unit of a budget.
    Unit,
    /// Hash of scenario, load and model.
    Revision,
    /// Trigger of a schedule.
    Schedule,
    /// API dialect.
    Api,
    /// GenAI provider.
    Provider,
    /// Server software, as stated by the target.
    Server,
    /// Version of tokenbeat.
    Version,
    /// Version of the compiler.
    Rustc,
    /// Index of the agent's shard.
    Shard,
    /// Number of shards.
    Shards,
    /// Date of the revision that was built.
    Built,
    /// What is exported: an OTLP signal, or messages of the webhook.
    Signal,
    /// Operation of a GenAI call.
    OperationName,
    /// Provider of a GenAI call.
    ProviderName,
    /// Host of a target.
    ServerAddress,
    /// Port of a target.
    ServerPort,
    /// Model requested by a GenAI call.
    RequestModel,
    /// Modality of tokens.
    TokenModality,
    /// Type of tokens of a GenAI call: input or output.
    KindOfToken,
    /// Failure of a GenAI call.
    ErrorType,
}

impl Key {
    /// Every key.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The label name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Profile => "profile",
            Self::Target => "target",
            Self::Replica => "replica",
            Self::Model => "model",
            Self::Stage => "stage",
            Self::Step => "step",
            Self::Turn => "turn",
            Self::Reason => "reason",
            Self::Outcome => "outcome",
            Self::Code => "code",
            Self::Type => "type",
            Self::Source => "source",
            Self::Part => "part",
            Self::Reported => "reported",
            Self::Currency => "currency",
            Self::Phase => "phase",
            Self::Result => "result",
            Self::Quantity => "quantity",
            Self::State => "state",
            Self::To => "to",
            Self::Bound => "bound",
            Self::Verdict => "verdict",
            Self::End => "end",
            Self::Slo => "slo",
            Self::Check => "check",
            Self::Kind => "kind",
            Self::Scope => "scope",
            Self::Unit => "unit",
            Self::Revision => "revision",
            Self::Schedule => "schedule",
            Self::Api => "api",
            Self::Provider => "provider",
            Self::Server => "server",
            Self::Version => "version",
            Self::Rustc => "rustc",
            Self::Shard => "shard",
            Self::Shards => "shards",
            Self::Built => "built",
            Self::Signal => "signal",
            Self::OperationName => "gen_ai.operation.name",
            Self::ProviderName => "gen_ai.provider.name",
            Self::ServerAddress => "server.address",
            Self::ServerPort => "server.port",
            Self::RequestModel => "gen_ai.request.model",
            Self::TokenModality => "gen_ai.token.modality",
            Self::KindOfToken => "gen_ai.token.type",
            Self::ErrorType => "error.type",
        }
    }
}

/// The subject of a series: the labels that all metrics of a kind share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A stage of a profile against a target (`P`).
    Stage,
    /// A step of a stage, and its turn if it has turns (`S`): `P`, `step` and `turn`.
    Step,
    /// A profile against a target (`R`).
    Run,
    /// A target.
    Target,
    /// The agent as a whole.
    Agent,
    /// An endpoint and the requested model, as OpenTelemetry's GenAI conventions describe them.
    Endpoint,
}

/// For which subjects a metric's series exist from the start. If an unexpected fact arrives, they are created then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// For all subjects.
    Always,
    /// If runs search for capacity.
    Searches,
    /// If the metrics of the target's server are read.
    ReadBackends,
    /// If the answers to fixed prompts are compared from run to run.
    Fingerprints,
    /// If the target's replicas are discovered: for the target as configured, and not for its replicas.
    Discovers,
    /// If the target is a replica that was discovered, and outliers among its siblings are found.
    Siblings,
    /// In warm-up stages.
    WarmUp,
    /// Outside of warm-up, like all the following unless they say otherwise.
    Measured,
    /// If failed requests are retried.
    Retried,
    /// If answers are streamed.
    MeasuredStreams,
    /// If answers are streamed, and the profile says how fast its readers read.
    MeasuredDeadlines,
    /// If answers report token counts, or have text whose tokens can be counted.
    MeasuredTokens,
    /// If requests limit their output tokens.
    MeasuredLimits,
    /// If output tokens are both reported and counted.
    MeasuredTwice,
    /// Like `MeasuredTokens`, but also in warm-up stages.
    Tokens,
    /// Like `Tokens`, if the target has a price.
    Priced,
    /// If requests are steps of journeys.
    Journeys,
    /// Like `Journeys`, if the target has a price.
    PricedJourneys,
    /// If the current GenAI metrics are exported, from the first call on.
    GenAiCurrent,
    /// If the legacy GenAI metrics are exported, from the first call on.
    GenAiLegacy,
}

impl Subject {
    /// The subjects of tokenbeat's own metrics.
    pub const ALL: [Self; 5] = [Self::Stage, Self::Step, Self::Run, Self::Target, Self::Agent];

    /// Its name in the documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stage => "P",
            Self::Step => "S",
            Self::Run => "R",
            Self::Target => "target",
            Self::Agent => "agent",
            Self::Endpoint => "endpoint",
        }
    }

    /// Its labels.
    pub const fn keys(self) -> &'static [Key] {
        match self {
            Self::Stage => &[Key::Profile, Key::Target, Key::Model, Key::Stage],
            Self::Step => &[Key::Profile, Key::Target, Key::Model, Key::Stage, Key::Step, Key::Turn],
            Self::Run => &[Key::Profile, Key::Target],
            Self::Target => &[Key::Target],
            Self::Agent => &[],
            Self::Endpoint => &[
                Key::OperationName,
                Key::ProviderName,
                Key::ServerAddress,
                Key::ServerPort,
                Key::RequestModel,
            ],
        }
    }
}

/// One metric.
#[derive(Debug)]
pub struct Spec {
    /// OpenTelemetry name: no unit, no `total`.
    pub name: &'static str,
    /// Unit.
    pub unit: MetricUnit,
    /// Kind, with buckets.
    pub kind: MetricKind,
    /// Its subject.
    pub subject: Subject,
    /// Labels in addition to those of its subject.
    pub labels: &'static [Key],
    /// For which subjects its series exist from the start.
    pub when: When,
    /// One sentence.
    pub help: &'static str,
}

impl Spec {
    /// The Prometheus name, as in the `UnderscoreEscapingWithSuffixes` translation of OTLP receivers: a unit word that
    /// the name already contains is not repeated, and unit `1` adds `_ratio` only to gauges.
    pub fn prometheus(&self) -> String {
        let mut words: Vec<&str> = self.name.split(['.', '_']).collect();
        match self.unit {
            MetricUnit::None | MetricUnit::Token | MetricUnit::Ratio => {}
            MetricUnit::Seconds => push_unless_there(&mut words, &["seconds"]),
            MetricUnit::Bytes => push_unless_there(&mut words, &["bytes"]),
            MetricUnit::TokensPerSecond => {
                push_unless_there(&mut words, &["tokens"]);
                push_unless_there(&mut words, &["per", "second"]);
            }
            MetricUnit::RequestsPerSecond => {
                push_unless_there(&mut words, &["requests"]);
                push_unless_there(&mut words, &["per", "second"]);
            }
        }
        match (self.kind, self.unit) {
            (MetricKind::Counter, _) => push_last(&mut words, "total"),
            (MetricKind::Gauge, MetricUnit::Ratio) => push_last(&mut words, "ratio"),
            _ => {}
        }
        words.join("_")
    }

    /// Every label key except the agent's, in the order of the exposition.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.subject.keys().iter().chain(self.labels).copied()
    }
}

fn push_unless_there<'a>(words: &mut Vec<&'a str>, unit: &[&'a str]) {
    if unit.last().is_some_and(|last| !words.contains(last)) {
        words.extend(unit);
    }
}

fn push_last<'a>(words: &mut Vec<&'a str>, suffix: &'a str) {
    words.retain(|word| *word != suffix);
    words.push(suffix);
}
