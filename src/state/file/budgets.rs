//! Budgets in the state file.

use crate::event::BudgetScope;
use crate::state::budget::{Amounts, SavedBudget};
use crate::vocabulary::Period;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rusqlite::{Connection, Row, Transaction, params};

/// The label of the agent's budget; the others are `profile/NAME`.
const AGENT: &str = "agent";

pub(super) fn load(db: &Connection) -> rusqlite::Result<Vec<SavedBudget>> {
    let mut statement = db.prepare("SELECT * FROM budgets ORDER BY scope, rowid")?;
    let rows = statement.query_map([], |row| Ok(budget(row)))?;
    // An unreadable row must have been edited by hand; the others still count.
    rows.filter_map(|row| row.and_then(|row| row).transpose()).collect()
}

fn budget(row: &Row<'_>) -> rusqlite::Result<Option<SavedBudget>> {
    let text = |column: usize| row.get::<_, String>(column);
    let amount = |column: usize| text(column).map(|digits| digits.parse::<u128>().ok());
    let label = text(0)?;
    let scope = match label.strip_prefix("profile/") {
        Some(name) => BudgetScope::Profile(name.into()),
        None if label == AGENT => BudgetScope::Agent,
        None => return Ok(None),
    };
    let period = Period::ALL.iter().copied().find(|period| Ok(period.name()) == text(1).as_deref());
    let timezone = TimeZone::get(&text(2)?).ok();
    let start = Timestamp::from_second(row.get(3)?).ok();
    let spent = (amount(4)?, amount(5)?, amount(6)?);
    let ((Some(period), Some(timezone), Some(start)), (Some(requests), Some(tokens), Some(cost))) =
        ((period, timezone, start), spent)
    else {
        return Ok(None);
    };
    // A file of an earlier version that cannot be written has no such columns.
    let (spent, shards) = (Amounts { requests, tokens, cost }, row.get(7).unwrap_or(1));
    let rest = |column: usize| amount(column).ok().flatten().unwrap_or(0);
    let beside = Amounts { requests: rest(8), tokens: rest(9), cost: rest(10) };
    Ok(Some(SavedBudget { scope, period, timezone, start, spent, beside, shards }))
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
