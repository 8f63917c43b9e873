//! Deliveries without failures.

use super::*;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;

#[tokio::test]
async fn the_three_signals_arrive_and_are_counted() {
    for protocol in BOTH {
        let receiver = Receiver::start().await;
        let rig = rig(section(protocol, receiver.address));
        let request = rig.play(Outcome::Ok, |_| {});
        rig.end_run();
        let ids = request.ids;
        rig.log(|| {
            tracing::info!(target: "tokenbeat::engine", trace_id = %ids.trace_hex(), "answered");
        });
        let stats = rig.finish(LONG).await;
        let seen = receiver.seen();
        let spans = receiver.spans();
        assert_eq!(spans.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["chat m", "run chat"]);
        assert_eq!(spans[0].trace_id, ids.trace_id);
        assert_eq!(spans[0].links[0].span_id, spans[1].span_id);
        let logs: Vec<_> = of(&seen, Signal::Logs).into_iter().flat_map(ReceivedRequest::logs).collect();
        assert_eq!(logs.len(), 1);
        assert_eq!(logs[0].trace_id, ids.trace_id);
        let metrics = of(&seen, Signal::Metrics).last().unwrap().metrics();
        let names: Vec<_> = metrics.iter().map(|it| it.name.as_str()).collect();
        for name in
            ["tokenbeat.requests", "tokenbeat.time_to_first_token", "gen_ai.client.inference.duration"]
        {
            assert!(names.contains(&name), "{name} in {names:?}");
        }
        assert_eq!((stats.sent(Signal::Traces), stats.sent(Signal::Logs)), (2, 1));
        assert!(stats.sent(Signal::Metrics) > 100);
        for &signal in Signal::ALL {
            let dropped: u64 = Dropped::ALL.iter().map(|reason| stats.dropped(signal, *reason)).sum();
            assert_eq!((stats.failures(signal), dropped), (0, 0), "{signal:?} over {protocol:?}");
        }
    }
}

/// The id sent in `traceparent`, the span's id and the exemplar's id are the same.
#[tokio::test]
async fn exemplars_and_spans_carry_the_ids_that_went_out() {
    let receiver = Receiver::start().await;
    let rig = rig(section(Protocol::Grpc, receiver.address));
    let traceparent = rig.play(Outcome::Ok, |_| {}).ids.traceparent();
    rig.finish(LONG).await;
    let seen = receiver.seen();
    let hex = |trace: &[u8], span: &[u8]| {
        let trace = u128::from_be_bytes(trace.try_into().unwrap());
        let span = u64::from_be_bytes(span.try_into().unwrap());
        format!("00-{trace:032x}-{span:016x}-01")
    };
    let span = &receiver.spans()[0];
    assert_eq!(hex(&span.trace_id, &span.span_id), traceparent);
    for name in ["tokenbeat.time_to_first_token", "gen_ai.client.inference.duration"] {
        let metrics = of(&seen, Signal::Metrics).last().unwrap().metrics();
        let metric = metrics.into_iter().find(|metric| metric.name == name).unwrap();
        let Some(Data::Histogram(histogram)) = metric.data else { panic!("no histogram") };
        let points = histogram.data_points.iter().flat_map(|point| &point.exemplars);
        let exemplars: Vec<_> = points.map(|it| hex(&it.trace_id, &it.span_id)).collect();
        assert_eq!(exemplars, [traceparent.as_str()], "{name}");
    }
}

#[tokio::test]
async fn sampling_keeps_every_failure() {
    let receiver = Receiver::start().await;
    let written = OtlpSettings {
        traces: Some(Some(Sampling { ratio: 0.0, failures: TracedFailures::Always })),
        ..section(Protocol::Http, receiver.address)
    };
    let rig = rig(written);
    for _ in 0..20 {
        rig.play(Outcome::Ok, |request| request.ids.sampled = false);
        rig.play(Outcome::Failed(Failure::Overloaded), |request| request.ids.sampled = false);
    }
    let stats = rig.finish(LONG).await;
    assert_eq!(receiver.spans().len(), 20);
    assert!(
        receiver.spans().iter().all(|span| span.status.as_ref().unwrap().code == 2 && span.flags == 0x100)
    );
    assert_eq!(stats.sent(Signal::Traces), 20);
}

#[tokio::test]
async fn a_journey_is_exported_where_it_is_sampled_or_failed() {
    let receiver = Receiver::start().await;
    let rig = rig(section(Protocol::Grpc, receiver.address));
    let place = Arc::clone(&testing::rag_plan().pairs[0].places[0]);
    let sink = rig.export.sink();
    let travel = |outcome, sampled, user| {
        testing::travel(&sink, &place, outcome, |journey| {
            (journey.ids.sampled, journey.user) = (sampled, user);
        });
    };
    travel(Outcome::Ok, true, 1);
    travel(Outcome::Ok, false, 2);
    travel(Outcome::Failed(Failure::Reset), false, 3);
    travel(Outcome::Failed(Failure::Reset), true, 4);
    let stats = rig.finish(LONG).await;
    let spans = receiver.spans();
    let seen: Vec<_> = spans.iter().map(|it| (it.name.as_str(), it.flags & 1)).collect();
    assert_eq!(seen, [("journey rag", 1), ("journey rag", 0), ("journey rag", 1)]);
    assert_eq!(stats.sent(Signal::Traces), 3);
}

#[tokio::test]
async fn headers_agent_paths_and_compression_are_on_the_wire() {
    let pairs = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20t0ken,X-Scope-OrgID=7"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "none"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team=x"),
    ];
    for (protocol, path, encoding) in [
        (Protocol::Http, "/base/v1/traces", "content-encoding"),
        (Protocol::Grpc, "/opentelemetry.proto.collector.trace.v1.TraceService/Export", "grpc-encoding"),
    ] {
        let receiver = Receiver::start().await;
        let endpoint = format!("http://{}/base", receiver.address);
        let written =
            OtlpSettings { endpoint: Some(endpoint.parse().unwrap()), ..section(protocol, receiver.address) };
        let rig = rig_in(written, &pairs);
        rig.play(Outcome::Ok, |_| {});
        rig.log(|| tracing::warn!(target: "tokenbeat::app", "careful"));
        rig.finish(LONG).await;
        let seen = receiver.seen();
        let traces = of(&seen, Signal::Traces)[0];
        assert_eq!(traces.path, path);
        assert_eq!(traces.headers["authorization"], "Bearer t0ken");
        assert_eq!(traces.headers["x-scope-orgid"], "7");
        assert_eq!(traces.headers[encoding], "gzip");
        let agent = traces.headers["user-agent"].to_str().unwrap();
        assert!(agent.starts_with(concat!("tokenbeat/", env!("CARGO_PKG_VERSION"))), "{agent}");
        assert!(!of(&seen, Signal::Logs)[0].headers.contains_key(encoding));
        assert_eq!(of(&seen, Signal::Logs)[0].logs().len(), 1);
    }
}

#[tokio::test]
async fn a_full_batch_goes_out_without_waiting_for_others() {
    let receiver = Receiver::start().await;
    let rig = rig(section(Protocol::Grpc, receiver.address));
    for _ in 0..worker::MAX_BATCH {
        rig.play(Outcome::Ok, |_| {});
    }
    // Nothing orders a flush, and a partial batch would wait longer than the whole test may take.
    let begun = Instant::now();
    receiver.wait(|seen| !of(seen, Signal::Traces).is_empty()).await;
    assert!(begun.elapsed() < SPANS_LINGER);
    assert_eq!(receiver.spans().len(), worker::MAX_BATCH);
}

#[tokio::test]
async fn metrics_go_out_at_once_and_at_each_interval() {
    let receiver = Receiver::start().await;
    let rig = rig(section(Protocol::Http, receiver.address));
    let seen = receiver.wait(|seen| of(seen, Signal::Metrics).len() >= 3).await;
    // At zero from the start, so that the first failure is an increase.
    let first = of(&seen, Signal::Metrics)[0].metrics();
    assert!(first.iter().any(|metric| metric.name == "tokenbeat.requests"));
    drop(rig);
}

#[tokio::test]
async fn signals_that_are_off_send_nothing() {
    let receiver = Receiver::start().await;
    let written = OtlpSettings {
        metrics: Some(false),
        traces: Some(None),
        ..section(Protocol::Grpc, receiver.address)
    };
    let rig = rig(written);
    rig.play(Outcome::Failed(Failure::Reset), |_| {});
    rig.end_run();
    rig.log(|| tracing::info!(target: "tokenbeat::app", "up"));
    rig.finish(LONG).await;
    let seen = receiver.seen();
    assert!(seen.iter().all(|it| it.signal == Signal::Logs) && seen.len() == 1, "{seen:?}");
}

#[tokio::test]
async fn a_new_plan_is_followed() {
    let receiver = Receiver::start().await;
    let rig = rig(section(Protocol::Grpc, receiver.address));
    rig.play(Outcome::Ok, |_| {});
    let mut next =
        testing::plan(&["other"], vec![testing::profile("next", vec![testing::stage("steady", false)])]);
    next.agent.location = "us".into();
    next.telemetry.disable = vec!["tokenbeat_runs_total".to_owned()];
    rig.fanout().record(&Fact::PlanChanged(Arc::new(next)));
    rig.finish(LONG).await;
    let seen = receiver.seen();
    let metrics = of(&seen, Signal::Metrics).last().unwrap().metrics();
    let text = format!("{metrics:?}");
    assert!(text.contains("\"us\"") && !text.contains("\"eu\"") && text.contains("\"other\""));
    assert!(metrics.iter().all(|metric| metric.name != "tokenbeat.runs"));
    // The other target is the same server and model under another name, which GenAI metrics do not know.
    assert!(text.contains("gen_ai.client"));
}
