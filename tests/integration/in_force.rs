//! `/config` shows the config in force: layers, defaults and the command line combined, and the old config if a new one
//! could not be loaded or needs a restart.

use crate::http::{Reply, ask, get};
use crate::process::{Process, folder};
use std::net::SocketAddr;

const CONFIG: &str = "
agent: { id: probe-1, location: here }
server: { listen: '127.0.0.1:1' }
targets: { t: { api: openai-chat, base_url: 'http://127.0.0.1:9/v1', model: m } }
profiles: { p: { targets: [t], schedule: { manual: {} }, workload: { prompts: [x] } } }
";

async fn shown(address: SocketAddr) -> serde_json::Value {
    let reply = get(address, "/config").await;
    assert!(reply.head.contains("content-type: application/yaml"), "{}", reply.head);
    serde_saphyr::from_str(&reply.ok()).unwrap()
}

async fn reload(address: SocketAddr) -> Reply {
    ask(address, &format!("POST /-/reload HTTP/1.1\r\nhost: {address}\r\n")).await
}

#[tokio::test]
async fn the_config_that_is_shown_is_in_force() {
    let environment =
        [("TOKENBEAT__AGENT__LOCATION", "there"), ("TOKENBEAT__SERVER__PROBE__MIN_INTERVAL", "7s")];
    let arguments = ["serve", "--config.file", "tokenbeat.yaml", "--web.listen-address", "127.0.0.1:0"];
    let process = Process::start(folder(CONFIG), &arguments, &environment);
    let address: SocketAddr = process.says("listening address=").await.parse().unwrap();
    let first = shown(address).await;
    // The file, the environment, the command line and the defaults.
    assert_eq!(first["agent"]["id"], "probe-1");
    assert_eq!(first["agent"]["location"], "there");
    assert_eq!(first["server"]["probe"]["min_interval"], "7s");
    assert_eq!(first["server"]["listen"], "127.0.0.1:0");
    assert_eq!(first["targets"]["t"]["timeouts"]["first_token"], "30s");
    let file = process.folder().join("tokenbeat.yaml");
    // A config that cannot be loaded does not change what is shown.
    for (from, to) in [("prompts: [x]", "prompts: []"), ("id: probe-1", "id: probe-2"), ("{ t: {", "{ t: {{")]
    {
        std::fs::write(&file, CONFIG.replace(from, to)).unwrap();
        assert_eq!(reload(address).await.status, 500, "{to}");
        assert_eq!(shown(address).await, first, "{to}");
    }
    // A valid one is shown, except for changes that need a restart.
    let next = CONFIG
        .replace("prompts: [x]", "prompts: [y]")
        .replace("location: here", "location: here, state: other.db, history: { retention: 1d }")
        .replace("'127.0.0.1:1'", "'127.0.0.1:2', allowed_hosts: [probe.example.net]")
        + "telemetry: { otlp: { endpoint: 'http://127.0.0.1:9' } }\n";
    std::fs::write(&file, next).unwrap();
    let reloaded = reload(address).await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.body);
    let last = shown(address).await;
    let mut right = first.clone();
    right["profiles"]["p"]["workload"]["prompts"][0] = "y".into();
    right["server"]["allowed_hosts"] = vec!["probe.example.net"].into();
    assert_eq!(last, right);
    process.signal("TERM").await;
    assert_eq!(process.ended().await.code, 0);
}
