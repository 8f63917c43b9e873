//! The key `trace` of a workload, as written.

use super::text::Length;
use crate::vocabulary::TraceFormat;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Recorded requests in a file. A stage without `rate` and `users` sends them when they were sent in the recording. Their
/// prompts are random words of the recorded number of tokens, and requests that shared prefixes share them again.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TraceFile {
    /// Its path.
    #[schemars(extend("format" = "path"))]
    pub file: PathBuf,
    /// How it is written. Default: by its first line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<TraceFormat>,
    /// How many times faster than recorded the requests are sent. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 10_000))]
    pub speed: Option<f64>,
    /// How many times as many requests are sent as were recorded: 0.1 sends a tenth of them, chosen at random, and 2.5
    /// sends each of them two or three times. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 0.001, "maximum" = 100))]
    pub scale: Option<f64>,
    /// The part of the trace that is used. Default: all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<TraceWindow>,
    /// Whether the trace starts again from the beginning when it is over. Default: false.
    #[serde(default, rename = "loop")]
    pub repeats: bool,
    /// Only requests to these models are used, for formats that record them (`burstgpt`). Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub models: Vec<String>,
    /// Whether malformed lines are left out, which `tokenbeat check` and the log count, and are no error. Default: false.
    #[serde(default)]
    pub skip_bad_lines: bool,
}

/// A part of a trace, in times since its first line, before `speed`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TraceWindow {
    /// Its beginning. Default: the first line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Length>,
    /// Its end. Default: the last line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Length>,
}
