//! Verdicts on runs and their reasons.

use super::*;
use crate::event::{Failure, SkipReason, Verdict};
use crate::fact::Sink;
use crate::plan::{Plan, Shard};
use crate::report::Summary;
use crate::testing::{offer, plan, play, profile, rate, small_plan, stage};

struct Fixture {
    plan: Plan,
    summary: Arc<Summary>,
    sink: Arc<dyn Sink>,
}

impl Fixture {
    fn new(plan: Plan) -> Self {
        let summary = Summary::new(&plan);
        let sink: Arc<dyn Sink> = Arc::<Summary>::clone(&summary);
        Self { plan, summary, sink }
    }

    /// The objectives of the requests are judged as given, or not at all.
    fn plays(self, outcome: Outcome, judged: &[(&str, bool)]) -> Self {
        let stage = self.plan.profiles[0].stages.len() - 1;
        play(&self.sink, &self.plan.pairs[0].places[stage], outcome, |request| {
            request.verdicts =
                judged.iter().map(|(slo, met)| Verdict { slo: (*slo).into(), met: *met }).collect();
        });
        self
    }

    /// The exit code and the reasons, without the name of the pair.
    fn verdict(&self, time: Option<Duration>) -> (Exit, Vec<String>) {
        let asked = RunRequest { pairs: &self.plan.pairs, time, shard: Shard::WHOLE };
        let verdict = RunVerdict::of(&self.summary.report(), &[], &[], &asked);
        let reason = |line: String| line.strip_prefix("failed: chat on llama: ").unwrap().to_owned();
        (verdict.exit, verdict.lines.into_iter().map(reason).collect())
    }
}

#[test]
fn a_shard_that_has_nothing_of_a_run_has_not_failed() {
    let fixture = Fixture::new(small_plan());
    let shard = Shard::parse("1/3", "").unwrap();
    let asked = RunRequest { pairs: &fixture.plan.pairs, time: None, shard };
    let verdict = RunVerdict::of(&fixture.summary.report(), &[], &[], &asked);
    assert_eq!(verdict.exit, Exit::Ok);
    let said = ["note: chat on llama: nothing of it is for shard 1/3; other shards play it"];
    assert_eq!(verdict.lines, said);
    assert_eq!(fixture.verdict(None).0, Exit::Missed, "without shards, nothing was measured");
}

/// The reasons after one request, or after none.
fn reasons(outcomes: &[Outcome]) -> Vec<String> {
    let fixture = Fixture::new(small_plan());
    outcomes.iter().fold(fixture, |fixture, outcome| fixture.plays(*outcome, &[])).verdict(None).1
}

#[test]
fn a_prober_that_failed_by_itself_has_met_no_objective() {
    for own in Outcome::all().filter(|outcome| !outcome.judges_target()) {
        let label = own.label();
        assert_eq!(reasons(&[own, own]), [format!("no request says anything about the target: 2 {label}")]);
        let judged = [("ttft", true), ("pace", true), ("availability", true)];
        let fixture = Fixture::new(small_plan()).plays(own, &[]).plays(Outcome::Ok, &judged);
        assert_eq!(fixture.verdict(None).1, [""; 0], "{label}");
    }
}

#[test]
fn an_objective_that_judged_no_answer_is_not_met() {
    let fixture = Fixture::new(small_plan());
    let fixture = fixture.plays(Outcome::Ok, &[("pace", true), ("availability", true)]);
    assert_eq!(
        fixture.verdict(None),
        (Exit::Missed, vec!["objective ttft judged none of 1 answers".to_owned()])
    );
}

#[test]
fn a_missed_objective_is_told_with_how_much_it_was_missed_by() {
    let mut fixture = Fixture::new(small_plan());
    for number in 0..200 {
        fixture =
            fixture.plays(Outcome::Ok, &[("ttft", number >= 4), ("pace", true), ("availability", true)]);
    }
    let told =
        "objective ttft (below 0.8 s) missed: 4 of 200 are bad, 2 may be; 98.00% are good, 99% are wanted";
    assert_eq!(fixture.verdict(None), (Exit::Missed, vec![told.to_owned()]));
    let all_met = [("ttft", true), ("pace", true), ("availability", true)];
    let met = Fixture::new(small_plan()).plays(Outcome::Ok, &all_met);
    assert_eq!(met.verdict(None), (Exit::Ok, Vec::new()));
}

#[test]
fn failures_are_told_by_outcome_where_they_count() {
    let reset = Outcome::Failed(Failure::Reset);
    let unmet = [("ttft", false), ("pace", false), ("availability", false)];
    let fixture = Fixture::new(small_plan()).plays(reset, &unmet);
    let (exit, told) = fixture.verdict(None);
    assert_eq!(exit, Exit::Missed);
    assert!(
        told[2].starts_with("objective availability missed: the only one is bad; 0.00% are good"),
        "{told:?}"
    );
    assert_eq!(told[3..], ["1 of 1 requests failed: 1 reset"]);
    // Without objectives.
    let bare = || {
        let bare = crate::plan::Profile { slos: Vec::new(), ..profile("chat", vec![stage("", false)]) };
        Fixture::new(plan(&["llama"], vec![bare]))
    };
    assert_eq!(bare().plays(Outcome::Ok, &[]).verdict(None), (Exit::Ok, Vec::new()));
    let failed = bare().plays(Outcome::Ok, &[]).plays(reset, &[]).verdict(None);
    assert_eq!(failed, (Exit::Missed, vec!["1 of 2 requests failed: 1 reset".to_owned()]));
}

#[test]
fn what_was_skipped_was_not_sent() {
    let fixture = Fixture::new(small_plan());
    offer(&fixture.sink, &fixture.plan.pairs[0].places[1], false).skip(SkipReason::Budget);
    let told = "nothing was sent: all 1 requests were skipped (1 budget)";
    assert_eq!(fixture.verdict(None), (Exit::Missed, vec![told.to_owned()]));
}

#[test]
fn a_run_that_measured_nothing_says_what_would_help() {
    let warm = |name, warm_up| crate::plan::Stage { warm_up, ..stage(name, false) };
    let only = Fixture::new(plan(&["llama"], vec![profile("chat", vec![warm("warm", true)])]));
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    // The first stage of the small plan is a warm-up of ten seconds.
    let cases = [
        (Fixture::new(small_plan()), seconds(3), "--for 3s is over before the warm-up, which takes 10s; "),
        (Fixture::new(small_plan()), seconds(10), "--for 10s is over before the warm-up, which takes 10s; "),
        (Fixture::new(small_plan()), seconds(11), "no request was due in 11s; give --for more time"),
        (Fixture::new(small_plan()), None, "no request was due; give the stages"),
        (only, None, "every stage of the profile is a warm-up"),
        (
            Fixture::new(plan(&["llama"], vec![profile("chat", vec![rate(0.1, 2)])])),
            seconds(2),
            "no request was due in 2s; ",
        ),
    ];
    for (fixture, time, said) in cases {
        let (exit, told) = fixture.verdict(time);
        assert_eq!(exit, Exit::Missed, "{said}");
        let said = format!("nothing was measured: {said}");
        assert!(told.len() == 1 && told[0].starts_with(&said), "{told:?}");
    }
}
