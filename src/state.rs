//! What outlives a request: budgets, recent requests and live status. It knows nothing of how requests are made.

mod budget;
mod events;
mod history;
mod recent;
mod time;

pub use budget::{BudgetLedger, Wall};
pub use events::{Event, Events};
pub use history::{History, HistoryView, ObjectiveView, Quantiles, SlotView, WindowView};
pub use recent::{ActiveRun, JourneyView, Journeys, PairStatus, Recent, RequestView, RunView};
pub use time::Time;
