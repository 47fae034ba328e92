//! The body of a streamed response: one bounded queue between whoever writes and the worker.
//!
//! Writers on any thread append, the worker takes. A writer that finds the queue full is told so,
//! and called back or woken when what it wanted to write fits and half of the queue is free.

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
    /// A write was refused and `ready` has not been called since.
    owes_call: bool,
    /// The largest write that was refused since somebody was told that there is room, in bytes.
    refused_bytes: usize,
    ready: Option<ReadyFn>,
}

impl State {
    fn refuse(&mut self, bytes: usize) -> ErrorKind {
        self.owes_call = true;
        self.refused_bytes = self.refused_bytes.max(bytes);
        ErrorKind::WouldBlock
    }

    /// Whether there is room worth telling: what was refused fits, and not only just, so that a
    /// writer of small pieces is not called for each of them.
    fn has_room(&self, bytes_max: usize) -> bool {
        let waiting = self.bytes.len();
        waiting == 0 || (waiting <= bytes_max / 2 && waiting + self.refused_bytes <= bytes_max)
    }
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

    /// Appends what `fill` appends, whole or not at all; at least `bytes_least`.
    ///
    /// # Errors
    /// As [`StreamQueue::write`].
    pub fn write_with(
        &self,
        bytes_least: usize,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), ErrorKind> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(ErrorKind::Closed);
        }
        if state.ending.is_some() {
            return Err(ErrorKind::State);
        }
        if bytes_least > self.bytes_max {
            return Err(ErrorKind::Limit);
        }
        let before = state.bytes.len();
        if before + bytes_least > self.bytes_max {
            return Err(state.refuse(bytes_least));
        }
        fill(&mut state.bytes);
        let added = state.bytes.len() - before;
        if state.bytes.len() > self.bytes_max {
            state.bytes.truncate(before);
            let too_large = added > self.bytes_max;
            return Err(if too_large { ErrorKind::Limit } else { state.refuse(added) });
        }
        drop(state);
        self.announce();
        Ok(())
    }

    /// Ends the body. Harmless when it has ended. Whoever ends it is not called any more.
    pub fn finish(&self, ending: Taken) {
        let mut state = self.state.lock();
        if state.ending.is_none() {
            state.ending = Some(ending);
            if ending == Taken::Abort {
                state.bytes = Vec::new();
            }
        }
        let ready = state.ready.take();
        drop(state);
        // Outside the lock: dropping it may run a destructor of the host's.
        drop(ready);
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
            if state.has_room(self.bytes_max) {
                state.refused_bytes = 0;
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

    /// Sets who is called, on the loop thread, when the queue takes more and when it is closed;
    /// returns whom it replaces. A write that was refused before counts: its call is still due.
    ///
    /// # Errors
    /// `Closed` when nobody listens, `State` after the end: no call would ever come.
    pub fn on_ready(&self, ready: ReadyFn) -> Result<Option<ReadyFn>, ErrorKind> {
        let mut state = self.state.lock();
        if state.closed || state.ending.is_some() {
            let error = if state.closed { ErrorKind::Closed } else { ErrorKind::State };
            drop(state);
            return Err(error);
        }
        let old = state.ready.replace(ready);
        let is_due = state.owes_call && state.has_room(self.bytes_max);
        drop(state);
        if is_due {
            // The worker has taken what there was; nothing else would make it look again.
            self.announce();
        }
        Ok(old)
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
        let has_room = state.has_room(self.bytes_max);
        if has_room && count > 0 {
            self.changed.notify_all();
        }
        let is_due = has_room && state.owes_call && state.ending.is_none();
        let ready = if is_due { state.ready.clone() } else { None };
        if ready.is_some() {
            state.owes_call = false;
            state.refused_bytes = 0;
        }
        drop(state);
        if let Some(ready) = ready {
            ready(Ok(()));
        }
        taken
    }

    /// For the worker: whether there is anything to take.
    pub fn has_bytes(&self) -> bool {
        !self.state.lock().bytes.is_empty()
    }

    /// For the worker: nobody listens any more. Tells so, once, whoever set a callback.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.bytes = Vec::new();
        let ready = state.ready.take();
        self.changed.notify_all();
        drop(state);
        if let Some(ready) = ready {
            ready(Err(ErrorKind::Closed));
        }
    }

    fn announce(&self) {
        if !self.announced.swap(true, Ordering::SeqCst) {
            self.owner.stream_ready(self.ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::sync::mpsc::channel;

    use super::super::Exchange;
    use super::*;

    /// Counts messages; no thread is a loop.
    #[derive(Default)]
    struct Counting {
        announced: AtomicU32,
    }

    impl Owner for Counting {
        fn deferred_done(&self, _: Ticket, _: Box<Exchange>) {}
        fn stream_started(&self, _: Ticket, _: Box<Exchange>, _: Arc<StreamQueue>) {}
        fn stream_ready(&self, _: Ticket) {
            self.announced.fetch_add(1, Ordering::Relaxed);
        }
        fn is_loop_thread(&self) -> bool {
            false
        }
    }

    fn queue(bytes_max: usize) -> (Arc<StreamQueue>, Arc<Counting>) {
        let owner = Arc::new(Counting::default());
        let shared = Arc::clone(&owner) as Arc<dyn Owner>;
        let ticket = Ticket { place: 0, serial: 0 };
        let queue = StreamQueue::new(shared, ticket, Arc::new(Request::default()), bytes_max);
        (Arc::new(queue), owner)
    }

    type Calls = Arc<Mutex<Vec<Result<(), ErrorKind>>>>;

    fn recorder() -> (ReadyFn, Calls) {
        let calls = Calls::default();
        let kept = Arc::clone(&calls);
        (Arc::new(move |status| kept.lock().push(status)), calls)
    }

    fn take(queue: &StreamQueue, bytes_max: usize) -> (Vec<u8>, Taken) {
        let mut out = Vec::new();
        let taken = queue.take(&mut out, bytes_max);
        (out, taken)
    }

    #[test]
    fn writes_are_whole_or_not_at_all() {
        let (queue, owner) = queue(10);
        assert_eq!(queue.write(b"12345678901"), Err(ErrorKind::Limit));
        assert_eq!(queue.write(b"123456"), Ok(()));
        assert_eq!(queue.write(b"12345"), Err(ErrorKind::WouldBlock));
        assert_eq!(queue.write_with(1, |out| out.extend(b"12345")), Err(ErrorKind::WouldBlock));
        assert_eq!(queue.write_with(1, |out| out.extend([0; 11])), Err(ErrorKind::Limit));
        assert_eq!(queue.write(b"7890"), Ok(()));
        // One message is enough until the worker has looked.
        assert_eq!(owner.announced.load(Ordering::Relaxed), 1);
        assert_eq!(take(&queue, 4), (b"1234".to_vec(), Taken::More));
        queue.finish(Taken::End);
        assert_eq!(queue.write(b"x"), Err(ErrorKind::State));
        assert_eq!(take(&queue, 100), (b"567890".to_vec(), Taken::End));
        queue.close();
        assert_eq!(queue.write(b"x"), Err(ErrorKind::Closed));
    }

    #[test]
    fn ready_comes_once_for_refused_writes_and_when_they_fit() {
        let (queue, _) = queue(10);
        let (ready, calls) = recorder();
        assert!(queue.on_ready(ready).unwrap().is_none());
        queue.write(b"1234567").unwrap();
        take(&queue, 100);
        assert!(calls.lock().is_empty(), "nothing was refused");
        queue.write(b"1234567").unwrap();
        for _ in 0..2 {
            assert_eq!(queue.write(b"12345678"), Err(ErrorKind::WouldBlock));
        }
        // Half of it is free, but what was refused would not fit.
        take(&queue, 3);
        assert!(calls.lock().is_empty());
        take(&queue, 100);
        take(&queue, 100);
        assert_eq!(*calls.lock(), [Ok(())]);
    }

    #[test]
    fn a_callback_set_after_the_refusal_is_not_forgotten() {
        let (queue, owner) = queue(4);
        queue.write(b"1234").unwrap();
        assert_eq!(queue.write(b"1"), Err(ErrorKind::WouldBlock));
        take(&queue, 100);
        let before = owner.announced.load(Ordering::Relaxed);
        let (ready, calls) = recorder();
        queue.on_ready(ready).unwrap();
        assert_eq!(owner.announced.load(Ordering::Relaxed), before + 1);
        take(&queue, 100);
        assert_eq!(*calls.lock(), [Ok(())]);
    }

    #[test]
    fn closing_is_told_once_and_ends_registration() {
        let (queue, _) = queue(4);
        let (first, first_calls) = recorder();
        let (second, second_calls) = recorder();
        queue.on_ready(first).unwrap();
        assert!(queue.on_ready(second).unwrap().is_some());
        queue.close();
        queue.close();
        assert!(first_calls.lock().is_empty());
        assert_eq!(*second_calls.lock(), [Err(ErrorKind::Closed)]);
        assert_eq!(queue.on_ready(recorder().0).err(), Some(ErrorKind::Closed));
        assert_eq!(queue.wait(None), Err(ErrorKind::Closed));
    }

    #[test]
    fn an_ended_stream_frees_its_callback_without_a_call() {
        let (queue, _) = queue(4);
        let (ready, calls) = recorder();
        queue.on_ready(ready).unwrap();
        queue.finish(Taken::Abort);
        assert_eq!(Arc::strong_count(&calls), 1);
        queue.close();
        assert!(calls.lock().is_empty());
    }

    #[test]
    fn a_waiting_writer_wakes_when_its_bytes_fit() {
        let (queue, _) = queue(10);
        queue.write(b"1234567").unwrap();
        assert_eq!(queue.write(b"12345678"), Err(ErrorKind::WouldBlock));
        // What was refused would not fit beside four bytes.
        take(&queue, 3);
        assert_eq!(queue.wait(Some(Duration::ZERO)), Err(ErrorKind::Timeout));
        let waiting = Arc::clone(&queue);
        let (done, result) = channel();
        let thread = std::thread::spawn(move || {
            let waited = waiting.wait(None);
            done.send((waited, waiting.write(b"12345678"))).unwrap();
        });
        take(&queue, 100);
        assert_eq!(result.recv().unwrap(), (Ok(()), Ok(())));
        thread.join().unwrap();
    }
}
