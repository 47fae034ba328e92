//! Addresses to listen on.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::ConfigError;
use super::node::{Node, Value};
use super::schema::{Rule, Setting, Shape};
use super::values::{shown, write_text, wrong_type};

/// The longest path of a Unix socket: `sun_path` less its NUL.
const UNIX_PATH_BYTES_MAX: usize = 107;

/// One address to listen on.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum Listen {
    /// `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`, `*:8080`; port 0 picks one.
    Tcp(SocketAddr),
    /// `unix:/run/neurohttp.sock`.
    Unix(PathBuf),
    /// `tls://0.0.0.0:8443`.
    Tls(SocketAddr),
}

impl Listen {
    /// Parses one address. Names are not resolved, but for `localhost`, which is 127.0.0.1. The
    /// error says what is wrong and what was expected.
    pub fn parse(text: &str) -> Result<Listen, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return parse_unix(path);
        }
        match text.strip_prefix("tls://") {
            Some(address) => parse_socket(address).map(Listen::Tls),
            None => parse_socket(text).map(Listen::Tcp),
        }
    }

    /// Only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        match self {
            Listen::Tcp(address) | Listen::Tls(address) => {
                address.ip().to_canonical().is_loopback()
            }
            Listen::Unix(_) => true,
        }
    }
}

fn parse_unix(path: &str) -> Result<Listen, String> {
    if path.is_empty() || path.contains('\0') || path.len() > UNIX_PATH_BYTES_MAX {
        return Err(format!(
            "the path of a Unix socket is empty or too long, expected unix:/PATH of at most \
             {UNIX_PATH_BYTES_MAX} bytes"
        ));
    }
    Ok(Listen::Unix(PathBuf::from(path)))
}

fn parse_socket(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(format!("\"{}\" has no port, expected ADDRESS:PORT", shown(text)));
    };
    // `u16::from_str` takes a leading plus.
    let Some(port) =
        port.parse::<u16>().ok().filter(|_| port.bytes().all(|byte| byte.is_ascii_digit()))
    else {
        return Err(format!(
            "\"{}\" is not a port, expected ADDRESS:PORT with a port from 0 to 65535",
            shown(port)
        ));
    };
    match host {
        "localhost" => Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
        "*" | "" => Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)),
        _ => Err(format!(
            "\"{}\" is not an address, expected one such as 127.0.0.1:8080, [::1]:8080, *:8080 \
             or unix:/PATH",
            shown(host)
        )),
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => write!(f, "{address}"),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
            Listen::Tls(address) => write!(f, "tls://{address}"),
        }
    }
}

impl Setting for Listen {
    const SHAPE: Shape = Shape::Text;

    fn read(key: &str, node: &Node, _rule: Rule) -> Result<Listen, ConfigError> {
        let Value::Text(text) = &node.value else {
            return Err(wrong_type(key, node, "an address such as \"127.0.0.1:8080\""));
        };
        Listen::parse(text).map_err(|message| node.at.error(message))
    }

    fn write(&self, _rule: Rule, out: &mut String) {
        write_text(&self.to_string(), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wrong: a server that listens elsewhere than it was told, or resolves a name at start.
    #[test]
    fn addresses_are_read_and_printed() {
        fn check(text: &str, expected: &str) {
            let parsed = Listen::parse(text).map(|listen| listen.to_string());
            assert_eq!(parsed.unwrap_or_else(|error| error), expected, "{text}");
        }
        check("127.0.0.1:8080", "127.0.0.1:8080");
        check("[::1]:80", "[::1]:80");
        check("localhost:0", "127.0.0.1:0");
        check("*:8080", "0.0.0.0:8080");
        check(":8080", "0.0.0.0:8080");
        check("unix:/run/nh.sock", "unix:/run/nh.sock");
        check("tls://0.0.0.0:8443", "tls://0.0.0.0:8443");
        check("8080", "\"8080\" has no port, expected ADDRESS:PORT");
        check(
            "localhost:+80",
            "\"+80\" is not a port, expected ADDRESS:PORT with a port from 0 to 65535",
        );
        check(
            "127.0.0.1:65536",
            "\"65536\" is not a port, expected ADDRESS:PORT with a port from 0 to 65535",
        );
        check(
            "example.com:80",
            "\"example.com\" is not an address, expected one such as 127.0.0.1:8080, \
             [::1]:8080, *:8080 or unix:/PATH",
        );
        check(
            "unix:",
            "the path of a Unix socket is empty or too long, expected unix:/PATH of at most 107 \
             bytes",
        );
    }

    /// Wrong: the open-or-guarded rule takes a public address for a private one.
    #[test]
    fn loopback_is_told_from_the_rest() {
        fn check(text: &str, expected: bool) {
            assert_eq!(Listen::parse(text).unwrap().is_loopback(), expected, "{text}");
        }
        check("127.9.9.9:1", true);
        check("[::1]:1", true);
        check("[::ffff:127.0.0.1]:1", true);
        check("unix:x", true);
        check("0.0.0.0:1", false);
        check("[::]:1", false);
        check("tls://10.0.0.1:1", false);
    }
}
