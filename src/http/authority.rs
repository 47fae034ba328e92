//! `uri-host [ ":" port ]`: the value of Host and the authority of an absolute target
//! (RFC 9110 section 7.2, RFC 3986 section 3.2).
//!
//! Stricter than the grammar where that is safer: no userinfo, no comma (a joined list), no empty
//! host, no port above 65535, no address of a future version, and percent-encoding that does not
//! hide a delimiter or a control character.
#![forbid(unsafe_code)]

use std::net::Ipv6Addr;

use super::chars;

/// An authority, split.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Authority<'a> {
    /// Registered name or address; an IPv6 address with its brackets.
    pub(super) host: &'a [u8],
    /// The port, if there is a colon with digits after it.
    pub(super) port: Option<u16>,
}

/// Splits and checks an authority; `None` when it is not one.
pub(super) fn parse(text: &[u8]) -> Option<Authority<'_>> {
    let host_end = match text.first()? {
        b'[' => address_end(text)?,
        _ => name_end(text)?,
    };
    let (host, rest) = text.split_at_checked(host_end)?;
    let port = match rest {
        [] | [b':'] => None,
        [b':', digits @ ..] => Some(port(digits)?),
        _ => return None,
    };
    Some(Authority { host, port })
}

impl Authority<'_> {
    /// Whether both name the same host and, with this default, the same port.
    pub(super) fn agrees_with(&self, other: &Authority<'_>, default_port: u16) -> bool {
        self.host.eq_ignore_ascii_case(other.host)
            && self.port.unwrap_or(default_port) == other.port.unwrap_or(default_port)
    }
}

/// The end of a bracketed IPv6 address. Zones are refused: they mean nothing to another machine.
fn address_end(text: &[u8]) -> Option<usize> {
    let close = memchr::memchr(b']', text)?;
    let address = std::str::from_utf8(text.get(1..close)?).ok()?;
    address.parse::<Ipv6Addr>().ok()?;
    Some(close + 1)
}

/// The end of a registered name or IPv4 address; at least one byte long.
fn name_end(text: &[u8]) -> Option<usize> {
    let mut end = 0;
    loop {
        end = chars::end_of(text, end, chars::REG_NAME);
        match text.get(end) {
            Some(b'%') => {
                let high = chars::hex_value(*text.get(end + 1)?)?;
                let low = chars::hex_value(*text.get(end + 2)?)?;
                let byte = high << 4 | low;
                if byte <= b' ' || byte == 0x7f || b"/?#@[]:\\,%".contains(&byte) {
                    return None;
                }
                end += 3;
            }
            _ if end == 0 => return None,
            _ => return Some(end),
        }
    }
}

/// One to five digits, at most 65535.
fn port(digits: &[u8]) -> Option<u16> {
    if digits.len() > 5 {
        return None;
    }
    let mut value = 0u32;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u32::from(digit - b'0');
    }
    u16::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(&str, Option<u16>)>) {
        let expected = expected.map(|(host, port)| Authority { host: host.as_bytes(), port });
        assert_eq!(parse(text.as_bytes()), expected, "{text:?}");
    }

    /// A crafted Host has cost other gateways their keys.
    #[test]
    fn accepts_hosts_only() {
        check("example.com", Some(("example.com", None)));
        check("EXAMPLE.com:80", Some(("EXAMPLE.com", Some(80))));
        check("example.com:", Some(("example.com", None)));
        check("127.0.0.1:65535", Some(("127.0.0.1", Some(65535))));
        check("[::1]", Some(("[::1]", None)));
        check("[::ffff:1.2.3.4]:8080", Some(("[::ffff:1.2.3.4]", Some(8080))));
        check("my_host-1.local", Some(("my_host-1.local", None)));
        check("a%41b", Some(("a%41b", None)));
        check("a!$&'()*+;=b", Some(("a!$&'()*+;=b", None)));
        for bad in [
            "",
            ":",
            ":80",
            "a b",
            " a",
            "a,b",
            "a/",
            "a/b",
            "a?b",
            "a#b",
            "u@a",
            "u:p@a",
            "a:b",
            "a:+1",
            "a:80:80",
            "a:65536",
            "a:000080",
            "a:8 ",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]:x",
            "[fe80::1%25eth0]",
            "[v1.a]",
            "[1.2.3.4]",
            "[]",
            "a[::1]",
            "a%",
            "a%4",
            "a%4g",
            "a%2fb",
            "a%00b",
            "a%40b",
            "a%3A80",
            "a%5cb",
            "a\\b",
            "a\"b",
            "é",
            "a\tb",
            "a%2525",
            "http://a",
            "a|b",
            "a^b",
            "{a}",
            "a%2c",
        ] {
            check(bad, None);
        }
    }

    /// Two spellings of one host must agree, two hosts must not.
    #[test]
    fn agreement_knows_the_default_port() {
        let agree = |a: &str, b: &str| {
            parse(a.as_bytes()).unwrap().agrees_with(&parse(b.as_bytes()).unwrap(), 80)
        };
        assert!(agree("a", "A:80"));
        assert!(agree("a:", "a"));
        assert!(agree("[::1]:81", "[::1]:81"));
        assert!(!agree("a", "a:81"));
        assert!(!agree("a", "b"));
    }
}
