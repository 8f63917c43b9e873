//! Compiles cache pairs.

use super::Findings;
use crate::config::{self, KeyPath, Length, Workload, show_duration};
use crate::plan::{AskText, LengthDistribution, PromptLengths, Stage, SyntheticPrompts};
use std::time::Duration;

/// The default of `gap`.
const GAP: Duration = Duration::from_secs(5);
/// The default of `question`: its answer is short, and none of the prefix's words decide its length.
const QUESTION: &str = "What are the first three words of the text above?";
/// Most providers cache no shorter prefixes (OpenAI's and Anthropic's documentation of prompt caching).
const SHORTEST: u64 = 1024;
/// How long providers keep a prefix at least that is not used (OpenAI's and Anthropic's documentation of prompt caching).
const KEPT: Duration = Duration::from_mins(5);

/// The time between the two requests of a pair.
pub(super) fn gap(written: &config::CachePair) -> Duration {
    written.gap.map_or(GAP, |Length(gap)| gap)
}

/// The prompts of a cache pair.
pub(super) fn compile(
    written: &config::CachePair,
    workload: &Workload,
    path: &KeyPath,
    findings: &mut Findings,
) -> AskText {
    if workload.system.is_some() {
        findings.error(&path.key("system"), "does not go with `cache_pair`: its prefix is the system prompt");
    }
    if workload.cache.is_some() {
        let message = "does not go with `cache_pair`: its prefix is new for each pair, and sent twice";
        findings.error(&path.key("cache"), message);
    }
    if !workload.stream {
        let message =
            "must be true with `cache_pair`: its requests are compared by the time to the first token";
        findings.error(&path.key("stream"), message);
    }
    let path = path.key("cache_pair");
    let prefix = written.prefix_tokens.get();
    if prefix < SHORTEST {
        let message = format!("is less than {SHORTEST}: most providers cache no prefix that short");
        findings.warn(&path.key("prefix_tokens"), message);
    }
    if gap(written) > KEPT {
        let message = format!(
            "is more than {}: most providers have forgotten a prefix by then, if nothing else has used it",
            show_duration(KEPT)
        );
        findings.warn(&path.key("gap"), message);
    }
    let question = written.question.as_deref().unwrap_or(QUESTION);
    if question.trim().is_empty() {
        findings.error(&path.key("question"), "must not be empty");
    }
    AskText::Synthetic(SyntheticPrompts {
        lengths: PromptLengths::Input(LengthDistribution::fixed(prefix)),
        prefix: None,
        question: Some(question.into()),
    })
}

/// Checks the rest of a profile that plays cache pairs.
pub(super) fn check_profile(
    pair: &config::CachePair,
    written: &config::Profile,
    stages: &[Stage],
    path: &KeyPath,
    findings: &mut Findings,
) {
    if written.retry.is_some() {
        let message = "does not go with `cache_pair`: a second attempt at the cold request may find the prefix of the \
                       first one in the cache";
        findings.error(&path.key("retry"), message);
    }
    if !super::expect::comparisons(&written.expect).is_empty() {
        let message = "must not send requests again with `cache_pair`, which does: leave out `seed` and `same_as_unary`";
        findings.error(&path.key("expect"), message);
    }
    let at = path.key("load");
    for (index, stage) in stages.iter().enumerate() {
        if stage.shape.bounds().time.is_some_and(|time| time <= gap(pair)) {
            let message = format!(
                "ends before the warm request of any pair, {} after the cold one",
                show_duration(gap(pair))
            );
            findings.error(&at.index(index), message);
        }
    }
}
