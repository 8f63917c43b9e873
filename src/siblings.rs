//! Compares the replicas of a target with each other: one that is slower or fails more often than its siblings in the same
//! minutes is an outlier.

mod round;
mod watch;

pub use watch::SiblingWatch;

#[cfg(test)]
mod tests;
