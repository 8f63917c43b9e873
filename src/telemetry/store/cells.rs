//! The cells of a subject: one for each row of the catalogue with that subject. Their types, which of them exist from
//! the start, and how they are collected follow from the rows. A row that nothing observes causes a compiler warning.
//! Nothing here knows any metric by name.

use super::cell::{By, ByCode, Cell, Info, Made, Modality, Money, NamedCells, OutcomeCells, ReadOnScrape};
use super::reading::Gathering;
use super::sample::{LabelValue, SubjectLabels};
use crate::catalogue::{Key, Metric, Subject, When, rows};
use crate::event::{
    BackendReadResult, ConnectionPhase, CountSource, FinishReason, LimitKind, LookFailure, Outcome,
    OutlierQuantity, RunResult, SearchEnd, SkipReason, SkippedRun, TargetState, TokenType, UsagePart,
    UsageReported, split_replica,
};
use crate::telemetry::value::{Counter, Gauge, Histogram, Level, OptionalGauge, TimeCounter};
use crate::vocabulary::Quantity;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// A row of the catalogue, as a type.
pub(super) trait Row {
    /// The subject: a type of [`about`].
    type Subject: SubjectType;
    /// The type of the cell.
    type Cell: Cell;
    /// The metric.
    const METRIC: Metric;

    #[doc(hidden)]
    fn slot(slots: &Slots) -> &CellSlot<Self::Cell>;
}

/// The subject of rows, as a type.
pub(super) trait SubjectType {
    /// The subject, as a value.
    const SUBJECT: Subject;
}

type CellSlot<C> = OnceLock<Box<Made<C>>>;

/// The type of a row's cell, from its value type and the types of its labels.
macro_rules! cell {
    (Info; $($labels:ident)*) => { Info };
    (Money; Agent) => { Money };
    (ReadCounter; $($labels:ident)*) => { ReadOnScrape };
    (ReadGauge; $($labels:ident)*) => { ReadOnScrape };
    ($value:ident;) => { $value };
    ($value:ident; HttpCode $($more:ident)*) => { ByCode<cell!($value; $($more)*)> };
    ($value:ident; NamedCells $($more:ident)*) => { NamedCells<cell!($value; $($more)*)> };
    ($value:ident; OutcomeCells $($more:ident)*) => { OutcomeCells<cell!($value; $($more)*)> };
    ($value:ident; $label:ident $($more:ident)*) => { By<$label, cell!($value; $($more)*)> };
}

macro_rules! subjects {
    ($($subject:ident)*) => {
        /// The subjects of rows.
        pub(super) mod about {
            $(
                #[doc = concat!("See [`Subject::", stringify!($subject), "`](crate::catalogue::Subject).")]
                pub(in crate::telemetry::store) enum $subject {}
            )*
        }

        $(impl SubjectType for about::$subject {
            const SUBJECT: Subject = Subject::$subject;
        })*
    };
}

subjects!(Stage Step Run Target Agent Endpoint);

macro_rules! slots {
    ($($set:ident { $(
        $id:ident = $name:literal, $unit:ident, $value:ident $(($buckets:expr))?,
        $subject:ident [$($key:ident: $labels:ident),*], $when:ident, $help:literal;
    )* })*) => {
        /// A slot for the cell of each row. Slots of other subjects stay empty; that costs one pointer each, and keeps
        /// the table in one place.
        #[expect(non_snake_case, reason = "each is called as its row")]
        #[derive(Default)]
        pub(super) struct Slots { $($($id: CellSlot<cell!($value; $($labels)*)>,)*)* }

        /// The rows of the catalogue.
        #[expect(clippy::doc_markdown, reason = "help texts are plain text")]
        pub(super) mod row {
            $($(
                #[doc = $help]
                #[derive(Clone, Copy)]
                pub(in crate::telemetry::store) struct $id;
            )*)*
        }

        $($(impl Row for row::$id {
            type Subject = about::$subject;
            type Cell = cell!($value; $($labels)*);
            const METRIC: Metric = Metric::$id;

            fn slot(slots: &Slots) -> &CellSlot<Self::Cell> {
                &slots.$id
            }
        })*)*

        impl Slots {
            /// Creates the cells of a subject whose series exist from the start.
            fn prepare(&self, subject: Subject, native: bool, exist: &dyn Fn(When) -> bool) {
                $($(if Subject::$subject == subject && exist(When::$when) {
                    made::<row::$id>(self, native);
                })*)*
            }

            /// The cell of a metric, if it exists.
            fn one(&self, metric: Metric) -> Option<&dyn Any> {
                match metric {
                    $($(Metric::$id => self.$id.get().map(|made| &**made as &dyn Any),)*)*
                }
            }

            /// Calls `take` with each existing cell.
            fn each(&self, take: &mut dyn FnMut(&dyn Any)) {
                $($(if let Some(made) = self.$id.get() {
                    take(&**made);
                })*)*
            }
        }
    };
}

rows!(slots);

/// An existing cell, whatever its type.
trait Any {
    fn show(&self, out: &mut Gathering);
    fn record_native(&self);
}

impl<C: Cell> Any for Made<C> {
    fn show(&self, out: &mut Gathering) {
        out.made(self);
    }

    fn record_native(&self) {
        self.cell.record_native();
    }
}

fn made<R: Row>(slots: &Slots, native: bool) -> &Made<R::Cell> {
    R::slot(slots).get_or_init(|| Box::new(Made::now(R::METRIC.spec(), native)))
}

/// The cells of one subject.
pub(super) struct Cells<S> {
    labels: Arc<SubjectLabels>,
    slots: Slots,
    /// Whether histograms created later also use base-2 buckets.
    native: AtomicBool,
    about: PhantomData<fn() -> S>,
}

impl<S: SubjectType> Cells<S> {
    /// The cells of the subject with these labels, in the order of the catalogue. None is created yet. The name of a
    /// replica becomes two labels: its target as configured, and the replica.
    pub(super) fn of<'a>(labels: impl IntoIterator<Item = &'a Arc<str>>) -> Self {
        let mut named = Vec::new();
        for (key, label) in S::SUBJECT.keys().iter().copied().zip(labels) {
            match split_replica(label) {
                (target, Some(replica)) if key == Key::Target => {
                    named.extend([(key, target.into()), (Key::Replica, replica.into())]);
                }
                _ => named.push((key, Arc::clone(label))),
            }
        }
        let labels = Arc::new(SubjectLabels::new(named.into_iter()));
        Self { labels, slots: Slots::default(), native: AtomicBool::new(false), about: PhantomData }
    }

    /// Creates the cells whose series `exist` from the start.
    pub(super) fn prepare(&self, exist: impl Fn(When) -> bool) {
        self.slots.prepare(S::SUBJECT, self.native.load(Relaxed), &exist);
    }

    /// The cell of a row, created if necessary.
    pub(super) fn get<R: Row<Subject = S>>(&self, _: R) -> &R::Cell {
        &made::<R>(&self.slots, self.native.load(Relaxed)).cell
    }

    /// The cell of a row, if it exists.
    pub(super) fn made<R: Row<Subject = S>>(&self, _: R) -> Option<&R::Cell> {
        R::slot(&self.slots).get().map(|made| &made.cell)
    }

    /// A copy of the cell of a row.
    pub(super) fn copy<R: Row<Subject = S>>(&self, _: R) -> Option<Copied<R>>
    where
        R::Cell: Clone,
    {
        R::slot(&self.slots).get().map(|made| Copied(Made::clone(made)))
    }

    /// Collects the series of a metric of this subject.
    pub(super) fn one<'a>(&'a self, metric: Metric, out: &mut Gathering<'a>) {
        if let Some(cell) = self.slots.one(metric) {
            out.of(&self.labels);
            cell.show(out);
        }
    }

    /// Collects the series of a copied cell.
    pub(super) fn show_copy<'a, R: Row<Subject = S>>(
        &'a self,
        copy: Option<&Copied<R>>,
        out: &mut Gathering<'a>,
    ) {
        if let Some(Copied(made)) = copy {
            out.of(&self.labels);
            out.made(made);
        }
    }

    /// Collects a series that is read from its owner.
    pub(super) fn show_read<'a, R: Row<Subject = S, Cell = ReadOnScrape>>(
        &'a self,
        _: R,
        labels: impl IntoIterator<Item = LabelValue>,
        value: f64,
        out: &mut Gathering<'a>,
    ) {
        out.of(&self.labels);
        out.read(made::<R>(&self.slots, false), labels, value);
    }

    /// Records all histograms in base-2 buckets as well, including those created later.
    pub(super) fn record_native(&self) {
        self.native.store(true, Relaxed);
        self.slots.each(&mut |cell| cell.record_native());
    }
}

/// A copy of a cell.
pub(super) struct Copied<R: Row>(Made<R::Cell>);
