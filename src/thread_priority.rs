//! The priority of threads on which nothing waits to be sent or timed: those that carry traffic run before them.

/// Niceness of such threads, on top of the process's own: a tenth of the weight of a thread that carries traffic, so that
/// they get on even where that uses the rest of a core.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Lowers the priority of the current thread, and of those that it starts. If the system refuses, nothing changes.
#[cfg(target_os = "linux")]
pub fn lower() {
    use rustix::process::{getpid, getpriority_process, setpriority_process};
    // That of the main thread: a thread that was started by one with a low priority has it already.
    let own = getpriority_process(Some(getpid()));
    // On Linux, this sets the priority of one thread, which is the current one by default (setpriority(2)).
    if let Err(error) = own.and_then(|own| setpriority_process(None, own + NICE)) {
        tracing::debug!(%error, "cannot lower the priority of a thread");
    }
}

/// On other systems, the niceness applies to the whole process.
#[cfg(not(target_os = "linux"))]
pub fn lower() {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use rustix::process::getpriority_process;

    #[test]
    fn a_thread_and_those_that_it_starts_have_a_lower_priority_once() {
        let before = getpriority_process(None).unwrap();
        let after = std::thread::spawn(|| {
            lower();
            let child = std::thread::spawn(|| {
                lower();
                getpriority_process(None).unwrap()
            });
            (getpriority_process(None).unwrap(), child.join().unwrap())
        });
        let low = (before + NICE).min(19);
        assert_eq!(after.join().unwrap(), (low, low));
        assert_eq!(getpriority_process(None).unwrap(), before);
    }
}
