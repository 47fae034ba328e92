//! Sending on sockets that the host owns: everything or an error, within a time, and never a SIGPIPE
//! that would end a host which does not ignore it.

use super::memory::monotonic_ns;
use std::ffi::c_int;

/// Why bytes were not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendError {
    /// The time is over.
    Timeout,
    /// The other side has gone, or this is no open descriptor.
    Closed,
}

/// Waits until the descriptor has one of `events` or the deadline passes (`None`: without limit).
pub fn wait(fd: c_int, events: i16, deadline_ns: Option<u64>) -> Result<(), SendError> {
    loop {
        let timeout_ms = match deadline_ns {
            None => -1,
            Some(deadline) => {
                let left = deadline.saturating_sub(monotonic_ns());
                if left == 0 {
                    return Err(SendError::Timeout);
                }
                c_int::try_from(left.div_ceil(1_000_000)).unwrap_or(c_int::MAX)
            }
        };
        let mut watched = libc::pollfd { fd, events, revents: 0 };
        // SAFETY: one pollfd that lives here.
        let ready = unsafe { libc::poll(&mut watched, 1, timeout_ms) };
        if ready > 0 {
            let usable = watched.revents & (events | libc::POLLHUP | libc::POLLERR) != 0;
            return if usable { Ok(()) } else { Err(SendError::Closed) };
        }
        if ready < 0 && last_error() != libc::EINTR {
            return Err(SendError::Closed);
        }
    }
}

fn last_error() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Sends all parts in order. Returns how many bytes went out beside an error.
pub fn send_all(
    fd: c_int,
    parts: &[&[u8]],
    deadline_ns: Option<u64>,
) -> Result<usize, (usize, SendError)> {
    let total: usize = parts.iter().map(|part| part.len()).sum();
    let mut sent = 0;
    while sent < total {
        let written = match write_some(fd, parts, sent) {
            Ok(written) => written,
            Err(libc::EINTR) => continue,
            Err(libc::EAGAIN) => {
                wait(fd, libc::POLLOUT, deadline_ns).map_err(|error| (sent, error))?;
                continue;
            }
            Err(_) => return Err((sent, SendError::Closed)),
        };
        sent += written;
    }
    Ok(sent)
}

/// The parts without their first `skip` bytes.
fn remaining<'a>(parts: &[&'a [u8]], mut skip: usize) -> ([libc::iovec; 8], usize, &'a [u8]) {
    let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; 8];
    let mut used = 0;
    let mut first: &[u8] = &[];
    for part in parts {
        if skip >= part.len() {
            skip -= part.len();
            continue;
        }
        let rest = &part[skip..];
        skip = 0;
        if used == 0 {
            first = rest;
        }
        if let Some(vector) = vectors.get_mut(used) {
            *vector =
                libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() };
            used += 1;
        }
    }
    (vectors, used, first)
}

/// One write that does not wait; the error is an errno.
fn write_some(fd: c_int, parts: &[&[u8]], sent: usize) -> Result<usize, c_int> {
    let (mut vectors, used, first) = remaining(parts, sent);
    // SAFETY: a msghdr of zeros is valid; the fields below are set to live memory.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = vectors.as_mut_ptr();
    message.msg_iovlen = used as _;
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: the vectors point into `parts`, which outlive the call.
    let written = unsafe { libc::sendmsg(fd, &message, flags) };
    match usize::try_from(written) {
        Ok(written) => Ok(written),
        Err(_) if last_error() == libc::ENOTSOCK => write_pipe(fd, first),
        Err(_) => Err(last_error()),
    }
}

/// A descriptor that is no socket, a pipe for one: writes a piece that fits once it is writable, with
/// SIGPIPE held back on this thread.
fn write_pipe(fd: c_int, data: &[u8]) -> Result<usize, c_int> {
    let mut watched = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one pollfd that lives here.
    if unsafe { libc::poll(&mut watched, 1, 0) } == 0 {
        return Err(libc::EAGAIN);
    }
    let piece = &data[..data.len().min(libc::PIPE_BUF)];
    // SAFETY: sets of signals that live here; the thread's mask is put back before returning. A
    // SIGPIPE that the write raised is taken off, unless one was pending before.
    unsafe {
        let (mut pipe, mut before, mut pending): (libc::sigset_t, libc::sigset_t, libc::sigset_t) =
            (std::mem::zeroed(), std::mem::zeroed(), std::mem::zeroed());
        libc::sigemptyset(&mut pipe);
        libc::sigaddset(&mut pipe, libc::SIGPIPE);
        libc::sigpending(&mut pending);
        libc::pthread_sigmask(libc::SIG_BLOCK, &pipe, &mut before);
        let written = libc::write(fd, piece.as_ptr().cast(), piece.len());
        let error = last_error();
        if written < 0 && error == libc::EPIPE && libc::sigismember(&pending, libc::SIGPIPE) == 0 {
            let none = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            libc::sigtimedwait(&pipe, std::ptr::null_mut(), &none);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        usize::try_from(written).map_err(|_| error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn parts_go_out_in_order_through_sockets_and_pipes() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let big = vec![b'x'; 300_000];
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            far.read_to_end(&mut all).unwrap();
            all
        });
        assert_eq!(send_all(near.as_raw_fd(), &[b"head", b"", &big, b"tail"], None), Ok(300_008));
        drop(near);
        let all = reader.join().unwrap();
        assert!(all.starts_with(b"headxxx") && all.ends_with(b"xtail") && all.len() == 300_008);

        let (mut output, input) = std::io::pipe().unwrap();
        assert_eq!(send_all(input.as_raw_fd(), &[b"ab", b"cd"], None), Ok(4));
        drop(input);
        let mut all = Vec::new();
        output.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"abcd");
    }

    /// A C host does not ignore SIGPIPE: each of these would end it.
    #[test]
    fn a_reader_that_has_gone_is_an_error_and_no_signal() {
        // SAFETY: the default action for one signal, put back below.
        let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        let (near, far) = UnixStream::pair().unwrap();
        drop(far);
        assert_eq!(send_all(near.as_raw_fd(), &[b"x"], None), Err((0, SendError::Closed)));
        let (output, input) = std::io::pipe().unwrap();
        drop(output);
        assert_eq!(send_all(input.as_raw_fd(), &[b"x"], None), Err((0, SendError::Closed)));
        assert_eq!(send_all(-1, &[b"x"], None), Err((0, SendError::Closed)));
        // SAFETY: as above.
        unsafe { libc::signal(libc::SIGPIPE, before) };
    }

    #[test]
    fn a_reader_that_takes_nothing_runs_into_the_deadline() {
        let (near, _far) = UnixStream::pair().unwrap();
        let big = vec![0; 8 << 20];
        let deadline = monotonic_ns() + 20_000_000;
        let result = send_all(near.as_raw_fd(), &[&big], Some(deadline));
        assert!(
            matches!(result, Err((sent, SendError::Timeout)) if sent < big.len()),
            "{result:?}"
        );
    }
}
