use super::*;
use crate::plan::{
    ClientGroup, CurveForm, CurvePiece, PiecewiseCurve, Ramp, Recurrence, Shape, forecast, from_yaml,
};
use jiff::tz::TimeZone;
use proptest::prelude::*;

fn bounds(seconds: Option<f64>, requests: Option<u64>) -> StageBounds {
    StageBounds { time: seconds.map(Duration::from_secs_f64), requests }
}

/// Arrivals with this rate, which follows no clock.
fn arrivals(rate: &LoadCurve, arrivals: &Arrivals, bounds: StageBounds, seed: u64) -> ArrivalTimes {
    ArrivalTimes::new(rate, arrivals, bounds, Timestamp::UNIX_EPOCH, seed)
}

fn steady(rate: f64) -> LoadCurve {
    LoadCurve::constant(rate)
}

fn seconds(times: ArrivalTimes) -> Vec<f64> {
    times.map(|offset| offset.as_secs_f64()).collect()
}

/// The first `n` arrivals in unit-rate time.
fn units(arrivals: &Arrivals, seed: u64, n: usize) -> Vec<f64> {
    let mut rng = seed::rng("arrivals", &[seed]);
    let mut process = Process::new(arrivals, &mut rng);
    (0..n).map(|_| process.next(&mut rng)).collect()
}

/// Gaps in unit-rate time of `n` arrivals at rate 1.
fn gaps(arrivals: &Arrivals, seed: u64, n: usize) -> Vec<f64> {
    units(arrivals, seed, n).windows(2).map(|pair| pair[1] - pair[0]).collect()
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
        arrivals(&steady(700.0), &Arrivals::Constant, bounds(Some(3600.0), None), 1).collect();
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
    let count = |rate: LoadCurve, seconds| {
        arrivals(&rate, &Arrivals::Constant, bounds(Some(seconds), None), 1).count()
    };
    assert_eq!(count(steady(0.1), 10.0), 1);
    assert_eq!(count(steady(1.0 / 3.0), 3.0), 1);
    assert_eq!(count(steady(2.0), 20.0), 40);
    assert_eq!(count(Ramp { from: 2.0, to: 10.0 }.into(), 20.0), 120);
    assert_eq!(count(Ramp { from: 10.0, to: 0.0 }.into(), 20.0), 100);
    assert_eq!(count(Ramp { from: 0.0, to: 10.0 }.into(), 20.0), 100);
    assert_eq!(count(steady(0.0), 20.0), 0);
    assert_eq!(count(steady(5.0), 0.0), 0);
}

#[test]
fn a_stage_ends_after_its_requests() {
    let times = arrivals(&steady(2.0), &Arrivals::Constant, bounds(None, Some(3)), 1);
    assert_eq!(seconds(times), [0.0, 0.5, 1.0]);
    let both = arrivals(&steady(2.0), &Arrivals::Constant, bounds(Some(1.0), Some(30)), 1);
    assert_eq!(seconds(both), [0.0, 0.5]);
    // With neither a rate nor an end there are no arrivals, and the stage does not hang.
    assert_eq!(arrivals(&steady(0.0), &Arrivals::Poisson, bounds(None, Some(3)), 1).next(), None);
    let mut done = arrivals(&steady(2.0), &Arrivals::Poisson, bounds(Some(1.0), None), 1);
    done.by_ref().for_each(drop);
    assert_eq!(done.next(), None, "fused");
}

#[test]
fn requests_take_as_long_as_their_intervals() {
    let end = |rate: LoadCurve, process: &Arrivals, bounds| {
        let mut times = arrivals(&rate, process, bounds, 1);
        assert_eq!(times.end_of_requests(), None, "not before they were due");
        times.by_ref().for_each(drop);
        times.end_of_requests().map(|end| end.as_secs_f64())
    };
    let even = |rate: LoadCurve, bounds| end(rate, &Arrivals::Constant, bounds);
    assert_eq!(even(steady(2.0), bounds(None, Some(3))), Some(1.5));
    assert_eq!(even(steady(2.0), bounds(None, Some(1))), Some(0.5));
    assert_eq!(even(steady(2.0), bounds(Some(10.0), Some(3))), Some(1.5));
    assert_eq!(even(steady(2.0), bounds(Some(1.5), Some(3))), Some(1.5));
    // The time of the stage ends it, or its rate.
    assert_eq!(even(steady(2.0), bounds(Some(1.2), Some(3))), None);
    assert_eq!(even(steady(2.0), bounds(Some(1.0), Some(30))), None);
    assert_eq!(even(steady(2.0), bounds(Some(1.0), None)), None);
    // 1/s for 2 s, then nothing: the pause is not part of what two requests take.
    let piece = |length, from, to| CurvePiece {
        length: Duration::from_secs(length),
        from,
        to,
        form: CurveForm::Linear,
    };
    let pieces = [piece(2, 1.0, 1.0), piece(5, 0.0, 0.0), piece(5, 1.0, 1.0)];
    let pause = || LoadCurve::Pieces(PiecewiseCurve { pieces: pieces.into(), recurrence: None });
    assert_eq!(even(pause(), bounds(None, Some(2))), Some(2.0));
    assert_eq!(even(pause(), bounds(None, Some(3))), Some(8.0));
    // Of random gaps, n have passed with the last request.
    assert_eq!(end(steady(2.0), &Arrivals::Poisson, bounds(None, Some(3))), None);
}

#[test]
fn draws_are_golden() {
    // Changing these numbers changes every replay, so it must not happen through an upgrade of `rand`.
    let first = |process| -> Vec<u128> {
        arrivals(&steady(1.0), &process, bounds(None, Some(4)), 7).map(|t| t.as_nanos()).collect()
    };
    assert_eq!(first(Arrivals::Constant), [0, 1_000_000_000, 2_000_000_000, 3_000_000_000]);
    assert_eq!(first(Arrivals::Poisson), [212_698_991, 973_599_169, 1_113_984_905, 3_485_070_320]);
    assert_eq!(first(Arrivals::Gamma { cv: 3.0 }), [278_231_646, 288_462_424, 363_319_486, 6_564_505_529]);
}

#[test]
fn poisson_gaps_are_exponential() {
    for seed in 1..4 {
        let gaps = gaps(&Arrivals::Poisson, seed, 20_000);
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
        .map(|seed| arrivals(&steady(8.0), &Arrivals::Poisson, bounds(Some(1.0), None), seed).count() as f64)
        .collect();
    let (mean, cv) = mean_and_cv(&counts);
    assert!((mean - 8.0).abs() < 0.25, "{mean}");
    assert!(((cv * mean).powi(2) - 8.0).abs() < 1.0, "{cv}");
}

#[test]
fn gamma_gaps_have_the_configured_variation() {
    for cv in [0.25, 0.5, 1.0, 2.0, 3.0] {
        let gaps = gaps(&Arrivals::Gamma { cv }, 11, 100_000);
        let (mean, got) = mean_and_cv(&gaps);
        assert!((mean - 1.0).abs() < 0.05 && (got / cv - 1.0).abs() < 0.05, "{cv}: {mean} {got}");
    }
    // A cv of 1 is Poisson, and 1/sqrt(2) is the sum of two exponentials with half the mean (Erlang).
    let ks = kolmogorov_smirnov(gaps(&Arrivals::Gamma { cv: 1.0 }, 5, 20_000), |gap| 1.0 - (-gap).exp());
    assert!(ks < 1.95, "{ks}");
    let erlang = gaps(&Arrivals::Gamma { cv: 0.5_f64.sqrt() }, 5, 20_000);
    let ks = kolmogorov_smirnov(erlang, |gap| 1.0 - (-2.0 * gap).exp() * (1.0 + 2.0 * gap));
    assert!(ks < 1.95, "{ks}");
}

#[test]
fn bursts_do_not_add_load() {
    for cv in [0.5, 3.0] {
        let stages = 4_000;
        let offered: usize = (0..stages)
            .map(|seed| {
                arrivals(&steady(5.0), &Arrivals::Gamma { cv }, bounds(Some(2.0), None), seed).count()
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
    let times = seconds(arrivals(&ramp.into(), &Arrivals::Poisson, bounds(Some(100.0), None), 3));
    assert!((times.len() as f64 - 10_000.0).abs() < 400.0, "{}", times.len());
    let ks = kolmogorov_smirnov(times, |t| (t / 100.0).powi(2));
    assert!(ks < 1.95, "{ks}");
}

/// The index of dispersion of a process: the variance of its counts in windows of this length, over their mean.
fn dispersion(arrivals: &Arrivals, window: u32) -> (f64, f64) {
    let windows = 4_000;
    let mut counts = vec![0.0; windows];
    for at in units(arrivals, 9, 4_200 * window as usize) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small index")]
        if let Some(count) = counts.get_mut((at / f64::from(window)) as usize) {
            *count += 1.0;
        }
    }
    let (mean, cv) = mean_and_cv(&counts);
    (mean / f64::from(window), (cv * mean).powi(2) / mean)
}

fn clients(groups: &[(f64, u32, Arrivals)]) -> Arrivals {
    let total: f64 = groups.iter().map(|(weight, ..)| weight).sum();
    let group = |(weight, count, arrivals): &(f64, u32, Arrivals)| ClientGroup {
        share: weight / total,
        count: *count,
        zipf: 0.0,
        arrivals: arrivals.clone(),
    };
    Arrivals::Clients(groups.iter().map(group).collect())
}

#[test]
fn weibull_gaps_have_the_configured_variation() {
    for cv in [0.25, 0.5, 1.0, 2.0, 3.0] {
        let gaps = gaps(&Arrivals::Weibull { cv }, 11, 200_000);
        let (mean, got) = mean_and_cv(&gaps);
        assert!((mean - 1.0).abs() < 0.05 && (got / cv - 1.0).abs() < 0.06, "{cv}: {mean} {got}");
    }
    // A cv of 1 is Poisson, and sqrt(5) is the shape 1/2, whose mean is twice its scale.
    let ks = kolmogorov_smirnov(gaps(&Arrivals::Weibull { cv: 1.0 }, 5, 20_000), |gap| 1.0 - (-gap).exp());
    assert!(ks < 1.95, "{ks}");
    let half = gaps(&Arrivals::Weibull { cv: 5.0_f64.sqrt() }, 5, 20_000);
    let ks = kolmogorov_smirnov(half, |gap| 1.0 - (-(2.0 * gap).sqrt()).exp());
    assert!(ks < 1.95, "{ks}");
}

#[test]
fn dispersion_is_that_of_the_gaps() {
    // Counts of a renewal process have in the long run the index of dispersion cv^2.
    for cv in [0.5, 1.0, 2.0] {
        for process in [Arrivals::Gamma { cv }, Arrivals::Weibull { cv }] {
            let (mean, index) = dispersion(&process, 200);
            assert!((mean - 1.0).abs() < 0.02, "{process:?}: mean {mean}");
            assert!((index / (cv * cv) - 1.0).abs() < 0.15, "{process:?}: index {index}");
        }
    }
}

#[test]
fn clients_together_have_the_rate_of_the_stage_and_the_dispersion_of_each() {
    // Variances of independent clients add up, so the index of dispersion is the mean of theirs, by their share.
    let process = clients(&[(1.0, 1, Arrivals::Gamma { cv: 3.0 }), (3.0, 4, Arrivals::Weibull { cv: 0.5 })]);
    let (mean, index) = dispersion(&process, 400);
    let expected = 0.25 * 9.0 + 0.75 * 0.25;
    assert!((mean - 1.0).abs() < 0.02, "{mean}");
    assert!((index / expected - 1.0).abs() < 0.2, "{index}, expected {expected}");
    // Many independent clients come close to Poisson at short times, however even each one is.
    let (_, index) = dispersion(&clients(&[(1.0, 500, Arrivals::Weibull { cv: 0.5 })]), 20);
    assert!((index - 1.0).abs() < 0.15, "{index}");
}

#[test]
fn clients_do_not_add_load() {
    // A burst of few clients is in progress as often at the start of a stage as later.
    let process = clients(&[(2.0, 2, Arrivals::Weibull { cv: 3.0 }), (1.0, 3, Arrivals::Constant)]);
    let (stages, mut offered) = (4_000, 0);
    for seed in 0..stages {
        offered += arrivals(&steady(5.0), &process, bounds(Some(2.0), None), seed).count();
    }
    let mean = offered as f64 / stages as f64;
    assert!((mean - 10.0).abs() < 0.5, "{mean}");
}

/// The integral of a curve until a time in seconds.
type Integral = Box<dyn Fn(f64) -> f64>;

/// Curves of every shape over 100 s, and the integral of each until a time.
fn shapes() -> Vec<(&'static str, LoadCurve, Integral)> {
    let second = Duration::from_secs(1);
    let once = |pieces: Vec<CurvePiece>| {
        LoadCurve::Pieces(PiecewiseCurve { pieces: pieces.into(), recurrence: None })
    };
    let piece = |seconds: u32, from, to, form| CurvePiece { length: second * seconds, from, to, form };
    let constant = |seconds: u32, value| CurvePiece::constant(second * seconds, value);
    let recurrence = |offset: u32| Some(Recurrence { offset: second * offset, timezone: TimeZone::UTC });
    let wave = PiecewiseCurve {
        pieces: [
            piece(20, 20.0, 180.0, CurveForm::HalfCosine),
            piece(20, 180.0, 20.0, CurveForm::HalfCosine),
        ]
        .into(),
        recurrence: recurrence(5),
    };
    let turn = std::f64::consts::TAU / 40.0;
    let spikes =
        PiecewiseCurve { pieces: [constant(7, 50.0), constant(3, 500.0)].into(), recurrence: recurrence(0) };
    vec![
        ("linear", Ramp { from: 0.0, to: 200.0 }.into(), Box::new(|t| t * t)),
        (
            "exponential",
            once(vec![piece(100, 1.0, 400.0, CurveForm::Exponential)]),
            Box::new(|t| {
                let growth = 400.0_f64.ln() / 100.0;
                ((growth * t).exp() - 1.0) / growth
            }),
        ),
        (
            "steps",
            once((0..4).map(|n| constant(25, f64::from(n) * 60.0)).collect()),
            Box::new(|t| {
                (0..4).map(|n| f64::from(n) * 60.0 * (t - 25.0 * f64::from(n)).clamp(0.0, 25.0)).sum()
            }),
        ),
        (
            "spikes",
            LoadCurve::Pieces(spikes),
            Box::new(|t| {
                let (whole, into) = ((t / 10.0).floor(), t % 10.0);
                whole * 1850.0 + into.min(7.0) * 50.0 + (into - 7.0).max(0.0) * 500.0
            }),
        ),
        (
            "sine",
            LoadCurve::Pieces(wave),
            // Lowest at 5 s: 100 - 80 cos(turn (t - 5)).
            Box::new(move |t| 100.0 * t - 80.0 / turn * ((turn * (t - 5.0)).sin() - (turn * -5.0).sin())),
        ),
        (
            "table",
            once(vec![constant(10, 20.0), piece(40, 20.0, 200.0, CurveForm::Linear), constant(1, 40.0)]),
            Box::new(|t| {
                let into = (t - 10.0).clamp(0.0, 40.0);
                t.min(10.0) * 20.0 + 20.0 * into + 4.5 * into * into / 2.0 + (t - 50.0).max(0.0) * 40.0
            }),
        ),
    ]
}

/// A Monday at midnight, where periods begin.
fn monday() -> Timestamp {
    "2026-11-23T00:00:00Z".parse().unwrap()
}

#[test]
fn arrivals_follow_every_shape() {
    for (name, curve, area) in shapes() {
        let end = bounds(Some(100.0), None);
        let even = seconds(ArrivalTimes::new(&curve, &Arrivals::Constant, end, monday(), 1));
        // Evenly spread, request n is due when the integral is n.
        for (n, at) in even.iter().enumerate() {
            assert!((area(*at) - n as f64).abs() < 1e-3, "{name}: {n} at {at}");
        }
        let total = area(100.0);
        assert!((even.len() as f64 - total).abs() <= 1.0, "{name}: {} of {total}", even.len());
        for process in [
            Arrivals::Poisson,
            clients(&[(1.0, 400, Arrivals::Weibull { cv: 1.5 }), (1.0, 400, Arrivals::Constant)]),
        ] {
            let times = seconds(ArrivalTimes::new(&curve, &process, end, monday(), 3));
            assert!((times.len() as f64 / total - 1.0).abs() < 0.05, "{name}: {} of {total}", times.len());
            let ks = kolmogorov_smirnov(times, |t| area(t) / total);
            assert!(ks < 1.95, "{name}: {ks}");
        }
    }
}

#[test]
fn a_shape_by_the_clock_goes_on_where_it_was() {
    // The arrivals of a stage that begins later are distributed as those of that part of a longer one.
    let (_, wave, area) = shapes().swap_remove(4);
    let start = monday() + Duration::from_secs(13);
    let times = seconds(ArrivalTimes::new(&wave, &Arrivals::Poisson, bounds(Some(60.0), None), start, 3));
    let total = area(73.0) - area(13.0);
    assert!((times.len() as f64 / total - 1.0).abs() < 0.05, "{} of {total}", times.len());
    let ks = kolmogorov_smirnov(times, |t| (area(t + 13.0) - area(13.0)) / total);
    assert!(ks < 1.95, "{ks}");
}

/// A stage that lasts this many milliseconds, with a rate of some shape.
fn stage_of(shape: u8, millis: u32, low: f64, high: f64) -> String {
    let rate = match shape {
        0 => format!("{low}"),
        1 => format!("{{ from: {low}, to: {high} }}"),
        2 => format!("{{ from: {low}, to: {high}, steps: 3 }}"),
        3 => format!("{{ sine: {{ low: {low}, high: {high}, peak: 30s, period: 70s }} }}"),
        _ => {
            let half = millis / 2;
            format!(
                "{{ table: {{ points: [{{ at: 0s, value: {low} }}, {{ at: {half}ms, value: {high} }}] }} }}"
            )
        }
    };
    format!("{{ for: {millis}ms, rate: {rate} }}")
}

proptest! {
    /// What the forecast calls the most is what is due, or an upper bound of it.
    #[test]
    fn no_more_is_due_than_is_forecast(
        stages in proptest::collection::vec((0_u8..5, 100_u32..9000, 0.01_f64..9.0, 0.01_f64..9.0), 1..4),
        start in 0_i64..1_000_000,
    ) {
        let load: Vec<String> = stages
            .iter()
            .map(|(shape, millis, a, b)| stage_of(*shape, *millis, a.min(*b), a.max(*b) + 0.01))
            .collect();
        let plan = from_yaml(&format!(
            "targets: {{ t: {{ api: openai-chat, base_url: 'http://127.0.0.1' }} }}\nprofiles: {{ p: {{ targets: [t], \
             schedule: {{ every: 1h }}, workload: {{ prompts: [x] }}, load: [{}] }} }}",
            load.join(", ")
        ));
        let plan = plan.unwrap_or_else(|e| panic!("{e}"));
        let mut at = Timestamp::from_second(start).unwrap();
        let mut due = 0;
        for stage in &plan.profiles[0].stages {
            let Shape::Rate { rate, arrivals, bounds } = &stage.shape else { panic!("{stage:?}") };
            due += ArrivalTimes::new(rate, arrivals, *bounds, at, 1).count();
            at = at.checked_add(jiff::SignedDuration::try_from(bounds.time.unwrap()).unwrap()).unwrap();
        }
        let most = forecast(&plan, Timestamp::UNIX_EPOCH, &|_, _| None).pairs[0].run.most.requests;
        let most = most.value().unwrap();
        let by_clock = stages.iter().any(|(shape, ..)| *shape == 3);
        if by_clock {
            prop_assert!(due as f64 <= most, "{due} are due, and {most} were forecast");
        } else {
            prop_assert!((due as f64 - most).abs() < 0.5, "{due} are due, and {most} were forecast");
        }
    }
}

proptest! {
    #[test]
    fn arrivals_are_ordered_and_inside_the_stage(
        from in 0.0..50.0_f64, to in 0.0..50.0_f64, length in 0.01..30.0_f64, cv in 0.1..4.0_f64,
        kind in 0..5, seed: u64,
    ) {
        let process = match kind {
            0 => Arrivals::Constant,
            1 => Arrivals::Poisson,
            2 => Arrivals::Gamma { cv },
            3 => Arrivals::Weibull { cv },
            _ => clients(&[(1.0, 3, Arrivals::Constant), (2.0, 2, Arrivals::Weibull { cv })]),
        };
        let build = || arrivals(&Ramp { from, to }.into(), &process, bounds(Some(length), None), seed);
        let times: Vec<Duration> = build().collect();
        prop_assert!(times.windows(2).all(|pair| pair[0] <= pair[1]));
        prop_assert!(times.iter().all(|time| time.as_secs_f64() < length));
        prop_assert_eq!(&times, &build().collect::<Vec<_>>(), "replayable");
        if kind == 0 {
            let area = f64::midpoint(from, to) * length;
            prop_assert!((times.len() as f64 - area.ceil()).abs() < 0.5 || (area - area.round()).abs() < 1e-6);
        }
    }
}
