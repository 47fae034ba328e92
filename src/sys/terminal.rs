//! The terminal of the program: its size, and single keys from it.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use libc::termios;

/// Columns and rows of the terminal behind a descriptor; none when there is no terminal.
pub fn size(terminal: &impl AsRawFd) -> Option<(usize, usize)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the request writes one winsize, which is alive during the call.
    let got = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (got == 0 && size.ws_col > 0).then(|| (usize::from(size.ws_col), usize::from(size.ws_row)))
}

/// A terminal whose keys come one by one and are not shown, until this is dropped.
pub struct Keys {
    fd: RawFd,
    before: termios,
}

impl Keys {
    /// Takes the keys of a terminal, which must outlive this.
    ///
    /// # Errors
    /// It is no terminal.
    pub fn take(terminal: &impl AsRawFd) -> io::Result<Keys> {
        let fd = terminal.as_raw_fd();
        // SAFETY: all zeros is a valid termios; it is filled by the call.
        let mut before: termios = unsafe { std::mem::zeroed() };
        // SAFETY: the termios is alive during the call.
        if unsafe { libc::tcgetattr(fd, &raw mut before) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut single = before;
        single.c_lflag &= !(libc::ICANON | libc::ECHO);
        single.c_cc[libc::VMIN] = 1;
        single.c_cc[libc::VTIME] = 0;
        // SAFETY: as above.
        if unsafe { libc::tcsetattr(fd, libc::TCSANOW, &raw const single) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Keys { fd, before })
    }

    /// The next key, within so many milliseconds. None when none came.
    ///
    /// # Errors
    /// The terminal has gone.
    pub fn next(&self, wait_ms: i32) -> io::Result<Option<u8>> {
        let mut poll = libc::pollfd { fd: self.fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd, alive during the call.
        if unsafe { libc::poll(&raw mut poll, 1, wait_ms) } <= 0 {
            return Ok(None);
        }
        let mut key = 0_u8;
        // SAFETY: one byte, alive during the call.
        match unsafe { libc::read(self.fd, (&raw mut key).cast(), 1) } {
            1 => Ok(Some(key)),
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(None),
                error => Err(error),
            },
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // SAFETY: the termios is alive during the call. A terminal that has gone needs nothing.
        unsafe { libc::tcsetattr(self.fd, libc::TCSANOW, &raw const self.before) };
    }
}
