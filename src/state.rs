//! What outlives a request: budgets. It knows nothing of how requests are made.

mod budget;

pub use budget::{Memory, Wall};
