//! Keeps connections for the next request to the same target. Knows only whether they are ready.

use super::connection::Connection;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Idle timeout of a connection; it is closed after at most twice this time.
pub(super) const IDLE_FOR: Duration = Duration::from_mins(1);
/// How often idle HTTP/1.1 connections are looked at, so that those that their server closed are closed here, too.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
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
    /// Cancelled when the pool is closed.
    closed: CancellationToken,
    /// The number of concurrent streams per HTTP/2 connection that the server last announced.
    streams: AtomicUsize,
    /// Held while a shared connection is being opened, so that a burst of requests opens only one.
    opening: Semaphore,
}

#[derive(Default)]
struct PoolState {
    /// HTTP/1.1 connections, the most recently used last.
    idle: Vec<(Connection, Instant)>,
    /// Whether [`ConnectionPool::sweep_idle`] is running.
    sweeping: bool,
    /// HTTP/2 connections.
    shared: Vec<Connection>,
}

impl ConnectionPool {
    /// An empty pool.
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::default(),
            closed: CancellationToken::new(),
            streams: AtomicUsize::new(MAX_STREAMS),
            opening: Semaphore::new(1),
        }
    }

    /// Takes a connection that is ready now, if there is one.
    pub(super) fn take(&self) -> Option<Connection> {
        let (mut state, now) = (self.lock(), Instant::now());
        state.sweep_shared(now);
        if let Some(newest) = state.shared.last() {
            self.streams.store(newest.most_streams().clamp(1, MAX_STREAMS), Ordering::Relaxed);
        }
        if let Some(link) = state.shared.iter().find_map(share) {
            return Some(link);
        }
        loop {
            let (mut link, since) = state.idle.pop()?;
            if is_fresh(&mut link, since, now) {
                link.reuse();
                return Some(link);
            }
        }
    }

    /// Returns an HTTP/1.1 connection that is ready again. Returns `true` if [`Self::sweep_idle`] is to be spawned.
    #[must_use]
    pub(super) fn put(&self, mut link: Connection) -> bool {
        let (mut state, now) = (self.lock(), Instant::now());
        let room = !self.closed.is_cancelled() && state.idle.len() < MAX_IDLE;
        if !room || link.lease().is_some() || !is_usable(&mut link, now) {
            return false;
        }
        state.idle.push((link, now));
        !std::mem::replace(&mut state.sweeping, true)
    }

    /// Closes idle HTTP/1.1 connections when their time has come, as long as there are any.
    pub(super) async fn sweep_idle(pool: Weak<Self>) {
        let Some(closed) = pool.upgrade().map(|pool| pool.closed.clone()) else { return };
        loop {
            tokio::select! {
                () = closed.cancelled() => return,
                () = tokio::time::sleep(SWEEP_EVERY) => {}
            }
            let Some(pool) = pool.upgrade() else { return };
            let (mut state, now) = (pool.lock(), Instant::now());
            state.idle.retain_mut(|(link, since)| is_fresh(link, *since, now));
            if state.idle.is_empty() {
                state.sweeping = false;
                return;
            }
        }
    }

    /// Shares an HTTP/2 connection that was just opened.
    pub(super) fn offer(&self, link: &Connection) {
        let Some(lease) = link.lease() else { return };
        let mut state = self.lock();
        if !self.closed.is_cancelled()
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

    /// Closes HTTP/2 connections that are too old or were idle for too long.
    pub(super) fn sweep(&self) {
        self.lock().sweep_shared(Instant::now());
    }

    /// Closes idle connections, now and in the future.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        self.closed.cancel();
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
    fn sweep_shared(&mut self, now: Instant) {
        self.shared
            .retain_mut(|link| is_usable(link, now) && link.lease().is_some_and(|lease| !lease.is_idle(now)));
    }
}

/// Whether a connection that has been idle since then can be used.
fn is_fresh(link: &mut Connection, since: Instant, now: Instant) -> bool {
    now.duration_since(since) < IDLE_FOR && is_usable(link, now)
}

fn is_usable(link: &mut Connection, now: Instant) -> bool {
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
