//! The one integration test binary: each module is a suite.

#[path = "integration/architecture.rs"]
mod architecture;
