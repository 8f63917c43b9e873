//! The log-probabilities of the likely tokens for the first place of an answer. They follow from the prompt, vary a
//! little from answer to answer as those of real servers do, and can drift.

use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use super::text;

/// Number of tokens that are likely at all.
const TOKENS: usize = 24;
/// Standard deviation of the logits, in nats.
const SPREAD: f64 = 1.5;
/// Standard deviation by which they vary from answer to answer.
const JITTER: f64 = 0.02;
/// The most that an API lists.
pub(crate) const MAX_TOP: usize = 20;

/// The `count` most likely tokens, the most likely one first, with the natural logarithms of their probabilities. `first`
/// is the token that is generated, `seed` that of the answer, `drift` the standard deviation by which the logits of
/// another model differ, and `draw` the number of the answer.
pub(crate) fn tokens(first: &str, seed: u64, drift: f64, draw: u64, count: usize) -> Vec<(String, f64)> {
    let mut model = ChaCha8Rng::seed_from_u64(text::hash(seed, b"likely"));
    let mut other = ChaCha8Rng::seed_from_u64(text::hash(seed, b"drift"));
    let mut jitter = ChaCha8Rng::seed_from_u64(text::hash(seed ^ draw, b"jitter"));
    let others = text::words().filter(|word| *word != first).collect::<Vec<_>>();
    let names = std::iter::once(first).chain(others.choose_multiple(&mut model, TOKENS - 1).copied());
    let mut logits: Vec<(String, f64)> = names
        .enumerate()
        .map(|(index, name)| {
            // Greedy decoding generates the most likely one.
            let own = if index == 0 { 3.0 * SPREAD } else { SPREAD * model.sample::<f64, _>(StandardNormal) };
            let drift = drift * other.sample::<f64, _>(StandardNormal);
            (name.to_owned(), own + drift + JITTER * jitter.sample::<f64, _>(StandardNormal))
        })
        .collect();
    let total = logits.iter().map(|(_, logit)| logit.exp()).sum::<f64>().ln();
    for (_, logit) in &mut logits {
        *logit -= total;
    }
    logits.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    logits.truncate(count.min(MAX_TOP));
    logits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_difference(a: &[(String, f64)], b: &[(String, f64)]) -> f64 {
        let of = |name: &str| b.iter().find(|(other, _)| other == name).map(|(_, logprob)| *logprob);
        let shared: Vec<f64> = a.iter().filter_map(|(name, x)| Some((x - of(name)?).abs())).collect();
        shared.iter().sum::<f64>() / shared.len() as f64
    }

    #[test]
    fn they_vary_a_little_and_drift_as_asked() {
        let answer = |drift, draw| tokens("yes", 7, drift, draw, 10);
        let first = answer(0.0, 1);
        assert_eq!((first.len(), first[0].0.as_str()), (10, "yes"));
        assert!(first.is_sorted_by(|(_, a), (_, b)| a >= b) && first[0].1 < 0.0);
        assert_eq!(first, answer(0.0, 1));
        let jitter = mean_difference(&first, &answer(0.0, 2));
        assert!(jitter > 0.0 && jitter < 0.1, "{jitter}");
        let drifted = mean_difference(&first, &answer(0.5, 2));
        assert!(drifted > 3.0 * jitter, "{drifted} after {jitter}");
        let names: std::collections::BTreeSet<_> = first.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), 10);
        assert_eq!(tokens("yes", 7, 0.0, 1, 1000).len(), MAX_TOP);
    }
}
