//! The PROXY protocol, versions 1 and 2: what a balancer says of the client before the first byte
//! of a connection (HAProxy, "The PROXY protocol", sections 2.1 and 2.2).
//!
//! Only connections of trusted proxies are read with this. Everything else that begins so is an
//! HTTP request that cannot be understood.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of the longest line of version 1, its end included.
const LINE_BYTES_MAX: usize = 107;
/// The first bytes of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of address and extensions that version 2 may announce; balancers send some hundred.
const EXTENSION_BYTES_MAX: usize = 4096;

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
}
