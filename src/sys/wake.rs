//! Waking a loop from another thread or a signal handler: an eventfd(2).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::check;

/// A counter in the kernel that makes a loop's epoll return.
pub struct Wake(OwnedFd);

impl Wake {
    /// A new one.
    pub fn new() -> io::Result<Wake> {
        // SAFETY: no pointer is passed.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: the descriptor is new and nobody else's.
        Ok(Wake(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Makes the loop's next wait return. Async-signal-safe; keeps errno.
    pub fn wake(&self) {
        let one = 1_u64;
        // SAFETY: errno is this thread's own; `one` is readable for 8 bytes. A full counter
        // (EAGAIN) means that the loop is awake already.
        unsafe {
            let errno = libc::__errno_location();
            let saved = *errno;
            libc::write(self.0.as_raw_fd(), (&raw const one).cast(), 8);
            *errno = saved;
        }
    }

    /// Takes what was counted.
    pub fn clear(&self) {
        let mut count = 0_u64;
        // SAFETY: `count` is writable for 8 bytes. EAGAIN means that nothing was counted.
        unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), 8) };
    }
}

impl AsRawFd for Wake {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
