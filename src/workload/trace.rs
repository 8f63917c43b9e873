//! Generates the prompt of a recorded request. Blocks with the same hash have the same text, so that requests share the
//! prefixes that they shared when they were recorded.

use super::{RequestDraws, synthetic};
use crate::exchange::{Message, Role};
use crate::plan::{Cache, Shape, TracePlace, TraceReplay};
use crate::seed;
use crate::words::WordList;
use std::sync::Arc;

/// A prompt, and the number of output tokens of its answer.
pub(super) struct TracePrompt {
    pub(super) messages: Vec<Message>,
    pub(super) output_tokens: u64,
    /// Whether the text is recorded, and not generated.
    pub(super) is_recorded: bool,
}

/// The prompt of a request of a replay. `words` are those that texts for the target consist of. Blocks while the line of
/// the request is read.
pub(super) fn prompt(
    replay: &TraceReplay,
    cache: Cache,
    draws: RequestDraws<'_>,
    words: impl FnOnce() -> Arc<WordList>,
) -> Result<TracePrompt, String> {
    let place = replay.place(draws.number.n);
    let request = replay.trace.request(place.index)?;
    let output_tokens = request.output_tokens;
    if !request.messages.is_empty() {
        return Ok(TracePrompt { messages: request.messages, output_tokens, is_recorded: true });
    }
    let template = draws.pair.target.chat_template.unwrap_or_default();
    let tokens = request.input_tokens.saturating_sub(template.added(1)).max(1);
    let words = words();
    let text = if request.blocks.is_empty() {
        synthetic::text(None, tokens, cache, draws, &words)
    } else {
        let mut text = String::new();
        let (mut rest, seed) = (tokens, block_seed(place, cache, draws));
        for block in &request.blocks {
            let count = rest.min(request.block_tokens);
            words.write(&mut text, count, &mut seed::rng("block", &[seed, *block]));
            rest -= count;
            if rest == 0 {
                break;
            }
        }
        words.write(&mut text, rest, &mut draws.rng("words"));
        text
    };
    let messages = vec![Message { role: Role::User, text: text.into() }];
    Ok(TracePrompt { messages, output_tokens, is_recorded: false })
}

/// The seed of the texts of blocks. Copies share blocks only with copies of the same number, so that a trace that is
/// multiplied does not share more than before. With [`Cache::Bust`], blocks are new in each run and whenever the trace
/// starts again, by itself or in another stage, as they were when it was recorded.
fn block_seed(place: TracePlace, cache: Cache, draws: RequestDraws<'_>) -> u64 {
    match cache {
        Cache::Bust => {
            let (target, profile) = (&draws.pair.pair.target, &draws.pair.profile);
            let (pass, index) = profile.pass_of(draws.number.stage);
            // Stages that follow the trace divide it; each other stage begins with its first request again.
            let follows =
                profile.stages.get(index).is_some_and(|stage| matches!(stage.shape, Shape::Trace { .. }));
            let own = if follows { 0 } else { 1 + index as u64 };
            let nonces = [draws.seeds.nonces, pass, own, place.pass, place.copy];
            seed::hash("trace nonce", &[target], &nonces)
        }
        Cache::Reuse => seed::hash("trace blocks", &[], &[draws.pair.profile.seed, place.copy]),
    }
}
