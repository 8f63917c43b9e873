//! Compiles curves of load.

use super::Findings;
use crate::config::{self, Between, Growth, KeyPath, LoadShape, Moving, show_duration};
use crate::limits;
use crate::plan::{CurveForm, CurvePiece, LoadCurve, PiecewiseCurve, Ramp, Recurrence, StageBounds};
use jiff::tz::TimeZone;
use std::sync::Arc;
use std::time::Duration;

/// The period of a curve is invalid, which is reported.
struct InvalidPeriod;

/// The default period of a sine wave.
const DAY: Duration = Duration::from_hours(24);

/// Compiles a value that may change over a stage; `None` if it is invalid. `number` gives the number of a value.
pub(super) fn compile<T: Copy>(
    written: &Moving<T>,
    number: impl Fn(T) -> f64,
    bounds: StageBounds,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<LoadCurve> {
    let curve = match written {
        Moving::Constant(value) => LoadCurve::constant(number(*value)),
        Moving::Curve(shape) => shaped(shape, &number, bounds, path, findings)?,
    };
    let (min, max) = (curve.min(), curve.max());
    if !(min.is_finite() && max.is_finite() && min >= 0.0 && max > 0.0) {
        findings.error(path, "must be more than 0");
        return None;
    }
    if bounds.time.is_none() && curve.last() == Some(0.0) {
        findings.error(path, "ends with 0, and the stage has no time: its requests are never due");
        return None;
    }
    Some(curve)
}

fn shaped<T: Copy>(
    shape: &LoadShape<T>,
    number: &impl Fn(T) -> f64,
    bounds: StageBounds,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<LoadCurve> {
    let LoadShape { from, to, growth, steps, spike, sine, table } = shape;
    let is_ramp = from.is_some() || to.is_some();
    let kinds =
        [("from", is_ramp), ("spike", spike.is_some()), ("sine", sine.is_some()), ("table", table.is_some())];
    findings.only_one(path, &kinds)?;
    for (key, is_there) in [("growth", growth.is_some()), ("steps", steps.is_some())] {
        if is_there && !is_ramp {
            findings.error(&path.key(key), "goes with `from` and `to`");
        }
    }
    if let Some(spike) = spike {
        return spiked(spike, number, bounds, &path.key("spike"), findings);
    }
    if let Some(sine) = sine {
        return waved(sine, number, &path.key("sine"), findings);
    }
    if let Some(table) = table {
        return tabled(table, number, bounds, &path.key("table"), findings);
    }
    let (Some(from), Some(to)) = (from, to) else {
        let missing = if from.is_none() { "from" } else { "to" };
        findings.error(path, format!("needs the key `{missing}`"));
        return None;
    };
    let ramp = Ramp { from: number(*from), to: number(*to) };
    ramped(ramp, growth.unwrap_or(Growth::Linear), *steps, bounds, path, findings)
}

#[expect(clippy::float_cmp, reason = "a ramp is one whose two ends were written differently")]
fn ramped(
    ramp: Ramp,
    growth: Growth,
    steps: Option<u32>,
    bounds: StageBounds,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<LoadCurve> {
    let is_exponential = growth == Growth::Exponential;
    if is_exponential && (ramp.from <= 0.0 || ramp.to <= 0.0) {
        let message =
            "needs ends over 0: no factor leads from 0 to another value, or from another value to 0";
        findings.error(&path.key("growth"), message);
        return None;
    }
    if ramp.from == ramp.to {
        return Some(LoadCurve::Ramp(ramp));
    }
    let Some(time) = bounds.time else {
        findings.error(path, "moves over the time of the stage, and the stage has none: it needs `for`");
        return None;
    };
    if let Some(steps) = steps {
        let each = |n: u32| {
            let share = f64::from(n) / f64::from(steps.saturating_sub(1).max(1));
            let value = if is_exponential {
                ramp.from * (ramp.to / ramp.from).powf(share)
            } else {
                ramp.from + (ramp.to - ramp.from) * share
            };
            // No rounding of the lengths adds up.
            let at = |n: u32| time.mul_f64(f64::from(n) / f64::from(steps));
            CurvePiece::constant(at(n + 1).saturating_sub(at(n)), value)
        };
        return Some(once((0..steps).map(each).collect()));
    }
    if is_exponential {
        let piece = CurvePiece { length: time, from: ramp.from, to: ramp.to, form: CurveForm::Exponential };
        return Some(once(vec![piece]));
    }
    Some(LoadCurve::Ramp(ramp))
}

/// The pieces, from the start of the stage.
fn once(pieces: Vec<CurvePiece>) -> LoadCurve {
    piecewise(pieces, None)
}

/// The pieces, again and again.
fn repeated(pieces: Vec<CurvePiece>, offset: Duration, timezone: Option<&config::Zone>) -> LoadCurve {
    let timezone = timezone.map_or(TimeZone::UTC, config::Zone::zone);
    piecewise(pieces, Some(Recurrence { offset, timezone }))
}

fn piecewise(pieces: Vec<CurvePiece>, recurrence: Option<Recurrence>) -> LoadCurve {
    let pieces: Arc<[CurvePiece]> = pieces.into_iter().filter(|piece| !piece.length.is_zero()).collect();
    LoadCurve::Pieces(PiecewiseCurve { pieces, recurrence })
}

/// Checks a period and its time zone. Fails if the period is invalid.
fn period(
    written: Option<config::Length>,
    timezone: Option<&config::Zone>,
    path: &KeyPath,
    findings: &mut Findings,
) -> Result<Option<Duration>, InvalidPeriod> {
    let Some(period) = written else {
        if timezone.is_some() {
            findings.error(&path.key("timezone"), "goes with `period`");
        }
        return Ok(None);
    };
    if period.0 < limits::SHORTEST_CURVE_PERIOD {
        let least = show_duration(limits::SHORTEST_CURVE_PERIOD);
        findings.error(&path.key("period"), format!("must be {least} or longer"));
        return Err(InvalidPeriod);
    }
    Ok(Some(period.0))
}

fn spiked<T: Copy>(
    spike: &config::Spike<T>,
    number: &impl Fn(T) -> f64,
    bounds: StageBounds,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<LoadCurve> {
    let period = period(spike.period, spike.timezone.as_ref(), path, findings).ok()?;
    let (base, peak, at, time) = (number(spike.base), number(spike.peak), spike.at.0, spike.time.0);
    if time.is_zero() {
        findings.error(&path.key("for"), "must be more than 0s");
        return None;
    }
    let end = at.saturating_add(time);
    let (whole, which) = if period.is_some() { (period, "its `period`") } else { (bounds.time, "the stage") };
    if let Some(whole) = whole.filter(|whole| end > *whole) {
        let message =
            format!("ends at {}, after the end of {which}, {}", show_duration(end), show_duration(whole));
        findings.error(path, message);
        return None;
    }
    let before = CurvePiece::constant(at, base);
    let raised = CurvePiece::constant(time, peak);
    let rest =
        CurvePiece::constant(whole.map_or(Duration::from_secs(1), |whole| whole.saturating_sub(end)), base);
    let pieces = vec![before, raised, rest];
    Some(match period {
        Some(_) => repeated(pieces, Duration::ZERO, spike.timezone.as_ref()),
        None => once(pieces),
    })
}

fn waved<T: Copy>(
    sine: &config::Sine<T>,
    number: &impl Fn(T) -> f64,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<LoadCurve> {
    let period = period(sine.period.or(Some(config::Length(DAY))), None, path, findings).ok()??;
    let (low, high) = (number(sine.low), number(sine.high));
    if low > high {
        findings.error(&path.key("low"), "must not be more than `high`");
        return None;
    }
    let rise = period / 2;
    let peak = sine.peak.map_or(rise, |peak| peak.0);
    if peak >= period {
        findings
            .error(&path.key("peak"), format!("must be shorter than the period, {}", show_duration(period)));
        return None;
    }
    let piece = |length, from, to| CurvePiece { length, from, to, form: CurveForm::HalfCosine };
    let pieces = vec![piece(rise, low, high), piece(period.saturating_sub(rise), high, low)];
    // The lowest point is half a period before the highest one.
    let offset = peak.checked_sub(rise).unwrap_or_else(|| (peak + period).saturating_sub(rise));
    Some(repeated(pieces, offset, sine.timezone.as_ref()))
}

fn tabled<T: Copy>(
    table: &config::CurveTable<T>,
    number: &impl Fn(T) -> f64,
    bounds: StageBounds,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<LoadCurve> {
    let period = period(table.period, table.timezone.as_ref(), path, findings).ok()?;
    let points: Vec<(Duration, f64)> =
        table.points.iter().map(|point| (point.at.0, number(point.value))).collect();
    for (index, pair) in points.windows(2).enumerate() {
        if let [(before, _), (at, _)] = pair
            && at <= before
        {
            let at = path.key("points").index(index + 1).key("at");
            findings.error(&at, format!("must be after the point before it, {}", show_duration(*before)));
            return None;
        }
    }
    let (Some(first), Some(last)) = (points.first().copied(), points.last().copied()) else {
        findings.error(&path.key("points"), "must have at least one item");
        return None;
    };
    let end = period.or(bounds.time);
    if let Some(end) = end.filter(|end| last.0 >= *end) {
        let at = path.key("points").index(points.len() - 1).key("at");
        let whole = if period.is_some() { "its `period`" } else { "the stage" };
        findings.error(&at, format!("must be before the end of {whole}, {}", show_duration(end)));
        return None;
    }
    let is_linear = table.between != Some(Between::Step);
    let piece = |length, from, to| CurvePiece {
        length,
        from,
        to: if is_linear { to } else { from },
        form: CurveForm::Linear,
    };
    let mut pieces: Vec<CurvePiece> = Vec::with_capacity(points.len() + 1);
    if period.is_none() {
        pieces.push(CurvePiece::constant(first.0, first.1));
    }
    pieces.extend(points.windows(2).filter_map(|pair| {
        let [(before, from), (at, to)] = pair else { return None };
        Some(piece(at.saturating_sub(*before), *from, *to))
    }));
    let Some(period) = period else {
        pieces.push(CurvePiece::constant(Duration::from_secs(1), last.1));
        return Some(once(pieces));
    };
    // From the last point to the first one of the next period.
    pieces.push(piece(period.saturating_sub(last.0) + first.0, last.1, first.1));
    Some(repeated(pieces, first.0, table.timezone.as_ref()))
}
