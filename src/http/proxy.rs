//! The PROXY protocol, versions 1 and 2: what a balancer says of the client before the first byte
//! of a connection (HAProxy, "The PROXY protocol", sections 2.1 and 2.2).
//!
//! Only connections of trusted proxies are read with this. Everything else that begins so is an
//! HTTP request that cannot be understood.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::kernel;

/// Bytes of the longest line of version 1, its end included.
const LINE_BYTES_MAX: usize = 107;
/// The first bytes of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of address and extensions that version 2 may announce; balancers send some hundred.
const EXTENSION_BYTES_MAX: usize = 4096;

/// The extension that holds a checksum (`PP2_TYPE_CRC32C`).
const CHECKSUM: u8 = 3;

/// What the beginning of a connection says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Preface {
    /// It is none: HTTP begins here.
    None,
    /// More bytes are needed.
    Partial,
    /// It cannot be understood: the connection is to be cut.
    Malformed,
    /// It is this many bytes long. Without a client the balancer speaks for itself (a health
    /// check), or the client came another way than TCP over IP.
    Client {
        /// Bytes to skip.
        size: usize,
        /// The client.
        client: Option<SocketAddr>,
    },
}

/// Reads the preface at the beginning of a connection.
pub fn parse(bytes: &[u8]) -> Preface {
    let begins = |with: &[u8]| {
        let length = with.len().min(bytes.len());
        length > 0 && bytes.get(..length) == with.get(..length)
    };
    if begins(b"PROXY ") {
        return parse_line(bytes);
    }
    if begins(SIGNATURE) {
        return parse_binary(bytes);
    }
    Preface::None
}

fn parse_line(bytes: &[u8]) -> Preface {
    let window = bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = memchr::memmem::find(window, b"\r\n") else {
        return if bytes.len() >= LINE_BYTES_MAX { Preface::Malformed } else { Preface::Partial };
    };
    let size = end + 2;
    let Ok(line) = std::str::from_utf8(bytes.get(..end).unwrap_or_default()) else {
        return Preface::Malformed;
    };
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => Preface::Client { size, client: None },
        ["PROXY", family @ ("TCP4" | "TCP6"), source, target, source_port, target_port] => {
            let is_v4 = *family == "TCP4";
            let address = |text: &str| -> Option<IpAddr> {
                text.parse().ok().filter(|address: &IpAddr| address.is_ipv4() == is_v4)
            };
            let port = |text: &str| -> Option<u16> {
                let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
                text.parse().ok().filter(|_| is_plain)
            };
            match (address(source), address(target), port(source_port), port(target_port)) {
                (Some(source), Some(_), Some(port), Some(_)) => {
                    Preface::Client { size, client: Some(SocketAddr::new(source, port)) }
                }
                _ => Preface::Malformed,
            }
        }
        _ => Preface::Malformed,
    }
}

fn parse_binary(bytes: &[u8]) -> Preface {
    let Some((&[command, family, high, low], rest)) =
        bytes.get(SIGNATURE.len()..).and_then(|rest| rest.split_first_chunk::<4>())
    else {
        return Preface::Partial;
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if command >> 4 != 2 || command & 15 > 1 || length > EXTENSION_BYTES_MAX {
        return Preface::Malformed;
    }
    let Some(block) = rest.get(..length) else { return Preface::Partial };
    let size = SIGNATURE.len() + 4 + length;
    if command & 15 == 0 {
        return Preface::Client { size, client: None };
    }
    let addresses = match family >> 4 {
        1 => 12,
        2 => 36,
        3 => 216,
        _ => 0,
    };
    let Some(extensions) = block.get(addresses..) else { return Preface::Malformed };
    let at = size - extensions.len();
    if family != 0 && !are_sound(bytes.get(..size).unwrap_or_default(), at) {
        return Preface::Malformed;
    }
    let client = match family {
        0x11 | 0x12 => match block.split_first_chunk::<12>() {
            Some((&[a, b, c, d, _, _, _, _, high, low, _, _], _)) => {
                let port = u16::from_be_bytes([high, low]);
                Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), port))
            }
            None => return Preface::Malformed,
        },
        0x21 | 0x22 => match (block.first_chunk::<16>(), block.get(32..36)) {
            (Some(source), Some(&[high, low, _, _])) => {
                let port = u16::from_be_bytes([high, low]);
                Some(SocketAddr::new(Ipv6Addr::from(*source).into(), port))
            }
            _ => return Preface::Malformed,
        },
        _ => None,
    };
    Preface::Client { size, client }
}

/// Whether the extensions of a block, which begin at this place in it, end where it ends, and the
/// checksum among them, if there is one, is that of the block (section 2.2.3).
fn are_sound(block: &[u8], mut at: usize) -> bool {
    while let Some(rest) = block.get(at..).filter(|rest| !rest.is_empty()) {
        let Some((&[kind, high, low], value)) = rest.split_first_chunk::<3>() else { return false };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let Some(value) = value.get(..length) else { return false };
        if kind == CHECKSUM {
            let Ok(told) = <[u8; 4]>::try_from(value) else { return false };
            let (before, behind) = (block.get(..at + 3), block.get(at + 7..));
            let parts = [before.unwrap_or_default(), &[0; 4], behind.unwrap_or_default()];
            let sum = parts.iter().fold(0, |crc, part| kernel::crc32c_update(crc, part));
            if sum != u32::from_be_bytes(told) {
                return false;
            }
        }
        at += 3 + length;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], want: Preface) {
        assert_eq!(parse(bytes), want, "{}", bytes.escape_ascii());
        // Cut anywhere before its end it is not complete, and never something else.
        if let Preface::Client { size, .. } = want {
            for cut in 1..size {
                assert_eq!(parse(&bytes[..cut]), Preface::Partial, "cut at {cut}");
            }
        }
    }

    fn client(size: usize, text: &str) -> Preface {
        Preface::Client { size, client: text.parse().ok() }
    }

    #[test]
    fn lines_of_version_1() {
        check(
            b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 80\r\nGET / HTTP/1.1\r\n",
            client(41, "203.0.113.7:4711"),
        );
        check(b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n", client(32, "[2001:db8::1]:1"));
        check(b"PROXY UNKNOWN\r\n", client(15, ""));
        check(b"PROXY UNKNOWN ::1 ::1 1 2\r\nGET", client(27, ""));
        for wrong in [
            &b"PROXY TCP4 ::1 ::1 1 2\r\n"[..],
            b"PROXY TCP4 1.2.3.4 1.2.3.4 70000 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
            b"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
            b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
            &[&b"PROXY TCP4 "[..], &[b'1'; 200]].concat(),
        ] {
            check(wrong, Preface::Malformed);
        }
        check(b"GET / HTTP/1.1\r\n", Preface::None);
        check(b"POST / HTTP/1.1\r\n", Preface::None);
        check(b"PR", Preface::Partial);
    }

    #[test]
    fn blocks_of_version_2() {
        let make = |command: u8, family: u8, block: &[u8]| {
            let mut bytes = SIGNATURE.to_vec();
            bytes.extend_from_slice(&[command, family]);
            bytes.extend_from_slice(&(block.len() as u16).to_be_bytes());
            bytes.extend_from_slice(block);
            bytes
        };
        let v4 = [203, 0, 113, 7, 10, 0, 0, 1, 0x12, 0x67, 0, 80, 0x04, 0, 1, b'x'];
        check(&make(0x21, 0x11, &v4), client(32, "203.0.113.7:4711"));
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
        v6[15] = 1;
        v6[33] = 9;
        check(&make(0x21, 0x21, &v6), client(52, "[2001:db8::1]:9"));
        check(&make(0x20, 0x11, &v4), client(32, ""));
        check(&make(0x21, 0x31, &[0; 216]), client(232, ""));
        check(&make(0x21, 0x00, b""), client(16, ""));
        check(&make(0x31, 0x11, &v4), Preface::Malformed);
        check(&make(0x22, 0x11, &v4), Preface::Malformed);
        check(&make(0x21, 0x11, &v4[..4]), Preface::Malformed);
        check(&make(0x21, 0x21, &v4), Preface::Malformed);
        check(&make(0x21, 0x11, &[0; 5000]), Preface::Malformed);
        check(b"\r\nGET / HTTP/1.1\r\n", Preface::None);
    }

    /// Wrong: extensions that lead out of the block, or an address that was changed on its way.
    #[test]
    fn extensions_end_in_the_block_and_its_checksum_is_right() {
        let make = |family: u8, addresses: usize, extensions: &[u8]| {
            let mut bytes = [&SIGNATURE[..], &[0x21, family, 0, 0], &vec![7; addresses]].concat();
            bytes.extend_from_slice(extensions);
            bytes[15] = (bytes.len() - 16) as u8;
            bytes
        };
        let seven = client(0, "7.7.7.7:1799");
        let sized = |size: usize| match seven {
            Preface::Client { client, .. } => Preface::Client { size, client },
            other => other,
        };
        check(&make(0x11, 12, &[4, 0, 0, 2, 0, 1, b'x']), sized(35));
        check(&make(0x11, 12, &[4, 0]), Preface::Malformed);
        check(&make(0x11, 12, &[4, 0, 2, b'x']), Preface::Malformed);
        check(&make(0x11, 12, &[3, 0, 1, 0]), Preface::Malformed);
        for (family, addresses) in [(0x11, 12), (0x21, 36), (0x31, 216)] {
            let extensions = [2, 0, 1, b'h', CHECKSUM, 0, 4, 0, 0, 0, 0, 4, 0, 1, 9];
            let mut bytes = make(family, addresses, &extensions);
            let at = bytes.len() - 8;
            let sum = kernel::crc32c(&bytes).to_be_bytes();
            bytes[at..at + 4].copy_from_slice(&sum);
            assert!(matches!(parse(&bytes), Preface::Client { .. }), "{family}");
            for place in [16, at - 4, at, bytes.len() - 1] {
                let mut changed = bytes.clone();
                changed[place] ^= 1;
                assert_eq!(parse(&changed), Preface::Malformed, "{family} {place}");
            }
        }
    }
}
