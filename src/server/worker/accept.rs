//! Taking connections: listeners watched, left and followed, descriptors that ran out, who is
//! refused at the door.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{MARK_ACCEPT, MARK_CONN, MARK_LISTENER, MARK_SHIFT, Worker};
use crate::base::limits;
use crate::exchange::Peer;
use crate::server::conn::Conn;
use crate::server::listener::Listener;
use crate::server::mailbox::{Accepted, Message};
use crate::server::transport::Tls;
use crate::sys::{epoll, socket};

/// Rounds of accepting before a listener is left: whoever has connected before is served.
const LEAVING_TURNS: usize = 1024;

impl Worker {
    /// Watches the listeners, or no more. One that is parked does not.
    pub(super) fn listen(&mut self, on: bool) {
        let on = on && !self.core.is_parked(self.index);
        if self.is_listening == on {
            return;
        }
        self.is_listening = on;
        for listener in &*self.listeners {
            self.watch_listener(listener, on);
        }
    }

    fn watch_listener(&self, listener: &Listener, on: bool) {
        let fd = listener.fd.as_raw_fd();
        let done = if on {
            // Level-triggered: what one turn leaves is told again. Exclusive: one connection
            // does not wake every worker.
            let data = MARK_LISTENER << MARK_SHIFT | listener.id;
            self.epoll.add(fd, epoll::IN | epoll::EXCLUSIVE, data)
        } else {
            self.epoll.remove(fd)
        };
        if let Err(error) = done {
            tracing::error!("cannot watch {listener}: {error}");
        }
    }

    /// Parks or wakes. Whoever has connected before is handed to a worker that is awake: the system
    /// has told only one, and that may have been this one.
    pub(in crate::server) fn follow_parking(&mut self) {
        if self.is_draining {
            return;
        }
        let was_listening = self.is_listening;
        self.listen(true);
        if self.core.is_parked(self.index) && was_listening {
            self.listen(false);
            for listener in &*Arc::clone(&self.listeners) {
                // Bounded: as many as can wait there.
                let _ = (0..LEAVING_TURNS).all(|_| self.accept(listener.id));
            }
        }
    }

    /// Takes up the listeners of a new configuration. One that is no more is left without a client
    /// waiting in it: whoever has connected before is served.
    pub(super) fn follow_listeners(&mut self) {
        let now = self.core.listeners();
        if self.is_draining || Arc::ptr_eq(&now, &self.listeners) {
            return;
        }
        let is_in = |list: &[Arc<Listener>], id| list.iter().any(|listener| listener.id == id);
        let before = Arc::clone(&self.listeners);
        for listener in before.iter().filter(|it| !is_in(&now, it.id)) {
            if self.is_listening {
                self.watch_listener(listener, false);
                // Bounded: as many as can wait there.
                let _ = (0..LEAVING_TURNS).all(|_| self.accept(listener.id));
            }
        }
        if self.is_listening {
            for listener in now.iter().filter(|it| !is_in(&before, it.id)) {
                self.watch_listener(listener, true);
            }
        }
        self.listeners = now;
    }

    /// Takes no connection any more. Once every worker has let go, who connects is refused, and
    /// another server may listen on the address.
    pub(super) fn close_listeners(&mut self) {
        self.listen(false);
        self.listeners = Arc::default();
        self.core.close_listeners();
    }

    fn pause_accepting(&mut self, why: &str) {
        if !self.is_accept_paused {
            tracing::warn!("accepting pauses: {why}");
        }
        self.is_accept_paused = true;
        self.listen(false);
        let at = self.now_ms + limits::ACCEPT_PAUSE_MS;
        self.wheel.arm(at, MARK_ACCEPT << MARK_SHIFT);
    }

    pub(super) fn resume_accepting(&mut self) {
        if self.is_accept_paused && !self.is_draining {
            if self.core.is_full() {
                self.pause_accepting("");
                return;
            }
            // Said only when accepting works again, see `accept`.
            self.listen(true);
        }
    }

    /// True when more may wait than one turn takes.
    pub(super) fn accept(&mut self, id: u64) -> bool {
        if self.is_draining {
            return false;
        }
        let listeners = Arc::clone(&self.listeners);
        let Some(listener) = listeners.iter().find(|it| it.id == id) else { return false };
        for _ in 0..limits::ACCEPTS_PER_TURN {
            if self.core.is_full() {
                self.pause_accepting("there are as many connections as there may be");
                return false;
            }
            match socket::accept(listener.fd.as_raw_fd()) {
                Ok((fd, address)) => {
                    if self.is_accept_paused {
                        self.is_accept_paused = false;
                        tracing::warn!("accepting goes on");
                    }
                    self.refresh();
                    let peer = address.map_or(Peer::Unix, Peer::Tcp);
                    if let Peer::Tcp(address) = peer
                        && !self.app.firewall.accepts(address, self.second)
                    {
                        continue;
                    }
                    let Some(is_counted) = self.admit(peer) else {
                        self.stats.refused.add(1);
                        continue;
                    };
                    self.stats.accepted.add(1);
                    let accepted = Accepted { fd, peer, is_tls: listener.is_tls, is_counted };
                    match self.core.less_loaded(self.index) {
                        // A worker that has ended closes it by dropping it.
                        Some(other) => drop(other.post(Message::Accepted(accepted))),
                        None => self.adopt(accepted),
                    }
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return false,
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                        self.pause_accepting(&error.to_string());
                        return false;
                    }
                    // The peer went before it was taken, or the network says so (accept(2)).
                    _ => {}
                },
            }
        }
        true
    }

    /// Whether one more connection of a peer is let in, and whether it counts for its address;
    /// `None` when it has all it may have.
    fn admit(&self, peer: Peer) -> Option<bool> {
        let max = self.app.settings.connections_per_address;
        match peer {
            Peer::Tcp(address)
                if max > 0 && self.app.firewall.limits_connections(address.ip(), self.second) =>
            {
                self.core.addresses.enter(address.ip(), max).then_some(true)
            }
            _ => Some(false),
        }
    }

    /// Takes a connection. What its peer has sent already is told by the first edge.
    pub(super) fn adopt(&mut self, accepted: Accepted) {
        let Accepted { fd, peer, is_tls, is_counted } = accepted;
        let raw = fd.as_raw_fd();
        let balancer = match peer {
            Peer::Tcp(address) => Some(address.ip()),
            Peer::Unix => None,
        };
        let awaits_preface = self.app.firewall.reads_preface(balancer, self.second);
        let tls = match is_tls {
            false => None,
            true => match self.core.certificates() {
                // A listener that speaks TLS has a certificate: the configuration says so.
                None => return,
                Some(certificates) => Some(Tls::accept(certificates, awaits_preface)),
            },
        };
        // Relaxed: a bound by itself. A socket that takes no bound is served all the same.
        let bytes = self.core.socket_bytes.load(Ordering::Relaxed);
        if bytes > 0 {
            drop(socket::bound_buffers(raw, bytes));
        }
        let mut conn = Conn::new(fd, peer, tls);
        conn.is_readable = true;
        (conn.opened_ms, conn.moved_ms) = (self.now_ms, self.now_ms);
        if let Peer::Tcp(address) = peer {
            conn.counted = is_counted.then(|| address.ip());
        }
        // It comes before TLS: what is said within is the client's word.
        conn.awaits_preface = awaits_preface && !is_tls;
        self.stats.doing[conn.doing as usize].add(1);
        let key = self.conns.insert(conn);
        self.stats.connections.set(self.conns.len() as u64);
        self.conns_peak = self.conns_peak.max(self.conns.len());
        let interest = epoll::IN | epoll::OUT | epoll::RDHUP | epoll::EDGE;
        for observer in &self.app.observers {
            observer.connected(peer);
        }
        self.set_deadline(key, self.now_ms + self.app.settings.header_ms);
        // Most clients have sent their request by now; one that wants no other is done with here.
        self.drive(key);
        if self.conns.get(key).is_some()
            && let Err(error) = self.epoll.add(raw, interest, MARK_CONN << MARK_SHIFT | key.0)
        {
            tracing::error!("cannot watch a connection: {error}");
            self.close(key);
        }
    }
}
