//! Picks or generates the prompts of a workload. Pure: every choice is derived from the run's seed and the request's
//! number, so that all targets get the same prompts.

mod conversation;
mod order;
mod synthetic;
mod trace;

pub use conversation::{DrawnConversation, DrawnTurn, MessageText, conversation, summary_text};

use crate::exchange::{Ask, Message, Role};
use crate::plan::{AskStep, AskText, Cache, PairPlan, PromptLengths, Step, StepAction};
use crate::seed::{self, RunSeeds};
use crate::words::WordList;
use rand::Rng as _;
use serde_json::Value;
use std::sync::Arc;

/// Identifies a request within a run; its random draws depend on this and on the run's seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestNumber {
    /// The stage, from 0. If stages are played again, the number continues.
    pub stage: u32,
    /// The user of a closed-loop stage, from 0. A user's prompts do not depend on how fast other users are answered;
    /// `None` where the requests are numbered across users, because these take the rows of a dataset, or the requests
    /// of a stage with a number of them, in turn.
    pub user: Option<u32>,
    /// The number of the request within the stage, or of the user's requests, from 0.
    pub n: u64,
}

/// The random draws of one request.
#[derive(Clone, Copy)]
struct RequestDraws<'a> {
    pair: &'a PairPlan,
    seeds: RunSeeds,
    number: RequestNumber,
}

impl RequestDraws<'_> {
    /// The values that a draw depends on: the seed and the number of the request.
    fn parts(&self, seed: u64) -> [u64; 4] {
        let RequestNumber { stage, user, n } = self.number;
        [seed, stage.into(), user.map_or(0, |user| u64::from(user) + 1), n]
    }

    /// The random number generator for one purpose. It is the same for every target.
    fn rng(&self, purpose: &str) -> rand_chacha::ChaCha8Rng {
        seed::rng(purpose, &self.parts(self.seeds.draws))
    }

    /// The nonce that busts caches. It also depends on the target and on when the run is due, because two targets may
    /// use the same server, as do a run and its replay.
    fn nonce(&self) -> u64 {
        seed::hash("nonce", &[&self.pair.pair.target], &self.parts(self.seeds.nonces))
    }
}

/// Why a request cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum NoAsk {
    /// The request has to be rendered, or depends on what its user was answered before.
    #[error("the request has to be rendered")]
    Rendered,
    /// The row of a dataset, or the line of a trace, cannot be read.
    #[error("{0}")]
    Row(String),
}

/// Creates a request. `words` returns the words that synthetic prompts for the target consist of. The prompt depends
/// only on the run's seed and the number. Blocks if a row of a dataset or a line of a trace has to be read.
pub fn ask(
    pair: &PairPlan,
    step: &Step,
    seeds: RunSeeds,
    number: RequestNumber,
    words: impl FnOnce() -> Arc<WordList>,
) -> Result<Ask, NoAsk> {
    let StepAction::Ask(ask) = &step.action else { return Err(NoAsk::Rendered) };
    let draws = RequestDraws { pair, seeds, number };
    let mut output_tokens = match &ask.output.lengths {
        Some(lengths) => Some(lengths.draw(&mut draws.rng("output length"))),
        // For a dataset, `output_tokens` is the maximum over all rows.
        None if matches!(ask.text, AskText::Dataset { .. }) => None,
        None => ask.output_tokens,
    };
    let by_system = |system: &Option<Arc<str>>| {
        system.clone().map(|text| Message { role: Role::System, text }).into_iter().collect::<Vec<_>>()
    };
    let mut cache_system = false;
    let with_system = |system: &Option<Arc<str>>, rest: Vec<Message>| {
        let has_system = rest.iter().any(|message| message.role == Role::System);
        let mut messages = if has_system { Vec::new() } else { by_system(system) };
        messages.extend(rest);
        messages
    };
    // A generated prompt already contains its nonce.
    let mut has_nonce = matches!(ask.text, AskText::Synthetic(_));
    let messages = match &ask.text {
        AskText::Fixed { system, prompts } => {
            let last = prompts.len().saturating_sub(1);
            let index = ask
                .fingerprint_prompt(number.n)
                .unwrap_or_else(|| draws.rng("prompt").random_range(0..=last));
            let text = prompts.get(index).cloned().unwrap_or_default();
            let mut messages = by_system(system);
            messages.push(Message { role: Role::User, text });
            messages
        }
        AskText::Synthetic(prompts) => {
            let mut rng = draws.rng("input length");
            let tokens = match &prompts.lengths {
                PromptLengths::Input(lengths) => lengths.draw(&mut rng),
                PromptLengths::Joint(joint) => {
                    let (input, output) = joint.draw(&mut rng);
                    output_tokens = Some(output);
                    input
                }
            };
            let tokens = prompts.text_tokens(tokens, pair.target.chat_template);
            let text = synthetic::text(prompts.prefix, tokens, ask.cache, draws, &words()).into();
            match prompts.question.clone() {
                None => vec![Message { role: Role::User, text }],
                Some(question) => {
                    cache_system = true;
                    vec![Message { role: Role::System, text }, Message { role: Role::User, text: question }]
                }
            }
        }
        AskText::Dataset { dataset, order, system } => {
            let row = dataset.row(order::row(dataset, *order, draws)).map_err(NoAsk::Row)?;
            output_tokens = row.output_tokens.or(output_tokens);
            with_system(system, row.messages)
        }
        AskText::Trace { replay, system } => {
            let prompt = trace::prompt(replay, ask.cache, draws, words).map_err(NoAsk::Row)?;
            has_nonce |= !prompt.is_recorded;
            output_tokens = Some(prompt.output_tokens);
            with_system(system, prompt.messages)
        }
        AskText::Template { .. } | AskText::Conversation(_) | AskText::Summary(_) => {
            return Err(NoAsk::Rendered);
        }
    };
    let params = params(pair, step, ask, output_tokens);
    let mut made =
        Ask { messages, stream: ask.stream, output_tokens, params, conversation: None, cache_system };
    if ask.cache == Cache::Bust && !has_nonce {
        made.bust(draws.nonce());
    }
    Ok(made)
}

/// The parameters of a request. If the workload asks for `ignore_eos` or `min_tokens`, they are added unless the
/// parameters already contain them.
fn params(
    pair: &PairPlan,
    step: &Step,
    ask: &AskStep,
    output_tokens: Option<u64>,
) -> Arc<serde_json::Map<String, Value>> {
    let mut params = pair.params(step);
    let least = ask.output.min_tokens.map(|least| output_tokens.map_or(least, |most| most.min(least)));
    let own = [
        ("ignore_eos", ask.output.ignore_eos.then_some(Value::Bool(true))),
        ("min_tokens", least.map(Value::from)),
    ];
    for (key, value) in own {
        if let Some(value) = value {
            Arc::make_mut(&mut params).entry(key).or_insert(value);
        }
    }
    params
}

#[cfg(test)]
mod tests;
