//! Each pattern of the diagnosis, provoked by a set-up of the simulator; a healthy one shows none. Which requests fail is
//! drawn from seeds; thresholds are far from what a busy machine adds.

use crate::authority::Authority;
use crate::harness::{ONCE, Running, Simulator, one, quick, until};
use crate::http::get;
use crate::player::summarize;
use std::time::Duration;
use tokenbeat::report::{Diagnosis, DiagnosisPattern, Report};
use tokenbeat::sim::Options;

/// A simulator with this time per step.
fn steps(millis: u64) -> Options {
    Options { step_time: Duration::from_millis(millis), ..quick() }
}

/// A profile that is played when it is asked for.
fn profile(load: &str, workload: &str) -> String {
    format!("schedule: {{ manual: {{}} }}, load: [{load}], workload: {{ {workload}, ignore_eos: true }}")
}

/// Plays all pairs of a config, one after the other.
async fn diagnosis(yaml: &str, simulator: &Simulator) -> Vec<Diagnosis> {
    found(summarize(yaml, simulator, 1, async |_| {}).await)
}

/// What was found; not that this machine was late, for it has other tests to run.
fn found(report: Report) -> Vec<Diagnosis> {
    report.diagnosis.into_iter().filter(|it| it.pattern != DiagnosisPattern::ProberLimited).collect()
}

/// The only pattern, which is this one.
fn only(found: &[Diagnosis], pattern: DiagnosisPattern) -> &Diagnosis {
    let [one] = found else { panic!("not one pattern: {found:#?}") };
    assert_eq!(one.pattern, pattern, "{found:#?}");
    assert!(
        !one.evidence.is_empty() && one.evidence.iter().all(|number| number.value.is_finite()),
        "{one:#?}"
    );
    one
}

fn number(found: &Diagnosis, name: &str) -> f64 {
    let number = found.evidence.iter().find(|number| number.name == name);
    number.unwrap_or_else(|| panic!("no {name} in {found:#?}")).value
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_target_shows_no_pattern() {
    let simulators = [(); 3].map(|()| Simulator::with(Options { noise: 0.05, ..steps(10) }));
    let targets: Vec<String> = (0..)
        .zip(&simulators)
        .map(|(n, simulator): (u32, _)| {
            let address = simulator.address;
            format!(
                "  t{n}: {{ api: openai-chat, base_url: 'http://{address}/v1', model: m, price: {{ input: 1, output: 2 }} }}\n"
            )
        })
        .collect();
    let yaml = format!(
        "targets:\n{}profiles:\n  p: {{ targets: [t0, t1, t2], {} }}\n  q: {{ targets: [t0, t1, t2], {} }}\n",
        targets.concat(),
        profile(
            "{ for: 3s, rate: 30/s, arrivals: poisson }",
            "prompts: [hello, good evening], output_tokens: 16"
        ),
        profile("{ requests: 30, users: 5 }", "prompts: [hello], output_tokens: 12, stream: false"),
    );
    let report = summarize(&yaml, &simulators[0], 1, async |_| {}).await;
    assert!(report.pairs.iter().all(|pair| pair.total.requests["ok"] >= 30), "{:#?}", report.pairs);
    assert_eq!(found(report), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_target_works_off_is_a_queue() {
    // Four at a time take 200 ms, which is 20 per second.
    let simulator = Simulator::with(Options { max_batch: 4, ..steps(20) });
    let yaml =
        one("", &profile("{ name: steady, for: 8s, rate: 40/s }", "prompts: [hello], output_tokens: 10"));
    let found = diagnosis(&yaml, &simulator).await;
    let queue = only(&found, DiagnosisPattern::Queueing);
    assert!(number(queue, "wait_in_last_third") > 2.0 * number(queue, "wait_in_first_third"), "{queue:#?}");
    assert_eq!(number(queue, "rate"), 40.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_a_gateway_are_told_from_a_load() {
    let simulator = Simulator::with(steps(30));
    simulator.inject("status;code=502;probability=0.3");
    let yaml = one("", &profile("{ requests: 100, users: 1 }", "prompts: [hello], output_tokens: 6"));
    let found = diagnosis(&yaml, &simulator).await;
    let errors = only(&found, DiagnosisPattern::ErrorsBeforeSaturation);
    assert!(errors.summary.contains("http_5xx") && number(errors, "failures") > 15.0, "{errors:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_is_told() {
    let simulator = Simulator::with(Options { rate_limit_requests: Some(60), ..quick() });
    // Half of them, at any speed.
    let yaml = one("", &profile("{ requests: 120, users: 4 }", "prompts: [hello], output_tokens: 2"));
    let found = diagnosis(&yaml, &simulator).await;
    let limited = only(&found, DiagnosisPattern::RateLimited);
    assert!((0.3..0.55).contains(&number(limited, "rate_limited")), "{limited:#?}");
    assert_eq!(number(limited, "smallest_headroom"), 0.0);
    assert!(number(limited, "longest_retry_after") >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_steps_are_bound_by_decoding() {
    let simulator = Simulator::with(steps(120));
    let yaml = one("", &profile("{ requests: 40, users: 20 }", "prompts: [hello], output_tokens: 16"));
    let found = diagnosis(&yaml, &simulator).await;
    let slow = only(&found, DiagnosisPattern::DecodeBound);
    assert!((0.115..0.2).contains(&number(slow, "time_per_output_token_p50")), "{slow:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_prompts_of_a_slow_prefill_are_told() {
    let simulator = Simulator::with(Options { prefill_rate: 1800.0, no_prefix_cache: true, ..quick() });
    let workload = format!("prompts: [hello, '{}'], output_tokens: 2", "word ".repeat(1000));
    let found = diagnosis(&one("", &profile("{ requests: 56, users: 1 }", &workload)), &simulator).await;
    let bound = only(&found, DiagnosisPattern::PrefillBound);
    let rate = number(bound, "prefill");
    assert!((1000.0..1900.0).contains(&rate), "{bound:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_collects_tokens_is_told() {
    let simulator = Simulator::with(steps(6));
    simulator.inject("many_events_per_write;n=8");
    let yaml = one("", &profile("{ requests: 40, users: 8 }", "prompts: [hello], output_tokens: 48"));
    let found = diagnosis(&yaml, &simulator).await;
    let buffered = only(&found, DiagnosisPattern::ProxyBuffering);
    assert!((5.0..9.0).contains(&number(buffered, "events_at_once")), "{buffered:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reasoning_that_leaves_no_room_is_told() {
    let simulator = Simulator::start();
    simulator.inject("hidden_reasoning;tokens=50");
    let yaml = one("", &profile("{ requests: 40, users: 4 }", "prompts: [hello], output_tokens: 32"));
    let found = diagnosis(&yaml, &simulator).await;
    let eaten = only(&found, DiagnosisPattern::ReasoningAteLimit);
    assert_eq!((number(eaten, "without_an_answer"), number(eaten, "limit_p50")), (1.0, 32.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_become_shorter_are_told() {
    let simulator = Simulator::start();
    // Without `ignore_eos`, so that the answer may end by itself.
    let load = "schedule: { manual: {} }, load: [{ requests: 50, users: 5 }]";
    let yaml = one("", &format!("{load}, workload: {{ prompts: [hello], output_tokens: 40 }}"));
    let between = async |round| {
        if round == 0 {
            simulator.inject("early_finish;tokens=12");
        }
    };
    let found = found(summarize(&yaml, &simulator, 2, between).await);
    let drift = only(&found, DiagnosisPattern::OutputLengthDrift);
    assert_eq!((number(drift, "output_before"), number(drift, "output_after")), (40.0, 12.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_prefix_cache_is_told() {
    let simulator = Simulator::start();
    let prompt = "The quick brown fox jumps over the lazy dog. ".repeat(60);
    let workload = format!("prompts: ['{prompt}'], output_tokens: 2, cache: reuse");
    let found = diagnosis(&one("", &profile("{ requests: 60, users: 2 }", &workload)), &simulator).await;
    let cached = only(&found, DiagnosisPattern::PrefixCache);
    assert!(number(cached, "cached_prompts") > 0.9, "{cached:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_set_up_each_time_are_told() {
    let authority = Authority::new("ours");
    let simulator = authority.simulator(None);
    let target = authority.trusted("").replace("{PORT}", &simulator.address.port().to_string());
    let yaml = one("", &profile("{ requests: 60, users: 1 }", "prompts: [hello], output_tokens: 2"));
    let yaml = yaml.replace(", base_url: 'http://{SIM}/v1'", &format!("{target}, connection: cold"));
    let found = diagnosis(&yaml, &simulator).await;
    let cold = only(&found, DiagnosisPattern::ColdConnections);
    assert_eq!(number(cold, "opened_a_connection"), 1.0);
    assert!(number(cold, "setup_part_of_wait") > 0.2, "{cold:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_target_among_three_is_named() {
    let simulators = [10, 10, 60].map(|millis| Simulator::with(steps(millis)));
    let targets: Vec<String> = (0..)
        .zip(&simulators)
        .map(|(n, simulator): (u32, _)| {
            format!("  t{n}: {{ api: openai-chat, base_url: 'http://{}/v1', model: m }}\n", simulator.address)
        })
        .collect();
    let profile = profile("{ requests: 40, users: 2 }", "prompts: [hello], output_tokens: 4");
    let yaml =
        format!("targets:\n{}profiles:\n  p: {{ targets: [t0, t1, t2], {profile} }}\n", targets.concat());
    let found = diagnosis(&yaml, &simulators[0]).await;
    let bad = only(&found, DiagnosisPattern::BadTarget);
    assert_eq!(&*bad.target, "t2");
    assert!(number(bad, "wait_of_this_target") > 0.055, "{bad:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expensive_profile_is_told() {
    let simulator = Simulator::start();
    let each = |name: &str, tokens: u32| {
        let workload = format!("prompts: [hello], output_tokens: {tokens}");
        format!("  {name}: {{ targets: [t], {} }}\n", profile("{ requests: 40, users: 4 }", &workload))
    };
    let yaml = one(
        ", price: { input: 0.1, output: 4 }",
        &profile("{ requests: 40, users: 4 }", "prompts: [hello], output_tokens: 4"),
    );
    let found = diagnosis(&format!("{yaml}{}", each("stories", 200)), &simulator).await;
    let dear = only(&found, DiagnosisPattern::Cost);
    assert_eq!((&*dear.profile, number(dear, "part_of_requests")), ("stories", 0.5));
    assert!(number(dear, "part_of_cost") > 0.9, "{dear:#?}");
}

/// A chat and questions about documents, by the same application.
const APPLICATION: &str = r#"
targets: { app: { api: openai-chat, base_url: 'http://{SIM}', model: m } }
profiles:
  chat:
    targets: [app]
    schedule: { manual: {} }
    load: [{ requests: 40, users: 4 }]
    scenario:
      steps:
        - name: chat
          post: /v1/chat/completions
          json: { model: m, max_tokens: 24, ignore_eos: true, messages: [{ role: user, content: Hello }] }
          read: { text: "$.choices[0].message.content", finish: "$.choices[0].finish_reason",
                  input_tokens: $.usage.prompt_tokens, output_tokens: $.usage.completion_tokens }
          reserve: { input_tokens: 4000, output_tokens: 200 }
  questions:
    targets: [app]
    schedule: { manual: {} }
    load: [{ requests: 44, users: 4 }]
    scenario:
      setup:
        - name: login
          post: /api/auth/login
          json: { email: a@example.net, password: demo }
          take: { token: $.access_token }
      steps:
        - name: query
          post: /api/rag/query
          headers: { Authorization: "Bearer {{ token }}" }
          json: { query: Which documents are there?, top_k: 3, max_tokens: 16 }
          read: { text: $.answer, finish: $.finish_reason, input_tokens: $.usage.prompt_tokens,
                  output_tokens: $.usage.completion_tokens }
          reserve: { input_tokens: 4000, output_tokens: 200 }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn slow_retrieval_is_told_and_ordinary_retrieval_is_not() {
    let simulator = Simulator::start();
    assert_eq!(diagnosis(APPLICATION, &simulator).await, []);
    simulator.inject("slow_retrieval;for=700ms");
    let found = diagnosis(APPLICATION, &simulator).await;
    let slow = only(&found, DiagnosisPattern::Retrieval);
    assert_eq!((&*slow.profile, &*slow.step), ("questions", "query"));
    assert!(number(slow, "time_of_questions") > 0.7, "{slow:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prober_at_its_own_limit_says_so() {
    let simulator = Simulator::with(steps(50));
    let yaml = one("", &profile("{ for: 3s, rate: 40/s }", "prompts: [hello], output_tokens: 4"));
    let yaml = yaml.replace("agent: { id: test }", "agent: { id: test, limits: { in_flight: 2 } }");
    let report = summarize(&yaml, &simulator, 1, async |_| {}).await;
    let limited = only(&report.diagnosis, DiagnosisPattern::ProberLimited);
    assert!(number(limited, "left_out") > 0.5, "{limited:#?}");
    let tables = report.tables();
    assert!(
        tables.contains("diagnosis: p on t: prober_limited\n  the prober leaves requests out"),
        "{tables}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_shows_it_in_the_api_and_on_the_page() {
    let simulator = Simulator::with(Options { rate_limit_requests: Some(60), ..quick() });
    let keys = format!(
        "schedule: {ONCE}, load: [{{ requests: 120, users: 4 }}], workload: {{ prompts: [hello], output_tokens: 2 }}"
    );
    let daemon = Running::start(&one("", &keys), &simulator).await;
    daemon.requests(120).await;
    // A diagnosis may be ten seconds old.
    let limited = until("the diagnosis", async || {
        let status = daemon.json("/api/v1/status").await;
        let all = status["diagnosis"].as_array().unwrap().clone();
        all.into_iter().find(|it| it["pattern"] == "rate_limited")
    })
    .await;
    assert_eq!((&limited["profile"], &limited["target"]), (&"p".into(), &"t".into()));
    let number = &limited["evidence"][0];
    assert_eq!((&number["name"], &number["unit"]), (&"rate_limited".into(), &"share".into()), "{limited}");
    assert!(number["value"].as_f64() > Some(0.2), "{limited}");
    let page = get(daemon.address, "/").await.ok();
    assert!(page.contains("rate limited</td>") && page.contains("status 429: a rate limit"), "{page}");
    daemon.drain().await;
}
