//! The open connections of the server, bounded in number. When there are too many, the one that has kept us waiting
//! longest makes room, so that a scrape gets in however many silent connections there are.

use super::activity::Activity;
use crate::log_throttle::LogThrottle;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Bounds of the number of connections, whatever the limit of open files is.
const LEAST: usize = 4;
const MOST: usize = 512;
/// The server's part of the limit of open files; the rest is for traffic and for files.
const PART: u64 = 8;
/// Pause before looking again for a connection that can make room.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Minimum interval between log lines about connections that made room.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// Maximum number of connections of the server in a process that may open `open_files` files (`None`: no limit).
pub fn max_connections(open_files: Option<u64>) -> usize {
    let part = open_files.map_or(MOST, |files| usize::try_from(files / PART).unwrap_or(MOST));
    part.clamp(LEAST, MOST)
}

/// The open connections.
#[derive(Debug)]
pub(super) struct Connections {
    max: usize,
    table: Mutex<Table>,
    log_throttle: LogThrottle,
    /// A connection has ended.
    freed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: HashMap<u64, OpenConnection>,
}

#[derive(Debug)]
struct OpenConnection {
    activity: Arc<Activity>,
    close: CancellationToken,
}

/// A connection among the open ones, until it is dropped.
#[derive(Debug)]
pub(super) struct AdmittedConnection {
    id: u64,
    connections: Arc<Connections>,
    /// What it is doing.
    pub(super) activity: Arc<Activity>,
    /// Cancelled when it has to make room.
    pub(super) close: CancellationToken,
}

impl Connections {
    pub(super) fn new(max: usize) -> Arc<Self> {
        let log_throttle = LogThrottle::new(1, TELL_EVERY);
        Arc::new(Self { max, table: Mutex::default(), log_throttle, freed: Notify::new() })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection in. There may be one too many from now on until [`Connections::room`] returns.
    pub(super) fn admit(self: &Arc<Self>) -> AdmittedConnection {
        let (activity, close) = (Arc::new(Activity::begin()), CancellationToken::new());
        let mut table = self.table();
        let id = table.next;
        table.next += 1;
        table.open.insert(id, OpenConnection { activity: Arc::clone(&activity), close: close.clone() });
        AdmittedConnection { id, connections: Arc::clone(self), activity, close }
    }

    /// Waits until there are not too many connections, and closes what keeps us waiting until then. Connections that
    /// are being answered are not closed: with nothing else, new ones wait until one of them ends.
    pub(super) async fn room(&self) {
        loop {
            let freed = self.freed.notified();
            if self.table().open.len() <= self.max {
                return;
            }
            self.make_room(1);
            // What was not dispensable may be so by then.
            let _ = tokio::time::timeout(LOOK_AGAIN, freed).await;
        }
    }

    /// Closes a connection that keeps us waiting, if there is one, unless more than `max` less `spare` connections are
    /// ending already.
    pub(super) fn make_room(&self, spare: usize) {
        let now = Instant::now();
        let table = self.table();
        let ending = table.open.values().filter(|held| held.close.is_cancelled()).count();
        if ending >= spare.max(table.open.len().saturating_sub(self.max)) {
            return;
        }
        let waiting = table.open.values().filter(|held| !held.close.is_cancelled());
        let first = waiting
            .filter_map(|held| Some((held.activity.dispensable(now)?, held)))
            .min_by_key(|(since, _)| *since);
        let Some((_, held)) = first else { return };
        held.close.cancel();
        if let Some(before) = self.log_throttle.line() {
            tracing::warn!(
                before,
                limit = self.max,
                "too many connections to the web port: closed the one that kept us waiting longest"
            );
        }
    }
}

impl Drop for AdmittedConnection {
    fn drop(&mut self) {
        self.connections.table().open.remove(&self.id);
        self.connections.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn the_bound_leaves_most_files_to_the_traffic() {
        let of = |files| max_connections(Some(files));
        assert_eq!([of(16), of(256), of(1024), of(1 << 20)], [4, 32, 128, 512]);
        assert_eq!(max_connections(None), 512);
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_silent_one_makes_room_and_an_answer_never_does() {
        let connections = Connections::new(2);
        let (busy, kept) = (connections.admit(), connections.admit());
        busy.activity.requested();
        kept.activity.requested();
        kept.activity.secured();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(connections.room().now_or_never(), Some(()), "not too many yet");
        let silent = connections.admit();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(connections.room().now_or_never(), None);
        assert!(silent.close.is_cancelled() && !kept.close.is_cancelled(), "it has sent no request");
        drop(silent);
        // An idle one that has sent a request goes when nothing else is left.
        let young = connections.admit();
        young.activity.requested();
        assert_eq!(connections.room().now_or_never(), None);
        assert!(kept.close.is_cancelled());
        // One is ending, so no other has to.
        connections.make_room(1);
        drop(kept);
        assert!(connections.room().now_or_never().is_some() && !busy.close.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_has_a_moment_and_gets_in_when_an_answer_ends() {
        let connections = Connections::new(1);
        let busy = connections.admit();
        busy.activity.requested();
        let new = connections.admit();
        assert_eq!(connections.room().now_or_never(), None);
        assert!(!new.close.is_cancelled());
        new.activity.requested();
        let waiting = Arc::clone(&connections);
        let waiting = tokio::spawn(async move { waiting.room().await });
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!waiting.is_finished());
        drop(busy);
        waiting.await.unwrap();
        assert!(!new.close.is_cancelled());
    }
}
