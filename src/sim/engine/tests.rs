//! Properties of the engine core: order, exact output, and timing.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn settings() -> Settings {
    Settings {
        prefill_rate: 1000.0,
        step: Duration::from_millis(10),
        growth: Duration::from_millis(1),
        max_batch: 8,
        max_step_tokens: 256,
        blocks: 64,
        block_size: 4,
        prefix_cache: true,
        noise: 0.0,
        max_queue: 1000,
        seed: 1,
    }
}

fn job(prompt: usize, output: usize) -> Job {
    Job { prompt, output, hashes: Vec::new(), slow_down: 1.0 }
}

/// Steps until nothing is left; returns the updates, and the time at which it finished.
fn run(engine: &mut Engine, mut now: Duration) -> (Vec<Update>, Duration) {
    let mut updates = Vec::new();
    for _ in 0..100_000 {
        match engine.begin(now, &mut updates) {
            None => return (updates, now),
            Some(Step::Compute { time, .. } | Step::Wait(time)) => now += time,
        }
        engine.complete(now, &mut updates);
    }
    panic!("the engine does not come to an end");
}

fn tokens_of(updates: &[Update]) -> BTreeMap<JobId, usize> {
    let mut counts = BTreeMap::new();
    for update in updates {
        if let Update::Token { id, .. } = update {
            *counts.entry(*id).or_insert(0) += 1;
        }
    }
    counts
}

fn first_ages(updates: &[Update]) -> Vec<Duration> {
    updates
        .iter()
        .filter_map(|update| match update {
            Update::Token { age, gap: None, .. } => Some(*age),
            _ => None,
        })
        .collect()
}

#[test]
fn a_request_alone_takes_its_prefill_and_one_step_a_token() {
    let mut engine = Engine::new(settings());
    engine.submit(job(100, 5), Duration::ZERO).unwrap();
    let (updates, end) = run(&mut engine, Duration::ZERO);
    assert_eq!(first_ages(&updates), [Duration::from_millis(110)]);
    assert_eq!(end, Duration::from_millis(150));
    let Some(Update::Finished { times, .. }) = updates.last() else { panic!("not finished") };
    assert_eq!(times.prefill, Duration::from_millis(110));
    assert_eq!(times.decode, Duration::from_millis(40));
}

#[test]
fn a_step_before_a_request_arrived_is_not_its_own() {
    let mut engine = Engine::new(settings());
    engine.submit(job(100, 5), Duration::ZERO).unwrap();
    engine.submit(job(100, 5), Duration::from_millis(135)).unwrap();
    engine.submit(job(100, 5), Duration::from_secs(9)).unwrap();
    // The first one's prefill takes until 110 ms, and its second and third step until 130 and 140 ms.
    let (updates, end) = run(&mut engine, Duration::ZERO);
    assert_eq!(first_ages(&updates), [110, 115, 110].map(Duration::from_millis));
    assert_eq!(end, Duration::from_millis(9150));
}

#[test]
fn a_step_grows_with_the_batch() {
    let mut alone = Engine::new(settings());
    alone.submit(job(4, 20), Duration::ZERO).unwrap();
    let mut crowd = Engine::new(settings());
    for _ in 0..6 {
        crowd.submit(job(4, 20), Duration::ZERO).unwrap();
    }
    let alone_end = run(&mut alone, Duration::ZERO).1;
    let crowd_end = run(&mut crowd, Duration::ZERO).1;
    assert!(crowd_end > alone_end, "six at once must be slower than one");
    assert!(crowd_end < alone_end * 3, "but far faster than one after the other");
}

#[test]
fn a_prefix_seen_before_shortens_the_prefill() {
    let mut engine = Engine::new(settings());
    let hashes: Vec<u64> = (0..26).collect();
    let same = Job { hashes, ..job(100, 4) };
    engine.submit(same.clone(), Duration::ZERO).unwrap();
    let (first, now) = run(&mut engine, Duration::ZERO);
    engine.submit(same, now).unwrap();
    let (second, _) = run(&mut engine, now);
    assert!(matches!(first.first(), Some(Update::Admitted { cached: 0, .. })));
    assert!(matches!(second.first(), Some(Update::Admitted { cached: 96, .. })));
    assert!(first_ages(&second)[0] < first_ages(&first)[0] / 5);
}

#[test]
fn a_slow_job_takes_its_factor_and_the_others_do_not() {
    let mut engine = Engine::new(settings());
    engine.submit(Job { slow_down: 5.0, ..job(100, 10) }, Duration::ZERO).unwrap();
    let (slow, _) = run(&mut engine, Duration::ZERO);
    let mut mixed = Engine::new(settings());
    mixed.submit(Job { slow_down: 5.0, ..job(4, 10) }, Duration::ZERO).unwrap();
    let fast = mixed.submit(job(4, 10), Duration::ZERO).unwrap();
    let (both, _) = run(&mut mixed, Duration::ZERO);
    assert_eq!(first_ages(&slow), [Duration::from_millis(550)]);
    let first_done = both.iter().find_map(|update| match update {
        Update::Finished { id, .. } => Some(*id),
        _ => None,
    });
    assert_eq!(first_done, Some(fast));
}

#[test]
fn without_room_the_youngest_goes_back_and_still_gets_all_its_tokens() {
    let mut engine = Engine::new(Settings { blocks: 12, ..settings() });
    for _ in 0..4 {
        engine.submit(job(8, 30), Duration::ZERO).unwrap();
    }
    let (updates, _) = run(&mut engine, Duration::ZERO);
    assert!(updates.contains(&Update::Preempted));
    assert_eq!(tokens_of(&updates), (0..4).map(|id| (id, 30)).collect());
}

#[test]
fn what_cannot_fit_and_what_finds_no_place_is_refused() {
    let mut engine = Engine::new(Settings { blocks: 4, max_queue: 1, ..settings() });
    assert_eq!(engine.submit(job(12, 5), Duration::ZERO), Err(Refused::TooLong));
    assert!(engine.submit(job(8, 5), Duration::ZERO).is_ok());
    assert_eq!(engine.submit(job(8, 5), Duration::ZERO), Err(Refused::QueueFull));
}

#[test]
fn a_cancelled_job_leaves_nothing_behind() {
    let mut engine = Engine::new(settings());
    let first = engine.submit(job(50, 50), Duration::ZERO).unwrap();
    let second = engine.submit(job(50, 50), Duration::ZERO).unwrap();
    engine.begin(Duration::ZERO, &mut Vec::new());
    engine.cancel(first);
    engine.cancel(second);
    assert_eq!(engine.load(), Load::default());
    assert_eq!(engine.begin(Duration::from_secs(1), &mut Vec::new()), None);
}

#[test]
fn noise_is_seeded() {
    let end = |seed| {
        let mut engine = Engine::new(Settings { noise: 0.2, seed, ..settings() });
        engine.submit(job(10, 20), Duration::ZERO).unwrap();
        run(&mut engine, Duration::ZERO).1
    };
    assert_eq!(end(3), end(3));
    assert_ne!(end(3), end(4));
}

proptest! {
    // For every set of jobs that each fit alone, with any arrival times, slow-downs and cancellations: admission is in
    // order of arrival, each job that is not cancelled gets exactly its tokens, and all blocks are freed.
    #[test]
    fn jobs_are_served_in_order_and_in_full(
        jobs in prop::collection::vec((1_usize..60, 1_usize..40, 0_u64..4, 0_u64..200, 1_u8..4, any::<bool>()), 1..25),
        blocks in 25_usize..80,
        max_batch in 1_usize..6,
        max_step_tokens in 8_usize..64,
    ) {
        let mut engine = Engine::new(Settings { max_batch, max_step_tokens, blocks, ..settings() });
        let mut arrivals: Vec<_> = jobs;
        arrivals.sort_by_key(|job| job.3);
        let (mut now, mut updates, mut expected) = (Duration::ZERO, Vec::new(), BTreeMap::new());
        for (prompt, output, family, at, slow, cancelled) in arrivals {
            let at = Duration::from_millis(at);
            while now < at {
                match engine.begin(now, &mut updates) {
                    Some(Step::Compute { time, .. } | Step::Wait(time)) => now += time,
                    None => now = at,
                }
                engine.complete(now, &mut updates);
            }
            let hashes = (0..((prompt + output) / 4) as u64).map(|block| family * 1000 + block).collect();
            let id = engine.submit(Job { prompt, output, hashes, slow_down: f64::from(slow) }, now).unwrap();
            if cancelled {
                engine.cancel(id);
            } else {
                expected.insert(id, output);
            }
        }
        updates.extend(run(&mut engine, now).0);
        let admitted: Vec<JobId> = updates.iter().filter_map(|update| match update {
            Update::Admitted { id, .. } => Some(*id),
            _ => None,
        }).collect();
        prop_assert!(admitted.is_sorted());
        prop_assert_eq!(tokens_of(&updates), expected);
        prop_assert_eq!(engine.blocks.available(), blocks);
    }
}
