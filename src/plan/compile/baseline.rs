//! Which changes against a saved result matter.

use super::{Findings, slo};
use crate::config::{self, KeyPath};
use crate::plan::{BaselineThresholds, Quantity};

/// Compiles the thresholds of a profile. Errors are added to the findings.
pub(super) fn compile(
    profile: &config::Profile,
    path: &KeyPath,
    findings: &mut Findings,
) -> BaselineThresholds {
    let default = config::BaselineThresholds::default();
    let written = profile.baseline.as_ref();
    if written.is_some() && profile.search.is_some() {
        findings.error(
            path,
            "does not go with `search`: its requests have many different loads, so two searches are not compared",
        );
    }
    let it = written.unwrap_or(&default);
    for (key, set) in [("time_to_first_token", it.time_to_first_token), ("chunk_gap", it.chunk_gap)] {
        if set.is_some()
            && let Some(why) = slo::no_stream(profile)
        {
            findings.error(&path.key(key), format!("is known for streamed answers only, and {why}"));
        }
    }
    BaselineThresholds::new(|quantity| {
        let own = match quantity {
            Quantity::TimeToFirstToken => it.time_to_first_token,
            Quantity::OutputPace => it.output_pace,
            Quantity::ChunkGap => it.chunk_gap,
            Quantity::RequestDuration => it.request_duration,
            Quantity::Failures => Some(it.failures),
        };
        own.unwrap_or(it.min_change).0
    })
}
