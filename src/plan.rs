//! What the daemon will do: the config, compiled. Immutable, shared, every value typed. All other modules below read
//! the plan and never the config.

mod answer_mapping;
mod auth;
mod canonical;
mod compile;
mod cron;
mod expect;
mod fingerprint;
#[cfg(test)]
mod fixtures;
mod forecast;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod hostile;
mod load;
pub mod otlp;
mod params;
mod period;
mod profile;
mod scenario;
mod schedule;
mod serialize;
mod slo;
mod stage;
mod target;

pub use crate::vocabulary::{
    Api, Arrivals, BodyForm, Cache, ClientAuth, ConnectionMode, HttpVersion, Overlap, Period, Price,
    Propagate, Reserve, SloMetric, Timeouts, Tokenizer,
};
pub use answer_mapping::{AnswerMapping, Done};
pub use auth::{Auth, Aws, AwsSource, Gcp, OAuth2};
use compile::run_time;
pub use compile::{Compiled, compile};
pub use cron::next_occurrence;
pub use expect::{Check, Expect, JsonRule, Rule, STATUS_CHECK, StatusRange, StatusSet};
pub use fingerprint::Fingerprint;
pub use forecast::{
    Amount, Daily, Estimate, Forecast, ForecastUsage, InputTokens, Outlook, PairForecast, TokenCounter,
    forecast, outlooks,
};
pub use load::{Also, LoadedPlan, PlanLoadAttempt, attempt, from_yaml, load};
use params::{OUTPUT_CAPS, output_cap};
pub use params::{apply_patch, compose_patches, has_output_cap};
use profile::merged_params;
pub use profile::{Budget, PairPlan, Profile, Retry, StepPlaces};
pub use scenario::{
    AnswerPart, AskStep, AskText, BodyTemplate, HttpStep, JsonTemplate, Scenario, Step, StepAction, Take,
    Variable,
};
pub use schedule::{Schedule, Trigger, Weekdays, Window};
pub use slo::{Bound, Objective};
pub use stage::{Ramp, Shape, Stage, StageBounds, Think};
pub use target::{Identity, Proxy, Target, TlsOptions};

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Everything that the daemon will do.
#[derive(Debug)]
pub struct Plan {
    /// The agent.
    pub agent: Agent,
    /// Its own HTTP server.
    pub server: Server,
    /// What it exports, and how.
    pub telemetry: Telemetry,
    /// Targets by name, in order of name.
    pub targets: Vec<Arc<Target>>,
    /// Profiles by name, in order of name.
    pub profiles: Vec<Arc<Profile>>,
    /// Every profile with each of its targets: a run of its own.
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
    /// Currency of prices and budgets, a label value.
    pub currency: Arc<str>,
    /// Most requests in flight in the whole process.
    pub in_flight: NonZeroU32,
    /// Of these, most to one target.
    pub in_flight_per_target: NonZeroU32,
    /// Budget of everything together.
    pub budget: Option<Budget>,
    /// What is kept across restarts; `None` if nothing is.
    pub state: Option<StateOptions>,
}

/// The state file, and how much of runs and series is kept in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateOptions {
    /// The file, or the folder that it is in.
    pub path: PathBuf,
    /// Records older than this are removed.
    pub retention: Duration,
    /// The oldest records are removed if the file would become larger than this, in bytes.
    pub max_bytes: u64,
}

/// The HTTP server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The web configuration file: TLS and basic auth.
    pub web_config: Option<PathBuf>,
    /// Host names by which it may be addressed; empty: not configured.
    pub allowed_hosts: Vec<String>,
    /// Where reverse proxies call from.
    pub proxies: Vec<IpAddr>,
    /// Least time between two probes of the same pair.
    pub probe_interval: Duration,
}

/// What is exported.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// Export by OTLP.
    pub otlp: Option<otlp::Otlp>,
    /// Exemplars where the exposition's format has them.
    pub exemplars: bool,
    /// Native histograms beside the classic ones, where the exposition's format has them.
    pub native_histograms: bool,
    /// Names (as Prometheus shows them, without `_bucket` and the like) of metrics that are not exported.
    pub disable: Vec<String>,
}
