//! The config as it is written: serde types, layers, and where each value came from. Spelling, not meaning: what
//! values mean together is for the plan to judge.
//!
//! Reading keeps the position of every value. The layers (defaults, files, environment) are laid over each
//! other, the result is checked against the JSON Schema that is generated from the types here, and only then do
//! the types see it: so all errors come at once, each with its place, and in words for an operator.

mod agent;
mod layers;
mod load;
mod path;
mod problem;
mod profile;
mod rate;
mod schedule;
mod schema;
mod sensitive;
mod tables;
mod target;
mod text;
mod tree;
mod validate;
mod yaml;

pub use agent::{Agent, Budget, Limits, Period, Prometheus, Server, Telemetry};
pub use layers::Source;
pub use load::{Broken, Loaded, load, load_str, read};
pub use path::{KeyPath, Segment};
pub(crate) use problem::sorted;
pub use problem::{Errors, Located, Problem};
pub use profile::{
    Arrivals, ArrivalsWord, Cache, Expect, ExpectText, Gamma, GammaArrivals, Profile, Prompt, PromptFile,
    Slo, SloMetric, Stage, Workload,
};
pub use rate::{FromTo, Moving, PerSecond, Rate};
pub use schedule::{Days, Nothing, Overlap, Schedule, Window};
pub use schema::schema;
pub use sensitive::{HeaderText, Hidden, SecretSource, UrlText, VariableName, names_a_credential};
pub use target::{
    Api, Auth, AuthMethod, AuthWord, Basic, Connection, EmbeddedTokenizer, HeaderAuth, HttpVersion, Price,
    Propagate, Proxy, Target, Timeouts, Tls, Tokenizer, TokenizerFile,
};
pub(crate) use text::show_duration;
pub use text::{Clock, CronExpression, Length, ListenAddress, Percentage, ThinkTime, Zone};
pub use tree::Position;
pub(crate) use validate::nearest;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The configuration of tokenbeat.
///
/// Serialises with every secret masked, so that it can be shown.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// This agent.
    pub agent: Agent,
    /// The HTTP server of this agent: metrics and status.
    pub server: Server,
    /// What is exported, and how.
    pub telemetry: Telemetry,
    /// Endpoints under test, by name.
    pub targets: BTreeMap<String, Target>,
    /// What is sent, when, to which targets; by name.
    pub profiles: BTreeMap<String, Profile>,
}

impl Config {
    /// The config as YAML, every secret masked.
    pub fn to_yaml(&self) -> String {
        // Maps with text for keys and plain values: there is nothing in it that YAML cannot say.
        serde_saphyr::to_string(self).unwrap_or_default()
    }
}
