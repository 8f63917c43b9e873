//! What is sent: the prompts of a profile against a target, and the checks on the answers. Pure: every choice
//! derives from the run's seed and the request's number, so that each target is asked the same.

use crate::exchange::{Ask, Message, Role};
use crate::plan::{Cache, PairPlan, PromptWork, Work};
use crate::seed;
use rand::Rng as _;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Which request of a run: what its draws depend on beside the run's seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// The stage, from 0; a stage that is played again counts on.
    pub stage: u32,
    /// The user of a closed-loop stage, from 0. What a user is asked does not depend on how fast others are
    /// answered.
    pub user: Option<u32>,
    /// The request of the stage, or of the user, from 0.
    pub n: u64,
}

/// What one pair sends.
#[derive(Debug)]
pub struct Workload {
    pair: Arc<PairPlan>,
    work: Arc<PromptWork>,
    params: Arc<Map<String, Value>>,
}

impl Workload {
    /// The workload of a pair. Parameters are merged key by key at the top level: the profile's replace the
    /// target's whole, so that what stands in one place is what goes out. `None` where the profile has a scenario.
    pub fn new(pair: Arc<PairPlan>) -> Option<Self> {
        let Work::Prompts(work) = &pair.profile.work else { return None };
        let work = Arc::clone(work);
        let mut params = pair.target.params.clone();
        params.extend(work.prompts.params.clone());
        Some(Self { pair, work, params: Arc::new(params) })
    }

    /// What a request asks. The prompt depends on the run's seed and the number alone; the nonce that busts
    /// caches depends on the target, too: two targets may lead to the same server.
    pub fn ask(&self, run_seed: u64, number: Number) -> Ask {
        let prompts = &self.work.prompts;
        let parts =
            [run_seed, number.stage.into(), number.user.map_or(0, |user| u64::from(user) + 1), number.n];
        let mut rng = seed::rng("prompt", &parts);
        let last = prompts.prompts.len().saturating_sub(1);
        let text = prompts.prompts.get(rng.random_range(0..=last)).cloned().unwrap_or_default();
        let mut messages = Vec::with_capacity(2);
        messages.extend(prompts.system.clone().map(|text| Message { role: Role::System, text }));
        messages.push(Message { role: Role::User, text });
        let mut ask = Ask {
            messages,
            stream: prompts.stream,
            output_tokens: prompts.output_tokens,
            params: Arc::clone(&self.params),
        };
        if prompts.cache == Cache::Bust {
            ask.bust(seed::hash("nonce", &[&self.pair.pair.target], &parts));
        }
        ask
    }
}

#[cfg(test)]
mod tests;
