//! Small charts as shapes in a box of [`WIDTH`] by [`HEIGHT`] units: lines of quantiles over bands of events, and bars
//! of counts. It turns a history into coordinates and knows no markup; the template draws them.

use super::notice::NoticeEvent;
use crate::state::{HistoryView, Percentiles, SlotView};
use serde::Serialize;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

/// Width of every chart in its own units; the page scales it.
pub(super) const WIDTH: f64 = 300.0;
/// Height of every chart in its own units; the page scales it.
pub(super) const HEIGHT: f64 = 60.0;
/// Minimum number of slots in a chart, so that the first ones do not fill it.
const FEWEST: u64 = 12;
/// Slots that are farther apart than this have nothing between them: the process did not run.
const APART: Duration = Duration::from_secs(1);

/// The charts of a pair of profile and target.
#[derive(Debug, Serialize)]
pub(super) struct Charts {
    pub(super) width: f64,
    pub(super) height: f64,
    /// Minutes that the time axis spans.
    minutes: f64,
    /// Events that were caused on purpose, to be shown as bands.
    bands: Vec<Band>,
    times: QuantileLines,
    counts: StackedBars,
}

/// A time span, shown as a band.
#[derive(Debug, Serialize)]
struct Band {
    x: f64,
    width: f64,
    title: String,
}

/// Quantiles as lines. Each is a path with gaps where nothing was measured.
#[derive(Debug, Serialize)]
struct QuantileLines {
    p50: String,
    p95: String,
    /// The upper end of the axis in seconds.
    top: f64,
    /// The position of the objective's bound.
    bound: Option<f64>,
}

/// Counts as stacked bars.
#[derive(Debug, Serialize)]
struct StackedBars {
    bars: Vec<Bar>,
    /// The upper end of the axis in requests per second.
    top: f64,
    /// Sums of the bars.
    ok: u64,
    failed: u64,
}

#[derive(Debug, Serialize)]
struct Bar {
    x: f64,
    width: f64,
    failed_y: f64,
    ok_height: f64,
    failed_height: f64,
    title: String,
}

/// The time axis, with the end of the newest slot at the right.
#[derive(Clone, Copy)]
struct Axis {
    /// Where it ends.
    end: SystemTime,
    /// What it spans.
    seconds: f64,
}

impl Axis {
    fn of(history: &HistoryView) -> Self {
        let ends = history.slots.first().zip(history.slots.last());
        let (start, end) = ends.map_or((SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH), |(first, last)| {
            (first.start.0, last.end())
        });
        let filled = end.duration_since(start).unwrap_or_default().as_secs_f64();
        Self { end, seconds: filled.max((FEWEST * history.slot_seconds) as f64) }
    }

    /// The width of so many seconds.
    fn width(self, seconds: f64) -> f64 {
        WIDTH * seconds / self.seconds
    }

    fn x(self, at: SystemTime) -> f64 {
        WIDTH - self.width(self.end.duration_since(at).unwrap_or_default().as_secs_f64())
    }
}

impl Charts {
    /// The charts of a history: latencies against a bound in seconds, and counts, over the events.
    pub(super) fn of(history: &HistoryView, bound: Option<f64>, events: &[NoticeEvent]) -> Self {
        let axis = Axis::of(history);
        Self {
            width: WIDTH,
            height: HEIGHT,
            minutes: round(axis.seconds / 60.0),
            bands: bands(history, axis, events),
            times: times(history, axis, bound),
            counts: counts(history, axis),
        }
    }
}

fn bands(history: &HistoryView, axis: Axis, events: &[NoticeEvent]) -> Vec<Band> {
    let Some(first) = history.slots.first() else { return Vec::new() };
    let x = |at: SystemTime| axis.x(at.max(first.start.0));
    let band = |event: &NoticeEvent| {
        let (from, until) = (x(event.from.0), x(event.until.0));
        (until > from).then(|| Band { x: round(from), width: round(until - from), title: event.what.clone() })
    };
    events.iter().filter_map(band).collect()
}

/// The medians of a history as a line in the box of a chart, without an axis; `None` if there are none.
pub(super) fn sparkline(history: &HistoryView) -> Option<String> {
    let line = times(history, Axis::of(history), None).p50;
    (!line.is_empty()).then_some(line)
}

fn times(history: &HistoryView, axis: Axis, bound: Option<f64>) -> QuantileLines {
    let value = |slot: &SlotView| {
        if history.streamed { slot.time_to_first_token_seconds } else { slot.request_duration_seconds }
    };
    let values: Vec<Option<Percentiles>> = history.slots.iter().map(value).collect();
    let most = values.iter().flatten().map(|it| it.p95).chain(bound).fold(0.0, f64::max);
    let top = nice(most);
    let y = |seconds: f64| round(HEIGHT - HEIGHT * seconds / top);
    let line = |take: fn(&Percentiles) -> f64| {
        let mut path = String::new();
        let mut pen = 'M';
        let mut end = SystemTime::UNIX_EPOCH;
        for (slot, value) in history.slots.iter().zip(&values) {
            let apart = slot.start.0.duration_since(end).is_ok_and(|gap| gap > APART);
            end = slot.end();
            let Some(value) = value else {
                pen = 'M';
                continue;
            };
            if apart {
                pen = 'M';
            }
            // A line starts at the edge of its slot, so that a value without neighbours is visible, too.
            let step = axis.width(slot.seconds);
            let at = axis.x(slot.start.0) + step * if pen == 'M' { 0.1 } else { 0.5 };
            let _ = write!(path, "{pen}{},{}", round(at), y(take(value)));
            if pen == 'M' {
                let _ = write!(path, "h{}", round(step * 0.4));
            }
            pen = 'L';
        }
        path
    };
    QuantileLines { p50: line(|it| it.p50), p95: line(|it| it.p95), top, bound: bound.map(y) }
}

fn counts(history: &HistoryView, axis: Axis) -> StackedBars {
    let rate = |slot: &SlotView, n: u64| if slot.seconds > 0.0 { n as f64 / slot.seconds } else { 0.0 };
    let top = nice(history.slots.iter().map(|slot| rate(slot, slot.ok + slot.failed)).fold(0.0, f64::max));
    let height = |slot: &SlotView, n: u64| round(HEIGHT * rate(slot, n) / top);
    let bar = |slot: &SlotView| {
        let (ok_height, failed_height) = (height(slot, slot.ok), height(slot, slot.failed));
        let title = format!("{}: {} ok, {} failed", slot.start, slot.ok, slot.failed);
        let step = axis.width(slot.seconds);
        let (x, width) = (round(axis.x(slot.start.0) + step * 0.1), round(step * 0.8));
        Bar { x, width, failed_y: round(HEIGHT - ok_height - failed_height), ok_height, failed_height, title }
    };
    let sum = |take: fn(&SlotView) -> u64| history.slots.iter().map(take).sum();
    let (ok, failed) = (sum(|slot| slot.ok), sum(|slot| slot.failed));
    StackedBars { bars: history.slots.iter().map(bar).collect(), top, ok, failed }
}

/// Rounds up to 1, 1.5, 2, 3, 5 or 7.5 times a power of ten; 1 for zero.
fn nice(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 1.5, 2.0, 3.0, 5.0, 7.5];
    steps.into_iter().map(|step| step * power).find(|top| *top >= value).unwrap_or(10.0 * power)
}

/// Rounds to a tenth, to keep the page small.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Outcome;
    use crate::fact::Sink;
    use crate::state::{HistoryRecorder, Time};
    use crate::testing::{play, small_plan};
    use std::sync::Arc;

    /// Ten seconds of requests, ten of nothing, ten of requests.
    async fn history() -> HistoryView {
        let plan = small_plan();
        let history = HistoryRecorder::new(&plan);
        let sink: Arc<dyn Sink> = Arc::<HistoryRecorder>::clone(&history);
        let place = &plan.pairs[0].places[1];
        for _ in 0..2 {
            play(&sink, place, Outcome::Ok, |_| {});
            play(&sink, place, Outcome::Failed(crate::event::Failure::Reset), |_| {});
            tokio::time::advance(Duration::from_secs(20)).await;
        }
        history.view().into_values().next().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn lines_have_gaps_and_bars_stand_on_the_floor() {
        let charts = Charts::of(&history().await, Some(0.8), &[]);
        // Five slots of 25 units at the right end; 0.3 s of 1 s is 42 units from above.
        assert_eq!((charts.minutes, charts.times.top), (2.0, 1.0));
        assert_eq!(charts.times.p95, "M177.5,42h10M227.5,42h10");
        assert_eq!(charts.times.bound, Some(12.0));
        let bar = &charts.counts.bars[0];
        assert_eq!((charts.counts.top, bar.x, bar.width), (0.2, 177.5, 20.0));
        assert_eq!((bar.ok_height, bar.failed_height, bar.failed_y), (30.0, 30.0, 0.0));
        assert!(bar.title.ends_with("Z: 1 ok, 1 failed"), "{}", bar.title);
        assert_eq!((charts.counts.bars[1].ok_height, charts.counts.bars[1].failed_y), (0.0, HEIGHT));
    }

    #[tokio::test(start_paused = true)]
    async fn events_lie_where_they_happened_and_inside_the_chart() {
        let history = history().await;
        let event = |from: i64, seconds: u64| {
            let start = history.slots[0].start.0;
            let from = if from < 0 {
                start - Duration::from_secs(from.unsigned_abs())
            } else {
                start + Duration::from_secs(from.unsigned_abs())
            };
            NoticeEvent {
                what: "slow".into(),
                effect: String::new(),
                from: Time(from),
                until: Time(from + Duration::from_secs(seconds)),
            }
        };
        let bands =
            Charts::of(&history, None, &[event(10, 4), event(-60, 5), event(48, 600), event(900, 5)]).bands;
        let spans: Vec<_> = bands.iter().map(|band| (band.x, band.width)).collect();
        assert_eq!(spans, [(200.0, 10.0), (295.0, 5.0)]);
    }

    /// A minute, and then the first ten seconds of the next process, at once or two minutes later.
    #[tokio::test(start_paused = true)]
    async fn a_chart_goes_on_after_a_restart() {
        let plan = small_plan();
        for (apart, line) in [(0, "M140,42h60L287.5,42"), (120, "M9.5,42h37.9M285.8,42h6.3")] {
            let history = HistoryRecorder::new(&plan);
            let sink: Arc<dyn Sink> = Arc::<HistoryRecorder>::clone(&history);
            play(&sink, &plan.pairs[0].places[1], Outcome::Ok, |_| {});
            let mut view = history.view().into_values().next().unwrap();
            let mut minute = view.slots[0].clone();
            minute.start = Time(minute.start.0 - Duration::from_secs(60 + apart));
            (minute.seconds, minute.ok, minute.failed) = (60.0, 5, 1);
            view.slots.insert(0, minute);
            let charts = Charts::of(&view, Some(0.8), &[]);
            assert_eq!(charts.times.p95, line);
            // Rates: 6 in a minute, and 1 in ten seconds, are the same.
            let [minute, slot] = &charts.counts.bars[..] else { panic!("{:?}", charts.counts) };
            assert_eq!((minute.ok_height + minute.failed_height, slot.ok_height), (60.0, 60.0));
            assert_eq!((charts.counts.ok, charts.counts.failed), (6, 1));
        }
    }

    #[test]
    fn axes_end_at_round_numbers() {
        let tops = [0.0, 0.001, 0.16, 0.21, 1.0, 4.0, 99.0].map(nice);
        for (top, wanted) in tops.into_iter().zip([1.0, 0.001, 0.2, 0.3, 1.0, 5.0, 100.0]) {
            assert!((top - wanted).abs() < 1e-9, "{top}, not {wanted}");
        }
    }
}
