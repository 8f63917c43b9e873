//! State that outlives a request: budgets, recent requests and live status. It knows nothing about how
//! requests are made.

mod budget;
mod events;
mod file;
mod history;
mod keeper;
mod recent;
mod time;

pub use budget::{BudgetLedger, SavedBudget, Wall};
pub use events::{Event, Events};
pub use file::{Kept, MAX_MINUTES, SavedMinute, SavedRun, StateError, WantedMinutes};
pub use history::{History, HistoryView, ObjectiveView, Quantiles, SlotView, WindowView};
pub use keeper::{Keeper, Restored, Written};
pub use recent::{ActiveRun, JourneyView, Journeys, PairStatus, Recent, RequestView, RunView};
pub use time::Time;
