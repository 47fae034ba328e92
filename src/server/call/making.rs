//! What is made here: bodies translated on the pool, answers of models of the host program.

use std::sync::Arc;

use super::{Fault, Phase, Sink};
use crate::ai::chat::Delta;
use crate::base::error::Failure;
use crate::base::limits;
use crate::base::slab::Key;
use crate::exchange::Taken;
use crate::pipeline::{Generation, Listening, Making, Progress, Provider, Pull};
use crate::server::mailbox::Message;
use crate::server::worker::Worker;

impl Worker {
    // ---- what is made inside the process ----

    /// Has an answer's body worked out on the blocking pool.
    pub(super) fn work(&mut self, key: Key, work: Box<dyn FnOnce() -> Vec<u8> + Send>) {
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

    pub(in crate::server) fn worked(&mut self, key: Key, body: Vec<u8>) {
        let Some(state) = self.calls.get_mut(key) else { return };
        state.response.status = 200;
        state.response.headers.push(b"Content-Type", b"application/json");
        state.response.body = body;
        self.deliver(key);
    }

    pub(super) fn submit(&mut self, key: Key, job: Box<dyn FnOnce() + Send>) {
        if self.core.pool.submit(job).is_err() {
            let failure = Failure::new(503, "the server is busy").code("overloaded");
            self.attempt_failed(key, failure.retry_after(1), Fault::Ours);
        }
    }

    /// Has a model of the host program answer, on the blocking pool.
    pub(super) fn make(&mut self, key: Key, making: Making, provider: &Provider) {
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
    pub(in crate::server) fn on_made(&mut self, key: Key) {
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
        let says_something = deltas.iter().any(|delta| {
            !matches!(delta, Delta::Start { .. } | Delta::Usage(_) | Delta::Finish(_))
        });
        if says_something {
            self.piece_came(key, true);
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

    pub(super) fn move_made(&mut self, key: Key, deltas: &mut Vec<Delta>) -> Result<(), Failure> {
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

    pub(super) fn deliver_local(&mut self, key: Key, pull: Box<dyn Pull>) {
        if !self.is_first(key) {
            return;
        }
        let Some(state) = self.calls.get_mut(key) else { return };
        if let Sink::Conn(ticket) = state.sink {
            let Some(mut state) = self.take_call(key) else { return };
            let response = std::mem::take(&mut state.response);
            let observed = state.observed.take();
            drop(self.recycle_call(state));
            self.relay_pull(ticket, response, pull, None, observed);
            return;
        }
        state.phase = Phase::Forwarding;
        state.pull = Some(pull);
        self.send_head(key, None);
        self.pull_local(key);
    }

    /// Moves echo's answer to a host call until that is full.
    pub(super) fn pull_local(&mut self, key: Key) {
        loop {
            let Some(state) = self.calls.get_mut(key) else { return };
            if state.is_paused {
                return;
            }
            let Some(pull) = &mut state.pull else { return };
            let mut out = Vec::new();
            let taken = pull.pull(&mut out, 8 * 1024);
            let usage = pull.spent().map(|spent| spent.usage);
            self.send_bytes(key, &out);
            if taken == Taken::End {
                if let Some(usage) = usage {
                    self.count_tokens(key, usage);
                }
                self.report_attempt(key, None);
                self.send_end(key);
                return;
            }
        }
    }
}
