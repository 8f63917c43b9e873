//! Names of profiles, targets, stages and objectives, which become label values, parts of URLs and arguments; and names
//! of labels.

use super::Findings;
use crate::catalogue::Key;
use crate::config::KeyPath;
use std::collections::BTreeMap;

/// Maximum length of a name in characters.
const LONGEST: usize = 63;

/// Labels set by Prometheus, its federation and OTLP receivers, those that our rules and alerts set, and a label reserved
/// for agents; and the labels of a scrape in Kubernetes, which our rules leave out so that a restarted pod continues its
/// series: agents that differ only in one of these would be taken for one. The labels that tokenbeat sets itself are in the
/// catalogue.
const RESERVED: [&str; 23] = [
    "agent",
    "alertname",
    "alertstate",
    "baseline",
    "container",
    "endpoint",
    "exported_instance",
    "exported_job",
    "instance",
    "job",
    "le",
    "location",
    "long",
    "node",
    "otel_scope_name",
    "otel_scope_version",
    "pod",
    "quantile",
    "quantity",
    "service_instance_id",
    "severity",
    "short",
    "window",
];

/// Checks that a name can be typed, put into a URL, and read in a legend.
pub(super) fn check(name: &str, path: &KeyPath, findings: &mut Findings) {
    if name.is_empty() {
        findings.error(path, "the name must not be empty");
        return;
    }
    let alphanumeric = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if !plain || !alphanumeric(name.chars().next()) || !alphanumeric(name.chars().next_back()) {
        findings.error(
            path,
            "the name may hold letters, digits, `-`, `_` and `.`, and begins and ends with a letter or digit",
        );
    } else if name.len() > LONGEST {
        findings.error(path, format!("the name must not be longer than {LONGEST} characters"));
    }
}

/// Checks the labels for every series.
pub(super) fn check_labels(labels: &BTreeMap<String, String>, path: &KeyPath, findings: &mut Findings) {
    for name in labels.keys() {
        let path = path.key(name);
        let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        if !first || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            findings
                .error(&path, "is not a label name: letters, digits and underscores, and no digit in front");
        } else if name.starts_with("__") {
            findings.error(&path, "is not a label name: two underscores in front are Prometheus' own");
        } else if RESERVED.contains(&name.as_str()) || Key::ALL.iter().any(|key| key.name() == name) {
            findings.error(&path, "is a label that tokenbeat or Prometheus sets; choose another name");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise agents that differ in such a label only would be one to the rules, and one would hide what the other says.
    #[test]
    fn no_label_that_the_rules_leave_out_can_be_one_of_the_agent() {
        let mut left_out = 0;
        for rules in ["alerts", "journeys", "recording", "slo"] {
            let path = format!("{}/dashboards/prometheus/{rules}.yaml", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(path).unwrap();
            let clauses = text.split("without (").skip(1).map(|rest| rest.split_once(')').unwrap().0);
            for clause in clauses.filter(|clause| clause.contains("instance")) {
                for name in clause.split(',').map(str::trim) {
                    let is_ours = Key::ALL.iter().any(|key| key.name() == name);
                    assert!(is_ours || RESERVED.contains(&name), "{name} in {rules}");
                    left_out += 1;
                }
            }
        }
        assert!(left_out > 100);
    }

    #[test]
    fn no_label_of_the_catalogue_can_be_one_of_the_agent() {
        for name in Key::ALL.iter().map(|key| key.name()).chain(RESERVED) {
            let labels = BTreeMap::from([(name.to_owned(), "x".to_owned())]);
            let mut findings = Findings::default();
            check_labels(&labels, &KeyPath::of(["agent", "labels"]), &mut findings);
            let found: Vec<String> = findings.errors.iter().map(|error| error.path.to_string()).collect();
            assert_eq!(found, [KeyPath::of(["agent", "labels", name]).to_string()]);
        }
    }
}
