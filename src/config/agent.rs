//! The sections `agent`, `server` and `telemetry`, as written.

use super::currency::Currency;
use super::otlp::Otlp;
use super::text::{Address, HostName, Length, ListenAddress, Zone};
use crate::vocabulary::Period;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

/// This agent.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Agent {
    /// Stable name of this agent (`service.instance.id`). Default: the host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub id: Option<String>,
    /// Where it runs: the label `location` on every series, such as `eu-west-1`. Default: empty.
    pub location: String,
    /// More labels for every series, such as `{ environment: prod }`.
    #[schemars(extend("maxProperties" = 64))]
    pub labels: BTreeMap<String, String>,
    /// Currency of prices and budgets, a code of ISO 4217; in lower case the label `currency` of the cost. Default:
    /// usd.
    pub currency: Currency,
    /// Limits of the process.
    pub limits: Limits,
    /// Budget of everything together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// File for data that survives a restart: budgets, runs and the series of the status page; a folder means
    /// `tokenbeat.db` in it. It is an SQLite database, and each agent needs its own. Default: memory only, so that a
    /// restart begins with nothing spent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub state: Option<PathBuf>,
    /// How much of runs and series is kept in the state file.
    pub history: History,
}

/// How much of the runs and series is kept in the state file. Budgets are always kept.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct History {
    /// Older data is removed. Default: 30d.
    pub retention: Length,
    /// Maximum size in bytes; the oldest data is removed when the file would be larger. Default: 268435456 (256 MiB).
    #[schemars(range(min = 1_048_576))]
    pub max_bytes: u64,
}

impl Default for History {
    fn default() -> Self {
        Self { retention: Length(Duration::from_hours(30 * 24)), max_bytes: 256 << 20 }
    }
}

/// Limits of the process.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Maximum number of requests in flight at the same time. Requests beyond it are skipped, and counted. Default:
    /// 4096.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub in_flight: NonZeroU32,
    /// Maximum number of requests in flight to one target, so that one that hangs leaves room for the others. Default:
    /// three quarters of `in_flight` where profiles use more than one target, else all of it.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight_per_target: Option<NonZeroU32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { in_flight: NonZeroU32::new(4096).unwrap_or(NonZeroU32::MIN), in_flight_per_target: None }
    }
}

/// A cap per period: at least one of `requests`, `tokens` and `cost`. Requests beyond it are not sent, and counted as
/// skipped. The amounts spent survive a restart if the agent has a `state` file.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// The period, by the calendar. Default: day.
    #[serde(default)]
    pub period: Period,
    /// Time zone in which the period begins. Default: UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<Zone>,
    /// Maximum number of requests in a period, including warm-up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub requests: Option<u64>,
    /// Maximum number of tokens in a period, input and output together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub tokens: Option<u64>,
    /// Maximum amount of money in a period, in the agent's currency. Every target that it covers needs a `price`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub cost: Option<f64>,
}

/// The HTTP server of this agent.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address to listen on. Port 0 picks one. Default: 127.0.0.1:9464.
    pub listen: ListenAddress,
    /// TLS, client certificates and basic auth of this address: a file in the format that Prometheus' exporters
    /// share (`tls_server_config`, `basic_auth_users`). It is read again when it changes. Default: plain HTTP, and
    /// everybody may read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub web_config: Option<PathBuf>,
    /// Names by which this address may be called, without ports. What shows more than metrics and health is then
    /// refused under every other name; IP addresses and `localhost` are always good. Default: any name for callers on
    /// other machines, none for those on this one.
    #[schemars(length(max = 64))]
    pub allowed_hosts: Vec<HostName>,
    /// Addresses from which reverse proxies call. A request from there is somebody else's, so that it may not change
    /// state or spend money because it comes from this machine. A proxy that adds `Forwarded`, `X-Forwarded-*`,
    /// `X-Real-IP` or `Via` is recognised without that. Default: none.
    #[schemars(length(max = 64))]
    pub proxies: Vec<Address>,
    /// The endpoint `/probe`.
    pub probe: Probe,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: ListenAddress(SocketAddr::from((Ipv4Addr::LOCALHOST, 9464))),
            web_config: None,
            allowed_hosts: Vec::new(),
            proxies: Vec::new(),
            probe: Probe::default(),
        }
    }
}

/// The endpoint `/probe`: one request now, for a scraper that asks for it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Probe {
    /// Minimum time between two probes of the same profile and target; an earlier call is answered with 429 and sends
    /// nothing. Default: 10s.
    pub min_interval: Length,
}

impl Default for Probe {
    fn default() -> Self {
        Self { min_interval: Length(Duration::from_secs(10)) }
    }
}

/// What is exported, and how.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// The Prometheus exposition.
    pub prometheus: Prometheus,
    /// OTLP export. Default: none, unless the environment names an endpoint (`OTEL_EXPORTER_OTLP_ENDPOINT`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp: Option<Otlp>,
    /// Names of metrics that are not exported, as Prometheus shows them and without `_bucket`, `_sum` and
    /// `_count`, such as `tokenbeat_chunk_gap_seconds`.
    #[schemars(length(max = 500))]
    pub disable: Vec<String>,
}

/// The Prometheus exposition.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Prometheus {
    /// Exemplars with trace ids, for scrapers that ask for OpenMetrics or protobuf. Default: true.
    pub exemplars: bool,
    /// Native histograms in addition to the classic buckets, for scrapers that ask for protobuf. Off, because a
    /// Prometheus that takes native histograms drops the classic ones unless it is configured otherwise
    /// (`always_scrape_classic_histograms`), and with them every query on `_bucket`. Default: false.
    pub native_histograms: bool,
}

impl Default for Prometheus {
    fn default() -> Self {
        Self { exemplars: true, native_histograms: false }
    }
}
