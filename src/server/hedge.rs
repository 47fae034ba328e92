//! A second attempt beside one that is late: the first to answer is taken, the other cancelled.
//!
//! The second attempt is a call of its own whose sink is the first one. Whichever has bytes for the
//! client first takes the client over; when one fails the other goes on.

use std::sync::Arc;

use super::call::Sink;
use super::share::CallLeader;
use super::worker::Worker;
use crate::ai::latency::Hedge;
use crate::base::slab::Key;

impl Worker {
    fn hedge(&mut self, number: usize) -> &mut Hedge {
        if self.hedges.len() <= number {
            self.hedges.resize_with(number + 1, Hedge::default);
        }
        &mut self.hedges[number]
    }

    /// A call begins: when a second attempt would pay.
    pub(super) fn plan_twin(&mut self, key: Key) {
        let policy = self.app.settings.hedge;
        let Some(number) = self.number_of(key).filter(|_| policy.share_percent > 0) else { return };
        let after_ms = self.hedge(number).begin(&policy);
        if let (Some(after_ms), Some(state)) = (after_ms, self.calls.get_mut(key)) {
            state.hedge_ms = self.now_ms.saturating_add(after_ms);
        }
    }

    /// How long first tokens take is what the next second attempts go by. One that was overtaken
    /// counts with the time it had.
    pub(super) fn learn_first_token(&mut self, key: Key) {
        if self.app.settings.hedge.share_percent == 0 {
            return;
        }
        let Some(state) = self.calls.get(key) else { return };
        let first = match state.sink {
            Sink::Twin(main) => self.calls.get(main),
            _ => Some(state),
        };
        let took_us = first.map(|first| self.now_us.saturating_sub(first.attempt_us));
        if let (Some(number), Some(took_us)) = (self.number_of(key), took_us) {
            self.hedge(number).add(took_us);
        }
    }

    /// A call is late: starts a second attempt if one is left.
    pub(super) fn start_twin(&mut self, key: Key) {
        let moment = self.moment();
        let Some(number) = self.number_of(key) else { return };
        let Some(state) = self.calls.get(key) else { return };
        let is_alone = state.twin.is_none() && !matches!(state.sink, Sink::Twin(_) | Sink::Nobody);
        if !is_alone || !self.hedge(number).spend() {
            return;
        }
        let call = self.calls.get(key).and_then(|state| state.call.as_ref()?.twin(moment));
        let Some(call) = call else { return };
        self.stats.call_hedges.add(1);
        let twin = self.start_call(Box::new(call), Sink::Twin(key));
        if let (Some(twin), Some(state)) = (twin, self.calls.get_mut(key)) {
            state.twin = Some(twin);
        }
    }

    /// Whether a call with bytes for the client has a client: a second attempt takes over that of
    /// the first, which ends; the first ends its second.
    pub(super) fn is_first(&mut self, key: Key) -> bool {
        let Some(state) = self.calls.get(key) else { return false };
        match state.sink {
            Sink::Twin(main) => self.hand_over(main, key),
            _ => {
                self.drop_twin(key);
                true
            }
        }
    }

    /// The client of one call becomes that of another, and the first call ends.
    fn hand_over(&mut self, from: Key, to: Key) -> bool {
        let Some(state) = self.calls.get_mut(from) else {
            self.drop_call(to);
            return false;
        };
        let sink = std::mem::take(&mut state.sink);
        state.twin = None;
        let charge = state.call.as_mut().and_then(|call| call.charge.take());
        let is_there = match &sink {
            Sink::Conn(ticket) => self.bind_call(*ticket, to).is_some(),
            Sink::Host(host) => host.bind(to),
            Sink::Shared(flight, _) => {
                let mailbox = Arc::clone(&self.mailbox);
                flight.lead(Arc::new(CallLeader { mailbox, key: to }))
            }
            Sink::Twin(_) | Sink::Nobody => false,
        };
        let began_us = self.calls.get(from).map(|state| (state.began_us, state.total_at_ms));
        if let (Some(state), Some((began_us, total_at_ms))) = (self.calls.get_mut(to), began_us) {
            state.sink = sink;
            state.began_us = began_us;
            state.total_at_ms = total_at_ms;
            if let Some(call) = &mut state.call {
                call.charge = charge;
            }
        }
        let gone = self.drop_call(from);
        if let Some(state) = self.calls.get_mut(to) {
            state.told.add_cost(gone.cost_nano);
        }
        if !is_there {
            self.drop_call(to);
        }
        is_there
    }

    /// A call has failed before anything went out: whether its other attempt goes on instead.
    pub(super) fn leave_to_twin(&mut self, key: Key) -> bool {
        let Some(state) = self.calls.get_mut(key) else { return false };
        if let Sink::Twin(main) = state.sink {
            if let Some(main) = self.calls.get_mut(main) {
                main.twin = None;
            }
            self.drop_call(key);
            return true;
        }
        match state.twin.take() {
            Some(twin) if self.calls.get(twin).is_some() => self.hand_over(key, twin),
            _ => false,
        }
    }

    /// The second attempt of a call is not needed any more.
    pub(super) fn drop_twin(&mut self, key: Key) {
        let Some(state) = self.calls.get_mut(key) else { return };
        if let Some(twin) = state.twin.take() {
            self.drop_call(twin);
        }
    }
}
