//! A line for each request, when `log.access` asks for it.
//!
//! It tells who asked what and what it came to: peer, method, path, status, bytes and times, and
//! of requests to models the model, its provider, the tokens, what they cost and the time to the
//! first of them.
//! The query is left out: it may hold keys or prompts. Neither are any header fields told but the
//! request's id.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::SocketAddr;

use super::counts::dollars;
use super::log;
use super::worker::Worker;
use crate::ai::chat::Usage;
use crate::base::slab::Key;
use crate::exchange::{Exchange, Peer};
use crate::http::trace_context::write_hex;

/// Of a path that is longer only the beginning is told, in bytes.
const PATH_BYTES_MAX: usize = 1024;

/// What an answer came to, for counting and telling.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Told {
    /// When the request's head was complete, monotonic microseconds; 0: not known any more.
    pub(super) started_us: u64,
    /// 0: no answer has begun.
    pub(super) status: u16,
    /// It came over TLS.
    pub(super) is_tls: bool,
    /// Of the body, before any transfer coding.
    pub(super) body_bytes: u64,
    /// Of a request to a model.
    pub(super) call: CallTold,
}

/// What a request to a model came to.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct CallTold {
    /// Tokens, as the provider has told them or as they were estimated.
    pub(super) usage: Option<Usage>,
    /// What all attempts together cost, in billionths of a US dollar; none: no price is known.
    pub(super) cost_nano: Option<u64>,
    /// From the start of the call to the first piece of a streamed answer, in microseconds.
    pub(super) first_token_us: Option<u64>,
}

impl CallTold {
    /// Takes in the tokens of an attempt: of several the last one's are told, and what all cost.
    pub(super) fn add(&mut self, usage: Usage, cost_nano: Option<u64>) {
        self.usage = Some(usage);
        self.add_cost(cost_nano);
    }

    /// Takes in what another attempt cost.
    pub(super) fn add_cost(&mut self, cost_nano: Option<u64>) {
        if let Some(cost_nano) = cost_nano {
            self.cost_nano = Some(self.cost_nano.unwrap_or(0).saturating_add(cost_nano));
        }
    }
}

impl Worker {
    /// The answer is complete, or nobody takes it any more.
    pub(super) fn tell(&mut self, told: &Told, exchange: &Exchange) {
        let elapsed_us = self.now_us.saturating_sub(told.started_us);
        if told.status != 0 {
            self.stats.request_time.record(elapsed_us);
        }
        self.report_request(told, exchange);
        if !self.is_told(told.status) {
            return;
        }
        let request = &exchange.request;
        let [model, provider, cache] = told_fields(exchange);
        let path = text(path_of(request.target_text()));
        let method = text(request.method_text());
        let peer = PeerText::of(request.peer());
        let usage = told.call.usage;
        let mut trace_id = Vec::new();
        let trace = request.trace().map(|trace| {
            write_hex(&trace.context.trace_id, &mut trace_id);
            text(&trace_id)
        });
        tracing::info!(
            target: log::ACCESS,
            id = request.id_text(),
            trace_id = trace.as_deref(),
            peer = peer.as_str(),
            method = &*method,
            path = &*path,
            // 499: the client had gone before an answer (nginx's number).
            status = if told.status == 0 { 499 } else { u64::from(told.status) },
            bytes = told.body_bytes,
            elapsed_us = (told.started_us != 0).then_some(elapsed_us),
            model = model.as_deref(),
            provider = provider.as_deref(),
            cache = cache.as_deref(),
            prompt_tokens = usage.map(|usage| usage.prompt_tokens),
            completion_tokens = usage.map(|usage| usage.completion_tokens),
            cached_tokens = usage.and_then(|usage| usage.cached),
            reasoning_tokens = usage.and_then(|usage| usage.reasoning),
            tokens_estimated = usage.filter(|usage| usage.is_estimated).map(|_| true),
            cost_usd = told.call.cost_nano.map(dollars),
            first_token_us = told.call.first_token_us,
            "request"
        );
    }

    /// Bytes that are no request have been answered.
    pub(super) fn tell_refused(&mut self, key: Key, status: u16, body_bytes: usize) {
        if !self.is_told(status) {
            return;
        }
        let Some(conn) = self.conns.get(key) else { return };
        tracing::info!(
            target: log::ACCESS,
            peer = PeerText::of(conn.peer).as_str(),
            status = u64::from(status),
            bytes = body_bytes as u64,
            "malformed request"
        );
    }

    /// Whether a request that came to this status gets a line.
    fn is_told(&mut self, status: u16) -> bool {
        let every = self.app.settings.access_every;
        if every == 0 {
            return false;
        }
        self.access_count = self.access_count.wrapping_add(1);
        self.access_count.is_multiple_of(every) || status >= 500
    }
}

/// What an answer's fields say of a request to a model: its model, its provider, what the cache did.
fn told_fields(exchange: &Exchange) -> [Option<Cow<'_, str>>; 3] {
    const NAMES: [&[u8]; 3] = [b"x-neurohttp-model", b"x-neurohttp-provider", b"x-neurohttp-cache"];
    let mut told = [None, None, None];
    for (name, value) in exchange.response.headers.iter() {
        for (told, wanted) in told.iter_mut().zip(NAMES) {
            if told.is_none() && name.eq_ignore_ascii_case(wanted) {
                *told = Some(text(value));
            }
        }
    }
    told
}

/// A peer as text, in place.
struct PeerText {
    /// The longest is `[` 39 characters of address, `%` and ten digits of its zone `]:65535`.
    bytes: [u8; 64],
    len: usize,
}

impl PeerText {
    fn of(peer: Peer) -> PeerText {
        let mut out = PeerText { bytes: [0; 64], len: 0 };
        if let Peer::Tcp(SocketAddr::V4(address)) = peer {
            // The one that is frequent goes past the formatter.
            for (byte, end) in address.ip().octets().into_iter().zip(*b"...:") {
                out.number(u16::from(byte));
                out.push(end);
            }
            out.number(address.port());
        } else {
            // What finds no room is left out.
            let _ = write!(out, "{peer}");
        }
        out
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    fn number(&mut self, value: u16) {
        if value >= 10 {
            self.number(value / 10);
        }
        self.push(b'0' + (value % 10) as u8);
    }

    fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or("")
    }
}

impl std::fmt::Write for PeerText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        text.bytes().for_each(|byte| self.push(byte));
        Ok(())
    }
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// The path of a target as it was received, without its query, cut to a length for one line.
pub(super) fn path_of(target: &[u8]) -> &[u8] {
    let end = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
    &target[..end.min(PATH_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wrong: a line tells of another client than the one that asked.
    #[test]
    fn a_peer_is_written_as_the_library_shows_it() {
        for address in [
            "127.0.0.1:8080",
            "255.255.255.255:65535",
            "0.10.99.100:0",
            "[::1]:443",
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535",
        ] {
            let peer = Peer::Tcp(address.parse().unwrap());
            assert_eq!(PeerText::of(peer).as_str(), address);
        }
        assert_eq!(PeerText::of(Peer::Unix).as_str(), "unix:");
    }

    #[test]
    fn a_query_is_never_told() {
        assert_eq!(path_of(b"/v1/chat?key=secret"), b"/v1/chat");
        assert_eq!(path_of(b"/?"), b"/");
        assert_eq!(path_of(&[b'x'; 5000]).len(), PATH_BYTES_MAX);
    }
}
