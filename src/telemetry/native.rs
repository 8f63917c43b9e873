//! A sparse base-2 exponential histogram: the single recording for OTLP's exponential histograms and Prometheus' native
//! ones. It knows nothing about labels, exemplars or wire formats.
//!
//! Bucket `i` of schema `s` covers `(base^(i-1), base^i]`, with `base = 2^(2^-s)`; this is the index as defined by
//! Prometheus. OTLP's scale is the same number as the schema, and its index is one less
//! (<https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram>).

use std::sync::OnceLock;

/// Finest schema: 256 buckets per power of two.
pub const FINEST: i8 = 8;
/// Coarsest schema: a bucket spans 16 powers of two.
pub const COARSEST: i8 = -4;
/// Values up to this count as zero. This is Prometheus' default, `2^-128`.
pub const ZERO_THRESHOLD: f64 = 2.938_735_877_055_719e-39;

/// Buckets per power of two at the finest schema.
const PER_OCTAVE: i32 = 1 << FINEST;

/// A histogram of non-negative values. Its resolution is halved whenever it would exceed the maximum number of buckets;
/// no count is lost by that.
#[derive(Clone, Debug, PartialEq)]
pub struct Native {
    schema: i8,
    most: usize,
    buckets: Vec<(i32, u64)>,
    zero: u64,
    count: u64,
    sum: f64,
}

impl Native {
    /// Creates an empty histogram with at most `most` populated buckets (at least 1), as far as the coarsest schema
    /// allows: with it, up to 73 buckets can be populated.
    pub fn new(most: usize) -> Self {
        Self { schema: FINEST, most: most.max(1), buckets: Vec::new(), zero: 0, count: 0, sum: 0.0 }
    }

    /// Adds a value. Negative values count as zero; values that are not finite are ignored.
    pub fn observe(&mut self, value: f64) {
        self.observe_many(value, 1);
    }

    /// Adds a value `times` times.
    pub fn observe_many(&mut self, value: f64, times: u64) {
        if !value.is_finite() || times == 0 {
            return;
        }
        let value = value.max(0.0);
        self.count += times;
        self.sum += value * times as f64;
        if value <= ZERO_THRESHOLD {
            self.zero += times;
            return;
        }
        self.add(coarser(finest_index(value), steps(FINEST, self.schema)), times);
        self.keep_cap();
    }

    /// Adds the contents of another histogram. The result has the coarser of the two schemas, or an even coarser one.
    pub fn merge(&mut self, other: &Self) {
        if other.schema < self.schema {
            self.coarsen(steps(self.schema, other.schema));
        }
        let shift = steps(other.schema, self.schema);
        for (index, count) in &other.buckets {
            self.add(coarser(*index, shift), *count);
        }
        self.zero += other.zero;
        self.count += other.count;
        self.sum += other.sum;
        self.keep_cap();
    }

    /// The schema, which is OTLP's scale.
    pub fn schema(&self) -> i8 {
        self.schema
    }

    /// The populated buckets in order: Prometheus' index and the count.
    pub fn buckets(&self) -> &[(i32, u64)] {
        &self.buckets
    }

    /// Number of values of at most [`ZERO_THRESHOLD`].
    pub fn zero(&self) -> u64 {
        self.zero
    }

    /// Number of all values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Sum of all values.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// The histogram in OTLP's form: without gaps, with at most `most` buckets (at least 73, enough for any range of
    /// values) from first to last, and coarser if necessary.
    pub fn dense(&self, most: usize) -> Dense {
        let mut copy = self.clone();
        while copy.span() > most && copy.schema > COARSEST {
            copy.coarsen(1);
        }
        let first = copy.buckets.first().map_or(0, |(index, _)| *index);
        let mut counts = vec![0; copy.span()];
        for (index, count) in &copy.buckets {
            if let Some(slot) = usize::try_from(index - first).ok().and_then(|at| counts.get_mut(at)) {
                *slot = *count;
            }
        }
        Dense { scale: i32::from(copy.schema), offset: first - 1, counts }
    }

    /// Number of buckets from the first to the last populated one, including empty ones in between.
    fn span(&self) -> usize {
        match (self.buckets.first(), self.buckets.last()) {
            (Some((first, _)), Some((last, _))) => {
                usize::try_from(last - first).map_or(usize::MAX, |n| n + 1)
            }
            _ => 0,
        }
    }

    fn add(&mut self, index: i32, count: u64) {
        match self.buckets.binary_search_by_key(&index, |(index, _)| *index) {
            Ok(at) => {
                if let Some((_, known)) = self.buckets.get_mut(at) {
                    *known += count;
                }
            }
            Err(at) => self.buckets.insert(at, (index, count)),
        }
    }

    fn keep_cap(&mut self) {
        while self.buckets.len() > self.most && self.schema > COARSEST {
            self.coarsen(1);
        }
    }

    fn coarsen(&mut self, by: u32) {
        // The sum of steps stays within the range of schemas, which an i8 holds.
        self.schema -= i8::try_from(by).unwrap_or(0);
        for (index, _) in &mut self.buckets {
            *index = coarser(*index, by);
        }
        // The order is preserved, so indexes that become equal are adjacent.
        self.buckets.dedup_by(|(later, more), (index, count)| {
            let same = later == index;
            if same {
                *count += *more;
            }
            same
        });
    }
}

/// Consecutive buckets, as in OTLP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dense {
    /// OTLP's scale.
    pub scale: i32,
    /// OTLP's index of the first count.
    pub offset: i32,
    /// Counts of consecutive buckets.
    pub counts: Vec<u64>,
}

fn steps(from: i8, to: i8) -> u32 {
    u32::try_from(i32::from(from) - i32::from(to)).unwrap_or(0)
}

/// The index in a schema that is `by` steps coarser. Upper bounds are inclusive, so it is rounded up.
fn coarser(index: i32, by: u32) -> i32 {
    (index + ((1 << by) - 1)) >> by
}

/// The index in the finest schema of a normal, positive, finite number.
fn finest_index(value: f64) -> i32 {
    let bits = value.to_bits();
    let exponent = i32::try_from(bits >> 52 & 0x7ff).unwrap_or(0) - 1023;
    // The fraction in 1..2, and the first bound that it does not exceed. Bound `k` is 2^(k/256).
    let fraction = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
    let within = bounds().partition_point(|bound| *bound < fraction);
    exponent * PER_OCTAVE + i32::try_from(within).unwrap_or(0)
}

/// `2^(k/256)` for `k` in 0..256. After the last one comes the next power of two.
fn bounds() -> &'static [f64] {
    static BOUNDS: OnceLock<Vec<f64>> = OnceLock::new();
    BOUNDS.get_or_init(|| (0..PER_OCTAVE).map(|k| (f64::from(k) / f64::from(PER_OCTAVE)).exp2()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The upper bound of Prometheus' bucket `index`.
    fn upper(schema: i8, index: i32) -> f64 {
        (f64::from(index) * f64::from(-i32::from(schema)).exp2()).exp2()
    }

    fn of(values: &[f64], most: usize) -> Native {
        let mut native = Native::new(most);
        for value in values {
            native.observe(*value);
        }
        native
    }

    #[test]
    fn powers_of_two_are_inclusive_upper_bounds() {
        for exponent in [-30, -1, 0, 1, 13] {
            let value = f64::from(exponent).exp2();
            assert_eq!(finest_index(value), exponent * PER_OCTAVE);
            assert_eq!(finest_index(value.next_up()), exponent * PER_OCTAVE + 1);
            for by in 1..=8 {
                assert_eq!(coarser(finest_index(value), by), exponent << (8 - by), "schema {}", 8 - by);
            }
        }
    }

    #[test]
    fn known_indices_of_prometheus() {
        // Schema 3: base 2^(1/8) = 1.0905; (1.0905, 1.1892] is bucket 2. Schema -1: (1, 4] is bucket 1.
        let at = |value, schema| coarser(finest_index(value), steps(FINEST, schema));
        assert_eq!((at(1.1, 3), at(1.0, 3), at(1.05, 3), at(0.9, 3)), (2, 0, 1, -1));
        assert_eq!((at(3.0, -1), at(4.0, -1), at(4.1, -1), at(0.25, -1)), (1, 1, 2, -1));
    }

    #[test]
    fn zero_negative_and_not_finite() {
        let native = of(&[0.0, -3.0, 1e-40, f64::NAN, f64::INFINITY], 160);
        assert_eq!((native.count(), native.zero(), native.buckets()), (3, 3, [].as_slice()));
        assert!(native.sum().abs() < 1e-30);
        assert_eq!(native.dense(160), Dense { scale: 8, offset: -1, counts: vec![] });
    }

    #[test]
    fn the_whole_range_of_numbers_fits() {
        let native = of(&[f64::MIN_POSITIVE, ZERO_THRESHOLD.next_up(), 1.0, f64::MAX], 2);
        assert_eq!((native.count(), native.zero()), (4, 1));
        assert_eq!(native.schema(), COARSEST);
    }

    fn values() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(
            prop_oneof![Just(0.0), (-20.0..14.0_f64).prop_map(f64::exp2), 0.0001..0.5_f64, Just(1.0)],
            0..300,
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn each_value_lies_in_a_populated_bucket(values in values(), most in 20..200_usize) {
            let native = of(&values, most);
            prop_assert!(native.buckets().len() <= most);
            prop_assert!(native.buckets().is_sorted_by(|a, b| a.0 < b.0));
            let in_buckets: u64 = native.buckets().iter().map(|(_, count)| count).sum();
            prop_assert_eq!(in_buckets + native.zero(), native.count());
            prop_assert_eq!(native.count(), values.len() as u64);
            for (index, count) in native.buckets() {
                let (low, high) = (upper(native.schema(), index - 1), upper(native.schema(), *index));
                // The computed bounds may differ in the last digit from those of the index.
                let inside = values.iter().filter(|v| **v > low * (1.0 + 1e-12) && **v <= high * (1.0 - 1e-12));
                let about = values.iter().filter(|v| **v > low * (1.0 - 1e-12) && **v <= high * (1.0 + 1e-12));
                prop_assert!(inside.count() as u64 <= *count && *count <= about.count() as u64);
            }
        }

        #[test]
        fn merging_is_observing_both(a in values(), b in values(), most in 20..200_usize) {
            let mut merged = of(&a, most);
            merged.merge(&of(&b, most));
            let mut both = a.clone();
            both.extend(&b);
            let both = of(&both, most);
            prop_assert!((merged.sum() - both.sum()).abs() <= 1e-9 * both.sum().max(1.0));
            prop_assert_eq!((merged.count(), merged.zero()), (both.count(), both.zero()));
            // Each part has its own limit, which can only make the result coarser than the parts needed.
            prop_assert_eq!(merged.schema(), both.schema());
            prop_assert_eq!(merged.buckets(), both.buckets());
        }

        #[test]
        fn dense_keeps_every_count(values in values(), most in 73..200_usize) {
            let native = of(&values, 160);
            let dense = native.dense(most);
            prop_assert!(dense.counts.len() <= most);
            prop_assert_eq!(dense.counts.iter().sum::<u64>() + native.zero(), native.count());
            prop_assert!(dense.counts.first() != Some(&0) && dense.counts.last() != Some(&0));
            // OTLP's bucket `offset` is (base^offset, base^(offset+1)].
            if let Some(least) = values.iter().copied().filter(|v| *v > 0.0).reduce(f64::min) {
                let base = f64::from(-dense.scale).exp2().exp2();
                let (low, high) = (base.powi(dense.offset), base.powi(dense.offset + 1));
                prop_assert!(low * (1.0 - 1e-9) <= least && least <= high * (1.0 + 1e-9));
            }
        }
    }
}
