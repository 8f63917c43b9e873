//! Properties, and the figures that the documentation states: simulated comparisons, seeded.

use super::*;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Cauchy, Distribution as _, StandardNormal};

/// How the latencies of a simulated target vary.
#[derive(Clone, Copy, Debug)]
enum Noise {
    /// Log-normal, 20% on each side.
    Plain,
    /// Cauchy: no mean, no variance.
    HeavyTails,
    /// Load that both targets share, with memory, ten times as large as the noise of each.
    Shared,
    /// Half of the values are one of two, as with a cache that hits or misses.
    TwoLevels,
}

const ALL: [Noise; 4] = [Noise::Plain, Noise::HeavyTails, Noise::Shared, Noise::TwoLevels];

/// Two simulated targets.
struct SimulatedPair {
    rng: ChaCha8Rng,
    noise: Noise,
    shared: f64,
    /// The treatment's latencies are longer by this factor.
    effect: f64,
}

impl SimulatedPair {
    fn new(seed: u64, noise: Noise, effect: f64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), noise, shared: 0.0, effect }
    }

    fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.rng)
    }

    fn latency(&mut self) -> f64 {
        let log = match self.noise {
            Noise::Plain => 0.2 * self.normal(),
            Noise::HeavyTails => Cauchy::new(0.0, 0.1).unwrap().sample(&mut self.rng),
            Noise::Shared => self.shared + 0.2 * self.normal(),
            Noise::TwoLevels => {
                if self.rng.random_bool(0.5) {
                    0.0
                } else {
                    1.0
                }
            }
        };
        log.clamp(-50.0, 50.0).exp()
    }

    fn next(&mut self) -> (f64, f64) {
        self.shared = 0.95 * self.shared + 2.0 * 0.31 * self.normal();
        (self.latency(), self.latency() * self.effect)
    }

    fn fails(&mut self, rate: f64) -> bool {
        self.rng.random_bool(rate)
    }
}

#[test]
fn equal_targets_are_told_apart_no_more_often_than_stated() {
    // Two quantities and the failures share an error of 5%.
    let error = 0.05 / 3.0;
    let mut wrong = 0;
    for seed in 0..1000 {
        let mut targets = SimulatedPair::new(seed, ALL[(seed % 4) as usize], 1.0);
        let (mut first, mut second) = (PairedRatios::default(), PairedRatios::default());
        let mut failures = PairedFailures::default();
        let is_told = (0..300).any(|pair| {
            for ratios in [&mut first, &mut second] {
                let (control, treatment) = targets.next();
                ratios.add(control, treatment);
            }
            failures.add(targets.fails(0.1), targets.fails(0.1));
            // Whoever looks at every tenth pair and stops at the first difference, finds one if there is any.
            pair % 10 == 9 && {
                let ratios = [&first, &second].map(|ratios| ratios.ratio(error).unwrap());
                let difference = failures.difference(error).unwrap();
                ratios.iter().any(|it| it.low > 1.0 || it.high < 1.0)
                    || difference.low > 0.0
                    || difference.high < 0.0
            }
        });
        wrong += u32::from(is_told);
    }
    // Stated: at most 50.
    assert!(wrong <= 50, "{wrong} of 1000");
    println!("{wrong} of 1000 comparisons of equal targets found a difference; 50 may");
}

#[test]
fn the_interval_covers_the_effect_at_all_times() {
    let mut missed = 0;
    for seed in 0..200 {
        let mut targets = SimulatedPair::new(seed, ALL[(seed % 3) as usize], 1.3);
        let (mut ratios, mut failures) = (PairedRatios::default(), PairedFailures::default());
        let is_missed = (0..200).any(|pair| {
            let (control, treatment) = targets.next();
            ratios.add(control, treatment);
            failures.add(targets.fails(0.1), targets.fails(0.3));
            pair % 10 == 9 && {
                let (ratio, difference) = (ratios.ratio(0.05).unwrap(), failures.difference(0.05).unwrap());
                !(ratio.low..=ratio.high).contains(&1.3) || !(difference.low..=difference.high).contains(&0.2)
            }
        });
        missed += u32::from(is_missed);
    }
    // Two intervals with an error of 5% each: at most 20.
    assert!(missed <= 20, "{missed} of 200");
    println!("{missed} of 200 comparisons missed the effect at some time; 20 may");
}

/// After how many pairs an effect is told from none by the interval of one of three quantities at a confidence of 99%: the
/// median of 25 comparisons, and in how many of them it was told within 3000.
fn pairs_until_told(effect: f64, noise: Noise) -> (u64, usize) {
    let mut pairs: Vec<u64> = (0..25)
        .map(|seed| {
            let mut targets = SimulatedPair::new(seed, noise, effect);
            let mut ratios = PairedRatios::default();
            (1..=3000)
                .find(|pair| {
                    let (control, treatment) = targets.next();
                    ratios.add(control, treatment);
                    pair % 10 == 0 && ratios.ratio(0.01 / 3.0).unwrap().low > 1.0
                })
                .unwrap_or(u64::MAX)
        })
        .collect();
    pairs.sort_unstable();
    (pairs[12], pairs.iter().filter(|pairs| **pairs <= 3000).count())
}

#[test]
fn larger_effects_need_fewer_pairs() {
    let told = [1.5, 1.2, 1.1, 1.05].map(|effect| pairs_until_told(effect, Noise::Plain));
    println!("pairs until told, at 50%, 20%, 10% and 5%: {told:?}");
    assert!(told.iter().all(|(_, told)| *told == 25), "{told:?}");
    let limits = [30, 80, 300, 1200];
    assert!(told.iter().zip(limits).all(|((pairs, _), limit)| *pairs <= limit), "{told:?}");
    // What both targets share costs nothing.
    let shared = pairs_until_told(1.2, Noise::Shared);
    assert!(shared.0 <= 80, "{shared:?}");
}

#[test]
fn the_number_of_pairs_is_known_before() {
    for effect in [1.5, 1.2, 1.1, 1.05] {
        let (simulated, _) = pairs_until_told(effect, Noise::Plain);
        let expected = pairs_to_tell(effect, 0.2, 0.01 / 3.0).unwrap();
        println!("{effect}: about {expected}, simulated {simulated}");
        assert!(
            (0.6..1.6).contains(&(simulated as f64 / expected as f64)),
            "{effect}: {expected} {simulated}"
        );
    }
    assert_eq!(pairs_to_tell(1.0, 0.2, 0.01), None);
    assert_eq!(pairs_to_tell(0.5, 0.2, 0.01), pairs_to_tell(2.0, 0.2, 0.01));
    assert!((normal_cdf(0.0) - 0.5).abs() < 1e-7 && (normal_cdf(1.96) - 0.975_002_1).abs() < 1e-6);
}

#[test]
fn equal_targets_are_found_to_be_the_same() {
    let mut targets = SimulatedPair::new(1, Noise::Plain, 1.0);
    let (mut ratios, mut failures) = (PairedRatios::default(), PairedFailures::default());
    let pairs = (1..=3000).find(|pair| {
        let (control, treatment) = targets.next();
        ratios.add(control, treatment);
        failures.add(false, false);
        let within = |it: EffectInterval, margin: f64| it.low > 1.0 - margin && it.high < 1.0 + margin;
        pair % 10 == 0 && within(ratios.ratio(0.01 / 3.0).unwrap(), 0.05)
    });
    println!("pairs until the same within 5%: {pairs:?}");
    assert!(pairs.is_some_and(|pairs| pairs < 2500), "{pairs:?}");
    let difference = failures.difference(0.01 / 3.0).unwrap();
    assert!(difference.low > -0.02 && difference.high < 0.02 && difference.mid == 0.0, "{difference:?}");
}

#[test]
fn few_pairs_bound_nothing() {
    let mut ratios = PairedRatios::default();
    assert_eq!(ratios.ratio(0.01), None);
    assert_eq!(PairedFailures::default().difference(0.01), None);
    for _ in 0..5 {
        assert!(ratios.add(1.0, 2.0));
    }
    let interval = ratios.ratio(0.01).unwrap();
    assert_eq!((interval.low, interval.high), (0.0, f64::INFINITY));
    assert!((interval.mid / 2.0 - 1.0).abs() < 0.001, "{interval:?}");
    for _ in 0..20 {
        ratios.add(1.0, 2.0);
    }
    let interval = ratios.ratio(0.01).unwrap();
    assert!(interval.low > 1.99 && interval.high < 2.01, "{interval:?}");
}

#[test]
fn pairs_without_a_ratio_are_left_out() {
    let mut ratios = PairedRatios::default();
    for (control, treatment) in [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (-1.0, -1.0), (f64::NAN, 1.0)] {
        assert!(!ratios.add(control, treatment), "{control} {treatment}");
    }
    assert_eq!(ratios.pairs(), 0);
    // What is beyond every bin has no bound on that side.
    for _ in 0..40 {
        ratios.add(1.0, 1e9);
    }
    let interval = ratios.ratio(0.01).unwrap();
    assert!(interval.high.is_infinite() && interval.mid > 60.0, "{interval:?}");
}

#[test]
fn the_median_lies_between_the_middle_values() {
    let mut ratios = PairedRatios::default();
    for ratio in [1.0, 1.0, 1.2, 1.2] {
        ratios.add(1.0, ratio);
    }
    let mid = ratios.ratio(0.01).unwrap().mid;
    assert!((mid / 1.2_f64.sqrt() - 1.0).abs() < 0.002, "{mid}");
}

#[test]
fn failures_of_both_say_nothing_of_the_difference() {
    let mut failures = PairedFailures::default();
    for _ in 0..300 {
        failures.add(true, true);
        failures.add(false, false);
    }
    let before = failures.difference(0.01).unwrap();
    assert!(before.low < 0.0 && before.high > 0.0 && before.mid == 0.0, "{before:?}");
    for _ in 0..200 {
        failures.add(false, true);
    }
    let after = failures.difference(0.01).unwrap();
    assert!(after.low > 0.15 && (after.mid - 0.25).abs() < 1e-9 && after.high < 0.35, "{after:?}");
    assert_eq!(failures.pairs(), 800);
}
