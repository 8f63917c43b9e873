use super::*;
use crate::seed;
use proptest::prelude::*;

const DRAWS: u32 = 20_000;

fn drawn(lengths: &LengthDistribution, seed: u64) -> Vec<u64> {
    let mut rng = seed::rng("test", &[seed]);
    let mut all: Vec<_> = (0..DRAWS).map(|_| lengths.draw(&mut rng)).collect();
    all.sort_unstable();
    all
}

fn one(curve: LengthCurve, min: u64, max: u64) -> LengthDistribution {
    LengthDistribution::within(vec![(1.0, curve)], min, max).unwrap()
}

fn mean(all: &[u64]) -> f64 {
    all.iter().sum::<u64>() as f64 / all.len() as f64
}

fn quantile(all: &[u64], share: f64) -> f64 {
    let below = |n: &&usize| (**n as f64) < share * all.len() as f64;
    let at = (0..all.len()).collect::<Vec<_>>().iter().take_while(below).count();
    all[at] as f64
}

#[track_caller]
fn close(what: &str, found: f64, wanted: f64, within: f64) {
    assert!((found / wanted - 1.0).abs() <= within, "{what}: {found}, not {wanted}");
}

#[test]
fn a_fixed_length_is_itself() {
    let lengths = LengthDistribution::fixed(128);
    assert_eq!((lengths.min(), lengths.max(), lengths.only()), (128, 128, Some(128)));
    close("mean", lengths.mean(), 128.0, 0.0);
    assert!(drawn(&lengths, 1).iter().all(|n| *n == 128));
}

#[test]
fn draws_are_golden() {
    // Changing these numbers changes every replay.
    let lengths = one(LengthCurve::lognormal(400.0, 2000.0), 1, 8192);
    let mut rng = seed::rng("test", &[7]);
    let drawn: Vec<_> = (0..6).map(|_| lengths.draw(&mut rng)).collect();
    assert_eq!(drawn, GOLDEN);
}

const GOLDEN: [u64; 6] = [230, 1334, 156, 80, 1860, 683];

#[test]
fn each_whole_number_of_a_uniform_one_is_equally_likely() {
    let lengths = one(LengthCurve::Between { from: 3, to: 7 }, 1, 100);
    let all = drawn(&lengths, 2);
    for n in 3..=7 {
        let share = all.iter().filter(|drawn| **drawn == n).count() as f64 / f64::from(DRAWS);
        close("share", share, 0.2, 0.06);
    }
    assert_eq!((lengths.min(), lengths.max(), all[0], all[all.len() - 1]), (3, 7, 3, 7));
    close("mean", lengths.mean(), 5.0, 1e-9);
}

/// Compares sample moments and quantiles with the definitions, and the mean that `check` uses with the samples.
#[test]
fn moments_and_quantiles_are_those_of_the_definition() {
    let far = LONGEST_TEXT;
    let normal = one(LengthCurve::Normal { mean: 1000.0, stddev: 100.0 }, 1, far);
    let all = drawn(&normal, 3);
    close("mean", mean(&all), 1000.0, 0.005);
    close("one deviation up", quantile(&all, 0.841_345), 1100.0, 0.01);
    close("two deviations down", quantile(&all, 0.022_75), 800.0, 0.015);

    let lognormal = one(LengthCurve::lognormal(400.0, 2000.0), 1, far);
    let all = drawn(&lognormal, 4);
    close("median", quantile(&all, 0.5), 400.0, 0.04);
    close("p95", quantile(&all, 0.95), 2000.0, 0.06);
    // exp(mu + sigma^2 / 2), with sigma = ln(5) / 1.6449.
    close("mean", lognormal.mean(), 400.0 * (0.5_f64 * (5.0_f64.ln() / 1.644_853_6).powi(2)).exp(), 0.02);

    let exponential = one(LengthCurve::Exponential { mean: 300.0 }, 1, far);
    let all = drawn(&exponential, 5);
    close("mean", mean(&all), 300.0, 0.03);
    close("median", quantile(&all, 0.5), 300.0 * std::f64::consts::LN_2, 0.04);

    let pareto = one(LengthCurve::Pareto { scale: 100.0, shape: 3.0 }, 1, far);
    let all = drawn(&pareto, 6);
    close("mean", mean(&all), 150.0, 0.03);
    close("p90", quantile(&all, 0.9), 100.0 * 10.0_f64.powf(1.0 / 3.0), 0.03);
    assert_eq!(all[0], 100);
}

#[test]
fn a_truncated_one_is_scaled_up_and_does_not_pile_up_at_its_bounds() {
    // Half of the distribution is above 1000, so the lower half of a normal distribution remains.
    let half = one(LengthCurve::Normal { mean: 1000.0, stddev: 100.0 }, 1, 1000);
    let all = drawn(&half, 7);
    close("mean", mean(&all), 1000.0 - 100.0 * (2.0 / std::f64::consts::PI).sqrt(), 0.005);
    let at_the_bound = all.iter().filter(|n| **n == 1000).count();
    assert!(at_the_bound < DRAWS as usize / 50, "{at_the_bound} of {DRAWS}");
    assert_eq!((half.max(), *all.last().unwrap()), (1000, 1000));
    // Nothing remains.
    let outside = |curve| LengthDistribution::within(vec![(1.0, curve)], 5000, 6000);
    assert_eq!(outside(LengthCurve::Between { from: 1, to: 10 }), None);
    assert_eq!(outside(LengthCurve::Normal { mean: 100.0, stddev: 10.0 }), None);
    assert_eq!(outside(LengthCurve::Pareto { scale: 7000.0, shape: 1.0 }), None);
}

#[test]
fn a_mixture_has_its_parts_by_weight() {
    let parts = vec![
        (3.0, LengthCurve::Between { from: 10, to: 10 }),
        (1.0, LengthCurve::Between { from: 1000, to: 1999 }),
    ];
    let mixture = LengthDistribution::within(parts.clone(), 1, 5000).unwrap();
    let all = drawn(&mixture, 8);
    let short = all.iter().filter(|n| **n == 10).count() as f64 / f64::from(DRAWS);
    close("share of the short ones", short, 0.75, 0.02);
    close("mean", mixture.mean(), 0.75 * 10.0 + 0.25 * 1499.5, 1e-9);
    // Half of the long lengths are cut off, so that 6 of 7 are short.
    let cut = LengthDistribution::within(parts, 1, 1499).unwrap();
    let all = drawn(&cut, 9);
    let short = all.iter().filter(|n| **n == 10).count() as f64 / f64::from(DRAWS);
    close("share of the short ones", short, 6.0 / 7.0, 0.02);
}

#[test]
fn an_empirical_one_repeats_what_was_found() {
    let found = vec![(30, 1.0), (10, 2.0), (30, 1.0), (20, 4.0)];
    let weighted = WeightedLengths::new(found, String::new()).unwrap();
    let lengths = one(LengthCurve::Empirical(Arc::new(weighted)), 1, 1000);
    let all = drawn(&lengths, 10);
    for (n, share) in [(10, 0.25), (20, 0.5), (30, 0.25)] {
        let found = all.iter().filter(|drawn| **drawn == n).count() as f64 / f64::from(DRAWS);
        close("share", found, share, 0.04);
    }
    close("mean", lengths.mean(), 20.0, 1e-9);
    assert_eq!(WeightedLengths::new(Vec::new(), String::new()), None);
}

#[test]
fn a_joint_one_keeps_pairs_together() {
    let joint = JointLengths::new(vec![(10, 1), (20, 2), (60, 6)], String::new()).unwrap();
    let mut rng = seed::rng("test", &[11]);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let (input, output) = joint.draw(&mut rng);
        assert_eq!(input, output * 10);
        seen.insert(output);
    }
    assert_eq!(seen.len(), 3);
    assert_eq!(joint.input(), LengthRange { min: 10, mean: 30.0, max: 60 });
    assert_eq!(joint.output(), LengthRange { min: 1, mean: 3.0, max: 6 });
    assert_eq!(JointLengths::new(Vec::new(), String::new()), None);
}

fn curve() -> impl Strategy<Value = LengthCurve> {
    let length = 1.0..5000.0_f64;
    prop_oneof![
        (1_u64..3000, 0_u64..3000).prop_map(|(from, more)| LengthCurve::Between { from, to: from + more }),
        (length.clone(), 0.1..1000.0).prop_map(|(mean, stddev)| LengthCurve::Normal { mean, stddev }),
        (length.clone(), 1.01..20.0)
            .prop_map(|(median, times)| LengthCurve::lognormal(median, median * times)),
        length.clone().prop_map(|mean| LengthCurve::Exponential { mean }),
        (length, 0.2..5.0).prop_map(|(scale, shape)| LengthCurve::Pareto { scale, shape }),
    ]
}

proptest! {
    /// For any configuration, draws lie within the reported bounds, which lie within the configured ones, and the mean
    /// of the draws is the reported mean.
    #[test]
    fn draws_keep_their_bounds_and_their_mean(
        curves in proptest::collection::vec((0.1..5.0_f64, curve()), 1..4),
        min in 1_u64..2000,
        more in 0_u64..6000,
        seed in 0_u64..1000,
    ) {
        let Some(lengths) = LengthDistribution::within(curves, min, min + more) else { return Ok(()) };
        prop_assert!(min <= lengths.min() && lengths.max() <= min + more);
        let mut rng = seed::rng("test", &[seed]);
        let all: Vec<_> = (0..2000).map(|_| lengths.draw(&mut rng)).collect();
        prop_assert!(all.iter().all(|n| (lengths.min()..=lengths.max()).contains(n)));
        let spread = (lengths.max() - lengths.min()) as f64;
        // Five standard errors, for the largest possible spread.
        prop_assert!((mean(&all) - lengths.mean()).abs() <= 5.0 * spread / 2.0 / 2000_f64.sqrt() + 0.5);
    }
}

#[test]
fn the_mean_of_a_function_is_over_all_parts() {
    let three = LengthDistribution::fixed(3);
    assert!((three.mean_of(|n| (n * n) as f64) - 9.0).abs() < 1e-9);
    let curves =
        vec![(1.0, LengthCurve::Between { from: 2, to: 2 }), (3.0, LengthCurve::Between { from: 1, to: 4 })];
    let mixed = LengthDistribution::within(curves, 1, 9).unwrap();
    let squares = mixed.mean_of(|n| (n * n) as f64);
    assert!((squares / (0.25 * 4.0 + 0.75 * 7.5) - 1.0).abs() < 0.01, "{squares}");
    assert!((mixed.mean_of(|n| n as f64) / mixed.mean() - 1.0).abs() < 0.01);
}

#[test]
fn the_mean_of_a_heavy_tail_is_exact() {
    for (shape, max) in [(1.0, 1_000_000_u64), (0.5, 100_000), (1.2, 1_000_000), (3.0, 10_000)] {
        let lengths = one(LengthCurve::Pareto { scale: 1.0, shape }, 1, max);
        // The mean of whole numbers is the sum of the shares that are at least 1, 2, and so on.
        let beyond = |value: f64| value.max(1.0).powf(-shape);
        let last = beyond(max as f64 + 0.5);
        let exact: f64 = (1..=max).map(|n| (beyond(n as f64 - 0.5) - last) / (1.0 - last)).sum();
        close(&format!("the mean with shape {shape}"), lengths.mean(), exact, 1e-3);
    }
}
