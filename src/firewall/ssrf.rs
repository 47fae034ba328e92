//! URLs that point inwards: loopback, private networks, the metadata services of clouds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::place;

/// Where URLs are looked at. Paths hold none.
pub const PLACES: u16 = place::QUERY
    | place::FORM
    | place::JSON
    | place::HEADER
    | place::COOKIE
    | place::FILE
    | place::TEXT;

/// Names that lead inwards.
const NAMES: &[&[u8]] = &[
    b"localhost",
    b"localhost.localdomain",
    b"ip6-localhost",
    b"ip6-loopback",
    b"metadata",
    b"metadata.google.internal",
    b"metadata.goog",
    b"metadata.azure.com",
    b"instance-data",
    b"kubernetes.default",
    b"kubernetes.default.svc",
    b"host.docker.internal",
    b"localtest.me",
    b"lvh.me",
    b"vcap.me",
    b"spoofed.burpcollaborator.net",
    b"rancher-metadata",
];

/// Ends of names that resolve to an address within them, or to an inside.
const ENDS: &[&[u8]] = &[
    b".localhost",
    b".nip.io",
    b".xip.io",
    b".sslip.io",
    b".localtest.me",
    b".lvh.me",
    b".internal",
    b".burpcollaborator.net",
    b".oastify.com",
    b".oast.pro",
    b".oast.me",
    b".interact.sh",
    b".dnslog.cn",
];

/// Slashes between a scheme and a host.
const SLASHES_MAX: usize = 8;

/// Whether a normalized text is a URL of this machine as programs write it, with nothing before its host
/// but the scheme.
pub fn is_loopback(text: &[u8]) -> bool {
    let host = text.strip_prefix(b"http://").unwrap_or_default();
    let names: [&[u8]; 3] = [b"localhost", b"127.0.0.1", b"[::1]"];
    names.iter().filter_map(|name| host.strip_prefix(*name)).any(|behind| {
        let port = behind.strip_prefix(b":").unwrap_or_default();
        let digits = port.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let path = if digits > 0 { port.get(digits..).unwrap_or_default() } else { behind };
        matches!(path.first(), None | Some(b'/'))
            && !path.iter().any(|byte| matches!(byte, b'@' | b'\\'))
    })
}

/// The first URL in a normalized text that points inwards.
pub fn find(text: &[u8]) -> Option<Range<usize>> {
    // `//host` alone, or behind a scheme; of the web's schemes readers take any number of slashes,
    // and backslashes for them.
    let alone = text.starts_with(b"//").then_some(0);
    let behind = memchr::memchr_iter(b':', text).map(|at| at + 1);
    for at in alone.into_iter().chain(behind) {
        let rest = text.get(at..).unwrap_or_default();
        let is_slash = |byte: &&u8| matches!(byte, b'/' | b'\\');
        let slashes = rest.iter().take(SLASHES_MAX).take_while(is_slash).count();
        let before = text.get(..at).unwrap_or_default();
        let is_web = before.ends_with(b"http:") || before.ends_with(b"https:");
        if !is_web && !rest.starts_with(b"//") {
            continue;
        }
        let from = at + slashes;
        let rest = text.get(from..).unwrap_or_default();
        let rest = rest.get(..256).unwrap_or(rest);
        let length = rest
            .iter()
            .position(|b| {
                matches!(
                    b,
                    b'/' | b'?' | b'#' | b'\\' | b' ' | b'\n' | b'"' | b'\'' | b'<' | b'>' | b')'
                )
            })
            .unwrap_or(rest.len());
        let authority = rest.get(..length).unwrap_or_default();
        if is_inward(authority) {
            return Some(at.saturating_sub(6)..from + length);
        }
    }
    None
}

fn is_inward(authority: &[u8]) -> bool {
    // Readers disagree about which part behind several @ is the host: each may be meant.
    authority.split(|&byte| byte == b'@').any(|part| {
        let host = host_of(part);
        let host = host.strip_suffix(b".").unwrap_or(host);
        NAMES.contains(&host)
            || ENDS.iter().any(|end| host.ends_with(end))
            || address_of(host).is_some_and(is_inside)
    })
}

fn host_of(part: &[u8]) -> &[u8] {
    if let Some(rest) = part.strip_prefix(b"[") {
        let end = memchr::memchr(b']', rest).unwrap_or(rest.len());
        return rest.get(..end).unwrap_or_default();
    }
    let end = part.iter().position(|&byte| byte == b':' || byte == b'&').unwrap_or(part.len());
    part.get(..end).unwrap_or_default()
}

/// An address in whatever spelling resolvers take: dotted, shortened, decimal, octal, hexadecimal.
fn address_of(host: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(host).ok()?;
    if let Ok(v6) = text.split('%').next()?.parse::<Ipv6Addr>() {
        return Some(v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4));
    }
    let mut parts = Vec::new();
    for part in text.split('.') {
        let value = match part.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None if part.len() > 1 && part.starts_with('0') => u64::from_str_radix(part, 8),
            None => part.parse(),
        };
        parts.push(value.ok()?);
        if parts.len() > 4 {
            return None;
        }
    }
    let (last, first) = parts.split_last()?;
    let mut value: u64 = 0;
    for part in first {
        value = value << 8 | (part & 0xff);
    }
    let value = value << (8 * (4 - first.len() as u64)) | (last & 0xffff_ffff);
    // A lone small number is a number.
    let is_number = parts.len() == 1 && *last < 0x100_0000 && *last != 0;
    (!is_number).then(|| IpAddr::V4(Ipv4Addr::from(value as u32)))
}

fn is_inside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.octets()[0] == 0
                || v4 == Ipv4Addr::new(100, 100, 100, 200)
                || v4 == Ipv4Addr::new(192, 0, 0, 192)
        }
        IpAddr::V6(v6) => {
            let first = v6.segments()[0];
            v6.is_loopback()
                || v6.is_unspecified()
                || first & 0xfe00 == 0xfc00
                || first & 0xffc0 == 0xfe80
                || v6.to_ipv4().is_some_and(|v4| is_inside(v4.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inward_urls_are_found_in_every_spelling() {
        for (text, want) in [
            ("http://127.0.0.1/", true),
            ("http://127.1:80", true),
            ("http://2130706433/", true),
            ("http://0x7f000001", true),
            ("http://0177.0.0.1", true),
            ("http://0x7f.0.0.1", true),
            ("http://[::1]:22", true),
            ("http://[::]:80/", true),
            ("http://[::ffff:127.0.0.1]/", true),
            ("http://0/", true),
            ("https://localhost", true),
            ("gopher://localhost:6379/_x", true),
            ("http://169.254.169.254/latest/meta-data/", true),
            ("http://metadata.google.internal/", true),
            ("http://example.com@127.0.0.1/", true),
            ("http://127.0.0.1.nip.io", true),
            ("see http://10.1.2.3/x", true),
            ("//localhost/x", true),
            ("http:127.0.0.1/", true),
            ("http:///127.0.0.1/", true),
            ("https:\\\\127.0.0.1\\x", true),
            ("gopher:127.0.0.1", false),
            ("see http: localhost", false),
            ("x///127.0.0.1", false),
            ("http://example.com/", false),
            ("https://api.openai.com/v1", false),
            ("http://8.8.8.8/", false),
            ("https://example.com/127.0.0.1", false),
            ("a//b", false),
            ("https://1234/", false),
        ] {
            assert_eq!(find(text.as_bytes()).is_some(), want, "{text}");
        }
    }
}
