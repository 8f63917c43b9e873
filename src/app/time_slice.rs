//! Asks the scheduler for short time slices: a thread that wakes up then runs sooner beside others that use the same core
//! all the time, and gets no more of it than before. Linux gives it an earlier deadline (EEVDF, since 6.12).

#[cfg(target_os = "linux")]
use nix::errno::Errno;
#[cfg(target_os = "linux")]
use nix::libc;
use std::time::Duration;

/// Slices of the dispatcher's thread: the shortest that Linux grants, so that it runs before the traffic threads.
pub(super) const DISPATCH: Duration = Duration::from_micros(100);
/// Slices of the traffic threads. The system's own are several milliseconds.
pub(super) const TRAFFIC: Duration = Duration::from_micros(500);

/// Gives the current thread slices of this length, and not the threads that it starts. An older kernel ignores this, and
/// where it is refused the thread keeps the slices that it has.
#[cfg(target_os = "linux")]
pub(super) fn shorten(to: Duration) {
    if let Err(error) = attributes().and_then(|found| found.map_or(Ok(()), |found| set(&found, to))) {
        tracing::debug!(%error, "cannot shorten the time slices of a thread");
    }
}

/// Elsewhere, slices stay as they are.
#[cfg(not(target_os = "linux"))]
pub(super) fn shorten(_: Duration) {}

/// What the scheduler knows about the current thread; `None` if someone chose another policy for it than the default.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "a system call that no crate wraps in a safe function")]
fn attributes() -> nix::Result<Option<libc::sched_attr>> {
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
    Errno::result(done)?;
    let is_default = i32::try_from(found.sched_policy) == Ok(libc::SCHED_OTHER);
    Ok(is_default.then_some(found))
}

/// Gives the current thread the attributes that were found, with slices of another length.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "a system call that no crate wraps in a safe function")]
fn set(found: &libc::sched_attr, slice: Duration) -> nix::Result<()> {
    // It would take a negative nice from threads that this one starts, too.
    let flag = if found.sched_nice < 0 { 0 } else { libc::SCHED_FLAG_RESET_ON_FORK };
    let reset_on_fork = u64::try_from(flag).unwrap_or_default();
    let wanted = libc::sched_attr {
        sched_flags: found.sched_flags | reset_on_fork,
        sched_runtime: nanoseconds(slice),
        ..*found
    };
    // SAFETY: the kernel only reads `wanted`, which says its own size (sched_setattr(2)); 0 means the current thread.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wanted, 0) };
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
        let find = || attributes().ok().flatten();
        let seen = std::thread::spawn(move || {
            let before = find()?;
            // Where it is refused, there is nothing to see.
            set(&before, DISPATCH).ok()?;
            Some((before, find()?, std::thread::spawn(find).join().unwrap()?))
        });
        let Some((before, after, child)) = seen.join().unwrap() else { return };
        assert_eq!((after.sched_nice, after.sched_priority), (before.sched_nice, before.sched_priority));
        // Kernels before 6.12 have no slice of a single thread, and say none.
        let expected = if before.sched_runtime == 0 { 0 } else { nanoseconds(DISPATCH) };
        assert_eq!(after.sched_runtime, expected);
        assert_eq!(child.sched_nice, before.sched_nice);
        if before.sched_nice >= 0 {
            assert_eq!(
                child.sched_runtime, before.sched_runtime,
                "threads that it starts have the system's slices"
            );
        }
    }
}
