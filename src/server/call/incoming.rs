//! What an upstream answers: its head, its bytes, its end.

use super::{Fault, Phase, state_put_back};
use crate::base::error::Failure;
use crate::base::slab::Key;
use crate::http::head::ResponseHead;
use crate::pipeline::{AfterHead, Inbound, Passing, Verdict};
use crate::server::tuning;
use crate::server::worker::Worker;

impl Worker {
    // ---- the answer ----

    pub(in crate::server) fn answer_head(
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

    pub(in crate::server) fn answer_data(&mut self, key: Key, data: &[u8]) -> Result<(), Failure> {
        let Some(state) = self.calls.get_mut(key) else { return Ok(()) };
        let Some(inbound) = &mut state.inbound else { return Ok(()) };
        if let Some(observed) = &mut state.observed {
            observed.look(data);
        }
        let mut out = std::mem::take(&mut self.relay_scratch);
        out.clear();
        let result = inbound.on_data(data, &mut out);
        let has_begun = !inbound.is_stream() || inbound.has_token();
        let is_answer = inbound.is_answer();
        if has_begun {
            self.piece_came(key, is_answer);
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

    /// A piece of an answer has come: the times of a stream, and what is thought of its target.
    pub(super) fn piece_came(&mut self, key: Key, is_answer: bool) {
        let Some(state) = self.calls.get_mut(key) else { return };
        if state.inbound.as_ref().is_some_and(Inbound::is_stream) {
            let before_us = std::mem::replace(&mut state.last_token_us, self.now_us);
            if before_us != 0 {
                self.stats.token_gap.record(self.now_us.saturating_sub(before_us));
            } else {
                let elapsed_us = self.now_us.saturating_sub(state.began_us);
                state.told.first_token_us = Some(elapsed_us);
                self.stats.first_token_time.record(elapsed_us);
            }
        }
        if state.has_token || !is_answer {
            return;
        }
        state.has_token = true;
        let took_us = self.now_us.saturating_sub(state.attempt_us);
        if let Some(observed) = &mut state.observed {
            observed.first_token_us = Some(took_us);
        }
        let Some(call) = &mut state.call else { return };
        call.measured(took_us, self.now_ms);
        if let Some(route) = call.weighed() {
            tuning::weigh(&self.core, &self.app, route, self.now_ms);
        }
        call.is_good();
        let (number, began_us) = (call.number(), state.began_us);
        if let Some(id) = state.limited.take() {
            self.left_limit(id, Some(took_us));
        }
        self.learn_first_token(key);
        self.count_first_token(number, self.now_us.saturating_sub(began_us));
    }

    /// The answer's head goes out if it has not: from now on no other target can answer. False
    /// when the answer is collected.
    pub(super) fn begin_forwarding(&mut self, key: Key) -> bool {
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
    pub(in crate::server) fn answer_end(&mut self, key: Key) {
        let Some(state) = self.calls.get_mut(key) else { return };
        let Some(mut inbound) = state.inbound.take() else { return };
        let mut out = Vec::new();
        let ended = inbound.on_end(&mut state.response, &mut out);
        if let (Some(words), Some(provider)) = (inbound.refusal(), state.provider()) {
            let words = match &provider.api_key {
                Some(key) if !key.is_empty() => words.replace(key.as_str(), "***"),
                _ => words.to_owned(),
            };
            // Escaped: a line of the log stays one line.
            tracing::warn!("the provider {} refused our credential: {words:?}", provider.name);
        }
        // An answer that the guard or a hook has refused is whole all the same.
        let is_refused = |failure: &Failure| failure.code.as_deref() == Some("content_refused");
        if ended.as_ref().err().is_none_or(is_refused) {
            self.count_spent(key, &inbound, true);
        }
        let Some(state) = self.calls.get_mut(key) else { return };
        let phase = state.phase;
        match ended {
            Ok(()) => {
                self.report_attempt(key, None);
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
}
