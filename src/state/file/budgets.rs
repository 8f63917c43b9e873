//! Budgets in the state file.

use crate::event::BudgetScope;
use crate::state::budget::{Amounts, SavedBudget};
use crate::vocabulary::Period;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rusqlite::{Connection, Row, Transaction, params};

/// The label of the agent's budget; the others are `profile/NAME`.
const AGENT: &str = "agent";

/// A row that cannot be read. What was spent is then not known, which is not nothing.
#[derive(Debug, thiserror::Error)]
#[error("the row \"{scope}\" of its budgets has a {column} that cannot be read")]
pub(super) struct UnreadableBudget {
    scope: String,
    column: &'static str,
}

pub(super) fn load(db: &Connection) -> rusqlite::Result<Result<Vec<SavedBudget>, UnreadableBudget>> {
    let mut statement = db.prepare("SELECT * FROM budgets ORDER BY scope, rowid")?;
    let rows = statement.query_map([], |row| Ok(budget(row)))?;
    rows.collect()
}

fn budget(row: &Row<'_>) -> Result<SavedBudget, UnreadableBudget> {
    let text = |column: usize| row.get::<_, String>(column).ok();
    let label = text(0).unwrap_or_default();
    let unreadable = |column| UnreadableBudget { scope: label.clone(), column };
    let scope = match label.strip_prefix("profile/") {
        Some(name) => BudgetScope::Profile(name.into()),
        None if label == AGENT => BudgetScope::Agent,
        None => return Err(unreadable("scope")),
    };
    let named = text(1).ok_or_else(|| unreadable("period"))?;
    let period = Period::ALL.iter().copied().find(|period| period.name() == named);
    let timezone = text(2).and_then(|name| TimeZone::get(&name).ok());
    let start = row.get(3).ok().and_then(|second| Timestamp::from_second(second).ok());
    let amount = |index: usize, column| {
        text(index).and_then(|digits| digits.parse::<u128>().ok()).ok_or_else(|| unreadable(column))
    };
    let spent = Amounts {
        requests: amount(4, "requests")?,
        tokens: amount(5, "tokens")?,
        cost: amount(6, "cost_pico")?,
    };
    // A file of an earlier version that cannot be written has no such columns.
    let has = |index: usize| index < row.as_ref().column_count();
    let rest = |index: usize, column| if has(index) { amount(index, column) } else { Ok(0) };
    let beside = Amounts {
        requests: rest(8, "beside_requests")?,
        tokens: rest(9, "beside_tokens")?,
        cost: rest(10, "beside_cost_pico")?,
    };
    Ok(SavedBudget {
        scope,
        period: period.ok_or_else(|| unreadable("period"))?,
        timezone: timezone.ok_or_else(|| unreadable("timezone"))?,
        start: start.ok_or_else(|| unreadable("period_start"))?,
        spent,
        beside,
        shards: if has(7) { row.get(7).map_err(|_| unreadable("shards"))? } else { 1 },
    })
}

/// Writes all budgets and removes any others.
pub(super) fn save(transaction: &Transaction<'_>, budgets: &[SavedBudget]) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM budgets", [])?;
    let mut statement =
        transaction.prepare_cached("INSERT INTO budgets VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
    for budget in budgets {
        let SavedBudget { scope, period, timezone, start, spent, beside, shards } = budget;
        statement.execute(params![
            scope.label(),
            period.name(),
            timezone.iana_name().unwrap_or("UTC"),
            start.as_second(),
            spent.requests.to_string(),
            spent.tokens.to_string(),
            spent.cost.to_string(),
            shards,
            beside.requests.to_string(),
            beside.tokens.to_string(),
            beside.cost.to_string(),
        ])?;
    }
    Ok(())
}
