//! What the page shows, and that it escapes all text from servers and operators.

use super::overview::{FAILURES, FAILURES_SEEN, failures};
use super::*;
use crate::event::{Failure, Outcome, RunResult, RunSummary, Verdict};
use crate::fact::Sink;
use crate::report::DiagnosisRecorder;
use crate::server::{Introduction, LifecyclePhase, Notice, Readiness, Suggestion};
use crate::state::{HistoryRecorder, Recent};
use crate::testing::{
    plan, play, profile, rag_plan, run, search_report, small_plan, stage, step_place, travel,
};
use std::collections::BTreeMap;
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
            shard: "1/3".to_owned(),
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
        Self { views, sinks, place: Arc::clone(plan.pairs[0].places.last().unwrap()), notice }
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

    /// The overview.
    fn page(&self) -> String {
        self.open("").1
    }

    /// The page of the pair.
    fn pair(&self) -> String {
        let pair = &self.place.pair;
        let (status, page) = self.open(&format!("profile={}&target={}", pair.profile, pair.target));
        assert_eq!(status, StatusCode::OK);
        page
    }

    fn open(&self, query: &str) -> (StatusCode, String) {
        render(&self.views, wanted(query), true).unwrap()
    }
}

/// A plan of every profile against every target.
fn plan_of(profiles: &[impl AsRef<str>], targets: &[impl AsRef<str>]) -> crate::plan::Plan {
    let targets: Vec<&str> = targets.iter().map(AsRef::as_ref).collect();
    let profiles = profiles.iter().map(|name| profile(name.as_ref(), vec![stage("steady", false)]));
    plan(&targets, profiles.collect())
}

fn wanted(query: &str) -> PageQuery {
    Query::try_from_uri(&format!("/?{query}").parse().unwrap()).unwrap().0
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
    let missing = fixture.open("profile=%3Cscript%3Ealert(%22x%22)").1;
    for page in [fixture.page(), fixture.pair(), missing.clone()] {
        assert!(!page.contains("<script>") && !page.contains("<img"), "{page}");
    }
    // Agent and location, two details, the run's reason, the notice.
    assert!(fixture.page().matches("&lt;script&gt;alert(").count() >= 10, "{}", fixture.page());
    assert!(fixture.pair().matches("&lt;script&gt;alert(").count() >= 8, "{}", fixture.pair());
    assert!(missing.contains("There is no profile of the name &lt;script&gt;alert("), "{missing}");
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
    let page = fixture.pair();
    for wanted in [
        "<h2>chat <span class=\"dim\">→ llama</span><span class=\"chip dim\">idle</span>",
        "every 2 min: 1 request&#x2f;s evenly spread for 10 s · streamed · model m",
        "<dd>300 ms</dd>",
        ">too few: 4 of 130</span></dd>",
        "✗ missed</b>\n<b>ttft</b>: 75.00% of 4 requests under 800 ms and not failed,\n99% wanted",
        "5 requests, 0 in flight; failed: <span class=\"bad nowrap\">reset 1</span>",
        "<td class=\"what\">connection lost</td>",
        "SLO 800 ms",
        "aria-label=\"time to first token over the last 2 minutes; in the last minute p50 300 ms, too few answers for a p95\"",
        "aria-label=\"requests over the last 2 minutes: 4 ok, 1 failed\"",
        "<td>profile&#x2f;chat</td><td>requests</td>",
        "Run chat now</button>",
    ] {
        assert!(page.contains(wanted), "{wanted:?} is not in {page}");
    }
    assert!(!page.contains("class=\"banner"), "nothing is said that nobody wrote");
}

#[test]
fn an_objective_is_shown_with_all_its_digits_and_what_misses_it_as_less() {
    let mut chat = profile("chat", vec![stage("steady", false)]);
    chat.slos.iter_mut().for_each(|slo| slo.objective = 0.9996);
    let fixture = Fixture::of(&plan(&["llama"], vec![chat]));
    for n in 0..2000 {
        fixture.play(Outcome::Ok, |request| {
            request.verdicts = vec![Verdict { slo: "ttft".into(), met: n > 0 }];
        });
    }
    let page = fixture.pair();
    let wanted = "<b>ttft</b>: 99.95% of 2000 requests under 800 ms and not failed,\n99.96% wanted";
    assert!(page.contains(wanted), "{page}");
}

#[tokio::test(start_paused = true)]
async fn a_p95_is_shown_with_its_bound_once_there_are_enough_answers() {
    let fixture = Fixture::new();
    let answers = |n| (0..n).for_each(|_| fixture.play(Outcome::Ok, |_| {}));
    answers(100);
    assert!(fixture.pair().contains(">too few: 100 of 130</span>"));
    tokio::time::advance(Duration::from_mins(2)).await;
    answers(100);
    let page = fixture.pair();
    assert!(page.contains("300 ms <span") && page.contains(">≤ 300 ms, 10 min</span></dd>"), "{page}");
    answers(28);
    tokio::time::advance(Duration::from_secs(10)).await;
    answers(2);
    let page = fixture.pair();
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
    assert!(fixture.pair().contains("class=\"band\"") && !page.contains("all is quiet."), "{page}");
    fixture.notice.happens("it is over", "", Duration::ZERO);
    assert!(fixture.page().contains("it is slowed down</b>, for another"), "the one that lasts is shown");
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_the_policy_allows_its_own_parts_only() {
    let page = Fixture::new().page() + &Fixture::new().pair();
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
    let page = fixture.pair() + &fixture.page();
    for wanted in [
        "Journeys since the start: <span class=\"good\">2 ok</span>, <span class=\"bad\">1 failed</span>, 0 under way",
        "; ended by: <span class=\"bad nowrap\">check 1</span>",
        ">rag → app</a> · <span class=\"nowrap\">talk, turn 5-8</span></td>",
        "title=\"&lt;&#x2f;title&gt;",
        ">query</span></td>",
        "<td class=\"what\">$.citations</td>",
        "every 2 min: 1 journey&#x2f;s evenly spread for 10 s; a journey: query, talk · streamed",
    ] {
        assert!(page.contains(wanted), "{wanted:?} is not in {page}");
    }
    assert!(!page.contains("<script>alert"));
    assert!(!Fixture::new().pair().contains("Journeys since the start"));
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
    let shown = || async { body(answer(&views, PageQuery::default(), true)).await.1 };
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
    assert!(page.find("role=\"alert\"") < page.find("id=\"pairs\""));
}

#[test]
fn what_is_bad_comes_first_and_can_be_all_that_is_shown() {
    let plan = plan_of(&["alpha", "beta", "gamma"], &["llama", "other"]);
    let fixture = Fixture::of(&plan);
    let place = |profile: &str, target: &str| {
        let is = |pair: &&Arc<crate::plan::PairPlan>| {
            &*pair.pair.profile == profile && &*pair.pair.target == target
        };
        Arc::clone(plan.pairs.iter().find(is).unwrap().places.last().unwrap())
    };
    fixture.step(&place("alpha", "llama"), Outcome::Ok, |_| {});
    fixture.step(&place("gamma", "other"), Outcome::Failed(Failure::Reset), |_| {});
    let rows = |query: &str| {
        let (status, page) = fixture.open(query);
        assert_eq!(status, StatusCode::OK, "{query}");
        let names = page.split("<th scope=\"row\"><a href=\"?profile=").skip(1);
        names.map(|rest| rest.split('"').next().unwrap().replace("&amp;target=", " ")).collect::<Vec<_>>()
    };
    let all = rows("");
    assert_eq!((all.len(), &*all[0], &*all[1]), (6, "gamma other", "alpha llama"));
    assert_eq!(rows("bad=1"), ["gamma other"]);
    assert_eq!(rows("target=llama"), ["alpha llama", "beta llama", "gamma llama"]);
    assert_eq!(rows("q=ETA&target=llama"), ["beta llama"]);
    assert!(rows("state=hung").is_empty());
    assert_eq!(rows("rows=2").len(), 2);
    let page = fixture.open("rows=2&target=llama").1;
    assert!(
        page.contains("<p class=\"small\">1 more, all with <a href=\"?rows=1000&amp;target=llama\">"),
        "{page}"
    );
    assert!(
        page.contains("6 pairs of profile and target, <b class=\"warn\">1 not as it should be</b>"),
        "{page}"
    );
}

#[test]
fn what_does_not_exist_is_said_with_404() {
    let fixture = Fixture::new();
    for (query, why) in [
        ("profile=chat&target=nowhere", "The profile chat is not played against a target nowhere."),
        ("profile=other&target=llama", "The profile other is not played"),
        ("profile=other", "There is no profile of the name other."),
        ("target=nowhere", "There is no target of the name nowhere."),
    ] {
        let (status, page) = fixture.open(query);
        assert_eq!(status, StatusCode::NOT_FOUND, "{query}");
        assert!(page.contains(why) && page.contains("<a href=\"./\">All profiles"), "{page}");
    }
}

#[test]
fn a_run_is_offered_to_those_who_may_start_one() {
    let mut fixture = Fixture::new();
    let page = |fixture: &Fixture, may_command| {
        render(&fixture.views, wanted("profile=chat&target=llama"), may_command).unwrap().1
    };
    let form = "<form id=\"run\" method=\"post\" action=\"api/v1/profiles/chat/run\"";
    assert!(page(&fixture, true).contains(form));
    let refused = page(&fixture, false);
    assert!(!refused.contains(form) && refused.contains("<button disabled"), "{refused}");
    assert!(refused.contains("it costs money. Open this page on the agent's machine"), "{refused}");
    let mut plan = small_plan();
    plan.server.read_only = true;
    let current = crate::server::Current { plan: Arc::new(plan), ..fixture.views.current() };
    fixture.views.current = tokio::sync::watch::channel(current).1;
    let shown = page(&fixture, true);
    assert!(!shown.contains("Run chat now") && !shown.contains("href=\"config\""), "{shown}");
}

/// A thousand rows are one page of a bounded size.
#[test]
fn many_pairs_are_a_bounded_page() {
    let names = |kind: &str, n: usize| (0..n).map(|at| format!("{kind}-{at}")).collect::<Vec<_>>();
    let plan = plan_of(&names("profile", 50), &names("target", 20));
    let fixture = Fixture::of(&plan);
    for pair in &plan.pairs {
        fixture.step(pair.places.last().unwrap(), Outcome::Ok, |_| {});
    }
    let (some, all) = (fixture.page(), fixture.open("rows=100000").1);
    assert_eq!(
        (some.matches("<th scope=\"row\">").count(), all.matches("<th scope=\"row\">").count()),
        (100, 1000)
    );
    assert!(some.contains("900 more, all with"));
    assert!(some.len() < 200_000 && all.len() < 2_000_000, "{} and {} bytes", some.len(), all.len());
}

#[test]
fn what_is_usual_and_the_capacity_stand_on_the_page_of_a_pair() {
    use crate::detect::UsualLevel;
    use crate::fact::{StandingRegression, WatchedRun, WatchedSeries};
    use crate::vocabulary::Quantity;
    let fixture = Fixture::new();
    fixture.play(Outcome::Ok, |_| {});
    assert!(!fixture.pair().contains("<h2>Usual") && !fixture.pair().contains("<h2>Capacity"));
    let watched = WatchedRun {
        pair: fixture.place.pair.clone(),
        revision: "r1".into(),
        at: 0,
        values: BTreeMap::new(),
        series: vec![WatchedSeries {
            quantity: Quantity::TimeToFirstToken,
            regression: Some(StandingRegression { since: SystemTime::UNIX_EPOCH, ratio: 1.5 }),
            evidence: 1.0,
            usual: Some(UsualLevel { low: 0.19, typical: 0.2, high: 0.21 }),
            change: None,
        }],
        state: None,
    };
    let summary = RunSummary {
        run: run(&fixture.place.pair),
        started: SystemTime::UNIX_EPOCH,
        ended: SystemTime::UNIX_EPOCH,
        result: RunResult::Ok,
        reason: None,
        degraded: None,
        search: Some(Arc::new(search_report())),
        offered: 2,
        skipped: 0,
        ok: 2,
    };
    let ended = crate::fact::Fact::RunEnded { summary: Arc::new(summary), tally: Arc::default() };
    for fact in [crate::fact::Fact::PairWatched(Arc::new(watched)), ended] {
        fixture.sinks.iter().for_each(|sink| sink.record(&fact));
    }
    let page = fixture.pair();
    for wanted in [
        "<td>time to first token, median</td><td class=\"n\">200 ms</td><td class=\"n\">190 ms to 210 ms</td>",
        "<span class=\"bad\">at 1.5 of it since 1970-01-01T00:00:00.000Z</span>",
        "<h2>Capacity",
        "id=\"capacity-plot\"",
    ] {
        assert!(page.contains(wanted), "{wanted:?} is not in {page}");
    }
    let loads = search_report().curve.len();
    let table = page.split("<h2>Capacity").nth(1).and_then(|rest| rest.split("</tbody>").next()).unwrap();
    assert_eq!(table.matches("<tr><td").count(), loads, "{table}");
    let overview = fixture.page();
    for wanted in
        ["× 1.5 of 200 ms</span>", "Regression: time to first token × 1.5</span>", "<tr class=\"warn\">"]
    {
        assert!(overview.contains(wanted), "{wanted:?} is not in {overview}");
    }
}

#[test]
fn comparisons_are_a_table() {
    let mut fixture = Fixture::new();
    assert!(!fixture.page().contains("<h2>Comparisons"));
    let plan = crate::plan::from_yaml(
        "targets:\n  stable: { api: openai-chat, base_url: 'http://127.0.0.1:1/v1' }\n  \
         canary: { api: openai-chat, base_url: 'http://127.0.0.1:2/v1' }\n\
         profiles:\n  release:\n    compare: { control: stable, treatment: canary }\n    \
         schedule: { every: 1m }\n    workload: { prompts: [hi] }\n",
    );
    let nobody: Arc<dyn Sink> = Arc::new(crate::fact::Fanout::new(Vec::new()));
    fixture.views.comparisons = crate::comparison::Comparisons::new(&plan.unwrap(), nobody);
    let page = fixture.page();
    for wanted in [
        "<td>release</td><td><a href=\"?profile=release&amp;target=stable\">stable</a> → <a",
        "<td class=\"dim\">unknown</td><td class=\"n\">0</td>",
        "output pace: <span class=\"dim\">unknown</span>",
    ] {
        assert!(page.contains(wanted), "{wanted:?} is not in {page}");
    }
}

#[test]
fn a_request_opens_as_a_waterfall() {
    let fixture = Fixture::new();
    fixture.play(Outcome::Ok, |request| {
        request.observed.gaps = crate::event::Gaps::default();
        for gap in [50, 1500, 50] {
            request.observed.gaps.push(Duration::from_millis(gap));
        }
        request.observed.marks.last_token = Some(request.observed.marks.due + Duration::from_millis(1910));
        request.observed.marks.end = request.observed.marks.due + Duration::from_millis(2010);
        request.stalls = 1;
    });
    let id = Arc::clone(&fixture.views.recent.requests(1)[0].id);
    let overview = fixture.page();
    assert!(overview.contains(&format!("<a href=\"?request={id}\">chat → llama</a>")), "{overview}");
    let (status, page) = fixture.open(&format!("request={id}"));
    assert_eq!(status, StatusCode::OK);
    for wanted in [
        ">dispatch lag</abbr></th>",
        // Due at -10 ms, sent at 0, of 2010 ms: 5 units of 1000.
        "<rect class=\"agent\" x=\"0.0\" y=\"1\" width=\"5.0\" height=\"8\">",
        "<td class=\"n\">-10 ms</td><td class=\"n\">10 ms</td>",
        ">first token</abbr></th>",
        "aria-label=\"4 chunks from 300 ms to 1.9 s, 1 stalls\"",
        "<title>stall of 1.5 s</title>",
        "nothing came for 1.5 s from 350 ms",
        "<code>000102030405060708090a0b0c0d0e0f</code>",
        "data-copy=\"000102030405060708090a0b0c0d0e0f\"",
        "Not recorded, or no longer kept.",
        "20, 11 <span class=\"dim small\">by usage</span>",
    ] {
        assert!(page.contains(wanted), "{wanted} is not in {page}");
    }
    assert_eq!(page.matches("<path class=\"tick\" d=\"M").count(), 1);
    let (status, page) = fixture.open("request=0123456789abcdef");
    assert!(status == StatusCode::NOT_FOUND && page.contains("keeps the last 200 requests"), "{page}");
}

/// Something recorded in which everything is markup.
fn recorded() -> crate::event::RecordedExchange {
    use crate::event::{RecordedAnswer, RecordedExchange, RecordedRequest, RecordedText};
    let text = || RecordedText { text: HOSTILE.to_owned(), bytes: 99_999, is_cut: true };
    let headers = || vec![(HOSTILE.to_owned(), HOSTILE.to_owned())];
    RecordedExchange {
        sent: RecordedRequest {
            method: "POST".to_owned(),
            path: HOSTILE.to_owned(),
            headers: headers(),
            body: text(),
        },
        received: Some(RecordedAnswer {
            status: 503,
            headers: headers(),
            withheld: false,
            body: Some(text()),
            text: Some(text()),
            reasoning: Some(text()),
            tool_calls: Some(text()),
        }),
    }
}

#[test]
fn what_was_sent_and_came_back_is_shown_and_is_no_markup() {
    let fixture = Fixture::new();
    fixture.play(Outcome::Failed(Failure::Overloaded), |request| {
        request.recorded = Some(Arc::new(recorded()));
        request.detail = Some(HOSTILE.to_owned());
    });
    let id = Arc::clone(&fixture.views.recent.requests(1)[0].id);
    let (_, page) = fixture.open(&format!("request={id}"));
    assert!(!page.contains("<script>") && !page.contains("<img"), "{page}");
    for wanted in ["<code>POST ", "HTTP 503", "the beginning of 99999 bytes", "Reasoning, ", "Tool calls, "] {
        assert!(page.contains(wanted), "{wanted} is not in {page}");
    }
    // Path, two headers with name and value, body, and the four texts that came back.
    assert!(page.matches("&lt;script&gt;alert(").count() >= 10, "{page}");
}

#[test]
fn the_list_of_requests_is_filtered_by_its_form() {
    let fixture = Fixture::new();
    fixture.play(Outcome::Ok, |_| {});
    fixture.play(Outcome::Failed(Failure::Reset), |request| {
        request.ids.span_id = [9; 8];
        request.detail = Some("connection lost".into());
    });
    let listed = |query: &str| {
        let (status, page) = fixture.open(query);
        assert_eq!(status, StatusCode::OK);
        (page.matches("<a href=\"?request=").count(), page)
    };
    let (all, page) = listed("requests");
    assert_eq!(all, 2);
    for wanted in [
        "<option>chat</option>",
        "<option>llama</option>",
        "<option>stall_timeout</option>",
        "connection lost",
    ] {
        assert!(page.contains(wanted), "{wanted} is not in {page}");
    }
    let (failed, page) = listed("requests=1&failed=true&outcome=reset&profile=chat&target=&run=");
    assert_eq!(failed, 1);
    assert!(
        page.contains("<option selected>reset</option>") && page.contains("value=\"true\" checked>"),
        "{page}"
    );
    let (none, page) = listed("requests=1&profile=%3Cscript%3E&outcome=nope");
    assert!(
        none == 0 && page.contains("No remembered request is like that.") && !page.contains("<script>"),
        "{page}"
    );
}
