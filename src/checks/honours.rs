//! Checks whether an answer shows the effect of the parameters of its request.

use super::Evidence;
use crate::event::{CountSource, FinishReason};
use crate::plan::HonouredParam;

/// Accepted number of output tokens without a log probability, because the tokens that end a turn may have none.
const MAX_UNLOGGED: u64 = 2;

/// Returns an error if the answer does not show the effect of a parameter.
pub(super) fn verdict(answer: &Evidence<'_>, param: HonouredParam) -> Result<(), String> {
    match param {
        HonouredParam::MaxTokens => max_tokens(answer),
        HonouredParam::Stop => stop(answer),
        HonouredParam::Logprobs => logprobs(answer),
        // Checking a seed requires two answers, which are compared elsewhere.
        HonouredParam::Seed => Err("there is only one answer".to_owned()),
    }
}

/// Checks that the answer does not exceed the limit. A shorter answer is accepted, because the model may have finished.
fn max_tokens(answer: &Evidence<'_>) -> Result<(), String> {
    let Some(asked) = answer.asked_output_tokens else { return Err("no limit was sent".to_owned()) };
    let was_cut = finish(answer) == Some(FinishReason::Length);
    let Some(count) = answer.tokens.output else {
        let unknown = || "it is not known how many output tokens there are".to_owned();
        return if was_cut { Ok(()) } else { Err(unknown()) };
    };
    if count.n > asked {
        return Err(format!("{} output tokens, and at most {asked} were asked for", count.n));
    }
    // Only the server's own count is exact enough to conclude that the limit was reached.
    if count.n == asked && count.source == CountSource::Usage && !was_cut {
        let said = finish_words(answer);
        return Err(format!("it has all of the {asked} output tokens that were asked for, and {said}"));
    }
    Ok(())
}

fn stop(answer: &Evidence<'_>) -> Result<(), String> {
    let sequences = &answer.stop.sequences;
    for sequence in sequences {
        let text = if answer.stop.kept {
            answer.text.strip_suffix(sequence.as_str()).unwrap_or(answer.text)
        } else {
            answer.text
        };
        if let Some(at) = text.find(sequence.as_str()) {
            let before = text.get(..at).map_or(0, |before| before.chars().count());
            return Err(format!("the text goes on to a stop sequence, after {before} characters"));
        }
    }
    match finish(answer) {
        Some(FinishReason::Stop) => Ok(()),
        _ => Err(format!("the text holds no stop sequence, but {}", finish_words(answer))),
    }
}

/// Checks the number of log probabilities. Reasoning tokens may or may not have them.
fn logprobs(answer: &Evidence<'_>) -> Result<(), String> {
    let came = answer.logprobs;
    if came == 0 {
        return Err("there are none".to_owned());
    }
    let reported = answer.tokens.output.filter(|count| count.source == CountSource::Usage);
    let Some(output) = reported.map(|count| count.n) else { return Ok(()) };
    // No API reliably returns log probabilities for the tokens of tool calls.
    if finish(answer) == Some(FinishReason::ToolCalls) {
        return Ok(());
    }
    let visible = output.saturating_sub(answer.tokens.reasoning.unwrap_or(0));
    if came + MAX_UNLOGGED < visible || came > output + MAX_UNLOGGED {
        return Err(format!("they came for {came} tokens, and the answer has {visible}"));
    }
    Ok(())
}

fn finish(answer: &Evidence<'_>) -> Option<FinishReason> {
    answer.finish_reason.map(FinishReason::of)
}

fn finish_words(answer: &Evidence<'_>) -> String {
    match finish(answer) {
        None => "there is no finish reason".to_owned(),
        Some(reason) => format!("the finish reason means `{}`", reason.label()),
    }
}
