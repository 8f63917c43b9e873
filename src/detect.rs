//! Tells changes from noise: tests whose error rates hold however often one looks, points of change, comparison of two
//! samples, and how many samples a statement needs. Pure: numbers in, statements out. It must know neither clocks nor what
//! the numbers measure.

mod bets;
pub mod binomial;
pub mod change;
mod paired;
pub mod quantile;

pub use paired::{EffectInterval, PairedFailures, PairedRatios};
