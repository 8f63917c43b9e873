//! The types of cells. A cell stores the series of one metric of one subject. It knows its labels beyond those of the
//! subject, and how to collect its series. It must not know which metric it stores.

use super::reading::Gathering;
use super::sample::LabelValue;
use crate::catalogue::{HTTP_CODES, MetricKind, Spec};
use crate::event::Outcome;
use crate::telemetry::value::{Counter, FloatCounter, Gauge, Histogram, Level, OptionalGauge, TimeCounter};
use enum_map::{Enum, EnumMap};
use std::ops::Index;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::SystemTime;

/// Label value for everything that has no label value of its own.
pub(super) const OTHER: &str = "other";

/// Stores the series of one metric of one subject.
pub(super) trait Cell {
    /// Creates a cell at zero.
    fn make(spec: &'static Spec) -> Self
    where
        Self: Sized;

    /// Collects its series.
    fn show(&self, out: &mut Gathering);

    /// Records its histograms in base-2 buckets as well, including those created later.
    fn record_native(&self) {}
}

/// A cell and its creation time.
#[derive(Clone)]
pub(super) struct Made<C> {
    /// The start time of its values.
    pub(super) created: SystemTime,
    pub(super) cell: C,
}

impl<C: Cell> Made<C> {
    /// Creates a cell now.
    pub(super) fn now(spec: &'static Spec, native: bool) -> Self {
        let cell = C::make(spec);
        if native {
            cell.record_native();
        }
        Self { created: SystemTime::now(), cell }
    }
}

macro_rules! numbers {
    ($($cell:ty),*) => {
        $(impl Cell for $cell {
            fn make(_: &'static Spec) -> Self {
                Self::default()
            }

            fn show(&self, out: &mut Gathering) {
                out.number(self.get());
            }
        })*
    };
}

numbers!(Counter, TimeCounter, Gauge, Level);

impl Cell for OptionalGauge {
    fn make(_: &'static Spec) -> Self {
        Self::default()
    }

    fn show(&self, out: &mut Gathering) {
        if let Some(value) = self.get() {
            out.number(value);
        }
    }
}

impl Cell for Histogram {
    fn make(spec: &'static Spec) -> Self {
        match spec.kind {
            MetricKind::Histogram(buckets) => Self::new(buckets),
            // The macro that turns rows into cells uses this type only for histograms.
            MetricKind::Counter | MetricKind::Gauge => Self::without_buckets(),
        }
    }

    fn show(&self, out: &mut Gathering) {
        out.histogram(self);
    }

    fn record_native(&self) {
        Self::record_native(self);
    }
}

/// An amount in the agent's currency.
#[derive(Default)]
pub(super) struct Money(FloatCounter);

impl Money {
    pub(super) fn add(&self, amount: f64) {
        self.0.add(amount);
    }
}

impl Cell for Money {
    fn make(_: &'static Spec) -> Self {
        Self::default()
    }

    fn show(&self, out: &mut Gathering) {
        out.with(LabelValue::Shared(out.currency()), |out| out.number(self.0.get()));
    }
}

/// Information about its subject, in labels; the value is 1. Absent until it is set.
#[derive(Default)]
pub(super) struct Info(RwLock<Vec<Arc<str>>>);

impl Info {
    /// Sets the values of its labels.
    pub(super) fn say<const N: usize>(&self, labels: [&Arc<str>; N]) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = labels.map(Arc::clone).to_vec();
    }
}

impl Cell for Info {
    fn make(_: &'static Spec) -> Self {
        Self::default()
    }

    fn show(&self, out: &mut Gathering) {
        let labels = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        if !labels.is_empty() {
            out.with_all(labels.into_iter().map(LabelValue::Shared), |out| out.number(1.0));
        }
    }
}

/// A value that is read from its owner at each rendering.
#[derive(Default)]
pub(super) struct ReadOnScrape;

impl Cell for ReadOnScrape {
    fn make(_: &'static Spec) -> Self {
        Self
    }

    fn show(&self, _: &mut Gathering) {}
}

/// A cell for each value of a closed enum.
pub(super) struct By<L: Enum, C>(EnumMap<L, C>);

impl<L: Enum, C> Index<L> for By<L, C> {
    type Output = C;

    fn index(&self, label: L) -> &C {
        &self.0[label]
    }
}

impl<L: Enum + Copy, C: Clone> Clone for By<L, C> {
    fn clone(&self) -> Self {
        Self(EnumMap::from_fn(|label| self.0[label].clone()))
    }
}

impl<L: Enum + Into<&'static str>, C: Cell> Cell for By<L, C> {
    fn make(spec: &'static Spec) -> Self {
        Self(EnumMap::from_fn(|_| C::make(spec)))
    }

    fn show(&self, out: &mut Gathering) {
        for (label, cell) in &self.0 {
            out.with(LabelValue::Fixed(label.into()), |out| cell.show(out));
        }
    }

    fn record_native(&self) {
        self.0.values().for_each(C::record_native);
    }
}

/// The modality of tokens, which no provider reports.
#[derive(Clone, Copy, Enum, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Modality {
    Unknown,
}

/// A cell for each HTTP status with its own label value, and one for all others.
pub(super) struct ByCode<C> {
    known: [C; HTTP_CODES.len()],
    other: C,
}

impl<C> Index<u16> for ByCode<C> {
    type Output = C;

    fn index(&self, status: u16) -> &C {
        let known = HTTP_CODES.iter().zip(&self.known).find(|((code, _), _)| *code == status);
        known.map_or(&self.other, |(_, cell)| cell)
    }
}

impl<C: Cell> Cell for ByCode<C> {
    fn make(spec: &'static Spec) -> Self {
        Self { known: std::array::from_fn(|_| C::make(spec)), other: C::make(spec) }
    }

    fn show(&self, out: &mut Gathering) {
        let known = HTTP_CODES.iter().map(|(_, label)| *label).zip(&self.known);
        for (label, cell) in known.chain([(OTHER, &self.other)]) {
            out.with(LabelValue::Fixed(label), |out| cell.show(out));
        }
    }
}

/// A cell for each outcome that has occurred; `ok` has an empty label value.
pub(super) struct OutcomeCells<C> {
    spec: &'static Spec,
    native: AtomicBool,
    cells: EnumMap<Outcome, OnceLock<Made<C>>>,
}

impl<C: Cell> Index<Outcome> for OutcomeCells<C> {
    type Output = C;

    fn index(&self, outcome: Outcome) -> &C {
        &self.cells[outcome].get_or_init(|| Made::now(self.spec, self.native.load(Relaxed))).cell
    }
}

impl<C: Cell> Cell for OutcomeCells<C> {
    fn make(spec: &'static Spec) -> Self {
        Self { spec, native: AtomicBool::new(false), cells: EnumMap::default() }
    }

    fn show(&self, out: &mut Gathering) {
        for (outcome, cell) in &self.cells {
            let label = if outcome == Outcome::Ok { "" } else { outcome.label() };
            if let Some(made) = cell.get() {
                out.with(LabelValue::Fixed(label), |out| out.made(made));
            }
        }
    }

    fn record_native(&self) {
        self.native.store(true, Relaxed);
        for made in self.cells.values().filter_map(OnceLock::get) {
            made.cell.record_native();
        }
    }
}

/// A cell for each name in the plan, such as those of objectives and checks.
pub(super) struct NamedCells<C> {
    spec: &'static Spec,
    held: RwLock<Vec<(Arc<str>, Made<C>)>>,
}

impl<C: Cell> NamedCells<C> {
    /// Sets the names, in order. Names that it already had keep their values; all others are removed.
    pub(super) fn hold<'a>(&self, names: impl IntoIterator<Item = &'a Arc<str>>) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *held);
        for name in names {
            let known = before.iter().position(|(known, _)| known == name);
            let made = known.map_or_else(|| Made::now(self.spec, false), |at| before.swap_remove(at).1);
            held.push((Arc::clone(name), made));
        }
    }

    /// Calls `take` with the cell of a name. Returns `false` if there is none.
    pub(super) fn at(&self, name: &str, take: impl FnOnce(&C)) -> bool {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let found = held.iter().find(|(known, _)| &**known == name);
        if let Some((_, made)) = found {
            take(&made.cell);
        }
        found.is_some()
    }

    /// Like [`Self::at`], but a name without a cell is counted as `other`.
    pub(super) fn at_or_other(&self, name: &str, take: impl Fn(&C)) {
        if !self.at(name, &take) && !self.at(OTHER, &take) {
            let other = (Arc::from(OTHER), Made::now(self.spec, false));
            let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
            if !held.iter().any(|(known, _)| &**known == OTHER) {
                held.push(other);
            }
            drop(held);
            self.at(OTHER, take);
        }
    }

    /// Whether there is a cell with this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.at(name, |_| {})
    }
}

impl NamedCells<Gauge> {
    /// Sets the names and their values; all others are removed.
    pub(super) fn say<'a>(&self, values: impl Iterator<Item = (&'a Arc<str>, f64)> + Clone) {
        self.hold(values.clone().map(|(name, _)| name));
        for (name, value) in values {
            self.at(name, |gauge| gauge.set(value));
        }
    }
}

impl<C: Cell> Cell for NamedCells<C> {
    fn make(spec: &'static Spec) -> Self {
        Self { spec, held: RwLock::default() }
    }

    fn show(&self, out: &mut Gathering) {
        for (name, made) in self.held.read().unwrap_or_else(PoisonError::into_inner).iter() {
            out.with(LabelValue::Shared(Arc::clone(name)), |out| out.made(made));
        }
    }
}
