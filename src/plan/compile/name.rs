//! Names of profiles, targets, stages and objectives, which become label values, parts of URLs and arguments; and names
//! of labels.

use super::Findings;
use crate::catalogue::Key;
use crate::config::KeyPath;
use std::collections::BTreeMap;

/// Maximum length of a name in characters.
const LONGEST: usize = 63;

/// Labels set by Prometheus, its federation and OTLP receivers, and a label reserved for agents. The labels
/// that tokenbeat sets itself are in the catalogue.
const RESERVED: [&str; 12] = [
    "agent",
    "exported_instance",
    "exported_job",
    "instance",
    "job",
    "le",
    "location",
    "otel_scope_name",
    "otel_scope_version",
    "quantile",
    "quantity",
    "service_instance_id",
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
