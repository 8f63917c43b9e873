//! Gives back memory that only the start of a daemon needed, or the load of a config: the config's schema, what has been freed
//! (most of which glibc keeps), and the pages of the program file that the start has mapped. 17 MB of those pages are resident
//! after the start, and an idle daemon touches few of them. They stay in the page cache, and those that are needed are mapped
//! again when they are.

use crate::config;
#[cfg(target_os = "linux")]
use nix::sys::mman::{MmapAdvise, madvise};
#[cfg(target_os = "linux")]
use std::ptr::NonNull;
use tokio::time::Instant;

/// Gives back what loading a config needed. While runs are under way, what was freed stays for them, because other threads may
/// have to wait for memory meanwhile: with 1,000 streams on the same core, 1 to 10 ms.
pub(super) fn give_back_after_load(is_idle: bool) {
    config::forget_schema();
    if is_idle {
        let began = Instant::now();
        let gave_back = trim_heap();
        tracing::debug!(gave_back, time = ?began.elapsed(), "asked for the free heap to be given back");
    }
}

/// Gives back the free pages of the heap. Returns whether there were any.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "a function that no crate wraps in a safe one")]
fn trim_heap() -> bool {
    // SAFETY: it takes a number, locks each heap as `free` does, and changes nothing that is in use (malloc_trim(3)).
    (unsafe { nix::libc::malloc_trim(0) }) == 1
}

/// Elsewhere, nothing is given back.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim_heap() -> bool {
    false
}

/// Unmaps the pages of this program's code and constants until they are needed. Returns how many bytes they are; 0 where
/// this is not possible.
#[cfg(target_os = "linux")]
pub(super) fn unmap_program() -> usize {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    let Some(program) = std::fs::read_link("/proc/self/exe").ok() else { return 0 };
    let Some(program) = program.to_str() else { return 0 };
    let parts = unchanged(&maps, program);
    parts.filter(|(start, length)| unmap(*start, *length)).map(|(_, length)| length).sum()
}

/// Elsewhere, nothing is given back.
#[cfg(not(target_os = "linux"))]
pub(super) fn unmap_program() -> usize {
    0
}

/// Start and length of each mapping of the program that cannot be written and has no page that differs from the file (some
/// could be written while the program was being loaded): `proc_pid_smaps(5)`.
#[cfg(target_os = "linux")]
fn unchanged(smaps: &str, program: &str) -> impl Iterator<Item = (usize, usize)> {
    let mut mapping = None;
    smaps.lines().filter_map(move |line| {
        if let Some(value) = line.strip_prefix("Anonymous:") {
            return mapping.take().filter(|_| value.trim() == "0 kB");
        }
        // Each mapping begins with a line without a key; the others say more about it.
        if !line.split_whitespace().next()?.ends_with(':') {
            mapping = constant(line, program);
        }
        None
    })
}

/// Start and length of a mapping, if it belongs to the program and cannot be written.
#[cfg(target_os = "linux")]
fn constant(line: &str, program: &str) -> Option<(usize, usize)> {
    let mut words = line.split_whitespace();
    let (range, permissions) = (words.next()?, words.next()?);
    if !matches!(permissions, "r-xp" | "r--p") || words.nth(3)? != program {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    Some((start, usize::from_str_radix(end, 16).ok()?.checked_sub(start)?))
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "a system call that no crate wraps in a safe function")]
fn unmap(start: usize, length: usize) -> bool {
    let Some(start) = NonNull::new(std::ptr::with_exposed_provenance_mut(start)) else { return false };
    // SAFETY: the range is a private mapping of the program file that cannot be written, so each page is equal to the
    // file's (nobody has written to it before), from which the kernel maps it again on the next access (madvise(2),
    // MADV_DONTNEED).
    unsafe { madvise(start, length, MmapAdvise::MADV_DONTNEED) }.is_ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn part(start: &str, permissions: &str, path: &str, anonymous: u32) -> String {
        format!(
            "{start}000-{start}fff {permissions} 00200000 fe:00 1234        {path}\n\
             Size:               1024 kB\nRss:                 400 kB\nAnonymous:          {anonymous:4} kB\n\
             VmFlags: rd ex mr mw me sd \n"
        )
    }

    #[test]
    fn only_what_does_not_differ_from_the_program_file_is_given_back() {
        let (program, other) = ("/usr/bin/tokenbeat", "/usr/lib/libc.so.6");
        let smaps = [
            part("1", "r--p", program, 0),
            part("2", "r-xp", program, 0),
            part("3", "r--p", program, 4),
            part("4", "rw-p", program, 0),
            part("5", "r-xp", other, 0),
            part("6", "r-xp", "", 0),
        ];
        let found: Vec<_> = unchanged(&smaps.concat(), program).collect();
        assert_eq!(found, [(0x1000, 0xfff), (0x2000, 0xfff)]);
    }

    #[test]
    fn the_program_goes_on() {
        assert!(unmap_program() > 0);
        assert_eq!(format!("{:?}", "code and constants".to_uppercase()), "\"CODE AND CONSTANTS\"");
    }
}
