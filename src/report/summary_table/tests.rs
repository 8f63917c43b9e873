//! The summary at several widths.

use super::super::Summary;
use super::*;
use crate::event::{Failure, Outcome, Place, RunResult, RunSummary, SkipReason, Verdict};
use crate::fact::{Fact, Sink};
use crate::plan::{PairPlan, Plan};
use crate::testing::{
    offer, plan, play, profile, rag_plan, run, search_report, small_plan, stage, step_place, travel,
};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

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

    fn pair(&self, number: usize) -> &PairPlan {
        &self.plan.pairs[number]
    }

    /// Plays requests of a stage in these seconds.
    fn plays(&self, place: &Arc<Place>, requests: u64, seconds: u64) {
        for _ in 0..requests {
            play(&self.sink, place, Outcome::Ok, |request| {
                request.verdicts = vec![Verdict { slo: "ttft".into(), met: true }];
            });
        }
        let time = Duration::from_secs(seconds);
        self.sink.record(&Fact::LoadActive { place: Arc::clone(place), warm_up: false, time, shards: 1 });
    }

    fn fails(&self, place: &Arc<Place>, failure: Failure) {
        play(&self.sink, place, Outcome::Failed(failure), |request| {
            request.cost = None;
            request.verdicts = vec![Verdict { slo: "ttft".into(), met: false }];
        });
    }

    fn shown(&self, width: u16) -> String {
        let shown = self.summary.report().summary(TerminalStyle { width, color: false });
        for line in shown.lines() {
            assert!(line.chars().count() <= width.into(), "{width}: {line}");
            assert_eq!(line, line.trim_end());
        }
        shown
    }
}

/// Two profiles, of which the second has two stages, against two targets.
fn several() -> Fixture {
    let profiles = vec![
        profile("chat", vec![stage("", false)]),
        profile("mixed", vec![stage("steady", false), stage("ramp", false)]),
    ];
    let fixture = Fixture::new(plan(&["llama", "a-target-with-a-long-name"], profiles));
    for (number, pair) in fixture.plan.pairs.iter().enumerate() {
        for (place, count) in pair.places.iter().zip([150, 8]) {
            fixture.plays(place, count + number as u64, 10);
        }
    }
    let place = &fixture.pair(2).places[1];
    fixture.fails(place, Failure::Reset);
    fixture.fails(place, Failure::TotalTimeout);
    offer(&fixture.sink, place, false).skip(SkipReason::InFlight);
    fixture
}

#[test]
fn one_request_is_one_row() {
    let fixture = Fixture::new(small_plan());
    fixture.plays(&fixture.pair(0).places[1], 1, 1);
    insta::assert_snapshot!("one_request", fixture.shown(120));
    insta::assert_snapshot!("one_request_60", fixture.shown(60));
}

#[test]
fn targets_of_a_profile_are_side_by_side_and_stages_have_a_total() {
    let fixture = several();
    insta::assert_snapshot!("several_200", fixture.shown(200));
    insta::assert_snapshot!("several_120", fixture.shown(120));
    insta::assert_snapshot!("several_60", fixture.shown(60));
}

#[test]
fn a_scenario_has_journeys_and_their_duration() {
    let fixture = Fixture::new(rag_plan());
    let pair = fixture.pair(0);
    for name in ["login", "query", "talk"] {
        let place = step_place(pair, 1, name, 1);
        play(&fixture.sink, &place, Outcome::Ok, |request| {
            request.observed.streamed = name == "talk";
            if name != "talk" {
                request.observed.marks.first_token = None;
            }
        });
    }
    travel(&fixture.sink, &pair.places[1], Outcome::Ok, |_| {});
    travel(&fixture.sink, &pair.places[1], Outcome::Failed(Failure::Check), |_| {});
    insta::assert_snapshot!("scenario", fixture.shown(120));
    insta::assert_snapshot!("scenario_60", fixture.shown(60));
}

#[test]
fn a_search_has_its_answer_and_its_curve() {
    let fixture = Fixture::new(small_plan());
    let pair = fixture.pair(0);
    fixture.plays(&pair.places[1], 3, 1);
    let summary = RunSummary {
        run: run(&pair.pair),
        started: UNIX_EPOCH,
        ended: UNIX_EPOCH,
        result: RunResult::Ok,
        reason: Some(search_report().summary),
        degraded: None,
        search: Some(Arc::new(search_report())),
        offered: 3,
        skipped: 0,
        ok: 3,
    };
    fixture.sink.record(&Fact::RunEnded { summary: Arc::new(summary), tally: Arc::default() });
    let shown = fixture.shown(120);
    assert!(shown.starts_with("chat on llama: ok: up to 2 users met the objectives"), "{shown}");
    assert!(shown.contains("│ users ") && !shown.contains("TTFT\n"), "{shown}");
}

#[test]
fn nothing_measured_is_nothing_shown() {
    assert_eq!(Fixture::new(small_plan()).shown(80), "");
    assert_eq!(Fixture::new(plan(&["llama"], Vec::new())).shown(80), "");
}

#[test]
fn colours_are_those_of_good_and_bad() {
    let fixture = several();
    let report = fixture.summary.report();
    let plain = report.summary(TerminalStyle { width: 120, color: false });
    let colored = report.summary(TerminalStyle { width: 120, color: true });
    assert!(!plain.contains('\u{1b}'));
    let red = colored.lines().find(|line| line.contains("missed ttft")).unwrap();
    assert!(red.contains("\u{1b}[38;5;9m"), "{red:?}");
    let without = regex::Regex::new("\u{1b}\\[[0-9;]*m").unwrap();
    let trimmed = |text: &str| text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
    assert_eq!(trimmed(&without.replace_all(&colored, "")), trimmed(&plain));
}

#[test]
fn every_width_keeps_numbers_whole() {
    let fixture = several();
    for width in 45..200 {
        let shown = fixture.shown(width);
        assert!(shown.contains("300 ms"), "{width}: {shown}");
    }
}

#[test]
fn names_lose_their_middle() {
    assert_eq!(shortened("a-target-with-a-long-name", 9), "a-ta…name");
    assert_eq!(shortened("short", 9), "short");
    assert_eq!(shortened("a…b", 3), "a…b");
}

#[test]
fn a_name_that_is_shortened_again_keeps_its_ellipsis() {
    let name = "chat-a-name";
    let cells = vec![(name.to_owned(), Tone::Plain)];
    let most = usize::MAX;
    let column =
        SummaryColumn { header: "x".to_owned(), name: "profile", rank: 0, is_text: true, cells, most };
    let mut columns = vec![column];
    for width in (3..name.len()).rev() {
        assert!(shorten_widest(&mut columns, 2));
        let shown = shortened(&columns[0].cells[0].0, columns[0].most);
        assert_eq!((column_width(&columns[0]), shown.chars().count()), (width, width));
        let (start, end) = shown.split_once('…').unwrap();
        assert!(name.starts_with(start) && name.ends_with(end), "{shown}");
    }
}
