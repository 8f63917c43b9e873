//! A program of the guide as in its file, and the same with addresses, secrets and times for a test.

use crate::harness::{Running, Simulator, quick};
use crate::scrape::{Query, Scrape};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tokenbeat::sim;

/// File and profile of each program; the third has two profiles.
pub(crate) const BASELINE: (&str, &str) = ("1-baseline-chat.yaml", "baseline-chat");
pub(crate) const SESSION: (&str, &str) = ("2-chat-session.yaml", "chat-session");
pub(crate) const RAG: (&str, &str) = ("3-rag-query.yaml", "rag-query");
pub(crate) const RAG_STREAMED: (&str, &str) = ("3-rag-query.yaml", "rag-streamed");
pub(crate) const STREAMING: (&str, &str) = ("4-streaming.yaml", "streaming");
pub(crate) const ALL: [(&str, &str); 5] = [BASELINE, SESSION, RAG, RAG_STREAMED, STREAMING];

/// In the tests, a second of the files takes this many milliseconds.
const SECOND: u64 = 20;

/// One profile of a file.
pub(crate) struct Program {
    pub(crate) profile: &'static str,
    config: Value,
}

/// The scraped metrics of one profile.
pub(crate) struct Seen<'a> {
    pub(crate) scrape: &'a Scrape,
    pub(crate) profile: &'static str,
}

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/guide")
}

/// A simulator with the model used in the files.
pub(crate) fn simulator() -> Simulator {
    Simulator::with(options())
}

pub(crate) fn options() -> sim::Options {
    let retrieval_time = std::time::Duration::from_millis(20);
    sim::Options { models: vec!["sim-8b".to_owned()], retrieval_time, ..quick() }
}

impl Program {
    /// The program as written in its file.
    pub(crate) fn as_written((file, profile): (&str, &'static str)) -> Self {
        let text = std::fs::read_to_string(folder().join(file)).unwrap();
        let config: Value = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(config["profiles"][profile].is_object(), "{file} has no {profile}");
        Self { profile, config }
    }

    /// The program with a single immediate run against the simulator, with the secrets that it needs.
    pub(crate) fn of(which: (&str, &'static str)) -> Self {
        let mut program = Self::as_written(which);
        let profile = program.profile;
        let profiles = program.config["profiles"].as_object_mut().unwrap();
        profiles.retain(|name, _| name == profile);
        program.profile_mut()["schedule"] = json!({"every": "8760h", "at_start": true});
        program.config["agent"]["id"] = json!("test");
        program.config["server"] = json!({"listen": "127.0.0.1:0"});
        for_a_test(&mut program.config);
        program
    }

    /// The profile.
    pub(crate) fn profile(&self) -> &Value {
        &self.config["profiles"][self.profile]
    }

    pub(crate) fn profile_mut(&mut self) -> &mut Value {
        &mut self.config["profiles"][self.profile]
    }

    /// The only target.
    pub(crate) fn target(&self) -> &Value {
        self.config["targets"].as_object().unwrap().values().next().unwrap()
    }

    pub(crate) fn target_mut(&mut self) -> &mut Value {
        self.config["targets"].as_object_mut().unwrap().values_mut().next().unwrap()
    }

    /// Replaces its load.
    pub(crate) fn load(mut self, load: Value) -> Self {
        self.profile_mut()["load"] = load;
        self
    }

    /// Speeds up its load.
    pub(crate) fn hurried(mut self) -> Self {
        for stage in self.profile_mut()["load"].as_array_mut().unwrap() {
            for key in ["warm_up", "for", "think", "spawn"] {
                if let Some(length) = stage.get_mut(key) {
                    *length = json!(hurried(length.as_str().unwrap()));
                }
            }
        }
        self
    }

    /// The program as YAML (JSON is valid YAML); `{SIM}` stands for the simulator's address.
    pub(crate) fn yaml(&self) -> String {
        serde_json::to_string_pretty(&self.config).unwrap()
    }

    /// Plays it to the end of its run.
    pub(crate) async fn play(&self, simulator: &Simulator) -> Scrape {
        let daemon = Running::start(&self.yaml(), simulator).await;
        daemon.scrape_until("the end of the run", |it| it.metric("tokenbeat_runs_total").sum() >= 1.0).await;
        daemon.drain().await
    }
}

impl<'a> Seen<'a> {
    pub(crate) fn metric(&self, name: &'a str) -> Query<'a> {
        self.scrape.metric(name).label("profile", self.profile)
    }

    /// The values of a label with a non-zero sum over the other labels, in order.
    pub(crate) fn by(&self, name: &'a str, label: &str) -> Vec<(&'a str, f64)> {
        let mut sums: Vec<(&str, f64)> = Vec::new();
        for (value, number) in self.metric(name).nonzero(label) {
            match sums.iter_mut().find(|(known, _)| *known == value) {
                Some((_, sum)) => *sum += number,
                None => sums.push((value, number)),
            }
        }
        sums.sort_by(|a, b| a.0.cmp(b.0));
        sums
    }

    pub(crate) fn tokens(&self, kind: &'a str) -> f64 {
        self.metric("tokenbeat_tokens_total").label("type", kind).label("source", "usage").sum()
    }
}

/// Replaces addresses, environment secrets and files, wherever they are.
fn for_a_test(value: &mut Value) {
    match value {
        Value::Object(map) => {
            match map.get("env").and_then(Value::as_str) {
                Some("LLM_API_KEY") => *map = [("value".to_owned(), json!("any-key"))].into_iter().collect(),
                Some("DEMO_PASSWORD") => *map = [("value".to_owned(), json!("demo"))].into_iter().collect(),
                _ => {}
            }
            if let Some(file) = map.get_mut("file") {
                *file = json!(folder().join(file.as_str().unwrap()));
            }
            map.values_mut().for_each(for_a_test);
        }
        Value::Array(items) => items.iter_mut().for_each(for_a_test),
        Value::String(text) => *text = text.replace("http://127.0.0.1:8000", "http://{SIM}"),
        _ => {}
    }
}

/// Scales `1s..3s` or `3m` to the speed of a test.
fn hurried(length: &str) -> String {
    let one = |text: &str| {
        let (number, unit) = text.split_at(text.len() - 1);
        let seconds = number.parse::<u64>().unwrap() * if unit == "m" { 60 } else { 1 };
        format!("{}ms", seconds * SECOND)
    };
    length.split("..").map(one).collect::<Vec<_>>().join("..")
}
