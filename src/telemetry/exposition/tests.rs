//! Expositions, parsed as a scraper would.

use super::parse::{ExpositionSyntax, ParsedFamily, ParsedSample, families};
use super::*;
use crate::event::{BudgetScope, ConnectionRecord, Limit, LimitKind};
use crate::event::{BudgetUnit, BudgetUse, Exhausted, Failure, Hold, Ledger, Outcome, Pair, Place, Spend};
use crate::fact::{Fact, Sink};
use crate::plan::Plan;
use crate::testing::{
    ObservedCounts, budget, change_plan, plan, play, profile, rag_plan, rag_plan_of, small_plan, stage,
    while_requests_move,
};
use std::process::{Command, Stdio};
use std::time::Duration;

const OPEN: Option<&str> = Some("application/openmetrics-text; version=1.0.0");

pub(super) struct Fixture {
    pub(super) store: Arc<Store>,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) exposition: Exposition,
    pub(super) steady: Arc<Place>,
}

impl Fixture {
    pub(super) fn of(plan: &Plan) -> Self {
        let store = Store::new(plan);
        let sink: Arc<dyn Sink> = Arc::<Store>::clone(&store);
        let exposition = Exposition::new(Arc::clone(&store), plan).unwrap();
        let places = &plan.pairs[0].places;
        Self { store, sink, exposition, steady: Arc::clone(&places[places.len() - 1]) }
    }

    /// With data in most metrics.
    pub(super) fn busy(plan: &Plan) -> Self {
        let fixture = Self::of(plan);
        let limit = Limit { kind: LimitKind::Requests, limit: Some(60.0), remaining: Some(59.0) };
        let connection = ConnectionRecord {
            opened: true,
            certificate_expiry: Some(2_000_000_000),
            ..ConnectionRecord::default()
        };
        play(&fixture.sink, &fixture.steady, Outcome::Ok, |request| {
            request.observed.limits = vec![limit];
            request.observed.connection = connection;
            request.observed.server = Some("uvicorn \"1\"\\\n".into());
        });
        play(&fixture.sink, &fixture.steady, Outcome::Failed(Failure::Http5xx), |request| {
            request.observed.status = Some(500);
        });
        fixture
    }

    pub(super) fn text(&self) -> String {
        let rendered = self.exposition.render(None).unwrap();
        assert_eq!(rendered.content_type, "text/plain; version=0.0.4; charset=utf-8");
        String::from_utf8(rendered.body.into()).unwrap()
    }

    pub(super) fn open(&self) -> String {
        let rendered = self.exposition.render(OPEN).unwrap();
        assert_eq!(rendered.content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
        String::from_utf8(rendered.body.into()).unwrap()
    }
}

fn samples(families: &[ParsedFamily]) -> impl Iterator<Item = &ParsedSample> {
    families.iter().flat_map(|family| &family.samples)
}

#[test]
fn both_formats_parse_and_say_the_same() {
    let fixture = Fixture::busy(&small_plan());
    let text = families(&fixture.text(), ExpositionSyntax::Text);
    let open = families(&fixture.open(), ExpositionSyntax::Open);
    let read = |families: &[ParsedFamily]| {
        let ours = samples(families).filter(|sample| sample.name.starts_with("tokenbeat_"));
        let mut lines: Vec<String> = ours
            .map(|sample| {
                let mut labels = sample.labels.clone();
                if let Some(le) = labels.get_mut("le").filter(|le| *le != "+Inf") {
                    *le = le.parse::<f64>().unwrap().to_string();
                }
                format!("{} {labels:?} {}", sample.name, sample.value)
            })
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(read(&text), read(&open));
    let names = |families: &[ParsedFamily]| -> BTreeSet<String> {
        families.iter().map(|family| family.name.trim_end_matches("_total").to_owned()).collect()
    };
    assert_eq!(names(&text), names(&open));
}

#[test]
fn every_series_carries_location_and_the_agents_labels() {
    let fixture = Fixture::busy(&small_plan());
    for (body, dialect) in
        [(fixture.text(), ExpositionSyntax::Text), (fixture.open(), ExpositionSyntax::Open)]
    {
        for sample in samples(&families(&body, dialect)) {
            assert_eq!(sample.labels["location"], "eu", "{sample:?}");
            assert_eq!(sample.labels["environment"], "prod", "{sample:?}");
        }
    }
}

#[test]
fn label_values_survive_escaping() {
    let fixture = Fixture::busy(&small_plan());
    for (body, dialect) in
        [(fixture.text(), ExpositionSyntax::Text), (fixture.open(), ExpositionSyntax::Open)]
    {
        let families = families(&body, dialect);
        let info = families.iter().find(|family| family.name == "tokenbeat_target_info").unwrap();
        assert_eq!(info.samples[0].labels["server"], "uvicorn \"1\"\\\n");
    }
}

#[test]
fn open_metrics_has_units_and_exemplars() {
    let fixture = Fixture::busy(&small_plan());
    let families = families(&fixture.open(), ExpositionSyntax::Open);
    let family = |name: &str| families.iter().find(|family| family.name == name).unwrap();
    let first_token = family("tokenbeat_time_to_first_token_seconds");
    assert_eq!(first_token.unit.as_deref(), Some("seconds"));
    assert_eq!(family("tokenbeat_output_pace_tokens_per_second").unit.as_deref(), Some("tokens_per_second"));
    assert_eq!(family("tokenbeat_slo_objective_ratio").unit.as_deref(), Some("ratio"));
    assert_eq!(family("tokenbeat_load_active_seconds").kind, "counter");
    let exemplars: Vec<_> =
        first_token.samples.iter().filter_map(|sample| sample.exemplar.as_ref()).collect();
    assert_eq!(exemplars.len(), 1);
    let (labels, value, time) = exemplars[0];
    assert_eq!(labels["trace_id"], "000102030405060708090a0b0c0d0e0f");
    assert_eq!(labels["span_id"], "1011121314151617");
    assert!((value - 0.3).abs() < 1e-9 && *time > 1e9);
}

fn golden(name: &str, body: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, body).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert_eq!(body, golden, "run the test with UPDATE_GOLDEN=1 and look at the difference");
}

/// A plan so small that its whole exposition can be read: all but a few metrics are disabled.
#[test]
fn the_exposition_is_the_golden_text() {
    let mut plan = plan(&["llama"], vec![profile("chat", vec![stage("steady", false)])]);
    let keep = [Metric::OfferedRequests, Metric::LongestChunkGap, Metric::SloThreshold];
    let names = Metric::ALL.iter().filter(|metric| !keep.contains(metric));
    plan.telemetry.disable = names.map(|metric| metric.spec().prometheus()).collect();
    plan.telemetry.disable.extend(crate::catalogue::PROCESS.map(str::to_owned));
    plan.agent.labels.clear();
    let fixture = Fixture::of(&plan);
    play(&fixture.sink, &fixture.steady, Outcome::Ok, |request| request.ids.sampled = false);
    golden("exposition.txt", &fixture.text());
    golden("exposition.openmetrics.txt", &fixture.open());
}

#[test]
fn disabled_metrics_are_in_no_format() {
    let mut plan = small_plan();
    let disabled = ["tokenbeat_chunk_gap_seconds", "tokenbeat_stalls_total", "process_open_fds"];
    plan.telemetry.disable = disabled.map(str::to_owned).to_vec();
    let fixture = Fixture::busy(&plan);
    for body in [fixture.text(), fixture.open()] {
        for name in ["tokenbeat_chunk_gap_seconds", "tokenbeat_stalls", "process_open_fds"] {
            assert!(!body.contains(name), "{name}");
        }
        assert!(body.contains("tokenbeat_longest_chunk_gap_seconds"));
    }
}

/// Budget usage as reported by the state module: one entry per limit of each budget.
struct Budgets(Vec<BudgetUse>);

impl Ledger for Budgets {
    fn reserve(&self, pair: &Pair, most: Spend, margin: Spend) -> Result<Hold, Exhausted> {
        Ok(Hold { profile: Arc::clone(&pair.profile), reserved: most + margin, number: 0 })
    }

    fn settle(&self, _: Hold, _: Spend) {}

    fn uses(&self) -> Vec<BudgetUse> {
        self.0.clone()
    }
}

#[test]
fn the_series_count_is_what_a_scrape_holds() {
    let mut quiet = profile("quiet", vec![stage("", false)]);
    crate::testing::ask_of(&mut quiet).stream = false;
    quiet.budget = None;
    quiet.slos.clear();
    let chat = profile("chat", vec![stage("warm", true), stage("steady", false), stage("steady", false)]);
    let mut plan = plan(&["llama", "mistral"], vec![chat, quiet]);
    plan.agent.budget = Some(budget());
    let spent = |scope: BudgetScope, unit| BudgetUse {
        scope,
        unit,
        spent: 1.0,
        limit: 2.0,
        until: jiff::ZonedDateTime::default(),
    };
    let uses = [BudgetScope::Agent, BudgetScope::Profile("chat".into())]
        .into_iter()
        .flat_map(|scope| [spent(scope.clone(), BudgetUnit::Requests), spent(scope, BudgetUnit::Cost)]);
    let uses: Vec<_> = uses.collect();
    for disable in [vec![], vec!["tokenbeat_budget_spent_ratio".to_owned(), "process_threads".to_owned()]] {
        plan.telemetry.disable = disable;
        assert_counted(&plan, uses.clone());
    }
}

/// Checks that the count of a plan is the number of series in both formats.
fn assert_counted(plan: &Plan, uses: Vec<BudgetUse>) -> usize {
    let fixture = Fixture::of(plan);
    fixture.store.attach_ledger(Arc::new(Budgets(uses)));
    let count = series_count(plan).unwrap().0.start;
    assert_eq!(samples(&families(&fixture.text(), ExpositionSyntax::Text)).count(), count);
    assert_eq!(samples(&families(&fixture.open(), ExpositionSyntax::Open)).count(), count);
    count
}

#[test]
fn steps_and_journeys_are_in_the_series_count() {
    let count = |mut plan: Plan, disable: &[&str]| {
        plan.telemetry.disable = disable.iter().map(|name| (*name).to_owned()).collect();
        let used = |unit| BudgetUse {
            scope: BudgetScope::Profile("rag".into()),
            unit,
            spent: 1.0,
            limit: 2.0,
            until: jiff::ZonedDateTime::default(),
        };
        assert_counted(&plan, vec![used(BudgetUnit::Requests), used(BudgetUnit::Cost)])
    };
    let steady = || rag_plan_of(vec![stage("steady", false)]);
    let whole = count(steady(), &[]);
    let journeys = [
        "tokenbeat_journeys_total",
        "tokenbeat_journey_duration_seconds",
        "tokenbeat_journey_tokens_total",
        "tokenbeat_journey_cost_total",
    ];
    // 26 outcomes, 40 buckets with `+Inf`, sum and count, two types, one currency.
    assert_eq!(whole - count(steady(), &journeys), 26 + 43 + 2 + 1);
    // A warm-up adds tokens and cost of the seven places that have them, its outcomes, and its load.
    assert_eq!(count(rag_plan(), &[]) - whole, 7 * (6 + 2 + 1) + 26 + 1);
}

/// Notes the sizes of what is written.
#[derive(Default)]
struct WrittenSizes {
    largest: usize,
    all: usize,
}

impl Write for WrittenSizes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.largest = self.largest.max(bytes.len());
        self.all += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_scrape_of_any_size_is_written_in_pieces_of_one_size() {
    let names: Vec<String> = (0..40).map(|n| format!("target-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let plan = plan(&names, vec![profile("chat", vec![stage("steady", false)])]);
    let fixture = Fixture::of(&plan);
    for accept in [None, OPEN] {
        let mut sizes = WrittenSizes::default();
        fixture.exposition.write(accept, &mut sizes).unwrap();
        // A piece ends with the series that fills it.
        assert!(
            sizes.largest < 2 * PIECE && sizes.all > 20 * sizes.largest,
            "{} {}",
            sizes.largest,
            sizes.all
        );
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_scrape() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let fixture = Fixture::busy(&small_plan());
    for accept in [None, OPEN] {
        let error = fixture.exposition.write(accept, &mut Gone).unwrap_err();
        assert!(error.to_string().starts_with("cannot write the metrics: "), "{error}");
    }
}

#[test]
fn a_new_plan_changes_the_exposition() {
    let first = small_plan();
    let mut fixture = Fixture::busy(&first);
    let mut second = plan(&["llama"], vec![profile("other", vec![stage("", false)])]);
    second.agent.location = "us".into();
    // Nothing refers to the series of the first plan.
    fixture.steady = Arc::clone(&second.pairs[0].places[0]);
    drop(first);
    change_plan(&*fixture.store, second);
    for (body, dialect) in
        [(fixture.text(), ExpositionSyntax::Text), (fixture.open(), ExpositionSyntax::Open)]
    {
        for sample in samples(&families(&body, dialect)) {
            assert_eq!(sample.labels["location"], "us", "{sample:?}");
            assert_ne!(sample.labels.get("profile").map(String::as_str), Some("chat"), "{sample:?}");
        }
    }
}

#[test]
fn an_illegal_agent_label_is_an_error() {
    let mut plan = small_plan();
    plan.agent.labels.insert("not-a-label".into(), "x".into());
    let error = Exposition::new(Store::new(&plan), &plan).err().unwrap();
    assert!(error.to_string().starts_with("cannot expose the metrics: "), "{error}");
}

#[test]
fn trap_17_no_summary_and_no_quantile_leaves_the_process() {
    let body = Fixture::busy(&small_plan()).text();
    assert!(!body.contains("quantile=") && !body.contains(" summary\n"));
}

#[test]
fn facts_and_scrapes_may_meet() {
    let fixture = Fixture::busy(&small_plan());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..200 {
                    play(&fixture.sink, &fixture.steady, Outcome::Ok, |_| {});
                    let time = Duration::from_millis(1);
                    fixture.sink.record(&Fact::LoadActive {
                        warm_up: false,
                        place: Arc::clone(&fixture.steady),
                        time,
                        shards: 1,
                    });
                }
            });
        }
        // Each rendering is consistent in itself; otherwise the parser fails.
        for _ in 0..5 {
            families(&fixture.open(), ExpositionSyntax::Open);
            families(&fixture.text(), ExpositionSyntax::Text);
        }
    });
    let families = families(&fixture.text(), ExpositionSyntax::Text);
    let active = samples(&families)
        .find(|it| it.name == "tokenbeat_load_active_seconds_total" && it.labels["stage"] == "steady");
    assert!((active.unwrap().value - 0.4).abs() < 1e-9);
}

/// Checks the result with Prometheus' own tool, if it is installed.
#[test]
fn promtool_agrees() {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else { return };
    let body = Fixture::busy(&small_plan()).text();
    child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    // Its linter accepts names such as `tokenbeat_run_active`, so everything it reports is an error.
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

/// A plan whose profile has two measured stages, and its exposition.
pub(super) fn two_stages() -> (Plan, Arc<Store>, Exposition) {
    let stages = [("warm", true), ("steady", false), ("more", false)].map(|(name, it)| stage(name, it));
    let plan = plan(&["llama"], vec![profile("chat", stages.to_vec())]);
    let store = Store::new(&plan);
    let exposition = Exposition::new(Arc::clone(&store), &plan).unwrap();
    (plan, store, exposition)
}

/// The counts of requests, given the sum over each metric.
pub(super) fn counts(sum: impl Fn(Metric) -> f64) -> ObservedCounts {
    ObservedCounts {
        offered: sum(Metric::OfferedRequests),
        skipped: sum(Metric::SkippedRequests),
        in_flight: sum(Metric::RequestsInFlight),
        ended: sum(Metric::Requests),
    }
}

#[test]
fn offered_is_skipped_and_in_flight_and_ended_in_every_scrape() {
    let (plan, store, exposition) = two_stages();
    let sink: Arc<dyn Sink> = Arc::<Store>::clone(&store);
    let places = &plan.pairs[0].places[1..];
    let text_sum = |text: &str, name: &str| {
        let lines = text.lines().filter(|line| line.split('{').next() == Some(name));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };
    for accept in [None, OPEN] {
        while_requests_move(&sink, places, || {
            let body = exposition.render(accept).unwrap().body;
            let text = std::str::from_utf8(&body).unwrap();
            counts(|metric| text_sum(text, &metric.spec().prometheus()))
        });
    }
}
