//! What a connection brings: bytes, a preface, heads, bodies.

use std::io::ErrorKind as Io;
use std::os::fd::RawFd;
use std::sync::Arc;

use crate::base::error::Failure;
use crate::base::limits;
use crate::base::slab::Key;
use crate::exchange::{Peer, Ticket};
use crate::http::framing::BodyDecoder;
use crate::http::head::{self, Body, Expect, HeadLimits, Progress};
use crate::http::method::Method;
use crate::http::proxy::{self, Preface};
use crate::http::target;
use crate::pipeline::{self};
use crate::server::access::Told;
use crate::server::conn::{Active, Phase};
use crate::server::worker::Worker;
use crate::sys::socket;

use super::Drive;

impl Worker {
    /// Whether reading makes sense: not while an answer is under way, nor while the client leaves
    /// its answers unread.
    pub(super) fn wants_input(&self, active: &Active) -> bool {
        match active.phase {
            Phase::Answering | Phase::Streaming => false,
            Phase::Head if active.close_after => false,
            _ => active.unsent() < limits::OUTPUT_HIGH_BYTES,
        }
    }

    /// One read and what it leads to.
    pub(super) fn read(&mut self, key: Key, fd: RawFd, active: &mut Active) -> Drive {
        if active.tls.is_some() {
            return self.read_tls(key, fd, active);
        }
        if active.phase == Phase::Body
            && active.input.is_empty()
            && (limits::DIRECT_BODY_BYTES_MIN..=active.body_bytes_max)
                .contains(&active.decoder.plain_left())
            && !active.is_unwanted
        {
            return self.read_body(key, fd, active);
        }
        let got = if active.input.is_empty() {
            let mut scratch = self.take_scratch();
            let got = socket::receive(fd, &mut scratch[..limits::FIRST_READ_BYTES]);
            let drive = match got {
                Ok(count) if count > 0 => {
                    let (used, drive) = self.consume(key, fd, active, &scratch[..count]);
                    active.input.extend_from_slice(&scratch[used..count]);
                    Some(drive)
                }
                _ => None,
            };
            self.put_scratch(scratch);
            got.map(|count| (count, limits::FIRST_READ_BYTES, drive))
        } else {
            active.input.reserve(limits::READ_BYTES);
            let room = active.input.capacity() - active.input.len();
            socket::receive_more(fd, &mut active.input).map(|count| (count, room, None))
        };
        let Some(conn) = self.conns.get_mut(key) else { return Drive::Close };
        match got {
            Ok((0, _, _)) => {
                conn.is_readable = false;
                conn.peer_ended = true;
                self.on_input_end(active)
            }
            Ok((count, room, drive)) => {
                // Less than there was room for: the kernel's buffer is empty (epoll(7)), unless the
                // peer's end stands behind it, which no further edge tells.
                if count < room && !conn.peer_ended {
                    conn.is_readable = false;
                }
                conn.received_bytes += count as u64;
                self.stats.bytes_received.add(count as u64);
                for observer in &self.app.observers {
                    observer.moved(count, 0);
                }
                let drive = drive.unwrap_or(Drive::More);
                if drive == Drive::Close || !self.flush(key, fd, active) {
                    return Drive::Close;
                }
                drive
            }
            Err(error) => match error.kind() {
                Io::WouldBlock => {
                    conn.is_readable = false;
                    Drive::Stop
                }
                Io::Interrupted => Drive::More,
                _ => Drive::Close,
            },
        }
    }

    /// One read of a large body, to where it stays: its size was checked and charged with the head.
    fn read_body(&mut self, key: Key, fd: RawFd, active: &mut Active) -> Drive {
        let left = usize::try_from(active.decoder.plain_left()).unwrap_or(usize::MAX);
        let Some(request) =
            active.exchange.as_mut().and_then(|exchange| Arc::get_mut(&mut exchange.request))
        else {
            return Drive::Close;
        };
        let room = left.min(limits::READ_BYTES);
        let got = socket::receive_into(fd, request.body_mut(), room);
        let Some(conn) = self.conns.get_mut(key) else { return Drive::Close };
        match got {
            Ok(0) => {
                conn.is_readable = false;
                conn.peer_ended = true;
                self.on_input_end(active)
            }
            Ok(count) => {
                if count < room && !conn.peer_ended {
                    conn.is_readable = false;
                }
                conn.received_bytes += count as u64;
                self.stats.bytes_received.add(count as u64);
                for observer in &self.app.observers {
                    observer.moved(count, 0);
                }
                active.decoder.passed(count as u64);
                if active.decoder.is_done() {
                    self.body_complete(key, fd, active);
                } else {
                    self.set_deadline(key, self.now_ms + self.app.settings.body_ms);
                }
                if self.flush(key, fd, active) { Drive::More } else { Drive::Close }
            }
            Err(error) => match error.kind() {
                Io::WouldBlock => {
                    conn.is_readable = false;
                    Drive::Stop
                }
                Io::Interrupted => Drive::More,
                _ => Drive::Close,
            },
        }
    }

    /// The same through TLS, the handshake included.
    pub(super) fn read_tls(&mut self, key: Key, fd: RawFd, active: &mut Active) -> Drive {
        let Some(tls) = &mut active.tls else { return Drive::Close };
        let was_handshaking = tls.is_handshaking();
        let mut scratch = self.take_scratch();
        self.tls_scratch.resize(limits::READ_BYTES, 0);
        let got = tls.receive(fd, &mut scratch, &mut self.tls_scratch);
        let is_dry = tls.is_dry();
        let client = tls.take_client();
        if was_handshaking && !tls.is_handshaking() {
            // The head has the whole time for itself.
            self.set_deadline(key, self.now_ms + self.app.settings.header_ms);
        }
        let Some(conn) = self.conns.get_mut(key) else { return Drive::Close };
        if let Some(client) = client {
            conn.peer = Peer::Tcp(client);
        }
        let drive = match got {
            Ok(0) => {
                conn.is_readable = false;
                conn.peer_ended = true;
                self.on_input_end(active)
            }
            Ok(count) => {
                if is_dry && !conn.peer_ended {
                    conn.is_readable = false;
                }
                conn.received_bytes += count as u64;
                self.stats.bytes_received.add(count as u64);
                for observer in &self.app.observers {
                    observer.moved(count, 0);
                }
                if active.input.is_empty() {
                    let (used, drive) = self.consume(key, fd, active, &scratch[..count]);
                    active.input.extend_from_slice(&scratch[used..count]);
                    drive
                } else {
                    active.input.extend_from_slice(&scratch[..count]);
                    Drive::More
                }
            }
            Err(error) => match error.kind() {
                Io::WouldBlock => {
                    conn.is_readable = false;
                    Drive::Stop
                }
                Io::Interrupted => Drive::More,
                // Messages end by themselves: a cut shows, with or without close_notify.
                Io::UnexpectedEof if !was_handshaking => {
                    conn.is_readable = false;
                    conn.peer_ended = true;
                    self.on_input_end(active)
                }
                Io::Unsupported => {
                    active.tls = None;
                    self.stats.malformed.add(1);
                    let failure = Failure::new(400, "this port speaks TLS: use https");
                    self.write_failure(key, active, &failure);
                    Drive::More
                }
                _ => Drive::Close,
            },
        };
        self.put_scratch(scratch);
        if drive == Drive::Close || !self.flush(key, fd, active) {
            return Drive::Close;
        }
        drive
    }

    /// The peer's end while we wanted more of it.
    pub(super) fn on_input_end(&mut self, active: &mut Active) -> Drive {
        match active.phase {
            // A head or body that stops in the middle has no answer that anybody could want
            // (RFC 9112 section 8); answers before it are still sent.
            Phase::Head | Phase::Body | Phase::Draining => {
                if active.phase == Phase::Body
                    && let Some(exchange) = active.exchange.take()
                {
                    self.give_back_exchange(exchange);
                }
                self.release_charge(active);
                active.phase = Phase::Head;
                active.input.clear();
                active.close_after = true;
                if active.unsent() > 0 { Drive::Stop } else { Drive::Close }
            }
            Phase::Lingering => Drive::Close,
            Phase::Answering | Phase::Streaming => Drive::Stop,
        }
    }

    /// Takes what it can of `bytes`; returns how many it took.
    pub(super) fn consume(
        &mut self,
        key: Key,
        fd: RawFd,
        active: &mut Active,
        bytes: &[u8],
    ) -> (usize, Drive) {
        if active.phase == Phase::Head {
            self.refresh();
        }
        let mut at = 0;
        let mut requests = 0;
        loop {
            let rest = &bytes[at..];
            match active.phase {
                Phase::Head => {
                    if active.close_after {
                        // What follows the last request is nobody's.
                        active.is_last_wish &= rest.is_empty();
                        return (bytes.len(), Drive::Stop);
                    }
                    if rest.is_empty() {
                        return (at, Drive::More);
                    }
                    if active.unsent() >= limits::BATCH_BYTES {
                        if !self.flush(key, fd, active) {
                            return (at, Drive::Close);
                        }
                        if active.unsent() >= limits::OUTPUT_HIGH_BYTES {
                            return (at, Drive::Stop);
                        }
                    }
                    if requests == limits::REQUESTS_PER_TURN {
                        self.list(key);
                        return (at, Drive::Stop);
                    }
                    requests += 1;
                    if !self.app.firewall.proxies().is_empty() {
                        match self.take_preface(key, rest) {
                            Preface::None => {}
                            Preface::Partial => {
                                self.on_partial_head(key, active);
                                return (at, Drive::More);
                            }
                            Preface::Malformed => return (bytes.len(), Drive::Close),
                            Preface::Client { size, .. } => {
                                at += size;
                                continue;
                            }
                        }
                    }
                    let settings = &self.app.settings;
                    let head_limits = HeadLimits {
                        request_line: settings.request_line_bytes_max,
                        header_section: settings.header_section_bytes_max,
                        fields: limits::HEADER_FIELDS_MAX,
                    };
                    let parsed = head::parse_request(rest, &head_limits, &mut active.head);
                    let resolved = match parsed {
                        Ok(Progress::Partial) => {
                            self.on_partial_head(key, active);
                            return (at, Drive::More);
                        }
                        Ok(Progress::Complete) => {
                            target::resolve(&active.head, rest, &mut active.target)
                        }
                        Err(error) => Err(error),
                    };
                    match resolved {
                        Ok(()) => {
                            let size = active.head.size;
                            at += size;
                            let is_last = at == bytes.len();
                            self.begin(key, fd, active, &rest[..size], is_last);
                        }
                        Err(error) => {
                            self.refuse_malformed(key, active, &error);
                            return (bytes.len(), Drive::More);
                        }
                    }
                }
                Phase::Body => {
                    if rest.is_empty() {
                        return (at, Drive::More);
                    }
                    at += self.take_body(key, fd, active, rest);
                }
                Phase::Draining => {
                    if rest.is_empty() {
                        return (at, Drive::More);
                    }
                    at += self.drain_body(active, rest);
                }
                Phase::Lingering => return (bytes.len(), Drive::More),
                Phase::Answering | Phase::Streaming => return (at, Drive::Stop),
            }
        }
    }

    /// The beginning of a connection that a balancer may have made: it may say who the client is.
    pub(super) fn take_preface(&mut self, key: Key, bytes: &[u8]) -> Preface {
        let Some(conn) = self.conns.get_mut(key).filter(|conn| conn.awaits_preface) else {
            return Preface::None;
        };
        let preface = proxy::parse(bytes);
        if preface != Preface::Partial {
            conn.awaits_preface = false;
        }
        if let Preface::Client { client: Some(client), .. } = preface {
            conn.peer = Peer::Tcp(client);
        }
        preface
    }

    /// The deadline of a whole head begins with its first byte; later bytes do not move it.
    pub(super) fn on_partial_head(&mut self, key: Key, active: &mut Active) {
        if std::mem::replace(&mut active.head_began, true) {
            return;
        }
        let deadline_ms = self.now_ms + self.app.settings.header_ms;
        if self.conns.get(key).is_some_and(|conn| conn.deadline.at_ms() > deadline_ms) {
            self.set_deadline(key, deadline_ms);
        }
    }

    // ---- a request ----

    /// A head is complete.
    pub(super) fn begin(
        &mut self,
        key: Key,
        fd: RawFd,
        active: &mut Active,
        bytes: &[u8],
        is_last: bool,
    ) {
        self.stats.requests.add(1);
        let is_tls = active.tls.is_some();
        active.told = Told { started_us: self.now_us, is_tls, ..Told::default() };
        let peer = match self.conns.get_mut(key) {
            Some(conn) => {
                conn.requests = conn.requests.saturating_add(1);
                conn.peer
            }
            None => return,
        };
        let number = self.next_id();
        active.serial = self.next_serial();
        active.head_began = false;
        active.is_ai = false;
        let mut exchange = self.borrow_exchange(Ticket { place: key.0, serial: active.serial });
        let Some(request) = Arc::get_mut(&mut exchange.request) else { return };
        request.fill(bytes, &mut active.head, &mut active.target, peer, number);
        let sampling = self.app.settings.sampling;
        if let Some(sampling) = sampling {
            request.set_trace(self.place(request, sampling));
        }
        for observer in &self.app.observers {
            observer.requested(request);
        }
        active.head.reset();
        let head = request.head();
        let (body, expect, is_head) = (head.body, head.expect, head.method == Method::Head);
        active.close_after = !head.keep_alive || self.is_draining;
        active.is_last_wish = !head.keep_alive;
        active.is_bodiless = is_head;
        let mut params = std::mem::take(&mut self.params);
        let plan =
            pipeline::on_head(&self.app, request, &mut active.matched, &mut params, self.now_ms);
        self.params = params;
        if sampling.is_some() {
            request.set_route(active.matched.pattern());
        }
        active.exchange = Some(exchange);
        active.decoder = BodyDecoder::new(body);
        let plan = match plan {
            Ok(plan) if body == Body::None => {
                debug_assert!(plan.bytes_max > 0 || !plan.is_ai);
                self.answer_request(key, fd, active);
                return;
            }
            Ok(plan) => plan,
            Err(failure) => {
                self.refuse(key, fd, active, &failure);
                return;
            }
        };
        let is_long = matches!(body, Body::Length(bytes) if bytes > limits::DRAIN_BYTES_MAX);
        if !plan.is_wanted && (is_long || expect != Expect::None) {
            self.answer_request(key, fd, active);
            return;
        }
        active.is_unwanted = !plan.is_wanted;
        active.body_bytes_max =
            if plan.is_wanted { plan.bytes_max } else { limits::DRAIN_BYTES_MAX };
        active.is_ai = plan.is_ai;
        if let Body::Length(bytes) = body {
            if !self.charge(active, bytes) {
                self.refuse(key, fd, active, &no_memory_for_ai());
                return;
            }
            if let Some(exchange) = &mut active.exchange
                && let Some(request) = Arc::get_mut(&mut exchange.request)
            {
                let room = usize::try_from(bytes).unwrap_or(usize::MAX);
                self.borrow_body(request, room);
                // A promise is not believed beyond one read: a peer that sends little must not
                // make us hold much.
                request.body_mut().reserve(room.min(limits::READ_BYTES) + 1);
            }
        }
        active.phase = Phase::Body;
        self.set_deadline(key, self.now_ms + self.app.settings.body_ms);
        if expect == Expect::Continue && is_last {
            active.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        if body == Body::Length(0) {
            self.body_complete(key, fd, active);
        }
    }

    /// Takes body bytes; returns how many belong to the body.
    pub(super) fn take_body(
        &mut self,
        key: Key,
        fd: RawFd,
        active: &mut Active,
        bytes: &[u8],
    ) -> usize {
        let mut at = 0;
        while at < bytes.len() && active.phase == Phase::Body {
            let piece = match active.decoder.decode(&bytes[at..]) {
                Ok(piece) => piece,
                Err(error) => {
                    // Where the next request would begin is not known any more.
                    active.close_after = true;
                    let failure = Failure::new(400, error.to_string());
                    self.refuse_broken(key, fd, active, &failure);
                    return bytes.len();
                }
            };
            let data = &bytes[at..][piece.data.clone()];
            at += piece.consumed;
            let Some(exchange) = &mut active.exchange else { return bytes.len() };
            let Some(request) = Arc::get_mut(&mut exchange.request) else { return bytes.len() };
            let body = request.body_mut();
            let len = body.len() as u64 + data.len() as u64;
            // A chunk size tells before its data does.
            if len.saturating_add(active.decoder.announced()) > active.body_bytes_max {
                if active.is_unwanted {
                    // The answer does not depend on it.
                    active.close_after = true;
                    self.answer_request(key, fd, active);
                    return at;
                }
                let failure = pipeline::too_large(active.body_bytes_max);
                self.refuse(key, fd, active, &failure);
                return at;
            }
            if len > active.charged_bytes && !self.charge(active, len) {
                self.refuse(key, fd, active, &no_memory_for_ai());
                return at;
            }
            let Some(exchange) = &mut active.exchange else { return bytes.len() };
            if let Some(request) = Arc::get_mut(&mut exchange.request) {
                request.body_mut().extend_from_slice(data);
            }
            if piece.done {
                self.body_complete(key, fd, active);
                return at;
            }
        }
        self.set_deadline(key, self.now_ms + self.app.settings.body_ms);
        at
    }

    pub(super) fn body_complete(&mut self, key: Key, fd: RawFd, active: &mut Active) {
        if let Some(exchange) = &mut active.exchange
            && let Some(request) = Arc::get_mut(&mut exchange.request)
        {
            request.terminate_body();
        }
        self.answer_request(key, fd, active);
    }

    /// Charges an AI body of this size to the budget; false when it does not fit.
    pub(super) fn charge(&mut self, active: &mut Active, bytes: u64) -> bool {
        if !active.is_ai || bytes <= active.charged_bytes {
            return true;
        }
        let more = bytes - active.charged_bytes;
        if self.ai_bytes_spare < more {
            let wanted = (more - self.ai_bytes_spare).next_multiple_of(self.ai_grain());
            let bytes_max = self.app.settings.ai_bodies_bytes_max;
            if !self.core.reserve_ai_bytes(wanted, bytes_max) {
                return false;
            }
            self.ai_bytes_spare += wanted;
            self.ai_bytes_reserved += wanted;
        }
        self.ai_bytes_spare -= more;
        active.charged_bytes = bytes;
        true
    }

    pub(in crate::server) fn release_charge(&mut self, active: &mut Active) {
        self.ai_bytes_spare += std::mem::take(&mut active.charged_bytes);
        // One reservation stays at hand, so that small bodies touch nothing shared.
        let grain = self.ai_grain();
        if self.ai_bytes_spare > 2 * grain {
            let back = (self.ai_bytes_spare - grain) / grain * grain;
            self.ai_bytes_spare -= back;
            self.ai_bytes_reserved -= back;
            self.core.return_ai_bytes(back);
        }
    }

    /// What a worker reserves of the budget at once: little beside the whole, so that what workers
    /// keep at hand refuses nobody.
    pub(super) fn ai_grain(&self) -> u64 {
        let workers = self.core.worker_count().max(1) as u64;
        (self.app.settings.ai_bodies_bytes_max / (64 * workers)).clamp(1, 1 << 20)
    }

    /// Drops body bytes of a request that has been answered.
    pub(super) fn drain_body(&mut self, active: &mut Active, bytes: &[u8]) -> usize {
        match active.decoder.decode(bytes) {
            Ok(piece) => {
                active.drained_bytes += piece.consumed as u64;
                if piece.done {
                    active.phase = Phase::Head;
                } else if active.drained_bytes > limits::DRAIN_BYTES_MAX {
                    active.phase = Phase::Head;
                    active.close_after = true;
                    return bytes.len();
                }
                piece.consumed
            }
            Err(_) => {
                active.phase = Phase::Head;
                active.close_after = true;
                bytes.len()
            }
        }
    }
}

pub(super) fn no_memory_for_ai() -> Failure {
    let message = "too many large requests are under way";
    Failure::new(503, message).code("overloaded").retry_after(1)
}
