//! The example configs in the README, the docs and `config`, against the simulator: each target is sent one request, as
//! by `tokenbeat check --probe`, and must give a complete answer.

use crate::docs::pages;
use crate::harness::{Simulator, quick};
use crate::process::{Ended, Process};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Placeholder hosts in the examples.
const HOSTS: [&str; 7] = [
    "https://llm.example.net",
    "https://gateway.example.net",
    "https://internal.example.net",
    "https://app.example.net",
    "http://prev-llama-predictor.models.example.com/openai",
    "http://latest-llama-predictor.models.example.com/openai",
    "http://127.0.0.1:8000",
];
/// The secrets of the examples in the environment; the simulator's application has this password.
const ENVIRONMENT: [(&str, &str); 8] = [
    ("DEMO_PASSWORD", "demo"),
    ("PROBE_PASSWORD", "demo"),
    ("LLM_API_KEY", "sesame-opens"),
    ("GATEWAY_KEY", "sesame-opens"),
    ("INTERNAL_PASSWORD", "sesame-opens"),
    ("TRACE_KEY", "sesame-opens"),
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "sesame-opens"),
];
/// Folder of secret files in the examples, which does not exist here.
const SECRETS: &str = "/run/secrets/";
/// Examples that the simulator cannot serve: certificates and a proxy, other servers, another application, cloud
/// credentials.
const ELSEWHERE: [&str; 4] =
    ["tls-mtls-proxy.yaml", "http-endpoint.yaml", "scenario.yaml", "credentials.yaml"];

fn config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

/// Every example and its name: those in the docs that have targets, and the files.
fn examples() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for page in pages() {
        let blocks = page.blocks("yaml").into_iter().enumerate();
        let whole = blocks.filter(|(_, text)| text.contains("targets:") && text.contains("profiles:"));
        // There is no cluster here.
        let whole = whole.filter(|(_, text)| !text.contains("discover: { kubernetes:"));
        all.extend(whole.map(|(n, text)| (format!("{}, example {}", page.name(), n + 1), text)));
    }
    let files = std::fs::read_dir(config().join("examples")).unwrap().map(|entry| entry.unwrap().path());
    let here = |path: &PathBuf| !ELSEWHERE.iter().any(|name| path.ends_with(name));
    let files = files.filter(|path| path.extension().is_some_and(|it| it == "yaml")).filter(here);
    for path in files.chain([config().join("tokenbeat.yaml")]) {
        all.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
    }
    all.sort();
    all
}

/// A folder with the example, and the files that it names.
fn folder(text: &str, simulator: &Simulator) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let server = format!("http://{}", simulator.address);
    let mut text = text.replace(SECRETS, "secret-");
    for host in HOSTS {
        text = text.replace(host, &server);
    }
    for name in ["people.csv", "prompts.txt", "questions.jsonl", "conversations.json", "answer.schema.json"] {
        std::fs::copy(config().join("examples").join(name), folder.path().join(name)).unwrap();
    }
    let replicas = format!("- targets: ['{}']\n", simulator.address);
    std::fs::write(folder.path().join("replicas.yaml"), replicas).unwrap();
    std::fs::create_dir(folder.path().join("traces")).unwrap();
    for trace in std::fs::read_dir(config().join("examples/traces")).unwrap() {
        let trace = trace.unwrap();
        std::fs::copy(trace.path(), folder.path().join("traces").join(trace.file_name())).unwrap();
    }
    for named in text.split("secret-").skip(1) {
        let name = named.split(|c: char| !(c.is_alphanumeric() || "-_.".contains(c))).next().unwrap();
        std::fs::write(folder.path().join(format!("secret-{name}")), "sesame-opens").unwrap();
    }
    std::fs::write(folder.path().join("tokenbeat.yaml"), text).unwrap();
    folder
}

async fn probed(folder: TempDir) -> Ended {
    let arguments = ["check", "--probe", "--show-answer", "--config.file", "tokenbeat.yaml"];
    Process::start(folder, &arguments, &ENVIRONMENT).ended().await
}

#[tokio::test]
async fn each_works_against_the_simulator() {
    let examples = examples();
    assert!(examples.len() >= 15, "only {}", examples.len());
    let models = examples.iter().flat_map(|(_, text)| text.split("model: ").skip(1));
    let models = models.map(|rest| rest.split([' ', ',', '\n', '}']).next().unwrap().to_owned());
    let simulator = Simulator::with(tokenbeat::sim::Options { models: models.collect(), ..quick() });
    let mut failed = Vec::new();
    for (name, text) in examples {
        let ended = probed(folder(&text, &simulator)).await;
        if ended.code != 0 {
            failed.push(format!("{name}: {ended:?}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[tokio::test]
async fn an_answer_that_is_looked_for_at_the_wrong_place_says_where_and_what_came() {
    let simulator = Simulator::start();
    let config = format!(
        "targets: {{ app: {{ api: http, base_url: 'http://{}' }} }}\n\
         profiles:\n  rag:\n    targets: [app]\n    schedule: {{ manual: {{}} }}\n    scenario:\n      \
         setup:\n        - {{ name: login, post: /api/auth/login, json: {{ email: a@example.net, password: demo }}, \
         take: {{ token: $.access_token }} }}\n      \
         steps:\n        - {{ name: query, post: /api/rag/query, headers: {{ Authorization: 'Bearer {{{{ token }}}}' }}, \
         json: {{ query: What?, stream: true }}, read: {{ as: sse, text: $.delta, done: {{ event: done }} }} }}\n",
        simulator.address
    );
    let ended = probed(crate::process::folder(&config)).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.out.contains("app, login: an answer without text"), "no token: {}", ended.out);
    assert!(ended.out.contains("looked at `$.delta` in "), "{}", ended.out);
    assert!(ended.out.contains("events; the last was {\"type\":\"delta\",\"text\":\""), "{}", ended.out);
    let found = config.replace("$.delta", "$.text");
    let ended = probed(crate::process::folder(&found)).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let shown = ended.out.lines().find_map(|line| line.strip_prefix("app, query: "));
    assert!(shown.is_some_and(|text| text.len() > 10), "{}", ended.out);
}
