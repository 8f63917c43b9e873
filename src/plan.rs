//! The compiled config: what the daemon will do. Immutable, shared, with every value typed. Modules downstream read the
//! plan and never the config.

mod answer_mapping;
mod arrivals;
mod asked_params;
mod auth;
mod baseline;
mod budget;
mod cache_pair;
mod canonical;
mod comparison;
mod compile;
mod conversation;
mod cron;
mod detection;
mod discovery;
mod effort;
mod expect;
mod fingerprint;
#[cfg(test)]
mod fixtures;
mod forecast;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod hostile;
mod incident;
mod length;
mod load;
mod load_curve;
mod mark;
mod model_fingerprint;
pub mod otlp;
mod params;
mod period;
mod profile;
mod scenario;
mod schedule;
mod search;
mod serialize;
mod shards;
mod slo;
mod stage;
mod synthetic;
mod target;
mod trace;
pub mod webhook;

pub use crate::config::names_a_credential;
pub use crate::dataset::Dataset;
pub use crate::shard::Shard;
pub use crate::trace::RequestTrace;
pub use crate::vocabulary::{
    Api, AtLimit, BodyForm, Cache, ChatTemplate, ClientAuth, ConnectionMode, DnsRecord, HistoryAnswers,
    HonouredParam, HttpVersion, Overlap, Period, Price, Propagate, Quantity, ReasoningEffort, RecordMode,
    Reserve, SloMetric, SummaryBy, TargetHealth, Timeouts, Tokenizer,
};
pub use answer_mapping::{AnswerMapping, Done};
use arrivals::evenly_spread;
pub use arrivals::{Arrivals, ClientGroup, ROUNDING};
pub use asked_params::StopSequences;
pub use auth::{Auth, Aws, AwsSource, Gcp, OAuth2};
pub use baseline::BaselineThresholds;
pub use budget::{Budget, PICO, pico};
pub use comparison::{ComparedWith, TargetComparison};
use compile::run_time;
pub use compile::{Compiled, compile, host_name};
pub use conversation::{
    ConversationPlan, ConversationTexts, PlannedTurn, SUMMARY_HEAD, SummaryRule, SummaryTrigger,
    SyntheticTurns,
};
pub use cron::next_occurrence;
pub use detection::{Detection, DetectionBounds};
pub use discovery::{Discovery, DiscoverySource, FoundReplicas, KubernetesService, Replica};
pub use effort::ANTHROPIC_MAX_TOKENS;
pub use expect::{
    ArgumentsSchema, Check, Comparison, Expect, JsonRule, Rule, STATUS_CHECK, StatusRange, StatusSet,
};
pub use fingerprint::Fingerprint;
use forecast::is_unlimited;
pub use forecast::{
    Amount, Daily, Estimate, Forecast, ForecastUsage, InputTokens, Outlook, PairForecast, TokenCounter,
    forecast, outlooks,
};
pub use incident::IncidentSubject;
pub use length::{JointLengths, LONGEST_TEXT, LengthCurve, LengthDistribution, LengthRange, WeightedLengths};
pub use load::{Also, LoadedPlan, PlanLoadAttempt, attempt, from_yaml, load};
pub use load_curve::{
    CurveForm, CurvePiece, CurveSegment, CurveSegments, LoadCurve, PiecewiseCurve, Recurrence,
};
pub use mark::is_vertex;
pub use model_fingerprint::{ModelFingerprint, has_top_logprobs};
use params::{ANSWER_COUNTS, OUTPUT_CAPS, output_cap, param};
pub use params::{apply_patch, compose_patches, has_output_cap};
pub use profile::{Fluidity, PairPlan, Profile, Retry, StepPlaces};
use profile::{compared_params, merged_params};
pub use scenario::{
    AnswerPart, AskStep, AskText, BodyTemplate, HttpStep, JsonTemplate, OutputLength, Scenario, Step,
    StepAction, Take, Variable,
};
pub use schedule::{Schedule, Trigger, Weekdays, Window};
pub use search::CapacitySearch;
pub use shards::{empty_parts, indivisible};
pub use slo::{Bound, Objective};
pub use stage::{Ramp, Shape, Stage, StageBounds, StageLimit, Think};
pub use synthetic::{LONGEST_WORD, PrefixSet, PromptLengths, SyntheticPrompts};
pub use target::{BackendOptions, Identity, Proxy, Target, TlsOptions};
pub use trace::{MAX_SCALE, MIN_SCALE, TracePlace, TraceReplay};

use crate::vocabulary::{TelemetryDetail, TrafficPriority};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Everything that the daemon will do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The agent.
    pub agent: Agent,
    /// Its own HTTP server.
    pub server: Server,
    /// What is exported, and how.
    pub telemetry: Telemetry,
    /// Targets, sorted by name.
    pub targets: Vec<Arc<Target>>,
    /// The targets whose replicas are among the targets in their place; see [`Plan::with_replicas`].
    pub discovered: Vec<Arc<Target>>,
    /// Profiles, sorted by name.
    pub profiles: Vec<Arc<Profile>>,
    /// Every profile with each of its targets; each pair is a run of its own.
    pub pairs: Vec<Arc<PairPlan>>,
}

/// The agent.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Stable `service.instance.id`.
    pub id: Arc<str>,
    /// Label `location` on every series; empty if not configured.
    pub location: Arc<str>,
    /// More labels for every series.
    pub labels: BTreeMap<String, String>,
    /// Currency of prices and budgets; a label value.
    pub currency: Arc<str>,
    /// Its part of everything below and of every schedule. The plan is that of all shards.
    pub shard: Shard,
    /// Maximum number of requests in flight in the whole process.
    pub in_flight: NonZeroU32,
    /// Maximum number of them to one target.
    pub in_flight_per_target: NonZeroU32,
    /// How the threads that send and receive are scheduled.
    pub traffic_priority: TrafficPriority,
    /// Budget of all profiles together.
    pub budget: Option<Budget>,
    /// What is kept across restarts; `None` if nothing is kept.
    pub state: Option<StateOptions>,
}

/// The state file, and the limits of what it keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateOptions {
    /// The file, or its folder.
    pub path: PathBuf,
    /// Records older than this are removed.
    pub retention: Duration,
    /// The oldest records are removed if the file would become larger than this, in bytes.
    pub max_bytes: u64,
}

/// The HTTP server.
#[derive(Clone, Debug)]
pub struct Server {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The web configuration file: TLS and basic auth.
    pub web_config: Option<PathBuf>,
    /// Host names accepted in requests; empty if not configured.
    pub allowed_hosts: Vec<String>,
    /// Addresses of trusted reverse proxies.
    pub proxies: Vec<IpAddr>,
    /// Minimum time between two probes of the same pair.
    pub probe_interval: Duration,
    /// Whether nothing is shown or done that is not for everybody.
    pub read_only: bool,
}

/// What is exported, and who is told of incidents.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// How many series are exported.
    pub detail: TelemetryDetail,
    /// OTLP export.
    pub otlp: Option<otlp::Otlp>,
    /// Who is told of incidents.
    pub webhook: Option<Arc<webhook::Webhook>>,
    /// Whether exemplars are exposed, in formats that support them.
    pub exemplars: bool,
    /// Whether native histograms are exposed next to the classic ones, in formats that support them.
    pub native_histograms: bool,
    /// Names of metrics that are not exported, as Prometheus shows them, without suffixes such as `_bucket`.
    pub disable: Vec<String>,
}
