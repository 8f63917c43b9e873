//! When the requests and users of a stage are due, as offsets from the start of the stage: pure functions of the plan
//! and a seed. It reads no clock, and is independent of what a request is.

mod arrivals;
mod users;

pub use arrivals::ArrivalTimes;
pub use users::{User, users};

use crate::plan::Think;
use rand::Rng;
use std::time::Duration;

/// A think time: uniformly distributed between the two bounds, both inclusive.
pub fn think(think: Think, rng: &mut impl Rng) -> Duration {
    if think.min >= think.max { think.min } else { rng.random_range(think.min..=think.max) }
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
    fn a_constant_think_time_draws_nothing() {
        let two = Duration::from_secs(2);
        let mut rng = seed::rng("test", &[3]);
        assert_eq!(think(Think { min: two, max: two }, &mut rng), two);
        assert_eq!(rng, seed::rng("test", &[3]));
    }
}
