//! What a worker does with one connection: read, parse, have answered, write.

use std::io::ErrorKind as Io;
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::access::{CallTold, Told};
use super::call::Sink;
use super::coded::Coded;
use super::conn::{Active, Phase, Source};
use super::mailbox::Message;
use super::worker::Worker;
use crate::ai::dialect::Dialect;
use crate::base::error::Failure;
use crate::base::limits;
use crate::base::slab::Key;
use crate::exchange::{
    Exchange, HeaderLines, Outcome, Peer, Pending, Request, Response, StreamQueue, Taken, Ticket,
};
use crate::http::encode;
use crate::http::framing::BodyDecoder;
use crate::http::head::{self, Body, Expect, HeadError, HeadLimits, Progress, Version};
use crate::http::method::Method;
use crate::http::proxy::{self, Preface};
use crate::http::target;
use crate::pipeline::{self, Pull, Step};
use crate::sys::{epoll, socket};

/// Whether the connection can be driven further in this turn.
#[derive(PartialEq, Eq, Debug)]
enum Drive {
    /// Its input was consumed; more may be read.
    More,
    /// Nothing more can be done with its input now.
    Stop,
    /// It is to be closed at once.
    Close,
}

impl Worker {
    pub(super) fn on_conn_event(&mut self, key: Key, flags: u32) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if flags & (epoll::ERR | epoll::HUP) != 0 {
            // Both directions are gone: whatever is under way has nobody to read it.
            self.close_gone(key);
            return;
        }
        if flags & epoll::RDHUP != 0 {
            conn.peer_ended = true;
            let gone = conn.active.as_ref().is_some_and(|active| {
                matches!(active.phase, Phase::Answering | Phase::Streaming)
                    && (active.hangs_on_client || pipeline::half_close_means_gone(&active.matched))
            });
            if gone {
                self.close_gone(key);
                return;
            }
        }
        if flags & epoll::IN != 0 {
            conn.is_readable = true;
        }
        if flags & epoll::OUT != 0
            && let Some(active) = &mut conn.active
        {
            active.is_blocked = false;
        }
        self.drive(key);
    }

    /// Does all that can be done on a connection now.
    pub(super) fn drive(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let fd = conn.fd.as_raw_fd();
        let taken = conn.active.take();
        if taken.is_none() && !conn.is_readable {
            return;
        }
        let tls = conn.tls.take();
        let mut active = taken.unwrap_or_else(|| self.borrow_active());
        if tls.is_some() {
            active.tls = tls;
        }
        let drive = self.drive_active(key, fd, &mut active);
        self.settle(key, active, drive);
    }

    fn drive_active(&mut self, key: Key, fd: RawFd, active: &mut Active) -> Drive {
        if active.unsent() > 0 && !self.flush(key, fd, active) {
            return Drive::Close;
        }
        if active.phase == Phase::Streaming && !self.pump(key, fd, active) {
            return Drive::Close;
        }
        let mut reads = 0;
        loop {
            if !active.input.is_empty() {
                let input = std::mem::take(&mut active.input);
                let (used, drive) = self.consume(key, fd, active, &input);
                active.input = input;
                active.input.drain(..used);
                if drive == Drive::Close || !self.flush(key, fd, active) {
                    return Drive::Close;
                }
                if drive == Drive::Stop {
                    return Drive::Stop;
                }
            }
            if !self.wants_input(active) {
                return Drive::Stop;
            }
            let Some(conn) = self.conns.get_mut(key) else { return Drive::Close };
            if !conn.is_readable {
                return Drive::Stop;
            }
            if reads == 4 {
                // The others get their turn; the edge will not come again.
                self.list(key);
                return Drive::Stop;
            }
            reads += 1;
            match self.read(key, fd, active) {
                Drive::More => {}
                other => return other,
            }
        }
    }

    /// Whether reading makes sense: not while an answer is under way, nor while the client leaves
    /// its answers unread.
    fn wants_input(&self, active: &Active) -> bool {
        match active.phase {
            Phase::Answering | Phase::Streaming => false,
            Phase::Head if active.close_after => false,
            _ => active.unsent() < limits::OUTPUT_HIGH_BYTES,
        }
    }

    /// One read and what it leads to.
    fn read(&mut self, key: Key, fd: RawFd, active: &mut Active) -> Drive {
        if active.tls.is_some() {
            return self.read_tls(key, fd, active);
        }
        let got = if active.input.is_empty() {
            let mut scratch = std::mem::take(&mut self.scratch);
            let got = socket::receive(fd, &mut scratch);
            let drive = match got {
                Ok(count) if count > 0 => {
                    let (used, drive) = self.consume(key, fd, active, &scratch[..count]);
                    active.input.extend_from_slice(&scratch[used..count]);
                    Some(drive)
                }
                _ => None,
            };
            self.scratch = scratch;
            got.map(|count| (count, limits::READ_BYTES, drive))
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

    /// The same through TLS, the handshake included.
    fn read_tls(&mut self, key: Key, fd: RawFd, active: &mut Active) -> Drive {
        let Some(tls) = &mut active.tls else { return Drive::Close };
        let was_handshaking = tls.is_handshaking();
        let mut scratch = std::mem::take(&mut self.scratch);
        self.tls_scratch.resize(limits::READ_BYTES, 0);
        let got = tls.receive(fd, &mut scratch, &mut self.tls_scratch);
        let is_dry = tls.is_dry();
        if was_handshaking && !tls.is_handshaking() {
            // The head has the whole time for itself.
            self.set_deadline(key, self.now_ms + self.app.settings.header_ms);
        }
        let Some(conn) = self.conns.get_mut(key) else { return Drive::Close };
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
        self.scratch = scratch;
        if drive == Drive::Close || !self.flush(key, fd, active) {
            return Drive::Close;
        }
        drive
    }

    /// The peer's end while we wanted more of it.
    fn on_input_end(&mut self, active: &mut Active) -> Drive {
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
    fn consume(
        &mut self,
        key: Key,
        fd: RawFd,
        active: &mut Active,
        bytes: &[u8],
    ) -> (usize, Drive) {
        let mut at = 0;
        let mut requests = 0;
        loop {
            let rest = &bytes[at..];
            match active.phase {
                Phase::Head => {
                    if active.close_after {
                        // What follows the last request is nobody's.
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
    fn take_preface(&mut self, key: Key, bytes: &[u8]) -> Preface {
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
    fn on_partial_head(&mut self, key: Key, active: &mut Active) {
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
    fn begin(&mut self, key: Key, fd: RawFd, active: &mut Active, bytes: &[u8], is_last: bool) {
        self.stats.requests.add(1);
        active.told = Told { started_us: self.now_us, ..Told::default() };
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
        for observer in &self.app.observers {
            observer.requested(request);
        }
        active.head.reset();
        let head = request.head();
        let (body, expect, is_head) = (head.body, head.expect, head.method == Method::Head);
        active.close_after = !head.keep_alive || self.is_draining;
        active.is_bodiless = is_head;
        let mut params = std::mem::take(&mut self.params);
        let plan =
            pipeline::on_head(&self.app, request, &mut active.matched, &mut params, self.now_ms);
        self.params = params;
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
                // A promise is not believed beyond one read: a peer that sends little must not
                // make us hold much.
                let room = usize::try_from(bytes).unwrap_or(usize::MAX);
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
    fn take_body(&mut self, key: Key, fd: RawFd, active: &mut Active, bytes: &[u8]) -> usize {
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

    fn body_complete(&mut self, key: Key, fd: RawFd, active: &mut Active) {
        if let Some(exchange) = &mut active.exchange
            && let Some(request) = Arc::get_mut(&mut exchange.request)
        {
            request.terminate_body();
        }
        self.answer_request(key, fd, active);
    }

    /// Charges an AI body of this size to the budget; false when it does not fit.
    fn charge(&mut self, active: &mut Active, bytes: u64) -> bool {
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

    pub(super) fn release_charge(&mut self, active: &mut Active) {
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
    fn ai_grain(&self) -> u64 {
        let workers = self.core.worker_count().max(1) as u64;
        (self.app.settings.ai_bodies_bytes_max / (64 * workers)).clamp(1, 1 << 20)
    }

    /// Takes a complete request through the pipeline.
    fn answer_request(&mut self, key: Key, fd: RawFd, active: &mut Active) {
        let Some(exchange) = &mut active.exchange else { return };
        let app = Arc::clone(&self.app);
        let matched = &active.matched;
        // A handler in Rust may panic; what it left behind is thrown away with the response.
        let step = catch_unwind(AssertUnwindSafe(|| pipeline::run(&app, exchange, matched, false)));
        let step = step.unwrap_or_else(|_| panicked(exchange));
        self.follow(key, fd, active, step);
    }

    /// Does what the pipeline has decided.
    fn follow(&mut self, key: Key, fd: RawFd, active: &mut Active, step: Step) {
        match step {
            Step::Respond => self.respond(key, fd, active),
            Step::Later => self.wait_for_answer(key, active),
            Step::Block => self.send_to_pool(key, fd, active),
            Step::Pull(pull) => {
                active.source = Source::Pull(pull);
                self.begin_stream(key, fd, active, None);
            }
            Step::Call(call) => {
                let ticket = Ticket { place: key.0, serial: active.serial };
                self.starting.push_back((call, Sink::Conn(ticket)));
                self.wait_for_answer(key, active);
                active.hangs_on_client = true;
            }
        }
    }

    /// Somebody else has the exchange now; the connection itself has no deadline meanwhile.
    fn wait_for_answer(&mut self, key: Key, active: &mut Active) {
        active.phase = Phase::Answering;
        self.set_deadline(key, u64::MAX);
    }

    fn send_to_pool(&mut self, key: Key, fd: RawFd, active: &mut Active) {
        let Some(mut exchange) = active.exchange.take() else { return };
        let matched = std::mem::take(&mut active.matched);
        if !self.core.pool.has_room() {
            active.exchange = Some(exchange);
            active.matched = matched;
            let failure = Failure::new(503, "the server is busy").code("overloaded");
            self.refuse(key, fd, active, &failure.retry_after(1));
            return;
        }
        let app = Arc::clone(&*self.app);
        let mailbox = Arc::clone(&self.mailbox);
        let ticket = Ticket { place: key.0, serial: active.serial };
        let is_ai = pipeline::half_close_means_gone(&matched);
        let job = Box::new(move || {
            let step = catch_unwind(AssertUnwindSafe(|| {
                pipeline::run(&app, &mut exchange, &matched, true)
            }));
            let step = step.unwrap_or_else(|_| panicked(&mut exchange));
            mailbox.post(Message::Returned(ticket, exchange, step));
        });
        match self.core.pool.submit(job) {
            Ok(()) => self.wait_for_answer(key, active),
            // Another worker took the last place: the exchange went with the job.
            Err(_) => {
                self.write_failure(
                    key,
                    active,
                    &Failure::new(503, "the server is busy").retry_after(1),
                );
                active.phase = Phase::Head;
            }
        }
        active.hangs_on_client = is_ai;
    }

    pub(super) fn on_returned(&mut self, ticket: Ticket, exchange: Box<Exchange>, step: Step) {
        self.with_answering(ticket, exchange, |worker, key, fd, active| {
            worker.follow(key, fd, active, step);
        });
    }

    pub(super) fn on_deferred(&mut self, ticket: Ticket, exchange: Box<Exchange>) {
        self.with_answering(ticket, exchange, |worker, key, fd, active| {
            worker.respond(key, fd, active);
        });
    }

    pub(super) fn on_stream_started(
        &mut self,
        ticket: Ticket,
        exchange: Box<Exchange>,
        queue: Arc<StreamQueue>,
    ) {
        let taken = Arc::clone(&queue);
        let found = self.with_answering(ticket, exchange, |worker, key, fd, active| {
            active.source = Source::Queue(taken);
            worker.begin_stream(key, fd, active, None);
        });
        if !found {
            queue.close();
        }
    }

    pub(super) fn on_stream_ready(&mut self, ticket: Ticket) {
        let key = Key(ticket.place);
        let is_streaming = self
            .conns
            .get(key)
            .and_then(|conn| conn.active.as_ref())
            .is_some_and(|active| active.phase == Phase::Streaming);
        if is_streaming {
            self.drive(key);
        }
    }

    /// An exchange comes back to its connection, if that is still there and waits for it. False
    /// when it does not.
    fn with_answering(
        &mut self,
        ticket: Ticket,
        exchange: Box<Exchange>,
        then: impl FnOnce(&mut Worker, Key, RawFd, &mut Active),
    ) -> bool {
        let key = Key(ticket.place);
        let waits = |active: &mut Box<Active>| {
            active.phase == Phase::Answering && active.serial == ticket.serial
        };
        let conn = self.conns.get_mut(key);
        let Some((fd, mut active)) =
            conn.and_then(|conn| Some((conn.fd.as_raw_fd(), conn.active.take_if(waits)?)))
        else {
            // The client has gone meanwhile.
            self.tell(&Told::default(), &exchange);
            return false;
        };
        if let Some(old) = active.exchange.replace(exchange) {
            self.give_back_exchange(old);
        }
        then(self, key, fd, &mut active);
        let drive = self.drive_active(key, fd, &mut active);
        self.settle(key, active, drive);
        true
    }

    // ---- answers ----

    /// Answers before the request is complete, or instead of it.
    fn refuse(&mut self, key: Key, fd: RawFd, active: &mut Active, failure: &Failure) {
        // Too much to read is too much to drain.
        active.close_after |= failure.status == 413;
        if let Some(exchange) = &mut active.exchange {
            exchange.response.clear();
            pipeline::answer(exchange, failure);
        }
        self.respond(key, fd, active);
    }

    /// The same where the framing is lost: nothing after this can be understood.
    fn refuse_broken(&mut self, key: Key, fd: RawFd, active: &mut Active, failure: &Failure) {
        active.decoder = BodyDecoder::new(Body::None);
        self.refuse(key, fd, active, failure);
        active.close_after = true;
    }

    /// A head that cannot be understood: there is no exchange.
    fn refuse_malformed(&mut self, key: Key, active: &mut Active, error: &HeadError) {
        self.stats.malformed.add(1);
        active.is_bodiless = active.head.method == Method::Head;
        self.write_failure(key, active, &Failure::new(error.status(), error.message()));
    }

    /// Writes a failure without an exchange, after which the connection closes.
    fn write_failure(&mut self, key: Key, active: &mut Active, failure: &Failure) {
        active.close_after = true;
        if self.app.settings.is_old {
            encode::bare(&mut active.output, failure.status);
            self.count_answer(None, failure.status, 0, active.told.started_us);
            self.tell_refused(key, failure.status, 0);
            return;
        }
        let mut body = Vec::new();
        Dialect::OpenAiChat.encode_failure(failure, &mut body);
        let out = &mut active.output;
        encode::status_line(out, failure.status);
        encode::field(out, b"Date", &self.date);
        encode::field(out, b"Server", b"neurohttp");
        encode::field(out, b"Content-Type", b"application/json");
        if let Some(seconds) = failure.retry_after_s {
            encode::field(out, b"Retry-After", seconds.to_string().as_bytes());
        }
        out.extend_from_slice(b"Content-Length: ");
        encode::decimal(out, body.len() as u64);
        out.extend_from_slice(b"\r\nConnection: close\r\n\r\n");
        if !active.is_bodiless {
            out.extend_from_slice(&body);
        }
        self.count_answer(None, failure.status, body.len(), active.told.started_us);
        self.tell_refused(key, failure.status, body.len());
    }

    fn count_sent(&self, bytes: usize) {
        self.stats.bytes_sent.add(bytes as u64);
        for observer in &self.app.observers {
            observer.moved(0, bytes);
        }
    }

    /// Counts an answer before its bytes go out, so that no client sees one that is not counted.
    fn count_answer(
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
    fn respond(&mut self, key: Key, fd: RawFd, active: &mut Active) {
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
            Self::write_connection(active, &exchange);
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
    fn finish(&mut self, exchange: &mut Exchange) {
        let app = Arc::clone(&self.app);
        if catch_unwind(AssertUnwindSafe(|| pipeline::finish(&app, exchange))).is_err() {
            tracing::error!(request_id = exchange.request.id_text(), "a middleware panicked");
        }
    }

    /// Sends the output and a large body in one call; only what the socket does not take is copied.
    fn send_large(&mut self, fd: RawFd, active: &mut Active, body: &[u8]) -> bool {
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
    fn write_head(&mut self, active: &mut Active, exchange: &Exchange, code: u16) {
        let out = &mut active.output;
        if code == 200 {
            out.extend_from_slice(&self.prefix);
        } else {
            encode::status_line(out, code);
            encode::field(out, b"Date", &self.date);
        }
        let headers = &exchange.response.headers;
        if headers.get(b"server").is_none() {
            out.extend_from_slice(b"Server: neurohttp\r\n");
        }
        if headers.get(b"x-request-id").is_none() {
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
            Self::write_connection(active, exchange);
        }
    }

    fn write_connection(active: &mut Active, exchange: &Exchange) {
        let out = &mut active.output;
        if active.close_after {
            out.extend_from_slice(b"Connection: close\r\n");
        } else if exchange.request.head().version == Version::Http10
            || exchange.request.asks_to_stay()
        {
            // HTTP/1.1 stays open anyway; clients that ask by name look for the word.
            out.extend_from_slice(b"Connection: keep-alive\r\n");
        }
    }

    /// An answer that comes before the end of its request's body: the rest is drained when it is
    /// bounded, else the connection closes after the answer.
    fn close_if_unread(&mut self, active: &mut Active, exchange: &Exchange) {
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
    fn end_exchange(&mut self, key: Key, active: &mut Active, exchange: Box<Exchange>) {
        let idle_ms = self.now_ms + self.app.settings.idle_ms;
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

    /// Drops body bytes of a request that has been answered.
    fn drain_body(&mut self, active: &mut Active, bytes: &[u8]) -> usize {
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

    // ---- streams ----

    /// The response is a head: sends it and begins to take the body from its source.
    /// `length` is that of the body when it is known.
    fn begin_stream(&mut self, key: Key, fd: RawFd, active: &mut Active, length: Option<u64>) {
        let Some(mut exchange) = active.exchange.take() else { return };
        if exchange.response.status == 0 {
            exchange.response.status = 200;
        }
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
            Self::write_connection(active, &exchange);
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
    fn pump(&mut self, key: Key, fd: RawFd, active: &mut Active) -> bool {
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
                Source::Pull(pull) => {
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
            }
            self.pull_scratch = piece;
            match taken {
                Taken::More if is_dry => break,
                Taken::More => {}
                Taken::End => {
                    active.end_body();
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
    fn flush(&mut self, key: Key, fd: RawFd, active: &mut Active) -> bool {
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

    // ---- answers of calls ----

    /// The call has begun: it is cancelled when the client goes, `None` when that is so already.
    /// Lends it the exchange's response, whose memory has served before; it comes back with the
    /// answer.
    pub(super) fn bind_call(&mut self, ticket: Ticket, call: Key) -> Option<Response> {
        let active = self.waiting_active(ticket)?;
        active.call = Some(call);
        Some(
            active
                .exchange
                .as_mut()
                .map_or_else(Response::default, |exchange| std::mem::take(&mut exchange.response)),
        )
    }

    pub(super) fn waiting_active(&mut self, ticket: Ticket) -> Option<&mut Box<Active>> {
        let active = self.conns.get_mut(Key(ticket.place))?.active.as_mut()?;
        let is_open = matches!(active.phase, Phase::Answering | Phase::Streaming);
        (is_open && active.serial == ticket.serial).then_some(active)
    }

    /// Has a connection that waits for its answer by its hand for a moment.
    fn with_waiting(
        &mut self,
        ticket: Ticket,
        then: impl FnOnce(&mut Worker, Key, RawFd, &mut Active),
    ) {
        let key = Key(ticket.place);
        if self.waiting_active(ticket).is_none() {
            return;
        }
        let Some(conn) = self.conns.get_mut(key) else { return };
        let fd = conn.fd.as_raw_fd();
        let Some(mut active) = conn.active.take() else { return };
        then(self, key, fd, &mut active);
        if let Some(conn) = self.conns.get_mut(key) {
            conn.active = Some(active);
        }
    }

    /// The answer's head; its body follows through [`Worker::relay_bytes`].
    pub(super) fn relay_head(&mut self, ticket: Ticket, response: Response, length: Option<u64>) {
        self.with_waiting(ticket, |worker, key, fd, active| {
            if let Some(exchange) = &mut active.exchange {
                exchange.response = response;
            }
            active.source = Source::Call;
            worker.begin_stream(key, fd, active, length);
        });
    }

    /// Body bytes of the answer; they go out at [`Worker::relay_flush`].
    pub(super) fn relay_bytes(&mut self, ticket: Ticket, bytes: &[u8]) {
        if let Some(active) = self.waiting_active(ticket) {
            active.told.body_bytes += bytes.len() as u64;
            active.append_body(bytes);
        }
    }

    /// Writes what waits; returns how much still does. A client that has gone is closed.
    pub(super) fn relay_flush(&mut self, ticket: Ticket) -> usize {
        let mut waiting = 0;
        let mut is_gone = false;
        self.with_waiting(ticket, |worker, key, fd, active| {
            active.flush_body();
            is_gone = !worker.flush(key, fd, active);
            waiting = active.unsent();
        });
        if is_gone {
            self.close(Key(ticket.place));
        }
        waiting
    }

    /// What a call came to; its answer ends next.
    pub(super) fn relay_told(&mut self, ticket: Ticket, told: CallTold) {
        if let Some(active) = self.waiting_active(ticket) {
            active.told.call = told;
        }
    }

    /// The answer is complete.
    pub(super) fn relay_end(&mut self, ticket: Ticket) {
        let key = Key(ticket.place);
        self.with_waiting(ticket, |worker, key, _, active| {
            active.call = None;
            active.end_body();
            if let Some(exchange) = active.exchange.take() {
                worker.end_exchange(key, active, exchange);
            }
        });
        self.drive(key);
    }

    /// A whole answer, or the failure instead of it.
    pub(super) fn relay_whole(
        &mut self,
        ticket: Ticket,
        response: Response,
        failure: Option<&Failure>,
    ) {
        let key = Key(ticket.place);
        self.with_waiting(ticket, |worker, key, fd, active| {
            active.call = None;
            if let Some(exchange) = &mut active.exchange {
                exchange.response = response;
                if let Some(failure) = failure {
                    pipeline::answer_failed_call(exchange, failure);
                }
            }
            worker.respond(key, fd, active);
        });
        self.drive(key);
    }

    /// The connection pulls its answer as its client takes it: echo's, a kept or a shared one.
    /// `length` is that of the body when it is known.
    pub(super) fn relay_pull(
        &mut self,
        ticket: Ticket,
        response: Response,
        pull: Box<dyn Pull>,
        length: Option<u64>,
    ) {
        let key = Key(ticket.place);
        self.with_waiting(ticket, |worker, key, fd, active| {
            active.call = None;
            if let Some(exchange) = &mut active.exchange {
                exchange.response = response;
            }
            active.source = Source::Pull(pull);
            worker.begin_stream(key, fd, active, length);
        });
        self.drive(key);
    }

    // ---- the end of a turn ----

    /// Puts the connection back: idle, waiting, lingering or closed.
    fn settle(&mut self, key: Key, mut active: Box<Active>, drive: Drive) {
        if drive == Drive::Close {
            self.abandon(&mut active);
            if let Some(conn) = self.conns.get_mut(key) {
                conn.tls = active.tls.take();
            }
            self.give_back(active);
            self.close(key);
            return;
        }
        let wants_close = active.close_after && active.phase == Phase::Head && active.unsent() == 0;
        let Some(conn) = self.conns.get_mut(key) else {
            self.abandon(&mut active);
            self.give_back(active);
            return;
        };
        if wants_close {
            if conn.peer_ended && !conn.is_readable {
                conn.tls = active.tls.take();
                self.give_back(active);
                self.close(key);
                return;
            }
            // RFC 9112 section 9.6: end our side, read on until the peer ends its own, so that no
            // reset takes the answer away.
            let fd = conn.fd.as_raw_fd();
            if let Some(mut tls) = active.tls.take() {
                // What comes from now on is dropped as it is, encrypted.
                tls.close(fd);
            }
            socket::finish_sending(fd);
            active.phase = Phase::Lingering;
            active.input.clear();
            conn.active = Some(active);
            self.set_deadline(key, self.now_ms + limits::LINGER_MS);
            if self.conns.get(key).is_some_and(|conn| conn.is_readable) {
                self.list(key);
            }
            return;
        }
        if active.is_idle() {
            conn.tls = active.tls.take();
            self.give_back(active);
            if self.is_draining {
                self.close(key);
            }
        } else {
            conn.active = Some(active);
        }
    }

    /// Tells whoever works on the exchange that nobody waits for it any more.
    fn abandon(&mut self, active: &mut Active) {
        if matches!(active.phase, Phase::Answering | Phase::Streaming) {
            self.stats.cancelled.add(1);
        }
        if let Some(call) = active.call.take() {
            active.told.call = self.cancel_call(call);
        }
        if let Some(exchange) = &active.exchange {
            exchange.request.set_gone();
            self.tell(&active.told, exchange);
        }
        active.joined = None;
        close_source(&mut active.source);
        self.release_charge(active);
        self.drop_encoder(active);
    }

    /// The streamed answer is over, or nobody reads it any more.
    fn drop_encoder(&mut self, active: &mut Active) {
        if std::mem::take(&mut active.is_coded) {
            active.coded = None;
            self.coded_streams -= 1;
        }
    }

    fn close_gone(&mut self, key: Key) {
        self.close(key);
    }

    /// Closes a connection, whatever it is doing.
    pub(super) fn close(&mut self, key: Key) {
        let Some(mut conn) = self.conns.remove(key) else { return };
        for observer in &self.app.observers {
            observer.disconnected(conn.peer);
        }
        conn.deadline.cancel(&mut self.wheel);
        if let Some(address) = conn.counted {
            self.core.addresses.leave(address);
        }
        let mut tls = conn.tls.take();
        if let Some(mut active) = conn.active.take() {
            self.abandon(&mut active);
            tls = active.tls.take().or(tls);
            self.give_back(active);
        }
        if let Some(mut tls) = tls {
            tls.close(conn.fd.as_raw_fd());
        }
        self.stats.connections.set(self.conns.len() as u64);
        drop(conn);
        self.on_closed();
    }

    /// A deadline has passed: what it was depends on the phase.
    pub(super) fn on_deadline(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let Some(mut active) = conn.active.take() else {
            // Nothing was under way: an idle connection, or one that never sent a byte.
            self.close(key);
            return;
        };
        let fd = conn.fd.as_raw_fd();
        if active.awaits_write {
            // A slow client frees the kernel's buffer long before that is writable again.
            let unacknowledged = socket::unacknowledged(fd);
            if unacknowledged < active.unacknowledged {
                active.unacknowledged = unacknowledged;
                conn.active = Some(active);
                self.set_deadline(key, self.now_ms + self.app.settings.write_ms);
                return;
            }
        }
        self.stats.timeouts.add(1);
        let cut = active.is_blocked
            || matches!(active.phase, Phase::Lingering | Phase::Streaming | Phase::Draining)
            || active.close_after;
        if cut {
            conn.active = Some(active);
            self.close(key);
            return;
        }
        let failure = Failure::new(408, "the request did not come in time").code("timeout");
        match active.phase {
            Phase::Body => self.refuse_broken(key, fd, &mut active, &failure),
            _ => {
                active.is_bodiless = active.head.method == Method::Head;
                self.write_failure(key, &mut active, &failure);
            }
        }
        active.close_after = true;
        active.phase = Phase::Head;
        active.input.clear();
        let drive = if self.flush(key, fd, &mut active) { Drive::Stop } else { Drive::Close };
        self.settle(key, active, drive);
    }
}

fn no_memory_for_ai() -> Failure {
    let message = "too many large requests are under way";
    Failure::new(503, message).code("overloaded").retry_after(1)
}

/// The header lines with Server first, as the original sent them.
fn old_order(out: &mut Vec<u8>, headers: &HeaderLines) {
    if let Some(server) = headers.get(b"server") {
        encode::field(out, b"Server", server);
    }
    for (name, value) in headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(b"server")) {
        encode::field(out, name, value);
    }
}

/// Statuses whose answers have no body (RFC 9110 section 6.4.1).
fn status_has_body(code: u16) -> bool {
    !(code < 200 || code == 204 || code == 205 || code == 304)
}

fn close_source(source: &mut Source) {
    if let Source::Queue(queue) = std::mem::replace(source, Source::None) {
        queue.close();
    }
}

/// A panic was caught: the response is thrown away.
fn panicked(exchange: &mut Exchange) -> Step {
    tracing::error!(request_id = exchange.request.id_text(), "a handler panicked");
    if exchange.pending != Pending::Nothing {
        return Step::Later;
    }
    exchange.response.clear();
    pipeline::answer(exchange, &Failure::new(500, "the request could not be handled"));
    Step::Respond
}
