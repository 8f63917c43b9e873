//! Runs of `after_idle`: what counts as use of a target.

use super::*;
use crate::plan::from_yaml;

const AFTER: u64 = 1800;

const COLD: &str =
    "  cold: { targets: [llama], schedule: { after_idle: 30m }, workload: { prompts: [x] } }\n";

/// A profile with these keys.
fn other(name: &str, keys: &str) -> String {
    format!("  {name}: {{ {keys}, workload: {{ prompts: [x] }} }}\n")
}

fn plan(profiles: &str) -> Arc<Plan> {
    let text = format!(
        "targets:\n  llama: {{ api: openai-chat, base_url: 'http://127.0.0.1:1/v1' }}\n  \
         gpt: {{ api: openai-chat, base_url: 'http://127.0.0.1:2/v1' }}\nprofiles:\n{profiles}"
    );
    Arc::new(from_yaml(&text).unwrap_or_else(|e| panic!("{e}\n{text}")))
}

fn world(profiles: &str) -> World {
    World::of(&plan(profiles), "2026-11-20T10:00:00Z", takes(seconds(1)))
}

fn callers(fake: &Arc<Fake>) -> HashMap<Arc<str>, Arc<dyn Caller>> {
    let one = || -> Arc<dyn Caller> { Arc::<Fake>::clone(fake) };
    ["llama", "gpt"].map(|name| (name.into(), one())).into()
}

/// When requests of a profile were due, in whole seconds from the start.
fn dues(world: &World, profile: &str) -> Vec<u64> {
    let own = |request: &&Arc<Request>| &*request.place.pair.profile == profile;
    let requests = world.facts.requests();
    let since =
        |request: &Arc<Request>| request.observed.marks.due.duration_since(world.facts.start).as_secs();
    requests.iter().filter(own).map(since).collect()
}

#[tokio::test(start_paused = true)]
async fn an_idle_target_is_asked_once_per_idle_time() {
    let world = world(COLD);
    world.schedule_for(seconds(3 * AFTER + 100)).await;
    // From the end of each answer, which takes a second.
    assert_eq!(dues(&world, "cold"), [1800, 3601, 5402]);
    assert_eq!(world.facts.skipped_runs(), []);
    let next = world.facts.collect(|_, fact| match fact {
        Fact::NextRun { at: Some(at), .. } => Some(*at),
        _ => None,
    });
    let start = clock::system_time("2026-11-20T10:00:00Z".parse().unwrap());
    let next: Vec<u64> = next.into_iter().map(|at| at.duration_since(start).unwrap().as_secs()).collect();
    assert_eq!((next[0], *next.last().unwrap()), (1800, 7203));
}

#[tokio::test(start_paused = true)]
async fn requests_of_other_profiles_count_warm_up_too_but_not_those_to_other_targets() {
    let busy = other(
        "busy",
        "targets: [llama], schedule: { cron: '20 10 * * *' }, load: [{ warm_up: 1s, rate: 1 }]",
    );
    let world = world(
        &(COLD.to_owned() + &busy + &other("else", "targets: [gpt], schedule: { cron: '*/5 * * * *' }")),
    );
    world.schedule_for(seconds(2 * AFTER)).await;
    assert_eq!(world.fake.calls(), 2 + 12 - 1);
    // The warm-up request at 20 minutes takes a second.
    assert_eq!(dues(&world, "cold"), [1200 + 1 + AFTER]);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_used_more_often_is_never_idle() {
    let busy = other("busy", "targets: [llama], schedule: { cron: '*/20 * * * *' }");
    let world = world(&(COLD.to_owned() + &busy));
    world.schedule_for(seconds(4 * 3600)).await;
    assert_eq!(dues(&world, "cold"), [] as [u64; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_probe_counts() {
    let world = world(COLD);
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    tokio::time::sleep(seconds(600)).await;
    let pair = Pair { profile: "cold".into(), target: "llama".into() };
    world.engine.probe(&pair, Timestamp::UNIX_EPOCH, seconds(5)).await.unwrap();
    tokio::time::sleep(seconds(AFTER + 10)).await;
    assert_eq!(dues(&world, "cold"), [600 + 1 + AFTER]);
    world.engine.shutdown(seconds(5), &CancellationToken::new()).await;
    schedules.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn of_two_that_wait_one_is_the_first() {
    let twin = other("twin", "targets: [llama], schedule: { after_idle: 30m }");
    let world = world(&(COLD.to_owned() + &twin));
    world.schedule_for(seconds(2 * AFTER + 100)).await;
    let mut all = [dues(&world, "cold"), dues(&world, "twin")].concat();
    all.sort_unstable();
    assert_eq!(all, [1800, 3601]);
}

/// The agent's limit is used up by another target, so nothing is sent: the target is as cold as before for the next one.
#[tokio::test(start_paused = true)]
async fn a_run_that_sent_nothing_is_no_use() {
    let twin = other("twin", "targets: [llama], schedule: { after_idle: 30m }");
    let busy =
        other("busy", "targets: [gpt], schedule: { cron: '29 10 * * *' }, load: [{ for: 62s, users: 1 }]");
    let text = "agent: { limits: { in_flight: 1 } }\ntargets:\n  \
                llama: { api: openai-chat, base_url: 'http://127.0.0.1:1/v1' }\n  \
                gpt: { api: openai-chat, base_url: 'http://127.0.0.1:2/v1' }\nprofiles:\n"
        .to_owned();
    let plan = Arc::new(from_yaml(&(text + COLD + &twin + &busy)).unwrap_or_else(|e| panic!("{e}")));
    // The other target is asked until three seconds after half past.
    let world = World::of(&plan, "2026-11-20T10:00:00Z", takes(seconds(7)));
    world.schedule_for(seconds(AFTER + 100)).await;
    let mut all = [dues(&world, "cold"), dues(&world, "twin")].concat();
    all.sort_unstable();
    assert_eq!((world.facts.skipped(), all.len()), (vec!["in_flight"], 1), "{all:?}");
    assert!((AFTER..AFTER + 15).contains(&all[0]), "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reload_does_not_begin_the_time_anew() {
    let world = world(COLD);
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    tokio::time::sleep(seconds(1000)).await;
    let changed = plan(&COLD.replace("prompts: [x]", "prompts: [y]"));
    let next = world.engine.prepare(changed, &callers(&world.fake)).unwrap();
    assert_eq!(world.engine.change_to(next).await.changed.len(), 1);
    tokio::time::sleep(seconds(1000)).await;
    assert_eq!(dues(&world, "cold"), [AFTER]);
    world.engine.shutdown(seconds(5), &CancellationToken::new()).await;
    schedules.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_skips_one_run_per_idle_time() {
    let budget = "budget: { period: day, requests: 1 }";
    let world = world(&COLD.replace("workload", &format!("{budget}, workload")));
    world.schedule_for(seconds(3 * AFTER + 100)).await;
    assert_eq!(dues(&world, "cold"), [1800]);
    assert_eq!(world.facts.skipped_runs(), [("budget", 1), ("budget", 1)]);
}
