use super::*;
use crate::event::{Count, Failure, Gaps, TraceIds};
use crate::fact::Sink;
use crate::telemetry::otlp::clock::Anchor;
use crate::testing;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use std::sync::Arc;
use std::time::SystemTime;

struct Nobody;

impl Sink for Nobody {
    fn record(&self, _: &crate::fact::Fact) {}
}

fn request(outcome: Outcome, change: impl FnOnce(&mut Request)) -> Arc<Request> {
    let plan = testing::small_plan();
    let sink: Arc<dyn Sink> = Arc::new(Nobody);
    testing::play(&sink, &plan.pairs[0].places[1], outcome, change)
}

fn endpoint() -> GenAiTarget {
    GenAiTarget { operation: "chat", provider: "openai", address: "llm.example".into(), port: 443 }
}

/// The span of a request that was due 1000 s after the epoch.
fn span_of(request: &Request) -> Span {
    let anchor = Anchor::at(request.observed.marks.due, SystemTime::UNIX_EPOCH + Duration::from_secs(1000));
    of_request("probe-1", request, Some(&endpoint()), anchor).into()
}

fn attribute(attributes: &[KeyValue], key: &str) -> Option<Value> {
    let found: Vec<_> = attributes.iter().filter(|it| it.key == key).collect();
    assert!(found.len() <= 1, "{key} stands twice");
    found.first()?.value.clone()?.value
}

fn said(span: &Span, key: &str) -> String {
    match attribute(&span.attributes, key) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(n)) => n.to_string(),
        Some(Value::BoolValue(yes)) => yes.to_string(),
        Some(Value::DoubleValue(number)) => format!("{number:.3}"),
        Some(Value::ArrayValue(all)) => format!("{:?}", all.values.len()),
        _ => "-".to_owned(),
    }
}

const MILLI: u64 = 1_000_000;
const DUE: u64 = 1_000_000 * MILLI;

#[test]
fn an_answer_is_a_client_span_with_the_conventions_attributes() {
    let span = span_of(&request(Outcome::Ok, |_| {}));
    assert_eq!((span.name.as_str(), span.kind()), ("chat m", SpanKind::Client));
    assert_eq!(span.start_time_unix_nano, DUE + 10 * MILLI);
    assert_eq!(span.end_time_unix_nano, DUE + 520 * MILLI);
    assert_eq!(span.status, Some(Status::default()));
    for (key, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", "m"),
        ("gen_ai.request.stream", "true"),
        ("gen_ai.request.max_tokens", "128"),
        ("gen_ai.usage.input_tokens", "20"),
        ("gen_ai.usage.output_tokens", "11"),
        ("gen_ai.usage.cache_read.input_tokens", "5"),
        ("gen_ai.response.time_to_first_chunk", "0.200"),
        ("server.address", "llm.example"),
        ("server.port", "443"),
        ("http.response.status_code", "200"),
        ("error.type", "-"),
        ("user_agent.synthetic.type", "test"),
        ("tokenbeat.profile", "chat"),
        ("tokenbeat.target", "llama"),
        ("tokenbeat.stage", "steady"),
        ("tokenbeat.step", "-"),
        ("tokenbeat.run.id", "run-1"),
        ("tokenbeat.warm_up", "false"),
        ("tokenbeat.outcome", "ok"),
        ("tokenbeat.time_to_first_token", "0.300"),
        ("tokenbeat.response_time", "0.520"),
        ("tokenbeat.dispatch_lag", "0.010"),
        ("tokenbeat.cost", "0.250"),
    ] {
        assert_eq!(said(&span, key), value, "{key}");
    }
    assert!(said(&span, "user_agent.original").starts_with("tokenbeat/"));
}

#[test]
fn its_ids_are_those_that_went_out() {
    let request = request(Outcome::Ok, |_| {});
    let span = span_of(&request);
    let trace_id = u128::from_be_bytes(span.trace_id.clone().try_into().unwrap());
    let span_id = u64::from_be_bytes(span.span_id.clone().try_into().unwrap());
    assert_eq!(request.ids.traceparent(), format!("00-{trace_id:032x}-{span_id:016x}-01"));
    assert!(span.parent_span_id.is_empty());
    assert_eq!(span.flags, 0x101);
}

#[test]
fn a_failure_is_an_error_with_its_reason_though_it_was_not_sampled() {
    let failed = request(Outcome::Failed(Failure::RateLimited), |request| {
        request.detail = Some("429 from the gateway".to_owned());
        request.observed.status = Some(429);
        request.observed.streamed = false;
        request.ids = TraceIds { sampled: false, ..request.ids };
        request.failed_checks = vec!["a".into(), "b".into()];
    });
    let span = span_of(&failed);
    let status = span.status.clone().unwrap();
    assert_eq!((status.code(), status.message.as_str()), (StatusCode::Error, "429 from the gateway"));
    assert_eq!(
        (said(&span, "error.type"), said(&span, "tokenbeat.failed_checks")),
        ("rate_limited".into(), "2".into())
    );
    // A stream was asked for, though the answer was none.
    assert_eq!(said(&span, "gen_ai.request.stream"), "true");
    // The flags are those of the `traceparent` that the backend received.
    assert_eq!(span.flags, 0x100);
}

#[test]
fn a_request_that_was_never_sent_begins_where_it_started() {
    let failed = request(Outcome::Failed(Failure::Dns), |request| {
        request.observed.marks.sent = None;
        request.observed.marks.first_token = None;
        request.observed.marks.last_token = None;
        request.observed.status = None;
    });
    let span = span_of(&failed);
    assert_eq!(span.start_time_unix_nano, DUE + MILLI);
    assert_eq!(span.events.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["tokenbeat.end"]);
    assert_eq!(said(&span, "http.response.status_code"), "-");
}

#[test]
fn events_are_first_token_stalls_last_token_and_end_in_order_of_time() {
    let request = request(Outcome::Ok, |request| {
        request.observed.gaps = Gaps::default();
        for millis in [10, 900, 20, 1500, 30] {
            request.observed.gaps.push(Duration::from_millis(millis));
        }
        request.stalls = 2;
        request.observed.marks.last_token =
            Some(request.observed.marks.first_token.unwrap() + Duration::from_millis(2460));
        request.observed.marks.end = request.observed.marks.last_token.unwrap() + Duration::from_millis(5);
    });
    let span = span_of(&request);
    let events: Vec<_> =
        span.events.iter().map(|it| (it.name.as_str(), (it.time_unix_nano - DUE) / MILLI)).collect();
    assert_eq!(
        events,
        [
            ("tokenbeat.first_token", 310),
            ("tokenbeat.stall", 1220),
            ("tokenbeat.stall", 2740),
            ("tokenbeat.last_token", 2770),
            ("tokenbeat.end", 2775),
        ]
    );
    let gap = attribute(&span.events[2].attributes, "tokenbeat.gap");
    assert_eq!(gap, Some(Value::DoubleValue(1.5)));
}

#[test]
fn events_are_bounded_and_what_is_missing_is_counted() {
    let request = request(Outcome::Ok, |request| {
        request.observed.gaps = Gaps::default();
        for _ in 0..50 {
            request.observed.gaps.push(Duration::from_secs(2));
        }
        request.stalls = 50;
    });
    let span = span_of(&request);
    assert_eq!(span.events.len(), MAX_STALLS + 3);
    assert_eq!(span.dropped_events_count, 34);
}

#[test]
fn what_we_counted_is_not_called_the_providers_usage() {
    let span = span_of(&request(Outcome::Ok, |request| {
        request.observed.tokens.input = Some(Count { n: 19, source: CountSource::Tokenizer });
        request.observed.tokens.output = Some(Count { n: 4, source: CountSource::Chunks });
    }));
    assert_eq!(said(&span, "gen_ai.usage.output_tokens"), "-");
    assert_eq!(
        (said(&span, "tokenbeat.input_tokens"), said(&span, "tokenbeat.output_tokens")),
        ("19".into(), "4".into())
    );
}

#[test]
fn a_target_that_is_not_known_leaves_its_attributes_out() {
    let request = request(Outcome::Ok, |_| {});
    let span: Span = of_request("probe-1", &request, None, Anchor::now()).into();
    assert_eq!((said(&span, "server.address"), span.name.as_str()), ("-".into(), "chat m"));
}

fn summary(result: RunResult) -> RunSummary {
    let pair = testing::small_plan().pairs[0].pair.clone();
    let at = |secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
    RunSummary {
        run: testing::run(&pair),
        started: at(1001),
        ended: at(1030),
        result,
        reason: Some("ttft: 90% of 99%".to_owned()),
        degraded: Some("2 of 58 requests were late".to_owned()),
        search: None,
        offered: 60,
        skipped: 2,
        ok: 50,
    }
}

#[test]
fn requests_link_to_the_span_of_their_run() {
    let span = span_of(&request(Outcome::Ok, |_| {}));
    let run: Span = of_run("probe-1", &summary(RunResult::Failed)).into();
    assert_eq!(span.links.len(), 1);
    assert_eq!((&span.links[0].trace_id, &span.links[0].span_id), (&run.trace_id, &run.span_id));
    assert_eq!((run.name.as_str(), run.kind()), ("run chat", SpanKind::Internal));
    assert_eq!((run.start_time_unix_nano, run.end_time_unix_nano), (1_001_000 * MILLI, 1_030_000 * MILLI));
    for (key, value) in [
        ("tokenbeat.run.result", "failed"),
        ("tokenbeat.run.offered", "60"),
        ("tokenbeat.run.skipped", "2"),
        ("tokenbeat.run.ok", "50"),
        ("tokenbeat.schedule_lag", "1.000"),
        ("tokenbeat.run.reason", "ttft: 90% of 99%"),
        ("tokenbeat.run.degraded", "2 of 58 requests were late"),
    ] {
        assert_eq!(said(&run, key), value, "{key}");
    }
    let status = run.status.unwrap();
    assert_eq!((status.code(), status.message.as_str()), (StatusCode::Error, "ttft: 90% of 99%"));
}

#[test]
fn only_a_failed_run_is_an_error_and_two_agents_have_two_runs() {
    for result in [RunResult::Ok, RunResult::Cancelled] {
        assert_eq!(Span::from(of_run("a", &summary(result))).status, Some(Status::default()), "{result:?}");
    }
    let run = summary(RunResult::Ok).run;
    assert_ne!(run_ids("a", &run), run_ids("b", &run));
}

#[test]
fn a_long_request_weighs_what_its_events_do() {
    let short = request(Outcome::Ok, |_| {});
    let long = request(Outcome::Ok, |request| {
        for _ in 0..10_000 {
            request.observed.gaps.push(Duration::from_millis(20));
            request.observed.sizes.push(7);
        }
    });
    // A gap is kept in four bytes, a size in one.
    assert!(weight(&long) - weight(&short) >= 10_000 * 5);
}

/// A step's request in a journey.
fn stepped(name: &str, route: Option<&str>, outcome: Outcome) -> Arc<Request> {
    let plan = testing::rag_plan();
    let place = testing::step_place(&plan.pairs[0], 1, name, 3);
    let sink: Arc<dyn Sink> = Arc::new(Nobody);
    let ids = testing::ids().child([5; 8]);
    testing::play(&sink, &place, outcome, |request| {
        request.ids = ids;
        request.route = route.map(Into::into);
    })
}

#[test]
fn an_http_step_is_an_http_client_span_below_its_journey() {
    let mut request = (*stepped("query", Some("POST /api/rag/{{ kind }}?top=3"), Outcome::Ok)).clone();
    request.observed.tokens.input = Some(Count { n: 19, source: CountSource::Tokenizer });
    let span = span_of(&request);
    assert_eq!((span.name.as_str(), span.kind()), ("POST /api/rag/{{ kind }}?top=3", SpanKind::Client));
    assert_eq!((&span.trace_id[..], &span.span_id[..]), (&testing::ids().trace_id[..], &[5; 8][..]));
    assert_eq!(span.parent_span_id, testing::ids().span_id);
    for (key, value) in [
        ("http.request.method", "POST"),
        ("url.template", "/api/rag/{{ kind }}?top=3"),
        ("http.response.status_code", "200"),
        ("server.address", "llm.example"),
        ("server.port", "443"),
        ("tokenbeat.step", "query"),
        ("tokenbeat.turn", "-"),
        ("tokenbeat.time_to_first_token", "0.300"),
        ("tokenbeat.input_tokens", "19"),
        // Only the token counts reported by the application remain of the GenAI conventions.
        ("gen_ai.usage.output_tokens", "11"),
        ("gen_ai.usage.cache_read.input_tokens", "5"),
    ] {
        assert_eq!(said(&span, key), value, "{key}");
    }
    let gen_ai = span.attributes.iter().filter(|it| it.key.starts_with("gen_ai."));
    assert!(gen_ai.clone().all(|it| it.key.starts_with("gen_ai.usage.")), "{:?}", gen_ai.collect::<Vec<_>>());
}

#[test]
fn a_step_that_asks_the_model_stays_a_genai_span_and_says_its_turn() {
    let span = span_of(&stepped("talk", None, Outcome::Ok));
    assert_eq!((span.name.as_str(), said(&span, "gen_ai.operation.name").as_str()), ("chat m", "chat"));
    assert_eq!(
        (said(&span, "tokenbeat.step"), said(&span, "tokenbeat.turn")),
        ("talk".to_owned(), "3-4".to_owned())
    );
    assert_eq!(span.parent_span_id, testing::ids().span_id);
    assert_eq!(said(&span, "http.request.method"), "-");
}

#[test]
fn a_method_that_the_conventions_do_not_know_makes_no_name() {
    let span = span_of(&stepped("query", Some("PURGE /cache"), Outcome::Ok));
    assert_eq!(span.name, "HTTP /cache");
    assert_eq!(
        (said(&span, "http.request.method"), said(&span, "http.request.method_original")),
        ("_OTHER".to_owned(), "PURGE".to_owned())
    );
    assert_eq!(span_of(&stepped("query", Some("GET"), Outcome::Ok)).name, "GET");
}

#[test]
fn a_journey_is_the_root_of_its_requests_from_its_first_due_instant_on() {
    let place = Arc::clone(&testing::rag_plan().pairs[0].places[1]);
    let journey = testing::journey(&place, Outcome::Ok);
    let span: Span = of_journey("probe-1", &journey).into();
    assert_eq!((span.name.as_str(), span.kind()), ("journey rag", SpanKind::Internal));
    let request = span_of(&stepped("query", Some("POST /q"), Outcome::Ok));
    assert_eq!((&request.trace_id, &request.parent_span_id), (&span.trace_id, &span.span_id));
    assert!(span.parent_span_id.is_empty());
    assert_eq!(request.links, span.links, "both belong to the run");
    // It ended 2000 s after the epoch and lasted 4 s, think time included.
    assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (1_996_000 * MILLI, 2_000_000 * MILLI));
    assert_eq!((span.status.as_ref(), span.flags), (Some(&Status::default()), 0x101));
    for (key, value) in [
        ("tokenbeat.profile", "rag"),
        ("tokenbeat.target", "app"),
        ("tokenbeat.stage", "steady"),
        ("tokenbeat.step", "-"),
        ("tokenbeat.run.id", "run-1"),
        ("tokenbeat.warm_up", "false"),
        ("tokenbeat.outcome", "ok"),
        ("error.type", "-"),
        ("tokenbeat.journey.failed_step", "-"),
        ("tokenbeat.journey.user", "3"),
        ("tokenbeat.journey.iteration", "7"),
        ("tokenbeat.journey.requests", "3"),
        ("tokenbeat.journey.duration", "2.500"),
        ("tokenbeat.journey.input_tokens", "120"),
        ("tokenbeat.journey.output_tokens", "30"),
        ("tokenbeat.journey.cost", "0.500"),
    ] {
        assert_eq!(said(&span, key), value, "{key}");
    }
}

#[test]
fn a_journey_that_failed_says_where_and_why() {
    let place = Arc::clone(&testing::rag_plan().pairs[0].places[1]);
    let mut journey = testing::journey(&place, Outcome::Failed(Failure::Extract));
    journey.failed_step = Some("login".into());
    journey.detail = Some("$.access_token is not there".to_owned());
    journey.cost = None;
    let span: Span = of_journey("probe-1", &journey).into();
    let status = span.status.clone().unwrap();
    assert_eq!((status.code(), status.message.as_str()), (StatusCode::Error, "$.access_token is not there"));
    assert_eq!(
        (said(&span, "error.type"), said(&span, "tokenbeat.journey.failed_step")),
        ("extract".to_owned(), "login".to_owned())
    );
    assert_eq!(said(&span, "tokenbeat.journey.cost"), "-");
    assert!(journey_weight(&journey) > size_of::<crate::event::Journey>());
}
