//! What servers say of themselves around runs: in the record, the report and the page, and every way in which it can fail.

use crate::harness::{ONCE, Running, Simulator, one, quick, until};
use crate::http::get;
use crate::process::{Ended, Process};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokenbeat::sim::Options;
use tokio_util::task::AbortOnDropHandle;

/// The key that one of the pages asks for.
const KEY: &str = "hunter2-of-the-metrics";

/// A server with pages that are no good, by path.
struct Pages {
    address: SocketAddr,
    _serving: AbortOnDropHandle<()>,
}

/// How often each page was read.
type Reads = Arc<Mutex<BTreeMap<String, usize>>>;

impl Pages {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(page).with_state(Reads::default());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, _serving: AbortOnDropHandle::new(serving) }
    }
}

/// As vLLM says it: this many first tokens, all within 5 ms.
fn first_tokens(count: usize) -> String {
    let name = "vllm:time_to_first_token_seconds";
    format!(
        "# TYPE {name} histogram\n{name}_bucket{{model_name=\"m\",le=\"0.001\"}} 0\n\
         {name}_bucket{{model_name=\"m\",le=\"0.005\"}} {count}\n{name}_bucket{{model_name=\"m\",le=\"+Inf\"}} {count}\n\
         {name}_sum{{model_name=\"m\"}} 0.5\n{name}_count{{model_name=\"m\"}} {count}\n"
    )
}

async fn page(State(reads): State<Reads>, request: Request) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let before = {
        let mut reads = reads.lock().unwrap();
        let count = reads.entry(path.clone()).or_default();
        *count += 1;
        *count - 1
    };
    let (status, text) = match path.as_str() {
        "/html" => (200, "<html>an odd page</html>".to_owned()),
        "/broken" => {
            (200, "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{ 1\n".to_owned())
        }
        "/unknown" => (200, "# TYPE go_goroutines gauge\ngo_goroutines 7\n".to_owned()),
        "/large" => (200, "# a page\n".repeat(1 << 20)),
        "/restarted" => (200, first_tokens(1000 - before)),
        "/fast" => (200, first_tokens(24 * before)),
        "/keyed" if request.headers().get("x-key").is_some_and(|key| key == KEY) => {
            (200, first_tokens(before))
        }
        _ => (401, format!("who are you? {:?}", request.headers())),
    };
    Response::builder().status(status).body(text.into()).unwrap()
}

/// Runs the binary with a config and reports as files; returns its end, the JSON, the HTML and the Markdown.
async fn reported(config: &str) -> (Ended, Value, String, String) {
    let kept = tempfile::tempdir().unwrap();
    let place = tempfile::tempdir_in(kept.path()).unwrap();
    std::fs::write(place.path().join("tokenbeat.yaml"), config).unwrap();
    let paths = ["out.json", "out.html", "out.md"].map(|name| kept.path().join(name).display().to_string());
    let mut arguments = vec!["run", "--config.file", "tokenbeat.yaml"];
    for path in &paths {
        arguments.extend(["--report", path]);
    }
    let ended = Process::start(place, &arguments, &[]).ended().await;
    let [json, html, markdown] =
        paths.map(|path| std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{error}: {ended:?}")));
    (ended, serde_json::from_str(&json).unwrap(), html, markdown)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_has_the_servers_account_beside_its_own_numbers() {
    let simulator = Simulator::with(Options { step_time: Duration::from_millis(10), ..quick() });
    let config = one(
        ", backend: { metrics: 'http://{SIM}/metrics', health: 'http://{SIM}/health' }",
        "schedule: { manual: {} }, load: [{ requests: 30, users: 3 }], workload: { prompts: [hello], output_tokens: 8 }",
    );
    let config = config.replace("{SIM}", &simulator.address.to_string());
    let (ended, json, html, markdown) = reported(&config).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let account = &json["pairs"][0]["runs"][0]["server"];
    assert_eq!((&account["engine"], &account["restarts"]), (&"vLLM".into(), &0.into()), "{account}");
    assert!(
        account["readings"].as_u64() >= Some(2) && account["covered_seconds"].as_f64() > Some(0.0),
        "{account}"
    );
    let (client, server) =
        (&account["client_time_to_first_token_seconds"], &account["time_to_first_token_seconds"]);
    // All of its traffic is ours.
    assert_eq!(client["count"], 30, "{account}");
    assert!((1..=30).contains(&server["count"].as_u64().unwrap()), "{account}");
    assert!(server["p50"]["high"].as_f64() >= server["p50"]["low"].as_f64(), "{account}");
    for known in ["queue_seconds", "prefill_seconds", "decode_seconds", "time_per_output_token_seconds"] {
        assert!(account[known]["count"].as_u64() > Some(0), "{known}: {account}");
    }
    for level in ["running", "waiting", "kv_cache_ratio"] {
        assert!(account[level]["max"].is_number(), "{level}: {account}");
    }
    assert!(json["pairs"][0]["server_health"]["healthy"].as_u64() >= Some(1), "{}", json["pairs"][0]);
    // The same wherever it is told.
    assert!(html.contains("Account of vLLM over the run"), "{html}");
    assert!(html.contains("server: first token") && html.contains("says that it is healthy ("), "{html}");
    assert!(
        markdown.contains("**What the servers say**") && markdown.contains("vLLM: first token after"),
        "{markdown}"
    );
    assert!(ended.out.contains("server: p on t: vLLM: first token after"), "{}", ended.out);
    assert!(ended.out.contains("server: p on t: says that it is healthy ("), "{}", ended.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fast_server_behind_a_slow_way_is_told() {
    // What serves the requests is slow; by its account, the server is not. So the time is lost in between.
    let (simulator, pages) =
        (Simulator::with(Options { prefill_rate: 40.0, ..quick() }), Pages::start().await);
    let config = one(
        &format!(", backend: {{ metrics: 'http://{}/fast' }}", pages.address),
        "schedule: { manual: {} }, load: [{ requests: 24, users: 4 }], workload: { prompts: [hello], output_tokens: 2 }",
    );
    let (ended, json, html, _) = reported(&config.replace("{SIM}", &simulator.address.to_string())).await;
    let patterns: Vec<&str> =
        json["diagnosis"].as_array().unwrap().iter().map(|it| it["pattern"].as_str().unwrap()).collect();
    assert!(patterns.contains(&"slow_way") && !patterns.contains(&"server_queue"), "{}", json["diagnosis"]);
    assert!(ended.out.contains("of it is on the way: network, TLS or a gateway"), "{}", ended.out);
    assert!(html.contains("slow way"), "{html}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_counted_and_told_and_fails_no_run() {
    let (simulator, pages) = (Simulator::start(), Pages::start().await);
    let cases = [
        ("none", "refused", "status 401"),
        ("html", "not_metrics", "the page is not in Prometheus' text format"),
        ("broken", "not_metrics", "line 2 of the page is no sample"),
        ("unknown", "unknown_engine", "the page has no metric of a known engine"),
        ("large", "too_large", "the page has more than 8 MB"),
        ("closed", "unreachable", ""),
    ];
    let url = |name: &str| match name {
        // Nobody listens there.
        "closed" => "http://127.0.0.1:1/metrics".to_owned(),
        name => format!("http://{}/{name}", pages.address),
    };
    let names: Vec<&str> = cases.iter().map(|(name, ..)| *name).chain(["restarted"]).collect();
    let target = |name: &&str| {
        format!(
            "  {name}: {{ api: openai-chat, base_url: 'http://{{SIM}}/v1', model: m, backend: {{ metrics: '{}' }} }}\n",
            url(name)
        )
    };
    let targets = names.iter().map(target).collect::<Vec<_>>().concat();
    let yaml = format!(
        "agent: {{ id: test }}\nserver: {{ listen: 127.0.0.1:0 }}\ntargets:\n{targets}profiles:\n  \
         p: {{ targets: [{}], schedule: {ONCE}, load: [{{ requests: 3 }}], workload: {{ prompts: [hello], output_tokens: 4 }} }}\n",
        names.join(", ")
    );
    let daemon = Running::start(&yaml, &simulator).await;
    assert_eq!(daemon.before.metric("tokenbeat_backend_reads_total").sum(), 0.0, "the series are there");
    assert!(daemon.before.metric("tokenbeat_backend_reads_total").all().len() >= 7 * 7);
    let accounts = until("the account of each run", async || {
        let runs = daemon.json("/api/v1/runs").await;
        let runs = runs["runs"].as_array()?.clone();
        (runs.len() == names.len() && runs.iter().all(|run| !run["server"].is_null())).then_some(runs)
    })
    .await;
    let scrape = daemon.scrape().await;
    let counted = |target: &str, result: &str| {
        let all = scrape.metric("tokenbeat_backend_reads_total").label("target", target);
        all.label("result", result).value()
    };
    for (target, result, why) in cases {
        let run = accounts.iter().find(|run| run["target"] == target).unwrap();
        assert_eq!((&run["result"], &run["ok"]), (&"ok".into(), &3.into()), "{run}");
        let account = &run["server"];
        assert!(counted(target, result) >= 1.0, "{target}: {result}");
        assert_eq!(account["failed_readings"][result].as_f64(), Some(counted(target, result)), "{account}");
        let problem = account["problem"].as_str().unwrap();
        assert!(if why.is_empty() { !problem.is_empty() } else { problem == why }, "{account}");
        assert!(!problem.contains("http://"), "a URL may have a key in it: {problem}");
        let page = get(daemon.address, &format!("/?profile=p&target={target}")).await.ok();
        assert!(page.contains("no account of the server"), "{page}");
    }
    assert!(counted("restarted", "restarted") >= 1.0);
    let restarted = accounts.iter().find(|run| run["target"] == "restarted").unwrap();
    assert_eq!(restarted["server"]["engine"], "vLLM", "{restarted}");
    assert!(restarted["server"]["restarts"].as_u64() >= Some(1), "{restarted}");
    assert!(restarted["server"]["time_to_first_token_seconds"].is_null(), "{restarted}");
    daemon.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_go_to_the_page_and_nowhere_else() {
    let (simulator, pages) = (Simulator::start(), Pages::start().await);
    let target = format!(
        ", backend: {{ metrics: 'http://{}/keyed', headers: {{ X-Key: {{ value: {KEY} }} }} }}",
        pages.address
    );
    let yaml = one(
        &target,
        &format!(
            "schedule: {ONCE}, load: [{{ requests: 2 }}], workload: {{ prompts: [hello], output_tokens: 4 }}"
        ),
    );
    let daemon = Running::start(&yaml, &simulator).await;
    let run = until("the account of the run", async || {
        let runs = daemon.json("/api/v1/runs").await;
        Some(runs["runs"][0].clone()).filter(|run| run["server"]["readings"].as_u64() >= Some(2))
    })
    .await;
    assert_eq!(run["server"]["failed_readings"], serde_json::json!({}), "{run}");
    let page = get(daemon.address, "/?profile=p&target=t").await.ok();
    assert!(page.contains("server: first token") && page.contains("vLLM"), "{page}");
    let config = get(daemon.address, "/config").await.ok();
    assert!(config.contains("X-Key") && !config.contains(KEY), "{config}");
    daemon.drain().await;
}
