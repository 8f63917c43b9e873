//! Provokes every failure that the guide names, and checks its name on a scrape.

use super::program::{BASELINE, Program, RAG, RAG_STREAMED, SESSION, STREAMING, Seen, simulator};
use crate::harness::Simulator;
use serde_json::{Value, json};

/// A failure.
struct Case {
    /// The faults of the simulator.
    faults: &'static str,
    /// The step at which the failure occurs; empty without a scenario.
    step: &'static str,
    outcome: &'static str,
    /// The check that fails; empty if none.
    check: &'static str,
    /// A change of the profile that shortens a wait, as a JSON pointer and a value.
    change: Option<(&'static str, &'static str)>,
}

const fn case(faults: &'static str, step: &'static str, outcome: &'static str, check: &'static str) -> Case {
    Case { faults, step, outcome, check, change: None }
}

impl Case {
    const fn with(self, pointer: &'static str, value: &'static str) -> Self {
        Self { change: Some((pointer, value)), ..self }
    }
}

/// Plays one journey or request of a program while the simulator is faulty.
async fn fails(which: (&str, &'static str), cases: &[Case]) {
    let simulator = simulator();
    let mut wrong = Vec::new();
    for case in cases {
        simulator.handle.clear_faults();
        case.faults.split(',').filter(|fault| !fault.is_empty()).for_each(|fault| simulator.inject(fault));
        if let Err(reason) = failed(which, case, &simulator).await {
            wrong.push(format!("{}: {reason}", case.faults));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn failed(which: (&str, &'static str), case: &Case, simulator: &Simulator) -> Result<(), String> {
    let mut program = Program::of(which).load(json!([{"users": 1, "requests": 1}]));
    if let Some((pointer, value)) = case.change {
        change(&mut program, pointer, value);
    }
    let scrape = program.play(simulator).await;
    let seen = Seen { scrape: &scrape, profile: program.profile };
    let requests = seen.metric("tokenbeat_requests_total").label("step", case.step);
    let outcomes = requests.nonzero("outcome");
    if outcomes != [(case.outcome, 1.0)] {
        return Err(format!("{outcomes:?} in place of {}", case.outcome));
    }
    let checks = seen.by("tokenbeat_check_failures_total", "check");
    let expected: Vec<_> = Some((case.check, 1.0)).into_iter().filter(|(name, _)| !name.is_empty()).collect();
    if checks != expected {
        return Err(format!("{checks:?} in place of {expected:?}"));
    }
    if !case.step.is_empty() {
        let journeys = seen.by("tokenbeat_journeys_total", "outcome");
        if journeys != [(case.outcome, 1.0)] {
            return Err(format!("journeys: {journeys:?} in place of {}", case.outcome));
        }
    }
    Ok(())
}

/// Changes a value of the profile, or of the target if the pointer begins with `/timeouts`.
fn change(program: &mut Program, pointer: &str, value: &str) {
    let within = if pointer.starts_with("/timeouts") { program.target_mut() } else { program.profile_mut() };
    let at: &mut Value = within.pointer_mut(pointer).unwrap_or_else(|| panic!("there is no {pointer}"));
    *at = json!(value);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_baseline_chat_fails_as_the_guide_says() {
    fails(
        BASELINE,
        &[
            case("", "", "ok", ""),
            // Any status but 200; too many requests, overload and the other 5xx statuses are distinguished.
            case("status;code=202", "", "check", "status"),
            case("status;code=404", "", "http_4xx", "status"),
            case("rate_limited", "", "rate_limited", "status"),
            case("unavailable_503", "", "overloaded", "status"),
            case("error_500", "", "http_5xx", "status"),
            case("status;code=502", "", "http_5xx", "status"),
            case("status;code=504", "", "http_5xx", "status"),
            // Invalid JSON.
            case("garbage", "", "protocol", ""),
            case("truncated", "", "truncated", ""),
            // No choices; no text.
            case("no-choices", "", "empty", ""),
            case("no_content", "", "empty", ""),
            // Token counts are recorded, and required.
            case("no_usage", "", "check", "usage"),
            case("zero-usage", "", "check", "usage"),
            case("reset_before", "", "reset", ""),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_session_fails_as_the_guide_says() {
    fails(
        SESSION,
        &[
            case("", "message", "ok", ""),
            // The login is refused, or returns nothing usable.
            case("status;code=401;path=/api/auth", "login", "auth", "status"),
            case("no-token", "login", "extract", ""),
            case("expired-token;path=/api/chat", "session", "auth", "status"),
            // A session that is not created with 201.
            case("wrong-status", "session", "check", "status"),
            case("status;code=502;path=/api/chat", "session", "http_5xx", "status"),
            // Total tokens missing or zero; a short reply.
            case("no_usage", "message", "check", "total_tokens"),
            case("zero-usage", "message", "check", "total_tokens"),
            case("short-answer", "message", "check", "min_chars"),
            case("no_content", "message", "empty", ""),
            case("error_in_stream;path=/api/chat/sessions/", "message", "stream_error", ""),
            case("rate_limited;path=/api/chat/sessions/", "message", "rate_limited", "status"),
            case("unavailable_503;path=/api/chat/sessions/", "message", "overloaded", "status"),
            case("reset_mid;path=/api/chat/sessions/", "message", "reset", ""),
            case("garbage;path=/api/chat/sessions/", "message", "protocol", ""),
        ],
    )
    .await;
}

/// With a really wrong password.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_with_a_wrong_password_is_refused() {
    let options = tokenbeat::sim::Options { app_password: "other".to_owned(), ..super::program::options() };
    let simulator = Simulator::with(options);
    failed(SESSION, &case("", "login", "auth", "status"), &simulator).await.unwrap();
    assert!(simulator.truth().iter().all(|truth| truth.dialect == "app-login"), "it went no further");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_fails_as_the_guide_says() {
    const TIMEOUT: &str = "/scenario/steps/0/timeout";
    fails(
        RAG,
        &[
            case("", "query", "ok", ""),
            case("no-citations", "query", "check", "citations"),
            case("short-answer", "query", "check", "min_chars"),
            case("zero-usage", "query", "check", "prompt_tokens"),
            case("no_usage", "query", "check", "prompt_tokens"),
            case("slow-retrieval;for=10m", "query", "total_timeout", "").with(TIMEOUT, "300ms"),
            case("slow-generation;factor=100000", "query", "total_timeout", "").with(TIMEOUT, "300ms"),
            case("status;code=504;path=/api/rag", "query", "http_5xx", "status"),
            case("rate_limited;path=/api/rag", "query", "rate_limited", "status"),
            case("reset_before;path=/api/rag", "query", "reset", ""),
            case("truncated;path=/api/rag", "query", "truncated", ""),
        ],
    )
    .await;
    fails(
        RAG_STREAMED,
        &[
            case("", "query", "ok", ""),
            case("slow-retrieval;for=600ms", "query", "check", "time_to_first_token")
                .with("/scenario/steps/0/expect/time_to_first_token", "200ms"),
            case("no_content", "query", "empty", ""),
            case("short-answer", "query", "check", "min_chars"),
            case("reset_mid;after=3;path=/api/rag", "query", "reset", ""),
            case("truncated;after=3;path=/api/rag", "query", "truncated", ""),
            case("no_done", "query", "truncated", ""),
            case("error_in_stream;after=3;path=/api/rag", "query", "stream_error", ""),
            case("garbage;after=3;path=/api/rag", "query", "protocol", ""),
            case("stall;after=3;for=10m;path=/api/rag", "query", "stall_timeout", "")
                .with("/timeouts/stall", "300ms"),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_fails_as_the_guide_says() {
    fails(
        STREAMING,
        &[
            case("", "", "ok", ""),
            // No content chunk; a late one.
            case("no_content", "", "empty", ""),
            case("no-choices", "", "empty", ""),
            case("stall_headers;for=600ms", "", "check", "time_to_first_token")
                .with("/expect/time_to_first_token", "200ms"),
            case("stall_headers;for=10m", "", "first_token_timeout", "")
                .with("/timeouts/first_token", "300ms"),
            case("stall;after=3;for=10m", "", "total_timeout", "").with("/timeouts/total", "2s"),
            // A stream that cannot be parsed, or breaks.
            case("garbage;after=3", "", "protocol", ""),
            case("reset_mid;after=3", "", "reset", ""),
            case("truncated;after=3", "", "truncated", ""),
            case("error_in_stream;after=3", "", "stream_error", ""),
            case("bad_chunk_framing;after=3", "", "protocol", ""),
            case("stall;after=3;for=10m", "", "stall_timeout", "").with("/timeouts/stall", "300ms"),
            // Distinguished statuses.
            case("rate_limited", "", "rate_limited", "status"),
            case("unavailable_503", "", "overloaded", "status"),
            case("status;code=502", "", "http_5xx", "status"),
            case("status;code=504", "", "http_5xx", "status"),
        ],
    )
    .await;
}

/// 429, 500, 502, 503 and 504 are counted separately, and a reset in a stream has the status with which it began.
#[tokio::test(flavor = "multi_thread")]
async fn statuses_are_told_apart() {
    let simulator = simulator();
    for (fault, code) in [
        ("rate_limited", "429"),
        ("error_500", "500"),
        ("status;code=502", "502"),
        ("unavailable_503", "503"),
        ("status;code=504", "504"),
        ("reset_mid;after=3", "200"),
    ] {
        simulator.handle.clear_faults();
        simulator.inject(fault);
        let program = Program::of(STREAMING).load(json!([{"users": 1, "requests": 2}]));
        let scrape = program.play(&simulator).await;
        let seen = Seen { scrape: &scrape, profile: program.profile };
        let codes = seen.by("tokenbeat_http_responses_total", "code");
        assert_eq!(codes, [(code, 2.0)], "{fault}");
    }
}
