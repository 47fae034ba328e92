//! Listening sockets: opened when the server starts, shared by its workers.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

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

/// How long an address is waited for that a worker is just letting go.
const LET_GO: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// The listeners of another configuration: those that it has too stay, others are opened. `None`
/// when the sockets were given, so that they are not the configuration's to change. `leaving` are
/// those of configurations before that some worker may still hold: their addresses are ours.
///
/// # Errors
/// As [`open`]; nothing has changed then.
pub(super) fn renewed(
    config: &Config,
    before: &[Arc<Listener>],
    leaving: &[Weak<Listener>],
) -> Result<Option<Vec<Arc<Listener>>>, Error> {
    if before.iter().any(|listener| listener.listen.is_none()) {
        return Ok(None);
    }
    let held: Vec<Arc<Listener>> = leaving.iter().filter_map(Weak::upgrade).collect();
    let mut left: Vec<&Arc<Listener>> = before.iter().chain(&held).collect();
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
                None => Arc::new(open_again(config, listen, !leaving.is_empty())?),
            },
        });
    }
    for listener in &listeners {
        // On a socket that listens already this changes its backlog.
        socket::set_backlog(listener.fd.as_raw_fd(), config.server.backlog)
            .and_then(|()| listener.defer(config))
            .map_err(|error| refused(listener, &error))?;
    }
    Ok(Some(listeners))
}

/// Opens a listener whose address we may be about to let go.
fn open_again(config: &Config, listen: &Listen, are_leaving: bool) -> Result<Listener, Error> {
    let deadline = Instant::now() + LET_GO;
    loop {
        match open_one(config, listen) {
            Err(error)
                if error.kind == ErrorKind::AddressInUse
                    && are_leaving
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(LOOK_AGAIN);
            }
            done => return done,
        }
    }
}

/// How long the kernel keeps a connection whose client says nothing.
const DEFERRED_MS: u32 = 1000;

/// Whether the kernel may keep a TCP connection until its client has spoken, so that the first read finds
/// the request. Those that say nothing count nowhere for [`DEFERRED_MS`]: no limit and no deadline may
/// be so tight that this is felt.
fn may_defer(config: &Config) -> bool {
    config.limits.connections_per_address == 0
        && config.server.max_connections >= config.server.backlog
        && config.timeouts.header >= 10 * DEFERRED_MS
}

impl Listener {
    /// As the configuration of the moment allows.
    fn defer(&self, config: &Config) -> std::io::Result<()> {
        match self.address {
            Some(_) => socket::set_deferred(self.fd.as_raw_fd(), may_defer(config)),
            None => Ok(()),
        }
    }

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
            let listener =
                Listener { id, listen, fd, address: bound, is_tls, path: None, owns_path: false };
            listener.defer(config).map_err(|error| refused(address, &error))?;
            Ok(listener)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Wrong: silent connections escape a limit or a deadline that is tight, now or from a reload on.
    #[test]
    fn connections_wait_for_their_first_byte_where_no_limit_feels_it() {
        let mut config = Config::default();
        config.server.listen = vec![Listen::Tcp("127.0.0.1:0".parse().unwrap())];
        let before = open(&config).unwrap();
        let is_deferred = || socket::is_deferred(before[0].fd.as_raw_fd()).unwrap();
        assert!(is_deferred());
        for tighten in [
            |config: &mut Config| config.limits.connections_per_address = 1,
            |config: &mut Config| config.server.max_connections = config.server.backlog - 1,
            |config: &mut Config| config.timeouts.header = 9_999,
        ] {
            let mut tight = config.clone();
            tighten(&mut tight);
            renewed(&tight, &before, &[]).unwrap();
            assert!(!is_deferred());
            assert!(!socket::is_deferred(open(&tight).unwrap()[0].fd.as_raw_fd()).unwrap());
            renewed(&config, &before, &[]).unwrap();
            assert!(is_deferred());
        }
    }

    /// Wrong: an address is refused that a worker holds, or is letting go, since a configuration
    /// before; or what somebody else holds is taken, or waited for without an end.
    #[test]
    fn an_address_that_is_being_left_is_taken_again() {
        let path = std::env::temp_dir().join(format!("nh-listener-{}.sock", std::process::id()));
        let mut config = Config::default();
        config.server.listen = vec![Listen::Unix(path.clone())];
        let held = open(&config).unwrap().remove(0);
        let id = held.id;
        let leaving = [Arc::downgrade(&held)];
        assert_eq!(renewed(&config, &[], &leaving).unwrap().unwrap()[0].id, id);
        let refused = |leaving: &[Weak<Listener>]| {
            renewed(&config, &[], leaving)
                .err()
                .is_some_and(|it| it.kind == ErrorKind::AddressInUse)
        };
        assert!(refused(&[]));
        drop(held);
        // The last one lets go while the address is asked for.
        let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(refused(&leaving));
        let letting_go = std::thread::spawn(move || drop(other));
        let again = renewed(&config, &[], &leaving).unwrap().unwrap().remove(0);
        assert_ne!(again.id, id);
        letting_go.join().unwrap();
        assert!(path.exists());
        drop(again);
        assert!(!path.exists());
    }
}
