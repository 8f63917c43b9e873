//! The one integration test binary: each module is a suite.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop"
)]

#[path = "integration/architecture.rs"]
mod architecture;
#[path = "integration/reload.rs"]
mod reload;
