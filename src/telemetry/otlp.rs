//! OTLP export: metrics out of the store, a span per request and per run, the daemon's log; over gRPC and HTTP.
//! It never holds up traffic: what it cannot get rid of is counted and forgotten.

mod queue;
mod retry;
mod stats;
mod transport;

pub use stats::{Dropped, Signal, Stats};
pub use transport::Error;

/// How we introduce ourselves to receivers.
const USER_AGENT: &str = concat!("tokenbeat/", env!("CARGO_PKG_VERSION"));
