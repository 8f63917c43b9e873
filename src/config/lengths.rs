//! Lengths in tokens, as written: a number, or a distribution.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU64;
use std::path::PathBuf;

/// Tokens: a number, or a distribution such as `{ lognormal: { median: 400, p95: 2000 }, max: 8192 }`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TokenLength {
    /// Always the same.
    Fixed(#[schemars(range(max = 1_000_000))] NonZeroU64),
    /// Drawn for each request.
    Drawn(Box<DrawnLength>),
}

impl TokenLength {
    /// A lower bound of the length, in tokens.
    pub fn shortest(&self) -> u64 {
        match self {
            Self::Fixed(tokens) => tokens.get(),
            Self::Drawn(drawn) => {
                let from = drawn.uniform.map(|uniform| uniform.from);
                from.max(drawn.min).map_or(1, NonZeroU64::get)
            }
        }
    }
}

/// A distribution of lengths: exactly one of its kinds, and bounds. Values are rounded to whole tokens. Those outside
/// the bounds do not occur, and the rest of the distribution is scaled up.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrawnLength {
    /// Each number between two equally often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uniform: Option<UniformLength>,
    /// A normal distribution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normal: Option<NormalLength>,
    /// A lognormal distribution, which lengths of prompts often have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lognormal: Option<LognormalLength>,
    /// An exponential distribution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exponential: Option<ExponentialLength>,
    /// A Pareto distribution, whose tail is heavy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pareto: Option<ParetoLength>,
    /// Bins, within each of which all numbers are equally likely.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 10_000))]
    pub histogram: Option<Vec<LengthBin>>,
    /// Lengths in a file, one on each line, each as likely as it is frequent; or `length,count` on each line. A first
    /// line of names is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empirical: Option<LengthFile>,
    /// Several distributions, each of them drawn from by its weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub mixture: Option<Vec<MixturePart>>,
    /// Shortest length. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000))]
    pub min: Option<NonZeroU64>,
    /// Longest length. Default: 131072, or the longest length that is written in the distribution.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000))]
    pub max: Option<NonZeroU64>,
}

/// Each number between two, both included.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UniformLength {
    /// The shortest.
    #[schemars(range(max = 1_000_000))]
    pub from: NonZeroU64,
    /// The longest.
    #[schemars(range(max = 1_000_000))]
    pub to: NonZeroU64,
}

/// A normal distribution, before the bounds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NormalLength {
    /// Mean.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub mean: f64,
    /// Standard deviation.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1_000_000))]
    pub stddev: f64,
}

/// A lognormal distribution, before the bounds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LognormalLength {
    /// Half of all lengths are shorter.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub median: f64,
    /// 95% of all lengths are shorter.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub p95: f64,
}

/// An exponential distribution, before the bounds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExponentialLength {
    /// Mean.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub mean: f64,
}

/// A Pareto distribution (type I), before the bounds: the share of lengths over x is (scale / x) ^ shape.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParetoLength {
    /// The smallest length.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub scale: f64,
    /// How fast longer ones become rare; at 1 and below there is no mean without `max`.
    #[schemars(range(min = 0.1, max = 100))]
    pub shape: f64,
}

/// A bin of a histogram.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LengthBin {
    /// Its shortest length.
    #[schemars(range(max = 1_000_000))]
    pub from: NonZeroU64,
    /// Its longest length, which belongs to it.
    #[schemars(range(max = 1_000_000))]
    pub to: NonZeroU64,
    /// How often its lengths occur, in relation to the other bins.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1_000_000_000))]
    pub weight: f64,
}

/// A file of lengths.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LengthFile {
    /// Its path.
    #[schemars(extend("format" = "path"))]
    pub file: PathBuf,
}

/// A part of a mixture.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MixturePart {
    /// How often it is drawn from, in relation to the others.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1_000_000_000))]
    pub weight: f64,
    /// What is drawn from; without bounds of its own.
    pub of: TokenLength,
}
