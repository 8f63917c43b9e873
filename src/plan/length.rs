//! Distributions of lengths in tokens, from which a length is drawn for each request. Pure: a draw depends only on the
//! random numbers, and every draw uses two of them.
//!
//! Values are rounded to whole tokens. Values outside `min` and `max` do not occur, and the rest of the distribution is
//! scaled up: the distribution is truncated, and sampled by its inverse, so no value has to be drawn again. If values
//! were clamped instead, they would pile up at the bounds.

mod curve;
#[cfg(test)]
mod tests;

pub use curve::{LengthCurve, WeightedLengths};

use rand::Rng;
use serde::Serialize;
use std::sync::Arc;

/// Maximum length in tokens.
pub const LONGEST_TEXT: u64 = 1_000_000;

/// Shares of a distribution that are not larger than this are treated as zero.
const LEAST_MASS: f64 = 1e-9;

/// Number of points at which a quantile function is evaluated to compute its mean, except for its upper tail.
const POINTS: u32 = 8192;

/// The share of a distribution that is its upper tail. Within it, points are logarithmically dense: half of the mean of a
/// heavy tail may be in its last millionth.
const TAIL: f64 = 1.0 / 128.0;

/// Number of points in the upper tail.
const TAIL_POINTS: u32 = 2048;

/// The share of the tail up to which points get denser.
const LAST: f64 = 1e-12;

/// A distribution of lengths in tokens, each 1 or more.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LengthDistribution {
    parts: Vec<LengthPart>,
    min: u64,
    max: u64,
    // Derived from the parts.
    #[serde(skip)]
    mean: f64,
}

/// One of the curves that a distribution consists of, and its share.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct LengthPart {
    /// Cumulative share of the parts up to and including this one, at most 1.
    up_to: f64,
    curve: LengthCurve,
    /// The range of the curve that is drawn from, as quantiles between 0 and 1.
    range: (f64, f64),
}

impl LengthDistribution {
    /// A fixed length.
    pub fn fixed(tokens: u64) -> Self {
        let part = LengthPart {
            up_to: 1.0,
            curve: LengthCurve::Between { from: tokens, to: tokens },
            range: (0.0, 1.0),
        };
        Self { parts: vec![part], min: tokens, max: tokens, mean: tokens as f64 }
    }

    /// A mixture of curves with these weights, truncated to `min` and `max` (inclusive); `None` if nothing remains.
    pub fn within(curves: Vec<(f64, LengthCurve)>, min: u64, max: u64) -> Option<Self> {
        let parts = curves.into_iter().filter_map(|(weight, curve)| {
            let (curve, range, mass) = curve.within(min, max)?;
            Some((weight * mass, LengthPart { up_to: 0.0, curve, range }))
        });
        let mut parts: Vec<_> = parts.filter(|(mass, _)| *mass > LEAST_MASS).collect();
        let total: f64 = parts.iter().map(|(mass, _)| mass).sum();
        let (mut before, mut mean) = (0.0, 0.0);
        for (mass, part) in &mut parts {
            before += *mass / total;
            part.up_to = before;
            mean += *mass / total * part.mean(min, max);
        }
        let parts: Vec<_> = parts.into_iter().map(|(_, part)| part).collect();
        let ends = |share: fn(&LengthPart) -> f64| {
            parts.iter().map(move |part| whole(part.curve.quantile(share(part)), min, max))
        };
        let (least, most) = (ends(|part| part.range.0).min()?, ends(|part| part.range.1).max()?);
        Some(Self { min: least, max: most, parts, mean })
    }

    /// Draws a length.
    pub fn draw(&self, rng: &mut impl Rng) -> u64 {
        let (which, at): (f64, f64) = (rng.random(), rng.random());
        let part = self.parts.iter().find(|part| which < part.up_to).or(self.parts.last());
        part.map_or(self.min, |part| part.at(at, self.min, self.max))
    }

    /// The shortest length that may be drawn.
    pub const fn min(&self) -> u64 {
        self.min
    }

    /// The longest length that may be drawn.
    pub const fn max(&self) -> u64 {
        self.max
    }

    /// The mean length.
    pub const fn mean(&self) -> f64 {
        self.mean
    }

    /// The mean of a function of the length.
    pub fn mean_of(&self, function: impl Fn(u64) -> f64) -> f64 {
        // Without the rounding of a sum, which may cross a threshold.
        if let Some(only) = self.only() {
            return function(only);
        }
        let (mut before, mut mean) = (0.0, 0.0);
        for part in &self.parts {
            mean += (part.up_to - before) * part.mean_of(self.min, self.max, &function);
            before = part.up_to;
        }
        mean
    }

    /// The only length that may be drawn, if there is only one.
    pub const fn only(&self) -> Option<u64> {
        if self.min == self.max { Some(self.min) } else { None }
    }
}

impl LengthPart {
    /// The quantile `at`, from 0 to 1, of this part.
    fn at(&self, at: f64, min: u64, max: u64) -> u64 {
        let (from, to) = self.range;
        whole(self.curve.quantile(from + at * (to - from)), min, max)
    }

    fn mean(&self, min: u64, max: u64) -> f64 {
        self.curve.exact_mean().unwrap_or_else(|| self.mean_of(min, max, &|length| length as f64))
    }

    fn mean_of(&self, min: u64, max: u64, function: &impl Fn(u64) -> f64) -> f64 {
        // Shares, counted from the top. The last one is the rest.
        let body = (0..=POINTS).map(|point| 1.0 - (1.0 - TAIL) * f64::from(point) / f64::from(POINTS));
        let tail = (1..TAIL_POINTS).map(|point| TAIL * LAST.powf(f64::from(point) / f64::from(TAIL_POINTS)));
        let (mut upper, mut mean) = (1.0, 0.0);
        for lower in body.skip(1).chain(tail).chain([0.0]) {
            let middle = 1.0 - f64::midpoint(upper, lower);
            mean += (upper - lower) * function(self.at(middle, min, max));
            upper = lower;
        }
        mean
    }
}

/// Rounds a value to whole tokens. It can be outside the bounds only because of rounding errors.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of a float saturates")]
fn whole(value: f64, min: u64, max: u64) -> u64 {
    (value.round() as u64).clamp(min, max)
}

/// Pairs of an input and an output length. One of them is drawn for each request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JointLengths {
    // The digest identifies them.
    #[serde(skip)]
    pairs: Arc<[(u32, u32)]>,
    digest: String,
}

impl JointLengths {
    /// Creates a list from pairs of lengths of 1 or more; `None` if there are no pairs. `digest` identifies the pairs.
    pub fn new(pairs: Vec<(u32, u32)>, digest: String) -> Option<Self> {
        (!pairs.is_empty()).then(|| Self { pairs: pairs.into(), digest })
    }

    /// Draws a pair of an input and an output length.
    pub fn draw(&self, rng: &mut impl Rng) -> (u64, u64) {
        let last = self.pairs.len().saturating_sub(1);
        let (input, output) = self.pairs.get(rng.random_range(0..=last)).copied().unwrap_or((1, 1));
        (input.into(), output.into())
    }

    /// The shortest, the mean and the longest input length.
    pub fn input(&self) -> LengthRange {
        LengthRange::of(self.pairs.iter().map(|(input, _)| *input))
    }

    /// The shortest, the mean and the longest output length.
    pub fn output(&self) -> LengthRange {
        LengthRange::of(self.pairs.iter().map(|(_, output)| *output))
    }
}

/// The range of lengths that may be drawn, in tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LengthRange {
    /// The shortest.
    pub min: u64,
    /// The mean.
    pub mean: f64,
    /// The longest.
    pub max: u64,
}

impl LengthRange {
    fn of(lengths: impl Iterator<Item = u32> + Clone) -> Self {
        let count = lengths.clone().count().max(1) as f64;
        let sum: u64 = lengths.clone().map(u64::from).sum();
        let (min, max) = (lengths.clone().min().unwrap_or(1), lengths.max().unwrap_or(1));
        Self { min: min.into(), mean: sum as f64 / count, max: max.into() }
    }
}

impl From<&LengthDistribution> for LengthRange {
    fn from(lengths: &LengthDistribution) -> Self {
        Self { min: lengths.min(), mean: lengths.mean(), max: lengths.max() }
    }
}
