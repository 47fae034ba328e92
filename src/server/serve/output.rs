//! What goes out on a connection: heads, bodies, streams, and what its socket does not take yet.

use std::io::ErrorKind as Io;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::base::limits;
use crate::base::slab::Key;
use crate::exchange::{Exchange, HeaderLines, Outcome, Request, Taken};
use crate::http::encode;
use crate::http::framing::BodyDecoder;
use crate::http::head::{Body, Expect, Version};
use crate::pipeline;
use crate::pipeline::old_pages::SERVER_NAME;
use crate::server::coded::Coded;
use crate::server::conn::{Active, Phase, Source};
use crate::server::worker::Worker;
use crate::sys::socket;

use super::close_source;

impl Worker {
    pub(super) fn count_sent(&self, bytes: usize) {
        self.stats.bytes_sent.add(bytes as u64);
        for observer in &self.app.observers {
            observer.moved(0, bytes);
        }
    }

    /// Counts an answer before its bytes go out, so that no client sees one that is not counted.
    pub(super) fn count_answer(
        &self,
        request: Option<&Request>,
        status: u16,
        body_bytes: usize,
        started_us: u64,
    ) {
        self.stats.answered(status);
        if self.app.observers.is_empty() {
            return;
        }
        let elapsed_us = request.map_or(0, |_| self.now_us.saturating_sub(started_us));
        let outcome = Outcome { status, body_bytes: body_bytes as u64, elapsed_us };
        for observer in &self.app.observers {
            observer.answered(request, &outcome);
        }
    }

    /// The response is complete: sends it.
    pub(super) fn respond(&mut self, key: Key, fd: RawFd, active: &mut Active) {
        let Some(mut exchange) = active.exchange.take() else { return };
        if exchange.keep.is_some() {
            let app = Arc::clone(&self.app);
            pipeline::keep(&app, &mut exchange);
        }
        let was_open = exchange.response.status == 0;
        exchange.response.status = exchange.response.effective_status();
        self.finish(&mut exchange);
        if was_open && exchange.response.status == 204 && !exchange.response.body.is_empty() {
            exchange.response.status = 200;
        }
        let code = exchange.response.effective_status();
        let body_allowed = status_has_body(code);
        if !body_allowed && !exchange.response.body.is_empty() {
            tracing::warn!(
                request_id = exchange.request.id_text(),
                "the body of a {code} was dropped: it has none (RFC 9110 section 15)"
            );
            exchange.response.body.clear();
        }
        self.close_if_unread(active, &exchange);
        if exchange.response.is_bare {
            encode::bare(&mut active.output, code);
            active.told.status = code;
            self.count_answer(Some(&exchange.request), code, 0, active.told.started_us);
            active.close_after = true;
            return self.end_exchange(key, active, exchange);
        }
        if body_allowed && self.app.compressor.is_some() {
            pipeline::compress(&self.app, &mut exchange);
        }
        self.write_head(active, &exchange, code);
        if body_allowed {
            active.output.extend_from_slice(b"Content-Length: ");
            encode::decimal(&mut active.output, exchange.response.body.len() as u64);
            active.output.extend_from_slice(b"\r\n");
        } else if code == 205 {
            // RFC 9110 section 15.3.6: a 205 says that it is empty.
            active.output.extend_from_slice(b"Content-Length: 0\r\n");
        }
        if self.app.settings.is_old {
            self.write_connection(active, &exchange);
        }
        active.output.extend_from_slice(b"\r\n");
        let body_bytes = exchange.response.body.len();
        active.told.status = code;
        active.told.body_bytes = if active.is_bodiless { 0 } else { body_bytes as u64 };
        self.count_answer(Some(&exchange.request), code, body_bytes, active.told.started_us);
        if !active.is_bodiless && body_allowed {
            let body = &exchange.response.body;
            if body.len() < limits::BATCH_BYTES / 4 {
                active.output.extend_from_slice(body);
            } else if !self.send_large(fd, active, body) {
                active.close_after = true;
            }
        }
        self.end_exchange(key, active, exchange);
    }

    /// The middleware after the answer.
    pub(super) fn finish(&mut self, exchange: &mut Exchange) {
        let app = Arc::clone(&self.app);
        if catch_unwind(AssertUnwindSafe(|| pipeline::finish(&app, exchange))).is_err() {
            tracing::error!(request_id = exchange.request.id_text(), "a middleware panicked");
        }
    }

    /// Sends the output and a large body in one call; only what the socket does not take is copied.
    pub(super) fn send_large(&mut self, fd: RawFd, active: &mut Active, body: &[u8]) -> bool {
        if active.is_blocked {
            active.output.extend_from_slice(body);
            return true;
        }
        let waiting = &active.output[active.sent..];
        let waiting_len = waiting.len();
        let taken = match &mut active.tls {
            None => socket::send_both(fd, waiting, body),
            Some(tls) => tls.send(fd, waiting, body),
        };
        match taken {
            Ok(count) => {
                active.sent_bytes += count as u64;
                self.count_sent(count);
                if count >= waiting_len {
                    active.output.clear();
                    active.sent = 0;
                    active.output.extend_from_slice(&body[count - waiting_len..]);
                } else {
                    active.sent += count;
                    active.output.extend_from_slice(body);
                }
                true
            }
            Err(error) if error.kind() == Io::WouldBlock => {
                active.output.extend_from_slice(body);
                true
            }
            Err(_) => false,
        }
    }

    /// Status line and header lines, up to framing.
    pub(super) fn write_head(&mut self, active: &mut Active, exchange: &Exchange, code: u16) {
        let out = &mut active.output;
        if let Some(reason) = &exchange.response.reason {
            encode::status_line_with(out, code, reason);
            encode::field(out, b"Date", &self.date);
        } else if code == 200 {
            out.extend_from_slice(&self.prefix);
        } else {
            encode::status_line(out, code);
            encode::field(out, b"Date", &self.date);
        }
        let headers = &exchange.response.headers;
        if !headers.has_server() {
            match self.app.settings.is_old {
                true => encode::field(out, b"Server", SERVER_NAME.as_bytes()),
                false => out.extend_from_slice(b"Server: neurohttp\r\n"),
            }
        }
        if !headers.has_request_id() {
            encode::field(out, b"x-request-id", exchange.request.id());
        }
        if self.app.settings.is_old {
            old_order(out, headers);
        } else {
            out.extend_from_slice(headers.as_bytes());
        }
        if exchange.response.close {
            active.close_after = true;
        }
        // The original wrote it last, behind the length.
        if !self.app.settings.is_old {
            self.write_connection(active, exchange);
        }
    }

    /// HTTP/1.1 stays open anyway. Clients that ask by name look for the word, and the original
    /// always said it.
    fn write_connection(&self, active: &mut Active, exchange: &Exchange) {
        let out = &mut active.output;
        if active.close_after {
            out.extend_from_slice(b"Connection: close\r\n");
        } else if exchange.request.head().version == Version::Http10
            || exchange.request.asks_to_stay()
            || self.app.settings.is_old
        {
            out.extend_from_slice(b"Connection: keep-alive\r\n");
        }
    }

    /// An answer that comes before the end of its request's body: the rest is drained when it is
    /// bounded, else the connection closes after the answer.
    pub(super) fn close_if_unread(&mut self, active: &mut Active, exchange: &Exchange) {
        if active.decoder.is_done() {
            return;
        }
        let is_small = match exchange.request.head().body {
            Body::Length(bytes) => bytes <= limits::DRAIN_BYTES_MAX,
            _ => true,
        };
        // Who waits for 100 will not send the body, or will; only closing is safe (RFC 9110
        // section 10.1.1).
        let waits = exchange.request.head().expect != Expect::None && active.phase == Phase::Head;
        if !is_small || waits {
            active.close_after = true;
        }
    }

    /// The answer is out or in the output: on to the next request.
    pub(super) fn end_exchange(&mut self, key: Key, active: &mut Active, exchange: Box<Exchange>) {
        let idle_ms = self.now_ms + self.app.settings.idle_ms;
        self.count_pulled(active, None);
        self.tell(&active.told, &exchange);
        self.give_back_exchange(exchange);
        self.release_charge(active);
        self.drop_encoder(active);
        active.source = Source::None;
        active.matched = pipeline::Matched::Nothing;
        if !active.decoder.is_done() {
            active.drained_bytes = 0;
            active.phase = Phase::Draining;
            if !active.close_after {
                self.set_deadline(key, self.now_ms + self.app.settings.body_ms);
                return;
            }
        }
        active.phase = Phase::Head;
        active.decoder = BodyDecoder::new(Body::None);
        if self.conns.get(key).is_some_and(|conn| conn.peer_ended && !conn.is_readable) {
            // It will send nothing more; what it sent before is still answered.
            active.close_after |= active.input.is_empty();
        }
        self.set_deadline(key, idle_ms);
    }

    /// Counts what a stream that is made here has taken of its model; `error` says why it is not
    /// whole.
    pub(super) fn count_pulled(&mut self, active: &mut Active, error: Option<&str>) {
        let Source::Pull(pull, observed) = &mut active.source else { return };
        let (spent, observed) = (pull.spent(), observed.take());
        let cost_nano = spent.and_then(|spent| self.count_usage(&spent));
        if let Some(pipeline::Spent { usage, .. }) = spent {
            active.told.call.add(usage, cost_nano);
        }
        if let Some(mut observed) = observed {
            (observed.usage, observed.cost_nano) = (spent.map(|spent| spent.usage), cost_nano);
            self.report_observed(*observed, error.map(str::to_owned));
        }
    }

    // ---- streams ----

    /// The response is a head: sends it and begins to take the body from its source.
    /// `length` is that of the body when it is known.
    pub(super) fn begin_stream(
        &mut self,
        key: Key,
        fd: RawFd,
        active: &mut Active,
        length: Option<u64>,
    ) {
        let Some(mut exchange) = active.exchange.take() else { return };
        if exchange.response.status == 0 {
            exchange.response.status = 200;
        }
        let app = Arc::clone(&self.app);
        active.page = pipeline::begin_page(&app, &mut exchange).map(Box::new);
        self.finish(&mut exchange);
        self.stats.streams.add(1);
        let code = exchange.response.status;
        exchange.response.body.clear();
        let has_body = status_has_body(code) && !active.is_bodiless;
        let is_http11 = exchange.request.head().version == Version::Http11;
        if !is_http11 && has_body && length.is_none() {
            // HTTP/1.0 knows no chunks: the end of the connection ends the body.
            active.close_after = true;
        }
        self.close_if_unread(active, &exchange);
        let encoder = if has_body && self.coded_streams < limits::CODED_STREAMS_MAX {
            pipeline::compress_stream(&self.app, &mut exchange, length)
        } else {
            None
        };
        active.coded = encoder.map(|encoder| {
            self.coded_streams += 1;
            Box::new(Coded::new(encoder, length.is_none()))
        });
        active.is_coded = active.coded.is_some();
        let length = length.filter(|_| !active.is_coded);
        self.write_head(active, &exchange, code);
        active.is_chunked = is_http11 && status_has_body(code) && length.is_none();
        if let Some(length) = length {
            encode::content_length(&mut active.output, length);
        } else if active.is_chunked {
            active.output.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        if self.app.settings.is_old {
            self.write_connection(active, &exchange);
        }
        active.output.extend_from_slice(b"\r\n");
        active.told.status = code;
        self.count_answer(Some(&exchange.request), code, 0, active.told.started_us);
        if has_body {
            active.exchange = Some(exchange);
            active.phase = Phase::Streaming;
            self.set_deadline(key, u64::MAX);
            if matches!(active.source, Source::Call) {
                // What follows in this turn goes out with the head.
                return;
            }
            if !self.pump(key, fd, active) {
                active.output.clear();
                active.sent = 0;
                active.phase = Phase::Head;
                active.close_after = true;
            }
        } else {
            close_source(&mut active.source);
            self.end_exchange(key, active, exchange);
        }
    }

    /// Moves body bytes from the source to the socket until one of them has had enough. False:
    /// the connection is to be cut.
    pub(super) fn pump(&mut self, key: Key, fd: RawFd, active: &mut Active) -> bool {
        let mut rounds = 0;
        while active.phase == Phase::Streaming {
            if active.unsent() > limits::OUTPUT_LOW_BYTES || active.is_blocked {
                if !self.flush(key, fd, active) {
                    return false;
                }
                if active.is_blocked || active.unsent() > limits::OUTPUT_LOW_BYTES {
                    return true;
                }
            }
            if rounds == 16 {
                self.list(key);
                break;
            }
            rounds += 1;
            let mut piece = std::mem::take(&mut self.pull_scratch);
            piece.clear();
            let taken = match &mut active.source {
                Source::Queue(queue) => queue.take(&mut piece, limits::STREAM_QUEUE_BYTES),
                Source::Pull(pull, _) => {
                    let pull = AssertUnwindSafe(|| pull.pull(&mut piece, 8 * 1024));
                    catch_unwind(pull).unwrap_or(Taken::Abort)
                }
                Source::Call => {
                    self.pull_scratch = piece;
                    if let Some(call) = active.call {
                        self.resume_call(call);
                    }
                    break;
                }
                Source::None => Taken::Abort,
            };
            let is_dry = piece.is_empty();
            if !is_dry {
                active.told.body_bytes += piece.len() as u64;
                active.append_body(&piece);
                active.page.take_if(|page| !page.add(&piece));
            }
            self.pull_scratch = piece;
            match taken {
                Taken::More if is_dry => break,
                Taken::More => {}
                Taken::End => {
                    active.end_body();
                    if let Some(page) = active.page.take() {
                        page.end(&self.app);
                    }
                    let Some(exchange) = active.exchange.take() else { return false };
                    self.end_exchange(key, active, exchange);
                    if active.phase == Phase::Head {
                        // Pipelined requests may wait.
                        self.list(key);
                    }
                }
                // A body that does not end well must not look as if it did.
                Taken::Abort => {
                    active.flush_body();
                    let sent = self.flush(key, fd, active);
                    let _ = sent;
                    return false;
                }
            }
        }
        active.flush_body();
        self.flush(key, fd, active)
    }

    /// Sends what the socket takes. False: the connection is to be cut.
    pub(super) fn flush(&mut self, key: Key, fd: RawFd, active: &mut Active) -> bool {
        if active.is_blocked {
            return true;
        }
        while active.unsent() > 0 {
            let waiting = &active.output[active.sent..];
            let taken = match &mut active.tls {
                None => socket::send(fd, waiting),
                Some(tls) => tls.send(fd, waiting, &[]),
            };
            match taken {
                Ok(count) => {
                    active.sent_bytes += count as u64;
                    self.count_sent(count);
                    active.sent += count;
                }
                Err(error) => match error.kind() {
                    Io::WouldBlock => {
                        active.is_blocked = true;
                        // What is out is not kept; the rest moves only when it pays.
                        if active.sent >= limits::OUTPUT_LOW_BYTES {
                            active.output.drain(..active.sent);
                            active.sent = 0;
                        }
                        active.awaits_write = true;
                        active.unacknowledged = socket::unacknowledged(fd);
                        self.set_deadline(key, self.now_ms + self.app.settings.write_ms);
                        return true;
                    }
                    Io::Interrupted => {}
                    _ => return false,
                },
            }
        }
        active.output.clear();
        active.sent = 0;
        if std::mem::take(&mut active.awaits_write) {
            let deadline_ms = match active.phase {
                Phase::Answering | Phase::Streaming => u64::MAX,
                Phase::Body | Phase::Draining => self.now_ms + self.app.settings.body_ms,
                _ => self.now_ms + self.app.settings.idle_ms,
            };
            self.set_deadline(key, deadline_ms);
        }
        true
    }
}

/// The header lines with Server first, as the original sent them.
pub(super) fn old_order(out: &mut Vec<u8>, headers: &HeaderLines) {
    if let Some(server) = headers.get(b"server") {
        encode::field(out, b"Server", server);
    }
    for (name, value) in headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(b"server")) {
        encode::field(out, name, value);
    }
}

/// Statuses whose answers have no body (RFC 9110 section 6.4.1).
pub(super) fn status_has_body(code: u16) -> bool {
    !(code < 200 || code == 204 || code == 205 || code == 304)
}
