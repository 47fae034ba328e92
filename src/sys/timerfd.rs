//! A descriptor that becomes readable at a time: for a host that drives the loop itself.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::check;

/// A timerfd(2) on the monotonic clock.
pub struct TimerFd(OwnedFd);

impl TimerFd {
    /// A new one, not armed.
    pub fn new() -> io::Result<TimerFd> {
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: no pointer is passed.
        let fd = check(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) })?;
        // SAFETY: the descriptor is new and nobody else's.
        Ok(TimerFd(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Becomes readable after `in_ms`, at once for 0, never for `None`. What was armed before is
    /// forgotten.
    pub fn arm(&self, in_ms: Option<u64>) {
        let ms = in_ms.unwrap_or(0);
        let nanoseconds = (ms % 1_000) * 1_000_000 + u64::from(in_ms == Some(0));
        let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let value = libc::timespec {
            tv_sec: libc::time_t::try_from(ms / 1_000).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::try_from(nanoseconds).unwrap_or(0),
        };
        let time = libc::itimerspec { it_interval: zero, it_value: value };
        // SAFETY: `time` is valid for the call; a zero value disarms.
        unsafe { libc::timerfd_settime(self.0.as_raw_fd(), 0, &time, std::ptr::null_mut()) };
    }
}

impl AsRawFd for TimerFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
