//! The connection as a call to a model sees it: where the head and the bytes of its answer go.

use std::os::fd::{AsRawFd, RawFd};

use crate::base::error::Failure;
use crate::base::slab::Key;
use crate::exchange::{Response, Ticket};
use crate::pipeline::{self, Pull};
use crate::server::access::CallTold;
use crate::server::conn::{Active, Phase, Source};
use crate::server::telemetry::Observed;
use crate::server::worker::Worker;

impl Worker {
    // ---- answers of calls ----

    /// The call has begun: it is cancelled when the client goes, `None` when that is so already.
    /// Lends it the exchange's response, whose memory has served before; it comes back with the
    /// answer.
    pub(in crate::server) fn bind_call(&mut self, ticket: Ticket, call: Key) -> Option<Response> {
        let active = self.waiting_active(ticket)?;
        active.call = Some(call);
        Some(
            active
                .exchange
                .as_mut()
                .map_or_else(Response::default, |exchange| std::mem::take(&mut exchange.response)),
        )
    }

    pub(in crate::server) fn waiting_active(&mut self, ticket: Ticket) -> Option<&mut Box<Active>> {
        let active = self.conns.get_mut(Key(ticket.place))?.active.as_mut()?;
        let is_open = matches!(active.phase, Phase::Answering | Phase::Streaming);
        (is_open && active.serial == ticket.serial).then_some(active)
    }

    /// Has a connection that waits for its answer by its hand for a moment.
    pub(super) fn with_waiting(
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
        let now_ms = self.now_ms;
        if let Some(conn) = self.conns.get_mut(key) {
            conn.moved_ms = now_ms;
            conn.active = Some(active);
            conn.recount(&self.stats);
        }
    }

    /// The answer's head; its body follows through [`Worker::relay_bytes`].
    pub(in crate::server) fn relay_head(
        &mut self,
        ticket: Ticket,
        response: Response,
        length: Option<u64>,
    ) {
        self.with_waiting(ticket, |worker, key, fd, active| {
            if let Some(exchange) = &mut active.exchange {
                exchange.response = response;
            }
            active.source = Source::Call;
            worker.begin_stream(key, fd, active, length);
        });
    }

    /// Body bytes of the answer; they go out at [`Worker::relay_flush`].
    pub(in crate::server) fn relay_bytes(&mut self, ticket: Ticket, bytes: &[u8]) {
        if let Some(active) = self.waiting_active(ticket) {
            active.told.body_bytes += bytes.len() as u64;
            active.append_body(bytes);
        }
    }

    /// Writes what waits; returns how much still does. A client that has gone is closed.
    pub(in crate::server) fn relay_flush(&mut self, ticket: Ticket) -> usize {
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
    pub(in crate::server) fn relay_told(&mut self, ticket: Ticket, told: CallTold) {
        if let Some(active) = self.waiting_active(ticket) {
            active.told.call = told;
        }
    }

    /// The answer is complete.
    pub(in crate::server) fn relay_end(&mut self, ticket: Ticket) {
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
    pub(in crate::server) fn relay_whole(
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
    /// `length` is that of the body when it is known; `observed` is told of when it ends.
    pub(in crate::server) fn relay_pull(
        &mut self,
        ticket: Ticket,
        response: Response,
        pull: Box<dyn Pull>,
        length: Option<u64>,
        observed: Option<Box<Observed>>,
    ) {
        let key = Key(ticket.place);
        self.with_waiting(ticket, |worker, key, fd, active| {
            active.call = None;
            if let Some(exchange) = &mut active.exchange {
                exchange.response = response;
            }
            active.source = Source::Pull(pull, observed);
            worker.begin_stream(key, fd, active, length);
        });
        self.drive(key);
    }
}
