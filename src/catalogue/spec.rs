//! What a metric is made of, and how its Prometheus name follows from its OpenTelemetry name.

use super::buckets::Buckets;
use strum::VariantArray;

/// Unit of a metric, in OpenTelemetry's notation (UCUM).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricUnit {
    /// None: a count of what the name says, or a flag.
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
}

impl MetricUnit {
    /// The unit in OpenTelemetry's words.
    pub const fn otel(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Token => "{token}",
            Self::Seconds => "s",
            Self::Bytes => "By",
            Self::Ratio => "1",
            Self::TokensPerSecond => "tokens/s",
        }
    }

    /// The unit in OpenMetrics' notation, where the Prometheus name ends in it.
    pub const fn open_metrics(self) -> Option<&'static str> {
        match self {
            Self::None | Self::Token => None,
            Self::Seconds => Some("seconds"),
            Self::Bytes => Some("bytes"),
            Self::Ratio => Some("ratio"),
            Self::TokensPerSecond => Some("tokens_per_second"),
        }
    }
}

/// Kind of a metric.
#[derive(Clone, Copy, Debug)]
pub enum MetricKind {
    /// Goes up only.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of values by size.
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

/// Label keys: a closed list. Beside them there are `location` and the agent's own labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, VariantArray)]
pub enum Key {
    /// Name of a profile.
    Profile,
    /// Name of a target.
    Target,
    /// Model that is requested of a target.
    Model,
    /// Name of a stage.
    Stage,
    /// Name of a scenario's step.
    Step,
    /// Turn of a conversation, in buckets.
    Turn,
    /// Why a request or a run was skipped.
    Reason,
    /// How a request ended.
    Outcome,
    /// HTTP status.
    Code,
    /// Input or output.
    Type,
    /// Source of a token count.
    Source,
    /// Currency of money.
    Currency,
    /// Part of a connection's set-up.
    Phase,
    /// How a run ended.
    Result,
    /// Name of an SLO.
    Slo,
    /// Name of a check.
    Check,
    /// What a rate limit is about.
    Kind,
    /// Whose budget.
    Scope,
    /// What a budget counts.
    Unit,
    /// Hash of workload, load and model.
    Revision,
    /// What makes runs due.
    Schedule,
    /// Wire dialect.
    Api,
    /// GenAI provider.
    Provider,
    /// What the target says that it runs.
    Server,
    /// Version of tokenbeat.
    Version,
    /// Version of the compiler.
    Rustc,
    /// Day of the revision that was built.
    Built,
    /// What is exported by OTLP.
    Signal,
    /// What a GenAI call does.
    OperationName,
    /// Who answers a GenAI call.
    ProviderName,
    /// Host of a target.
    ServerAddress,
    /// Port of a target.
    ServerPort,
    /// Model that a GenAI call asks for.
    RequestModel,
    /// What tokens are tokens of.
    TokenModality,
    /// Input or output, of a GenAI call.
    KindOfToken,
    /// How a GenAI call failed.
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
            Self::Model => "model",
            Self::Stage => "stage",
            Self::Step => "step",
            Self::Turn => "turn",
            Self::Reason => "reason",
            Self::Outcome => "outcome",
            Self::Code => "code",
            Self::Type => "type",
            Self::Source => "source",
            Self::Currency => "currency",
            Self::Phase => "phase",
            Self::Result => "result",
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

/// What a series is about: the labels that all metrics of a kind share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A stage of a profile against a target (`P`).
    Stage,
    /// A step of it, turn by turn where it has turns (`S`): `P`, `step` and `turn`.
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

/// For which subjects a metric's series exist from the start. If an unforeseen fact arrives, they are made then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// For all.
    Always,
    /// In a warm-up.
    WarmUp,
    /// Outside warm-up. So are all that follow, where they do not say otherwise.
    Measured,
    /// Where requests that failed are sent again.
    Retried,
    /// Where answers are streamed.
    MeasuredStreams,
    /// Where an answer tells its tokens, or has text whose tokens can be counted.
    MeasuredTokens,
    /// Where requests set a limit of output tokens.
    MeasuredLimits,
    /// Where output tokens are both told and counted.
    MeasuredTwice,
    /// As `MeasuredTokens`, in a warm-up too.
    Tokens,
    /// As `Tokens`, with a price.
    Priced,
    /// Where requests are steps of journeys.
    Journeys,
    /// The same, with a price.
    PricedJourneys,
    /// Where the current GenAI metrics are exported, from the first call on.
    GenAiCurrent,
    /// The same of the legacy GenAI metrics.
    GenAiLegacy,
}

impl Subject {
    /// Those of our own metrics.
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
    /// What it is about.
    pub subject: Subject,
    /// Labels beyond those of its subject.
    pub labels: &'static [Key],
    /// For which subjects its series exist from the start.
    pub when: When,
    /// One sentence.
    pub help: &'static str,
}

impl Spec {
    /// The Prometheus name, as the `UnderscoreEscapingWithSuffixes` translation of OTLP receivers makes it: a
    /// unit word that the name has already is not repeated, and unit `1` gives `_ratio` to gauges only.
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
        }
        match (self.kind, self.unit) {
            (MetricKind::Counter, _) => push_last(&mut words, "total"),
            (MetricKind::Gauge, MetricUnit::Ratio) => push_last(&mut words, "ratio"),
            _ => {}
        }
        words.join("_")
    }

    /// Every label key but the agent's, in the order of the exposition.
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
