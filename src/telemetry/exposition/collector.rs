//! The store as a collector of the `prometheus` crate.
//!
//! Exemplars and native histograms go into the unknown fields of these messages once the protobuf format is
//! written; the text format has neither.

use super::{Shown, label_pair, label_pairs};
use crate::telemetry::catalogue::{Kind, Metric};
use crate::telemetry::store::{Labels, Store, Value, Visit};
use crate::telemetry::value::Reading;
use prometheus::core::{Collector, Desc};
use prometheus::proto;
use std::collections::HashMap;
use std::sync::Arc;

/// Collects every shown series of a store.
pub(super) struct StoreCollector {
    store: Arc<Store>,
    families: Vec<Family>,
}

struct Family {
    metric: Metric,
    desc: Desc,
}

impl StoreCollector {
    /// Fails if an agent label is no legal label name.
    pub(super) fn new(store: Arc<Store>, shown: &Shown) -> Result<Self, prometheus::Error> {
        let agent = store.agent_labels();
        let mut families = Vec::new();
        for metric in Metric::ALL.iter().copied().filter(|metric| shown.metric(*metric)) {
            let spec = metric.spec();
            let own = spec.keys().map(|key| key.name().to_owned());
            let labels = own.chain(agent.iter().map(|(name, _)| name.clone())).collect();
            let desc = Desc::new(spec.prometheus(), spec.help.to_owned(), labels, HashMap::new())?;
            families.push(Family { metric, desc });
        }
        Ok(Self { store, families })
    }
}

impl Collector for StoreCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.families.iter().map(|family| &family.desc).collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let mut gathered =
            Gathered { agent: label_pairs(&self.store.agent_labels()), metrics: HashMap::new() };
        gathered.metrics.extend(self.families.iter().map(|family| (family.metric, Vec::new())));
        self.store.visit(&mut gathered);
        let mut families = Vec::with_capacity(self.families.len());
        for family in &self.families {
            let metrics = gathered.metrics.remove(&family.metric).unwrap_or_default();
            // A family without a series is an error to the encoder.
            if !metrics.is_empty() {
                families.push(message(family, metrics));
            }
        }
        families
    }
}

fn message(family: &Family, metrics: Vec<proto::Metric>) -> proto::MetricFamily {
    let mut message = proto::MetricFamily::default();
    message.set_name(family.desc.fq_name.clone());
    message.set_help(family.desc.help.clone());
    message.set_field_type(match family.metric.spec().kind {
        Kind::Counter => proto::MetricType::COUNTER,
        Kind::Gauge => proto::MetricType::GAUGE,
        Kind::Histogram(_) => proto::MetricType::HISTOGRAM,
    });
    message.set_metric(metrics);
    message
}

struct Gathered {
    agent: Vec<proto::LabelPair>,
    metrics: HashMap<Metric, Vec<proto::Metric>>,
}

impl Visit for Gathered {
    fn series(&mut self, metric: Metric, labels: Labels<'_>, value: Value<'_>) {
        let Some(series) = self.metrics.get_mut(&metric) else { return };
        let mut pairs: Vec<_> = labels.iter().map(|(key, value)| label_pair(key.name(), value)).collect();
        pairs.extend(self.agent.iter().cloned());
        let mut message = proto::Metric::from_label(pairs);
        match (value, metric.spec().kind) {
            (Value::Histogram(histogram), _) => message.set_histogram(histogram_message(&histogram.read())),
            (Value::Number(value), Kind::Counter) => {
                let mut counter = proto::Counter::default();
                counter.set_value(value);
                message.set_counter(counter);
            }
            (Value::Number(value), _) => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(value);
                message.set_gauge(gauge);
            }
        }
        series.push(message);
    }
}

fn histogram_message(reading: &Reading) -> proto::Histogram {
    let mut message = proto::Histogram::default();
    let mut cumulative = 0;
    let buckets = reading.bounds.iter().zip(&reading.counts).map(|(bound, count)| {
        cumulative += count;
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(cumulative);
        bucket
    });
    message.set_bucket(buckets.collect());
    message.set_sample_count(reading.count());
    message.set_sample_sum(reading.sum);
    message
}
