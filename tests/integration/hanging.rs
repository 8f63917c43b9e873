//! Files that hang or are not regular: nothing else waits for them, and the process ends when it is told to.

use crate::harness::{Simulator, until};
use crate::http::get;
use crate::process::{Process, bare, folder, run};
use crate::scrape::Scrape;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::time::Instant;

fn make_pipe(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Two targets, the second with a key from this file, and a profile for each.
fn config(server: SocketAddr, key: &str) -> String {
    let target = format!("api: openai-chat, base_url: 'http://{server}/v1', model: m");
    let profile = "schedule: { every: 8760h, at_start: true }, load: [{ for: 8760h, rate: 20/s }], \
                   workload: { prompts: [x], output_tokens: 2 }";
    format!(
        "server: {{ listen: 127.0.0.1:0 }}\n\
         targets:\n  \
           good: {{ {target} }}\n  \
           keyed: {{ {target}, auth: {{ bearer: {{ file: {key} }} }} }}\n\
         profiles:\n  \
           good: {{ targets: [good], {profile} }}\n  \
           keyed: {{ targets: [keyed], {profile} }}\n"
    )
}

async fn requests(address: SocketAddr, profile: &str, outcome: &str) -> f64 {
    let scrape = Scrape::read(&get(address, "/metrics").await.ok());
    scrape.metric("tokenbeat_requests_total").label("profile", profile).label("outcome", outcome).sum()
}

/// Waits until this many more requests of a profile have ended with this outcome.
async fn more(address: SocketAddr, profile: &str, outcome: &str) {
    let before = requests(address, profile, outcome).await;
    let more = async || (requests(address, profile, outcome).await >= before + 5.0).then_some(());
    until(&format!("more {outcome} of {profile}"), more).await;
}

/// Everything except the target with the key continues, and the process ends within its grace period.
async fn nobody_else_waits(process: Process, address: SocketAddr) {
    more(address, "keyed", "credentials").await;
    more(address, "good", "ok").await;
    assert_eq!(get(address, "/-/healthy").await.ok(), "healthy\n");
    assert_eq!(requests(address, "good", "credentials").await, 0.0);
    process.signal("TERM").await;
    let told = Instant::now();
    let ended = process.ended().await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(told.elapsed() < GRACE, "it took {:?}: {}", told.elapsed(), ended.err);
    assert!(ended.err.contains("drained") && !ended.err.contains("hangs"), "{}", ended.err);
}

const GRACE: Duration = Duration::from_secs(30);
const SERVE: [&str; 3] = ["serve", "--config.file", "tokenbeat.yaml"];

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_becomes_a_pipe_stops_its_target_alone() {
    let simulator = Simulator::start();
    let folder = folder(&config(simulator.address, "key"));
    let key = folder.path().join("key");
    std::fs::write(&key, "hunter2\n").unwrap();
    let process = Process::start(folder, &SERVE, &[]);
    let address = process.says("listening address=").await.parse().unwrap();
    more(address, "keyed", "ok").await;
    std::fs::remove_file(&key).unwrap();
    make_pipe(&key);
    more(address, "keyed", "credentials").await;
    let failed = get(address, "/api/v1/requests?failed=true").await.ok();
    assert!(failed.contains("key: it is a named pipe, not a regular file"), "{failed}");
    // It recovers with the file.
    std::fs::remove_file(&key).unwrap();
    std::fs::write(&key, "hunter2\n").unwrap();
    let before = requests(address, "keyed", "ok").await;
    let again = async || (requests(address, "keyed", "ok").await > before).then_some(());
    until("the secret to be read again", again).await;
    std::fs::remove_file(&key).unwrap();
    make_pipe(&key);
    nobody_else_waits(process, address).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_never_answers_stops_its_target_alone() {
    let simulator = Simulator::start();
    // A pipe that was passed to the process is read, but this one never has data, so the thread that reads it hangs.
    let (reader, writer) = std::io::pipe().unwrap();
    let folder = folder(&config(simulator.address, "/dev/stdin"));
    let process = Process::start_with(Stdio::from(reader), folder, &SERVE);
    let address = process.says("listening address=").await.parse().unwrap();
    let more = async || {
        let failed = get(address, "/api/v1/requests?failed=true").await.ok();
        failed.contains("it did not answer").then_some(())
    };
    until("the reason", more).await;
    nobody_else_waits(process, address).await;
    drop(writer);
}

/// A port whose connections are accepted by the system, and never answered.
fn silent() -> std::net::TcpListener {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap()
}

/// A config whose server does not tell its metrics, and whose receiver of OTLP and of incidents does not answer.
fn surrounded_by_silence(server: SocketAddr, silent: SocketAddr) -> String {
    format!(
        "server: {{ listen: 127.0.0.1:0 }}\n\
         telemetry:\n  \
           otlp: {{ endpoint: 'http://{silent}', protocol: http, interval: 1s }}\n  \
           webhook: {{ url: 'http://{silent}/incidents' }}\n\
         targets:\n  \
           good: {{ api: openai-chat, base_url: 'http://{server}/v1', model: m, backend: {{ metrics: 'http://{silent}/metrics' }} }}\n\
         profiles:\n  \
           good: {{ targets: [good], schedule: {{ every: 8760h, at_start: true }}, load: [{{ for: 8760h, rate: 20/s }}], \
                   workload: {{ prompts: [x], output_tokens: 2 }} }}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_answer_at_the_end_is_waited_for_within_the_time_to_stop() {
    let (simulator, silent) = (Simulator::start(), silent());
    let config = surrounded_by_silence(simulator.address, silent.local_addr().unwrap());
    for signals in [1, 2] {
        let process = Process::start(folder(&config), &SERVE, &[]);
        let address = process.says("listening address=").await.parse().unwrap();
        more(address, "good", "ok").await;
        process.signal("TERM").await;
        let told = Instant::now();
        if signals == 2 {
            process.says("asked to stop").await;
            process.signal("TERM").await;
        }
        let ended = process.ended().await;
        assert_eq!(ended.code, 0, "{signals}: {}", ended.err);
        assert!(ended.err.contains("drained") && !ended.err.contains("hangs"), "{signals}: {}", ended.err);
        // An exchange with the server, and a flush, may take 5 seconds each.
        assert!(
            signals == 1 || told.elapsed() < Duration::from_secs(5),
            "{:?}: {}",
            told.elapsed(),
            ended.err
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_is_no_file_is_an_error_and_no_hang() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.yaml");
    make_pipe(&pipe);
    for (path, kind) in [(pipe.as_path(), "a named pipe"), (Path::new("/dev/zero"), "a device")] {
        let shown = path.display().to_string();
        for command in ["check", "serve", "run"] {
            let ended = bare(&[command, "--config.file", &shown]).await;
            let said = format!("{shown}: cannot be read: it is {kind}, not a regular file");
            assert_eq!(ended.code, 64, "{ended:?}");
            assert!(ended.err.contains(&said), "{}", ended.err);
        }
    }
    // The files that it names are read in the same way.
    let config = format!("server: {{ web_config: {} }}", pipe.display());
    let ended = run(&config, &["check"]).await;
    assert_eq!(ended.code, 64, "{ended:?}");
    assert!(ended.err.contains("server.web_config: cannot read "), "{}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_comes_through_a_pipe_that_is_passed_to_it() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let process = Process::start_with(
        Stdio::from(reader),
        tempfile::tempdir().unwrap(),
        &["check", "--config.file", "/dev/stdin"],
    );
    std::io::Write::write_all(&mut writer, b"agent: { location: here, x: 1 }\n").unwrap();
    drop(writer);
    let ended = process.ended().await;
    assert_eq!(ended.code, 64, "{ended:?}");
    assert!(ended.err.contains("/dev/stdin:1:26: agent.x: is not a key here"), "{}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_says_nothing_is_an_error() {
    for nothing in ["", "\n\n", "# profiles: {}\n---\n"] {
        for command in ["check", "serve", "run"] {
            let ended = run(nothing, &[command]).await;
            assert_eq!(ended.code, 64, "{ended:?}");
            assert!(ended.err.contains("tokenbeat.yaml: is empty"), "{}", ended.err);
        }
    }
    assert_eq!(run("{}", &["check"]).await.code, 0);
}
