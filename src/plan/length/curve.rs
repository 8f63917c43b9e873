//! The distributions that lengths are drawn from. Each is sampled by its inverse (the quantile function), which maps a
//! uniform random number to a length. Pure.

use serde::Serialize;
use std::sync::Arc;

/// Number of bisection steps for inverting a quantile function, which gives shares to within 2^-60.
const BISECTIONS: u32 = 60;

/// A distribution without bounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum LengthCurve {
    /// Every whole number in a range is equally likely. Both ends are included.
    Between {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// Normal.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        stddev: f64,
    },
    /// Lognormal: the logarithm is normal.
    LogNormal {
        /// Mean of the logarithm.
        mu: f64,
        /// Standard deviation of the logarithm.
        sigma: f64,
    },
    /// Exponential.
    Exponential {
        /// Mean.
        mean: f64,
    },
    /// Pareto, type I: the share of lengths over x is `(scale / x) ^ shape`.
    Pareto {
        /// The smallest value.
        scale: f64,
        /// The shape; the smaller, the heavier the tail.
        shape: f64,
    },
    /// Lengths from a file.
    Empirical(Arc<WeightedLengths>),
}

impl LengthCurve {
    /// The longest length that it names; `None` if it goes on for ever.
    pub fn longest(&self) -> Option<u64> {
        match self {
            Self::Between { to, .. } => Some(*to),
            Self::Empirical(weighted) => weighted.lengths.last().copied(),
            Self::Normal { .. } | Self::LogNormal { .. } | Self::Exponential { .. } | Self::Pareto { .. } => {
                None
            }
        }
    }
}

/// Lengths and their frequencies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WeightedLengths {
    // The digest identifies them.
    #[serde(skip)]
    lengths: Vec<u64>,
    /// Cumulative share of the lengths up to and including each, at most 1.
    #[serde(skip)]
    up_to: Vec<f64>,
    digest: String,
}

impl WeightedLengths {
    /// Creates a list from lengths with positive weights, in any order. Equal lengths are merged. `None` if there are
    /// no lengths. `digest` identifies them.
    pub fn new(mut weighted: Vec<(u64, f64)>, digest: String) -> Option<Self> {
        weighted.sort_by_key(|(length, _)| *length);
        weighted.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        let total: f64 = weighted.iter().map(|(_, weight)| weight).sum();
        let (mut lengths, mut up_to, mut sum) = (Vec::new(), Vec::new(), 0.0);
        for (length, weight) in weighted {
            sum += weight;
            lengths.push(length);
            up_to.push(sum / total);
        }
        (!lengths.is_empty() && total > 0.0).then_some(Self { lengths, up_to, digest })
    }

    /// Each length with its share.
    fn shares(&self) -> impl Iterator<Item = (u64, f64)> {
        let before = std::iter::once(&0.0).chain(&self.up_to);
        self.lengths
            .iter()
            .zip(self.up_to.iter().zip(before))
            .map(|(length, (to, from))| (*length, to - from))
    }

    fn within(&self, min: u64, max: u64) -> Option<(Self, f64)> {
        let inside = self.shares().filter(|(length, _)| (min..=max).contains(length));
        let inside: Vec<_> = inside.collect();
        let mass = inside.iter().map(|(_, share)| share).sum();
        Some((Self::new(inside, self.digest.clone())?, mass))
    }
}

impl LengthCurve {
    /// A lognormal distribution with this median and 95th percentile.
    pub fn lognormal(median: f64, p95: f64) -> Self {
        let mu = median.ln();
        Self::LogNormal { mu, sigma: (p95.ln() - mu) / standard_normal(0.95) }
    }

    /// The quantile function: the value below which this share of the distribution lies.
    pub(super) fn quantile(&self, share: f64) -> f64 {
        match self {
            Self::Between { from, to } => {
                let count = (to - from + 1) as f64;
                *from as f64 + (share * count).floor().min(count - 1.0)
            }
            Self::Normal { mean, stddev } => mean + stddev * standard_normal(share),
            Self::LogNormal { mu, sigma } => (mu + sigma * standard_normal(share)).exp(),
            Self::Exponential { mean } => -mean * (-share).ln_1p(),
            Self::Pareto { scale, shape } => scale * (1.0 - share).powf(-1.0 / shape),
            Self::Empirical(weighted) => {
                let at = weighted.up_to.partition_point(|up_to| *up_to <= share);
                weighted.lengths.get(at).or(weighted.lengths.last()).map_or(1.0, |length| *length as f64)
            }
        }
    }

    /// Restricts the curve to values that are between two whole numbers after rounding. Returns a curve, the range of
    /// its quantiles that remains, and the share of the original distribution.
    pub(super) fn within(self, min: u64, max: u64) -> Option<(Self, (f64, f64), f64)> {
        let all = (0.0, 1.0);
        match self {
            Self::Between { from, to } => {
                let (first, last) = (from.max(min), to.min(max));
                let mass = (last + 1).checked_sub(first)? as f64 / (to - from + 1) as f64;
                (mass > 0.0).then_some((Self::Between { from: first, to: last }, all, mass))
            }
            Self::Empirical(weighted) => {
                let (weighted, mass) = weighted.within(min, max)?;
                Some((Self::Empirical(Arc::new(weighted)), all, mass))
            }
            continuous => {
                let range = (continuous.below(min as f64 - 0.5), continuous.below(max as f64 + 0.5));
                let mass = range.1 - range.0;
                Some((continuous, range, mass))
            }
        }
    }

    /// The share of the distribution that lies below a value.
    fn below(&self, value: f64) -> f64 {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..BISECTIONS {
            let middle = f64::midpoint(low, high);
            if self.quantile(middle) < value { low = middle } else { high = middle }
        }
        f64::midpoint(low, high)
    }

    /// The exact mean, if it can be computed without an integral.
    pub(super) fn exact_mean(&self) -> Option<f64> {
        match self {
            Self::Between { from, to } => Some(f64::midpoint(*from as f64, *to as f64)),
            Self::Empirical(weighted) => {
                Some(weighted.shares().map(|(length, share)| length as f64 * share).sum())
            }
            _ => None,
        }
    }
}

/// The quantile function of the standard normal distribution: P. J. Acklam's rational approximation (relative error
/// below 1.15e-9).
fn standard_normal(share: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] = [
        7.784_695_709_041_462e-3,
        3.224_671_290_700_398e-1,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
        1.0,
    ];
    const TAIL: f64 = 0.024_25;
    let polynomial = |factors: &[f64], x: f64| factors.iter().fold(0.0, |sum, factor| sum * x + factor);
    let tail = |share: f64| {
        let q = (-2.0 * share.ln()).sqrt();
        polynomial(&C, q) / polynomial(&D, q)
    };
    if share <= 0.0 {
        f64::NEG_INFINITY
    } else if share >= 1.0 {
        f64::INFINITY
    } else if share < TAIL {
        tail(share)
    } else if share > 1.0 - TAIL {
        -tail(1.0 - share)
    } else {
        let q = share - 0.5;
        let r = q * q;
        q * polynomial(&A, r) / polynomial(&B, r)
    }
}
