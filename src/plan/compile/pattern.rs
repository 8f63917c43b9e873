//! Compiles paths, patterns and templates within limits, and reads text files.

use super::{Findings, json_path};
use crate::config::KeyPath;
use crate::files::LARGEST;
use crate::limits;
use crate::template::{Template, Templates};
use regex::{Regex, RegexBuilder};
use serde_json_path::JsonPath;
use std::io::ErrorKind;
use std::path::Path;

/// Units of a pattern that is not small: it may take proportionally more memory, and longer to compile.
const LARGE_PATTERN_UNITS: u64 = (limits::PATTERN_MEMORY / limits::SMALL_PATTERN_MEMORY) as u64;

/// Compiles a JSONPath.
pub(super) fn json_path(text: &str, path: &KeyPath, findings: &mut Findings) -> Option<JsonPath> {
    if !findings.spend(1, path) {
        return None;
    }
    json_path::parse(text).map_err(|message| findings.error(path, message)).ok()
}

/// Compiles a template, whose names are not checked.
pub(super) fn template(
    text: &str,
    templates: &mut Templates,
    path: &KeyPath,
    findings: &mut Findings,
) -> Option<Template> {
    if !findings.spend(1 + text.len() as u64 / 1024, path) {
        return None;
    }
    let added = templates.add(text);
    added.map_err(|invalid| findings.error(path, format!("is not a template: {invalid}"))).ok()
}

/// Compiles a regular expression.
pub(super) fn regex(text: &str, path: &KeyPath, findings: &mut Findings) -> Option<Regex> {
    // What a pattern costs is known only after compiling it, so nothing is compiled if no units are left.
    if !findings.spend(1, path) {
        return None;
    }
    let units = units(text).map_err(|message| findings.error(path, message)).ok()?;
    if !findings.spend(units.saturating_sub(1), path) {
        return None;
    }
    RegexBuilder::new(text)
        .size_limit(limits::PATTERN_MEMORY)
        .build()
        .map_err(|error| {
            let said = match error {
                regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
                // The message contains a drawing of the pattern; its last line says what is wrong.
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

/// Unicode classes, which expand to hundreds of ranges.
const CLASSES: [&str; 6] = ["\\p", "\\P", "\\w", "\\W", "\\b", "\\B"];

/// Units of a Unicode class.
const CLASS_UNITS: u64 = 4;

/// How much more a case-insensitive pattern costs: each range is looked up in a table.
const IGNORING_CASE: u64 = 4;

/// The units of work to compile a pattern; an error if it is too long.
pub(super) fn units(text: &str) -> Result<u64, String> {
    if text.len() > limits::PATTERN_BYTES {
        let most = limits::PATTERN_BYTES;
        return Err(format!("is longer than {most} bytes, the limit of a regular expression"));
    }
    let classes = CLASSES.iter().map(|class| text.matches(class).count() as u64).sum::<u64>();
    let case = if text.contains("(?") && text.contains('i') { IGNORING_CASE } else { 1 };
    let units = (1 + classes * CLASS_UNITS) * case;
    // More than the whole allowance, so it is not even tried.
    if units > limits::COMPILE_UNITS {
        return Ok(units);
    }
    let small = RegexBuilder::new(text).size_limit(limits::SMALL_PATTERN_MEMORY).build();
    let large = matches!(small, Err(regex::Error::CompiledTooBig(_)));
    Ok(units + if large { LARGE_PATTERN_UNITS } else { 0 })
}

/// Reads a text file of at most `most` bytes.
pub(super) fn text_file(file: &Path, most: u64, findings: &mut Findings) -> Result<String, String> {
    let shown = file.display();
    let too_large = || format!("{shown} is larger than {} MiB", most.min(LARGEST) >> 20);
    let text = findings.files.read_text(file).map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => too_large(),
        _ => format!("{shown} cannot be read: {error}"),
    })?;
    if text.len() as u64 > most {
        return Err(too_large());
    }
    findings.hold(text.len() as u64, 0, &shown)?;
    // Editors and spreadsheets may write a byte order mark first. It means nothing, but would become part of a text.
    match text.strip_prefix('\u{feff}') {
        Some(rest) => Ok(rest.to_owned()),
        None => Ok(text),
    }
}
