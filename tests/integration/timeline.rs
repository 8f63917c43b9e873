//! The timeline of a real process with a state file: over a kill, a stop, and reloads.

use crate::harness::{Simulator, until};
use crate::http::{ask, get};
use crate::process::{self, Process};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;

fn config(simulator: &Simulator, state: &Path) -> String {
    format!(
        "agent: {{ id: test, state: '{}' }}\nserver: {{ listen: 127.0.0.1:0 }}\n\
         targets:\n  t: {{ api: openai-chat, base_url: 'http://{}/v1', model: m, \
         health: {{ failing_after: 3, recovered_after: 2 }} }}\n\
         profiles:\n  p:\n    targets: [t]\n    schedule: {{ continuous: {{}} }}\n    \
         workload: {{ prompts: [Say hi], output_tokens: 2 }}\n    load: [{{ rate: 20/s, for: 1s }}]\n",
        state.display(),
        simulator.address,
    )
}

async fn start(config: &str) -> (Process, SocketAddr) {
    let process = Process::start(process::folder(config), &["serve", "--config.file", "tokenbeat.yaml"], &[]);
    let address = process.says("listening address=").await.parse().unwrap();
    (process, address)
}

async fn events(address: SocketAddr, query: &str) -> Vec<Value> {
    let answer = get(address, &format!("/api/v1/timeline?{query}")).await.json();
    answer["events"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn incidents_runs_reloads_and_restarts_are_kept_over_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let simulator = Simulator::start();
    let config = config(&simulator, &dir.path().join("state.db"));
    let (mut process, address) = start(&config).await;
    until("a run to end", async || {
        events(address, "kind=run")
            .await
            .iter()
            .any(|run| run["state"] == "ok" && !run["end"].is_null())
            .then_some(())
    })
    .await;
    simulator.inject("error_500");
    let failing =
        until("the target to fail", async || events(address, "kind=target_state").await.pop()).await;
    assert_eq!((&failing["state"], &failing["end"]), (&"failing".into(), &Value::Null), "{failing}");

    let reload =
        async || ask(address, &format!("POST /-/reload HTTP/1.1\r\nhost: {address}\r\n")).await.status;
    let file = process.folder().join("tokenbeat.yaml");
    std::fs::write(&file, "profiles: nothing").unwrap();
    assert_ne!(reload().await, 200);
    let failed = events(address, "kind=reload").await.pop().unwrap();
    assert_eq!((&failed["state"], &failed["end"]), (&"failed".into(), &Value::Null));
    assert!(failed["detail"].as_str().unwrap().contains("profiles"), "{failed}");
    std::fs::write(&file, &config).unwrap();
    assert_eq!(reload().await, 200);
    let reloads = events(address, "kind=reload").await;
    assert_eq!((reloads.len(), &reloads[1]["state"]), (2, &"ok".into()), "{reloads:?}");
    assert_eq!(reloads[0]["end"], reloads[1]["start"], "it was in trouble until then");

    process.signal("KILL").await;
    until("its end", async || (!process.is_running()).then_some(())).await;
    simulator.handle.clear_faults();
    let (process, address) = start(&config).await;
    let kept = events(address, "profile=p&target=t&kind=target_state").await.remove(0);
    assert_eq!((&kept["start"], &kept["title"]), (&failing["start"], &failing["title"]));
    let restart = events(address, "kind=restart").await.pop().unwrap();
    assert_eq!(restart["title"], "tokenbeat did not run");
    assert!(restart["detail"].as_str().unwrap().contains("without being stopped"), "{restart}");
    assert!(kept["detail"].as_str().unwrap().ends_with("is not known"), "{kept}");
    assert!(kept["end"].as_str() <= restart["end"].as_str(), "{kept} {restart}");
    assert_eq!(events(address, "kind=reload").await, reloads);
    let runs = events(address, "kind=run&profile=p").await;
    let is_kept = |run: &Value| run["state"] == "ok" && run["end"].as_str() < restart["start"].as_str();
    assert!(runs.iter().any(is_kept), "{runs:?} {restart}");
    process.signal("TERM").await;
    assert_eq!(process.ended().await.code, 0);

    let (process, address) = start(&config).await;
    let restarts = events(address, "kind=restart").await;
    assert_eq!((restarts.len(), &restarts[0]["title"]), (3, &"tokenbeat was started".into()), "{restarts:?}");
    assert_eq!(restarts[2]["detail"], "it was stopped and started again");
    assert!(restarts[2]["start"].as_str() > restarts[1]["end"].as_str(), "{restarts:?}");
    process.signal("TERM").await;
    assert_eq!(process.ended().await.code, 0);
}
