//! What a service manager and the program tell each other: sockets that are passed in, and how far
//! it is (sd_listen_fds(3), sd_notify(3)). Without one all of it does nothing.

use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use neurohttp::sys::clock;
use neurohttp::sys::inherited::{self, Inherited, Place};

/// What a message may take; the manager's queue may be full.
const SEND_WAIT: Duration = Duration::from_secs(1);

/// What the stop may take beyond the drain.
const END_WAIT: Duration = Duration::from_secs(10);

/// Sockets that were opened for the program, and what `server.listen` says of them.
pub(crate) struct Passed {
    pub(crate) sockets: Vec<OwnedFd>,
    /// A TOML list.
    pub(crate) listen: String,
}

/// Takes the sockets that `LISTEN_FDS` tells of. One whose name begins with `tls` speaks TLS.
///
/// # Errors
/// One line that says what is wrong with them.
pub(crate) fn sockets() -> Result<Option<Passed>, String> {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let pid = variable("LISTEN_PID");
    let found = inherited::take(&pid, &variable("LISTEN_FDS"), &variable("LISTEN_FDNAMES"));
    let found = found.map_err(|error| format!("LISTEN_FDS: {error}"))?;
    if found.is_empty() {
        return Ok(None);
    }
    let addresses = found.iter().map(address).collect::<Result<Vec<_>, _>>()?;
    let sockets = found.into_iter().map(|it| it.fd).collect();
    Ok(Some(Passed { sockets, listen: format!("[{}]", addresses.join(", ")) }))
}

/// A socket as an element of `server.listen`.
fn address(socket: &Inherited) -> Result<String, String> {
    let is_tls = socket.name.starts_with("tls");
    match &socket.place {
        Place::Tcp(address) if is_tls => Ok(format!("\"tls://{address}\"")),
        Place::Tcp(address) => Ok(format!("\"{address}\"")),
        Place::Unix(path) if is_tls => {
            Err(format!("LISTEN_FDS: TLS on {} is not possible", path.display()))
        }
        Place::Unix(path) => match path.to_str() {
            Some(path) if !path.contains(|c: char| c.is_control() || c == '"' || c == '\\') => {
                Ok(format!("\"unix:{path}\""))
            }
            _ => Err(format!("LISTEN_FDS: the path {path:?} cannot be used")),
        },
    }
}

/// The service manager, if it wants to be told.
pub(crate) struct Manager(Option<(UnixDatagram, SocketAddr)>);

impl Manager {
    /// The one that `NOTIFY_SOCKET` names.
    pub(crate) fn find() -> Manager {
        let name = std::env::var("NOTIFY_SOCKET").unwrap_or_default();
        let address = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None if name.starts_with('/') => SocketAddr::from_pathname(&name),
            None => return Manager(None),
        };
        let connected = address.and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            socket.set_write_timeout(Some(SEND_WAIT))?;
            Ok((socket, address))
        });
        if let Err(error) = &connected {
            eprintln!("neurohttp: NOTIFY_SOCKET={name}: {error}");
        }
        Manager(connected.ok())
    }

    fn tell(&self, message: &str) {
        if let Some((socket, address)) = &self.0
            && let Err(error) = socket.send_to_addr(message.as_bytes(), address)
        {
            eprintln!("neurohttp: the service manager cannot be told: {error}");
        }
    }

    /// It serves, with this configuration.
    pub(crate) fn ready(&self) {
        self.tell("READY=1");
    }

    /// It reads its configuration anew; [`Manager::ready`] follows.
    pub(crate) fn reloading(&self) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", clock::monotonic_us()));
    }

    /// It drains, for as long as this at most.
    pub(crate) fn stopping(&self, drain: Duration) {
        let wait_us = (drain + END_WAIT).as_micros();
        self.tell(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={wait_us}"));
    }
}
