//! What a monitor tells about histories, and that the same history tells the same.

use super::*;
use crate::detect::tests::simulated::Noise;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

fn rules(measure: Measure) -> MonitorRules {
    MonitorRules {
        measure,
        min_change: 0.05,
        history: 2 * DAY,
        slot: 0,
        values_per_false_alarm: 1e6,
        values_per_false_end: 1e5,
    }
}

/// Values every ten minutes: quarters of a day of each level, in turn.
fn levels(measure: Measure, quarters: &[(u32, f64)]) -> Vec<(i64, f64)> {
    let mut noise = Noise::normal(3, 0.4);
    let mut at = 0;
    let mut values = Vec::new();
    for (quarters, level) in quarters {
        for _ in 0..quarters * 36 {
            at += 10 * MINUTE;
            let value = match measure {
                Measure::Share => f64::from(u8::from(noise.uniform() < *level)),
                Measure::Time | Measure::Rate => level * (0.04 * noise.next().unwrap()).exp(),
            };
            values.push((at, value));
        }
    }
    values
}

fn told(values: &[(i64, f64)], rules: &MonitorRules) -> (SeriesMonitor, Vec<DetectedChange>) {
    let mut monitor = SeriesMonitor::default();
    let told = values.iter().filter_map(|(at, value)| monitor.take(*at, *value, rules)).collect();
    (monitor, told)
}

fn kinds(told: &[DetectedChange]) -> Vec<ChangeKind> {
    told.iter().map(|change| change.kind).collect()
}

#[test]
fn a_regression_is_told_with_its_time_and_size_and_so_is_its_end() {
    let rules = rules(Measure::Time);
    let values = levels(Measure::Time, &[(40, 0.2), (8, 0.26), (16, 0.2)]);
    let (monitor, told) = told(&values, &rules);
    assert_eq!(kinds(&told), [ChangeKind::Regressed, ChangeKind::Recovered]);
    let (began, ended) = (told[0], told[1]);
    assert!((began.time.earliest..=began.time.latest).contains(&(10 * DAY + 10 * MINUTE)), "{began:?}");
    assert!(
        began.ratio.low < 1.3 && 1.3 < began.ratio.high && (began.ratio.mid - 1.3).abs() < 0.05,
        "{began:?}"
    );
    assert!(began.told_at - began.time.at < 8 * HOUR, "{began:?}");
    assert!((ended.time.at - 12 * DAY).abs() < 2 * HOUR && (ended.ratio.mid - 1.0).abs() < 0.05, "{ended:?}");
    assert_eq!(monitor.regression(&rules), None);
    assert!(monitor.evidence(&rules) < 1.0);
}

#[test]
fn while_a_regression_stands_its_ratio_is_the_present_one() {
    let rules = rules(Measure::Rate);
    let values = levels(Measure::Rate, &[(40, 50.0), (4, 40.0), (4, 25.0), (4, 40.0)]);
    let ratio_after = |days: usize| {
        let (monitor, _) = told(&values[..days * 144], &rules);
        let (since, ratio) = monitor.regression(&rules).unwrap();
        assert!(monitor.evidence(&rules) >= 1.0);
        assert!((since - 10 * DAY).abs() < 3 * HOUR, "it began with the first change: {since}");
        ratio
    };
    assert!((ratio_after(11) - 0.8).abs() < 0.05);
    assert!((ratio_after(12) - 0.5).abs() < 0.05);
    assert!((ratio_after(13) - 0.8).abs() < 0.05);
    let (_, told) = told(&values, &rules);
    assert_eq!(kinds(&told), [ChangeKind::Regressed, ChangeKind::Worsened, ChangeKind::Eased]);
}

#[test]
fn an_improvement_is_the_new_baseline() {
    let values = levels(Measure::Time, &[(40, 0.2), (24, 0.16), (4, 0.2)]);
    let (_, told) = told(&values, &rules(Measure::Time));
    assert_eq!(kinds(&told), [ChangeKind::Improved, ChangeKind::Regressed]);
    assert!((told[1].ratio.mid - 1.25).abs() < 0.06, "{told:?}");
}

#[test]
fn a_regression_that_stays_is_accepted_after_a_week() {
    let values = levels(Measure::Time, &[(40, 0.2), (80, 0.26)]);
    let (monitor, told) = told(&values, &rules(Measure::Time));
    assert_eq!(kinds(&told), [ChangeKind::Regressed, ChangeKind::Accepted]);
    assert_eq!(told[1].told_at - told[0].told_at, 7 * DAY);
    assert_eq!(monitor.regression(&rules(Measure::Time)), None);
}

#[test]
fn what_comes_and_goes_within_a_day_is_one_incident() {
    let rules = rules(Measure::Time);
    let values = levels(Measure::Time, &[(40, 0.2), (4, 0.3), (2, 0.2), (4, 0.3), (12, 0.2), (4, 0.3)]);
    let (monitor, told) = told(&values, &rules);
    let wanted = [
        ChangeKind::Regressed,
        ChangeKind::Recovered,
        ChangeKind::Returned,
        ChangeKind::Recovered,
        ChangeKind::Regressed,
    ];
    assert_eq!(kinds(&told), wanted, "{told:?}");
    let again = &values[..12 * 144];
    assert_eq!(
        self::told(again, &rules).0.regression(&rules).unwrap().0,
        told[0].time.at,
        "since the first time"
    );
    assert_eq!(monitor.regression(&rules).unwrap().0, told[4].time.at);
}

#[test]
fn what_is_smaller_than_asked_is_not_told() {
    let values = levels(Measure::Time, &[(40, 0.2), (40, 0.206)]);
    assert_eq!(told(&values, &rules(Measure::Time)).1, []);
    let values = levels(Measure::Time, &[(40, 0.2), (8, 0.24)]);
    let coarse = MonitorRules { min_change: 0.3, ..rules(Measure::Time) };
    assert_eq!(told(&values, &coarse).1, []);
}

#[test]
fn failures_are_told_in_points_and_their_end_too() {
    let rules = rules(Measure::Share);
    let values = levels(Measure::Share, &[(40, 0.01), (4, 0.6), (12, 0.01)]);
    let (_, told) = told(&values, &rules);
    assert_eq!(kinds(&told), [ChangeKind::Regressed, ChangeKind::Recovered]);
    assert!(told[0].ratio.mid > 6.0 && told[0].time.at - 10 * DAY < 3 * HOUR, "{told:?}");
}

#[test]
fn nothing_is_told_before_there_is_a_history() {
    let values = levels(Measure::Time, &[(4, 0.2), (2, 0.4)]);
    let (monitor, told) = told(&values, &rules(Measure::Time));
    assert!(told.is_empty() && !monitor.is_ready());
}

#[test]
fn the_same_history_gives_the_same_changes_across_restarts() {
    let rules = rules(Measure::Time);
    let values = levels(Measure::Time, &[(40, 0.2), (8, 0.26), (16, 0.2)]);
    let (whole, all) = told(&values, &rules);
    for at in [100, 700, 1460, 1500, 1800] {
        let (saved, mut changes) = told(&values[..at], &rules);
        let text = serde_json::to_string(&saved).unwrap();
        assert!(text.len() < 250_000, "{}", text.len());
        let mut restored: SeriesMonitor = serde_json::from_str(&text).unwrap();
        assert_eq!(restored, saved);
        changes.extend(values[at..].iter().filter_map(|(at, value)| restored.take(*at, *value, &rules)));
        assert_eq!(changes, all, "{at}");
        assert_eq!(restored, whole, "{at}");
    }
}

#[test]
fn months_of_hourly_runs_whose_days_differ_do_not_hide_a_regression() {
    let mut noise = Noise::normal(5, 0.0);
    let hourly = |hour: i64, level: f64, noise: &mut Noise| {
        let day = if hour % 24 < 12 { 1.15 } else { 0.85 };
        (hour * HOUR, level * day * (0.03 * noise.next().unwrap()).exp())
    };
    let months = 200 * 24;
    let mut values: Vec<_> = (0..months).map(|hour| hourly(hour, 0.2, &mut noise)).collect();
    values.extend((months..months + 60).map(|hour| hourly(hour, 0.26, &mut noise)));
    let (_, told) = told(&values, &MonitorRules { history: 7 * DAY, ..rules(Measure::Time) });
    assert_eq!(kinds(&told), [ChangeKind::Regressed]);
}

#[test]
fn memory_is_bounded_and_bad_values_are_left_out() {
    let rules = MonitorRules { history: HOUR, ..rules(Measure::Time) };
    let mut monitor = SeriesMonitor::default();
    let mut noise = Noise::normal(5, 0.0);
    for n in (0..).take(2 * MAX_ENTRIES) {
        monitor.take(n * MINUTE, (0.05 * noise.next().unwrap()).exp(), &rules);
    }
    assert_eq!(monitor.entries.len(), MAX_ENTRIES);
    let mut before = monitor.clone();
    assert_eq!(monitor.take(0, 1.0, &rules), None, "older than what is known");
    before.late = 1;
    assert_eq!(monitor.take(i64::MAX / 2, f64::NAN, &rules), None);
    assert_eq!(monitor.take(i64::MAX / 2, -1.0, &rules), None);
    assert_eq!(monitor, before);
}

#[test]
fn a_clock_that_was_wrong_for_some_runs_does_not_silence_the_rest() {
    let values = levels(Measure::Time, &[(80, 0.2), (8, 0.26)]);
    let wrong = 2000..2003;
    for (slot, offset) in
        [(0, 0), (0, 400 * DAY), (0, 2 * DAY), (0, -400 * DAY), (HOUR, 400 * DAY), (HOUR, -400 * DAY)]
    {
        let rules = MonitorRules { slot, ..rules(Measure::Time) };
        let moved = |(n, (at, value)): (usize, &(i64, f64))| {
            (if wrong.contains(&n) { at + offset } else { *at }, *value)
        };
        let values: Vec<_> = values.iter().enumerate().map(moved).collect();
        let (monitor, told) = told(&values, &rules);
        assert_eq!(kinds(&told), [ChangeKind::Regressed], "{slot} {offset}: {told:?}");
        assert!((told[0].time.at - 20 * DAY).abs() < 6 * HOUR, "{slot} {offset}: {told:?}");
        let newest = monitor.entries.back().unwrap().0;
        assert!(values.last().unwrap().0 - newest <= HOUR, "{slot} {offset}: {newest}");
        assert!(monitor.entries.iter().is_sorted_by_key(|entry| entry.0), "{slot} {offset}");
        let kept = if slot == 0 { 3000 } else { 500 };
        assert!(monitor.entries.len() > kept, "{slot} {offset}: {}", monitor.entries.len());
    }
}

#[test]
fn what_is_usual_is_what_was_before_a_regression() {
    let rules = rules(Measure::Time);
    let usual = |quarters: &[(u32, f64)]| {
        let (monitor, _) = told(&levels(Measure::Time, quarters), &rules);
        monitor.usual(&rules)
    };
    assert_eq!(usual(&[(2, 0.2)]), None, "too short a history");
    for quarters in [&[(40, 0.2)][..], &[(40, 0.2), (8, 0.26)], &[(40, 0.2), (8, 0.26), (16, 0.2)]] {
        let usual = usual(quarters).unwrap();
        assert!((usual.typical / 0.2 - 1.0).abs() < 0.02, "{usual:?}");
        // The noise is 4%: nine of ten values are within 6.6%.
        assert!((0.91..0.97).contains(&(usual.low / usual.typical)), "{usual:?}");
        assert!((1.03..1.10).contains(&(usual.high / usual.typical)), "{usual:?}");
    }
}
