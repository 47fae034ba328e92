//! Requests to models while they are under way: one attempt after the other, one answer.
//!
//! A call answers to a [`Sink`]: a client connection of this worker or a call of the host program.
//! Before the first byte of the answer has gone out a failed attempt leads to the next target;
//! after it the dialect's error event, or a cut connection, tells the truth.

mod attempt;
mod incoming;
mod making;
mod outgoing;
mod spending;
mod timers;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::ai::balance;
use crate::ai::health::Trouble;
use crate::base::error::Failure;
use crate::base::limits;
use crate::base::slab::Key;
use crate::cache::flight::End;
use crate::exchange::{Response, Ticket};
use crate::pipeline::{
    AnswerDuty, Call, Inbound, Listening, Moment, Outgoing, Provider, Pull, Want,
};
use crate::server::access::CallTold;
use crate::server::deadline::Deadline;
use crate::server::host::HostSink;
use crate::server::share::{self, CallLeader};
use crate::server::telemetry::Observed;
use crate::server::worker::{OwnApp, Worker};

/// Who gets the answer.
#[derive(Default)]
pub(super) enum Sink {
    Conn(Ticket),
    Host(HostSink),
    /// The call whose second attempt this is.
    Twin(Key),
    /// Whoever listens, and what the answer is kept for.
    Shared(AnswerDuty, Box<Want>),
    /// Nobody: the call is over.
    #[default]
    Nobody,
}

/// How far the answer has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Waiting for the next attempt.
    Pausing,
    /// Looking for a connection.
    Connecting,
    /// The request is on its way, or out.
    Waiting,
    /// The body is collected, nothing has gone out.
    Collecting,
    /// The head has come and waits for the first bytes of the body, whose length this is if it is
    /// known: until then another target may still answer.
    Headed(Option<u64>),
    /// The head has gone out.
    Forwarding,
}

/// What an attempt failed by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// There was no connection to send it on.
    Connection(Trouble),
    /// The answer, or what stands in its place: the failure says what may follow.
    Answer,
    /// We have given up: nothing may follow.
    Ours,
}

/// A call under way.
pub(super) struct CallState {
    pub(super) call: Option<Box<Call>>,
    /// The snapshot that it began with.
    pub(super) app: Option<OwnApp>,
    pub(super) sink: Sink,
    phase: Phase,
    pub(super) outgoing: Option<Outgoing>,
    inbound: Option<Inbound>,
    /// Echo's answer, when the host program reads it.
    pull: Option<Box<dyn Pull>>,
    /// The answer that a model of the host program makes.
    making: Option<Listening>,
    /// Time between two pieces of it, in milliseconds.
    making_idle_ms: u64,
    response: Response,
    pub(super) up: Option<Key>,
    pub(super) dials: Vec<Key>,
    pub(super) addresses: Option<Arc<[SocketAddr]>>,
    pub(super) next_address: usize,
    deadline: Deadline,
    pub(super) total_at_ms: u64,
    /// When its attempt fails.
    due_ms: u64,
    /// When a second attempt is started beside it.
    pub(super) hedge_ms: u64,
    /// The second attempt.
    pub(super) twin: Option<Key>,
    /// When it began and when its current attempt did, monotonic microseconds.
    pub(super) began_us: u64,
    pub(super) attempt_us: u64,
    pub(super) has_token: bool,
    /// When the last piece of a streamed answer came, monotonic microseconds; 0: none yet.
    last_token_us: u64,
    pub(super) told: CallTold,
    /// What a collector is told of the current attempt.
    pub(super) observed: Option<Box<Observed>>,
    /// The sink is full: the upstream is left unread.
    pub(super) is_paused: bool,
    /// It ends with an error: it is not to be kept.
    is_spoilt: bool,
    /// What its current attempt has used is counted.
    is_spent: bool,
    /// The provider among whose waiting requests it counts.
    pub(super) limited: Option<u64>,
    /// Memory of the last head that went out.
    head: Vec<u8>,
}

impl Default for CallState {
    fn default() -> Self {
        CallState {
            call: None,
            app: None,
            sink: Sink::Nobody,
            phase: Phase::Connecting,
            outgoing: None,
            inbound: None,
            pull: None,
            making: None,
            making_idle_ms: u64::MAX,
            response: Response::default(),
            up: None,
            dials: Vec::new(),
            addresses: None,
            next_address: 0,
            deadline: Deadline::default(),
            total_at_ms: u64::MAX,
            due_ms: u64::MAX,
            hedge_ms: u64::MAX,
            twin: None,
            began_us: 0,
            attempt_us: 0,
            has_token: false,
            last_token_us: 0,
            told: CallTold::default(),
            observed: None,
            is_paused: false,
            is_spoilt: false,
            is_spent: false,
            limited: None,
            head: Vec::new(),
        }
    }
}

impl CallState {
    /// The provider of the current attempt.
    pub(super) fn provider(&self) -> Option<&Arc<Provider>> {
        self.app.as_ref()?.providers.get(self.outgoing.as_ref()?.provider)
    }

    /// Forgets its call and what belongs to it, keeps the memory for heads.
    fn reset(&mut self) {
        let mut head = match self.outgoing.take() {
            Some(outgoing) => outgoing.head,
            None => std::mem::take(&mut self.head),
        };
        if head.capacity() > limits::POOLED_HEAD_BYTES_MAX {
            head = Vec::new();
        }
        let dials = std::mem::take(&mut self.dials);
        debug_assert!(dials.is_empty());
        *self = CallState { head, dials, ..CallState::default() };
    }
}

impl Worker {
    /// Starts the calls that requests of this turn have led to.
    pub(super) fn start_calls(&mut self) -> usize {
        let mut count = 0;
        while let Some((call, sink)) = self.starting.pop_front() {
            count += 1;
            match sink {
                Sink::Conn(ticket) if call.want.is_some() => self.start_shared(call, ticket),
                sink => drop(self.start_call(call, sink)),
            }
        }
        count
    }

    pub(super) fn start_call(&mut self, mut call: Box<Call>, sink: Sink) -> Option<Key> {
        let mut state = self.spare_calls.take().unwrap_or_default();
        if let Some(sampling) = self.app.settings.sampling {
            call.begin_trace(|| self.placed(None, sampling));
        }
        state.app = Some(Arc::clone(&self.app));
        state.began_us = self.now_us;
        state.sink = sink;
        call.lend_head(std::mem::take(&mut state.head));
        state.call = Some(call);
        let key = self.calls.insert(state);
        let is_there = match self.calls.get(key).map(|state| &state.sink) {
            Some(Sink::Conn(ticket)) => {
                let ticket = *ticket;
                match (self.bind_call(ticket, key), self.calls.get_mut(key)) {
                    (Some(response), Some(state)) => {
                        state.response = response;
                        true
                    }
                    _ => false,
                }
            }
            Some(Sink::Host(host)) => host.bind(key),
            Some(Sink::Shared(flight, _)) => {
                let mailbox = Arc::clone(&self.mailbox);
                flight.lead(Arc::new(CallLeader { mailbox, key }))
            }
            Some(Sink::Twin(main)) => self.calls.get(*main).is_some(),
            Some(Sink::Nobody) | None => false,
        };
        if is_there {
            let is_twin = self.calls.get(key).is_some_and(|s| matches!(s.sink, Sink::Twin(_)));
            if is_twin {
                self.attempt(key);
                return Some(key);
            }
            self.stats.calls.add(1);
            self.plan_twin(key);
            if let Some(number) = self.number_of(key) {
                self.count_call(number);
            }
            self.budget.earn(&self.app.settings.retry);
            match self.prepare(key) {
                Ok(()) => self.attempt(key),
                Err(failure) => self.attempt_failed(key, failure, Fault::Ours),
            }
            Some(key)
        } else {
            self.drop_call(key);
            None
        }
    }

    /// Which model a call asks, among all that is counted.
    pub(super) fn number_of(&self, key: Key) -> Option<usize> {
        Some(self.calls.get(key)?.call.as_ref()?.number())
    }

    fn count_failed(&mut self, key: Key) {
        if let Some(number) = self.number_of(key) {
            self.count_failure(number);
        }
    }

    /// Now, and a number nobody can foresee.
    pub(super) fn moment(&mut self) -> Moment {
        self.chance = balance::mix(self.chance);
        Moment { now_ms: self.now_ms, second: self.second, random: self.chance }
    }

    // ---- the end ----

    /// Nobody waits for the answer any more: the upstream is closed at once.
    pub(super) fn cancel_call(&mut self, key: Key) -> CallTold {
        let Some(number) = self.number_of(key) else { return CallTold::default() };
        self.count_cancelled(number);
        self.drop_call(key)
    }

    /// Returns what it has come to.
    pub(super) fn drop_call(&mut self, key: Key) -> CallTold {
        self.drop_twin(key);
        if let Some(inbound) = self.calls.get_mut(key).and_then(|state| state.inbound.take()) {
            self.count_spent(key, &inbound, false);
        }
        self.report_attempt(key, Some("cancelled".to_owned()));
        self.detach(key);
        let Some(state) = self.take_call(key) else { return CallTold::default() };
        let told = state.told;
        if let Sink::Shared(flight, want) = self.recycle_call(state) {
            self.land(&flight, &want, End::Cut, true);
        }
        told
    }

    /// Puts a call's memory by for the next one; who gets the answer is left. The request is let go
    /// of: its memory serves again only when nobody else holds it.
    fn recycle_call(&mut self, mut state: Box<CallState>) -> Sink {
        let sink = std::mem::take(&mut state.sink);
        state.reset();
        let bytes = size_of::<CallState>() + state.head.capacity();
        self.spare_calls.put(state, bytes);
        self.tidy_later();
        sink
    }

    fn take_call(&mut self, key: Key) -> Option<Box<CallState>> {
        let mut state = self.calls.remove(key)?;
        state.deadline.cancel(&mut self.wheel);
        if let Some(id) = state.limited.take() {
            self.left_limit(id, None);
        }
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
            match self.calls.get(key).map(|state| &state.sink) {
                Some(Sink::Host(host)) => host.fail(&gone),
                Some(Sink::Shared(flight, _)) => share::stopped(flight),
                _ => {}
            }
            self.drop_call(key);
        }
        while let Some((_, sink)) = self.starting.pop_front() {
            match sink {
                Sink::Host(host) => host.fail(&gone),
                Sink::Shared(flight, _) => share::stopped(&flight),
                _ => {}
            }
        }
    }
}

fn state_put_back(calls: &mut crate::base::slab::Slab<Box<CallState>>, key: Key, inbound: Inbound) {
    if let Some(state) = calls.get_mut(key) {
        state.inbound = Some(inbound);
    }
}
