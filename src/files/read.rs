//! Reads one file: only a regular one, and only up to a limit.

use rustix::fs::OFlags;
use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Where the system exposes the descriptors of a process. A pipe with such a path was passed to this process on
/// purpose, for example by `--config.file <(command)`.
const DESCRIPTORS: [&str; 3] = ["/dev/stdin", "/dev/fd", "/proc/self/fd"];

/// Whether a path names a descriptor of this process.
pub(super) fn is_descriptor(path: &Path) -> bool {
    DESCRIPTORS.iter().any(|prefix| path.starts_with(prefix))
}

/// Reads a file of at most `most` bytes. Returns its metadata when it was opened, and its contents. Links are followed,
/// and must lead to a regular file.
pub(super) fn read(path: &Path, most: u64) -> io::Result<(Metadata, Vec<u8>)> {
    // Checked before opening, because opening a device may have side effects, and opening a pipe waits for a writer.
    let passed = is_pipe(path, &fs::metadata(path)?)?;
    let mut options = OpenOptions::new();
    options.read(true);
    if !passed {
        options.custom_flags(OFlags::NONBLOCK.union(OFlags::NOCTTY).bits().cast_signed());
    }
    let file = options.open(path)?;
    let meta = file.metadata()?;
    // It may have been replaced in between.
    if is_pipe(path, &meta)? != passed {
        return Err(io::ErrorKind::Interrupted.into());
    }
    Ok((meta, bytes(&file, most)?))
}

/// Checks that a path leads to a regular file, without opening it.
pub(super) fn regular(path: &Path) -> io::Result<()> {
    let meta = fs::metadata(path)?;
    if is_pipe(path, &meta)? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a pipe, not a regular file"));
    }
    Ok(())
}

/// Whether it is a pipe passed to this process; an error if it cannot be read as a file.
fn is_pipe(path: &Path, meta: &Metadata) -> io::Result<bool> {
    let kind = meta.file_type();
    if kind.is_file() {
        return Ok(false);
    }
    if kind.is_fifo() && is_descriptor(path) {
        return Ok(true);
    }
    let (error, kind) = match kind {
        kind if kind.is_dir() => (io::ErrorKind::IsADirectory, "a directory"),
        kind if kind.is_fifo() => (io::ErrorKind::InvalidInput, "a named pipe"),
        kind => (io::ErrorKind::InvalidInput, device(kind)),
    };
    Err(io::Error::new(error, format!("it is {kind}, not a regular file")))
}

fn device(kind: FileType) -> &'static str {
    if kind.is_char_device() || kind.is_block_device() {
        "a device"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "something else"
    }
}

fn bytes(file: &File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}
