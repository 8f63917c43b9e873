//! Words of which texts with a given number of tokens are made. A tokenizer is a function that counts; which one it is,
//! and what the texts are for, is not known here.

mod english;

use english::ENGLISH;
use rand::Rng;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use std::sync::{Arc, LazyLock};

/// The least number of words from which texts are made: with fewer, texts would be too much alike.
const FEWEST: usize = 16;

/// Texts by which a list is tried, and the words in each.
const TRIALS: usize = 32;
const TRIAL_WORDS: usize = 100;

/// Letters, for tokenizers that have no token for a word.
const LETTERS: [&str; 26] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u",
    "v", "w", "x", "y", "z",
];

/// Counts the tokens of a text; `None` if it cannot.
pub type CountTokens<'a> = &'a dyn Fn(&str) -> Option<u64>;

/// Words, or letters, of which any sequence has as many tokens as words.
pub struct WordList {
    words: Vec<&'static str>,
    /// What stands between two of them.
    separator: &'static str,
    counted: bool,
}

static ESTIMATED: LazyLock<Arc<WordList>> = LazyLock::new(|| {
    let words = ENGLISH.split_ascii_whitespace().collect();
    Arc::new(WordList { words, separator: " ", counted: false })
});

impl WordList {
    /// The words of which each is one token by this tokenizer, wherever it stands; `None` if there are too few.
    ///
    /// Tokenizers split a text at its spaces before anything else, or have no token that reaches over one. That is
    /// tried, and not taken for granted.
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

    /// The words, for want of a tokenizer: most have a token for nearly all of them.
    pub fn estimated() -> Arc<Self> {
        Arc::clone(&ESTIMATED)
    }

    /// Whether a tokenizer counts texts as this list does; if not, their tokens are an estimate.
    pub const fn is_counted(&self) -> bool {
        self.counted
    }

    /// Continues a text by this many tokens.
    pub fn write(&self, text: &mut String, tokens: u64, rng: &mut impl Rng) {
        let last = self.words.len().saturating_sub(1);
        for _ in 0..tokens {
            if !text.is_empty() {
                text.push_str(self.separator);
            }
            text.push_str(self.words.get(rng.random_range(0..=last)).copied().unwrap_or("a"));
        }
    }

    /// Whether whole texts have as many tokens as words: all words in several orders.
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

    /// A token for each word, except that some are two.
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
        // One that merges across spaces, one that always counts too much, and one that fails.
        let merges = |text: &str| Some(text.split(' ').count().div_ceil(2) as u64);
        assert!(WordList::counted(&merges).is_none());
        assert!(WordList::counted(&|text| Some(text.len() as u64 + 1)).is_none());
        assert!(WordList::counted(&|_| None).is_none());
        // Whole texts are tried, and not only pairs.
        let late = |text: &str| {
            Some(text.split(' ').count() as u64 - u64::from(text.contains("about") && text.contains("yard")))
        };
        assert!(WordList::counted(&late).is_none());
    }
}
