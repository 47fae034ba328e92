//! Listening sockets: opened when the server starts, shared by its workers.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::error::{Error, ErrorKind};
use crate::config::{Config, Listen};
use crate::sys::socket;

/// One listening socket.
pub(super) struct Listener {
    /// Tells it from every other one of this process.
    pub(super) id: u64,
    /// What the configuration calls it; `None`: somebody has given it.
    listen: Option<Listen>,
    pub(super) fd: OwnedFd,
    /// `None` for a Unix socket.
    pub(super) address: Option<SocketAddr>,
    /// It speaks TLS.
    pub(super) is_tls: bool,
    path: Option<PathBuf>,
    /// The file of a Unix socket is removed in the end.
    owns_path: bool,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Relaxed: only the number matters.
fn next_id() -> u64 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
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
pub(super) fn open(config: &Config) -> Result<Vec<Arc<Listener>>, Error> {
    config.server.listen.iter().map(|listen| open_one(config, listen).map(Arc::new)).collect()
}

/// The listeners of another configuration: those that it has too stay, others are opened. `None`
/// when the sockets were given, so that they are not the configuration's to change.
///
/// # Errors
/// As [`open`]; nothing has changed then.
pub(super) fn renewed(
    config: &Config,
    before: &[Arc<Listener>],
) -> Result<Option<Vec<Arc<Listener>>>, Error> {
    if before.iter().any(|listener| listener.listen.is_none()) {
        return Ok(None);
    }
    let mut left: Vec<&Arc<Listener>> = before.iter().collect();
    let mut kept = Vec::new();
    for listen in &config.server.listen {
        let place = left.iter().position(|old| old.listen.as_ref() == Some(listen));
        kept.push(place.map(|place| Arc::clone(left.remove(place))));
    }
    let mut listeners = Vec::new();
    for (listen, kept) in config.server.listen.iter().zip(kept) {
        listeners.push(match kept {
            Some(listener) => listener,
            // The address stays and speaks TLS from now on, or no more: it is in use already.
            None => match left.iter().find(|old| old.is_at(listen)) {
                Some(old) => Arc::new(old.changed_to(listen)?),
                None => Arc::new(open_one(config, listen)?),
            },
        });
    }
    for listener in &listeners {
        // On a socket that listens already this changes its backlog.
        socket::set_backlog(listener.fd.as_raw_fd(), config.server.backlog)
            .map_err(|error| refused(listener, &error))?;
    }
    Ok(Some(listeners))
}

impl Listener {
    fn is_at(&self, wanted: &Listen) -> bool {
        let address = |listen: &Listen| match listen {
            Listen::Tcp(address) | Listen::Tls(address) => Some(*address),
            Listen::Unix(_) => None,
        };
        let own = self.listen.as_ref().and_then(address);
        own.is_some_and(|own| own.port() != 0) && own == address(wanted)
    }

    fn changed_to(&self, listen: &Listen) -> Result<Listener, Error> {
        let fd = self.fd.try_clone().map_err(|error| refused(self, &error))?;
        Ok(Listener {
            id: next_id(),
            listen: Some(listen.clone()),
            fd,
            address: self.address,
            is_tls: matches!(listen, Listen::Tls(_)),
            path: None,
            owns_path: false,
        })
    }
}

/// Takes over a TCP socket that somebody else has bound and made listen.
///
/// # Errors
/// `Io` when it is no such socket.
pub(super) fn adopt(fd: OwnedFd) -> Result<Listener, Error> {
    let address = socket::local_address(fd.as_raw_fd())
        .map_err(|error| refused(&"the given socket", &error))?;
    let (id, listen) = (next_id(), None);
    Ok(Listener { id, listen, fd, address, is_tls: false, path: None, owns_path: false })
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
            let bound =
                socket::local_address(fd.as_raw_fd()).map_err(|error| refused(address, &error))?;
            let is_tls = matches!(listen, Listen::Tls(_));
            let (id, listen) = (next_id(), Some(listen.clone()));
            Ok(Listener { id, listen, fd, address: bound, is_tls, path: None, owns_path: false })
        }
        Listen::Unix(path) => {
            let fd = socket::listen_unix(path, backlog)
                .map_err(|error| refused(&path.display(), &error))?;
            Ok(Listener {
                id: next_id(),
                listen: Some(listen.clone()),
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
