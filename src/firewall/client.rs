//! Who the client is behind proxies that are trusted.
//!
//! A proxy appends the address it was called from to the right of X-Forwarded-For. So the list is
//! read from the right: each entry is believed only because the hop to its right is trusted, and
//! the first address that is not a trusted proxy is the client. What stands to the left of it was
//! sent by the client and may be anything. `Forwarded` (RFC 7239) is read in the same way, only
//! where no X-Forwarded-For is there: a proxy that knows one of them passes the other unread.

use std::net::{IpAddr, SocketAddr};

use super::address::{AddressSet, canonical};

/// Entries read of one list; more were not written by proxies.
const HOPS_MAX: usize = 64;

/// The client of a connection from `peer`, given the two fields' values in order of arrival. The
/// port is that of the list when it names one, else 0; without trusted proxies `peer` itself.
pub fn resolve<'a>(
    trusted: &AddressSet,
    peer: Option<SocketAddr>,
    forwarded_for: impl DoubleEndedIterator<Item = &'a [u8]>,
    forwarded: impl DoubleEndedIterator<Item = &'a [u8]>,
    now: i64,
) -> Option<SocketAddr> {
    let trusts = |address: IpAddr| trusted.contains(canonical(address), now);
    // Who reaches a Unix socket is a process of this machine.
    if trusted.is_empty() || peer.is_some_and(|peer| !trusts(peer.ip())) {
        return peer;
    }
    let mut client = peer;
    let mut hops = 0;
    let mut walk = |entry: &[u8], address: Option<SocketAddr>| {
        hops += 1;
        if entry.is_empty() || hops > HOPS_MAX {
            return hops <= HOPS_MAX;
        }
        // What is no address ("unknown", "_hidden") hides whoever stands before it.
        let Some(address) = address else { return false };
        client = Some(address);
        trusts(address.ip())
    };
    let mut has_list = false;
    for value in forwarded_for.rev() {
        has_list = true;
        for entry in value.rsplit(|&byte| byte == b',') {
            let entry = entry.trim_ascii();
            if !walk(entry, parse_node(entry)) {
                return client;
            }
        }
    }
    if has_list {
        return client;
    }
    for value in forwarded.rev() {
        for element in split_quoted(value, b',').into_iter().rev() {
            let node = node_of(element);
            if !walk(element.trim_ascii(), node.and_then(parse_node)) {
                return client;
            }
        }
    }
    client
}

/// The value of `for` in one element of Forwarded.
fn node_of(element: &[u8]) -> Option<&[u8]> {
    split_quoted(element, b';').into_iter().find_map(|pair| {
        let pair = pair.trim_ascii();
        let (name, value) = pair.split_at(memchr::memchr(b'=', pair)?);
        let value = value.get(1..)?;
        let inner = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        name.eq_ignore_ascii_case(b"for").then(|| inner.unwrap_or(value))
    })
}

/// Splits at a byte outside quotes.
fn split_quoted(text: &[u8], at: u8) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let (mut start, mut is_quoted, mut is_escaped) = (0, false, false);
    for (place, &byte) in text.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            _ if byte == at && !is_quoted => {
                parts.push(text.get(start..place).unwrap_or_default());
                start = place + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

/// An address with or without a port, IPv6 with or without brackets.
fn parse_node(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, 0));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address);
    }
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    inner.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Cidr;

    fn check(peer: &str, forwarded_for: &[&str], forwarded: &[&str], want: &str) {
        let trusted =
            ["10.0.0.0/8", "fd00::/8", "127.0.0.1"].map(|text| Cidr::parse(text).unwrap());
        let trusted = AddressSet::of(&trusted);
        let peer = peer.parse().ok();
        let client = resolve(
            &trusted,
            peer,
            forwarded_for.iter().map(|text| text.as_bytes()),
            forwarded.iter().map(|text| text.as_bytes()),
            0,
        );
        let client = client.map_or_else(|| "none".to_owned(), |client| client.to_string());
        assert_eq!(client, want, "{peer:?} {forwarded_for:?} {forwarded:?}");
    }

    /// Wrong: a client chooses its own address.
    #[test]
    fn only_what_trusted_proxies_wrote_is_believed() {
        check("203.0.113.9:5", &["198.51.100.1"], &[], "203.0.113.9:5");
        check("10.0.0.1:5", &[], &[], "10.0.0.1:5");
        check("10.0.0.1:5", &["198.51.100.1"], &[], "198.51.100.1:0");
        check("10.0.0.1:5", &["1.2.3.4, 198.51.100.1"], &[], "198.51.100.1:0");
        check("10.0.0.1:5", &["1.2.3.4", "198.51.100.1, 10.9.9.9"], &[], "198.51.100.1:0");
        check("10.0.0.1:5", &["evil, 10.2.2.2"], &[], "10.2.2.2:0");
        check("10.0.0.1:5", &["10.3.3.3,10.2.2.2"], &[], "10.3.3.3:0");
        check("10.0.0.1:5", &["198.51.100.1:4711"], &[], "198.51.100.1:4711");
        check("10.0.0.1:5", &["2001:db8::1"], &[], "[2001:db8::1]:0");
        check("10.0.0.1:5", &["[2001:db8::1]:80"], &[], "[2001:db8::1]:80");
        check("10.0.0.1:5", &["[2001:db8::1]"], &[], "[2001:db8::1]:0");
        check("[fd00::1]:5", &["198.51.100.1"], &[], "198.51.100.1:0");
        check("unix", &["198.51.100.1"], &[], "198.51.100.1:0");
        check("10.0.0.1:5", &["nonsense"], &[], "10.0.0.1:5");
        check("10.0.0.1:5", &["198.51.100.1,"], &[], "198.51.100.1:0");
    }

    #[test]
    fn forwarded_is_read_where_the_other_is_not() {
        check("10.0.0.1:5", &[], &["for=198.51.100.1"], "198.51.100.1:0");
        check("10.0.0.1:5", &[], &["For=\"[2001:db8::1]:4711\";proto=https"], "[2001:db8::1]:4711");
        check("10.0.0.1:5", &[], &["for=1.1.1.1, for=198.51.100.1;by=x"], "198.51.100.1:0");
        check("10.0.0.1:5", &[], &["for=1.1.1.1, for=unknown"], "10.0.0.1:5");
        check("10.0.0.1:5", &[], &["for=\"a,b\", for=10.0.0.2"], "10.0.0.2:0");
        check("10.0.0.1:5", &["198.51.100.1"], &["for=1.1.1.1"], "198.51.100.1:0");
        check("10.0.0.1:5", &[], &["for=\"unclosed"], "10.0.0.1:5");
    }
}
