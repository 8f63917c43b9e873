//! Names the patterns that the requests of a run, or of the last hours, show, with the numbers that show them. A rule asks
//! for a minimum of requests, a size of the effect and a statistical test, and is silent rather than guess. It must not
//! know where the facts come from, and changes nothing about them.

#![cfg_attr(test, allow(clippy::float_cmp, reason = "the tests compare numbers that are exact"))]

mod account;
mod across;
mod evidence;
mod generation;
mod load;
mod network;
mod sample;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tokens;
mod window;

pub use evidence::{EvidenceNumber, EvidenceUnit};

use crate::event::Pair;
use crate::fact::{Fact, Sink};
use crate::plan::{PairPlan, Plan};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use strum::{IntoStaticStr, VariantArray};
use tokio::time::Instant;
use window::{PairRequests, RequestWindow, Retention};

use super::lock;

/// What the daemon keeps: at most 1,152 requests of a pair, about 0.4 MB.
const DAEMON: Retention = Retention { slot: Duration::from_mins(30), slots: 6, requests: 192 };

/// What a run keeps: it is looked at as a whole.
const RUN: Retention = Retention { slot: Duration::MAX, slots: 1, requests: 4096 };

/// How long a diagnosis is shown at least before the requests are looked at again, and how many times as long as it took:
/// with very many pairs it takes a while, and the traffic comes first.
const FRESH: (Duration, u32) = (Duration::from_secs(10), 20);

/// A pattern.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum DiagnosisPattern {
    /// The prober itself was late or at a limit: its numbers say less about the target.
    ProberLimited,
    /// At a constant rate, requests wait longer and longer.
    Queueing,
    /// Requests fail while the answered ones are as fast as ever: a pool, a limit or a timeout on the way.
    ErrorsBeforeSaturation,
    /// The target refuses requests with status 429.
    RateLimited,
    /// Answers begin soon and go on slowly.
    DecodeBound,
    /// Long prompts wait much longer for their first token.
    PrefillBound,
    /// Questions about documents wait much longer than others.
    Retrieval,
    /// One profile costs out of proportion.
    Cost,
    /// Setting up connections takes a large part of the wait.
    ColdConnections,
    /// The prefix cache decides how long the first token takes.
    PrefixCache,
    /// Something on the way collects tokens and passes them on in batches.
    ProxyBuffering,
    /// Answers have become longer or shorter.
    OutputLengthDrift,
    /// One target is worse than its siblings.
    BadTarget,
    /// Reasoning used up the limit on the output.
    ReasoningAteLimit,
    /// By the server's own account, the time to first token is lost on the way to it.
    SlowWay,
    /// By the server's own account, requests wait in its queue.
    ServerQueue,
}

impl DiagnosisPattern {
    /// All patterns.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Its name in the API.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// A pattern that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The pattern.
    pub pattern: DiagnosisPattern,
    /// The profile whose requests show it.
    pub profile: Arc<str>,
    /// The target that they were sent to.
    pub target: Arc<str>,
    /// The step of a scenario that shows it; empty for a workload, and if it is not that of a single step.
    pub step: Arc<str>,
    /// What was seen, in a sentence.
    pub summary: String,
    /// The numbers that show it; never empty.
    pub evidence: Vec<EvidenceNumber>,
}

impl Diagnosis {
    /// The evidence, in words.
    pub fn numbers(&self) -> String {
        self.evidence.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// Keeps what the rules look at, bounded, and applies them.
pub struct DiagnosisRecorder {
    began: Instant,
    retention: Retention,
    pairs: Mutex<BTreeMap<Pair, RequestWindow>>,
    /// The last diagnosis, and until when it is shown.
    last: Mutex<Option<(Instant, Arc<[Diagnosis]>)>>,
}

impl DiagnosisRecorder {
    /// Looks at everything from now on as one run.
    pub fn of_run(plan: &Plan) -> Self {
        Self::new(plan, RUN)
    }

    /// Looks at the last three hours.
    pub fn of_daemon(plan: &Plan) -> Arc<Self> {
        Arc::new(Self::new(plan, DAEMON))
    }

    fn new(plan: &Plan, retention: Retention) -> Self {
        let (pairs, last) = (Mutex::default(), Mutex::default());
        let recorder = Self { began: Instant::now(), retention, pairs, last };
        recorder.plan_changed(plan);
        recorder
    }

    /// The patterns that are seen now, by pair.
    pub fn diagnose(&self) -> Vec<Diagnosis> {
        let names: Vec<Pair> = lock(&self.pairs).keys().cloned().collect();
        // One at a time, so that the traffic never waits for long.
        let requests = |pair: &Pair| Some(lock(&self.pairs).get_mut(pair)?.requests(self.began));
        let all: Vec<PairRequests> = names.iter().filter_map(requests).collect();
        diagnose(&all)
    }

    /// The patterns of a moment ago: [`DiagnosisRecorder::diagnose`], at most every ten seconds.
    pub fn recent(&self) -> Arc<[Diagnosis]> {
        let mut last = lock(&self.last);
        let now = Instant::now();
        if let Some((until, found)) = &*last
            && now < *until
        {
            return Arc::clone(found);
        }
        let found: Arc<[Diagnosis]> = self.diagnose().into();
        let (shortest, times) = FRESH;
        *last = Some((Instant::now() + shortest.max(now.elapsed() * times), Arc::clone(&found)));
        found
    }

    /// Switches to another plan. The requests of a pair are kept if its revision stays the same.
    fn plan_changed(&self, plan: &Plan) {
        let mut pairs = lock(&self.pairs);
        let mut before = std::mem::take(&mut *pairs);
        for plan in &plan.pairs {
            let known = before.remove(&plan.pair).filter(|known| known.continues(plan));
            let mut window = known.unwrap_or_else(|| RequestWindow::new(plan, self.retention));
            window.set_plan(plan);
            pairs.insert(plan.pair.clone(), window);
        }
    }

    fn take(&self, pair: &Pair, fact: &Fact) {
        if let Some(window) = lock(&self.pairs).get_mut(pair) {
            window.take(fact, self.began);
        }
    }
}

impl Sink for DiagnosisRecorder {
    fn record(&self, fact: &Fact) {
        match fact {
            Fact::PlanChanged(plan) => self.plan_changed(plan),
            Fact::RunStarted { run, .. } => self.take(&run.pair, fact),
            Fact::BackendAccounted(accounted) => self.take(&accounted.run.pair, fact),
            Fact::Offered { place, .. } | Fact::Skipped { place, .. } | Fact::Ended { place, .. } => {
                self.take(&place.pair, fact);
            }
            _ => {}
        }
    }
}

/// Looks at one pair.
type PairRule = fn(&PairRequests) -> Option<Diagnosis>;

const OF_A_PAIR: [PairRule; 13] = [
    load::prober_limited,
    load::queueing,
    load::errors_before_saturation,
    load::rate_limited,
    generation::decode_bound,
    generation::prefill_bound,
    network::cold_connections,
    tokens::prefix_cache,
    network::proxy_buffering,
    tokens::output_length_drift,
    tokens::reasoning_ate_limit,
    account::slow_way,
    account::server_queue,
];

/// Applies all rules. A search overloads its target on purpose, so its requests show nothing.
fn diagnose(all: &[PairRequests]) -> Vec<Diagnosis> {
    let pairs: Vec<&PairRequests> = all.iter().filter(|pair| pair.plan.profile.search.is_none()).collect();
    let mut found: Vec<Diagnosis> =
        pairs.iter().flat_map(|pair| OF_A_PAIR.iter().filter_map(|rule| rule(pair))).collect();
    found.extend(across::retrieval(&pairs));
    found.extend(across::cost(&pairs));
    found.extend(across::bad_target(&pairs));
    let order = |it: &Diagnosis| (Arc::clone(&it.profile), Arc::clone(&it.target), it.pattern);
    found.sort_by_key(order);
    found
}

/// A pattern of a pair.
fn found(
    plan: &PairPlan,
    step: &Arc<str>,
    pattern: DiagnosisPattern,
    summary: String,
    evidence: Vec<EvidenceNumber>,
) -> Diagnosis {
    let (profile, target) = (Arc::clone(&plan.pair.profile), Arc::clone(&plan.pair.target));
    Diagnosis { pattern, profile, target, step: Arc::clone(step), summary, evidence }
}

/// The candidate that is farthest beyond chance.
fn strongest(candidates: impl Iterator<Item = (f64, Diagnosis)>) -> Option<Diagnosis> {
    candidates.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, found)| found)
}
