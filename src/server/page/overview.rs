//! The overview: each profile against each target, and what failed last.

use super::{Dated, Shown, between, since};
use crate::event::{Ledger, Pair};
use crate::report::Diagnosis;
use crate::server::Views;
use crate::server::budgets::{BudgetRow, rows};
use crate::server::chart::Charts;
use crate::server::held_back::HeldBack;
use crate::server::notice::NoticeContent;
use crate::state::{HistoryView, ObjectiveView, PairStatus, RequestView, Time};
use crate::target_state::TargetStateView;
use serde::Serialize;
use std::collections::BTreeMap;
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
    cards: Vec<Card>,
    diagnosis: Vec<DiagnosisRow>,
    budgets: Vec<BudgetRow>,
    failures: Vec<Dated<Arc<RequestView>>>,
    requests: Vec<Dated<Arc<RequestView>>>,
}

/// A pattern that the last hours show.
#[derive(Debug, Serialize)]
struct DiagnosisRow {
    it: Diagnosis,
    /// Its evidence, in words.
    numbers: String,
}

/// One pair of profile and target.
#[derive(Debug, Serialize)]
struct Card {
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

impl Overview {
    pub(super) fn of(views: &Views, shown: &Shown<'_>) -> Self {
        let now = shown.at;
        let mut history = views.history.view();
        let states = views.states.view();
        let card = |status: PairStatus| {
            let target = states.get(&status.target).cloned();
            card(status, target, &mut history, (shown.notice, &*views.ledger), now)
        };
        Self {
            cards: views.recent.status().into_iter().map(card).collect(),
            diagnosis: views.diagnosis.recent().iter().map(DiagnosisRow::of).collect(),
            budgets: rows(&*views.ledger),
            failures: failures(views.recent.failures(FAILURES_SEEN), now),
            requests: views.recent.requests(RECENT).into_iter().map(|it| dated(it, now)).collect(),
        }
    }
}

impl DiagnosisRow {
    fn of(it: &Diagnosis) -> Self {
        Self { it: it.clone(), numbers: it.numbers() }
    }
}

fn card(
    status: PairStatus,
    target: Option<TargetStateView>,
    history: &mut BTreeMap<Pair, HistoryView>,
    (notice, ledger): (&NoticeContent, &dyn Ledger),
    now: SystemTime,
) -> Card {
    let pair = Pair { profile: Arc::clone(&status.profile), target: Arc::clone(&status.target) };
    let held_back = HeldBack::of(ledger, &pair);
    let runs = |at: &Time| held_back.as_ref().is_none_or(|held_back| !held_back.lasts_beyond(at.0));
    let history = history.remove(&pair);
    let bound = history.as_ref().and_then(bound);
    let events = notice.events.iter().cloned().collect::<Vec<_>>();
    Card {
        target,
        ended: status.requests.values().sum(),
        next_in: status.next_run.filter(runs).map(|at| between(now, at.0)),
        held_back_until: held_back.as_ref().and_then(|held_back| held_back.until_local.clone()),
        held_back,
        last_run_ago: status.last_run.as_ref().map(|run| between(run.ended.0, now)),
        charts: history.as_ref().map(|history| Charts::of(history, bound, &events)),
        status,
        history,
        bound,
    }
}

/// The objective's bound for the values on the latency chart, which are those of all steps; a bound that grows with the
/// prompt is no line.
fn bound(history: &HistoryView) -> Option<f64> {
    let metric = if history.streamed { "time_to_first_token" } else { "request_duration" };
    let mut objectives = history.window.objectives.iter();
    let is_line = |slo: &&ObjectiveView| slo.step.is_none() && slo.below_per_input_token.is_none();
    objectives.find(|slo| slo.metric == metric && is_line(slo))?.below
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
    shown.sort_by_key(|view| std::cmp::Reverse(view.ended));
    shown.into_iter().map(|view| dated(view, now)).collect()
}

fn dated(view: Arc<RequestView>, now: SystemTime) -> Dated<Arc<RequestView>> {
    let ended = view.ended;
    since(view, ended, now)
}
