//! A line for each request, when `log.access` asks for it.
//!
//! It tells who asked what and what it came to: peer, method, path, status, bytes and times, and
//! of requests to models the model, its provider, the tokens, what they cost and the time to the
//! first of them.
//! The query is left out: it may hold keys or prompts. Neither are any header fields told but the
//! request's id.

use std::borrow::Cow;

use super::counts::dollars;
use super::log;
use super::worker::Worker;
use crate::ai::chat::Usage;
use crate::base::slab::Key;
use crate::exchange::Exchange;
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
        let headers = &exchange.response.headers;
        let header = |name: &[u8]| headers.get(name).map(text);
        let model = header(b"x-neurohttp-model");
        let provider = header(b"x-neurohttp-provider");
        let cache = header(b"x-neurohttp-cache");
        let path = text(path_of(request.target_text()));
        let method = text(request.method_text());
        let peer = request.peer().to_string();
        let usage = told.call.usage;
        let trace = request.trace().map(|trace| {
            let mut id = Vec::new();
            write_hex(&trace.context.trace_id, &mut id);
            id
        });
        let trace = trace.as_deref().map(text);
        tracing::info!(
            target: log::ACCESS,
            id = request.id_text(),
            trace_id = trace.as_deref(),
            peer = &*peer,
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
            peer = &*conn.peer.to_string(),
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

    #[test]
    fn a_query_is_never_told() {
        assert_eq!(path_of(b"/v1/chat?key=secret"), b"/v1/chat");
        assert_eq!(path_of(b"/?"), b"/");
        assert_eq!(path_of(&[b'x'; 5000]).len(), PATH_BYTES_MAX);
    }
}
