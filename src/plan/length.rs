//! Lengths in tokens: distributions from which one is drawn for each request. Pure: a draw depends on the random
//! numbers alone, and every length takes two of them.
//!
//! A value is rounded to whole tokens. One that then lies outside `min` and `max` does not occur: what remains of the
//! distribution is scaled up (a truncated distribution, drawn by its inverse, so that nothing is drawn again). A clamped
//! one would pile up at the bounds.

mod curve;
#[cfg(test)]
mod tests;

pub use curve::{LengthCurve, WeightedLengths};

use rand::Rng;
use serde::Serialize;
use std::sync::Arc;

/// Largest length in tokens.
pub const LONGEST_TEXT: u64 = 1_000_000;

/// Smaller shares of a distribution do not count as any.
const LEAST_MASS: f64 = 1e-9;

/// Points at which a mean is taken.
const POINTS: u32 = 8192;

/// A distribution of lengths in tokens, each 1 or more.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LengthDistribution {
    parts: Vec<LengthPart>,
    min: u64,
    max: u64,
    // Follows from the parts.
    #[serde(skip)]
    mean: f64,
}

/// One of the curves that a distribution consists of, and how much of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct LengthPart {
    /// The share of this part and of those before it, up to 1.
    up_to: f64,
    curve: LengthCurve,
    /// The shares of the curve that lie below and up to what is drawn of it.
    range: (f64, f64),
}

impl LengthDistribution {
    /// Always this length.
    pub fn fixed(tokens: u64) -> Self {
        let part = LengthPart {
            up_to: 1.0,
            curve: LengthCurve::Between { from: tokens, to: tokens },
            range: (0.0, 1.0),
        };
        Self { parts: vec![part], min: tokens, max: tokens, mean: tokens as f64 }
    }

    /// What lies between `min` and `max` (inclusive) of curves with these weights; `None` if nothing does.
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

    /// The only length that may be drawn, if there is only one.
    pub const fn only(&self) -> Option<u64> {
        if self.min == self.max { Some(self.min) } else { None }
    }
}

impl LengthPart {
    /// The length below which the share `at`, from 0 to 1, of this part lies.
    fn at(&self, at: f64, min: u64, max: u64) -> u64 {
        let (from, to) = self.range;
        whole(self.curve.quantile(from + at * (to - from)), min, max)
    }

    fn mean(&self, min: u64, max: u64) -> f64 {
        self.curve.exact_mean().unwrap_or_else(|| {
            let at = |point: u32| (f64::from(point) + 0.5) / f64::from(POINTS);
            (0..POINTS).map(|point| self.at(at(point), min, max) as f64).sum::<f64>() / f64::from(POINTS)
        })
    }
}

/// A value in whole tokens. It may lie outside the bounds by an error of rounding only.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of a float saturates")]
fn whole(value: f64, min: u64, max: u64) -> u64 {
    (value.round() as u64).clamp(min, max)
}

/// Pairs of an input and an output length, of which one is drawn for each request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JointLengths {
    // What identifies them is the digest.
    #[serde(skip)]
    pairs: Arc<[(u32, u32)]>,
    digest: String,
}

impl JointLengths {
    /// At least one pair of lengths of 1 or more; `None` without one. `digest` identifies them.
    pub fn new(pairs: Vec<(u32, u32)>, digest: String) -> Option<Self> {
        (!pairs.is_empty()).then(|| Self { pairs: pairs.into(), digest })
    }

    /// Draws a pair: input and output.
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

/// Which lengths may be drawn, in tokens.
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
