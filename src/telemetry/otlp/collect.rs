//! Provides the store's metrics for export: tokenbeat's own, and OpenTelemetry's metrics of GenAI calls.

use super::metric::{Attribute, OtlpFamily, OtlpKind, OtlpSeries, OtlpValue};
use crate::catalogue::{self, Key, Metric};
use crate::plan::otlp::Histograms;
use crate::telemetry::native::Native;
use crate::telemetry::store::{self, SeriesValue, Store};
use crate::telemetry::value::HistogramSnapshot;
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

/// Every series of a store, except those of disabled metrics.
pub(super) struct FromStore {
    store: Arc<Store>,
    disabled: RwLock<BTreeSet<String>>,
    histograms: Histograms,
}

impl FromStore {
    /// `disabled` are Prometheus names.
    pub(super) fn new(store: Arc<Store>, disabled: &[String], histograms: Histograms) -> Self {
        if histograms == Histograms::Exponential {
            store.record_native();
        }
        Self { store, disabled: RwLock::new(disabled.iter().cloned().collect()), histograms }
    }

    /// Replaces the set of disabled metrics.
    pub(super) fn disable(&self, names: &[String]) {
        let names = names.iter().cloned().collect();
        *self.disabled.write().unwrap_or_else(PoisonError::into_inner) = names;
    }
}

impl FromStore {
    /// Every family that has series now.
    pub(super) fn families(&self) -> Vec<OtlpFamily> {
        let snapshot = self.store.snapshot();
        let disabled = self.disabled.read().unwrap_or_else(PoisonError::into_inner);
        let ours = Metric::ALL.iter().filter(|it| !disabled.contains(&it.spec().prometheus()));
        let ours = ours.map(|metric| {
            let series = snapshot.series(*metric).iter().filter_map(|it| self.series(it));
            OtlpFamily { series: series.collect(), ..family(*metric) }
        });
        let genai = Metric::GENAI.iter().map(|metric| {
            let series = snapshot.series(*metric).iter().filter_map(|it| self.genai_series(it));
            OtlpFamily { series: series.collect(), ..family(*metric) }
        });
        let families = ours.chain(genai);
        families.filter(|family| !family.series.is_empty()).collect()
    }
}

impl FromStore {
    fn series(&self, series: &store::Series) -> Option<OtlpSeries> {
        let value = self.value(&series.value, OtlpValue::Double)?;
        let attributes =
            series.labels().map(|(key, value)| (key.name().into(), Attribute::Text(value.to_owned())));
        Some(OtlpSeries { attributes: attributes.collect(), value, created: series.created })
    }

    /// Converts a series to the form of the conventions: counts and ports are whole numbers, and unknown values are
    /// absent.
    fn genai_series(&self, series: &store::Series) -> Option<OtlpSeries> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "numbers among these are counts, far below 2^52"
        )]
        let whole = |number| OtlpValue::Int(number as u64);
        let value = self.value(&series.value, whole)?;
        let known = series.labels().filter(|(_, value)| !value.is_empty());
        let attributes = known.map(|(key, value)| match value.parse() {
            Ok(port) if key == Key::ServerPort => (key.name().into(), Attribute::Int(port)),
            _ => (key.name().into(), Attribute::Text(value.to_owned())),
        });
        Some(OtlpSeries { attributes: attributes.collect(), value, created: series.created })
    }

    /// `None` if a histogram does not record the configured form.
    fn value(&self, held: &SeriesValue, number: impl Fn(f64) -> OtlpValue) -> Option<OtlpValue> {
        match held {
            SeriesValue::Number(it) => Some(number(*it)),
            SeriesValue::Histogram(classic, native) => {
                distribution(classic, native.as_ref(), self.histograms)
            }
        }
    }
}

fn family(metric: Metric) -> OtlpFamily {
    let spec = metric.spec();
    let kind = match spec.kind {
        catalogue::MetricKind::Counter => OtlpKind::Counter,
        catalogue::MetricKind::Gauge => OtlpKind::Gauge,
        catalogue::MetricKind::Histogram(_) => OtlpKind::Histogram,
    };
    OtlpFamily { name: spec.name, unit: spec.unit.otel(), description: spec.help, kind, series: Vec::new() }
}

/// The contents of a histogram in the configured form; `None` if it does not record that form.
fn distribution(classic: &HistogramSnapshot, native: Option<&Native>, form: Histograms) -> Option<OtlpValue> {
    let exemplars = classic.exemplars.iter().copied().flatten().collect();
    Some(match form {
        Histograms::Explicit => {
            let (bounds, counts, sum) = (classic.bounds, classic.counts.clone(), classic.sum);
            OtlpValue::Explicit { bounds, counts, sum, exemplars }
        }
        Histograms::Exponential => OtlpValue::Exponential { native: native?.clone(), exemplars },
    })
}

#[cfg(test)]
mod tests;
