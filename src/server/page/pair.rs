//! The page of one pair: how it goes now, its charts, its last runs and failures.

use super::{Dated, PageContext, between, since};
use crate::event::{Ledger, Pair, SearchReport};
use crate::report::{AccountRow, account_rows, account_sentence, levels};
use crate::server::Views;
use crate::server::budgets::{BudgetRow, rows};
use crate::server::chart::Charts;
use crate::server::held_back::HeldBack;
use crate::server::notice::{NoticeContent, NoticeEvent};
use crate::state::{
    BaselineView, HistoryView, ObjectiveView, PairStatus, RegressionView, RequestView, RunView, Time,
};
use crate::target_state::TargetStateView;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

/// Number of runs listed.
const RUNS: usize = 20;
/// Number of failures listed.
const FAILURES: usize = 10;

/// What the page of a pair shows.
#[derive(Debug, Serialize)]
pub(super) struct PairView {
    card: Card,
    /// Other targets of the profile: a run that is asked for is played against them, too.
    siblings: Vec<Arc<str>>,
    runs: Vec<Dated<Arc<RunView>>>,
    failures: Vec<Dated<Arc<RequestView>>>,
    budgets: Vec<BudgetRow>,
    search: Option<Arc<SearchReport>>,
    server: Option<ServerSection>,
    facts: ChartFacts,
}

/// The server's own account of the last run that has one.
#[derive(Debug, Serialize)]
struct ServerSection {
    engine: String,
    run: String,
    ended: Time,
    sentence: String,
    rows: Vec<AccountRow>,
    levels: Vec<String>,
}

/// What is drawn into the charts besides the history.
#[derive(Debug, Serialize)]
struct ChartFacts {
    profile: Arc<str>,
    target: Arc<str>,
    streamed: bool,
    objectives: Vec<ObjectiveView>,
    baselines: Vec<BaselineView>,
    regressions: Vec<RegressionView>,
    /// What is caused on purpose.
    faults: VecDeque<NoticeEvent>,
    runs: Vec<RunSpan>,
    search: Option<Arc<SearchReport>>,
}

/// When a run was.
#[derive(Debug, Serialize)]
struct RunSpan {
    started: Time,
    ended: Time,
    result: &'static str,
}

/// How a pair of profile and target does.
#[derive(Debug, Serialize)]
pub(super) struct Card {
    status: PairStatus,
    /// The state of its target; absent for a target that is no longer in the plan.
    target: Option<TargetStateView>,
    /// Number of finished requests, without warm-up.
    ended: u64,
    /// Seconds until the next run starts that no budget holds back.
    next_in: Option<u64>,
    held_back: Option<HeldBack>,
    /// `held_back.until` in the budget's time zone.
    held_back_until: Option<String>,
    /// Seconds since the last run ended.
    last_run_ago: Option<u64>,
    /// Absent for a pair that is no longer in the plan.
    history: Option<HistoryView>,
    charts: Option<Charts>,
    /// The objective's bound on the latency chart, in seconds.
    bound: Option<f64>,
}

impl PairView {
    /// The page of a pair; `None` if there is no such pair.
    pub(super) fn of(views: &Views, pair: &Pair, shown: &PageContext<'_>) -> Option<Self> {
        let status = views.recent.status_of(pair)?;
        let now = shown.at;
        let runs = views.recent.runs_of(pair, RUNS);
        let search = runs.iter().find_map(|run| run.search.clone());
        let search = search.or_else(|| status.last_run.as_ref()?.search.clone());
        let server = runs.iter().find_map(|run| ServerSection::of(run));
        let target = views.states.view().remove(&pair.target);
        let regressions = status.regressions.clone();
        let baselines = status.baselines.clone();
        let card = Card::of(status, target, views.history.of(pair), (shown.notice, &*views.ledger), now);
        let history = card.history.as_ref();
        let span =
            |run: &Arc<RunView>| RunSpan { started: run.started, ended: run.ended, result: run.result };
        let facts = ChartFacts {
            profile: Arc::clone(&pair.profile),
            target: Arc::clone(&pair.target),
            streamed: history.is_none_or(|history| history.streamed),
            objectives: history.map_or_else(Vec::new, |history| history.minute.objectives.clone()),
            baselines,
            regressions,
            faults: shown.notice.events.clone(),
            runs: runs.iter().map(span).collect(),
            search: search.clone(),
        };
        let dated_failure = |view: Arc<RequestView>| {
            let ended = view.ended;
            since(view, ended, now)
        };
        let dated_run = |run: Arc<RunView>| {
            let ended = run.ended;
            since(run, ended, now)
        };
        let plan = views.current().plan;
        let is_sibling = |other: &&Pair| other.profile == pair.profile && other.target != pair.target;
        let siblings = plan.pairs.iter().map(|known| &known.pair).filter(is_sibling);
        let own = format!("profile/{}", pair.profile);
        let is_for_us = |row: &BudgetRow| row.scope == own || row.scope == "agent";
        Some(Self {
            siblings: siblings.map(|other| Arc::clone(&other.target)).collect(),
            runs: runs.into_iter().map(dated_run).collect(),
            failures: views.recent.failures_of(pair, FAILURES).into_iter().map(dated_failure).collect(),
            budgets: rows(&*views.ledger).into_iter().filter(is_for_us).collect(),
            card,
            search,
            server,
            facts,
        })
    }
}

impl ServerSection {
    fn of(run: &RunView) -> Option<Self> {
        let account = run.server.as_deref()?;
        Some(Self {
            engine: account.engine.clone(),
            run: run.id.clone(),
            ended: run.ended,
            sentence: account_sentence(account),
            rows: account_rows(account),
            levels: levels(account),
        })
    }
}

impl Card {
    fn of(
        status: PairStatus,
        target: Option<TargetStateView>,
        history: Option<HistoryView>,
        (notice, ledger): (&NoticeContent, &dyn Ledger),
        now: SystemTime,
    ) -> Self {
        let pair = Pair { profile: Arc::clone(&status.profile), target: Arc::clone(&status.target) };
        let held_back = HeldBack::of(ledger, &pair);
        let bound = history.as_ref().and_then(bound);
        let events = notice.events.iter().cloned().collect::<Vec<_>>();
        Self {
            target,
            ended: status.requests.values().sum(),
            next_in: next_in(&status, held_back.as_ref(), now),
            held_back_until: held_back.as_ref().and_then(|held_back| held_back.until_local.clone()),
            held_back,
            last_run_ago: status.last_run.as_ref().map(|run| between(run.ended.0, now)),
            charts: history.as_ref().map(|history| Charts::of(history, bound, &events)),
            status,
            history,
            bound,
        }
    }
}

/// Seconds until the next run of a pair starts that no budget holds back.
pub(super) fn next_in(status: &PairStatus, held_back: Option<&HeldBack>, now: SystemTime) -> Option<u64> {
    let runs = |at: &Time| held_back.is_none_or(|held_back| !held_back.lasts_beyond(at.0));
    status.next_run.filter(runs).map(|at| between(now, at.0))
}

/// The objective's bound for the values on the latency chart, which are those of all steps; a bound that grows with the
/// prompt is no line.
fn bound(history: &HistoryView) -> Option<f64> {
    let metric = if history.streamed { "time_to_first_token" } else { "request_duration" };
    let mut objectives = history.window.objectives.iter();
    let is_line = |slo: &&ObjectiveView| slo.step.is_none() && slo.below_per_input_token.is_none();
    objectives.find(|slo| slo.metric == metric && is_line(slo))?.below
}
