//! Kinds of DNS records with addresses.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The records of a name that are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DnsRecord {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Names and ports of servers.
    #[default]
    Srv,
}
