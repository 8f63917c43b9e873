//! Secrets: values that cannot be printed, read from the environment or from files that may be rotated.

use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Minimum interval between checks of a secret's file for a change.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A secret value in plain text. It prints as `***`; `expose` is the only way to the text, and easy to search for.
#[derive(Clone, PartialEq, Eq)]
pub struct Exposed(String);

impl Exposed {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Returns the value.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Exposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An environment variable.
    Env(String),
    /// A file, without its trailing newline; read again after it changed.
    File(PathBuf),
    /// Written into the config itself.
    Literal(Exposed),
}

/// A secret could not be read. The message says where it should have come from, and never contains the value.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The variable is not set.
    #[error("the environment variable {0} is not set")]
    Unset(String),
    /// The variable or the file is empty.
    #[error("the secret in {0} is empty")]
    Empty(String),
    /// The file cannot be read.
    #[error("cannot read the secret file {path}: {source}")]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
}

/// A secret that is read on use.
pub struct Secret {
    origin: Origin,
    cache: Mutex<Option<Cached>>,
}

struct Cached {
    value: Exposed,
    looked: Instant,
    stamp: Option<(SystemTime, u64)>,
}

impl Secret {
    /// Creates a secret from this origin, without reading it.
    pub fn new(origin: Origin) -> Self {
        Self { origin, cache: Mutex::new(None) }
    }

    /// The origin of the secret.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The current value. A file is checked at most once a second, and read if it has changed.
    pub fn read(&self) -> Result<Exposed, Error> {
        match &self.origin {
            Origin::Literal(value) => Ok(value.clone()),
            Origin::Env(name) => {
                let value = std::env::var(name).map_err(|_| Error::Unset(name.clone()))?;
                if value.is_empty() { Err(Error::Empty(name.clone())) } else { Ok(Exposed(value)) }
            }
            Origin::File(path) => self.read_file(path),
        }
    }

    fn read_file(&self, path: &PathBuf) -> Result<Exposed, Error> {
        let fail = |source| Error::File { path: path.clone(), source };
        let mut cache = self.cache.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(cached) = cache.as_ref()
            && cached.looked.elapsed() < LOOK_EVERY
        {
            return Ok(cached.value.clone());
        }
        let meta = std::fs::metadata(path).map_err(fail)?;
        let stamp = meta.modified().ok().map(|modified| (modified, meta.len()));
        if let Some(cached) = cache.as_mut()
            && stamp.is_some()
            && cached.stamp == stamp
        {
            cached.looked = Instant::now();
            return Ok(cached.value.clone());
        }
        let text = std::fs::read_to_string(path).map_err(fail)?;
        let value = Exposed(text.trim_end_matches(['\r', '\n']).to_owned());
        if value.0.is_empty() {
            return Err(Error::Empty(path.display().to_string()));
        }
        *cache = Some(Cached { value: value.clone(), looked: Instant::now(), stamp });
        Ok(value)
    }
}

/// The same origin; the value may have changed.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.origin == other.origin
    }
}

/// Keys of the digests of literal secrets: others in each process, so that a digest says nothing outside of it.
static DIGEST_KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// By where it comes from, so that a rotated secret stays the same. A literal is a keyed digest of its value: two of
/// them can be compared within this process, and the value cannot be learned.
impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "snake_case")]
        enum Serialized<'a> {
            Env(&'a str),
            File(Cow<'a, str>),
            Value(u64),
        }
        match &self.origin {
            Origin::Env(name) => Serialized::Env(name),
            Origin::File(path) => Serialized::File(path.to_string_lossy()),
            Origin::Literal(value) => Serialized::Value(DIGEST_KEYS.hash_one(value.expose())),
        }
        .serialize(serializer)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({:?})", self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rotated_file_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "one\n").unwrap();
        let secret = Secret::new(Origin::File(path.clone()));
        assert_eq!(secret.read().unwrap().expose(), "one");
        std::fs::write(&path, "second").unwrap();
        tokio::time::advance(LOOK_EVERY).await;
        assert_eq!(secret.read().unwrap().expose(), "second");
    }

    #[test]
    fn nothing_prints_the_value() {
        let secret = Secret::new(Origin::Literal(Exposed::new("hunter2")));
        assert!(!format!("{secret:?} {:?}", secret.read()).contains("hunter2"));
    }

    #[test]
    fn a_secret_is_serialised_as_its_origin_and_a_literal_as_a_digest() {
        let text = |origin| serde_json::to_string(&Secret::new(origin)).unwrap();
        assert_eq!(text(Origin::Env("KEY".into())), r#"{"env":"KEY"}"#);
        assert_eq!(text(Origin::File("/run/key".into())), r#"{"file":"/run/key"}"#);
        let literal = |value| text(Origin::Literal(Exposed::new(value)));
        assert_eq!(literal("hunter2"), literal("hunter2"));
        assert_ne!(literal("hunter2"), literal("hunter3"));
        assert!(!literal("hunter2").contains("hunter2"));
    }

    #[test]
    fn errors_say_where_it_should_have_come_from() {
        let unset = Secret::new(Origin::Env("TOKENBEAT_TEST_NOT_SET".into())).read().unwrap_err();
        assert_eq!(unset.to_string(), "the environment variable TOKENBEAT_TEST_NOT_SET is not set");
        let missing = Secret::new(Origin::File("/nonexistent/key".into())).read().unwrap_err();
        assert!(missing.to_string().starts_with("cannot read the secret file /nonexistent/key: "));
    }
}
