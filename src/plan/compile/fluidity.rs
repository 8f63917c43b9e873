//! When tokens are due for a reader.

use super::{Findings, slo};
use crate::config::{self, KeyPath};
use crate::plan::Fluidity;

/// Compiles the deadlines of tokens. Errors are added to the findings.
pub(super) fn compile(
    profile: &config::Profile,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<Fluidity> {
    let written = profile.fluidity.as_ref()?;
    for (key, time) in [("first", written.first), ("next", written.next)] {
        if time.0.is_zero() {
            findings.error(&path.key(key), "must be more than 0s");
        }
    }
    if let Some(why) = slo::no_stream(profile) {
        findings.error(path, format!("tokens have deadlines in streamed answers only, and {why}"));
    }
    Some(Fluidity { first: written.first.0, next: written.next.0 })
}
