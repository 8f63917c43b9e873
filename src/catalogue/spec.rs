//! What a metric is made of, and how its Prometheus name follows from its OpenTelemetry name.

use super::buckets::Buckets;

/// Unit of a metric, as OpenTelemetry writes it (UCUM).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// None: a count of what the name says, or a flag.
    None,
    /// Tokens: an annotation, dropped in Prometheus.
    Token,
    /// Seconds.
    Seconds,
    /// A ratio.
    Ratio,
    /// Tokens per second.
    TokensPerSecond,
}

impl Unit {
    /// The unit in OpenTelemetry's words.
    pub const fn otel(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Token => "{token}",
            Self::Seconds => "s",
            Self::Ratio => "1",
            Self::TokensPerSecond => "tokens/s",
        }
    }

    /// The unit in OpenMetrics' words, where the Prometheus name ends in it.
    pub const fn open_metrics(self) -> Option<&'static str> {
        match self {
            Self::None | Self::Token => None,
            Self::Seconds => Some("seconds"),
            Self::Ratio => Some("ratio"),
            Self::TokensPerSecond => Some("tokens_per_second"),
        }
    }
}

/// Kind of a metric.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Goes up only.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of values by size.
    Histogram(&'static Buckets),
}

impl Kind {
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// Name of a profile.
    Profile,
    /// Name of a target.
    Target,
    /// Model that a target is asked for.
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
    /// Who counted tokens.
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
    /// What is exported by OTLP.
    Signal,
}

impl Key {
    /// Every key.
    pub const ALL: [Self; 26] = [
        Self::Profile,
        Self::Target,
        Self::Model,
        Self::Stage,
        Self::Step,
        Self::Turn,
        Self::Reason,
        Self::Outcome,
        Self::Code,
        Self::Type,
        Self::Source,
        Self::Currency,
        Self::Phase,
        Self::Result,
        Self::Slo,
        Self::Check,
        Self::Kind,
        Self::Scope,
        Self::Unit,
        Self::Revision,
        Self::Schedule,
        Self::Api,
        Self::Provider,
        Self::Server,
        Self::Version,
        Self::Signal,
    ];

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
            Self::Signal => "signal",
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
}

impl Subject {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Stage, Self::Step, Self::Run, Self::Target, Self::Agent];

    /// Its name in the documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stage => "P",
            Self::Step => "S",
            Self::Run => "R",
            Self::Target => "target",
            Self::Agent => "agent",
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
        }
    }
}

/// One metric.
#[derive(Debug)]
pub struct Spec {
    /// OpenTelemetry name: no unit, no `total`.
    pub name: &'static str,
    /// Unit.
    pub unit: Unit,
    /// Kind, with buckets.
    pub kind: Kind,
    /// What it is about.
    pub subject: Subject,
    /// Labels beyond those of its subject.
    pub labels: &'static [Key],
    /// One sentence.
    pub help: &'static str,
}

impl Spec {
    /// The Prometheus name, as the `UnderscoreEscapingWithSuffixes` translation of OTLP receivers makes it: a
    /// unit word that the name has already is not repeated, and unit `1` gives `_ratio` to gauges only.
    pub fn prometheus(&self) -> String {
        let mut words: Vec<&str> = self.name.split(['.', '_']).collect();
        match self.unit {
            Unit::None | Unit::Token | Unit::Ratio => {}
            Unit::Seconds => push_unless_there(&mut words, &["seconds"]),
            Unit::TokensPerSecond => {
                push_unless_there(&mut words, &["tokens"]);
                push_unless_there(&mut words, &["per", "second"]);
            }
        }
        match (self.kind, self.unit) {
            (Kind::Counter, _) => push_last(&mut words, "total"),
            (Kind::Gauge, Unit::Ratio) => push_last(&mut words, "ratio"),
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
