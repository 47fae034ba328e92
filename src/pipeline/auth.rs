//! Who may use `/v1/*`: keys, or the loopback rule when there are none.

use crate::base::error::Failure;
use crate::config::{Config, Secret};
use crate::exchange::Request;
use crate::firewall::Rate;
use crate::http::head::Known;
use crate::pipeline::App;

/// One key and what it may do.
struct Key {
    secret: Vec<u8>,
    requests: Option<Rate>,
    /// Empty: every model.
    models: Vec<String>,
}

/// What a key may use in a minute.
pub struct KeyLimits<'a> {
    /// The key itself.
    pub key: &'a [u8],
    /// Requests.
    pub requests: Option<Rate>,
}

/// The keys of a configuration.
pub struct Guard {
    keys: Vec<Key>,
    open: bool,
}

impl Guard {
    /// The guard a configuration asks for.
    pub fn new(config: &Config) -> Guard {
        let bytes = |secret: &Secret| secret.expose().as_bytes().to_vec();
        let plain = config.auth.keys.iter().map(|secret| Key {
            secret: bytes(secret),
            requests: None,
            models: Vec::new(),
        });
        let named = config.key.iter().map(|key| Key {
            secret: bytes(&key.key),
            // Those of a minute may come at once.
            requests: Rate::new(key.requests_per_minute, key.requests_per_minute),
            models: key.models.clone(),
        });
        let keys = plain.chain(named).collect();
        Guard { keys, open: config.auth.open }
    }

    /// Whether a key may use a model; the configuration without keys allows every one.
    pub fn allows_model(&self, request: &Request, model: &str) -> bool {
        match self.key_of(request) {
            Some(key) => key.models.is_empty() || key.models.iter().any(|name| name == model),
            None => self.keys.is_empty(),
        }
    }

    /// Whether a request may use what keys guard: it shows one of them, or there are none.
    pub fn admits(&self, request: &Request) -> bool {
        self.keys.is_empty() || self.key_of(request).is_some()
    }

    /// The limits of the key that a request shows, if it has any.
    pub fn limits_of<'a>(&'a self, request: &Request) -> Option<KeyLimits<'a>> {
        if !self.keys.iter().any(|key| key.requests.is_some()) {
            return None;
        }
        let key = self.key_of(request)?;
        Some(KeyLimits { key: &key.secret, requests: key.requests })
    }

    fn key_of(&self, request: &Request) -> Option<&Key> {
        let given = credential(request)?;
        // Every key is compared in full, so the time says nothing about which one is near.
        let mut found = None;
        for key in &self.keys {
            if same(&key.secret, given) {
                found = Some(key);
            }
        }
        found
    }
}

/// Checks a request for one of our own routes under `/v1/`; others pass.
///
/// # Errors
/// 401 for a missing or wrong key, 403 when no keys are configured and the request does not come
/// for a loopback name.
pub(super) fn check(app: &App, request: &Request) -> Result<(), Failure> {
    if app.builtins.is_none()
        || !request.path().starts_with(b"/v1/")
        || app.guard.open && app.guard.keys.is_empty()
    {
        return Ok(());
    }
    if app.guard.keys.is_empty() {
        return loopback_only(request);
    }
    if app.guard.key_of(request).is_some() {
        return Ok(());
    }
    let message = match credential(request) {
        Some(_) => "the API key is not valid",
        None => "an API key is needed: Authorization: Bearer KEY, or x-api-key: KEY",
    };
    Err(Failure::new(401, message).code("invalid_api_key"))
}

/// A web page must not reach a server without keys through a name of its own (DNS rebinding):
/// Host, and Origin if there is one, must name the loopback.
fn loopback_only(request: &Request) -> Result<(), Failure> {
    let host = request.head().host.of(request.raw());
    let origin_ok = match request.known(Known::Origin) {
        None => true,
        Some(origin) => match split_scheme(origin) {
            Some(authority) => is_loopback(authority),
            None => false,
        },
    };
    if is_loopback(host) && origin_ok {
        return Ok(());
    }
    let message = "without API keys only loopback names are answered; set auth.keys or auth.open";
    Err(Failure::new(403, message).code("not_loopback"))
}

fn split_scheme(origin: &[u8]) -> Option<&[u8]> {
    let at = memchr::memmem::find(origin, b"://")?;
    Some(&origin[at + 3..])
}

/// Whether `host[:port]` names the loopback.
pub(super) fn is_loopback(host: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(host) else { return false };
    let name = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((inside, _)) => inside,
            None => return false,
        },
        None => text.split_once(':').map_or(text, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The credential of a request: a bearer token, else `x-api-key`.
pub(super) fn credential(request: &Request) -> Option<&[u8]> {
    let bearer = request.known(Known::Authorization).and_then(|value| {
        let (scheme, token) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
    });
    bearer.filter(|token| !token.is_empty()).or_else(|| request.known(Known::XApiKey))
}

/// Compares without telling by its time where the first difference stands.
fn same(secret: &[u8], given: &[u8]) -> bool {
    if secret.is_empty() {
        return false;
    }
    let mut difference = secret.len() ^ given.len();
    for (place, byte) in given.iter().enumerate() {
        difference |= usize::from(byte ^ secret[place % secret.len()]);
    }
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names_are_told_from_others() {
        for (host, want) in [
            ("127.0.0.1", true),
            ("127.0.0.1:8080", true),
            ("127.9.9.9:1", true),
            ("localhost", true),
            ("LOCALHOST:80", true),
            ("[::1]", true),
            ("[::1]:8080", true),
            ("", false),
            ("example.com", false),
            ("localhost.example.com", false),
            ("127.0.0.1.example.com", false),
            ("10.0.0.1", false),
            ("[::2]", false),
            ("[::1", false),
        ] {
            assert_eq!(is_loopback(host.as_bytes()), want, "{host}");
        }
    }

    #[test]
    fn secrets_are_compared_whole() {
        for (secret, given, want) in [
            ("abc", "abc", true),
            ("abc", "abd", false),
            ("abc", "ab", false),
            ("abc", "abcabc", false),
            ("abc", "", false),
            ("", "", false),
        ] {
            assert_eq!(same(secret.as_bytes(), given.as_bytes()), want, "{secret} {given}");
        }
    }
}
