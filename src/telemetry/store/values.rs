//! Reads values out of a store, for tests.

use super::{SeriesValue, Store};
use crate::catalogue::Metric;
use crate::telemetry::value::HistogramSnapshot;
use std::collections::BTreeMap;

/// All values of a store by `name{label=value,...}`, without the agent's labels.
#[derive(Default)]
pub(crate) struct StoreValues {
    numbers: BTreeMap<String, f64>,
    histograms: BTreeMap<String, HistogramSnapshot>,
}

impl StoreValues {
    pub(crate) fn of(store: &Store) -> Self {
        let (mut values, snapshot) = (Self::default(), store.snapshot());
        for metric in Metric::ALL {
            for series in snapshot.series(*metric) {
                let keys: Vec<_> = series.labels().map(|(key, _)| key).collect();
                assert_eq!(keys, metric.spec().keys().collect::<Vec<_>>(), "labels of {metric:?}");
                let labels: Vec<_> =
                    series.labels().map(|(key, value)| format!("{}={value}", key.name())).collect();
                let key = format!("{metric:?}{{{}}}", labels.join(","));
                let twice = match &series.value {
                    SeriesValue::Number(value) => values.numbers.insert(key, *value).is_some(),
                    SeriesValue::Histogram(it, _) => values.histograms.insert(key, it.clone()).is_some(),
                };
                assert!(!twice, "{metric:?} twice");
            }
        }
        values
    }

    /// The sum of the numbers of a metric whose labels contain `part`.
    pub(crate) fn sum(&self, metric: Metric, part: &str) -> f64 {
        let prefix = format!("{metric:?}{{");
        let chosen = self.numbers.iter().filter(|(key, _)| key.starts_with(&prefix) && key.contains(part));
        chosen.map(|(_, value)| value).sum()
    }

    /// The number of series of a metric whose labels contain `part`.
    pub(crate) fn series(&self, metric: Metric, part: &str) -> usize {
        let prefix = format!("{metric:?}{{");
        let keys = self.numbers.keys().chain(self.histograms.keys());
        keys.filter(|key| key.starts_with(&prefix) && key.contains(part)).count()
    }

    /// The only histogram of a metric whose labels contain `part`.
    pub(crate) fn histogram(&self, metric: Metric, part: &str) -> &HistogramSnapshot {
        let prefix = format!("{metric:?}{{");
        let mut chosen =
            self.histograms.iter().filter(|(key, _)| key.starts_with(&prefix) && key.contains(part));
        let (_, reading) = chosen.next().unwrap();
        assert!(chosen.next().is_none(), "{metric:?} {part} is more than one");
        reading
    }

    /// The number of observations of a metric over all its series.
    pub(crate) fn observations(&self, metric: Metric) -> u64 {
        let prefix = format!("{metric:?}{{");
        let chosen = self.histograms.iter().filter(|(key, _)| key.starts_with(&prefix));
        chosen.map(|(_, reading)| reading.count()).sum()
    }
}
