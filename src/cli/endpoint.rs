//! The options of `init` and `watch`, which identify an endpoint.

use super::values::{address, dialect, interval, probe_interval};
use crate::vocabulary::Api;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The endpoint that `init` and `watch` identify.
#[derive(Debug, Args)]
pub struct EndpointOptions {
    /// Address of the endpoint: an origin, a base URL with its version, or the full URL of an operation
    #[arg(value_name = "URL")]
    pub url: String,
    /// Environment variable that contains the API key
    #[arg(long, value_name = "NAME", conflicts_with = "key_file")]
    pub key_env: Option<String>,
    /// File that contains the API key
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Model to request [default: the first model in the endpoint's list that answers]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub model: Option<String>,
    /// Dialect of the endpoint [default: the first that the endpoint supports]
    #[arg(long, value_name = "NAME", value_parser = dialect)]
    pub api: Option<Api>,
    /// Certificate of the endpoint or of its authority, in PEM form [default: the system's authorities]
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Number of small requests to measure; at most 200
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=200))]
    pub requests: u64,
    /// Interval of the probe in the config [default: 1m for `init`, 15s for `watch`]
    #[arg(long, value_name = "DURATION", value_parser = probe_interval)]
    pub every: Option<Duration>,
    /// Timeout of each free request; a request to the model may take six times as long
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = interval)]
    pub timeout: Duration,
}

/// Options of `init`.
#[derive(Debug, Args)]
pub struct InitOptions {
    /// The endpoint.
    #[command(flatten)]
    pub endpoint: EndpointOptions,
    /// File to write; `-` is stdout
    #[arg(short, long, value_name = "FILE", default_value = "tokenbeat.yaml")]
    pub output: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
}

/// Options of `watch`.
#[derive(Debug, Args)]
pub struct WatchOptions {
    /// The endpoint.
    #[command(flatten)]
    pub endpoint: EndpointOptions,
    /// Listen address of the daemon; port 0 picks a free port
    #[arg(long = "web.listen-address", value_name = "ADDRESS", default_value = "127.0.0.1:9464", value_parser = address)]
    pub listen: SocketAddr,
}
