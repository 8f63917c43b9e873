//! The overview: a row for each profile against each target, the bad ones first; what failed last; patterns, comparisons
//! and budgets.

use super::pair::next_in;
use super::query::PairFilter;
use super::{Dated, PageContext, since};
use crate::event::{Pair, TargetState};
use crate::report::Diagnosis;
use crate::server::Views;
use crate::server::budgets::{BudgetRow, rows};
use crate::server::chart::sparkline;
use crate::server::comparisons;
use crate::server::held_back::HeldBack;
use crate::state::{
    BaselineView, ComparisonView, HistoryView, PairCounts, PairStatus, RequestView, RunView,
    WindowPercentiles,
};
use crate::target_state::TargetStateView;
use crate::vocabulary::Quantity;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

/// Number of requests listed.
const RECENT: usize = 20;
/// Number of failures listed.
pub(super) const FAILURES: usize = 10;
/// Number of failures considered, so that one kind does not hide the others.
pub(super) const FAILURES_SEEN: usize = 500;

/// What the overview shows.
#[derive(Debug, Serialize)]
pub(super) struct Overview {
    filter: PairFilter,
    filtered: bool,
    /// Names to choose from.
    profiles: BTreeSet<Arc<str>>,
    targets: BTreeSet<Arc<str>>,
    /// Number of pairs, of those that pass the filter, and of the bad ones among all.
    pairs: usize,
    found: usize,
    bad: usize,
    rows: Vec<PairRow>,
    comparisons: Vec<ComparisonView>,
    diagnosis: Vec<DiagnosisRow>,
    budgets: Vec<BudgetRow>,
    failures: Vec<Dated<Arc<RequestView>>>,
    requests: Vec<Dated<Arc<RequestView>>>,
}

/// How a pair is, for the order of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum PairHealth {
    /// Nothing is known to be wrong.
    Good,
    /// Something is not as it should be.
    Warn,
    /// The target fails, an objective is missed, or the last run failed.
    Bad,
}

/// One pair, before it is decided whether it is shown.
struct PairEntry {
    pair: Pair,
    status: PairStatus,
    target: Option<TargetStateView>,
    counts: PairCounts,
    held_back: Option<HeldBack>,
    health: PairHealth,
}

/// One pair.
#[derive(Debug, Serialize)]
struct PairRow {
    profile: Arc<str>,
    target: Arc<str>,
    model: Arc<str>,
    health: PairHealth,
    state: Option<TargetStateView>,
    active: usize,
    held_back: Option<HeldBack>,
    held_back_until: Option<String>,
    next_in: Option<u64>,
    last_run: Option<Dated<Arc<RunView>>>,
    streamed: bool,
    /// Of the last minute, or else of the last ten.
    latency: Option<WindowPercentiles>,
    latency_baseline: Option<RatioToBaseline>,
    pace: Option<f64>,
    pace_baseline: Option<RatioToBaseline>,
    ok: u64,
    failed: u64,
    missed: usize,
    regressions: Vec<RegressionChip>,
    /// The share of the profile's budget that is spent most, in percent.
    budget_percent: Option<f64>,
    sparkline: Option<String>,
}

/// A value by what is usual.
#[derive(Debug, Serialize)]
struct RatioToBaseline {
    typical: f64,
    /// Absent without a present value.
    ratio: Option<f64>,
}

/// A regression in a few words.
#[derive(Debug, Serialize)]
struct RegressionChip {
    quantity: &'static str,
    ratio: f64,
    since: crate::state::Time,
}

/// A pattern that the last hours show.
#[derive(Debug, Serialize)]
struct DiagnosisRow {
    it: Diagnosis,
    /// Its evidence, in words.
    numbers: String,
}

impl Overview {
    /// What passes the filter; `Err` names a profile or target that does not exist.
    pub(super) fn of(views: &Views, filter: PairFilter, shown: &PageContext<'_>) -> Result<Self, String> {
        let now = shown.at;
        let mut entries = entries(views);
        let names = |name: fn(&Pair) -> &Arc<str>| {
            entries.iter().map(|entry| Arc::clone(name(&entry.pair))).collect::<BTreeSet<_>>()
        };
        let (profiles, targets) = (names(|pair| &pair.profile), names(|pair| &pair.target));
        for (kind, names, wanted) in
            [("profile", &profiles, &filter.profile), ("target", &targets, &filter.target)]
        {
            if let Some(wanted) = wanted
                && !names.contains(wanted.as_str())
            {
                return Err(format!("There is no {kind} of the name {wanted}."));
            }
        }
        let pairs = entries.len();
        let bad = entries.iter().filter(|entry| entry.health > PairHealth::Good).count();
        entries.retain(|entry| entry.passes(&filter));
        entries.sort_by_key(|entry| Reverse(entry.health));
        let found = entries.len();
        entries.truncate(filter.rows);
        let budgets = rows(&*views.ledger);
        Ok(Self {
            filtered: filter.is_active(),
            profiles,
            targets,
            pairs,
            found,
            bad,
            rows: entries.into_iter().map(|entry| entry.row(views, &budgets, now)).collect(),
            comparisons: comparisons::shown(&views.comparisons),
            diagnosis: views.diagnosis.recent().iter().map(DiagnosisRow::of).collect(),
            budgets,
            failures: failures(views.recent.failures(FAILURES_SEEN), now),
            requests: views.recent.requests(RECENT).into_iter().map(|it| dated(it, now)).collect(),
            filter,
        })
    }
}

fn entries(views: &Views) -> Vec<PairEntry> {
    let states: BTreeMap<Arc<str>, TargetStateView> = views.states.view();
    let counts = views.history.counts();
    let entry = |status: PairStatus| {
        let pair = Pair { profile: Arc::clone(&status.profile), target: Arc::clone(&status.target) };
        let target = states.get(&pair.target).cloned();
        let counts = counts.get(&pair).copied().unwrap_or_default();
        let held_back = HeldBack::of(&*views.ledger, &pair);
        let health = health(&status, target.as_ref(), counts, held_back.is_some());
        PairEntry { pair, status, target, counts, held_back, health }
    };
    views.recent.status().into_iter().map(entry).collect()
}

fn health(
    status: &PairStatus,
    target: Option<&TargetStateView>,
    counts: PairCounts,
    held_back: bool,
) -> PairHealth {
    let state = target.map(|target| target.state);
    let run_failed = status.last_run.as_ref().is_some_and(|run| run.result == "failed");
    let degraded = status.last_run.as_ref().is_some_and(|run| run.degraded.is_some());
    if matches!(state, Some(TargetState::Failing | TargetState::Hung)) || run_failed || counts.missed > 0 {
        PairHealth::Bad
    } else if state == Some(TargetState::Slow)
        || !status.regressions.is_empty()
        || counts.failed > 0
        || held_back
        || degraded
    {
        PairHealth::Warn
    } else {
        PairHealth::Good
    }
}

impl PairEntry {
    fn passes(&self, filter: &PairFilter) -> bool {
        let is = |wanted: Option<&String>, name: &str| wanted.is_none_or(|wanted| wanted == name);
        let state = self.target.as_ref().map_or("unknown", |target| target.state.label());
        is(filter.profile.as_ref(), &self.pair.profile)
            && is(filter.target.as_ref(), &self.pair.target)
            && is(filter.state.as_ref(), state)
            && (!filter.bad || self.health > PairHealth::Good)
            && filter.has_text(&[&self.pair.profile, &self.pair.target, &self.status.model])
    }

    fn row(self, views: &Views, budgets: &[BudgetRow], now: SystemTime) -> PairRow {
        let history = views.history.of(&self.pair);
        let streamed = history.as_ref().is_none_or(|history| history.streamed);
        let latency = history.as_ref().and_then(latency);
        let pace = history.as_ref().and_then(|history| {
            let [minute, window] =
                [&history.minute, &history.window].map(|window| window.output_pace_p50_tokens_per_second);
            minute.or(window)
        });
        let baseline = |quantity: Quantity, present: Option<f64>| {
            let known = self.status.baselines.iter().find(|baseline| baseline.quantity == quantity);
            known.map(|BaselineView { typical, .. }| RatioToBaseline {
                typical: *typical,
                ratio: present.map(|present| present / typical).filter(|ratio| ratio.is_finite()),
            })
        };
        let quantity = if streamed { Quantity::TimeToFirstToken } else { Quantity::RequestDuration };
        let own = format!("profile/{}", self.pair.profile);
        let percents = budgets.iter().filter(|row| row.scope == own).map(|row| row.percent);
        let regression = |it: &crate::state::RegressionView| RegressionChip {
            quantity: it.quantity.name(),
            ratio: it.ratio,
            since: it.since,
        };
        PairRow {
            health: self.health,
            active: self.status.active_runs.len(),
            next_in: next_in(&self.status, self.held_back.as_ref(), now),
            held_back_until: self.held_back.as_ref().and_then(|held_back| held_back.until_local.clone()),
            held_back: self.held_back,
            last_run: self.status.last_run.as_ref().map(|run| since(Arc::clone(run), run.ended, now)),
            streamed,
            latency,
            latency_baseline: baseline(quantity, latency.map(|latency| latency.p50)),
            pace,
            pace_baseline: baseline(Quantity::OutputPace, pace),
            ok: self.counts.ok,
            failed: self.counts.failed,
            missed: self.counts.missed,
            regressions: self.status.regressions.iter().map(regression).collect(),
            budget_percent: percents.reduce(f64::max),
            sparkline: history.as_ref().and_then(sparkline),
            profile: self.pair.profile,
            target: self.pair.target,
            model: self.status.model,
            state: self.target,
        }
    }
}

/// What the latency of a pair is now: TTFT, or the duration of answers that are not streamed.
fn latency(history: &HistoryView) -> Option<WindowPercentiles> {
    let of = |window: &crate::state::WindowView| {
        if history.streamed { window.time_to_first_token_seconds } else { window.request_duration_seconds }
    };
    let (minute, window) = (of(&history.minute), of(&history.window));
    // A p95 of the last ten minutes says more than none of the last one.
    let Some(minute) = minute else { return window };
    Some(WindowPercentiles { p50: minute.p50, ..minute.p95.map_or(window.unwrap_or(minute), |_| minute) })
}

impl DiagnosisRow {
    fn of(it: &Diagnosis) -> Self {
        Self { it: it.clone(), numbers: it.numbers() }
    }
}

/// The newest failure of each kind first, then the other ones, each group newest first.
pub(super) fn failures(all: Vec<Arc<RequestView>>, now: SystemTime) -> Vec<Dated<Arc<RequestView>>> {
    let mut kinds = Vec::new();
    let (mut shown, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|view| {
        let place = [&view.profile, &view.target, &view.step].map(Arc::clone);
        let kind = (place, view.outcome);
        let first = !kinds.contains(&kind);
        if first {
            kinds.push(kind);
        }
        first
    });
    shown.truncate(2 * FAILURES);
    let room = FAILURES.saturating_sub(shown.len());
    shown.extend(rest.into_iter().take(room));
    shown.sort_by_key(|view| Reverse(view.ended));
    shown.into_iter().map(|view| dated(view, now)).collect()
}

fn dated(view: Arc<RequestView>, now: SystemTime) -> Dated<Arc<RequestView>> {
    let ended = view.ended;
    since(view, ended, now)
}
