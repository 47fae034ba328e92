//! A call of the host program: where the worker puts an answer and a thread of the host takes it.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::mailbox::{Mailbox, Message};
use crate::base::error::Failure;
use crate::base::limits;
use crate::base::slab::Key;
use crate::exchange::Response;

/// What a waiting thread finds.
#[derive(Debug)]
pub(super) enum Piece {
    /// The answer's head: whether events follow.
    Head(bool),
    /// Body bytes.
    Bytes(Vec<u8>),
    /// The answer is complete.
    End,
    /// There is none, or no more of it.
    Failed(Failure),
    /// The caller has given up.
    Cancelled,
}

/// One call.
pub(super) struct HostCall {
    state: Mutex<State>,
    changed: Condvar,
    mailbox: Arc<Mailbox>,
}

/// The worker's end of a call. Dropped before the call has ended it tells the caller.
pub(super) struct HostSink(pub(super) Arc<HostCall>);

impl std::ops::Deref for HostSink {
    type Target = HostCall;

    fn deref(&self) -> &HostCall {
        &self.0
    }
}

impl Drop for HostSink {
    fn drop(&mut self) {
        // Whatever it was told before counts.
        self.0.fail(&Failure::new(503, "the server has stopped").code("stopped"));
    }
}

#[derive(Default)]
struct State {
    key: Option<Key>,
    head: Option<bool>,
    bytes: Vec<u8>,
    is_full: bool,
    ended: Option<Result<(), Failure>>,
    cancelled: bool,
}

impl HostCall {
    pub(super) fn new(mailbox: Arc<Mailbox>) -> Arc<HostCall> {
        Arc::new(HostCall { state: Mutex::default(), changed: Condvar::new(), mailbox })
    }

    // ---- the worker's side ----

    /// The call has a place in the worker. False when it was cancelled before.
    pub(super) fn bind(&self, key: Key) -> bool {
        let mut state = self.state.lock();
        state.key = Some(key);
        !state.cancelled
    }

    pub(super) fn head(&self, response: &Response) {
        let events = response
            .headers
            .get(b"content-type")
            .is_some_and(|value| value.to_ascii_lowercase().starts_with(b"text/event-stream"));
        self.change(|state| state.head = Some(events));
    }

    /// Takes body bytes; returns how many wait.
    pub(super) fn bytes(&self, bytes: &[u8]) -> usize {
        let mut waiting = 0;
        self.change(|state| {
            state.bytes.extend_from_slice(bytes);
            waiting = state.bytes.len();
            state.is_full = waiting > limits::RELAY_HIGH_BYTES;
        });
        waiting
    }

    pub(super) fn end(&self) {
        self.change(|state| state.ended = Some(Ok(())));
    }

    pub(super) fn whole(&self, response: &Response) {
        self.head(response);
        self.change(|state| {
            state.bytes.extend_from_slice(&response.body);
            state.ended = Some(Ok(()));
        });
    }

    pub(super) fn fail(&self, failure: &Failure) {
        self.change(|state| {
            if state.ended.is_none() {
                state.ended = Some(Err(failure.clone()));
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        drop(state);
        self.changed.notify_all();
    }

    // ---- the caller's side ----

    /// Waits for the next piece. Every call has a deadline of its own in the worker; `late` is for
    /// a worker that is stuck.
    pub(super) fn next(&self, late: Option<Instant>) -> Piece {
        let mut state = self.state.lock();
        loop {
            if state.cancelled {
                return Piece::Cancelled;
            }
            if let Some(events) = state.head.take() {
                return Piece::Head(events);
            }
            if !state.bytes.is_empty() {
                let bytes = std::mem::take(&mut state.bytes);
                let was_full = std::mem::take(&mut state.is_full);
                let key = state.key;
                drop(state);
                if let (true, Some(key)) = (was_full, key) {
                    self.mailbox.post(Message::HostReady(key));
                }
                return Piece::Bytes(bytes);
            }
            match state.ended.take() {
                Some(Ok(())) => return Piece::End,
                Some(Err(failure)) => return Piece::Failed(failure),
                None => {}
            }
            match late {
                None => self.changed.wait(&mut state),
                Some(late) => {
                    if self.changed.wait_until(&mut state, late).timed_out() {
                        let message = "the call did not end in time";
                        return Piece::Failed(Failure::new(504, message).code("timeout"));
                    }
                }
            }
        }
    }

    /// Nobody wants the answer any more: the upstream is closed. Any thread.
    pub(super) fn cancel(&self) {
        let mut state = self.state.lock();
        state.cancelled = true;
        state.bytes = Vec::new();
        let key = state.key;
        let is_over = state.ended.is_some();
        drop(state);
        self.changed.notify_all();
        if let (Some(key), false) = (key, is_over) {
            self.mailbox.post(Message::HostCancel(key));
        }
    }
}
