//! Where the answer of a call goes: to a connection, the host program, or all who share it.

use std::sync::Arc;

use super::{CallState, Phase, Sink};
use crate::base::error::Failure;
use crate::base::limits;
use crate::base::slab::Key;
use crate::cache::flight::End;
use crate::pipeline::{AnswerFlight, Begin, Refusal, Want};
use crate::server::access::CallTold;
use crate::server::mailbox::Message;
use crate::server::worker::Worker;

impl Worker {
    // ---- towards the sink ----

    pub(super) fn send_head(&mut self, key: Key, length: Option<u64>) {
        let Some(state) = self.calls.get_mut(key) else { return };
        let response = std::mem::take(&mut state.response);
        match &state.sink {
            Sink::Conn(ticket) => {
                let ticket = *ticket;
                self.relay_head(ticket, response, length);
            }
            Sink::Host(host) => host.head(&response),
            Sink::Shared(flight, _) => {
                flight.head(Arc::new(Begin { response, length, is_whole: false }));
            }
            Sink::Twin(_) | Sink::Nobody => {}
        }
    }

    pub(super) fn send_bytes(&mut self, key: Key, bytes: &[u8]) {
        let Some(state) = self.calls.get_mut(key) else { return };
        match &state.sink {
            Sink::Conn(ticket) => {
                let ticket = *ticket;
                self.relay_bytes(ticket, bytes);
            }
            Sink::Host(host) => {
                if host.bytes(bytes) > limits::RELAY_HIGH_BYTES {
                    state.is_paused = true;
                }
            }
            Sink::Shared(flight, _) => {
                if flight.append(bytes) {
                    state.is_paused = true;
                }
            }
            Sink::Twin(_) | Sink::Nobody => {}
        }
    }

    /// Writes what has come in this turn, and pauses the upstream when the client does not take it.
    pub(in crate::server) fn flush_call(&mut self, key: Key) {
        let Some(state) = self.calls.get(key) else { return };
        let Sink::Conn(ticket) = state.sink else { return };
        if state.phase != Phase::Forwarding {
            return;
        }
        let waiting = self.relay_flush(ticket);
        if waiting > limits::RELAY_HIGH_BYTES
            && let Some(state) = self.calls.get_mut(key)
        {
            state.is_paused = true;
        }
    }

    /// The sink has room again.
    pub(in crate::server) fn resume_call(&mut self, key: Key) {
        let Some(state) = self.calls.get_mut(key) else { return };
        if std::mem::take(&mut state.is_paused) {
            let is_making = state.making.is_some();
            if let Some(up) = state.up {
                self.list_up(up);
            }
            if is_making {
                // Not now: the connection that has room is in somebody's hand.
                self.mailbox.post(Message::Made(key));
            }
            self.pull_local(key);
        }
    }

    pub(super) fn send_end(&mut self, key: Key) {
        let Some(state) = self.take_call(key) else { return };
        let is_spoilt = state.is_spoilt;
        let told = self.tell_asker(&state);
        match self.recycle_call(state) {
            Sink::Conn(ticket) => {
                self.relay_told(ticket, told);
                self.relay_end(ticket);
            }
            Sink::Host(host) => host.end(),
            Sink::Shared(flight, want) => self.land(&flight, &want, End::Complete, is_spoilt),
            Sink::Twin(_) | Sink::Nobody => {}
        }
    }

    pub(super) fn cut(&mut self, key: Key) {
        let Some(state) = self.take_call(key) else { return };
        match self.recycle_call(state) {
            Sink::Conn(ticket) => {
                // What came in this turn is the client's: without it the cut would look as if
                // nobody had answered.
                self.relay_flush(ticket);
                self.close(Key(ticket.place));
            }
            Sink::Host(host) => host.fail(&crate::pipeline::cut_off()),
            Sink::Shared(flight, want) => self.land(&flight, &want, End::Cut, true),
            Sink::Twin(_) | Sink::Nobody => {}
        }
    }

    /// The response is complete.
    pub(super) fn deliver(&mut self, key: Key) {
        let Some(mut state) = self.take_call(key) else { return };
        let told = self.tell_asker(&state);
        let response = std::mem::take(&mut state.response);
        match self.recycle_call(state) {
            Sink::Conn(ticket) => {
                self.relay_told(ticket, told);
                self.relay_whole(ticket, response, None);
            }
            Sink::Host(host) => host.whole(&response),
            Sink::Shared(flight, want) => {
                let mut response = response;
                let body = std::mem::take(&mut response.body);
                let length = Some(body.len() as u64);
                flight.head(Arc::new(Begin { response, length, is_whole: true }));
                flight.append(&body);
                self.land(&flight, &want, End::Complete, false);
            }
            Sink::Twin(_) | Sink::Nobody => {}
        }
    }

    pub(super) fn deliver_failure(&mut self, key: Key, failure: &Failure) {
        let Some(mut state) = self.take_call(key) else { return };
        let told = self.tell_asker(&state);
        let response = std::mem::take(&mut state.response);
        match self.recycle_call(state) {
            Sink::Conn(ticket) => {
                self.relay_told(ticket, told);
                self.relay_whole(ticket, response, Some(failure));
            }
            Sink::Host(host) => host.fail(failure),
            Sink::Shared(flight, want) => {
                let refusal = Refusal { failure: failure.clone(), response };
                self.land(&flight, &want, End::Failed(Arc::new(refusal)), true);
            }
            Sink::Twin(_) | Sink::Nobody => {}
        }
    }

    /// What a call has come to; told to the one among many listeners whose request it is.
    fn tell_asker(&mut self, state: &CallState) -> CallTold {
        if let Some(ticket) = state.call.as_ref().and_then(|call| call.asker) {
            self.relay_told(ticket, state.told);
        }
        state.told
    }

    /// A shared answer has ended: what is fit is kept before the next one who asks can look.
    pub(super) fn land(
        &self,
        flight: &Arc<AnswerFlight>,
        want: &Want,
        end: End<Arc<Refusal>>,
        is_spoilt: bool,
    ) {
        let whole = flight.end(end).filter(|_| !is_spoilt);
        let whole = whole.as_ref().map(|(begin, body)| (&**begin, &body[..]));
        let now_s = u64::try_from(self.unix_seconds()).unwrap_or(0);
        self.app.cache.land(want, flight, whole, now_s);
    }
}
