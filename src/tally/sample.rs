//! A bounded sample of durations.

use super::Distribution;
use rand::Rng;
use std::time::Duration;

/// Maximum number of values that a sample keeps.
const KEPT: usize = 128;

/// A sample of durations: all of them up to 128, then a uniform random selection (Vitter's algorithm R).
#[derive(Clone, Debug, Default)]
pub struct Sample {
    seen: u64,
    /// In seconds.
    kept: Vec<f32>,
}

impl Distribution for Sample {
    fn record(&mut self, time: Duration) {
        self.seen += 1;
        if self.kept.len() < KEPT {
            self.kept.push(time.as_secs_f32());
            return;
        }
        let at = usize::try_from(rand::rng().random_range(0..self.seen)).unwrap_or(KEPT);
        if let Some(place) = self.kept.get_mut(at) {
            *place = time.as_secs_f32();
        }
    }
}

/// The values at ranks `ceil(q * n)` of several samples together, in seconds, for `q` in ascending order.
/// Each kept value is weighted by the number of values its sample saw per value kept. `None` if there are no
/// values.
pub fn quantiles<'a, const N: usize>(
    samples: impl Iterator<Item = &'a Sample>,
    qs: [f64; N],
) -> Option<[f64; N]> {
    let mut values: Vec<(f32, f64)> = Vec::new();
    for sample in samples {
        let weight = sample.seen as f64 / sample.kept.len().max(1) as f64;
        values.extend(sample.kept.iter().map(|value| (*value, weight)));
    }
    values.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let total: f64 = values.iter().map(|(_, weight)| weight).sum();
    let (largest, _) = values.last()?;
    Some(qs.map(|q| {
        // Sums of fractional weights are slightly inaccurate; that must not shift a rank by one.
        let rank = q * total - 1e-6;
        let mut below = 0.0;
        let found = values.iter().find(|(_, weight)| {
            below += weight;
            below >= rank
        });
        f64::from(found.map_or(*largest, |(value, _)| *value))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(millis: impl Iterator<Item = u64>) -> Sample {
        let mut sample = Sample::default();
        millis.for_each(|millis| sample.record(Duration::from_millis(millis)));
        sample
    }

    fn millis(samples: &[&Sample]) -> Option<[f64; 2]> {
        quantiles(samples.iter().copied(), [0.5, 0.95]).map(|found| found.map(|it| (it * 1e3).round()))
    }

    #[test]
    fn quantiles_are_by_rank_and_absent_of_nothing() {
        assert_eq!(millis(&[&sample(1..=20)]), Some([10.0, 19.0]));
        assert_eq!(millis(&[&sample(1..=10), &sample(11..=20)]), Some([10.0, 19.0]));
        assert_eq!(millis(&[&sample(7..=7)]), Some([7.0, 7.0]));
        assert_eq!(millis(&[&Sample::default()]), None);
        assert_eq!(millis(&[]), None);
    }

    #[test]
    fn trap_20_a_sample_is_bounded_and_weighs_what_it_saw() {
        let many = sample(std::iter::repeat_n(500, 10_000));
        assert_eq!((many.kept.len(), many.seen), (KEPT, 10_000));
        // A hundred other values make up a hundredth, not nearly a half.
        assert_eq!(millis(&[&sample(std::iter::repeat_n(1, 100)), &many]), Some([500.0, 500.0]));
        let rising = sample(1..=10_000);
        let [median, _] = millis(&[&rising]).unwrap();
        assert!((2_000.0..8_000.0).contains(&median), "{median}: not only the first or the last are kept");
    }
}
