//! Providers as the relay needs them: where they are, what they want to hear, how long they may
//! take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ai::provider::{TargetInfo, Wire, codec};
use crate::config::{Config, kinds};
use crate::http::encode;

/// Where a provider's API begins.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BaseUrl {
    /// https.
    pub is_tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// Port, the scheme's by default.
    pub port: u16,
    /// As it stands in a Host field: the port only when it is not the scheme's.
    pub authority: String,
    /// What stands before the API's own paths, without a slash at its end.
    pub path: String,
}

impl BaseUrl {
    /// Takes `http[s]://HOST[:PORT][/PATH]` apart.
    pub fn parse(text: &str) -> Option<BaseUrl> {
        let (is_tls, rest) = match text.split_once("://")? {
            ("http", rest) => (false, rest),
            ("https", rest) => (true, rest),
            _ => return None,
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (host, port) = split_authority(authority)?;
        let usual = if is_tls { 443 } else { 80 };
        let port = port.unwrap_or(usual);
        if !encode::valid_value(rest.as_bytes()) || rest.contains([' ', '?', '#', '@']) {
            return None;
        }
        let shown = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        Some(BaseUrl {
            is_tls,
            host: host.to_owned(),
            port,
            authority: if port == usual { shown } else { format!("{shown}:{port}") },
            path: path.trim_end_matches('/').to_owned(),
        })
    }
}

/// `HOST[:PORT]`, with brackets around an IPv6 address.
fn split_authority(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, rest.strip_prefix(':').map_or((rest, None), |port| ("", Some(port))))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, ("", Some(port))),
            None => (text, ("", None)),
        },
    };
    let (garbage, port) = port;
    if host.is_empty() || !garbage.is_empty() {
        return None;
    }
    match port {
        None => Some((host, None)),
        Some(port) => Some((host, Some(port.parse().ok().filter(|port| *port != 0)?))),
    }
}

/// A forward proxy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proxy {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `Proxy-Authorization: …` with its line end, or nothing.
    pub authorization: Vec<u8>,
}

impl Proxy {
    /// Takes `http://[USER:PASSWORD@]HOST[:PORT][/]` apart.
    pub fn parse(text: &str) -> Option<Proxy> {
        let rest = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let (user, authority) = match rest.rsplit_once('@') {
            Some((user, authority)) => (Some(user), authority),
            None => (None, rest),
        };
        let (host, port) = split_authority(authority)?;
        let mut authorization = Vec::new();
        if let Some(user) = user {
            let value = format!("Basic {}", base64(&percent_decode(user)));
            encode::field(&mut authorization, b"Proxy-Authorization", value.as_bytes());
        }
        Some(Proxy { host: host.to_owned(), port: port.unwrap_or(3128), authorization })
    }
}

/// Percent-escapes decoded; broken ones stay as they are.
fn percent_decode(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        out.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    out
}

/// RFC 4648 section 4, with padding; small inputs only.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let at = |place: usize| u32::from(group.get(place).copied().unwrap_or(0));
        let word = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            if place <= group.len() {
                let index = (word >> (18 - 6 * place)) as usize & 63;
                out.push(char::from(ALPHABET[index]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

/// A provider.
pub struct Provider {
    /// Tells providers of all configurations apart: connections of one are never used for another.
    pub id: u64,
    /// Its configured name.
    pub name: String,
    /// Its configured kind: picks the row of quirks of its codec.
    pub kind: String,
    /// What it speaks.
    pub wire: Wire,
    /// Its credential.
    pub api_key: Option<String>,
    /// Where it is; nowhere for echo.
    pub base: BaseUrl,
    /// The proxy on the way to it.
    pub proxy: Option<Proxy>,
    /// Path of a private authority's PEM, or empty.
    pub ca_file: String,
    /// For name, connection and TLS, in milliseconds; also the wait for a free connection.
    pub connect_ms: u64,
    /// To the first token of a stream, in milliseconds.
    pub first_token_ms: u64,
    /// Between two chunks, in milliseconds.
    pub idle_ms: u64,
    /// For the whole answer, in milliseconds.
    pub total_ms: u64,
    /// Connections of the whole process.
    pub connections_max: u32,
    /// The path that is asked whether it is well, or nothing.
    pub health_path: String,
    /// Between two such questions, in milliseconds.
    pub health_ms: u64,
    /// The header lines that carry the credential.
    pub credential: Vec<u8>,
}

impl Provider {
    /// Whether it is the same but for its id.
    fn is_same(&self, other: &Provider) -> bool {
        let Provider {
            id: _,
            name,
            kind,
            wire,
            api_key,
            base,
            proxy,
            ca_file,
            connect_ms,
            first_token_ms,
            idle_ms,
            total_ms,
            connections_max,
            health_path,
            health_ms,
            credential,
        } = self;
        (name, kind, wire, api_key, base)
            == (&other.name, &other.kind, &other.wire, &other.api_key, &other.base)
            && (proxy, ca_file, health_path, credential)
                == (&other.proxy, &other.ca_file, &other.health_path, &other.credential)
            && (connect_ms, first_token_ms, idle_ms, total_ms)
                == (&other.connect_ms, &other.first_token_ms, &other.idle_ms, &other.total_ms)
            && (connections_max, health_ms) == (&other.connections_max, &other.health_ms)
    }

    /// What its codec is told.
    pub fn target<'a>(&'a self, model: &'a str) -> TargetInfo<'a> {
        TargetInfo {
            kind: &self.kind,
            model,
            api_key: self.api_key.as_deref(),
            base_path: &self.base.path,
        }
    }
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// The name of the provider behind the models of the host program.
pub(super) const HOST: &str = "host";

/// The one that stands behind the models of the host program unless the configuration has its own.
pub(super) fn host() -> crate::config::Provider {
    let (name, kind) = (HOST.to_owned(), HOST.to_owned());
    crate::config::Provider { name, kind, ..crate::config::Provider::default() }
}

/// Whether a configured provider stands behind the models of the host program.
pub(super) fn is_host(provider: &crate::config::Provider) -> bool {
    kinds::find(&provider.kind).is_some_and(|kind| kind.dialect == kinds::Dialect::Host)
}

/// The providers of a configuration, in its order, then [`host`] unless one of them is that.
///
/// # Errors
/// One line that names the provider and what is wrong with it.
pub(super) fn providers(config: &Config) -> Result<Arc<[Arc<Provider>]>, String> {
    let missing = (!config.provider.iter().any(is_host)).then(host);
    config.provider.iter().chain(&missing).map(|provider| one(provider).map(Arc::new)).collect()
}

/// The providers of another configuration. One that is what it was stays the same, and so do its
/// connections.
///
/// # Errors
/// As [`providers`].
pub fn renewed(config: &Config, old: &[Arc<Provider>]) -> Result<Arc<[Arc<Provider>]>, String> {
    let fresh = providers(config)?;
    let known = |provider: &Arc<Provider>| {
        let is_same = |old: &&Arc<Provider>| old.is_same(provider);
        Arc::clone(old.iter().find(is_same).unwrap_or(provider))
    };
    Ok(fresh.iter().map(known).collect())
}

fn one(provider: &crate::config::Provider) -> Result<Provider, String> {
    let name = &provider.name;
    let kind = kinds::find(&provider.kind)
        .ok_or_else(|| format!("provider {name}: the kind {} is not known", provider.kind))?;
    let wire = match kind.dialect {
        kinds::Dialect::OpenAi => Wire::OpenAi,
        kinds::Dialect::Anthropic => Wire::Anthropic,
        kinds::Dialect::Gemini => Wire::Gemini,
        kinds::Dialect::Ollama => Wire::Ollama,
        kinds::Dialect::Echo => Wire::Echo,
        kinds::Dialect::Host => Wire::Host,
    };
    let base = match wire {
        Wire::Echo | Wire::Host => BaseUrl::default(),
        _ => BaseUrl::parse(&provider.base_url).ok_or_else(|| {
            format!("provider {name}: base_url is not http[s]://HOST[:PORT][/PATH]")
        })?,
    };
    let proxy = match provider.proxy.as_str() {
        "" => None,
        text => Some(
            Proxy::parse(text)
                .ok_or_else(|| format!("provider {name}: proxy is not http://HOST:PORT"))?,
        ),
    };
    let mut made = Provider {
        // Relaxed: only the number matters.
        id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        name: name.clone(),
        kind: provider.kind.clone(),
        wire,
        api_key: provider.api_key.as_ref().map(|key| key.expose().to_owned()),
        base,
        proxy,
        ca_file: provider.ca_file.clone(),
        connect_ms: u64::from(provider.connect_timeout),
        first_token_ms: u64::from(provider.first_token_timeout),
        idle_ms: u64::from(provider.idle_timeout),
        total_ms: u64::from(provider.total_timeout),
        connections_max: provider.max_connections,
        health_path: provider.health_path.clone(),
        health_ms: u64::from(provider.health_interval),
        credential: Vec::new(),
    };
    if let Some(codec) = codec(wire) {
        let mut lines = Vec::new();
        for (name, value) in codec.credential(&made.target("")) {
            if !encode::valid_value(value.as_bytes()) {
                return Err(format!("provider {}: api_key cannot be sent in a header", made.name));
            }
            encode::field(&mut lines, name.as_bytes(), value.as_bytes());
        }
        made.credential = lines;
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (text, want) in [
            (
                "https://api.example.com/v1",
                Some((true, "api.example.com", 443, "api.example.com", "/v1")),
            ),
            (
                "http://127.0.0.1:8000/v1/",
                Some((false, "127.0.0.1", 8000, "127.0.0.1:8000", "/v1")),
            ),
            ("http://[::1]:80", Some((false, "::1", 80, "[::1]", ""))),
            ("https://h:443/a/b", Some((true, "h", 443, "h", "/a/b"))),
            ("ftp://h", None),
            ("http://", None),
            ("http://h:0", None),
            ("http://h:99999", None),
            ("http://u@h/", None),
            ("http://h/a b", None),
            ("http://[::1", None),
        ] {
            let got = BaseUrl::parse(text);
            let got = got.as_ref().map(|url| {
                (url.is_tls, url.host.as_str(), url.port, url.authority.as_str(), url.path.as_str())
            });
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn a_proxy_may_want_a_password() {
        let proxy = Proxy::parse("http://user:p%40ss@proxy:3128/").unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy", 3128));
        assert_eq!(proxy.authorization, b"Proxy-Authorization: Basic dXNlcjpwQHNz\r\n");
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
