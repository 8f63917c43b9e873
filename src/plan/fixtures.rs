//! Checks the invalid configs of `tests/config`. Each rule has a line that breaks it, and the line contains the
//! expected message: `#!` starts an error and `#?` a warning. Messages about the whole config are expected on the first
//! line.

use super::load;
use crate::config::{ConfigSource, Located, Position};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Line, sign and message.
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

/// The messages about a file. As for an operator, warnings are not shown if the config has errors.
fn actual(path: &Path) -> BTreeSet<Finding> {
    match load(&[ConfigSource::Path(path.to_owned())], []) {
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

/// Copies the files of a folder, including its subfolders.
fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}

/// A copy of `config`, with the files that an operator would provide.
fn shipped() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config"), copy.path());
    let tls = copy.path().join("examples/tls");
    std::fs::create_dir_all(&tls).unwrap();
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
        load(&[ConfigSource::Path(path.path().join("tokenbeat.yaml"))], []).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(loaded.warnings, []);
    let requests = crate::plan::forecast(&loaded.plan, jiff::Timestamp::UNIX_EPOCH, &|_, _| None)
        .total
        .takes
        .most
        .requests;
    let requests = requests.value().unwrap();
    let budget = loaded.plan.agent.budget.and_then(|budget| budget.requests).unwrap();
    assert!(requests > 0.0 && requests < budget as f64, "{requests} requests a day");
}

/// The names of the configs in a folder, after checking that all of them are valid.
fn right_configs(folder: &Path) -> String {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let loaded =
            load(&[ConfigSource::Path(path.clone())], []).unwrap_or_else(|errors| panic!("{errors}"));
        assert!(!loaded.plan.pairs.is_empty(), "{} does nothing", path.display());
        for warning in &loaded.warnings {
            // The secrets of the examples do not exist here; there must be no other warning.
            let secret = warning.message.ends_with("it is read again at each use");
            // Proxies are reached over plain http only, so an example of one with a password has this warning.
            let proxy = warning.message.ends_with("the credentials for the proxy go out in the clear");
            assert!(secret || proxy, "{warning}");
        }
        names.push(path.file_stem().unwrap().to_string_lossy().into_owned());
    }
    names.sort();
    names.join(" ")
}

#[test]
fn every_example_is_right() {
    let copy = shipped();
    let right = "anthropic auth azure baseline bedrock budgets cache-pair capacity chat chat-streaming checks clients compare constant-rate conversations credentials dataset \
                 day-and-night discovery \
                 fingerprint fluidity gamma-bursts gemini \
                 http-endpoint ollama openai-completions openai-embeddings openai-responses otlp poisson prompt-ladder ramp \
                 reasoning recording regressions rerank retries scenario schedules shapes slos structured-output synthetic target-state tgi tls-mtls-proxy tools traces users \
                 warm-up webhook";
    assert_eq!(right_configs(&copy.path().join("examples")), right);
    assert!(!right_configs(&copy.path().join("examples/guide")).is_empty());
}

#[test]
fn the_chat_of_the_examples_is_the_one_of_the_guide() {
    let copy = shipped();
    let loaded = load(&[ConfigSource::Path(copy.path().join("examples/chat.yaml"))], [])
        .unwrap_or_else(|e| panic!("{e}"));
    let pair = &loaded.plan.pairs[0];
    let crate::plan::StepAction::Ask(ask) = &pair.profile.scenario.steps[0].action else {
        panic!("a model call")
    };
    let crate::plan::AskText::Fixed { prompts, .. } = &ask.text else { panic!("fixed prompts") };
    assert!(!ask.stream && prompts.len() == 7 && ask.output_tokens == Some(180));
    assert_eq!(ask.params["temperature"], 0.3);
    assert!(prompts.iter().any(|prompt| prompt.contains("lines,\nwhich")));
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
    for (name, text) in [
        ("tokenizer.json", "x"),
        ("prompts.txt", "x"),
        ("chats.jsonl", "{\"prompt\": \"x\"}"),
        ("schema.json", "{}"),
        ("lengths.csv", "5"),
        ("pairs.csv", "5,5"),
        ("trace.csv", "Timestamp,Model,Request tokens,Response tokens\n0,GPT-4,5,5\n9,GPT-4,5,5"),
    ] {
        std::fs::write(path.with_file_name(name), text).unwrap();
    }
    let loaded = load_text(&path, &right).unwrap_or_else(|e| panic!("{e}"));
    assert!(right.matches(MARKER).count() >= 12);
    let shown = format!("{loaded:?} {:?} {}", loaded.plan, loaded.config.to_yaml());
    assert!(!shown.contains(MARKER), "{shown}");
    assert_eq!(loaded.plan.pairs.len(), 18);
}

fn load_text(path: &Path, text: &str) -> Result<crate::plan::LoadedPlan, crate::config::Errors> {
    std::fs::write(path, text).unwrap();
    load(&[ConfigSource::Path(path.to_owned())], [])
}
