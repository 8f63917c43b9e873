//! Passes facts on to the other sinks, and tells them what runs show. Runs are compared by a task of its own and not by
//! those that play them.

use super::pairs::{WatchedPairs, is_comparable};
use crate::detect::{ChangeKind, DetectedChange};
use crate::event::RunSummary;
use crate::fact::{Fact, Sink, WatchedRun};
use crate::plan::Plan;
use crate::state::SavedWatch;
use crate::tally::RunTally;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Runs that wait to be compared; beyond that, the oldest are left out.
const MAX_WAITING: usize = 1000;

/// Watches the runs of all pairs.
pub struct RegressionWatch {
    next: Arc<dyn Sink>,
    pairs: Mutex<WatchedPairs>,
    waiting: Mutex<VecDeque<WaitingFact>>,
    came: Notify,
    /// Whether what is known is written to a state file.
    saves: bool,
}

enum WaitingFact {
    Plan(Arc<Plan>),
    Run(Arc<RunSummary>, Arc<RunTally>),
}

impl RegressionWatch {
    /// Creates it for the pairs of a plan, with what earlier processes knew; without a state file that is `None`. What is
    /// recorded here goes to `next`, and so does what the runs show.
    pub fn new(plan: &Arc<Plan>, saved: Option<Vec<SavedWatch>>, next: Arc<dyn Sink>) -> Arc<Self> {
        let mut pairs = WatchedPairs::default();
        pairs.plan_is(plan, SystemTime::now());
        let has_file = saved.is_some();
        pairs.restore(saved.unwrap_or_default());
        let pairs = Mutex::new(pairs);
        let watch = Self { next, pairs, waiting: Mutex::default(), came: Notify::new(), saves: has_file };
        // It is told as soon as it is asked to run.
        watch.push(WaitingFact::Plan(Arc::clone(plan)));
        Arc::new(watch)
    }

    /// Compares runs until `stop`, and then those that still wait.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        while stop.run_until_cancelled(self.came.notified()).await.is_some() {
            self.work();
        }
        self.work();
    }

    fn work(&self) {
        loop {
            let next = self.waiting().pop_front();
            match next {
                Some(WaitingFact::Plan(plan)) => self.adopt(&plan),
                Some(WaitingFact::Run(summary, tally)) => {
                    let report = self.pairs().take(&summary, &tally, self.saves);
                    if let Some(report) = report {
                        self.tell(report);
                    }
                }
                None => return,
            }
        }
    }

    fn adopt(&self, plan: &Plan) {
        let reports = self.pairs().plan_is(plan, SystemTime::now());
        for report in reports {
            self.tell(report);
        }
    }

    fn tell(&self, report: WatchedRun) {
        for series in &report.series {
            if let Some(change) = series.change {
                log(&report, series.quantity.name(), change);
            }
        }
        self.next.record(&Fact::PairWatched(Arc::new(report)));
    }

    fn push(&self, fact: WaitingFact) {
        let mut waiting = self.waiting();
        if waiting.len() >= MAX_WAITING
            && let Some(oldest) = waiting.iter().position(|fact| matches!(fact, WaitingFact::Run(..)))
        {
            waiting.remove(oldest);
            tracing::warn!("a run was not compared with those before it: too many waited");
        }
        waiting.push_back(fact);
        drop(waiting);
        self.came.notify_one();
    }

    fn pairs(&self) -> MutexGuard<'_, WatchedPairs> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<WaitingFact>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log(report: &WatchedRun, quantity: &str, change: DetectedChange) {
    let (profile, target, kind) = (&report.pair.profile, &report.pair.target, change.kind.name());
    let ratio = format!("{:.3} ({:.3} to {:.3})", change.ratio.mid, change.ratio.low, change.ratio.high);
    let since = jiff::Timestamp::from_millisecond(change.time.at).unwrap_or_default();
    let said = match change.kind {
        ChangeKind::Regressed => "a regression began",
        ChangeKind::Returned => "a regression is back",
        ChangeKind::Worsened => "a regression became worse",
        ChangeKind::Eased => "a regression became smaller",
        ChangeKind::Recovered => "a regression ended",
        ChangeKind::Accepted => "a regression has stood for a week and is the baseline from now on",
        ChangeKind::Improved => "runs became better, which is the baseline from now on",
    };
    if change.kind.is_bad() {
        tracing::warn!(%profile, %target, quantity, kind, ratio, %since, "{said}");
    } else {
        tracing::info!(%profile, %target, quantity, kind, ratio, %since, "{said}");
    }
}

impl Sink for RegressionWatch {
    fn record(&self, fact: &Fact) {
        self.next.record(fact);
        match fact {
            Fact::PlanChanged(plan) => self.push(WaitingFact::Plan(Arc::clone(plan))),
            Fact::RunEnded { summary, tally } if is_comparable(summary) => {
                self.push(WaitingFact::Run(Arc::clone(summary), Arc::clone(tally)));
            }
            _ => {}
        }
    }
}
