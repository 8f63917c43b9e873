//! The faults of the simulator and the outcomes that they have on a scrape, in one table.

use crate::harness::{ONCE, Running, Simulator, quick, until};
use crate::reserved_port::ReservedPort;
use crate::scrape::Scrape;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use tokenbeat::event::{Failure, Outcome};
use tokenbeat::sim;
use tokio::net::TcpListener;

/// A target that fails in one way.
struct Case {
    /// Its name.
    name: &'static str,
    /// The fault in the simulator's syntax; empty for none.
    fault: &'static str,
    /// Keys of the target that replace the usual ones.
    keys: &'static str,
    /// The outcome of a streamed answer; empty if it is not tested.
    streamed: &'static str,
    /// The outcome of an answer that is not streamed.
    whole: &'static str,
}

const fn both(name: &'static str, fault: &'static str, outcome: &'static str) -> Case {
    Case { name, fault, keys: "", streamed: outcome, whole: outcome }
}

const fn each(name: &'static str, fault: &'static str, streamed: &'static str, whole: &'static str) -> Case {
    Case { name, fault, keys: "", streamed, whole }
}

const fn target(name: &'static str, keys: &'static str, outcome: &'static str) -> Case {
    Case { name, fault: "", keys, streamed: outcome, whole: outcome }
}

/// Timeouts that are reached only if the machine hangs.
const LONG: &str = "timeouts: { connect: 50s, first_token: 50s, stall: 50s, total: 55s }";

const CASES: &[Case] = &[
    both("fine", "", "ok"),
    // The status of the answer.
    both("rate_limited", "rate_limited;retry_after=2s", "rate_limited"),
    both("unavailable", "unavailable_503", "overloaded"),
    both("overloaded", "overloaded_529", "overloaded"),
    both("internal", "error_500", "http_5xx"),
    both("gateway", "status;code=502", "http_5xx"),
    both("gateway_timeout", "status;code=504", "http_5xx"),
    both("bad_request", "status;code=400", "http_4xx"),
    both("not_found", "status;code=404", "http_4xx"),
    both("unauthorized", "status;code=401", "auth"),
    both("forbidden", "status;code=403", "auth"),
    both("redirect", "redirect;location=http://127.0.0.1:1/", "redirect"),
    // The connection.
    both("reset_before", "reset_before", "reset"),
    both("close_before", "close_before", "reset"),
    both("reset_mid", "reset_mid;after=3", "reset"),
    both("not_http", "not_http", "protocol"),
    both("bad_framing", "bad_chunk_framing;after=3", "protocol"),
    // The body.
    both("truncated", "truncated;after=3", "truncated"),
    both("truncated_at_once", "truncated;after=0", "truncated"),
    both("error_in_stream", "error_in_stream;after=3", "stream_error"),
    both("error_at_once", "error_in_stream;after=0", "stream_error"),
    both("garbage", "garbage", "protocol"),
    each("garbage_later", "garbage;after=3", "protocol", ""),
    each("huge_line", "huge_line;bytes=5000000", "protocol", ""),
    // A document is recognized as one, whatever its content type.
    each("wrong_type", "wrong_content_type", "ok", "ok"),
    both("empty", "no_content", "empty"),
    // Unusual, but allowed.
    each("no_done", "no_done", "ok", ""),
    each("crlf", "crlf,bom,comments", "ok", ""),
    each("cr", "lone_cr,no_space", "ok", ""),
    each("lines", "multi_line_data,no_final_blank_line", "ok", ""),
    each("pieces", "split_writes;bytes=3", "ok", "ok"),
    each("lumps", "many_events_per_write;n=5,tokens_per_chunk;n=3", "ok", ""),
    both("thinking", "hidden_reasoning;tokens=4", "ok"),
    both("thought_all", "hidden_reasoning;tokens=12", "exhausted"),
    each("thinking_aloud", "reasoning;field=reasoning;tokens=4", "ok", "ok"),
    each("no_usage", "no_usage", "ok", "ok"),
    each("role_only", "role_only,empty_chunks;n=3", "ok", ""),
    // Time.
    Case {
        name: "no_token",
        fault: "stall_headers;for=10m",
        keys: "timeouts: { connect: 50s, first_token: 300ms, stall: 50s, total: 55s }",
        streamed: "first_token_timeout",
        whole: "",
    },
    Case {
        name: "no_first_text",
        fault: "role_only,stall;after=0;for=10m",
        keys: "timeouts: { connect: 50s, first_token: 300ms, stall: 50s, total: 55s }",
        streamed: "first_token_timeout",
        whole: "",
    },
    Case {
        name: "stalled",
        fault: "stall;after=3;for=10m",
        keys: "timeouts: { connect: 50s, first_token: 50s, stall: 300ms, total: 55s }",
        streamed: "stall_timeout",
        whole: "",
    },
    Case {
        name: "endless",
        fault: "stall;after=3;for=10m",
        keys: "timeouts: { connect: 50s, first_token: 50s, stall: 50s, total: 2s }",
        streamed: "total_timeout",
        whole: "total_timeout",
    },
    // Before the request is sent.
    target("refused", "base_url: 'http://{CLOSED}/v1'", "connect"),
    target("unknown", "base_url: 'http://tokenbeat.invalid/v1'", "dns"),
    target("plain", "base_url: 'https://{SIM}/v1'", "tls"),
    target("mute", "base_url: 'https://{MUTE}/v1', timeouts: { connect: 300ms }", "connect_timeout"),
    target("proxy", "proxy: { url: 'http://{CLOSED}' }", "proxy"),
    target("no_secret", "auth: { bearer: { file: /nowhere/tokenbeat-secret } }", "credentials"),
    target("no_variable", "auth: { bearer: { env: TOKENBEAT_TEST_IS_NOT_SET } }", "credentials"),
    target("locked", "base_url: 'http://{LOCKED}/v1', auth: { bearer: { value: wrong-key } }", "auth"),
    target("unlocked", "base_url: 'http://{LOCKED}/v1', auth: { bearer: { value: right-key } }", "ok"),
    target("other_model", "model: another", "http_4xx"),
];

fn config() -> String {
    let mut yaml = String::from("agent: { id: test }\nserver: { listen: 127.0.0.1:0 }\ntargets:\n");
    for case in CASES {
        write!(yaml, "  {}: {{ api: openai-chat", case.name).unwrap();
        let usual = [("base_url", "base_url: 'http://{SIM}/v1'"), ("model", "model: m"), ("timeouts", LONG)];
        let usual = usual.into_iter().filter(|(key, _)| !case.keys.contains(&format!("{key}:")));
        for keys in usual.map(|(_, keys)| keys).chain([case.keys]).filter(|keys| !keys.is_empty()) {
            write!(yaml, ", {keys}").unwrap();
        }
        if !case.fault.is_empty() {
            write!(yaml, ", headers: {{ X-Sim-Fault: '{}' }}", case.fault).unwrap();
        }
        yaml.push_str(" }\n");
    }
    yaml.push_str("profiles:\n");
    for (profile, stream) in [("streamed", true), ("whole", false)] {
        let played = |case: &&Case| !expected(case, stream).is_empty();
        let targets: Vec<&str> = CASES.iter().filter(played).map(|case| case.name).collect();
        writeln!(
            yaml,
            "  {profile}: {{ targets: [{}], schedule: {ONCE}, \
             workload: {{ prompts: [hello], output_tokens: 12, stream: {stream} }} }}",
            targets.join(", ")
        )
        .unwrap();
    }
    // The answer is complete, but does not meet its expectations.
    for (profile, expect) in
        [("short", "text: { min_chars: 100000 }"), ("odd", "finish_reason: [tool_calls]")]
    {
        writeln!(
            yaml,
            "  {profile}: {{ targets: [fine], schedule: {ONCE}, \
             workload: {{ prompts: [hello], output_tokens: 12 }}, expect: {{ {expect} }} }}"
        )
        .unwrap();
    }
    yaml
}

fn expected(case: &Case, stream: bool) -> &'static str {
    if stream { case.streamed } else { case.whole }
}

async fn play() -> (Scrape, Vec<serde_json::Value>) {
    let simulator = Simulator::start();
    let locked = Simulator::with(sim::Options { api_keys: vec!["right-key".to_owned()], ..quick() });
    let closed = ReservedPort::new();
    // A listener that never answers.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let yaml = config()
        .replace("{CLOSED}", &closed.address.to_string())
        .replace("{MUTE}", &mute.local_addr().unwrap().to_string())
        .replace("{LOCKED}", &locked.address.to_string());
    let daemon = Running::start(&yaml, &simulator).await;
    let all = CASES.iter().map(|case| [true, false].map(|stream| expected(case, stream)));
    let all = all.flatten().filter(|outcome| !outcome.is_empty()).count() + 2;
    let requests = until("every request to end", async || {
        let mut answer = daemon.json("/api/v1/requests?limit=1000").await;
        let requests = answer["requests"].take().as_array().unwrap().clone();
        (requests.len() >= all).then_some(requests)
    })
    .await;
    assert_eq!(requests.len(), all);
    (daemon.drain().await, requests)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_has_its_name() {
    let (scrape, requests) = play().await;
    let mut wrong = Vec::new();
    for case in CASES {
        for (profile, stream) in [("streamed", true), ("whole", false)] {
            let expected = expected(case, stream);
            if expected.is_empty() {
                continue;
            }
            let request = requests.iter().find(|it| it["profile"] == profile && it["target"] == case.name);
            let request = request.unwrap();
            let counted = scrape.metric("tokenbeat_requests_total");
            let counted = counted.label("profile", profile).label("target", case.name).nonzero("outcome");
            if counted != [(expected, 1.0)] {
                wrong.push(format!(
                    "{} {profile}: {counted:?} in place of {expected}: {}",
                    case.name, request["detail"]
                ));
            }
            assert_eq!(request["outcome"].as_str(), Some(counted[0].0), "the API and the metrics agree");
            // Every failure has a detail.
            let silent = request["detail"].as_str().is_none_or(|detail| detail.len() < 10);
            assert!(expected == "ok" || !silent, "{} {profile}: {request}", case.name);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (profile, check) in [("short", "min_chars"), ("odd", "finish_reason")] {
        let of = |name| scrape.metric(name).label("profile", profile);
        assert_eq!(of("tokenbeat_requests_total").nonzero("outcome"), [("check", 1.0)]);
        assert_eq!(of("tokenbeat_check_failures_total").nonzero("check"), [(check, 1.0)]);
        // The answer is complete, so its time counts as a latency.
        assert_eq!(of("tokenbeat_time_to_first_token_seconds_count").value(), 1.0);
    }
    times_of_failures(&scrape);
}

/// Failures have a separate duration and are not in the other ones; the status shows which requests reached the server.
fn times_of_failures(scrape: &Scrape) {
    for case in CASES.iter().filter(|case| !case.streamed.is_empty()) {
        let of = |name| scrape.metric(name).label("profile", "streamed").label("target", case.name).value();
        let ok = f64::from(u8::from(case.streamed == "ok"));
        assert_eq!(of("tokenbeat_request_duration_seconds_count"), ok, "{}", case.name);
        assert_eq!(of("tokenbeat_time_to_first_token_seconds_count"), ok, "{}", case.name);
        let judges = Outcome::by_label(case.streamed).unwrap().judges_target();
        let failed = f64::from(u8::from(judges && case.streamed != "ok"));
        assert_eq!(of("tokenbeat_failed_request_duration_seconds_count"), failed, "{}", case.name);
    }
    let codes = |target| {
        scrape.metric("tokenbeat_http_responses_total").label("target", target).label("profile", "whole")
    };
    for (target, code) in
        [("rate_limited", "429"), ("overloaded", "529"), ("fine", "200"), ("gateway", "502")]
    {
        assert_eq!(codes(target).nonzero("code"), [(code, 1.0)], "{target}");
    }
    for target in ["reset_before", "refused", "no_secret"] {
        assert_eq!(codes(target).nonzero("code"), [], "{target}");
    }
}

/// The failures that a dialect can have; the others have separate tests, or wait for their feature.
#[test]
fn the_table_knows_every_failure() {
    let table: BTreeSet<&str> = CASES.iter().flat_map(|case| [case.streamed, case.whole]).collect();
    // Checks need profiles of their own; shutdown is tested with the daemon, and the prober's own faults with the
    // engine.
    let elsewhere = ["check", "cancelled", "internal"];
    // No step extracts a value yet.
    let later = ["extract"];
    for &failure in Failure::ALL {
        let label = failure.label();
        let known = [table.contains(label), elsewhere.contains(&label), later.contains(&label)];
        assert_eq!(known.iter().filter(|it| **it).count(), 1, "{label}");
    }
}
