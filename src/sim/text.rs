//! Text and tokens of the simulator: a tokenizer of its own, and text that looks like an answer.
//!
//! One token is a word, a number or a single other character, with the space before it, if any; a run of letters or
//! digits is split after every twelve characters. So one generated word is one token, and tokenizing a text that the
//! simulator wrote gives exactly the tokens it counted. It knows nothing about requests, time or HTTP.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Maximum number of letters or digits in one token.
const LONGEST_PIECE: usize = 12;
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

const WORDS: [&str; 96] = [
    "the", "a", "and", "of", "to", "in", "is", "that", "for", "with", "as", "on", "by", "this", "from",
    "when", "which", "each", "more", "than", "time", "work", "system", "data", "model", "answer", "question",
    "result", "value", "number", "part", "point", "example", "reason", "change", "order", "process",
    "service", "request", "memory", "batch", "queue", "token", "context", "window", "signal", "measure",
    "latency", "first", "second", "small", "large", "simple", "clear", "useful", "steady", "common", "open",
    "early", "late", "always", "often", "usually", "rarely", "never", "makes", "takes", "keeps", "gives",
    "shows", "needs", "holds", "grows", "falls", "starts", "ends", "can", "may", "should", "will", "must",
    "because", "while", "before", "after", "between", "under", "over", "through", "every", "other", "same",
    "new", "good", "long", "short",
];

/// Words with multi-byte characters, for streams that are split inside a character.
const WIDE_WORDS: [&str; 12] =
    ["café", "naïve", "über", "señor", "Ångström", "déjà", "日", "本", "語", "мир", "λόγος", "🙂"];

/// The vocabulary of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alphabet {
    /// Plain English words.
    Plain,
    /// Words of several scripts, with an emoji in every third position.
    Wide,
}

/// An endless sequence of words, one token each; the same seed gives the same words.
#[derive(Debug)]
pub(crate) struct Writer {
    rng: ChaCha8Rng,
    alphabet: Alphabet,
    position: usize,
    sentence_left: usize,
    /// The last sentence has ended with a full stop.
    ended: bool,
}

impl Writer {
    pub(crate) fn new(seed: u64, alphabet: Alphabet) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), alphabet, position: 0, sentence_left: 0, ended: true }
    }

    /// The next token of the answer. The first has no leading space, as in a real answer.
    pub(crate) fn piece(&mut self) -> String {
        let position = self.position;
        self.position += 1;
        let first = self.sentence_left == 0;
        if first && !self.ended {
            self.ended = true;
            return ".".to_owned();
        }
        if first {
            self.ended = false;
            self.sentence_left = self.rng.random_range(7..=14);
        }
        self.sentence_left -= 1;
        let word = if self.alphabet == Alphabet::Wide && position.is_multiple_of(3) {
            pick(&mut self.rng, &WIDE_WORDS)
        } else {
            pick(&mut self.rng, &WORDS)
        };
        let word = if first { capitalised(word) } else { word.to_owned() };
        if position == 0 { word } else { format!(" {word}") }
    }
}

/// The words of which answers are made.
pub(crate) fn words() -> impl Iterator<Item = &'static str> {
    WORDS.iter().copied()
}

/// Splits a text into tokens, in order; joined, they give the text again.
pub(crate) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = piece_end(rest)?;
        let (piece, tail) = rest.split_at_checked(end)?;
        rest = tail;
        Some(piece)
    })
}

/// The id of one token.
pub(crate) fn token_id(piece: &str) -> u64 {
    hash(FNV_OFFSET, piece.as_bytes())
}

/// A stable hash of `bytes`, continued from `start`. It is the same in every build, so that a seed always gives the
/// same text.
pub(crate) fn hash(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME))
}

/// The hash of each full block of `block_size` tokens; each hash includes all blocks before it.
pub(crate) fn block_hashes(tokens: &[u64], block_size: usize) -> Vec<u64> {
    let mut chain = FNV_OFFSET;
    tokens
        .chunks_exact(block_size.max(1))
        .map(|block| {
            chain = block.iter().fold(chain, |chain, token| hash(chain, &token.to_le_bytes()));
            chain
        })
        .collect()
}

fn piece_end(text: &str) -> Option<usize> {
    let mut chars = text.char_indices().peekable();
    let (_, first) = chars.next()?;
    let body = if first == ' ' { chars.next().map_or(first, |(_, next)| next) } else { first };
    let mut end = chars.peek().map_or(text.len(), |(at, _)| *at);
    if !body.is_alphanumeric() {
        return Some(end);
    }
    let mut length = 1;
    while let Some((_, next)) = chars.next_if(|(_, next)| next.is_alphanumeric() && length < LONGEST_PIECE) {
        length += 1;
        end += next.len_utf8();
    }
    Some(end)
}

fn pick<'a>(rng: &mut impl Rng, words: &[&'a str]) -> &'a str {
    words.get(rng.random_range(0..words.len().max(1))).copied().unwrap_or("word")
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(seed: u64, alphabet: Alphabet, count: usize) -> Vec<String> {
        let mut writer = Writer::new(seed, alphabet);
        (0..count).map(|_| writer.piece()).collect()
    }

    #[test]
    fn a_token_is_a_word_with_its_space_or_one_other_character() {
        let found: Vec<&str> = pieces("Hello, big  world 42!\nantidisestablishmentarianism").collect();
        let expected =
            ["Hello", ",", " big", "  ", "world", " 42", "!", "\n", "antidisestab", "lishmentaria", "nism"];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_written_has_as_many_tokens_as_pieces() {
        for alphabet in [Alphabet::Plain, Alphabet::Wide] {
            let answer = written(7, alphabet, 300);
            let text = answer.concat();
            assert_eq!(pieces(&text).collect::<Vec<_>>(), answer);
        }
    }

    #[test]
    fn the_same_seed_writes_the_same_and_another_does_not() {
        assert_eq!(written(1, Alphabet::Plain, 50), written(1, Alphabet::Plain, 50));
        assert_ne!(written(1, Alphabet::Plain, 50), written(2, Alphabet::Plain, 50));
    }

    #[test]
    fn the_wide_alphabet_has_characters_of_several_bytes() {
        assert!(!written(3, Alphabet::Wide, 10).concat().is_ascii());
        assert!(written(3, Alphabet::Plain, 500).concat().is_ascii());
    }

    #[test]
    fn block_hashes_cover_full_blocks_and_their_prefix() {
        let hashes = block_hashes(&[1, 2, 3, 4, 5], 2);
        assert_eq!(hashes.len(), 2);
        assert_eq!(block_hashes(&[1, 2, 9, 9], 2).first(), hashes.first());
        assert_ne!(block_hashes(&[9, 9, 3, 4], 2).get(1), hashes.get(1));
    }

    proptest! {
        // For every text: the tokens, joined, give the text; no token is empty.
        #[test]
        fn tokens_joined_are_the_text(text in "\\PC{0,80}") {
            let found: Vec<&str> = pieces(&text).collect();
            prop_assert!(found.iter().all(|piece| !piece.is_empty()));
            prop_assert_eq!(found.concat(), text);
        }
    }
}
