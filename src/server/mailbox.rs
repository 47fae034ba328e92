//! Messages to a worker from any thread.
//!
//! The queue is the standard library's lock-free channel; an eventfd wakes the worker, written
//! once until the worker has looked. A worker that writes to itself looks before it sleeps, so it
//! costs no system call.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::census::Counted;
use super::host::HostSink;
use crate::base::slab::Key;
use crate::exchange::{Exchange, Owner, Peer, StreamQueue, Ticket};
use crate::pipeline::{AnswerFlight, Call, Step};
use crate::sys::wake::Wake;

/// What other threads tell a worker.
pub(super) enum Message {
    /// A connection that another worker has accepted.
    Accepted(Accepted),
    /// The blocking pool has taken an exchange through its stages.
    Returned(Ticket, Box<Exchange>, Step),
    /// A deferred answer is complete.
    DeferredDone(Ticket, Box<Exchange>),
    /// A stream has begun.
    StreamStarted(Ticket, Box<Exchange>, Arc<StreamQueue>),
    /// A stream has bytes or has ended.
    StreamReady(Ticket),
    /// A name was looked up: host, port, what was found.
    Resolved(String, u16, Result<Arc<[SocketAddr]>, String>),
    /// The host program calls a model.
    HostStart(Box<Call>, HostSink),
    /// The host program wants an answer that others may share.
    SharedStart(Box<Call>, Arc<AnswerFlight>),
    /// There is more of a shared answer that a connection waits for.
    SharedMoved(Ticket),
    /// A host call has room again.
    HostReady(Key),
    /// A host call was cancelled.
    HostCancel(Key),
    /// A model of the host program has said more.
    Made(Key),
    /// The body of an answer was worked out on the pool.
    Worked(Key, Vec<u8>),
    /// Somebody wants to know who is connected.
    Count(Sender<Counted>),
    /// A connection is to be closed; whether it was there is told.
    Close(Key, Sender<bool>),
    /// The optimizer has moved what workers do.
    Tuned,
    /// The loop panics.
    #[cfg(test)]
    Panic,
}

/// A connection that nobody has adopted yet.
pub(super) struct Accepted {
    pub(super) fd: OwnedFd,
    pub(super) peer: Peer,
    /// It came through a listener that speaks TLS.
    pub(super) is_tls: bool,
    /// It counts among the connections of its address.
    pub(super) is_counted: bool,
}

/// The sending side; shared.
pub(super) struct Mailbox {
    sender: Sender<Message>,
    wake: Wake,
    /// The worker has been told and has not looked since.
    told: AtomicBool,
}

thread_local! {
    /// The mailbox of the loop this thread runs, as an address; 0 on other threads.
    static OWN: Cell<usize> = const { Cell::new(0) };
}

/// See [`Mailbox::own`]. Taken away by a panic too.
pub(super) struct Own;

impl Drop for Own {
    fn drop(&mut self) {
        OWN.set(0);
    }
}

/// Whether the calling thread runs a loop of any server or client.
pub fn on_loop_thread() -> bool {
    OWN.get() != 0
}

impl Mailbox {
    pub(super) fn new() -> io::Result<(Arc<Mailbox>, Receiver<Message>)> {
        let (sender, receiver) = channel();
        let mailbox = Mailbox { sender, wake: Wake::new()?, told: AtomicBool::new(false) };
        Ok((Arc::new(mailbox), receiver))
    }

    /// Marks the calling thread as the loop of this mailbox until the mark is dropped.
    pub(super) fn own(&self) -> Own {
        OWN.set(self.address());
        Own
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// False when the worker has ended; the message is dropped then, and with it what it owns.
    pub(super) fn post(&self, message: Message) -> bool {
        if self.sender.send(message).is_err() {
            return false;
        }
        // SeqCst: the swap must not move before the send, or the worker could look too early.
        if !self.told.swap(true, Ordering::SeqCst) && !self.is_loop_thread() {
            self.wake.wake();
        }
        true
    }

    /// Makes the loop turn. Async-signal-safe.
    pub(super) fn wake(&self) {
        self.wake.wake();
    }

    /// The worker is about to read its messages: later ones must tell it anew.
    pub(super) fn begin_reading(&self) -> bool {
        self.told.swap(false, Ordering::SeqCst)
    }

    /// Reading was broken off: there may be messages that nobody was told of since.
    pub(super) fn tell_again(&self) {
        self.told.store(true, Ordering::SeqCst);
    }

    /// Whether there are messages that the worker has not read.
    pub(super) fn has_messages(&self) -> bool {
        self.told.load(Ordering::SeqCst)
    }

    /// The kernel's counter has been seen.
    pub(super) fn clear_wake(&self) {
        self.wake.clear();
    }

    pub(super) fn wake_fd(&self) -> RawFd {
        self.wake.as_raw_fd()
    }
}

impl Owner for Mailbox {
    fn deferred_done(&self, ticket: Ticket, exchange: Box<Exchange>) {
        self.post(Message::DeferredDone(ticket, exchange));
    }

    fn stream_started(&self, ticket: Ticket, exchange: Box<Exchange>, queue: Arc<StreamQueue>) {
        self.post(Message::StreamStarted(ticket, exchange, queue));
    }

    fn stream_ready(&self, ticket: Ticket) {
        self.post(Message::StreamReady(ticket));
    }

    fn is_loop_thread(&self) -> bool {
        OWN.get() == self.address()
    }
}
