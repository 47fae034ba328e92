//! The body of a streamed response: one bounded queue between whoever writes and the worker.
//!
//! Writers on any thread append, the worker takes. A writer that finds the queue full is told so
//! and called back, or waits, when the worker has emptied half of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::{Owner, Request, Ticket};
use crate::base::error::ErrorKind;

/// Called once after each refused write when the queue takes more, and once when it is closed.
pub type ReadyFn = Arc<dyn Fn(Result<(), ErrorKind>) + Send + Sync>;

/// What the worker found in the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// More will come.
    More,
    /// The body ended well.
    End,
    /// The body was cut on purpose.
    Abort,
}

/// A bounded queue of body bytes.
pub struct StreamQueue {
    state: Mutex<State>,
    changed: Condvar,
    /// A message to the worker is under way; one is enough.
    announced: AtomicBool,
    owner: Arc<dyn Owner>,
    ticket: Ticket,
    request: Arc<Request>,
    bytes_max: usize,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    ending: Option<Taken>,
    closed: bool,
    /// A write was refused and nobody has been told since.
    wanted: bool,
    told_closed: bool,
    ready: Option<ReadyFn>,
}

impl StreamQueue {
    pub(super) fn new(
        owner: Arc<dyn Owner>,
        ticket: Ticket,
        request: Arc<Request>,
        bytes_max: usize,
    ) -> StreamQueue {
        StreamQueue {
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
            announced: AtomicBool::new(false),
            owner,
            ticket,
            request,
            bytes_max,
        }
    }

    /// The request that is answered.
    pub fn request(&self) -> &Arc<Request> {
        &self.request
    }

    /// Whether the calling thread is the loop that empties this queue.
    pub fn is_loop_thread(&self) -> bool {
        self.owner.is_loop_thread()
    }

    /// Appends `data` whole or not at all.
    ///
    /// # Errors
    /// `Limit` when it can never fit, `WouldBlock` when it does not fit now, `Closed` when nobody
    /// listens, `State` after the end.
    pub fn write(&self, data: &[u8]) -> Result<(), ErrorKind> {
        self.write_with(data.len(), |bytes| bytes.extend_from_slice(data))
    }

    /// Appends what `fill` writes, which must be `len` bytes.
    ///
    /// # Errors
    /// As [`StreamQueue::write`].
    pub fn write_with(&self, len: usize, fill: impl FnOnce(&mut Vec<u8>)) -> Result<(), ErrorKind> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(ErrorKind::Closed);
        }
        if state.ending.is_some() {
            return Err(ErrorKind::State);
        }
        if len > self.bytes_max {
            return Err(ErrorKind::Limit);
        }
        if state.bytes.len() + len > self.bytes_max {
            state.wanted = true;
            return Err(ErrorKind::WouldBlock);
        }
        fill(&mut state.bytes);
        drop(state);
        self.announce();
        Ok(())
    }

    /// Ends the body. Harmless when it has ended.
    pub fn finish(&self, ending: Taken) {
        let mut state = self.state.lock();
        if state.ending.is_none() {
            state.ending = Some(ending);
            if ending == Taken::Abort {
                state.bytes = Vec::new();
            }
        }
        drop(state);
        self.announce();
    }

    /// Waits until the queue takes more.
    ///
    /// # Errors
    /// `Timeout`, `Closed`, or `State` on the loop thread, which would wait for itself.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<(), ErrorKind> {
        if self.owner.is_loop_thread() {
            return Err(ErrorKind::State);
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return Err(ErrorKind::Closed);
            }
            if state.bytes.len() <= self.bytes_max / 2 {
                return Ok(());
            }
            match deadline {
                None => self.changed.wait(&mut state),
                Some(deadline) => {
                    if self.changed.wait_until(&mut state, deadline).timed_out() {
                        return Err(ErrorKind::Timeout);
                    }
                }
            }
        }
    }

    /// Sets who is called when the queue takes more, and returns the callback it replaces. When
    /// the queue is closed already the new one is returned at once: it is for the caller to call.
    pub fn on_ready(&self, ready: Option<ReadyFn>) -> (Option<ReadyFn>, bool) {
        let mut state = self.state.lock();
        state.told_closed = false;
        let closed = state.closed;
        let old = std::mem::replace(&mut state.ready, ready);
        (old, closed)
    }

    /// For the worker: moves up to `bytes_max` bytes to `out`.
    pub fn take(&self, out: &mut Vec<u8>, bytes_max: usize) -> Taken {
        // Release pairs with the swap in `announce`: bytes written before it are seen below.
        self.announced.store(false, Ordering::SeqCst);
        let mut state = self.state.lock();
        let count = state.bytes.len().min(bytes_max);
        if count == state.bytes.len() {
            out.extend_from_slice(&state.bytes);
            if state.bytes.capacity() > 64 * 1024 {
                state.bytes = Vec::new();
            }
            state.bytes.clear();
        } else {
            out.extend(state.bytes.drain(..count));
        }
        let taken = match state.ending {
            Some(ending) if state.bytes.is_empty() => ending,
            _ => Taken::More,
        };
        let mut call = None;
        if count > 0 && state.bytes.len() <= self.bytes_max / 2 {
            self.changed.notify_all();
            if state.wanted && state.ending.is_none() {
                state.wanted = false;
                call = state.ready.clone();
            }
        }
        drop(state);
        if let Some(ready) = call {
            ready(Ok(()));
        }
        taken
    }

    /// For the worker: whether there is anything to take.
    pub fn has_bytes(&self) -> bool {
        !self.state.lock().bytes.is_empty()
    }

    /// For the worker: nobody listens any more.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.bytes = Vec::new();
        self.changed.notify_all();
        let call = if state.told_closed || state.ending.is_some() {
            None
        } else {
            state.told_closed = true;
            state.ready.clone()
        };
        drop(state);
        if let Some(ready) = call {
            ready(Err(ErrorKind::Closed));
        }
    }

    fn announce(&self) {
        if !self.announced.swap(true, Ordering::SeqCst) {
            self.owner.stream_ready(self.ticket);
        }
    }
}
