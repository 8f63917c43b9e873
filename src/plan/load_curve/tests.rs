use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);
const FORMS: [CurveForm; 3] = [CurveForm::Linear, CurveForm::Exponential, CurveForm::HalfCosine];

fn piece(seconds: f64, from: f64, to: f64, form: CurveForm) -> CurvePiece {
    CurvePiece { length: Duration::from_secs_f64(seconds), from, to, form }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A day that is lowest, 1, at two in the night, and highest, 9, at two in the afternoon.
fn day(timezone: &str) -> LoadCurve {
    let half = Duration::from_hours(12);
    let piece = |from, to| CurvePiece { length: half, from, to, form: CurveForm::HalfCosine };
    let timezone = TimeZone::get(timezone).unwrap();
    let recurrence = Some(Recurrence { offset: Duration::from_hours(2), timezone });
    LoadCurve::Pieces(PiecewiseCurve { pieces: [piece(1.0, 9.0), piece(9.0, 1.0)].into(), recurrence })
}

/// The value at an instant, from a stage that begins then.
fn value(curve: &LoadCurve, start: &str) -> f64 {
    curve.segments(Some(SECOND), at(start)).next().unwrap().value(0.0)
}

#[test]
fn a_wave_follows_local_time() {
    let (utc, berlin) = (day("UTC"), day("Europe/Berlin"));
    for (curve, instant, expected) in [
        (&utc, "2026-01-05T14:00:00Z", 9.0),
        (&utc, "2026-01-05T02:00:00Z", 1.0),
        (&utc, "2026-01-05T08:00:00Z", 5.0),
        (&utc, "2026-01-05T20:00:00Z", 5.0),
        // Winter time is one hour ahead of UTC, summer time two.
        (&berlin, "2026-01-05T13:00:00Z", 9.0),
        (&berlin, "2026-07-06T12:00:00Z", 9.0),
        // Before the epoch as well.
        (&utc, "1969-07-20T14:00:00Z", 9.0),
    ] {
        assert!((value(curve, instant) - expected).abs() < 1e-9, "{instant}: {}", value(curve, instant));
    }
}

#[test]
fn the_curve_jumps_where_the_clocks_change() {
    // On 29 March 2026, 02:00 becomes 03:00 in Berlin, at 01:00 UTC.
    let curve = day("Europe/Berlin");
    let before = value(&curve, "2026-03-29T00:59:59.999Z");
    let after = value(&curve, "2026-03-29T01:00:00Z");
    let expected = 5.0 - 4.0 * (std::f64::consts::PI / 12.0).cos();
    assert!((before - 1.0).abs() < 1e-6 && (after - expected).abs() < 1e-9, "{before} {after}");
    // The stage of a day has one segment more than usual, and the hour is missing from its integral.
    let midnight = at("2026-03-28T23:00:00Z");
    let day_of_23_hours = curve.area(Duration::from_hours(23), midnight);
    let skipped = piece(43_200.0, 1.0, 9.0, CurveForm::HalfCosine).area_until(3600.0);
    assert!((day_of_23_hours - (5.0 * 86_400.0 - skipped)).abs() < 1e-3, "{day_of_23_hours}");
}

#[test]
fn periods_are_counted_from_monday() {
    let piece = |days: u64, value| CurvePiece::constant(Duration::from_hours(24 * days), value);
    let recurrence = Some(Recurrence { offset: Duration::ZERO, timezone: TimeZone::UTC });
    let week =
        LoadCurve::Pieces(PiecewiseCurve { pieces: [piece(5, 8.0), piece(2, 1.0)].into(), recurrence });
    // A Friday, and the Saturday after it.
    assert!((value(&week, "2026-11-27T23:59:59Z") - 8.0).abs() < 1e-9);
    assert!((value(&week, "2026-11-28T00:00:00Z") - 1.0).abs() < 1e-9);
    assert!((value(&week, "2026-11-30T00:00:00Z") - 8.0).abs() < 1e-9);
    assert!((week.mean_of_period().unwrap() - 6.0).abs() < 1e-9);
}

#[test]
fn a_stage_that_is_cut_into_runs_has_the_same_load() {
    // As a daemon that is restarted: the phase comes from the clock and not from the start.
    let curve = day("Europe/Berlin");
    let start = at("2026-03-28T12:34:56Z");
    let whole = curve.area(Duration::from_hours(30), start);
    let cut = at("2026-03-29T03:21:00Z");
    let first = Duration::try_from(cut.duration_since(start)).unwrap();
    let parts = curve.area(first, start) + curve.area(Duration::from_hours(30).saturating_sub(first), cut);
    assert!((whole - parts).abs() < 1e-6 * whole);
}

#[test]
fn a_curve_that_does_not_repeat_stays_at_its_last_value() {
    let pieces = [piece(2.0, 1.0, 3.0, CurveForm::Linear), piece(1.0, 5.0, 5.0, CurveForm::Linear)];
    let curve = LoadCurve::Pieces(PiecewiseCurve { pieces: pieces.into(), recurrence: None });
    assert!((curve.area(SECOND * 10, at("2026-01-01T00:00:00Z")) - (4.0 + 5.0 * 8.0)).abs() < 1e-9);
    let segments: Vec<_> = curve.segments(None, Timestamp::UNIX_EPOCH).collect();
    assert_eq!(segments.len(), 3);
    assert_eq!((segments[2].length, segments[2].area()), (None, f64::INFINITY));
    assert_eq!((curve.first(), curve.last(), curve.min(), curve.max()), (1.0, Some(5.0), 1.0, 5.0));
}

#[test]
fn bounds_of_a_repeated_curve_hold_wherever_a_stage_begins() {
    let curve = day("UTC");
    for hours in [1, 5, 12, 24, 31] {
        let time = Duration::from_hours(hours);
        let most = curve.most_area(time);
        for start in 0..24 {
            let start = Timestamp::from_second(start * 3600).unwrap();
            assert!(curve.area(time, start) <= most * (1.0 + 1e-9), "{hours} h from {start}");
        }
    }
    assert!((curve.most_area(Duration::from_hours(24)) - 5.0 * 86_400.0).abs() < 1e-6);
}

proptest! {
    #[test]
    fn the_area_is_the_sum_of_many_values(
        form in 0..3_usize, from in 0.1..50.0_f64, to in 0.1..50.0_f64, length in 0.5..100.0_f64, share in 0.0..1.0_f64,
    ) {
        let piece = piece(length, from, to, FORMS[form]);
        let (n, end) = (4000, piece.length.as_secs_f64() * share);
        let width = end / f64::from(n);
        let sum: f64 = (0..n).map(|i| piece.value((f64::from(i) + 0.5) * width) * width).sum();
        prop_assert!((sum - piece.area_until(end)).abs() <= 1e-4 * (1.0 + sum), "{} {}", sum, piece.area_until(end));
        prop_assert!((piece.value(0.0) - from).abs() < 1e-9 * from);
        prop_assert!((piece.value(piece.length.as_secs_f64()) - to).abs() < 1e-6 * to.max(from));
    }

    #[test]
    fn inverses_undo_value_and_area(
        form in 0..3_usize, from in 0.0..1000.0_f64, to in 0.0..1000.0_f64, length in 0.1..1000.0_f64,
        share in 0.0..1.0_f64,
    ) {
        let least = if FORMS[form] == CurveForm::Exponential { 0.01 } else { 0.0 };
        let piece = piece(length, from.max(least), to.max(least), FORMS[form]);
        let area = piece.area() * share;
        let t = piece.time_of_area(area);
        prop_assert!((0.0..=length * (1.0 + 1e-6)).contains(&t));
        prop_assert!((piece.area_until(t) - area).abs() <= 1e-6 * (1.0 + area));
        let level = piece.from + (piece.to - piece.from) * share;
        let t = piece.time_of_value(level);
        prop_assert!((piece.value(t) - level).abs() <= 1e-6 * (1.0 + level));
    }

    #[test]
    fn segments_cover_a_stage_without_a_gap(start in 0_i64..4_000_000_000, minutes in 1_u64..20_000) {
        let (curve, time) = (day("America/New_York"), Duration::from_mins(minutes));
        let start = Timestamp::from_second(start).unwrap();
        let segments: Vec<_> = curve.segments(Some(time), start).collect();
        let total: Duration = segments.iter().filter_map(|segment| segment.length).sum();
        prop_assert_eq!(total, time);
        prop_assert!(segments.iter().all(|it| it.length.is_some_and(|length| !length.is_zero())));
    }
}
