//! Simulated series, and what they show about the whole.

pub(super) mod simulated;
mod suite;
