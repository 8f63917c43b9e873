//! What happened recently, in memory: the last requests, the last failures of each pair (which are not pushed
//! out by successes), and the live status of each pair. Everything is bounded. The content
//! of requests and answers is here only where a profile asks for that, and without secrets.

mod content;
mod detail;
mod filter;
mod timing;
mod view;

pub use content::{AnswerContentView, HeaderView, RequestContentView, TextView};
pub use detail::{RelatedRequest, RequestDetail};
pub use filter::RequestFilter;
pub use timing::{ChunksView, MarksView, PhaseView, RequestPhase, StallView};
pub use view::{
    ActiveRun, BaselineView, JourneyCounts, JourneyView, PairStatus, RegressionView, RequestView, RunView,
};

use self::detail::RememberedRequest;
use super::{SavedRun, Time};
use crate::event::{Failure, Outcome, Pair, Request, RunAccount, RunRef, SeriesKey};
use crate::fact::{Fact, Sink};
use crate::plan::{PairPlan, Plan};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Number of requests kept across all pairs.
pub const LATEST: usize = 200;

/// Number of failures kept per pair.
pub const FAILURES: usize = 20;

/// Number of failures across all pairs that are kept with what takes much memory; each pair has an equal share, at least one.
const FAILURES_WHOLE: usize = 200;

/// Number of runs kept across all pairs.
const RUNS: usize = 200;

/// Maximum number of runs of a pair shown as active. The engine has at most two; this limits the effect of a
/// bug.
const ACTIVE: usize = 16;

/// Receives facts and remembers the recent ones.
#[derive(Default)]
pub struct Recent(Mutex<RecentFacts>);

#[derive(Default)]
struct RecentFacts {
    latest: VecDeque<Arc<RememberedRequest>>,
    runs: VecDeque<Arc<RunView>>,
    pairs: BTreeMap<Pair, RecentPair>,
}

/// The data of one pair.
struct RecentPair {
    model: Arc<str>,
    schedule: &'static str,
    /// Whether the pair is still in the plan; if not, it is removed once nothing in it is open.
    planned: bool,
    in_flight: u64,
    offered: u64,
    warm_up: u64,
    skipped: HashMap<&'static str, u64>,
    outcomes: HashMap<Outcome, u64>,
    /// Present if the pair has, or had, a scenario.
    journeys: Option<JourneyCounts>,
    skipped_runs: HashMap<&'static str, u64>,
    active: Vec<ActiveRun>,
    last_run: Option<Arc<RunView>>,
    next_run: Option<SystemTime>,
    failures: VecDeque<Arc<RememberedRequest>>,
    regressions: Vec<RegressionView>,
    baselines: Vec<BaselineView>,
}

impl RecentPair {
    fn of(plan: &PairPlan) -> Self {
        Self {
            model: Arc::clone(&plan.target.model),
            schedule: plan.profile.schedule.trigger.name(),
            planned: true,
            in_flight: 0,
            offered: 0,
            warm_up: 0,
            skipped: HashMap::new(),
            outcomes: HashMap::new(),
            journeys: plan.profile.scenario.journeys.then(JourneyCounts::default),
            skipped_runs: HashMap::new(),
            active: Vec::new(),
            last_run: None,
            next_run: None,
            failures: VecDeque::new(),
            regressions: Vec::new(),
            baselines: Vec::new(),
        }
    }

    fn may_go(&self) -> bool {
        let travels = self.journeys.as_ref().is_some_and(|journeys| journeys.open > 0);
        !self.planned && self.in_flight == 0 && !travels && self.active.is_empty()
    }

    /// Counts a request, and remembers a failure; the newest `whole` ones with what takes much memory.
    fn ended(&mut self, outcome: Outcome, request: &Arc<RememberedRequest>, whole: usize) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if request.view.warm_up {
            self.warm_up += 1;
        } else {
            *self.outcomes.entry(outcome).or_default() += 1;
        }
        // A shutdown cancels many requests at once; they would push out the failures of interest.
        if !matches!(outcome, Outcome::Ok | Outcome::Failed(Failure::Cancelled)) {
            push(&mut self.failures, FAILURES, request);
            for old in self.failures.iter_mut().skip(whole) {
                if let Some(reduced) = old.reduced() {
                    *old = Arc::new(reduced);
                }
            }
        }
    }

    fn run_started(&mut self, run: &RunRef, lag: Duration) {
        if self.active.len() == ACTIVE {
            self.active.remove(0);
        }
        let started = Time(run.scheduled + lag);
        self.active.push(ActiveRun { id: run.id.clone(), scheduled: Time(run.scheduled), started });
    }

    fn status(&self, pair: &Pair) -> PairStatus {
        let requests =
            Outcome::all().filter_map(|outcome| Some((outcome.label(), *self.outcomes.get(&outcome)?)));
        PairStatus {
            profile: Arc::clone(&pair.profile),
            target: Arc::clone(&pair.target),
            model: Arc::clone(&self.model),
            schedule: self.schedule,
            in_flight: self.in_flight,
            offered: self.offered,
            skipped: self.skipped.iter().map(|(reason, n)| (*reason, *n)).collect(),
            requests: requests.collect(),
            warm_up_requests: self.warm_up,
            journeys: self.journeys.clone(),
            skipped_runs: self.skipped_runs.iter().map(|(reason, n)| (*reason, *n)).collect(),
            active_runs: self.active.clone(),
            last_run: self.last_run.clone(),
            next_run: self.next_run.map(Time),
            last_failure: self.failures.front().map(|it| Arc::clone(&it.view)),
            regressions: self.regressions.clone(),
            baselines: self.baselines.clone(),
        }
    }
}

fn push<T>(ring: &mut VecDeque<Arc<T>>, most: usize, view: &Arc<T>) {
    ring.truncate(most - 1);
    ring.push_front(Arc::clone(view));
}

impl Recent {
    /// Starts with the pairs of a plan; facts about other pairs are dropped.
    pub fn new(plan: &Plan) -> Arc<Self> {
        let recent = Self::default();
        recent.plan_changed(plan);
        Arc::new(recent)
    }

    /// Adds runs of earlier processes, newest first.
    pub fn restore(&self, runs: &[SavedRun]) {
        let mut inner = self.lock();
        for run in runs.iter().take(RUNS) {
            let view = Arc::new(RunView { server: run.server.clone(), ..RunView::of(&run.summary) });
            if let Some(entry) = inner.pairs.get_mut(&run.summary.run.pair) {
                entry.last_run.get_or_insert_with(|| Arc::clone(&view));
            }
            inner.runs.push_back(view);
        }
    }

    /// Switches to another plan. Pairs in both plans keep their data; removed ones are dropped once nothing
    /// in them is open.
    fn plan_changed(&self, plan: &Plan) {
        let mut inner = self.lock();
        for entry in inner.pairs.values_mut() {
            entry.planned = false;
        }
        for pair in &plan.pairs {
            let entry = inner.pairs.entry(pair.pair.clone()).or_insert_with(|| RecentPair::of(pair));
            entry.planned = true;
            entry.model = Arc::clone(&pair.target.model);
            entry.schedule = pair.profile.schedule.trigger.name();
            if pair.detection().is_none() {
                entry.regressions.clear();
                entry.baselines.clear();
            }
            if pair.profile.scenario.journeys {
                entry.journeys.get_or_insert_default();
            }
        }
        inner.pairs.retain(|_, entry| !entry.may_go());
    }

    /// The last requests, newest first, at most `limit`.
    pub fn requests(&self, limit: usize) -> Vec<Arc<RequestView>> {
        self.lock().latest.iter().take(limit).map(|it| Arc::clone(&it.view)).collect()
    }

    /// The last failures of all pairs, newest first, at most `limit`. They are kept per pair, so that neither
    /// successes nor the failures of a busy pair push them out. Cancelled requests are not included.
    pub fn failures(&self, limit: usize) -> Vec<Arc<RequestView>> {
        let inner = self.lock();
        let mut failures: Vec<_> =
            inner.pairs.values().flat_map(|entry| &entry.failures).map(|it| Arc::clone(&it.view)).collect();
        drop(inner);
        failures.sort_by_key(|view| std::cmp::Reverse(view.ended));
        failures.truncate(limit);
        failures
    }

    /// The remembered requests that a filter admits, newest first, at most `limit`: of the last ones and of the last
    /// failures of each pair.
    pub fn select(&self, filter: &RequestFilter, limit: usize) -> Vec<Arc<RequestView>> {
        let mut found = self.remembered();
        found.retain(|it| filter.admits(&it.view));
        found.sort_by_key(|it| (std::cmp::Reverse(it.view.ended), Arc::clone(&it.view.id)));
        found.dedup_by(|a, b| a.view.id == b.view.id);
        found.into_iter().take(limit).map(|it| Arc::clone(&it.view)).collect()
    }

    /// A request by its id, if it is remembered.
    pub fn request(&self, id: &str) -> Option<RequestDetail> {
        let all = self.remembered();
        let request = all.iter().find(|it| *it.view.id == *id)?;
        Some(request.detail(&all))
    }

    /// All remembered requests, the last ones first; a failure can be among them twice.
    fn remembered(&self) -> Vec<Arc<RememberedRequest>> {
        let inner = self.lock();
        inner.latest.iter().chain(inner.pairs.values().flat_map(|entry| &entry.failures)).cloned().collect()
    }

    /// The last runs that ended, newest first, at most `limit`.
    pub fn runs(&self, limit: usize) -> Vec<Arc<RunView>> {
        self.lock().runs.iter().take(limit).cloned().collect()
    }

    /// The last failures of a pair, newest first, at most `limit`.
    pub fn failures_of(&self, pair: &Pair, limit: usize) -> Vec<Arc<RequestView>> {
        let inner = self.lock();
        let failures = inner.pairs.get(pair).into_iter().flat_map(|entry| &entry.failures);
        failures.take(limit).map(|it| Arc::clone(&it.view)).collect()
    }

    /// The last runs of a pair that ended, newest first, at most `limit`.
    pub fn runs_of(&self, pair: &Pair, limit: usize) -> Vec<Arc<RunView>> {
        let inner = self.lock();
        let of_pair = |run: &&Arc<RunView>| run.profile == pair.profile && run.target == pair.target;
        inner.runs.iter().filter(of_pair).take(limit).cloned().collect()
    }

    /// The status of a pair; `None` if there is no such pair.
    pub fn status_of(&self, pair: &Pair) -> Option<PairStatus> {
        self.lock().pairs.get(pair).map(|entry| entry.status(pair))
    }

    /// The status of every pair, ordered by name.
    pub fn status(&self) -> Vec<PairStatus> {
        self.lock().pairs.iter().map(|(pair, entry)| entry.status(pair)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, RecentFacts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at(&self, pair: &Pair, take: impl FnOnce(&mut RecentPair)) {
        let mut inner = self.lock();
        let Some(entry) = inner.pairs.get_mut(pair) else { return };
        take(entry);
        if entry.may_go() {
            inner.pairs.remove(pair);
        }
    }

    fn offered(&self, place: &SeriesKey, warm_up: bool) {
        self.at(&place.pair, |entry| {
            entry.in_flight += 1;
            entry.offered += u64::from(!warm_up);
        });
    }

    /// A server's account comes after the end of its run.
    fn accounted(&self, accounted: &RunAccount) {
        let is_its = |view: &&mut Arc<RunView>| view.id == accounted.run.id;
        let mut inner = self.lock();
        let Some(view) = inner.runs.iter_mut().find(is_its) else { return };
        Arc::make_mut(view).server = Some(Arc::clone(&accounted.account));
        let view = Arc::clone(view);
        let entry = inner.pairs.get_mut(&accounted.run.pair);
        if let Some(last) = entry.and_then(|entry| entry.last_run.as_mut()).filter(is_its) {
            *last = view;
        }
    }

    fn ended(&self, request: &Request) {
        // Built before taking the lock.
        let remembered = Arc::new(RememberedRequest::of(request));
        let mut inner = self.lock();
        push(&mut inner.latest, LATEST, &remembered);
        let whole = (FAILURES_WHOLE / inner.pairs.len().max(1)).max(1);
        drop(inner);
        self.at(&request.place.pair, |entry| entry.ended(request.outcome, &remembered, whole));
    }
}

impl Sink for Recent {
    fn record(&self, fact: &Fact) {
        match fact {
            Fact::PlanChanged(plan) => self.plan_changed(plan),
            Fact::Offered { place, warm_up } => self.offered(place, *warm_up),
            Fact::Skipped { place, warm_up, reason } => self.at(&place.pair, |entry| {
                entry.in_flight = entry.in_flight.saturating_sub(1);
                if !warm_up {
                    *entry.skipped.entry(reason.label()).or_default() += 1;
                }
            }),
            Fact::Ended { request, .. } => self.ended(request),
            Fact::JourneyStarted { place, warm_up: _ } => self.at(&place.pair, |entry| {
                entry.journeys.get_or_insert_default().open += 1;
            }),
            Fact::JourneyEnded { journey, .. } => self.at(&journey.place.pair, |entry| {
                entry.journeys.get_or_insert_default().ended(journey);
            }),
            Fact::LoadActive { .. }
            | Fact::Compared { .. }
            | Fact::ComparisonChanged(_)
            | Fact::ReplicaOutlierChanged(_)
            | Fact::TargetStateChanged(_)
            | Fact::ModelObserved(_)
            | Fact::BackendRead { .. }
            | Fact::BackendHealth { .. } => {}
            Fact::BackendAccounted(accounted) => self.accounted(accounted),
            Fact::RunStarted { run, lag } => self.at(&run.pair, |entry| entry.run_started(run, *lag)),
            Fact::RunEnded { summary, .. } => {
                let view = Arc::new(RunView::of(summary));
                push(&mut self.lock().runs, RUNS, &view);
                self.at(&summary.run.pair, |entry| {
                    entry.active.retain(|active| active.id != summary.run.id);
                    entry.last_run = Some(view);
                });
            }
            Fact::RunSkipped { pair, reason, count } => self.at(pair, |entry| {
                *entry.skipped_runs.entry(reason.label()).or_default() += count;
            }),
            Fact::NextRun { pair, at } => self.at(pair, |entry| entry.next_run = *at),
            Fact::PairWatched(run) => self.at(&run.pair, |entry| {
                entry.regressions = RegressionView::of(run);
                entry.baselines = BaselineView::of(run);
            }),
        }
    }
}

#[cfg(test)]
mod tests;
