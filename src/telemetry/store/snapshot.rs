//! The values of a store at one time, as plain data: created once per scrape or export, and rendered from there. It
//! must not know how it is rendered.

use super::Store;
use super::cell::{Cell, Made, ReadOnScrape};
use super::cells::{Copied, row};
use super::pair::PairSeries;
use super::place::PlaceSeries;
use super::stage::StageSeries;
use crate::catalogue::{Key, Metric, SeriesExposure};
use crate::event::Pair;
use crate::telemetry::native::Native;
use crate::telemetry::value::{Histogram, HistogramSnapshot};
use crate::vocabulary::TelemetryDetail;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

/// Every series of a store at one time. For each profile and target, outside of warm-up, *offered = skipped + in flight
/// + requests* holds in it.
#[derive(Debug)]
pub struct Snapshot {
    /// `location` and the agent's own labels, which are on every series.
    pub agent_labels: Vec<(String, String)>,
    families: BTreeMap<Metric, Vec<Series>>,
}

/// One series.
#[derive(Debug)]
pub struct Series {
    subject: Arc<[(Key, Arc<str>)]>,
    keys: &'static [Key],
    /// The values of `keys`.
    beyond: Box<[LabelValue]>,
    /// Its value.
    pub value: SeriesValue,
    /// The start time of its values, by the wall clock.
    pub created: SystemTime,
}

/// The value of a label.
#[derive(Clone, Debug)]
pub(super) enum LabelValue {
    /// A value of a closed enum.
    Fixed(&'static str),
    /// A name, or other text.
    Shared(Arc<str>),
}

impl LabelValue {
    fn as_str(&self) -> &str {
        match self {
            Self::Fixed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

/// The value of a series.
#[derive(Debug)]
pub enum SeriesValue {
    /// The value of a counter or a gauge.
    Number(f64),
    /// The values of a histogram, and its base-2 buckets if they are recorded; both contain the same values.
    Histogram(HistogramSnapshot, Option<Native>),
}

impl Series {
    /// Its labels without the agent's, in the order of the catalogue.
    pub fn labels(&self) -> impl Iterator<Item = (Key, &str)> {
        let beyond = self.keys.iter().zip(&self.beyond).map(|(key, value)| (*key, value.as_str()));
        self.subject.iter().map(|(key, value)| (*key, &**value)).chain(beyond)
    }
}

impl Snapshot {
    /// The current values of a store: the series that its detail shows, or with `all` also those that are shown when
    /// they are used.
    pub(super) fn of(store: &Store, all: bool) -> Self {
        let mut gathering = Gathering::new(store.currency(), store.detail(), all);
        store.show(&mut gathering);
        Self { agent_labels: store.agent_labels(), families: gathering.families }
    }

    /// The series of a metric, in the order of their labels.
    pub fn series(&self, metric: Metric) -> &[Series] {
        self.families.get(&metric).map_or(&[], Vec::as_slice)
    }
}

/// Collects the series of cells, one cell after the other.
pub(super) struct Gathering {
    families: BTreeMap<Metric, Vec<Series>>,
    currency: Arc<str>,
    detail: TelemetryDetail,
    /// Whether series are collected that are not used yet.
    all: bool,
    subject: Arc<[(Key, Arc<str>)]>,
    metric: Metric,
    shown: SeriesExposure,
    beyond: Vec<LabelValue>,
    created: SystemTime,
}

impl Gathering {
    fn new(currency: Arc<str>, detail: TelemetryDetail, all: bool) -> Self {
        Self {
            families: BTreeMap::new(),
            currency,
            detail,
            all,
            subject: Arc::new([]),
            metric: Metric::BuildInfo,
            shown: SeriesExposure::Always,
            beyond: Vec::new(),
            created: SystemTime::UNIX_EPOCH,
        }
    }

    /// Sets the subject and metric of the following series.
    pub(super) fn of(&mut self, subject: &Arc<[(Key, Arc<str>)]>, metric: Metric) {
        (self.subject, self.metric) = (Arc::clone(subject), metric);
        self.shown = match metric.shown(self.detail) {
            SeriesExposure::Used if self.all => SeriesExposure::Always,
            shown => shown,
        };
    }

    /// Collects the series of a cell.
    pub(super) fn made<C: Cell>(&mut self, made: &Made<C>) {
        if self.shown != SeriesExposure::Never {
            self.created = made.created;
            made.cell.show(self);
        }
    }

    /// Adds a series that is read from its owner.
    pub(super) fn read(
        &mut self,
        made: &Made<ReadOnScrape>,
        labels: impl IntoIterator<Item = LabelValue>,
        value: f64,
    ) {
        self.created = made.created;
        self.with_all(labels, |out| out.number(value));
    }

    /// The agent's currency.
    pub(super) fn currency(&self) -> Arc<str> {
        Arc::clone(&self.currency)
    }

    /// Sets the value of the next label for all series collected by `show`.
    pub(super) fn with(&mut self, value: LabelValue, show: impl FnOnce(&mut Self)) {
        self.with_all([value], show);
    }

    /// Sets the values of the next labels for all series collected by `show`.
    pub(super) fn with_all(
        &mut self,
        values: impl IntoIterator<Item = LabelValue>,
        show: impl FnOnce(&mut Self),
    ) {
        let before = self.beyond.len();
        self.beyond.extend(values);
        show(self);
        self.beyond.truncate(before);
    }

    /// Adds a series with a number.
    pub(super) fn number(&mut self, value: f64) {
        if self.shown == SeriesExposure::Always || self.shown == SeriesExposure::Used && value > 0.0 {
            self.series(SeriesValue::Number(value));
        }
    }

    /// Adds a series with a histogram.
    pub(super) fn histogram(&mut self, histogram: &Histogram) {
        let (mut classic, native) = histogram.snapshot();
        if self.shown == SeriesExposure::Used && classic.count() == 0 {
            return;
        }
        if let Some(bounds) = self.metric.bounds(self.detail) {
            classic.keep(bounds);
        }
        self.series(SeriesValue::Histogram(classic, native));
    }

    fn series(&mut self, value: SeriesValue) {
        let series = Series {
            subject: Arc::clone(&self.subject),
            keys: self.metric.spec().labels,
            beyond: self.beyond.clone().into_boxed_slice(),
            value,
            created: self.created,
        };
        self.families.entry(self.metric).or_default().push(series);
    }
}

/// The counts between which requests move.
const MOVING: [Metric; 4] =
    [Metric::OfferedRequests, Metric::SkippedRequests, Metric::RequestsInFlight, Metric::Requests];

/// The counts of a pair, read while no request moves between them.
struct ConsistentCounts {
    in_flight: Option<Copied<row::RequestsInFlight>>,
    stages: Vec<Arrived>,
    places: Vec<Option<Copied<row::Requests>>>,
}

/// The offered and skipped requests of a stage.
type Arrived = (Option<Copied<row::OfferedRequests>>, Option<Copied<row::SkippedRequests>>);

impl ConsistentCounts {
    fn of(pair: &PairSeries, stages: &[&StageSeries], places: &[&PlaceSeries]) -> Self {
        let _still = pair.hold_still();
        let arrived = |stage: &&StageSeries| {
            (stage.cells.copy(row::OfferedRequests), stage.cells.copy(row::SkippedRequests))
        };
        Self {
            in_flight: pair.cells.copy(row::RequestsInFlight),
            stages: stages.iter().map(arrived).collect(),
            places: places.iter().map(|place| place.cells.copy(row::Requests)).collect(),
        }
    }
}

/// Collects the series of pairs, with their stages and places.
pub(super) fn show_pairs(
    pairs: &[Arc<PairSeries>],
    stages: &[Arc<StageSeries>],
    places: &[Arc<PlaceSeries>],
    out: &mut Gathering,
) {
    let mut parts: HashMap<&Pair, (Vec<&StageSeries>, Vec<&PlaceSeries>)> = HashMap::new();
    for stage in stages {
        parts.entry(&stage.pair).or_default().0.push(stage);
    }
    for place in places {
        parts.entry(&place.pair).or_default().1.push(place);
    }
    for pair in pairs {
        let (stages, places) = parts.remove(&pair.pair).unwrap_or_default();
        let moving = ConsistentCounts::of(pair, &stages, &places);
        pair.cells.show(out, &MOVING);
        pair.cells.show_copy(moving.in_flight, out);
        for (stage, (offered, skipped)) in stages.into_iter().zip(moving.stages) {
            stage.cells.show(out, &MOVING);
            stage.cells.show_copy(offered, out);
            stage.cells.show_copy(skipped, out);
        }
        for (place, ended) in places.into_iter().zip(moving.places) {
            place.cells.show(out, &MOVING);
            place.cells.show_copy(ended, out);
        }
    }
}
