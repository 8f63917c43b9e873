//! The store as a collector of the `prometheus` crate.

use super::{MetricFilter, label_pair, label_pairs, protobuf};
use crate::catalogue::{Metric, MetricKind};
use crate::telemetry::native::Native;
use crate::telemetry::store::{Series, SeriesValue, Store};
use crate::telemetry::value::HistogramSnapshot;
use prometheus::core::{Collector, Desc};
use prometheus::proto;
use std::collections::HashMap;
use std::sync::Arc;

/// Data for which the crate's messages have no fields. Its text encoder would not write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beyond {
    /// Nothing.
    Nothing,
    /// Units and exemplars.
    Exemplars,
    /// And native histograms.
    ExemplarsAndNative,
}

/// Collects every exposed series of a store.
pub(super) struct StoreCollector {
    store: Arc<Store>,
    beyond: Beyond,
    families: Vec<CollectedFamily>,
}

struct CollectedFamily {
    metric: Metric,
    desc: Desc,
}

impl StoreCollector {
    /// Fails if an agent label is not a valid label name.
    pub(super) fn new(
        store: Arc<Store>,
        shown: &MetricFilter,
        beyond: Beyond,
    ) -> Result<Self, prometheus::Error> {
        let agent = store.agent_labels();
        let mut families = Vec::new();
        for metric in Metric::ALL.iter().copied().filter(|metric| shown.metric(*metric)) {
            let spec = metric.spec();
            let own = spec.keys().map(|key| key.name().to_owned());
            let labels = own.chain(agent.iter().map(|(name, _)| name.clone())).collect();
            let desc = Desc::new(spec.prometheus(), spec.help.to_owned(), labels, HashMap::new())?;
            families.push(CollectedFamily { metric, desc });
        }
        Ok(Self { store, beyond, families })
    }
}

impl Collector for StoreCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.families.iter().map(|family| &family.desc).collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let snapshot = self.store.snapshot();
        let agent = label_pairs(&snapshot.agent_labels);
        let mut families = Vec::with_capacity(self.families.len());
        for family in &self.families {
            let series = snapshot.series(family.metric).iter();
            let metrics: Vec<_> = series.map(|it| self.metric(family.metric, it, &agent)).collect();
            // The encoder treats a family without series as an error.
            if !metrics.is_empty() {
                families.push(self.message(family, metrics));
            }
        }
        families
    }
}

impl StoreCollector {
    fn message(&self, family: &CollectedFamily, metrics: Vec<proto::Metric>) -> proto::MetricFamily {
        let spec = family.metric.spec();
        let mut message = proto::MetricFamily::default();
        message.set_name(family.desc.fq_name.clone());
        message.set_help(family.desc.help.clone());
        message.set_field_type(match spec.kind {
            MetricKind::Counter => proto::MetricType::COUNTER,
            MetricKind::Gauge => proto::MetricType::GAUGE,
            MetricKind::Histogram(_) => proto::MetricType::HISTOGRAM,
        });
        message.set_metric(metrics);
        if let Some(unit) = spec.unit.open_metrics().filter(|_| self.beyond != Beyond::Nothing) {
            protobuf::add_unit(&mut message, unit);
        }
        message
    }

    fn metric(&self, metric: Metric, series: &Series, agent: &[proto::LabelPair]) -> proto::Metric {
        let mut pairs: Vec<_> = series.labels().map(|(key, value)| label_pair(key.name(), value)).collect();
        pairs.extend(agent.iter().cloned());
        let mut message = proto::Metric::from_label(pairs);
        match (&series.value, metric.spec().kind) {
            (SeriesValue::Histogram(reading, native), _) => {
                let native = native.as_ref().filter(|_| self.beyond == Beyond::ExemplarsAndNative);
                message.set_histogram(histogram_message(reading, native, self.beyond));
            }
            (SeriesValue::Number(value), MetricKind::Counter) => {
                let mut counter = proto::Counter::default();
                counter.set_value(*value);
                message.set_counter(counter);
            }
            (SeriesValue::Number(value), _) => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(*value);
                message.set_gauge(gauge);
            }
        }
        message
    }
}

fn histogram_message(
    reading: &HistogramSnapshot,
    native: Option<&Native>,
    beyond: Beyond,
) -> proto::Histogram {
    let mut message = proto::Histogram::default();
    message.set_bucket(bucket_messages(reading, beyond));
    message.set_sample_count(reading.count());
    message.set_sample_sum(reading.sum);
    if beyond != Beyond::Nothing {
        protobuf::add_exemplars(&mut message, &reading.exemplars);
    }
    // The message has a single count for both forms, so they must agree; otherwise Prometheus refuses the series.
    if let Some(native) = native.filter(|native| native.count() == reading.count()) {
        protobuf::add_native(&mut message, native, &reading.exemplars);
    }
    message
}

fn bucket_messages(reading: &HistogramSnapshot, beyond: Beyond) -> Vec<proto::Bucket> {
    let mut cumulative = 0;
    // The last bucket exists for its exemplar; the text encoder adds one of its own.
    let last = (beyond != Beyond::Nothing).then_some(f64::INFINITY);
    let bounds = reading.bounds.iter().copied().chain(last);
    let buckets = bounds.zip(&reading.counts).map(|(bound, count)| {
        cumulative += count;
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(cumulative);
        bucket
    });
    buckets.collect()
}
