//! Compares what rules, dashboards and documentation say about outcomes that do not judge a target with the program's
//! own rule.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use tokenbeat::event::Outcome;

/// The labels of the outcomes that do not judge the target.
fn own() -> BTreeSet<&'static str> {
    Outcome::all().filter(|outcome| !outcome.judges_target()).map(Outcome::label).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Every text file below a folder with one of these endings.
fn files(folder: &Path, endings: &[&str], into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, endings, into);
        } else if path.extension().is_some_and(|it| endings.iter().any(|ending| it == *ending)) {
            into.push(path);
        }
    }
}

/// The alternatives of every selector `outcome!~"a
/// b"` in a text, also with escaped quotes.
fn left_out(text: &str) -> impl Iterator<Item = BTreeSet<&str>> {
    text.split("outcome!~").skip(1).filter_map(|after| {
        let value = after.trim_start_matches(['\\', '"', '\'']);
        let end = value.find(|c: char| c != '|' && c != '_' && !c.is_ascii_alphanumeric())?;
        Some(value[..end].split('|').collect())
    })
}

#[test]
fn what_leaves_out_outcomes_leaves_out_those_that_are_ours() {
    let mut paths = vec![root().join("README.md")];
    for folder in ["docs", "dashboards", "helm"] {
        files(&root().join(folder), &["md", "yaml", "json"], &mut paths);
    }
    let (mut selectors, mut wrong) = (0, Vec::new());
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        for mut labels in left_out(&text) {
            selectors += 1;
            labels.remove("ok");
            if labels != own() {
                wrong.push(format!("{}: {labels:?}", path.display()));
            }
        }
    }
    assert!(selectors > 30, "{selectors}");
    assert!(wrong.is_empty(), "in place of {:?}:\n{}", own(), wrong.join("\n"));
}

#[test]
fn the_dashboards_know_every_outcome() {
    let names = fs::read_to_string(root().join("dashboards/generator/names.py")).unwrap();
    let (_, outcomes) = names.split_once("OUTCOMES = (").unwrap();
    let (outcomes, rest) = outcomes.split_once(").split()").unwrap();
    let listed: BTreeSet<&str> = outcomes.split([' ', '"', '\n']).filter(|word| !word.is_empty()).collect();
    assert_eq!(listed, Outcome::all().map(Outcome::label).collect());
    let ours = rest.split('"').nth(1).unwrap();
    assert_eq!(ours.split('|').collect::<BTreeSet<_>>(), own());
}

#[test]
fn the_documentation_names_those_that_are_ours() {
    let text = fs::read_to_string(root().join("docs/measurement.md")).unwrap();
    let (_, rule) = text.split_once("say nothing about the target: ").unwrap();
    let (rule, _) = rule.split_once('.').unwrap();
    let named: BTreeSet<&str> = rule.split('`').skip(1).step_by(2).collect();
    assert_eq!(named, own());
    // Each outcome is explained.
    for outcome in Outcome::all() {
        assert!(text.contains(&format!("`{}`", outcome.label())), "{}", outcome.label());
    }
}
