//! Budgets as shown to users.

use super::held_back::local;
use crate::event::{BudgetUnit, BudgetUse, Ledger};
use crate::state::Time;
use crate::vocabulary::money;
use jiff::Timestamp;
use serde::Serialize;

/// How much of a budget is spent in its present period.
#[derive(Debug, Serialize)]
pub(super) struct BudgetStatus {
    /// Whose: `agent`, or `profile/NAME`.
    scope: String,
    /// `requests`, `tokens` or `cost`.
    unit: &'static str,
    /// What is spent, reservations included.
    spent: f64,
    /// What the period allows.
    limit: f64,
    /// When the period ends.
    until: Time,
}

/// Every limit of every budget.
pub(super) fn all(ledger: &dyn Ledger) -> Vec<BudgetStatus> {
    let of = |budget: BudgetUse| BudgetStatus {
        scope: budget.scope.label(),
        unit: budget.unit.label(),
        spent: budget.spent,
        limit: budget.limit,
        until: budget.until.timestamp().into(),
    };
    ledger.uses().into_iter().map(of).collect()
}

/// A budget, for the page.
#[derive(Debug, Serialize)]
pub(super) struct BudgetRow {
    pub(super) scope: String,
    unit: &'static str,
    spent: String,
    limit: String,
    pub(super) percent: f64,
    until: String,
}

/// Every limit of every budget, for the page.
pub(super) fn rows(ledger: &dyn Ledger) -> Vec<BudgetRow> {
    let now = Timestamp::now();
    let amount = |unit: BudgetUnit, value: f64| match unit {
        BudgetUnit::Cost => money(value),
        BudgetUnit::Requests | BudgetUnit::Tokens => format!("{value:.0}"),
    };
    let row = |budget: BudgetUse| BudgetRow {
        scope: budget.scope.label(),
        unit: budget.unit.label(),
        spent: amount(budget.unit, budget.spent),
        limit: amount(budget.unit, budget.limit),
        percent: if budget.limit > 0.0 { 100.0 * budget.spent / budget.limit } else { 100.0 },
        until: local(&budget.until, now),
    };
    ledger.uses().into_iter().map(row).collect()
}
