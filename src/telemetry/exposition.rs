//! Exposes the store to scrapes: Prometheus text 0.0.4, OpenMetrics 1.0 or protobuf, depending on the `Accept` header.
//! It must not know who scrapes, nor where values come from.

mod accept;
mod collector;
mod openmetrics;
#[cfg(target_os = "linux")]
mod process;
mod protobuf;

use super::store::Store;
use crate::catalogue::{Key, Metric, SeriesExposure, Subject};
use crate::event::ComparisonVerdict;
use crate::plan::{Budget, Plan, TargetComparison};
use accept::ExpositionFormat;
use bytes::Bytes;
use collector::{Beyond, StoreCollector};
use prometheus::proto::{LabelPair, MetricFamily};
use prometheus::{Encoder, ProtobufEncoder, Registry, TextEncoder};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The reason why an exposition cannot be set up or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot expose the metrics: {0}")]
pub struct Error(#[from] prometheus::Error);

/// The response to a scrape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrapeResponse {
    /// The value of the `Content-Type` header.
    pub content_type: &'static str,
    /// The body: UTF-8, or protobuf messages.
    pub body: Bytes,
}

/// The metrics that are not disabled.
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

/// Renders a store. Which metrics are disabled depends on the plan, so after a plan change, create another exposition
/// of the same store.
pub struct Exposition {
    store: Arc<Store>,
    shown: Arc<MetricFilter>,
    /// Families of the store, for the text format.
    text: Registry,
    /// Families of the store, with the data that only protobuf can carry.
    protobuf: Registry,
    /// Families of the process.
    process: Registry,
}

impl Exposition {
    /// Creates an exposition of `store` without the metrics that the plan disables. Native histograms are exposed if
    /// the plan enables them and the store keeps them. Fails if an agent label is not a valid label name.
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

    /// Renders the metrics in the format requested by `accept` (the value of the `Accept` header), or in text 0.0.4 if
    /// no supported format is requested.
    ///
    /// This is CPU-bound (tens of milliseconds for hundreds of pairs), so do not call it on the traffic runtime.
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

    /// The families of the process, with the agent's labels so that they can be joined with the others.
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

/// Numbers of series, with each bucket counted as a series, as in Prometheus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeriesCount {
    /// Those in a scrape before the first request.
    pub start: usize,
    /// Those, and the ones that are exported from their first use on. Rate limits, certificates and unexpected values in
    /// answers can add a limited number per pair.
    pub most: usize,
}

impl SeriesCount {
    fn add(&mut self, series: usize, shown: SeriesExposure) {
        self.start += if shown == SeriesExposure::Always { series } else { 0 };
        self.most += series;
    }
}

/// The numbers of series of a plan: in all, and of the profile and target that have the most.
pub fn series_count(plan: &Plan) -> Result<(SeriesCount, SeriesCount), Error> {
    let (exposition, detail) = (Exposition::new(Store::draft(plan), plan)?, plan.telemetry.detail);
    let snapshot = exposition.store.potential();
    let (mut all, mut pairs) = (SeriesCount::default(), HashMap::<_, SeriesCount>::new());
    for metric in Metric::ALL.iter().copied().filter(|metric| exposition.shown.metric(*metric)) {
        // The buckets plus `+Inf`, sum and count.
        let exposed = metric.bounds(detail).map_or(1, |bounds| bounds.len() + 3);
        let of_pair = matches!(metric.spec().subject, Subject::Stage | Subject::Step | Subject::Run);
        for series in snapshot.series(metric) {
            all.add(exposed, metric.shown(detail));
            if of_pair {
                let value = |wanted| series.labels().find(|(key, _)| *key == wanted).map(|(_, value)| value);
                let pair = pairs.entry((value(Key::Profile), value(Key::Target))).or_default();
                pair.add(exposed, metric.shown(detail));
            }
        }
    }
    let budgets = plan.agent.budget.iter().chain(plan.profiles.iter().filter_map(|it| it.budget.as_ref()));
    let budgets = if exposition.shown.metric(Metric::BudgetSpent) { budgets.map(parts).sum() } else { 0 };
    let verdicts =
        |comparison: &TargetComparison| (comparison.quantities.len() + 1) * ComparisonVerdict::ALL.len();
    let verdicts = plan.profiles.iter().filter_map(|it| it.comparison.as_ref()).map(verdicts);
    let verdicts = if exposition.shown.metric(Metric::ComparisonVerdict) { verdicts.sum() } else { 0 };
    let process: usize = exposition.process().iter().map(|family| family.get_metric().len()).sum();
    all.add(budgets + verdicts + process, SeriesExposure::Always);
    Ok((all, pairs.into_values().max_by_key(|pair| pair.most).unwrap_or_default()))
}

/// The number of limits of a budget, each of which is a series.
fn parts(budget: &Budget) -> usize {
    [budget.requests.is_some(), budget.tokens.is_some(), budget.cost.is_some()]
        .into_iter()
        .map(usize::from)
        .sum()
}

#[cfg(test)]
mod parse;
#[cfg(test)]
mod tests;
