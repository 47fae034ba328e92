//! Requests to models while they are under way: one attempt after the other, one answer.
//!
//! A call answers to a [`Sink`]: a client connection of this worker or a call of the host program.
//! Before the first byte of the answer has gone out a failed attempt leads to the next target;
//! after it the dialect's error event, or a cut connection, tells the truth.

use std::net::SocketAddr;
use std::sync::Arc;

use super::access::CallTold;
use super::deadline::Deadline;
use super::host::HostSink;
use super::mailbox::Message;
use super::share::{self, CallLeader};
use super::worker::{MARK_CALL, MARK_SHIFT, OwnApp, Worker};
use crate::ai::balance;
use crate::ai::chat::Delta;
use crate::ai::health::Trouble;
use crate::base::error::Failure;
use crate::base::limits;
use crate::base::slab::Key;
use crate::cache::flight::End;
use crate::exchange::{Response, Taken, Ticket};
use crate::http::head::ResponseHead;
use crate::pipeline::{
    AfterHead, AnswerFlight, Attempt, Begin, Call, Generation, Inbound, Listening, Making, Moment,
    Outgoing, Passing, Progress, Provider, Pull, Refusal, Verdict, Want,
};

/// Who gets the answer.
#[derive(Default)]
pub(super) enum Sink {
    Conn(Ticket),
    Host(HostSink),
    /// The call whose second attempt this is.
    Twin(Key),
    /// Whoever listens, and what the answer is kept for.
    Shared(Arc<AnswerFlight>, Box<Want>),
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
    told: CallTold,
    /// The sink is full: the upstream is left unread.
    pub(super) is_paused: bool,
    /// It ends with an error: it is not to be kept.
    is_spoilt: bool,
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
            is_paused: false,
            is_spoilt: false,
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
        let mut state = self.spare_calls.pop().unwrap_or_default();
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

    /// The prompt hooks run here, on the loop.
    fn prepare(&mut self, key: Key) -> Result<(), Failure> {
        match self.calls.get_mut(key).map(|state| (&state.app, &mut state.call)) {
            Some((Some(app), Some(call))) => call.prepare(app),
            _ => Ok(()),
        }
    }

    /// Begins the next attempt.
    fn attempt(&mut self, key: Key) {
        let moment = self.moment();
        let Some(state) = self.calls.get_mut(key) else { return };
        let (Some(app), Some(call)) = (state.app.clone(), &mut state.call) else { return };
        state.attempt_us = self.now_us;
        state.has_token = false;
        // The outer count of the snapshot is this worker's own; that of a provider is not.
        let attempt = call.attempt(&app, moment, &mut state.response);
        match attempt {
            Ok(Attempt::Remote(outgoing, inbound)) => {
                let Some(provider) = app.providers.get(outgoing.provider) else { return };
                state.outgoing = Some(outgoing);
                state.inbound = Some(inbound);
                state.phase = Phase::Connecting;
                if state.total_at_ms == u64::MAX {
                    state.total_at_ms = self.now_ms + provider.total_ms;
                }
                self.set_call_deadline(key, self.now_ms + provider.connect_ms);
                self.acquire(key, provider, false);
            }
            Ok(Attempt::LocalWhole) => {
                if self.is_first(key) {
                    self.deliver(key);
                }
            }
            Ok(Attempt::LocalStream(pull)) => self.deliver_local(key, pull),
            Ok(Attempt::Make(making)) => {
                let Some(provider) = app.providers.get(making.provider) else { return };
                self.make(key, *making, provider);
            }
            Ok(Attempt::Work { work, is_quick: true }) => self.worked(key, work()),
            Ok(Attempt::Work { work, .. }) => self.work(key, work),
            Err(failure) => self.attempt_failed(key, failure, Fault::Ours),
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

    fn count_tokens(&mut self, key: Key, usage: Option<(u64, u64)>) {
        if let (Some(number), Some(usage)) = (self.number_of(key), usage) {
            self.count_usage(number, usage);
        }
    }

    /// Now, and a number nobody can foresee.
    pub(super) fn moment(&mut self) -> Moment {
        self.chance = balance::mix(self.chance);
        Moment { now_ms: self.now_ms, second: self.second, random: self.chance }
    }

    /// Tells a call what came of its current attempt; whether its target is left alone for it.
    fn conclude(&mut self, key: Key, verdict: Verdict) -> bool {
        let moment = self.moment();
        let Some(state) = self.calls.get_mut(key) else { return false };
        let (Some(app), Some(call)) = (&state.app, &mut state.call) else { return false };
        call.conclude(app, verdict, moment)
    }

    fn set_call_deadline(&mut self, key: Key, at_ms: u64) {
        if let Some(state) = self.calls.get_mut(key) {
            state.due_ms = at_ms.min(state.total_at_ms);
            let at_ms = state.due_ms.min(state.hedge_ms);
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
        if now_ms < state.due_ms {
            state.hedge_ms = u64::MAX;
            let due_ms = state.due_ms;
            let is_late = !state.has_token && state.phase != Phase::Pausing;
            self.set_call_deadline(key, due_ms);
            if is_late {
                self.start_twin(key);
            }
            return;
        }
        let is_over = now_ms >= state.total_at_ms;
        if state.phase == Phase::Pausing && !is_over {
            self.attempt(key);
            return;
        }
        if state.is_paused && !is_over {
            // The client is slow, not the provider.
            let idle_ms = state.provider().map_or(state.making_idle_ms, |p| p.idle_ms);
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
        let fault = match state.phase {
            _ if is_over => Fault::Ours,
            Phase::Connecting if !is_in_line => Fault::Connection(Trouble::Silent),
            _ => Fault::Answer,
        };
        let is_late = is_over && state.phase != Phase::Pausing;
        let provider = state.provider().map(|provider| provider.id);
        self.detach(key);
        if is_late {
            // The time for the whole answer is over: that too is the target's doing.
            self.conclude(key, Verdict::Bad(Trouble::Answer));
        }
        self.attempt_failed(key, failure, fault);
        if fault == Fault::Connection(Trouble::Silent)
            && let Some(provider) = provider
        {
            self.leave_silent(provider);
        }
    }

    /// A provider does not answer at all: calls that wait for it and could go elsewhere do so now.
    fn leave_silent(&mut self, provider: u64) {
        let now_ms = self.now_ms;
        for key in self.calls.keys() {
            let waits = self.calls.get(key).is_some_and(|state| {
                let is_same = state.provider().is_some_and(|other| other.id == provider);
                let has_other = state.call.as_ref().is_some_and(|call| call.has_other(now_ms));
                is_same && state.phase == Phase::Connecting && has_other
            });
            if waits && !self.is_waiting_for_place(key) {
                self.detach(key);
                let failure = Failure::new(504, "the provider could not be reached in time");
                let fault = Fault::Connection(Trouble::Silent);
                self.attempt_failed(key, failure.code("upstream_timeout"), fault);
            }
        }
    }

    // ---- what is made inside the process ----

    /// Has an answer's body worked out on the blocking pool.
    fn work(&mut self, key: Key, work: Box<dyn FnOnce() -> Vec<u8> + Send>) {
        let mailbox = Arc::clone(&self.mailbox);
        let job = Box::new(move || {
            mailbox.post(Message::Worked(key, work()));
        });
        if let Some(state) = self.calls.get_mut(key) {
            state.phase = Phase::Waiting;
        }
        self.set_call_deadline(key, self.now_ms + limits::WORK_MS);
        self.submit(key, job);
    }

    pub(super) fn worked(&mut self, key: Key, body: Vec<u8>) {
        let Some(state) = self.calls.get_mut(key) else { return };
        state.response.status = 200;
        state.response.headers.push(b"Content-Type", b"application/json");
        state.response.body = body;
        self.deliver(key);
    }

    fn submit(&mut self, key: Key, job: Box<dyn FnOnce() + Send>) {
        if self.core.pool.submit(job).is_err() {
            let failure = Failure::new(503, "the server is busy").code("overloaded");
            self.attempt_failed(key, failure.retry_after(1), Fault::Ours);
        }
    }

    /// Has a model of the host program answer, on the blocking pool.
    fn make(&mut self, key: Key, making: Making, provider: &Provider) {
        let mailbox = Arc::clone(&self.mailbox);
        let tell = Box::new(move || {
            mailbox.post(Message::Made(key));
        });
        let generation = Generation::new(tell);
        let Making { generator, question, inbound, .. } = making;
        let Some(state) = self.calls.get_mut(key) else { return };
        state.making = Some(Listening::new(&generation));
        state.making_idle_ms = provider.idle_ms;
        let is_stream = inbound.is_stream();
        state.inbound = Some(inbound);
        state.phase = Phase::Waiting;
        if state.total_at_ms == u64::MAX {
            state.total_at_ms = self.now_ms.saturating_add(provider.total_ms);
        }
        let at_ms = if is_stream { self.now_ms + provider.first_token_ms } else { u64::MAX };
        self.set_call_deadline(key, at_ms);
        self.submit(key, Box::new(move || generator.generate(question, generation)));
    }

    /// A model of the host program has said more: moves it to the sink until that is full.
    pub(super) fn on_made(&mut self, key: Key) {
        let Some(state) = self.calls.get_mut(key) else { return };
        if state.is_paused {
            return;
        }
        let Some(making) = &state.making else { return };
        let mut deltas = std::mem::take(&mut self.made);
        let progress = making.generation().take(&mut deltas);
        if state.phase == Phase::Waiting && !deltas.is_empty() {
            state.phase = Phase::Collecting;
            let inbound = state.inbound.as_ref();
            if inbound.is_some_and(|inbound| inbound.on_making(&mut state.response)) {
                state.phase = Phase::Forwarding;
                self.send_head(key, None);
            }
        }
        let moved = self.move_made(key, &mut deltas);
        deltas.clear();
        self.made = deltas;
        let Some(state) = self.calls.get_mut(key) else { return };
        match (moved, progress) {
            (Err(failure), _) | (Ok(()), Progress::Failed(failure)) => {
                self.attempt_failed(key, failure, Fault::Ours);
            }
            (Ok(()), Progress::End) => self.answer_end(key),
            (Ok(()), Progress::More) => {
                let at_ms = self.now_ms.saturating_add(state.making_idle_ms);
                if state.phase == Phase::Forwarding {
                    self.set_call_deadline(key, at_ms);
                }
                self.flush_call(key);
            }
        }
    }

    fn move_made(&mut self, key: Key, deltas: &mut Vec<Delta>) -> Result<(), Failure> {
        let Some(state) = self.calls.get_mut(key) else { return Ok(()) };
        let Some(inbound) = &mut state.inbound else { return Ok(()) };
        let is_forwarding = state.phase == Phase::Forwarding;
        let mut out = std::mem::take(&mut self.relay_scratch);
        out.clear();
        let mut went = Ok(());
        for delta in deltas.drain(..) {
            went = inbound.on_made(delta, &mut out);
            if went.is_err() {
                break;
            }
        }
        if is_forwarding && !out.is_empty() {
            self.send_bytes(key, &out);
        }
        self.relay_scratch = out;
        went
    }

    /// Gives up the connection, or the search for one.
    fn detach(&mut self, key: Key) {
        self.stop_waiting(key);
        let Some(state) = self.calls.get_mut(key) else { return };
        state.making = None;
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
        let at_ms = match state.provider() {
            Some(provider) if is_stream => self.now_ms + provider.first_token_ms,
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
        let Some(call) = &state.call else { return Ok(()) };
        let after = inbound.on_head(call, head, raw, now_s, &mut state.response)?;
        if !inbound.is_stream() {
            self.set_idle_deadline(key);
        }
        let Some(state) = self.calls.get_mut(key) else { return Ok(()) };
        match after {
            AfterHead::Collect => state.phase = Phase::Collecting,
            AfterHead::Forward(length) => {
                state.phase = Phase::Headed(length);
            }
        }
        Ok(())
    }

    /// The answer has begun: from now on the time between two chunks counts.
    fn set_idle_deadline(&mut self, key: Key) {
        let Some(state) = self.calls.get_mut(key) else { return };
        let idle_ms = state.provider().map_or(u64::MAX, |provider| provider.idle_ms);
        let at_ms = self.now_ms.saturating_add(idle_ms).min(state.total_at_ms);
        state.due_ms = at_ms;
        state.deadline.set(&mut self.wheel, at_ms, MARK_CALL << MARK_SHIFT | key.0);
    }

    pub(super) fn answer_data(&mut self, key: Key, data: &[u8]) -> Result<(), Failure> {
        let Some(state) = self.calls.get_mut(key) else { return Ok(()) };
        let Some(inbound) = &mut state.inbound else { return Ok(()) };
        let mut out = std::mem::take(&mut self.relay_scratch);
        out.clear();
        let result = inbound.on_data(data, &mut out);
        let has_begun = !inbound.is_stream() || inbound.has_token();
        let is_answer = inbound.is_answer();
        if inbound.is_stream() && has_begun {
            let before_us = std::mem::replace(&mut state.last_token_us, self.now_us);
            if before_us != 0 {
                self.stats.token_gap.record(self.now_us.saturating_sub(before_us));
            } else {
                let elapsed_us = self.now_us.saturating_sub(state.began_us);
                state.told.first_token_us = Some(elapsed_us);
                self.stats.first_token_time.record(elapsed_us);
            }
        }
        if !state.has_token
            && has_begun
            && is_answer
            && let Some(call) = &mut state.call
        {
            state.has_token = true;
            call.measured(self.now_us.saturating_sub(state.attempt_us), self.now_ms);
            call.is_good();
            let (number, began_us) = (call.number(), state.began_us);
            self.learn_first_token(key);
            self.count_first_token(number, self.now_us.saturating_sub(began_us));
        }
        if has_begun {
            self.set_idle_deadline(key);
        }
        let bytes = if result == Ok(Passing::AsItIs) { data } else { &out[..] };
        if !bytes.is_empty() && self.begin_forwarding(key) {
            self.send_bytes(key, bytes);
        }
        self.relay_scratch = out;
        result.map(drop)
    }

    /// The answer's head goes out if it has not: from now on no other target can answer. False
    /// when the answer is collected.
    fn begin_forwarding(&mut self, key: Key) -> bool {
        let Some(state) = self.calls.get_mut(key) else { return false };
        match state.phase {
            Phase::Forwarding => true,
            Phase::Headed(length) => {
                if !self.is_first(key) {
                    return false;
                }
                if let Some(state) = self.calls.get_mut(key) {
                    state.phase = Phase::Forwarding;
                }
                self.send_head(key, length);
                true
            }
            _ => false,
        }
    }

    /// The upstream's answer is complete.
    pub(super) fn answer_end(&mut self, key: Key) {
        let Some(state) = self.calls.get_mut(key) else { return };
        let Some(mut inbound) = state.inbound.take() else { return };
        let mut out = Vec::new();
        let ended = inbound.on_end(&mut state.response, &mut out);
        let usage = inbound.usage();
        if let Some(call) = &mut state.call
            && (ended.is_ok() || usage.is_some())
        {
            call.settle(usage, self.now_us);
        }
        state.told.usage = usage;
        if let (Some(words), Some(provider)) = (inbound.refusal(), state.provider()) {
            let words = match &provider.api_key {
                Some(key) if !key.is_empty() => words.replace(key.as_str(), "***"),
                _ => words.to_owned(),
            };
            // Escaped: a line of the log stays one line.
            tracing::warn!("the provider {} refused our credential: {words:?}", provider.name);
        }
        self.count_tokens(key, usage);
        let Some(state) = self.calls.get_mut(key) else { return };
        let phase = state.phase;
        match ended {
            Ok(()) => {
                self.conclude(key, Verdict::Good);
                let began_us = self.calls.get(key).map(|state| state.began_us);
                if let (Some(number), Some(began_us)) = (self.number_of(key), began_us) {
                    self.count_good(number, self.now_us.saturating_sub(began_us));
                }
                if phase == Phase::Collecting {
                    if self.is_first(key) {
                        self.deliver(key);
                    }
                    return;
                }
                self.begin_forwarding(key);
                if !out.is_empty() {
                    self.send_bytes(key, &out);
                }
                self.send_end(key);
            }
            Err(failure) => {
                // What it says so far goes out too, if anything has.
                if phase == Phase::Forwarding && !out.is_empty() {
                    self.send_bytes(key, &out);
                }
                state_put_back(&mut self.calls, key, inbound);
                self.attempt_failed(key, failure, Fault::Answer);
            }
        }
    }

    /// An attempt has failed: the next target, the same one after a pause, or the truth.
    pub(super) fn attempt_failed(&mut self, key: Key, failure: Failure, fault: Fault) {
        // A head that told of a failure says more than the end of its body.
        let inbound = self.calls.get_mut(key).and_then(|state| state.inbound.as_mut());
        let failure = inbound.and_then(|inbound| inbound.told_failure()).unwrap_or(failure);
        let verdict = match fault {
            Fault::Connection(trouble) => Verdict::Bad(trouble),
            Fault::Answer => Verdict::of(&failure),
            Fault::Ours => Verdict::Unknown,
        };
        let opened = self.conclude(key, verdict);
        let moment = self.moment();
        let Some(state) = self.calls.get_mut(key) else { return };
        if opened
            && matches!(verdict, Verdict::Bad(_))
            && let Some(call) = &state.call
        {
            tracing::warn!("a target of {} is left alone for a while", call.model());
        }
        if state.phase != Phase::Forwarding && self.leave_to_twin(key) {
            return;
        }
        let Some(state) = self.calls.get_mut(key) else { return };
        if state.phase != Phase::Forwarding {
            let again = match (fault, &state.app, &mut state.call) {
                (Fault::Ours, ..) => None,
                (_, Some(app), Some(call)) => {
                    call.try_again(app, &failure, opened, &mut self.budget, moment)
                }
                _ => None,
            };
            if let Some(pause_ms) = again {
                self.stats.call_retries.add(1);
                state.outgoing = None;
                state.inbound = None;
                state.making = None;
                if pause_ms == 0 {
                    self.attempt(key);
                } else {
                    state.phase = Phase::Pausing;
                    self.set_call_deadline(key, self.now_ms + pause_ms);
                }
                return;
            }
            self.count_failed(key);
            self.deliver_failure(key, &failure);
            return;
        }
        self.count_failed(key);
        let Some(state) = self.calls.get_mut(key) else { return };
        if matches!(state.sink, Sink::Host(_)) {
            self.deliver_failure(key, &failure);
            return;
        }
        let mut out = Vec::new();
        let told = match (&mut state.inbound, &state.call) {
            (Some(inbound), Some(call)) => inbound.fail_stream(call, &failure, &mut out),
            _ => false,
        };
        if told {
            state.is_spoilt = true;
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
            Sink::Shared(flight, _) => {
                flight.head(Arc::new(Begin { response, length, is_whole: false }));
            }
            Sink::Twin(_) | Sink::Nobody => {}
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
            Sink::Shared(flight, _) => {
                if flight.append(bytes) {
                    state.is_paused = true;
                }
            }
            Sink::Twin(_) | Sink::Nobody => {}
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

    fn send_end(&mut self, key: Key) {
        let Some(state) = self.take_call(key) else { return };
        let is_spoilt = state.is_spoilt;
        let told = state.told;
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

    fn cut(&mut self, key: Key) {
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
    fn deliver(&mut self, key: Key) {
        let Some(mut state) = self.take_call(key) else { return };
        let told = state.told;
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

    fn deliver_failure(&mut self, key: Key, failure: &Failure) {
        let Some(mut state) = self.take_call(key) else { return };
        let told = state.told;
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

    /// A shared answer has ended: what is fit is kept before the next one who asks can look.
    fn land(
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

    fn deliver_local(&mut self, key: Key, pull: Box<dyn Pull>) {
        if !self.is_first(key) {
            return;
        }
        let Some(state) = self.calls.get_mut(key) else { return };
        if let Sink::Conn(ticket) = state.sink {
            let Some(mut state) = self.take_call(key) else { return };
            let response = std::mem::take(&mut state.response);
            drop(self.recycle_call(state));
            self.relay_pull(ticket, response, pull, None);
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
    pub(super) fn cancel_call(&mut self, key: Key) -> CallTold {
        let Some(number) = self.number_of(key) else { return CallTold::default() };
        self.count_cancelled(number);
        self.drop_call(key)
    }

    /// Returns what it has come to.
    pub(super) fn drop_call(&mut self, key: Key) -> CallTold {
        self.drop_twin(key);
        if let Some(state) = self.calls.get_mut(key)
            && let Some(inbound) = &state.inbound
            && let Some(call) = &mut state.call
        {
            let usage = inbound.usage();
            if usage.is_some() || state.has_token {
                call.settle(usage, self.now_us);
            }
            state.told.usage = usage;
            self.count_tokens(key, usage);
        }
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
        if self.spare_calls.len() < limits::POOLED_CALLS_MAX {
            self.spare_calls.push(state);
        }
        sink
    }

    fn take_call(&mut self, key: Key) -> Option<Box<CallState>> {
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
