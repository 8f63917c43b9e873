//! `tokenbeat top`: a running daemon, live in the terminal, as its API tells it. What is shown is a pure function of a state
//! that events change; this module must not know what runs inside the daemon.

mod client;
mod columns;
mod detail;
mod snapshot;
mod state;
mod view;

pub use client::{TopAddress, TopClient, TopError, TopLogin};
pub use columns::plain;
pub use snapshot::TopSnapshot;
pub use state::TopState;
pub use view::view;

#[cfg(test)]
mod tests;
