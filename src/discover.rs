//! Finds the replicas of targets, again and again, and knows the last answer of each source. It does not know what a
//! replica is used for: whoever owns it makes a plan of what was found.
//!
//! A source that fails changes nothing: the replicas that are known stay. A source that answers with nothing is believed.

mod address;
mod choice;
mod dns;
mod file_sd;
mod http;
mod kubernetes;
mod source;

pub use source::LookError;

use crate::event::DiscoveryLook;
use crate::log_throttle::LogThrottle;
use crate::plan::{Discovery, FoundReplicas, Plan, Replica, Target};
use choice::choose;
use futures_util::future::join_all;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

/// Maximum number of answers that wait to be taken. A source whose answer waits is not asked again.
const WAITING: usize = 16;

/// One line per target in this time about a source that fails.
const QUIET: Duration = Duration::from_mins(5);

/// Longest time until a source that failed is asked again, however rarely it is asked otherwise: what is known grows old
/// meanwhile, and an alert that waits for failures would come and go with them. Less than the five minutes for which that
/// alert must hold, so that one failure does not raise it.
const RETRY: Duration = Duration::from_mins(2);

/// The answer of a source.
type LookAnswer = Result<Vec<Replica>, LookError>;

/// An answer that came in.
#[derive(Debug)]
pub struct FreshAnswer {
    target: Arc<str>,
    discovery: Arc<Discovery>,
    answer: LookAnswer,
}

/// What an answer changed.
#[derive(Debug)]
pub struct AnswerTaken {
    /// What it says, for the metrics.
    pub look: DiscoveryLook,
    /// Whether the replicas are others than before.
    pub changed: bool,
}

/// Watches the sources of a plan.
pub struct Discoverer {
    sender: mpsc::Sender<FreshAnswer>,
    fresh: mpsc::Receiver<FreshAnswer>,
    watched: BTreeMap<Arc<str>, FollowedSource>,
}

/// A source that is watched, and what it said last.
struct FollowedSource {
    discovery: Arc<Discovery>,
    known: Vec<Replica>,
    throttle: LogThrottle,
    failing: bool,
    /// Absent until sources are followed.
    task: Option<AbortOnDropHandle<()>>,
}

impl FollowedSource {
    fn new(discovery: &Arc<Discovery>) -> Self {
        let throttle = LogThrottle::new(1, QUIET);
        Self { discovery: Arc::clone(discovery), known: Vec::new(), throttle, failing: false, task: None }
    }

    /// Adopts an answer.
    fn take(&mut self, target: &Arc<str>, answer: LookAnswer) -> AnswerTaken {
        let found = match answer {
            Ok(found) => found,
            Err(error) => return self.failed(target, &error),
        };
        if std::mem::take(&mut self.failing) {
            tracing::info!(target_name = &**target, "the source of the target's replicas answers again");
        }
        let chosen = choose(&self.known, found, self.discovery.max);
        let changed = chosen.replicas != self.known;
        if changed {
            tell(target, &self.known, &chosen.replicas, chosen.left_out);
        }
        self.known = chosen.replicas;
        let (target, replicas) = (Arc::clone(target), self.known.len());
        let look = DiscoveryLook { target, replicas, left_out: chosen.left_out, failure: None };
        AnswerTaken { look, changed }
    }

    fn failed(&mut self, target: &Arc<str>, error: &LookError) -> AnswerTaken {
        self.failing = true;
        // It is asked again at once, and what it says then is to be seen.
        let is_only_late = matches!(error, LookError::TimedOut(_));
        if let Some(suppressed) = if is_only_late { Some(0) } else { self.throttle.line() } {
            tracing::warn!(
                target_name = &**target,
                %error,
                suppressed,
                known = self.known.len(),
                "the target's replicas cannot be found out; those that are known stay"
            );
        }
        let (target, replicas) = (Arc::clone(target), self.known.len());
        let look = DiscoveryLook { target, replicas, left_out: 0, failure: Some(error.failure()) };
        AnswerTaken { look, changed: false }
    }
}

/// Programs in Go write a list or a map that they never made as `null`.
fn or_none<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Logs which replicas came and went.
fn tell(target: &str, before: &[Replica], now: &[Replica], left_out: usize) {
    let beyond = |some: &[Replica], other: &[Replica]| {
        let names = some.iter().filter(|it| !other.contains(it)).map(|it| &*it.name);
        names.collect::<Vec<_>>().join(", ")
    };
    let (came, went) = (beyond(now, before), beyond(before, now));
    tracing::info!(
        target_name = target,
        replicas = now.len(),
        came,
        went,
        left_out,
        "the target's replicas changed"
    );
}

impl Default for Discoverer {
    fn default() -> Self {
        let (sender, fresh) = mpsc::channel(WAITING);
        Self { sender, fresh, watched: BTreeMap::new() }
    }
}

/// The targets of a plan that discover replicas. It must be a plan as compiled, not one with replicas.
fn discovering(plan: &Plan) -> impl Iterator<Item = (&Arc<Target>, &Arc<Discovery>)> {
    plan.targets.iter().filter_map(|target| Some((target, target.discovery.as_ref()?)))
}

impl Discoverer {
    /// Asks all sources of a plan once, at the same time, before they are followed; one that gives no answer within
    /// `patience` has failed. Returns what each said; the error of one that failed is in the second part.
    pub async fn first(
        &mut self,
        plan: &Plan,
        patience: Option<Duration>,
    ) -> Vec<(DiscoveryLook, Option<String>)> {
        let asked = discovering(plan).map(async |(target, discovery)| {
            (Arc::clone(&target.name), discovery, source::look_within(patience, discovery).await)
        });
        let mut looks = Vec::new();
        for (target, discovery, answer) in join_all(asked).await {
            let error = answer.as_ref().err().map(ToString::to_string);
            let mut watched = FollowedSource::new(discovery);
            looks.push((watched.take(&target, answer).look, error));
            self.watched.insert(target, watched);
        }
        looks
    }

    /// Follows the sources of this plan from now on, and no others. A source that is followed already keeps what is known.
    pub fn follow(&mut self, plan: &Plan) {
        let mut before = std::mem::take(&mut self.watched);
        for (target, discovery) in discovering(plan) {
            let mut watched = match before.remove(&target.name) {
                Some(watched) if watched.discovery.source == discovery.source => watched,
                _ => FollowedSource::new(discovery),
            };
            if watched.discovery != *discovery {
                watched.task = None;
            }
            watched.discovery = Arc::clone(discovery);
            watched.known.truncate(discovery.max);
            if watched.task.is_none() {
                let task = follow(Arc::clone(&target.name), Arc::clone(discovery), self.sender.clone());
                watched.task = Some(AbortOnDropHandle::new(tokio::spawn(task)));
            }
            self.watched.insert(Arc::clone(&target.name), watched);
        }
    }

    /// The next answer of a source. Cancel-safe.
    pub async fn next(&mut self) -> FreshAnswer {
        match self.fresh.recv().await {
            Some(answer) => answer,
            // This holds a sender, so it does not happen.
            None => std::future::pending().await,
        }
    }

    /// An answer that is there already.
    pub fn next_now(&mut self) -> Option<FreshAnswer> {
        self.fresh.try_recv().ok()
    }

    /// Adopts an answer; `None` if it is of a source that is no longer followed.
    pub fn take(&mut self, fresh: FreshAnswer) -> Option<AnswerTaken> {
        let FreshAnswer { target, discovery, answer } = fresh;
        let watched = self.watched.get_mut(&target)?;
        (watched.discovery == discovery).then(|| watched.take(&target, answer))
    }

    /// The replicas that are known, as far as they are from the sources of this plan.
    pub fn known(&self, plan: &Plan) -> FoundReplicas {
        let known = discovering(plan).filter_map(|(target, discovery)| {
            let watched = self.watched.get(&target.name)?;
            let is_same = watched.discovery.source == discovery.source;
            let known = watched.known.iter().take(discovery.max).cloned().collect();
            is_same.then(|| (Arc::clone(&target.name), known))
        });
        known.collect()
    }
}

/// Asks a source again and again, at once and then every `refresh`; sooner after a failure, if that is long.
async fn follow(target: Arc<str>, discovery: Arc<Discovery>, sender: mpsc::Sender<FreshAnswer>) {
    loop {
        let began = Instant::now();
        let answer = source::look(&discovery).await;
        let pause = if answer.is_ok() { discovery.refresh } else { discovery.refresh.min(RETRY) };
        let fresh = FreshAnswer { target: Arc::clone(&target), discovery: Arc::clone(&discovery), answer };
        if sender.send(fresh).await.is_err() {
            return;
        }
        sleep_until(began + pause).await;
    }
}

#[cfg(test)]
mod tests;
