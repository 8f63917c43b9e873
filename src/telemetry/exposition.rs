//! Exposes the store to scrapes: Prometheus text 0.0.4, OpenMetrics 1.0 or protobuf, depending on the `Accept` header.
//! It must not know who scrapes, nor where values come from.

mod accept;
#[cfg(target_os = "linux")]
mod process;
mod protobuf;
mod text;

use super::store::Store;
use crate::catalogue::{Key, Metric, SeriesExposure, Subject};
use crate::event::ComparisonVerdict;
use crate::plan::{Budget, Plan, TargetComparison};
use accept::ExpositionFormat;
use bytes::Bytes;
use prometheus::core::Desc;
use prometheus::proto::{LabelPair, MetricFamily};
use prometheus::{Encoder, ProtobufEncoder, Registry, TextEncoder};
use protobuf::FamilyMessage;
use std::collections::{BTreeSet, HashMap};
use std::io::Write;
use std::sync::Arc;
use text::{FamilyWriter, TextSyntax, write_labels};

/// Bytes of text that are written at once.
const PIECE: usize = 32 << 10;

/// The reason why an exposition cannot be set up or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A label of the agent is no label name, or the metrics of the process cannot be written.
    #[error("cannot expose the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// Its reader went away.
    #[error("cannot write the metrics: {0}")]
    Write(#[from] std::io::Error),
}

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
    shown: MetricFilter,
    has_native: bool,
    /// Families of the process.
    process: Registry,
}

impl Exposition {
    /// Creates an exposition of `store` without the metrics that the plan disables. Native histograms are exposed if
    /// the plan enables them and the store keeps them. Fails if an agent label is not a valid label name.
    pub fn new(store: Arc<Store>, plan: &Plan) -> Result<Self, Error> {
        let labels = store.agent_labels().into_iter().map(|(name, _)| name).collect();
        Desc::new("labels".to_owned(), "Their names.".to_owned(), labels, HashMap::new())?;
        let shown = MetricFilter(plan.telemetry.disable.iter().cloned().collect());
        let process = Registry::new();
        #[cfg(target_os = "linux")]
        process.register(Box::new(process::ProcessMetrics::new()))?;
        Ok(Self { store, shown, has_native: plan.telemetry.native_histograms, process })
    }

    /// Renders the metrics as [`Exposition::write`] writes them, in memory.
    pub fn render(&self, accept: Option<&str>) -> Result<ScrapeResponse, Error> {
        let mut body = Vec::new();
        self.write(accept, &mut body)?;
        Ok(ScrapeResponse { content_type: Self::content_type(accept), body: body.into() })
    }

    /// The content type of what [`Exposition::write`] writes.
    pub fn content_type(accept: Option<&str>) -> &'static str {
        accept::negotiate(accept).content_type()
    }

    /// Writes the metrics in the format requested by `accept` (the value of the `Accept` header), or in text 0.0.4 if no
    /// supported format is requested. It holds one piece of text, or one family in protobuf, however many there are.
    ///
    /// This is CPU-bound (tens of milliseconds for hundreds of pairs) and waits for its reader, so do not call it on the
    /// traffic runtime.
    pub fn write(&self, accept: Option<&str>, mut sink: &mut dyn Write) -> Result<(), Error> {
        match accept::negotiate(accept) {
            ExpositionFormat::Text => {
                self.text(TextSyntax::Prometheus, sink)?;
                TextEncoder::new().encode(&self.process(), &mut sink)?;
            }
            ExpositionFormat::Protobuf => {
                self.protobuf(sink)?;
                ProtobufEncoder::new().encode(&self.process(), &mut sink)?;
            }
            ExpositionFormat::OpenMetrics => {
                self.text(TextSyntax::OpenMetrics, sink)?;
                let mut rest = String::new();
                self.process().iter().for_each(|family| text::write_process(&mut rest, family));
                rest.push_str("# EOF\n");
                sink.write_all(rest.as_bytes())?;
            }
        }
        Ok(())
    }

    fn shown(&self) -> impl Iterator<Item = Metric> {
        Metric::ALL.iter().copied().filter(|metric| self.shown.metric(*metric))
    }

    fn text(&self, syntax: TextSyntax, sink: &mut dyn Write) -> std::io::Result<()> {
        let reading = self.store.reading();
        let (mut agent, mut out) = (String::new(), String::with_capacity(2 * PIECE));
        write_labels(&mut agent, borrowed(&reading.agent_labels));
        for metric in self.shown() {
            let mut family = FamilyWriter::new(syntax, metric, reading.bounds(metric), &agent);
            let mut written = Ok(());
            reading.family(metric, &mut |sample| {
                if written.is_err() {
                    return;
                }
                family.write(&mut out, sample);
                if out.len() >= PIECE {
                    written = sink.write_all(out.as_bytes());
                    out.clear();
                }
            });
            written?;
        }
        sink.write_all(out.as_bytes())
    }

    fn protobuf(&self, sink: &mut dyn Write) -> std::io::Result<()> {
        let reading = self.store.reading();
        let mut agent = Vec::new();
        protobuf::labels(&mut agent, borrowed(&reading.agent_labels));
        for metric in self.shown() {
            let mut message = FamilyMessage::new(metric, self.has_native, &agent);
            reading.family(metric, &mut |sample| message.add(sample));
            message.write(sink)?;
        }
        Ok(())
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

fn borrowed(labels: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    labels.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

fn label_pairs(labels: &[(String, String)]) -> Vec<LabelPair> {
    let pair = |(name, value): &(String, String)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.clone());
        pair.set_value(value.clone());
        pair
    };
    labels.iter().map(pair).collect()
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
    for metric in exposition.shown() {
        // The buckets plus `+Inf`, sum and count.
        let exposed = metric.bounds(detail).map_or(1, |bounds| bounds.len() + 3);
        let of_pair = matches!(metric.spec().subject, Subject::Stage | Subject::Step | Subject::Run);
        for series in snapshot.series(metric) {
            all.add(exposed, metric.shown(detail));
            if of_pair {
                let value = |wanted| series.labels().find(|(key, _)| *key == wanted).map(|(_, value)| value);
                let pair =
                    pairs.entry((value(Key::Profile), value(Key::Target), value(Key::Replica))).or_default();
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
