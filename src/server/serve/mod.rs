//! What a worker does with one connection: read, parse, have answered, write.

mod answer;
mod input;
mod output;
mod relayed;

use std::os::fd::{AsRawFd, RawFd};

use crate::base::error::Failure;
use crate::base::limits;
use crate::base::slab::Key;
use crate::http::method::Method;
use crate::pipeline::{self};
use crate::server::conn::{Active, Phase, Source};
use crate::server::worker::Worker;
use crate::sys::{epoll, socket};

/// Whether the connection can be driven further in this turn.
#[derive(PartialEq, Eq, Debug)]
enum Drive {
    /// Its input was consumed; more may be read.
    More,
    /// Nothing more can be done with its input now.
    Stop,
    /// It is to be closed at once.
    Close,
}

impl Worker {
    pub(super) fn on_conn_event(&mut self, key: Key, flags: u32) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if flags & (epoll::ERR | epoll::HUP) != 0 {
            // Both directions are gone: whatever is under way has nobody to read it.
            self.close_gone(key);
            return;
        }
        if flags & epoll::RDHUP != 0 {
            conn.peer_ended = true;
            let gone = conn.active.as_ref().is_some_and(|active| {
                matches!(active.phase, Phase::Answering | Phase::Streaming)
                    && (active.hangs_on_client || pipeline::half_close_means_gone(&active.matched))
            });
            if gone {
                self.close_gone(key);
                return;
            }
        }
        if flags & epoll::IN != 0 {
            conn.is_readable = true;
        }
        if flags & epoll::OUT != 0
            && let Some(active) = &mut conn.active
        {
            active.is_blocked = false;
        }
        self.drive(key);
    }

    /// Does all that can be done on a connection now.
    pub(super) fn drive(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let fd = conn.fd.as_raw_fd();
        let taken = conn.active.take();
        if taken.is_none() && !conn.is_readable {
            return;
        }
        let tls = conn.tls.take();
        let mut active = taken.unwrap_or_else(|| self.borrow_active());
        if tls.is_some() {
            active.tls = tls;
        }
        let drive = self.drive_active(key, fd, &mut active);
        self.settle(key, active, drive);
    }

    fn drive_active(&mut self, key: Key, fd: RawFd, active: &mut Active) -> Drive {
        if active.unsent() > 0 && !self.flush(key, fd, active) {
            return Drive::Close;
        }
        if active.phase == Phase::Streaming && !self.pump(key, fd, active) {
            return Drive::Close;
        }
        let mut reads = 0;
        loop {
            if !active.input.is_empty() {
                let input = std::mem::take(&mut active.input);
                let (used, drive) = self.consume(key, fd, active, &input);
                active.input = input;
                active.input.drain(..used);
                if drive == Drive::Close || !self.flush(key, fd, active) {
                    return Drive::Close;
                }
                if drive == Drive::Stop {
                    return Drive::Stop;
                }
            }
            if !self.wants_input(active) {
                return Drive::Stop;
            }
            let Some(conn) = self.conns.get_mut(key) else { return Drive::Close };
            if !conn.is_readable {
                return Drive::Stop;
            }
            if reads == 4 {
                // The others get their turn; the edge will not come again.
                self.list(key);
                return Drive::Stop;
            }
            reads += 1;
            match self.read(key, fd, active) {
                Drive::More => {}
                other => return other,
            }
        }
    }

    // ---- the end of a turn ----

    /// Puts the connection back: idle, waiting, lingering or closed.
    fn settle(&mut self, key: Key, mut active: Box<Active>, drive: Drive) {
        if drive == Drive::Close {
            self.abandon(&mut active);
            if let Some(conn) = self.conns.get_mut(key) {
                conn.tls = active.tls.take();
            }
            self.give_back(active);
            self.close(key);
            return;
        }
        let wants_close = active.close_after && active.phase == Phase::Head && active.unsent() == 0;
        let Some(conn) = self.conns.get_mut(key) else {
            self.abandon(&mut active);
            self.give_back(active);
            return;
        };
        if wants_close {
            // Nothing lies unread, and nothing will come: closing resets nothing.
            let is_over = conn.peer_ended || active.is_last_wish && active.decoder.is_done();
            if is_over && !conn.is_readable {
                // With all that it still holds: who fed an answer that failed is told.
                conn.active = Some(active);
                self.close(key);
                return;
            }
            // RFC 9112 section 9.6: end our side, read on until the peer ends its own, so that no
            // reset takes the answer away.
            let fd = conn.fd.as_raw_fd();
            if let Some(mut tls) = active.tls.take() {
                // What comes from now on is dropped as it is, encrypted.
                tls.close(fd);
            }
            socket::finish_sending(fd);
            active.phase = Phase::Lingering;
            active.input.clear();
            conn.active = Some(active);
            conn.recount(&self.stats);
            self.set_deadline(key, self.now_ms + limits::LINGER_MS);
            if self.conns.get(key).is_some_and(|conn| conn.is_readable) {
                self.list(key);
            }
            return;
        }
        conn.moved_ms = self.now_ms;
        if active.is_idle() {
            conn.sent_bytes += active.sent_bytes;
            conn.tls = active.tls.take();
            conn.recount(&self.stats);
            self.give_back(active);
            if self.is_draining {
                self.close(key);
            }
        } else {
            conn.active = Some(active);
            conn.recount(&self.stats);
        }
    }

    /// Tells whoever works on the exchange that nobody waits for it any more.
    fn abandon(&mut self, active: &mut Active) {
        if matches!(active.phase, Phase::Answering | Phase::Streaming) {
            self.stats.cancelled.add(1);
        }
        if let Some(call) = active.call.take() {
            active.told.call = self.cancel_call(call);
        }
        self.count_pulled(active, Some("cancelled"));
        if let Some(exchange) = &active.exchange {
            exchange.request.set_gone();
            self.tell(&active.told, exchange);
        }
        active.joined = None;
        close_source(&mut active.source);
        self.release_charge(active);
        self.drop_encoder(active);
    }

    /// The streamed answer is over, or nobody reads it any more.
    fn drop_encoder(&mut self, active: &mut Active) {
        active.page = None;
        if std::mem::take(&mut active.is_coded) {
            active.coded = None;
            self.coded_streams -= 1;
        }
    }

    fn close_gone(&mut self, key: Key) {
        self.close(key);
    }

    /// Closes a connection, whatever it is doing.
    pub(super) fn close(&mut self, key: Key) {
        let Some(mut conn) = self.conns.remove(key) else { return };
        for observer in &self.app.observers {
            observer.disconnected(conn.peer);
        }
        conn.deadline.cancel(&mut self.wheel);
        if let Some(address) = conn.counted {
            self.core.addresses.leave(address);
        }
        let mut tls = conn.tls.take();
        if let Some(mut active) = conn.active.take() {
            self.abandon(&mut active);
            tls = active.tls.take().or(tls);
            self.give_back(active);
        }
        if let Some(mut tls) = tls {
            tls.close(conn.fd.as_raw_fd());
        }
        self.stats.connections.set(self.conns.len() as u64);
        self.stats.doing[conn.doing as usize].sub(1);
        drop(conn);
        self.on_closed();
    }

    /// A deadline has passed: what it was depends on the phase.
    pub(super) fn on_deadline(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let Some(mut active) = conn.active.take() else {
            // Nothing was under way: an idle connection, or one that never sent a byte.
            self.close(key);
            return;
        };
        let fd = conn.fd.as_raw_fd();
        if active.awaits_write {
            // A slow client frees the kernel's buffer long before that is writable again.
            let unacknowledged = socket::unacknowledged(fd);
            if unacknowledged < active.unacknowledged {
                active.unacknowledged = unacknowledged;
                conn.active = Some(active);
                self.set_deadline(key, self.now_ms + self.app.settings.write_ms);
                return;
            }
        }
        self.stats.timeouts.add(1);
        let cut = active.is_blocked
            || matches!(active.phase, Phase::Lingering | Phase::Streaming | Phase::Draining)
            || active.close_after;
        if cut {
            conn.active = Some(active);
            self.close(key);
            return;
        }
        let failure = Failure::new(408, "the request did not come in time").code("timeout");
        match active.phase {
            Phase::Body => self.refuse_broken(key, fd, &mut active, &failure),
            _ => {
                active.is_bodiless = active.head.method == Method::Head;
                self.write_failure(key, &mut active, &failure);
            }
        }
        active.close_after = true;
        active.phase = Phase::Head;
        active.input.clear();
        let drive = if self.flush(key, fd, &mut active) { Drive::Stop } else { Drive::Close };
        self.settle(key, active, drive);
    }
}

pub(super) fn close_source(source: &mut Source) {
    if let Source::Queue(queue) = std::mem::replace(source, Source::None) {
        queue.close();
    }
}
