//! One worker: an epoll loop with its own connections, timers, buffers and counters.
//!
//! One turn:
//! 1. wait for events, at most until the next timer;
//! 2. read the clock, take up a new snapshot if there is one;
//! 3. accept, read, write what the events say;
//! 4. read messages of other threads;
//! 5. go on with connections that had more to do than one turn allows;
//! 6. fire timers.
//!
//! A request lives on one worker from accept to close. Nothing on its path takes a lock that
//! another worker holds or writes a cache line that another worker reads often.

mod accept;
mod agenda;

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use crate::ai::chat::Delta;
use crate::ai::estimate::Habit;
use crate::ai::latency::Hedge;
use crate::ai::retry::Budget;
use crate::base::limits;
use crate::base::slab::{Key, Slab};
use crate::base::timer::Wheel;
use crate::exchange::{Exchange, Owner, Params, Request, Ticket};
use crate::http::date;
use crate::kernel::prefetch;
use crate::optimizer::load::TurnLimit;
use crate::pipeline::{App, Call};
use crate::server::call::{CallState, Sink};
use crate::server::conn::{Active, Conn};
use crate::server::core::{Core, DRAINING, RUNNING, STOPPED};
use crate::server::counts::ModelCounts;
use crate::server::deadline::Deadline;
use crate::server::listener::Listener;
use crate::server::mailbox::{Mailbox, Message};
use crate::server::reserve::Reserve;
use crate::server::resolve::Names;
use crate::server::share;
use crate::server::stats::WorkerStats;
use crate::server::upstream::{Pool, Up};
use crate::sys::epoll::{self, Epoll};
use crate::sys::{clock, memory, random};

/// Marks of epoll data and timer keys: what the rest of the word names.
pub(super) const MARK_SHIFT: u32 = 60;
const MARK_CONN: u64 = 0;
const MARK_LISTENER: u64 = 1;
const MARK_WAKE: u64 = 2;
const MARK_ACCEPT: u64 = 3;
const MARK_TIMER: u64 = 6;
pub(super) const MARK_HEALTH: u64 = 8;
pub(super) const MARK_MEMORY: u64 = 9;
pub(super) const MARK_UP: u64 = 4;
pub(super) const MARK_CALL: u64 = 5;
const MARK_TRIM: u64 = 7;
const MARK_MASK: u64 = (1 << MARK_SHIFT) - 1;

/// A snapshot as a worker keeps it. The outer count is the worker's own, so that keeping a copy
/// writes nothing that other workers read.
pub(super) type OwnApp = Arc<Arc<App>>;

/// One worker.
pub(super) struct Worker {
    pub(super) core: Arc<Core>,
    pub(super) index: usize,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) owner: Arc<dyn Owner>,
    pub(super) stats: Arc<WorkerStats>,
    /// Our own copy of the counts of models.
    pub(super) model_counts: Vec<Arc<ModelCounts>>,
    messages: Receiver<Message>,
    pub(super) epoll: Epoll,
    pub(super) conns: Slab<Conn>,
    pub(super) ups: Slab<Up>,
    pub(super) calls: Slab<Box<CallState>>,
    /// Calls that are over, for their memory.
    pub(super) spare_calls: Reserve<Box<CallState>>,
    pub(super) pools: Vec<Pool>,
    pub(super) names: Names,
    /// Calls that requests of this turn have led to.
    pub(super) starting: VecDeque<(Box<Call>, Sink)>,
    /// Upstreams that have more to read.
    pub(super) ready_ups: Vec<Key>,
    pub(super) wheel: Wheel,
    due: Vec<u64>,
    /// The snapshot requests are answered with.
    pub(super) app: OwnApp,
    version: u64,
    /// The version whose listeners and providers it has taken up.
    followed: u64,
    /// Connections that have more to do.
    ready: Vec<Key>,
    /// Accepting pauses: no descriptors, or too many connections.
    is_accept_paused: bool,
    /// Most connections since memory was given back.
    conns_peak: usize,
    is_trim_due: bool,
    is_listening: bool,
    listeners: Arc<[Arc<Listener>]>,
    pub(super) is_draining: bool,
    drain_deadline_ms: u64,

    pub(super) now_ms: u64,
    pub(super) now_us: u64,
    pub(super) second: i64,
    /// Status line, Date and Server of a 200, rewritten when the second changes.
    pub(super) prefix: Vec<u8>,
    pub(super) date: [u8; 29],

    /// Buffers that sockets are read into: as many as calls of one another have needed at once.
    scratches: Vec<Vec<u8>>,
    pub(super) params: Params,
    pub(super) pull_scratch: Vec<u8>,
    pub(super) relay_scratch: Vec<u8>,
    pub(super) made: Vec<Delta>,
    pub(super) tls_scratch: Vec<u8>,
    actives: Reserve<Box<Active>>,
    exchanges: Reserve<Box<Exchange>>,
    bodies: Reserve<Vec<u8>>,
    /// Requests seen since the start, for telling one of several.
    pub(super) access_count: u64,
    id_seed: u64,
    id_count: u64,
    /// Streamed answers that are compressed now.
    pub(super) coded_streams: usize,
    /// What this worker has reserved of the budget for AI bodies and not yet handed out.
    pub(super) ai_bytes_spare: u64,
    /// All that this worker has reserved of it.
    pub(super) ai_bytes_reserved: u64,
    /// When providers are asked next whether they are well, by their ids.
    pub(super) health_due: HashMap<u64, u64>,
    /// When the next of them is due.
    pub(super) health_deadline: Deadline,
    /// When the memory is looked at again.
    pub(super) memory_deadline: Deadline,
    /// Second attempts, by the numbers of routes.
    pub(super) hedges: Vec<Hedge>,
    /// What is known of the answers of models, by the numbers of routes.
    pub(super) habits: Vec<Habit>,
    /// Bounds the further tries of failed calls.
    pub(super) budget: Budget,
    /// How late work may begin in a turn.
    pub(super) turn_limit: TurnLimit,
    /// The last number drawn.
    pub(super) chance: u64,
}

impl Worker {
    pub(super) fn new(
        core: Arc<Core>,
        index: usize,
        mailbox: Arc<Mailbox>,
        messages: Receiver<Message>,
    ) -> std::io::Result<Worker> {
        let epoll = Epoll::new()?;
        epoll.add(mailbox.wake_fd(), epoll::IN, MARK_WAKE << MARK_SHIFT)?;
        let now_us = clock::monotonic_us();
        let app = Arc::new(core.app());
        let version = core.version.load(Ordering::Acquire);
        let stats = Arc::clone(&core.workers[index].stats);
        let listeners = core.listeners();
        let mut worker = Worker {
            owner: Arc::clone(&mailbox) as Arc<dyn Owner>,
            core,
            index,
            mailbox,
            stats,
            model_counts: Vec::new(),
            messages,
            epoll,
            conns: Slab::default(),
            ups: Slab::default(),
            calls: Slab::default(),
            spare_calls: Reserve::new(limits::KEPT_CALLS_BYTES, limits::POOLED_BYTES_MAX),
            pools: Vec::new(),
            names: Names::default(),
            starting: VecDeque::new(),
            ready_ups: Vec::new(),
            wheel: Wheel::new(now_us / 1_000),
            due: Vec::new(),
            app,
            version,
            followed: version,
            ready: Vec::new(),
            is_accept_paused: false,
            conns_peak: 0,
            is_trim_due: false,
            is_listening: false,
            listeners,
            is_draining: false,
            drain_deadline_ms: u64::MAX,
            now_ms: now_us / 1_000,
            now_us,
            second: i64::MIN,
            prefix: Vec::new(),
            date: [0; 29],
            scratches: vec![vec![0; limits::READ_BYTES]],
            params: Params::new(),
            pull_scratch: Vec::new(),
            relay_scratch: Vec::new(),
            made: Vec::new(),
            tls_scratch: Vec::new(),
            actives: Reserve::new(limits::KEPT_BUFFERS_BYTES, limits::POOLED_BYTES_MAX),
            exchanges: Reserve::new(limits::KEPT_EXCHANGES_BYTES, limits::POOLED_BYTES_MAX),
            bodies: Reserve::new(0, limits::POOLED_BODIES_BYTES_MAX),
            access_count: 0,
            id_seed: random::number(),
            id_count: 0,
            coded_streams: 0,
            ai_bytes_spare: 0,
            ai_bytes_reserved: 0,
            health_due: HashMap::new(),
            health_deadline: Deadline::default(),
            memory_deadline: Deadline::default(),
            hedges: Vec::new(),
            habits: Vec::new(),
            budget: Budget::default(),
            turn_limit: TurnLimit::default(),
            chance: random::number(),
        };
        worker.read_clock();
        worker.listen(true);
        worker.bound_reserves(worker.core.keeps_little());
        worker.keep_watch();
        Ok(worker)
    }

    /// The descriptor that is readable while the loop has something to do.
    pub(super) fn epoll_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    /// Turns until the server is stopped and drained.
    pub(super) fn run(&mut self) {
        let _own = self.mailbox.own();
        let mut events = vec![epoll::Event { events: 0, u64: 0 }; limits::EVENTS_PER_TURN];
        while self.turn(&mut events, None).is_some() {}
        self.end();
    }

    /// The worker that takes the place of this one, whose loop has panicked: what it holds cannot be
    /// trusted, so everything is closed and whoever waits for it is told.
    pub(super) fn successor(self) -> std::io::Result<Worker> {
        self.core.return_ai_bytes(self.ai_bytes_reserved);
        self.stats.connections.set(0);
        self.stats.doing.iter().for_each(|count| count.set(0));
        self.core.workers[self.index].pools.lock().clear();
        let Worker { core, index, mailbox, messages, id_count, .. } = self;
        let mut worker = Worker::new(core, index, mailbox, messages)?;
        // Tickets of the old one's exchanges must never fit.
        worker.id_count = id_count + 1;
        worker.mailbox.tell_again();
        Ok(worker)
    }

    /// Has the host's timer wake the loop.
    pub(super) fn watch_timer(&self, fd: RawFd) -> std::io::Result<()> {
        // Edge-triggered: arming it anew is what counts, not reading it.
        self.epoll.add(fd, epoll::IN | epoll::EDGE, MARK_TIMER << MARK_SHIFT)
    }

    /// One turn on a thread of the host.
    pub(super) fn turn_for_host(&mut self, wait_ms_max: Option<u64>) -> Option<usize> {
        let mut events = [epoll::Event { events: 0, u64: 0 }; limits::EVENTS_PER_TURN];
        let own = self.mailbox.own();
        let handled = self.turn(&mut events, wait_ms_max);
        drop(own);
        handled
    }

    pub(super) fn end_for_host(&mut self) {
        let _own = self.mailbox.own();
        self.end();
    }

    /// When the loop wants to turn again by itself.
    pub(super) fn next_in_ms(&self) -> Option<u64> {
        self.wait_ms(None)
    }

    /// One turn of the loop. Returns how many events it handled; `None` once the server is stopped
    /// and nothing is left to do. `wait_ms_max` bounds the wait.
    pub(super) fn turn(
        &mut self,
        events: &mut [epoll::Event],
        wait_ms_max: Option<u64>,
    ) -> Option<usize> {
        let wait = self.wait_ms(wait_ms_max);
        let events = self.epoll.wait(events, wait);
        self.read_clock();
        self.take_up_snapshot();
        let mut handled = events.len();
        for (index, event) in events.iter().enumerate() {
            let (data, flags) = (event.u64, event.events);
            if let Some(next) = events.get(index + 1) {
                self.foresee_event(next.u64);
            }
            match data >> MARK_SHIFT {
                MARK_CONN => self.on_conn_event(Key(data), flags),
                MARK_UP => self.on_up_event(Key(data & MARK_MASK), flags),
                MARK_LISTENER => drop(self.accept(data & MARK_MASK)),
                MARK_TIMER => handled -= 1,
                _ => {
                    handled -= 1;
                    self.mailbox.clear_wake();
                }
            }
            // At once, while what was read is in the nearest cache.
            handled += self.start_calls();
        }
        handled += self.read_messages();
        handled += self.go_on();
        handled += self.fire_timers();
        handled += self.start_calls();
        self.tell_pools();
        self.end_turn();
        if self.check_state() { Some(handled) } else { None }
    }

    /// A buffer that a socket is read into, to be put back with [`Worker::put_scratch`]. Whoever is
    /// called by one who holds it gets another: the end of an answer leads to the next request.
    pub(super) fn take_scratch(&mut self) -> Vec<u8> {
        self.scratches.pop().unwrap_or_else(|| vec![0; limits::READ_BYTES])
    }

    /// Puts it back.
    pub(super) fn put_scratch(&mut self, scratch: Vec<u8>) {
        if self.scratches.len() < limits::SCRATCHES_MAX {
            self.scratches.push(scratch);
        }
    }

    /// Asks for what the next event is about, while this one is handled.
    #[inline]
    fn foresee_event(&self, data: u64) {
        match data >> MARK_SHIFT {
            MARK_CONN => self.conns.place(Key(data)).into_iter().for_each(prefetch),
            MARK_UP => self.ups.place(Key(data & MARK_MASK)).into_iter().for_each(prefetch),
            _ => {}
        }
    }

    fn wait_ms(&self, wait_ms_max: Option<u64>) -> Option<u64> {
        let is_busy = !self.ready.is_empty() || !self.ready_ups.is_empty();
        if is_busy || self.mailbox.has_messages() {
            return Some(0);
        }
        // The clock of the last turn is old by now, but a late timer is only late by that.
        let mut wait = self.wheel.next_in_ms(self.now_ms);
        if self.is_draining {
            let left = self.drain_deadline_ms.saturating_sub(self.now_ms);
            wait = Some(wait.map_or(left, |wait| wait.min(left)));
        }
        match (wait, wait_ms_max) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn read_clock(&mut self) {
        self.now_us = clock::monotonic_us();
        self.now_ms = self.now_us / 1_000;
        let second = clock::unix_seconds();
        if second != self.second {
            self.second = second;
            self.date = date::imf_fixdate(second);
            self.prefix.clear();
            self.prefix.extend_from_slice(b"HTTP/1.1 200 OK\r\nDate: ");
            self.prefix.extend_from_slice(&self.date);
            self.prefix.extend_from_slice(b"\r\n");
        }
    }

    fn take_up_snapshot(&mut self) {
        self.refresh();
        if self.version != self.followed {
            self.followed = self.version;
            self.follow_listeners();
            self.prune_pools();
            self.follow_levers();
            self.keep_watch();
        }
    }

    /// Whoever was told that a change is made finds it made by the request that comes next, also
    /// when that is read in a turn that has begun before.
    pub(super) fn refresh(&mut self) {
        // Acquire pairs with the release of whoever published the snapshot.
        let version = self.core.version.load(Ordering::Acquire);
        if version != self.version {
            self.version = version;
            self.app = Arc::new(self.core.app());
        }
    }

    /// What one worker does for all of them, at its times.
    fn keep_watch(&mut self) {
        if self.index == 0 {
            self.check_health();
            self.check_memory();
        }
    }

    // ---- state ----

    /// False when the worker has nothing left to do.
    fn check_state(&mut self) -> bool {
        match self.core.state() {
            RUNNING => true,
            STOPPED => false,
            _ => {
                if !self.is_draining {
                    self.begin_drain();
                }
                let is_busy = !self.conns.is_empty() || !self.calls.is_empty();
                is_busy && self.now_ms < self.drain_deadline_ms
            }
        }
    }

    fn begin_drain(&mut self) {
        // The turn may have been long: the deadline counts from now.
        self.read_clock();
        self.is_draining = true;
        self.core.tell_stopping(&self.app);
        self.drain_deadline_ms = self.now_ms + self.core.drain_ms();
        self.is_accept_paused = false;
        self.close_listeners();
        for key in self.conns.keys() {
            let is_idle = self.conns.get(key).is_some_and(|conn| conn.active.is_none());
            if is_idle {
                self.close(key);
            }
        }
    }

    /// Closes what is left.
    pub(super) fn end(&mut self) {
        self.close_listeners();
        let keys = self.conns.keys();
        if !keys.is_empty() && self.core.state() == DRAINING {
            tracing::warn!("{} connections were cut at the end of the drain", keys.len());
        }
        for key in keys {
            self.close(key);
        }
        self.end_calls();
        for key in self.ups.keys() {
            self.close_up(key);
        }
        // Messages that nobody will read: dropped here, so that what they own is told.
        while let Ok(message) = self.messages.try_recv() {
            match message {
                Message::StreamStarted(_, exchange, queue) => {
                    exchange.request.set_gone();
                    queue.close();
                }
                Message::SharedStart(_, flight) => share::stopped(&flight),
                _ => {}
            }
        }
    }

    // ---- pools ----

    pub(super) fn borrow_active(&mut self) -> Box<Active> {
        self.actives.take().unwrap_or_default()
    }

    pub(super) fn give_back(&mut self, mut active: Box<Active>) {
        if let Some(exchange) = active.exchange.take() {
            self.give_back_exchange(exchange);
        }
        active.reset(limits::POOLED_BUFFER_BYTES_MAX);
        let bytes = active.kept_bytes();
        self.actives.put(active, bytes);
        self.tidy_later();
    }

    pub(super) fn borrow_exchange(&mut self, ticket: Ticket) -> Box<Exchange> {
        match self.exchanges.take() {
            Some(mut exchange) => {
                exchange.reuse(ticket);
                exchange
            }
            None => {
                let request = Arc::new(Request::default());
                Box::new(Exchange::new(request, Arc::clone(&self.owner), ticket))
            }
        }
    }

    pub(super) fn give_back_exchange(&mut self, mut exchange: Box<Exchange>) {
        if let Some(request) = Arc::get_mut(&mut exchange.request) {
            let body = request.give_back();
            self.keep_body(body);
            exchange.response.clear();
            let kept = request.kept_bytes() + exchange.response.kept_bytes();
            let bytes = size_of::<Exchange>() + size_of::<Request>() + kept;
            self.exchanges.put(exchange, bytes);
            self.tidy_later();
        }
    }

    /// Room for a body of this size, when one is kept that was grown for such.
    pub(super) fn borrow_body(&mut self, request: &mut Request, bytes: usize) {
        if bytes > limits::SMALL_BODY_BYTES_MAX
            && let Some(body) = self.bodies.take()
        {
            *request.body_mut() = body;
        }
    }

    /// Keeps the room of a large body for the next: taking it from the allocator each time costs a
    /// page fault for every 4 KB and a copy whenever it grows.
    fn keep_body(&mut self, body: Vec<u8>) {
        let bytes = body.capacity();
        if bytes > limits::SMALL_BODY_BYTES_MAX && bytes <= limits::POOLED_BODY_BYTES_MAX {
            self.bodies.put(body, bytes);
            self.tidy_later();
        }
    }

    /// Keeps little for reuse while memory is short.
    pub(super) fn bound_reserves(&mut self, is_little: bool) {
        let freed = self.actives.bound(is_little)
            + self.exchanges.bound(is_little)
            + self.bodies.bound(is_little)
            + self.spare_calls.bound(is_little);
        if freed > 0 {
            // A pool that is full has no quiet time.
            drop(self.core.pool.submit(Box::new(memory::trim)));
        }
    }

    /// Has the memory kept for reuse looked at in a while, when it is more than is always kept.
    #[inline]
    pub(super) fn tidy_later(&mut self) {
        let keeps_much = self.actives.is_large()
            || self.exchanges.is_large()
            || self.bodies.is_large()
            || self.spare_calls.is_large();
        if keeps_much && !self.is_trim_due {
            self.arm_trim();
        }
    }

    fn arm_trim(&mut self) {
        if !self.is_trim_due {
            self.is_trim_due = true;
            self.wheel.arm(self.now_ms + limits::TRIM_AFTER_MS, MARK_TRIM << MARK_SHIFT);
        }
    }

    /// Tells the exchanges of this worker apart.
    pub(super) fn next_serial(&self) -> u64 {
        self.id_count
    }

    /// Wall time in seconds, as of this turn.
    pub(super) fn unix_seconds(&self) -> i64 {
        self.second
    }

    /// A connection has gone: perhaps accepting can go on.
    pub(super) fn on_closed(&mut self) {
        if self.has_crowd_left() {
            self.arm_trim();
        }
        if self.is_accept_paused && !self.is_draining && !self.core.is_full() {
            self.listen(true);
        }
    }

    /// Whether there were many connections and are few.
    fn has_crowd_left(&self) -> bool {
        self.conns_peak >= limits::CROWD_CONNECTIONS && self.conns.len() * 8 <= self.conns_peak
    }

    /// A number for a request id that no other request of any worker gets.
    pub(super) fn next_id(&mut self) -> u128 {
        self.id_count += 1;
        u128::from(self.id_seed) << 64
            | u128::from(self.id_count.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }
}
