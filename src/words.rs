//! Words for generating texts with a given number of tokens. This module knows a tokenizer only as a function that
//! counts tokens, and does not depend on how the texts are used.

mod english;

use english::ENGLISH;
use rand::Rng;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use std::sync::{Arc, LazyLock};

/// Minimum number of words in a list: with fewer, texts would be too similar.
const FEWEST: usize = 16;

/// Number of texts that a list is tested with, and the number of words in each.
const TRIALS: usize = 32;
const TRIAL_WORDS: usize = 100;

/// Letters, for tokenizers that have no tokens for whole words.
const LETTERS: [&str; 26] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u",
    "v", "w", "x", "y", "z",
];

/// Counts the tokens of a text; `None` if the text cannot be tokenized.
pub type CountTokens<'a> = &'a dyn Fn(&str) -> Option<u64>;

/// A list of words or letters. Any sequence of them has one token for each.
pub struct WordList {
    words: Vec<&'static str>,
    /// The text between two words.
    separator: &'static str,
    counted: bool,
}

static ESTIMATED: LazyLock<Arc<WordList>> = LazyLock::new(|| {
    let words = ENGLISH.split_ascii_whitespace().collect();
    Arc::new(WordList { words, separator: " ", counted: false })
});

impl WordList {
    /// The words that are one token each with this tokenizer, at any position in a text; `None` if there are too few.
    ///
    /// Tokenizers usually split a text at its spaces first, or have no token that spans a space. This is tested instead
    /// of assumed.
    pub fn counted(count: CountTokens<'_>) -> Option<Self> {
        let words: Vec<_> = ENGLISH.split_ascii_whitespace().collect();
        [(words.as_slice(), " "), (LETTERS.as_slice(), "")].into_iter().find_map(|(words, separator)| {
            let is_one = |word: &&&str| {
                count(word) == Some(1) && count(&format!("{word}{separator}{word}")) == Some(2)
            };
            let words: Vec<_> = words.iter().filter(is_one).copied().collect();
            let list = Self { words, separator, counted: true };
            (list.words.len() >= FEWEST && list.adds_up(count)).then_some(list)
        })
    }

    /// All words, for targets without a tokenizer. Most tokenizers have one token for nearly every word.
    pub fn estimated() -> Arc<Self> {
        Arc::clone(&ESTIMATED)
    }

    /// Whether the list was tested with a tokenizer; if not, the number of tokens is an estimate.
    pub const fn is_counted(&self) -> bool {
        self.counted
    }

    /// Appends this many tokens to a text.
    pub fn write(&self, text: &mut String, tokens: u64, rng: &mut impl Rng) {
        let last = self.words.len().saturating_sub(1);
        for _ in 0..tokens {
            if !text.is_empty() {
                text.push_str(self.separator);
            }
            text.push_str(self.words.get(rng.random_range(0..=last)).copied().unwrap_or("a"));
        }
    }

    /// Whether longer texts have as many tokens as words. Tests the words in several random orders, and all of them at
    /// once.
    fn adds_up(&self, count: CountTokens<'_>) -> bool {
        let mut rng = ChaCha8Rng::from_seed([7; 32]);
        let mut words = self.words.clone();
        (0..TRIALS).all(|_| {
            words.shuffle(&mut rng);
            let some = words.get(..TRIAL_WORDS).unwrap_or(&words);
            count(&some.join(self.separator)) == Some(some.len() as u64)
        }) && count(&words.join(self.separator)) == Some(words.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Counts one token for each word, and two for words longer than five letters.
    fn by_words(text: &str) -> u64 {
        text.split(' ').map(|word| if word.len() > 5 { 2 } else { 1 }).sum()
    }

    fn written(list: &WordList, tokens: u64) -> String {
        let mut text = String::new();
        list.write(&mut text, tokens, &mut ChaCha8Rng::from_seed([1; 32]));
        text
    }

    #[test]
    fn the_words_are_short_plain_and_different() {
        let words = &WordList::estimated().words;
        assert!(words.len() > 800 && !WordList::estimated().is_counted());
        assert!(words.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase())));
        assert_eq!(words.iter().collect::<HashSet<_>>().len(), words.len());
        let longest = words.iter().map(|word| word.len()).max().unwrap() as u64;
        assert!(longest < crate::plan::LONGEST_WORD, "{longest}");
    }

    #[test]
    fn only_words_of_one_token_are_taken() {
        let list = WordList::counted(&|text| Some(by_words(text))).unwrap();
        assert!(list.is_counted() && list.words.len() > 300);
        assert!(list.words.iter().all(|word| word.len() <= 5));
        for tokens in [0, 1, 2, 77, 5000] {
            let text = written(&list, tokens);
            assert_eq!(text.split_ascii_whitespace().count() as u64, tokens);
            assert!(text.is_empty() || by_words(&text) == tokens);
        }
    }

    #[test]
    fn a_tokenizer_of_letters_is_given_letters() {
        let letters = |text: &str| Some(text.len() as u64);
        let list = WordList::counted(&letters).unwrap();
        assert_eq!(written(&list, 40).len(), 40);
    }

    #[test]
    fn without_words_that_add_up_there_is_no_list() {
        // A tokenizer that merges across spaces, one that always counts too many tokens, and one that fails.
        let merges = |text: &str| Some(text.split(' ').count().div_ceil(2) as u64);
        assert!(WordList::counted(&merges).is_none());
        assert!(WordList::counted(&|text| Some(text.len() as u64 + 1)).is_none());
        assert!(WordList::counted(&|_| None).is_none());
        // Whole texts are tested, not only pairs of words.
        let late = |text: &str| {
            Some(text.split(' ').count() as u64 - u64::from(text.contains("about") && text.contains("yard")))
        };
        assert!(WordList::counted(&late).is_none());
    }
}
