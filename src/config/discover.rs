//! The key `discover` of a target, as written.

use super::sensitive::UrlText;
use super::text::Length;
use crate::vocabulary::DnsRecord;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::num::NonZeroU32;
use std::path::PathBuf;

/// Where the addresses of a target's replicas are found: exactly one of the sources. Each address becomes a target of its
/// own, with the label `replica`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-layers" = "replace"))]
pub struct Discover {
    /// JSON or YAML files in the format of Prometheus' `file_sd_configs`: a list of `{ targets: ["host:port"], labels: {} }`.
    /// They are read again every `refresh`. The label `replica` names the replica, if it has one address; other labels are
    /// ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub file_sd: Option<Vec<DiscoveryFile>>,
    /// URL with a list in the format of Prometheus' `http_sd_configs`, which is that of `file_sd` in JSON. It is read without
    /// credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_sd: Option<UrlText>,
    /// A name whose DNS records are the addresses, such as that of a headless Service. The name servers of
    /// `/etc/resolv.conf` are asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<DiscoverDns>,
    /// A Kubernetes Service, whose `EndpointSlices` are read from the API with the account of the pod: it needs to `list`
    /// `endpointslices` of the API group `discovery.k8s.io`. Replicas are named by their pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<DiscoverKubernetes>,
    /// How often the source is asked; if it fails, again after two minutes at the latest. Default: 30s; 60s for `http_sd`,
    /// and 5s for `file_sd`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Length>,
    /// Maximum number of replicas. If more are found, those that are known keep their place, and the rest are taken in order
    /// of their names. Default: 20.
    #[serde(default = "twenty")]
    #[schemars(range(max = 1000))]
    pub max: NonZeroU32,
}

const fn twenty() -> NonZeroU32 {
    match NonZeroU32::new(20) {
        Some(twenty) => twenty,
        None => NonZeroU32::MIN,
    }
}

/// DNS records that are the addresses of replicas.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiscoverDns {
    /// The name. One without a final dot is also tried in the search domains of `/etc/resolv.conf`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The records: `a`, `aaaa` or `srv`. Default: srv.
    #[serde(default, rename = "type")]
    pub record: DnsRecord,
    /// Port of the addresses of `a` and `aaaa` records. Default: that of `base_url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
}

/// A Kubernetes Service whose endpoints are the replicas.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiscoverKubernetes {
    /// Name of the Service.
    #[schemars(length(min = 1, max = 63))]
    pub service: String,
    /// Its namespace. Default: that of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// Port of the endpoints. Default: the only port of the Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
}

/// The path of a file with addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiscoveryFile(pub PathBuf);

impl JsonSchema for DiscoveryFile {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "DiscoveryFile".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "path" })
    }
}
