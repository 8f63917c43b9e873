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
    let mut failures = Vec::new();
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
            failures.push(format!("{}:{line}: not said: #{sign} {said}", path.display()));
        }
        for (line, sign, said) in actual.difference(&expected) {
            failures.push(format!("{}:{line}: said: #{sign} {said}", path.display()));
        }
    }
    assert!(files >= 10, "only {files} fixtures were found");
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// A copy of `config` with the files that an operator would bring.
fn shipped() -> tempfile::TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let copy = tempfile::tempdir().unwrap();
    let tls = copy.path().join("examples/tls");
    std::fs::create_dir_all(&tls).unwrap();
    std::fs::copy(from.join("tokenbeat.yaml"), copy.path().join("tokenbeat.yaml")).unwrap();
    for entry in std::fs::read_dir(from.join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, copy.path().join("examples").join(path.file_name().unwrap())).unwrap();
        }
    }
    let certified = rcgen::generate_simple_self_signed(["llm.internal".to_owned()]).unwrap();
    for name in ["ca.pem", "client.pem"] {
        std::fs::write(tls.join(name), certified.cert.pem()).unwrap();
    }
    std::fs::write(tls.join("client.key"), certified.signing_key.serialize_pem()).unwrap();
    copy
}

#[test]
fn the_default_config_is_right_and_needs_nothing() {
    let path = shipped();
    let loaded =
        load(&[Source::Path(path.path().join("tokenbeat.yaml"))], []).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(loaded.warnings, []);
    let requests =
        crate::plan::forecast(&loaded.plan, jiff::Timestamp::UNIX_EPOCH).total.requests.value().unwrap();
    let budget = loaded.plan.agent.budget.and_then(|budget| budget.requests).unwrap();
    assert!(requests > 0.0 && requests < budget as f64, "{requests} requests a day");
}

#[test]
fn every_example_is_right() {
    let copy = shipped();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(copy.path().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let loaded = load(&[Source::Path(path.clone())], []).unwrap_or_else(|errors| panic!("{errors}"));
        assert!(!loaded.plan.pairs.is_empty(), "{} does nothing", path.display());
        for warning in &loaded.warnings {
            // Secrets are not there where the examples are checked; nothing else may look wrong.
            let secret = warning.message.ends_with("it is read again at each use");
            assert!(secret, "{warning}");
        }
        names.push(path.file_stem().unwrap().to_string_lossy().into_owned());
    }
    names.sort();
    let right = "auth budgets chat chat-streaming constant-rate gamma-bursts otlp poisson ramp schedules slos \
                 tls-mtls-proxy users warm-up";
    assert_eq!(names.join(" "), right);
}

#[test]
fn the_chat_of_the_examples_is_the_one_of_the_guide() {
    let copy = shipped();
    let loaded =
        load(&[Source::Path(copy.path().join("examples/chat.yaml"))], []).unwrap_or_else(|e| panic!("{e}"));
    let pair = &loaded.plan.pairs[0];
    let workload = pair.profile.work.prompts().unwrap();
    assert!(!workload.stream && workload.prompts.len() == 7 && workload.output_tokens == Some(180));
    assert_eq!(workload.params["temperature"], 0.3);
    assert!(workload.prompts.iter().any(|prompt| prompt.contains("lines,\nwhich")));
    assert_eq!(pair.target.headers[0].0, "x-tenant-id");
    assert!(matches!(pair.target.auth, crate::plan::Auth::Bearer(_)));
    let crate::plan::Shape::Users { think, .. } = &pair.profile.stages[1].shape else {
        panic!("users think")
    };
    assert_eq!((think.min.as_secs(), think.max.as_secs()), (1, 3));
}

#[test]
fn no_secret_is_in_a_plan_or_in_what_is_wrong_with_it() {
    const MARKER: &str = "hunter2";
    let copy = shipped();
    let whole = std::fs::read_to_string(folder().join("whole.yml")).unwrap().replace("SECRET", MARKER);
    let path = copy.path().join("examples/tls/whole.yaml");
    let wrong = load_text(&path, &whole).err().unwrap();
    assert!(wrong.to_string().contains("must not hold a user or password"), "{wrong}");
    assert!(!format!("{wrong} {wrong:?}").contains(MARKER), "{wrong}");
    let right = whole
        .replace("https://me:hunter2@llm.example.net/v1?key=hunter2", "https://llm.example.net/v1")
        .replace("http://me:hunter2@", "http://")
        .replace("cert.pem", "client.pem")
        .replace("key.pem", "client.key");
    for (name, text) in [("tokenizer.json", "x"), ("prompts.txt", "x"), ("schema.json", "{}")] {
        std::fs::write(path.with_file_name(name), text).unwrap();
    }
    let loaded = load_text(&path, &right).unwrap_or_else(|e| panic!("{e}"));
    assert!(right.matches(MARKER).count() >= 12);
    let shown = format!("{loaded:?} {:?} {}", loaded.plan, loaded.config.to_yaml());
    assert!(!shown.contains(MARKER), "{shown}");
    assert_eq!(loaded.plan.pairs.len(), 7);
}

fn load_text(path: &Path, text: &str) -> Result<crate::plan::Loaded, crate::config::Errors> {
    std::fs::write(path, text).unwrap();
    load(&[Source::Path(path.to_owned())], [])
}
