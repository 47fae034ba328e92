//! Sockets that a service manager has opened for this process, by the protocol of sd_listen_fds(3).
//! For the program only: the library never looks at what its host has inherited.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{check, socket};

/// The first descriptor that is passed.
const FIRST: RawFd = 3;
/// The most that are taken.
const COUNT_MAX: RawFd = 64;

/// Where a passed socket listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// An internet address.
    Tcp(SocketAddr),
    /// A Unix socket with a path.
    Unix(PathBuf),
}

/// A socket that listens already.
#[derive(Debug)]
pub struct Inherited {
    /// Close-on-exec and non-blocking, as all of ours are.
    pub fd: OwnedFd,
    /// What the service manager calls it.
    pub name: String,
    /// Where it listens.
    pub place: Place,
}

/// Takes the sockets that `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES` tell of; none when they
/// are meant for another process. Works once in a process; later calls find none.
///
/// # Errors
/// `InvalidInput` when what was passed is no listening stream socket with an address; the message
/// names the descriptor.
pub fn take(pid: &str, count: &str, names: &str) -> io::Result<Vec<Inherited>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let is_ours = pid.parse() == Ok(std::process::id());
    let Some(count) = count.parse::<RawFd>().ok().filter(|count| *count > 0 && is_ours) else {
        return Ok(Vec::new());
    };
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    if count > COUNT_MAX {
        return Err(refused(format!("{count} sockets were passed, at most {COUNT_MAX} are taken")));
    }
    // All are owned before one is refused, so that none is left open.
    let owned: Vec<OwnedFd> = (FIRST..FIRST + count).filter_map(own).collect();
    if owned.len() != count as usize {
        return Err(refused(format!("LISTEN_FDS is {count}, but only {} are open", owned.len())));
    }
    let mut names = names.split(':');
    owned
        .into_iter()
        .map(|fd| {
            let place = prepare(&fd)
                .map_err(|error| refused(format!("descriptor {}: {error}", fd.as_raw_fd())))?;
            Ok(Inherited { fd, name: names.next().unwrap_or_default().to_owned(), place })
        })
        .collect()
}

fn refused(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// `None` when the descriptor is not open.
fn own(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: no pointer is passed.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }).ok()?;
    // SAFETY: it is open, and the service manager has passed it to this process to be its own; it
    // is taken once, as `TAKEN` says.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes a socket fit for an event loop, and tells where it listens.
fn prepare(fd: &OwnedFd) -> io::Result<Place> {
    let raw = fd.as_raw_fd();
    let is_stream = socket::option(raw, libc::SOL_SOCKET, libc::SO_TYPE)? == libc::SOCK_STREAM;
    if !is_stream || socket::option(raw, libc::SOL_SOCKET, libc::SO_ACCEPTCONN)? == 0 {
        return Err(refused("a stream socket that listens was expected".to_owned()));
    }
    // SAFETY: no pointer is passed.
    let flags = check(unsafe { libc::fcntl(raw, libc::F_GETFL) })?;
    // SAFETY: as above.
    check(unsafe { libc::fcntl(raw, libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    if let Some(address) = socket::local_address(raw)? {
        socket::set_no_delay(raw)?;
        return Ok(Place::Tcp(address));
    }
    match socket::local_path(raw)? {
        Some(path) => Ok(Place::Unix(path)),
        None => Err(refused("a socket with an address or a path was expected".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wrong: descriptors are taken that were meant for another process, or were never passed.
    #[test]
    fn what_is_not_for_us_is_left_alone() {
        let own = std::process::id().to_string();
        for (pid, count) in [("1", "1"), ("", "1"), (&own[..], "0"), (&own, "-1"), (&own, "x")] {
            assert!(take(pid, count, "").unwrap().is_empty(), "{pid} {count}");
        }
    }

    /// Wrong: a file or a connection is taken for a listener.
    #[test]
    fn only_listeners_are_fit() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let caller = std::net::TcpStream::connect(address).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let datagram = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(prepare(&OwnedFd::from(listener)).unwrap(), Place::Tcp(address));
        for fd in [OwnedFd::from(caller), OwnedFd::from(file), OwnedFd::from(datagram)] {
            assert!(prepare(&fd).is_err());
        }
        let path = std::env::temp_dir().join(format!("nh-inherited-{}", std::process::id()));
        drop(std::fs::remove_file(&path));
        let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(prepare(&OwnedFd::from(unix)).unwrap(), Place::Unix(path.clone()));
        std::fs::remove_file(path).unwrap();
    }
}
