//! Counts tokens of whole texts. Knows neither requests nor answers, and never runs where marks are taken.
//!
//! A count is of the text alone: no special tokens, no beginning-of-sequence token, and for a prompt not what the
//! server's chat template puts around the messages.

use super::BuildError;
use crate::plan::TokenizerSpec;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::SystemTime;
use tiktoken_rs::CoreBPE;
use tokenizers::Tokenizer;
use tokio::sync::Semaphore;

/// Texts longer than this in total are not counted.
const MOST_TEXT: usize = 4 << 20;

/// A tokenizer, loaded once per process and shared.
#[derive(Clone)]
pub(super) enum Counter {
    /// One of OpenAI's, embedded.
    Tiktoken(&'static CoreBPE),
    /// A Hugging Face tokenizer.
    HuggingFace(Arc<Tokenizer>),
}

/// Tokenizers from files that someone still uses. A file that changed is another tokenizer.
static LOADED: LazyLock<Mutex<HashMap<Version, Weak<Tokenizer>>>> = LazyLock::new(Mutex::default);

/// One count at a time: counting takes a core, and others measure on it.
static TURN: Semaphore = Semaphore::const_new(1);

#[derive(PartialEq, Eq, Hash)]
struct Version {
    path: PathBuf,
    modified: Option<SystemTime>,
    bytes: u64,
}

impl Counter {
    /// Loads it, unless it is there already. May take a second.
    pub(super) fn load(spec: &TokenizerSpec) -> Result<Self, BuildError> {
        match spec {
            TokenizerSpec::O200kBase => Ok(Self::Tiktoken(tiktoken_rs::o200k_base_singleton())),
            TokenizerSpec::Cl100kBase => Ok(Self::Tiktoken(tiktoken_rs::cl100k_base_singleton())),
            TokenizerSpec::File(path) => load_file(path).map(Self::HuggingFace),
        }
    }

    /// Tokens of each text by itself, added up; `None` if that is too much work or the tokenizer cannot.
    pub(super) async fn count(&self, texts: Vec<String>) -> Option<u64> {
        if texts.iter().map(String::len).sum::<usize>() > MOST_TEXT {
            return None;
        }
        let _turn = TURN.acquire().await.ok()?;
        let counter = self.clone();
        // A tokenizer that panics on a text gives no count, and nothing else is lost.
        tokio::task::spawn_blocking(move || texts.iter().map(|text| counter.count_one(text)).sum())
            .await
            .ok()?
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

fn load_file(path: &Path) -> Result<Arc<Tokenizer>, BuildError> {
    let fail = |source| BuildError::Tokenizer { path: path.to_owned(), source };
    let meta = std::fs::metadata(path).map_err(|error| fail(error.into()))?;
    let version = Version { path: path.to_owned(), modified: meta.modified().ok(), bytes: meta.len() };
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(tokenizer) = loaded.get(&version).and_then(Weak::upgrade) {
        return Ok(tokenizer);
    }
    let tokenizer = Arc::new(Tokenizer::from_file(path).map_err(fail)?);
    loaded.retain(|_, tokenizer| tokenizer.strong_count() > 0);
    loaded.insert(version, Arc::downgrade(&tokenizer));
    Ok(tokenizer)
}
