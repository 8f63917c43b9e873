//! Secrets: values that cannot be printed, read from the environment or from files that may be rotated.

use crate::files::{Files, Watched};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

/// Maximum size of a secret in bytes.
const MAX_BYTES: u64 = 64 << 10;

/// A secret value in plain text. It prints as `***`. Only `expose` returns the text, which makes uses easy to find.
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

/// The origin of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretOrigin {
    /// An environment variable, without the whitespace around its value.
    Env(String),
    /// A file, without the whitespace around its contents; read again when it changes.
    File(PathBuf),
    /// The config itself.
    Literal(Exposed),
}

impl fmt::Display for SecretOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Literal(_) => f.write_str("the config"),
        }
    }
}

/// The reason why a secret could not be read. The message names the origin, and never contains the value.
#[derive(Clone, Debug, thiserror::Error)]
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
        source: Arc<std::io::Error>,
    },
}

/// A secret. If it comes from a file, it is kept up to date in the background, so that reading it never waits for a
/// file system.
#[derive(Clone)]
pub struct Secret {
    origin: SecretOrigin,
    source: SecretReader,
}

#[derive(Clone)]
enum SecretReader {
    Env(String),
    File(Arc<SecretFile>),
    Literal(Exposed),
}

type SecretFile = Watched<Result<Exposed, Error>>;

/// The files of all secrets in use; each is watched once.
static WATCHED: LazyLock<Mutex<HashMap<PathBuf, Weak<SecretFile>>>> = LazyLock::new(Mutex::default);

impl Secret {
    /// Creates a secret with this origin. If it is a file, this reads it and therefore blocks; [`read`](Self::read)
    /// reports a failure.
    pub fn new(origin: SecretOrigin) -> Self {
        let source = match &origin {
            SecretOrigin::Env(name) => SecretReader::Env(name.clone()),
            SecretOrigin::File(path) => SecretReader::File(watched(path)),
            SecretOrigin::Literal(value) => SecretReader::Literal(Exposed::new(trimmed(value.expose()))),
        };
        Self { origin, source }
    }

    /// The origin of the secret.
    pub fn origin(&self) -> &SecretOrigin {
        &self.origin
    }

    /// The current value. Does not block; files are checked every second.
    pub fn read(&self) -> Result<Exposed, Error> {
        match &self.source {
            SecretReader::File(file) => file.latest().as_ref().clone(),
            SecretReader::Literal(value) => Ok(value.clone()),
            SecretReader::Env(name) => {
                let value = std::env::var(name).map_err(|_| Error::Unset(name.clone()))?;
                value_in(&value, || name.clone())
            }
        }
    }
}

fn watched(path: &Path) -> Arc<SecretFile> {
    let in_use = |watched: &HashMap<PathBuf, Weak<SecretFile>>| watched.get(path).and_then(Weak::upgrade);
    let lock = || WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(file) = in_use(&lock()) {
        return file;
    }
    // Without the lock, because this may take as long as the file's deadline.
    let mut files = Files::default();
    let first = read_file(path, &mut files);
    let again = path.to_owned();
    let file = Arc::new(Watched::new(first, files, move |_, files| Some(read_file(&again, files))));
    let mut watched = lock();
    watched.retain(|_, file| file.strong_count() > 0);
    watched.insert(path.to_owned(), Arc::downgrade(&file));
    file
}

/// A value without the whitespace and the byte order marks around it: editors, `echo`, block scalars and copying add
/// them, and a peer that receives them in a header removes them.
pub fn trimmed(value: &str) -> &str {
    value.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
}

/// The value in what was read from somewhere.
fn value_in(read: &str, origin: impl FnOnce() -> String) -> Result<Exposed, Error> {
    let value = trimmed(read);
    if value.is_empty() { Err(Error::Empty(origin())) } else { Ok(Exposed::new(value)) }
}

fn read_file(path: &Path, files: &mut Files) -> Result<Exposed, Error> {
    let fail = |source| Error::File { path: path.to_owned(), source: Arc::new(source) };
    let text = files.read_text_at_most(path, MAX_BYTES).map_err(fail)?;
    value_in(&text, || path.display().to_string())
}

/// Secrets are equal if their origin is; the value may have changed.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.origin == other.origin
    }
}

/// The key for digests of literal secrets. It differs between processes, so a digest means nothing outside of its
/// process.
static DIGEST_KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Serializes the origin, so that a rotated secret stays the same. A literal is serialized as a keyed digest of its
/// value: two literals can be compared within this process, but the value cannot be recovered.
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
            SecretOrigin::Env(name) => Serialized::Env(name),
            SecretOrigin::File(path) => Serialized::File(path.to_string_lossy()),
            SecretOrigin::Literal(value) => Serialized::Value(DIGEST_KEYS.hash_one(value.expose())),
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

    impl Secret {
        fn file(&self) -> &Arc<SecretFile> {
            let SecretReader::File(file) = &self.source else { panic!("{:?} is not a file", self.origin) };
            file
        }

        /// Checks its file now.
        fn look(&self) {
            self.file().look();
        }
    }

    #[test]
    fn a_rotated_file_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "one\n").unwrap();
        let secret = Secret::new(SecretOrigin::File(path.clone()));
        assert_eq!(secret.read().unwrap().expose(), "one");
        // With the same length, and within the resolution of time stamps.
        std::fs::write(&path, "two\n").unwrap();
        secret.look();
        assert_eq!(secret.read().unwrap().expose(), "two");
        std::fs::remove_file(&path).unwrap();
        secret.look();
        assert!(matches!(secret.read(), Err(Error::File { .. })));
        std::fs::write(&path, "\n").unwrap();
        secret.look();
        assert!(matches!(secret.read(), Err(Error::Empty(_))));
        std::fs::write(&path, "three").unwrap();
        secret.look();
        assert_eq!(secret.read().unwrap().expose(), "three");
    }

    #[test]
    fn what_surrounds_a_value_is_no_part_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Secret::new(SecretOrigin::File(path.clone())).read().map(|value| value.expose().to_owned())
        };
        for text in ["a b", "a b \n", "\u{feff}a b\r\n", " \ta b\u{a0}\n\n"] {
            assert_eq!(read(text).unwrap(), "a b", "{text:?}");
            let literal = Secret::new(SecretOrigin::Literal(Exposed::new(text)));
            assert_eq!(literal.read().unwrap().expose(), "a b", "{text:?}");
        }
        for text in ["", " ", "\u{feff}", "\u{feff} \r\n\t"] {
            assert!(matches!(read(text), Err(Error::Empty(_))), "{text:?}");
        }
        assert!(matches!(value_in(" \n", || "KEY".to_owned()), Err(Error::Empty(_))), "as of a variable");
    }

    #[test]
    fn a_file_is_watched_once_for_all_that_use_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "one").unwrap();
        let [first, second] = [0, 1].map(|_| Secret::new(SecretOrigin::File(path.clone())));
        assert!(Arc::ptr_eq(first.file(), second.file()));
        // A link that is changed to point elsewhere, as in a Kubernetes mount.
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let linked = Secret::new(SecretOrigin::File(link.clone()));
        assert_eq!(linked.read().unwrap().expose(), "one");
        std::fs::write(dir.path().join("next"), "two").unwrap();
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("next", &link).unwrap();
        linked.look();
        assert_eq!(linked.read().unwrap().expose(), "two");
        assert_eq!(first.read().unwrap().expose(), "one");
    }

    #[test]
    fn what_is_no_file_or_too_large_is_an_error_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let said =
            |path: &Path| Secret::new(SecretOrigin::File(path.to_owned())).read().unwrap_err().to_string();
        assert!(said(&pipe).ends_with("it is a named pipe, not a regular file"), "{}", said(&pipe));
        assert!(said(Path::new("/dev/zero")).ends_with("it is a device, not a regular file"));
        assert!(said(dir.path()).ends_with("it is a directory, not a regular file"));
        let large = dir.path().join("large");
        std::fs::write(&large, vec![b'x'; (MAX_BYTES + 1).try_into().unwrap()]).unwrap();
        assert!(said(&large).contains("file too large"), "{}", said(&large));
    }

    #[test]
    fn nothing_prints_the_value() {
        let secret = Secret::new(SecretOrigin::Literal(Exposed::new("hunter2")));
        assert!(!format!("{secret:?} {:?}", secret.read()).contains("hunter2"));
    }

    #[test]
    fn a_secret_is_serialised_as_its_origin_and_a_literal_as_a_digest() {
        let text = |origin| serde_json::to_string(&Secret::new(origin)).unwrap();
        assert_eq!(text(SecretOrigin::Env("KEY".into())), r#"{"env":"KEY"}"#);
        assert_eq!(text(SecretOrigin::File("/run/key".into())), r#"{"file":"/run/key"}"#);
        let literal = |value| text(SecretOrigin::Literal(Exposed::new(value)));
        assert_eq!(literal("hunter2"), literal("hunter2"));
        assert_ne!(literal("hunter2"), literal("hunter3"));
        assert!(!literal("hunter2").contains("hunter2"));
    }

    #[test]
    fn errors_say_where_it_should_have_come_from() {
        let unset = Secret::new(SecretOrigin::Env("TOKENBEAT_TEST_NOT_SET".into())).read().unwrap_err();
        assert_eq!(unset.to_string(), "the environment variable TOKENBEAT_TEST_NOT_SET is not set");
        let missing = Secret::new(SecretOrigin::File("/nonexistent/key".into())).read().unwrap_err();
        assert!(missing.to_string().starts_with("cannot read the secret file /nonexistent/key: "));
    }
}
