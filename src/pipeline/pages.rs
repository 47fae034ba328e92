//! Answers of the host's routes that are kept (`NH_ROUTE_CACHE`), as a shared cache keeps them
//! (RFC 9111).
//!
//! GET only, HEAD is answered from it. What the answer says decides: `no-store`, `no-cache`,
//! `private`, `Vary: *` and `Set-Cookie` are not kept; `s-maxage`, `max-age` and `Expires` say how
//! long, else the configured time counts, for the route has asked to be cached. A stream is kept when it
//! has ended well, and given again as a whole. A request with `Authorization` meets only answers that
//! say `public`, `s-maxage` or `must-revalidate`. `If-None-Match` and `If-Modified-Since` are answered
//! from what is kept (section 4.3.2); a request that is to change the target (POST, PUT, DELETE …) and
//! succeeds removes what is kept of it (section 4.4).

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};

use sha2::{Digest, Sha256};

use super::answers::Kept;
use super::{App, Step};
use crate::base::limits;
use crate::cache::store::Key;
use crate::exchange::{Exchange, Request, Response};
use crate::http::date;
use crate::http::head::Known;
use crate::http::method::Method;

/// Name and value of a header line.
type Line = (Box<[u8]>, Box<[u8]>);

/// A kept answer; under the key of its target alone perhaps only the list of what it varies by.
pub struct Page {
    status: u16,
    /// Header lines as they went out.
    headers: Vec<Line>,
    body: Box<[u8]>,
    /// Names of request fields, in lower case, with commas between.
    vary: Box<[u8]>,
    /// The entry only says what its target varies by.
    is_index: bool,
    is_public: bool,
    /// Its age when it was kept, and when that was, in seconds.
    age_s: u64,
    kept_s: u64,
}

/// The directives of a Cache-Control field that matter here.
#[derive(Default)]
struct Control {
    no_store: bool,
    no_cache: bool,
    private: bool,
    public: bool,
    must_revalidate: bool,
    only_if_cached: bool,
    max_age_s: Option<u64>,
    s_maxage_s: Option<u64>,
}

impl Control {
    fn of(value: &[u8]) -> Control {
        let mut control = Control::default();
        for directive in value.split(|&b| b == b',') {
            let directive = directive.trim_ascii();
            let at = memchr::memchr(b'=', directive);
            let (name, value) = match at {
                Some(at) => (&directive[..at], Some(&directive[at + 1..])),
                None => (directive, None),
            };
            // Too large is for ever; what is no number is stale (RFC 9111 section 4.2.1).
            let seconds = || {
                let text = value.unwrap_or_default().trim_ascii();
                let text = text.strip_prefix(b"\"").unwrap_or(text);
                let text = text.strip_suffix(b"\"").unwrap_or(text);
                let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
                let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
                if is_number { number.unwrap_or(u64::from(u32::MAX)) } else { 0 }
            };
            match name.to_ascii_lowercase().as_slice() {
                b"no-store" => control.no_store = true,
                b"no-cache" => control.no_cache = true,
                b"private" => control.private = true,
                b"public" => control.public = true,
                b"must-revalidate" => control.must_revalidate = true,
                b"only-if-cached" => control.only_if_cached = true,
                b"max-age" => control.max_age_s = Some(seconds()),
                b"s-maxage" => control.s_maxage_s = Some(seconds()),
                _ => {}
            }
        }
        control
    }
}

fn control_of(request: &Request) -> Control {
    let mut value = Vec::new();
    request.header(b"cache-control", &mut value);
    Control::of(&value)
}

/// Looks for a kept answer. On `None` the handler is to be asked, and the exchange remembers under
/// which key its answer may be kept.
pub(super) fn find(app: &App, exchange: &mut Exchange) -> Option<Step> {
    exchange.keep = None;
    let request = &exchange.request;
    let is_get = request.method() == Method::Get;
    let asked = control_of(request);
    // What only the handler can decide: a part, and whether its state is still the one that is meant.
    let is_for_the_handler = [&b"range"[..], b"if-match", b"if-unmodified-since"]
        .iter()
        .any(|name| request.header_values(name).next().is_some());
    if !(is_get || request.method() == Method::Head) || asked.no_store || is_for_the_handler {
        return None;
    }
    let key = target_key(request);
    let now_s = now_s(app);
    let fresh = !asked.no_cache && asked.max_age_s != Some(0);
    let page = if fresh { look_up(app, request, key, now_s) } else { None };
    let page = page.filter(|page| {
        let is_young = asked.max_age_s.is_none_or(|max_s| page.age_s(now_s) <= max_s);
        is_young && (page.is_public || request.known(Known::Authorization).is_none())
    });
    if let Some(page) = page {
        page.fill(exchange, now_s);
        return Some(Step::Respond);
    }
    if asked.only_if_cached {
        let failure = crate::base::error::Failure::new(504, "nothing is kept for this request");
        super::answer(exchange, &failure);
        return Some(Step::Respond);
    }
    exchange.keep = is_get.then_some(key);
    None
}

fn now_s(app: &App) -> u64 {
    u64::try_from(app.status.unix_seconds()).unwrap_or(0)
}

fn look_up(app: &App, request: &Request, key: Key, now_s: u64) -> Option<Arc<Page>> {
    let page = |key| match app.cache.shared.store.get(key, now_s) {
        Some(Kept::Page(page)) => Some(page),
        _ => None,
    };
    let first = page(&key)?;
    if first.is_index { page(&variant_key(key, &first.vary, request)) } else { Some(first) }
}

/// Remembers the target of a request that is to change it: its answer may remove what is kept.
pub(super) fn watch_change(app: &App, exchange: &mut Exchange) {
    let is_change = !is_safe(&exchange.request) && app.cache.shared.has_pages.load(Acquire);
    exchange.keep = is_change.then(|| target_key(&exchange.request));
}

/// Methods that change nothing (RFC 9110 section 9.2.1). What we do not know may change something.
fn is_safe(request: &Request) -> bool {
    matches!(request.method(), Method::Get | Method::Head | Method::Options | Method::Trace)
}

/// Keeps an answer of a route that is complete, before it goes out.
pub fn keep(app: &App, exchange: &mut Exchange) {
    let Some(mut making) = begin(app, exchange) else { return };
    if making.add(&exchange.response.body) {
        making.end(app);
    }
}

/// An answer that is kept when its body is complete.
pub struct Making {
    key: Key,
    /// Where it goes when it varies.
    variant: Option<Key>,
    ttl_s: u64,
    page: Page,
    body: Vec<u8>,
    bytes_max: usize,
}

/// The head of an answer is about to go out: what will be kept of it, if it may be.
pub fn begin(app: &App, exchange: &mut Exchange) -> Option<Making> {
    let key = exchange.keep.take()?;
    let (request, response) = (&exchange.request, &exchange.response);
    if !is_safe(request) {
        if matches!(response.effective_status(), 200..400) {
            // Variants are found through this entry alone.
            app.cache.shared.store.delete(&key);
        }
        return None;
    }
    let (ttl_s, page) = page_of(request, response, app.cache.ttl_s(), now_s(app))?;
    let variant = (!page.vary.is_empty()).then(|| variant_key(key, &page.vary, request));
    let bytes_max = app.cache.shared.store.value_bytes_max().saturating_sub(page.bytes());
    exchange.response.headers.push(b"x-neurohttp-cache", b"miss");
    Some(Making { key, variant, ttl_s, page, body: Vec::new(), bytes_max })
}

impl Making {
    /// More of the body. False: it is too large to be kept.
    pub fn add(&mut self, piece: &[u8]) -> bool {
        let fits = self.body.len() + piece.len() <= self.bytes_max;
        if fits {
            self.body.extend_from_slice(piece);
        }
        fits
    }

    /// The body is complete.
    pub fn end(self, app: &App) {
        let Making { key, variant, ttl_s, mut page, body, .. } = self;
        page.body = body.into();
        app.cache.shared.has_pages.store(true, Release);
        let (store, now_s) = (&app.cache.shared.store, now_s(app));
        let put = |key: &Key, page: Page| {
            let bytes = page.bytes();
            store.put(key, Kept::Page(Arc::new(page)), bytes, ttl_s, now_s);
        };
        let Some(variant) = variant else {
            put(&key, page);
            return;
        };
        let index = Page {
            status: 0,
            headers: Vec::new(),
            body: [].into(),
            vary: page.vary.clone(),
            is_index: true,
            is_public: true,
            age_s: 0,
            kept_s: page.kept_s,
        };
        put(&key, index);
        put(&variant, page);
    }
}

/// The answer to keep, still without its body, and for how long; none when it may not be kept.
fn page_of(request: &Request, response: &Response, ttl_s: u64, now_s: u64) -> Option<(u64, Page)> {
    let joined = |name: &[u8]| {
        let values = response.headers.iter().filter(|(have, _)| have.eq_ignore_ascii_case(name));
        values.map(|(_, value)| value).collect::<Vec<_>>().join(&b","[..])
    };
    let control = Control::of(&joined(b"cache-control"));
    let status = response.effective_status();
    let is_public = control.public || control.must_revalidate || control.s_maxage_s.is_some();
    let is_forbidden = control.no_store || control.no_cache || control.private;
    // Statuses whose answers may be kept (RFC 9110 section 15.1), as far as they are whole.
    let is_kept = matches!(status, 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501);
    if is_forbidden
        || !is_kept
        || response.headers.get(b"set-cookie").is_some()
        || request.known(Known::Authorization).is_some() && !is_public
    {
        return None;
    }
    let age_s = response.headers.get(b"age").and_then(number).unwrap_or(0);
    let expires = response.headers.get(b"expires").map(|value| {
        let at_s = date::parse(value).and_then(|at| u64::try_from(at).ok()).unwrap_or(0);
        at_s.saturating_sub(now_s)
    });
    let life_s = control.s_maxage_s.or(control.max_age_s).or(expires).unwrap_or(ttl_s);
    let left_s = life_s.checked_sub(age_s).filter(|left_s| *left_s > 0)?;
    let vary = joined(b"vary").to_ascii_lowercase();
    if vary.contains(&b'*') {
        return None;
    }
    let headers = response.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(b"age"));
    let page = Page {
        status,
        headers: headers.map(|(name, value)| (name.into(), value.into())).collect(),
        body: [].into(),
        vary: vary.into(),
        is_index: false,
        is_public,
        age_s,
        kept_s: now_s,
    };
    // Fresh through the second before its life ends.
    Some((left_s - 1, page))
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

impl Page {
    fn age_s(&self, now_s: u64) -> u64 {
        self.age_s + now_s.saturating_sub(self.kept_s)
    }

    /// Whether the client has it already (RFC 9110 section 13.2.2): what it says of a tag goes before
    /// what it says of a date.
    fn is_known_to(&self, request: &Request) -> bool {
        let own = |name: &[u8]| {
            let found = self.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name));
            found.map(|(_, value)| &value[..])
        };
        let mut said = Vec::new();
        if request.header(b"if-none-match", &mut said) {
            return names_tag(&said, own(b"etag"));
        }
        let since = request.header_values(b"if-modified-since").next().and_then(date::parse);
        let modified = own(b"last-modified").and_then(date::parse);
        matches!((since, modified), (Some(since), Some(modified)) if modified <= since)
    }

    fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(a, b)| a.len() + b.len() + 64).sum();
        headers + self.body.len() + self.vary.len() + limits::KEPT_OVERHEAD_BYTES
    }

    fn fill(&self, exchange: &mut Exchange, now_s: u64) {
        let is_same = self.status == 200 && self.is_known_to(&exchange.request);
        let response = &mut exchange.response;
        response.clear();
        response.status = if is_same { 304 } else { self.status };
        for (name, value) in &self.headers {
            // A 304 describes no content (RFC 9110 section 15.4.5).
            let name_lower = name.to_ascii_lowercase();
            if !(is_same
                && name_lower.starts_with(b"content-")
                && name_lower != b"content-location")
            {
                response.headers.push(name, value);
            }
        }
        response.headers.push(b"Age", self.age_s(now_s).to_string().as_bytes());
        response.headers.push(b"x-neurohttp-cache", b"hit");
        if !is_same {
            response.body.extend_from_slice(&self.body);
        }
    }
}

/// Whether If-None-Match names this tag; the weak comparison (RFC 9110 section 13.1.2).
fn names_tag(tags: &[u8], etag: Option<&[u8]>) -> bool {
    let bare = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
    tags.split(|&b| b == b',')
        .map(<[u8]>::trim_ascii)
        .any(|tag| tag == b"*" || etag.is_some_and(|etag| bare(tag) == bare(etag)))
}

/// The key of a target on a host: GET and HEAD share it.
fn target_key(request: &Request) -> Key {
    let mut digest = Sha256::new();
    digest.update(b"page\0");
    digest.update(request.head().host.of(request.raw()).to_ascii_lowercase());
    digest.update(b"\0");
    digest.update(request.target_text());
    digest.finalize().into()
}

/// The key of what a target answers to requests with these values of the fields it varies by.
fn variant_key(key: Key, vary: &[u8], request: &Request) -> Key {
    let mut digest = Sha256::new();
    digest.update(b"variant\0");
    digest.update(key);
    for name in vary.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty()) {
        let mut value = Vec::new();
        let has_any = request.header(name, &mut value);
        digest.update(name);
        digest.update([u8::from(has_any)]);
        digest.update((value.len() as u64).to_le_bytes());
        digest.update(value);
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(fields: &[(&str, &str)]) -> Option<u64> {
        let mut response = Response { status: 200, ..Response::default() };
        for (name, value) in fields {
            response.headers.push(name.as_bytes(), value.as_bytes());
        }
        page_of(&Request::default(), &response, 3600, 1_000).map(|(ttl_s, _)| ttl_s + 1)
    }

    #[test]
    fn what_an_answer_says_decides() {
        for (fields, want) in [
            (&[][..], Some(3600)),
            (&[("Cache-Control", "max-age=60")], Some(60)),
            (&[("Cache-Control", "max-age=60, s-maxage=\"30\"")], Some(30)),
            (&[("Cache-Control", "MAX-AGE=60"), ("Age", "20")], Some(40)),
            (&[("Cache-Control", "max-age=60"), ("Age", "60")], None),
            (&[("Cache-Control", "max-age=soon")], None),
            (&[("Cache-Control", "max-age=99999999999999999999")], Some(u64::from(u32::MAX))),
            (&[("Cache-Control", "no-store")], None),
            (&[("Cache-Control", "public"), ("Cache-Control", "no-cache")], None),
            (&[("Cache-Control", "private, max-age=9")], None),
            (&[("Expires", "Thu, 01 Jan 1970 00:17:40 GMT")], Some(60)),
            (&[("Expires", "0")], None),
            (&[("Vary", "Accept, *")], None),
            (&[("Set-Cookie", "a=b")], None),
        ] {
            assert_eq!(life(fields), want, "{fields:?}");
        }
    }
}
