//! Names to addresses: looked up on the blocking pool, kept for a while by each worker.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use crate::base::limits;
use crate::base::slab::Key;

/// What a worker knows of names.
#[derive(Default)]
pub(super) struct Names {
    known: HashMap<(String, u16), Known>,
}

enum Known {
    /// These calls wait for the answer.
    Asked(Vec<Key>),
    Addresses {
        addresses: Arc<[SocketAddr]>,
        until_ms: u64,
    },
}

/// What asking for a name came to.
pub(super) enum Answer {
    /// Here they are.
    Addresses(Arc<[SocketAddr]>),
    /// The name must be looked up now.
    Ask,
    /// Somebody has asked already.
    Wait,
}

impl Names {
    /// The addresses of a name for a call, which waits when they are not known.
    pub(super) fn get(&mut self, host: &str, port: u16, now_ms: u64, call: Key) -> Answer {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Answer::Addresses([SocketAddr::new(address, port)].into());
        }
        let name = (host.to_owned(), port);
        match self.known.get_mut(&name) {
            Some(Known::Addresses { addresses, until_ms }) if *until_ms > now_ms => {
                Answer::Addresses(Arc::clone(addresses))
            }
            Some(Known::Asked(calls)) => {
                calls.push(call);
                Answer::Wait
            }
            _ => {
                self.known.insert(name, Known::Asked(vec![call]));
                Answer::Ask
            }
        }
    }

    /// The answer of a look-up; returns the calls that waited for it.
    pub(super) fn set(
        &mut self,
        host: String,
        port: u16,
        addresses: Option<Arc<[SocketAddr]>>,
        now_ms: u64,
    ) -> Vec<Key> {
        let known = match addresses {
            Some(addresses) => {
                let until_ms = now_ms + limits::RESOLVED_MS;
                self.known.insert((host, port), Known::Addresses { addresses, until_ms })
            }
            None => self.known.remove(&(host, port)),
        };
        match known {
            Some(Known::Asked(calls)) => calls,
            _ => Vec::new(),
        }
    }

    /// Forgets the addresses of a name none of which could be reached.
    pub(super) fn forget(&mut self, host: &str, port: u16) {
        let name = (host.to_owned(), port);
        if matches!(self.known.get(&name), Some(Known::Addresses { .. })) {
            self.known.remove(&name);
        }
    }
}

/// Looks a name up. Blocks.
///
/// # Errors
/// What the system's resolver says.
pub(super) fn look_up(host: &str, port: u16) -> Result<Arc<[SocketAddr]>, String> {
    let found = (host, port).to_socket_addrs().map_err(|error| error.to_string())?;
    let addresses = in_turn(found.take(limits::ADDRESSES_MAX).collect());
    if addresses.is_empty() {
        return Err("the name has no address".to_owned());
    }
    Ok(addresses.into())
}

/// The families in turn, beginning with the resolver's first choice (RFC 8305 section 4).
fn in_turn(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut turn = Vec::new();
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    loop {
        let pair = (first.next(), second.next());
        if pair == (None, None) {
            return turn;
        }
        turn.extend(pair.0);
        turn.extend(pair.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (a, b, c, d) = (
            address("[::1]:1"),
            address("[::2]:1"),
            address("127.0.0.1:1"),
            address("127.0.0.2:1"),
        );
        assert_eq!(in_turn(vec![a, b, c, d]), [a, c, b, d]);
        assert_eq!(in_turn(vec![c, a, b]), [c, a, b]);
        assert_eq!(in_turn(vec![]), []);
    }
}
