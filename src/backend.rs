//! The server's own account of itself: whether it says that it is healthy, and what its metrics say over a run. It is read
//! beside the measured traffic and decides no target's state; together with what clients measure, it shows a server that
//! believes it is well and is not, and whether the time is lost at the server or on the way. This module must not know
//! who is told.

mod account;
mod ask;
mod engine;
mod health;
#[rustfmt::skip]
mod names;
mod page;
mod reader;

pub use health::HealthPoller;
pub use reader::{AccountReader, AccountTask};

use std::time::Duration;

/// How often each server is asked.
const INTERVAL: Duration = Duration::from_secs(15);

/// Time for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
