//! epoll(7): one instance per worker.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::check;

/// Readable.
pub const IN: u32 = libc::EPOLLIN as u32;
/// Writable.
pub const OUT: u32 = libc::EPOLLOUT as u32;
/// The peer has closed its sending side.
pub const RDHUP: u32 = libc::EPOLLRDHUP as u32;
/// Both sides are closed.
pub const HUP: u32 = libc::EPOLLHUP as u32;
/// An error stands on the socket.
pub const ERR: u32 = libc::EPOLLERR as u32;
/// Tell of changes only.
pub const EDGE: u32 = libc::EPOLLET as u32;
/// Of several instances that wait for one listener wake as few as possible.
pub const EXCLUSIVE: u32 = libc::EPOLLEXCLUSIVE as u32;

/// What happened to the descriptor that was added with `data`.
pub type Event = libc::epoll_event;

/// An epoll instance.
pub struct Epoll(OwnedFd);

impl Epoll {
    /// A new instance.
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: no pointer is passed.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor is new and nobody else's.
        Ok(Epoll(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Watches a descriptor.
    pub fn add(&self, fd: RawFd, interest: u32, data: u64) -> io::Result<()> {
        let mut event = Event { events: interest, u64: data };
        // SAFETY: `event` is valid for the call.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) })?;
        Ok(())
    }

    /// Stops watching. A closed descriptor leaves by itself.
    pub fn remove(&self, fd: RawFd) -> io::Result<()> {
        let mut event = Event { events: 0, u64: 0 };
        // SAFETY: `event` is valid for the call.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_DEL, fd, &mut event) })?;
        Ok(())
    }

    /// Waits for events, at most `timeout_ms` (for ever when `None`). An interruption by a signal
    /// is no event.
    pub fn wait<'a>(&self, events: &'a mut [Event], timeout_ms: Option<u64>) -> &'a [Event] {
        let timeout = timeout_ms.map_or(-1, |ms| i32::try_from(ms).unwrap_or(i32::MAX));
        let room = i32::try_from(events.len()).unwrap_or(i32::MAX);
        // SAFETY: `events` is writable for `room` entries.
        let count =
            unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), room, timeout) };
        &events[..usize::try_from(count).unwrap_or(0)]
    }
}

impl AsRawFd for Epoll {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
