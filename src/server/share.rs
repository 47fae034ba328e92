//! Answers that several requests share: seats for clients, and the calls that make the answers.
//!
//! The call that makes an answer has no client of its own; every client of it, the first one too,
//! listens. Listeners may be connections of any worker, or threads of the host program.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::call::Sink;
use super::host::Piece;
use super::mailbox::{Mailbox, Message};
use super::worker::Worker;
use crate::base::error::Failure;
use crate::base::slab::Key;
use crate::cache::flight::{End, Leader, Listener, Step};
use crate::exchange::{Taken, Ticket};
use crate::pipeline::{
    AnswerFlight, AnswerPlace, Begin, Call, Pull, Refusal, Replay, Sought, cut_off,
};

/// Bytes read from a shared answer at once.
const PIECE_BYTES: usize = 64 * 1024;

/// A connection's seat.
pub(super) struct Joined {
    place: AnswerPlace,
    /// What its client is told of the cache.
    mark: &'static [u8],
    /// A whole answer, until it is complete.
    begin: Option<Arc<Begin>>,
    body: Vec<u8>,
}

/// A connection as the listener.
struct ConnListener {
    mailbox: Arc<Mailbox>,
    ticket: Ticket,
}

impl Listener for ConnListener {
    fn moved(&self) {
        self.mailbox.post(Message::SharedMoved(self.ticket));
    }
}

/// The call that makes the answer, as listeners see it.
pub(super) struct CallLeader {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) key: Key,
}

impl Leader for CallLeader {
    fn resume(&self) {
        self.mailbox.post(Message::HostReady(self.key));
    }

    fn cancel(&self) {
        self.mailbox.post(Message::HostCancel(self.key));
    }
}

/// The body of a shared stream on its way to one client.
struct SharedPull(AnswerPlace);

impl Pull for SharedPull {
    fn pull(&mut self, out: &mut Vec<u8>, bytes_wanted: usize) -> Taken {
        match self.0.read(out, bytes_wanted) {
            Step::Head(_) | Step::Bytes | Step::Wait => Taken::More,
            Step::End(End::Complete) => Taken::End,
            Step::End(_) => Taken::Abort,
        }
    }
}

impl Worker {
    /// A request of a client whose answer may be shared: finds it, joins it or has it made.
    pub(super) fn start_shared(&mut self, mut call: Box<Call>, ticket: Ticket) {
        let Some(want) = &call.want else { return };
        let mailbox = Arc::clone(&self.mailbox);
        let listener = Arc::new(ConnListener { mailbox, ticket });
        let now_s = u64::try_from(self.unix_seconds()).unwrap_or(0);
        match self.app.cache.seek(want, listener, now_s) {
            Sought::Answer(answer) => {
                let mut response = crate::exchange::Response::default();
                answer.fill(&mut response, b"hit");
                if answer.is_stream() {
                    self.relay_pull(ticket, response, Box::new(Replay::new(answer)), None, None);
                } else {
                    self.relay_whole(ticket, response, None);
                }
            }
            Sought::Join(place) => {
                self.seat(ticket, place, b"coalesced");
                // What is there already is not told.
                self.on_shared(ticket);
            }
            Sought::Lead(duty, place) => {
                let mark: &[u8] = if want.reads() { b"miss" } else { b"bypass" };
                self.seat(ticket, place, mark);
                let want = Box::new(want.clone());
                call.asker = Some(ticket);
                self.start_call(call, Sink::Shared(duty, want));
            }
        }
    }

    /// A client that has gone meanwhile gives its place up here.
    fn seat(&mut self, ticket: Ticket, place: AnswerPlace, mark: &'static [u8]) {
        if let Some(active) = self.waiting_active(ticket) {
            active.joined = Some(Box::new(Joined { place, mark, begin: None, body: Vec::new() }));
        }
    }

    /// There is more of a shared answer that a client waits for.
    pub(super) fn on_shared(&mut self, ticket: Ticket) {
        let Some(active) = self.waiting_active(ticket) else { return };
        let Some(mut joined) = active.joined.take() else {
            // Its stream has begun: the connection pulls.
            self.drive(Key(ticket.place));
            return;
        };
        loop {
            match joined.place.read(&mut joined.body, PIECE_BYTES) {
                Step::Head(begin) if begin.is_whole => joined.begin = Some(begin),
                Step::Head(begin) => {
                    let mut response = begin.response.clone();
                    let length = begin.length;
                    remark(&mut response, joined.mark);
                    self.relay_pull(
                        ticket,
                        response,
                        Box::new(SharedPull(joined.place)),
                        length,
                        None,
                    );
                    return;
                }
                Step::Bytes => {}
                Step::Wait => {
                    if let Some(active) = self.waiting_active(ticket) {
                        active.joined = Some(joined);
                    }
                    return;
                }
                Step::End(end) => {
                    self.end_shared(ticket, *joined, end);
                    return;
                }
            }
        }
    }

    fn end_shared(&mut self, ticket: Ticket, joined: Joined, end: End<Arc<Refusal>>) {
        match (end, joined.begin) {
            (End::Complete, Some(begin)) => {
                let mut response = begin.response.clone();
                remark(&mut response, joined.mark);
                response.body = joined.body;
                self.relay_whole(ticket, response, None);
            }
            (End::Failed(refusal), _) => {
                let response = refusal.response.clone();
                self.relay_whole(ticket, response, Some(&refusal.failure));
            }
            _ => {
                let response = crate::exchange::Response::default();
                self.relay_whole(ticket, response, Some(&cut_off()));
            }
        }
    }
}

/// Says what the cache did for this one of the listeners.
fn remark(response: &mut crate::exchange::Response, mark: &[u8]) {
    response.headers.remove(b"x-neurohttp-cache");
    response.headers.push(b"x-neurohttp-cache", mark);
}

/// A thread of the host program that listens.
#[derive(Default)]
pub(super) struct SharedCall {
    place: Mutex<Option<AnswerPlace>>,
    state: Mutex<HostState>,
    changed: Condvar,
}

#[derive(Default)]
struct HostState {
    has_moved: bool,
    is_cancelled: bool,
}

impl Listener for SharedCall {
    fn moved(&self) {
        self.state.lock().has_moved = true;
        self.changed.notify_all();
    }
}

impl SharedCall {
    /// Takes its seat.
    pub(super) fn sit(&self, place: AnswerPlace) {
        *self.place.lock() = Some(place);
    }

    /// Waits for the next piece.
    pub(super) fn next(&self) -> Piece {
        loop {
            if self.state.lock().is_cancelled {
                return Piece::Cancelled;
            }
            let mut out = Vec::new();
            let step = self.place.lock().as_ref().map(|place| place.read(&mut out, PIECE_BYTES));
            match step {
                Some(Step::Head(begin)) => {
                    let events = begin.response.headers.get(b"content-type").is_some_and(|value| {
                        value.to_ascii_lowercase().starts_with(b"text/event-stream")
                    });
                    return Piece::Head(events);
                }
                Some(Step::Bytes) => return Piece::Bytes(out),
                Some(Step::Wait) => {
                    let mut state = self.state.lock();
                    while !state.has_moved && !state.is_cancelled {
                        self.changed.wait(&mut state);
                    }
                    state.has_moved = false;
                }
                Some(Step::End(End::Complete)) => return Piece::End,
                Some(Step::End(End::Failed(refusal))) => {
                    return Piece::Failed(refusal.failure.clone());
                }
                Some(Step::End(End::Cut)) | None => return Piece::Failed(cut_off()),
            }
        }
    }

    /// Gives the seat up: whoever waits on it returns.
    pub(super) fn cancel(&self) {
        self.state.lock().is_cancelled = true;
        self.changed.notify_all();
        let place = self.place.lock().take();
        drop(place);
    }
}

/// What listeners are told when the server stops.
pub(super) fn stopped(flight: &AnswerFlight) {
    let failure = Failure::new(503, "the server has stopped").code("stopped");
    let response = crate::exchange::Response::default();
    flight.end(End::Failed(Arc::new(Refusal { failure, response })));
}
