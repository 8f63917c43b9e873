//! The state of each target, out of the requests that were sent to it: `ok`, `slow`, `failing`, `hung` or `unknown`.

mod machine;
mod rules;
mod watch;

pub use watch::{TargetStateView, TargetStates};

#[cfg(test)]
mod tests;
