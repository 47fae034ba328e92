//! One request and its response in the making.
//!
//! An [`Exchange`] is what handlers and middleware see. The request is shared and immutable (every
//! deferred answer and stream keeps it alive), the response belongs to one thread at a time. What
//! an exchange needs of the server that carries it stands behind the [`Owner`] trait, so this
//! layer knows no socket and no thread.
#![forbid(unsafe_code)]

mod deferred;
mod params;
mod request;
mod response;
mod stream;

use std::sync::Arc;

pub use deferred::Deferred;
pub use params::Params;
pub use request::{Lent, Pattern, Peer, Request, Trace};
pub use response::{HeaderError, HeaderLines, Response};
pub use stream::{ReadyFn, StreamQueue, Taken};

/// Names the place an exchange answers to, so that a late answer can never reach a stranger.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Ticket {
    /// The connection, by slot and generation.
    pub place: u64,
    /// The exchange on it.
    pub serial: u64,
}

/// What an exchange needs of the worker that owns it. Every method may be called on any thread,
/// returns at once and is answered by a message to the worker.
pub trait Owner: Send + Sync {
    /// The deferred answer is complete.
    fn deferred_done(&self, ticket: Ticket, exchange: Box<Exchange>);
    /// The response of `exchange` is the head of a stream whose body follows in `queue`.
    fn stream_started(&self, ticket: Ticket, exchange: Box<Exchange>, queue: Arc<StreamQueue>);
    /// `queue` of this ticket has bytes, or has ended.
    fn stream_ready(&self, ticket: Ticket);
    /// Whether the calling thread is the owner's loop.
    fn is_loop_thread(&self) -> bool;
}

/// How an exchange will be answered when its handler has returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pending {
    /// By its response, now.
    Nothing,
    /// Later, through a [`Deferred`].
    Deferred,
    /// By a stream that has begun.
    Stream,
    /// By its response, which is complete and may be edited, but not put off any more.
    Finishing,
}

/// One request and its response in the making.
pub struct Exchange {
    /// The request; shared with whoever answers later.
    pub request: Arc<Request>,
    /// The response; one thread at a time.
    pub response: Response,
    /// How it is answered after the handler has returned.
    pub pending: Pending,
    /// Middlewares before the handler that it has passed: each sees it once, on whatever thread.
    pub passed: usize,
    /// Under which key its answer may be kept; see the pipeline.
    pub keep: Option<[u8; 32]>,
    /// Headers that go out whatever the answer is, in addition to its own.
    pub added: HeaderLines,
    owner: Arc<dyn Owner>,
    ticket: Ticket,
}

impl Exchange {
    /// An exchange that answers to `ticket` of `owner`.
    pub fn new(request: Arc<Request>, owner: Arc<dyn Owner>, ticket: Ticket) -> Exchange {
        Exchange {
            request,
            response: Response::default(),
            pending: Pending::Nothing,
            passed: 0,
            keep: None,
            added: HeaderLines::default(),
            owner,
            ticket,
        }
    }

    /// The place it answers to.
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// The worker that carries it.
    pub fn owner(&self) -> &Arc<dyn Owner> {
        &self.owner
    }

    /// Gives an idle exchange a new place to answer to and an empty response.
    pub fn reuse(&mut self, ticket: Ticket) {
        self.ticket = ticket;
        self.pending = Pending::Nothing;
        self.passed = 0;
        self.keep = None;
        self.added.clear();
        self.response.clear();
    }

    /// Moves the response in the making into a handle that any thread can complete later.
    /// `None` when the exchange is answered later already.
    pub fn defer(&mut self) -> Option<Deferred> {
        if self.pending != Pending::Nothing {
            return None;
        }
        self.pending = Pending::Deferred;
        Some(Deferred::new(self.split()))
    }

    /// Sends status and headers and opens the body. `None` when the exchange is answered later or
    /// streams already.
    pub fn start_stream(&mut self, bytes_max: usize) -> Option<Arc<StreamQueue>> {
        if self.pending != Pending::Nothing {
            return None;
        }
        self.pending = Pending::Stream;
        let mut head = self.split();
        if head.response.status == 0 {
            // Its body is still to come, so it is not an empty answer.
            head.response.status = 200;
        }
        let queue = Arc::new(StreamQueue::new(
            Arc::clone(&self.owner),
            self.ticket,
            Arc::clone(&self.request),
            bytes_max,
        ));
        self.owner.stream_started(self.ticket, Box::new(head), Arc::clone(&queue));
        Some(queue)
    }

    /// Another exchange over the same request that takes the response with it.
    fn split(&mut self) -> Exchange {
        Exchange {
            request: Arc::clone(&self.request),
            response: std::mem::take(&mut self.response),
            pending: Pending::Nothing,
            passed: self.passed,
            keep: self.keep.take(),
            added: std::mem::take(&mut self.added),
            owner: Arc::clone(&self.owner),
            ticket: self.ticket,
        }
    }
}

/// Answers requests of a route.
pub trait Handler: Send + Sync {
    /// Fills the response, or defers, or starts a stream. `Err` is answered with 500 and logged.
    /// A response that nothing has filled becomes 204.
    fn handle(&self, exchange: &mut Exchange) -> Result<(), String>;
}

/// What an answer came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Its status.
    pub status: u16,
    /// Bytes of its body as far as they are known: 0 for a stream that begins.
    pub body_bytes: u64,
    /// From the end of the request's head to the answer, in microseconds.
    pub elapsed_us: u64,
}

/// Is told what happens on connections. Called on the loop unless a method says otherwise, so it
/// must not block; it changes nothing.
pub trait Observer: Send + Sync {
    /// The server takes connections. Called on the thread that has started it.
    fn started(&self) {}
    /// The drain begins, or the server ends without one. Called once, on a loop or on the thread
    /// that ends the server.
    fn stopping(&self) {}
    /// A connection was accepted.
    fn connected(&self, peer: Peer) {
        let _ = peer;
    }
    /// It is closed.
    fn disconnected(&self, peer: Peer) {
        let _ = peer;
    }
    /// Bytes came in or went out.
    fn moved(&self, received: usize, sent: usize) {
        let _ = (received, sent);
    }
    /// The head of a request was understood.
    fn requested(&self, request: &Request) {
        let _ = request;
    }
    /// An answer, or the head of a stream, goes out. Without a request: to bytes that are none.
    fn answered(&self, request: Option<&Request>, outcome: &Outcome) {
        let _ = (request, outcome);
    }
}

/// What a middleware decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Flow {
    /// Go on.
    Next,
    /// The response is filled: go no further.
    Answered,
    /// Answer 500 and log the reason.
    Fail(String),
}

/// Looks at requests before they are answered, or at responses before they are sent.
pub trait Middleware: Send + Sync {
    /// One exchange passes.
    fn pass(&self, exchange: &mut Exchange) -> Flow;
}
