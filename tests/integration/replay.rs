//! Replays with the real binary: both targets get the same requests, and the printed command repeats them.

use crate::harness::until;
use crate::http::ask;
use crate::process::{Ended, Process, folder, run};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers};

/// A server that answers each question, and records it.
async fn listener() -> MockServer {
    let server = MockServer::start().await;
    answer(&server).await;
    server
}

async fn answer(server: &MockServer) {
    let answer =
        serde_json::json!({ "choices": [{ "message": { "content": "yes" }, "finish_reason": "stop" }] });
    let answer = ResponseTemplate::new(200).set_body_json(answer);
    Mock::given(matchers::any()).respond_with(answer).mount(server).await;
}

/// The questions since the last call, by target, in the order of arrival.
async fn asked(server: &MockServer) -> [Vec<serde_json::Value>; 2] {
    let requests = server.received_requests().await.unwrap();
    server.reset().await;
    answer(server).await;
    let of = |path: &str| {
        let own = |request: &&Request| request.url.path().starts_with(path);
        requests.iter().filter(own).map(|request| request.body_json().unwrap()).collect()
    };
    [of("/one/"), of("/two/")]
}

/// Two targets on one server, with one profile that has a seed and one without. A single user asks, so the order of
/// arrival is the order of the questions.
fn config(server: &MockServer, schedule: &str) -> String {
    let prompts: Vec<String> = (0..100).map(|n| format!("prompt {n}")).collect();
    let profile = |seed: &str| {
        format!(
            "{{ targets: [one, two], schedule: {schedule}, load: [{{ users: 1, requests: 8 }}], {seed}\
             workload: {{ prompts: [{}], cache: reuse, stream: false, output_tokens: 8 }} }}",
            prompts.join(", ")
        )
    };
    let target = |name: &str| {
        format!("{{ api: openai-chat, base_url: 'http://{}/{name}', model: m }}", server.address())
    };
    format!(
        "server: {{ listen: 127.0.0.1:0 }}\ntargets: {{ one: {}, two: {} }}\nprofiles:\n  drawn: {}\n  seeded: {}\n",
        target("one"),
        target("two"),
        profile(""),
        profile("seed: 7, ")
    )
}

/// The arguments of the last command in a summary.
fn command(ended: &Ended) -> Vec<String> {
    let line = ended.out.lines().rev().find_map(|line| line.strip_prefix("replay: tokenbeat "));
    let line = line.unwrap_or_else(|| panic!("no command: {}", ended.out));
    line.split(' ').map(str::to_owned).collect()
}

#[tokio::test]
async fn a_run_asks_both_targets_the_same_and_names_the_command_that_does_so_again() {
    let server = listener().await;
    let config = config(&server, "{ manual: {} }");
    let mut seen = Vec::new();
    for arguments in [
        &["run", "drawn"][..],
        &["run", "seeded"],
        &["run", "seeded", "--seed", "8"],
        &["run", "seeded", "--at", "2026-11-20T10:01:00Z"],
        &["run", "drawn", "--seed", "7", "--at", "2026-11-20T10:01:00Z"],
    ] {
        let ended = run(&config, arguments).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        let [one, two] = asked(&server).await;
        assert_eq!(one.len(), 8, "{arguments:?}");
        assert_eq!(one, two, "{arguments:?}");
        let again: Vec<String> = command(&ended);
        let again: Vec<&str> = again.iter().map(String::as_str).collect();
        let ended = Process::start(folder(&config), &again, &[]).ended().await;
        assert_eq!(ended.code, 0, "{again:?}: {ended:?}");
        assert_eq!(asked(&server).await, [one.clone(), two], "{again:?}");
        seen.push(one);
    }
    assert_eq!(seen[3], seen[4], "seed and instant are all that counts");
    // With a seed, two calls are the same; without one, each call draws anew.
    for (profile, same) in [("seeded", true), ("drawn", false)] {
        assert_eq!(run(&config, &["run", profile]).await.code, 0);
        let [one, _] = asked(&server).await;
        assert_eq!(seen.contains(&one), same, "{profile}");
    }
}

#[tokio::test]
async fn runs_of_the_daemon_are_replayed_by_the_instant_in_their_ids() {
    let server = listener().await;
    for (schedule, triggered) in [("{ every: 8760h, at_start: true }", false), ("{ manual: {} }", true)] {
        let config = config(&server, schedule);
        let arguments = ["serve", "--config.file", "tokenbeat.yaml"];
        let daemon = Process::start(folder(&config), &arguments, &[]);
        let address = daemon.says("address=").await.parse().unwrap();
        if triggered {
            for profile in ["drawn", "seeded"] {
                let head = format!("POST /api/v1/profiles/{profile}/run HTTP/1.1\r\nhost: {address}\r\n");
                assert_eq!(ask(address, &head).await.status, 202);
            }
        }
        let runs = until("four runs", async || {
            let runs = crate::http::get(address, "/api/v1/runs").await.json();
            let all: Vec<_> = runs["runs"].as_array()?.clone();
            (all.len() == 4).then_some(all)
        })
        .await;
        daemon.signal("TERM").await;
        assert_eq!(daemon.ended().await.code, 0);
        let requests = asked(&server).await;
        for profile in ["drawn", "seeded"] {
            let ids =
                runs.iter().filter(|run| run["profile"] == profile).map(|run| run["id"].as_str().unwrap());
            let instants: Vec<&str> = ids.map(|id| id.rsplit('/').next().unwrap()).collect();
            assert_eq!(instants[0], instants[1], "one for both targets");
            assert_eq!(run(&config, &["run", profile, "--at", instants[0]]).await.code, 0);
            let [one, two] = asked(&server).await;
            assert_eq!((one.len(), &one), (8, &two));
            for (target, all) in [(one, &requests[0]), (two, &requests[1])] {
                // Both profiles ran at the same time: the replay's questions are among them, in order.
                let mut all = all.iter();
                assert!(target.iter().all(|own| all.any(|each| each == own)), "{schedule} {profile}");
            }
        }
    }
}

/// The only question that each target received.
async fn questions(server: &MockServer) -> [serde_json::Value; 2] {
    asked(server).await.map(|mut all| {
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    })
}

#[tokio::test]
async fn a_check_asks_all_targets_the_same_and_something_else_each_time() {
    let server = listener().await;
    let config = config(&server, "{ manual: {} }");
    let mut seen = Vec::new();
    for _ in 0..10 {
        let ended = run(&config, &["check", "--probe"]).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        let [one, two] = questions(&server).await;
        assert_eq!(one, two);
        seen.push(one);
    }
    assert!(seen.iter().any(|question| *question != seen[0]), "{seen:?}");
}

#[tokio::test]
async fn probes_with_one_instant_ask_all_targets_the_same() {
    let server = listener().await;
    let config =
        config(&server, "{ manual: {} }").replace("server: { ", "server: { probe: { min_interval: 1ms }, ");
    let daemon = Process::start(folder(&config), &["serve", "--config.file", "tokenbeat.yaml"], &[]);
    let address = daemon.says("address=").await.parse().unwrap();
    let mut seen = Vec::new();
    for minute in 10..15 {
        for target in ["one", "two"] {
            let path = format!("/probe?profile=drawn&target={target}&at=2026-11-20T10:{minute}:00Z");
            assert_eq!(crate::http::get(address, &path).await.status, 200);
        }
        let [one, two] = questions(&server).await;
        assert_eq!(one, two);
        seen.push(one);
    }
    assert!(seen.iter().any(|question| *question != seen[0]), "another instant, another question");
    daemon.signal("TERM").await;
    assert_eq!(daemon.ended().await.code, 0);
}
