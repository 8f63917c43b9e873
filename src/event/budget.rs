//! Budgets as the engine sees them: reserve the most that a request can cost before sending it, and settle
//! what it actually cost when it has ended.

use futures_util::future::BoxFuture;
use std::fmt;
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

/// What a budget applies to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// The whole agent.
    Agent,
    /// One profile, across all its targets.
    Profile(Arc<str>),
}

impl Scope {
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
pub enum Unit {
    /// Requests sent, warm-up included.
    Requests,
    /// Input and output tokens.
    Tokens,
    /// Money in the agent's currency.
    Cost,
}

impl Unit {
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
    pub scope: Scope,
    /// The unit that was exceeded or could not be recorded.
    pub unit: Unit,
    /// Why it was refused.
    pub why: Refusal,
}

/// Why a reservation was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The requested amount does not fit into what is left.
    Spent,
    /// Spending cannot be recorded, so a restart would forget it.
    Unrecorded,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, scope) = (self.unit.label(), self.scope.label());
        match self.why {
            Refusal::Spent => write!(f, "the {unit} budget of {scope} is spent"),
            Refusal::Unrecorded => write!(
                f,
                "the {unit} budget of {scope} is on hold: the state file cannot be written, so that what is spent \
                 would be forgotten"
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
    /// When it was reserved, in seconds since the epoch: it is settled in the period that it was taken from.
    pub at: i64,
    /// Its number in the ledger, used to determine whether it has been recorded; 0 if no budget counts it.
    pub number: u64,
}

/// How much of one budget has been spent, reservations included.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetUse {
    /// What the budget applies to.
    pub scope: Scope,
    /// The unit that is counted.
    pub unit: Unit,
    /// Amount spent in the current period.
    pub spent: f64,
    /// Amount that the period allows.
    pub limit: f64,
}

/// Manages budgets. Implementations must be cheap: they are called between a due time and a send.
pub trait Ledger: Send + Sync {
    /// Reserves `most` from every budget that covers `profile`, or from none of them.
    fn reserve(&self, profile: &Arc<str>, most: Spend) -> Result<Hold, Exhausted>;
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
