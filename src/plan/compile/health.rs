//! Compiles what makes a target slow, failing, hung, and ok again.

use super::Findings;
use crate::config::{BrokenParts, Config, KeyPath, Length, nearest};
use crate::vocabulary::{SloMetric, TargetHealth};

/// Compiles the rules of one target.
pub(super) fn compile(
    written: &TargetHealth<Length>,
    path: &KeyPath,
    findings: &mut Findings,
) -> TargetHealth {
    if written.unknown_after.is_some_and(|time| time.0.is_zero()) {
        findings.error(&path.key("unknown_after"), "must be more than 0s");
    }
    TargetHealth {
        failing_after: written.failing_after,
        recovered_after: written.recovered_after,
        slow: written.slow.clone(),
        unknown_after: written.unknown_after.map(|time| time.0),
    }
}

/// Warns of a target that states objectives which no profile has.
pub(super) fn check_stated(config: &Config, broken: &BrokenParts, findings: &mut Findings) {
    if broken.unread || !broken.profiles.is_empty() {
        return;
    }
    for (name, target) in config.targets.iter().filter(|(_, target)| !target.slo_headers.is_none()) {
        let users = config.profiles.values().filter(|profile| profile.target_names().any(|it| it == name));
        let mut objectives = users.flat_map(|profile| &profile.slo);
        let stated = |metric: SloMetric| target.slo_headers.names().iter().any(|(_, it)| *it == metric);
        if !objectives.any(|slo| stated(slo.metric)) {
            let metrics: Vec<_> =
                target.slo_headers.names().iter().map(|(_, it)| format!("`{}`", it.name())).collect();
            findings.warn(
                &KeyPath::of(["targets", name, "slo_headers"]),
                format!(
                    "does nothing: no profile that uses this target has an objective on {}",
                    metrics.join(" or ")
                ),
            );
        }
    }
}

/// Checks that the objective of each target is one of a profile that uses it. A broken profile may have it.
pub(super) fn check_all(config: &Config, broken: &BrokenParts, findings: &mut Findings) {
    if broken.unread || !broken.profiles.is_empty() {
        return;
    }
    for (name, target) in &config.targets {
        let Some(slow) = &target.health.slow else { continue };
        // A search says nothing about the state, availability is no matter of being slow, and the state follows from
        // requests, not from journeys.
        let users = config.profiles.values();
        let users =
            users.filter(|profile| profile.search.is_none() && profile.target_names().any(|it| it == name));
        let objectives: Vec<&str> = users
            .flat_map(|profile| &profile.slo)
            .filter(|slo| !slo.metric.is_availability() && !slo.metric.is_of_journeys())
            .map(|slo| slo.name.as_str())
            .collect();
        if !objectives.contains(&slow.as_str()) {
            let hint = nearest(slow, objectives.into_iter())
                .map(|near| format!("; did you mean `{near}`?"))
                .unwrap_or_default();
            let path = KeyPath::of(["targets", name, "health", "slow"]);
            findings.error(
                &path,
                format!("no profile that uses this target has an objective `{slow}` on latency{hint}"),
            );
        }
    }
}
