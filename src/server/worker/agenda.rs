//! What a turn does beside events: messages of other threads, connections that have more to do,
//! timers.

use super::{
    MARK_ACCEPT, MARK_CALL, MARK_HEALTH, MARK_MASK, MARK_MEMORY, MARK_SHIFT, MARK_TRIM, MARK_UP,
    Worker,
};
use crate::base::slab::Key;
use crate::server::call::Sink;
use crate::server::mailbox::Message;

impl Worker {
    pub(super) fn read_messages(&mut self) -> usize {
        if !self.mailbox.begin_reading() {
            return 0;
        }
        let mut count = 0;
        while let Ok(message) = self.messages.try_recv() {
            count += 1;
            match message {
                Message::Accepted(accepted) => self.adopt(accepted),
                Message::Returned(ticket, exchange, step) => {
                    self.on_returned(ticket, exchange, step);
                }
                Message::DeferredDone(ticket, exchange) => {
                    self.on_deferred(ticket, exchange);
                }
                Message::StreamStarted(ticket, exchange, queue) => {
                    self.on_stream_started(ticket, exchange, queue);
                }
                Message::StreamReady(ticket) => self.on_stream_ready(ticket),
                Message::Resolved(host, port, result) => self.on_resolved(host, port, result),
                Message::HostStart(call, host) => self.starting.push_back((call, Sink::Host(host))),
                Message::SharedStart(call, duty) => {
                    if let Some(want) = call.want.clone() {
                        self.starting.push_back((call, Sink::Shared(duty, Box::new(want))));
                    }
                }
                Message::SharedMoved(ticket) => self.on_shared(ticket),
                Message::HostReady(key) => self.resume_call(key),
                Message::HostCancel(key) => {
                    self.cancel_call(key);
                }
                #[cfg(test)]
                Message::Panic => panic!("on purpose"),
                Message::Count(sender) => self.count_connections(&sender),
                Message::Close(key, sender) => {
                    let is_there = self.conns.get(key).is_some();
                    self.close(key);
                    // Who has asked may have given up.
                    let _ = sender.send(is_there);
                }
                Message::Tuned => self.follow_tuning(),
                Message::Made(key) => self.on_made(key),
                Message::Worked(key, body) => self.worked(key, body),
            }
        }
        count
    }

    /// Has a connection looked at in the next turn.
    pub(in crate::server) fn list(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(key)
            && !conn.is_listed
        {
            conn.is_listed = true;
            self.ready.push(key);
        }
    }

    pub(super) fn go_on(&mut self) -> usize {
        let ready_ups = std::mem::take(&mut self.ready_ups);
        for key in &ready_ups {
            if let Some(up) = self.ups.get_mut(*key) {
                up.is_listed = false;
                self.drive_up(*key);
            }
        }
        let ready = std::mem::take(&mut self.ready);
        for key in &ready {
            if let Some(conn) = self.conns.get_mut(*key) {
                conn.is_listed = false;
                self.drive(*key);
            }
        }
        ready.len() + ready_ups.len()
    }

    /// Sets when a connection is looked at again at the latest.
    pub(in crate::server) fn set_deadline(&mut self, key: Key, deadline_ms: u64) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.deadline.set(&mut self.wheel, deadline_ms, key.0);
        }
    }

    pub(super) fn fire_timers(&mut self) -> usize {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.advance(self.now_ms, |key| due.push(key));
        let count = due.len();
        for data in due.drain(..) {
            match data >> MARK_SHIFT {
                MARK_ACCEPT => self.resume_accepting(),
                MARK_HEALTH => self.on_health_timer(),
                MARK_MEMORY => self.on_memory_timer(),
                MARK_UP => self.on_up_timer(Key(data & MARK_MASK)),
                MARK_TRIM => self.trim(),
                MARK_CALL => self.on_call_timer(Key(data & MARK_MASK)),
                _ => self.on_timer(Key(data)),
            }
        }
        self.due = due;
        count
    }

    /// The memory that a burst needed goes back: what was kept for reuse and nobody has needed in
    /// the meantime, and all of it when a crowd has left. The system gets it from the pool, because
    /// that can take its time.
    fn trim(&mut self) {
        self.is_trim_due = false;
        let mut freed = self.actives.trim()
            + self.exchanges.trim()
            + self.bodies.trim()
            + self.spare_calls.trim();
        if self.has_crowd_left() {
            self.conns_peak = self.conns.len();
            self.actives.clear();
            self.exchanges.clear();
            self.bodies.clear();
            self.spare_calls.clear();
            freed += 1;
        }
        self.tidy_later();
        if freed > 0 {
            // A pool that is full has no quiet time.
            drop(self.core.pool.submit(Box::new(self.core.trim)));
        }
    }

    fn on_timer(&mut self, key: Key) {
        let now_ms = self.now_ms;
        if let Some(conn) = self.conns.get_mut(key)
            && conn.deadline.fired(&mut self.wheel, now_ms, key.0)
        {
            self.on_deadline(key);
        }
    }
}
