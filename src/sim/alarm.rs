//! Waits until an instant, more precisely than the runtime's timers, which are up to a millisecond late.
//!
//! It knows the system's timers and nothing about what is waited for.

#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;

#[cfg(target_os = "linux")]
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
#[cfg(target_os = "linux")]
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// A timer for one waiting task.
#[derive(Debug)]
pub(crate) enum Alarm {
    /// The runtime's own: late, but it follows a paused clock.
    Runtime,
    /// A timer of the kernel, which the runtime waits for as for a socket: some 50 microseconds late.
    #[cfg(target_os = "linux")]
    Kernel(AsyncFd<OwnedFd>),
}

impl Alarm {
    /// The most precise one that this system has. It belongs to the runtime in which it is created.
    pub(crate) fn precise() -> Self {
        #[cfg(target_os = "linux")]
        {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(std::io::Error::from);
            #[expect(
                deprecated,
                reason = "unsound only for types whose descriptor can change, and an `OwnedFd` keeps its own"
            )]
            let registered = timer.and_then(AsyncFd::new);
            match registered {
                Ok(timer) => Self::Kernel(timer),
                Err(error) => {
                    tracing::warn!(%error, "no precise timer: chunks are up to a millisecond late");
                    Self::Runtime
                }
            }
        }
        #[cfg(not(target_os = "linux"))]
        Self::Runtime
    }

    /// Waits until `at`. One task at a time may wait.
    pub(crate) async fn until(&self, at: Instant) {
        #[cfg(target_os = "linux")]
        if let Self::Kernel(timer) = self
            && expired(timer, at).await.is_ok()
        {
            return;
        }
        tokio::time::sleep_until(at).await;
    }
}

#[cfg(target_os = "linux")]
async fn expired(timer: &AsyncFd<OwnedFd>, at: Instant) -> std::io::Result<()> {
    let left = at.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Ok(());
    }
    // The new time also discards an expiry that nobody has read.
    let time = Itimerspec {
        it_interval: Timespec::default(),
        it_value: Timespec::try_from(left).unwrap_or_default(),
    };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &time)?;
    loop {
        let mut ready = timer.readable().await?;
        let mut count = [0; 8];
        // Readiness may be that of an earlier time.
        if let Ok(read) = ready.try_io(|timer| Ok(rustix::io::read(timer, &mut count)?)) {
            return read.map(|_| ());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn it_is_never_early_and_a_wait_that_was_given_up_does_not_end_the_next() {
        let alarm = Alarm::precise();
        for micros in [1, 300, 2_500] {
            let at = Instant::now() + Duration::from_micros(micros);
            alarm.until(at).await;
            assert!(Instant::now() >= at);
            // Given up after it has expired, and before.
            for other in [Duration::from_micros(50), Duration::from_hours(1)] {
                let wait = alarm.until(Instant::now() + other);
                assert!(
                    tokio::time::timeout(Duration::ZERO, wait).await.is_err()
                        || other < Duration::from_secs(1)
                );
                std::thread::sleep(Duration::from_micros(100));
            }
        }
        alarm.until(Instant::now()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_runtimes_own_follows_a_paused_clock() {
        let start = Instant::now();
        Alarm::Runtime.until(start + Duration::from_hours(1)).await;
        assert!(start.elapsed() >= Duration::from_hours(1));
    }
}
