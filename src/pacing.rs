//! When the requests and users of a stage are due, as offsets from the start of the stage: pure functions of the plan
//! and a seed. It reads no clock and does not know what a request is.

mod arrivals;
mod process;
mod share;
mod trace;
mod users;
mod weibull;

pub use arrivals::ArrivalTimes;
pub use share::{StageShare, UserTurns, most_users};
pub use trace::TraceArrivals;
pub use users::{UserLevel, spawn_offset, user_levels};

use crate::plan::Think;
use rand::Rng;
use std::time::Duration;

/// A think time: uniformly distributed between the two bounds, both inclusive.
pub fn think(think: Think, rng: &mut impl Rng) -> Duration {
    if think.min >= think.max { think.min } else { rng.random_range(think.min..=think.max) }
}

/// The wait before the next attempt, after `failed` failed ones (from 1): the lower bound, doubled for each further
/// failure, plus a random half of that at most, so that users that were refused together do not retry together; never
/// more than the upper bound.
pub fn backoff(bounds: Think, failed: u32, rng: &mut impl Rng) -> Duration {
    let doubled = bounds.min.saturating_mul(2_u32.saturating_pow(failed.saturating_sub(1)));
    let wait = doubled.min(bounds.max);
    wait.saturating_add(wait.mul_f64(rng.random_range(0.0..=0.5))).min(bounds.max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed;

    #[test]
    fn think_times_are_uniform_between_their_bounds() {
        let span = Think { min: Duration::from_secs(1), max: Duration::from_secs(3) };
        let mut rng = seed::rng("test", &[3]);
        let draws: Vec<f64> = (0..20_000).map(|_| think(span, &mut rng).as_secs_f64()).collect();
        assert!(draws.iter().all(|draw| (1.0..=3.0).contains(draw)));
        // Chi-square over 20 cells; 43.8 is the 99.9% quantile at 19 degrees of freedom.
        let cell = |i: u32| {
            let from = 1.0 + f64::from(i) * 0.1;
            draws.iter().filter(|draw| (from..from + 0.1).contains(*draw)).count() as f64
        };
        let chi: f64 = (0..20).map(|i| (cell(i) - 1000.0).powi(2) / 1000.0).sum();
        assert!(chi < 43.8, "{chi}");
    }

    #[test]
    fn a_backoff_doubles_within_its_bounds() {
        let [one, thirty] = [1, 30].map(Duration::from_secs);
        let bounds = Think { min: one, max: thirty };
        let mut rng = seed::rng("test", &[3]);
        let mut draws = |failed| (0..1000).map(|_| backoff(bounds, failed, &mut rng)).collect::<Vec<_>>();
        for (failed, from) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16)] {
            let from = Duration::from_secs(from);
            let draws = draws(failed);
            assert!(draws.iter().all(|wait| (from..=from.mul_f64(1.5)).contains(wait)), "{failed}");
            assert!(draws.iter().max() > draws.iter().min());
        }
        for failed in [6, 100, u32::MAX] {
            assert!(draws(failed).iter().all(|wait| *wait == thirty), "{failed}");
        }
        assert_eq!(backoff(Think { min: one, max: one }, 1, &mut seed::rng("test", &[3])), one);
    }

    #[test]
    fn a_constant_think_time_draws_nothing() {
        let two = Duration::from_secs(2);
        let mut rng = seed::rng("test", &[3]);
        assert_eq!(think(Think { min: two, max: two }, &mut rng), two);
        assert_eq!(rng, seed::rng("test", &[3]));
    }
}
