//! Plays the wrong configs of `tests/config`: each rule has a line that breaks it, and the line says what the
//! operator must be told. `#!` begins an error and `#?` a warning that is expected on that line; what is about
//! the whole config stands on the first.

use super::load;
use crate::config::{Located, Position, Source};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Line, sign, and what is said.
type Finding = (usize, char, String);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

fn expected(text: &str) -> BTreeSet<Finding> {
    let mut found = BTreeSet::new();
    for (index, line) in text.lines().enumerate() {
        let mut rest = line;
        while let Some(at) = rest.find("#!").into_iter().chain(rest.find("#?")).min() {
            let sign = rest[at + 1..].chars().next().unwrap();
            rest = &rest[at + 2..];
            let end = rest.find("#!").into_iter().chain(rest.find("#?")).min().unwrap_or(rest.len());
            found.insert((index + 1, sign, rest[..end].trim().to_owned()));
        }
    }
    found
}

fn finding(sign: char, located: &Located) -> Finding {
    let line = match &located.position {
        Position::File { line, .. } => *line,
        _ => 1,
    };
    let path = located.path.to_string();
    let said = if path.is_empty() { located.message.clone() } else { format!("{path}: {}", located.message) };
    (line, sign, said.replace(&format!("{}/", folder().display()), ""))
}

/// What a file is told. Warnings of a config that has errors are not shown, as for an operator.
fn actual(path: &Path) -> BTreeSet<Finding> {
    match load(&[Source::Path(path.to_owned())], []) {
        Ok(loaded) => loaded.warnings.iter().map(|warning| finding('?', warning)).collect(),
        Err(errors) => errors.iter().map(|error| finding('!', error)).collect(),
    }
}

#[test]
fn every_wrong_config_is_told_what_is_wrong_and_where() {
    let mut files = 0;
    let mut failures = String::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if !path.extension().is_some_and(|extension| extension == "yaml" || extension == "toml") {
            continue;
        }
        files += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let (expected, actual) = (expected(&text), actual(&path));
        assert!(!expected.is_empty(), "{} expects nothing", path.display());
        for (line, sign, said) in expected.difference(&actual) {
            failures += &format!("{}:{line}: not said: #{sign} {said}\n", path.display());
        }
        for (line, sign, said) in actual.difference(&expected) {
            failures += &format!("{}:{line}: said: #{sign} {said}\n", path.display());
        }
    }
    assert!(files >= 10, "only {files} fixtures were found");
    assert!(failures.is_empty(), "\n{failures}");
}
