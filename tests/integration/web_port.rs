//! The web port with idle connections: scrapes are served, and traffic keeps its file descriptors.

use crate::harness::{ONCE, Simulator, one, until};
use crate::http::{get, try_get};
use crate::process::{Process, folder};
use crate::scrape::Scrape;
use std::net::SocketAddr;
use std::process::Stdio;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_neither_stop_scrapes_nor_traffic_nor_the_end() {
    let simulator = Simulator::start();
    let profile = format!(
        "schedule: {ONCE}, load: [{{ requests: 60, users: 6 }}], workload: {{ prompts: [hello], output_tokens: 8 }}"
    );
    let config = one(", connection: cold", &profile).replace("{SIM}", &simulator.address.to_string());
    // A lower limit than needed, until the process raises it.
    let script = "ulimit -n 160 && ulimit -S -n 40 && exec \"$0\" serve --config.file tokenbeat.yaml";
    let arguments = ["-c", script, env!("CARGO_BIN_EXE_tokenbeat")];
    let process = Process::start_program("/bin/sh", Stdio::null(), folder(&config), &arguments, &[]);
    assert_eq!(process.says("open_files=").await, "160");
    assert_eq!(process.says("web_connections=").await, "20");
    let address: SocketAddr = process.says("listening address=").await.parse().unwrap();
    let mut silent = Vec::new();
    for n in 0..600 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if n % 2 == 0 {
            // It may already be closed.
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: loc").await;
        }
        silent.push(stream);
    }
    for _ in 0..10 {
        assert_eq!(get(address, "/metrics").await.status, 200);
    }
    let all = async || {
        let scrape = Scrape::read(&try_get(address, "/metrics", "*/*").await.unwrap().ok());
        (scrape.metric("tokenbeat_requests_total").sum() >= 60.0).then_some(scrape)
    };
    let scrape = until("all requests to end", all).await;
    assert_eq!(scrape.metric("tokenbeat_requests_total").nonzero("outcome"), [("ok", 60.0)]);
    process.signal("TERM").await;
    let ended = process.ended().await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(ended.err.matches("too many connections to the web port").count(), 1, "{}", ended.err);
    drop(silent);
}
