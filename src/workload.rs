//! Picks the fixed prompts of a workload. Pure: every choice is derived from the run's seed and the request's number,
//! so that all targets get the same prompts.

use crate::exchange::{Ask, Message, Role};
use crate::plan::{AskText, Cache, PairPlan, Step, StepAction};
use crate::seed::{self, RunSeeds};
use rand::Rng as _;

/// Identifies a request within a run; its random draws depend on this and on the run's seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestNumber {
    /// The stage, from 0. If stages are played again, the number continues.
    pub stage: u32,
    /// The user of a closed-loop stage, from 0. A user's prompts do not depend on how fast others are answered.
    pub user: Option<u32>,
    /// The number of the request within the stage, or of the user's requests, from 0.
    pub n: u64,
}

/// Builds a model call; `None` if something has to be rendered for it. The prompt depends only on the run's seed and
/// the number. The nonce that busts caches also depends on the target and on when the run is due, because two targets
/// may use the same server, and so may a run and its replay.
pub fn ask(pair: &PairPlan, step: &Step, seeds: RunSeeds, number: RequestNumber) -> Option<Ask> {
    let StepAction::Ask(ask) = &step.action else { return None };
    let AskText::Fixed { system, prompts } = &ask.text else { return None };
    let user = number.user.map_or(0, |user| u64::from(user) + 1);
    let parts = |seed: u64| [seed, number.stage.into(), user, number.n];
    let mut rng = seed::rng("prompt", &parts(seeds.draws));
    let last = prompts.len().saturating_sub(1);
    let text = prompts.get(rng.random_range(0..=last)).cloned().unwrap_or_default();
    let mut messages = Vec::with_capacity(2);
    messages.extend(system.clone().map(|text| Message { role: Role::System, text }));
    messages.push(Message { role: Role::User, text });
    let (stream, output_tokens) = (ask.stream, ask.output_tokens);
    let params = pair.params(step);
    let mut made = Ask { messages, stream, output_tokens, params, conversation: None };
    if ask.cache == Cache::Bust {
        made.bust(seed::hash("nonce", &[&pair.pair.target], &parts(seeds.nonces)));
    }
    Some(made)
}

#[cfg(test)]
mod tests;
