//! One attempt of a call: prepared, connected, sent; failed, and what follows.

use std::sync::Arc;

use super::{CallState, Fault, Phase, Sink, state_put_back};
use crate::ai::health::Trouble;
use crate::base::error::Failure;
use crate::base::slab::Key;
use crate::pipeline::{Attempt, Concluded, Inbound, Provider, Verdict};
use crate::server::telemetry::error_type;
use crate::server::worker::Worker;

impl Worker {
    /// The prompt hooks run here, on the loop.
    pub(super) fn prepare(&mut self, key: Key) -> Result<(), Failure> {
        match self.calls.get_mut(key).map(|state| (&state.app, &mut state.call)) {
            Some((Some(app), Some(call))) => call.prepare(app),
            _ => Ok(()),
        }
    }

    /// Begins the next attempt.
    pub(super) fn attempt(&mut self, key: Key) {
        let moment = self.moment();
        let Some(state) = self.calls.get_mut(key) else { return };
        let (Some(app), Some(call)) = (state.app.clone(), &mut state.call) else { return };
        state.attempt_us = self.now_us;
        state.has_token = false;
        state.is_spent = false;
        // The outer count of the snapshot is this worker's own; that of a provider is not.
        let attempt = call.attempt(&app, moment, &mut state.response);
        self.observe(key);
        match attempt {
            Ok(Attempt::Remote(outgoing, mut inbound)) => {
                self.plan_look(key, &mut inbound);
                let Some(state) = self.calls.get_mut(key) else { return };
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
            Ok(Attempt::LocalWhole(usage)) => {
                if self.is_first(key) {
                    self.count_local(key);
                    self.count_tokens(key, usage);
                    self.report_attempt(key, None);
                    self.deliver(key);
                }
            }
            Ok(Attempt::LocalStream(pull)) => {
                self.count_local(key);
                self.deliver_local(key, pull);
            }
            Ok(Attempt::Make(making)) => {
                let Some(provider) = app.providers.get(making.provider) else { return };
                self.make(key, *making, provider);
            }
            Ok(Attempt::Work { work, is_quick: true }) => self.worked(key, work()),
            Ok(Attempt::Work { work, .. }) => self.work(key, work),
            Err(failure) => self.attempt_failed(key, failure, Fault::Ours),
        }
    }

    /// Echo answers at once.
    fn count_local(&mut self, key: Key) {
        let began_us = self.calls.get(key).map(|state| state.began_us);
        if let (Some(number), Some(began_us)) = (self.number_of(key), began_us) {
            self.count_good(number, self.now_us.saturating_sub(began_us));
        }
    }

    /// A kept connection was stale: the same attempt on a new one, with a new time to connect.
    pub(in crate::server) fn connect_anew(&mut self, key: Key, provider: &Arc<Provider>) {
        if let Some(state) = self.calls.get_mut(key) {
            state.phase = Phase::Connecting;
            self.set_call_deadline(key, self.now_ms + provider.connect_ms);
            self.acquire(key, provider, true);
        }
    }

    /// The request goes out now: other deadlines count.
    pub(in crate::server) fn call_connected(&mut self, key: Key) {
        let Some(state) = self.calls.get_mut(key) else { return };
        state.phase = Phase::Waiting;
        let is_stream = state.inbound.as_ref().is_some_and(|inbound| inbound.is_stream());
        let at_ms = match state.provider() {
            Some(provider) if is_stream => self.now_ms + provider.first_token_ms,
            _ => u64::MAX,
        };
        self.set_call_deadline(key, at_ms);
    }

    /// Gives up the connection, or the search for one.
    pub(super) fn detach(&mut self, key: Key) {
        self.stop_waiting(key);
        self.leave_limit(key, None);
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

    /// An attempt has failed: the next target, the same one after a pause, or the truth.
    pub(in crate::server) fn attempt_failed(&mut self, key: Key, failure: Failure, fault: Fault) {
        self.leave_limit(key, None);
        let is_complete = |state: &CallState| {
            let is_out = state.phase == Phase::Forwarding;
            is_out && state.inbound.as_ref().is_some_and(Inbound::is_complete)
        };
        let is_late = matches!(
            failure.code.as_deref(),
            Some("upstream_cut" | "upstream_garbage" | "upstream_timeout")
        );
        if fault == Fault::Answer
            && is_late
            && self.calls.get(key).is_some_and(|it| is_complete(it))
        {
            // The client has the whole stream: only the end of its framing is missing.
            self.answer_end(key);
            return;
        }
        // A head that told of a failure says more than the end of its body.
        let inbound = self.calls.get_mut(key).and_then(|state| state.inbound.as_mut());
        let failure = inbound.and_then(|inbound| inbound.told_failure()).unwrap_or(failure);
        // What was cut or refused was paid for all the same.
        if let Some(inbound) = self.calls.get_mut(key).and_then(|state| state.inbound.take()) {
            self.count_spent(key, &inbound, false);
            state_put_back(&mut self.calls, key, inbound);
        }
        let verdict = match fault {
            Fault::Connection(trouble) => Verdict::Bad(trouble),
            Fault::Answer => Verdict::of(&failure),
            Fault::Ours => Verdict::Unknown,
        };
        if self.calls.get(key).is_some_and(|state| state.observed.is_some()) {
            self.report_attempt(key, Some(error_type(&failure)));
        }
        let concluded = self.conclude(key, verdict);
        let moment = self.moment();
        let Some(state) = self.calls.get_mut(key) else { return };
        if concluded.has_opened
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
                    call.try_again(app, &failure, concluded.is_left_alone, &mut self.budget, moment)
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
            let mut held = Vec::new();
            if let Some(inbound) = &mut state.inbound {
                inbound.release(&mut held);
            }
            if !held.is_empty() {
                self.send_bytes(key, &held);
            }
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

    /// Tells a call what came of its current attempt.
    pub(super) fn conclude(&mut self, key: Key, verdict: Verdict) -> Concluded {
        let moment = self.moment();
        let Some(state) = self.calls.get_mut(key) else { return Concluded::default() };
        let (Some(app), Some(call)) = (&state.app, &mut state.call) else {
            return Concluded::default();
        };
        call.conclude(app, verdict, moment)
    }

    /// A provider does not answer at all: calls that wait for it and could go elsewhere do so now.
    pub(super) fn leave_silent(&mut self, provider: u64) {
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
}
