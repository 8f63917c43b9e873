//! The values of a store at one time, as plain data: for what needs all of them at once. It must not know how it is
//! rendered.

use super::Store;
use super::reading::StoreReading;
use super::sample::{LabelValue, SampleValue, SubjectLabels};
use crate::catalogue::{Key, Metric};
use crate::telemetry::native::Native;
use crate::telemetry::value::HistogramSnapshot;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

/// Every series of a store at one time.
#[derive(Debug)]
pub struct Snapshot {
    families: BTreeMap<Metric, Vec<Series>>,
}

/// One series.
#[derive(Debug)]
pub struct Series {
    subject: Arc<SubjectLabels>,
    keys: &'static [Key],
    /// The values of `keys`.
    beyond: Box<[LabelValue]>,
    /// Its value.
    pub value: SeriesValue,
    /// The start time of its values, by the wall clock.
    pub created: SystemTime,
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
        self.subject.iter().chain(beyond)
    }
}

impl Snapshot {
    /// The current values of a store: the series that its detail shows, or with `all` also those that are shown when
    /// they are used.
    pub(super) fn of(store: &Store, all: bool) -> Self {
        let reading = StoreReading::of(store, all);
        let mut families = BTreeMap::new();
        for metric in Metric::ALL.iter().chain(Metric::GENAI) {
            let mut series = Vec::new();
            reading.family(*metric, &mut |sample| {
                let value = match sample.value {
                    SampleValue::Number(value) => SeriesValue::Number(value),
                    SampleValue::Histogram(reading, native) => {
                        SeriesValue::Histogram(reading.clone(), native.cloned())
                    }
                };
                series.push(Series {
                    subject: Arc::clone(sample.subject),
                    keys: sample.keys,
                    beyond: sample.beyond.into(),
                    value,
                    created: sample.created,
                });
            });
            families.insert(*metric, series);
        }
        Self { families }
    }

    /// The series of a metric, in the order of their labels.
    pub fn series(&self, metric: Metric) -> &[Series] {
        self.families.get(&metric).map_or(&[], Vec::as_slice)
    }
}
