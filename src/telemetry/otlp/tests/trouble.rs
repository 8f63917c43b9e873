//! A receiver that is down, slow, rejecting or endless costs counters and nothing else.

use super::*;
use crate::testing::ReservedPort;

fn dropped(stats: &Stats, reason: Dropped) -> u64 {
    stats.dropped(Signal::Traces, reason)
}

/// Traces only, so that the script applies to them.
fn traces_only(protocol: Protocol, address: SocketAddr) -> OtlpSettings {
    OtlpSettings { metrics: Some(false), logs: Some(false), ..section(protocol, address) }
}

#[tokio::test]
async fn a_refusal_for_good_is_counted_and_not_repeated() {
    for (protocol, refusal) in [
        (Protocol::Http, ScriptedReply::Status(400, None)),
        (Protocol::Grpc, ScriptedReply::Code(3, None)),
        // Resource exhausted, without a wait.
        (Protocol::Grpc, ScriptedReply::Code(8, None)),
        (Protocol::Http, ScriptedReply::Status(302, None)),
    ] {
        let receiver = Receiver::start().await;
        receiver.reply([refusal.clone()]);
        let rig = rig(traces_only(protocol, receiver.address));
        rig.play(Outcome::Ok, |_| {});
        rig.play(Outcome::Ok, |_| {});
        let stats = rig.finish(LONG).await;
        assert_eq!(receiver.seen().len(), 1, "{refusal:?}");
        assert_eq!(
            (stats.failures(Signal::Traces), dropped(&stats, Dropped::Rejected)),
            (1, 2),
            "{refusal:?}"
        );
        assert_eq!(stats.sent(Signal::Traces), 0);
    }
}

#[tokio::test]
async fn what_was_taken_in_part_is_counted_in_part() {
    for protocol in BOTH {
        let receiver = Receiver::start().await;
        receiver.reply([ScriptedReply::Partly(2)]);
        let rig = rig(traces_only(protocol, receiver.address));
        for _ in 0..5 {
            rig.play(Outcome::Ok, |_| {});
        }
        let stats = rig.finish(LONG).await;
        assert_eq!((stats.sent(Signal::Traces), dropped(&stats, Dropped::Rejected)), (3, 2), "{protocol:?}");
        assert_eq!(stats.failures(Signal::Traces), 0);
    }
}

/// The library treats a partial success as a success and only logs it.
#[tokio::test]
async fn log_records_that_were_taken_in_part_are_counted_in_part() {
    for protocol in BOTH {
        let receiver = Receiver::start().await;
        receiver.reply([ScriptedReply::Partly(1)]);
        let written =
            OtlpSettings { metrics: Some(false), traces: Some(None), ..section(protocol, receiver.address) };
        let rig = rig(written);
        for _ in 0..3 {
            rig.log(|| tracing::info!(target: "tokenbeat::app", "up"));
        }
        let stats = rig.finish(LONG).await;
        let rejected = stats.dropped(Signal::Logs, Dropped::Rejected);
        assert_eq!((stats.sent(Signal::Logs), rejected), (2, 1), "{protocol:?}");
        assert_eq!(stats.failures(Signal::Logs), 0);
    }
}

#[tokio::test]
async fn a_passing_trouble_is_tried_again_and_nothing_is_lost() {
    for (protocol, trouble) in
        [(Protocol::Http, ScriptedReply::Status(503, None)), (Protocol::Grpc, ScriptedReply::Code(14, None))]
    {
        let receiver = Receiver::start().await;
        receiver.reply([trouble.clone()]);
        let rig = rig(traces_only(protocol, receiver.address));
        rig.play(Outcome::Ok, |_| {});
        // The order to stop cuts the back-off short, and a last attempt follows.
        let stats = rig.finish(LONG).await;
        assert_eq!(receiver.seen().len(), 2, "{trouble:?} over {protocol:?}");
        assert_eq!((stats.sent(Signal::Traces), stats.failures(Signal::Traces)), (1, 1), "{trouble:?}");
        assert_eq!(receiver.spans().len(), 1);
    }
}

#[tokio::test]
async fn a_reply_that_does_not_end_in_time_is_given_up_and_nothing_is_lost() {
    for protocol in BOTH {
        for trouble in [ScriptedReply::Hang, ScriptedReply::Dribble] {
            let receiver = Receiver::start().await;
            receiver.reply([trouble.clone()]);
            let timeout = Some(Duration::from_millis(400));
            let rig = rig(OtlpSettings { timeout, ..traces_only(protocol, receiver.address) });
            rig.play(Outcome::Ok, |_| {});
            // Before the order to stop, after which there is one more attempt: on a busy machine, any may be too late.
            rig.until(|stats| stats.sent(Signal::Traces) > 0).await;
            let stats = rig.finish(LONG).await;
            assert_eq!(stats.sent(Signal::Traces), 1, "{trouble:?} over {protocol:?}");
            assert!(stats.failures(Signal::Traces) >= 1 && receiver.seen().len() >= 2, "{trouble:?}");
            assert!(!receiver.spans().is_empty());
        }
    }
}

#[tokio::test]
async fn a_wait_that_the_receiver_asks_for_is_kept_to() {
    for (protocol, busy, wait) in [
        (Protocol::Http, ScriptedReply::Status(429, Some(2)), Duration::from_secs(2)),
        (Protocol::Grpc, ScriptedReply::Code(8, Some(1700)), Duration::from_millis(1700)),
    ] {
        let receiver = Receiver::start().await;
        receiver.reply([busy]);
        let rig = rig(traces_only(protocol, receiver.address));
        rig.play(Outcome::Ok, |_| {});
        let begun = Instant::now();
        let stats = rig.finish(LONG).await;
        // Longer than our own back-off after one failure, which is at most a second.
        assert!(begun.elapsed() >= wait, "{:?}", begun.elapsed());
        assert_eq!(stats.sent(Signal::Traces), 1);
    }
}

#[tokio::test]
async fn a_receiver_that_comes_up_late_gets_everything() {
    for protocol in BOTH {
        let port = ReservedPort::new();
        let rig = rig(section(protocol, port.address));
        rig.play(Outcome::Ok, |_| {});
        rig.until(|stats| stats.failures(Signal::Metrics) > 0).await;
        let receiver = Receiver::on(port.listen(), None);
        receiver.wait(|seen| !of(seen, Signal::Metrics).is_empty()).await;
        let stats = rig.finish(LONG).await;
        assert_eq!(receiver.spans().len(), 1, "{protocol:?}");
        assert_eq!(dropped(&stats, Dropped::Failed), 0);
    }
}

#[tokio::test]
async fn a_receiver_that_is_restarted_is_found_again() {
    for protocol in BOTH {
        let port = ReservedPort::new();
        let receiver = Receiver::on(port.listen(), None);
        let rig = rig(section(protocol, receiver.address));
        receiver.wait(|seen| !seen.is_empty()).await;
        drop(receiver);
        rig.until(|stats| stats.failures(Signal::Metrics) > 0).await;
        let receiver = Receiver::on(port.listen(), None);
        receiver.wait(|seen| seen.len() >= 2).await;
    }
}

/// The queue is bounded, recording never blocks, and the flush ends in time although the receiver hangs.
#[tokio::test]
async fn a_hanging_receiver_costs_bounded_memory_no_time_and_a_bounded_flush() {
    for protocol in BOTH {
        let receiver = Receiver::start().await;
        receiver.always(ScriptedReply::Hang);
        let written = OtlpSettings { timeout: Some(LONG), ..traces_only(protocol, receiver.address) };
        let rig = rig(written);
        let more = CAPACITY.items + 3 * worker::MAX_BATCH;
        for _ in 0..worker::MAX_BATCH {
            rig.play(Outcome::Ok, |_| {});
        }
        // The worker is in an attempt that never ends, so new items stay in the queue.
        receiver.wait(|seen| !seen.is_empty()).await;
        for _ in 0..more {
            rig.play(Outcome::Ok, |_| {});
        }
        assert_eq!(dropped(&rig.stats, Dropped::QueueFull), (more - CAPACITY.items) as u64);
        let begun = Instant::now();
        let stats = rig.finish(Duration::from_millis(300)).await;
        assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
        let lost = dropped(&stats, Dropped::QueueFull) + dropped(&stats, Dropped::Failed);
        assert_eq!(lost, (more + worker::MAX_BATCH) as u64, "every span is accounted for");
    }
}

/// A request with a long answer takes more memory than its span; the queue accounts for that.
#[tokio::test]
async fn the_queue_is_bounded_in_bytes_too() {
    let receiver = Receiver::start().await;
    receiver.always(ScriptedReply::Hang);
    let rig = rig(OtlpSettings { timeout: Some(LONG), ..traces_only(Protocol::Http, receiver.address) });
    for _ in 0..worker::MAX_BATCH {
        rig.play(Outcome::Ok, |_| {});
    }
    receiver.wait(|seen| !seen.is_empty()).await;
    let long = rig.play(Outcome::Ok, |request| {
        for _ in 0..200_000 {
            // The longer, the more bytes.
            request.observed.gaps.push(Duration::from_hours(200 * 365 * 24));
        }
    });
    for _ in 1..20 {
        let place = Arc::clone(&rig.plan.pairs[0].places[1]);
        rig.export.sink().record(&Fact::Ended { request: Arc::clone(&long), place });
    }
    let fits = CAPACITY.bytes / span::weight(&long);
    assert!((2..19).contains(&fits));
    assert_eq!(dropped(&rig.stats, Dropped::QueueFull), 20 - fits as u64);
}

#[tokio::test]
async fn a_slow_receiver_gets_everything() {
    let receiver = Receiver::start().await;
    receiver.always(ScriptedReply::Slow(Duration::from_millis(150)));
    let rig = rig(section(Protocol::Grpc, receiver.address));
    for _ in 0..worker::MAX_BATCH + 10 {
        rig.play(Outcome::Ok, |_| {});
    }
    let stats = rig.finish(LONG).await;
    assert_eq!(receiver.spans().len(), worker::MAX_BATCH + 10);
    assert_eq!(stats.failures(Signal::Traces), 0);
}

#[tokio::test]
async fn an_order_to_stop_that_is_due_at_once_is_obeyed() {
    let receiver = Receiver::start().await;
    receiver.always(ScriptedReply::Status(503, None));
    let rig = rig(traces_only(Protocol::Http, receiver.address));
    rig.play(Outcome::Ok, |_| {});
    let stats = rig.finish(Duration::ZERO).await;
    assert_eq!(dropped(&stats, Dropped::Failed), 1);
}

#[tokio::test]
async fn an_export_that_is_dropped_ends_its_work() {
    let receiver = Receiver::start().await;
    receiver.always(ScriptedReply::Hang);
    let rig = rig(section(Protocol::Grpc, receiver.address));
    rig.play(Outcome::Ok, |_| {});
    let Rig { export, work, .. } = rig;
    drop(export);
    work.await.unwrap();
}

#[tokio::test]
async fn metrics_that_failed_are_taken_anew_and_never_queued() {
    let receiver = Receiver::start().await;
    receiver.reply([ScriptedReply::Status(503, None), ScriptedReply::Status(503, None)]);
    let written =
        OtlpSettings { traces: Some(None), logs: Some(false), ..section(Protocol::Http, receiver.address) };
    let rig = rig(written);
    receiver.wait(|seen| seen.len() >= 2).await;
    rig.play(Outcome::Ok, |_| {});
    let stats = rig.finish(LONG).await;
    let seen = receiver.seen();
    assert!(stats.failures(Signal::Metrics) >= 2);
    assert_eq!(stats.dropped(Signal::Metrics, Dropped::Failed), 0);
    let last = seen.last().unwrap().metrics();
    assert!(last.iter().any(|metric| metric.name == "gen_ai.client.inference.duration"));
}

#[tokio::test]
async fn secrets_that_cannot_be_read_are_a_failure_and_not_a_request() {
    use crate::secret::{Secret, SecretOrigin};
    let receiver = Receiver::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let secret = Arc::new(Secret::new(SecretOrigin::File(file.clone())));
    let written = OtlpSettings {
        headers: vec![("x-token".parse().unwrap(), secret)],
        traces: Some(None),
        logs: Some(false),
        ..section(Protocol::Http, receiver.address)
    };
    let rig = rig(written);
    rig.until(|stats| stats.failures(Signal::Metrics) > 0).await;
    assert!(receiver.seen().is_empty());
    std::fs::write(file, "t0ken\n").unwrap();
    let seen = receiver.wait(|seen| !seen.is_empty()).await;
    assert_eq!(seen[0].headers["x-token"], "t0ken");
}

/// Receivers and proxies may quote what they received, and that is logged.
#[tokio::test]
async fn a_receiver_that_quotes_our_headers_gets_no_secret_into_the_log() {
    use crate::secret::{Exposed, Secret, SecretOrigin};
    use crate::telemetry::export::Transport as _;
    use crate::telemetry::otlp::transport::OtlpTransport;
    let headers = [("authorization", "Bearer sesame-opens"), ("x-api-key", "hunter2-and-more")];
    let headers = headers.map(|(name, value)| {
        (name.parse().unwrap(), Arc::new(Secret::new(SecretOrigin::Literal(Exposed::new(value)))))
    });
    for protocol in BOTH {
        let receiver = Receiver::start().await;
        let headers = headers.to_vec();
        let written = OtlpSettings { headers, timeout: Some(LONG), ..section(protocol, receiver.address) };
        let otlp = resolve(Some(written), &|_| None).unwrap().unwrap();
        let mut transport = OtlpTransport::new(Signal::Traces, otlp.traces.unwrap().to).unwrap();
        receiver.reply([ScriptedReply::Quote { partly: false }, ScriptedReply::Quote { partly: true }]);
        let refused = transport.send(bytes::Bytes::new()).await.unwrap_err();
        let partly = transport.send(bytes::Bytes::new()).await.unwrap();
        for said in [refused.why(), &partly.message] {
            assert!(said.contains("not for") && said.contains("***"), "{protocol:?}: {said}");
            assert!(!said.contains("sesame") && !said.contains("hunter2"), "{protocol:?}: {said}");
        }
        assert_eq!(receiver.seen()[0].headers["authorization"], "Bearer sesame-opens");
    }
}
