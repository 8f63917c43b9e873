//! What the page shows, and that it escapes all text from servers and operators.

use super::overview::{FAILURES, FAILURES_SEEN, failures};
use super::*;
use crate::event::{Failure, Outcome, RunResult, RunSummary, Verdict};
use crate::fact::Sink;
use crate::report::DiagnosisRecorder;
use crate::server::{Introduction, LifecyclePhase, Notice, Readiness, Suggestion};
use crate::state::{HistoryRecorder, Recent};
use crate::testing::{play, rag_plan, run, small_plan, step_place, travel};
use std::sync::Arc;
use std::time::Duration;

const HOSTILE: &str = "</title><script>alert(\"x\")</script><img src=x onerror='alert(1)'>";

struct Fixture {
    views: Views,
    sinks: Vec<Arc<dyn Sink>>,
    place: Arc<crate::event::Place>,
    notice: Notice,
}

impl Fixture {
    fn new() -> Self {
        Self::of(&small_plan())
    }

    fn of(plan: &crate::plan::Plan) -> Self {
        let (recent, history, notice) = (Recent::new(plan), HistoryRecorder::new(plan), Notice::default());
        let (readiness, diagnosis) = (Readiness::default(), DiagnosisRecorder::of_daemon(plan));
        readiness.set(LifecyclePhase::Ready);
        let about = AgentIdentity {
            id: HOSTILE.to_owned(),
            location: HOSTILE.to_owned(),
            version: "0",
            currency: "usd".to_owned(),
            notice: notice.clone(),
        };
        let sinks: Vec<Arc<dyn Sink>> = vec![
            Arc::<Recent>::clone(&recent),
            Arc::<HistoryRecorder>::clone(&history),
            Arc::<DiagnosisRecorder>::clone(&diagnosis),
        ];
        let (mut views, _) = crate::server::tests::views::views();
        views.diagnosis = diagnosis;
        (views.recent, views.history, views.readiness) = (recent, history, readiness);
        views.about = Arc::new(about);
        Self { views, sinks, place: Arc::clone(&plan.pairs[0].places[1]), notice }
    }

    /// What happens to a request of a step.
    fn step(
        &self,
        place: &Arc<crate::event::Place>,
        outcome: Outcome,
        change: impl Fn(&mut crate::event::Request),
    ) {
        for sink in &self.sinks {
            play(sink, place, outcome, &change);
        }
    }

    fn play(&self, outcome: Outcome, change: impl Fn(&mut crate::event::Request)) {
        for sink in &self.sinks {
            play(sink, &self.place, outcome, &change);
        }
    }

    fn page(&self) -> String {
        render(&self.views).unwrap()
    }
}

#[test]
fn nothing_that_others_wrote_becomes_markup() {
    let fixture = Fixture::new();
    fixture.play(Outcome::Failed(Failure::Http4xx), |request| request.detail = Some(HOSTILE.to_owned()));
    fixture.play(Outcome::Failed(Failure::Check), |request| request.failed_checks = vec![HOSTILE.into()]);
    let summary = RunSummary {
        run: run(&fixture.place.pair),
        started: SystemTime::UNIX_EPOCH,
        ended: SystemTime::UNIX_EPOCH,
        result: RunResult::Failed,
        reason: Some(HOSTILE.to_owned()),
        degraded: None,
        search: None,
        offered: 2,
        skipped: 0,
        ok: 0,
    };
    let ended = crate::fact::Fact::RunEnded { summary: Arc::new(summary), tally: Arc::default() };
    fixture.sinks.iter().for_each(|sink| sink.record(&ended));
    fixture.notice.introduce(Introduction {
        text: HOSTILE.to_owned(),
        calm: HOSTILE.to_owned(),
        suggestions: vec![Suggestion {
            purpose: HOSTILE.to_owned(),
            command: Some(HOSTILE.to_owned()),
            link: Some(HOSTILE.to_owned()),
        }],
    });
    fixture.notice.happens(HOSTILE, HOSTILE, Duration::from_mins(1));
    let page = fixture.page();
    assert!(!page.contains("<script>alert") && !page.contains("<img"), "{page}");
    assert!(!page.contains("<script>"));
    // Agent and location, two details, the run's reason, the notice.
    assert!(page.matches("&lt;script&gt;alert(").count() >= 10, "{page}");
}

#[test]
fn a_card_says_how_it_goes_and_why() {
    let fixture = Fixture::new();
    for met in [true, true, true, false] {
        fixture.play(Outcome::Ok, |request| {
            request.verdicts = vec![Verdict { slo: "ttft".into(), met }, Verdict { slo: "all".into(), met }];
        });
    }
    fixture.play(Outcome::Failed(Failure::Reset), |request| request.detail = Some("connection lost".into()));
    let page = fixture.page();
    for wanted in [
        "<h3>chat <span class=\"dim\">→ llama</span><span class=\"chip dim\">idle</span>",
        "every 2 min: 1 request&#x2f;s evenly spread for 10 s · streamed · model m",
        "<dd>300 ms</dd>",
        ">too few: 4 of 130</span></dd>",
        "✗ missed</b>\n<b>ttft</b>: 75% of 4 requests under 800 ms and not failed,\n99% wanted",
        "5 requests, 0 in flight; failed: <span class=\"bad nowrap\">reset 1</span>",
        "<td class=\"what\">connection lost</td>",
        "SLO 800 ms",
        "aria-label=\"time to first token over the last 2 minutes; in the last minute p50 300 ms, too few answers for a p95\"",
        "aria-label=\"requests over the last 2 minutes: 4 ok, 1 failed\"",
        "<td>profile&#x2f;chat</td><td>requests</td>",
    ] {
        assert!(page.contains(wanted), "{wanted:?} is not in {page}");
    }
    assert!(!page.contains("class=\"banner"), "nothing is said that nobody wrote");
}

#[tokio::test(start_paused = true)]
async fn a_p95_is_shown_with_its_bound_once_there_are_enough_answers() {
    let fixture = Fixture::new();
    let answers = |n| (0..n).for_each(|_| fixture.play(Outcome::Ok, |_| {}));
    answers(100);
    assert!(fixture.page().contains(">too few: 100 of 130</span>"));
    tokio::time::advance(Duration::from_mins(2)).await;
    answers(100);
    let page = fixture.page();
    assert!(page.contains("300 ms <span") && page.contains(">≤ 300 ms, 10 min</span></dd>"), "{page}");
    answers(28);
    tokio::time::advance(Duration::from_secs(10)).await;
    answers(2);
    let page = fixture.page();
    assert!(page.contains(">≤ 300 ms</span></dd>") && page.contains("p50 300 ms, p95 300 ms\""), "{page}");
}

#[test]
fn a_pattern_stands_with_its_numbers() {
    let fixture = Fixture::new();
    fixture.play(Outcome::Ok, |_| {});
    assert!(!fixture.page().contains("<h2>Diagnosis"), "nothing to tell");
    let fixture = Fixture::new();
    for _ in 0..20 {
        fixture.play(Outcome::Failed(Failure::RateLimited), |_| {});
    }
    let page = fixture.page();
    for wanted in
        ["<td class=\"warn nowrap\">rate limited</td>", "status 429: a rate limit<br>", "refused 20</span>"]
    {
        assert!(page.contains(wanted), "{wanted:?} is not in {page}");
    }
}

#[test]
fn what_is_done_on_purpose_is_said_while_it_lasts() {
    let fixture = Fixture::new();
    let calm =
        || Introduction { text: String::new(), calm: "all is quiet.".to_owned(), suggestions: Vec::new() };
    fixture.notice.introduce(calm());
    assert!(fixture.page().contains("all is quiet."));
    fixture.notice.happens("it is slowed down", "Watch TTFT.", Duration::from_mins(1));
    let page = fixture.page();
    assert!(page.contains("<b>it is slowed down</b>, for another 60 s. Watch TTFT."), "{page}");
    assert!(page.contains("class=\"band\"") && !page.contains("all is quiet."), "{page}");
    fixture.notice.happens("it is over", "", Duration::ZERO);
    assert!(fixture.page().contains("it is slowed down</b>, for another"), "the one that lasts is shown");
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_the_policy_allows_its_own_parts_only() {
    let page = Fixture::new().page();
    let policy = POLICY;
    let policy = policy.to_str().unwrap();
    assert!(policy.contains("script-src 'self'") && policy.contains("style-src 'self'"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("http") && policy.contains("default-src 'none'"));
    for inline in [" style=", " onclick", "<style", "<script>", "javascript:"] {
        assert!(!page.contains(inline), "the policy refuses {inline}");
    }
    for link in [" src=\"", "<link rel=\"stylesheet\" href=\""] {
        let targets: Vec<&str> = page.split(link).skip(1).collect();
        assert!(!targets.is_empty(), "{link}");
        for target in targets {
            assert!(target.starts_with("assets/") && target.contains("?v="), "{target:.80}");
        }
    }
}

#[test]
fn the_newest_failure_of_each_kind_comes_before_more_of_the_same() {
    let fixture = Fixture::new();
    fixture.play(Outcome::Failed(Failure::Dns), |_| {});
    for _ in 0..19 {
        fixture.play(Outcome::Failed(Failure::Reset), |_| {});
    }
    let shown = failures(fixture.views.recent.failures(FAILURES_SEEN), SystemTime::now());
    assert_eq!(shown.len(), FAILURES);
    assert_eq!(shown.iter().filter(|dated| dated.it.outcome == "dns").count(), 1);
}

#[test]
fn a_scenario_shows_its_journeys_and_its_steps() {
    let plan = rag_plan();
    let fixture = Fixture::of(&plan);
    let of = |name, turn| step_place(&plan.pairs[0], 1, name, turn);
    fixture.step(&of("talk", 6), Outcome::Ok, |_| {});
    fixture.step(&of("query", 1), Outcome::Failed(Failure::Check), |request| {
        request.route = Some(HOSTILE.into());
        request.failed_checks = vec!["$.citations".into()];
    });
    for outcome in [Outcome::Ok, Outcome::Ok, Outcome::Failed(Failure::Check)] {
        for sink in &fixture.sinks {
            travel(sink, &fixture.place, outcome, |_| {});
        }
    }
    let page = fixture.page();
    for wanted in [
        "Journeys since the start: <span class=\"good\">2 ok</span>, <span class=\"bad\">1 failed</span>, 0 under way",
        "; ended by: <span class=\"bad nowrap\">check 1</span>",
        "<td>rag → app · <span class=\"nowrap\">talk, turn 5-8</span></td>",
        "title=\"&lt;&#x2f;title&gt;",
        ">query</span></td>",
        "<td class=\"what\">$.citations</td>",
        "every 2 min: 1 journey&#x2f;s evenly spread for 10 s; a journey: query, talk · streamed",
    ] {
        assert!(page.contains(wanted), "{wanted:?} is not in {page}");
    }
    assert!(!page.contains("<script>alert"));
    assert!(!Fixture::new().page().contains("Journeys since the start"));
}

#[test]
fn the_newest_failure_of_each_step_is_shown() {
    let plan = rag_plan();
    let fixture = Fixture::of(&plan);
    let fail = |name| {
        let place = step_place(&plan.pairs[0], 1, name, 1);
        fixture.step(&place, Outcome::Failed(Failure::Check), |_| {});
    };
    fail("query");
    (0..15).for_each(|_| fail("talk"));
    let shown = failures(fixture.views.recent.failures(FAILURES_SEEN), SystemTime::now());
    assert_eq!(shown.iter().filter(|dated| &*dated.it.step == "query").count(), 1);
}

#[tokio::test]
async fn a_config_that_could_not_be_reloaded_is_said_before_the_cards() {
    use crate::server::tests::views::{body, views};
    let (views, parts) = views();
    let shown = || async { body(status(State(views.clone()), HeaderMap::new()).await).await.1 };
    assert!(!shown().await.contains("role=\"alert\""));
    parts.current.send_modify(|current| {
        let status = Arc::make_mut(&mut current.status);
        status.ok = false;
        status.errors = vec!["a.yaml:1:1: <b> is not a key here".to_owned()];
        status.warnings = vec!["server.listen needs a restart".to_owned()];
    });
    let page = shown().await;
    let alert = page.split("role=\"alert\"").nth(1).and_then(|rest| rest.split("</section>").next()).unwrap();
    assert!(alert.contains("a.yaml:1:1: &lt;b&gt; is not a key here"), "{alert}");
    assert!(page.contains("server.listen needs a restart"));
    assert!(page.find("role=\"alert\"") < page.find("id=\"cards\""));
}
