//! A store while it is read, family by family: what must agree is read first, everything else when it is its turn. So a
//! scrape of any size holds one series at a time, and takes no lock for longer than a copy of a few counts.

use super::Store;
use super::cell::{Cell, Made, ReadOnScrape};
use super::cells::{Copied, row};
use super::registry::RegisteredSeries;
use super::sample::{LabelValue, SampleValue, SeriesSample, SubjectLabels};
use crate::catalogue::{Metric, SeriesExposure, Subject};
use crate::event::Pair;
use crate::telemetry::value::{Histogram, HistogramSnapshot};
use crate::vocabulary::TelemetryDetail;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

/// Every series of a store, for one rendering. For each profile and target, outside of warm-up, *offered = skipped + in
/// flight + requests* holds in it.
pub struct StoreReading<'a> {
    store: &'a Store,
    /// `location` and the agent's own labels, which are on every series.
    pub agent_labels: Vec<(String, String)>,
    detail: TelemetryDetail,
    /// Whether series are read that are not used yet.
    all: bool,
    currency: Arc<str>,
    held: RegisteredSeries,
    in_flight: Vec<Option<Copied<row::RequestsInFlight>>>,
    arrived: Vec<Arrived>,
    ended: Vec<Option<Copied<row::Requests>>>,
}

/// The offered and skipped requests of a stage.
type Arrived = (Option<Copied<row::OfferedRequests>>, Option<Copied<row::SkippedRequests>>);

impl<'a> StoreReading<'a> {
    /// Begins to read: copies the counts between which requests move, of each pair while none moves. `all`: also what
    /// is shown from its first use on.
    pub(super) fn of(store: &'a Store, all: bool) -> Self {
        let (held, detail, currency, agent_labels) = store.registered();
        let mut parts: HashMap<&Pair, (Vec<usize>, Vec<usize>)> = HashMap::new();
        for (index, stage) in held.stages.iter().enumerate() {
            parts.entry(&stage.pair).or_default().0.push(index);
        }
        for (index, place) in held.places.iter().enumerate() {
            parts.entry(&place.pair).or_default().1.push(index);
        }
        let mut arrived: Vec<Arrived> = held.stages.iter().map(|_| (None, None)).collect();
        let mut ended: Vec<_> = held.places.iter().map(|_| None).collect();
        let mut in_flight = Vec::with_capacity(held.pairs.len());
        for pair in &held.pairs {
            let (stages, places) = parts.remove(&pair.pair).unwrap_or_default();
            let _still = pair.hold_still();
            in_flight.push(pair.cells.copy(row::RequestsInFlight));
            for index in stages {
                if let Some((stage, into)) = held.stages.get(index).zip(arrived.get_mut(index)) {
                    *into = (stage.cells.copy(row::OfferedRequests), stage.cells.copy(row::SkippedRequests));
                }
            }
            for index in places {
                if let Some((place, into)) = held.places.get(index).zip(ended.get_mut(index)) {
                    *into = place.cells.copy(row::Requests);
                }
            }
        }
        drop(parts);
        Self { store, agent_labels, detail, all, currency, held, in_flight, arrived, ended }
    }

    /// The bounds of the buckets of a metric, without `+Inf`; `None` if it has none.
    pub fn bounds(&self, metric: Metric) -> Option<&'static [f64]> {
        metric.bounds(self.detail)
    }

    /// Calls `take` with each series of a metric, in the order of their labels.
    pub fn family(&self, metric: Metric, take: &mut dyn FnMut(&SeriesSample<'_>)) {
        let shown = match metric.shown(self.detail) {
            SeriesExposure::Never => return,
            SeriesExposure::Used if self.all => SeriesExposure::Always,
            shown => shown,
        };
        let out = &mut Gathering::new(self, metric, shown, take);
        let held = &self.held;
        match metric.spec().subject {
            Subject::Agent => self.store.show_agent(metric, out),
            Subject::Target => {
                held.targets.iter().for_each(|target| target.cells.one(metric, out));
                held.backend_reads.iter().for_each(|target| target.cells.one(metric, out));
                held.discovered.iter().for_each(|target| target.cells.one(metric, out));
            }
            Subject::Run => self.pairs(metric, out),
            Subject::Stage => self.stages(metric, out),
            Subject::Step => self.places(metric, out),
            Subject::Endpoint => held.endpoints.iter().for_each(|endpoint| endpoint.one(metric, out)),
        }
    }

    fn pairs<'b>(&'b self, metric: Metric, out: &mut Gathering<'b>) {
        for (pair, in_flight) in self.held.pairs.iter().zip(&self.in_flight) {
            if metric == Metric::RequestsInFlight {
                pair.cells.show_copy(in_flight.as_ref(), out);
            } else {
                pair.cells.one(metric, out);
            }
        }
    }

    fn stages<'b>(&'b self, metric: Metric, out: &mut Gathering<'b>) {
        for (stage, (offered, skipped)) in self.held.stages.iter().zip(&self.arrived) {
            match metric {
                Metric::OfferedRequests => stage.cells.show_copy(offered.as_ref(), out),
                Metric::SkippedRequests => stage.cells.show_copy(skipped.as_ref(), out),
                metric => stage.cells.one(metric, out),
            }
        }
    }

    fn places<'b>(&'b self, metric: Metric, out: &mut Gathering<'b>) {
        for (place, ended) in self.held.places.iter().zip(&self.ended) {
            if metric == Metric::Requests {
                place.cells.show_copy(ended.as_ref(), out);
            } else {
                place.cells.one(metric, out);
            }
        }
    }
}

/// Reads the series of cells of one metric, one cell after the other.
pub(super) struct Gathering<'a> {
    take: &'a mut dyn FnMut(&SeriesSample<'_>),
    currency: &'a Arc<str>,
    metric: Metric,
    shown: SeriesExposure,
    bounds: Option<&'static [f64]>,
    /// Whether exemplars are shown: those that were kept before a reload turned them off are not.
    exemplars: bool,
    subject: Option<&'a Arc<SubjectLabels>>,
    beyond: Vec<LabelValue>,
    created: SystemTime,
    /// The values of the present histogram, kept for its memory.
    histogram: HistogramSnapshot,
}

impl<'a> Gathering<'a> {
    fn new(
        reading: &'a StoreReading<'_>,
        metric: Metric,
        shown: SeriesExposure,
        take: &'a mut dyn FnMut(&SeriesSample<'_>),
    ) -> Self {
        // Other settings apply to the metrics of other conventions.
        let is_ours = metric.spec().subject != Subject::Endpoint;
        Self {
            exemplars: !is_ours || reading.store.settings.keeps_exemplars(),
            take,
            currency: &reading.currency,
            metric,
            shown,
            bounds: metric.bounds(reading.detail),
            subject: None,
            beyond: Vec::new(),
            created: SystemTime::UNIX_EPOCH,
            histogram: HistogramSnapshot::default(),
        }
    }

    /// Sets the subject of the following series.
    pub(super) fn of(&mut self, subject: &'a Arc<SubjectLabels>) {
        self.subject = Some(subject);
    }

    /// Reads the series of a cell.
    pub(super) fn made<C: Cell>(&mut self, made: &Made<C>) {
        self.created = made.created;
        made.cell.show(self);
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
        Arc::clone(self.currency)
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
        if self.shown == SeriesExposure::Used && value <= 0.0 {
            return;
        }
        self.sample(SampleValue::Number(value));
    }

    /// Adds a series with a histogram.
    pub(super) fn histogram(&mut self, histogram: &Histogram) {
        let mut reading = std::mem::take(&mut self.histogram);
        let native = histogram.snapshot_into(&mut reading);
        if self.shown == SeriesExposure::Always || reading.count() > 0 {
            if !self.exemplars {
                reading.exemplars.clear();
            }
            if let Some(bounds) = self.bounds {
                reading.keep(bounds);
            }
            self.sample(SampleValue::Histogram(&reading, native.as_ref()));
        }
        self.histogram = reading;
    }

    fn sample(&mut self, value: SampleValue<'_>) {
        let Some(subject) = self.subject else { return };
        let keys = self.metric.spec().labels;
        (self.take)(&SeriesSample { subject, keys, beyond: &self.beyond, value, created: self.created });
    }
}
