//! Open-loop arrivals. They are drawn in unit-rate time, in which one request per unit is due on average, and mapped to
//! real time by inverting the cumulative rate, so that any distribution can be combined with any shape.

use crate::plan::{Arrivals, Ramp, StageBounds};
use crate::seed;
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp1, Gamma};
use std::time::Duration;

/// Tolerance for rounding when a count is decided: a billionth of a request.
const ROUNDING: f64 = 1e-9;

/// The due times of a stage's requests as offsets from its start, in order. The sequence depends only on the load and
/// the seed. It ends with the stage: at its duration (exclusive) or after its number of requests.
#[derive(Debug)]
pub struct ArrivalTimes {
    spread: Spread,
    rate: Cumulative,
    /// The end of the stage in unit-rate time.
    end: f64,
    time: Option<Duration>,
    most: u64,
    n: u64,
}

#[derive(Debug)]
enum Spread {
    Constant,
    Poisson { rng: Box<ChaCha8Rng>, at: f64 },
    Gamma { rng: Box<ChaCha8Rng>, at: f64, gap: Gamma<f64>, first: Gamma<f64> },
}

/// The cumulative rate of a linear ramp: `from * t + slope * t^2 / 2` requests by time `t`.
#[derive(Clone, Copy, Debug)]
struct Cumulative {
    from: f64,
    slope: f64,
}

impl ArrivalTimes {
    /// The arrivals of a stage with this rate in requests per second. A rate that is not positive has no arrivals.
    pub fn new(rate: Ramp, arrivals: Arrivals, bounds: StageBounds, seed: u64) -> Self {
        let seconds = bounds.time.map(|time| time.as_secs_f64());
        let rate = Cumulative {
            from: rate.from.max(0.0),
            slope: seconds.filter(|t| *t > 0.0).map_or(0.0, |t| (rate.to.max(0.0) - rate.from.max(0.0)) / t),
        };
        let end = match seconds {
            Some(seconds) => rate.at(seconds),
            None if rate.from > 0.0 => f64::INFINITY,
            None => 0.0,
        };
        let most = bounds.requests.unwrap_or(u64::MAX);
        Self { spread: Spread::new(arrivals, seed), rate, end, time: bounds.time, most, n: 0 }
    }
}

impl Iterator for ArrivalTimes {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.n >= self.most {
            return None;
        }
        let unit = self.spread.next(self.n);
        if unit >= self.end - ROUNDING {
            self.most = 0;
            return None;
        }
        self.n += 1;
        let offset = Duration::try_from_secs_f64(self.rate.inverse(unit)).ok()?;
        // Rounding must not move the last request past the end.
        Some(self.time.map_or(offset, |time| offset.min(time.saturating_sub(Duration::from_nanos(1)))))
    }
}

impl Spread {
    fn new(arrivals: Arrivals, seed: u64) -> Self {
        let rng = || Box::new(seed::rng("arrivals", &[seed]));
        match arrivals {
            Arrivals::Constant => Self::Constant,
            Arrivals::Poisson => Self::Poisson { rng: rng(), at: 0.0 },
            // Gaps with mean 1 and coefficient of variation cv: shape 1/cv^2, scale cv^2.
            Arrivals::Gamma { cv } => {
                let scale = cv * cv;
                match (Gamma::new(scale.recip(), scale), Gamma::new(scale.recip() + 1.0, scale)) {
                    (Ok(gap), Ok(first)) => Self::Gamma { rng: rng(), at: 0.0, gap, first },
                    // A cv of zero, or one too small for a shape, means constant arrivals.
                    _ => Self::Constant,
                }
            }
        }
    }

    /// The n-th arrival in unit-rate time. Called once for each n, from 0.
    fn next(&mut self, n: u64) -> f64 {
        match self {
            // The first request is due at the start of the stage, so that consecutive stages have no gap between them.
            Self::Constant => n as f64,
            Self::Poisson { rng, at } => {
                let gap: f64 = Exp1.sample(rng);
                *at += gap;
                *at
            }
            // The start of a stage falls into a gap that has already begun: a part of a length-biased gap. Otherwise a
            // bursty stage would offer (cv^2 - 1) / 2 requests too many.
            Self::Gamma { rng, at, first, .. } if n == 0 => {
                *at = rng.random::<f64>() * first.sample(rng);
                *at
            }
            Self::Gamma { rng, at, gap, .. } => {
                *at += gap.sample(rng);
                *at
            }
        }
    }
}

impl Cumulative {
    fn at(self, t: f64) -> f64 {
        self.from * t + self.slope * t * t / 2.0
    }

    /// The time by which `unit` requests are due: the root of the cumulative rate, in a form that avoids cancellation
    /// for small and for falling slopes.
    fn inverse(self, unit: f64) -> f64 {
        if unit <= 0.0 {
            return 0.0;
        }
        if self.slope == 0.0 {
            return unit / self.from;
        }
        let root = (self.from * self.from + 2.0 * self.slope * unit).max(0.0).sqrt();
        2.0 * unit / (self.from + root)
    }
}

#[cfg(test)]
mod tests;
