//! Capacity searches against the simulator, whose capacity follows from its parameters.

use crate::harness::{ONCE, Running, Simulator, one, quick, undisturbed};
use crate::player::play_on;
use crate::scrape::Scrape;
use anyhow::{Context as _, ensure};
use std::sync::Arc;
use std::time::Duration;
use tokenbeat::event::{SearchEnd, SearchReport};
use tokenbeat::sim::Options;
use tokio::runtime::Handle;

/// Number of sequences in a batch.
const BATCH: f64 = 16.0;

/// An answer of two tokens takes two steps.
const ANSWER: f64 = 0.2;

/// A batch of sixteen whose steps take a tenth of a second, whatever is in it.
fn options() -> Options {
    Options { step_time: Duration::from_millis(100), max_batch: 16, ..quick() }
}

fn profile(schedule: &str, search: &str) -> String {
    format!(
        "schedule: {schedule}, search: {{ {search}, settle: 400ms, samples: 10 }}, \
         slo: [{{ name: ttft, metric: time_to_first_token, below: 260ms, objective: 98% }}], \
         budget: {{ period: day, requests: 100000 }}, \
         workload: {{ prompts: [hello], output_tokens: 2, ignore_eos: true }}"
    )
}

async fn searched(search: &str) -> anyhow::Result<Arc<SearchReport>> {
    let simulator = Simulator::with(options());
    let yaml = one("", &profile("{ manual: {} }", search));
    let report = play_on(Handle::current(), &yaml, &simulator).await.1.search.unwrap();
    ensure!(report.end == SearchEnd::Found, "{report:#?}");
    Ok(report)
}

/// A user asks again when a step has just begun, so its next answer takes that step and two more: of three steps, it is in
/// the batch for two. With one user and a half for each place of the batch, no step has a free place.
#[tokio::test(flavor = "multi_thread")]
async fn the_users_of_a_full_batch_are_the_capacity() {
    undisturbed(async || {
        let report = searched("over: users, from: 4, to: 64, hold: 1s").await?;
        let (found, capacity) = (report.capacity.context("no capacity")?.load, 1.5 * BATCH);
        ensure!((found / capacity - 1.0).abs() <= 0.1, "{report:#?}");
        Ok(())
    })
    .await;
}

/// More requests than the batch can complete in their time make a queue that grows.
#[tokio::test(flavor = "multi_thread")]
async fn the_rate_of_a_full_batch_is_the_capacity() {
    undisturbed(async || {
        let report = searched("over: rate, from: 20/s, to: 320/s, hold: 2s").await?;
        let (found, capacity) = (report.capacity.context("no capacity")?, BATCH / ANSWER);
        ensure!((found.load / capacity - 1.0).abs() <= 0.1, "{report:#?}");
        ensure!((found.requests_per_second / found.load - 1.0).abs() <= 0.1, "{report:#?}");
        // The throughput of every load above it is that of the full batch.
        let knee = report.knee.context("no knee")?;
        ensure!((knee.load / capacity - 1.0).abs() <= 0.15, "{report:#?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_of_a_search_is_a_metric_and_the_curve_is_in_its_run() {
    undisturbed(async || {
        let simulator = Simulator::with(options());
        let search = "over: users, from: 1, to: 4, hold: 600ms, until: [ttft]";
        let daemon = Running::start(&one("", &profile(ONCE, search)), &simulator).await;
        assert_eq!(searches(&daemon.before), []);
        assert!(daemon.before.metric("tokenbeat_capacity_users").all().is_empty());
        let scrape = daemon.scrape_until("the search", |scrape| !searches(scrape).is_empty()).await;
        let runs = daemon.json("/api/v1/runs").await;
        daemon.drain().await;
        is_told(&scrape, &runs["runs"][0]["search"])
    })
    .await;
}

/// How the searches ended.
fn searches(scrape: &Scrape) -> Vec<(&str, f64)> {
    scrape.metric("tokenbeat_capacity_searches_total").nonzero("end")
}

/// The answer of a search by one, two and four users, which all meet the objective.
fn is_told(scrape: &Scrape, search: &serde_json::Value) -> anyhow::Result<()> {
    ensure!(searches(scrape) == [("at_least", 1.0)], "{search}");
    assert_eq!(scrape.metric("tokenbeat_capacity_users").value(), 4.0);
    let done = scrape.metric("tokenbeat_capacity_requests_per_second").value();
    // Each user completes an answer in three steps.
    ensure!((done / (4.0 / (1.5 * ANSWER)) - 1.0).abs() < 0.3, "{done}");
    // The requests of a search are no events of its objectives, and what settles is warm-up.
    assert!(scrape.metric("tokenbeat_slo_events_total").all().is_empty());
    assert!(scrape.metric("tokenbeat_warm_up_requests_total").label("outcome", "ok").value() > 0.0);
    assert_eq!((&search["unit"], &search["end"]), (&"users".into(), &"at_least".into()), "{search}");
    let loads: Vec<f64> =
        search["curve"].as_array().unwrap().iter().map(|it| it["load"].as_f64().unwrap()).collect();
    ensure!(loads == [1.0, 2.0, 4.0], "{search}");
    ensure!(search["curve"][0]["time_to_first_token_p95_seconds"].as_f64().unwrap() < 0.26, "{search}");
    Ok(())
}
