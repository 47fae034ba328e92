//! Requests to models while they are under way: one attempt after the other, one answer.
//!
//! A call answers to a [`Sink`]: a client connection of this worker or a call of the host program.
//! Before the first byte of the answer has gone out a failed attempt leads to the next target;
//! after it the dialect's error event, or a cut connection, tells the truth.

use std::net::SocketAddr;
use std::sync::Arc;

use super::deadline::Deadline;
use super::host::HostCall;
use super::worker::{MARK_CALL, MARK_SHIFT, OwnApp, Worker};
use crate::base::error::Failure;
use crate::base::limits;
use crate::base::slab::Key;
use crate::exchange::{Response, Taken, Ticket};
use crate::http::head::ResponseHead;
use crate::pipeline::{AfterHead, Attempt, Call, Inbound, Outgoing, Provider, Pull};

/// Who gets the answer.
pub(super) enum Sink {
    Conn(Ticket),
    Host(Arc<HostCall>),
}

/// How far the answer has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Looking for a connection.
    Connecting,
    /// The request is on its way, or out.
    Waiting,
    /// The body is collected, nothing has gone out.
    Collecting,
    /// The head has gone out.
    Forwarding,
}

/// A call under way.
pub(super) struct CallState {
    call: Box<Call>,
    app: OwnApp,
    sink: Sink,
    phase: Phase,
    pub(super) outgoing: Option<Box<Outgoing>>,
    inbound: Option<Box<Inbound>>,
    /// Echo's answer, when the host program reads it.
    pull: Option<Box<dyn Pull>>,
    response: Response,
    pub(super) up: Option<Key>,
    pub(super) dials: Vec<Key>,
    pub(super) addresses: Arc<[SocketAddr]>,
    pub(super) next_address: usize,
    deadline: Deadline,
    total_at_ms: u64,
    has_token: bool,
    /// The sink is full: the upstream is left unread.
    pub(super) is_paused: bool,
}

impl Worker {
    /// Starts the calls that requests of this turn have led to.
    pub(super) fn start_calls(&mut self) -> usize {
        let mut count = 0;
        while let Some((call, sink)) = self.starting.pop_front() {
            count += 1;
            self.start_call(call, sink);
        }
        count
    }

    fn start_call(&mut self, call: Box<Call>, sink: Sink) {
        let state = CallState {
            call,
            app: Arc::clone(&self.app),
            sink,
            phase: Phase::Connecting,
            outgoing: None,
            inbound: None,
            pull: None,
            response: Response::default(),
            up: None,
            dials: Vec::new(),
            addresses: [].into(),
            next_address: 0,
            deadline: Deadline::default(),
            total_at_ms: u64::MAX,
            has_token: false,
            is_paused: false,
        };
        let key = self.calls.insert(state);
        let is_there = match self.calls.get(key).map(|state| &state.sink) {
            Some(Sink::Conn(ticket)) => {
                let ticket = *ticket;
                self.bind_call(ticket, key)
            }
            Some(Sink::Host(host)) => host.bind(key),
            None => false,
        };
        if is_there {
            self.stats.calls.add(1);
            self.attempt(key);
        } else {
            self.drop_call(key);
        }
    }

    /// Begins the next attempt.
    fn attempt(&mut self, key: Key) {
        let Some(state) = self.calls.get_mut(key) else { return };
        let app = Arc::clone(&state.app);
        let attempt = state.call.attempt(&app, &mut state.response);
        match attempt {
            Ok(Attempt::Remote(outgoing, inbound)) => {
                let provider = Arc::clone(&outgoing.provider);
                state.outgoing = Some(outgoing);
                state.inbound = Some(inbound);
                state.phase = Phase::Connecting;
                if state.total_at_ms == u64::MAX {
                    state.total_at_ms = self.now_ms + provider.total_ms;
                }
                self.set_call_deadline(key, self.now_ms + provider.connect_ms);
                self.acquire(key, &provider, false);
            }
            Ok(Attempt::LocalWhole) => self.deliver(key),
            Ok(Attempt::LocalStream(pull)) => self.deliver_local(key, pull),
            Err(failure) => self.attempt_failed(key, failure, false),
        }
    }

    fn set_call_deadline(&mut self, key: Key, at_ms: u64) {
        if let Some(state) = self.calls.get_mut(key) {
            let at_ms = at_ms.min(state.total_at_ms);
            state.deadline.set(&mut self.wheel, at_ms, MARK_CALL << MARK_SHIFT | key.0);
        }
    }

    pub(super) fn on_call_timer(&mut self, key: Key) {
        let now_ms = self.now_ms;
        let is_in_line = self.is_waiting_for_place(key);
        let Some(state) = self.calls.get_mut(key) else { return };
        if !state.deadline.fired(&mut self.wheel, now_ms, MARK_CALL << MARK_SHIFT | key.0) {
            return;
        }
        let is_over = now_ms >= state.total_at_ms;
        if state.is_paused && !is_over {
            // The client is slow, not the provider.
            let idle_ms = state.outgoing.as_ref().map_or(u64::MAX, |o| o.provider.idle_ms);
            self.set_call_deadline(key, now_ms.saturating_add(idle_ms));
            return;
        }
        self.stats.timeouts.add(1);
        let failure = match state.phase {
            Phase::Connecting if is_in_line => {
                let message = "every connection to the provider is in use";
                Failure::new(503, message).code("overloaded").retry_after(1)
            }
            Phase::Connecting => Failure::new(504, "the provider could not be reached in time")
                .code("upstream_timeout"),
            _ => Failure::new(504, "the provider did not answer in time").code("upstream_timeout"),
        };
        self.detach(key);
        self.attempt_failed(key, failure, !is_over);
    }

    /// Gives up the connection, or the search for one.
    fn detach(&mut self, key: Key) {
        self.stop_waiting(key);
        let Some(state) = self.calls.get_mut(key) else { return };
        let up = state.up.take();
        let dials = std::mem::take(&mut state.dials);
        for up in up.into_iter().chain(dials) {
            if let Some(up) = self.ups.get_mut(up) {
                up.call = None;
            }
            self.close_up(up);
        }
    }

    /// A kept connection was stale: the same attempt on a new one, with a new time to connect.
    pub(super) fn connect_anew(&mut self, key: Key, provider: &Arc<Provider>) {
        if let Some(state) = self.calls.get_mut(key) {
            state.phase = Phase::Connecting;
            self.set_call_deadline(key, self.now_ms + provider.connect_ms);
            self.acquire(key, provider, true);
        }
    }

    /// The request goes out now: other deadlines count.
    pub(super) fn call_connected(&mut self, key: Key) {
        let Some(state) = self.calls.get_mut(key) else { return };
        state.phase = Phase::Waiting;
        let is_stream = state.inbound.as_ref().is_some_and(|inbound| inbound.is_stream());
        let at_ms = match &state.outgoing {
            Some(outgoing) if is_stream => self.now_ms + outgoing.provider.first_token_ms,
            _ => u64::MAX,
        };
        self.set_call_deadline(key, at_ms);
    }

    // ---- the answer ----

    pub(super) fn answer_head(
        &mut self,
        key: Key,
        head: &ResponseHead,
        raw: &[u8],
    ) -> Result<(), Failure> {
        let now_s = self.unix_seconds();
        let Some(state) = self.calls.get_mut(key) else { return Ok(()) };
        let Some(inbound) = &mut state.inbound else { return Ok(()) };
        match inbound.on_head(head, raw, now_s, &mut state.response)? {
            AfterHead::Collect => {
                state.phase = Phase::Collecting;
                Ok(())
            }
            AfterHead::Forward(length) => {
                state.phase = Phase::Forwarding;
                self.send_head(key, length);
                Ok(())
            }
        }
    }

    pub(super) fn answer_data(&mut self, key: Key, data: &[u8]) -> Result<(), Failure> {
        let Some(state) = self.calls.get_mut(key) else { return Ok(()) };
        let Some(inbound) = &mut state.inbound else { return Ok(()) };
        let mut out = std::mem::take(&mut self.relay_scratch);
        out.clear();
        let result = inbound.on_data(data, &mut out);
        if inbound.is_stream() && inbound.is_token() {
            state.has_token = true;
            let idle_ms = state.outgoing.as_ref().map_or(u64::MAX, |o| o.provider.idle_ms);
            let at_ms = self.now_ms.saturating_add(idle_ms).min(state.total_at_ms);
            state.deadline.set(&mut self.wheel, at_ms, MARK_CALL << MARK_SHIFT | key.0);
        }
        let is_forwarding = state.phase == Phase::Forwarding;
        if is_forwarding && !out.is_empty() {
            self.send_bytes(key, &out);
        }
        self.relay_scratch = out;
        result
    }

    /// The upstream's answer is complete.
    pub(super) fn answer_end(&mut self, key: Key) {
        let Some(state) = self.calls.get_mut(key) else { return };
        let Some(mut inbound) = state.inbound.take() else { return };
        let mut out = Vec::new();
        let ended = inbound.on_end(&mut state.response, &mut out);
        if let Some((prompt, completion)) = inbound.usage() {
            self.stats.prompt_tokens.add(prompt);
            self.stats.completion_tokens.add(completion);
        }
        let phase = state.phase;
        match ended {
            Ok(()) if phase == Phase::Forwarding => {
                if !out.is_empty() {
                    self.send_bytes(key, &out);
                }
                self.send_end(key);
            }
            Ok(()) => self.deliver(key),
            Err(failure) => {
                // What it says so far has gone out too.
                if phase == Phase::Forwarding && !out.is_empty() {
                    self.send_bytes(key, &out);
                }
                state_put_back(&mut self.calls, key, inbound);
                let is_retryable = failure.status >= 500 || failure.status == 429;
                self.attempt_failed(key, failure, is_retryable);
            }
        }
    }

    /// An attempt has failed: the next target, or the truth.
    pub(super) fn attempt_failed(&mut self, key: Key, failure: Failure, is_retryable: bool) {
        let Some(state) = self.calls.get_mut(key) else { return };
        if state.phase != Phase::Forwarding {
            if is_retryable && state.call.has_next() {
                state.outgoing = None;
                state.inbound = None;
                state.has_token = false;
                self.attempt(key);
                return;
            }
            self.stats.call_failures.add(1);
            self.deliver_failure(key, &failure);
            return;
        }
        self.stats.call_failures.add(1);
        if matches!(state.sink, Sink::Host(_)) {
            self.deliver_failure(key, &failure);
            return;
        }
        let mut out = Vec::new();
        let told = match &mut state.inbound {
            Some(inbound) => inbound.fail_stream(&failure, &mut out),
            None => false,
        };
        if told {
            self.send_bytes(key, &out);
            self.send_end(key);
        } else {
            self.cut(key);
        }
    }

    // ---- towards the sink ----

    fn send_head(&mut self, key: Key, length: Option<u64>) {
        let Some(state) = self.calls.get_mut(key) else { return };
        let response = std::mem::take(&mut state.response);
        match &state.sink {
            Sink::Conn(ticket) => {
                let ticket = *ticket;
                self.relay_head(ticket, response, length);
            }
            Sink::Host(host) => host.head(&response),
        }
    }

    fn send_bytes(&mut self, key: Key, bytes: &[u8]) {
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
        }
    }

    /// Writes what has come in this turn, and pauses the upstream when the client does not take it.
    pub(super) fn flush_call(&mut self, key: Key) {
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
    pub(super) fn resume_call(&mut self, key: Key) {
        let Some(state) = self.calls.get_mut(key) else { return };
        if std::mem::take(&mut state.is_paused) {
            if let Some(up) = state.up {
                self.list_up(up);
            }
            self.pull_local(key);
        }
    }

    fn send_end(&mut self, key: Key) {
        let Some(state) = self.take_call(key) else { return };
        match state.sink {
            Sink::Conn(ticket) => self.relay_end(ticket),
            Sink::Host(host) => host.end(),
        }
    }

    fn cut(&mut self, key: Key) {
        let Some(state) = self.take_call(key) else { return };
        match state.sink {
            Sink::Conn(ticket) => {
                // What came in this turn is the client's: without it the cut would look as if
                // nobody had answered.
                self.relay_flush(ticket);
                self.close(Key(ticket.place));
            }
            Sink::Host(host) => host.fail(&crate::pipeline::cut_off()),
        }
    }

    /// The response is complete.
    fn deliver(&mut self, key: Key) {
        let Some(state) = self.take_call(key) else { return };
        match state.sink {
            Sink::Conn(ticket) => self.relay_whole(ticket, state.response, None),
            Sink::Host(host) => host.whole(&state.response),
        }
    }

    fn deliver_failure(&mut self, key: Key, failure: &Failure) {
        let Some(state) = self.take_call(key) else { return };
        match state.sink {
            Sink::Conn(ticket) => self.relay_whole(ticket, state.response, Some(failure)),
            Sink::Host(host) => host.fail(failure),
        }
    }

    fn deliver_local(&mut self, key: Key, pull: Box<dyn Pull>) {
        let Some(state) = self.calls.get_mut(key) else { return };
        if let Sink::Conn(ticket) = state.sink {
            let Some(state) = self.take_call(key) else { return };
            self.relay_pull(ticket, state.response, pull);
            return;
        }
        state.phase = Phase::Forwarding;
        state.pull = Some(pull);
        self.send_head(key, None);
        self.pull_local(key);
    }

    /// Moves echo's answer to a host call until that is full.
    fn pull_local(&mut self, key: Key) {
        loop {
            let Some(state) = self.calls.get_mut(key) else { return };
            if state.is_paused {
                return;
            }
            let Some(pull) = &mut state.pull else { return };
            let mut out = Vec::new();
            let taken = pull.pull(&mut out, 8 * 1024);
            self.send_bytes(key, &out);
            if taken == Taken::End {
                self.send_end(key);
                return;
            }
        }
    }

    // ---- the end ----

    /// Nobody waits for the answer any more: the upstream is closed at once.
    pub(super) fn cancel_call(&mut self, key: Key) {
        if self.calls.get(key).is_some() {
            self.stats.calls_cancelled.add(1);
            self.drop_call(key);
        }
    }

    fn drop_call(&mut self, key: Key) {
        if let Some(state) = self.calls.get(key)
            && let Some(inbound) = &state.inbound
            && let Some((prompt, completion)) = inbound.usage()
        {
            self.stats.prompt_tokens.add(prompt);
            self.stats.completion_tokens.add(completion);
        }
        self.detach(key);
        drop(self.take_call(key));
    }

    fn take_call(&mut self, key: Key) -> Option<CallState> {
        let mut state = self.calls.remove(key)?;
        state.deadline.cancel(&mut self.wheel);
        if state.up.is_some() || !state.dials.is_empty() {
            let ups = state.up.take().into_iter().chain(std::mem::take(&mut state.dials));
            for up in ups.collect::<Vec<_>>() {
                if let Some(up) = self.ups.get_mut(up) {
                    up.call = None;
                }
                self.close_up(up);
            }
        }
        Some(state)
    }

    /// Ends the calls of the host program: the worker ends.
    pub(super) fn end_calls(&mut self) {
        let gone = Failure::new(503, "the server has stopped").code("stopped");
        for key in self.calls.keys() {
            if let Some(state) = self.calls.get(key)
                && let Sink::Host(host) = &state.sink
            {
                host.fail(&gone);
            }
            self.drop_call(key);
        }
        while let Some((_, sink)) = self.starting.pop_front() {
            if let Sink::Host(host) = sink {
                host.fail(&gone);
            }
        }
    }
}

fn state_put_back(calls: &mut crate::base::slab::Slab<CallState>, key: Key, inbound: Box<Inbound>) {
    if let Some(state) = calls.get_mut(key) {
        state.inbound = Some(inbound);
    }
}
