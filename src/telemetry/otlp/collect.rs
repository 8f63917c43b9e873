//! The store as a source of metrics.

use super::metric::{Attribute, Family, Kind, Series, Source, Value};
use crate::catalogue::{self, Metric};
use crate::plan::otlp::Histograms;
use crate::telemetry::native::Native;
use crate::telemetry::store::{self, Held, Store};
use crate::telemetry::value::HistogramSnapshot;
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

/// Every series of a store, without the metrics that are disabled.
pub(super) struct FromStore {
    store: Arc<Store>,
    disabled: RwLock<BTreeSet<String>>,
    histograms: Histograms,
}

impl FromStore {
    /// `disabled`: names as Prometheus shows them.
    pub(super) fn new(store: Arc<Store>, disabled: &[String], histograms: Histograms) -> Self {
        if histograms == Histograms::Exponential {
            store.record_native();
        }
        Self { store, disabled: RwLock::new(disabled.iter().cloned().collect()), histograms }
    }

    /// Changes which metrics are disabled.
    pub(super) fn disable(&self, names: &[String]) {
        let names = names.iter().cloned().collect();
        *self.disabled.write().unwrap_or_else(PoisonError::into_inner) = names;
    }
}

impl Source for FromStore {
    fn families(&self) -> Vec<Family> {
        let snapshot = self.store.snapshot();
        let disabled = self.disabled.read().unwrap_or_else(PoisonError::into_inner);
        let shown = Metric::ALL.iter().filter(|it| !disabled.contains(&it.spec().prometheus()));
        let families = shown.map(|metric| {
            let series = snapshot.series(*metric).iter().filter_map(|it| self.series(it));
            Family { series: series.collect(), ..family(*metric) }
        });
        families.filter(|family| !family.series.is_empty()).collect()
    }
}

impl FromStore {
    fn series(&self, series: &store::Series) -> Option<Series> {
        let value = match &series.value {
            Held::Number(number) => Value::Double(*number),
            Held::Histogram(classic, native) => distribution(classic, native.as_ref(), self.histograms)?,
        };
        let attributes =
            series.labels().map(|(key, value)| (key.name().into(), Attribute::Text(value.to_owned())));
        Some(Series { attributes: attributes.collect(), value, created: series.created })
    }
}

fn family(metric: Metric) -> Family {
    let spec = metric.spec();
    let kind = match spec.kind {
        catalogue::Kind::Counter => Kind::Counter,
        catalogue::Kind::Gauge => Kind::Gauge,
        catalogue::Kind::Histogram(_) => Kind::Histogram,
    };
    Family { name: spec.name, unit: spec.unit.otel(), description: spec.help, kind, series: Vec::new() }
}

/// What a histogram holds, in the form that was asked for; `None` where it does not keep that form.
pub(super) fn distribution(
    classic: &HistogramSnapshot,
    native: Option<&Native>,
    form: Histograms,
) -> Option<Value> {
    let exemplars = classic.exemplars.iter().copied().flatten().collect();
    Some(match form {
        Histograms::Explicit => {
            let (bounds, counts, sum) = (classic.bounds, classic.counts.clone(), classic.sum);
            Value::Explicit { bounds, counts, sum, exemplars }
        }
        Histograms::Exponential => Value::Exponential { native: native?.clone(), exemplars },
    })
}
