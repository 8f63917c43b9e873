//! The files as an operator uses them: `tokenbeat check` without changes, `tokenbeat run` with the address of a server.

use super::program::{ALL, Program, folder, options, simulator};
use crate::harness::Simulator;
use crate::process::{Ended, Process};
use serde_json::json;

const SECRETS: [(&str, &str); 2] = [("LLM_API_KEY", "any-key"), ("DEMO_PASSWORD", "demo")];

/// A folder with a program and the files that it names.
fn with_files(text: &str) -> tempfile::TempDir {
    let into = crate::process::folder(text);
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, into.path().join(path.file_name().unwrap())).unwrap();
    }
    into
}

async fn tokenbeat(folder: tempfile::TempDir, arguments: &[&str]) -> Ended {
    Process::start(folder, arguments, &SECRETS).ended().await
}

#[tokio::test]
async fn check_finds_nothing_wrong_with_any_of_them() {
    for file in ["1-baseline-chat.yaml", "2-chat-session.yaml", "3-rag-query.yaml", "4-streaming.yaml"] {
        let ended = tokenbeat(with_files(""), &["check", "--config.file", file]).await;
        assert_eq!(ended.code, 0, "{file}: {ended:?}");
        assert_eq!(ended.err, "", "{file}");
        assert!(ended.out.contains("Budget of profile/"), "{file}: {}", ended.out);
    }
}

/// Runs the program against a server, as from a shell.
async fn run(which: (&str, &'static str), simulator: &Simulator) -> Ended {
    let program = Program::of(which).load(json!([{"name": "short", "users": 2, "requests": 6}]));
    let text = program.yaml().replace("{SIM}", &simulator.address.to_string());
    tokenbeat(with_files(&text), &["run", which.1, "--details", "--config.file", "tokenbeat.yaml"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_each_meets_its_objectives() {
    for which in ALL {
        let ended = run(which, &simulator()).await;
        assert_eq!(ended.code, 0, "{}: {ended:?}", which.1);
        assert!(ended.out.contains("availability") && ended.out.contains("met"), "{}", ended.out);
        assert!(!ended.out.contains("missed"), "{}", ended.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_misses_an_objective_is_a_failure_of_the_gate() {
    for (which, fault) in ALL.into_iter().zip([
        "no-choices",
        "short-answer",
        "no-citations",
        "truncated;path=/api/rag",
        "reset_mid;after=2",
    ]) {
        let simulator = Simulator::with(options());
        simulator.inject(fault);
        let ended = run(which, &simulator).await;
        assert_eq!(ended.code, 2, "{}: {ended:?}", which.1);
        assert!(ended.out.contains("missed"), "{}", ended.out);
    }
}
