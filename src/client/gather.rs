//! Reads many paced streams together. Where a thousand streams send a token every few milliseconds, a wake-up for each
//! token costs more than its reading; and where the kernel says when bytes arrived, handing them over a moment later
//! changes no mark. So the sockets are looked at from time to time, each piece is read by itself, so that it keeps its
//! own time, and a reader is woken for several of them.
//!
//! Only the rest of an answer is read this way: its first pieces and whatever follows a write are waited for alone, and
//! so are streams whose pieces are so close together that two of them could be read as one, which would then have one
//! time of arrival. What may end the body of an answer is handed over at once, because the next request may wait for it.

mod pace;

pub(super) use pace::StreamPace;

use super::answer_reader::AnswerSocket;
use super::connection::Tasks;
#[cfg(target_os = "linux")]
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use slab::Slab;
use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::ReadBuf;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// The shortest time from one look at the sockets to the next. The runtime waits for whole milliseconds, so they are looked
/// at about once in each. A look each half of a millisecond, by a timer of the kernel, would wake the process more often and
/// cost a third more.
const LOOK_AFTER: Duration = Duration::from_micros(100);
/// Looking costs as much as a few wake-ups, so it has to save more than that.
const MIN_STREAMS: usize = 48;
/// For how long pieces are held before their reader is woken for them. It changes no mark.
const HOLD_FOR: Duration = Duration::from_millis(60);
/// When the next look is so late, a reader that is woken for another reason (a deadline) looks itself.
const MAX_LATE: Duration = Duration::from_millis(5);
/// Sockets per look, after which other tasks have their turn.
const MAX_EVENTS: usize = 64;

/// The streams of one client that are read together.
pub(super) struct Gatherer {
    #[cfg(target_os = "linux")]
    epoll: Epoll,
    tasks: Tasks,
    /// Streams that are paced, however they are read.
    paced: AtomicUsize,
    sockets: Mutex<Sockets>,
    began: Instant,
    /// When the sockets were last looked at, in nanoseconds since `began`.
    looked_at: AtomicU64,
}

#[derive(Default)]
struct Sockets {
    /// By the number that the kernel gives back with their events. An event that was taken before its socket left may find
    /// another one by the same number: that one is looked at without need.
    all: Slab<Arc<AnswerSocket>>,
    /// Whether [`Gatherer::look`] is running.
    looking: bool,
}

/// A socket that has become readable, and whether its peer closed the connection.
struct ReadySocket {
    socket: Arc<AnswerSocket>,
    is_closed: bool,
}

/// Those that hold pieces, in the order in which their readers are to be woken. A connection that is closed meanwhile is
/// not kept open by this.
type Holding = VecDeque<(Instant, Weak<AnswerSocket>)>;

impl Gatherer {
    /// For the connections whose tasks these are; `None` where the kernel cannot say when bytes arrived.
    #[cfg(target_os = "linux")]
    pub(super) fn new(tasks: Tasks) -> Option<Arc<Self>> {
        Some(Arc::new(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).ok()?,
            tasks,
            paced: AtomicUsize::new(0),
            sockets: Mutex::default(),
            began: Instant::now(),
            looked_at: AtomicU64::new(0),
        }))
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn new(_: Tasks) -> Option<Arc<Self>> {
        None
    }

    fn age(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Notes that the sockets are looked at.
    fn looked(&self) {
        self.looked_at.store(self.age(), Ordering::Relaxed);
    }

    /// Whether the next look should have been long ago, once for each look: `asked_at` is the one that was asked about
    /// last.
    fn is_overdue(&self, asked_at: &mut u64) -> bool {
        let looked_at = self.looked_at.load(Ordering::Relaxed);
        let age = Duration::from_nanos(self.age().saturating_sub(looked_at));
        age > MAX_LATE && std::mem::replace(asked_at, looked_at) != looked_at
    }

    #[cfg(target_os = "linux")]
    fn watch(&self, stream: &TcpStream, key: usize) -> io::Result<()> {
        let events = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        Ok(self.epoll.add(stream, EpollEvent::new(events, key as u64))?)
    }

    #[cfg(not(target_os = "linux"))]
    fn watch(&self, _: &TcpStream, _: usize) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(target_os = "linux")]
    fn forget(&self, stream: &TcpStream) {
        let _ = self.epoll.delete(stream);
    }

    #[cfg(not(target_os = "linux"))]
    fn forget(&self, _: &TcpStream) {}

    /// The sockets that have become readable since the last time, at most [`MAX_EVENTS`]. Returns whether there may be
    /// more.
    #[cfg(target_os = "linux")]
    fn take_ready(&self, ready: &mut Vec<ReadySocket>) -> bool {
        let ended = EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
        let mut events = [EpollEvent::empty(); MAX_EVENTS];
        let count = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        let sockets = self.sockets();
        ready.extend(events.iter().take(count).filter_map(|event| {
            let socket = Arc::clone(sockets.all.get(usize::try_from(event.data()).ok()?)?);
            Some(ReadySocket { socket, is_closed: event.events().intersects(ended) })
        }));
        count == MAX_EVENTS
    }

    #[cfg(not(target_os = "linux"))]
    fn take_ready(&self, _: &mut Vec<ReadySocket>) -> bool {
        false
    }

    fn sockets(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the sockets from time to time, for as long as there are any.
    async fn look(gatherer: Weak<Self>) {
        let (mut ready, mut holding) = (Vec::with_capacity(MAX_EVENTS), Holding::new());
        let mut began = Instant::now();
        loop {
            tokio::time::sleep_until(began + LOOK_AFTER).await;
            began = Instant::now();
            let Some(gatherer) = gatherer.upgrade() else { return };
            loop {
                gatherer.looked();
                let is_more = gatherer.take_ready(&mut ready);
                for ReadySocket { socket, is_closed } in ready.drain(..) {
                    read(&socket, is_closed, &mut holding);
                }
                hand_over(&mut holding);
                if !is_more {
                    break;
                }
                tokio::task::yield_now().await;
            }
            let mut sockets = gatherer.sockets();
            if sockets.all.is_empty() {
                sockets.looking = false;
                return;
            }
        }
    }

    /// Begins to read a stream for its reader.
    pub(super) fn join(self: &Arc<Self>, socket: &Arc<AnswerSocket>) -> io::Result<GatheredStream> {
        Handle::try_current().map_err(io::Error::other)?;
        let socket = Arc::clone(socket);
        let (key, start) = {
            let mut sockets = self.sockets();
            let key = sockets.all.insert(Arc::clone(&socket));
            (key, !std::mem::replace(&mut sockets.looking, true))
        };
        socket.reader().begin_gathered();
        let joined = GatheredStream { gatherer: Arc::clone(self), socket, key, asked_at: 0 };
        if start {
            self.looked();
            self.tasks.spawn(Self::look(Arc::downgrade(self)));
        }
        self.watch(&joined.socket.stream, key).map(|()| joined)
    }
}

/// Wakes those who have waited for their pieces for long enough.
fn hand_over(holding: &mut Holding) {
    let now = Instant::now();
    while holding.front().is_some_and(|(until, _)| *until <= now) {
        let Some((_, socket)) = holding.pop_front() else { return };
        let Some(socket) = socket.upgrade() else { continue };
        let waker = {
            let mut reader = socket.reader();
            reader.is_listed = false;
            if reader.held.is_empty() { None } else { reader.waker.take() }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Reads what has come, and wakes the reader if it should take it now.
fn read(socket: &Arc<AnswerSocket>, is_closed: bool, holding: &mut Holding) {
    let waker = {
        let mut reader = socket.reader();
        if !reader.is_gathered {
            return;
        }
        reader.is_closed |= is_closed;
        let is_due = reader.hold(&socket.stream);
        if reader.held.is_empty() {
            return;
        }
        let waker = if is_due { reader.waker.take() } else { None };
        if waker.is_none() && !std::mem::replace(&mut reader.is_listed, true) {
            holding.push_back((Instant::now() + HOLD_FOR, Arc::downgrade(socket)));
        }
        waker
    };
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// A stream that is read together with others, until this is dropped.
pub(super) struct GatheredStream {
    gatherer: Arc<Gatherer>,
    socket: Arc<AnswerSocket>,
    key: usize,
    /// The look before which it was last read without one.
    asked_at: u64,
}

impl Drop for GatheredStream {
    fn drop(&mut self) {
        {
            let mut reader = self.socket.reader();
            reader.is_gathered = false;
            reader.waker = None;
        }
        self.gatherer.forget(&self.socket.stream);
        self.gatherer.sockets().all.try_remove(self.key);
    }
}

impl GatheredStream {
    /// Takes what was read. `None` if the stream should be read alone from now on.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Option<io::Result<()>>> {
        let Self { gatherer, socket, asked_at, .. } = self;
        let mut reader = socket.reader();
        // Readiness is edge-triggered: what did not fit is read once there is room again.
        let was_full = reader.held.is_full();
        if let Some(taken) = reader.take(buf) {
            if was_full {
                reader.hold(&socket.stream);
            }
            return Poll::Ready(Some(taken));
        }
        if !reader.pace.keeps() {
            return Poll::Ready(None);
        }
        // After a pause of the process, a deadline is asked about before the next look, and what has arrived in time must
        // not count as late.
        if gatherer.is_overdue(asked_at) {
            reader.hold(&socket.stream);
            if let Some(taken) = reader.take(buf) {
                return Poll::Ready(Some(taken));
            }
        }
        match &mut reader.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
