//! State that outlives the process: a state file with real processes that are killed, stopped and refused.

use crate::harness::{Simulator, noon_zone, quick, until};
use crate::http::get;
use crate::process::{self, Process};
use crate::scrape::Scrape;
use rusqlite::Connection;
use std::path::Path;
use std::process::Stdio;
use tokenbeat::sim::Truth;
use tokio::process::Command;

const USERS: usize = 8;

/// One profile with this many users without pauses, and with a budget of cost, tokens and requests that it never
/// reaches.
fn config(simulator: &Simulator, state: &Path) -> String {
    format!(
        "agent:\n  id: test\n  state: '{}'\n  budget: {{ timezone: {}, requests: 1000000, tokens: 1000000000, cost: 100000 }}\n\
         server: {{ listen: 127.0.0.1:0 }}\n\
         targets:\n  t:\n    api: openai-chat\n    base_url: 'http://{}/v1'\n    model: m\n    \
         price: {{ input: 1, output: 2 }}\n\
         profiles:\n  p:\n    targets: [t]\n    schedule: {{ continuous: {{}} }}\n    \
         workload: {{ prompts: [Say hi], output_tokens: 8 }}\n    load: [{{ users: {USERS}, for: 1h }}]\n",
        state.display(),
        noon_zone(),
        simulator.address,
    )
}

/// Requests and tokens of the agent's budget, as recorded in the file.
fn spent(state: &Path) -> (u64, u64) {
    let db = Connection::open(state).unwrap();
    let number = |column: &str| -> u64 {
        let select = format!("SELECT {column} FROM budgets WHERE scope = 'agent'");
        let digits: String = db.query_row(&select, [], |row| row.get(0)).unwrap();
        digits.parse().unwrap()
    };
    (number("requests"), number("tokens"))
}

fn tokens(truth: &Truth) -> u64 {
    u64::try_from(truth.input_tokens + truth.output_tokens).unwrap()
}

/// The requests that have reached the simulator from this number on, once no more arrive: requests of a killed process
/// may still be in a socket.
async fn arrived(simulator: &Simulator, from: usize) -> Vec<Truth> {
    let (mut last, mut same) = (0, 0);
    until("nothing more to come", async || {
        let all = simulator.truth().split_off(from);
        same = if all.len() == last { same + 1 } else { 0 };
        last = all.len();
        (same == 5).then_some(all)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_kills_forget_no_more_than_what_was_in_flight() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state.db");
    let options = tokenbeat::sim::Options { truth_capacity: 100_000, ..quick() };
    let simulator = Simulator::with(options);
    let (mut requests, mut seen) = (0, 0);
    let mut known_tokens = 0;
    for kill in 0..100 {
        let folder = process::folder(&config(&simulator, &state));
        let mut child = Process::start(folder, &["serve", "--config.file", "tokenbeat.yaml"], &[]);
        // At a different moment each time.
        let wanted = seen + 1 + (kill * 7) % 23;
        until("requests", async || (simulator.handle.truth().len() >= wanted).then_some(())).await;
        child.signal("KILL").await;
        until("its end", async || (!child.is_running()).then_some(())).await;
        let truth = arrived(&simulator, seen).await;
        let (now_requests, now_tokens) = spent(&state);
        let (recorded, sent) = (now_requests - requests, truth.len());
        assert!(
            usize::try_from(recorded).unwrap() + USERS >= sent,
            "kill {kill}: {recorded} requests recorded, {sent} sent"
        );
        // Of those in flight, any may have been the most expensive one.
        let mut costs: Vec<u64> = truth.iter().map(tokens).collect();
        costs.sort_unstable();
        let least: u64 = costs.iter().take(sent.saturating_sub(USERS)).sum();
        let recorded_tokens = now_tokens - known_tokens;
        assert!(recorded_tokens >= least, "kill {kill}: {recorded_tokens} tokens recorded, {least} spent");
        // Nothing is invented either: everything recorded was sent, or about to be sent.
        assert!(recorded <= u64::try_from(sent + USERS).unwrap(), "kill {kill}: {recorded} of {sent}");
        (requests, known_tokens) = (now_requests, now_tokens);
        seen += sent;
    }
    assert!(requests > 300, "{requests}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_stopped_leaves_exactly_what_was_spent() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state.db");
    let simulator = Simulator::start();
    for _ in 0..2 {
        let before = simulator.handle.truth().len();
        let folder = process::folder(&config(&simulator, &state));
        let child = Process::start(folder, &["serve", "--config.file", "tokenbeat.yaml"], &[]);
        until("requests", async || (simulator.handle.truth().len() >= before + 20).then_some(())).await;
        child.signal("TERM").await;
        let ended = child.ended().await;
        assert_eq!(ended.code, 0, "{}", ended.err);
        let truth = simulator.finished().await;
        let (requests, all) = spent(&state);
        assert_eq!(usize::try_from(requests).unwrap(), truth.len());
        assert_eq!(all, truth.iter().map(tokens).sum::<u64>());
    }
    let db = Connection::open(&state).unwrap();
    let runs: i64 = db.query_row("SELECT count(*) FROM runs", [], |row| row.get(0)).unwrap();
    let minutes: i64 = db.query_row("SELECT count(*) FROM minutes", [], |row| row.get(0)).unwrap();
    assert!(runs >= 2 && minutes >= 1, "{runs} runs, {minutes} minutes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_used_is_an_error_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state.db");
    std::fs::write(&state, "no database at all, but long enough to look like one to whoever reads it")
        .unwrap();
    let simulator = Simulator::start();
    let ended = process::run(&config(&simulator, &state), &["serve"]).await;
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert!(ended.err.contains("is damaged") && ended.err.contains("move it away"), "{}", ended.err);
    assert!(!ended.err.contains("StateError"), "{}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_beside_the_daemon_says_that_it_is_not_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state.db");
    let simulator = Simulator::start();
    let folder = process::folder(&config(&simulator, &state));
    let _daemon = Process::start(folder, &["serve", "--config.file", "tokenbeat.yaml"], &[]);
    until("a request", async || (!simulator.handle.truth().is_empty()).then_some(())).await;
    let ended = process::run(&config(&simulator, &state), &["run", "--for", "1s"]).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.err.contains("in use by another process"), "{}", ended.err);
}

/// Sets the maximum file size of a process in bytes.
async fn limit_files(process: &Process, most: &str) {
    let limited =
        Command::new("prlimit").args(["--pid", &process.id(), &format!("--fsize={most}:")]).status();
    assert!(limited.await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_stops_money_until_there_is_room_again() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state.db");
    let models = ["paid", "free"].map(str::to_owned).to_vec();
    let simulator = Simulator::with(tokenbeat::sim::Options { truth_capacity: 100_000, models, ..quick() });
    let target = |name: &str| {
        format!(
            "  {name}: {{ api: openai-chat, base_url: 'http://{}/v1', model: {name}, price: {{ input: 1, output: 2 }} }}\n",
            simulator.address
        )
    };
    let profile = |name: &str, budget: &str| {
        format!(
            "  {name}: {{ targets: [{name}], schedule: {{ continuous: {{}} }}, {budget} \
             workload: {{ prompts: [Say hi], output_tokens: 8 }}, load: [{{ rate: 20/s, for: 1h }}] }}\n"
        )
    };
    let config = format!(
        "agent: {{ id: test, state: '{}' }}\nserver: {{ listen: 127.0.0.1:0 }}\n\
         targets:\n{}{}profiles:\n{}{}",
        state.display(),
        target("paid"),
        target("free"),
        profile(
            "paid",
            &format!(
                "budget: {{ timezone: {}, cost: 100000, tokens: 1000000000, requests: 1000000 }},",
                noon_zone()
            )
        ),
        profile("free", ""),
    );
    // A write beyond the limit fails instead of ending the process, like on a full disk.
    let script = "trap '' XFSZ; exec \"$0\" serve --config.file tokenbeat.yaml";
    let arguments = ["-c", script, env!("CARGO_BIN_EXE_tokenbeat")];
    let folder = process::folder(&config);
    let process = Process::start_program("/bin/sh", Stdio::null(), folder, &arguments, &[]);
    let address = process.says("listening address=").await.parse().unwrap();
    let scrape = async || Scrape::read(&get(address, "/metrics").await.ok());
    let ok = |scrape: &Scrape, profile| {
        scrape.metric("tokenbeat_requests_total").label("outcome", "ok").label("profile", profile).sum()
    };
    let held_back = |scrape: &Scrape, profile| {
        let skipped = scrape.metric("tokenbeat_skipped_requests_total").label("reason", "budget");
        skipped.label("profile", profile).sum()
    };
    until("requests of both", async || {
        let seen = scrape().await;
        (ok(&seen, "paid") >= 3.0 && ok(&seen, "free") >= 3.0).then_some(())
    })
    .await;
    assert_eq!(scrape().await.metric("tokenbeat_state_writes_failed_total").sum(), 0.0);
    limit_files(&process, "0").await;
    // No more money is spent, but requests without a cost continue.
    let full = until("money to be held back", async || {
        Some(scrape().await).filter(|seen| held_back(seen, "paid") >= 3.0)
    })
    .await;
    assert!(full.metric("tokenbeat_state_writes_failed_total").sum() >= 1.0);
    process.says("the state is kept in memory until the file can be written").await;
    let later = until("probing to go on", async || {
        Some(scrape().await).filter(|seen| ok(seen, "free") >= ok(&full, "free") + 3.0)
    })
    .await;
    assert_eq!(held_back(&later, "free"), 0.0);
    limit_files(&process, "unlimited").await;
    process.says("the state file is written again").await;
    let spent_before = ok(&scrape().await, "paid");
    until("money to be spent again", async || {
        Some(scrape().await).filter(|seen| ok(seen, "paid") >= spent_before + 3.0)
    })
    .await;
    process.signal("TERM").await;
    let ended = process.ended().await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    // Logged once, however often it was tried.
    assert_eq!(ended.err.matches("the state is kept in memory").count(), 1, "{}", ended.err);
    // Nothing that was spent is forgotten.
    let db = Connection::open(&state).unwrap();
    let select = "SELECT requests, tokens FROM budgets WHERE scope = 'profile/paid'";
    let (requests, spent_tokens): (String, String) =
        db.query_row(select, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let truth = simulator.finished().await;
    let paid = || truth.iter().filter(|truth| truth.model.as_deref() == Some("paid"));
    assert_eq!(requests.parse::<usize>().unwrap(), paid().count());
    assert_eq!(spent_tokens.parse::<u64>().unwrap(), paid().map(tokens).sum::<u64>());
    let minutes: i64 = db.query_row("SELECT count(*) FROM minutes", [], |row| row.get(0)).unwrap();
    assert!(minutes >= 2, "each of both has at least one: {minutes}");
}

/// After a kill the write-ahead log is left, and after a regular end there is none.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_on_a_full_disk_forgets_nothing_that_was_spent() {
    for end in ["KILL", "TERM"] {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state.db");
        let simulator = Simulator::start();
        let config = config(&simulator, &state).replace("requests: 1000000", "requests: 12");
        let start = |limit: &str| {
            let script = format!("trap '' XFSZ; {limit} exec \"$0\" serve --config.file tokenbeat.yaml");
            let arguments = ["-c", &script, env!("CARGO_BIN_EXE_tokenbeat")];
            Process::start_program("/bin/sh", Stdio::null(), process::folder(&config), &arguments, &[])
        };
        let mut first = start("");
        let address = first.says("listening address=").await.parse().unwrap();
        // A request that has ended is recorded.
        until("all requests", async || {
            let scrape = Scrape::read(&get(address, "/metrics").await.ok());
            (scrape.metric("tokenbeat_requests_total").label("outcome", "ok").sum() >= 12.0).then_some(())
        })
        .await;
        first.signal(end).await;
        until("its end", async || (!first.is_running()).then_some(())).await;
        for limit in ["ulimit -f 0;", ""] {
            let next = start(limit);
            let address = next.says("listening address=").await.parse().unwrap();
            next.says("a run is skipped").await;
            let scrape = Scrape::read(&get(address, "/metrics").await.ok());
            let ratio = scrape.metric("tokenbeat_budget_spent_ratio").label("unit", "requests").sum();
            assert!((ratio - 1.0).abs() < 1e-9, "{ratio}");
            assert_eq!(scrape.metric("tokenbeat_state_writes_failed_total").sum() > 0.0, !limit.is_empty());
            next.signal("TERM").await;
            let _ended = next.ended().await;
        }
        assert_eq!((arrived(&simulator, 0).await.len(), spent(&state).0), (12, 12), "{end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_charts_of_the_page_go_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state.db");
    let simulator = Simulator::start();
    let config = config(&simulator, &state);
    let child = Process::start(process::folder(&config), &["serve", "--config.file", "tokenbeat.yaml"], &[]);
    until("requests", async || (simulator.handle.truth().len() >= 20).then_some(())).await;
    child.signal("TERM").await;
    assert_eq!(child.ended().await.code, 0);
    let sent = simulator.finished().await.len();
    // The next process sends nothing.
    let idle = config.replace("continuous: {}", "manual: {}");
    let child = Process::start(process::folder(&idle), &["serve", "--config.file", "tokenbeat.yaml"], &[]);
    let address = child.says("listening address=").await.parse().unwrap();
    let status = get(address, "/api/v1/status").await.json();
    let slots = status["pairs"][0]["history"]["slots"].as_array().unwrap();
    let (own, earlier): (Vec<_>, Vec<_>) = slots.iter().partition(|slot| slot["seconds"] == 10.0);
    let ok = |slots: &[&serde_json::Value]| slots.iter().filter_map(|slot| slot["ok"].as_u64()).sum::<u64>();
    assert_eq!((ok(&earlier), ok(&own)), (u64::try_from(sent).unwrap(), 0), "{slots:?}");
    assert!(earlier[0]["time_to_first_token_seconds"]["p50"].as_f64().unwrap() > 0.0, "{earlier:?}");
    let history = get(address, "/api/v1/history?profile=p&target=t&hours=1&step=60").await.json();
    assert_eq!((&history["source"], &history["step_seconds"]), (&"file".into(), &60.into()), "{history}");
    let points = history["points"].as_array().unwrap();
    let of_points = points.iter().filter_map(|point| point["requests"]["ok"].as_u64()).sum::<u64>();
    assert_eq!(of_points, u64::try_from(sent).unwrap(), "{history}");
    assert!(points[0]["time_to_first_token_seconds"]["p99"].as_f64().unwrap() > 0.0, "{history}");
    let page = get(address, "/?profile=p&target=t").await.ok();
    assert!(page.contains(&format!(": {sent} ok, 0 failed\">")), "{sent} in {page}");
    child.signal("TERM").await;
    assert_eq!(child.ended().await.code, 0);
}
