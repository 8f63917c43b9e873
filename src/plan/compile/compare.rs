//! Compiles the comparison of two targets.

use super::Findings;
use crate::config::{self, KeyPath};
use crate::plan::{Scenario, TargetComparison};
use crate::vocabulary::Quantity;
use std::collections::BTreeSet;

/// Compiles a comparison; `None` if it is not valid. Whether its targets exist is checked with those of other profiles.
pub(super) fn compile(
    profile: &config::Profile,
    written: &config::Compare,
    scenario: &Scenario,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<TargetComparison> {
    let before = findings.errors.len();
    companions(profile, path, findings);
    if written.window.0.is_zero() {
        findings.error(&path.key("window"), "must be more than 0s");
    }
    let streams = scenario.all().any(|step| step.streams());
    let quantities = quantities(written, streams, path, findings);
    (findings.errors.len() == before).then(|| TargetComparison {
        control: written.control.as_str().into(),
        treatment: written.treatment.as_str().into(),
        min_change: written.min_change.0,
        min_failure_change: written.min_failure_change.0,
        error: 1.0 - written.confidence.0,
        window: written.window.0,
        quantities,
    })
}

/// Rejects what a comparison does not go with.
fn companions(profile: &config::Profile, path: &KeyPath, findings: &mut Findings) {
    if !profile.targets.is_empty() {
        findings.error(path, "takes the place of `targets`: a profile has one of them");
    }
    if profile.search.is_some() {
        findings
            .error(path, "does not go with `search`, which overloads its target: compare at a fixed `load`");
    }
    if profile.schedule.after_idle.is_some() {
        let message = "does not go with `schedule: after_idle`: the two targets are not idle at the same time; use `every`";
        findings.error(path, message);
    }
}

fn quantities(
    written: &config::Compare,
    streams: bool,
    path: &KeyPath,
    findings: &mut Findings,
) -> Vec<Quantity> {
    let path = path.key("quantities");
    if written.quantities.is_empty() {
        return if streams {
            vec![Quantity::TimeToFirstToken, Quantity::OutputPace, Quantity::Failures]
        } else {
            vec![Quantity::RequestDuration, Quantity::Failures]
        };
    }
    let mut seen = BTreeSet::new();
    for (index, quantity) in written.quantities.iter().enumerate() {
        let name = quantity.name();
        if !seen.insert(quantity) {
            findings.error(&path.index(index), format!("`{name}` is named twice"));
        } else if !streams && matches!(quantity, Quantity::TimeToFirstToken | Quantity::ChunkGap) {
            let message = format!("no answer of this profile is streamed, so none has a `{name}`");
            findings.error(&path.index(index), message);
        }
    }
    written.quantities.clone()
}
