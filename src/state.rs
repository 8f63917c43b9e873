//! What outlives a request: recent requests and live status. It knows nothing of how requests are made.

mod recent;
mod time;

pub use recent::{ActiveRun, PairStatus, Recent, RequestView, RunView};
pub use time::Time;
