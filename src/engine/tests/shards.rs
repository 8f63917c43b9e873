//! Agents that play one schedule in shares: together they play exactly what a single agent plays.

use super::*;
use crate::plan::from_yaml;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// How many processes a schedule is divided among here.
const COUNTS: RangeInclusive<u32> = 2..=5;

/// A request: when it was due, in nanoseconds from the start, what was asked, and how much output.
type Played = (u128, String, String, Option<u64>);

fn shard(index: u32, count: u32) -> Shard {
    Shard::parse(&format!("{index}/{count}"), "").unwrap()
}

fn plan(profiles: &str, shard: Shard) -> Arc<Plan> {
    let text = format!(
        "targets:\n  llama: {{ api: openai-chat, base_url: 'http://127.0.0.1:1/v1', model: m }}\n  \
         app: {{ api: http, base_url: 'http://127.0.0.1:2' }}\nprofiles: {{ {profiles} }}\n"
    );
    let mut plan = from_yaml(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    plan.agent.shard = shard;
    Arc::new(plan)
}

/// Runs something in an engine with a clock of its own, so that every agent has the same instants.
fn alone<T>(plan: &Arc<Plan>, run: impl AsyncFnOnce(&World) -> T) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = World::of(plan, START, takes(millis(40)));
        run(&world).await
    })
}

/// What an agent sends in one run of its first profile.
fn one_run(profiles: &str, shard: Shard, time: Option<u64>) -> Vec<Played> {
    alone(&plan(profiles, shard), async |world| {
        let pair = world.engine.plan().pairs[0].pair.clone();
        let time = time.map(Duration::from_secs);
        let draws = Draws::At(None, START.parse().unwrap());
        world.engine.run_once(&pair, Once { draws, time }).await.unwrap();
        played(world)
    })
}

fn played(world: &World) -> Vec<Played> {
    world.facts.assert_settled();
    let of = |sent: Sent| {
        let due = sent.due.duration_since(world.facts.start).as_nanos();
        (due, sent.path, sent.body, sent.output_tokens)
    };
    let mut played: Vec<Played> = world.sent().into_iter().map(of).collect();
    played.sort();
    played
}

/// Asserts that the shards play what the single agent plays, and returns how many requests each of them has.
fn assert_divided(profiles: &str, count: u32, time: Option<u64>) -> Vec<usize> {
    let whole = one_run(profiles, Shard::WHOLE, time);
    assert!(!whole.is_empty(), "{profiles}");
    let parts: Vec<_> = (0..count).map(|index| one_run(profiles, shard(index, count), time)).collect();
    let sizes = parts.iter().map(Vec::len).collect();
    let mut union: Vec<Played> = parts.into_iter().flatten().collect();
    union.sort();
    assert_eq!(union, whole, "{count} shards of {profiles}");
    sizes
}

const SYNTHETIC: &str = "workload: { synthetic: { input_tokens: { uniform: { from: 5, to: 900 } } }, output_tokens: { uniform: { from: 5, to: 400 } } }";

/// Every kind of open-loop load.
fn open_loads() -> impl Strategy<Value = String> {
    let arrivals = prop_oneof![
        Just("constant".to_owned()),
        Just("poisson".to_owned()),
        (0.2_f64..4.0).prop_map(|cv| format!("{{ gamma: {{ cv: {cv:.3} }} }}")),
        (0.2_f64..4.0).prop_map(|cv| format!("{{ weibull: {{ cv: {cv:.3} }} }}")),
    ];
    let rate = prop_oneof![
        (1_u32..40).prop_map(|rate| format!("{rate}/s")),
        (1_u32..20, 1_u32..40).prop_map(|(from, to)| format!("{{ from: {from}/s, to: {to}/s }}")),
    ];
    let limit = proptest::option::of(1_u32..60);
    (arrivals, rate, limit).prop_map(|(arrivals, rate, limit)| {
        let limit = limit.map_or_else(String::new, |limit| format!(", requests: {limit}"));
        format!("{{ for: 3s, rate: {rate}, arrivals: {arrivals}{limit} }}")
    })
}

/// Every kind of closed-loop load whose users are equally fast.
fn closed_loads() -> impl Strategy<Value = String> {
    let users = prop_oneof![
        (1_u32..12).prop_map(|users| users.to_string()),
        (1_u32..6, 6_u32..12).prop_map(|(from, to)| format!("{{ from: {from}, to: {to} }}")),
        (1_u32..6, 6_u32..12).prop_map(|(to, from)| format!("{{ from: {from}, to: {to} }}")),
    ];
    (users, 0_u32..500)
        .prop_map(|(users, think)| format!("{{ for: 3s, users: {users}, think: {think}ms..900ms }}"))
}

/// What is sent: texts, lengths and rows that are drawn in different ways.
fn workloads() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just("workload: { prompts: [a, b, c, d, e], output_tokens: 9 }"),
        Just("workload: { prompts: [a, b, c], cache: reuse }"),
        Just(SYNTHETIC),
        Just(
            "workload: { conversation: { synthetic: { turns: { uniform: { from: 1, to: 4 } }, first_tokens: { uniform: { from: 5, to: 90 } }, turn_tokens: 7 }, answers: recorded, think: 20ms..90ms }, output_tokens: 20 }"
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_shards_together_play_what_one_agent_plays(
        loads in proptest::collection::vec(prop_oneof![2 => open_loads(), 1 => closed_loads()], 1..4),
        workload in workloads(), seed in 0_u32..1000, count in COUNTS,
    ) {
        // Bursty arrivals may send nothing in so short a time; this stage always sends something.
        let load = format!("{}, {{ for: 1s, rate: 3/s }}", loads.join(", "));
        let profile =
            format!("p: {{ targets: [llama], schedule: {{ every: 1m }}, seed: {seed}, load: [{load}], {workload} }}");
        let sizes = assert_divided(&profile, count, None);
        prop_assert_eq!(sizes.len(), count as usize);
    }
}

#[test]
fn shares_of_an_open_load_are_equal() {
    let of = |load: &str| {
        let profile =
            format!("p: {{ targets: [llama], schedule: {{ every: 1m }}, load: [{load}], {SYNTHETIC} }}");
        let mut sizes = assert_divided(&profile, 3, None);
        sizes.sort_unstable();
        sizes
    };
    assert_eq!(of("{ for: 10s, rate: 10/s }"), [33, 33, 34]);
    let clients = "{ for: 10s, rate: 9/s, arrivals: { clients: [{ weight: 2, count: 5, arrivals: poisson }, { weight: 1, arrivals: constant }] } }";
    let sizes = of(clients);
    assert!(sizes[2] - sizes[0] <= 1, "{sizes:?}");
}

#[test]
fn a_trace_is_divided_by_its_requests() {
    let trace = |rest: &str| {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples/traces/mooncake.jsonl");
        format!(
            "p: {{ targets: [llama], schedule: {{ every: 1h }}, {rest}workload: {{ trace: {{ file: {file}, scale: 2.5 }} }} }}"
        )
    };
    for rest in ["", "load: [{ warm_up: 3s }, { name: recorded }], ", "load: [{ for: 20s, requests: 11 }], "]
    {
        let sizes = assert_divided(&trace(rest), 3, None);
        let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
        assert!(most - least <= 2, "{rest}: {sizes:?}");
    }
}

#[test]
fn a_dataset_is_divided_by_its_rows() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples/questions.jsonl");
    for order in ["sequential", "shuffled"] {
        for load in ["{ for: 4s, rate: 9/s }", "{ for: 4s, users: 7, think: 300ms }"] {
            let profile = format!(
                "p: {{ targets: [llama], schedule: {{ every: 1m }}, load: [{load}], \
                 workload: {{ dataset: {{ file: {file}, order: {order} }} }} }}"
            );
            assert_divided(&profile, 3, None);
        }
    }
}

#[test]
fn a_scenario_is_divided_by_its_users() {
    let scenario = "scenario: { setup: [{ name: login, get: '/login/{{ user }}' }], \
        steps: [{ name: a, get: '/a/{{ user }}/{{ iteration }}/{{ pick([1,2,3,4,5,6,7,8,9]) }}', repeat: 2, think: 100ms..300ms }, { name: b, get: /b }] }";
    for load in [
        "{ for: 4s, rate: 5/s, arrivals: poisson }",
        "{ for: 4s, users: 7, think: 100ms..900ms }",
        "{ requests: 7, users: 7 }",
    ] {
        let profile =
            format!("p: {{ targets: [app], schedule: {{ every: 1m }}, load: [{load}], {scenario} }}");
        let sizes = assert_divided(&profile, 3, None);
        assert!(sizes.iter().all(|size| *size > 0), "{sizes:?}");
    }
}

#[test]
fn a_number_of_requests_does_not_multiply() {
    for (load, time, whole) in [
        ("{ requests: 1 }", None, 1),
        ("{ requests: 7 }", None, 7),
        ("{ requests: 20, users: 8 }", None, 20),
        ("{ requests: 3, users: 8 }", None, 3),
        ("{ requests: 5, rate: 2/s }", None, 5),
        ("{ for: 2s, rate: 2/s }", Some(6), 12),
    ] {
        let profile = format!(
            "p: {{ targets: [llama], schedule: {{ every: 1m }}, load: [{load}], workload: {{ prompts: [a, b] }} }}"
        );
        for count in COUNTS {
            let sizes = assert_divided(&profile, count, time);
            assert_eq!(sizes.iter().sum::<usize>(), whole, "{load} by {count}");
        }
    }
}

/// What all agents send in this time, by shard, and what the single one sends.
fn scheduled(profiles: &str, count: u32, time: Duration) -> (Vec<Vec<Played>>, Vec<Played>) {
    let of = |shard| {
        alone(&plan(profiles, shard), async |world| {
            world.schedule_for(time).await;
            let skipped = world.facts.skipped_runs();
            assert!(skipped.is_empty(), "{skipped:?}");
            let empty = world.facts.summaries().iter().filter(|summary| summary.offered == 0).count();
            assert_eq!(empty, 0, "a run of which the shard has nothing does not begin");
            played(world)
        })
    };
    ((0..count).map(|index| of(shard(index, count))).collect(), of(Shard::WHOLE))
}

#[test]
fn runs_of_one_request_take_turns() {
    let every = "p: { targets: [llama], schedule: { every: 1m }, workload: { prompts: [a, b, c] } }";
    let (parts, whole) = scheduled(every, 3, Duration::from_hours(1));
    let sizes: Vec<usize> = parts.iter().map(Vec::len).collect();
    assert_eq!(sizes, [20, 20, 20]);
    let mut union: Vec<Played> = parts.into_iter().flatten().collect();
    union.sort();
    assert_eq!(union, whole);
    // By a cron expression there are no numbers, and the turns are drawn.
    let cron = "p: { targets: [llama], schedule: { cron: '* * * * *' }, workload: { prompts: [a, b, c] } }";
    let (parts, whole) = scheduled(cron, 3, Duration::from_secs(60 * 60 - 10));
    assert!(parts.iter().all(|part| part.len() > 10), "{:?}", parts.iter().map(Vec::len).collect::<Vec<_>>());
    let mut union: Vec<Played> = parts.into_iter().flatten().collect();
    union.sort();
    assert_eq!(union, whole);
}

#[test]
fn a_continuous_schedule_is_divided() {
    let profile = format!(
        "p: {{ targets: [llama], schedule: {{ continuous: {{}} }}, load: [{{ for: 7s, rate: 3/s, arrivals: poisson }}, {{ for: 3s, users: 4, think: 200ms..400ms }}], {SYNTHETIC} }}"
    );
    let (parts, whole) = scheduled(&profile, 3, Duration::from_mins(1));
    let mut union: Vec<Played> = parts.into_iter().flatten().collect();
    union.sort();
    assert_eq!(union, whole);
}

#[test]
fn what_each_agent_is_told_to_play_by_itself_does_not_multiply_either() {
    // Each agent starts at another instant, so the seeds of these runs differ.
    let profile = "p: { targets: [llama], schedule: { every: 8760h, at_start: true }, load: [{ requests: 1 }], workload: { prompts: [a] } }";
    let count = |index: u32, later: u64| {
        alone(&plan(profile, shard(index, 3)), async |world| {
            tokio::time::sleep(millis(later)).await;
            world.schedule_for(seconds(10)).await;
            world.calls()
        })
    };
    assert_eq!(count(0, 0) + count(1, 1234) + count(2, 7777), 1);
}

#[test]
fn what_cannot_be_divided_is_played_by_one_shard() {
    let search = "p: { targets: [llama], schedule: { every: 1h }, search: { over: users, from: 1, to: 4, hold: 10s, samples: 1, until: [a] }, \
        slo: [{ name: a, metric: availability, objective: 90% }], workload: { prompts: [x] } }";
    let whole = one_run(search, Shard::WHOLE, None);
    let mut owners = 0;
    for index in 0..3 {
        let part = one_run(search, shard(index, 3), None);
        assert!(part.is_empty() || part == whole, "{}", part.len());
        owners += usize::from(!part.is_empty());
    }
    assert_eq!(owners, 1);
    let idle = "p: { targets: [llama], schedule: { after_idle: 10m }, workload: { prompts: [x] } }";
    let (parts, whole) = scheduled(idle, 3, Duration::from_hours(1));
    assert_eq!(parts.iter().filter(|part| !part.is_empty()).collect::<Vec<_>>(), [&whole]);
}

#[test]
fn budgets_and_limits_are_divided() {
    let text = |extra: &str| {
        format!(
            "p: {{ targets: [llama], schedule: {{ every: 1h }}, load: [{{ for: 10s, rate: 10/s, in_flight: 9 }}], workload: {{ prompts: [x] }}{extra} }}"
        )
    };
    let with_budget = text(", budget: { requests: 7 }");
    let sizes: Vec<usize> = (0..4).map(|index| one_run(&with_budget, shard(index, 4), None).len()).collect();
    assert_eq!(sizes, [2, 2, 2, 1]);
    let tiny = text(", budget: { requests: 3 }");
    let sizes: Vec<usize> = (0..4).map(|index| one_run(&tiny, shard(index, 4), None).len()).collect();
    assert_eq!(sizes, [1, 1, 1, 0], "nothing is not the same as no limit");
    // Requests that are never answered within the stage show how many may be in flight.
    let most = |shard: Shard| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let world = World::of(&plan(&text(""), shard), START, takes(seconds(20)));
            world.once().await;
            world.calls()
        })
    };
    assert_eq!([most(Shard::WHOLE), most(shard(0, 2)), most(shard(1, 2))], [9, 5, 4]);
}

#[test]
fn a_probe_is_sent_by_whoever_is_asked() {
    let profile = "p: { targets: [llama], schedule: { every: 1m }, workload: { prompts: [x] } }";
    let by_shard: BTreeMap<u32, usize> = (0..3)
        .map(|index| {
            let calls = alone(&plan(profile, shard(index, 3)), async |world| {
                let pair = world.engine.plan().pairs[0].pair.clone();
                world.engine.probe(&pair, START.parse().unwrap(), seconds(5)).await.unwrap();
                world.calls()
            });
            (index, calls)
        })
        .collect();
    assert_eq!(by_shard, [(0, 1), (1, 1), (2, 1)].into());
}

#[test]
fn time_with_load_is_counted_once_by_all_shards_together() {
    // All of them, one of them, and two of them.
    let profile = "p: { targets: [llama], schedule: { every: 1h }, load: [{ name: all, for: 12s, rate: 5/s }, \
        { name: one, for: 6s, rate: 1/s, requests: 1 }, { name: two, for: 4s, users: 2 }], workload: { prompts: [x] } }";
    let active = |shard: Shard| -> BTreeMap<String, Duration> {
        alone(&plan(profile, shard), async |world| {
            world.once().await;
            let told = world.facts.collect(|_, fact| match fact {
                Fact::LoadActive { place, time, shards, .. } => {
                    Some((place.stage.to_string(), *time / *shards))
                }
                _ => None,
            });
            told.into_iter().fold(BTreeMap::new(), |mut sum: BTreeMap<_, Duration>, (stage, time)| {
                *sum.entry(stage).or_default() += time;
                sum
            })
        })
    };
    let (whole, parts) =
        (active(Shard::WHOLE), (0..3).map(|index| active(shard(index, 3))).collect::<Vec<_>>());
    for (stage, time) in whole.iter().filter(|(stage, _)| *stage != "one") {
        let sum: f64 = parts.iter().filter_map(|part| part.get(stage)).map(Duration::as_secs_f64).sum();
        assert!((sum - time.as_secs_f64()).abs() < 1e-3, "{stage}: {sum} of {time:?}");
    }
    assert_eq!(parts.iter().filter(|part| part.contains_key("two")).count(), 2);
}
