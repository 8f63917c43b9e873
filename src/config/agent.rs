//! The sections `agent`, `server` and `telemetry`, as written.

use super::currency::Currency;
use super::otlp::Otlp;
use super::text::{Address, HostName, Length, ListenAddress, Zone};
use super::webhook::Webhook;
use crate::vocabulary::{Period, TelemetryDetail, TrafficPriority};
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
    /// Location of this agent, such as `eu-west-1`: the label `location` on every series. Default: empty.
    pub location: String,
    /// Additional labels for every series, such as `{ environment: prod }`.
    #[schemars(extend("maxProperties" = 64))]
    pub labels: BTreeMap<String, String>,
    /// Currency of prices and budgets, as an ISO 4217 code. In lower case it is the label `currency` of the cost
    /// metrics. Default: usd.
    pub currency: Currency,
    /// Limits of the process.
    pub limits: Limits,
    /// How the threads that send requests and read answers are scheduled. With `realtime`, others on the same processor
    /// do not delay them. Default: normal.
    pub traffic_priority: TrafficPriority,
    /// Budget for all profiles and targets together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// SQLite file for data that survives a restart: budgets, runs and the series of the status page. If the path is a
    /// folder, the file is `tokenbeat.db` in that folder. Each agent needs its own file. Default: data is kept in
    /// memory only, so budgets start from zero after a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub state: Option<PathBuf>,
    /// How long runs and series are kept in the state file, and how large the file may become.
    pub history: History,
}

/// How long runs and series are kept in the state file, and how large the file may become. Budgets are always kept.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct History {
    /// How long data is kept. Older data is removed. Default: 30d.
    pub retention: Length,
    /// Maximum size of the file in bytes. The oldest data is removed to stay below it. What is known of runs to find
    /// regressions, up to 1 MB for each profile and target, comes in addition. Default: 268435456 (256 MiB).
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
    /// Maximum number of requests in flight at the same time. Requests beyond the limit are skipped and counted.
    /// Default: 4096.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub in_flight: NonZeroU32,
    /// Maximum number of requests in flight to one target, so that a target that hangs does not block the others.
    /// Default: three quarters of `in_flight` if the profiles use more than one target, otherwise `in_flight`.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight_per_target: Option<NonZeroU32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { in_flight: NonZeroU32::new(4096).unwrap_or(NonZeroU32::MIN), in_flight_per_target: None }
    }
}

/// A limit per period. At least one of `requests`, `tokens` and `cost` must be set. Requests beyond the limit are not
/// sent and are counted as skipped. The amounts spent survive a restart if the agent has a `state` file.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Calendar period of the budget. Default: day.
    #[serde(default)]
    pub period: Period,
    /// Time zone that determines when a period begins. Default: UTC.
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
    /// Maximum amount of money in a period, in the agent's currency. Every target that the budget covers must have a
    /// `price`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub cost: Option<f64>,
}

/// The HTTP server of this agent.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address to listen on. Port 0 selects a free port. Default: 127.0.0.1:9464.
    pub listen: ListenAddress,
    /// File that configures TLS, client certificates and basic authentication of the server, in the web configuration
    /// format of the Prometheus exporters (`tls_server_config`, `basic_auth_users`). The file is reloaded when it
    /// changes. Default: plain HTTP, with read access for everyone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub web_config: Option<PathBuf>,
    /// Host names, without ports, that requests to the server may use. With any other name, only metrics and health are
    /// served. IP addresses and `localhost` are always allowed. Default: any name for clients on other machines, no
    /// name for clients on this machine.
    #[schemars(length(max = 64))]
    pub allowed_hosts: Vec<HostName>,
    /// Addresses of reverse proxies. Requests from these addresses do not get the rights of a local client: they may
    /// not change state or spend money only because they come from this machine. A proxy that adds `Forwarded`,
    /// `X-Forwarded-*`, `X-Real-IP` or `Via` is recognised without this setting. Default: none.
    #[schemars(length(max = 64))]
    pub proxies: Vec<Address>,
    /// Whether the server can be shown to everybody: it has the status page, metrics, health and the readable part of the
    /// API, without details of failures, names of files and problems of the config, which may tell addresses; `/config`
    /// and everything that changes state or costs money are refused, whoever asks. Default: false.
    pub read_only: bool,
    /// Settings of the endpoint `/probe`.
    pub probe: Probe,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: ListenAddress(SocketAddr::from((Ipv4Addr::LOCALHOST, 9464))),
            web_config: None,
            allowed_hosts: Vec::new(),
            proxies: Vec::new(),
            read_only: false,
            probe: Probe::default(),
        }
    }
}

/// The endpoint `/probe`, which sends one request each time a scraper calls it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Probe {
    /// Minimum time between two probes of the same profile and target; an earlier call gets status 429 and sends no
    /// request. Default: 10s.
    pub min_interval: Length,
}

impl Default for Probe {
    fn default() -> Self {
        Self { min_interval: Length(Duration::from_secs(10)) }
    }
}

/// Export of metrics, traces and logs, and messages about incidents.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// How many series a profile against a target has, by scrape and over OTLP: `lean` at most 120, in few buckets;
    /// `standard` at most 300, with all that the dashboards, rules and alerts ask for; `full` every series from the
    /// start, and every bucket. Agents whose histograms are added up should have the same. Default: standard.
    pub detail: TelemetryDetail,
    /// Settings of the Prometheus exposition.
    pub prometheus: Prometheus,
    /// OTLP export. Default: none, unless the environment names an endpoint (`OTEL_EXPORTER_OTLP_ENDPOINT`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp: Option<Otlp>,
    /// Webhook that the daemon tells incidents. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// Metrics that are not exported. Use the names as in Prometheus, without `_bucket`, `_sum` and `_count`, such as
    /// `tokenbeat_chunk_gap_seconds`.
    #[schemars(length(max = 500))]
    pub disable: Vec<String>,
}

/// Settings of the Prometheus exposition.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Prometheus {
    /// Whether exemplars with trace ids are exposed to scrapers that ask for OpenMetrics or protobuf. Default: true.
    pub exemplars: bool,
    /// Whether native histograms are exposed in addition to the classic buckets, to scrapers that ask for protobuf. It
    /// is off because a Prometheus server that ingests native histograms drops the classic ones unless
    /// `always_scrape_classic_histograms` is set, so queries on `_bucket` would stop working. Default: false.
    pub native_histograms: bool,
}

impl Default for Prometheus {
    fn default() -> Self {
        Self { exemplars: true, native_histograms: false }
    }
}
