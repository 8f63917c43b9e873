//! Paths, patterns and schemas: what looks into answers, compiled, and within limits.

use super::Findings;
use crate::config::{KeyPath, LARGEST};
use jsonschema::ReferencingError;
use jsonschema::error::ValidationErrorKind;
use regex::{Regex, RegexBuilder};
use serde_json::Value;
use serde_json_path::JsonPath;
use std::io::ErrorKind;
use std::path::Path;

/// Most memory of a compiled pattern, in bytes: one that is larger is a mistake.
const LARGEST_PATTERN: usize = 1 << 20;

/// A JSONPath.
pub(super) fn json_path(text: &str, path: &KeyPath, findings: &mut Findings) -> Option<JsonPath> {
    if !text.starts_with('$') {
        findings.error(path, "is not a JSONPath: it begins with `$`, as in `$.answer`");
        return None;
    }
    JsonPath::parse(text).map_err(|error| findings.error(path, format!("is not a JSONPath: {error}"))).ok()
}

/// A regular expression.
pub(super) fn regex(text: &str, path: &KeyPath, findings: &mut Findings) -> Option<Regex> {
    RegexBuilder::new(text)
        .size_limit(LARGEST_PATTERN)
        .build()
        .map_err(|error| {
            let said = match error {
                regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
                // The message is a picture of the pattern, and what is wrong stands in its last line.
                other => {
                    let picture = other.to_string();
                    let last = picture.lines().last().unwrap_or_default();
                    last.trim_start_matches("error: ").to_owned()
                }
            };
            findings.error(path, format!("is not a regular expression: {said}"));
        })
        .ok()
}

/// A JSON Schema. Nothing is fetched for it: a reference that leads out of it is an error.
pub(super) fn schema(
    schema: &Value,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<jsonschema::Validator> {
    // Built without the features that fetch: a reference leads nowhere.
    jsonschema::options()
        .build(schema)
        .map_err(|error| {
            if let ValidationErrorKind::Referencing(ReferencingError::Unretrievable { uri, .. }) =
                error.kind()
            {
                let message = format!("refers to {uri}, and nothing is fetched: put it under `$defs`");
                return findings.error(path, message);
            }
            let at = error.instance_path().to_string();
            let place = if at.is_empty() { String::new() } else { format!(" (at {at})") };
            findings.error(path, format!("is not a JSON Schema{place}: {}", one_line(&error.to_string())));
        })
        .ok()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text of a file of at most `most` bytes.
pub(super) fn text_file(file: &Path, most: u64, findings: &mut Findings) -> Result<String, String> {
    let shown = file.display();
    let too_large = || format!("{shown} is larger than {} MiB", most.min(LARGEST) >> 20);
    let text = findings.files.read_text(file).map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => too_large(),
        _ => format!("{shown} cannot be read: {error}"),
    })?;
    if text.len() as u64 > most { Err(too_large()) } else { Ok(text) }
}
