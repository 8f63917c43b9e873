//! The arrows of the architecture: who may import whom. Tests inside a module may use anything.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module and what it may import. `app`, `cli` and `main` see everything.
const ALLOWED: &[(&str, &[&str])] = &[
    ("event", &[]),
    ("catalogue", &[]),
    ("files", &[]),
    ("secret", &["files"]),
    ("build", &[]),
    ("redactor", &["secret"]),
    ("seed", &[]),
    ("vocabulary", &[]),
    ("cpu_pool", &[]),
    ("tls", &["files"]),
    ("log_throttle", &[]),
    ("framing", &[]),
    ("exchange", &[]),
    ("json_size", &[]),
    ("limits", &[]),
    ("template", &["limits", "seed"]),
    ("config", &["files", "limits", "secret", "vocabulary"]),
    (
        "plan",
        &[
            "catalogue",
            "config",
            "event",
            "files",
            "limits",
            "secret",
            "seed",
            "template",
            "tls",
            "vocabulary",
        ],
    ),
    ("fact", &["event", "plan", "tally"]),
    ("tally", &["event"]),
    ("schedule", &["plan", "event", "seed"]),
    ("pacing", &["plan", "event", "seed"]),
    ("slo", &["plan", "event"]),
    ("forecast", &["plan", "event", "schedule", "pacing"]),
    ("checks", &["json_size", "plan", "event"]),
    ("scenario", &["checks", "plan", "event", "exchange", "secret", "seed", "template"]),
    ("workload", &["plan", "event", "exchange", "seed"]),
    ("credentials", &["plan", "files", "redactor", "secret", "tls"]),
    (
        "client",
        &[
            "json_size",
            "cpu_pool",
            "credentials",
            "plan",
            "event",
            "files",
            "redactor",
            "secret",
            "framing",
            "exchange",
            "tls",
        ],
    ),
    (
        "engine",
        &[
            "log_throttle",
            "cpu_pool",
            "plan",
            "event",
            "fact",
            "secret",
            "framing",
            "exchange",
            "seed",
            "schedule",
            "pacing",
            "slo",
            "tally",
            "workload",
            "checks",
            "scenario",
            "template",
            "client",
        ],
    ),
    ("telemetry", &["build", "catalogue", "event", "fact", "plan", "redactor", "slo", "tls"]),
    ("state", &["event", "fact", "plan", "tally", "vocabulary"]),
    ("report", &["event", "fact", "plan", "state", "tally"]),
    (
        "server",
        &[
            "cpu_pool",
            "log_throttle",
            "telemetry",
            "state",
            "report",
            "event",
            "files",
            "plan",
            "tally",
            "tls",
        ],
    ),
    ("sim", &["framing"]),
];

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The top-level module that a file belongs to.
fn module(path: &Path, root: &Path) -> String {
    let first = path.strip_prefix(root).unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// What a file imports of ours, its tests left out.
fn imports(text: &str) -> BTreeSet<String> {
    let code: String = text
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut found = BTreeSet::new();
    for piece in code.split("crate::").skip(1) {
        if let Some(group) = piece.strip_prefix('{') {
            // `use crate::{a::X, b}`: the first segment of each item at depth one.
            let mut depth = 0;
            let mut item = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        found.insert(first_segment(&item));
                        item.clear();
                    }
                    _ if depth == 0 => item.push(c),
                    _ => {}
                }
            }
            found.insert(first_segment(&item));
        } else {
            found.insert(first_segment(piece));
        }
    }
    found.remove("");
    found
}

fn first_segment(path: &str) -> String {
    path.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn arrows_point_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 20, "the sources were not found");
    let mut wrong = Vec::new();
    for file in files {
        let own = module(&file, &root);
        let names = ["tests.rs", "testing.rs", "fuzz.rs"];
        let for_tests = file.file_name().is_some_and(|name| names.iter().any(|test| name == *test))
            || file.components().any(|part| part.as_os_str() == "tests");
        if for_tests || ["app", "cli", "main", "lib", "testing"].contains(&own.as_str()) {
            continue;
        }
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == own) else {
            wrong.push(format!("{}: no rule for the module `{own}`", file.display()));
            continue;
        };
        for import in imports(&fs::read_to_string(&file).unwrap()) {
            if import != own && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{}: `{own}` must not import `{import}`", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_imports_sees_every_form() {
    let text = "use crate::event::Pair;\nuse crate::{plan::{A, B}, slo};\nfn f() { crate::state::g() }\n\
                // crate::comment\n#[cfg(test)]\nmod tests { use crate::sim::Sim; }";
    let found: Vec<_> = imports(text).into_iter().collect();
    assert_eq!(found, ["event", "plan", "slo", "state"]);
}

/// The libraries that the owner of the project named; each does real work on a main path.
const NAMED: [&str; 9] = [
    "tokio",
    "reqwest",
    "opentelemetry",
    "opentelemetry_sdk",
    "opentelemetry-otlp",
    "prometheus",
    "tracing",
    "serde",
    "figment",
];

#[test]
fn the_named_libraries_stay_and_are_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest: toml::Table = fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    let dependencies = manifest["dependencies"].as_table().unwrap();
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    let is_test = |file: &PathBuf| file.components().any(|part| part.as_os_str() == "tests");
    files.retain(|file| !is_test(file) && !file.ends_with("tests.rs"));
    let code: Vec<_> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    for name in NAMED {
        assert!(dependencies.contains_key(name), "{name} has left the dependencies");
        let path = format!("{}::", name.replace('-', "_"));
        let uses =
            |text: &String| text.lines().any(|it| !it.trim_start().starts_with("//") && it.contains(&path));
        assert!(code.iter().any(uses), "nothing in src uses {name}");
    }
}

#[test]
fn no_file_is_called_mod() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.iter().all(|file| file.file_name().unwrap() != "mod.rs"));
}
