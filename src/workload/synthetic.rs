//! Generates a synthetic prompt.

use super::RequestDraws;
use crate::plan::{Cache, PrefixSet};
use crate::seed;
use crate::words::WordList;
use rand::Rng;
use rand_distr::{Distribution as _, Zipf};

/// Number of random words that form the nonce for busting caches: more than 48 bits, even if the words are letters.
const NONCE: u64 = 12;

/// A text of `tokens` tokens: first the shared prefix or the nonce, if there is one, then random words.
pub(super) fn text(
    prefix: Option<PrefixSet>,
    tokens: u64,
    cache: Cache,
    draws: RequestDraws<'_>,
    words: &WordList,
) -> String {
    let mut text = String::new();
    let begun = match (prefix, cache) {
        (Some(prefix), _) => {
            shared_prefix(&mut text, prefix, draws, words);
            prefix.tokens
        }
        (None, Cache::Bust) => {
            let nonce = tokens.min(NONCE);
            words.write(&mut text, nonce, &mut seed::rng("nonce", &[draws.nonce()]));
            nonce
        }
        (None, Cache::Reuse) => 0,
    };
    words.write(&mut text, tokens.saturating_sub(begun), &mut draws.rng("words"));
    text
}

/// Appends one of the shared prefixes. Like a system prompt, it is the same in every run and for every target.
pub(super) fn shared_prefix(text: &mut String, prefix: PrefixSet, draws: RequestDraws<'_>, words: &WordList) {
    let which = pick(prefix, &mut draws.rng("prefix"));
    let seed = [draws.pair.profile.seed, which.into(), prefix.tokens];
    words.write(text, prefix.tokens, &mut seed::rng("shared prefix", &seed));
}

/// The index of the prefix that a prompt begins with, from 0.
fn pick(prefix: PrefixSet, rng: &mut impl Rng) -> u32 {
    let last = prefix.count.saturating_sub(1);
    match Zipf::new(f64::from(prefix.count), prefix.zipf) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number from 1")]
        Ok(zipf) if prefix.zipf > 0.0 => (zipf.sample(rng) as u32).saturating_sub(1).min(last),
        _ => rng.random_range(0..=last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(count: u32, zipf: f64) -> Vec<f64> {
        let mut rng = seed::rng("test", &[1]);
        let mut found = vec![0.0; count as usize];
        for _ in 0..20_000 {
            found[pick(PrefixSet { tokens: 1, count, zipf }, &mut rng) as usize] += 1.0 / 20_000.0;
        }
        found
    }

    #[test]
    fn prefixes_are_as_popular_as_zipf_says() {
        for (zipf, shares) in [(0.0, shares(4, 0.0)), (1.0, shares(4, 1.0)), (2.0, shares(4, 2.0))] {
            let weights: Vec<f64> = (1..=4).map(|n| f64::from(n).powf(-zipf)).collect();
            for (share, weight) in shares.iter().zip(&weights) {
                let wanted = weight / weights.iter().sum::<f64>();
                assert!((share / wanted - 1.0).abs() < 0.08, "{zipf}: {share}, not {wanted}");
            }
        }
        let only = shares(1, 1.0)[0];
        assert!((only - 1.0).abs() < 1e-9, "{only}");
    }
}
