//! Files that are opened without waiting.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::check;

/// Opens a file to append to, and makes it when it is missing.
///
/// # Errors
/// Those of open(2): for a pipe that nobody reads ENXIO, where a plain open would wait for a reader.
pub fn open_to_append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.create(true).append(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    // Only the opening must not wait.
    // SAFETY: no pointer is passed.
    let flags = check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) })?;
    // SAFETY: as above.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags & !libc::O_NONBLOCK) })?;
    Ok(file)
}
