//! The commands of the real binary: exit codes, output on stdout and stderr, signals.

use crate::harness::{Simulator, until, until_within};
use crate::http::{get, try_get};
use crate::process::{Ended, Process, bare, folder, run};
use crate::reserved_port::ReservedPort;
use crate::scrape::Scrape;
use std::net::SocketAddr;
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers};

/// A target `t`, and profiles that end at once.
fn config(server: impl std::fmt::Display) -> String {
    let workload = "schedule: { manual: {} }, workload: { prompts: [hello], output_tokens: 8 }";
    let slo = |bound| {
        format!("slo: [{{ name: ttft, metric: time_to_first_token, below: {bound}, objective: 95% }}]")
    };
    format!(
        "server: {{ listen: 127.0.0.1:0 }}\n\
         targets: {{ t: {{ api: openai-chat, base_url: 'http://{server}/v1', model: m }} }}\n\
         profiles:\n  \
           met: {{ targets: [t], {workload}, {} }}\n  \
           missed: {{ targets: [t], {workload}, {} }}\n  \
           bare: {{ targets: [t], {workload}, load: [{{ requests: 3 }}] }}\n  \
           check: {{ targets: [t], {workload}, expect: {{ text: {{ min_chars: 9999 }} }} }}\n  \
           long: {{ targets: [t], {workload}, load: [{{ for: 10m, rate: 5/s }}] }}\n  \
           warm: {{ targets: [t], {workload}, load: [{{ warm_up: 9s, rate: 9/s }}, {{ for: 9s, rate: 9/s }}] }}\n",
        slo("50s"),
        slo("1us"),
    )
}

#[tokio::test]
async fn a_run_ends_with_the_verdict_on_its_objectives() {
    let simulator = Simulator::start();
    let config = config(simulator.address);
    for (profile, code) in [("met", 0), ("missed", 2), ("bare", 0), ("check", 2)] {
        let ended = run(&config, &["run", profile]).await;
        assert_eq!(ended.code, code, "{profile}: {ended:?}");
        // The result is on stdout, and progress is on stderr in plain lines, because there is no terminal.
        assert!(ended.out.contains(profile) && !ended.out.contains("started"), "{}", ended.out);
        assert!(ended.err.contains(&format!("{profile} on t: started")), "{}", ended.err);
        assert!(
            ended.err.contains(&format!("{profile} on t: ")) && !ended.err.contains('\u{1b}'),
            "{}",
            ended.err
        );
        assert!(!ended.out.contains('\u{1b}'));
    }
    assert_eq!(simulator.truth().len(), 6, "each was asked for what its profile says, and once");
}

#[tokio::test]
async fn a_run_says_why_it_failed() {
    let simulator = Simulator::start();
    let config = config(simulator.address);
    let nothing = "failed: warm on t: nothing was measured: --for 500ms is over before the warm-up, which takes 9s; give \
                   --for more than that\n";
    for (arguments, why) in [
        (
            &["run", "missed"][..],
            "failed: missed on t: objective ttft (below 0.000001 s) missed: the only one is bad",
        ),
        (&["run", "check"], "failed: check on t: checks failed: 1 "),
        (&["run", "warm", "--for", "500ms"], nothing),
    ] {
        let ended = run(&config, arguments).await;
        assert!(ended.code == 2 && ended.err.contains(why), "{arguments:?}: {ended:?}");
    }
    let met = run(&config, &["run", "met"]).await;
    assert!(met.code == 0 && !met.err.contains("failed"), "{met:?}");
}

#[tokio::test]
async fn a_run_of_a_scenario_ends_with_the_verdict_on_its_steps_and_journeys() {
    let simulator = Simulator::start();
    let ask = "ask: { prompt: hello, output_tokens: 4 }";
    let profile = |slo: &str| {
        format!(
            "{{ targets: [t], schedule: {{ manual: {{}} }}, load: [{{ requests: 2 }}], slo: [{slo}], \
             scenario: {{ steps: [{{ name: first, {ask} }}, {{ name: second, {ask} }}] }} }}"
        )
    };
    let slo = |name: &str, rest: &str| format!("{{ name: {name}, objective: 95%, {rest} }}");
    let met = [
        slo("first", "step: first, metric: time_to_first_token, below: 50s"),
        slo("visit", "metric: journey_duration, below: 100s"),
        slo("visits", "metric: journey_availability"),
    ];
    let config = format!(
        "server: {{ listen: 127.0.0.1:0 }}\n\
         targets: {{ t: {{ api: openai-chat, base_url: 'http://{}/v1', model: m }} }}\n\
         profiles:\n  met: {}\n  step: {}\n  journey: {}\n",
        simulator.address,
        profile(&met.join(", ")),
        profile(&slo("second", "step: second, metric: request_duration, below: 1us")),
        profile(&slo("visit", "metric: journey_duration, below: 1us")),
    );
    for (name, code, rows) in [
        ("met", 0, vec!["first 2 0", "visit 2 0", "visits 2 0", "all 4 0"]),
        ("step", 2, vec!["second 2 2", "all 4 2"]),
        ("journey", 2, vec!["visit 2 2", "all 4 0"]),
    ] {
        let ended = run(&config, &["run", name, "--details"]).await;
        assert_eq!(ended.code, code, "{name}: {ended:?}");
        // Name, events and errors.
        let table = ended.out.lines().skip_while(|line| !line.starts_with("│ objective")).skip(1);
        let table = table.map(|line| line.replace(" (goodput)", "")).filter(|line| line.starts_with('│'));
        let words = table.map(|line| line.split_whitespace().skip(1).take(3).collect::<Vec<_>>().join(" "));
        let seen: Vec<String> = words.collect();
        assert_eq!(seen, rows, "{}", ended.out);
    }
}

#[tokio::test]
async fn a_run_of_several_profiles_plays_them_in_turn() {
    let simulator = Simulator::start();
    let ended = run(&config(simulator.address), &["run", "met", "bare", "--target", "t"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    // In the order of the command line, each after the previous one has ended. (A late prober is warned
    // of.)
    let lines = ended.err.lines().filter(|line| !line.starts_with("warning: "));
    let lines: Vec<&str> = lines.map(|line| line.split_inclusive(": ").next().unwrap()).collect();
    assert_eq!(lines, ["met on t: ", "met on t: ", "bare on t: ", "bare on t: "], "{}", ended.err);
    assert_eq!(simulator.truth().len(), 4);
}

#[tokio::test]
async fn without_objectives_a_failure_is_a_miss() {
    let closed = ReservedPort::new();
    let ended = run(&config(closed.address), &["run", "bare"]).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.out.contains("connect"), "{}", ended.out);
}

#[tokio::test]
async fn a_run_of_a_given_time_is_cut_there() {
    let simulator = Simulator::start();
    let ended = run(&config(simulator.address), &["run", "long", "--for", "1s"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.err.contains("long on t: started, 1s of load"), "{}", ended.err);
    // Five fit in; a machine that hangs for a second skips some.
    assert!((1..=5).contains(&simulator.truth().len()));
}

#[tokio::test]
async fn what_does_not_exist_cannot_be_run() {
    let config = config("127.0.0.1:1");
    for (arguments, said) in [
        (
            &["run", "mett"][..],
            "error: there is no profile `mett`; there are: bare, check, long, met, missed, warm\n",
        ),
        (&["run", "met", "--target", "u"], "error: there is no target with a profile `u`; there are: t\n"),
        (&["run", "--for", "fortnight"], "error: invalid value 'fortnight' for '--for <DURATION>'"),
        (&["run", "--unknown"], "error: unexpected argument '--unknown' found"),
    ] {
        let ended = run(&config, arguments).await;
        assert_eq!((ended.code, ended.out.as_str()), (64, ""), "{arguments:?}: {ended:?}");
        assert!(ended.err.starts_with(said), "{arguments:?}: {}", ended.err);
    }
}

#[tokio::test]
async fn an_interrupted_run_has_failed() {
    let simulator = Simulator::start();
    let arguments = ["run", "long", "--config.file", "tokenbeat.yaml"];
    let process = Process::start(folder(&config(simulator.address)), &arguments, &[]);
    process.says("long on t: started").await;
    until("some requests", async || (simulator.truth().len() >= 2).then_some(())).await;
    process.signal("INT").await;
    let ended = process.ended().await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(
        ended.err.contains("long on t: cancelled") && ended.err.contains("stopped before the end"),
        "{}",
        ended.err
    );
    assert!(ended.out.contains("long"), "what was measured until then is told");
}

#[tokio::test]
async fn check_says_what_a_config_will_do() {
    let simulator = Simulator::start();
    let config = config(simulator.address).replace("manual: {}", "every: 1h");
    let ended = run(&config, &["check"]).await;
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
    // 24 runs of three requests a day.
    let bare = ended.out.lines().find(|line| line.contains("bare")).unwrap();
    assert!(bare.contains(" 24 ") && bare.contains(" 72 "), "{bare}");
    assert_eq!(simulator.truth().len(), 0, "checking costs nothing");
    let probed = run(&config, &["check", "--probe"]).await;
    assert_eq!((probed.code, simulator.truth().len()), (0, 1), "{probed:?}");
    assert!(probed.out.lines().any(|line| line.contains(" t ") && line.contains(" ok ")), "{}", probed.out);
}

#[tokio::test]
async fn check_says_how_long_each_budget_lasts() {
    let config = |budget: &str| {
        format!(
            "agent: {{ currency: EUR }}\n\
             targets:\n\
             \x20 t: {{ api: openai-chat, base_url: 'http://127.0.0.1:1/v1', tokenizer: o200k_base, \
             price: {{ input: 100, output: 100 }} }}\n\
             profiles:\n\
             \x20 p:\n\
             \x20   targets: [t]\n\
             \x20   schedule: {{ every: 1m }}\n\
             \x20   workload: {{ prompts: [Say hi], output_tokens: 8, cache: reuse }}\n\
             \x20   budget: {{ timezone: Asia/Kolkata, {budget} }}\n"
        )
    };
    // Two tokens of the prompt, four of the template, eight of the answer; at most 278 and eight.
    let short = config("cost: 0.5, tokens: 1000000, requests: 100");
    let ended = run(&short, &["check"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    for line in [
        "Budget of profile/p: 100 requests per day (Asia/Kolkata); this config would send up to 1440 a day, expected 1440: \
         it lasts until about 01:40",
        "Budget of profile/p: 1000000 tokens per day (Asia/Kolkata); this config would use up to 411840 a day, expected \
         20160: it lasts",
        "Budget of profile/p: 0.50 eur per day (Asia/Kolkata); this config would spend up to 41.18 a day, expected 2.02: it \
         lasts until about 05:57",
    ] {
        assert!(ended.out.lines().any(|told| told == line), "{line} is not in {}", ended.out);
    }
    assert!(ended.out.contains("expected 8640, by the tokenizer"), "{}", ended.out);
    for warning in [
        "warning: tokenbeat.yaml:9:77: profiles.p.budget.requests: is less than what is expected to be taken: this config",
        "warning: tokenbeat.yaml:9:45: profiles.p.budget.cost: is less than what is expected to be taken: this config",
    ] {
        assert!(ended.err.contains(warning), "{warning} is not in {}", ended.err);
    }
    assert!(!ended.err.contains("budget.tokens"), "{}", ended.err);
    let strict = run(&short, &["check", "--strict"]).await;
    assert_eq!(strict.code, 64, "{strict:?}");
    assert!(strict.err.ends_with("2 warnings in the config\n") && !strict.out.contains("ok\n"), "{strict:?}");
    let long = run(&config("period: month, cost: 500, requests: 50000"), &["check", "--strict"]).await;
    assert_eq!((long.code, &*long.err), (0, ""), "{long:?}");
    // A budget that is smaller than any request.
    let tiny = run(&config("tokens: 200"), &["check"]).await;
    let why = "profiles.p.budget.tokens: no run of `p` can begin: 286 tokens have to be free for it";
    assert!(
        tiny.err.contains(why) && tiny.out.contains("expected 20160: no run of `p` can begin\n"),
        "{tiny:?}"
    );
}

#[tokio::test]
async fn the_newline_at_the_end_of_a_key_in_the_environment_does_not_go_out() {
    let simulator = Simulator::start();
    let config =
        config(simulator.address).replace("model: m", "model: m, auth: { bearer: { env: LLM_KEY } }");
    for end in ["", "\n", "\r\n"] {
        let arguments = ["check", "--probe", "--config.file", "tokenbeat.yaml"];
        let environment = [("LLM_KEY", &*format!("sesame-opens{end}"))];
        let ended = Process::start(folder(&config), &arguments, &environment).ended().await;
        assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{end:?}: {ended:?}");
    }
    // Within a value it cannot stand in a header.
    let environment = [("LLM_KEY", "sesame\nopens")];
    let arguments = ["check", "--probe", "--config.file", "tokenbeat.yaml"];
    let ended = Process::start(folder(&config), &arguments, &environment).ended().await;
    assert!(ended.code == 1 && ended.out.contains("credentials"), "{ended:?}");
}

#[tokio::test]
async fn a_probe_that_fails_is_a_failure() {
    let closed = ReservedPort::new();
    let ended = run(&config(closed.address), &["check", "--probe"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.out.contains("Connection refused"), "{}", ended.out);
}

#[tokio::test]
async fn warnings_are_told_and_stop_nothing() {
    let config =
        config("127.0.0.1:1").replace("model: m", "model: m, auth: { bearer: { value: sesame-opens } }");
    let ended = run(&config, &["check"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.err.starts_with("warning: tokenbeat.yaml:2:"), "{}", ended.err);
    assert!(!ended.err.contains("sesame") && !ended.out.contains("sesame"));
}

const WRONG: &str = "\
targets:
  a:
    api: openai-chat
    base_url: http://127.0.0.1/v1
    auth: { bearer: sesame-1 }
    modle: m
  b:
    api: openai-chat
    base_url: http://user:sesame-2@127.0.0.1/v1
    auth: { bearer: { valeu: sesame-3 } }
    timeouts: { connect: 5 }
profiles:
  p:
    targets: [a, c]
    schedule: { every: 2m }
    workload: { prompts: [x] }
";

#[tokio::test]
async fn a_wrong_config_is_told_all_that_is_wrong_and_where_and_no_secret() {
    for arguments in [&["check"][..], &["serve"], &["run"], &["check", "--probe"]] {
        let ended = run(WRONG, arguments).await;
        assert_eq!((ended.code, ended.out.as_str()), (64, ""), "{arguments:?}: {ended:?}");
        let lines: Vec<&str> = ended.err.lines().collect();
        for (place, path) in [
            ("5:21", "targets.a.auth.bearer"),
            ("6:5", "targets.a.modle"),
            ("10:23", "targets.b.auth.bearer"),
            ("11:26", "targets.b.timeouts.connect"),
            ("14:18", "profiles.p.targets[1]"),
        ] {
            let said = format!("error: tokenbeat.yaml:{place}: {path}: ");
            assert!(lines.iter().any(|line| line.starts_with(&said)), "not said: {said}\n{}", ended.err);
        }
        assert!(lines.last().unwrap().ends_with("errors in the config"), "{}", ended.err);
        assert!(!ended.err.contains("sesame"), "{}", ended.err);
    }
}

#[tokio::test]
async fn a_config_that_is_not_there_is_bad_usage() {
    for arguments in [&["serve"][..], &["check"], &["run"]] {
        let ended = bare(arguments).await;
        assert_eq!(ended.code, 64, "{ended:?}");
        assert!(ended.err.starts_with("error: no config: "), "{}", ended.err);
    }
    let ended = bare(&["check", "--config.file", "missing.yaml"]).await;
    assert_eq!(ended.code, 64, "{ended:?}");
    assert!(ended.err.starts_with("error: missing.yaml: "), "{}", ended.err);
}

#[tokio::test]
async fn a_metric_that_does_not_exist_cannot_be_disabled() {
    let config = format!("{}telemetry: {{ disable: [tokenbeat_stall_total] }}\n", config("127.0.0.1:1"));
    let ended = run(&config, &["serve"]).await;
    assert_eq!(ended.code, 64, "{ended:?}");
    assert!(ended.err.contains("there is no metric `tokenbeat_stall_total`"), "{}", ended.err);
}

#[tokio::test]
async fn what_prints_prints_to_stdout() {
    let ok = |ended: Ended| {
        assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
        ended.out
    };
    let schema: serde_json::Value = serde_json::from_str(&ok(bare(&["schema"]).await)).unwrap();
    assert_eq!(schema, serde_json::to_value(tokenbeat::config::schema()).unwrap());
    assert_eq!(
        ok(bare(&["schema", "--format", "markdown"]).await),
        include_str!("../../docs/configuration.md")
    );
    assert_eq!(ok(bare(&["metrics"]).await), include_str!("../../docs/metrics.md"));
    for shell in ["bash", "zsh", "fish"] {
        let script = ok(bare(&["completions", shell]).await);
        assert!(script.contains("tokenbeat") && script.contains("config.file"), "{shell}");
    }
    assert!(ok(bare(&["--help"]).await).contains("Usage: tokenbeat"));
    let version = ok(bare(&["--version"]).await);
    let begin = format!("tokenbeat {} (revision ", env!("CARGO_PKG_VERSION"));
    assert!(version.starts_with(&begin) && version.contains(", rustc 1."), "{version}");
    assert!(ok(bare(&["help", "run"]).await).contains("--at <INSTANT>"));
    let help = ok(bare(&["sim", "--help"]).await);
    for said in ["stall;after=3;for=2s", "slow_retrieval", "/v1/chat/completions", "audio"] {
        assert!(help.split_whitespace().collect::<Vec<_>>().join(" ").contains(said), "{said}: {help}");
    }
}

#[tokio::test]
async fn bad_usage_is_64_everywhere() {
    for arguments in [
        &[][..],
        &["swerve"],
        &["completions", "tcl"],
        &["serve", "--web.listen-address", "nowhere"],
        &["serve", "--log.format", "xml"],
        &["schema", "--log.level", "tokenbeat=loud"],
        &["sim", "--prefill-rate", "0"],
        &["sim", "--prefill-rate", "fast"],
        &["sim", "--fault", "no_such"],
        &["sim", "--fault", "stall;for=1"],
        &["sim", "--listen-address", "8000"],
        &["demo", "--web.listen-address", "here"],
    ] {
        let ended = bare(arguments).await;
        assert_eq!((ended.code, ended.out.as_str()), (64, ""), "{arguments:?}: {ended:?}");
        assert!(!ended.err.is_empty() && !ended.err.contains("panicked"), "{arguments:?}: {}", ended.err);
    }
}

async fn serve(config: &str, arguments: &[&str], environment: &[(&str, &str)]) -> (Process, SocketAddr) {
    let mut all = vec!["serve", "--config.file", "tokenbeat.yaml"];
    all.extend(arguments);
    let process = Process::start(folder(config), &all, environment);
    let address = process.says("listening address=").await.parse().unwrap();
    (process, address)
}

#[tokio::test]
async fn serve_ends_well_when_it_is_told_to() {
    let simulator = Simulator::start();
    for signal in ["TERM", "INT"] {
        let (process, address) = serve(&config(simulator.address), &[], &[]).await;
        assert_eq!(get(address, "/-/healthy").await.ok(), "healthy\n");
        process.signal(signal).await;
        let ended = process.ended().await;
        assert_eq!((ended.code, ended.out.as_str()), (0, ""), "{ended:?}");
        assert!(ended.err.contains("asked to stop") && ended.err.contains("drained"), "{}", ended.err);
        assert!(!ended.err.contains('\u{1b}'), "no colours where nobody sees them");
    }
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let simulator = Simulator::start();
    simulator.inject("stall;after=2;for=10m");
    let config = config(simulator.address).replace("manual: {}", "every: 8760h, at_start: true");
    let (mut process, address) = serve(&config, &[], &[]).await;
    let in_flight = async || {
        let scrape = Scrape::read(&get(address, "/metrics").await.ok());
        (scrape.metric("tokenbeat_requests_in_flight").sum() >= 5.0).then_some(())
    };
    until("requests to be in flight", in_flight).await;
    process.signal("TERM").await;
    let draining = async || Some(get(address, "/-/ready").await).filter(|reply| reply.status == 503);
    assert_eq!(until("it to drain", draining).await.body, "draining\n");
    assert!(process.is_running(), "requests are open");
    process.signal("TERM").await;
    let ended = process.ended().await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.err.contains("cancelling what did not end in time"), "{}", ended.err);
    assert!(try_get(address, "/-/ready", "*/*").await.is_err());
}

#[tokio::test]
async fn serve_can_be_told_where_to_listen() {
    let config = config("127.0.0.1:1");
    let (first, taken) = serve(&config, &["--web.listen-address", "127.0.0.1:0"], &[]).await;
    let taken = taken.to_string();
    // The environment overrides the file, and the command line overrides both.
    let environment = [("TOKENBEAT__SERVER__LISTEN", taken.as_str())];
    let (other, address) = serve(&config, &["--web.listen-address", "127.0.0.1:0"], &environment).await;
    assert_ne!(address.to_string(), taken);
    drop(other);
    let arguments = ["serve", "--config.file", "tokenbeat.yaml"];
    let ended = Process::start(folder(&config), &arguments, &environment).ended().await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains(&format!("error: cannot listen on {taken}: ")), "{}", ended.err);
    drop(first);
}

#[tokio::test]
async fn a_log_in_json_is_json() {
    let config = config("127.0.0.1:1");
    let arguments = ["serve", "--config.file", "tokenbeat.yaml", "--log.format", "json"];
    let process = Process::start(folder(&config), &arguments, &[]);
    process.says("listening").await;
    process.signal("TERM").await;
    let ended = process.ended().await;
    assert_eq!(ended.code, 0, "{ended:?}");
    for line in ended.err.lines() {
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }
}

/// A server whose errors quote the credentials that it received.
async fn indiscreet() -> MockServer {
    let server = MockServer::start().await;
    let echo = |request: &Request| {
        let said = format!("you sent {:?}", request.headers);
        ResponseTemplate::new(401).set_body_json(serde_json::json!({ "error": { "message": said } }))
    };
    Mock::given(matchers::any()).respond_with(echo).mount(&server).await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_logged_at_any_level() {
    let server = indiscreet().await;
    for http in ["1.1", "2"] {
        let config = config(server.address())
            .replace("model: m", &format!("model: m, http: '{http}', auth: {{ bearer: {{ file: secret }} }}"))
            .replace("manual: {}", "every: 8760h, at_start: true");
        let folder = folder(&config);
        std::fs::write(folder.path().join("secret"), "sesame-opens\n").unwrap();
        let arguments = ["serve", "--config.file", "tokenbeat.yaml", "--log.level", "trace"];
        let process = Process::start(folder, &arguments, &[]);
        assert!(process.folder().join("secret").exists());
        process.says("outcome=\"auth\"").await;
        process.signal("TERM").await;
        process.says("asked to stop").await;
        process.signal("TERM").await;
        let ended = process.ended().await;
        assert!(ended.err.contains("you sent"), "the server's words are told: {}", ended.err);
        assert!(!ended.err.contains("sesame"), "http {http}: {}", ended.err);
    }
    let seen = server.received_requests().await.unwrap();
    assert!(seen.iter().all(|request| request.headers["authorization"] == "Bearer sesame-opens"));
}

#[tokio::test]
async fn the_simulator_serves_until_it_is_told_to_stop() {
    let arguments = ["sim", "--listen-address", "127.0.0.1:0", "--model", "tiny", "--fault", "no_usage"];
    let process = Process::start(tempfile::tempdir().unwrap(), &arguments, &[]);
    let address = process.says("the simulator listens on http://").await;
    let socket = address.parse().unwrap();
    assert_eq!(get(socket, "/health").await.status, 200);
    assert_eq!(get(socket, "/v1/models").await.json()["data"][0]["id"], "tiny");
    let taken = bare(&["sim", "--listen-address", &address]).await;
    assert_eq!(taken.code, 1, "{taken:?}");
    assert!(taken.err.contains(&format!("failed to listen on {address}")), "{}", taken.err);
    process.signal("TERM").await;
    let ended = process.ended().await;
    assert_eq!(ended.code, 0, "{ended:?}");
}

/// Everything that a newcomer sees, from one command. It takes some seconds until the first fault.
#[tokio::test]
async fn the_demo_shows_every_kind_of_number_within_a_minute() {
    let arguments = ["demo", "--web.listen-address", "127.0.0.1:0", "--sim.listen-address", "127.0.0.1:0"];
    let process = Process::start(tempfile::tempdir().unwrap(), &arguments, &[]);
    let page = process.says("status page   http://").await;
    let daemon: SocketAddr = page.trim_end_matches('/').parse().unwrap();
    let simulator = process.says("simulator     http://").await;
    let simulator: SocketAddr = simulator.trim_end_matches("/metrics").parse().unwrap();
    assert!(daemon.port() != 0 && simulator.port() != 0 && daemon != simulator);
    let ours = [
        "tokenbeat_time_to_first_token_seconds_count",
        "tokenbeat_chunk_gap_seconds_count",
        "tokenbeat_tokens_total",
        "tokenbeat_failed_request_duration_seconds_count",
        "tokenbeat_cost_total",
        "tokenbeat_slo_errors_total",
    ];
    let theirs = [
        "vllm:time_to_first_token_seconds_count",
        "vllm:generation_tokens_total",
        "vllm:request_success_total",
    ];
    for (address, names) in [(daemon, &ours[..]), (simulator, &theirs)] {
        let shown = async || {
            let scrape = Scrape::read(&get(address, "/metrics").await.ok());
            // Some series begin with their first value.
            let zero = |name: &&&str| scrape.metric(name).all().iter().all(|series| series.value == 0.0);
            (names.iter().filter(zero).count() == 0).then_some(())
        };
        // A minute here, and at times longer on a busy machine.
        until_within(std::time::Duration::from_secs(130), "every number of the demo", shown).await;
    }
    let page = get(daemon, "/").await.ok();
    assert!(page.contains("This is the demo") && page.contains("?profile=chat&amp;target="), "{page}");
    process.signal("INT").await;
    let ended = process.ended().await;
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[tokio::test]
async fn the_config_is_found_in_the_working_folder_and_checked_strictly() {
    let config = config("127.0.0.1:1");
    let checked =
        async |config: &str, arguments: &[&str]| Process::start(folder(config), arguments, &[]).ended().await;
    for arguments in [&["check"][..], &["check", "--strict"], &["check", "-c", "tokenbeat.yaml"]] {
        let ended = checked(&config, arguments).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(ended.out.contains(" series on /metrics from the start, at most "), "{}", ended.out);
        assert!(ended.out.ends_with("(telemetry.detail: standard)\nok\n"), "{}", ended.out);
    }
    let doubtful = config.replace("model: m", "model: m, auth: { bearer: { value: sesame-opens } }");
    let ended = checked(&doubtful, &["check"]).await;
    assert_eq!((ended.code, ended.out.ends_with("ok\n")), (0, true), "{ended:?}");
    let ended = checked(&doubtful, &["check", "--strict"]).await;
    assert_eq!((ended.code, ended.out.as_str()), (64, ""), "{ended:?}");
    assert!(ended.err.starts_with("warning: ") && ended.err.contains(" in the config\n"), "{}", ended.err);
}

#[tokio::test]
async fn the_daemon_logs_what_it_will_do_and_where_to_look() {
    let arguments = ["serve", "--web.listen-address", ":0"];
    let scheduled = config("127.0.0.1:1").replacen("manual: {}", "every: 1h", 1);
    let process = Process::start(folder(&scheduled), &arguments, &[]);
    let page = process.says("page=").await;
    assert!(page.trim_matches('"').starts_with("http://127.0.0.1:"), "{page}");
    process.signal("TERM").await;
    let ended = process.ended().await;
    let line = ended.err.lines().find(|line| line.contains("the config was loaded")).unwrap_or_default();
    for said in ["tokenbeat.yaml", "profiles=6", "targets=1", "(met on t)"] {
        assert!(line.contains(said), "{said}: {}", ended.err);
    }
}

#[tokio::test]
async fn a_trace_is_described() {
    let path = |name: &str| format!("{}/config/examples/traces/{name}", env!("CARGO_MANIFEST_DIR"));
    let inspect = async |name: &str, more: &[&str]| {
        let path = path(name);
        bare(&[&["trace", "inspect", &path], more].concat()).await
    };
    let mooncake = inspect("mooncake.jsonl", &[]).await;
    assert_eq!((mooncake.code, mooncake.err.as_str()), (0, ""));
    for part in ["24 requests in the format mooncake\nover ", "█", "p99", "input tokens", "shared prefixes: "]
    {
        assert!(mooncake.out.contains(part), "{part} in {}", mooncake.out);
    }
    assert!(inspect("burstgpt.csv", &[]).await.out.contains("models: ChatGPT "));
    assert!(
        inspect("sharegpt.json", &[])
            .await
            .out
            .contains("6 requests in the format sharegpt\nwithout times\n")
    );
    let wrong = inspect("azure-2023.csv", &["--format", "mooncake"]).await;
    assert_eq!(wrong.code, 64, "{wrong:?}");
    assert!(wrong.err.contains("holds no request"), "{wrong:?}");
    let unknown = inspect("azure-2023.csv", &["--format", "parquet"]).await;
    assert!(unknown.code == 64 && unknown.err.contains("there are mooncake, azure, burstgpt"), "{unknown:?}");
}
