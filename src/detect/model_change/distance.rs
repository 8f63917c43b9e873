//! How far the answers of a run lie from those of the reference.
//!
//! Servers are not deterministic: sums differ with the size of the batch, replicas differ, and the two most likely tokens
//! change places. A run is therefore measured by its distance to the *nearest* runs of the reference, so that a reference
//! can have several kinds of answers, and each prompt counts in units of its own usual distance.

use super::{AnswerComparison, PromptAnswer, TokenLogprob};
use serde::{Deserialize, Serialize};

/// The lowest log-probability that is told apart from lower ones: servers write -9999 or -inf for impossible tokens.
const LOWEST: f64 = -20.0;
/// The greatest difference of a token: one token must not outweigh all others.
const MAX_DIFFERENCE: f64 = 3.0;
/// Differences up to this one are none: it is what sums in half precision differ by from batch to batch.
const NO_DIFFERENCE: f64 = 0.005;
/// Added to the usual distance of a prompt, so that one that never varies does not outweigh the others.
const LEAST_USUAL: f64 = 0.02;
/// Number of units in a distance of 1: scores are whole numbers, so that equal ones are equal after a restart too.
const UNITS: f64 = 1e6;

/// The distance of a run from the reference. The greater, the farther; of equal distances one is greater by chance, which
/// makes ranks exactly uniform.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct RunDistance {
    units: u64,
    chance: u64,
}

/// The runs by which others are measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ReferenceAnswers {
    comparison: AnswerComparison,
    /// Each prompt with its answers in all runs.
    prompts: Vec<ReferencePrompt>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ReferencePrompt {
    answers: Vec<PromptAnswer>,
    /// The usual distance of an answer from the others.
    usual: f64,
}

impl ReferenceAnswers {
    /// Of these runs, each with an answer to every prompt.
    pub(super) fn of(comparison: AnswerComparison, runs: Vec<Vec<PromptAnswer>>) -> Self {
        let mut each: Vec<Vec<PromptAnswer>> = Vec::new();
        for run in runs {
            each.resize_with(each.len().max(run.len()), Vec::new);
            for (prompt, answer) in each.iter_mut().zip(run) {
                prompt.push(answer);
            }
        }
        let prompts = each.into_iter().map(|answers| ReferencePrompt::of(comparison, answers));
        Self { comparison, prompts: prompts.collect() }
    }

    /// Number of runs.
    pub(super) fn runs(&self) -> usize {
        self.prompts.first().map_or(0, |prompt| prompt.answers.len())
    }

    /// The score of the `number`th run.
    pub(super) fn score(&self, run: &[PromptAnswer], number: u64) -> RunDistance {
        let each =
            self.prompts.iter().zip(run).map(|(prompt, answer)| {
                prompt.distance(self.comparison, answer) / (prompt.usual + LEAST_USUAL)
            });
        RunDistance::new(each.sum::<f64>() / self.prompts.len().max(1) as f64, number)
    }
}

impl ReferencePrompt {
    fn of(comparison: AnswerComparison, answers: Vec<PromptAnswer>) -> Self {
        let mut own: Vec<f64> = answers
            .iter()
            .enumerate()
            .map(|(index, answer)| {
                let others = answers.iter().enumerate().filter(|(other, _)| *other != index);
                nearest(others.map(|(_, other)| between(comparison, answer, other)).collect())
            })
            .collect();
        let usual = match comparison {
            AnswerComparison::Logprobs => median(&mut own),
            // Texts are the same or not; all prompts count alike.
            AnswerComparison::Text => 1.0 - LEAST_USUAL,
        };
        Self { answers, usual }
    }

    fn distance(&self, comparison: AnswerComparison, answer: &PromptAnswer) -> f64 {
        let each = self.answers.iter().map(|other| between(comparison, answer, other)).collect();
        match comparison {
            AnswerComparison::Logprobs => nearest(each),
            // The share of the reference that answered otherwise.
            AnswerComparison::Text => each.iter().sum::<f64>() / each.len().max(1) as f64,
        }
    }
}

impl RunDistance {
    fn new(distance: f64, number: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
        let units = (distance * UNITS).round() as u64;
        Self { units, chance: mixed(number) }
    }

    /// How many times as great it is as another one.
    pub(super) fn times(self, other: Self) -> f64 {
        // A reference without any variation has no usual distance.
        (self.units as f64 / UNITS) / (other.units as f64 / UNITS).max(LEAST_USUAL)
    }
}

/// `SplitMix64`: a number that looks random and depends only on `number`.
const fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Rounds a log-probability to what is kept of it.
pub(super) fn rounded(logprob: f64) -> f64 {
    (logprob.clamp(LOWEST, 0.0) * 1e5).round() / 1e5
}

/// The mean of the nearest third.
fn nearest(mut distances: Vec<f64>) -> f64 {
    distances.sort_by(f64::total_cmp);
    let n = distances.len().div_ceil(3).max(1);
    distances.iter().take(n).sum::<f64>() / n as f64
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn between(comparison: AnswerComparison, a: &PromptAnswer, b: &PromptAnswer) -> f64 {
    match comparison {
        AnswerComparison::Logprobs => between_lists(&a.top, &b.top),
        AnswerComparison::Text => f64::from(u8::from(a.text != b.text)),
    }
}

/// The mean difference of the log-probabilities over all tokens of both lists, in nats. A token that is missing in a list is
/// less likely than the last one in it, and nothing else is known of it.
fn between_lists(a: &[TokenLogprob], b: &[TokenLogprob]) -> f64 {
    let difference = |x: f64, y: f64| {
        let difference = (x - y).abs();
        if difference <= NO_DIFFERENCE { 0.0 } else { difference.min(MAX_DIFFERENCE) }
    };
    let (mut sum, mut tokens) = (0.0, 0_u32);
    for it in a {
        sum += match find(b, &it.token) {
            Some(other) => difference(it.logprob, other),
            None => difference(it.logprob.max(last(b)), last(b)),
        };
        tokens += 1;
    }
    for it in b.iter().filter(|it| find(a, &it.token).is_none()) {
        sum += difference(it.logprob.max(last(a)), last(a));
        tokens += 1;
    }
    sum / f64::from(tokens.max(1))
}

fn find(list: &[TokenLogprob], token: &str) -> Option<f64> {
    list.iter().find(|it| &*it.token == token).map(|it| it.logprob)
}

fn last(list: &[TokenLogprob]) -> f64 {
    list.iter().map(|it| it.logprob).fold(0.0, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(items: &[(&str, f64)]) -> Vec<TokenLogprob> {
        items
            .iter()
            .map(|(token, logprob)| TokenLogprob { token: (*token).into(), logprob: *logprob })
            .collect()
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn lists_differ_by_the_mean_over_their_tokens() {
        let a = list(&[("x", -0.1), ("y", -2.0), ("z", -4.0)]);
        assert!(close(between_lists(&a, &a), 0.0));
        assert!(close(between_lists(&a, &list(&[("x", -0.4), ("y", -2.0), ("z", -4.6)])), 0.3));
        assert!(
            close(between_lists(&a, &list(&[("z", -4.0), ("x", -0.1), ("y", -2.0)])), 0.0),
            "order is nothing"
        );
        assert!(close(between_lists(&a, &list(&[("x", -0.1), ("y", -2.004), ("z", -4.0)])), 0.0), "rounding");
    }

    #[test]
    fn tokens_that_change_places_at_the_end_of_the_list_cost_little() {
        let a = list(&[("x", -0.1), ("y", -4.00)]);
        let b = list(&[("x", -0.1), ("z", -3.98)]);
        // Each of them is just below the other's last one.
        assert!(between_lists(&a, &b) <= 0.02);
        let likely = list(&[("x", -0.1), ("z", -1.0)]);
        assert!(between_lists(&a, &likely) >= 1.0);
    }

    #[test]
    fn one_impossible_token_does_not_outweigh_the_others() {
        let a = list(&[("x", -0.1), ("y", rounded(-9999.0))]);
        let b = list(&[("x", -0.1), ("y", rounded(f64::NEG_INFINITY))]);
        assert!(close(between_lists(&a, &b), 0.0));
        assert!(close(between_lists(&a, &list(&[("x", -0.1), ("y", -1.0)])), MAX_DIFFERENCE / 2.0));
    }

    #[test]
    fn texts_count_by_the_share_of_the_reference_that_differs() {
        let answer = |text: &str| PromptAnswer { top: Vec::new(), text: text.into() };
        let runs = ["a", "a", "a", "b"].map(|text| vec![answer(text)]);
        let reference = ReferenceAnswers::of(AnswerComparison::Text, runs.to_vec());
        let units = |text: &str| reference.score(&[answer(text)], 1).units;
        assert_eq!((units("a"), units("b"), units("c")), (250_000, 750_000, 1_000_000));
    }

    #[test]
    fn of_equal_distances_one_is_greater_and_always_the_same() {
        let score = |number| RunDistance::new(0.5, number);
        assert_eq!(score(7), score(7));
        assert_ne!(score(7), score(8));
        let greater = (0..1000).filter(|n| score(*n) > score(n + 1000)).count();
        assert!((450..550).contains(&greater), "{greater}");
    }
}
