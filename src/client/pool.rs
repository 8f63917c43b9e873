//! Keeps connections for the next request to the same target. Knows only whether they are ready.

use super::connection::Connection;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Idle timeout of a connection; it is closed after at most twice this time.
pub(super) const IDLE_FOR: Duration = Duration::from_mins(1);
/// Maximum age of a connection that takes further requests, so that a change of the target's addresses takes effect.
const MAX_AGE: Duration = Duration::from_mins(10);
/// Maximum number of idle HTTP/1.1 connections; further ones are closed after their request.
const MAX_IDLE: usize = 1024;
/// Maximum number of concurrent requests on one HTTP/2 connection, or fewer if the server says so: more requests would
/// wait inside the connection, and that time would be attributed to the server. 100 is the minimum that RFC 9113
/// recommends to servers. A server announces its own limit after the connection is open, so a first burst may still
/// queue if the limit is lower.
const MAX_STREAMS: usize = 100;

/// The connections of one target.
pub(super) struct ConnectionPool {
    state: Mutex<PoolState>,
    /// The number of concurrent streams per HTTP/2 connection that the server last announced.
    streams: AtomicUsize,
    /// Held while a shared connection is being opened, so that a burst of requests opens only one.
    opening: Semaphore,
}

struct PoolState {
    closed: bool,
    /// HTTP/1.1 connections, the most recently used last.
    idle: Vec<(Connection, Instant)>,
    /// HTTP/2 connections.
    shared: Vec<Connection>,
}

impl ConnectionPool {
    /// An empty pool.
    pub(super) fn new() -> Self {
        let state = PoolState { closed: false, idle: Vec::new(), shared: Vec::new() };
        let streams = AtomicUsize::new(MAX_STREAMS);
        Self { state: Mutex::new(state), streams, opening: Semaphore::new(1) }
    }

    /// Takes a connection that is ready now, if there is one.
    pub(super) fn take(&self) -> Option<Connection> {
        let mut state = self.lock();
        state.sweep(Instant::now());
        if let Some(newest) = state.shared.last() {
            self.streams.store(newest.most_streams().clamp(1, MAX_STREAMS), Ordering::Relaxed);
        }
        if let Some(link) = state.shared.iter().find_map(share) {
            return Some(link);
        }
        let (mut link, _) = state.idle.pop()?;
        link.reuse();
        Some(link)
    }

    /// Returns an HTTP/1.1 connection that is ready again.
    pub(super) fn put(&self, link: Connection) {
        let mut state = self.lock();
        let now = Instant::now();
        if !state.closed && state.idle.len() < MAX_IDLE && link.lease().is_none() && is_usable(&link, now) {
            state.idle.push((link, now));
        }
    }

    /// Shares an HTTP/2 connection that was just opened.
    pub(super) fn offer(&self, link: &Connection) {
        let Some(lease) = link.lease() else { return };
        let mut state = self.lock();
        if !state.closed
            && let Some(keeper) = link.share(lease.watch())
        {
            state.shared.push(keeper);
        }
    }

    /// The assumed stream limit of a new HTTP/2 connection until its server announces one.
    pub(super) fn most_streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// Waits for permission to open a shared connection. Check the pool again afterwards: another request may have
    /// opened one.
    pub(super) async fn opening(&self) -> Option<SemaphorePermit<'_>> {
        self.opening.acquire().await.ok()
    }

    /// Closes connections that are too old or were idle for too long.
    pub(super) fn sweep(&self) {
        self.lock().sweep(Instant::now());
    }

    /// Closes idle connections, now and in the future.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.idle.clear();
        state.shared.clear();
    }

    /// The number of connections in the pool.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let state = self.lock();
        state.idle.len() + state.shared.len()
    }

    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PoolState {
    fn sweep(&mut self, now: Instant) {
        self.idle.retain(|(link, since)| is_usable(link, now) && now.duration_since(*since) < IDLE_FOR);
        self.shared
            .retain(|link| is_usable(link, now) && link.lease().is_some_and(|lease| !lease.is_idle(now)));
    }
}

fn is_usable(link: &Connection, now: Instant) -> bool {
    link.is_ready() && now.duration_since(link.born()) < MAX_AGE
}

fn share(link: &Connection) -> Option<Connection> {
    let most = link.most_streams().clamp(1, MAX_STREAMS);
    link.share(link.lease()?.another(most)?)
}

/// One of the concurrent streams of an HTTP/2 connection; frees its slot when it is dropped.
pub(super) struct Lease {
    streams: Arc<Mutex<Streams>>,
    /// Whether it occupies a slot or only observes the count.
    counts: bool,
}

struct Streams {
    active: usize,
    /// When a slot was last taken or freed.
    used: Instant,
}

impl Lease {
    /// The first stream of a new connection.
    pub(super) fn first() -> Self {
        let streams = Streams { active: 1, used: Instant::now() };
        Self { streams: Arc::new(Mutex::new(streams)), counts: true }
    }

    /// A handle that occupies no slot.
    fn watch(&self) -> Self {
        Self { streams: Arc::clone(&self.streams), counts: false }
    }

    /// Another stream, if fewer than `most` are active.
    fn another(&self, most: usize) -> Option<Self> {
        let mut streams = self.lock();
        if streams.active >= most {
            return None;
        }
        streams.active += 1;
        streams.used = Instant::now();
        Some(Self { streams: Arc::clone(&self.streams), counts: true })
    }

    fn is_idle(&self, now: Instant) -> bool {
        let streams = self.lock();
        streams.active == 0 && now.duration_since(streams.used) >= IDLE_FOR
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.counts {
            let mut streams = self.lock();
            streams.active = streams.active.saturating_sub(1);
            streams.used = Instant::now();
        }
    }
}
