//! Regressions: compares each run of a pair with those before it, and reports what changed. How changes are told from
//! noise is the business of [`crate::detect`].

mod pairs;
mod watch;

pub use watch::RegressionWatch;

#[cfg(test)]
mod tests;
