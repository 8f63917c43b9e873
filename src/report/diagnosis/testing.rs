//! Requests for tests of the rules: those of a healthy target, with seeded noise, and changes to them.

use super::Diagnosis;
use super::sample::{Arrival, RequestSample};
use super::window::{PairRequests, RequestCounts};
use crate::event::Outcome;
use crate::plan::{PairPlan, from_yaml};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand_distr::{Distribution as _, LogNormal};
use std::sync::Arc;

/// Makes requests of a profile.
pub(super) struct Requests {
    plan: Arc<PairPlan>,
    seed: u64,
}

impl Requests {
    /// The first pair of a config with a profile `p` that has these keys, and prompts unless it says something else.
    pub(super) fn new(profile: &str) -> Self {
        Self::of("p", &["t"], profile).remove(0)
    }

    /// A profile against several targets.
    pub(super) fn of(name: &str, targets: &[&str], profile: &str) -> Vec<Self> {
        let own = profile.contains("scenario:") || profile.contains("workload:");
        let workload = if own { "" } else { ", workload: { prompts: [x] }" };
        let list = targets.join(", ");
        let target = |name: &&str| {
            format!("  {name}: {{ api: openai-chat, base_url: 'http://127.0.0.1', model: m }}\n")
        };
        let text = format!(
            "targets:\n{}profiles:\n  {name}: {{ targets: [{list}], schedule: {{ manual: {{}} }}, {profile}{workload} }}\n",
            targets.iter().map(target).collect::<String>()
        );
        let plan = from_yaml(&text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        let of = |(seed, pair): (u64, &Arc<PairPlan>)| Self { plan: Arc::clone(pair), seed };
        (1..).zip(&plan.pairs).map(of).collect()
    }

    /// Others of the same kind.
    pub(super) fn seeded(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    pub(super) fn healthy(&self, n: u32) -> PairRequests {
        self.with(n, |_| {})
    }

    /// Healthy requests with a change to each, ten per second.
    pub(super) fn with(&self, n: u32, mut change: impl FnMut(&mut RequestSample)) -> PairRequests {
        let mut rng = StdRng::seed_from_u64(self.seed);
        let mut noise = || LogNormal::new(0.0, 0.1).unwrap().sample(&mut rng);
        let mut counts = RequestCounts::default();
        let samples = (0..n).map(|index| {
            let mut sample = healthy(f64::from(index) / 10.0, noise(), noise(), noise());
            change(&mut sample);
            counts.offered += 1;
            counts.ended[sample.outcome] += 1;
            if let Some(cost) = sample.cost {
                counts.priced = (counts.priced.0 + 1, counts.priced.1 + cost);
            }
            sample
        });
        let samples = samples.collect();
        PairRequests { plan: Arc::clone(&self.plan), samples, counts, account: None }
    }
}

/// First token after 200 ms, 64 tokens at 20 ms each.
fn healthy(at: f64, first: f64, pace: f64, length: f64) -> RequestSample {
    let (first, pace) = (0.2 * first, 0.02 * pace);
    let output = (64.0 * length).round();
    let decode = (output - 1.0) * pace;
    RequestSample {
        at,
        stage: 0,
        step: 0,
        offset: Some(at),
        outcome: Outcome::Ok,
        first_token: Some(first),
        duration: first + decode,
        decode: Some(decode),
        per_token: Some(pace),
        lag: 0.000_1,
        queued: 0.0,
        setup: None,
        input: Some(400.0),
        cached: Some(0.0),
        output: Some(output),
        reasoning: 0.0,
        asked: Some(128.0),
        cut: false,
        arrivals: Some(Arrival { events: output, reads: output, pause: Some(pace) }),
        cost: Some(0.001),
    }
}

/// The numbers of these names in the evidence.
pub(super) fn numbers<const N: usize>(found: &Diagnosis, names: [&str; N]) -> [f64; N] {
    names.map(|name| {
        let number = found.evidence.iter().find(|number| number.name == name);
        number.unwrap_or_else(|| panic!("no {name} in {found:?}")).value
    })
}
