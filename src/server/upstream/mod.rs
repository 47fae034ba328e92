//! Connections to providers, on the loop of the worker whose clients they serve.
//!
//! A connection is dialled (addresses in turn, the next one beside the first when that is slow),
//! perhaps led through a proxy and TLS, carries one request at a time and is kept for the next one
//! if nothing about its last answer was in doubt.

mod answer;
mod counts;
mod dial;

use std::collections::VecDeque;
use std::io::ErrorKind as Io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

pub(super) use self::counts::PoolCounts;
use crate::ai::health;
use crate::base::error::Failure;
use crate::base::limits;
use crate::base::slab::Key;
use crate::http::encode;
use crate::http::framing::BodyDecoder;
use crate::http::head::{HeadLimits, Progress, ResponseHead, parse_response};
use crate::http::method::Method;
use crate::kernel::prefetch;
use crate::optimizer::load::PeerLimit;
use crate::pipeline::Provider;
use crate::server::call::{Fault, Sink};
use crate::server::deadline::Deadline;
use crate::server::tls;
use crate::server::transport::Transport;
use crate::server::worker::{MARK_SHIFT, MARK_UP, Worker};
use crate::sys::{epoll, socket};

/// Where a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum UpState {
    Connecting,
    /// Asking a proxy for a tunnel.
    Tunnel,
    Handshake,
    /// Carries a request.
    Busy,
    /// Waits for the next one.
    Idle,
}

/// One connection to a provider.
pub(super) struct Up {
    pub(super) fd: OwnedFd,
    pub(super) provider: Arc<Provider>,
    transport: Transport,
    pub(super) state: UpState,
    pub(super) call: Option<Key>,
    pub(super) deadline: Deadline,
    /// Bytes of head and body that are out.
    sent: usize,
    /// It has carried a request before.
    is_reused: bool,
    /// Bytes of this request's answer have come.
    has_answered: bool,
    /// Sending failed: what the provider said before that may still be read.
    is_deaf: bool,
    is_readable: bool,
    /// The provider has closed or reset: the end stands behind what is left to read.
    is_hung_up: bool,
    is_blocked: bool,
    pub(super) is_listed: bool,
    /// Bytes of a head that is not complete.
    input: Vec<u8>,
    head: ResponseHead,
    in_body: bool,
    decoder: BodyDecoder,
    keep_alive: bool,
    interim: u8,
}

impl Up {
    /// Whether nothing more has come than the answer: bytes that wait here or in TLS would be taken
    /// for the answer to the next request.
    fn is_quiet(&mut self, cipher: &mut Vec<u8>) -> bool {
        cipher.resize(limits::READ_BYTES, 0);
        let got = self.transport.receive(self.fd.as_raw_fd(), &mut [0], cipher);
        self.is_readable = false;
        got.is_err_and(|error| error.kind() == Io::WouldBlock)
    }
}

/// A worker's connections to one provider.
pub(super) struct Pool {
    pub(super) id: u64,
    idle: Vec<Key>,
    open: usize,
    waiting: VecDeque<Key>,
    /// Its provider is no more: what is in use is not kept.
    is_gone: bool,
    /// How many requests may wait for its first byte.
    pub(super) limit: PeerLimit,
    /// The same figures for others to see.
    counts: Arc<PoolCounts>,
}

/// How a request's connection failed.
enum Trouble {
    /// Before the request could go out.
    Dial(Failure),
    /// Before a byte of the answer: another connection may do.
    Connection(Failure),
    /// In the answer, or by a decision about it.
    Answer(Failure),
}

/// No connection, told at once.
const REFUSED: Fault = Fault::Connection(health::Trouble::Refused);

impl Worker {
    // ---- events ----

    pub(super) fn on_up_event(&mut self, key: Key, flags: u32) {
        let Some(up) = self.ups.get_mut(key) else { return };
        if flags & (epoll::IN | epoll::RDHUP | epoll::HUP | epoll::ERR) != 0 {
            up.is_readable = true;
        }
        if flags & (epoll::RDHUP | epoll::HUP | epoll::ERR) != 0 {
            up.is_hung_up = true;
        }
        if flags & epoll::OUT != 0 {
            up.is_blocked = false;
        }
        match up.state {
            UpState::Connecting => {
                let raw = up.fd.as_raw_fd();
                if flags & (epoll::OUT | epoll::HUP | epoll::ERR) == 0 {
                    return;
                }
                match socket::take_error(raw) {
                    Some(error) => self.dial_failed(key, error),
                    None if flags & (epoll::HUP | epoll::ERR) != 0 => {
                        self.dial_failed(key, Io::ConnectionReset.into());
                    }
                    None => self.connected(key),
                }
            }
            // Nothing may come on a connection that nobody has asked anything on.
            UpState::Idle if up.is_readable => self.close_up(key),
            UpState::Idle => {}
            UpState::Tunnel | UpState::Handshake => self.drive_up(key),
            UpState::Busy => {
                if let Some(call) = up.call {
                    self.foresee(call);
                }
                self.drive_up(key);
            }
        }
    }

    /// An answer is about to be read whose request may have waited for long: all that it will touch
    /// is asked for at once.
    fn foresee(&self, call: Key) {
        let Some(state) = self.calls.get(call) else { return };
        prefetch(&**state);
        if let Some(call) = &state.call {
            prefetch(&**call);
        }
        if let Sink::Conn(ticket) = state.sink
            && let Some(conn) = self.conns.get(Key(ticket.place))
            && let Some(active) = &conn.active
        {
            prefetch(&**active);
            if let Some(exchange) = &active.exchange {
                prefetch(&**exchange);
                prefetch(&*exchange.request);
            }
        }
    }

    fn dial_failed(&mut self, key: Key, error: std::io::Error) {
        let call = self.ups.get(key).and_then(|up| up.call);
        self.close_up(key);
        if let Some(call) = call {
            self.dial_next(call, Some(error));
        }
    }

    /// The first address that answers carries the call; others are given up.
    fn connected(&mut self, key: Key) {
        let Some(up) = self.ups.get_mut(key) else { return };
        up.deadline.set(&mut self.wheel, u64::MAX, MARK_UP << MARK_SHIFT | key.0);
        let Some(call) = up.call else {
            self.close_up(key);
            return;
        };
        let needs_tunnel = up.provider.proxy.is_some() && up.provider.base.is_tls;
        up.state = if needs_tunnel { UpState::Tunnel } else { UpState::Handshake };
        up.sent = 0;
        if let Some(state) = self.calls.get_mut(call) {
            state.up = Some(key);
            let others = std::mem::take(&mut state.dials);
            for other in others {
                if other != key {
                    self.close_up(other);
                }
            }
        }
        if !needs_tunnel && !self.begin_tls(key) {
            return;
        }
        self.drive_up(key);
    }

    /// False when the call has failed for it.
    fn begin_tls(&mut self, key: Key) -> bool {
        let Some(up) = self.ups.get_mut(key) else { return false };
        if !up.provider.base.is_tls {
            return true;
        }
        let config = self.core.tls_of(up.provider.id);
        let connection = config
            .ok_or_else(|| "TLS is not set up for it".to_owned())
            .and_then(|config| tls::connection(&config, &up.provider.base.host));
        match connection {
            Ok(connection) => {
                up.transport = Transport::tls(connection);
                true
            }
            Err(reason) => {
                tracing::warn!("the provider {} cannot be reached: {reason}", up.provider.name);
                self.up_failed(key, Trouble::Dial(tls_failed()));
                false
            }
        }
    }

    /// Gives a kept connection its next request.
    fn assign(&mut self, key: Key, call: Key) {
        let Some(up) = self.ups.get_mut(key) else { return };
        up.deadline.set(&mut self.wheel, u64::MAX, MARK_UP << MARK_SHIFT | key.0);
        up.call = Some(call);
        up.is_reused = true;
        self.begin_request(key);
        if let Some(state) = self.calls.get_mut(call) {
            state.up = Some(key);
        }
        self.call_connected(call);
        self.drive_up(key);
    }

    fn begin_request(&mut self, key: Key) {
        let Some(up) = self.ups.get_mut(key) else { return };
        up.state = UpState::Busy;
        up.sent = 0;
        up.has_answered = false;
        up.is_deaf = false;
        up.in_body = false;
        up.interim = 0;
        up.head.reset();
        up.input.clear();
    }

    /// Does all that can be done on a connection now.
    pub(super) fn drive_up(&mut self, key: Key) {
        loop {
            let Some(up) = self.ups.get_mut(key) else { return };
            match up.state {
                UpState::Tunnel => {
                    if !self.open_tunnel(key) {
                        return;
                    }
                }
                UpState::Handshake => {
                    let fd = up.fd.as_raw_fd();
                    let mut scratch = std::mem::take(&mut self.tls_scratch);
                    scratch.resize(limits::READ_BYTES, 0);
                    let done = up.transport.shake_hands(fd, &mut scratch);
                    self.tls_scratch = scratch;
                    match done {
                        Ok(()) => {
                            debug_assert!(up.transport.is_ready());
                            let call = up.call;
                            self.begin_request(key);
                            if let Some(call) = call {
                                self.call_connected(call);
                            }
                        }
                        Err(error) if error.kind() == Io::WouldBlock => return,
                        Err(error) => {
                            tracing::warn!("TLS with {}: {error}", up.provider.name);
                            self.up_failed(key, Trouble::Dial(tls_failed()));
                            return;
                        }
                    }
                }
                UpState::Busy => {
                    if !self.send_request(key) {
                        return;
                    }
                    self.read_answer(key);
                    return;
                }
                UpState::Connecting | UpState::Idle => return,
            }
        }
    }

    /// Asks a proxy for a tunnel (RFC 9110 section 9.3.6). True when it is open.
    fn open_tunnel(&mut self, key: Key) -> bool {
        let Some(up) = self.ups.get_mut(key) else { return false };
        let fd = up.fd.as_raw_fd();
        let Some(proxy) = &up.provider.proxy else { return false };
        let host = &up.provider.base.host;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let target = format!("{host}:{}", up.provider.base.port);
        let mut ask = format!("CONNECT {target} HTTP/1.1\r\n").into_bytes();
        encode::field(&mut ask, b"Host", target.as_bytes());
        ask.extend_from_slice(&proxy.authorization);
        ask.extend_from_slice(b"\r\n");
        let refused = || {
            let failure = Failure::new(502, "the proxy on the way to the provider refused");
            Trouble::Dial(failure.code("upstream_unreachable"))
        };
        while up.sent < ask.len() {
            match socket::send(fd, &ask[up.sent..]) {
                Ok(count) => up.sent += count,
                Err(error) if error.kind() == Io::WouldBlock => return false,
                Err(_) => {
                    self.up_failed(key, refused());
                    return false;
                }
            }
        }
        let mut byte = [0];
        loop {
            // Byte by byte: what follows the head is TLS's.
            match socket::receive(fd, &mut byte) {
                Ok(1) => up.input.push(byte[0]),
                Err(error) if error.kind() == Io::WouldBlock => return false,
                _ => {
                    self.up_failed(key, refused());
                    return false;
                }
            }
            if !up.input.ends_with(b"\r\n\r\n") && up.input.len() < 16 * 1024 {
                continue;
            }
            let parsed = parse_response(&up.input, &answer_limits(), Method::Connect, &mut up.head);
            let status = up.head.status;
            up.input.clear();
            up.head.reset();
            match parsed {
                Ok(Progress::Complete) if (200..300).contains(&status) => {
                    up.state = UpState::Handshake;
                    return self.begin_tls(key);
                }
                _ => {
                    tracing::warn!("the proxy of {} answered {status}", up.provider.name);
                    self.up_failed(key, refused());
                    return false;
                }
            }
        }
    }

    /// Sends what is left of the request. False when the connection has failed.
    fn send_request(&mut self, key: Key) -> bool {
        let Some(up) = self.ups.get_mut(key) else { return false };
        let fd = up.fd.as_raw_fd();
        if up.is_blocked {
            return true;
        }
        match up.transport.flush(fd) {
            Ok(()) => {}
            Err(error) if error.kind() == Io::WouldBlock => return true,
            Err(_) => up.is_deaf = true,
        }
        let Some(state) = up.call.and_then(|call| self.calls.get(call)) else { return true };
        let Some(outgoing) = &state.outgoing else { return true };
        let (head, body) = (&outgoing.head[..], outgoing.body());
        // Two small pieces are copied into one: sendmsg(2) costs more than that.
        let mut joined = std::mem::take(&mut self.relay_scratch);
        joined.clear();
        if up.sent == 0 && head.len() + body.len() <= limits::JOINED_BYTES_MAX {
            joined.extend_from_slice(head);
            joined.extend_from_slice(body);
        }
        while !up.is_deaf && up.sent < head.len() + body.len() {
            let (first, second) = match joined.get(up.sent..) {
                Some(rest) if !rest.is_empty() => (rest, &[][..]),
                _ => {
                    let rest = head.get(up.sent..).unwrap_or_default();
                    (rest, &body[up.sent.saturating_sub(head.len())..])
                }
            };
            match up.transport.send(fd, first, second) {
                Ok(count) => up.sent += count,
                Err(error) if error.kind() == Io::WouldBlock => {
                    up.is_blocked = true;
                    break;
                }
                Err(error) if error.kind() == Io::Interrupted => {}
                Err(_) => {
                    // The provider may have answered before it closed: read that first.
                    up.is_deaf = true;
                    up.is_readable = true;
                }
            }
        }
        self.relay_scratch = joined;
        true
    }

    /// The answer is complete: the connection is kept if nothing about it is in doubt.
    fn up_done(&mut self, key: Key, call: Key) {
        let Some(up) = self.ups.get_mut(key) else { return };
        let is_all_sent = self
            .calls
            .get(call)
            .and_then(|state| state.outgoing.as_ref())
            .is_some_and(|outgoing| up.sent == outgoing.head.len() + outgoing.body().len());
        let is_fit = up.keep_alive && is_all_sent && !up.is_deaf;
        let is_fit = is_fit && (!up.is_readable || up.is_quiet(&mut self.tls_scratch));
        up.call = None;
        if let Some(state) = self.calls.get_mut(call) {
            state.up = None;
        }
        if is_fit {
            self.keep_up(key);
        } else {
            self.close_up(key);
        }
        self.answer_end(call);
    }

    fn keep_up(&mut self, key: Key) {
        let Some(up) = self.ups.get_mut(key) else { return };
        up.state = UpState::Idle;
        let provider = up.provider.id;
        let index = self.pool_index(provider);
        while let Some(call) = self.pools[index].waiting.pop_front() {
            if self.calls.get(call).is_some() {
                self.assign(key, call);
                return;
            }
        }
        if self.is_draining || self.pools[index].is_gone {
            self.close_up(key);
            return;
        }
        self.pools[index].idle.push(key);
        self.set_up_deadline(key, self.now_ms + limits::UPSTREAM_KEPT_MS);
    }

    fn up_failed(&mut self, key: Key, trouble: Trouble) {
        let Some(up) = self.ups.get_mut(key) else { return };
        let call = up.call.take();
        let was_stale = up.is_reused && !up.has_answered;
        let provider = Arc::clone(&up.provider);
        self.close_up(key);
        let Some(call) = call else { return };
        let Some(state) = self.calls.get_mut(call) else { return };
        state.up = None;
        match trouble {
            // A kept connection that closes before its first byte was closed while we sent: the
            // provider has not seen the request. A new connection, once, since that one is not kept.
            Trouble::Connection(_) if was_stale => self.connect_anew(call, &provider),
            Trouble::Dial(failure) => self.attempt_failed(call, failure, REFUSED),
            Trouble::Connection(failure) | Trouble::Answer(failure) => {
                self.attempt_failed(call, failure, Fault::Answer);
            }
        }
    }

    /// Closes a connection; its place goes to a call that waits.
    pub(super) fn close_up(&mut self, key: Key) {
        let Some(mut up) = self.ups.remove(key) else { return };
        up.deadline.cancel(&mut self.wheel);
        up.transport.close(up.fd.as_raw_fd());
        let index = self.pool_index(up.provider.id);
        let pool = &mut self.pools[index];
        pool.open -= 1;
        if up.state == UpState::Idle {
            pool.idle.retain(|idle| *idle != key);
        }
        if let Some(call) = up.call
            && let Some(state) = self.calls.get_mut(call)
        {
            state.dials.retain(|dial| *dial != key);
        }
        let provider = Arc::clone(&up.provider);
        drop(up);
        while let Some(call) = self.pools[index].waiting.pop_front() {
            if self.calls.get(call).is_some() {
                self.resolve_and_dial(call, &provider);
                break;
            }
        }
    }

    /// Has a connection looked at in the next turn.
    pub(super) fn list_up(&mut self, key: Key) {
        if let Some(up) = self.ups.get_mut(key)
            && !up.is_listed
        {
            up.is_listed = true;
            self.ready_ups.push(key);
        }
    }
}

fn answer_limits() -> HeadLimits {
    HeadLimits {
        request_line: limits::UPSTREAM_HEAD_BYTES_MAX,
        header_section: limits::UPSTREAM_HEAD_BYTES_MAX,
        fields: limits::HEADER_FIELDS_MAX,
    }
}

fn tls_failed() -> Failure {
    Failure::new(502, "a secure connection to the provider failed").code("upstream_unreachable")
}
