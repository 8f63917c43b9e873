//! The wall clock as everybody is given it.

use jiff::Timestamp;
use std::sync::Arc;

/// Reads the wall clock. A function, so that tests can move it.
pub type WallClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;
