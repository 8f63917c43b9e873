//! Budgets for calendar periods, reserved before a send and settled after it. They are kept in memory. If
//! there is a state file, its keeper records them, and a new process starts from what the previous one
//! recorded.

mod asked;
mod periods;
mod recording;

pub(super) use recording::BudgetSnapshot;
pub use recording::SavedBudget;

use crate::event::{
    BudgetRefusal, BudgetScope, BudgetUnit, BudgetUse, Exhausted, Hold, Ledger, Pair, Spend, WallClock,
};
use crate::fact::{Fact, Sink};
use crate::plan::{Budget, PICO, Plan, Shard, pico};
use asked::AskedFor;
use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp, ZonedDateTime};
use periods::{BudgetPeriods, PeriodSpend};
use recording::Recording;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// If the clock goes back by less than this, it is treated as standing still, so that a small correction
/// around midnight does not reopen the previous day, whose budget was already spent. If it goes forward by more between
/// two readings, it may have been set.
const SET_BACK: SignedDuration = SignedDuration::from_hours(1);

/// The budgets of a plan.
pub struct BudgetLedger {
    wall: WallClock,
    books: Mutex<Books>,
    recording: Recording,
}

struct Books {
    /// The latest instant seen so far.
    last: Timestamp,
    all: Vec<Book>,
    /// Number of reservations so far.
    reservations: u64,
    asked: AskedFor,
    /// Whether it is known what was spent before the process started. Until then, nothing is spent: it is not nothing.
    is_known: bool,
}

/// The part of a budget that a shard has.
struct BudgetPart {
    budget: Budget,
    /// The number of parts.
    of: u32,
}

/// One budget, in its current period and those that the clock showed before.
struct Book {
    scope: BudgetScope,
    budget: Budget,
    /// The number of parts that the budget is divided into, of which this is one.
    shards: u32,
    periods: BudgetPeriods,
    /// Whether the budget is in the plan. If not, it neither limits anything nor is shown, but is kept until
    /// its period ends, so that what was spent is not forgotten when a budget is removed temporarily.
    planned: bool,
}

/// Requests, tokens and money in units of 10^-12.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amounts {
    pub(super) requests: u128,
    pub(super) tokens: u128,
    pub(super) cost: u128,
}

/// Iterates over the budgets of a plan, as far as they are the agent's: its shard has a part of each, but all or nothing
/// of the budget of a profile that is not divided.
fn planned(plan: &Plan) -> impl Iterator<Item = (BudgetScope, BudgetPart)> {
    let shard = plan.agent.shard;
    let part = |budget: &Budget, shard: Shard| BudgetPart { budget: budget.part(shard), of: shard.count() };
    let agent = plan.agent.budget.iter().map(move |budget| (BudgetScope::Agent, part(budget, shard)));
    let profiles = plan.profiles.iter().filter_map(move |profile| {
        let part = part(profile.budget.as_ref()?, profile.share(shard)?);
        Some((BudgetScope::Profile(Arc::clone(&profile.name)), part))
    });
    agent.chain(profiles)
}

impl BudgetLedger {
    /// Creates the budgets of a plan, with nothing spent.
    pub fn new(plan: &Plan, wall: WallClock) -> Self {
        Self::restored(plan, Some(Vec::new()), wall)
    }

    /// Creates the budgets of a plan, with what was spent in their current periods; `None` if that is not known yet.
    /// Saved budgets that are not in the plan are kept until their period ends, since they may come back.
    pub fn restored(plan: &Plan, saved: Option<Vec<SavedBudget>>, wall: WallClock) -> Self {
        let now = wall();
        let is_known = saved.is_some();
        let mut all = Book::all_restored(saved.unwrap_or_default(), now, 0);
        for (scope, part) in planned(plan) {
            match all.iter_mut().find(|book| book.scope == scope) {
                Some(book) => {
                    if book.shards != part.of {
                        let (budget, saved, now) = (scope.label(), book.shards, part.of);
                        tracing::warn!(
                            budget,
                            saved,
                            now,
                            "the budget was divided among another number of shards: of what is spent in the present \
                             period, only the part of this state file is known, and that of the others is assumed to \
                             be the same"
                        );
                    }
                    book.change(part, now);
                }
                None => all.push(Book::open(scope, part, now, 0)),
            }
        }
        all.retain(Book::counts);
        all.sort_by(|a, b| a.scope.cmp(&b.scope));
        let books = Books { last: now, all, reservations: 0, asked: AskedFor::default(), is_known };
        let books = Mutex::new(books);
        Self { wall, books, recording: Recording::default() }
    }

    /// Switches to the budgets of another plan. What was spent stays spent: new limits apply to it, and it is
    /// carried over to a new kind of period or another time zone.
    fn plan_changed(&self, plan: &Plan) {
        let mut books = self.books();
        let (now, reservations) = (books.last, books.reservations);
        for book in &mut books.all {
            book.planned = false;
        }
        for (scope, part) in planned(plan) {
            match books.all.iter_mut().find(|book| book.scope == scope) {
                Some(book) => book.change(part, now),
                None => books.all.push(Book::open(scope, part, now, reservations)),
            }
        }
        // In the same order as in a new ledger: the agent's first, then by name.
        books.all.sort_by(|a, b| a.scope.cmp(&b.scope));
        books.asked.keep(plan);
    }

    /// Adds what the state file says was spent, which could not be read when the process started.
    pub(super) fn learn(&self, saved: Vec<SavedBudget>) {
        let mut books = self.books();
        let (now, reservations) = (books.last, books.reservations);
        for mut found in Book::all_restored(saved, now, reservations) {
            match books.all.iter_mut().find(|book| book.scope == found.scope) {
                Some(book) => {
                    found.change(BudgetPart { budget: book.budget.clone(), of: book.shards }, now);
                    book.periods.add(&found.periods);
                }
                None => books.all.push(found),
            }
        }
        books.all.retain(Book::counts);
        books.all.sort_by(|a, b| a.scope.cmp(&b.scope));
        books.is_known = true;
        drop(books);
        self.recording.changed();
    }

    /// Locks the books and moves them to the current period.
    fn books(&self) -> MutexGuard<'_, Books> {
        let now = (self.wall)();
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let ahead = now.duration_since(books.last);
        if ahead.is_positive() || ahead < -SET_BACK {
            books.last = now;
        }
        let (last, reservations, jumped) = (books.last, books.reservations, ahead.abs() > SET_BACK);
        books.all.retain_mut(|book| !book.turn(last, jumped, reservations) || book.planned);
        books
    }
}

impl Sink for BudgetLedger {
    fn record(&self, fact: &Fact) {
        if let Fact::PlanChanged(plan) = fact {
            self.plan_changed(plan);
        }
    }
}

impl Books {
    /// Whether every budget that covers the profile has room. `unrecorded`: spending cannot be recorded.
    fn check(&self, profile: &Arc<str>, most: Amounts, unrecorded: bool) -> Result<(), Exhausted> {
        let mut covering = self.all.iter().filter(|book| book.planned && book.covers(profile));
        covering.try_for_each(|book| book.check(most, self.is_known, unrecorded, self.last))
    }
}

impl Ledger for BudgetLedger {
    fn reserve(&self, pair: &Pair, most: Spend, margin: Spend) -> Result<Hold, Exhausted> {
        let profile = &pair.profile;
        let (bound, reserved) = (Amounts::of(most), Amounts::of(most + margin));
        let mut books = self.books();
        let unrecorded = self.recording.has_failed();
        if let Err(exhausted) = books.check(profile, bound, unrecorded) {
            books.asked.refused(pair, bound);
            return Err(exhausted);
        }
        if let Err(exhausted) = books.check(profile, reserved, unrecorded) {
            return Err(Exhausted { why: BudgetRefusal::Margin, ..exhausted });
        }
        books.asked.granted(pair);
        let mut counted = false;
        for book in books.all.iter_mut().filter(|book| book.covers(profile)) {
            book.periods.spend(reserved);
            counted = true;
        }
        let hold = |number| Hold { profile: Arc::clone(profile), reserved: most + margin, number };
        if !counted {
            // Where no budget counts it, there is nothing to record, and nothing to wait for.
            return Ok(hold(0));
        }
        books.reservations += 1;
        let number = books.reservations;
        drop(books);
        self.recording.changed();
        Ok(hold(number))
    }

    fn affords(&self, pair: &Pair, most: Spend) -> Result<(), Exhausted> {
        let amounts = Amounts::of(most);
        let mut books = self.books();
        let result = books.check(&pair.profile, amounts, self.recording.has_failed());
        if books.all.iter().any(|book| book.planned && book.covers(&pair.profile)) {
            books.asked.run(pair, amounts);
        }
        result
    }

    fn held_back(&self, pair: &Pair) -> Option<Exhausted> {
        let books = self.books();
        books.check(&pair.profile, books.asked.of(pair), self.recording.has_failed()).err()
    }

    fn recorded<'a>(&'a self, hold: &'a Hold) -> BoxFuture<'a, ()> {
        Box::pin(self.recording.reaches(hold.number))
    }

    fn settle(&self, hold: Hold, actual: Spend) {
        let (reserved, actual) = (Amounts::of(hold.reserved), Amounts::of(actual));
        let mut books = self.books();
        for book in books.all.iter_mut().filter(|book| book.covers(&hold.profile)) {
            // A reservation from an earlier period is settled in that one, and one from before the book in none.
            book.periods.settle(hold.number, reserved, actual);
        }
        let counted = !books.all.is_empty();
        drop(books);
        if counted {
            self.recording.changed();
        }
    }

    fn uses(&self) -> Vec<BudgetUse> {
        let books = self.books();
        let shown = books.all.iter().filter(|book| book.planned && books.is_known);
        shown.flat_map(|book| book.uses(books.last)).collect()
    }
}

impl Book {
    /// Opens it after this number of reservations, which are not part of it.
    fn open(scope: BudgetScope, part: BudgetPart, now: Timestamp, reservations: u64) -> Self {
        let BudgetPart { budget, of: shards } = part;
        let periods = BudgetPeriods::begin(budget.period_start(now), reservations);
        Self { scope, budget, shards, periods, planned: true }
    }

    /// Restores saved budgets after this number of reservations, which are not part of them. None of them is in the plan
    /// yet.
    fn all_restored(saved: Vec<SavedBudget>, now: Timestamp, reservations: u64) -> Vec<Self> {
        let mut scopes: BTreeMap<BudgetScope, Vec<SavedBudget>> = BTreeMap::new();
        for saved in saved {
            scopes.entry(saved.scope.clone()).or_default().push(saved);
        }
        let restored = |(scope, saved)| Self::restored(scope, saved, now, reservations);
        scopes.into_iter().filter_map(restored).collect()
    }

    /// Restores the periods of a budget. How the clock got from the last one to the present is not known.
    fn restored(
        scope: BudgetScope,
        saved: Vec<SavedBudget>,
        now: Timestamp,
        reservations: u64,
    ) -> Option<Self> {
        let SavedBudget { period, timezone, shards, .. } = saved.last()?.clone();
        let budget = Budget { period, timezone, requests: None, tokens: None, cost: None };
        let same_kind = saved.into_iter().filter(|it| it.period == period && it.timezone == budget.timezone);
        let periods = same_kind.map(|it| PeriodSpend::new(it.start, it.spent, it.beside, reservations));
        let mut periods = BudgetPeriods::from_saved(periods.collect(), reservations)?;
        periods.show(budget.period_start(now), true, reservations);
        Some(Self { scope, budget, shards, periods, planned: false })
    }

    /// Whether it is in the plan, or would be missed if it came back.
    fn counts(&self) -> bool {
        self.planned || self.periods.spent() != Amounts::default()
    }

    /// Adopts other limits. If there are fewer parts than before, this one is larger, and takes its part of what the
    /// others have spent, as far as that can be known; if there are more, what is spent stays with this one.
    fn change(&mut self, part: BudgetPart, now: Timestamp) {
        let BudgetPart { budget, of } = part;
        if of < self.shards {
            let (before, now) = (u128::from(self.shards), u128::from(of.max(1)));
            self.periods.map(|amount| amount.saturating_mul(before).div_ceil(now));
        }
        if (budget.period, &budget.timezone) != (self.budget.period, &self.budget.timezone) {
            self.periods.convert(budget.period_start(now), budget.period_end(now));
        }
        (self.budget, self.shards) = (budget, of);
        self.planned = true;
    }

    fn covers(&self, profile: &Arc<str>) -> bool {
        match &self.scope {
            BudgetScope::Agent => true,
            BudgetScope::Profile(name) => name == profile,
        }
    }

    /// Follows the clock into another period. Returns whether nothing was spent in it yet, and it is later.
    fn turn(&mut self, now: Timestamp, jumped: bool, reservations: u64) -> bool {
        self.periods.show(self.budget.period_start(now), jumped, reservations)
    }

    /// The configured limits.
    fn limits(&self) -> [(BudgetUnit, Option<u128>); 3] {
        [
            (BudgetUnit::Requests, self.budget.requests.map(u128::from)),
            (BudgetUnit::Tokens, self.budget.tokens.map(u128::from)),
            (BudgetUnit::Cost, self.budget.cost.map(pico)),
        ]
    }

    /// When the present period ends, in the budget's time zone.
    fn until(&self, now: Timestamp) -> ZonedDateTime {
        self.budget.period_end(now).to_zoned_datetime(self.budget.timezone.clone())
    }

    /// `is_known`: without what was spent before, nothing may be spent. `unrecorded`: spent money cannot be recorded, so
    /// no money may be spent.
    fn check(
        &self,
        most: Amounts,
        is_known: bool,
        unrecorded: bool,
        now: Timestamp,
    ) -> Result<(), Exhausted> {
        let refused =
            |unit, why| Err(Exhausted { scope: self.scope.clone(), unit, why, until: self.until(now) });
        let limited = |(unit, limit): (BudgetUnit, Option<u128>)| limit.map(|_| unit);
        if !is_known && let Some(unit) = self.limits().into_iter().find_map(limited) {
            return refused(unit, BudgetRefusal::Unknown);
        }
        if unrecorded && self.budget.cost.is_some() {
            return refused(BudgetUnit::Cost, BudgetRefusal::Unrecorded);
        }
        let after = self.periods.spent().plus(most);
        let over =
            |(unit, limit): &(BudgetUnit, Option<u128>)| limit.is_some_and(|limit| after.get(*unit) > limit);
        match self.limits().into_iter().find(over) {
            Some((unit, limit)) if limit.is_some_and(|limit| most.get(unit) > limit) => {
                refused(unit, BudgetRefusal::TooSmall)
            }
            Some((unit, _)) => refused(unit, BudgetRefusal::Spent),
            None => Ok(()),
        }
    }

    fn uses(&self, now: Timestamp) -> Vec<BudgetUse> {
        let plain =
            |unit, amount: u128| if unit == BudgetUnit::Cost { amount as f64 / PICO } else { amount as f64 };
        let spent = self.periods.spent();
        let limits = self.limits().into_iter().filter_map(|(unit, limit)| Some((unit, limit?)));
        limits
            .map(|(unit, limit)| BudgetUse {
                scope: self.scope.clone(),
                unit,
                spent: plain(unit, spent.get(unit)),
                limit: plain(unit, limit),
                until: self.until(now),
            })
            .collect()
    }
}

impl Amounts {
    fn of(spend: Spend) -> Self {
        Self { requests: spend.requests.into(), tokens: spend.tokens.into(), cost: pico(spend.cost) }
    }

    fn get(self, unit: BudgetUnit) -> u128 {
        match unit {
            BudgetUnit::Requests => self.requests,
            BudgetUnit::Tokens => self.tokens,
            BudgetUnit::Cost => self.cost,
        }
    }

    fn plus(self, other: Self) -> Self {
        self.each(other, u128::saturating_add)
    }

    fn minus(self, other: Self) -> Self {
        self.each(other, u128::saturating_sub)
    }

    fn map(self, op: impl Fn(u128) -> u128) -> Self {
        Self { requests: op(self.requests), tokens: op(self.tokens), cost: op(self.cost) }
    }

    fn each(self, other: Self, op: impl Fn(u128, u128) -> u128) -> Self {
        Self {
            requests: op(self.requests, other.requests),
            tokens: op(self.tokens, other.tokens),
            cost: op(self.cost, other.cost),
        }
    }
}

#[cfg(test)]
mod tests;
