//! Who may use `/v1/*`: keys, or the loopback rule when there are none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use super::answers::Tenant;
use crate::ai::quota::{Bucket, Short};
use crate::base::error::Failure;
use crate::config::Config;
use crate::exchange::Request;
use crate::http::head::Known;
use crate::pipeline::App;

/// The limits of one key.
pub struct Limits {
    requests: Option<Bucket>,
    /// Tokens sent and received.
    tokens: Option<Bucket>,
}

impl Limits {
    fn new(requests_per_minute: u32, tokens_per_minute: u32) -> Option<Arc<Limits>> {
        let bucket = |limit: u32| (limit > 0).then(|| Bucket::new(u64::from(limit)));
        let limits =
            Limits { requests: bucket(requests_per_minute), tokens: bucket(tokens_per_minute) };
        (limits.requests.is_some() || limits.tokens.is_some()).then(|| Arc::new(limits))
    }

    /// Requests and tokens in a minute; 0: unlimited.
    fn per_minute(&self) -> (u64, u64) {
        let of = |bucket: &Option<Bucket>| bucket.as_ref().map_or(0, Bucket::per_minute);
        (of(&self.requests), of(&self.tokens))
    }

    /// Takes one request.
    ///
    /// # Errors
    /// 429 with the time to wait.
    pub fn take_request(&self, now_us: u64) -> Result<(), Failure> {
        let Some(bucket) = &self.requests else { return Ok(()) };
        bucket.take(1, now_us).map_err(|short| exceeded(bucket, "requests", short))
    }

    /// Whether tokens are limited.
    pub fn counts_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    /// Takes so many tokens before they are known exactly.
    ///
    /// # Errors
    /// 429 with the time to wait.
    pub fn take_tokens(&self, tokens: u64, now_us: u64) -> Result<(), Failure> {
        let Some(bucket) = &self.tokens else { return Ok(()) };
        bucket.take(tokens, now_us).map_err(|short| exceeded(bucket, "tokens", short))
    }
}

fn exceeded(bucket: &Bucket, what: &str, short: Short) -> Failure {
    let limit = bucket.per_minute();
    let (message, wait_us) = match short {
        Short::Wait(wait_us) => {
            (format!("The API key's limit of {limit} {what} a minute is reached."), wait_us)
        }
        Short::Never => {
            let message =
                format!("The request needs more than the API key's {limit} {what} a minute.");
            (message, 60_000_000)
        }
    };
    let seconds = u32::try_from(wait_us.div_ceil(1_000_000)).unwrap_or(u32::MAX).max(1);
    Failure::new(429, message).code("rate_limit_exceeded").retry_after(seconds)
}

/// Tokens that a request has taken of its key's limit; given back or corrected when it ends.
pub struct Charge {
    limits: Arc<Limits>,
    /// What was taken before it was known what is used.
    taken: u64,
    is_settled: bool,
}

impl Charge {
    /// `taken` tokens of `limits`.
    pub fn new(limits: Arc<Limits>, taken: u64) -> Charge {
        Charge { limits, taken, is_settled: false }
    }

    /// Takes no more than so many.
    pub fn reduce(&mut self, tokens: u64, now_us: u64) {
        if tokens < self.taken
            && let Some(bucket) = &self.limits.tokens
        {
            bucket.settle(self.taken, tokens, now_us);
            self.taken = tokens;
        }
    }

    /// So many tokens were used: in place of what was taken, and of each further attempt besides.
    pub fn settle(&mut self, used: u64, now_us: u64) {
        self.is_settled = true;
        let taken = std::mem::take(&mut self.taken);
        if let Some(bucket) = &self.limits.tokens {
            bucket.settle(taken, used, now_us);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        // Nothing was used: no provider answered.
        if !self.is_settled {
            self.settle(0, 0);
        }
    }
}

/// One key and what it may do.
pub(super) struct Key {
    /// What operators call it; empty for a key without a name.
    pub(super) name: String,
    limits: Option<Arc<Limits>>,
    secret: Vec<u8>,
    /// Empty: every model.
    pub(super) models: Vec<String>,
    digest: Tenant,
}

impl Key {
    /// Requests in a minute; 0: unlimited.
    pub(super) fn requests_per_minute(&self) -> u64 {
        self.limits.as_ref().map_or(0, |limits| limits.per_minute().0)
    }

    /// Tokens in a minute; 0: unlimited.
    pub(super) fn tokens_per_minute(&self) -> u64 {
        self.limits.as_ref().map_or(0, |limits| limits.per_minute().1)
    }
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// The keys of a configuration.
pub struct Guard {
    /// Tells it from the guards of other configurations.
    id: u64,
    keys: Vec<Key>,
    open: bool,
    /// Of `[admin]`.
    admin: Option<Vec<u8>>,
}

impl Guard {
    /// The guard a configuration asks for.
    pub fn new(config: &Config) -> Guard {
        Guard::after(config, &[])
    }

    /// The guard of another configuration: a key that keeps its limits keeps what it has used of
    /// them.
    pub fn renewed(&self, config: &Config) -> Guard {
        Guard::after(config, &self.keys)
    }

    fn after(config: &Config, before: &[Key]) -> Guard {
        let plain = config.auth.keys.iter().map(|secret| (secret, String::new(), Vec::new(), None));
        let named = config.key.iter().map(|key| {
            let limits = Limits::new(key.requests_per_minute, key.tokens_per_minute);
            (&key.key, key.name.clone(), key.models.clone(), limits)
        });
        let mut keys: Vec<Key> = plain
            .chain(named)
            .map(|(secret, name, models, limits)| Key {
                name,
                limits,
                secret: secret.expose().as_bytes().to_vec(),
                models,
                digest: Sha256::new()
                    .chain_update(b"key\0")
                    .chain_update(secret.expose())
                    .finalize()
                    .into(),
            })
            .collect();
        for key in &mut keys {
            let old = before.iter().find(|old| old.digest == key.digest);
            if let (Some(limits), Some(known)) =
                (&key.limits, old.and_then(|it| it.limits.as_ref()))
                && limits.per_minute() == known.per_minute()
            {
                key.limits = Some(Arc::clone(known));
            }
        }
        let admin = config.admin.key.as_ref().filter(|key| !key.expose().is_empty());
        Guard {
            // Relaxed: only the number matters.
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            keys,
            open: config.auth.open,
            admin: admin.map(|key| key.expose().as_bytes().to_vec()),
        }
    }

    /// The key of the operator's routes, if there is one.
    pub(super) fn admin_key(&self) -> Option<&[u8]> {
        self.admin.as_deref()
    }

    /// The keys that have a name.
    pub(super) fn named_keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(|key| !key.name.is_empty())
    }

    /// How many keys there are.
    pub(super) fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// Whether a key may use a model: by the name asked for, or the model's own behind an alias.
    /// The configuration without keys allows every one.
    pub fn allows_model(&self, request: &Request, names: &[&str]) -> bool {
        match self.key_of(request) {
            Some(key) => {
                let is_listed = |name: &String| names.contains(&name.as_str());
                key.models.is_empty() || key.models.iter().any(is_listed)
            }
            None => self.keys.is_empty(),
        }
    }

    /// The limits of the key a request shows.
    pub fn limits(&self, request: &Request) -> Option<&Arc<Limits>> {
        self.key_of(request)?.limits.as_ref()
    }

    /// Whether a request may use what keys guard: it shows one of them, or there are none.
    pub fn admits(&self, request: &Request) -> bool {
        self.keys.is_empty() || self.key_of(request).is_some()
    }

    /// A digest of whoever asks, for what must not be shared: of the key, or zeros where there are
    /// no keys.
    pub fn tenant(&self, request: &Request) -> Tenant {
        self.key_of(request).map_or([0; 32], |key| key.digest)
    }

    /// The host program's own.
    pub fn host_tenant(&self) -> Tenant {
        if self.keys.is_empty() { [0; 32] } else { Sha256::digest(b"host").into() }
    }

    fn key_of(&self, request: &Request) -> Option<&Key> {
        if let Some((id, index)) = request.key()
            && id == self.id
        {
            return self.keys.get(index as usize);
        }
        self.place_of(request).and_then(|index| self.keys.get(index))
    }

    /// The place of the key a request shows.
    fn place_of(&self, request: &Request) -> Option<usize> {
        let given = credential(request)?;
        // Every key of its length is compared in full, so the time says nothing about which one is
        // near.
        let mut found = None;
        for (index, key) in self.keys.iter().enumerate() {
            if same(&key.secret, given) {
                found = Some(index);
            }
        }
        found
    }
}

/// Checks a request for one of our own routes under `/v1/` or of the operator's; others pass.
///
/// # Errors
/// 401 for a missing or wrong key, 403 when no keys are configured and the request does not come
/// for a loopback name.
pub(super) fn check(app: &App, request: &mut Request) -> Result<(), Failure> {
    if app.builtins.is_some() && super::admin::is_guarded(request.path()) {
        return super::admin::check(app, request);
    }
    if app.builtins.is_none()
        || !request.path().starts_with(b"/v1/")
        || app.guard.open && app.guard.keys.is_empty()
    {
        return Ok(());
    }
    if app.guard.keys.is_empty() {
        return loopback_only(request);
    }
    if let Some(index) = app.guard.place_of(request) {
        request.set_key(u32::try_from(index).ok().map(|index| (app.guard.id, index)));
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

pub(super) fn split_scheme(origin: &[u8]) -> Option<&[u8]> {
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

/// Compares without telling by its time where the first difference stands. The length of a secret is
/// none.
pub(super) fn same(secret: &[u8], given: &[u8]) -> bool {
    if secret.is_empty() || secret.len() != given.len() {
        return false;
    }
    let difference = secret.iter().zip(given).fold(0, |all, (a, b)| all | (a ^ b));
    // Hidden from the optimizer, which could leave off at the first one.
    std::hint::black_box(difference) == 0
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
