//! Config changes while the daemon runs: what is kept, what is removed, and the effect of errors.

#[path = "reload/files.rs"]
mod files;
#[path = "reload/process.rs"]
mod process;
#[path = "reload/world.rs"]
mod world;

use crate::harness::{ONCE, Running, Simulator, noon_zone, one, until};
use crate::scrape::Scrape;
use world::{Labels, Watched, World, sum};

const AGENT: &str = "
agent: { id: probe-1, location: here, limits: { in_flight: 100 } }
server: { listen: '127.0.0.1:9464' }
targets:
  sim: { api: openai-chat, base_url: 'http://SIM/v1', model: m }
profiles:
";

/// A profile with one run that begins at its start and outlasts every test.
fn steady(name: &str, prompt: &str) -> String {
    format!(
        "  {name}: {{ targets: [sim], schedule: {{ every: 8760h, at_start: true }}, load: [{{ for: 8760h, rate: 20/s }}], \
         workload: {{ prompts: [{prompt}], output_tokens: 4 }} }}\n"
    )
}

/// A profile that sends some requests at its start, one after the other.
fn once(name: &str, requests: u32) -> String {
    format!(
        "  {name}: {{ targets: [sim], schedule: {{ every: 8760h, at_start: true }}, \
         load: [{{ requests: {requests} }}], workload: {{ prompts: [x], output_tokens: 4 }} }}\n"
    )
}

fn config(profiles: &[String]) -> String {
    format!("{AGENT}{}{}", profiles.concat(), if profiles.is_empty() { "  {}\n" } else { "" })
}

const OK: Labels<'static> = &[("profile", "chat"), ("outcome", "ok")];

/// Waits until a run of a profile has completed.
async fn completed(world: &World, profile: &str) {
    let name = "tokenbeat_last_run_completed_timestamp_seconds";
    world.until(name, &[("profile", profile)], |at| at > Some(0.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_was_cut_to_nothing_keeps_the_old_one() {
    let world = World::start(&config(&[steady("chat", "x")]), Watched::Yes).await;
    let run = world.run_of("chat").await;
    for nothing in ["", "# Only the comment on top was written.\n"] {
        world.write("tokenbeat.yaml", nothing);
        world.until("tokenbeat_config_last_reload_successful", &[], |n| n == Some(0.0)).await;
        let (code, said) = world.reload().await;
        assert!(code != 200 && said.contains("tokenbeat.yaml: is empty"), "{code} {said}");
        assert_eq!(world.run_of("chat").await, run);
        world.write("tokenbeat.yaml", &config(&[steady("chat", "x")]));
        world.until("tokenbeat_config_last_reload_successful", &[], |n| n == Some(1.0)).await;
    }
    // An explicitly empty config is accepted.
    world.write("tokenbeat.yaml", &config(&[]));
    world.until("tokenbeat_offered_requests_total", &[("profile", "chat")], |n| n.is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_did_not_change_keeps_its_run_and_its_series() {
    let world = World::start(&config(&[steady("chat", "x"), steady("gone", "x")]), Watched::No).await;
    world.until("tokenbeat_requests_total", OK, |n| n >= Some(5.0)).await;
    let (run, before) = (world.run_of("chat").await, world.scrape().await);
    world.write("tokenbeat.yaml", &config(&[steady("chat", "x"), steady("new", "y")]));
    let (code, said) = world.reload().await;
    assert_eq!(code, 200, "{said}");
    assert_eq!(
        said,
        "reloaded: 1 added, 1 removed, 0 changed, 1 unchanged\nadded: new against sim\nremoved: gone against sim\n"
    );
    let after = world.scrape().await;
    for name in
        ["tokenbeat_requests_total", "tokenbeat_request_duration_seconds_count", "tokenbeat_tokens_total"]
    {
        let kept = |scrape: &Scrape| sum(scrape, name, &[("profile", "chat")]).unwrap();
        assert!(kept(&after) >= kept(&before), "{name} went back");
    }
    assert_eq!(world.run_of("chat").await, run);
    assert_eq!(sum(&after, "tokenbeat_runs_total", &[("profile", "chat")]), Some(0.0));
    // The series of the new profile exist before it has done anything, and then it sends requests.
    assert!(
        sum(&after, "tokenbeat_requests_total", &[("profile", "new"), ("outcome", "cancelled")]).is_some()
    );
    world
        .until("tokenbeat_requests_total", &[("profile", "new"), ("outcome", "ok")], |n| n >= Some(1.0))
        .await;
    world.until("tokenbeat_offered_requests_total", &[("profile", "gone")], |n| n.is_none()).await;
    assert!(world.pair("gone").await.is_none());
    let failed = sum(&world.scrape().await, "tokenbeat_failed_request_duration_seconds_count", &[]);
    assert!(failed.is_none_or(|failed| failed == 0.0), "no request was disturbed");
}

#[tokio::test(flavor = "multi_thread")]
async fn open_requests_of_a_removed_profile_finish_and_then_its_series_go() {
    let world = World::start(&config(&[steady("chat", "x"), once("gone", 5)]), Watched::No).await;
    world.until("tokenbeat_requests_total", OK, |n| n >= Some(1.0)).await;
    completed(&world, "gone").await;
    // Once more, with answers that never arrive.
    world.write("tokenbeat.yaml", &config(&[steady("chat", "x"), once("gone", 6)]));
    world.flow(false);
    assert_eq!(world.reload().await.0, 200);
    let gone = [("profile", "gone")];
    world.until("tokenbeat_requests_in_flight", &gone, |n| n == Some(1.0)).await;
    world.write("tokenbeat.yaml", &config(&[steady("chat", "x")]));
    let (code, said) = world.reload().await;
    assert!(code == 200 && said.ends_with("removed: gone against sim\n"), "{said}");
    let scrape = world.scrape().await;
    assert_eq!(sum(&scrape, "tokenbeat_requests_in_flight", &gone), Some(1.0));
    assert_eq!(sum(&scrape, "tokenbeat_run_active", &gone), Some(1.0));
    assert_eq!(sum(&scrape, "tokenbeat_next_run_timestamp_seconds", &gone), Some(0.0));
    world.flow(true);
    world.until("tokenbeat_requests_in_flight", &gone, |n| n.is_none()).await;
    let scrape = world.scrape().await;
    let left: Vec<_> =
        scrape.series().iter().filter(|it| it.labels.get("profile").is_some_and(|it| it == "gone")).collect();
    assert!(left.is_empty(), "every series goes: {left:?}");
    // It ended well, and no further request was sent.
    let requests: serde_json::Value =
        serde_json::from_str(&world.get("/api/v1/requests?limit=1000").await.1).unwrap();
    let own = requests["requests"].as_array().unwrap().iter().filter(|it| it["profile"] == "gone");
    let outcomes: Vec<&str> = own.map(|request| request["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["ok"; 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_profile_begins_anew() {
    let world = World::start(&config(&[steady("chat", "x"), steady("rag", "x")]), Watched::No).await;
    world.until("tokenbeat_requests_total", OK, |n| n >= Some(5.0)).await;
    let (chat, rag) = (world.run_of("chat").await, world.run_of("rag").await);
    let revision = |scrape: &Scrape| {
        scrape.metric("tokenbeat_profile_info").label("profile", "chat").all()[0].labels["revision"].clone()
    };
    let before = world.scrape().await;
    world.write("tokenbeat.yaml", &config(&[steady("chat", "y"), steady("rag", "x")]));
    let (code, said) = world.reload().await;
    assert_eq!(
        (code, &*said),
        (200, "reloaded: 0 added, 0 removed, 1 changed, 1 unchanged\nchanged: chat against sim\n")
    );
    let cancelled = [("profile", "chat"), ("result", "cancelled")];
    world.until("tokenbeat_runs_total", &cancelled, |n| n == Some(1.0)).await;
    let after = world.scrape().await;
    assert_ne!(revision(&after), revision(&before));
    let offered = |scrape: &Scrape| sum(scrape, "tokenbeat_offered_requests_total", &[("profile", "chat")]);
    assert!(offered(&after) >= offered(&before), "its series go on");
    until("another run", async || (world.run_of("chat").await != chat).then_some(())).await;
    assert_eq!(world.run_of("rag").await, rag);
    let more = offered(&after).map(|n| n + 3.0);
    world.until("tokenbeat_offered_requests_total", &[("profile", "chat")], |n| n >= more).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_config_changes_nothing_and_is_shown_everywhere() {
    let world = World::start(&config(&[steady("chat", "x")]), Watched::No).await;
    let run = world.run_of("chat").await;
    let loaded = world.metric("tokenbeat_config_last_reload_success_timestamp_seconds", &[]).await;
    assert_eq!(world.metric("tokenbeat_config_last_reload_successful", &[]).await, Some(1.0));
    let shown = world.get("/config").await.1;
    // Two errors, and the valid parts are not applied.
    let broken =
        config(&[steady("chat", "x"), steady("new", "x")]).replace("in_flight: 100", "in_flight: many");
    world.write("tokenbeat.yaml", &broken.replace("[sim]", "[smi]"));
    let (code, said) = world.reload().await;
    assert_eq!(code, 500, "{said}");
    assert!(said.starts_with("the config was not reloaded, the old one stays:\n"), "{said}");
    for error in ["tokenbeat.yaml:2:", "agent.limits.in_flight: must be", "there is no target `smi`"] {
        assert!(said.contains(error), "{error} in {said}");
    }
    assert_eq!(world.metric("tokenbeat_config_last_reload_successful", &[]).await, Some(0.0));
    assert_eq!(world.metric("tokenbeat_config_last_reload_success_timestamp_seconds", &[]).await, loaded);
    let status = world.status().await["config"].clone();
    assert_eq!((&status["ok"], status["errors"].as_array().unwrap().len()), (&false.into(), 3));
    assert!(status["last_reload"].as_str() > status["last_success"].as_str(), "{status}");
    assert_eq!(status["files"][0], world.dir.path().join("tokenbeat.yaml").to_str().unwrap());
    assert!(world.get("/").await.1.contains("The config could not be reloaded"));
    assert_eq!((world.get("/config").await.1, world.run_of("chat").await), (shown, run.clone()));
    assert!(world.pair("new").await.is_none());

    world.write("tokenbeat.yaml", &config(&[steady("chat", "x"), steady("new", "x")]));
    assert_eq!(world.reload().await.0, 200);
    assert_eq!(world.metric("tokenbeat_config_last_reload_successful", &[]).await, Some(1.0));
    assert!(world.metric("tokenbeat_config_last_reload_success_timestamp_seconds", &[]).await > loaded);
    let status = world.status().await["config"].clone();
    assert_eq!((&status["ok"], &status["errors"]), (&true.into(), &serde_json::json!([])));
    assert!(!world.get("/").await.1.contains("The config could not be reloaded"));
    assert!(world.get("/config").await.1.contains("new:"));
    assert_eq!(world.run_of("chat").await, run);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_spent_stays_spent() {
    let zone = noon_zone();
    let capped = |requests: u32, budget: u32| {
        let budget = format!(" budget: {{ timezone: {zone}, requests: {budget} }}, targets: [sim]");
        config(&[once("chat", requests).replace(" targets: [sim]", &budget)])
    };
    let world = World::start(&capped(5, 10), Watched::No).await;
    completed(&world, "chat").await;
    let spent = [("scope", "profile/chat"), ("unit", "requests")];
    assert_eq!(world.metric("tokenbeat_budget_spent_ratio", &spent).await, Some(0.5));
    // Another limit applies to what is spent, and does not reset it.
    world.write("tokenbeat.yaml", &capped(5, 20));
    let (code, said) = world.reload().await;
    assert_eq!((code, &*said), (200, "reloaded: 0 added, 0 removed, 0 changed, 1 unchanged\n"));
    assert_eq!(world.metric("tokenbeat_budget_spent_ratio", &spent).await, Some(0.25));
    // A profile that starts over has what is left.
    world.write("tokenbeat.yaml", &capped(9, 8));
    assert_eq!(world.reload().await.0, 200);
    let skipped = [("profile", "chat"), ("reason", "budget")];
    world.until("tokenbeat_skipped_requests_total", &skipped, |n| n >= Some(1.0)).await;
    assert_eq!(world.metric("tokenbeat_budget_spent_ratio", &spent).await, Some(1.0));
    world.until("tokenbeat_requests_total", OK, |n| n == Some(8.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_come_one_after_the_other_and_a_profile_may_come_back_while_it_drains() {
    let with = config(&[steady("chat", "x"), steady("back", "x")]);
    let world = World::start(&with, Watched::No).await;
    world
        .until("tokenbeat_requests_total", &[("profile", "back"), ("outcome", "ok")], |n| n >= Some(1.0))
        .await;
    world.flow(false);
    let back = [("profile", "back")];
    world.until("tokenbeat_requests_in_flight", &back, |n| n >= Some(3.0)).await;
    world.write("tokenbeat.yaml", &config(&[steady("chat", "x")]));
    assert_eq!(world.reload().await.0, 200);
    let before = world.metric("tokenbeat_offered_requests_total", &back).await;
    assert!(before >= Some(4.0), "it drains: {before:?}");
    world.write("tokenbeat.yaml", &with);
    let asked = (0..5).map(|_| world.reload());
    let replies = futures_util::future::join_all(asked).await;
    assert!(replies.iter().all(|(code, _)| *code == 200), "{replies:?}");
    let added = replies.iter().filter(|(_, said)| said.contains("added: back against sim")).count();
    assert!(added >= 1, "{replies:?}");
    world.flow(true);
    let more = before.map(|n| n + 3.0);
    world.until("tokenbeat_offered_requests_total", &back, |n| n >= more).await;
    world
        .until("tokenbeat_runs_total", &[("profile", "back"), ("result", "cancelled")], |n| n == Some(1.0))
        .await;
    // offered = skipped + in flight + requests, also across the change.
    let scrape = world.scrape().await;
    let of = |name: &str| sum(&scrape, name, &back).unwrap();
    let ended = of("tokenbeat_skipped_requests_total") + of("tokenbeat_requests_total");
    assert_eq!(of("tokenbeat_offered_requests_total"), ended + of("tokenbeat_requests_in_flight"));
    assert_eq!(sum(&scrape, "tokenbeat_requests_total", &[("outcome", "cancelled")]), Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_every_series_carries_cannot_change_and_what_is_shown_can() {
    let text = config(&[steady("chat", "x")]);
    let world = World::start(&text, Watched::No).await;
    for (from, to, key) in [
        ("id: probe-1", "id: probe-2", "agent.id"),
        ("location: here", "location: there", "agent.location"),
        ("location: here", "location: here, labels: { a: b }", "agent.labels"),
        ("location: here", "location: here, currency: eur", "agent.currency"),
    ] {
        world.write("tokenbeat.yaml", &text.replace(from, to));
        let (code, said) = world.reload().await;
        assert_eq!(code, 500, "{said}");
        assert!(
            said.ends_with(&format!(":\n{key}: cannot change while the agent runs; restart it\n")),
            "{said}"
        );
    }
    // Changes of what the store and the exposition show take effect at once.
    let disabled = text.clone() + "telemetry: { disable: [tokenbeat_chunk_gap_seconds] }\n";
    assert!(world.metric("tokenbeat_chunk_gap_seconds_count", &[]).await.is_some());
    world.write("tokenbeat.yaml", &disabled);
    assert_eq!(
        world.reload().await,
        (200, "reloaded: 0 added, 0 removed, 0 changed, 1 unchanged\n".to_owned())
    );
    assert!(world.metric("tokenbeat_chunk_gap_seconds_count", &[]).await.is_none());
    // A request to reload is always served, even if nothing has changed.
    let loaded = async || world.status().await["config"]["last_reload"].clone();
    let before = loaded().await;
    assert_eq!(world.reload().await.0, 200);
    assert_ne!(loaded().await, before);
    world.write("tokenbeat.yaml", &disabled.replace("chunk_gap_seconds", "chunk_gap"));
    let (code, said) = world.reload().await;
    assert!(code == 500 && said.contains("there is no metric `tokenbeat_chunk_gap`"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_drains_does_not_reload() {
    let world = World::start(&config(&[once("chat", 1)]), Watched::No).await;
    completed(&world, "chat").await;
    world.flow(false);
    world.write("tokenbeat.yaml", &config(&[once("chat", 2)]));
    assert_eq!(world.reload().await.0, 200);
    world.until("tokenbeat_requests_in_flight", &[("profile", "chat")], |n| n == Some(1.0)).await;
    world.stop.drain.cancel();
    until("the drain", async || (world.get("/-/ready").await.0 == 503).then_some(())).await;
    assert_eq!(world.reload().await, (503, "the agent is stopping\n".to_owned()));
    world.flow(true);
    let World { running, dir: _dir, valve: _valve, simulator: _simulator, _end, .. } = world;
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_came_from_nowhere_cannot_be_loaded_again() {
    let simulator = Simulator::start();
    let profile = format!("schedule: {ONCE}, workload: {{ prompts: [x] }}");
    let daemon = Running::start(&one("", &profile), &simulator).await;
    let (code, said) = world::ask(daemon.address, "POST", "/-/reload").await;
    assert!(code == 500 && said.contains("there is nothing to load again"), "{said}");
    // This is not a failure of the config in force.
    let successful = daemon.scrape().await.metric("tokenbeat_config_last_reload_successful").value();
    assert_eq!(successful, 1.0);
    daemon.drain().await;
}
