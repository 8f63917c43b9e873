//! The latency that a profile expects, as a router reads it on the wire.

use crate::harness::{ONCE, Running, until};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio_util::task::AbortOnDropHandle;

type Seen = Arc<Mutex<BTreeMap<String, Vec<(String, String)>>>>;

/// Remembers the headers of llm-d by path.
async fn refuse(State(seen): State<Seen>, request: Request) -> StatusCode {
    let headers = request.headers().iter().filter(|(name, _)| name.as_str().starts_with("x-llm-d-"));
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    seen.lock().unwrap().insert(request.uri().path().to_owned(), headers.collect());
    StatusCode::SERVICE_UNAVAILABLE
}

#[tokio::test(flavor = "multi_thread")]
async fn objectives_go_out_as_headers_where_the_target_wants_them() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Seen::default());
    let router = Router::new().fallback(refuse).with_state(Arc::clone(&seen));
    let _serving =
        AbortOnDropHandle::new(tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }));
    let target = |name: &str, more: &str| {
        format!("  {name}: {{ api: openai-chat, base_url: 'http://{{SIM}}/{name}', model: m{more} }}\n")
    };
    let yaml = format!(
        "agent: {{ id: test }}\nserver: {{ listen: 127.0.0.1:0 }}\ntargets:\n{}{}{}profiles:\n  \
         both: {{ targets: [routed, plain], schedule: {ONCE}, workload: {{ prompts: [hello] }}, slo: [\
           {{ name: a, metric: time_to_first_token, below: 800ms, objective: 99% }}, \
           {{ name: b, metric: time_to_first_token, below: 1500ms, objective: 99.9% }}, \
           {{ name: c, metric: time_per_output_token, below: 13ms, objective: 95% }}, \
           {{ name: d, metric: request_duration, below: 9s, objective: 95% }}] }}\n  \
         grown: {{ targets: [grown], schedule: {ONCE}, workload: {{ prompts: [hello] }}, slo: [\
           {{ name: e, metric: time_to_first_token, below: 300ms + 1ms/token, objective: 99% }}] }}\n",
        target("routed", ", slo_headers: llm-d"),
        target("plain", ""),
        target("grown", ", slo_headers: llm-d"),
    );
    let daemon = Running::against(&yaml, address).await;
    let all = until("a request to each target", async || {
        Some(seen.lock().unwrap().clone()).filter(|seen| seen.len() == 3)
    })
    .await;
    let of = |name: &str| all[&format!("/{name}/chat/completions")].clone();
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut stated = of("routed");
    stated.sort();
    // The strictest of several, in whole milliseconds.
    assert_eq!(stated, [header("x-llm-d-slo-tpot-ms", "13"), header("x-llm-d-slo-ttft-ms", "800")]);
    assert_eq!(of("plain"), []);
    assert_eq!(of("grown"), [], "a bound that grows with the prompt is not stated");
    daemon.drain().await;
}
