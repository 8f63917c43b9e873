//! A bounded sample of durations.

use super::Distribution;
use crate::detect::quantile;
use rand::Rng;
use std::time::Duration;

/// Maximum number of values that a sample keeps: a few more than a p95 needs, which are 130.
const KEPT: usize = 136;

/// A sample of durations: all of them up to 136, then a uniform random selection (Vitter's algorithm R).
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

impl Sample {
    /// The sum of all values that it saw, in seconds; from what is kept of them.
    pub fn sum_seconds(&self) -> f64 {
        let kept: f64 = self.kept.iter().map(|value| f64::from(*value)).sum();
        kept * self.seen as f64 / self.kept.len().max(1) as f64
    }
}

/// Several samples together. Each kept value is weighted by the number of values its sample saw per value kept.
#[derive(Clone, Debug)]
pub struct PooledSample {
    /// In ascending order.
    values: Vec<(f32, f64)>,
    seen: u64,
}

impl PooledSample {
    /// Pools samples; `None` if there are no values.
    pub fn of<'a>(samples: impl Iterator<Item = &'a Sample>) -> Option<Self> {
        let (mut values, mut seen) = (Vec::new(), 0);
        for sample in samples {
            let weight = sample.seen as f64 / sample.kept.len().max(1) as f64;
            values.extend(sample.kept.iter().map(|value| (*value, weight)));
            seen += sample.seen;
        }
        values.sort_by(|(a, _): &(f32, f64), (b, _)| a.total_cmp(b));
        (!values.is_empty()).then_some(Self { values, seen })
    }

    /// Number of values that were seen.
    pub fn count(&self) -> u64 {
        self.seen
    }

    /// The value at rank `ceil(q * n)`, in seconds.
    pub fn quantile(&self, q: f64) -> f64 {
        let total: f64 = self.values.iter().map(|(_, weight)| weight).sum();
        // Sums of fractional weights are slightly inaccurate; that must not shift a rank by one.
        let rank = q * total - 1e-6;
        let mut below = 0.0;
        let found = self.values.iter().find(|(_, weight)| {
            below += weight;
            below >= rank
        });
        f64::from(found.or(self.values.last()).map_or(0.0, |(value, _)| *value))
    }

    /// The quantile and its bound, in seconds, as [`quantile::carried`] has them; `None` if there are too few values.
    pub fn carried(&self, q: f64) -> Option<(f64, f64)> {
        quantile::carried(self.effective(), q, |share| Some(self.quantile(share)))
    }

    /// As many values of equal weight say as much (Kish 1965): at most as many as are kept.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most the number of values"
    )]
    fn effective(&self) -> u64 {
        let sum: f64 = self.values.iter().map(|(_, weight)| weight).sum();
        let squares: f64 = self.values.iter().map(|(_, weight)| weight * weight).sum();
        (sum * sum / squares + 1e-6) as u64
    }
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
        let pooled = PooledSample::of(samples.iter().copied())?;
        Some([0.5, 0.95].map(|q| (pooled.quantile(q) * 1e3).round()))
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

    #[test]
    fn a_quantile_needs_values_and_what_is_not_kept_is_none() {
        let millis = |samples: &[&Sample]| {
            let found = PooledSample::of(samples.iter().copied())?.carried(0.95);
            found.map(|(seen, most)| ((seen * 1e3).round(), (most * 1e3).round()))
        };
        let (one, two) = (sample(1..=128), sample(129..=200));
        assert_eq!(millis(&[&one]), None, "130 are needed");
        assert_eq!(millis(&[&one, &two]), Some((190.0, 197.0)));
        // However many were seen, 136 are kept.
        assert!(millis(&[&sample(1..=10_000)]).is_some());
        assert!(millis(&[&sample(1..=10_000), &sample(1..=20)]).is_some());
        let few = [sample(1..=40), sample(1..=40), sample(1..=40)];
        assert_eq!(millis(&few.each_ref()), None);
        assert_eq!(PooledSample::of([&one, &two].into_iter()).unwrap().count(), 200);
    }
}
