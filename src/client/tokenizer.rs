//! Counts the tokens of whole texts. Knows neither requests nor answers, and never runs on threads that take
//! timestamps.
//! Counts only the text itself: no special tokens, no beginning-of-sequence token, and for a prompt not the text that
//! the server's chat template adds around the messages.

use super::BuildError;
use crate::cpu_pool::CpuPool;
use crate::files::{self, Digest, Files};
use crate::plan::Tokenizer as Spec;
use crate::words::WordList;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;
use tiktoken_rs::CoreBPE;
use tokenizers::Tokenizer;
use tokio::time::Instant;

/// Maximum total length of texts in bytes; longer ones are not counted.
const MAX_TEXT: usize = 4 << 20;

/// Maximum size of a tokenizer file in bytes: four times the largest published ones.
const MAX_FILE: u64 = 128 << 20;

/// Maximum duration of a count: the time for some texts without spaces grows with the square of their length.
const LONGEST_COUNT: Duration = Duration::from_secs(10);

/// A tokenizer, loaded once per process and shared.
#[derive(Clone)]
pub(super) enum LoadedTokenizer {
    /// One of OpenAI's tokenizers, embedded.
    Tiktoken(&'static CoreBPE),
    /// A Hugging Face tokenizer.
    HuggingFace(Arc<Tokenizer>),
}

/// Tokenizers from files that are still in use, by the content of their files.
static LOADED: LazyLock<Mutex<HashMap<Digest, Weak<Tokenizer>>>> = LazyLock::new(Mutex::default);

impl LoadedTokenizer {
    /// Loads the tokenizer, unless it is already loaded. May take a second.
    pub(super) fn load(spec: &Spec) -> Result<Self, BuildError> {
        match spec {
            Spec::O200kBase => Ok(Self::Tiktoken(tiktoken_rs::o200k_base_singleton())),
            Spec::Cl100kBase => Ok(Self::Tiktoken(tiktoken_rs::cl100k_base_singleton())),
            Spec::File(path) => load_file(path).map(Self::HuggingFace),
        }
    }

    /// The total number of tokens in the texts, each counted on its own; `None` if the texts are too long, the count
    /// takes too long, or the tokenizer fails.
    pub(super) async fn count(&self, cpu_pool: &CpuPool, texts: Vec<String>) -> Option<u64> {
        if texts.iter().map(String::len).sum::<usize>() > MAX_TEXT {
            return None;
        }
        let counter = self.clone();
        // A tokenizer that panics on a text yields no count; nothing else is affected.
        let count = move || texts.iter().map(|text| counter.count_one(text)).sum();
        cpu_pool.run_exclusive_within(Instant::now() + LONGEST_COUNT, count).await.ok().flatten()
    }

    /// The words of which each is one token; `None` if there are too few, or if the tokenizer panics. CPU-bound.
    pub(super) fn words(&self) -> Option<Arc<WordList>> {
        let list = || WordList::counted(&|text| self.count_one(text));
        std::panic::catch_unwind(AssertUnwindSafe(list)).ok().flatten().map(Arc::new)
    }

    fn count_one(&self, text: &str) -> Option<u64> {
        match self {
            Self::Tiktoken(bpe) => Some(bpe.count_ordinary(text) as u64),
            Self::HuggingFace(tokenizer) => {
                let encoding = tokenizer.encode_fast(text, false).ok()?;
                Some(encoding.len() as u64)
            }
        }
    }
}

/// Maximum length in bytes of a text that [`TextCounter`] counts as a whole. For a longer one, this part is counted and
/// extrapolated.
const COUNTED_AS_A_WHOLE: usize = 16 << 10;

/// Counts the tokens of texts outside of any request.
pub struct TextCounter(LoadedTokenizer);

impl TextCounter {
    /// Loads the tokenizer, unless it is already loaded. May take a second.
    pub fn load(spec: &Spec) -> Result<Self, BuildError> {
        LoadedTokenizer::load(spec).map(Self)
    }

    /// Whether there are words that are one token each, of which texts of exact lengths can be written. CPU-bound.
    pub fn has_words(&self) -> bool {
        self.0.words().is_some()
    }

    /// The number of tokens of a text; `None` if the tokenizer fails. Blocks.
    pub fn count(&self, text: &str) -> Option<u64> {
        let part = text.get(..text.floor_char_boundary(COUNTED_AS_A_WHOLE)).unwrap_or_default();
        let tokens = std::panic::catch_unwind(AssertUnwindSafe(|| self.0.count_one(part))).ok().flatten()?;
        let share = text.len() as u128 * u128::from(tokens) / (part.len().max(1) as u128);
        u64::try_from(share).ok()
    }
}

fn load_file(path: &Path) -> Result<Arc<Tokenizer>, BuildError> {
    let fail = |source| BuildError::Tokenizer { path: path.to_owned(), source };
    let bytes = Files::default().read_at_most(path, MAX_FILE).map_err(|error| fail(error.into()))?;
    let digest = files::digest(&bytes);
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(tokenizer) = loaded.get(&digest).and_then(Weak::upgrade) {
        return Ok(tokenizer);
    }
    let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(fail)?;
    // Many published files cut or fill every text to a fixed length, for batches of a model's inputs. A server counts
    // the whole text, and nothing but the text.
    tokenizer.with_padding(None).with_truncation(None).map_err(fail)?;
    let tokenizer = Arc::new(tokenizer);
    loaded.retain(|_, tokenizer| tokenizer.strong_count() > 0);
    loaded.insert(digest, Arc::downgrade(&tokenizer));
    Ok(tokenizer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small vocabulary, and a start-of-sequence token that a server would add.
    const TOKENIZER: &str = r#"{
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "decoder": null,
        "added_tokens": [{ "id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
                           "normalized": false, "special": true }],
        "pre_tokenizer": { "type": "WhitespaceSplit" },
        "post_processor": { "type": "TemplateProcessing",
            "single": [{ "SpecialToken": { "id": "<s>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
            "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 0 } }],
            "special_tokens": { "<s>": { "id": "<s>", "ids": [0], "tokens": ["<s>"] } } },
        "model": { "type": "WordLevel", "vocab": { "<s>": 0, "a": 1, "b": 2, "?": 3 }, "unk_token": "?" }
    }"#;

    /// The same as it is published for training: every text is cut or filled to four tokens.
    fn of_fixed_length() -> String {
        let truncation = r#""truncation": { "direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0 }"#;
        let padding = r#""padding": { "strategy": { "Fixed": 4 }, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "<s>" }"#;
        TOKENIZER.replace(r#""truncation": null"#, truncation).replace(r#""padding": null"#, padding)
    }

    fn file(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokenizer.json");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    async fn count(counter: &LoadedTokenizer, texts: &[&str]) -> Option<u64> {
        let cpu_pool = CpuPool::on(&tokio::runtime::Handle::current());
        counter.count(&cpu_pool, texts.iter().map(|text| (*text).to_owned()).collect()).await
    }

    #[tokio::test]
    async fn trap_05_whole_texts_are_counted_without_a_sequence_start() {
        let (_dir, path) = file(TOKENIZER);
        let counter = LoadedTokenizer::load(&Spec::File(path)).unwrap();
        assert_eq!(count(&counter, &["a b c"]).await, Some(3));
        assert_eq!(count(&counter, &["a b", "", "b"]).await, Some(3));
        assert_eq!(count(&counter, &[]).await, Some(0));
    }

    #[tokio::test]
    async fn a_file_that_cuts_and_fills_texts_counts_whole_ones() {
        let (_dir, path) = file(&of_fixed_length());
        let spec = Spec::File(path);
        let counter = LoadedTokenizer::load(&spec).unwrap();
        assert_eq!(count(&counter, &["a", "a b a b a b a b"]).await, Some(9));
        assert_eq!(TextCounter::load(&spec).unwrap().count("a b a b a b"), Some(6));
        assert!(counter.words().is_some());
    }

    #[tokio::test]
    async fn the_embedded_tokenizers_count() {
        let o200k = LoadedTokenizer::load(&Spec::O200kBase).unwrap();
        let cl100k = LoadedTokenizer::load(&Spec::Cl100kBase).unwrap();
        for counter in [&o200k, &cl100k] {
            assert_eq!(count(counter, &["hello world"]).await, Some(2));
            // Split into pieces it would be more, because merges are lost at each split.
            assert_eq!(count(counter, &["hel", "lo wor", "ld"]).await.map(|n| n > 2), Some(true));
            // The text of a special token is counted as ordinary text.
            assert!(count(counter, &["<|endoftext|>"]).await > Some(1));
        }
        let greek = "\u{3ba}\u{3b1}\u{3bb}\u{3b7}\u{3bc}\u{3ad}\u{3c1}\u{3b1}";
        assert_ne!(count(&o200k, &[greek]).await, count(&cl100k, &[greek]).await);
    }

    #[test]
    fn written_texts_have_exactly_as_many_tokens_as_asked_for() {
        let (_dir, path) = file(TOKENIZER);
        for spec in [Spec::O200kBase, Spec::Cl100kBase, Spec::File(path)] {
            let counter = LoadedTokenizer::load(&spec).unwrap();
            let words = counter.words().unwrap();
            assert!(words.is_counted());
            for seed in 0..100 {
                let mut rng = crate::seed::rng("test", &[seed]);
                let tokens = 1 + seed * seed;
                let mut text = String::new();
                words.write(&mut text, tokens / 3, &mut rng);
                words.write(&mut text, tokens - tokens / 3, &mut rng);
                assert_eq!(counter.count_one(&text), Some(tokens), "{spec:?}: {text}");
            }
        }
    }

    #[test]
    fn a_long_text_is_counted_by_its_beginning() {
        let counter = TextCounter::load(&Spec::O200kBase).unwrap();
        assert_eq!((counter.count("hello world"), counter.count("")), (Some(2), Some(0)));
        let part = counter.count(&"hello ".repeat(2730)).unwrap();
        let whole = counter.count(&"hello ".repeat(273_000)).unwrap();
        assert!(whole.abs_diff(100 * part) <= part, "{whole} and {part}");
    }

    #[tokio::test]
    async fn a_file_is_loaded_once_while_it_is_used() {
        let (_dir, path) = file(TOKENIZER);
        let spec = Spec::File(path.clone());
        let held = |counter: &LoadedTokenizer| match counter {
            LoadedTokenizer::HuggingFace(tokenizer) => Arc::as_ptr(tokenizer),
            LoadedTokenizer::Tiktoken(_) => panic!("not a file"),
        };
        let (first, second) = (LoadedTokenizer::load(&spec).unwrap(), LoadedTokenizer::load(&spec).unwrap());
        assert_eq!(held(&first), held(&second));
        // A changed file gives a new tokenizer.
        std::fs::write(&path, TOKENIZER.replace("\"b\": 2,", "\"b\": 2, \"c\": 4,")).unwrap();
        let changed = LoadedTokenizer::load(&spec).unwrap();
        assert_ne!(held(&first), held(&changed));
    }

    #[tokio::test]
    async fn texts_without_end_are_not_counted() {
        let (_dir, path) = file(TOKENIZER);
        let counter = LoadedTokenizer::load(&Spec::File(path)).unwrap();
        assert_eq!(count(&counter, &[&"a ".repeat(MAX_TEXT)]).await, None);
    }

    #[test]
    fn files_that_are_no_tokenizers() {
        let (_dir, path) = file("{}");
        let error =
            |path: &Path| LoadedTokenizer::load(&Spec::File(path.to_owned())).err().unwrap().to_string();
        assert!(error(&path).starts_with(&format!("cannot read the tokenizer {}: ", path.display())));
        assert!(
            error(Path::new("/nonexistent.json"))
                .starts_with("cannot read the tokenizer /nonexistent.json: ")
        );
    }
}
