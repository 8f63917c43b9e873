//! Gives back the pages of the program file that its start has mapped. Of 20 MB that are resident after it, an idle daemon
//! touches half a megabyte. They stay in the page cache, and those that are needed are mapped again when they are.

#[cfg(target_os = "linux")]
use nix::sys::mman::{MmapAdvise, madvise};
#[cfg(target_os = "linux")]
use std::ptr::NonNull;

/// Unmaps the pages of this program's code until they are needed. Returns how many bytes of code there are; 0 where this is
/// not possible.
#[cfg(target_os = "linux")]
pub(super) fn give_back() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let Some(program) = std::fs::read_link("/proc/self/exe").ok() else { return 0 };
    let parts = maps.lines().filter_map(|line| code(line, program.to_str()?));
    parts.filter(|(start, length)| unmap(*start, *length)).map(|(_, length)| length).sum()
}

/// Elsewhere, nothing is given back.
#[cfg(not(target_os = "linux"))]
pub(super) fn give_back() -> usize {
    0
}

/// Start and length of a mapping, if it is code of the program: read-only, so that no page differs from the file.
#[cfg(target_os = "linux")]
fn code(line: &str, program: &str) -> Option<(usize, usize)> {
    let mut words = line.split_whitespace();
    let (range, permissions) = (words.next()?, words.next()?);
    if permissions != "r-xp" || words.nth(3)? != program {
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
    // file's, from which the kernel maps it again on the next access (madvise(2), MADV_DONTNEED).
    unsafe { madvise(start, length, MmapAdvise::MADV_DONTNEED) }.is_ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_the_program_is_given_back() {
        let line = |permissions: &str, path: &str| {
            format!("55d0c0a00000-55d0c0b00000 {permissions} 00200000 fe:00 1234        {path}")
        };
        let code = |permissions, path| code(&line(permissions, path), "/usr/bin/tokenbeat");
        assert_eq!(code("r-xp", "/usr/bin/tokenbeat"), Some((0x55d0_c0a0_0000, 0x10_0000)));
        assert_eq!(code("r--p", "/usr/bin/tokenbeat"), None, "relocated data differs from the file");
        assert_eq!(code("rw-p", "/usr/bin/tokenbeat"), None);
        assert_eq!(code("r-xp", "/usr/lib/libc.so.6"), None);
        assert_eq!(super::code("55d0c0a00000-55d0c0b00000 r-xp 0 0 0", ""), None);
    }
}
