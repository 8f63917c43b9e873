//! What happens at a limit of requests in flight.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens to a request that is due at the in-flight limit of its stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AtLimit {
    /// It is skipped and counted.
    #[default]
    Skip,
    /// It waits until another request has ended, in the order of due times, and is counted as queued. At most 4,096 requests
    /// of a stage wait; more are skipped.
    Queue,
}
