//! When the bytes of a TCP socket arrived at this machine. The kernel notes the time of each segment (`SO_TIMESTAMPNS`,
//! socket(7)), so that nothing is late because it was read late. Where the kernel has merged segments before they are
//! read, their time is that of the last one; and so is that of a read that goes over several of them, so a late reader reads
//! in small steps. On other systems than Linux, bytes arrive when they are read.
//!
//! Knows neither what is read nor how its reader waits for it.

mod steps;

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd as _;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};
use steps::ReadSteps;
use tokio::io::ReadBuf;
use tokio::time::Instant;

/// Maximum number of bytes of one read.
const MAX_READ: usize = 64 << 10;

/// Where bytes are read to at first, with what the kernel says about them: a reader's own room would have to be filled
/// with zeros before each read, all of it, and is much larger than a token.
struct Landing {
    bytes: Vec<u8>,
    control: Vec<u8>,
}

thread_local! {
    static LANDING: RefCell<Landing> = RefCell::new(Landing { bytes: vec![0; MAX_READ], control: control() });
}

/// A socket that can be read without waiting.
pub trait ReadNow: AsFd {
    /// Reads what is there. Fails with [`io::ErrorKind::WouldBlock`] if nothing is.
    fn read_now(&self, into: &mut [u8]) -> io::Result<usize>;
}

impl ReadNow for std::net::TcpStream {
    fn read_now(&self, into: &mut [u8]) -> io::Result<usize> {
        io::Read::read(&mut &*self, into)
    }
}

impl ReadNow for tokio::net::TcpStream {
    fn read_now(&self, into: &mut [u8]) -> io::Result<usize> {
        self.try_read(into)
    }
}

/// Reads a socket, and knows when the bytes arrived.
#[derive(Debug)]
pub struct TimedReader {
    /// No byte that is still to be read arrived before this.
    earliest: Option<Instant>,
    /// When the bytes that were read last arrived, as the kernel said it and as it was understood: all bytes of a segment
    /// arrived at the same instant, in however many steps they are read.
    last: Option<(SystemTime, Instant)>,
    /// `None` if everything that is there is read at once.
    steps: Option<ReadSteps>,
}

/// When bytes arrived at this machine.
#[derive(Clone, Copy, Debug)]
pub struct BytesArrival {
    /// The instant.
    pub at: Instant,
    /// How long after that they were read.
    pub lag: Duration,
}

/// What was read.
#[derive(Clone, Copy, Debug)]
pub struct TimedRead {
    /// When the last of the bytes arrived; `None` at the end, which has no time of its own: it may be read together with
    /// what came before it.
    pub arrived: Option<BytesArrival>,
    /// Whether there was no more to read.
    pub emptied: bool,
}

impl TimedReader {
    /// For a socket of which no byte arrived before `earliest`, if that is known.
    pub fn new(earliest: Option<Instant>) -> Self {
        Self { earliest, last: None, steps: None }
    }

    /// Likewise; reads in small steps what it reads late.
    pub fn stepwise(earliest: Option<Instant>) -> Self {
        Self { steps: Some(ReadSteps::new(Instant::now())), ..Self::new(earliest) }
    }

    /// Reads what is there, as far as there is room for it. Fails as the socket does.
    pub fn read(&mut self, socket: &impl ReadNow, buf: &mut ReadBuf<'_>) -> io::Result<TimedRead> {
        self.read_to(socket, buf.remaining(), |bytes, _| buf.put_slice(bytes))
    }

    /// Reads what is there, at most `room` bytes, and hands it to `take` together with when the last of it arrived. Fails
    /// as the socket does. At the end, nothing is handed over.
    pub fn read_to(
        &mut self,
        socket: &impl ReadNow,
        room: usize,
        take: impl FnOnce(&[u8], BytesArrival),
    ) -> io::Result<TimedRead> {
        let began = Instant::now();
        let room = room.min(self.steps.as_mut().map_or(MAX_READ, |steps| steps.next(began)));
        LANDING.with_borrow_mut(|Landing { bytes, control }| {
            let landing = bytes.get_mut(..room).unwrap_or_default();
            let (read, stamp) = match receive(socket, landing, control) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.note_empty(began);
                    return Err(error);
                }
                received => received?,
            };
            if read == 0 {
                return Ok(TimedRead { arrived: None, emptied: false });
            }
            let arrival = self.understand(stamp);
            take(landing.get(..read).unwrap_or_default(), arrival);
            let emptied = read < room;
            self.earliest = Some(if emptied { arrival.at.max(began) } else { arrival.at });
            if emptied {
                self.note_empty(began);
            } else if let Some(steps) = &mut self.steps {
                steps.read(arrival.lag);
            }
            Ok(TimedRead { arrived: Some(arrival), emptied })
        })
    }

    fn note_empty(&mut self, then: Instant) {
        if let Some(steps) = &mut self.steps {
            steps.emptied(then);
        }
    }

    /// What the kernel means, of bytes that were read just now.
    fn understand(&mut self, stamp: Option<SystemTime>) -> BytesArrival {
        if let Some((_, at)) = self.last.filter(|(last, _)| Some(*last) == stamp) {
            return BytesArrival { at, lag: at.elapsed() };
        }
        // The wall clock is read first: what comes between the two readings makes an arrival later, never earlier than it was.
        let age = stamp.and_then(|at| SystemTime::now().duration_since(at).ok());
        let now = Instant::now();
        let at = age.and_then(|age| now.checked_sub(age)).unwrap_or(now);
        let at = self.earliest.map_or(at, |earliest| at.max(earliest)).min(now);
        self.last = stamp.map(|stamp| (stamp, at));
        BytesArrival { at, lag: now.saturating_duration_since(at) }
    }
}

/// Makes the kernel note the times of segments from now on. It begins some time after the first socket that asks for it
/// was opened, and ends with the last one, so one stays open as long as the process.
pub fn keep_noting() {
    static ASKS: OnceLock<Option<UdpSocket>> = OnceLock::new();
    ASKS.get_or_init(|| {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
        ask(&socket);
        Some(socket)
    });
}

/// Asks for the times of what a socket receives. Without them, bytes arrive when they are read.
#[cfg(target_os = "linux")]
pub fn ask(socket: &impl AsFd) {
    let _ = nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::ReceiveTimestampns, &true);
}

/// Asks for nothing: the times of what a socket receives are known on Linux only.
#[cfg(not(target_os = "linux"))]
pub fn ask(_: &impl AsFd) {}

/// Room for what the kernel says about a read.
#[cfg(target_os = "linux")]
fn control() -> Vec<u8> {
    nix::cmsg_space!(nix::sys::time::TimeSpec)
}

#[cfg(not(target_os = "linux"))]
fn control() -> Vec<u8> {
    Vec::new()
}

/// Reads what is there. Returns the number of bytes, 0 at the end, and when the last of them arrived, where that can be
/// known.
#[cfg(target_os = "linux")]
fn receive(
    socket: &impl ReadNow,
    into: &mut [u8],
    control: &mut [u8],
) -> io::Result<(usize, Option<SystemTime>)> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

    let mut into = [io::IoSliceMut::new(into)];
    let message = recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut into, Some(control), MsgFlags::empty())?;
    let stamp = message.cmsgs()?.find_map(|it| match it {
        ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
        _ => None,
    });
    Ok((message.bytes, stamp.and_then(|stamp| SystemTime::UNIX_EPOCH.checked_add(stamp))))
}

#[cfg(not(target_os = "linux"))]
fn receive(socket: &impl ReadNow, into: &mut [u8], _: &mut [u8]) -> io::Result<(usize, Option<SystemTime>)> {
    Ok((socket.read_now(into)?, None))
}
