//! The webhook against a receiver in this process.

use super::*;
use crate::event::{RunResult, RunSummary, TargetState, TargetStateChange};
use crate::plan::from_yaml;
use crate::telemetry::export::Dropped;
use crate::testing::{LogBuffer, LogCapture, ReservedPort, change_plan, run};
use serde_json::{Value, json};
use std::time::UNIX_EPOCH;
use tokio_util::task::AbortOnDropHandle;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon's webhook without the daemon.
struct Rig {
    webhook: Arc<IncidentWebhook>,
    store: Arc<Store>,
    task: AbortOnDropHandle<()>,
}

fn plan(webhook: &str) -> Arc<Plan> {
    let text = format!(
        "agent: {{ id: probe-1, location: eu }}\n\
         telemetry: {{ {webhook} }}\n\
         targets: {{ llama: {{ api: openai-chat, base_url: 'http://127.0.0.1:1/v1' }} }}\n\
         profiles: {{ chat: {{ targets: [llama], schedule: {{ manual: {{}} }}, workload: {{ prompts: [x] }} }} }}"
    );
    Arc::new(from_yaml(&text).unwrap_or_else(|e| panic!("{e}")))
}

fn rig(url: &str, rest: &str) -> Rig {
    rig_after(Vec::new(), url, rest)
}

/// After an earlier process ended, in which this went on.
fn rig_after(earlier: Vec<WebhookIncident>, url: &str, rest: &str) -> Rig {
    let plan = plan(&format!("webhook: {{ url: '{url}', {rest} }}"));
    let store = Store::new(&plan);
    let (webhook, task) = IncidentWebhook::new(&plan, earlier, &store);
    Rig { webhook, store, task: AbortOnDropHandle::new(tokio::spawn(task.run())) }
}

impl Rig {
    fn stats(&self) -> &Stats {
        self.store.export_stats()
    }

    /// The target gets into another state.
    fn change(&self, from: TargetState, to: TargetState) {
        let change = TargetStateChange {
            target: "llama".into(),
            from,
            to,
            at: UNIX_EPOCH + Duration::from_secs(1000),
            why: "3 requests in a row timed out".to_owned(),
        };
        self.webhook.record(&Fact::TargetStateChanged(Arc::new(change)));
    }

    fn hang(&self) {
        self.change(TargetState::Ok, TargetState::Hung);
    }

    fn recover(&self) {
        self.change(TargetState::Hung, TargetState::Ok);
    }

    async fn until(&self, what: &str, reached: impl Fn(&Stats) -> bool) {
        let reached = async {
            while !reached(self.stats()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
    }

    async fn sent(&self, n: u64) {
        self.until(&format!("{n} messages"), |stats| stats.sent(Signal::Webhook) >= n).await;
    }

    /// Flushes, and waits for the end.
    async fn finish(self, within: Duration) -> Arc<Store> {
        self.webhook.shutdown(within);
        self.task.await.unwrap();
        self.store
    }
}

/// A receiver that answers with these statuses, one after the other, and then with 200.
async fn receiver(statuses: &[ResponseTemplate]) -> MockServer {
    let server = MockServer::start().await;
    for status in statuses {
        Mock::given(any()).respond_with(status.clone()).up_to_n_times(1).mount(&server).await;
    }
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    server
}

async fn seen(server: &MockServer) -> Vec<Request> {
    server.received_requests().await.unwrap()
}

fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

fn dropped(stats: &Stats, reason: Dropped) -> u64 {
    stats.dropped(Signal::Webhook, reason)
}

#[tokio::test]
async fn a_message_is_posted_with_every_field_and_told_once() {
    let server = receiver(&[]).await;
    let rig = rig(&format!("{}/hook?a=b", server.uri()), "headers: { X-Team: llm }");
    rig.hang();
    rig.hang();
    rig.recover();
    let store = rig.finish(PATIENCE).await;
    assert_eq!(store.export_stats().sent(Signal::Webhook), 2);
    let [hung, ok] = <[Request; 2]>::try_from(seen(&server).await).unwrap();
    assert_eq!((hung.method.as_str(), hung.url.path(), hung.url.query()), ("POST", "/hook", Some("a=b")));
    let header = |name: &str| hung.headers[name].to_str().unwrap().to_owned();
    assert_eq!((header("content-type"), header("x-team")), ("application/json".into(), "llm".into()));
    assert!(header("user-agent").starts_with("tokenbeat/"), "{}", header("user-agent"));
    let whole = json!({
        "version": 1,
        "id": "probe-1/target_state/llama/hung/1970-01-01T00:16:40.000Z",
        "key": "probe-1/target_state/llama",
        "event": "target_state",
        "status": "firing",
        "state": "hung",
        "previous": "ok",
        "title": "target llama is hung",
        "detail": "3 requests in a row timed out",
        "profile": "",
        "target": "llama",
        "quantity": "",
        "at": "1970-01-01T00:16:40.000Z",
        "agent": { "id": "probe-1", "location": "eu", "labels": {} },
    });
    assert_eq!(body(&hung), whole);
    assert_eq!(header("idempotency-key"), whole["id"]);
    assert_eq!((&body(&ok)["status"], &body(&ok)["key"]), (&json!("resolved"), &whole["key"]));
}

#[tokio::test]
async fn only_what_the_config_names_is_told() {
    let server = receiver(&[]).await;
    let ended = Fact::RunEnded {
        summary: Arc::new(RunSummary {
            run: run(&plan("").pairs[0].pair),
            started: UNIX_EPOCH,
            ended: UNIX_EPOCH,
            result: RunResult::Failed,
            reason: Some("failed requests: 1 reset".to_owned()),
            degraded: None,
            search: None,
            offered: 1,
            skipped: 0,
            ok: 0,
        }),
        tally: Arc::default(),
    };
    let by_default = rig(&server.uri(), "");
    by_default.webhook.record(&ended);
    by_default.finish(PATIENCE).await;
    assert_eq!(seen(&server).await.len(), 0, "a failed run is not told by default");
    let rig =
        rig(&server.uri(), "events: [run], body: '{{ event }} {{ profile }} {{ target }}: {{ detail }}'");
    rig.webhook.record(&ended);
    rig.hang();
    rig.finish(PATIENCE).await;
    let told: Vec<_> =
        seen(&server).await.iter().map(|it| String::from_utf8(it.body.clone()).unwrap()).collect();
    assert_eq!(told, ["run chat llama: failed requests: 1 reset"]);
}

#[tokio::test]
async fn a_passing_trouble_is_tried_again() {
    for trouble in [ResponseTemplate::new(503), ResponseTemplate::new(429), ResponseTemplate::new(500)] {
        let server = receiver(&[trouble]).await;
        let rig = rig(&server.uri(), "");
        rig.hang();
        // The order to stop cuts the wait short, and a last attempt follows.
        let store = rig.finish(PATIENCE).await;
        let stats = store.export_stats();
        assert_eq!((stats.sent(Signal::Webhook), stats.failures(Signal::Webhook)), (1, 1));
        let [first, second] = <[Request; 2]>::try_from(seen(&server).await).unwrap();
        assert_eq!(first.body, second.body);
        assert_eq!(first.headers["idempotency-key"], second.headers["idempotency-key"]);
    }
}

#[tokio::test]
async fn a_wait_that_the_receiver_asks_for_is_kept_to() {
    let server = receiver(&[ResponseTemplate::new(429).insert_header("retry-after", "2")]).await;
    let rig = rig(&server.uri(), "");
    let begun = Instant::now();
    rig.hang();
    let store = rig.finish(PATIENCE).await;
    // Longer than our own wait after one failure, which is at most a second.
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(store.export_stats().sent(Signal::Webhook), 1);
}

/// The wait that one receiver asks for is none of another's.
#[tokio::test]
async fn another_receiver_is_told_without_the_wait_of_the_old_one() {
    let busy = ResponseTemplate::new(429).insert_header("retry-after", "280");
    let (first, second) = (receiver(&[busy]).await, receiver(&[]).await);
    let rig = rig(&first.uri(), "");
    rig.hang();
    rig.until("a refusal", |stats| stats.failures(Signal::Webhook) > 0).await;
    // The same one, in a new config.
    change_plan(&*rig.webhook, plan(&format!("webhook: {{ url: '{}', min_interval: 1m }}", first.uri())));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(seen(&first).await.len(), 1, "it asked for a wait");
    change_plan(&*rig.webhook, plan(&format!("webhook: {{ url: '{}' }}", second.uri())));
    rig.sent(1).await;
    assert_eq!((seen(&first).await.len(), seen(&second).await.len()), (1, 1));
}

#[tokio::test]
async fn a_receiver_that_comes_up_late_is_told() {
    let port = ReservedPort::new();
    let rig = rig(&format!("http://{}", port.address), "");
    rig.hang();
    rig.until("a refused connection", |stats| stats.failures(Signal::Webhook) > 0).await;
    let server = MockServer::builder().listener(port.listen().into_std().unwrap()).start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(204)).mount(&server).await;
    rig.sent(1).await;
    assert_eq!(dropped(rig.stats(), Dropped::Failed), 0);
}

#[tokio::test]
async fn a_refusal_for_good_is_counted_and_not_repeated() {
    for status in [400, 404, 302] {
        let server = receiver(&[ResponseTemplate::new(status).insert_header("location", "/elsewhere")]).await;
        let rig = rig(&server.uri(), "");
        rig.hang();
        let store = rig.finish(PATIENCE).await;
        let stats = store.export_stats();
        assert_eq!(seen(&server).await.len(), 1, "{status}");
        assert_eq!((stats.failures(Signal::Webhook), dropped(stats, Dropped::Rejected)), (1, 1), "{status}");
        assert_eq!(stats.sent(Signal::Webhook), 0);
    }
}

#[tokio::test]
async fn an_end_that_is_held_is_told_before_the_process_ends() {
    let server = receiver(&[]).await;
    let rig = rig(&server.uri(), "");
    rig.hang();
    rig.recover();
    rig.change(TargetState::Ok, TargetState::Slow);
    rig.change(TargetState::Slow, TargetState::Ok);
    rig.finish(PATIENCE).await;
    let told: Vec<_> = seen(&server).await.iter().map(|request| body(request)["state"].clone()).collect();
    assert_eq!(told, ["hung", "ok", "slow", "ok"]);
}

/// Whoever was not told of trouble is told later.
#[tokio::test]
async fn what_was_refused_is_told_again() {
    let server = receiver(&[ResponseTemplate::new(404)]).await;
    let rig = rig(&server.uri(), "min_interval: 1s");
    rig.hang();
    rig.sent(1).await;
    rig.recover();
    rig.finish(PATIENCE).await;
    let told: Vec<_> = seen(&server).await.iter().map(|request| body(request)["state"].clone()).collect();
    assert_eq!(told, ["hung", "hung", "ok"]);
}

/// The daemon was started again, and meanwhile the target has recovered, or another one is gone.
#[tokio::test]
async fn the_end_of_what_an_earlier_process_told_is_told() {
    let server = receiver(&[]).await;
    let of = |target: &str| WebhookIncident {
        kind: crate::vocabulary::IncidentKind::TargetState,
        profile: "".into(),
        target: target.into(),
        quantity: "".into(),
        state: "hung".into(),
        previous: "".into(),
        firing: true,
        title: String::new(),
        detail: String::new(),
        at: UNIX_EPOCH,
    };
    let rig = rig_after(vec![of("llama"), of("former")], &server.uri(), "");
    rig.change(TargetState::Unknown, TargetState::Ok);
    rig.finish(PATIENCE).await;
    let messages: Vec<_> = seen(&server).await.iter().map(body).collect();
    let told: Vec<_> = messages.iter().map(|it| (&it["target"], &it["status"])).collect();
    let resolved = &json!("resolved");
    assert_eq!(told, [(&json!("former"), resolved), (&json!("llama"), resolved)]);
}

/// The queue is bounded, recording never blocks, and the flush ends in time although the receiver hangs.
#[tokio::test]
async fn a_hanging_receiver_costs_bounded_memory_and_a_bounded_flush() {
    let server = MockServer::start().await;
    let hangs = ResponseTemplate::new(200).set_delay(PATIENCE * 2);
    Mock::given(any()).respond_with(hangs).mount(&server).await;
    let rig = rig(&server.uri(), "min_interval: 0s, timeout: 1m");
    rig.hang();
    let begun = Instant::now();
    while seen(&server).await.is_empty() {
        assert!(begun.elapsed() < PATIENCE, "nothing was sent");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let more = CAPACITY.items as u64 + 100;
    for n in 0..more {
        if n % 2 == 0 { rig.recover() } else { rig.hang() }
    }
    // What is not told again while it stands: every other one.
    let full = 50;
    assert_eq!(dropped(rig.stats(), Dropped::QueueFull), full);
    let begun = Instant::now();
    let store = rig.finish(Duration::from_millis(200)).await;
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    let stats = store.export_stats();
    let lost = dropped(stats, Dropped::QueueFull) + dropped(stats, Dropped::Failed);
    let messages = 1 + CAPACITY.items as u64 + full;
    assert_eq!((lost, stats.sent(Signal::Webhook)), (messages, 0), "every message is accounted for");
}

#[tokio::test]
async fn what_flapped_and_still_stands_is_told_after_the_interval() {
    let server = receiver(&[]).await;
    let rig = rig(&server.uri(), "min_interval: 400ms");
    rig.hang();
    rig.recover();
    rig.hang();
    rig.sent(3).await;
    let states: Vec<Value> = seen(&server).await.iter().map(|it| body(it)["state"].clone()).collect();
    assert_eq!(states, ["hung", "ok", "hung"]);
}

#[tokio::test]
async fn a_header_and_the_url_come_from_files_that_change() {
    let (first, second) = (receiver(&[]).await, receiver(&[]).await);
    let folder = tempfile::tempdir().unwrap();
    let (url, token) = (folder.path().join("url"), folder.path().join("token"));
    std::fs::write(&url, format!("{}/one\n", first.uri())).unwrap();
    std::fs::write(&token, "Bearer one\n").unwrap();
    let webhook = format!(
        "webhook: {{ url: {{ file: {} }}, headers: {{ Authorization: {{ file: {} }} }} }}",
        url.display(),
        token.display()
    );
    let plan = plan(&webhook);
    let store = Store::new(&plan);
    let (webhook, task) = IncidentWebhook::new(&plan, Vec::new(), &store);
    let rig = Rig { webhook, store, task: AbortOnDropHandle::new(tokio::spawn(task.run())) };
    rig.hang();
    rig.sent(1).await;
    std::fs::write(&url, format!("{}/two\n", second.uri())).unwrap();
    std::fs::write(&token, "Bearer two\n").unwrap();
    // Files are looked at every second.
    let both = async || {
        let settings = rig.webhook.settings.borrow().webhook.clone().unwrap();
        let read = |secret: &crate::secret::Secret| secret.read().unwrap().expose().to_owned();
        read(&settings.url).ends_with("/two") && read(&settings.headers[0].1) == "Bearer two"
    };
    let begun = Instant::now();
    while !both().await {
        assert!(begun.elapsed() < PATIENCE, "the files were not read again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    rig.recover();
    rig.sent(2).await;
    let of = async |server: &MockServer| {
        let all = seen(server).await;
        let show =
            |it: &Request| format!("{} {}", it.url.path(), it.headers["authorization"].to_str().unwrap());
        all.iter().map(show).collect::<Vec<_>>()
    };
    assert_eq!(
        (of(&first).await, of(&second).await),
        (vec!["/one Bearer one".into()], vec!["/two Bearer two".into()])
    );
}

#[tokio::test]
async fn another_plan_replaces_it() {
    let (first, second) = (receiver(&[]).await, receiver(&[]).await);
    let rig = rig(&first.uri(), "");
    let series = |shown| assert_eq!(rig.stats().is_shown(Signal::Webhook), shown);
    series(true);
    rig.hang();
    rig.sent(1).await;
    change_plan(
        &*rig.webhook,
        plan(&format!("webhook: {{ url: '{}', body: '{{{{ state }}}}' }}", second.uri())),
    );
    rig.hang();
    rig.recover();
    rig.sent(2).await;
    assert_eq!((seen(&first).await.len(), seen(&second).await[0].body.as_slice()), (1, &b"ok"[..]));
    change_plan(&*rig.webhook, plan(""));
    series(false);
    rig.hang();
    change_plan(&*rig.webhook, plan(&format!("webhook: {{ url: '{}' }}", second.uri())));
    series(true);
    rig.finish(PATIENCE).await;
    assert_eq!(seen(&second).await.len(), 1, "without a webhook nothing is told");
}

/// Receivers quote what they received, and that is logged.
#[tokio::test]
async fn what_was_told_before_a_time_without_a_webhook_is_told_again() {
    let server = receiver(&[]).await;
    let rig = rig(&server.uri(), "");
    rig.hang();
    rig.sent(1).await;
    change_plan(&*rig.webhook, plan(""));
    rig.recover();
    change_plan(&*rig.webhook, plan(&format!("webhook: {{ url: '{}' }}", server.uri())));
    rig.hang();
    rig.sent(2).await;
    let told: Vec<_> = seen(&server).await.iter().map(|request| body(request)["state"].clone()).collect();
    assert_eq!(told, ["hung", "hung"]);
}

/// A reload takes the target away: whoever was told of its trouble is told its end, once.
#[tokio::test]
async fn the_end_of_what_is_no_longer_in_the_config_is_told() {
    let server = receiver(&[]).await;
    let rig = rig(&server.uri(), "");
    rig.hang();
    let without = from_yaml(&format!(
        "agent: {{ id: probe-1 }}\n\
         telemetry: {{ webhook: {{ url: '{}' }} }}\n\
         targets: {{ other: {{ api: openai-chat, base_url: 'http://127.0.0.1:1/v1' }} }}\n\
         profiles: {{ chat: {{ targets: [other], schedule: {{ manual: {{}} }}, workload: {{ prompts: [x] }} }} }}",
        server.uri()
    ));
    change_plan(&*rig.webhook, without.unwrap_or_else(|e| panic!("{e}")));
    rig.recover();
    rig.finish(PATIENCE).await;
    let messages: Vec<_> = seen(&server).await.iter().map(body).collect();
    let told: Vec<_> = messages.iter().map(|it| [&it["key"], &it["status"], &it["state"]]).collect();
    let key = &json!("probe-1/target_state/llama");
    assert_eq!(told, [[key, &json!("firing"), &json!("hung")], [key, &json!("resolved"), &json!("ok")]]);
    assert_eq!(messages[1]["detail"], "it is no longer in the config");
}

#[tokio::test]
async fn no_secret_gets_into_the_log() {
    use tracing_subscriber::layer::SubscriberExt as _;
    let quoting = |request: &Request| {
        let header = request.headers["x-token"].to_str().unwrap().to_owned();
        ResponseTemplate::new(400).set_body_string(format!("no {} with {header}", request.url))
    };
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(quoting).mount(&server).await;
    let url = format!("{}/services/sesame-path?sig=sesame-query", server.uri());
    let rig = rig(&url, "headers: { X-Token: { value: sesame-header } }");
    let log = LogBuffer::default();
    let layer = tracing_subscriber::fmt::layer().with_writer(log.clone()).with_ansi(false);
    let _capture = LogCapture::start(tracing_subscriber::registry().with(layer));
    rig.hang();
    let shown = format!("{:?}", rig.webhook.settings.borrow());
    rig.finish(PATIENCE).await;
    let log = log.text();
    assert!(log.contains("cannot call the webhook: HTTP 400 Bad Request: no "), "{log}");
    assert!(!log.contains("sesame") && !shown.contains("sesame"), "{log} {shown}");
}
