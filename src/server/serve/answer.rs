//! How a request comes to its answer: inline, on the pool, deferred, streamed, or refused.

use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::ai::dialect::Dialect;
use crate::base::error::Failure;
use crate::base::slab::Key;
use crate::exchange::{Exchange, Pending, StreamQueue, Ticket};
use crate::http::encode;
use crate::http::framing::BodyDecoder;
use crate::http::head::{Body, HeadError};
use crate::http::method::Method;
use crate::pipeline::{self, Matched, Step};
use crate::server::access::Told;
use crate::server::call::Sink;
use crate::server::conn::{Active, Phase, Source};
use crate::server::mailbox::Message;
use crate::server::tuning::overloaded;
use crate::server::worker::Worker;

impl Worker {
    /// Takes a complete request through the pipeline.
    pub(super) fn answer_request(&mut self, key: Key, fd: RawFd, active: &mut Active) {
        if self.app.settings.tuned.turns
            && matches!(active.matched, Matched::Host(_))
            && !self.may_begin()
        {
            self.refuse(key, fd, active, &overloaded("the server is busy"));
            return;
        }
        let Some(exchange) = &mut active.exchange else { return };
        let app = Arc::clone(&self.app);
        let matched = &active.matched;
        // A handler in Rust may panic; what it left behind is thrown away with the response.
        let step = catch_unwind(AssertUnwindSafe(|| pipeline::run(&app, exchange, matched, false)));
        let step = step.unwrap_or_else(|_| panicked(exchange));
        self.follow(key, fd, active, step);
    }

    /// Does what the pipeline has decided.
    pub(super) fn follow(&mut self, key: Key, fd: RawFd, active: &mut Active, step: Step) {
        match step {
            Step::Respond => self.respond(key, fd, active),
            Step::Later => self.wait_for_answer(key, active),
            Step::Block => self.send_to_pool(key, fd, active),
            Step::Pull(pull) => {
                active.source = Source::Pull(pull, None);
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
    pub(super) fn wait_for_answer(&mut self, key: Key, active: &mut Active) {
        active.phase = Phase::Answering;
        self.set_deadline(key, u64::MAX);
    }

    pub(super) fn send_to_pool(&mut self, key: Key, fd: RawFd, active: &mut Active) {
        let Some(mut exchange) = active.exchange.take() else { return };
        let matched = std::mem::take(&mut active.matched);
        let is_shed = self.app.settings.tuned.blocking && !self.core.pool.admits_request();
        if is_shed || !self.core.pool.has_room() {
            if is_shed {
                self.stats.shed_blocking.add(1);
                self.core.rates_refused(&self.app, self.now_ms);
            }
            active.exchange = Some(exchange);
            active.matched = matched;
            self.refuse(key, fd, active, &overloaded("the server is busy"));
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
        match self.core.pool.submit_request(job) {
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

    pub(in crate::server) fn on_returned(
        &mut self,
        ticket: Ticket,
        exchange: Box<Exchange>,
        step: Step,
    ) {
        self.with_answering(ticket, exchange, |worker, key, fd, active| {
            worker.follow(key, fd, active, step);
        });
    }

    pub(in crate::server) fn on_deferred(&mut self, ticket: Ticket, exchange: Box<Exchange>) {
        self.with_answering(ticket, exchange, |worker, key, fd, active| {
            worker.respond(key, fd, active);
        });
    }

    pub(in crate::server) fn on_stream_started(
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

    pub(in crate::server) fn on_stream_ready(&mut self, ticket: Ticket) {
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
    pub(super) fn with_answering(
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
    pub(super) fn refuse(&mut self, key: Key, fd: RawFd, active: &mut Active, failure: &Failure) {
        // Too much to read is too much to drain.
        active.close_after |= failure.status == 413;
        if let Some(exchange) = &mut active.exchange {
            exchange.response.clear();
            pipeline::answer(exchange, failure);
        }
        self.respond(key, fd, active);
    }

    /// The same where the framing is lost: nothing after this can be understood.
    pub(super) fn refuse_broken(
        &mut self,
        key: Key,
        fd: RawFd,
        active: &mut Active,
        failure: &Failure,
    ) {
        active.decoder = BodyDecoder::new(Body::None);
        self.refuse(key, fd, active, failure);
        active.close_after = true;
    }

    /// A head that cannot be understood: there is no exchange.
    pub(super) fn refuse_malformed(&mut self, key: Key, active: &mut Active, error: &HeadError) {
        self.stats.malformed.add(1);
        active.is_bodiless = active.head.method == Method::Head;
        self.write_failure(key, active, &Failure::new(error.status(), error.message()));
    }

    /// Writes a failure without an exchange, after which the connection closes.
    pub(super) fn write_failure(&mut self, key: Key, active: &mut Active, failure: &Failure) {
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
}

/// A panic was caught: the response is thrown away.
pub(super) fn panicked(exchange: &mut Exchange) -> Step {
    tracing::error!(request_id = exchange.request.id_text(), "a handler panicked");
    if exchange.pending != Pending::Nothing {
        return Step::Later;
    }
    exchange.response.clear();
    pipeline::answer(exchange, &Failure::new(500, "the request could not be handled"));
    Step::Respond
}
