//! Distributions of times.

use hdrhistogram::Histogram;
use std::time::Duration;

/// The longest time that [`Times`] distinguishes; longer ones are recorded as this.
const LONGEST: Duration = Duration::from_hours(24);

/// Something that stores times, exactly or approximately, in bounded memory.
pub trait Distribution: Default {
    /// Adds a time.
    fn record(&mut self, time: Duration);
}

/// An HDR histogram of times from a microsecond to a day, with this many significant digits. Its memory grows
/// with the largest time recorded: at most 0.3 MB with three digits, and 0.03 MB with two.
#[derive(Clone, Debug, Default)]
pub struct Times<const DIGITS: u8>(Option<Histogram<u64>>);

impl<const DIGITS: u8> Distribution for Times<DIGITS> {
    fn record(&mut self, time: Duration) {
        self.record_n(micros(time), 1);
    }
}

impl<const DIGITS: u8> Times<DIGITS> {
    /// Adds the times of another.
    pub fn add(&mut self, other: &Self) {
        let Some(theirs) = &other.0 else { return };
        match &mut self.0 {
            // Both resize automatically and have the same number of digits.
            Some(ours) => drop(ours.add(theirs)),
            None => self.0 = Some(theirs.clone()),
        }
    }

    /// The recorded data: for each non-empty bucket, its largest time in microseconds and its count.
    pub fn buckets(&self) -> Vec<(u64, u64)> {
        let recorded = self.0.iter().flat_map(Histogram::iter_recorded);
        recorded.map(|bucket| (bucket.value_iterated_to(), bucket.count_since_last_iteration())).collect()
    }

    /// Restores the times from buckets.
    pub fn of_buckets(buckets: &[(u64, u64)]) -> Self {
        let mut times = Self::default();
        for (micros, count) in buckets {
            times.record_n(*micros, *count);
        }
        times
    }

    fn record_n(&mut self, time: u64, count: u64) {
        if self.0.is_none() {
            // Up to five digits are within the limits of the library.
            self.0 = Histogram::new(DIGITS).ok();
        }
        if let Some(histogram) = &mut self.0 {
            // It resizes automatically, up to `LONGEST`.
            let _ = histogram.record_n(time.min(micros(LONGEST)), count);
        }
    }

    /// The sum of the values, in seconds.
    pub fn sum_seconds(&self) -> f64 {
        self.0.as_ref().map_or(0.0, |histogram| histogram.mean() * histogram.len() as f64 / 1e6)
    }

    /// Number of times.
    pub fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// The smallest time that at least a share of `q` of all times does not exceed; `None` if there are none.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let histogram = self.0.as_ref().filter(|histogram| !histogram.is_empty())?;
        Some(Duration::from_micros(histogram.value_at_quantile(q)))
    }

    /// The average time; `None` if there are none.
    pub fn mean(&self) -> Option<Duration> {
        let histogram = self.0.as_ref().filter(|histogram| !histogram.is_empty())?;
        Duration::try_from_secs_f64(histogram.mean() / 1e6).ok()
    }

    /// Number of times longer than this, to the accuracy of the histogram.
    pub fn over(&self, time: Duration) -> u64 {
        let Some(histogram) = &self.0 else { return 0 };
        histogram.len() - histogram.count_between(0, micros(time))
    }

    /// The longest time; `None` if there are none.
    pub fn max(&self) -> Option<Duration> {
        let histogram = self.0.as_ref().filter(|histogram| !histogram.is_empty())?;
        Some(Duration::from_micros(histogram.max()))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn trap_21_quantiles_of_nothing_are_absent() {
        let mut times = Times::<3>::default();
        times.add(&Times::default());
        assert_eq!((times.quantile(0.5), times.max(), times.count()), (None, None, 0));
    }

    #[test]
    fn the_times_over_a_bound_are_counted() {
        let mut times = Times::<2>::default();
        assert_eq!(times.over(Duration::ZERO), 0);
        for millis in [1, 2, 3, 200] {
            times.record(Duration::from_millis(millis));
        }
        let over = [0, 1, 2, 50, 200, 90_000_000].map(|millis| times.over(Duration::from_millis(millis)));
        assert_eq!(over, [4, 3, 2, 1, 0, 0]);
    }

    fn bytes<const DIGITS: u8>() -> usize {
        let mut times = Times::<DIGITS>::default();
        times.record(Duration::MAX);
        times.record(Duration::ZERO);
        let max = times.max().unwrap();
        assert!((max.as_secs_f64() / LONGEST.as_secs_f64() - 1.0).abs() < 0.01, "{max:?}");
        times.0.as_ref().unwrap().distinct_values() * size_of::<u64>()
    }

    #[test]
    fn trap_20_a_distribution_stays_small() {
        assert!(bytes::<3>() < 300_000, "{}", bytes::<3>());
        assert!(bytes::<2>() < 33_000, "{}", bytes::<2>());
    }

    /// Quantiles are within `10^-digits` of the exact ones, whether merged or not.
    fn are_right<const DIGITS: u8>(micros: &[u64]) -> Result<(), TestCaseError> {
        let (mut left, mut right) = (Times::<DIGITS>::default(), Times::default());
        for (n, value) in micros.iter().enumerate() {
            let half = if n % 2 == 0 { &mut left } else { &mut right };
            half.record(Duration::from_micros(*value));
        }
        left.add(&right);
        let mut sorted = micros.to_vec();
        sorted.sort_unstable();
        // The smallest value that at least a share of q of all values does not exceed.
        let exact = |q: f64| {
            let rank = (q * sorted.len() as f64).ceil().max(1.0);
            let below = sorted.iter().enumerate().find(|(index, _)| (*index + 1) as f64 >= rank);
            Duration::from_micros(*below.unwrap().1).as_secs_f64()
        };
        prop_assert_eq!(left.count(), micros.len() as u64);
        let mean = micros.iter().sum::<u64>() as f64 / micros.len() as f64 / 1e6;
        let error = 10_f64.powi(-i32::from(DIGITS)) + 1e-9;
        prop_assert!((left.mean().unwrap().as_secs_f64() / mean - 1.0).abs() <= error);
        for q in [0.5, 0.95, 0.99] {
            let (got, exact) = (left.quantile(q).unwrap().as_secs_f64(), exact(q));
            let error = 10_f64.powi(-i32::from(DIGITS)) + 1e-9;
            prop_assert!((got / exact - 1.0).abs() <= error, "{} is {}, not {}", q, got, exact);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn quantiles_are_right_to_their_digits(micros in prop::collection::vec(1_u64..1_000_000_000, 1..200)) {
            are_right::<3>(&micros)?;
            are_right::<2>(&micros)?;
        }
    }
}
