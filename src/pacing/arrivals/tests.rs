use super::*;
use proptest::prelude::*;

fn bounds(seconds: Option<f64>, requests: Option<u64>) -> StageBounds {
    StageBounds { time: seconds.map(Duration::from_secs_f64), requests }
}

fn steady(rate: f64) -> Ramp {
    Ramp { from: rate, to: rate }
}

fn seconds(times: ArrivalTimes) -> Vec<f64> {
    times.map(|offset| offset.as_secs_f64()).collect()
}

/// Gaps in unit-rate time of `n` arrivals at rate 1.
fn gaps(arrivals: Arrivals, seed: u64, n: usize) -> Vec<f64> {
    let mut spread = Spread::new(arrivals, seed);
    let at: Vec<f64> = (0..n as u64).map(|n| spread.next(n)).collect();
    at.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

fn mean_and_cv(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, variance.sqrt() / mean)
}

/// The Kolmogorov-Smirnov statistic times sqrt(n): below 1.95 in 99.9% of samples of the distribution.
fn kolmogorov_smirnov(mut sample: Vec<f64>, cdf: impl Fn(f64) -> f64) -> f64 {
    sample.sort_by(f64::total_cmp);
    let n = sample.len() as f64;
    let distance = sample.iter().enumerate().map(|(i, value)| {
        let (below, above) = (i as f64 / n, (i + 1) as f64 / n);
        let expected = cdf(*value);
        (expected - below).abs().max((above - expected).abs())
    });
    distance.fold(0.0, f64::max) * n.sqrt()
}

#[test]
fn trap_12_seven_hundred_per_second_stay_seven_hundred() {
    let times: Vec<Duration> =
        ArrivalTimes::new(steady(700.0), Arrivals::Constant, bounds(Some(3600.0), None), 1).collect();
    assert_eq!(times.len(), 700 * 3600);
    for (second, chunk) in times.chunks(700).enumerate() {
        // Whole seconds are exact to the nanosecond, even after an hour.
        assert_eq!(chunk[0], Duration::from_secs(second as u64));
    }
    let off = |n: usize| times[n].as_secs_f64() - n as f64 / 700.0;
    assert!((0..times.len()).step_by(997).all(|n| off(n).abs() < 2e-9));
}

#[test]
fn counts_are_exact() {
    let count = |rate: Ramp, seconds| {
        ArrivalTimes::new(rate, Arrivals::Constant, bounds(Some(seconds), None), 1).count()
    };
    assert_eq!(count(steady(0.1), 10.0), 1);
    assert_eq!(count(steady(1.0 / 3.0), 3.0), 1);
    assert_eq!(count(steady(2.0), 20.0), 40);
    assert_eq!(count(Ramp { from: 2.0, to: 10.0 }, 20.0), 120);
    assert_eq!(count(Ramp { from: 10.0, to: 0.0 }, 20.0), 100);
    assert_eq!(count(Ramp { from: 0.0, to: 10.0 }, 20.0), 100);
    assert_eq!(count(steady(0.0), 20.0), 0);
    assert_eq!(count(steady(5.0), 0.0), 0);
}

#[test]
fn a_stage_ends_after_its_requests() {
    let times = ArrivalTimes::new(steady(2.0), Arrivals::Constant, bounds(None, Some(3)), 1);
    assert_eq!(seconds(times), [0.0, 0.5, 1.0]);
    let both = ArrivalTimes::new(steady(2.0), Arrivals::Constant, bounds(Some(1.0), Some(30)), 1);
    assert_eq!(seconds(both), [0.0, 0.5]);
    // With neither a rate nor an end there are no arrivals, and the stage does not hang.
    assert_eq!(ArrivalTimes::new(steady(0.0), Arrivals::Poisson, bounds(None, Some(3)), 1).next(), None);
    let mut done = ArrivalTimes::new(steady(2.0), Arrivals::Poisson, bounds(Some(1.0), None), 1);
    done.by_ref().for_each(drop);
    assert_eq!(done.next(), None, "fused");
}

#[test]
fn draws_are_golden() {
    // Changing these numbers changes every replay, so it must not happen through an upgrade of `rand`.
    let first = |arrivals| -> Vec<u128> {
        ArrivalTimes::new(steady(1.0), arrivals, bounds(None, Some(4)), 7).map(|t| t.as_nanos()).collect()
    };
    assert_eq!(first(Arrivals::Constant), [0, 1_000_000_000, 2_000_000_000, 3_000_000_000]);
    assert_eq!(first(Arrivals::Poisson), [212_698_991, 973_599_169, 1_113_984_905, 3_485_070_320]);
    assert_eq!(first(Arrivals::Gamma { cv: 3.0 }), [278_231_646, 288_462_424, 363_319_486, 6_564_505_529]);
}

#[test]
fn poisson_gaps_are_exponential() {
    for seed in 1..4 {
        let gaps = gaps(Arrivals::Poisson, seed, 20_000);
        let (mean, cv) = mean_and_cv(&gaps);
        assert!((mean - 1.0).abs() < 0.03 && (cv - 1.0).abs() < 0.03, "{mean} {cv}");
        let ks = kolmogorov_smirnov(gaps, |gap| 1.0 - (-gap).exp());
        assert!(ks < 1.95, "{ks}");
    }
}

#[test]
fn poisson_counts_are_poisson() {
    // Including the first arrival: counts per second of 2,000 stages at 8/s have mean and variance 8.
    let counts: Vec<f64> = (0..2_000)
        .map(|seed| {
            ArrivalTimes::new(steady(8.0), Arrivals::Poisson, bounds(Some(1.0), None), seed).count() as f64
        })
        .collect();
    let (mean, cv) = mean_and_cv(&counts);
    assert!((mean - 8.0).abs() < 0.25, "{mean}");
    assert!(((cv * mean).powi(2) - 8.0).abs() < 1.0, "{cv}");
}

#[test]
fn gamma_gaps_have_the_configured_variation() {
    for cv in [0.25, 0.5, 1.0, 2.0, 3.0] {
        let gaps = gaps(Arrivals::Gamma { cv }, 11, 100_000);
        let (mean, got) = mean_and_cv(&gaps);
        assert!((mean - 1.0).abs() < 0.05 && (got / cv - 1.0).abs() < 0.05, "{cv}: {mean} {got}");
    }
    // A cv of 1 is Poisson, and 1/sqrt(2) is the sum of two exponentials with half the mean (Erlang).
    let ks = kolmogorov_smirnov(gaps(Arrivals::Gamma { cv: 1.0 }, 5, 20_000), |gap| 1.0 - (-gap).exp());
    assert!(ks < 1.95, "{ks}");
    let erlang = gaps(Arrivals::Gamma { cv: 0.5_f64.sqrt() }, 5, 20_000);
    let ks = kolmogorov_smirnov(erlang, |gap| 1.0 - (-2.0 * gap).exp() * (1.0 + 2.0 * gap));
    assert!(ks < 1.95, "{ks}");
}

#[test]
fn bursts_do_not_add_load() {
    for cv in [0.5, 3.0] {
        let stages = 4_000;
        let offered: usize = (0..stages)
            .map(|seed| {
                ArrivalTimes::new(steady(5.0), Arrivals::Gamma { cv }, bounds(Some(2.0), None), seed).count()
            })
            .sum();
        let mean = offered as f64 / f64::from(u32::try_from(stages).unwrap());
        // The standard error is below cv * sqrt(10 / 4000).
        assert!((mean - 10.0).abs() < 4.0 * cv * 0.05, "cv {cv}: {mean}");
    }
}

#[test]
fn a_ramp_moves_any_spread() {
    // A Poisson process with a ramp from 0 to 200/s in 100 s: the share before t is (t/100)^2.
    let ramp = Ramp { from: 0.0, to: 200.0 };
    let times = seconds(ArrivalTimes::new(ramp, Arrivals::Poisson, bounds(Some(100.0), None), 3));
    assert!((times.len() as f64 - 10_000.0).abs() < 400.0, "{}", times.len());
    let ks = kolmogorov_smirnov(times, |t| (t / 100.0).powi(2));
    assert!(ks < 1.95, "{ks}");
}

proptest! {
    #[test]
    fn arrivals_are_ordered_and_inside_the_stage(
        from in 0.0..50.0_f64, to in 0.0..50.0_f64, length in 0.01..30.0_f64, cv in 0.1..4.0_f64,
        kind in 0..3, seed: u64,
    ) {
        let arrivals = match kind {
            0 => Arrivals::Constant,
            1 => Arrivals::Poisson,
            _ => Arrivals::Gamma { cv },
        };
        let build = || ArrivalTimes::new(Ramp { from, to }, arrivals, bounds(Some(length), None), seed);
        let times: Vec<Duration> = build().collect();
        prop_assert!(times.windows(2).all(|pair| pair[0] <= pair[1]));
        prop_assert!(times.iter().all(|time| time.as_secs_f64() < length));
        prop_assert_eq!(&times, &build().collect::<Vec<_>>(), "replayable");
        if kind == 0 {
            let area = f64::midpoint(from, to) * length;
            prop_assert!((times.len() as f64 - area.ceil()).abs() < 0.5 || (area - area.round()).abs() < 1e-6);
        }
    }

    #[test]
    fn the_inverse_undoes_the_cumulative_rate(
        from in 0.0..1000.0_f64, to in 0.0..1000.0_f64, length in 0.1..1000.0_f64, share in 0.0..1.0_f64,
    ) {
        let rate = Cumulative { from, slope: (to - from) / length };
        let unit = rate.at(length) * share;
        let t = rate.inverse(unit);
        prop_assert!((0.0..=length * (1.0 + 1e-6)).contains(&t));
        prop_assert!((rate.at(t) - unit).abs() <= 1e-6 * (1.0 + unit));
    }
}
