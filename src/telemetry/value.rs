//! The values of series: lock-free numbers and histograms. They must not know what they measure.

use super::native::Native;
use crate::catalogue::buckets::Buckets;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A count.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// Adds to the count.
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The count.
    pub(super) fn get(&self) -> f64 {
        self.0.load(Relaxed) as f64
    }
}

impl Clone for Counter {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Relaxed)))
    }
}

/// A sum of durations, stored in whole nanoseconds so that many small ones add up exactly.
#[derive(Debug, Default)]
pub(super) struct TimeCounter(AtomicU64);

impl TimeCounter {
    /// Adds to the sum.
    pub(super) fn add(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// The sum in seconds.
    pub(super) fn get(&self) -> f64 {
        Duration::from_nanos(self.0.load(Relaxed)).as_secs_f64()
    }
}

/// A sum of floats.
#[derive(Debug, Default)]
pub(super) struct FloatCounter(AtomicU64);

impl FloatCounter {
    /// Adds a value. Non-finite values are ignored, because they would spoil the sum permanently.
    pub(super) fn add(&self, value: f64) {
        if value.is_finite() {
            let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
            // The closure never refuses.
            let _ = self.0.fetch_update(Relaxed, Relaxed, add);
        }
    }

    /// The sum.
    pub(super) fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}

/// A current number of something.
#[derive(Debug, Default)]
pub(super) struct Level(AtomicI64);

impl Level {
    /// Adds to the number; `n` may be negative.
    pub(super) fn add(&self, n: i64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The current number, of requests or runs and therefore far below 2^52.
    pub(super) fn get(&self) -> f64 {
        self.0.load(Relaxed) as f64
    }
}

impl Clone for Level {
    fn clone(&self) -> Self {
        Self(AtomicI64::new(self.0.load(Relaxed)))
    }
}

/// The last value; zero before the first.
#[derive(Debug, Default)]
pub(super) struct Gauge(AtomicU64);

impl Gauge {
    /// Sets the value.
    pub(super) fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Relaxed);
    }

    /// Sets the value to an instant, in seconds since the epoch.
    pub(super) fn set_time(&self, at: SystemTime) {
        self.set(epoch_seconds(at));
    }

    /// The value.
    pub(super) fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}

/// The last value; absent before the first.
#[derive(Debug)]
pub(super) struct OptionalGauge(AtomicU64);

impl OptionalGauge {
    /// A NaN that no arithmetic operation produces.
    const ABSENT: u64 = u64::MAX;

    /// Sets the value.
    pub(super) fn set(&self, value: f64) {
        self.put(Some(value));
    }

    /// Sets or removes the value.
    pub(super) fn put(&self, value: Option<f64>) {
        self.0.store(value.map_or(Self::ABSENT, f64::to_bits), Relaxed);
    }

    /// The value, if there is one.
    pub(super) fn get(&self) -> Option<f64> {
        let bits = self.0.load(Relaxed);
        (bits != Self::ABSENT).then(|| f64::from_bits(bits))
    }
}

impl Default for OptionalGauge {
    fn default() -> Self {
        Self(AtomicU64::new(Self::ABSENT))
    }
}

/// Seconds since the epoch.
pub(super) fn epoch_seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A measured request behind a bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// Its trace id.
    pub trace_id: [u8; 16],
    /// Its span id.
    pub span_id: [u8; 8],
    /// Its value.
    pub value: f64,
    /// Its time, in seconds since the epoch.
    pub time: f64,
}

/// The trace of a measured value that may become an exemplar.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trace {
    /// The trace id.
    pub(super) id: [u8; 16],
    /// The span id.
    pub(super) span_id: [u8; 8],
    /// The current time, in seconds since the epoch.
    pub(super) time: f64,
}

/// Counts of values in buckets. Count and buckets agree in every reading, because the count is the sum of the buckets.
/// The sum of the values may be one observation ahead or behind.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    counts: Box<[AtomicU64]>,
    sum: FloatCounter,
    /// The last exemplar per bucket; allocated with the first one.
    exemplars: Mutex<Box<[Option<Exemplar>]>>,
    /// The same values in base-2 buckets, from the moment they were enabled.
    native: OnceLock<Mutex<Native>>,
}

/// The contents of a histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistogramSnapshot {
    /// Upper bounds without `+Inf`.
    pub bounds: &'static [f64],
    /// Counts per bucket, not cumulative; `+Inf` is last.
    pub counts: Vec<u64>,
    /// Sum of the values.
    pub sum: f64,
    /// The last exemplar per bucket; empty if there are none yet.
    pub exemplars: Vec<Option<Exemplar>>,
}

impl HistogramSnapshot {
    /// The number of values.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Keeps these bounds, which must be among its own: the buckets between two of them become one, with the latest of
    /// their exemplars.
    pub(super) fn keep(&mut self, bounds: &'static [f64]) {
        if bounds.len() == self.bounds.len() {
            return;
        }
        let mut into = 0;
        for slot in 0..self.counts.len() {
            if slot > into {
                let count = self.counts.get_mut(slot).map_or(0, std::mem::take);
                if let Some(kept) = self.counts.get_mut(into) {
                    *kept += count;
                }
                let exemplar = self.exemplars.get_mut(slot).and_then(Option::take);
                if let (Some(exemplar), Some(kept)) = (exemplar, self.exemplars.get_mut(into))
                    && kept.is_none_or(|before| before.time <= exemplar.time)
                {
                    *kept = Some(exemplar);
                }
            }
            // This bucket was the last one below a bound that is kept.
            into += usize::from(self.bounds.get(slot).is_some() && self.bounds.get(slot) == bounds.get(into));
        }
        self.counts.truncate(bounds.len() + 1);
        self.exemplars.truncate(bounds.len() + 1);
        self.bounds = bounds;
    }
}

/// Number of buckets of the largest histogram, including `+Inf`.
const MAX_BUCKETS: usize = Buckets::MAX_FINE + 1;

/// Maximum number of populated base-2 buckets: the default of OpenTelemetry's and Prometheus' own libraries.
const MAX_NATIVE: usize = 160;

impl Histogram {
    /// An empty histogram.
    pub(super) fn new(buckets: &'static Buckets) -> Self {
        Self::with_bounds(buckets.bounds)
    }

    /// An empty histogram with one bucket for all values.
    pub(super) fn without_buckets() -> Self {
        Self::with_bounds(&[])
    }

    fn with_bounds(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        let (sum, exemplars, native) = (FloatCounter::default(), Mutex::default(), OnceLock::new());
        Self { bounds, counts, sum, exemplars, native }
    }

    /// Records a value. NaN and infinities are not measurements and are ignored.
    pub(super) fn observe(&self, value: f64, trace: Option<&Trace>) {
        if !value.is_finite() {
            return;
        }
        let slot = self.slot(value);
        {
            // Held over both updates, so that both forms contain the same values in every snapshot.
            let mut native = self.lock_native();
            if let Some(count) = self.counts.get(slot) {
                count.fetch_add(1, Relaxed);
            }
            self.sum.add(value);
            if let Some(native) = &mut native {
                native.observe(value);
            }
        }
        self.remember(slot, value, trace);
    }

    /// Records a duration, if there is one.
    pub(super) fn observe_time(&self, time: Option<Duration>, trace: Option<&Trace>) {
        if let Some(time) = time {
            self.observe(time.as_secs_f64(), trace);
        }
    }

    /// Records many durations at once. They are counted locally and then merged, so that the shared cells are accessed
    /// once per bucket and not once per value. The longest becomes the exemplar.
    pub(super) fn observe_all(&self, times: impl Iterator<Item = Duration> + Clone, trace: Option<&Trace>) {
        let mut local = [0_u64; MAX_BUCKETS];
        let mut sum = Duration::ZERO;
        let mut longest = Duration::ZERO;
        for time in times.clone() {
            if let Some(count) = local.get_mut(self.slot(time.as_secs_f64())) {
                *count += 1;
            }
            sum += time;
            longest = longest.max(time);
        }
        if times.clone().next().is_none() {
            return;
        }
        let base_2 = self.native.get().map(|_| {
            let mut local = Native::new(MAX_NATIVE);
            for time in times {
                local.observe(time.as_secs_f64());
            }
            local
        });
        {
            let mut native = self.lock_native();
            for (count, n) in self.counts.iter().zip(local).filter(|(_, n)| *n > 0) {
                count.fetch_add(n, Relaxed);
            }
            self.sum.add(sum.as_secs_f64());
            if let (Some(native), Some(base_2)) = (&mut native, &base_2) {
                native.merge(base_2);
            }
        }
        self.remember(self.slot(longest.as_secs_f64()), longest.as_secs_f64(), trace);
    }

    /// Records values in base-2 buckets as well, from now on. Call this before the first value, because earlier values
    /// are not included.
    pub(super) fn record_native(&self) {
        self.native.get_or_init(|| Mutex::new(Native::new(MAX_NATIVE)));
    }

    fn lock_native(&self) -> Option<MutexGuard<'_, Native>> {
        self.native.get().map(|native| native.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The current contents in both forms. They contain the same values if the base-2 buckets were enabled before the
    /// first value.
    pub fn snapshot(&self) -> (HistogramSnapshot, Option<Native>) {
        let mut reading = HistogramSnapshot::default();
        let native = self.snapshot_into(&mut reading);
        (reading, native)
    }

    /// Like [`Histogram::snapshot`], into memory that may have been used before.
    pub(super) fn snapshot_into(&self, reading: &mut HistogramSnapshot) -> Option<Native> {
        let native = self.lock_native();
        self.read_into(reading);
        native.as_deref().cloned()
    }

    /// The base-2 buckets, if they are enabled.
    pub fn native(&self) -> Option<Native> {
        self.lock_native().as_deref().cloned()
    }

    fn slot(&self, value: f64) -> usize {
        self.bounds.partition_point(|bound| *bound < value)
    }

    fn remember(&self, slot: usize, value: f64, trace: Option<&Trace>) {
        let Some(Trace { id: trace_id, span_id, time }) = trace.copied() else { return };
        // An exemplar is only a sample: if another thread holds the lock, this one is skipped.
        let Ok(mut exemplars) = self.exemplars.try_lock() else { return };
        if exemplars.is_empty() {
            *exemplars = vec![None; self.counts.len()].into_boxed_slice();
        }
        if let Some(cell) = exemplars.get_mut(slot) {
            *cell = Some(Exemplar { trace_id, span_id, value, time });
        }
    }

    /// The current contents.
    pub fn read(&self) -> HistogramSnapshot {
        let mut reading = HistogramSnapshot::default();
        self.read_into(&mut reading);
        reading
    }

    fn read_into(&self, reading: &mut HistogramSnapshot) {
        reading.bounds = self.bounds;
        reading.counts.clear();
        reading.counts.extend(self.counts.iter().map(|count| count.load(Relaxed)));
        reading.sum = self.sum.get();
        let exemplars = self.exemplars.lock().unwrap_or_else(PoisonError::into_inner);
        reading.exemplars.clear();
        reading.exemplars.extend_from_slice(&exemplars);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    static BUCKETS: Buckets = Buckets { name: "test", bounds: &[0.1, 1.0], why: "" };

    fn trace(n: u8) -> Trace {
        Trace { id: [n; 16], span_id: [n; 8], time: f64::from(n) }
    }

    #[test]
    fn bounds_are_inclusive_and_nothing_is_lost_above_the_last() {
        let histogram = Histogram::new(&BUCKETS);
        for value in [0.0, 0.1, 0.100_001, 1.0, 7.0] {
            histogram.observe(value, None);
        }
        let reading = histogram.read();
        assert_eq!(reading.counts, [2, 2, 1]);
        assert_eq!(reading.count(), 5);
    }

    #[test]
    fn what_is_no_number_is_no_measurement() {
        let histogram = Histogram::new(&BUCKETS);
        histogram.observe(f64::NAN, None);
        histogram.observe(f64::INFINITY, None);
        assert_eq!((histogram.read().count(), histogram.read().sum), (0, 0.0));
        let sum = FloatCounter::default();
        sum.add(1.5);
        sum.add(f64::NAN);
        assert!((sum.get() - 1.5).abs() < f64::EPSILON);
    }

    #[test]
    fn a_bucket_keeps_its_last_exemplar() {
        let histogram = Histogram::new(&BUCKETS);
        assert!(histogram.read().exemplars.is_empty());
        histogram.observe(0.5, Some(&trace(1)));
        histogram.observe(0.6, Some(&trace(2)));
        histogram.observe(0.7, None);
        let held = Exemplar { trace_id: [2; 16], span_id: [2; 8], value: 0.6, time: 2.0 };
        assert_eq!(histogram.read().exemplars, [None, Some(held), None]);
    }

    #[test]
    fn of_many_the_longest_is_the_exemplar() {
        let histogram = Histogram::new(&BUCKETS);
        let millis = [20, 3000, 500].map(Duration::from_millis);
        histogram.observe_all(millis.into_iter(), Some(&trace(1)));
        let exemplars = histogram.read().exemplars;
        assert_eq!(exemplars.iter().flatten().map(|it| it.value).collect::<Vec<_>>(), [3.0]);
        histogram.observe_all(std::iter::empty(), Some(&trace(2)));
        assert_eq!(histogram.read().count(), 3);
    }

    #[test]
    fn fewer_bounds_keep_every_count_and_the_latest_exemplar() {
        static FINE: Buckets = Buckets { name: "fine", bounds: &[0.1, 0.2, 0.5, 1.0, 2.0], why: "" };
        let histogram = Histogram::new(&FINE);
        for (n, value) in [(3, 0.05), (1, 0.15), (2, 0.3), (4, 0.6), (6, 1.5), (5, 9.0)] {
            histogram.observe(value, Some(&trace(n)));
        }
        let kept = |bounds: &'static [f64]| {
            let mut reading = histogram.read();
            reading.keep(bounds);
            let traces =
                reading.exemplars.iter().map(|it| it.map_or(0, |it| it.trace_id[0])).collect::<Vec<_>>();
            assert_eq!((reading.bounds, reading.count()), (bounds, 6));
            (reading.counts, traces)
        };
        assert_eq!(kept(&[0.2, 1.0]), (vec![2, 2, 2], vec![3, 4, 6]));
        assert_eq!(kept(&[2.0]), (vec![5, 1], vec![6, 5]));
        assert_eq!(kept(&[]), (vec![6], vec![6]));
        assert_eq!(kept(FINE.bounds).0, [1, 1, 1, 1, 1, 1]);
        let mut empty = Histogram::new(&FINE).read();
        empty.keep(&[0.5]);
        assert_eq!((empty.counts, empty.exemplars.len()), (vec![0, 0], 0));
    }

    #[test]
    fn a_gauge_that_was_never_seen_is_absent() {
        let seen = OptionalGauge::default();
        assert_eq!(seen.get(), None);
        seen.set(0.0);
        assert_eq!(seen.get(), Some(0.0));
    }

    #[test]
    fn many_short_times_add_up_exactly() {
        let counter = TimeCounter::default();
        for _ in 0..1_000_000 {
            counter.add(Duration::from_nanos(100));
        }
        assert!((counter.get() - 0.1).abs() < f64::EPSILON);
    }

    proptest! {
        /// Merging a batch gives the same buckets as observing one by one.
        #[test]
        fn merging_equals_observing(nanos in prop::collection::vec(0_u64..5_000_000_000, 0..300)) {
            let times: Vec<Duration> = nanos.into_iter().map(Duration::from_nanos).collect();
            let (merged, single) = (Histogram::new(&BUCKETS), Histogram::new(&BUCKETS));
            merged.observe_all(times.iter().copied(), None);
            for time in &times {
                single.observe(time.as_secs_f64(), None);
            }
            prop_assert_eq!(merged.read().counts, single.read().counts);
            prop_assert!((merged.read().sum - single.read().sum).abs() < 1e-6);
        }
    }
}
