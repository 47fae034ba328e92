//! Sockets: listen, accept, connect, send, receive.

use std::ffi::OsString;
use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::{check, check_len};

/// An address as the kernel wants it.
struct RawAddress {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl RawAddress {
    fn of(address: SocketAddr) -> RawAddress {
        // SAFETY: all-zero is a valid sockaddr_storage, which is large and aligned enough for
        // every address family.
        unsafe {
            let mut storage: libc::sockaddr_storage = zeroed();
            let len = match address {
                SocketAddr::V4(v4) => {
                    let raw = &mut *(&raw mut storage).cast::<libc::sockaddr_in>();
                    raw.sin_family = libc::AF_INET as libc::sa_family_t;
                    raw.sin_port = v4.port().to_be();
                    raw.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
                    size_of::<libc::sockaddr_in>()
                }
                SocketAddr::V6(v6) => {
                    let raw = &mut *(&raw mut storage).cast::<libc::sockaddr_in6>();
                    raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                    raw.sin6_port = v6.port().to_be();
                    raw.sin6_flowinfo = v6.flowinfo();
                    raw.sin6_addr.s6_addr = v6.ip().octets();
                    raw.sin6_scope_id = v6.scope_id();
                    size_of::<libc::sockaddr_in6>()
                }
            };
            RawAddress { storage, len: len as libc::socklen_t }
        }
    }

    fn empty() -> RawAddress {
        // SAFETY: all-zero is a valid sockaddr_storage.
        let storage = unsafe { zeroed() };
        RawAddress { storage, len: size_of::<libc::sockaddr_storage>() as libc::socklen_t }
    }

    /// `None` for anything but an internet address.
    fn get(&self) -> Option<SocketAddr> {
        let start = (&raw const self.storage).cast::<libc::sockaddr>();
        match libc::c_int::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says that a sockaddr_in stands there.
                let raw = unsafe { &*start.cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(raw.sin_port))))
            }
            libc::AF_INET6 => {
                // SAFETY: the family says that a sockaddr_in6 stands there.
                let raw = unsafe { &*start.cast::<libc::sockaddr_in6>() };
                let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
                let port = u16::from_be(raw.sin6_port);
                Some(SocketAddr::V6(SocketAddrV6::new(
                    ip,
                    port,
                    raw.sin6_flowinfo,
                    raw.sin6_scope_id,
                )))
            }
            _ => None,
        }
    }

    fn start(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }
}

fn open(family: libc::c_int) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointer is passed; the descriptor is new and nobody else's.
    unsafe { Ok(OwnedFd::from_raw_fd(check(libc::socket(family, kind, 0))?)) }
}

fn set_option(fd: RawFd, level: libc::c_int, name: libc::c_int, value: i32) -> io::Result<()> {
    // SAFETY: `value` is readable for its size.
    check(unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    })?;
    Ok(())
}

/// An option whose value is an int.
pub(super) fn option(fd: RawFd, level: libc::c_int, name: libc::c_int) -> io::Result<i32> {
    let mut value = 0_i32;
    let mut len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: `value` is writable for `len` bytes.
    check(unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &mut len) })?;
    Ok(value)
}

/// Sets TCP_NODELAY; sockets that are accepted from a listener inherit it.
pub(super) fn set_no_delay(fd: RawFd) -> io::Result<()> {
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)
}

/// Listens on a TCP address. Accepted sockets inherit TCP_NODELAY. With `reuse_port` other
/// processes may share the port; without it a taken port is an error.
pub fn listen_tcp(address: SocketAddr, backlog: u32, reuse_port: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let fd = open(family)?;
    set_option(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if reuse_port {
        set_option(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    if address.is_ipv6() {
        set_option(fd.as_raw_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    set_option(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    let raw = RawAddress::of(address);
    // SAFETY: the address is valid for its length.
    check(unsafe { libc::bind(fd.as_raw_fd(), raw.start(), raw.len) })?;
    listen(&fd, backlog)?;
    Ok(fd)
}

/// Whether a TCP socket that listens keeps a connection until its client has spoken, or for a second.
pub fn set_deferred(fd: RawFd, is_deferred: bool) -> io::Result<()> {
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, i32::from(is_deferred))
}

#[cfg(test)]
pub(crate) fn is_deferred(fd: RawFd) -> io::Result<bool> {
    option(fd, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT).map(|seconds| seconds != 0)
}

/// Changes how many connections wait in a socket that listens.
pub fn set_backlog(fd: RawFd, backlog: u32) -> io::Result<()> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    // SAFETY: no pointer is passed; on a socket that listens only the bound changes (listen(2)).
    check(unsafe { libc::listen(fd, backlog) }).map(drop)
}

/// Listens on a Unix socket. A socket file that nobody listens on any more is replaced.
pub fn listen_unix(path: &Path, backlog: u32) -> io::Result<OwnedFd> {
    let bytes = path.as_os_str().as_bytes();
    // SAFETY: all-zero is a valid sockaddr_un.
    let mut raw: libc::sockaddr_un = unsafe { zeroed() };
    if bytes.is_empty() || bytes.len() >= raw.sun_path.len() || bytes.contains(&0) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is too long"));
    }
    raw.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (place, byte) in raw.sun_path.iter_mut().zip(bytes) {
        *place = *byte as libc::c_char;
    }
    let len = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    let start = (&raw const raw).cast::<libc::sockaddr>();
    let fd = open(libc::AF_UNIX)?;
    // SAFETY: `raw` is valid for `len` bytes in every call below.
    let bound = check(unsafe { libc::bind(fd.as_raw_fd(), start, len) });
    if let Err(error) = bound {
        if error.raw_os_error() != Some(libc::EADDRINUSE) {
            return Err(error);
        }
        use std::os::unix::fs::FileTypeExt as _;
        if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
            return Err(error);
        }
        let probe = open(libc::AF_UNIX)?;
        // SAFETY: as above.
        let alive = check(unsafe { libc::connect(probe.as_raw_fd(), start, len) });
        if !matches!(&alive, Err(e) if e.raw_os_error() == Some(libc::ECONNREFUSED)) {
            return Err(error);
        }
        std::fs::remove_file(path)?;
        // SAFETY: as above.
        check(unsafe { libc::bind(fd.as_raw_fd(), start, len) })?;
    }
    listen(&fd, backlog)?;
    Ok(fd)
}

fn listen(fd: &OwnedFd, backlog: u32) -> io::Result<()> {
    let backlog = i32::try_from(backlog.max(1)).unwrap_or(i32::MAX);
    // SAFETY: no pointer is passed.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog) })?;
    Ok(())
}

/// The address a socket is bound to; `None` for a Unix socket.
pub fn local_address(fd: RawFd) -> io::Result<Option<SocketAddr>> {
    let mut raw = RawAddress::empty();
    // SAFETY: the storage is writable for `len` bytes.
    check(unsafe { libc::getsockname(fd, (&raw mut raw.storage).cast(), &mut raw.len) })?;
    Ok(raw.get())
}

/// The path a Unix socket is bound to; `None` for one without, and for other sockets.
pub(super) fn local_path(fd: RawFd) -> io::Result<Option<PathBuf>> {
    let mut raw = RawAddress::empty();
    // SAFETY: the storage is writable for `len` bytes.
    check(unsafe { libc::getsockname(fd, (&raw mut raw.storage).cast(), &mut raw.len) })?;
    if libc::c_int::from(raw.storage.ss_family) != libc::AF_UNIX {
        return Ok(None);
    }
    // SAFETY: the family says that a sockaddr_un stands there, which is smaller than the storage.
    let unix = unsafe { &*(&raw const raw.storage).cast::<libc::sockaddr_un>() };
    let bytes: Vec<u8> =
        unix.sun_path.iter().map(|&c| c as u8).take_while(|byte| *byte != 0).collect();
    Ok((!bytes.is_empty()).then(|| PathBuf::from(OsString::from_vec(bytes))))
}

/// Takes a waiting connection; the address is `None` on a Unix socket. An IPv4 client of a socket
/// that takes both families has its IPv4 address.
pub fn accept(fd: RawFd) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    let mut raw = RawAddress::empty();
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the storage is writable for `len` bytes; the descriptor is new and nobody else's.
    let accepted = unsafe {
        let (address, len) = (&raw mut raw.storage, &raw mut raw.len);
        let got = libc::syscall(libc::SYS_accept4, fd, address, len, flags);
        OwnedFd::from_raw_fd(check(got as libc::c_int)?)
    };
    let address = raw.get().map(|it| SocketAddr::new(it.ip().to_canonical(), it.port()));
    Ok((accepted, address))
}

/// Bounds what the kernel keeps for a connection in each direction, in bytes; it counts its own
/// upkeep too, and doubles what is said for that (socket(7)). The size no longer follows the way.
pub fn bound_buffers(fd: RawFd, bytes: u32) -> io::Result<()> {
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
    set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, bytes)?;
    set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes)
}

/// Begins to connect; the socket becomes writable when that has ended, see [`take_error`].
/// TCP_NODELAY is set.
pub fn connect(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let fd = open(family)?;
    set_option(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    let raw = RawAddress::of(address);
    // SAFETY: the address is valid for its length.
    match check(unsafe { libc::connect(fd.as_raw_fd(), raw.start(), raw.len) }) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(fd),
    }
}

/// Whether a connection that was begun stands.
pub fn is_connected(fd: RawFd) -> bool {
    let mut raw = RawAddress::empty();
    // SAFETY: the storage is writable for `len` bytes.
    unsafe { libc::getpeername(fd, (&raw mut raw.storage).cast(), &mut raw.len) == 0 }
}

/// The error that stands on a socket, taken off it.
pub fn take_error(fd: RawFd) -> Option<io::Error> {
    let mut error = 0_i32;
    let mut len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: `error` is writable for `len` bytes.
    let result = unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, (&raw mut error).cast(), &mut len)
    };
    match (result, error) {
        (0, 0) => None,
        (0, error) => Some(io::Error::from_raw_os_error(error)),
        _ => Some(io::Error::last_os_error()),
    }
}

/// recv(2) itself. The C library's is a point where a thread may be cancelled, which costs two
/// atomic operations in a process with several; no thread of ours is ever cancelled.
///
/// # Safety
/// `into` is writable for `room` bytes.
#[inline]
unsafe fn recv(fd: RawFd, into: *mut u8, room: usize) -> io::Result<usize> {
    let nobody = std::ptr::null_mut::<u8>();
    // SAFETY: as the caller says; no address is asked for.
    let got = unsafe { libc::syscall(libc::SYS_recvfrom, fd, into, room, 0, nobody, nobody) };
    check_len(got as isize)
}

/// Receives what is there, up to the size of `into`. 0 is the end.
pub fn receive(fd: RawFd, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `into` is writable for its whole length.
    unsafe { recv(fd, into.as_mut_ptr(), into.len()) }
}

/// Receives into the spare capacity of `into`, which must not be zero. 0 is the end.
pub fn receive_more(fd: RawFd, into: &mut Vec<u8>) -> io::Result<usize> {
    let spare = into.spare_capacity_mut();
    // SAFETY: the spare capacity is writable; the kernel has filled `count` bytes of it.
    unsafe {
        let count = recv(fd, spare.as_mut_ptr().cast(), spare.len())?;
        into.set_len(into.len() + count);
        Ok(count)
    }
}

/// Appends what is there to `into`, up to `count` bytes. 0 is the end.
pub fn receive_into(fd: RawFd, into: &mut Vec<u8>, count: usize) -> io::Result<usize> {
    into.reserve(count);
    let spare = into.spare_capacity_mut();
    let room = spare.len().min(count);
    // SAFETY: the spare capacity is writable; the kernel has filled `count` bytes of it.
    unsafe {
        let count = recv(fd, spare.as_mut_ptr().cast(), room)?;
        into.set_len(into.len() + count);
        Ok(count)
    }
}

/// Whether the peer has closed, without taking a byte of what it has sent.
pub fn is_at_end(fd: RawFd) -> bool {
    let mut byte = 0_u8;
    // SAFETY: `byte` is writable for one byte.
    let got =
        unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, libc::MSG_PEEK | libc::MSG_DONTWAIT) };
    match check_len(got) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

/// Sends what the socket takes.
pub fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    let nobody = std::ptr::null::<u8>();
    // SAFETY: `bytes` is readable for its whole length; the socket is connected. Not through the C
    // library, for the reason that `recv` gives.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_sendto,
            fd,
            bytes.as_ptr(),
            bytes.len(),
            libc::MSG_NOSIGNAL,
            nobody,
            0_usize,
        )
    };
    check_len(sent as isize)
}

/// Sends two pieces in one call.
pub fn send_both(fd: RawFd, first: &[u8], second: &[u8]) -> io::Result<usize> {
    let mut pieces = [
        libc::iovec { iov_base: first.as_ptr().cast_mut().cast(), iov_len: first.len() },
        libc::iovec { iov_base: second.as_ptr().cast_mut().cast(), iov_len: second.len() },
    ];
    // SAFETY: all-zero is a valid msghdr; both pieces are readable, and sendmsg only reads them.
    unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = pieces.as_mut_ptr();
        message.msg_iovlen = pieces.len();
        check_len(libc::sendmsg(fd, &message, libc::MSG_NOSIGNAL))
    }
}

/// Sends pieces in one call.
pub fn send_pieces(fd: RawFd, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: all-zero is a valid msghdr; an IoSlice is laid out like an iovec, and sendmsg only
    // reads the pieces.
    unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = pieces.as_ptr().cast_mut().cast();
        message.msg_iovlen = pieces.len();
        check_len(libc::sendmsg(fd, &message, libc::MSG_NOSIGNAL))
    }
}

/// Bytes that the kernel holds for the peer: sent and not acknowledged, or not sent yet.
pub fn unacknowledged(fd: RawFd) -> u32 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ writes one int (tcp(7), SIOCOUTQ).
    match unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut bytes) } {
        0 => u32::try_from(bytes).unwrap_or(0),
        _ => 0,
    }
}

/// Ends the sending side.
pub fn finish_sending(fd: RawFd) {
    // SAFETY: no pointer is passed. A peer that has gone already is no error here.
    unsafe { libc::shutdown(fd, libc::SHUT_WR) };
}
