//! Comparisons of two targets: collects the pairs of requests, and says whether the treatment is better or worse than the
//! control. It must not know who plays the requests, or who reads the verdicts.

mod evidence;
mod judge;
mod watch;

pub use watch::Comparisons;

#[cfg(test)]
mod tests;
