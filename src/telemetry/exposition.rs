//! The store as a scrape: Prometheus text 0.0.4, OpenMetrics 1.0 or protobuf, by the caller's `Accept`. It must not
//! know who asks, nor how a value came about.

mod accept;
mod collector;
mod openmetrics;
#[cfg(target_os = "linux")]
mod process;
mod protobuf;

use super::store::Store;
use crate::catalogue::{Metric, MetricKind};
use crate::plan::{Budget, Plan};
use accept::ExpositionFormat;
use bytes::Bytes;
use collector::{Beyond, StoreCollector};
use prometheus::proto::{LabelPair, MetricFamily};
use prometheus::{Encoder, ProtobufEncoder, Registry, TextEncoder};
use std::collections::BTreeSet;
use std::sync::Arc;

/// An exposition cannot be set up or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot expose the metrics: {0}")]
pub struct Error(#[from] prometheus::Error);

/// A scrape's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrapeResponse {
    /// Value of the `Content-Type` header.
    pub content_type: &'static str,
    /// The body: UTF-8, or messages of protobuf.
    pub body: Bytes,
}

/// Which metrics are shown.
#[derive(Debug)]
struct MetricFilter(BTreeSet<String>);

impl MetricFilter {
    fn metric(&self, metric: Metric) -> bool {
        self.0.is_empty() || !self.0.contains(&metric.spec().prometheus())
    }

    fn name(&self, name: &str) -> bool {
        !self.0.contains(name)
    }
}

/// Renders a store. What is disabled is the plan's: after another plan was installed, make another exposition of
/// the same store.
pub struct Exposition {
    store: Arc<Store>,
    shown: Arc<MetricFilter>,
    /// The store's families, for the text format.
    text: Registry,
    /// With what only protobuf has.
    protobuf: Registry,
    /// The process's.
    process: Registry,
}

impl Exposition {
    /// An exposition of `store` without the metrics that the plan disables. Native histograms are shown where the
    /// plan wants them and the store keeps them. Fails if an agent label is not a legal label name.
    pub fn new(store: Arc<Store>, plan: &Plan) -> Result<Self, Error> {
        let shown = Arc::new(MetricFilter(plan.telemetry.disable.iter().cloned().collect()));
        let registry = |beyond| {
            let registry = Registry::new();
            registry.register(Box::new(StoreCollector::new(Arc::clone(&store), &shown, beyond)?))?;
            Ok::<_, prometheus::Error>(registry)
        };
        let text = registry(Beyond::Nothing)?;
        let native = plan.telemetry.native_histograms;
        let protobuf = registry(if native { Beyond::ExemplarsAndNative } else { Beyond::Exemplars })?;
        let process = Registry::new();
        #[cfg(target_os = "linux")]
        process.register(Box::new(process::ProcessMetrics::new()))?;
        Ok(Self { store, shown, text, protobuf, process })
    }

    /// The metrics in the format that `accept` (the value of the `Accept` header) asks for; text 0.0.4 where it
    /// asks for nothing that we can write.
    ///
    /// CPU-bound (tens of milliseconds for hundreds of pairs): not for the traffic runtime.
    pub fn render(&self, accept: Option<&str>) -> Result<ScrapeResponse, Error> {
        let format = accept::negotiate(accept);
        let body = match format {
            ExpositionFormat::Text => self.encoded(&self.text, &TextEncoder::new())?,
            ExpositionFormat::Protobuf => self.encoded(&self.protobuf, &ProtobufEncoder::new())?,
            ExpositionFormat::OpenMetrics => {
                openmetrics::render(&self.store.snapshot(), &self.shown, &self.process()).into()
            }
        };
        Ok(ScrapeResponse { content_type: format.content_type(), body })
    }

    fn encoded(&self, ours: &Registry, encoder: &impl Encoder) -> Result<Bytes, Error> {
        let mut families = ours.gather();
        families.extend(self.process());
        let mut body = Vec::new();
        encoder.encode(&families, &mut body)?;
        Ok(body.into())
    }

    /// The process's families, with the agent's labels so that they join with ours.
    fn process(&self) -> Vec<MetricFamily> {
        let labels = label_pairs(&self.store.agent_labels());
        let mut families = self.process.gather();
        families.retain(|family| self.shown.name(family.name()));
        for metric in families.iter_mut().flat_map(MetricFamily::mut_metric) {
            let mut pairs = metric.take_label();
            pairs.extend(labels.iter().cloned());
            metric.set_label(pairs);
        }
        families
    }
}

fn label_pairs(labels: &[(String, String)]) -> Vec<LabelPair> {
    labels.iter().map(|(name, value)| label_pair(name, value)).collect()
}

fn label_pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

/// How many series a plan makes from the start: what a scrape holds before the first request, buckets counted
/// one by one as Prometheus does. Rate limits, certificates and what a server's answer contradicts come on top,
/// a bounded few per pair.
pub fn series_count(plan: &Plan) -> Result<usize, Error> {
    let exposition = Exposition::new(Store::draft(plan), plan)?;
    let snapshot = exposition.store.snapshot();
    let shown = Metric::ALL.iter().filter(|metric| exposition.shown.metric(**metric));
    let series: usize = shown.map(|metric| snapshot.series(*metric).len() * exposed(*metric)).sum();
    let budgets = plan.agent.budget.iter().chain(plan.profiles.iter().filter_map(|it| it.budget.as_ref()));
    let budgets = if exposition.shown.metric(Metric::BudgetSpent) { budgets.map(parts).sum() } else { 0 };
    let process: usize = exposition.process().iter().map(|family| family.get_metric().len()).sum();
    Ok(series + budgets + process)
}

/// How many limits a budget has: each is a series.
fn parts(budget: &Budget) -> usize {
    [budget.requests.is_some(), budget.tokens.is_some(), budget.cost.is_some()]
        .into_iter()
        .map(usize::from)
        .sum()
}

/// As how many a series of this metric counts.
fn exposed(metric: Metric) -> usize {
    match metric.spec().kind {
        // With `+Inf`, sum and count.
        MetricKind::Histogram(buckets) => buckets.bounds.len() + 3,
        MetricKind::Counter | MetricKind::Gauge => 1,
    }
}

#[cfg(test)]
mod parse;
#[cfg(test)]
mod tests;
