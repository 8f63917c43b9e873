//! Work on the file system with a deadline. A hanging network file system blocks the calling thread, and nothing can
//! interrupt that. The work is therefore done on separate threads, and the caller gives up after a while.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};

/// Time within which a file must respond.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// Maximum number of threads that wait for the file system: each hanging file occupies one until it responds.
const MAX_THREADS: usize = 512;

/// Runs the checks of watched files, and owns the threads that wait for the file system. It is never dropped, because a
/// hanging thread cannot be joined.
static THREADS: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(MAX_THREADS)
        .thread_name("files")
        .enable_time()
        .build()
});

/// Number of abandoned operations on each path that are still running. Such a path is not tried again, so that checking
/// a hanging file does not occupy another thread each time.
static OVERDUE: LazyLock<Mutex<HashMap<PathBuf, usize>>> = LazyLock::new(Mutex::default);

/// The runtime of the watched files.
pub(super) fn threads() -> io::Result<&'static Handle> {
    match &*THREADS {
        Ok(runtime) => Ok(runtime.handle()),
        Err(error) => Err(io::Error::new(error.kind(), format!("no threads to read files: {error}"))),
    }
}

/// Does work on a path on another thread, and waits for it. Fails with [`io::ErrorKind::TimedOut`] if that takes too
/// long, and at once if an earlier operation on the same path still hangs.
pub(super) fn within<T: Send + 'static>(
    limit: Duration,
    path: &Path,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let threads = threads()?;
    if overdue().contains_key(path) {
        return Err(silent("it did not answer before, and still does not"));
    }
    let abandoned = Arc::new(AtomicBool::new(false));
    let guard = WorkGuard { path: path.to_owned(), abandoned: Arc::clone(&abandoned) };
    let (sender, receiver) = sync_channel(1);
    threads.spawn_blocking(move || {
        let result = work(&guard.path);
        // The caller may have given up; then the guard allows the next attempt.
        let _ = sender.send(result);
        drop(guard);
    });
    match receiver.recv_timeout(limit) {
        Ok(result) => result,
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("reading it panicked")),
        Err(RecvTimeoutError::Timeout) => {
            let mut overdue = overdue();
            // While the lock is held the guard cannot be dropped, so the result is either available or still to come.
            receiver.try_recv().unwrap_or_else(|_| {
                abandoned.store(true, Ordering::Relaxed);
                *overdue.entry(path.to_owned()).or_default() += 1;
                Err(silent(&format!("it did not answer within {limit:?}")))
            })
        }
    }
}

/// Dropped at the end of the work on a path.
struct WorkGuard {
    path: PathBuf,
    abandoned: Arc<AtomicBool>,
}

impl Drop for WorkGuard {
    fn drop(&mut self) {
        let mut overdue = overdue();
        if self.abandoned.load(Ordering::Relaxed)
            && let Some(count) = overdue.get_mut(&self.path)
        {
            *count -= 1;
            if *count == 0 {
                overdue.remove(&self.path);
            }
        }
    }
}

fn overdue() -> MutexGuard<'static, HashMap<PathBuf, usize>> {
    OVERDUE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn silent(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const SHORT: Duration = Duration::from_millis(1);

    #[test]
    fn a_path_that_hangs_is_given_up_and_not_tried_again_until_it_answers() {
        let path = Path::new("/hung/by/this/test");
        let (release, released) = mpsc::channel::<()>();
        let given_up = within(SHORT, path, move |_| Ok(released.recv().is_ok()));
        assert_eq!(given_up.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let again = within(DEADLINE, path, |_| -> io::Result<()> { panic!("it must not be tried") });
        assert!(again.unwrap_err().to_string().contains("still does not"));
        // Other paths are not affected.
        assert_eq!(within(DEADLINE, Path::new("/another"), |_| Ok(1)).unwrap(), 1);
        release.send(()).unwrap();
        while overdue().contains_key(path) {
            std::thread::yield_now();
        }
        assert_eq!(within(DEADLINE, path, |_| Ok(2)).unwrap(), 2);
    }

    #[test]
    fn a_panic_is_an_error_and_leaves_no_trace() {
        let path = Path::new("/panics/in/this/test");
        let panicked = within(DEADLINE, path, |_| -> io::Result<()> { panic!("scripted panic") });
        assert_eq!(panicked.unwrap_err().to_string(), "reading it panicked");
        assert_eq!(within(DEADLINE, path, |_| Ok(1)).unwrap(), 1);
    }
}
