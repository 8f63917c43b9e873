//! The dependency rules of the architecture: which module may import which. Tests inside a module may use anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each module and what it may import. `app`, `cli` and `main` see everything.
const ALLOWED: &[(&str, &[&str])] = &[
    ("event", &[]),
    ("catalogue", &["vocabulary"]),
    ("assets", &[]),
    ("files", &[]),
    ("secret", &["files"]),
    ("build", &[]),
    ("redactor", &["secret", "vocabulary"]),
    ("receive_time", &[]),
    ("seed", &[]),
    ("shard", &[]),
    ("vocabulary", &[]),
    ("words", &[]),
    ("cpu_pool", &["thread_priority"]),
    ("thread_priority", &[]),
    ("tls", &["files"]),
    ("log_throttle", &[]),
    ("framing", &[]),
    ("exchange", &[]),
    ("answer_json", &[]),
    ("error_chain", &[]),
    ("json_size", &[]),
    ("limits", &[]),
    ("template", &["limits", "seed"]),
    ("config", &["files", "limits", "secret", "vocabulary"]),
    (
        "plan",
        &[
            "catalogue",
            "config",
            "dataset",
            "event",
            "files",
            "limits",
            "secret",
            "seed",
            "shard",
            "template",
            "tls",
            "trace",
            "vocabulary",
        ],
    ),
    ("fact", &["detect", "event", "plan", "tally", "vocabulary"]),
    ("detect", &[]),
    ("tally", &["detect", "event", "vocabulary"]),
    ("schedule", &["plan", "event", "seed"]),
    ("pacing", &["limits", "plan", "event", "seed"]),
    ("slo", &["plan", "event"]),
    ("fluidity", &["plan", "event"]),
    ("capacity", &["detect", "plan", "event", "vocabulary"]),
    ("forecast", &["plan", "event", "schedule", "pacing"]),
    ("checks", &["answer_json", "json_size", "plan", "event", "exchange"]),
    ("scenario", &["checks", "plan", "event", "exchange", "secret", "seed", "template", "words", "workload"]),
    ("dataset", &["exchange", "files", "vocabulary"]),
    ("trace", &["dataset", "exchange", "files", "vocabulary"]),
    ("workload", &["dataset", "plan", "event", "exchange", "seed", "vocabulary", "words"]),
    ("unmeasured", &["error_chain", "tls"]),
    ("credentials", &["plan", "files", "redactor", "secret", "unmeasured"]),
    ("identify", &["config", "event", "secret", "unmeasured", "vocabulary"]),
    (
        "client",
        &[
            "answer_json",
            "json_size",
            "cpu_pool",
            "credentials",
            "plan",
            "event",
            "files",
            "receive_time",
            "redactor",
            "secret",
            "framing",
            "exchange",
            "tls",
            "words",
        ],
    ),
    (
        "engine",
        &[
            "capacity",
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
            "fluidity",
            "tally",
            "workload",
            "checks",
            "scenario",
            "template",
            "client",
        ],
    ),
    (
        "telemetry",
        &[
            "build",
            "catalogue",
            "error_chain",
            "event",
            "fact",
            "plan",
            "redactor",
            "secret",
            "slo",
            "tls",
            "unmeasured",
            "vocabulary",
        ],
    ),
    ("state", &["detect", "event", "fact", "plan", "tally", "vocabulary"]),
    ("report", &["assets", "detect", "event", "fact", "plan", "state", "tally", "vocabulary"]),
    (
        "server",
        &[
            "assets",
            "comparison",
            "cpu_pool",
            "log_throttle",
            "telemetry",
            "state",
            "report",
            "event",
            "files",
            "model_changes",
            "plan",
            "tally",
            "target_state",
            "tls",
            "vocabulary",
        ],
    ),
    ("target_state", &["event", "fact", "plan"]),
    ("comparison", &["detect", "event", "fact", "plan", "tally", "vocabulary"]),
    ("model_changes", &["detect", "event", "fact", "plan"]),
    ("regression", &["detect", "event", "fact", "plan", "state", "tally", "vocabulary"]),
    ("siblings", &["detect", "event", "fact", "plan"]),
    ("discover", &["event", "files", "log_throttle", "plan", "secret", "unmeasured"]),
    ("backend", &["event", "fact", "plan", "tally", "unmeasured"]),
    ("sim", &["framing", "receive_time"]),
    ("top", &["report", "tls", "unmeasured", "vocabulary"]),
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

/// The modules of the crate that a file imports, excluding its tests.
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

/// The libraries that the owner of the project requires; each has a real use on a main path.
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

/// Types that exist twice on purpose: once as written in the config, once as compiled in the plan.
const CONFIG_AND_PLAN: [&str; 24] = [
    "Agent",
    "Auth",
    "Aws",
    "BaselineThresholds",
    "Budget",
    "CapacitySearch",
    "Expect",
    "Fluidity",
    "Gcp",
    "OAuth2",
    "Otlp",
    "Profile",
    "Proxy",
    "Retry",
    "Scenario",
    "Schedule",
    "Server",
    "Stage",
    "Step",
    "Target",
    "Telemetry",
    "Traces",
    "Webhook",
    "Window",
];

/// Names that do not say what the type is, even if only one type has them.
const VAGUE: [&str; 17] = [
    "About", "Asked", "Deaf", "Entry", "Form", "Held", "Inner", "Kept", "Read", "Said", "Seen", "Shared",
    "Shown", "Slot", "State", "Wanted", "Written",
];

/// A vague name, the file that may declare it, and the reason.
const VAGUE_ALLOWED: [(&str, &str, &str); 1] =
    [("Read", "config/scenario.rs", "the type of the key `read`, which the schema names")];

/// The types declared in a file, excluding tests and associated types of traits.
fn declared(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut found = Vec::new();
    for line in code.lines() {
        let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub")).peekable();
        // Of `pub(in a::b) struct`, the second word ends the visibility.
        if line.trim_start().starts_with("pub(in ") {
            words.next();
        }
        let Some(kind) = words.next() else { continue };
        let at_top = !line.starts_with(' ');
        if ["struct", "enum", "trait", "union"].contains(&kind) || kind == "type" && at_top {
            let name = first_segment(words.next().unwrap_or_default());
            if name.starts_with(|c: char| c.is_ascii_uppercase()) {
                found.push(name);
            }
        }
    }
    found
}

/// Where each type of the crate is declared: files relative to `src`, excluding test code and the wire structs of
/// dialects, which are private to their file and use the terms of the wire format.
fn types() -> BTreeMap<String, Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    files.sort();
    let mut all = BTreeMap::<String, Vec<String>>::new();
    for file in files {
        let path = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let for_tests = path.split('/').any(|part| ["tests", "tests.rs", "fuzz.rs"].contains(&part));
        let of_the_wire = path.starts_with("client/") && path.ends_with("/wire.rs");
        if !for_tests && !of_the_wire {
            for name in declared(&fs::read_to_string(&file).unwrap()) {
                all.entry(name).or_default().push(path.clone());
            }
        }
    }
    all
}

/// The problem of a name declared in these files.
fn ambiguous(name: &str, files: &[String]) -> bool {
    // A module's `Error` is qualified by its module: `tls::Error`.
    if name == "Error" {
        return false;
    }
    // The simulator is a separate program: it may share a name with the rest, but not use one twice.
    let in_sim = |file: &&String| file.starts_with("sim/") || *file == "sim.rs";
    let (sim, rest): (Vec<_>, Vec<_>) = files.iter().partition(in_sim);
    let parts: BTreeSet<_> = rest.iter().map(|file| file.split(['/', '.']).next().unwrap()).collect();
    let is_twin = rest.len() == 2 && parts == BTreeSet::from(["config", "plan"]);
    sim.len() > 1 || rest.len() > 1 && !(is_twin && CONFIG_AND_PLAN.contains(&name))
}

#[test]
fn a_type_name_has_one_meaning() {
    let all = types();
    assert!(all.len() > 500, "the types were not found");
    let mut wrong = Vec::new();
    for (name, files) in &all {
        if ambiguous(name, files) {
            wrong.push(format!("{name} is declared in {}", files.join(" and ")));
        }
        let allowed = |file: &String| VAGUE_ALLOWED.iter().any(|(it, at, _)| it == name && at == file);
        if VAGUE.contains(&name.as_str()) {
            let vague = files.iter().filter(|file| !allowed(file));
            wrong.extend(vague.map(|file| format!("{name} in {file} does not say what it is")));
        }
    }
    for name in CONFIG_AND_PLAN {
        if all.get(name).is_none_or(|files| files.len() < 2) {
            wrong.push(format!("{name} is not declared twice any more: take it off the list"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_types_sees_every_form() {
    let text = "pub struct A;\npub(super) enum B<T> {}\nfn f() {\n    struct C;\n}\ntype D = A;\ntrait E {\n    \
                type F;\n}\npub(in crate::a) struct G {}\n// struct H;\n#[cfg(test)]\nmod tests {\n    struct I;\n}";
    assert_eq!(declared(text), ["A", "B", "C", "D", "E", "G"]);
    let files = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    for (name, at, wrong) in [
        ("Error", &["a.rs", "b.rs"][..], false),
        ("Pool", &["a.rs"], false),
        ("Pool", &["a.rs", "b.rs"], true),
        ("Pool", &["sim/a.rs", "b.rs"], false),
        ("Pool", &["sim/a.rs", "sim.rs"], true),
        ("Pool", &["config/a.rs", "plan.rs"], true),
        ("Stage", &["config/a.rs", "plan/b.rs"], false),
        ("Stage", &["config/a.rs", "config/b.rs"], true),
        ("Stage", &["config/a.rs", "plan/b.rs", "c.rs"], true),
    ] {
        assert_eq!(ambiguous(name, &files(at)), wrong, "{name} in {at:?}");
    }
}
