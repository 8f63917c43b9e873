//! The config as written by the user: serde types, layers, and the position of each value. This module checks the form
//! of the config. The plan checks its meaning.
//!
//! Reading keeps the position of every value. The layers (defaults, files, environment) are merged, and the result is
//! validated against the JSON Schema that is generated from the types in this module. Only then is it deserialised into
//! these types. All errors are therefore reported at once, each with its position and in terms that an operator
//! understands.

mod agent;
mod arrivals;
mod auth;
mod baseline;
mod compare;
mod conversation;
mod currency;
mod detect;
mod discover;
mod expect;
mod fingerprint;
mod layers;
mod lengths;
mod load;
mod load_curve;
mod mark;
mod markdown;
mod masked;
mod merge;
mod otlp;
mod path;
mod problem;
mod profile;
mod rate;
mod repair;
mod scenario;
mod schedule;
mod schema;
mod search;
mod sensitive;
mod tables;
mod target;
mod text;
mod trace;
mod tree;
mod validate;
mod webhook;
mod workload;
mod yaml;

pub use agent::{Agent, Budget, Limits, Probe, Prometheus, Server, Telemetry};
pub use arrivals::{ArrivalProcess, ArrivalsText, ArrivalsWord, GapVariation, WeightedClients};
pub use auth::{
    Auth, AuthMethod, AuthWord, Aws, AwsContainer, AwsKeys, AwsProfile, AwsWebIdentity, Basic, Gcp,
    HeaderAuth, OAuth2,
};
pub use baseline::BaselineThresholds;
pub use compare::Compare;
pub use conversation::{Conversation, ConversationTurn, GivenTurn, Summarize, SyntheticConversation};
pub use currency::Currency;
pub use detect::{AlarmRate, Detect, DetectSettings, DetectWord};
pub use discover::{Discover, DiscoverDns, DiscoverKubernetes, DiscoveryFile};
pub use expect::{
    Expect, ExpectText, ExpectTokens, JsonCheck, NamedText, SchemaCheck, SchemaOf, Status, Statuses,
    TextCheck, ToolCallCheck,
};
pub use fingerprint::FingerprintWorkload;
pub use layers::ConfigSource;
pub use lengths::{
    DrawnLength, ExponentialLength, LengthBin, LengthFile, LognormalLength, MixturePart, NormalLength,
    ParetoLength, TokenLength, UniformLength,
};
pub use load::{BrokenParts, LoadedConfig, Reading, Variant, load, load_str, read};
pub use load_curve::{Between, CurveTable, Growth, LoadShape, Moving, Sine, Spike, TablePoint};
pub use mark::TrafficMark;
pub use markdown::markdown;
pub use masked::{Json, PathText, Texts, Values, is_template};
pub use otlp::{Otlp, OtlpTls, Traces};
pub use path::{KeyPath, Segment};
pub(crate) use problem::sorted;
pub use problem::{Errors, Located, Problem};
pub use profile::{Fluidity, Profile, Retry, Slo, Stage};
pub use rate::{PerSecond, Rate, Users};
pub use scenario::{
    AnyRequest, AskModel, DataFile, DoneAt, DoneEvent, Read, Scenario, Step, TakeFrom, TakeSource,
};
pub use schedule::{Days, Nothing, Schedule, Window};
pub use schema::{forget_schema, schema};
pub use search::{CapacitySearch, SearchLoad};
pub use sensitive::{HeaderText, Hidden, SecretSource, UrlText, VariableName, names_a_credential};
pub use target::{Proxy, Target, TargetBackend, Tls};
pub(crate) use text::show_duration;
pub use text::{
    Address, Clock, CronExpression, HostName, Length, ListenAddress, Percentage, Share, ThinkTime, TimeLimit,
    Zone,
};
pub use trace::{TraceFile, TraceWindow};
pub use tree::Position;
pub(crate) use validate::nearest;
pub use webhook::{Webhook, WebhookUrl};
pub use workload::{
    CachePair, DatasetFile, Popularity, Prompt, PromptFile, SharedPrefix, Synthetic, Workload,
};

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
    /// The config as YAML, with every secret masked.
    pub fn to_yaml(&self) -> String {
        // The config consists of maps with string keys and of plain values, all of which YAML can represent.
        serde_saphyr::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// A config that uses all keys.
    pub(super) const WHOLE: &str = include_str!("../tests/config/whole.yml");

    #[test]
    fn the_schema_is_the_golden_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/config.schema.json");
        let mut now = serde_json::to_string_pretty(&schema()).unwrap();
        now.push('\n');
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &now).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(golden == now, "the config's schema changed; look at it and run with UPDATE_GOLDEN=1");
    }

    #[test]
    fn what_is_shown_is_a_config_again() {
        let config = load_str("whole", WHOLE).unwrap_or_else(|e| panic!("{e}")).config;
        let shown = config.to_yaml();
        let again = load_str("shown", &shown).unwrap_or_else(|e| panic!("{e}\n{shown}")).config;
        assert_eq!(shown, again.to_yaml());
        // It also contains the defaults.
        for default in ["currency: usd", "in_flight: 4096", "first_token: 30s", "cache: bust"] {
            assert!(shown.contains(default), "{default} in {shown}");
        }
    }

    #[test]
    fn the_whole_config_has_every_key_of_the_schema() {
        let schema = schema();
        let mut missing = Vec::new();
        for (section, definition) in schema["$defs"].as_object().unwrap() {
            let keys = definition["properties"].as_object().into_iter().flat_map(|keys| keys.keys());
            missing.extend(
                keys.filter(|key| !WHOLE.contains(&format!("{key}:"))).map(|key| format!("{section}.{key}")),
            );
        }
        assert_eq!(missing, Vec::<String>::new());
    }

    #[test]
    fn no_secret_is_ever_shown() {
        const MARKER: &str = "hunter2";
        let text = WHOLE.replace("SECRET", MARKER);
        assert!(text.matches(MARKER).count() >= 7, "the marker stands in every place of a secret");
        let config = load_str("whole", &text).unwrap_or_else(|e| panic!("{e}")).config;
        for shown in [
            config.to_yaml(),
            serde_json::to_string(&config).unwrap(),
            format!("{config:?}"),
            format!("{config:#?}"),
        ] {
            assert!(!shown.contains(MARKER), "{shown}");
        }
    }

    #[test]
    fn no_error_shows_what_may_be_a_secret() {
        const MARKER: &str = "hunter2";
        let target = |rest: &str| {
            format!("targets: {{ t: {{ api: openai-chat, base_url: 'https://127.0.0.1', {rest} }} }}")
        };
        let mut wrong: Vec<String> = [
            "auth: hunter2",
            "auth: [hunter2]",
            "auth: { bearer: hunter2 }",
            "auth: { bearer: [hunter2] }",
            "auth: { bearer: { hunter2 } }",
            "auth: { bearer: { hunter2: x } }",
            "auth: { bearer: { value: [hunter2] } }",
            "auth: { bearer: { value: { hunter2 } } }",
            "auth: { bearer: { env: hunter2- } }",
            "auth: { bearer: { file: [hunter2] } }",
            "auth: { basic: { username: u, password: hunter2 } }",
            "auth: { header: { name: n, value: hunter2 } }",
            "headers: { x: [hunter2] }",
            "headers: [hunter2]",
            "proxy: { url: 'http://127.0.0.1', auth: { username: u, password: hunter2 } }",
            "proxy: { url: [hunter2] }",
            "timeouts: { connect: hunter2 }",
        ]
        .map(target)
        .to_vec();
        wrong.extend(
            ["a: 'hunter2", "a: hunter2: hunter2", "a: {hunter2", "a: &hunter2 *hunter2x"].map(str::to_owned),
        );
        for text in wrong {
            let errors = load_str("t", &text).err().unwrap_or_else(|| panic!("{text} is fine"));
            assert!(!format!("{errors} {errors:?}").contains(MARKER), "{text}: {errors}");
        }
    }
}
