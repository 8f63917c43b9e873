//! How the system schedules the threads that send requests and read answers: with short time slices, or with real-time
//! priority where the config asks for it.
//!
//! A thread with short slices that wakes up runs sooner beside others that use the same core all the time, and gets no
//! more of it than before: Linux gives it an earlier deadline (EEVDF, since 6.12). One with real-time priority
//! (`SCHED_RR`, sched(7)) runs at once.

use crate::vocabulary::TrafficPriority;
use anyhow::{Context as _, anyhow};
#[cfg(target_os = "linux")]
use nix::errno::Errno;
#[cfg(target_os = "linux")]
use nix::libc;
use std::thread;
use std::time::Duration;

/// A thread on which the time of a request depends.
#[derive(Clone, Copy, Debug)]
pub(super) enum TimedThread {
    /// Wakes requests when they are due.
    Dispatch,
    /// Sends requests and reads answers.
    Traffic,
}

impl TimedThread {
    /// Its time slices. Those of the dispatcher's thread are the shortest that Linux grants, so that it runs before the
    /// traffic threads. The system's own are several milliseconds.
    fn slice(self) -> Duration {
        match self {
            Self::Dispatch => Duration::from_micros(100),
            Self::Traffic => Duration::from_micros(500),
        }
    }

    /// Its real-time priority, among the lowest of 1 to 99: the dispatcher's thread still runs before the others.
    #[cfg(target_os = "linux")]
    fn realtime(self) -> u32 {
        match self {
            Self::Dispatch => 2,
            Self::Traffic => 1,
        }
    }
}

/// Whether the system allows the priority: an error that says what would.
pub(super) fn check(priority: TrafficPriority) -> anyhow::Result<()> {
    match priority {
        TrafficPriority::Normal => Ok(()),
        TrafficPriority::Realtime => {
            let attempt = thread::Builder::new()
                .spawn(|| set_realtime(TimedThread::Dispatch))
                .context("cannot start the thread that tries real-time priority")?;
            let tried = attempt.join().map_err(|_| anyhow!("the thread that tries it panicked"))?;
            tried.context("agent.traffic_priority: realtime")?;
            tracing::info!("the threads that carry traffic get real-time priority");
            Ok(())
        }
    }
}

/// Schedules the current thread like this, and not the threads that it starts. An older kernel ignores slices, and where
/// they are refused the thread keeps those that it has.
pub(super) fn prefer(thread: TimedThread, priority: TrafficPriority) {
    match priority {
        TrafficPriority::Normal => shorten(thread.slice()),
        TrafficPriority::Realtime => {
            // It was tried at the start.
            if let Err(error) = set_realtime(thread) {
                tracing::warn!(%error, "a thread that carries traffic has no real-time priority");
            }
        }
    }
}

#[cfg(target_os = "linux")]
fn shorten(to: Duration) {
    let shortened = attributes().and_then(|found| match policy(&found) {
        libc::SCHED_OTHER => set_slice(&found, to),
        // Someone chose it for the process; slices are the default policy's.
        _ => Ok(()),
    });
    if let Err(error) = shortened {
        tracing::debug!(%error, "cannot shorten the time slices of a thread");
    }
}

/// Elsewhere, slices stay as they are.
#[cfg(not(target_os = "linux"))]
fn shorten(_: Duration) {}

#[cfg(target_os = "linux")]
fn set_realtime(thread: TimedThread) -> anyhow::Result<()> {
    let found = attributes()?;
    if [libc::SCHED_FIFO, libc::SCHED_RR, libc::SCHED_DEADLINE].contains(&policy(&found)) {
        // Someone chose one for the process.
        return Ok(());
    }
    set(&libc::sched_attr {
        sched_policy: libc::SCHED_RR.unsigned_abs(),
        sched_flags: found.sched_flags | RESET_ON_FORK,
        sched_priority: thread.realtime(),
        sched_runtime: 0,
        ..found
    })
    .context(
        "the system refuses it: allow real-time priorities up to 2 (RLIMIT_RTPRIO; systemd: LimitRTPRIO=2 and \
         RestrictRealtime=no; docker: --ulimit rtprio=2) or give the process CAP_SYS_NICE, or use normal",
    )
}

#[cfg(not(target_os = "linux"))]
fn set_realtime(_: TimedThread) -> anyhow::Result<()> {
    Err(anyhow!("it is for Linux only"))
}

/// Threads that this one starts are scheduled like others.
#[cfg(target_os = "linux")]
const RESET_ON_FORK: u64 = libc::SCHED_FLAG_RESET_ON_FORK.unsigned_abs() as u64;

#[cfg(target_os = "linux")]
fn policy(found: &libc::sched_attr) -> libc::c_int {
    found.sched_policy.cast_signed()
}

/// What the scheduler knows about the current thread.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "a system call that no crate wraps in a safe function")]
fn attributes() -> nix::Result<libc::sched_attr> {
    let size = size_of::<libc::sched_attr>();
    let mut found = libc::sched_attr {
        size: 0,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel writes at most `size` bytes to `found`, which is a plain C struct of that size
    // (sched_getattr(2)); 0 means the current thread.
    let done = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut found, size, 0) };
    Errno::result(done).map(|_| found)
}

/// Gives the current thread the attributes that were found, with slices of another length.
#[cfg(target_os = "linux")]
fn set_slice(found: &libc::sched_attr, slice: Duration) -> nix::Result<()> {
    // It would take a negative nice from threads that this one starts, too.
    let reset_on_fork = if found.sched_nice < 0 { 0 } else { RESET_ON_FORK };
    set(&libc::sched_attr {
        sched_flags: found.sched_flags | reset_on_fork,
        sched_runtime: nanoseconds(slice),
        ..*found
    })
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "a system call that no crate wraps in a safe function")]
fn set(wanted: &libc::sched_attr) -> nix::Result<()> {
    // SAFETY: the kernel only reads `wanted`, which says its own size (sched_setattr(2)); 0 means the current thread.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const *wanted, 0) };
    Errno::result(done).map(drop)
}

#[cfg(target_os = "linux")]
fn nanoseconds(slice: Duration) -> u64 {
    u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn slices_are_short_and_nothing_else_changes() {
        let find = || attributes().ok().filter(|found| policy(found) == libc::SCHED_OTHER);
        let seen = thread::spawn(move || {
            let (before, slice) = (find()?, TimedThread::Dispatch.slice());
            // Where it is refused, there is nothing to see.
            set_slice(&before, slice).ok()?;
            Some((before, find()?, thread::spawn(find).join().unwrap()?))
        });
        let Some((before, after, child)) = seen.join().unwrap() else { return };
        assert_eq!((after.sched_nice, after.sched_priority), (before.sched_nice, before.sched_priority));
        // Kernels before 6.12 have no slice of a single thread, and say none.
        let slice = nanoseconds(TimedThread::Dispatch.slice());
        let expected = if before.sched_runtime == 0 { 0 } else { slice };
        assert_eq!(after.sched_runtime, expected);
        assert_eq!(child.sched_nice, before.sched_nice);
        if before.sched_nice >= 0 {
            assert_eq!(
                child.sched_runtime, before.sched_runtime,
                "threads that it starts have the system's slices"
            );
        }
    }

    #[test]
    fn real_time_priority_is_given_or_refused_with_what_would_allow_it() {
        let default = || policy(&attributes().unwrap()) == libc::SCHED_OTHER;
        let seen = thread::spawn(move || {
            prefer(TimedThread::Traffic, TrafficPriority::Realtime);
            (default(), thread::spawn(default).join().unwrap())
        });
        let (thread, child) = seen.join().unwrap();
        assert!(child, "threads that it starts have none");
        check(TrafficPriority::Normal).unwrap();
        match check(TrafficPriority::Realtime) {
            Ok(()) => assert!(!thread),
            Err(error) => {
                assert!(thread);
                let said = format!("{error:#}");
                assert!(
                    said.starts_with("agent.traffic_priority: realtime: the system refuses it"),
                    "{said}"
                );
                assert!(said.ends_with("or use normal: EPERM: Operation not permitted"), "{said}");
            }
        }
        assert!(default(), "this thread is not changed");
    }
}
