//! What outlives a request: budgets, recent requests and live status. It knows nothing of how requests are made.

mod budget;
mod events;
mod recent;
mod time;

pub use budget::{Memory, Wall};
pub use events::{Event, Events};
pub use recent::{ActiveRun, PairStatus, Recent, RequestView, RunView};
pub use time::Time;
