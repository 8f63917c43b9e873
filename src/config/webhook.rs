//! The section `telemetry.webhook`, as written.

use super::masked::Json;
use super::sensitive::{HeaderText, SecretSource, UrlText, masked_headers};
use super::text::Length;
use crate::vocabulary::IncidentKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A webhook: the daemon posts incidents to a URL, for those without Alertmanager. Without `json` and `body`, a message
/// is a JSON object with all fields. Their texts may contain templates (minijinja), which read the fields:
/// `{{ title }}`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// URL that messages are posted to: text, or a secret, because the URLs of many services are credentials.
    pub url: WebhookUrl,
    /// Headers of every message. A value is text or a secret.
    #[serde(default, serialize_with = "masked_headers")]
    #[schemars(extend("maxProperties" = 100))]
    pub headers: BTreeMap<String, HeaderText>,
    /// Incidents that are told. Default: all but `run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub events: Option<Vec<IncidentKind>>,
    /// JSON body, which may be any value but null, with templates in its texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<Json>,
    /// Body as plain text, with templates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Content type of `body`. Default: text/plain; charset=utf-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Minimum time before the same state of the same subject is told again: something that flaps is told once. If the
    /// state still stands then, it is told. Default: 10m.
    #[serde(default = "ten_minutes")]
    pub min_interval: Length,
    /// Maximum time for one attempt, including the answer. Default: 10s.
    #[serde(default = "ten_seconds")]
    pub timeout: Length,
    /// PEM file with root certificates, used instead of the system's roots.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub ca_file: Option<PathBuf>,
}

const fn ten_minutes() -> Length {
    Length(Duration::from_mins(10))
}

const fn ten_seconds() -> Length {
    Length(Duration::from_secs(10))
}

/// The URL of a webhook: text, or a secret.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum WebhookUrl {
    /// Text in the clear.
    Plain(UrlText),
    /// A secret.
    Secret(SecretSource),
}

impl Serialize for WebhookUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(url) => serializer.serialize_str(&url.origin()),
            Self::Secret(source) => source.serialize(serializer),
        }
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(url) => f.write_str(&url.origin()),
            Self::Secret(source) => source.fmt(f),
        }
    }
}
