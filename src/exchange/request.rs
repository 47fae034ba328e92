//! The request: its head as received, what was understood of it, and its body.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::params::Params;
use crate::base::limits;
use crate::http::head::{Known, RequestHead};
use crate::http::method::Method;
use crate::http::target::{self, Target};
use crate::http::trace_context::{SpanId, TraceContext};

/// Who is at the other end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// A TCP peer.
    Tcp(SocketAddr),
    /// A peer on a Unix socket.
    Unix,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => address.fmt(f),
            Peer::Unix => f.write_str("unix:"),
        }
    }
}

/// The pattern of a route, as `http.route` of OpenTelemetry has it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Pattern {
    /// One of ours.
    Builtin(&'static str),
    /// One of the host's.
    Host(Arc<str>),
}

impl Pattern {
    /// Its text.
    pub fn as_str(&self) -> &str {
        match self {
            Pattern::Builtin(text) => text,
            Pattern::Host(text) => text,
        }
    }
}

/// The place of a request in a trace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trace {
    /// The trace, and the step that the request is.
    pub context: TraceContext,
    /// The client's step.
    pub parent: Option<SpanId>,
    /// The route that answers, once it is known.
    pub route: Option<Pattern>,
}

/// A request that owns its bytes. Immutable once it has been routed; [`Request::lend`] and the
/// flag for a vanished client are the only things that change behind a shared reference.
pub struct Request {
    raw: Vec<u8>,
    head: RequestHead,
    target: Target,
    params: Params,
    body: Vec<u8>,
    id: RequestId,
    /// The key it showed: of which list, and its place there.
    key: Option<(u64, u32)>,
    peer: Peer,
    trace: Option<Trace>,
    suspicion: u32,
    gone: AtomicBool,
    lent: Mutex<Vec<Box<[u8]>>>,
}

/// Which text of a request is lent to C.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lent {
    /// Start of the text; a NUL follows it.
    pub start: *const u8,
    /// Its length without the NUL.
    pub len: usize,
}

/// A request id: up to 64 visible characters.
#[derive(Clone, Copy)]
struct RequestId {
    text: [u8; RequestId::BYTES_MAX],
    len: u8,
}

impl RequestId {
    const BYTES_MAX: usize = 64;

    /// Takes a client's id over when it is sane: short, and nothing that could confuse a log.
    fn from_client(text: &[u8]) -> Option<RequestId> {
        let sane = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:/+=".contains(b);
        if text.is_empty() || text.len() > Self::BYTES_MAX || !text.iter().all(sane) {
            return None;
        }
        let mut id = RequestId { text: [0; Self::BYTES_MAX], len: text.len() as u8 };
        id.text[..text.len()].copy_from_slice(text);
        Some(id)
    }

    /// Makes one of a number that the caller never uses twice.
    fn from_number(number: u128) -> RequestId {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut id = RequestId { text: [0; Self::BYTES_MAX], len: 32 };
        for (place, byte) in number.to_be_bytes().iter().enumerate() {
            id.text[2 * place] = DIGITS[usize::from(byte >> 4)];
            id.text[2 * place + 1] = DIGITS[usize::from(byte & 15)];
        }
        id
    }
}

impl Default for Request {
    fn default() -> Self {
        Request {
            raw: Vec::new(),
            head: RequestHead::new(),
            target: Target::default(),
            params: Params::new(),
            body: Vec::new(),
            id: RequestId { text: [0; RequestId::BYTES_MAX], len: 0 },
            key: None,
            peer: Peer::Unix,
            trace: None,
            suspicion: 0,
            gone: AtomicBool::new(false),
            lent: Mutex::new(Vec::new()),
        }
    }
}

impl Request {
    /// Above this a reused request gives its memory back, in bytes.
    const KEPT_BYTES_MAX: usize = 16 * 1024;

    /// Takes a parsed head over: copies `bytes` (the head as received) and swaps `head` and
    /// `target` in, leaving the old ones for reuse. `number` makes the request id if the client
    /// sent none that is sane.
    pub fn fill(
        &mut self,
        bytes: &[u8],
        head: &mut RequestHead,
        target: &mut Target,
        peer: Peer,
        number: u128,
    ) {
        self.raw.clear();
        self.raw.extend_from_slice(bytes);
        std::mem::swap(&mut self.head, head);
        std::mem::swap(&mut self.target, target);
        self.params.clear();
        self.body.clear();
        self.peer = peer;
        self.trace = None;
        self.suspicion = 0;
        self.key = None;
        *self.gone.get_mut() = false;
        let lent = self.lent.get_mut();
        if !lent.is_empty() {
            lent.clear();
        }
        self.id = self
            .head
            .find(Known::XRequestId)
            .and_then(|field| RequestId::from_client(field.value.of(&self.raw)))
            .unwrap_or_else(|| RequestId::from_number(number));
    }

    /// The exchange is over: a head that has grown is given back, and the room of a body that has
    /// is handed out, empty, for whoever needs such next.
    pub fn give_back(&mut self) -> Vec<u8> {
        if self.raw.capacity() > Self::KEPT_BYTES_MAX {
            self.raw = Vec::new();
        }
        self.body.clear();
        if self.body.capacity() > limits::SMALL_BODY_BYTES_MAX {
            std::mem::take(&mut self.body)
        } else {
            Vec::new()
        }
    }

    /// Bytes of memory that it keeps for reuse.
    pub fn kept_bytes(&self) -> usize {
        self.raw.capacity() + self.body.capacity()
    }

    /// What the head says.
    pub fn head(&self) -> &RequestHead {
        &self.head
    }

    /// The head as received; every [`Span`] of the head refers to it.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.head.method
    }

    /// The method as received.
    pub fn method_text(&self) -> &[u8] {
        self.head.method_text.of(&self.raw)
    }

    /// The path, decoded and normalized.
    pub fn path(&self) -> &[u8] {
        self.target.path(&self.raw)
    }

    /// The request target as received.
    pub fn target_text(&self) -> &[u8] {
        self.head.target.of(&self.raw)
    }

    /// The raw query, without the question mark.
    pub fn query(&self) -> &[u8] {
        self.target.query(&self.raw)
    }

    /// Writes the decoded value of the first query parameter of this name to `out`; false when
    /// there is none.
    pub fn query_value(&self, name: &[u8], out: &mut Vec<u8>) -> bool {
        target::query_value(self.query(), name, out)
    }

    /// The value of a parameter of the matched route.
    pub fn param(&self, name: &[u8]) -> Option<&[u8]> {
        Some(self.params.get(name)?.of(self.path()))
    }

    /// Takes over the parameters that the route found in the path; leaves the old ones for reuse.
    pub fn swap_params(&mut self, params: &mut Params) {
        std::mem::swap(&mut self.params, params);
    }

    /// The value of the first field with this known name.
    pub fn known(&self, known: Known) -> Option<&[u8]> {
        self.head.find(known).map(|field| field.value.of(&self.raw))
    }

    /// Whether its Connection field names keep-alive (RFC 9112 section 9.3).
    pub fn asks_to_stay(&self) -> bool {
        self.head.asks_to_stay()
    }

    /// All values of the fields of this name, any case, in order of arrival.
    pub fn header_values<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.head
            .fields
            .iter()
            .filter(move |field| field.name.of(&self.raw).eq_ignore_ascii_case(name))
            .map(|field| field.value.of(&self.raw))
    }

    /// The value of a header, repeated ones joined with ", " (Cookie with "; ", RFC 6265
    /// section 5.4). False when there is none.
    pub fn header(&self, name: &[u8], out: &mut Vec<u8>) -> bool {
        let glue: &[u8] = if name.eq_ignore_ascii_case(b"cookie") { b"; " } else { b", " };
        let mut found = false;
        for value in self.header_values(name) {
            if found {
                out.extend_from_slice(glue);
            }
            out.extend_from_slice(value);
            found = true;
        }
        found
    }

    /// How many header fields were received.
    pub fn header_count(&self) -> usize {
        self.head.fields.len()
    }

    /// Name and value of one field as received.
    pub fn header_at(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let field = self.head.fields.get(index)?;
        Some((field.name.of(&self.raw), field.value.of(&self.raw)))
    }

    /// The body, decoded from its transfer coding.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body while it is being received.
    pub fn body_mut(&mut self) -> &mut Vec<u8> {
        &mut self.body
    }

    /// The request id: the client's when it was sane, else ours.
    pub fn id(&self) -> &[u8] {
        &self.id.text[..usize::from(self.id.len)]
    }

    /// The request id as text.
    pub fn id_text(&self) -> &str {
        std::str::from_utf8(self.id()).unwrap_or("")
    }

    /// Notes which key it showed: of which list, and the place in it.
    pub fn set_key(&mut self, key: Option<(u64, u32)>) {
        self.key = key;
    }

    /// Says where in a trace it stands.
    pub fn set_trace(&mut self, trace: Trace) {
        self.trace = Some(trace);
    }

    /// Notes what route answers, for its trace.
    pub fn set_route(&mut self, route: Option<Pattern>) {
        if let Some(trace) = &mut self.trace {
            trace.route = route;
        }
    }

    /// Where in a trace it stands, when that is told to a collector.
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    /// Which key it showed, if that was noted.
    pub fn key(&self) -> Option<(u64, u32)> {
        self.key
    }

    /// Who sent it: the client, also behind trusted proxies.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// The score that the firewall has given its head.
    pub fn suspicion(&self) -> u32 {
        self.suspicion
    }

    /// Keeps that score for the inspection of the body.
    pub fn set_suspicion(&mut self, score: u32) {
        self.suspicion = score;
    }

    /// Names the client that a trusted proxy tells of.
    pub fn set_peer(&mut self, peer: Peer) {
        self.peer = peer;
    }

    /// Whether the client has gone.
    pub fn is_gone(&self) -> bool {
        // Relaxed: a hint that carries no other data with it.
        self.gone.load(Ordering::Relaxed)
    }

    /// Tells whoever answers later that nobody listens any more.
    pub fn set_gone(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    /// Copies `text` into memory that lives as long as this request, NUL-terminated. The same
    /// text is copied once.
    pub fn lend(&self, text: &[u8]) -> Lent {
        let mut lent = self.lent.lock();
        let same = |kept: &[u8]| kept.split_last().is_some_and(|(_, kept)| kept == text);
        if let Some(kept) = lent.iter().find(|kept| same(kept)) {
            return Lent { start: kept.as_ptr(), len: text.len() };
        }
        let mut copy = Vec::with_capacity(text.len() + 1);
        copy.extend_from_slice(text);
        copy.push(0);
        let copy = copy.into_boxed_slice();
        let start = copy.as_ptr();
        lent.push(copy);
        Lent { start, len: text.len() }
    }

    /// Ends the body with a NUL that does not count, so that C may read it as text.
    pub fn terminate_body(&mut self) {
        self.body.reserve(1);
        let len = self.body.len();
        self.body.push(0);
        self.body.truncate(len);
    }
}
