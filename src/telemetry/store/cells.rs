//! The cells of a subject: one for each row of the catalogue that is about such a subject. Their types, which of them
//! exist from the start and how they are shown follow from the rows; a row that nothing observes does not compile
//! without a warning. Nothing here knows any metric by name.

use super::cell::{By, ByCode, Cell, Info, Made, Modality, Money, NamedCells, OutcomeCells, ReadOnScrape};
use super::snapshot::{Gathering, LabelValue};
use crate::catalogue::{Key, Metric, Subject, When, rows};
use crate::event::{
    ConnectionPhase, CountSource, LimitKind, Outcome, RunResult, SkipReason, SkippedRun, TokenType,
};
use crate::telemetry::value::{Counter, Gauge, Histogram, Level, OptionalGauge, TimeCounter};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// A row of the catalogue, as a type.
pub(super) trait Row {
    /// What it is about: a type of [`about`].
    type Subject: SubjectType;
    /// What holds its series.
    type Cell: Cell;
    /// Its metric.
    const METRIC: Metric;

    #[doc(hidden)]
    fn slot(slots: &Slots) -> &CellSlot<Self::Cell>;
}

/// What rows are about, as types.
pub(super) trait SubjectType {
    /// Which it is.
    const SUBJECT: Subject;
}

type CellSlot<C> = OnceLock<Box<Made<C>>>;

/// The type of a row's cell: of its value and the values of its labels.
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
        /// What rows are about.
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
        /// A place for the cell of each row. Those of other subjects stay empty: one pointer each, for a table that is
        /// written down once.
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
            /// Makes the cells of a subject whose series exist from the start.
            fn prepare(&self, subject: Subject, native: bool, exist: &dyn Fn(When) -> bool) {
                $($(if Subject::$subject == subject && exist(When::$when) {
                    made::<row::$id>(self, native);
                })*)*
            }

            /// Each cell that was made.
            fn each(&self, take: &mut dyn FnMut(Metric, &dyn Any)) {
                $($(if let Some(made) = self.$id.get() {
                    take(Metric::$id, &**made);
                })*)*
            }
        }
    };
}

rows!(slots);

/// A cell that was made, whatever its type.
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
    labels: Arc<[(Key, Arc<str>)]>,
    slots: Slots,
    /// Histograms that are made later keep base-2 buckets, too.
    native: AtomicBool,
    about: PhantomData<fn() -> S>,
}

impl<S: SubjectType> Cells<S> {
    /// Of the subject with these labels, in the order of the catalogue. None is made yet.
    pub(super) fn of<'a>(labels: impl IntoIterator<Item = &'a Arc<str>>) -> Self {
        let labels = S::SUBJECT.keys().iter().copied().zip(labels.into_iter().map(Arc::clone)).collect();
        Self { labels, slots: Slots::default(), native: AtomicBool::new(false), about: PhantomData }
    }

    /// Makes those whose series `exist` from the start.
    pub(super) fn prepare(&self, exist: impl Fn(When) -> bool) {
        self.slots.prepare(S::SUBJECT, self.native.load(Relaxed), &exist);
    }

    /// The cell of a row, made if it was not there.
    pub(super) fn get<R: Row<Subject = S>>(&self, _: R) -> &R::Cell {
        &made::<R>(&self.slots, self.native.load(Relaxed)).cell
    }

    /// The cell of a row, if it was made.
    pub(super) fn made<R: Row<Subject = S>>(&self, _: R) -> Option<&R::Cell> {
        R::slot(&self.slots).get().map(|made| &made.cell)
    }

    /// What the cell of a row holds now.
    pub(super) fn copy<R: Row<Subject = S>>(&self, _: R) -> Option<Copied<R>>
    where
        R::Cell: Clone,
    {
        R::slot(&self.slots).get().map(|made| Copied(Made::clone(made)))
    }

    /// Shows every series but those of some metrics.
    pub(super) fn show(&self, out: &mut Gathering, but: &[Metric]) {
        self.slots.each(&mut |metric, cell| {
            if !but.contains(&metric) {
                out.of(&self.labels, metric);
                cell.show(out);
            }
        });
    }

    /// Shows what the cell of a row held when it was copied.
    pub(super) fn show_copy<R: Row<Subject = S>>(&self, copy: Option<Copied<R>>, out: &mut Gathering) {
        if let Some(Copied(made)) = copy {
            out.of(&self.labels, R::METRIC);
            out.made(&made);
        }
    }

    /// Shows a series that is read from its owner.
    pub(super) fn show_read<R: Row<Subject = S, Cell = ReadOnScrape>>(
        &self,
        _: R,
        labels: impl IntoIterator<Item = LabelValue>,
        value: f64,
        out: &mut Gathering,
    ) {
        out.of(&self.labels, R::METRIC);
        out.read(made::<R>(&self.slots, false), labels, value);
    }

    /// Every histogram keeps base-2 buckets, those to come from their start.
    pub(super) fn record_native(&self) {
        self.native.store(true, Relaxed);
        self.slots.each(&mut |_, cell| cell.record_native());
    }
}

/// What a cell held at one time.
pub(super) struct Copied<R: Row>(Made<R::Cell>);
