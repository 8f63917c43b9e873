//! Switching to another plan while one is being played.

use super::*;
use crate::plan::{FoundReplicas, Replica, from_yaml};

const TARGETS: &str = "
agent: { limits: { in_flight: LIMIT } }
targets:
  llama: { api: openai-chat, base_url: 'http://127.0.0.1:1/v1', model: m }
  gpt: { api: openai-chat, base_url: 'http://127.0.0.1:2/v1', model: n }
profiles:
";

/// A profile with one request per second, in runs of one minute each.
fn minutely(name: &str, prompt: &str) -> String {
    format!(
        "  {name}: {{ targets: [llama], schedule: {{ cron: '* * * * *' }}, load: [{{ for: 50s, rate: 1/s }}], \
         workload: {{ prompts: [{prompt}] }} }}\n"
    )
}

fn plan(profiles: &str) -> Arc<Plan> {
    limited(1000, profiles)
}

fn limited(in_flight: u32, profiles: &str) -> Arc<Plan> {
    let none = if profiles.is_empty() { "  {}" } else { "" };
    let text = format!("{}{profiles}{none}", TARGETS.replace("LIMIT", &in_flight.to_string()));
    Arc::new(from_yaml(&text).unwrap_or_else(|e| panic!("{e}\n{text}")))
}

/// The wall clock shows 10:00:30 at the start of each of these worlds.
fn world(profiles: &str, answers_take: Duration) -> World {
    World::of(&plan(profiles), "2026-11-20T10:00:30Z", takes(answers_take))
}

fn callers(caller: &Arc<Fake>) -> HashMap<Arc<str>, Arc<dyn Caller>> {
    let one = || -> Arc<dyn Caller> { Arc::<Fake>::clone(caller) };
    ["llama", "gpt"].map(|name| (name.into(), one())).into()
}

impl World {
    async fn change(&self, plan: Arc<Plan>) -> PlanChanges {
        let next = self.engine.prepare(plan, &callers(&self.fake)).unwrap();
        self.engine.change_to(next).await
    }

    async fn end(&self, schedules: Schedules) {
        assert_eq!(self.engine.shutdown(seconds(600), &CancellationToken::new()).await, []);
        schedules.ended().await.unwrap();
        self.facts.assert_settled();
    }
}

fn names(pairs: &[Pair]) -> Vec<String> {
    pairs.iter().map(|pair| format!("{}/{}", pair.profile, pair.target)).collect()
}

/// The names of the added, removed, changed and unchanged pairs.
fn said(changes: &PlanChanges) -> [Vec<String>; 4] {
    [&changes.added, &changes.removed, &changes.changed, &changes.unchanged].map(|pairs| names(pairs))
}

/// Due times of a profile's requests, in whole seconds from the start.
fn dues(world: &World, profile: &str) -> Vec<u64> {
    let own = |request: &&Arc<Request>| &*request.place.pair.profile == profile;
    let requests = world.facts.requests();
    let due = |request: &Arc<Request>| request.observed.marks.due.duration_since(world.facts.start).as_secs();
    let mut dues: Vec<u64> = requests.iter().filter(own).map(due).collect();
    dues.sort_unstable();
    dues
}

#[tokio::test(start_paused = true)]
async fn what_did_not_change_goes_on() {
    let world = world(&(minutely("chat", "x") + &minutely("rag", "x")), millis(100));
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    tokio::time::sleep(millis(35_500)).await;
    let changes = world.change(plan(&(minutely("chat", "x") + &minutely("docs", "x")))).await;
    assert_eq!(said(&changes), [vec!["docs/llama"], vec!["rag/llama"], vec![], vec!["chat/llama"]]);
    tokio::time::sleep(seconds(60)).await;
    world.end(schedules).await;
    // From 10:01:00 on, its run has every request, at the time at which it was due.
    let chat: Vec<Arc<RunSummary>> =
        world.facts.summaries().into_iter().filter(|summary| &*summary.run.pair.profile == "chat").collect();
    assert_eq!(chat[0].run.id, "chat/llama/2026-11-20T10:01:00Z");
    assert_eq!((chat[0].result.label(), chat[0].offered, chat[0].ok), ("ok", 50, 50));
    assert_eq!(dues(&world, "chat")[..50], (30..80).collect::<Vec<u64>>());
    assert_eq!(dues(&world, "rag"), (30..36).collect::<Vec<u64>>());
    assert_eq!(dues(&world, "docs"), (90..96).collect::<Vec<u64>>(), "it starts with its next slot");
}

#[tokio::test(start_paused = true)]
async fn open_requests_of_a_removed_pair_end() {
    let world = world(&minutely("chat", "x"), seconds(20));
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    tokio::time::sleep(millis(33_500)).await;
    let before = Instant::now();
    let changes = world.change(plan("")).await;
    assert_eq!((before.elapsed(), names(&changes.removed)), (Duration::ZERO, vec!["chat/llama".to_owned()]));
    assert_eq!(world.facts.results(), [""; 0], "nothing waits for the requests");
    let last = world.facts.collect(|_, fact| match fact {
        Fact::NextRun { at, .. } => Some(*at),
        _ => None,
    });
    assert_eq!(last.last(), Some(&None));
    tokio::time::sleep(seconds(300)).await;
    assert_eq!((world.facts.offered(), world.facts.outcomes()), (4, vec!["ok"; 4]));
    let ended = world.facts.summaries();
    assert_eq!((ended.len(), ended[0].result.label()), (1, "cancelled"));
    assert!((millis(3490)..=millis(3500)).contains(&world.facts.active("")), "{:?}", world.facts.active(""));
    world.end(schedules).await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_had_offered_its_load_is_no_cancelled_one() {
    let world = world(&minutely("chat", "x").replace("50s", "5s"), seconds(20));
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    tokio::time::sleep(seconds(36)).await;
    world.change(plan("")).await;
    tokio::time::sleep(seconds(60)).await;
    assert_eq!((world.facts.results(), world.facts.outcomes()), (vec!["ok"], vec!["ok"; 5]));
    world.end(schedules).await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_pair_begins_anew_beside_what_is_open() {
    let world = world(&minutely("chat", "x"), seconds(100));
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    tokio::time::sleep(millis(33_500)).await;
    let changes = world.change(plan(&minutely("chat", "y"))).await;
    assert_eq!(names(&changes.changed), ["chat/llama"]);
    tokio::time::sleep(seconds(60)).await;
    assert_eq!(world.engine.shared.in_flight.taken(), 8, "four of each");
    world.end(schedules).await;
    let runs: Vec<(String, u64)> =
        world.facts.summaries().iter().map(|run| (run.run.id.clone(), run.offered)).collect();
    let id = |minute| format!("chat/llama/2026-11-20T10:0{minute}:00Z");
    assert_eq!(runs, [(id(1), 4), (id(2), 4)]);
    assert_eq!(dues(&world, "chat"), [30, 31, 32, 33, 90, 91, 92, 93]);
}

#[tokio::test(start_paused = true)]
async fn a_cycle_that_is_joined_again_is_another_run() {
    let continuous = |prompt| {
        format!(
            "  chat: {{ targets: [llama], schedule: {{ continuous: {{}} }}, load: [{{ for: 60s, rate: 1/s }}], \
             workload: {{ prompts: [{prompt}] }} }}\n"
        )
    };
    let world = world(&continuous("x"), millis(100));
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    tokio::time::sleep(millis(5_500)).await;
    world.change(plan(&continuous("y"))).await;
    world.change(plan(&continuous("y"))).await;
    tokio::time::sleep(seconds(5)).await;
    world.change(plan(&continuous("z"))).await;
    tokio::time::sleep(seconds(40)).await;
    world.end(schedules).await;
    let ids: Vec<String> = world.facts.summaries().iter().map(|run| run.run.id.clone()).collect();
    let cycle = |minute| format!("chat/llama/2026-11-20T10:0{minute}:00Z");
    assert_eq!(ids, [cycle(0), cycle(0) + "+1", cycle(0) + "+3", cycle(1)]);
    // No request of the cycle is sent twice, and none is missing except at the moment of the change.
    assert_eq!(dues(&world, "chat"), (1..=50).collect::<Vec<u64>>());
}

#[tokio::test(start_paused = true)]
async fn a_pair_may_come_back_while_it_drains() {
    let world = world(&minutely("chat", "x"), seconds(100));
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    tokio::time::sleep(millis(33_500)).await;
    // Two changes, the second requested while the first is in progress.
    let (removed, added) = tokio::join!(world.change(plan("")), world.change(plan(&minutely("chat", "x"))));
    assert_eq!(names(&removed.removed), ["chat/llama"]);
    assert_eq!(names(&added.added), ["chat/llama"]);
    tokio::time::sleep(seconds(60)).await;
    world.end(schedules).await;
    assert_eq!(dues(&world, "chat"), [30, 31, 32, 33, 90, 91, 92, 93]);
    assert_eq!(world.facts.outcomes(), ["ok"; 8]);
    assert_eq!(world.facts.results(), ["cancelled"; 2]);
}

/// A profile that runs at its start, against these replicas.
fn at_start_on(replicas: &[&str], prompt: &str) -> Arc<Plan> {
    let text = format!(
        "targets: {{ llm: {{ api: openai-chat, base_url: 'http://llm:80', discover: {{ file_sd: [x.json] }} }} }}\n\
         profiles: {{ p: {{ targets: [llm], schedule: {{ every: 8760h, at_start: true }}, workload: {{ prompts: [{prompt}] }} }} }}"
    );
    let replica = |name: &&str| Replica::new(url::Host::parse(name).unwrap(), 80);
    let found = FoundReplicas::from([("llm".into(), replicas.iter().map(replica).collect())]);
    Arc::new(from_yaml(&text).unwrap_or_else(|e| panic!("{e}")).with_replicas(&found))
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_flaps_does_not_run_at_each_return() {
    let world = World::of(&at_start_on(&["10.0.0.1"], "x"), "2026-11-20T10:00:30Z", takes(millis(10)));
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    let change = async |plan: Arc<Plan>| {
        let one = |name: &Arc<str>| -> (Arc<str>, Arc<dyn Caller>) {
            (Arc::clone(name), Arc::<Fake>::clone(&world.fake))
        };
        let callers = plan.targets.iter().map(|target| one(&target.name)).collect();
        world.engine.change_to(world.engine.prepare(plan, &callers).unwrap()).await;
        tokio::time::sleep(seconds(5)).await;
    };
    tokio::time::sleep(seconds(5)).await;
    for _ in 0..3 {
        change(at_start_on(&[], "x")).await;
        change(at_start_on(&["10.0.0.1"], "x")).await;
    }
    assert_eq!(world.facts.started().len(), 1);
    // Another one is new, and so is one with another workload.
    change(at_start_on(&["10.0.0.1", "10.0.0.2"], "x")).await;
    assert_eq!(world.facts.started().len(), 2);
    change(at_start_on(&[], "x")).await;
    change(at_start_on(&["10.0.0.1"], "y")).await;
    assert_eq!(world.facts.started().len(), 3);
    world.end(schedules).await;
}

#[tokio::test(start_paused = true)]
async fn a_profile_that_is_put_back_runs_at_its_start() {
    let at_start = minutely("chat", "x").replace("cron: '* * * * *'", "every: 8760h, at_start: true");
    let world = world(&at_start, millis(10));
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    tokio::time::sleep(seconds(5)).await;
    world.change(plan("")).await;
    world.change(plan(&at_start)).await;
    tokio::time::sleep(seconds(5)).await;
    assert_eq!(world.facts.started().len(), 2);
    world.end(schedules).await;
}

#[tokio::test(start_paused = true)]
async fn the_sinks_change_between_the_old_and_the_new() {
    let at_start =
        |prompt| minutely("chat", prompt).replace("cron: '* * * * *'", "every: 1m, at_start: true");
    let world = world(&at_start("x"), seconds(5));
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    tokio::time::sleep(millis(2_500)).await;
    let next = world.engine.prepare(plan(&at_start("y")), &callers(&world.fake)).unwrap();
    {
        let mut changing = std::pin::pin!(world.engine.change_to(next));
        // It waits for the old schedule to end.
        assert!(futures_util::poll!(changing.as_mut()).is_pending());
        assert_eq!(world.engine.start(CancellationToken::new()).err(), Some(Error::Changing));
        changing.await;
    }
    tokio::time::sleep(seconds(60)).await;
    world.end(schedules).await;
    let runs = world.facts.summaries();
    let told = |(_, fact): &(Duration, Fact)| matches!(fact, Fact::PlanChanged(_));
    let mut all = std::mem::take(&mut *world.facts.all.lock().unwrap());
    assert!(told(&all[0]), "the first plan comes before everything else");
    assert_eq!(all.iter().filter(|fact| told(fact)).count(), 2);
    let later = all.split_off(all.iter().rposition(told).unwrap() + 1);
    let mut offered = 0;
    for (_, fact) in later {
        match fact {
            Fact::RunStarted { run, .. } => assert_ne!(run.id, runs[0].run.id),
            Fact::Offered { .. } => offered += 1,
            Fact::Ended { .. } | Fact::RunEnded { .. } | Fact::LoadActive { .. } => {}
            Fact::NextRun { at, .. } => assert!(at.is_some()),
            other => panic!("{other:?}"),
        }
    }
    // Each run's requests were offered to the sinks of its own plan.
    assert_eq!((runs[0].offered, runs[1..].iter().map(|run| run.offered).sum::<u64>()), (3, offered));
}

#[tokio::test(start_paused = true)]
async fn a_pair_that_did_not_change_speaks_by_the_new_caller() {
    let world = world(&minutely("chat", "x"), seconds(3));
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    tokio::time::sleep(millis(33_500)).await;
    let fresh = Fake::new(|_, _| Script { takes: millis(1), ..Script::default() });
    let next = world.engine.prepare(plan(&minutely("chat", "x")), &callers(&fresh)).unwrap();
    let changes = world.engine.change_to(next).await;
    assert_eq!(names(&changes.unchanged), ["chat/llama"]);
    tokio::time::sleep(seconds(60)).await;
    assert_eq!((world.calls(), world.facts.results()), (4, vec!["ok"]));
    assert_eq!(fresh.calls(), 50 - 4 + 4, "the rest of the run, and of the next one");
    world.end(schedules).await;
}

#[tokio::test(start_paused = true)]
async fn the_in_flight_limit_changes() {
    let profile = minutely("chat", "x");
    let world = World::of(&limited(2, &profile), "2026-11-20T10:00:30Z", takes(seconds(600)));
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    tokio::time::sleep(millis(34_500)).await;
    assert_eq!(world.facts.skipped(), ["in_flight"; 3]);
    let changes = world.change(limited(4, &profile)).await;
    assert_eq!(names(&changes.unchanged), ["chat/llama"]);
    tokio::time::sleep(seconds(3)).await;
    assert_eq!((world.engine.shared.in_flight.taken(), world.facts.skipped().len()), (4, 4));
    world.end(schedules).await;
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_cannot_be_played_changes_nothing() {
    let world = world(&minutely("chat", "x"), millis(100));
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    let next = world.engine.prepare(plan(&minutely("chat", "y")), &HashMap::new());
    assert_eq!(next.err(), Some(Error::NoCaller("llama".into())));
    tokio::time::sleep(millis(33_500)).await;
    assert_eq!(world.facts.offered(), 4);
    world.end(schedules).await;
}

#[tokio::test(start_paused = true)]
async fn triggers_go_to_the_present_plan() {
    let manual = |name: &str| {
        format!(
            "  {name}: {{ targets: [llama, gpt], schedule: {{ manual: {{}} }}, workload: {{ prompts: [x] }} }}\n"
        )
    };
    let world = world(&manual("chat"), millis(100));
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    world.change(plan(&manual("rag"))).await;
    let gone = world.engine.trigger("chat").await.unwrap_err();
    assert_eq!(gone, Error::NoProfile("chat".to_owned()));
    let runs = world.engine.trigger("rag").await.unwrap();
    assert!(runs.len() == 2 && runs.iter().all(|run| matches!(run.what, Triggered::Started(_))));
    let pair = Pair { profile: "chat".into(), target: "llama".into() };
    assert_eq!(world.engine.run_once(&pair, Once::default()).await.unwrap_err(), Error::NoPair(pair));
    assert_eq!(&*world.engine.plan().profiles[0].name, "rag");
    tokio::time::sleep(seconds(1)).await;
    world.end(schedules).await;
    assert_eq!(world.facts.results(), ["ok"; 2]);
}

#[tokio::test(start_paused = true)]
async fn without_profiles_the_schedules_last_until_the_stop() {
    let world = world("", millis(10));
    let stop = CancellationToken::new();
    let mut ended = Box::pin(world.engine.start(stop.clone()).unwrap().ended());
    assert!(tokio::time::timeout(seconds(3600), &mut ended).await.is_err(), "they ended by themselves");
    world.change(plan(&minutely("chat", "x"))).await;
    tokio::time::sleep(seconds(60)).await;
    assert!(world.facts.offered() > 10);
    stop.cancel();
    ended.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_change_after_the_stop_starts_nothing() {
    let world = world(&minutely("chat", "x"), millis(10));
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    world.end(schedules).await;
    let changes = world.change(plan(&minutely("chat", "y"))).await;
    assert_eq!(names(&changes.changed), ["chat/llama"]);
    tokio::time::sleep(seconds(120)).await;
    assert_eq!(world.facts.offered(), 0);
}

#[tokio::test(start_paused = true)]
async fn plans_may_change_before_the_start() {
    let world = world(&minutely("chat", "x"), millis(10));
    let changes = world.change(plan(&(minutely("chat", "x") + &minutely("rag", "x")))).await;
    assert_eq!(said(&changes), [vec!["rag/llama"], vec![], vec![], vec!["chat/llama"]]);
    assert_eq!(world.engine.trigger("rag").await.unwrap_err(), Error::NotRunning);
    let schedules = world.engine.start(CancellationToken::new()).unwrap();
    tokio::time::sleep(millis(33_500)).await;
    world.end(schedules).await;
    assert_eq!([dues(&world, "chat").len(), dues(&world, "rag").len()], [4, 4]);
}
