//! What an upstream sends back, without I/O: bytes that pass, or an answer that is translated.
//!
//! When client and provider speak the same dialect the bytes pass unread but for a watch on the
//! usage; else a decoder and an encoder stand between.

use super::call::{Call, is_listed};
use crate::ai::chat;
use crate::ai::dialect::{Dialect, Meta, StreamEncoder};
use crate::ai::provider::{Codec, StreamDecoder, decode_failure};
use crate::ai::usage::Watch;
use crate::base::error::Failure;
use crate::base::limits;
use crate::exchange::Response;
use crate::http::head::{Body, Known, ResponseHead};
use crate::http::{date, encode};

/// What is done with an answer.
pub(super) enum Kind {
    /// A whole answer passes.
    PassWhole,
    /// A stream of events passes, whole events at a time.
    PassStream,
    /// A whole answer is collected and translated.
    TranslateWhole { codec: &'static dyn Codec, meta: Box<Meta>, body: Vec<u8> },
    /// A stream is translated event by event.
    TranslateStream { decoder: Box<dyn StreamDecoder>, encoder: Box<dyn StreamEncoder> },
}

/// An upstream's error answer while its body comes in.
struct ErrorAnswer {
    status: u16,
    retry_after_s: Option<u32>,
    content_type: Vec<u8>,
    body: Vec<u8>,
}

/// Reads what an upstream answers.
pub struct Inbound {
    kind: Kind,
    is_stream_asked: bool,
    dialect: Dialect,
    watch: Watch,
    /// What a translated answer told.
    told: Option<chat::Usage>,
    /// The beginning of an event whose end has not come.
    held: Vec<u8>,
    error: Option<ErrorAnswer>,
}

/// How the answer goes on after its head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AfterHead {
    /// The client's head can go out; this many body bytes follow, or chunks.
    Forward(Option<u64>),
    /// Nothing goes out before the whole body is here.
    Collect,
}

/// What the client gets of a piece of the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Passing {
    /// The piece itself.
    AsItIs,
    /// What was written instead, perhaps nothing yet.
    Written,
}

impl Inbound {
    /// Nothing has come yet. `is_stream_asked`: the client wants a stream.
    pub(super) fn new(kind: Kind, is_stream_asked: bool, dialect: Dialect) -> Inbound {
        Inbound {
            kind,
            is_stream_asked,
            dialect,
            watch: Watch::new(),
            told: None,
            held: Vec::new(),
            error: None,
        }
    }

    /// The upstream's head has come. On `Forward` the response holds the client's head.
    ///
    /// # Errors
    /// The answer cannot be used, whatever follows.
    pub fn on_head(
        &mut self,
        head: &ResponseHead,
        raw: &[u8],
        now_unix_s: i64,
        response: &mut Response,
    ) -> Result<AfterHead, Failure> {
        let value = |known| head.find(known).map(|field| field.value.of(raw));
        if head.status >= 300 {
            if head.status < 400 {
                let message = "the provider answered with a redirect";
                return Err(Failure::new(502, message).code("upstream_failed"));
            }
            self.error = Some(ErrorAnswer {
                status: head.status,
                retry_after_s: value(Known::RetryAfter).and_then(|v| retry_after(v, now_unix_s)),
                content_type: value(Known::ContentType).unwrap_or(b"application/json").to_vec(),
                body: Vec::new(),
            });
            return Ok(AfterHead::Collect);
        }
        let is_events = value(Known::ContentType)
            .is_some_and(|v| starts_with_any_case(v, b"text/event-stream"));
        match &self.kind {
            Kind::PassStream | Kind::PassWhole => {
                // What the upstream says its body is decides, not what was asked for.
                self.kind = if is_events { Kind::PassStream } else { Kind::PassWhole };
                response.status = head.status;
                forward_answer_fields(head, raw, response);
                if is_events {
                    response.headers.remove(b"cache-control");
                    response.headers.push(b"Cache-Control", b"no-cache");
                    response.headers.push(b"X-Accel-Buffering", b"no");
                    return Ok(AfterHead::Forward(None));
                }
                Ok(AfterHead::Forward(match head.body {
                    Body::Length(bytes) => Some(bytes),
                    Body::None => Some(0),
                    Body::Chunked | Body::UntilClose => None,
                }))
            }
            Kind::TranslateStream { .. }
                if is_events || !self.is_json(value(Known::ContentType)) =>
            {
                stream_head(response);
                Ok(AfterHead::Forward(None))
            }
            Kind::TranslateStream { .. } => {
                let message = "the provider did not answer with a stream";
                Err(Failure::new(502, message).code("upstream_failed"))
            }
            Kind::TranslateWhole { .. } => {
                response.status = 200;
                response.headers.push(b"Content-Type", b"application/json");
                Ok(AfterHead::Collect)
            }
        }
    }

    fn is_json(&self, content_type: Option<&[u8]>) -> bool {
        content_type.is_some_and(|v| starts_with_any_case(v, b"application/json"))
    }

    /// Whether this piece is the first the client would see of the answer itself.
    pub fn is_token(&self) -> bool {
        self.error.is_none()
    }

    /// Body bytes have come: says whether they are the client's as they are, else appends what the
    /// client gets now.
    ///
    /// # Errors
    /// The provider's own error in its stream, garbage, or too much.
    pub fn on_data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<Passing, Failure> {
        if let Some(error) = &mut self.error {
            collect(&mut error.body, data, limits::UPSTREAM_ERROR_BYTES_MAX)?;
            return Ok(Passing::Written);
        }
        match &mut self.kind {
            Kind::PassWhole => {
                self.watch.feed(data);
                return Ok(Passing::AsItIs);
            }
            Kind::PassStream => {
                self.watch.feed(data);
                // Whole events nearly always: nothing has to be held back.
                if self.held.is_empty() && data.ends_with(b"\n\n") {
                    return Ok(Passing::AsItIs);
                }
                pass_events(&mut self.held, data, out);
            }
            Kind::TranslateWhole { body, .. } => {
                collect(body, data, limits::UPSTREAM_ANSWER_BYTES_MAX)?;
            }
            Kind::TranslateStream { decoder, encoder } => decoder.feed(data, &mut |delta| {
                if let chat::Delta::Usage(usage) = &delta {
                    self.told = Some(*usage);
                }
                encoder.event(&delta, out);
            })?,
        }
        Ok(Passing::Written)
    }

    /// The body has ended as its framing says; appends the rest. On a collected answer the response
    /// is complete.
    ///
    /// # Errors
    /// What the client is told instead; `Failure` statuses as CONTRACT maps them.
    pub fn on_end(&mut self, response: &mut Response, out: &mut Vec<u8>) -> Result<(), Failure> {
        if let Some(error) = self.error.take() {
            return Err(self.upstream_error(error, response));
        }
        match &mut self.kind {
            Kind::PassWhole => Ok(()),
            Kind::PassStream => {
                // A last event without its blank line is still the client's.
                out.append(&mut self.held);
                Ok(())
            }
            Kind::TranslateWhole { codec, meta, body } => {
                let reply = codec.decode_reply(200, body)?;
                self.told = reply.usage;
                response.body.clear();
                self.dialect.encode_reply(&reply, meta, &mut response.body);
                Ok(())
            }
            Kind::TranslateStream { decoder, encoder } => {
                let is_whole = decoder.finish(&mut |delta| {
                    if let chat::Delta::Usage(usage) = &delta {
                        self.told = Some(*usage);
                    }
                    encoder.event(&delta, out);
                })?;
                if is_whole {
                    encoder.finish(out);
                    return Ok(());
                }
                Err(cut_off())
            }
        }
    }

    /// The client has seen the beginning of a stream that cannot go on: appends the dialect's error
    /// event. False when what it has seen is no stream: then only cutting tells the truth. `call` is
    /// the one this answers.
    pub fn fail_stream(&mut self, call: &Call, failure: &Failure, out: &mut Vec<u8>) -> bool {
        match &mut self.kind {
            Kind::PassStream => {
                self.held.clear();
                let mut encoder = self.dialect.stream_encoder(call.meta(), false);
                encoder.fail(failure, out);
                true
            }
            Kind::TranslateStream { encoder, .. } => {
                encoder.fail(failure, out);
                true
            }
            Kind::PassWhole | Kind::TranslateWhole { .. } => false,
        }
    }

    /// Tokens the provider told of, prompt and completion.
    pub fn usage(&self) -> Option<(u64, u64)> {
        let usage = self.told.or_else(|| self.watch.usage());
        usage.map(|usage| (usage.prompt_tokens, usage.completion_tokens))
    }

    /// Whether the client asked for a stream: then the first token has a deadline of its own.
    pub fn is_stream(&self) -> bool {
        self.is_stream_asked
    }

    /// An error that is the client's to know passes with its body when both speak one dialect.
    fn upstream_error(&self, error: ErrorAnswer, response: &mut Response) -> Failure {
        let failure = decode_failure(error.status, error.retry_after_s, &error.body);
        let passes = matches!(self.kind, Kind::PassStream | Kind::PassWhole)
            && failure.status == error.status
            && !error.body.is_empty();
        if passes {
            response.status = error.status;
            if encode::valid_value(&error.content_type) {
                response.headers.remove(b"content-type");
                response.headers.push(b"Content-Type", &error.content_type);
            }
            response.body = error.body;
        }
        failure
    }
}

/// The failure for an answer that stops in the middle.
pub fn cut_off() -> Failure {
    Failure::new(502, "the provider's answer was cut off").code("upstream_cut")
}

fn collect(body: &mut Vec<u8>, data: &[u8], bytes_max: usize) -> Result<(), Failure> {
    if body.len() + data.len() > bytes_max {
        let message = "the provider's answer is too large";
        return Err(Failure::new(502, message).code("upstream_too_large"));
    }
    body.extend_from_slice(data);
    Ok(())
}

/// The head of a streamed answer. Proxies in front of us must not collect it.
pub(super) fn stream_head(response: &mut Response) {
    response.status = 200;
    response.headers.push(b"Content-Type", b"text/event-stream");
    response.headers.push(b"Cache-Control", b"no-cache");
    response.headers.push(b"X-Accel-Buffering", b"no");
}

/// Hands whole events on and holds the beginning of the next one: a client must never see half an
/// event before an error. An event that grows beyond the bound passes in pieces.
fn pass_events(held: &mut Vec<u8>, data: &[u8], out: &mut Vec<u8>) {
    if held.is_empty() && data.ends_with(b"\n\n") {
        out.extend_from_slice(data);
        return;
    }
    // The end of an event can lie across the cut.
    let overlap = held.len().min(3);
    held.extend_from_slice(data);
    let from = held.len() - data.len() - overlap;
    match last_event_end(&held[from..]) {
        Some(end) => {
            out.extend_from_slice(&held[..from + end]);
            held.drain(..from + end);
        }
        None if held.len() > limits::HELD_EVENT_BYTES_MAX => out.append(held),
        None => {}
    }
}

/// Where the last complete event of `bytes` ends: behind an empty line, whatever its line ends.
fn last_event_end(bytes: &[u8]) -> Option<usize> {
    const ENDS: [&[u8]; 4] = [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n"];
    ENDS.iter().filter_map(|end| memchr::memmem::rfind(bytes, end).map(|at| at + end.len())).max()
}

/// The upstream's fields that are the client's business.
fn forward_answer_fields(head: &ResponseHead, raw: &[u8], response: &mut Response) {
    let connection = head.find(Known::Connection).map(|field| field.value.of(raw));
    for field in &head.fields {
        let is_ours = matches!(
            field.known,
            Known::Connection
                | Known::ContentLength
                | Known::TransferEncoding
                | Known::KeepAlive
                | Known::ProxyConnection
                | Known::Te
                | Known::Trailer
                | Known::Upgrade
                | Known::Date
                | Known::Server
                | Known::XRequestId
        );
        let name = field.name.of(raw);
        if is_ours || is_private_answer(name) || is_listed(connection, name) {
            continue;
        }
        // A field that does not fit any more is left out; the answer matters more.
        let _ = response.add_header(name, field.value.of(raw));
    }
}

/// Fields of an upstream that mean nothing, or too much, behind a gateway.
fn is_private_answer(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 4] =
        [b"set-cookie", b"alt-svc", b"strict-transport-security", b"proxy-authenticate"];
    NAMES.iter().any(|private| name.eq_ignore_ascii_case(private))
        || name.len() >= 12 && name[..12].eq_ignore_ascii_case(b"x-neurohttp-")
        || name.len() >= 15 && name[..15].eq_ignore_ascii_case(b"access-control-")
}

/// Retry-After in seconds: a number or a date (RFC 9110 section 10.2.3), at most a day.
fn retry_after(value: &[u8], now_unix_s: i64) -> Option<u32> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let seconds = match text.parse::<u32>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let ahead = date::parse(text.as_bytes())?.saturating_sub(now_unix_s).max(0);
            u32::try_from(ahead).unwrap_or(u32::MAX)
        }
    };
    Some(seconds.min(86_400))
}

fn starts_with_any_case(value: &[u8], prefix: &[u8]) -> bool {
    value.len() >= prefix.len() && value[..prefix.len()].eq_ignore_ascii_case(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_pass_whole_wherever_they_are_cut() {
        for text in [
            "data: a\n\ndata: b\n\ndata: [DONE]\n\n",
            "data: a\r\n\r\ndata: b\r\n\r\n",
            "data: a\r\rdata: b\r\r: ping\r\r",
            "event: x\ndata: 1\n\nid: 7\n\ndata: tail without end",
        ] {
            for cut in 0..=text.len() {
                let (mut held, mut out) = (Vec::new(), Vec::new());
                for part in [&text.as_bytes()[..cut], &text.as_bytes()[cut..]] {
                    pass_events(&mut held, part, &mut out);
                    let whole = out.is_empty()
                        || [&b"\n\n"[..], b"\r\n\r\n", b"\r\r"]
                            .iter()
                            .any(|end| out.ends_with(end));
                    assert!(whole, "half an event passed: {out:?}");
                }
                out.append(&mut held);
                assert_eq!(out, text.as_bytes(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn an_endless_event_does_not_grow_without_bound() {
        let (mut held, mut out) = (Vec::new(), Vec::new());
        let mut fed = 0;
        for _ in 0..100 {
            let piece = [b'x'; 10_000];
            fed += piece.len();
            pass_events(&mut held, &piece, &mut out);
            assert!(held.len() <= limits::HELD_EVENT_BYTES_MAX);
        }
        assert_eq!(out.len() + held.len(), fed);
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        for (value, want) in [
            ("7", Some(7)),
            (" 12 ", Some(12)),
            ("999999999", Some(86_400)),
            ("Thu, 01 Jan 1970 00:02:00 GMT", Some(20)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Tue, 31 Dec 2199 23:59:59 GMT", Some(86_400)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(retry_after(value.as_bytes(), 100), want, "{value}");
        }
    }
}
