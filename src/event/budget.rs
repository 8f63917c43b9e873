//! Budgets as the engine sees them: reserve the most that a request can cost before it goes out, settle what it
//! did cost when it has ended.

use futures_util::future::BoxFuture;
use std::fmt;
use std::sync::Arc;
use strum::{IntoStaticStr, VariantArray};

/// Requests, tokens and money.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spend {
    /// Requests.
    pub requests: u64,
    /// Input and output tokens.
    pub tokens: u64,
    /// In the agent's currency.
    pub cost: f64,
}

/// Whose budget.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// The whole agent.
    Agent,
    /// One profile, all its targets together.
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
    /// Every unit.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The label value.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// A reservation was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// Whose budget.
    pub scope: Scope,
    /// Which part of it.
    pub unit: Unit,
    /// Why.
    pub why: Refusal,
}

/// Why a reservation was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// What it asks for does not fit into what is left.
    Spent,
    /// What is spent cannot be recorded, so that a restart would forget it.
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

/// A reservation. One that is dropped and never settled stays spent: a lost request may have been charged.
#[derive(Debug)]
#[must_use = "settle it when the request has ended"]
pub struct Hold {
    /// Whose request.
    pub profile: Arc<str>,
    /// What was reserved.
    pub reserved: Spend,
    /// When it was reserved, seconds since the epoch: it is settled in the period that it was taken from.
    pub at: i64,
    /// Its number in the ledger, by which the ledger knows whether it is recorded.
    pub number: u64,
}

/// How much of one budget is spent, reservations included.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetUse {
    /// Whose.
    pub scope: Scope,
    /// Which part.
    pub unit: Unit,
    /// Spent in the present period.
    pub spent: f64,
    /// What the period allows.
    pub limit: f64,
}

/// Keeps budgets. Implementations must be cheap: they are called between a due time and a send.
pub trait Ledger: Send + Sync {
    /// Takes `most` off every budget that covers `profile`, all or none.
    fn reserve(&self, profile: &Arc<str>, most: Spend) -> Result<Hold, Exhausted>;
    /// Returns when a restart would not forget this reservation, or when the ledger has given up recording. A request
    /// whose reservation is not recorded has not ended.
    fn recorded<'a>(&'a self, hold: &'a Hold) -> BoxFuture<'a, ()> {
        let _ = hold;
        Box::pin(std::future::ready(()))
    }
    /// Replaces a reservation by what was spent.
    fn settle(&self, hold: Hold, actual: Spend);
    /// Every budget's state in its present period.
    fn uses(&self) -> Vec<BudgetUse>;
}
