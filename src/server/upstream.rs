//! Connections to providers, on the loop of the worker whose clients they serve.
//!
//! A connection is dialled (addresses in turn, the next one beside the first when that is slow),
//! perhaps led through a proxy and TLS, carries one request at a time and is kept for the next one
//! if nothing about its last answer was in doubt.

use std::collections::VecDeque;
use std::io::ErrorKind as Io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use super::call::{Fault, Sink};
use super::core::Core;
use super::deadline::Deadline;
use super::mailbox::Message;
use super::resolve::{self, Answer};
use super::tls;
use super::transport::Transport;
use super::tuning::overloaded;
use super::worker::{MARK_SHIFT, MARK_UP, Worker};
use crate::ai::health;
use crate::base::error::Failure;
use crate::base::limits;
use crate::base::metrics::Counter;
use crate::base::slab::Key;
use crate::http::encode;
use crate::http::framing::BodyDecoder;
use crate::http::head::{Body, HeadLimits, Progress, ResponseHead, parse_response};
use crate::http::method::Method;
use crate::kernel::prefetch;
use crate::optimizer::load::PeerLimit;
use crate::pipeline::{Provider, cut_off};
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

/// A worker's connections to one provider, as figures tell them.
pub(super) struct PoolCounts {
    provider: u64,
    open: Counter,
    idle: Counter,
    waiting: Counter,
}

/// The connections of all workers to one provider, and the requests that wait for one.
#[derive(Clone, Copy, Default)]
pub(super) struct PoolFigures {
    pub(super) open: u64,
    pub(super) idle: u64,
    pub(super) waiting: u64,
}

impl Core {
    pub(super) fn pool_figures(&self, provider: u64) -> PoolFigures {
        let mut sum = PoolFigures::default();
        for worker in &self.workers {
            for counts in worker.pools.lock().iter().filter(|it| it.provider == provider) {
                sum.open += counts.open.get();
                sum.idle += counts.idle.get();
                sum.waiting += counts.waiting.get();
            }
        }
        sum
    }
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
    // ---- finding a connection ----

    /// Finds a connection for the current attempt of a call, or has it wait for one.
    pub(super) fn acquire(&mut self, call: Key, provider: &Arc<Provider>, only_new: bool) {
        let share = self.share_of(provider);
        let index = self.pool_index(provider.id);
        if !only_new && !self.enter_limit(call, index) {
            let failure = overloaded("the model's provider is busy");
            self.attempt_failed(call, failure, Fault::Answer);
            return;
        }
        while !only_new && let Some(up) = self.pools[index].idle.pop() {
            if self.ups.get(up).is_some() {
                self.assign(up, call);
                return;
            }
        }
        if self.pools[index].open >= share {
            self.pools[index].waiting.push_back(call);
            return;
        }
        self.resolve_and_dial(call, provider);
    }

    fn share_of(&self, provider: &Provider) -> usize {
        (provider.connections_max as usize).div_ceil(self.core.workers.len()).max(1)
    }

    fn pool_index(&mut self, provider: u64) -> usize {
        if let Some(index) = self.pools.iter().position(|pool| pool.id == provider) {
            return index;
        }
        let pool = Pool {
            id: provider,
            idle: Vec::new(),
            open: 0,
            waiting: VecDeque::new(),
            is_gone: false,
            limit: PeerLimit::default(),
            counts: Arc::new(PoolCounts {
                provider,
                open: Counter::default(),
                idle: Counter::default(),
                waiting: Counter::default(),
            }),
        };
        self.core.workers[self.index].pools.lock().push(Arc::clone(&pool.counts));
        self.pools.push(pool);
        self.pools.len() - 1
    }

    /// Connections to providers that are no more are closed, once nobody uses them.
    pub(super) fn prune_pools(&mut self) {
        let app = Arc::clone(&self.app);
        let is_known = |id: u64| app.providers.iter().any(|provider| provider.id == id);
        let mut gone = Vec::new();
        for pool in self.pools.iter_mut().filter(|pool| !is_known(pool.id)) {
            pool.is_gone = true;
            gone.append(&mut pool.idle);
        }
        for key in gone {
            self.close_up(key);
        }
        self.pools.retain(|it| it.open > 0 || !it.waiting.is_empty() || is_known(it.id));
        let pools = &self.pools;
        let is_kept = |counts: &Arc<PoolCounts>| pools.iter().any(|it| it.id == counts.provider);
        self.core.workers[self.index].pools.lock().retain(is_kept);
    }

    /// Has others see how many connections there are.
    pub(super) fn tell_pools(&self) {
        for pool in &self.pools {
            pool.counts.open.set(pool.open as u64);
            pool.counts.idle.set(pool.idle.len() as u64);
            pool.counts.waiting.set(pool.waiting.len() as u64);
        }
    }

    /// Whether a call waits for one of the connections that are all in use.
    pub(super) fn is_waiting_for_place(&self, call: Key) -> bool {
        self.pools.iter().any(|pool| pool.waiting.contains(&call))
    }

    /// A call that waits for a connection does so no more.
    pub(super) fn stop_waiting(&mut self, call: Key) {
        for pool in &mut self.pools {
            pool.waiting.retain(|waiting| *waiting != call);
        }
    }

    fn resolve_and_dial(&mut self, call: Key, provider: &Arc<Provider>) {
        let (host, port) = match &provider.proxy {
            Some(proxy) => (&proxy.host, proxy.port),
            None => (&provider.base.host, provider.base.port),
        };
        match self.names.get(host, port, self.now_ms, call) {
            Answer::Addresses(addresses) => self.dial_all(call, addresses),
            Answer::Wait => {}
            Answer::Ask => {
                let (host, mailbox) = (host.clone(), Arc::clone(&self.mailbox));
                let asked = host.clone();
                let job = Box::new(move || {
                    let result = resolve::look_up(&host, port);
                    mailbox.post(Message::Resolved(host, port, result));
                });
                if self.core.pool.submit(job).is_err() {
                    self.on_resolved(asked, port, Err("the resolver is busy".to_owned()));
                }
            }
        }
    }

    pub(super) fn on_resolved(
        &mut self,
        host: String,
        port: u16,
        result: Result<Arc<[SocketAddr]>, String>,
    ) {
        let addresses = result.as_ref().ok().cloned();
        let calls = self.names.set(host.clone(), port, addresses, self.now_ms);
        for call in calls {
            match &result {
                Ok(addresses) => self.dial_all(call, Arc::clone(addresses)),
                Err(reason) => {
                    tracing::warn!("the name {host} cannot be resolved: {reason}");
                    let message = "the provider's name cannot be resolved";
                    let failure = Failure::new(502, message).code("upstream_unreachable");
                    self.attempt_failed(call, failure, REFUSED);
                }
            }
        }
    }

    fn dial_all(&mut self, call: Key, addresses: Arc<[SocketAddr]>) {
        let Some(state) = self.calls.get_mut(call) else { return };
        state.addresses = Some(addresses);
        state.next_address = 0;
        self.dial_next(call, None);
    }

    /// Dials the next address. `reason` is why the one before failed.
    fn dial_next(&mut self, call: Key, reason: Option<std::io::Error>) {
        let mut reason = reason;
        loop {
            let Some(state) = self.calls.get_mut(call) else { return };
            let Some(provider) = state.provider().map(Arc::clone) else { return };
            let addresses = state.addresses.as_deref().unwrap_or_default();
            let Some(address) = addresses.get(state.next_address).copied() else {
                if state.dials.is_empty() {
                    self.unreachable(call, &provider, reason);
                }
                return;
            };
            state.next_address += 1;
            let has_more = state.next_address < addresses.len();
            match self.dial(call, &provider, address) {
                Ok(up) => {
                    if has_more {
                        let at_ms = self.now_ms + limits::NEXT_ADDRESS_MS;
                        self.set_up_deadline(up, at_ms);
                    }
                    self.try_at_once(up);
                    return;
                }
                Err(error) => reason = Some(error),
            }
        }
    }

    fn unreachable(&mut self, call: Key, provider: &Provider, reason: Option<std::io::Error>) {
        let reason = reason.map_or_else(|| "no address".to_owned(), |error| error.to_string());
        tracing::warn!("the provider {} cannot be reached: {reason}", provider.name);
        self.names.forget(&provider.base.host, provider.base.port);
        let failure = Failure::new(502, "the provider cannot be reached");
        self.attempt_failed(call, failure.code("upstream_unreachable"), REFUSED);
    }

    fn dial(
        &mut self,
        call: Key,
        provider: &Arc<Provider>,
        address: SocketAddr,
    ) -> std::io::Result<Key> {
        let fd = socket::connect(address)?;
        let raw = fd.as_raw_fd();
        let up = Up {
            fd,
            provider: Arc::clone(provider),
            transport: Transport::Plain,
            state: UpState::Connecting,
            call: Some(call),
            deadline: Deadline::default(),
            sent: 0,
            is_reused: false,
            has_answered: false,
            is_deaf: false,
            is_readable: false,
            is_hung_up: false,
            is_blocked: false,
            is_listed: false,
            input: Vec::new(),
            head: ResponseHead::new(),
            in_body: false,
            decoder: BodyDecoder::new(Body::None),
            keep_alive: false,
            interim: 0,
        };
        let key = self.ups.insert(up);
        let interest = epoll::IN | epoll::OUT | epoll::RDHUP | epoll::EDGE;
        if let Err(error) = self.epoll.add(raw, interest, MARK_UP << MARK_SHIFT | key.0) {
            self.ups.remove(key);
            return Err(error);
        }
        let index = self.pool_index(provider.id);
        self.pools[index].open += 1;
        if let Some(state) = self.calls.get_mut(call) {
            state.dials.push(key);
        }
        Ok(key)
    }

    /// On a near network the connection stands when connect(2) has returned: the request then goes
    /// out at once, not behind all that this turn still has to do.
    fn try_at_once(&mut self, key: Key) {
        let Some(up) = self.ups.get(key) else { return };
        if up.state == UpState::Connecting && socket::is_connected(up.fd.as_raw_fd()) {
            self.connected(key);
        }
    }

    fn set_up_deadline(&mut self, key: Key, at_ms: u64) {
        if let Some(up) = self.ups.get_mut(key) {
            up.deadline.set(&mut self.wheel, at_ms, MARK_UP << MARK_SHIFT | key.0);
        }
    }

    pub(super) fn on_up_timer(&mut self, key: Key) {
        let now_ms = self.now_ms;
        let Some(up) = self.ups.get_mut(key) else { return };
        if !up.deadline.fired(&mut self.wheel, now_ms, MARK_UP << MARK_SHIFT | key.0) {
            return;
        }
        match (up.state, up.call) {
            (UpState::Connecting, Some(call)) => self.dial_next(call, None),
            (UpState::Idle, _) => self.close_up(key),
            _ => {}
        }
    }

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

    /// Reads the answer as long as there is something to read and somebody who takes it.
    fn read_answer(&mut self, key: Key) {
        for round in 0.. {
            let Some(up) = self.ups.get_mut(key) else { return };
            let Some(call) = up.call else { return };
            let is_paused = self.calls.get(call).is_some_and(|state| state.is_paused);
            if up.state != UpState::Busy || !up.is_readable || is_paused {
                return;
            }
            if round == 8 {
                self.list_up(key);
                return;
            }
            let fd = up.fd.as_raw_fd();
            let mut scratch = self.take_scratch();
            let Some(up) = self.ups.get_mut(key) else { return };
            let got = match &mut up.transport {
                Transport::Plain => socket::receive(fd, &mut scratch),
                transport => {
                    let mut cipher = std::mem::take(&mut self.tls_scratch);
                    cipher.resize(limits::READ_BYTES, 0);
                    let got = transport.receive(fd, &mut scratch, &mut cipher);
                    self.tls_scratch = cipher;
                    got
                }
            };
            match got {
                Ok(0) => {
                    self.scratch = scratch;
                    self.on_answer_end(key, true);
                    return;
                }
                Ok(count) => {
                    // Less than there was room for: the kernel's buffer is empty (epoll(7)). After a
                    // hang-up no further edge tells of the end: only reading finds it.
                    if count < scratch.len() && !up.transport.is_tls() && !up.is_hung_up {
                        up.is_readable = false;
                    }
                    up.has_answered = true;
                    self.take_answer(key, call, &scratch[..count]);
                    self.scratch = scratch;
                    self.flush_call(call);
                }
                Err(error) => {
                    self.scratch = scratch;
                    match error.kind() {
                        Io::WouldBlock => up.is_readable = false,
                        Io::Interrupted => {}
                        _ => {
                            self.on_answer_end(key, false);
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Takes bytes of an answer: head, body, or what should not be there.
    fn take_answer(&mut self, key: Key, call: Key, bytes: &[u8]) {
        let Some(up) = self.ups.get_mut(key) else { return };
        if up.in_body {
            self.take_answer_body(key, call, bytes);
            return;
        }
        let held = !up.input.is_empty();
        let mut owned = Vec::new();
        let mut rest = bytes;
        if held {
            up.input.extend_from_slice(bytes);
            owned = std::mem::take(&mut up.input);
            rest = &owned;
        }
        loop {
            let Some(up) = self.ups.get_mut(key) else { return };
            let parsed = parse_response(rest, &answer_limits(), Method::Post, &mut up.head);
            match parsed {
                Ok(Progress::Partial) => {
                    up.input = rest.to_vec();
                    return;
                }
                Err(error) => {
                    tracing::warn!("the provider {} answered garbage: {error}", up.provider.name);
                    let failure = Failure::new(502, "the provider's answer is not valid HTTP");
                    self.up_failed(key, Trouble::Answer(failure.code("upstream_garbage")));
                    return;
                }
                Ok(Progress::Complete) => {}
            }
            let size = up.head.size;
            if up.head.status < 200 {
                up.interim += 1;
                if up.interim > limits::UPSTREAM_INTERIM_MAX {
                    let failure = Failure::new(502, "the provider sends no final answer");
                    self.up_failed(key, Trouble::Answer(failure.code("upstream_garbage")));
                    return;
                }
                up.head.reset();
                rest = &rest[size..];
                if rest.is_empty() {
                    return;
                }
                continue;
            }
            up.in_body = true;
            up.decoder = BodyDecoder::new(up.head.body);
            up.keep_alive = up.head.keep_alive;
            let head = std::mem::take(&mut up.head);
            let decided = self.answer_head(call, &head, &rest[..size]);
            if let Some(up) = self.ups.get_mut(key) {
                up.head = head;
            }
            match decided {
                Ok(()) => self.take_answer_body(key, call, &rest[size..]),
                Err(failure) => self.up_failed(key, Trouble::Answer(failure)),
            }
            break;
        }
        // The memory of a held head serves again.
        if let Some(up) = self.ups.get_mut(key) {
            owned.clear();
            if up.input.is_empty() && owned.capacity() <= 16 * 1024 {
                up.input = owned;
            }
        }
    }

    fn take_answer_body(&mut self, key: Key, call: Key, bytes: &[u8]) {
        let mut at = 0;
        loop {
            let Some(up) = self.ups.get_mut(key) else { return };
            if up.decoder.is_done() {
                if at < bytes.len() {
                    // Bytes after the answer: this connection is not to be trusted again.
                    up.keep_alive = false;
                }
                self.up_done(key, call);
                return;
            }
            if at == bytes.len() {
                return;
            }
            let piece = match up.decoder.decode(&bytes[at..]) {
                Ok(piece) => piece,
                Err(error) => {
                    tracing::warn!("the provider {} broke its framing: {error}", up.provider.name);
                    let failure = Failure::new(502, "the provider's answer is not valid HTTP");
                    self.up_failed(key, Trouble::Answer(failure.code("upstream_garbage")));
                    return;
                }
            };
            let data = &bytes[at..][piece.data.clone()];
            at += piece.consumed;
            if !data.is_empty()
                && let Err(failure) = self.answer_data(call, data)
            {
                self.up_failed(key, Trouble::Answer(failure));
                return;
            }
        }
    }

    /// The provider has closed; a reset, or an end that TLS does not vouch for, is no clean end and
    /// never completes a body.
    fn on_answer_end(&mut self, key: Key, is_clean: bool) {
        let Some(up) = self.ups.get_mut(key) else { return };
        let Some(call) = up.call else { return };
        if up.in_body {
            up.keep_alive = false;
            match up.decoder.end_of_input() {
                Ok(()) if is_clean => self.up_done(key, call),
                _ => self.up_failed(key, Trouble::Answer(cut_off())),
            }
            return;
        }
        let failure = Failure::new(502, "the provider closed without an answer");
        let failure = failure.code("upstream_cut");
        let trouble =
            if up.has_answered { Trouble::Answer(failure) } else { Trouble::Connection(failure) };
        self.up_failed(key, trouble);
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
