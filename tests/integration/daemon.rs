//! The whole daemon against the simulator: its traffic, its pages, its metrics, and its end.

use crate::harness::{ONCE, Running, Simulator, one, quick, until};
use crate::http::try_get;
use crate::scrape::{Scrape, Series};
use std::collections::BTreeSet;
use std::time::Duration;
use tokenbeat::app::{Daemon, DaemonOptions};
use tokenbeat::server::Notice;
use tokenbeat::sim;
use tokenbeat::telemetry::otlp::LogTap;
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers};

/// A profile with everything that creates series: a warm-up, a named stage, checks, objectives, a budget.
fn rich() -> String {
    one(
        ", price: { input: 1, output: 2 }, tokenizer: o200k_base",
        &format!(
            "schedule: {ONCE}, load: [{{ warm_up: 100ms, rate: 20/s }}, {{ name: steady, for: 200ms, rate: 20/s }}], \
             workload: {{ prompts: [hello], output_tokens: 8 }}, expect: {{ text: {{ min_chars: 1 }} }}, \
             slo: [{{ name: ttft, metric: time_to_first_token, below: 10s, objective: 99% }}], \
             budget: {{ period: month, requests: 1000 }}"
        ),
    )
}

fn identity(series: &Series) -> String {
    format!("{} {:?}", series.name, series.labels)
}

/// Series that have a value from the start.
fn is_given(series: &Series) -> bool {
    let given = [
        "tokenbeat_build_info",
        "tokenbeat_shard_info",
        "tokenbeat_shards",
        "tokenbeat_config_last_reload_successful",
        "tokenbeat_config_last_reload_success_timestamp_seconds",
        "tokenbeat_profile_info",
        "tokenbeat_target_info",
        "tokenbeat_schedule_interval_seconds",
        "tokenbeat_slo_objective_ratio",
        "tokenbeat_slo_threshold_seconds",
        // 1 while nothing is worse than its baseline.
        "tokenbeat_regression_ratio",
    ];
    given.contains(&series.name.as_str()) || series.name.starts_with("process_")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_series_is_there_at_zero_before_the_first_request() {
    let simulator = Simulator::start();
    simulator.inject("error_500;probability=0.5");
    let daemon = Running::start(&rich(), &simulator).await;
    daemon
        .scrape_until("the end of the run", |scrape| scrape.metric("tokenbeat_runs_total").sum() >= 1.0)
        .await;
    let before: BTreeSet<String> = daemon.before.series().iter().map(identity).collect();
    for series in daemon.before.series() {
        // Nothing is known of a target before its first request.
        let unknown = identity(series).contains("\"unknown\"");
        assert!(
            is_given(series) || unknown || series.value == 0.0,
            "{} is {}",
            identity(series),
            series.value
        );
    }
    let after = daemon.drain().await;
    let new: Vec<&Series> =
        after.series().iter().filter(|series| !before.contains(&identity(series))).collect();
    // Only what the target reveals about itself is added; no other series appears.
    let [info] = new.as_slice() else { panic!("{new:#?}") };
    assert_eq!(info.name, "tokenbeat_target_info");
    assert!(info.labels["server"].starts_with("tokenbeat-sim/"), "{info:?}");
    for counted in ["tokenbeat_requests_total", "tokenbeat_warm_up_requests_total", "tokenbeat_cost_total"] {
        assert!(after.metric(counted).sum() > 0.0, "{counted}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_plays_and_its_numbers_appear() {
    let simulator = Simulator::start();
    let yaml = one("", "schedule: { every: 1s }, workload: { prompts: [hello], output_tokens: 8 }");
    let daemon = Running::start(&yaml, &simulator).await;
    let scrape = daemon
        .scrape_until("three runs", |scrape| {
            scrape.metric("tokenbeat_runs_total").label("result", "cancelled").value() == 0.0
                && scrape.metric("tokenbeat_runs_total").sum() >= 3.0
        })
        .await;
    let next = scrape.metric("tokenbeat_next_run_timestamp_seconds").value();
    let started = scrape.metric("tokenbeat_last_run_started_timestamp_seconds").value();
    assert!((0.1..1.9).contains(&(next - started)), "{started} and then {next}");
    assert_eq!(scrape.metric("tokenbeat_schedule_interval_seconds").value(), 1.0);
    let end = daemon.drain().await;
    let truth = simulator.finished().await;
    let ok = end.metric("tokenbeat_requests_total").label("outcome", "ok").value();
    assert_eq!((end.metric("tokenbeat_requests_total").sum(), truth.len() as f64), (ok, ok));
    let count = |name: &str| end.metric(name).label("profile", "p").label("target", "t").value();
    for once in ["first_byte", "first_chunk", "first_token", "first_text"] {
        assert_eq!(count(&format!("tokenbeat_time_to_{once}_seconds_count")), ok, "{once}");
    }
    assert_eq!(count("tokenbeat_request_duration_seconds_count"), ok);
    assert_eq!(count("tokenbeat_failed_request_duration_seconds_count"), 0.0);
    let gaps: usize = truth.iter().map(|truth| truth.chunks.len() - 1).sum();
    assert_eq!(count("tokenbeat_chunk_gap_seconds_count"), gaps as f64);
    let tokens =
        |which| end.metric("tokenbeat_tokens_total").label("type", which).label("source", "usage").value();
    let of = |take: fn(&sim::Truth) -> usize| truth.iter().map(take).sum::<usize>() as f64;
    assert_eq!((tokens("input"), tokens("output")), (of(|it| it.input_tokens), of(|it| it.output_tokens)));
    assert_eq!(end.metric("tokenbeat_http_responses_total").nonzero("code"), [("200", ok)]);
    assert_eq!(count("tokenbeat_requests_in_flight"), 0.0);
    assert!(count("tokenbeat_last_run_completed_timestamp_seconds") >= started);
}

fn sums(scrape: &Scrape) -> [f64; 4] {
    ["offered_requests_total", "skipped_requests_total", "requests_in_flight", "requests_total"]
        .map(|name| scrape.metric(&format!("tokenbeat_{name}")).sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_offered_is_skipped_or_in_flight_or_ended() {
    let simulator = Simulator::start();
    for fault in [
        "stall;after=2;for=10m;probability=0.3;max=4",
        "error_500;probability=0.2",
        "reset_mid;after=2;probability=0.2",
        "truncated;after=2;probability=0.2",
    ] {
        simulator.inject(fault);
    }
    let yaml = one(
        ", timeouts: { stall: 20m, total: 30m }",
        &format!(
            "schedule: {ONCE}, load: [{{ warm_up: 200ms, rate: 50/s }}, {{ for: 2s, rate: 60/s, arrivals: poisson }}], \
             workload: {{ prompts: [hello], output_tokens: 20 }}"
        ),
    );
    let yaml = yaml.replace("id: test", "id: test, limits: { in_flight: 5 }");
    let daemon = Running::start(&yaml, &simulator).await;
    let balanced = |scrape: &Scrape| {
        let [offered, skipped, in_flight, requests] = sums(scrape);
        let active = scrape.metric("tokenbeat_load_active_seconds_total").label("stage", "").sum();
        active >= 2.2 && in_flight > 0.0 && offered == skipped + in_flight + requests
    };
    let open = daemon.scrape_until("all but the stalled to end", balanced).await;
    let [offered, skipped, was_in_flight, had_ended] = sums(&open);
    assert!(offered > 60.0 && skipped > 0.0 && had_ended > 0.0, "{offered} {skipped} {had_ended}");
    let outcomes = open.metric("tokenbeat_requests_total").nonzero("outcome");
    assert!(outcomes.len() >= 4, "{outcomes:?}");
    let stop = daemon.stop.clone();
    stop.drain.cancel();
    stop.now.cancel();
    let end = daemon.ended().await;
    let [offered, skipped, in_flight, requests] = sums(&end);
    assert_eq!((offered, in_flight), (skipped + requests, 0.0));
    // The requests that were in flight have an outcome now, and there are no others.
    assert_eq!(requests, had_ended + was_in_flight);
    let cancelled = end.metric("tokenbeat_requests_total").label("outcome", "cancelled").value();
    assert!(cancelled > 0.0 && cancelled <= was_in_flight, "{cancelled} of {was_in_flight}");
    let warm_up = end.metric("tokenbeat_warm_up_requests_total").sum();
    // A cancelled request may not have reached the server.
    let (counted, seen) = (requests + warm_up, simulator.truth().len() as f64);
    assert!(seen <= counted && seen >= counted - cancelled, "the server saw {seen} of {counted}");
    assert_eq!(end.metric("tokenbeat_runs_total").nonzero("result"), [("cancelled", 1.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn exemplars_lead_to_traces_that_the_server_saw() {
    let simulator = Simulator::start();
    let yaml = one(
        "",
        &format!(
            "schedule: {ONCE}, load: [{{ requests: 3 }}], workload: {{ prompts: [hello], output_tokens: 8 }}"
        ),
    );
    let daemon = Running::start(&yaml, &simulator).await;
    daemon.requests(3).await;
    let reply = daemon.open_metrics().await;
    assert!(
        reply.head.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{}",
        reply.head
    );
    assert!(reply.body.ends_with("# EOF\n"));
    let scrape = Scrape::read(&reply.body);
    let buckets = scrape.metric("tokenbeat_time_to_first_token_seconds_bucket").all();
    let ids: Vec<&str> = buckets
        .iter()
        .filter_map(|it| it.exemplar.as_ref())
        .map(|labels| labels["trace_id"].as_str())
        .collect();
    assert!(!ids.is_empty());
    for id in ids {
        assert_eq!(simulator.truth_of(id).status, Some(200));
    }
    // The API reports the same trace.
    let shown = daemon.json("/api/v1/requests").await;
    let shown = shown["requests"].as_array().unwrap();
    assert_eq!(shown.len(), 3);
    for request in shown {
        let truth = simulator.truth_of(request["trace_id"].as_str().unwrap());
        assert_eq!(request["output_tokens"], truth.output_tokens);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_propagation_no_trace_context_goes_out() {
    let simulator = Simulator::start();
    let yaml = one(
        ", propagate: none",
        &format!("schedule: {ONCE}, workload: {{ prompts: [hello], output_tokens: 8 }}"),
    );
    let daemon = Running::start(&yaml, &simulator).await;
    daemon.requests(1).await;
    assert_eq!(simulator.truth()[0].trace_id, None);
}

/// A daemon with one request in flight that will not end by itself for a long time.
async fn with_a_request_that_hangs(simulator: &Simulator, stall: &str) -> Running {
    simulator.inject(&format!("stall;after=2;for={stall};max=1"));
    let yaml = one(
        ", timeouts: { stall: 20m, total: 30m }",
        &format!("schedule: {ONCE}, workload: {{ prompts: [hello], output_tokens: 8 }}"),
    );
    let daemon = Running::start(&yaml, simulator).await;
    until("the request to be under way", async || {
        simulator.truth().first().filter(|truth| truth.chunks.len() == 2).cloned()
    })
    .await;
    daemon
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_ready_until_it_drains_and_healthy_throughout() {
    let simulator = Simulator::start();
    let daemon = with_a_request_that_hangs(&simulator, "10m").await;
    let ready =
        until("it to be ready", async || Some(daemon.get("/-/ready").await).filter(|it| it.status == 200))
            .await;
    assert_eq!(ready.body, "ready\n");
    assert_eq!(daemon.json("/api/v1/status").await["phase"], "ready");
    daemon.stop.drain.cancel();
    let draining =
        until("it to drain", async || Some(daemon.get("/-/ready").await).filter(|it| it.status != 200)).await;
    assert_eq!((draining.status, draining.body.as_str()), (503, "draining\n"));
    assert_eq!(daemon.get("/-/healthy").await.ok(), "healthy\n");
    // The metrics are still available.
    assert_eq!(daemon.scrape().await.metric("tokenbeat_requests_in_flight").value(), 1.0);
    assert_eq!(daemon.json("/api/v1/status").await["phase"], "draining");
    daemon.stop.now.cancel();
    let address = daemon.address;
    let end = daemon.ended().await;
    assert_eq!(end.metric("tokenbeat_requests_total").nonzero("outcome"), [("cancelled", 1.0)]);
    assert_eq!(end.metric("tokenbeat_runs_total").nonzero("result"), [("cancelled", 1.0)]);
    // It counts against no one, because it does not judge the target.
    assert_eq!(end.metric("tokenbeat_slo_events_total").sum(), 0.0);
    assert!(try_get(address, "/-/healthy", "*/*").await.is_err(), "the port is free again");
    let gone =
        until("the server to notice", async || simulator.truth().pop().filter(|truth| truth.client_gone))
            .await;
    assert_eq!(gone.finished, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_lets_open_requests_end_and_starts_no_more() {
    let simulator = Simulator::start();
    let daemon = with_a_request_that_hangs(&simulator, "5s").await;
    assert_eq!(daemon.scrape().await.metric("tokenbeat_requests_in_flight").value(), 1.0);
    let end = daemon.drain().await;
    assert_eq!(end.metric("tokenbeat_requests_total").nonzero("outcome"), [("ok", 1.0)]);
    assert_eq!(
        end.metric("tokenbeat_chunk_gap_seconds_count").value(),
        7.0,
        "the answer was read to its end"
    );
    assert_eq!(simulator.truth().len(), 1);
    assert!(simulator.truth()[0].finished.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_of_five_requests_lets_five_requests_out() {
    for agent in [true, false] {
        let simulator = Simulator::start();
        let budget = "budget: { period: month, requests: 5 }";
        let load = "load: [{ for: 400ms, rate: 50/s }], workload: { prompts: [hello], output_tokens: 8 }";
        let profile = format!("schedule: {ONCE}, {load}");
        let (yaml, scope) = if agent {
            (one("", &profile).replace("id: test", &format!("id: test, {budget}")), "agent")
        } else {
            (one("", &format!("{profile}, {budget}")), "profile/p")
        };
        let daemon = Running::start(&yaml, &simulator).await;
        daemon
            .scrape_until("the run to end", |scrape| scrape.metric("tokenbeat_runs_total").sum() == 1.0)
            .await;
        let end = daemon.drain().await;
        assert_eq!(simulator.truth().len(), 5, "{scope}");
        assert_eq!(end.metric("tokenbeat_requests_total").nonzero("outcome"), [("ok", 5.0)]);
        assert_eq!(end.metric("tokenbeat_offered_requests_total").sum(), 20.0);
        let skipped = end.metric("tokenbeat_skipped_requests_total");
        assert_eq!(skipped.sum(), 15.0);
        assert!(skipped.label("reason", "budget").value() > 0.0);
        let ratio =
            end.metric("tokenbeat_budget_spent_ratio").label("scope", scope).label("unit", "requests");
        assert_eq!(ratio.value(), 1.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_budget_shows_as_runs_that_did_not_take_place() {
    let simulator = Simulator::start();
    let yaml = one(
        "",
        "schedule: { every: 1s }, workload: { prompts: [hello], output_tokens: 8 }, budget: { period: month, requests: 1 }",
    );
    let daemon = Running::start(&yaml, &simulator).await;
    let skipped = |scrape: &Scrape| {
        scrape.metric("tokenbeat_skipped_runs_total").label("reason", "budget").value() >= 2.0
    };
    let scrape = daemon.scrape_until("two runs to be skipped", skipped).await;
    assert_eq!(scrape.metric("tokenbeat_runs_total").sum(), 1.0);
    assert_eq!(scrape.metric("tokenbeat_skipped_requests_total").sum(), 0.0);
    assert_eq!(simulator.truth().len(), 1);
    // No next run is announced.
    let status = daemon.json("/api/v1/status").await;
    let pair = &status["pairs"][0];
    let held_back = &pair["held_back"];
    assert_eq!(
        (&held_back["scope"], &held_back["unit"], &held_back["reason"]),
        (&"profile/p".into(), &"requests".into(), &"spent".into())
    );
    assert!(pair["next_run"].is_null(), "{pair}");
    assert!(held_back["until"].as_str().unwrap().ends_with("-01T00:00:00.000Z"), "{held_back}");
    assert_eq!(status["budgets"][0]["until"], held_back["until"]);
    assert_eq!((&status["budgets"][0]["spent"], &status["budgets"][0]["limit"]), (&1.0.into(), &1.0.into()));
    let overview = daemon.get("/").await.ok();
    assert!(overview.contains(">held back by the requests budget of profile&#x2f;p</span>"), "{overview}");
    let page = daemon.get("/?profile=p&target=t").await.ok();
    let chip = "<span class=\"chip bad\">held back</span>\n<span class=\"dim small\">by the requests budget of profile&#x2f;p until ";
    assert!(page.contains(chip) && !page.contains("next run in") && !page.contains(">idle<"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_others_spend_holds_a_profile_back_before_its_first_run() {
    let simulator = Simulator::start();
    let profile = |name: &str, schedule: &str| {
        format!(
            "{name}: {{ targets: [t], schedule: {schedule}, workload: {{ prompts: [hello], output_tokens: 8 }} }}"
        )
    };
    let yaml = one("", &format!("schedule: {ONCE}, workload: {{ prompts: [hello], output_tokens: 8 }}"))
        .replace("id: test", "id: test, budget: { period: month, requests: 1 }");
    let yaml = yaml.replacen("profiles:", &format!("profiles:\n  {}", profile("later", "{ every: 24h }")), 1);
    let daemon = Running::start(&yaml, &simulator).await;
    daemon.requests(1).await;
    let status = daemon.json("/api/v1/status").await;
    let pair = status["pairs"].as_array().unwrap().iter().find(|pair| pair["profile"] == "later").unwrap();
    assert_eq!(pair["held_back"]["scope"], "agent", "{pair}");
    daemon.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_tells_what_happened() {
    let simulator = Simulator::start();
    simulator.inject("unavailable_503;max=2");
    let yaml = one(
        "",
        &format!(
            "schedule: {ONCE}, load: [{{ requests: 6 }}], workload: {{ prompts: [hello], output_tokens: 8 }}"
        ),
    );
    let daemon = Running::start(&yaml, &simulator).await;
    daemon.scrape_until("the run to end", |scrape| scrape.metric("tokenbeat_runs_total").sum() == 1.0).await;
    let status = daemon.json("/api/v1/status").await;
    assert_eq!((&status["agent"]["id"], &status["phase"]), (&"test".into(), &"ready".into()));
    let pair = &status["pairs"][0];
    assert_eq!((&pair["profile"], &pair["target"], &pair["model"]), (&"p".into(), &"t".into(), &"m".into()));
    assert_eq!(pair["requests"], serde_json::json!({ "ok": 4, "overloaded": 2 }));
    assert_eq!(pair["in_flight"], 0);
    // On a busy machine the prober may also be late, which stands beside it.
    let run = &pair["last_run"];
    assert_eq!((&run["result"], &run["reason"]), (&"failed".into(), &"failed requests: 2 overloaded".into()));
    assert!(run["degraded"].is_null() || run["degraded"].is_string(), "{run}");
    assert_eq!(pair["last_failure"]["status"], 503);
    let window = &pair["history"]["window"];
    assert_eq!((&window["ok"], &window["failed"]), (&4.into(), &2.into()));
    let first_token = &window["time_to_first_token_seconds"];
    assert!(first_token["p50"].as_f64() > Some(0.0) && first_token["p95"].is_null(), "{window}");
    let slots = pair["history"]["slots"].as_array().unwrap();
    assert_eq!(slots.iter().filter_map(|slot| slot["ok"].as_u64()).sum::<u64>(), 4);
    let outcomes = async |query: &str| -> Vec<String> {
        let answer = daemon.json(&format!("/api/v1/requests{query}")).await;
        let requests = answer["requests"].as_array().unwrap();
        requests.iter().map(|request| request["outcome"].as_str().unwrap().to_owned()).collect()
    };
    // Newest first.
    assert_eq!(outcomes("").await, ["ok", "ok", "ok", "ok", "overloaded", "overloaded"]);
    assert_eq!(outcomes("?failed=true").await, ["overloaded"; 2]);
    assert_eq!(outcomes("?failed=true&limit=1").await, ["overloaded"]);
    assert_eq!(outcomes("?limit=0").await, Vec::<String>::new());
    for wrong in ["?failde=true", "?failed=maybe", "?limit=-1"] {
        assert_eq!(daemon.get(&format!("/api/v1/requests{wrong}")).await.status, 400, "{wrong}");
    }
    assert_eq!(daemon.get("/api/v1/nothing").await.status, 404);
    let page = daemon.get("/").await;
    assert!(page.head.contains("content-security-policy: default-src 'none'"), "{}", page.head);
    assert!(page.ok().contains("<a href=\"?profile=p&amp;target=t\">p <span"));
    let page = daemon.get("/?profile=p&target=t").await.ok();
    for shown in
        ["<h2>p <span class=\"dim\">→ t</span>", "model m", "overloaded 2", "failed requests: 2 overloaded"]
    {
        assert!(page.contains(shown), "{shown} is not on the page");
    }
    // What the page links to is there, and may be kept.
    for file in page.split("\"assets/").skip(1).filter_map(|rest| rest.split('"').next()) {
        let asset = daemon.get(&format!("/assets/{file}")).await;
        assert!(asset.head.contains("immutable"), "{}", asset.head);
        assert!(asset.ok().len() > 1000, "{file}");
    }
}

/// A server whose errors quote what it received, including credentials, and contain markup for a browser.
async fn indiscreet() -> MockServer {
    let server = MockServer::start().await;
    let echo = |request: &Request| {
        let said = format!("<script>alert('x')</script> {:?} {:?}", request.headers, request.body);
        ResponseTemplate::new(400).set_body_json(serde_json::json!({ "error": { "message": said } }))
    };
    Mock::given(matchers::any()).respond_with(echo).mount(&server).await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_says_is_escaped_and_no_secret_is_shown_anywhere() {
    let server = indiscreet().await;
    let yaml = one(
        ", auth: { bearer: { value: sesame-opens } }, headers: { X-Extra-Key: { value: abracadabra-1 }, X-Tenant: acme }",
        &format!("schedule: {ONCE}, workload: {{ prompts: [hello], output_tokens: 8 }}"),
    );
    let daemon = Running::against(&yaml, *server.address()).await;
    daemon.requests(1).await;
    let seen = &server.received_requests().await.unwrap()[0];
    assert_eq!(seen.headers["authorization"], "Bearer sesame-opens", "the server was sent it");
    assert_eq!(seen.headers["x-extra-key"], "abracadabra-1");
    let config = daemon.get("/config").await.ok();
    assert!(
        config.contains("bearer") && config.contains("X-Extra-Key") && config.contains("acme"),
        "{config}"
    );
    let page = daemon.get("/").await.ok() + &daemon.get("/?profile=p&target=t").await.ok();
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script>alert"), "{page}");
    let failure = daemon.json("/api/v1/requests?failed=true").await;
    let detail = failure["requests"][0]["detail"].as_str().unwrap();
    assert!(
        detail.contains("HTTP 400 Bad Request: <script>alert('x')</script>")
            && detail.contains(r#""x-extra-key": "*"#),
        "{detail}"
    );
    let mut pages = vec![config, page, daemon.open_metrics().await.ok()];
    for path in ["/metrics", "/api/v1/status", "/api/v1/requests", "/api/v1/requests?failed=true"] {
        pages.push(daemon.get(path).await.ok());
    }
    for page in pages {
        assert!(!page.contains("sesame") && !page.contains("abracadabra"), "{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn disabled_metrics_are_not_exported() {
    let simulator = Simulator::start();
    let yaml = one("", &format!("schedule: {ONCE}, workload: {{ prompts: [hello], output_tokens: 8 }}"));
    let yaml = format!(
        "{yaml}telemetry: {{ disable: [tokenbeat_chunk_gap_seconds, tokenbeat_stalls_total], prometheus: {{ exemplars: false }} }}\n"
    );
    let daemon = Running::start(&yaml, &simulator).await;
    daemon.requests(1).await;
    for body in [daemon.get("/metrics").await.ok(), daemon.open_metrics().await.ok()] {
        assert!(!body.contains("tokenbeat_chunk_gap") && !body.contains("tokenbeat_stalls"));
        assert!(body.contains("tokenbeat_longest_chunk_gap_seconds"));
        assert!(!body.contains("trace_id"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_an_error_with_its_address() {
    let simulator = Simulator::start();
    let yaml = one("", "schedule: { manual: {} }, workload: { prompts: [hello] }");
    let options = DaemonOptions {
        listen: Some(simulator.address),
        lifecycle: false,
        grace: Duration::ZERO,
        overrun: Duration::ZERO,
        notice: Notice::default(),
    };
    let loaded = crate::harness::load(&yaml, simulator.address);
    let built = Daemon::build(loaded, options, tokio::runtime::Handle::current(), &LogTap::default()).await;
    let said = format!("{:#}", built.err().unwrap());
    assert!(said.starts_with(&format!("cannot listen on {}: ", simulator.address)), "{said}");
    assert!(said.contains("in use"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limit_headroom_is_shown_once_the_server_tells_it() {
    let options = sim::Options { rate_limit_requests: Some(60), rate_limit_tokens: Some(10_000), ..quick() };
    let simulator = Simulator::with(options);
    let yaml = one(
        "",
        &format!(
            "schedule: {ONCE}, load: [{{ requests: 4 }}], workload: {{ prompts: [hello], output_tokens: 8 }}"
        ),
    );
    let daemon = Running::start(&yaml, &simulator).await;
    assert_eq!(daemon.before.metric("tokenbeat_rate_limit_remaining").all().len(), 0);
    daemon.scrape_until("the run to end", |scrape| scrape.metric("tokenbeat_runs_total").sum() == 1.0).await;
    let end = daemon.drain().await;
    let of = |name, kind| end.metric(name).label("kind", kind).value();
    assert_eq!(of("tokenbeat_rate_limit_limit", "requests"), 60.0);
    assert_eq!(of("tokenbeat_rate_limit_limit", "tokens"), 10_000.0);
    // Some are accepted, and the quota recovers by one each second.
    assert!((56.0..60.0).contains(&of("tokenbeat_rate_limit_remaining", "requests")));
    let used: usize = simulator.truth().iter().map(|truth| truth.input_tokens + truth.output_tokens).sum();
    assert!(of("tokenbeat_rate_limit_remaining", "tokens") >= 10_000.0 - used as f64);
    assert!(of("tokenbeat_rate_limit_remaining", "tokens") < 10_000.0);
}
