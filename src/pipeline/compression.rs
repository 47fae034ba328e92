//! Which answers are compressed, and how: the built-in middleware behind `[compression]`.
//!
//! An answer is compressed when the client takes one of the codings, its type is listed, it is not
//! smaller than the bound and nobody has coded it before. A stream of events is left alone unless
//! that was asked for: its events are small, and a proxy on the way may wait for more of them.

use crate::config::Compression;
use crate::exchange::{Exchange, Response};
use crate::http::coding::{self, Coding, Encoder};
use crate::http::head::Version;
use crate::http::method::Method;

/// What `[compression]` asks for.
#[derive(Clone, Debug)]
pub struct Compressor {
    codings: Vec<Coding>,
    level: u32,
    bytes_min: u64,
    /// In lower case; one that ends in `/*` stands for all of its kind.
    types: Vec<String>,
    event_streams: bool,
}

impl Compressor {
    /// The compressor of a configuration, if it wants one.
    pub(super) fn new(config: &Compression) -> Option<Compressor> {
        config.enable.then(|| Compressor {
            codings: config.codings.iter().filter_map(|name| Coding::from_token(name)).collect(),
            level: config.level,
            bytes_min: config.min_bytes,
            types: config.types.iter().map(|kind| kind.to_ascii_lowercase()).collect(),
            event_streams: config.event_streams,
        })
    }

    /// Compresses a complete answer in place.
    pub(super) fn whole(&self, exchange: &mut Exchange) {
        let bytes = exchange.response.body.len() as u64;
        let status = exchange.response.effective_status();
        let Some(coding) = self.choose(exchange, status, Some(bytes)) else { return };
        let mut out = Vec::with_capacity(exchange.response.body.len() / 3);
        let encoded = Encoder::new(coding, self.level, Some(bytes)).and_then(|mut encoder| {
            encoder.feed(&exchange.response.body, &mut out)?;
            encoder.finish(&mut out)
        });
        // What does not become smaller goes out as it is.
        if encoded.is_ok() && out.len() < exchange.response.body.len() {
            exchange.response.body = out;
            mark(&mut exchange.response, coding);
        }
    }

    /// The encoder for a body that follows its head piece by piece; `length` is its length, if that
    /// is known. The head says so from now on.
    pub(super) fn stream(&self, exchange: &mut Exchange, length: Option<u64>) -> Option<Encoder> {
        let request = exchange.request.head();
        // A body that changes its length can only go out in chunks.
        if request.version == Version::Http10 || request.method == Method::Head {
            return None;
        }
        let coding = self.choose(exchange, exchange.response.status, length)?;
        let encoder = Encoder::new(coding, self.level, length).ok()?;
        mark(&mut exchange.response, coding);
        Some(encoder)
    }

    /// The coding of an answer. Where the answer could have been coded for another client, caches
    /// are told so.
    fn choose(&self, exchange: &mut Exchange, status: u16, bytes: Option<u64>) -> Option<Coding> {
        if !self.is_eligible(&exchange.response, status, bytes) {
            return None;
        }
        vary(&mut exchange.response);
        let values = exchange.request.header_values(b"accept-encoding").collect::<Vec<_>>();
        coding::negotiate(values.iter().copied(), &self.codings)
    }

    fn is_eligible(&self, response: &Response, status: u16, bytes: Option<u64>) -> bool {
        let headers = &response.headers;
        let has_body = status >= 200 && !matches!(status, 204 | 205 | 206 | 304);
        let keeps_form = headers.get(b"cache-control").is_some_and(|value| {
            let mut directives = value.split(|&byte| byte == b',');
            directives.any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
        });
        has_body
            && !keeps_form
            && bytes.is_none_or(|bytes| bytes >= self.bytes_min.max(1))
            && headers.get(b"content-encoding").is_none()
            && headers.get(b"content-range").is_none()
            && headers.get(b"content-type").is_some_and(|kind| self.takes_type(kind))
    }

    fn takes_type(&self, content_type: &[u8]) -> bool {
        let kind = content_type.split(|&byte| byte == b';').next().unwrap_or_default();
        let kind = kind.trim_ascii().to_ascii_lowercase();
        if kind == b"text/event-stream" {
            return self.event_streams;
        }
        self.types.iter().any(|listed| match listed.strip_suffix('*') {
            Some(group) => kind.starts_with(group.as_bytes()),
            None => kind == listed.as_bytes(),
        })
    }
}

fn mark(response: &mut Response, coding: Coding) {
    response.headers.push(b"Content-Encoding", coding.token().as_bytes());
    // The same bytes no longer: only a weak validator holds for both forms (RFC 9110 section 8.8.1).
    let tag = response.headers.get(b"etag").filter(|tag| !tag.starts_with(b"W/"));
    if let Some(tag) = tag {
        let weak = [b"W/", tag].concat();
        response.headers.remove(b"etag");
        response.headers.push(b"ETag", &weak);
    }
}

/// RFC 9110 section 12.5.5.
fn vary(response: &mut Response) {
    let is_said = response.headers.iter().any(|(name, value)| {
        let mut fields = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        name.eq_ignore_ascii_case(b"vary")
            && fields.any(|field| field == b"*" || field.eq_ignore_ascii_case(b"accept-encoding"))
    });
    if !is_said {
        response.headers.push(b"Vary", b"Accept-Encoding");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compressor(event_streams: bool) -> Compressor {
        let config = Compression { enable: true, event_streams, ..Compression::default() };
        Compressor::new(&config).unwrap()
    }

    /// A coded body that is coded again, or one without a body that is coded, cannot be read.
    #[test]
    fn only_what_may_be_coded_is() {
        let check = |headers: &[(&str, &str)], status: u16, bytes: Option<u64>, want: bool| {
            let mut response = Response::default();
            for (name, value) in headers {
                response.headers.push(name.as_bytes(), value.as_bytes());
            }
            let is = compressor(false).is_eligible(&response, status, bytes);
            assert_eq!(is, want, "{headers:?} {status} {bytes:?}");
        };
        let json = ("Content-Type", "application/json; charset=utf-8");
        check(&[json], 200, Some(4096), true);
        check(&[json], 404, Some(4096), true);
        check(&[json], 200, None, true);
        check(&[json], 200, Some(10), false);
        check(&[json], 206, Some(4096), false);
        check(&[json], 304, Some(4096), false);
        check(&[json, ("content-encoding", "gzip")], 200, Some(4096), false);
        check(&[json, ("Cache-Control", "private, No-Transform")], 200, Some(4096), false);
        check(&[json, ("Content-Range", "bytes 0-1/2")], 200, Some(4096), false);
        check(&[("Content-Type", "TEXT/Plain")], 200, Some(4096), true);
        check(&[("Content-Type", "image/png")], 200, Some(4096), false);
        check(&[("Content-Type", "text/event-stream")], 200, None, false);
        check(&[], 200, Some(4096), false);
        assert!(compressor(true).takes_type(b"text/event-stream; charset=utf-8"));
    }

    #[test]
    fn a_strong_validator_becomes_weak_and_caches_are_told() {
        let mut response = Response::default();
        response.headers.push(b"ETag", b"\"a\"");
        response.headers.push(b"Vary", b"Origin");
        vary(&mut response);
        vary(&mut response);
        mark(&mut response, Coding::Brotli);
        let want =
            b"Vary: Origin\r\nVary: Accept-Encoding\r\nContent-Encoding: br\r\nETag: W/\"a\"\r\n";
        assert_eq!(response.headers.as_bytes(), want);
    }
}
