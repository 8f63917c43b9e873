//! What a store holds at one time, as plain data: made once for a scrape or an export, and rendered from there. It
//! must not know how it is rendered.

use super::{Labels, Out, PairNode, PlaceNode, StageNode, Store, TargetNode, Value, Visit};
use crate::catalogue::{Key, Metric};
use crate::event::Pair;
use crate::telemetry::native::Native;
use crate::telemetry::value::HistogramSnapshot;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

/// Every series of a store at one time. For each profile and target, outside warm-up, *offered = skipped + in flight +
/// requests* holds in it.
#[derive(Debug)]
pub struct Snapshot {
    /// `location` and the agent's own labels, which every series has.
    pub agent_labels: Vec<(String, String)>,
    families: BTreeMap<Metric, Vec<Series>>,
}

/// One series.
#[derive(Debug)]
pub struct Series {
    subject: Arc<[(Key, Arc<str>)]>,
    beyond: Box<[(Key, Arc<str>)]>,
    /// Its value.
    pub value: Held,
    /// Since when it counts, by the wall clock.
    pub created: SystemTime,
}

/// The value of a series.
#[derive(Debug)]
pub enum Held {
    /// Of a counter or a gauge.
    Number(f64),
    /// Of a histogram, with its base-2 buckets where they are kept: both hold the same values.
    Histogram(HistogramSnapshot, Option<Native>),
}

impl Series {
    /// Its labels, the agent's left out, in the order of the catalogue.
    pub fn labels(&self) -> impl Iterator<Item = (Key, &str)> {
        self.subject.iter().chain(&self.beyond).map(|(key, value)| (*key, &**value))
    }
}

impl Snapshot {
    /// What a store holds now.
    pub(super) fn of(store: &Store) -> Self {
        let mut gathered = Gathered { families: BTreeMap::new(), subject: Arc::new([]) };
        store.visit(&mut gathered);
        Self { agent_labels: store.agent_labels(), families: gathered.families }
    }

    /// The series of a metric, in the order of their labels.
    pub fn series(&self, metric: Metric) -> &[Series] {
        self.families.get(&metric).map_or(&[], Vec::as_slice)
    }
}

struct Gathered {
    families: BTreeMap<Metric, Vec<Series>>,
    /// The labels of the subject that was shown last: its other series share them.
    subject: Arc<[(Key, Arc<str>)]>,
}

impl Visit for Gathered {
    fn series(&mut self, metric: Metric, labels: Labels<'_>, created: SystemTime, value: Value<'_>) {
        let same =
            self.subject.iter().map(|(key, value)| (*key, &**value)).eq(labels.subject.iter().copied());
        if !same {
            self.subject = shared(labels.subject).collect();
        }
        let value = match value {
            Value::Number(number) => Held::Number(number),
            Value::Histogram(histogram) => {
                let (classic, native) = histogram.snapshot();
                Held::Histogram(classic, native)
            }
        };
        let (subject, beyond) = (Arc::clone(&self.subject), shared(labels.beyond).collect());
        self.families.entry(metric).or_default().push(Series { subject, beyond, value, created });
    }
}

fn shared(labels: &[(Key, &str)]) -> impl Iterator<Item = (Key, Arc<str>)> {
    labels.iter().map(|(key, value)| (*key, Arc::from(*value)))
}

/// Shows the series of a plan's parts.
pub(super) fn visit_nodes(
    targets: &[Arc<TargetNode>],
    pairs: &[Arc<PairNode>],
    stages: &[Arc<StageNode>],
    places: &[Arc<PlaceNode>],
    visit: &mut dyn Visit,
) {
    for target in targets {
        target.visit(visit);
    }
    let mut parts: HashMap<&Pair, Parts<'_>> = HashMap::new();
    for stage in stages {
        parts.entry(stage.pair.pair()).or_default().stages.push(stage);
    }
    for place in places {
        parts.entry(place.stage.pair.pair()).or_default().places.push(place);
    }
    for pair in pairs {
        let Parts { stages, places } = parts.remove(pair.pair()).unwrap_or_default();
        // Requests move from one count to another while none of them is read.
        let moving = pair.series.hold_still();
        let in_flight = pair.series.in_flight();
        let arrived: Vec<_> = stages.iter().map(|stage| stage.series.arrived()).collect();
        let ended: Vec<_> = places.iter().map(|place| place.series.ended_by_outcome()).collect();
        drop(moving);
        pair.visit(visit, in_flight);
        for (stage, arrived) in stages.into_iter().zip(arrived) {
            stage.visit(visit, arrived);
        }
        for (place, ended) in places.into_iter().zip(ended) {
            place.visit(visit, ended);
        }
    }
}

#[derive(Default)]
struct Parts<'a> {
    stages: Vec<&'a StageNode>,
    places: Vec<&'a PlaceNode>,
}

/// Switches base-2 recording on.
pub(super) struct RecordNative;

impl Visit for RecordNative {
    fn series(&mut self, _: Metric, _: Labels<'_>, _: SystemTime, value: Value<'_>) {
        if let Value::Histogram(histogram) = value {
            histogram.record_native();
        }
    }
}

impl RecordNative {
    /// For series without labels.
    pub(super) fn out(&mut self) -> Out<'_> {
        Out { visit: self, subject: &[], created: SystemTime::UNIX_EPOCH }
    }
}
