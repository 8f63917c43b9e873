//! Of which requests the content is recorded.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Of which requests it is recorded what was sent and what came back: bounded, without secrets, and in memory only. In
/// files that are read as YAML 1.1 (such as Helm's values), `off` needs quotes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordMode {
    /// Of none. A failure still has its detail.
    #[default]
    Off,
    /// Of those that fail.
    Failures,
    /// Of all.
    All,
}

impl RecordMode {
    /// Whether nothing is recorded.
    pub fn is_off(&self) -> bool {
        *self == Self::Off
    }
}
