//! Budgets as the engine sees them: reserve the most that a request can cost before sending it, and settle
//! what it actually cost when it has ended.

use super::Pair;
use futures_util::future::BoxFuture;
use jiff::ZonedDateTime;
use std::fmt;
use std::ops::Add;
use std::sync::Arc;
use strum::{IntoStaticStr, VariantArray};

/// An amount of requests, tokens and money.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spend {
    /// Number of requests.
    pub requests: u64,
    /// Input and output tokens.
    pub tokens: u64,
    /// In the agent's currency.
    pub cost: f64,
}

impl Add for Spend {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            tokens: self.tokens.saturating_add(other.tokens),
            cost: self.cost + other.cost,
        }
    }
}

/// What a budget applies to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BudgetScope {
    /// The whole agent.
    Agent,
    /// One profile, across all its targets.
    Profile(Arc<str>),
}

impl BudgetScope {
    /// The label value: `agent`, or `profile/NAME`.
    pub fn label(&self) -> String {
        match self {
            Self::Agent => "agent".to_owned(),
            Self::Profile(name) => format!("profile/{name}"),
        }
    }
}

/// What a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum BudgetUnit {
    /// Requests sent, warm-up included.
    Requests,
    /// Input and output tokens.
    Tokens,
    /// Money in the agent's currency.
    Cost,
}

impl BudgetUnit {
    /// All units.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The label value.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// Describes a refused reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// The budget that refused it.
    pub scope: BudgetScope,
    /// The unit that was exceeded or could not be recorded.
    pub unit: BudgetUnit,
    /// Why it was refused.
    pub why: BudgetRefusal,
    /// When the budget's present period ends, in its time zone.
    pub until: ZonedDateTime,
}

/// Why a reservation was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum BudgetRefusal {
    /// The requested amount does not fit into what is left.
    Spent,
    /// The requested amount is more than the limit, so that it never fits.
    TooSmall,
    /// The requested amount would fit, but not with what the request may use beyond it. Requests in flight
    /// have reserved the rest.
    Margin,
    /// Spending cannot be recorded, so a restart would forget it.
    Unrecorded,
    /// What was spent before is not known, because the state file cannot be read.
    Unknown,
}

impl BudgetRefusal {
    /// A word for it.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, scope) = (self.unit.label(), self.scope.label());
        match self.why {
            BudgetRefusal::Spent => {
                let until = self.until.strftime("%Y-%m-%d %H:%M %Q");
                write!(f, "the {unit} budget of {scope} is spent until {until}")
            }
            BudgetRefusal::TooSmall => write!(
                f,
                "the {unit} budget of {scope} is too small for a single request or journey; `tokenbeat check` says what \
                 it needs"
            ),
            BudgetRefusal::Margin => write!(
                f,
                "the {unit} budget of {scope} has no room beside the requests in flight, which may use more than \
                 their bound"
            ),
            BudgetRefusal::Unrecorded => write!(
                f,
                "the {unit} budget of {scope} is on hold: the state file cannot be written, so that what is spent \
                 would be forgotten"
            ),
            BudgetRefusal::Unknown => write!(
                f,
                "the {unit} budget of {scope} is on hold: the state file cannot be read, so that what was spent is not \
                 known"
            ),
        }
    }
}

/// A reservation. If it is dropped without being settled it stays spent, because a lost request may have been
/// charged.
#[derive(Debug)]
#[must_use = "settle it when the request has ended"]
pub struct Hold {
    /// The profile of the request.
    pub profile: Arc<str>,
    /// What was reserved.
    pub reserved: Spend,
    /// Its number in the ledger, which tells whether it has been recorded, and in which budgets and periods it counts; 0 if
    /// in none.
    pub number: u64,
}

/// How much of one budget has been spent, reservations included.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetUse {
    /// What the budget applies to.
    pub scope: BudgetScope,
    /// The unit that is counted.
    pub unit: BudgetUnit,
    /// Amount spent in the current period.
    pub spent: f64,
    /// Amount that the period allows.
    pub limit: f64,
    /// When the current period ends, in the budget's time zone.
    pub until: ZonedDateTime,
}

/// Manages budgets. Implementations must be cheap: they are called between a due time and a send.
pub trait Ledger: Send + Sync {
    /// Reserves `most` and `margin` together from every budget that covers the pair, or from none of them.
    /// `margin` is what the request may use beyond its bound `most`.
    fn reserve(&self, pair: &Pair, most: Spend, margin: Spend) -> Result<Hold, Exhausted>;
    /// Whether the budgets have room for a run of the pair, which needs at least `most` to begin. Reserves
    /// nothing.
    fn affords(&self, pair: &Pair, most: Spend) -> Result<(), Exhausted> {
        let _ = (pair, most);
        Ok(())
    }
    /// The budget that holds the pair back at this moment: what the pair asked for last has been refused, and
    /// would be refused again.
    fn held_back(&self, pair: &Pair) -> Option<Exhausted> {
        let _ = pair;
        None
    }
    /// Completes when a restart would not forget this reservation, or when the ledger has given up on
    /// recording. A request whose reservation has not been recorded has not ended.
    fn recorded<'a>(&'a self, hold: &'a Hold) -> BoxFuture<'a, ()> {
        let _ = hold;
        Box::pin(std::future::ready(()))
    }
    /// Replaces a reservation with what was actually spent.
    fn settle(&self, hold: Hold, actual: Spend);
    /// The state of every budget in its current period.
    fn uses(&self) -> Vec<BudgetUse>;
}
