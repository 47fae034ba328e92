//! The head of a request to a provider: what of the client's goes on, and what of ours is added.

use super::{Asked, Call};
use crate::exchange::Request;
use crate::http::encode;
use crate::http::head::Known;
use crate::http::trace_context;
use crate::pipeline::provider::Provider;

impl Call {
    /// Room for a head: that of the client, and what we add.
    pub(super) fn make_room(&self, head: &mut Vec<u8>, provider: &Provider) {
        let asked = self.asked.request().map_or(0, |request| request.raw().len());
        head.clear();
        head.reserve(256 + asked + provider.credential.len() + provider.base.authority.len());
    }

    /// Request line, Host and what every attempt says. Towards a plain-http provider behind a
    /// proxy the target is in absolute form (RFC 9112 section 3.2.2).
    pub(super) fn begin_head(&self, head: &mut Vec<u8>, provider: &Provider, path: &str) {
        head.extend_from_slice(b"POST ");
        let via_proxy = provider.proxy.as_ref().filter(|_| !provider.base.is_tls);
        if via_proxy.is_some() {
            head.extend_from_slice(b"http://");
            head.extend_from_slice(provider.base.authority.as_bytes());
        }
        head.extend_from_slice(provider.base.path.as_bytes());
        head.extend_from_slice(path.as_bytes());
        head.extend_from_slice(b" HTTP/1.1\r\n");
        encode::field(head, b"Host", provider.base.authority.as_bytes());
        if let Some(proxy) = via_proxy {
            head.extend_from_slice(&proxy.authorization);
        }
        if let Some(request) = self.asked.request() {
            encode::field(head, b"x-request-id", request.id());
        }
        if let Some(trace) = self.trace {
            let mut value = Vec::new();
            self.context(trace).write(&mut value);
            encode::field(head, b"traceparent", &value);
            // Of a trace that begins here there is no state, whatever the client says.
            let request = self
                .asked
                .request()
                .filter(|request| request.trace().is_some_and(|trace| trace.parent.is_some()));
            let state = request
                .and_then(|request| trace_context::state(request.header_values(b"tracestate")));
            if let Some(state) = state {
                encode::field(head, b"tracestate", &state);
            }
        }
    }

    /// Whether the client can read an answer in this content coding, which nobody asked for
    /// (RFC 9110 section 12.5.3: who says nothing can).
    pub(in crate::pipeline) fn accepts_coding(&self, codings: &[u8]) -> bool {
        let Asked::Request(request) = &self.asked else { return false };
        let mut accepted = Vec::new();
        let mut has_said = false;
        for value in request.header_values(b"accept-encoding") {
            has_said = true;
            for item in value.split(|&b| b == b',') {
                let mut parts = item.split(|&b| b == b';').map(<[u8]>::trim_ascii);
                let name = parts.next().unwrap_or_default();
                let is_refused = parts.any(|p| {
                    let weight = p.strip_prefix(b"q=").or_else(|| p.strip_prefix(b"Q="));
                    weight.is_some_and(|w| !w.iter().any(|b| matches!(b, b'1'..=b'9')))
                });
                accepted.push((name, !is_refused));
            }
        }
        !has_said
            || codings.split(|&b| b == b',').map(<[u8]>::trim_ascii).all(|coding| {
                let named = accepted.iter().find(|(name, _)| name.eq_ignore_ascii_case(coding));
                let any = || accepted.iter().find(|(name, _)| *name == b"*");
                named.or_else(any).is_some_and(|(_, is_accepted)| *is_accepted)
            })
    }
}

pub(super) fn end_head(head: &mut Vec<u8>, body_len: usize) {
    // What passes unread is watched for its usage: so no compression.
    head.extend_from_slice(b"Accept-Encoding: identity\r\nContent-Length: ");
    encode::decimal(head, body_len as u64);
    head.extend_from_slice(b"\r\n\r\n");
}

/// The client's fields that are the provider's business: not those of this hop (RFC 9110 section
/// 7.6.1), not those that we say ourselves, and no credential.
pub(super) fn forward_fields(request: &Request, is_traced: bool, head: &mut Vec<u8>) {
    let connection = request.known(Known::Connection);
    for index in 0..request.header_count() {
        let Some((name, value)) = request.header_at(index) else { continue };
        let known = request.head().fields.get(index).map_or(Known::Other, |field| field.known);
        let is_ours = matches!(
            known,
            Known::Host
                | Known::Connection
                | Known::ContentLength
                | Known::TransferEncoding
                | Known::Expect
                | Known::Authorization
                | Known::XApiKey
                | Known::XRequestId
                | Known::AcceptEncoding
                | Known::Cookie
                | Known::Origin
                | Known::Referer
                | Known::KeepAlive
                | Known::ProxyConnection
                | Known::Te
                | Known::Trailer
                | Known::Upgrade
                | Known::XForwardedFor
                | Known::Forwarded
        );
        let is_trace =
            name.eq_ignore_ascii_case(b"traceparent") || name.eq_ignore_ascii_case(b"tracestate");
        if is_ours || is_trace && is_traced || is_private(name) || is_listed(connection, name) {
            continue;
        }
        encode::field(head, name, value);
    }
}

/// Fields without a known number that stay on this hop all the same.
fn is_private(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 5] = [
        b"proxy-authorization",
        b"proxy-authenticate",
        b"api-key",
        b"x-real-ip",
        b"x-goog-api-key",
    ];
    NAMES.iter().any(|private| name.eq_ignore_ascii_case(private))
        || name.len() >= 11 && name[..11].eq_ignore_ascii_case(b"x-forwarded")
        || name.len() >= 10 && name[..10].eq_ignore_ascii_case(b"sec-fetch-")
}

/// Whether a Connection field names this one.
pub(in crate::pipeline) fn is_listed(connection: Option<&[u8]>, name: &[u8]) -> bool {
    let Some(list) = connection else { return false };
    list.split(|&b| b == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(name))
}
