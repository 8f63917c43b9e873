//! A value built from files, and rebuilt when they change.

use super::Files;
use super::deadline;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Time between two checks of the files.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Number of concurrent checks. Checks that wait for a hanging file delay others, but do not block their users.
static LOOKS: Semaphore = Semaphore::const_new(8);

/// A value built from files. Threads of this module check the files every second, so reading the value never waits for
/// the file system. The checks end when the value is dropped.
pub struct Watched<T>(Arc<WatchedState<T>>);

struct WatchedState<T> {
    latest: RwLock<Arc<T>>,
    source: Mutex<WatchedSource<T>>,
}

type Make<T> = Box<dyn FnMut(&T, &mut Files) -> Option<T> + Send>;

struct WatchedSource<T> {
    /// The files that the latest value was built from.
    files: Files,
    make: Make<T>,
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// Watches `files`, from which `first` was built. After a change, `make` gets the current value and builds the next
    /// one, or returns `None` to keep the current one; it records all files that it reads.
    pub fn new(
        first: T,
        files: Files,
        make: impl FnMut(&T, &mut Files) -> Option<T> + Send + 'static,
    ) -> Self {
        let source = Mutex::new(WatchedSource { files, make: Box::new(make) });
        let inner = Arc::new(WatchedState { latest: RwLock::new(Arc::new(first)), source });
        match deadline::threads() {
            Ok(threads) => drop(threads.spawn(keep_looking(Arc::downgrade(&inner)))),
            Err(error) => tracing::error!(%error, "files are not watched, changes of them do not count"),
        }
        Self(inner)
    }

    /// The value as of the last check.
    pub fn latest(&self) -> Arc<T> {
        self.0.latest()
    }

    /// Checks the files now. Blocks.
    #[cfg(test)]
    pub(crate) fn look(&self) {
        self.0.look();
    }
}

impl<T> WatchedState<T> {
    fn latest(&self) -> Arc<T> {
        Arc::clone(&self.latest.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn look(&self) {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        if !source.files.changed() {
            return;
        }
        let mut files = Files::default();
        let made = (source.make)(&self.latest(), &mut files);
        source.files = files;
        if let Some(value) = made {
            *self.latest.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
        }
    }
}

async fn keep_looking<T: Send + Sync + 'static>(inner: Weak<WatchedState<T>>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let turn = LOOKS.acquire().await;
        let Some(inner) = inner.upgrade() else { return };
        if spawn_blocking(move || inner.look()).await.is_err() {
            tracing::error!("reading a watched file panicked; it is watched no longer");
            return;
        }
        drop(turn);
    }
}

impl<T> std::fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let source = self.0.source.try_lock();
        f.debug_tuple("Watched").field(&source.ok().map(|source| source.files.clone())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn text(path: PathBuf) -> Watched<String> {
        let mut files = Files::default();
        let first = files.read_text(&path).unwrap();
        // If the text cannot be read, the value stays.
        Watched::new(first, files, move |_, files| files.read_text(&path).ok())
    }

    #[test]
    fn it_follows_its_files_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "one").unwrap();
        let watched = text(path.clone());
        assert_eq!(*watched.latest(), "one");
        std::fs::write(&path, "two").unwrap();
        while *watched.latest() != "two" {
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_cannot_be_made_keeps_the_value_and_is_tried_again_after_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "one").unwrap();
        let watched = text(path.clone());
        std::fs::remove_file(&path).unwrap();
        watched.look();
        assert_eq!(*watched.latest(), "one");
        std::fs::write(&path, "two").unwrap();
        watched.look();
        assert_eq!(*watched.latest(), "two");
    }

    #[test]
    fn the_looks_end_with_the_value() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "one").unwrap();
        let watched = text(path);
        let inner = Arc::downgrade(&watched.0);
        drop(watched);
        while inner.strong_count() > 0 {
            std::thread::yield_now();
        }
    }
}
