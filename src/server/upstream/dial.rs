//! Finding a connection for a call: a kept one, a place in the queue for one, or a new one, its
//! addresses in turn.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use super::{Pool, PoolCounts, REFUSED, Up, UpState};
use crate::base::error::Failure;
use crate::base::limits;
use crate::base::slab::Key;
use crate::http::framing::BodyDecoder;
use crate::http::head::{Body, ResponseHead};
use crate::optimizer::load::PeerLimit;
use crate::pipeline::Provider;
use crate::server::call::Fault;
use crate::server::deadline::Deadline;
use crate::server::mailbox::Message;
use crate::server::resolve::{self, Answer};
use crate::server::transport::Transport;
use crate::server::tuning::overloaded;
use crate::server::worker::{MARK_SHIFT, MARK_UP, Worker};
use crate::sys::{epoll, socket};

impl Worker {
    /// Finds a connection for the current attempt of a call, or has it wait for one.
    pub(in crate::server) fn acquire(
        &mut self,
        call: Key,
        provider: &Arc<Provider>,
        only_new: bool,
    ) {
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

    pub(super) fn pool_index(&mut self, provider: u64) -> usize {
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
            counts: PoolCounts::of(provider),
        };
        self.core.workers[self.index].pools.lock().push(Arc::clone(&pool.counts));
        self.pools.push(pool);
        self.pools.len() - 1
    }

    /// Connections to providers that are no more are closed, once nobody uses them.
    pub(in crate::server) fn prune_pools(&mut self) {
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
        self.prune_counts();
    }

    /// Whether a call waits for one of the connections that are all in use.
    pub(in crate::server) fn is_waiting_for_place(&self, call: Key) -> bool {
        self.pools.iter().any(|pool| pool.waiting.contains(&call))
    }

    /// A call that waits for a connection does so no more.
    pub(in crate::server) fn stop_waiting(&mut self, call: Key) {
        for pool in &mut self.pools {
            pool.waiting.retain(|waiting| *waiting != call);
        }
    }

    pub(super) fn resolve_and_dial(&mut self, call: Key, provider: &Arc<Provider>) {
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

    pub(in crate::server) fn on_resolved(
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
    pub(super) fn dial_next(&mut self, call: Key, reason: Option<std::io::Error>) {
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

    pub(super) fn set_up_deadline(&mut self, key: Key, at_ms: u64) {
        if let Some(up) = self.ups.get_mut(key) {
            up.deadline.set(&mut self.wheel, at_ms, MARK_UP << MARK_SHIFT | key.0);
        }
    }

    pub(in crate::server) fn on_up_timer(&mut self, key: Key) {
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
}
