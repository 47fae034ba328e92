//! Signals, for the program only: the library changes none of its host's.

use std::io;

/// Signals that the program waits for instead of handling them.
pub struct Signals(libc::sigset_t);

impl Signals {
    /// Blocks TERM, INT and HUP in this thread and those it starts later, so that [`wait`] gets
    /// them.
    ///
    /// [`wait`]: Signals::wait
    pub fn block() -> io::Result<Signals> {
        // SAFETY: the set is initialised by sigemptyset before it is used.
        unsafe {
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
                libc::sigaddset(&mut set, signal);
            }
            match libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) {
                0 => Ok(Signals(set)),
                error => Err(io::Error::from_raw_os_error(error)),
            }
        }
    }

    /// Waits for the next one.
    pub fn wait(&self) -> i32 {
        let mut signal = 0;
        // SAFETY: set and result are valid; sigwait fails only for an invalid set.
        unsafe { libc::sigwait(&self.0, &mut signal) };
        signal
    }

    /// The next one, within so many milliseconds. None when none came.
    pub fn wait_for(&self, wait_ms: u32) -> Option<i32> {
        let wait = libc::timespec {
            tv_sec: libc::time_t::from(wait_ms / 1_000),
            tv_nsec: libc::c_long::from(wait_ms % 1_000) * 1_000_000,
        };
        // SAFETY: set and time are valid, and nothing is asked about the signal.
        let signal = unsafe { libc::sigtimedwait(&self.0, std::ptr::null_mut(), &raw const wait) };
        (signal > 0).then_some(signal)
    }
}

/// The signal that asks for a reload.
pub const HANG_UP: i32 = libc::SIGHUP;
