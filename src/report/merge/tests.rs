//! A sum is what one agent would have measured.

use super::*;
use crate::event::{Failure, Outcome, Request};
use crate::fact::{Fact, Sink};
use crate::report::Summary;
use crate::report::active_time::ActiveTime;
use crate::report::stage::StageTotals;
use crate::report::testing::{ended, environment, found, played};
use crate::report::trail::{ClockOrigin, RequestTrail};
use crate::testing::{play, rag_plan, step_place, travel};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

/// A request of a drawn case: which agent sent it, its step and turn, its outcome, and its time to first token.
type Drawn = (usize, u32, bool, u64);

fn environment_of(agent: usize) -> ResultEnvironment {
    ResultEnvironment { agent: format!("agent-{agent}"), ..environment() }
}

/// The result of an agent that sent these.
fn measured(agent: usize, requests: &[Drawn]) -> SavedResult {
    let plan = rag_plan();
    let summary = Summary::new(&plan);
    let sink: Arc<dyn Sink> = Arc::<Summary>::clone(&summary);
    let pair = &plan.pairs[0];
    for (_, turn, ok, millis) in requests {
        let outcome = if *ok { Outcome::Ok } else { Outcome::Failed(Failure::Reset) };
        play(&sink, &step_place(pair, 1, "talk", *turn), outcome, |request| {
            let marks = &mut request.observed.marks;
            marks.first_token = marks.sent.map(|sent| sent + Duration::from_millis(*millis));
            request.stalls = u64::from(*millis > 200);
        });
        travel(&sink, &pair.places[1], outcome, |journey| journey.duration = Duration::from_millis(*millis));
        let time = Duration::from_millis(*millis);
        sink.record(&Fact::LoadActive {
            place: Arc::clone(&pair.places[1]),
            warm_up: false,
            time,
            shards: 1,
        });
    }
    sink.record(&ended(&pair.pair));
    let mut result = SavedResult::of(&summary, environment_of(agent));
    // None of them offers load at the same time as another.
    let from = 1000 * u64::try_from(agent).unwrap();
    set_active(&mut result, from, from + 10);
    result
}

/// The minute of the runs, 2026-11-20T10:00Z, in seconds since the epoch.
const MINUTE: u64 = 1_795_168_800;

/// Load was offered between these seconds since the epoch, if it was.
fn set_active(result: &mut SavedResult, from: u64, until: u64) {
    let span = ActiveTime::of(Duration::from_secs(from), Duration::from_secs(until));
    let pair = &mut result.pairs[0];
    let stages = pair.stages.iter_mut().map(|stage| &mut stage.active);
    stages.chain([&mut pair.active]).filter(|active| !active.is_empty()).for_each(|it| *it = span.clone());
}

fn totals(result: &SavedResult) -> serde_json::Value {
    let mut json = serde_json::to_value(result.report()).unwrap();
    json["pairs"][0]["runs"] = serde_json::Value::Null;
    json["diagnosis"] = serde_json::Value::Null;
    let mut stages = result.pairs[0].stages.clone();
    // When it was is not the same.
    for stage in &mut stages {
        stage.active = ActiveTime::default();
    }
    serde_json::json!({ "summary": json, "stages": stages })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn the_sum_of_parts_is_the_whole(
        drawn in prop::collection::vec((0_usize..3, 1_u32..6, any::<bool>(), 1_u64..400), 1..60)
    ) {
        let whole = measured(9, &drawn);
        let parts = (0..3).map(|agent| {
            let its: Vec<Drawn> = drawn.iter().copied().filter(|it| it.0 == agent).collect();
            measured(agent, &its)
        });
        // As they come out of files.
        let parts = parts.map(|part| SavedResult::from_json(&part.to_json().unwrap()).unwrap());
        let merged = SavedResult::merge(parts.collect()).unwrap().result;
        // Sums of floats, such as costs and seconds, depend on their order in the last digit.
        prop_assert!(close(&totals(&merged), &totals(&whole)), "{}\n{}", totals(&merged), totals(&whole));
        prop_assert_eq!(merged.pairs[0].runs.len(), 3);
        prop_assert_eq!(merged.merged.len(), 3);
    }

    #[test]
    fn trails_add_up_however_they_are_shared_out(
        drawn in prop::collection::vec((any::<bool>(), 0_u64..5_000, any::<u64>()), 1..300)
    ) {
        let origin = ClockOrigin::now();
        let (mut whole, mut parts) = (RequestTrail::default(), [RequestTrail::default(), RequestTrail::default()]);
        for (first, seconds, id) in drawn {
            let request = request(seconds, id);
            whole.ended(&request, origin);
            parts[usize::from(first)].ended(&request, origin);
        }
        let [mut sum, other] = parts;
        sum.add(&other);
        prop_assert_eq!(sum, whole);
    }
}

/// Whether two values are the same, but for the last digits of fractions.
fn close(a: &serde_json::Value, b: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Number, Object};
    match (a, b) {
        (Number(a), Number(b)) if a.is_f64() || b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
        }
        (Array(a), Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| close(a, b)),
        (Object(a), Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| close(a, b)))
        }
        _ => a == b,
    }
}

/// A request that ended so many seconds after now, with this span id.
fn request(seconds: u64, id: u64) -> Request {
    let plan = rag_plan();
    let summary: Arc<dyn Sink> = Summary::new(&plan);
    let request = play(&summary, &step_place(&plan.pairs[0], 1, "talk", 1), Outcome::Ok, |request| {
        request.ids.span_id = id.to_be_bytes();
        let marks = &mut request.observed.marks;
        (marks.due, marks.end) =
            (marks.due + Duration::from_secs(seconds), marks.end + Duration::from_secs(seconds));
    });
    request.as_ref().clone()
}

#[test]
fn a_trail_is_bounded_and_its_sample_goes_by_chance() {
    let (origin, one) = (ClockOrigin::now(), request(0, 1));
    let mut trail = RequestTrail::default();
    for n in 0..3000_u64 {
        let mut next = one.clone();
        // A multiplicative hash stands for a random id.
        next.ids.span_id = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        next.observed.marks.due += Duration::from_secs(n);
        next.observed.marks.end += Duration::from_secs(n);
        next.observed.server = Some(format!("server-{}", n % 20));
        trail.ended(&next, origin);
    }
    assert_eq!((trail.sampled_from, trail.samples.len(), trail.servers.len()), (3000, 800, 8));
    assert!(trail.timeline.slots.len() <= 400 && trail.timeline.slot_seconds == 8, "{:?}", trail.timeline);
    assert_eq!(trail.timeline.slots.values().map(|slot| slot.ok).sum::<u64>(), 3000);
    let begin = trail.samples.iter().map(|it| it.at).fold(f64::INFINITY, f64::min);
    let early = trail.samples.iter().filter(|it| it.at - begin < 1500.0).count();
    assert!((350..450).contains(&early), "{early} of 800 are of the first half");
}

/// Ten requests of an agent, in a run between these seconds of a minute, which offered load for a second.
fn between(agent: usize, started: u8, ended: u8) -> SavedResult {
    let drawn: Vec<Drawn> = (0..10).map(|_| (agent, 1, true, 100)).collect();
    run_between(agent, &drawn, started, ended)
}

fn run_between(agent: usize, drawn: &[Drawn], started: u8, ended: u8) -> SavedResult {
    let mut result = measured(agent, drawn);
    set_active(&mut result, MINUTE + u64::from(started), MINUTE + u64::from(ended));
    let run = &mut result.pairs[0].runs[0];
    run.started = format!("2026-11-20T10:00:{started:02}Z");
    run.ended = format!("2026-11-20T10:00:{ended:02}Z");
    result
}

/// As an older version saves it, which has only the times of the runs.
fn older(mut result: SavedResult) -> SavedResult {
    let pair = &mut result.pairs[0];
    let stages = pair.stages.iter_mut().map(|stage| &mut stage.active);
    stages.chain([&mut pair.active]).for_each(|active| *active = ActiveTime::default());
    SavedResult::from_json(&result.to_json().unwrap()).unwrap()
}

#[test]
fn load_that_agents_offered_together_has_the_time_of_one() {
    let sum = |results: Vec<SavedResult>| SavedResult::merge(results).unwrap().result;
    // Requests per second in total, of the stage and of its step, by those of one agent.
    let (one, other) = (between(1, 0, 10), between(2, 0, 10));
    let rates = |result: &SavedResult| {
        let view = result.pairs[0].view();
        let steady =
            view.stages.iter().find(|stage| !stage.parts.is_empty() && stage.requests.contains_key("ok"));
        let steady = steady.unwrap();
        let talk = steady.parts.iter().find(|it| &*it.step == "talk").unwrap();
        [&view.total, steady, talk].map(|it| it.throughput.unwrap().requests_per_second)
    };
    let alone = rates(&one);
    let in_flight = |result: &SavedResult| result.pairs[0].view().total.average_in_flight().unwrap();
    let together = sum(vec![one.clone(), other]);
    for (result, times) in [
        (together.clone(), 2.0),
        (sum(vec![one.clone(), between(2, 10, 20)]), 1.0),
        (sum(vec![one.clone(), between(2, 30, 40)]), 1.0),
        (sum(vec![between(2, 5, 15), one.clone()]), 4.0 / 3.0),
        (sum(vec![together, between(3, 0, 10)]), 3.0),
        // An agent that has nothing of it makes nobody faster, and leaves it when it was.
        (sum(vec![one.clone(), run_between(2, &[], 0, 10)]), 1.0),
        (sum(vec![older(one.clone()), older(between(2, 0, 10))]), 2.0),
        (sum(vec![older(one.clone()), older(run_between(2, &[], 0, 10))]), 1.0),
        (sum(vec![older(one.clone()), older(between(2, 30, 40))]), 1.0),
        (sum(vec![older(one.clone()), between(2, 0, 10)]), 2.0),
    ] {
        let result = SavedResult::from_json(&result.to_json().unwrap()).unwrap();
        for (rate, alone) in rates(&result).into_iter().zip(alone) {
            assert!((rate / alone - times).abs() < 1e-6, "{rate} {alone} {times}");
        }
        assert!((in_flight(&result) / in_flight(&one) - times).abs() < 1e-6, "{times}");
    }
}

#[test]
fn each_stage_has_the_time_in_which_somebody_offered_it() {
    // Both play from 0 to 8 s; the first stage falls to one of them.
    let played = |agent: usize, stages: &[(&str, u64, u64)]| {
        let mut result = between(agent, 0, 8);
        let pair = &mut result.pairs[0];
        pair.stages.clear();
        pair.active = ActiveTime::default();
        for (name, from, until) in stages {
            let [from, until] = [from, until].map(|at| Duration::from_secs(*at));
            let mut stage = StageTotals { stage: (*name).into(), ..StageTotals::default() };
            stage.active = ActiveTime::of(from, until);
            stage.tally.load_active = until.saturating_sub(from);
            stage.tally.ended[Outcome::Ok].measured = 40;
            pair.active.join(&stage.active);
            pair.stages.push(stage);
        }
        result
    };
    let results = vec![played(1, &[("a", 0, 4), ("b", 4, 8)]), played(2, &[("b", 4, 8)])];
    let view = SavedResult::merge(results).unwrap().result.pairs[0].view();
    let shown = |stage: &crate::report::StageReport| {
        let throughput = stage.throughput.unwrap();
        (throughput.load_active_seconds, throughput.requests_per_second)
    };
    let shown: Vec<_> = [&view.total].into_iter().chain(&view.stages).map(shown).collect();
    for ((seconds, rate), (wanted, wanted_rate)) in shown.iter().zip([(8.0, 15.0), (4.0, 10.0), (4.0, 20.0)])
    {
        assert!((seconds - wanted).abs() < 1e-6 && (rate - wanted_rate).abs() < 1e-6, "{shown:?}");
    }
}

#[test]
fn shards_of_one_machine_that_begin_at_once_are_different_runs() {
    let shard = |index: usize, shard: &str| {
        let environment = ResultEnvironment { shard: shard.to_owned(), ..environment_of(1) };
        let mut result = SavedResult::of(&played(3), environment);
        for run in &mut result.pairs[0].runs {
            run.started = "2026-11-20T10:00:00.000Z".to_owned();
            run.ended = format!("2026-11-20T10:00:0{index}.000Z");
        }
        SavedResult::from_json(&result.to_json().unwrap()).unwrap()
    };
    let [a, b] = [shard(1, "0/2"), shard(1, "1/2")];
    let sum = SavedResult::merge(vec![a.clone(), b.clone()]).unwrap().result;
    let shards: Vec<_> = sum.pairs[0].runs.iter().map(|run| run.shard.as_str()).collect();
    assert_eq!(shards, ["0/2", "1/2"]);
    for again in [a, b] {
        assert!(matches!(
            SavedResult::merge(vec![sum.clone(), again]),
            Err(ResultMergeError::Twice { number: 2, .. })
        ));
    }
    // Two processes of the same name that play the same thing at the same time have no shard to tell them apart.
    assert!(SavedResult::merge(vec![shard(1, ""), shard(2, "")]).is_ok());
    assert!(SavedResult::merge(vec![shard(1, ""), shard(1, "")]).is_err());
}

#[test]
fn what_has_no_sum_is_refused() {
    let error = |results: Vec<SavedResult>| SavedResult::merge(results).unwrap_err().to_string();
    let by = |agent| {
        SavedResult::from_json(&{
            let mut saved = SavedResult::of(&played(3), environment_of(agent));
            saved.pairs[0].requests.samples.clear();
            saved.to_json().unwrap()
        })
        .unwrap()
    };
    assert_eq!(error(Vec::new()), "there is no result");
    assert_eq!(
        error(vec![by(1), by(2), by(1)]),
        "the run run-1 of agent agent-1 is in number 3 and before: it would count twice"
    );
    // Also where one of them is a sum already.
    let sum = SavedResult::merge(vec![by(1), by(2)]).unwrap().result;
    assert!(error(vec![sum.clone(), by(2)]).contains("of agent agent-2 is in number 2"));
    assert_eq!(SavedResult::merge(vec![sum, by(3)]).unwrap().result.merged.len(), 3);

    let mut other = by(2);
    other.pairs[0].revision = "r2".into();
    assert_eq!(
        error(vec![by(1), other]),
        "chat on llama has another workload, load or model in number 2 (revision r2) than before (revision rev)"
    );
    let mut other = by(2);
    other.environment.currency = "eur".into();
    assert_eq!(error(vec![by(1), other]), "the costs of the first are in usd and those of number 2 in eur");
    let mut other = by(2);
    other.pairs[0].objectives[0].objective = 0.5;
    assert_eq!(error(vec![by(1), other]), "chat on llama has other objectives in number 2 than before");
    for search in [1, 2] {
        let mut results = vec![by(1), by(2)];
        results[search - 1].pairs[0].runs[0].search = true;
        assert!(error(results).contains("is a capacity search"));
    }
}

#[test]
fn shards_of_which_there_is_no_result_are_said() {
    let of = |shards: &[&str]| {
        let results = (0..).zip(shards).map(|(agent, shard)| {
            let environment = ResultEnvironment { shard: (*shard).to_owned(), ..environment_of(agent) };
            SavedResult::of(&played(3), environment)
        });
        SavedResult::merge(results.collect()).unwrap()
    };
    let missing = |shards: &[&str]| of(shards).left_out;
    assert!(missing(&["0/3", "1/3", "2/3"]).is_empty() && missing(&["", ""]).is_empty());
    assert_eq!(missing(&["2/3", "0/3"]), ["the shard 1/3, of which there is no result"]);
    assert_eq!(
        missing(&["0/2", "1/2", "1/4", ""]),
        ["the shards 0/4, 2/4, 3/4, of which there is no result"]
    );
    assert!(missing(&["5/12"])[0].contains("8/12 and 3 more, of which"));
    // The report says it, too, also after it was saved.
    let sum = SavedResult::from_json(&of(&["2/3", "0/3"]).result.to_json().unwrap()).unwrap();
    let said = "he sum is without the shard 1/3, of which there is no result";
    assert!(sum.to_markdown().contains(said), "{}", sum.to_markdown());
    assert!(sum.to_html().unwrap().contains(&said.replace('/', "&#x2f;")));
}

#[test]
fn what_does_not_add_up_is_left_out_and_said() {
    let mut results = [1, 2].map(|agent| SavedResult::of(&played(3), environment_of(agent)));
    results[0].config = Some("a: 1".into());
    results[1].config = Some("a: 1".into());
    let merged = SavedResult::merge(results.to_vec()).unwrap();
    assert!(merged.left_out.is_empty() && merged.result.config.is_some(), "{:?}", merged.left_out);
    results[1].config = None;
    let merged = SavedResult::merge(results.to_vec()).unwrap();
    assert_eq!(merged.left_out, ["the config, which is not the same in all of them"]);
    // Patterns are not looked for again, and are those of an agent.
    results[0].diagnosis = vec![found()];
    let said = "agent agent-1: answers begin soon and go on slowly";
    let sum = SavedResult::merge(results.to_vec()).unwrap().result;
    assert_eq!(sum.diagnosis.iter().map(|it| it.summary.as_str()).collect::<Vec<_>>(), [said]);
    let again = SavedResult::merge(vec![sum]).unwrap().result;
    assert_eq!(again.diagnosis[0].summary, said);
    // A pair that only one of them has is as it is there.
    results[1].pairs[0].target = "mistral".into();
    let both = SavedResult::merge(results.to_vec()).unwrap().result;
    assert_eq!((both.pairs.len(), both.pairs[1].view().total.requests["ok"]), (2, 3));
}

#[test]
fn what_is_for_other_shards_is_so_until_all_are_added_up() {
    let of = |shard: &str, requests: &[Drawn]| {
        let mut result = measured(0, requests);
        result.pairs[0].runs.iter_mut().for_each(|run| run.shard = shard.into());
        result
    };
    let is_of_others =
        |results: Vec<SavedResult>| SavedResult::merge(results).unwrap().result.pairs[0].is_of_other_shards();
    assert!(is_of_others(vec![of("0/3", &[])]));
    assert!(is_of_others(vec![of("0/3", &[]), of("2/3", &[])]));
    assert!(!is_of_others(vec![of("0/3", &[]), of("1/3", &[]), of("2/3", &[])]), "nobody measured anything");
    assert!(!is_of_others(vec![of("0/3", &[(0, 1, true, 9)])]), "it has something");
    assert!(!is_of_others(vec![of("", &[])]), "it is all there is");
}
