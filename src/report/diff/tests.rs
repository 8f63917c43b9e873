//! What is called a change, and what cannot be compared.

use super::*;
use crate::event::{Failure, Outcome};
use crate::fact::{Fact, Sink};
use crate::report::testing::{ended, environment, played};
use crate::report::{ResultFileError, ResultRun, StageTotals, Summary};
use crate::tally::Distribution as _;
use crate::testing::{play, rag_plan, small_plan, step_place};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use rand_distr::Distribution as _;
use std::time::Duration;

/// A result of one part, whose times are drawn in milliseconds, each for all quantities.
fn result(n: u64, failed: u64, mut draw: impl FnMut(u64) -> f64) -> SavedResult {
    let mut stage = StageTotals { stage: "steady".into(), ..StageTotals::default() };
    let tally = &mut stage.tally;
    for i in 0..n {
        for times in [
            &mut tally.first_token,
            &mut tally.chunk_gap,
            &mut tally.longest_gap,
            &mut tally.whole_per_token,
            &mut tally.duration,
        ] {
            times.record(Duration::from_secs_f64(draw(i) / 1e3));
        }
    }
    tally.ended[Outcome::Ok].measured = n;
    tally.ended[Outcome::Failed(Failure::Reset)].measured = failed;
    tally.ended[Outcome::Failed(Failure::Cancelled)].measured = 7;
    let pair = ResultPair {
        profile: "chat".into(),
        target: "llama".into(),
        model: "m".into(),
        revision: "r1".into(),
        thresholds: BTreeMap::from([("time_to_first_token".to_owned(), 0.1), ("failures".to_owned(), 0.02)]),
        stages: vec![stage],
        ..ResultPair::default()
    };
    SavedResult::new(environment(), vec![pair])
}

/// 200 ms, give or take two.
fn steady(i: u64) -> f64 {
    200.0 + (i % 5) as f64 - 2.0
}

fn verdicts(diff: &ResultDiff) -> Vec<(&'static str, &'static str)> {
    diff.changes.iter().map(|it| (it.quantity.name(), it.verdict.name())).collect()
}

#[test]
fn what_did_not_change_is_the_same() {
    let diff = ResultDiff::of(&result(400, 0, steady), &result(500, 0, steady));
    assert_eq!(
        verdicts(&diff),
        [
            ("time_to_first_token", "same"),
            ("output_pace", "same"),
            ("chunk_gap", "same"),
            ("request_duration", "same"),
            ("failures", "same")
        ]
    );
    assert!(diff.verdict == ChangeVerdict::Same && !diff.is_worse() && diff.left_out.is_empty());
    assert_eq!(diff.changes[0].before.samples, 400);
    assert_eq!(
        (diff.changes[0].min_change, diff.changes[1].min_change),
        (0.1, 0.05),
        "5% if nothing is said"
    );
}

#[test]
fn a_quantity_that_only_one_of_them_has_is_told() {
    let (streamed, mut whole) = (result(400, 0, steady), result(400, 0, steady));
    // As behind a gateway that answers streams as a whole.
    let tally = &mut whole.pairs[0].stages[0].tally;
    (tally.first_token, tally.chunk_gap) = Default::default();
    for (before, after, which, cell) in
        [(&streamed, &whole, "first", "none after"), (&whole, &streamed, "second", "none before")]
    {
        let diff = ResultDiff::of(before, after);
        let told: Vec<String> = diff.left_out.iter().map(|it| format!("{}: {}", it.what, it.why)).collect();
        let expected = ["time to first token", "chunk gap"]
            .map(|quantity| format!("chat on llama, steady: {quantity}: only the {which} result has it"));
        assert_eq!(told, expected);
        assert_eq!(diff.verdict, ChangeVerdict::Unknown);
        assert_eq!(diff.tables().matches(cell).count(), 2, "{}", diff.tables());
    }
}

#[test]
fn a_change_that_matters_is_worse_or_better() {
    let slower = ResultDiff::of(&result(400, 0, steady), &result(400, 0, |i| steady(i) * 1.08));
    // 8% more matter to everything but the time to first token.
    assert_eq!(
        verdicts(&slower)[..4],
        [
            ("time_to_first_token", "same"),
            ("output_pace", "worse"),
            ("chunk_gap", "worse"),
            ("request_duration", "worse")
        ]
    );
    assert!(slower.is_worse());
    let duration = &slower.changes[3];
    let [low, seen, high] = [duration.change_low, duration.change, duration.change_high].map(Option::unwrap);
    assert!(low <= seen && seen <= high && (seen - 0.08).abs() < 0.002, "{duration:?}");
    let pace = &slower.changes[1];
    assert!((pace.change.unwrap() - (1.0 / 1.08 - 1.0)).abs() < 0.002, "{pace:?}");
    assert!((pace.before.value.unwrap() - 5.0).abs() < 0.02 && pace.after.value < pace.before.value);
    let faster = ResultDiff::of(&result(400, 0, steady), &result(400, 0, |i| steady(i) * 0.8));
    assert!(
        faster.changes[..4].iter().all(|it| it.verdict == ChangeVerdict::Better),
        "{:?}",
        verdicts(&faster)
    );
    assert_eq!((faster.verdict, faster.is_worse()), (ChangeVerdict::Better, false));
}

#[test]
fn failures_are_shares_of_what_judges_the_target() {
    let diff = ResultDiff::of(&result(400, 0, steady), &result(380, 20, steady));
    let failures = &diff.changes[4];
    assert_eq!((failures.before.value, failures.after.value), (Some(0.0), Some(0.05)));
    assert_eq!((failures.after.samples, failures.verdict), (400, ChangeVerdict::Worse));
    let few = ResultDiff::of(&result(400, 0, steady), &result(398, 2, steady));
    assert_eq!(
        few.changes[4].verdict,
        ChangeVerdict::Unknown,
        "2 of 400: an accident, or half of what matters"
    );
}

#[test]
fn too_few_samples_say_nothing() {
    let diff = ResultDiff::of(&result(400, 0, steady), &result(6, 0, |i| steady(i) * 3.0));
    assert!(diff.changes.iter().all(|it| it.verdict == ChangeVerdict::Unknown), "{:?}", verdicts(&diff));
    assert_eq!(
        (diff.verdict, diff.changes[0].change, diff.changes[0].change_high),
        (ChangeVerdict::Unknown, None, None)
    );
    // What only failed has no times, and is not the same for that.
    let gone = ResultDiff::of(&result(400, 0, steady), &result(0, 400, steady));
    assert_eq!((gone.changes[0].verdict, gone.changes[0].after.value), (ChangeVerdict::Unknown, None));
    assert!(gone.is_worse());
}

/// Equal results of 60 scattered requests each are called different less often than one in a hundred times.
#[test]
fn equal_results_are_called_different_as_rarely_as_stated() {
    let scatter = rand_distr::LogNormal::new(5.0, 0.4).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut sample = || result(60, 1, |_| scatter.sample(&mut rng));
    let called = (0..300).filter(|_| {
        let diff = ResultDiff::of(&sample(), &sample());
        diff.changes.iter().any(|it| [ChangeVerdict::Better, ChangeVerdict::Worse].contains(&it.verdict))
    });
    let called = called.count();
    // 3 of 300 are stated; 10 or more would have a probability of 0.1%.
    assert!(called < 10, "{called}");
}

#[test]
fn only_like_is_compared_with_like() {
    let (before, mut other) = (result(400, 0, steady), result(400, 0, |i| steady(i) * 2.0));
    other.pairs[0].revision = "r2".into();
    let diff = ResultDiff::of(&before, &other);
    assert_eq!((diff.changes.len(), diff.verdict), (0, ChangeVerdict::Unknown));
    assert!(diff.left_out[0].why.contains("another revision"), "{:?}", diff.left_out);
    assert_eq!(diff.tables(), "nothing could be compared\n");

    let mut other = result(400, 0, steady);
    let mut mistral = other.pairs[0].clone();
    mistral.target = "mistral".into();
    other.pairs.push(mistral);
    other.pairs[0].stages[0].stage = "peak".into();
    let left_out = |before, after| -> Vec<String> {
        let diff = ResultDiff::of(before, after);
        diff.left_out.iter().map(|it| format!("{}: {}", it.what, it.why)).collect()
    };
    assert_eq!(
        left_out(&before, &other),
        [
            "chat on llama, steady: only the first result has it",
            "chat on llama, peak: only the second result has it",
            "chat on mistral: only the second result has it"
        ]
    );
    assert_eq!(left_out(&other, &before)[0], "chat on mistral: only the first result has it");

    let mut search = result(400, 0, steady);
    search.pairs[0].runs.push(ResultRun { search: true, ..ResultRun::default() });
    assert!(left_out(&before, &search)[0].contains("capacity search"));
}

#[test]
fn a_diff_is_tables_or_json() {
    let diff = ResultDiff::of(&result(400, 0, steady), &result(380, 20, |i| steady(i) * 1.2));
    let tables = diff.tables();
    let line = |of: &str| {
        let line =
            tables.lines().find(|line| line.contains(of)).unwrap_or_else(|| panic!("{of} in {tables}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(tables.starts_with("chat on llama\n"), "{tables}");
    let first_token = line("time to first token");
    assert!(
        first_token.contains("steady time to first token 200 ms of 400 240 ms of 380 +20.0% +"),
        "{first_token}"
    );
    assert!(first_token.ends_with(" 10% worse │"), "{first_token}");
    assert!(line("output pace").contains("5.0/s of 400 4.2/s of 380 -16.7% -"), "{}", line("output pace"));
    let failures = line("failures");
    assert!(
        failures.contains("0.00% of 400 5.00% of 400 +5.00 +") && failures.contains("2 points worse"),
        "{failures}"
    );
    assert!(line("worse: ").starts_with("worse: 5 worse, 0 better, 0 same, 0 unknown;"), "{tables}");
    let json = serde_json::to_value(&diff).unwrap();
    assert_eq!((&json["verdict"], &json["confidence"]), (&"worse".into(), &0.99.into()));
    assert_eq!(json["changes"][0]["quantity"], "time_to_first_token");
    assert!(json["changes"][0]["change_low"].as_f64() > Some(0.1), "{json}");
    let few = ResultDiff::of(&result(400, 0, steady), &result(3, 0, steady)).tables();
    assert!(few.contains("too few samples"), "{few}");
}

#[test]
fn a_result_is_read_as_it_was_saved() {
    let saved = SavedResult::of(&played(30), environment());
    let text = saved.to_json().unwrap();
    assert!(text.starts_with("{\"format\":\"tokenbeat-result\",\"version\":2,") && !text.contains("hunter2"));
    let read = SavedResult::from_json(&text).unwrap();
    assert_eq!((read.to_json().unwrap(), &read.environment), (text, &environment()));
    let pair = read.pair("chat", "llama").unwrap();
    assert_eq!((&*pair.model, &*pair.revision, pair.thresholds["chunk_gap"]), ("m", "rev", 0.05));
    let parts = pair.parts();
    let [only] = &parts[..] else { panic!("the warm-up is left out: {parts:?}") };
    assert_eq!((&*only.stage, only.tally.ok(), only.tally.first_token.count()), ("steady", 30, 30));
    assert_eq!((pair.runs[0].seed, &*pair.runs[0].started), (1, "1970-01-01T00:00:00.000Z"));
    assert!(pair.runs[0].degraded.is_some() && !pair.is_search());
    let diff = ResultDiff::of(&saved, &read);
    assert!(
        diff.changes[..4].iter().all(|it| it.verdict == ChangeVerdict::Same && it.change == Some(0.0)),
        "{diff:?}"
    );
    let tables = read.report().tables();
    assert!(
        tables.starts_with("chat on llama (m)\n") && tables.contains(" time to first token "),
        "{tables}"
    );
    assert!(SavedResult::of(&Summary::new(&small_plan()), environment()).pairs.is_empty(), "nothing was run");
}

#[test]
fn a_scenario_has_a_part_for_each_step() {
    let plan = rag_plan();
    let summary = Summary::new(&plan);
    let sink: Arc<dyn Sink> = Arc::<Summary>::clone(&summary);
    for turn in [1, 2, 4] {
        play(&sink, &step_place(&plan.pairs[0], 1, "talk", turn), Outcome::Ok, |_| {});
    }
    let time = Duration::from_secs(10);
    sink.record(&Fact::LoadActive {
        place: Arc::clone(&plan.pairs[0].places[1]),
        warm_up: false,
        time,
        shards: 1,
    });
    sink.record(&ended(&plan.pairs[0].pair));
    let saved = SavedResult::of(&summary, environment());
    let report = saved.report();
    let [warm, steady] = &report.pairs[0].stages[..] else { panic!("two stages") };
    assert!(warm.warm_up && warm.throughput.is_none());
    for view in steady.parts.iter().chain([steady, &report.pairs[0].total]) {
        let throughput = view.throughput.as_ref().unwrap();
        assert!((throughput.load_active_seconds - 10.0).abs() < 1e-9, "the steps share it: {throughput:?}");
    }
    let parts = saved.pairs[0].parts();
    let parts: Vec<_> = parts.iter().map(|part| (&*part.stage, &*part.step, part.tally.ok())).collect();
    assert_eq!(parts, [("steady", "login", 0), ("steady", "query", 0), ("steady", "talk", 3)]);
    // Steps of which nothing happened have nothing to compare.
    let diff = ResultDiff::of(&saved, &saved);
    assert!(diff.changes.iter().all(|it| &*it.step == "talk") && diff.tables().contains("steady / talk"));
}

#[test]
fn what_is_no_result_is_told_apart() {
    assert!(result(1, 0, steady).says_something() && result(0, 1, steady).says_something());
    assert!(!result(0, 0, steady).says_something(), "cancelled requests say nothing");
    assert!(!SavedResult::new(environment(), Vec::new()).says_something());
    let error = |text: &str| SavedResult::from_json(text).unwrap_err().to_string();
    assert!(error("{").starts_with("is not a saved result: EOF"), "{}", error("{"));
    assert!(error("{\"pairs\": []}").starts_with("is not a saved result: missing field `format`"));
    assert!(error("{\"format\": \"x\", \"version\": 1}").contains("its `format` is not `tokenbeat-result`"));
    let newer = "{\"format\": \"tokenbeat-result\", \"version\": 3}";
    assert!(matches!(SavedResult::from_json(newer), Err(ResultFileError::Version(3))));
    assert_eq!(
        error(newer),
        "has version 3 of the format, and this tokenbeat reads versions 1 to 2: save it again with this one"
    );
    let cut = SavedResult::of(&played(1), environment()).to_json().unwrap();
    assert!(error(&cut[..cut.len() / 2]).starts_with("is not a saved result: "));
    let damaged = cut.replace("\"ended\":{\"ok\":[1,0]}", "\"ended\":{\"ok\":\"one\"}");
    assert!(
        damaged != cut && error(&damaged).starts_with("is not a saved result: invalid type"),
        "{damaged}"
    );
}
