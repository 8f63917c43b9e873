//! Shards as real processes: three of them play exactly one schedule, without talking to each other.

use crate::harness::{Simulator, one, undisturbed};
use crate::http::get;
use crate::process::{Ended, Process, bare, folder, run};
use crate::scrape::Scrape;
use anyhow::ensure;
use serde_json::Value;
use tokenbeat::report::SavedResult;

/// A load of each kind whose draws do not depend on how fast the target answers.
fn config(simulator: &Simulator, more: &str) -> String {
    format!(
        "server: {{ listen: 127.0.0.1:0 }}\n{more}targets: {{ t: {{ api: openai-chat, base_url: 'http://{}/v1', model: m }} }}
profiles:
  mixed:
    targets: [t]
    schedule: {{ every: 1h }}
    load:
      - {{ for: 2s, rate: 20/s, arrivals: poisson }}
      - {{ for: 1s, rate: {{ from: 5/s, to: 30/s }}, arrivals: {{ gamma: {{ cv: 2 }} }} }}
      - {{ name: alone, requests: 4 }}
    workload:
      synthetic: {{ input_tokens: {{ uniform: {{ from: 5, to: 900 }} }} }}
      output_tokens: {{ uniform: {{ from: 2, to: 60 }} }}
      cache: reuse
    budget: {{ requests: 3000 }}
",
        simulator.address
    )
}

/// What the simulator was asked: input and output tokens, sorted.
async fn asked(simulator: &Simulator) -> Vec<(usize, usize)> {
    let mut asked: Vec<_> =
        simulator.finished().await.iter().map(|truth| (truth.input_tokens, truth.output_tokens)).collect();
    asked.sort_unstable();
    asked
}

const REPLAY: [&str; 8] = ["run", "mixed", "--at", "2026-11-20T10:00:00Z", "--seed", "7", "--report", "-"];

fn offered(ended: &Ended) -> u64 {
    let result: Value = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
    result["pairs"][0]["runs"][0]["offered"].as_u64().unwrap()
}

/// Of a single request, two of three shards have nothing: they pass, and so do their reports.
async fn pass_without_a_request(config: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (json, markdown) = (path("part.json"), path("part.md"));
    let idle = format!(
        "{config}  one: {{ targets: [t], schedule: {{ manual: {{}} }}, workload: {{ prompts: [x] }} }}\n"
    );
    let mut without = 0;
    for shard in ["0/3", "1/3", "2/3"] {
        let at = ["--at", "2026-11-20T10:00:00Z", "--seed", "7"];
        let mut arguments = vec!["run", "one", "--shard", shard, "--report", &json];
        arguments.extend(at);
        let ended = run(&idle, &arguments).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        without += u32::from(ended.err.contains("nothing of it is for shard"));
        let shown = bare(&["report", &json, "--report", &markdown]).await;
        assert_eq!(shown.code, 0, "{shown:?}");
        let said = std::fs::read_to_string(&markdown).unwrap();
        assert!(said.contains("passed") && !said.contains("nothing was measured"), "{said}");
    }
    assert_eq!(without, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_processes_play_exactly_one_schedule() {
    undisturbed(async || {
        let whole = Simulator::start();
        let single = run(&config(&whole, ""), &REPLAY).await;
        let wanted = asked(&whole).await;
        ensure!(wanted.len() as u64 == offered(&single), "a request was skipped: {single:?}");
        let divided = Simulator::start();
        let config = config(&divided, "");
        let shard = |text: &'static str| {
            let mut arguments = REPLAY.to_vec();
            arguments.extend(["--shard", text]);
            let config = config.clone();
            async move { run(&config, &arguments).await }
        };
        let (a, b, c) = tokio::join!(shard("0/3"), shard("1/3"), shard("2/3"));
        let parts = [offered(&a), offered(&b), offered(&c)];
        ensure!(asked(&divided).await == wanted, "{parts:?} of {}", wanted.len());
        assert!(wanted.len() > 40, "{}", wanted.len());
        let third = wanted.len() as u64 / 3;
        assert!(parts.iter().all(|part| part.abs_diff(third) <= 6), "{parts:?}");
        let results = [a, b, c].map(|ended| SavedResult::from_json(&ended.out).unwrap());
        for (index, result) in results.iter().enumerate() {
            assert_eq!(result.environment.shard, format!("{index}/3"));
        }
        pass_without_a_request(&config).await;
        let merged = SavedResult::merge(results.into()).unwrap().result;
        let sum: u64 = merged.pairs[0].runs.iter().map(|run| run.offered).sum();
        assert_eq!(sum, wanted.len() as u64);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_tells_its_shard_and_has_its_part_of_the_budget() {
    let simulator = Simulator::start();
    let start = |name: &str, value: &str| {
        let environment = [("TOKENBEAT_SHARD", name), ("POD_NAME", value)];
        let arguments = ["serve", "--config.file", "tokenbeat.yaml"];
        Process::start(folder(&config(&simulator, "")), &arguments, &environment)
    };
    for (shard, pod, index, limit) in
        [("ordinal/4", "tokenbeat-3", "3", 750.0), ("0/7", "", "0", 429.0), ("6/7", "", "6", 428.0)]
    {
        let process = start(shard, pod);
        let address = process.says("listening address=").await.parse().unwrap();
        let scrape = Scrape::read(&get(address, "/metrics").await.ok());
        let count = shard.split('/').nth(1).unwrap();
        let info = scrape.metric("tokenbeat_shard_info");
        assert_eq!(info.label("shard", index).label("shards", count).value(), 1.0);
        assert_eq!(scrape.metric("tokenbeat_shards").value(), count.parse::<f64>().unwrap());
        let status = get(address, "/api/v1/status").await.json();
        assert_eq!(status["agent"]["shard"], format!("{index}/{count}"));
        assert_eq!(status["budgets"][0]["limit"], limit, "{status}");
        // The slash is escaped.
        assert!(get(address, "/").await.body.contains(&format!("shard <b>{index}&#x2f;{count}</b>")));
    }
}

#[tokio::test]
async fn check_shows_the_share_and_what_is_wrong_with_it() {
    let simulator = Simulator::start();
    let limited = config(&simulator, "agent: { limits: { in_flight: 2 } }\n");
    let ended = run(&config(&simulator, ""), &["check", "--shard", "1/3"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        ended.out.contains("Shard 1/3: this agent plays one request or user of 3 in turn"),
        "{}",
        ended.out
    );
    assert!(ended.out.contains("Its part of the budget of profile/mixed: 1000 requests"), "{}", ended.out);
    for (config, shard, said) in [
        (&limited, "1/3", "agent.limits.in_flight: cannot be divided: 2 for 3 shards"),
        (&limited, "3/3", "error: --shard: `3/3`: shards are counted from 0, so the last of 3 is 2"),
        (&limited, "three", "error: --shard: `three` is no shard"),
    ] {
        for command in ["check", "run", "serve"] {
            let ended = run(config, &[command, "--shard", shard]).await;
            assert_eq!(ended.code, 64, "{ended:?}");
            assert!(ended.err.contains(said), "{}", ended.err);
        }
    }
    assert!(bare(&["check", "--help"]).await.out.contains("--shard <SHARD>"));
}

#[tokio::test]
async fn a_run_of_which_a_shard_has_nothing_is_no_failure() {
    let simulator = Simulator::start();
    // One request: two of three shards have nothing.
    let profile = "schedule: { every: 1h }, workload: { prompts: [x], output_tokens: 4 }";
    let config = one("", profile).replace("{SIM}", &simulator.address.to_string());
    let mut notes = 0;
    for shard in ["0/3", "1/3", "2/3"] {
        let ended = run(&config, &["run", "p", "--shard", shard]).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        notes += usize::from(ended.err.contains(&format!("nothing of it is for shard {shard}")));
    }
    assert_eq!((notes, simulator.finished().await.len()), (2, 1));
}
