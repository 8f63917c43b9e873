//! The scheduling priority of threads that send and receive.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the threads that send requests and read answers are scheduled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrafficPriority {
    /// Like other processes.
    #[default]
    Normal,
    /// Before all processes without real-time priority (`SCHED_RR`). Linux only; the system has to allow it.
    Realtime,
}
