//! The section `search` of a profile, as written.

use super::arrivals::ArrivalsText;
use super::rate::PerSecond;
use super::text::{Length, Text as _, ThinkTime};
use crate::limits;
use crate::vocabulary::{SearchProgression, SearchVariable};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A search for capacity: the highest load that still meets the objectives. Each load is held for a while and judged.
/// The load increases until an objective is missed; then the loads between the last two are tried.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-layers" = "replace"))]
pub struct CapacitySearch {
    /// The load that is varied: simulated users, or requests per second.
    pub over: SearchVariable,
    /// The first load: a number of users, or a rate such as `2/s`.
    pub from: SearchLoad,
    /// The highest load that is tried.
    pub to: SearchLoad,
    /// How the load increases.
    #[serde(default)]
    pub step: SearchProgression,
    /// How long each load is measured, such as `30s`. A load with too few samples, or whose result may be chance, is
    /// held up to three times as long.
    pub hold: Length,
    /// How long each load runs before it is measured. Requests due in this time are warm-up. Default: a quarter of
    /// `hold`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settle: Option<Length>,
    /// Names of the profile's objectives that a load must meet. Default: all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub until: Vec<String>,
    /// Whether loads between the last one that met the objectives and the first one that did not are tried as well, at
    /// most five of them.
    #[serde(default = "yes")]
    pub refine: bool,
    /// Number of judged requests that a load needs to be the answer.
    #[serde(default = "thirty")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub samples: u32,
    /// With `over: users`: time between an answer and a user's next question, as in a stage. Default: 0s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub think: Option<ThinkTime>,
    /// With `over: rate`: how the requests are spread, as in a stage. Default: constant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrivals: Option<ArrivalsText>,
}

const fn yes() -> bool {
    true
}

const fn thirty() -> u32 {
    30
}

/// A load: a number of users or of requests per second, or text with a unit, such as `2/s`, for a rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SearchLoad {
    /// Users, or requests per second.
    Number(f64),
    /// A rate.
    Rate(PerSecond),
}

impl SearchLoad {
    /// The number, without its unit.
    pub const fn number(self) -> f64 {
        match self {
            Self::Number(number) | Self::Rate(PerSecond(number)) => number,
        }
    }
}

impl JsonSchema for SearchLoad {
    fn schema_name() -> Cow<'static, str> {
        "SearchLoad".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A load: a number of users, or a rate as a number of requests per second or as text with a unit: 2/s, 30/m, 1/h.",
            "type": ["string", "number"],
            "format": PerSecond::FORMAT,
            "minimum": 0,
            "maximum": limits::RATE,
            "examples": PerSecond::EXAMPLES,
        })
    }
}
