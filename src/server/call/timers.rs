//! The deadlines of a call, and what happens when one has come.

use super::{Fault, Phase};
use crate::ai::health::Trouble;
use crate::base::error::Failure;
use crate::base::slab::Key;
use crate::pipeline::Verdict;
use crate::server::worker::{MARK_CALL, MARK_SHIFT, Worker};

impl Worker {
    pub(super) fn set_call_deadline(&mut self, key: Key, at_ms: u64) {
        if let Some(state) = self.calls.get_mut(key) {
            state.due_ms = at_ms.min(state.total_at_ms);
            let at_ms = state.due_ms.min(state.hedge_ms);
            state.deadline.set(&mut self.wheel, at_ms, MARK_CALL << MARK_SHIFT | key.0);
        }
    }

    pub(in crate::server) fn on_call_timer(&mut self, key: Key) {
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

    /// The answer has begun: from now on the time between two chunks counts.
    pub(super) fn set_idle_deadline(&mut self, key: Key) {
        let Some(state) = self.calls.get_mut(key) else { return };
        let idle_ms = state.provider().map_or(u64::MAX, |provider| provider.idle_ms);
        let at_ms = self.now_ms.saturating_add(idle_ms).min(state.total_at_ms);
        state.due_ms = at_ms;
        state.deadline.set(&mut self.wheel, at_ms, MARK_CALL << MARK_SHIFT | key.0);
    }
}
