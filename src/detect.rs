//! Tells changes from noise: tests whose error rates hold however often one looks, points of change, comparison of two
//! samples, and how many samples a statement needs. Pure: numbers in, statements out. It must know neither clocks nor what
//! the numbers measure.

mod bets;
pub mod binomial;
pub mod change;
mod paired;
mod proportion;
pub mod quantile;
mod rank_sum;

pub use paired::{EffectInterval, PairedFailures, PairedRatios};
pub use proportion::{wilson_lower, wilson_upper};
pub use rank_sum::rank_sum;
