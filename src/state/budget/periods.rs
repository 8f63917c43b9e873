//! What was spent of one budget in the periods that the clock showed last. A clock that is wrong for a while shows
//! other periods, and afterwards those before it again: what was spent in one of them must not become available again.

use super::Amounts;
use jiff::Timestamp;

/// How many periods are remembered beside the present one: those that the clock showed last. So a clock that once
/// showed a year far away has no effect for long.
const REMEMBERED: usize = 4;

/// How many stretches of reservations a period remembers: a clock that goes to and fro makes one each time.
const STRETCHES: usize = 8;

/// What counts in one period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PeriodSpend {
    /// When the period began.
    pub(super) start: Timestamp,
    /// What was spent while the clock showed this period.
    pub(super) own: Amounts,
    /// What was spent while the clock showed another one, since this one is remembered. It counts here, too, if the
    /// clock jumps to this period, because nobody can tell which of the two readings was wrong.
    pub(super) beside: Amounts,
    /// Number of the last reservation before `beside` began: the earlier ones are not part of it.
    since: u64,
    /// Which reservations `own` has, oldest first.
    taken: Vec<Stretch>,
}

/// The reservations that were made between two changes of the period. Their numbers tell where they count, and not when
/// they were made: a clock may have been wrong then, and the periods may have been of another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    /// The number of the last reservation before.
    after: u64,
    /// The number of the last one; `None` while more are made.
    last: Option<u64>,
}

/// The present period and those that the clock showed before it.
#[derive(Clone, Debug)]
pub(super) struct BudgetPeriods {
    present: PeriodSpend,
    /// The one that was shown last is the last.
    others: Vec<PeriodSpend>,
}

impl Stretch {
    fn has(&self, number: u64) -> bool {
        number > self.after && self.last.is_none_or(|last| number <= last)
    }
}

impl PeriodSpend {
    /// A period that is not shown, and has no reservation after the first `reservations`.
    pub(super) fn new(start: Timestamp, own: Amounts, beside: Amounts, reservations: u64) -> Self {
        Self { start, own, beside, since: reservations, taken: Vec::new() }
    }

    fn is_empty(&self) -> bool {
        self.own.plus(self.beside) == Amounts::default()
    }

    fn has(&self, number: u64) -> bool {
        self.taken.iter().any(|stretch| stretch.has(number))
    }

    /// It is shown, and has the reservations from here on.
    fn shown(mut self, reservations: u64) -> Self {
        self.taken.push(Stretch { after: reservations, last: None });
        self.forget();
        self
    }

    /// Another one is shown from here on.
    fn hidden(mut self, reservations: u64) -> Self {
        for stretch in &mut self.taken {
            stretch.last.get_or_insert(reservations);
        }
        self.taken.retain(|stretch| stretch.last != Some(stretch.after));
        self
    }

    /// Forgets the oldest stretches. Reservations in them that are not settled yet stay spent.
    fn forget(&mut self) {
        let beyond = self.taken.len().saturating_sub(STRETCHES);
        for last in self.taken.drain(..beyond).filter_map(|stretch| stretch.last) {
            // Nor are they taken for a part of what was spent besides.
            self.since = self.since.max(last);
        }
    }
}

impl BudgetPeriods {
    /// Nothing spent in this period, and none before it. It has none of the first `reservations`.
    pub(super) fn begin(start: Timestamp, reservations: u64) -> Self {
        let present = PeriodSpend::new(start, Amounts::default(), Amounts::default(), reservations);
        Self { present: present.shown(reservations), others: Vec::new() }
    }

    /// The periods in the order in which they were shown, the present one last; `None` without any. They have none of
    /// the first `reservations`.
    pub(super) fn from_saved(mut periods: Vec<PeriodSpend>, reservations: u64) -> Option<Self> {
        let present = periods.pop()?.shown(reservations);
        Some(Self { present, others: periods })
    }

    /// The periods in which something counts, in the order in which they were shown. The present one is the last, and
    /// always there.
    pub(super) fn saved(&self) -> impl Iterator<Item = &PeriodSpend> {
        let others = self.others.iter().filter(|period| !period.is_empty());
        others.chain(std::iter::once(&self.present))
    }

    /// What counts in the present period.
    pub(super) fn spent(&self) -> Amounts {
        self.present.own.plus(self.present.beside)
    }

    /// Counts what is spent now.
    pub(super) fn spend(&mut self, amounts: Amounts) {
        self.present.own = self.present.own.plus(amounts);
        for other in &mut self.others {
            other.beside = other.beside.plus(amounts);
        }
    }

    /// Replaces what was reserved under this number, wherever it counts.
    pub(super) fn settle(&mut self, number: u64, reserved: Amounts, actual: Amounts) {
        for period in self.all_mut() {
            if period.has(number) {
                period.own = period.own.minus(reserved).plus(actual);
            } else if number > period.since {
                period.beside = period.beside.minus(reserved).plus(actual);
            }
        }
    }

    /// The clock shows this period now. `jumped`: it did not get there by the passing of time. `reservations` is the
    /// number of the last one. Returns whether this is a later period in which nothing was spent yet.
    pub(super) fn show(&mut self, start: Timestamp, jumped: bool, reservations: u64) -> bool {
        if start == self.present.start {
            return false;
        }
        let is_back = start < self.present.start;
        let known = self.others.iter().position(|period| period.start == start);
        let next = match known.map(|index| self.others.remove(index)) {
            // The clock was right before: what it showed then did not belong here.
            Some(period) if !is_back && !jumped => {
                PeriodSpend { beside: Amounts::default(), since: reservations, ..period }
            }
            Some(period) => period,
            None => {
                let later = self.others.iter().chain([&self.present]).filter(|period| period.start > start);
                let beside = later.fold(Amounts::default(), |sum, period| sum.plus(period.own));
                let beside = if is_back { beside } else { Amounts::default() };
                PeriodSpend::new(start, Amounts::default(), beside, reservations)
            }
        };
        let before = std::mem::replace(&mut self.present, next.shown(reservations));
        self.others.push(before.hidden(reservations));
        self.forget();
        !is_back && known.is_none()
    }

    /// Counts in a period of another kind what was spent in the present one, and in those that are part of it. Of others
    /// of its kind nothing is known then.
    pub(super) fn convert(&mut self, start: Timestamp, end: Timestamp) {
        let mut taken = Vec::new();
        for part in self.others.drain(..).filter(|period| period.start >= start && period.start < end) {
            self.present.own = self.present.own.plus(part.own);
            taken.extend(part.taken);
        }
        self.present.start = start;
        self.present.taken.extend(taken);
        self.present.taken.sort_by_key(|stretch| stretch.after);
        self.present.forget();
    }

    /// Applies a function to all amounts.
    pub(super) fn map(&mut self, op: impl Fn(u128) -> u128) {
        for period in self.all_mut() {
            period.own = period.own.map(&op);
            period.beside = period.beside.map(&op);
        }
    }

    /// Adds what was spent besides, in periods of the same kind.
    pub(super) fn add(&mut self, found: &Self) {
        for period in found.others.iter().chain([&found.present]).rev() {
            if let Some(known) = self.all_mut().find(|known| known.start == period.start) {
                known.own = known.own.plus(period.own);
                known.beside = known.beside.plus(period.beside);
                continue;
            }
            // None of the reservations of this process is part of it.
            self.others.insert(0, PeriodSpend { taken: Vec::new(), ..period.clone() });
        }
        self.forget();
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut PeriodSpend> {
        self.others.iter_mut().chain(std::iter::once(&mut self.present))
    }

    fn forget(&mut self) {
        let beyond = self.others.len().saturating_sub(REMEMBERED);
        self.others.drain(..beyond);
    }
}
