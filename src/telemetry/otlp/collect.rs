//! The store as a source of metrics.

use super::metric::{Attribute, Family, Kind, Series, Source, Value};
use crate::catalogue::{self, Metric};
use crate::plan::otlp::Histograms;
use crate::telemetry::store::{self, Labels, Store, Visit};
use crate::telemetry::value::Histogram;
use std::collections::{BTreeMap, BTreeSet};
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
        let families = {
            let disabled = self.disabled.read().unwrap_or_else(PoisonError::into_inner);
            let shown = Metric::ALL.iter().filter(|it| !disabled.contains(&it.spec().prometheus()));
            shown.map(|metric| (*metric, family(*metric))).collect()
        };
        let mut gathered = Gathered { families, histograms: self.histograms };
        self.store.visit(&mut gathered);
        gathered.families.into_values().filter(|family| !family.series.is_empty()).collect()
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

struct Gathered {
    families: BTreeMap<Metric, Family>,
    histograms: Histograms,
}

impl Visit for Gathered {
    fn series(&mut self, metric: Metric, labels: Labels<'_>, value: store::Value<'_>) {
        let Some(family) = self.families.get_mut(&metric) else { return };
        let value = match value {
            store::Value::Number(number) => Some(Value::Double(number)),
            store::Value::Histogram(histogram) => distribution(histogram, self.histograms),
        };
        let Some(value) = value else { return };
        let attributes = labels
            .iter()
            .map(|(key, value)| (key.name().into(), Attribute::Text(value.to_owned())))
            .collect();
        family.series.push(Series { attributes, value });
    }
}

/// What a histogram holds, in the form that was asked for; `None` where it does not keep that form.
pub(super) fn distribution(histogram: &Histogram, form: Histograms) -> Option<Value> {
    let reading = histogram.read();
    let exemplars = reading.exemplars.into_iter().flatten().collect();
    Some(match form {
        Histograms::Explicit => {
            let (bounds, counts, sum) = (reading.bounds, reading.counts, reading.sum);
            Value::Explicit { bounds, counts, sum, exemplars }
        }
        Histograms::Exponential => Value::Exponential { native: histogram.native()?, exemplars },
    })
}
