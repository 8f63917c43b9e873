//! Replicas that come and go while the daemon runs, and in `tokenbeat run`.

use crate::harness::{PATIENCE, Running, Simulator, load, quick, until_within};
use crate::http::get;
use crate::process::run;
use crate::scrape::Scrape;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use tokenbeat::app::{Daemon, DaemonOptions};
use tokenbeat::server::Notice;
use tokenbeat::telemetry::otlp::LogTap;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// A target whose replicas are in a file, beside one without replicas.
fn config(file: &Path, profile: &str) -> String {
    format!(
        "agent: {{ id: probe-1, location: here }}\n\
         server: {{ listen: '127.0.0.1:0' }}\n\
         targets:\n\
         \x20 llm: {{ api: openai-chat, base_url: 'http://llm.example.net:8000/v1', model: m, \
         discover: {{ file_sd: ['{}'], refresh: 1s, max: 3 }} }}\n\
         \x20 alone: {{ api: openai-chat, base_url: 'http://SIM/v1', model: m }}\n\
         profiles:\n  chat: {{ targets: [llm, alone], {profile}, \
         workload: {{ prompts: [hello], output_tokens: 4 }} }}\n",
        file.display()
    )
}

const STEADY: &str = "schedule: { every: 100ms }, load: [{ requests: 1 }]";

/// Writes a list of replicas as a whole.
fn list(file: &Path, replicas: &[&Simulator]) {
    let addresses: Vec<String> = replicas.iter().map(|it| format!("'{}'", it.address)).collect();
    let beside = file.with_extension("new");
    std::fs::write(&beside, format!("- targets: [{}]\n", addresses.join(", "))).unwrap();
    std::fs::rename(beside, file).unwrap();
}

/// The replicas that have series of this metric.
fn replicas(scrape: &Scrape, metric: &str) -> BTreeSet<String> {
    let series = scrape.metric(metric).label("target", "llm").all().into_iter();
    series.filter_map(|it| it.labels.get("replica").cloned()).collect()
}

fn names(simulators: &[&Simulator]) -> BTreeSet<String> {
    simulators.iter().map(|it| it.address.to_string()).collect()
}

fn answered(scrape: &Scrape, replica: &Simulator) -> f64 {
    let name = replica.address.to_string();
    let requests = scrape.metric("tokenbeat_requests_total").label("replica", &name).label("outcome", "ok");
    requests.all().iter().map(|series| series.value).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_come_and_go_with_their_series() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("replicas.yaml");
    let [one, two, three, four] = std::array::from_fn(|_| Simulator::start());
    // There is no file yet: the daemon starts without replicas, and goes on trying.
    let daemon = Running::start(&config(&file, STEADY), &one).await;
    let found = |scrape: &Scrape| scrape.metric("tokenbeat_discovered_replicas").value();
    let failures = |scrape: &Scrape| {
        scrape.metric("tokenbeat_discovery_failures_total").label("reason", "unreadable").value()
    };
    assert_eq!(found(&daemon.before), 0.0);
    assert!(failures(&daemon.before) >= 1.0);
    assert_eq!(daemon.before.metric("tokenbeat_discovery_last_success_timestamp_seconds").value(), 0.0);
    let alone =
        daemon.before.metric("tokenbeat_runs_total").label("target", "alone").label("result", "ok").all();
    assert!(alone.iter().all(|series| !series.labels.contains_key("replica")), "{alone:?}");

    list(&file, &[&one, &two]);
    let both = |scrape: &Scrape| answered(scrape, &one) >= 3.0 && answered(scrape, &two) >= 3.0;
    let scrape = daemon.scrape_until("both replicas", both).await;
    assert_eq!(found(&scrape), 2.0);
    assert!(scrape.metric("tokenbeat_discovery_last_success_timestamp_seconds").value() > 0.0);
    assert!(!two.truth().is_empty(), "each is asked at its own address");
    for metric in ["tokenbeat_requests_total", "tokenbeat_run_active", "tokenbeat_target_state"] {
        assert_eq!(replicas(&scrape, metric), names(&[&one, &two]), "{metric}");
    }

    // One goes, and two come. Everything of the first goes with its last request; nobody else is disturbed.
    let before = answered(&scrape, &two);
    list(&file, &[&four, &three, &two]);
    let gone = one.address.to_string();
    let moved = |scrape: &Scrape| {
        replicas(scrape, "tokenbeat_requests_total") == names(&[&two, &three, &four])
            && answered(scrape, &three) > 0.0
            && answered(scrape, &four) > 0.0
            && !scrape.series().iter().any(|series| series.labels.get("replica") == Some(&gone))
    };
    let scrape = daemon.scrape_until("another set", moved).await;
    assert!(answered(&scrape, &two) >= before, "its counters go on");

    // One too many: those that are known stay.
    list(&file, &[&one, &two, &three, &four]);
    let over = |scrape: &Scrape| scrape.metric("tokenbeat_discovery_left_out_replicas").value() > 0.0;
    let scrape = daemon.scrape_until("one that is left out", over).await;
    assert_eq!(replicas(&scrape, "tokenbeat_requests_total"), names(&[&two, &three, &four]));

    // A list that cannot be read changes nothing.
    let beside = file.with_extension("new");
    std::fs::write(&beside, "- target: [x]\n").unwrap();
    std::fs::rename(beside, &file).unwrap();
    let wrong = |scrape: &Scrape| {
        scrape.metric("tokenbeat_discovery_failures_total").label("reason", "invalid").value() > 0.0
    };
    let scrape = daemon.scrape_until("a wrong list", wrong).await;
    assert_eq!((found(&scrape), replicas(&scrape, "tokenbeat_requests_total").len()), (3.0, 3));

    // In the API and on the page, a replica has one name.
    let name = format!("llm@{}", two.address);
    let targets = daemon.json("/api/v1/targets").await;
    assert!(targets.to_string().contains(&name), "{targets}");
    let health = get(daemon.address, &format!("/api/v1/targets/{name}/health")).await;
    assert_eq!(health.status, 200, "{}", health.body);
    assert!(get(daemon.address, "/").await.ok().contains(&name));

    // An empty list is believed.
    list(&file, &[]);
    let none = |scrape: &Scrape| replicas(scrape, "tokenbeat_requests_total").is_empty();
    let scrape = daemon.scrape_until("none", none).await;
    assert_eq!(found(&scrape), 0.0);
    daemon.drain().await;
}

/// Its clock goes on only while nothing happens, so the test does not take the time that it measures.
#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_does_not_hold_up_the_start() {
    // Connections to it are established, and nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let source = format!("http_sd: 'http://{address}/list'");
    let config = config(Path::new("x.json"), "schedule: { manual: {} }");
    let config = config.replace("file_sd: ['x.json'], refresh: 1s", &source);
    assert!(config.contains(&source));
    let options = DaemonOptions {
        listen: None,
        lifecycle: false,
        grace: Duration::ZERO,
        overrun: Duration::ZERO,
        notice: Notice::default(),
    };
    let began = Instant::now();
    let daemon =
        Daemon::build(load(&config, address), options, Handle::current(), &LogTap::default()).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_ne!(daemon.address().port(), 0, "it is bound");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_asks_only_for_the_replicas_that_it_plays() {
    let (folder, simulator) = (tempfile::tempdir().unwrap(), Simulator::start());
    let file = folder.path().join("replicas.yaml");
    let config = config(&file, STEADY).replace("SIM", &simulator.address.to_string());
    let alone = run(&config, &["run", "--target", "alone"]).await;
    assert_eq!(alone.code, 0, "{alone:?}");
    let missing = "cannot find out the replicas of the target llm";
    for arguments in [&["run"][..], &["run", "--target", "llm"], &["run", "--target", "llm@10.0.0.1:80"]] {
        let asked = run(&config, arguments).await;
        assert!(asked.code != 0 && asked.err.contains(missing), "{asked:?}");
    }
    list(&file, &[&simulator]);
    let both = run(&config, &["run"]).await;
    assert_eq!(both.code, 0, "{both:?}");
    assert!(both.out.contains(&format!("llm@{}", simulator.address)), "{}", both.out);
}

fn is_outlier(scrape: &Scrape, replica: &Simulator, quantity: &str) -> bool {
    let name = replica.address.to_string();
    let outlier = scrape.metric("tokenbeat_replica_outlier").label("replica", &name);
    outlier.label("quantity", quantity).value() > 0.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_becomes_slow_is_an_outlier_among_its_siblings() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("replicas.yaml");
    // Steps that are long beside the noise of a busy machine.
    let options = || tokenbeat::sim::Options { step_time: Duration::from_millis(15), ..quick() };
    let [one, two, three] = std::array::from_fn(|_| Simulator::with(options()));
    list(&file, &[&one, &two, &three]);
    let daemon =
        Running::start(&config(&file, "schedule: { every: 200ms }, load: [{ requests: 1 }]"), &one).await;
    // Their series are there before the first round.
    assert_eq!(daemon.before.metric("tokenbeat_replica_outlier").all().len(), 6);
    assert!(!is_outlier(&daemon.before, &two, "latency"));
    two.inject("slow_down;factor=8");
    // A round takes half a minute.
    let told = async || Some(daemon.scrape().await).filter(|scrape| is_outlier(scrape, &two, "latency"));
    let scrape = until_within(3 * PATIENCE, "the outlier", told).await;
    assert!(!is_outlier(&scrape, &two, "failures"), "nothing fails");
    let events = daemon.json("/api/v1/timeline").await.to_string();
    assert!(
        events.contains("replica_outlier") && events.contains(&format!("llm@{}", two.address)),
        "{events}"
    );
    daemon.drain().await;
}
