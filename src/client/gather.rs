//! Wakes the readers of many paced streams together. Where a thousand streams send a token every few milliseconds, a
//! wake-up for each token costs more than its reading; and where the kernel says when bytes arrived, reading them a
//! moment later changes no mark. Knows neither what is read nor by whom.
//!
//! Only the rest of an answer is read this way: its first pieces and whatever follows a write are waited for alone, and
//! so are streams whose pieces are so close together that two of them could be read as one, which would then have one
//! time of arrival.

use super::connection::Tasks;
use futures_util::task::AtomicWaker;
#[cfg(target_os = "linux")]
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::HashMap;
use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// How often the sockets are looked at. The runtime's timers add up to a millisecond, so bytes wait for at most two.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Looking costs as much as a few wake-ups, so it has to save more than that.
const MIN_STREAMS: usize = 48;
/// Shortest time between two pieces of a paced stream: two looks.
const MIN_GAP: Duration = Duration::from_millis(4);
/// A stream is paced from this score on. Each piece that keeps [`MIN_GAP`] adds one.
const PACED: u32 = 8;
/// The highest score.
const MAX_SCORE: u32 = 16;
/// What a piece takes off that comes too soon after the one before.
const TOO_SOON: u32 = 4;
/// A look that comes later than this after the one before shows that others have the processor. Pieces would then wait so
/// long that two of a stream are read as one.
const MAX_LATE: Duration = Duration::from_millis(5);
/// For how long each stream is waited for alone after a late look.
const ALONE_FOR: Duration = Duration::from_secs(1);
/// Sockets per look, after which other tasks have their turn.
const MAX_EVENTS: usize = 256;

/// The streams of one client that are read together.
pub(super) struct Gatherer {
    #[cfg(target_os = "linux")]
    epoll: Epoll,
    tasks: Tasks,
    /// Streams that are paced, however they are read.
    paced: AtomicUsize,
    readers: Mutex<Readers>,
    began: Instant,
    /// When a look was late, in nanoseconds since `began`; 0 if none was.
    late_at: AtomicU64,
    /// When the sockets were last looked at, in nanoseconds since `began`.
    looked_at: AtomicU64,
    max_late: Duration,
}

#[derive(Default)]
struct Readers {
    /// By file descriptor.
    all: HashMap<u64, Arc<ReaderState>>,
    /// Whether [`Gatherer::look`] is running.
    looking: bool,
}

#[derive(Default)]
struct ReaderState {
    waker: AtomicWaker,
    /// Whether there is something to read, as far as is known.
    ready: AtomicBool,
    /// Whether the peer closed the connection, so that there is always something to read.
    closed: AtomicBool,
    /// The look before which it was last read without one.
    read_after: AtomicU64,
}

impl Gatherer {
    /// For the connections whose tasks these are; `None` where the kernel cannot say when bytes arrived.
    pub(super) fn new(tasks: Tasks) -> Option<Arc<Self>> {
        Self::with_max_late(tasks, MAX_LATE)
    }

    #[cfg(target_os = "linux")]
    fn with_max_late(tasks: Tasks, max_late: Duration) -> Option<Arc<Self>> {
        Some(Arc::new(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).ok()?,
            tasks,
            paced: AtomicUsize::new(0),
            readers: Mutex::default(),
            began: Instant::now(),
            late_at: AtomicU64::new(0),
            looked_at: AtomicU64::new(0),
            max_late,
        }))
    }

    #[cfg(not(target_os = "linux"))]
    fn with_max_late(_: Tasks, _: Duration) -> Option<Arc<Self>> {
        None
    }

    fn age(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Whether a look was late a short time ago.
    fn is_late(&self) -> bool {
        let alone_for = u64::try_from(ALONE_FOR.as_nanos()).unwrap_or(u64::MAX);
        match self.late_at.load(Ordering::Relaxed) {
            0 => false,
            at => self.age() < at.saturating_add(alone_for),
        }
    }

    #[cfg(target_os = "linux")]
    fn watch(&self, stream: &TcpStream, key: u64) -> io::Result<()> {
        let events = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        Ok(self.epoll.add(stream, EpollEvent::new(events, key))?)
    }

    #[cfg(not(target_os = "linux"))]
    fn watch(&self, _: &TcpStream, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(target_os = "linux")]
    fn forget(&self, stream: &TcpStream) {
        let _ = self.epoll.delete(stream);
    }

    #[cfg(not(target_os = "linux"))]
    fn forget(&self, _: &TcpStream) {}

    /// Calls `each` for every socket that has become readable since the last time, with whether its peer closed it.
    #[cfg(target_os = "linux")]
    fn take_ready(&self, mut each: impl FnMut(u64, bool)) -> bool {
        let mut events = [EpollEvent::empty(); MAX_EVENTS];
        let count = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        let ended = EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
        for event in events.iter().take(count) {
            each(event.data(), event.events().intersects(ended));
        }
        count == MAX_EVENTS
    }

    #[cfg(not(target_os = "linux"))]
    fn take_ready(&self, _: impl FnMut(u64, bool)) -> bool {
        false
    }

    /// Wakes the readers of all sockets that have become readable. Returns whether there may be more.
    fn wake(&self) -> bool {
        let readers = self.readers();
        self.looked_at.store(self.age(), Ordering::Relaxed);
        self.take_ready(|key, closed| {
            let Some(reader) = readers.all.get(&key) else { return };
            if closed {
                reader.closed.store(true, Ordering::Release);
            }
            reader.ready.store(true, Ordering::Release);
            reader.waker.wake();
        })
    }

    fn readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the sockets from time to time, for as long as there are any.
    async fn look(gatherer: Weak<Self>) {
        loop {
            let last = Instant::now();
            tokio::time::sleep(LOOK_EVERY).await;
            let Some(gatherer) = gatherer.upgrade() else { return };
            if last.elapsed() > gatherer.max_late {
                gatherer.late_at.store(gatherer.age(), Ordering::Relaxed);
            }
            while gatherer.wake() {
                tokio::task::yield_now().await;
            }
            let mut readers = gatherer.readers();
            if readers.all.is_empty() {
                readers.looking = false;
                return;
            }
        }
    }

    fn join(self: &Arc<Self>, stream: &Arc<TcpStream>) -> io::Result<GatheredSocket> {
        Handle::try_current().map_err(io::Error::other)?;
        let state = Arc::new(ReaderState::default());
        let key = u64::try_from(stream.as_raw_fd()).unwrap_or(u64::MAX);
        let start = {
            let mut readers = self.readers();
            readers.all.insert(key, Arc::clone(&state));
            !std::mem::replace(&mut readers.looking, true)
        };
        let joined = GatheredSocket { gatherer: Arc::clone(self), stream: Arc::clone(stream), key, state };
        if start {
            self.looked_at.store(self.age(), Ordering::Relaxed);
            self.tasks.spawn(Self::look(Arc::downgrade(self)));
        }
        self.watch(stream, key).map(|()| joined)
    }
}

/// A socket that is waited for together with others, until this is dropped.
pub(super) struct GatheredSocket {
    gatherer: Arc<Gatherer>,
    stream: Arc<TcpStream>,
    key: u64,
    state: Arc<ReaderState>,
}

impl Drop for GatheredSocket {
    fn drop(&mut self) {
        self.gatherer.forget(&self.stream);
        self.gatherer.readers().all.remove(&self.key);
    }
}

impl GatheredSocket {
    /// Waits until there may be something to read. To be called again after each read that was not short: readiness is
    /// edge-triggered.
    pub(super) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.state.waker.register(cx.waker());
        let ready =
            self.state.ready.swap(false, Ordering::AcqRel) || self.state.closed.load(Ordering::Acquire);
        if ready || self.is_overdue() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether the next look should have been long ago, once for each look: after a pause of the process, a deadline is
    /// asked about before the look is, and what has arrived in time must not count as late.
    fn is_overdue(&self) -> bool {
        let looked_at = self.gatherer.looked_at.load(Ordering::Relaxed);
        let age = Duration::from_nanos(self.gatherer.age().saturating_sub(looked_at));
        age > self.gatherer.max_late && self.state.read_after.swap(looked_at, Ordering::Relaxed) != looked_at
    }

    /// There may be more to read at once.
    pub(super) fn keep_ready(&self) {
        self.state.ready.store(true, Ordering::Release);
    }
}

/// How evenly the pieces of a stream come, and with whom it may be read.
pub(super) struct StreamPace {
    gatherer: Option<Arc<Gatherer>>,
    score: u32,
    last: Option<Instant>,
    /// Whether it is counted as paced.
    counted: bool,
}

impl StreamPace {
    /// A stream that may be read together with others of `gatherer`.
    pub(super) fn new(gatherer: Option<Arc<Gatherer>>) -> Self {
        Self { gatherer, score: 0, last: None, counted: false }
    }

    /// Notes that bytes arrived.
    pub(super) fn arrived(&mut self, at: Instant) {
        let Some(gatherer) = &self.gatherer else { return };
        let gap = self.last.replace(at).map_or(Duration::ZERO, |last| at.saturating_duration_since(last));
        self.score = if gap >= MIN_GAP {
            (self.score + 1).min(MAX_SCORE)
        } else {
            self.score.saturating_sub(TOO_SOON)
        };
        if self.score >= PACED && !self.counted {
            gatherer.paced.fetch_add(1, Ordering::Relaxed);
            self.counted = true;
        } else if self.score == 0 {
            self.leave();
        }
    }

    /// Begins anew: what comes next is not part of the stream so far.
    pub(super) fn begin(&mut self) {
        self.score = 0;
        self.last = None;
        self.leave();
    }

    fn leave(&mut self) {
        if let Some(gatherer) = self.gatherer.as_ref().filter(|_| std::mem::take(&mut self.counted)) {
            gatherer.paced.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether a stream that is read together with others may stay so.
    pub(super) fn keeps(&self) -> bool {
        self.counted && self.gatherer.as_ref().is_some_and(|gatherer| !gatherer.is_late())
    }

    /// Begins to wait for the stream together with others, if it is paced and there are enough of them.
    pub(super) fn join(&self, stream: &Arc<TcpStream>) -> Option<GatheredSocket> {
        let gatherer = self.gatherer.as_ref().filter(|_| self.keeps())?;
        (gatherer.paced.load(Ordering::Relaxed) >= MIN_STREAMS).then(|| gatherer.join(stream).ok()).flatten()
    }
}

impl Drop for StreamPace {
    fn drop(&mut self) {
        self.begin();
    }
}

#[cfg(test)]
mod tests;
