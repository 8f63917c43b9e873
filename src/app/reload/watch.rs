//! Notices possible changes of the config's files: by file system events if they are available, and by polling
//! otherwise (network file systems, an exhausted limit of watches). Whether anything has really changed is decided
//! elsewhere.

use super::folders::{Folder, folders};
use crate::files::Files;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Timing of a watch.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long files must be quiet after a change, because editors and the kubelet write in several steps.
    pub quiet: Duration,
    /// The longest wait for quiet.
    pub most: Duration,
    /// How often files are checked without an event.
    pub poll: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(500),
            most: Duration::from_secs(5),
            poll: Duration::from_secs(30),
        }
    }
}

/// Watches the folders of some files.
pub(super) struct Watch {
    pace: Pace,
    stirred: Arc<Notify>,
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<Folder>,
    /// Whether the missing events have been logged already.
    told: bool,
}

impl Watch {
    /// Creates a watch without files.
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, stirred: Arc::default(), watcher: None, folders: BTreeSet::new(), told: false }
    }

    /// Watches the current locations of these files: their folders, and the folders of links on the way to them.
    /// Blocks.
    pub(super) fn follow(&mut self, files: &Files) {
        self.watch(folders(files.paths()));
    }

    fn watch(&mut self, folders: BTreeSet<Folder>) {
        if folders == self.folders && self.watcher.is_some() {
            return;
        }
        match self.events(&folders) {
            Ok(watcher) => {
                // The old watcher is dropped after the new one has started, so that nothing is missed. Changes before
                // the start are found by one more check.
                self.watcher = Some(watcher);
                self.stirred.notify_one();
                self.told = false;
            }
            Err(error) => {
                self.watcher = None;
                if !self.told {
                    let every = self.pace.poll;
                    tracing::warn!(%error, ?every, "the config's folders cannot be watched and are looked at");
                }
                self.told = true;
            }
        }
        self.folders = folders;
    }

    fn events(&self, folders: &BTreeSet<Folder>) -> notify::Result<RecommendedWatcher> {
        let stirred = Arc::clone(&self.stirred);
        let mut watcher = notify::recommended_watcher(move |event| {
            if matters(&event) {
                stirred.notify_one();
            }
        })?;
        for folder in folders {
            watcher.watch(&folder.path, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    }

    /// How often files are checked without an event.
    pub(super) const fn poll(&self) -> Duration {
        self.pace.poll
    }

    /// Triggers another check of the files, as an event does.
    pub(super) fn stir(&self) {
        self.stirred.notify_one();
    }

    /// Completes when the files should be checked: when it is quiet after events, and at each poll interval.
    pub(super) async fn stirred(&self) {
        let next = Instant::now() + self.pace.poll;
        tokio::select! {
            () = self.stirred.notified() => {}
            () = sleep_until(next) => return,
        }
        let latest = Instant::now() + self.pace.most;
        loop {
            let quiet = Instant::now() + self.pace.quiet;
            tokio::select! {
                biased;
                () = sleep_until(latest.min(quiet)) => return,
                () = self.stirred.notified() => {}
            }
        }
    }
}

/// Whether an event may mean a change. An error may mean that events were lost. Reading a file, or closing it after a
/// write with its own event, is not a change.
fn matters(event: &notify::Result<notify::Event>) -> bool {
    event.as_ref().map_or(true, |event| !matches!(event.kind, EventKind::Access(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    const SECOND: Duration = Duration::from_secs(1);

    fn watch() -> Watch {
        Watch::new(Pace { quiet: SECOND, most: SECOND * 4, poll: SECOND * 100 })
    }

    async fn after(watch: &Watch) -> Duration {
        let before = Instant::now();
        watch.stirred().await;
        before.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn without_events_it_is_time_now_and_then() {
        let watch = watch();
        assert_eq!(after(&watch).await, SECOND * 100);
        assert_eq!(after(&watch).await, SECOND * 100);
    }

    #[tokio::test(start_paused = true)]
    async fn after_an_event_quiet_is_awaited() {
        let watch = watch();
        watch.stirred.notify_one();
        assert_eq!(after(&watch).await, SECOND);
        let stirred = Arc::clone(&watch.stirred);
        let noise = async {
            for _ in 0..3 {
                stirred.notify_one();
                tokio::time::sleep(SECOND / 2).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            time = after(&watch) => assert_eq!(time, SECOND * 2),
            () = noise => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn noise_without_end_is_not_waited_for() {
        let watch = watch();
        let stirred = Arc::clone(&watch.stirred);
        let noise = async {
            loop {
                stirred.notify_one();
                tokio::time::sleep(SECOND / 10).await;
            }
        };
        tokio::select! {
            time = after(&watch) => assert_eq!(time, SECOND * 4),
            () = noise => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_events_cannot_be_had_files_are_looked_at() {
        let (there, gone) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = gone.path().join("a");
        let missing = folders([&*file].into_iter());
        drop(gone);
        let mut watch = watch();
        watch.watch(missing);
        assert!(watch.watcher.is_none() && watch.told);
        assert_eq!(after(&watch).await, SECOND * 100);
        // It is tried again at every check.
        watch.watch(folders([&*there.path().join("a")].into_iter()));
        assert!(watch.watcher.is_some() && !watch.told);
        assert_eq!(after(&watch).await, SECOND, "what went on before it watched is looked for");
    }

    /// Whether a watch of a file notices a change before its poll interval.
    async fn hears(path: &Path, change: impl FnOnce()) {
        let mut watch = Watch::new(Pace { quiet: Duration::ZERO, most: SECOND, poll: SECOND * 3600 });
        let mut files = Files::default();
        // It does not matter that it cannot be read.
        let _ = files.read(path);
        watch.follow(&files);
        watch.stirred().await;
        assert!(watch.watcher.is_some());
        change();
        tokio::time::timeout(SECOND * 60, watch.stirred()).await.expect("nothing was heard");
    }

    #[tokio::test]
    async fn writes_renames_and_removals_are_heard() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        hears(&at("a"), || fs::write(at("a"), "one").unwrap()).await;
        hears(&at("a"), || fs::write(at("a"), "two").unwrap()).await;
        fs::write(at("b"), "three").unwrap();
        hears(&at("a"), || fs::rename(at("b"), at("a")).unwrap()).await;
        hears(&at("a"), || fs::remove_file(at("a")).unwrap()).await;
    }

    #[tokio::test]
    async fn a_mounted_config_map_is_heard_and_so_is_what_a_link_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (folder, text) in [("..1", "one"), ("..2", "two")] {
            fs::create_dir(at(folder)).unwrap();
            fs::write(at(folder).join("a"), text).unwrap();
        }
        std::os::unix::fs::symlink("..1", at("..data")).unwrap();
        std::os::unix::fs::symlink("..data/a", at("a")).unwrap();
        hears(&at("a"), || {
            std::os::unix::fs::symlink("..2", at("..data_tmp")).unwrap();
            fs::rename(at("..data_tmp"), at("..data")).unwrap();
        })
        .await;
        hears(&at("a"), || fs::write(at("..2/a"), "three").unwrap()).await;
    }

    #[test]
    fn reading_is_no_change() {
        use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
        let event = |kind| Ok(notify::Event::new(kind));
        // Otherwise each load would trigger the next one.
        assert!(!matters(&event(EventKind::Access(AccessKind::Open(AccessMode::Any)))));
        assert!(!matters(&event(EventKind::Access(AccessKind::Close(AccessMode::Read)))));
        assert!(matters(&event(EventKind::Modify(ModifyKind::Any))));
        assert!(matters(&event(EventKind::Create(CreateKind::File))));
        assert!(matters(&event(EventKind::Other)));
        assert!(matters(&Err(notify::Error::generic("lost"))));
    }
}
