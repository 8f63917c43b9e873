//! Finds out whether the providers changed the models of targets, out of the answers to the prompts of fingerprints.

mod known;
mod watch;

pub use known::ModelView;
pub use watch::ModelChanges;

#[cfg(test)]
mod tests;
