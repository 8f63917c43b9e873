//! How long it takes to tell a change, from simulated series.

use super::exceedance::{ExceedanceDetector, ReferenceBounds};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};

/// Values before the change.
const REFERENCE: usize = 1000;

/// Number of simulated series; the median of them is told.
const SERIES: u64 = 15;

/// After so many values, a change counts as not told.
const MAX_VALUES: usize = 2000;

/// The median number of values until a change for the worse is told, on series of times whose values differ by a tenth
/// of themselves from run to run without a memory. `change` is a ratio over 0. `None` if it takes thousands.
pub fn values_until_told(change: f64, min_change: f64, values_per_false_alarm: f64) -> Option<usize> {
    const SPREAD: f64 = 0.1;
    let mut delays: Vec<usize> = (0..SERIES)
        .map(|seed| {
            let random = ChaCha8Rng::seed_from_u64(seed);
            let mut noise = StandardNormal.sample_iter(random).map(|noise: f64| SPREAD * noise);
            let usual: Vec<f64> = noise.by_ref().take(REFERENCE).collect();
            let (margin, needed) = (min_change.ln_1p(), values_per_false_alarm.ln());
            let reference = ReferenceBounds::of(&usual, margin, needed);
            let mut detector = ExceedanceDetector::default();
            let told = noise.take(MAX_VALUES).position(|value| {
                let evidence = detector.take(value + change.ln_1p(), margin, &reference);
                evidence >= needed
            });
            told.map_or(usize::MAX, |index| index + 1)
        })
        .collect();
    delays.sort_unstable();
    delays.get(delays.len() / 2).copied().filter(|delay| *delay <= MAX_VALUES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_changes_are_told_sooner_and_surer_alarms_later() {
        let half = values_until_told(0.5, 0.05, 1e6).unwrap();
        let fifth = values_until_told(0.2, 0.05, 1e6).unwrap();
        let seldom = values_until_told(0.2, 0.05, 1e9).unwrap();
        assert!(half < fifth && fifth < seldom, "{half} {fifth} {seldom}");
        assert!(half < 20 && seldom < 500);
        assert_eq!(values_until_told(0.05, 0.05, 1e6), None, "it is not to be told");
    }
}
