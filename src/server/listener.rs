//! Listening sockets: opened when the server starts, shared by its workers.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::base::error::{Error, ErrorKind};
use crate::config::{Config, Listen};
use crate::sys::socket;

/// One listening socket.
pub(super) struct Listener {
    pub(super) fd: OwnedFd,
    /// `None` for a Unix socket.
    pub(super) address: Option<SocketAddr>,
    /// It speaks TLS.
    pub(super) is_tls: bool,
    path: Option<PathBuf>,
    /// The file of a Unix socket is removed in the end.
    owns_path: bool,
}

impl std::fmt::Display for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.address, &self.path) {
            (Some(address), _) if self.is_tls => write!(f, "tls://{address}"),
            (Some(address), _) => address.fmt(f),
            (None, Some(path)) => write!(f, "unix:{}", path.display()),
            (None, None) => f.write_str("an unnamed socket"),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = self.path.as_ref().filter(|_| self.owns_path) {
            // Somebody may have removed it already.
            drop(std::fs::remove_file(path));
        }
    }
}

/// Opens every listener of a configuration, or none.
///
/// # Errors
/// `AddressInUse`, else `Io`; the message names the address.
pub(super) fn open(config: &Config) -> Result<Vec<Listener>, Error> {
    config.server.listen.iter().map(|listen| open_one(config, listen)).collect()
}

/// Takes over a TCP socket that somebody else has bound and made listen.
///
/// # Errors
/// `Io` when it is no such socket.
pub(super) fn adopt(fd: OwnedFd) -> Result<Listener, Error> {
    use std::os::fd::AsRawFd;
    let address = socket::local_address(fd.as_raw_fd())
        .map_err(|error| refused(&"the given socket", &error))?;
    Ok(Listener { fd, address, is_tls: false, path: None, owns_path: false })
}

/// Takes over a socket that listens, by what `server.listen` says of it. The file of a Unix socket
/// stays its maker's.
///
/// # Errors
/// `Io` when it is no such socket.
pub(super) fn adopt_as(listen: &Listen, fd: OwnedFd) -> Result<Listener, Error> {
    let mut listener = adopt(fd)?;
    match listen {
        Listen::Tcp(_) => {}
        Listen::Tls(_) => listener.is_tls = true,
        Listen::Unix(path) => listener.path = Some(path.clone()),
    }
    Ok(listener)
}

fn open_one(config: &Config, listen: &Listen) -> Result<Listener, Error> {
    let backlog = config.server.backlog;
    match listen {
        Listen::Tcp(address) | Listen::Tls(address) => {
            let fd = socket::listen_tcp(*address, backlog, config.server.reuse_port)
                .map_err(|error| refused(address, &error))?;
            use std::os::fd::AsRawFd;
            let bound =
                socket::local_address(fd.as_raw_fd()).map_err(|error| refused(address, &error))?;
            let is_tls = matches!(listen, Listen::Tls(_));
            Ok(Listener { fd, address: bound, is_tls, path: None, owns_path: false })
        }
        Listen::Unix(path) => {
            let fd = socket::listen_unix(path, backlog)
                .map_err(|error| refused(&path.display(), &error))?;
            Ok(Listener {
                fd,
                address: None,
                is_tls: false,
                path: Some(path.clone()),
                owns_path: true,
            })
        }
    }
}

fn refused(what: &dyn std::fmt::Display, error: &std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::AddrInUse => ErrorKind::AddressInUse,
        _ => ErrorKind::Io,
    };
    Error::new(kind, format!("cannot listen on {what}: {error}"))
}
