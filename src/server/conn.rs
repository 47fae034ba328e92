//! One client connection: what it keeps while idle, and what it borrows while bytes are in flight.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use super::access::Told;
use super::coded::Coded;
use super::deadline::Deadline;
use super::share::Joined;
use super::stats::WorkerStats;
use super::telemetry::Observed;
use super::transport::Tls;
use crate::base::slab::Key;
use crate::exchange::{Exchange, Peer, StreamQueue};
use crate::http::encode;
use crate::http::framing::BodyDecoder;
use crate::http::head::{Body, RequestHead};
use crate::http::target::Target;
use crate::pipeline::{Matched, PageMaking, Pull};
use std::sync::Arc;

/// What a connection keeps all the time.
pub(super) struct Conn {
    pub(super) fd: OwnedFd,
    pub(super) peer: Peer,
    /// Of a connection that speaks TLS; what it borrows has it meanwhile.
    pub(super) tls: Option<Box<Tls>>,
    /// The address among whose connections it counts, whoever a balancer says the client is.
    pub(super) counted: Option<IpAddr>,
    pub(super) deadline: Deadline,
    pub(super) requests: u32,
    /// When it was taken, and when bytes last moved, monotonic milliseconds.
    pub(super) opened_ms: u64,
    pub(super) moved_ms: u64,
    pub(super) received_bytes: u64,
    /// Without those that `active` still counts.
    pub(super) sent_bytes: u64,
    /// The kernel may hold unread bytes: the edge has been seen and not been read dry.
    pub(super) is_readable: bool,
    /// The peer has ended its sending side.
    pub(super) peer_ended: bool,
    /// It waits in the worker's ready list.
    pub(super) is_listed: bool,
    /// A trusted balancer may say first who the client is (PROXY protocol).
    pub(super) awaits_preface: bool,
    /// Borrowed while bytes are in flight or an exchange is open.
    pub(super) active: Option<Box<Active>>,
    /// As what it counts among the figures.
    pub(super) doing: Doing,
}

impl Conn {
    pub(super) fn new(fd: OwnedFd, peer: Peer, tls: Option<Box<Tls>>) -> Conn {
        Conn {
            fd,
            peer,
            tls,
            deadline: Deadline::default(),
            requests: 0,
            opened_ms: 0,
            moved_ms: 0,
            received_bytes: 0,
            sent_bytes: 0,
            is_readable: false,
            peer_ended: false,
            is_listed: false,
            awaits_preface: false,
            counted: None,
            active: None,
            doing: Doing::Idle,
        }
    }
}

impl Conn {
    /// What it is doing now.
    fn doing(&self) -> Doing {
        match self.active.as_ref().map(|active| active.phase) {
            None => Doing::Idle,
            Some(Phase::Head | Phase::Body | Phase::Draining) => Doing::Reading,
            Some(Phase::Answering) => Doing::Answering,
            Some(Phase::Streaming) => Doing::Streaming,
            Some(Phase::Lingering) => Doing::Closing,
        }
    }

    /// Counts it as what it is doing now.
    pub(super) fn recount(&mut self, stats: &WorkerStats) {
        let now = self.doing();
        if now != self.doing {
            stats.doing[self.doing as usize].sub(1);
            stats.doing[now as usize].add(1);
            self.doing = now;
        }
    }
}

/// Where the connection is in its exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Waiting for a head, or for the rest of it.
    Head,
    /// Reading a body.
    Body,
    /// Somebody else has the exchange: the pool, a deferred answer, a relay.
    Answering,
    /// The head of the answer is out, its body follows.
    Streaming,
    /// The answer is complete before the body was: the rest is read and dropped.
    Draining,
    /// Our side has ended; waiting for the peer's end, so that it can read what we sent.
    Lingering,
}

/// What a connection is doing, as figures tell it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Doing {
    /// Nothing: no byte of a request has come.
    Idle,
    /// Its request comes.
    Reading,
    /// Its answer is being made.
    Answering,
    /// Its answer goes out as a stream.
    Streaming,
    /// It waits for the peer to end.
    Closing,
}

impl Doing {
    /// All of them with their names, in the order of their numbers.
    pub(super) const ALL: [(Doing, &str); 5] = [
        (Doing::Idle, "idle"),
        (Doing::Reading, "reading"),
        (Doing::Answering, "answering"),
        (Doing::Streaming, "streaming"),
        (Doing::Closing, "closing"),
    ];
}

/// Where the body of a streamed answer comes from.
pub(super) enum Source {
    None,
    Queue(Arc<StreamQueue>),
    /// It is made here; the attempt at a model that it is, when a collector is told.
    Pull(Box<dyn Pull>, Option<Box<Observed>>),
    /// A call of this worker pushes it.
    Call,
}

/// What a connection borrows from its worker.
pub(super) struct Active {
    pub(super) phase: Phase,
    /// What the connection speaks through.
    pub(super) tls: Option<Box<Tls>>,
    /// Tells the exchanges of this connection apart.
    pub(super) serial: u64,
    /// The first bytes of a head are here, the deadline for the whole of it runs.
    pub(super) head_began: bool,
    /// The deadline that runs is that of a slow reader.
    pub(super) awaits_write: bool,
    /// What the kernel held for the peer when that deadline was set, in bytes.
    pub(super) unacknowledged: u32,
    pub(super) head: RequestHead,
    pub(super) target: Target,
    /// Bytes received and not consumed.
    pub(super) input: Vec<u8>,
    /// Bytes to send; those before `sent` are out.
    pub(super) output: Vec<u8>,
    pub(super) sent: usize,
    /// Bytes that the socket has taken since it was borrowed.
    pub(super) sent_bytes: u64,
    pub(super) exchange: Option<Box<Exchange>>,
    pub(super) matched: Matched,
    pub(super) decoder: BodyDecoder,
    pub(super) body_bytes_max: u64,
    /// Nobody will look at the body: it is read so that what breaks its framing is refused.
    pub(super) is_unwanted: bool,
    /// Charged to the budget of AI bodies.
    pub(super) charged_bytes: u64,
    pub(super) is_ai: bool,
    pub(super) drained_bytes: u64,
    pub(super) source: Source,
    /// The call that answers the exchange.
    pub(super) call: Option<Key>,
    /// Its seat at an answer that several share, until that begins.
    pub(super) joined: Option<Box<Joined>>,
    /// The streamed body is in chunks; else the connection's end ends it.
    pub(super) is_chunked: bool,
    /// The streamed body is compressed; then it is in chunks too.
    pub(super) coded: Option<Box<Coded>>,
    /// What is kept of the streamed body.
    pub(super) page: Option<Box<PageMaking>>,
    /// It was, and counts among the worker's encoders until the exchange ends.
    pub(super) is_coded: bool,
    /// The answer goes out without its body (HEAD).
    pub(super) is_bodiless: bool,
    /// A client that half-closes has gone: an AI answer is under way on the pool.
    pub(super) hangs_on_client: bool,
    /// The connection closes when the output is out.
    pub(super) close_after: bool,
    /// It is the client's wish, who promises to send nothing more (RFC 9112 section 9.6).
    pub(super) is_last_wish: bool,
    /// The socket took less than it was given.
    pub(super) is_blocked: bool,
    /// What the answer has come to so far.
    pub(super) told: Told,
}

impl Default for Active {
    fn default() -> Self {
        Active {
            phase: Phase::Head,
            tls: None,
            serial: 0,
            head_began: false,
            awaits_write: false,
            unacknowledged: 0,
            head: RequestHead::new(),
            target: Target::default(),
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            sent_bytes: 0,
            exchange: None,
            matched: Matched::Nothing,
            decoder: BodyDecoder::new(Body::None),
            body_bytes_max: 0,
            is_unwanted: false,
            charged_bytes: 0,
            is_ai: false,
            drained_bytes: 0,
            source: Source::None,
            call: None,
            joined: None,
            is_chunked: false,
            coded: None,
            page: None,
            is_coded: false,
            is_bodiless: false,
            hangs_on_client: false,
            close_after: false,
            is_last_wish: false,
            is_blocked: false,
            told: Told::default(),
        }
    }
}

impl Drop for Active {
    /// Usually it is idle by then; when its worker has panicked it is not, and nobody else tells.
    fn drop(&mut self) {
        if let Some(exchange) = &self.exchange {
            exchange.request.set_gone();
        }
        if let Source::Queue(queue) = &self.source {
            queue.close();
        }
    }
}

impl Active {
    /// Bytes that wait to be sent; those that are encrypted already count for one.
    #[inline]
    pub(super) fn unsent(&self) -> usize {
        let encrypted = self.tls.as_ref().is_some_and(|tls| tls.is_unsent());
        self.output.len() - self.sent + usize::from(encrypted)
    }

    /// Appends body bytes of a streamed answer, framed as its head says.
    pub(super) fn append_body(&mut self, bytes: &[u8]) {
        match &mut self.coded {
            Some(coded) => coded.feed(bytes, &mut self.output),
            None if self.is_chunked => encode::chunk(&mut self.output, bytes),
            None => self.output.extend_from_slice(bytes),
        }
    }

    /// Nothing more is appended in this turn: what an encoder holds back goes out.
    pub(super) fn flush_body(&mut self) {
        if let Some(coded) = &mut self.coded {
            coded.flush(&mut self.output);
        }
    }

    /// The streamed answer is complete.
    pub(super) fn end_body(&mut self) {
        match self.coded.take() {
            // Without its last chunk a body that broke does not look whole.
            Some(coded) => self.close_after |= !coded.finish(&mut self.output),
            None if self.is_chunked => self.output.extend_from_slice(encode::LAST_CHUNK),
            None => {}
        }
    }

    /// Bytes of memory that it keeps for the next connection.
    pub(super) fn kept_bytes(&self) -> usize {
        size_of::<Active>() + self.input.capacity() + self.output.capacity()
    }

    /// Nothing is in flight: the connection can do without it.
    pub(super) fn is_idle(&self) -> bool {
        self.phase == Phase::Head
            && self.input.is_empty()
            && self.output.is_empty()
            && !self.close_after
            && self.unsent() == 0
    }

    /// Ready for another connection. Memory that has grown is given back.
    pub(super) fn reset(&mut self, bytes_max: usize) {
        self.phase = Phase::Head;
        self.tls = None;
        self.head_began = false;
        self.awaits_write = false;
        self.head.reset();
        for buffer in [&mut self.input, &mut self.output] {
            if buffer.capacity() > bytes_max {
                *buffer = Vec::new();
            }
            buffer.clear();
        }
        self.sent = 0;
        self.sent_bytes = 0;
        self.exchange = None;
        self.matched = Matched::Nothing;
        self.charged_bytes = 0;
        self.is_ai = false;
        self.drained_bytes = 0;
        self.source = Source::None;
        self.call = None;
        self.joined = None;
        self.is_chunked = false;
        self.coded = None;
        self.page = None;
        self.is_bodiless = false;
        self.hangs_on_client = false;
        self.close_after = false;
        self.is_last_wish = false;
        self.is_blocked = false;
    }
}
