//! Tells changes from noise: tests whose error rates hold however often one looks, points of change, comparison of two
//! samples, and how many samples a statement needs. Pure: numbers in, statements out. It must know neither clocks nor what
//! the numbers measure.

mod bets;
pub mod binomial;
pub mod change;
mod delay;
mod exceedance;
mod incident;
mod measure;
mod model_change;
mod monitor;
mod order;
mod paired;
mod proportion;
pub mod quantile;
mod rank_sum;
mod season;
mod siblings;
mod slots;
mod step;
mod usual;

pub use delay::values_until_told;
pub use incident::{ChangeKind, ChangeRatio, ChangeTime, DetectedChange};
pub use measure::Measure;
pub use model_change::{
    AnswerComparison, MAX_REFERENCE, MIN_REFERENCE, ModelAlarm, ModelChangeOptions, ModelVerdict, ModelWatch,
    PromptAnswer, TokenLogprob,
};
pub use monitor::{MonitorRules, SeriesMonitor};
pub use paired::{EffectInterval, PairedFailures, PairedRatios, pairs_to_tell};
pub use proportion::{wilson_lower, wilson_upper};
pub use rank_sum::rank_sum;
pub use siblings::{MIN_SIBLINGS, SiblingComparison, SiblingSample, compare_failures, compare_levels};
pub use usual::UsualLevel;

#[cfg(test)]
mod tests;
