//! System calls. No other module of the engine makes one.
//!
//! Every send carries MSG_NOSIGNAL: a C host need not ignore SIGPIPE. Every descriptor is
//! close-on-exec and, but for files, non-blocking.

pub mod clock;
pub mod epoll;
pub mod file;
pub mod inherited;
pub mod inotify;
pub mod memory;
pub mod proc;
pub mod random;
pub mod signal;
pub mod socket;
pub mod terminal;
pub mod thread;
pub mod timerfd;
pub mod wake;

use std::io;

/// The result of a call that returns -1 and sets errno.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The result of a call that returns a byte count, or -1 and sets errno.
fn check_len(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
