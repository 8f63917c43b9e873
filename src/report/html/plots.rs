//! The data of the plots of a pair, as the script expects it.

use super::PlotPlace;
use crate::event::LoadUnit;
use crate::report::result_pair::ResultPair;
use crate::report::sums::ReportTimes;
use crate::report::trail::{PlottedRequest, RequestTrail};
use serde::Serialize;

/// Into how many parts a distribution is cut for its curve.
const STEPS: u32 = 200;

/// The plots of a pair.
#[derive(Serialize)]
pub(super) struct PairPlots {
    /// The beginning of the ids of its elements.
    pub(super) id: String,
    plots: Vec<Plot>,
}

/// A plot: curves or dots over one axis.
#[derive(Serialize)]
struct Plot {
    id: String,
    title: String,
    x: PlotAxis,
    y: PlotAxis,
    /// A second axis, on the right, of the series that name it.
    right: Option<PlotAxis>,
    series: Vec<PlotSeries>,
}

#[derive(Serialize)]
struct PlotAxis {
    label: &'static str,
    /// `time`, `seconds`, `share` or `number`.
    unit: &'static str,
    logarithmic: bool,
}

#[derive(Serialize)]
struct PlotSeries {
    label: String,
    /// Whether its points are not joined.
    dots: bool,
    /// Whether it belongs to the second axis.
    right: bool,
    /// Whether it is about failures.
    bad: bool,
    /// Ascending.
    x: Vec<f64>,
    y: Vec<f64>,
}

impl PlotAxis {
    const fn new(label: &'static str, unit: &'static str) -> Self {
        Self { label, unit, logarithmic: false }
    }

    const fn logarithmic(label: &'static str, unit: &'static str) -> Self {
        Self { label, unit, logarithmic: true }
    }
}

impl PairPlots {
    pub(super) fn of(at: usize, pair: &ResultPair) -> Self {
        let id = format!("pair-{at}");
        let plots = [
            requests(&pair.requests),
            over_time(&pair.requests),
            distributions(pair),
            tokens(&pair.requests, "First token by prompt", "input tokens", |it| {
                Some((it.input_tokens?, it.first_token?))
            }),
            tokens(&pair.requests, "Duration by answer", "output tokens", |it| {
                Some((it.output_tokens?, it.duration))
            }),
            capacity(pair),
        ];
        let plots = plots.into_iter().flatten().zip(0..);
        let plots = plots.map(|(plot, number)| Plot { id: format!("{id}-plot-{number}"), ..plot });
        Self { plots: plots.collect(), id: id.clone() }
    }

    pub(super) fn places(&self) -> Vec<PlotPlace> {
        self.plots.iter().map(|plot| PlotPlace { id: plot.id.clone(), title: plot.title.clone() }).collect()
    }
}

impl Plot {
    /// `None` if there is nothing to see.
    fn new(title: &str, (x, y): (PlotAxis, PlotAxis), series: Vec<PlotSeries>) -> Option<Self> {
        let series: Vec<PlotSeries> = series.into_iter().filter(|it| !it.x.is_empty()).collect();
        let all = !series.is_empty();
        all.then(|| Self { id: String::new(), title: title.to_owned(), x, y, right: None, series })
    }
}

fn series(label: &str, dots: bool, points: impl Iterator<Item = (f64, f64)>) -> PlotSeries {
    let mut points: Vec<(f64, f64)> = points.collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (x, y) = points.into_iter().unzip();
    PlotSeries { label: label.to_owned(), dots, right: false, bad: false, x, y }
}

/// Requests per second and in flight over time.
fn requests(trail: &RequestTrail) -> Option<Plot> {
    let width = trail.timeline.slot_seconds.max(1);
    let slots = &trail.timeline.slots;
    let (first, last) = (*slots.keys().next()?, *slots.keys().next_back()?);
    // A gap is a time without requests, of which a curve needs both ends.
    let mut all: Vec<(u64, f64, f64, i64)> = Vec::new();
    let mut in_flight = 0_i64;
    let mut before = first;
    for (number, slot) in slots {
        for empty in [before + 1, number.saturating_sub(1)] {
            if empty > before && empty < *number && all.last().is_none_or(|(at, ..)| *at < empty) {
                all.push((empty, 0.0, 0.0, in_flight));
            }
        }
        let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        in_flight += count(slot.offered) - count(slot.skipped) - count(slot.ended);
        let per_second = |n: u64| n as f64 / width as f64;
        all.push((*number, per_second(slot.ok), per_second(slot.ended - slot.ok.min(slot.ended)), in_flight));
        before = *number;
    }
    all.push((last + 1, 0.0, 0.0, in_flight));
    let at = |number: u64| (number * width) as f64;
    let ok = series("ok", false, all.iter().map(|it| (at(it.0), it.1)));
    let failed = series("failed", false, all.iter().map(|it| (at(it.0), it.2)));
    let flying = series("in flight", false, all.iter().map(|it| (at(it.0 + 1), it.3.max(0) as f64)));
    let series = vec![ok, PlotSeries { bad: true, ..failed }, PlotSeries { right: true, ..flying }];
    let plot =
        Plot::new("Requests", (PlotAxis::new("", "time"), PlotAxis::new("per second", "number")), series)?;
    Some(Plot { right: Some(PlotAxis::new("in flight", "number")), ..plot })
}

/// Latency of the sampled requests over time.
fn over_time(trail: &RequestTrail) -> Option<Plot> {
    let of = |value: fn(&PlottedRequest) -> Option<f64>| {
        let answered = trail.samples.iter().filter(|it| it.is_answered());
        answered.filter_map(move |it| Some((it.at, value(it)?)))
    };
    let failed = trail.samples.iter().filter(|it| !it.is_answered()).map(|it| (it.at, it.duration));
    let all = vec![
        series("time to first token", true, of(|it| it.first_token)),
        series("duration", true, of(|it| Some(it.duration))),
        PlotSeries { bad: true, ..series("failed after", true, failed) },
    ];
    Plot::new("Latency over time", (PlotAxis::new("", "time"), PlotAxis::new("", "seconds")), all)
}

/// The share of values that are at most so long.
fn distributions(pair: &ResultPair) -> Option<Plot> {
    let tally = pair.totals().tally;
    let of = |label: &str, times: &ReportTimes| {
        let share = |step: u32| f64::from(step) / f64::from(STEPS);
        let points =
            (0..=STEPS).filter_map(|step| Some((times.quantile(share(step))?.as_secs_f64(), share(step))));
        series(label, false, points.filter(|(seconds, _)| *seconds > 0.0))
    };
    let all = vec![
        of("time to first token", &tally.first_token),
        of("chunk gap", &tally.chunk_gap),
        of("request duration", &tally.duration),
        of("response time", &tally.response_time),
    ];
    let axes =
        (PlotAxis::logarithmic("", "seconds"), PlotAxis::new("share that is at most so long", "share"));
    Plot::new("Distributions", axes, all)
}

/// Latency against a number of tokens, a series for each step.
fn tokens(
    trail: &RequestTrail,
    title: &str,
    label: &'static str,
    of: fn(&PlottedRequest) -> Option<(u64, f64)>,
) -> Option<Plot> {
    let mut steps: Vec<&str> = trail.samples.iter().map(|it| &*it.step).collect();
    steps.sort_unstable();
    steps.dedup();
    let of_step = |step: &str| {
        let answered = trail.samples.iter().filter(|it| it.is_answered() && &*it.step == step);
        let name = if step.is_empty() { "requests" } else { step };
        series(name, true, answered.filter_map(of).map(|(tokens, seconds)| (tokens as f64, seconds)))
    };
    let all = steps.into_iter().map(of_step).collect();
    Plot::new(title, (PlotAxis::new(label, "number"), PlotAxis::new("", "seconds")), all)
}

/// Throughput against the load: that of a search, or of stages with different loads.
fn capacity(pair: &ResultPair) -> Option<Plot> {
    let found = pair.runs.iter().find_map(|run| run.found.as_ref());
    let (label, points): (_, Vec<(f64, f64, f64)>) = if let Some(found) = found {
        let label = match found.unit {
            LoadUnit::Users => "users",
            LoadUnit::RequestsPerSecond => "requests/s offered",
            LoadUnit::JourneysPerSecond => "journeys/s offered",
        };
        let point = found.curve.iter();
        (label, point.map(|it| (it.load, it.requests_per_second, it.output_tokens_per_second)).collect())
    } else {
        let view = pair.view();
        let stages = view.stages.iter().filter(|stage| !stage.warm_up);
        let points = stages.filter_map(|stage| {
            let done = stage.throughput?;
            Some((stage.average_in_flight()?, done.requests_per_second, done.output_tokens_per_second))
        });
        ("complete answers in flight, on average", points.collect())
    };
    if points.len() < 2 {
        return None;
    }
    let requests = series("requests/s", false, points.iter().map(|it| (it.0, it.1)));
    let tokens = series("output tokens/s", false, points.iter().map(|it| (it.0, it.2)));
    let axes = (PlotAxis::new(label, "number"), PlotAxis::new("requests/s", "number"));
    let plot = Plot::new("Throughput by load", axes, vec![requests, PlotSeries { right: true, ..tokens }])?;
    Some(Plot { right: Some(PlotAxis::new("output tokens/s", "number")), ..plot })
}
