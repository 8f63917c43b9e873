//! Pairs that a budget holds back, as shown to users.

use crate::event::{BudgetRefusal, Exhausted, Ledger, Pair};
use crate::state::Time;
use jiff::{Timestamp, ZonedDateTime};
use serde::Serialize;
use std::time::SystemTime;

/// The budget that holds a pair back, and until when.
#[derive(Clone, Debug, Serialize)]
pub(super) struct HeldBack {
    /// Whose budget: `agent`, or `profile/NAME`.
    scope: String,
    /// `requests`, `tokens` or `cost`.
    unit: &'static str,
    /// `spent`; `too_small`, it is less than a request needs; or `unrecorded`, the state file cannot be written; or `unknown`, it cannot be read.
    reason: &'static str,
    /// When its next period begins; null if it is not a matter of time.
    until: Option<Time>,
    /// All of it in a sentence.
    message: String,
    /// `until` in the time zone of the budget.
    #[serde(skip)]
    pub(super) until_local: Option<String>,
}

impl HeldBack {
    /// What holds a pair back at this moment.
    pub(super) fn of(ledger: &dyn Ledger, pair: &Pair) -> Option<Self> {
        ledger.held_back(pair).map(|exhausted| Self::from(&exhausted))
    }

    /// Whether a run that starts then would be held back.
    pub(super) fn lasts_beyond(&self, at: SystemTime) -> bool {
        self.until.is_none_or(|until| at < until.0)
    }

    /// Whole seconds until the next period begins, at least one.
    pub(super) fn seconds(&self, now: SystemTime) -> Option<u64> {
        let left = self.until?.0.duration_since(now).unwrap_or_default();
        Some(left.as_secs().saturating_add(1))
    }

    /// All of it in a sentence.
    pub(super) fn message(&self) -> &str {
        &self.message
    }
}

impl From<&Exhausted> for HeldBack {
    fn from(exhausted: &Exhausted) -> Self {
        let until = Some(&exhausted.until).filter(|_| exhausted.why == BudgetRefusal::Spent);
        Self {
            scope: exhausted.scope.label(),
            unit: exhausted.unit.label(),
            reason: exhausted.why.label(),
            until: until.map(|until| until.timestamp().into()),
            message: exhausted.to_string(),
            until_local: until.map(|until| local(until, Timestamp::now())),
        }
    }
}

/// An instant in its own time zone, with the date if it is not one of today.
pub(super) fn local(at: &ZonedDateTime, now: Timestamp) -> String {
    let form = if at.date() == now.to_zoned_datetime(at.time_zone().clone()).date() {
        "%H:%M %Q"
    } else {
        "%Y-%m-%d %H:%M %Q"
    };
    at.strftime(form).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{BudgetScope, BudgetUnit};

    #[test]
    fn a_period_that_ends_is_waited_for_and_a_state_file_is_not() {
        let until: ZonedDateTime = "2026-11-29T00:00:00[Europe/Berlin]".parse().unwrap();
        let of = |why| {
            HeldBack::from(&Exhausted {
                scope: BudgetScope::Agent,
                unit: BudgetUnit::Cost,
                why,
                until: until.clone(),
            })
        };
        let spent = of(BudgetRefusal::Spent);
        let json = serde_json::to_value(&spent).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "scope": "agent", "unit": "cost", "reason": "spent", "until": "2026-11-28T23:00:00.000Z",
                "message": "the cost budget of agent is spent until 2026-11-29 00:00 Europe/Berlin",
            })
        );
        let Time(end) = until.timestamp().into();
        let second = std::time::Duration::from_secs(1);
        assert!(spent.lasts_beyond(end - second) && !spent.lasts_beyond(end));
        assert_eq!(spent.seconds(end - 9 * second), Some(10));
        let unrecorded = of(BudgetRefusal::Unrecorded);
        assert!(unrecorded.lasts_beyond(end + second) && unrecorded.seconds(end).is_none());
        assert_eq!(unrecorded.until_local, None);
        assert!(of(BudgetRefusal::TooSmall).seconds(end).is_none(), "the next period has no more");
    }

    #[test]
    fn a_time_of_today_has_no_date() {
        let at: ZonedDateTime = "2026-11-28T18:00:00[Asia/Kolkata]".parse().unwrap();
        assert_eq!(local(&at, "2026-11-28T03:00:00Z".parse().unwrap()), "18:00 Asia/Kolkata");
        assert_eq!(local(&at, "2026-11-27T03:00:00Z".parse().unwrap()), "2026-11-28 18:00 Asia/Kolkata");
    }
}
