//! The optimizer at work: what its limits are now, what it has decided, and why.
//!
//! The limits themselves live where the work waits: the pool's in `server/pool.rs`, an upstream's
//! with a worker's connections to it, that of a turn with its worker. Here they only tell of
//! themselves, and only when they move.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::Mutex;

use super::Server;
use super::core::Core;
use super::stats::WorkerStats;
use super::worker::{MARK_MEMORY, MARK_SHIFT, Worker};
use crate::ai::balance::WEIGHT_PARTS;
use crate::ai::router::{Route, RouteTarget};
use crate::base::error::Failure;
use crate::base::slab::Key;
use crate::optimizer::load::{LEVER_OFF, Moved};
use crate::optimizer::pressure::Memory;
use crate::optimizer::rates;
use crate::optimizer::weights::{self, Seen, Share};
use crate::pipeline::{App, Tuned};
use crate::sys::{clock, memory};

/// Decisions that are kept.
const DECISIONS_MAX: usize = 32;
/// Between two looks at rates that are lowered.
const RATES_EVERY_MS: u64 = 1_000;
/// A limit that moves steadily is told of this often.
const TOLD_EVERY_MS: u64 = 1_000;

/// What moved, in the order in which it did.
struct Decision {
    at_s: i64,
    lever: String,
    moved: Moved,
}

/// A limit as people read it.
fn word(limit: Option<u64>) -> String {
    limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string())
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Moved { from, to, reason } = self.moved;
        let (lever, from, to) = (&self.lever, word(from), word(to));
        let what = if lever.starts_with("the ") { "" } else { "the limit of " };
        write!(f, "{what}{lever} goes from {from} to {to}: {reason}")
    }
}

struct Lever {
    now: Option<u64>,
    told: Option<u64>,
    told_ms: u64,
}

#[derive(Default)]
struct Board {
    levers: BTreeMap<String, Lever>,
    decisions: VecDeque<Decision>,
}

/// What the optimizer of one server has decided.
#[derive(Default)]
pub(super) struct Tuning {
    board: Mutex<Board>,
}

impl Tuning {
    /// A limit has moved: noted, and told when it has moved far or for the first time in a while.
    pub(super) fn moved(&self, lever: &str, moved: Moved) {
        self.note(lever, moved, false);
    }

    /// The same of a limit that moves seldom: every step is told.
    pub(super) fn decided(&self, lever: &str, moved: Moved) {
        self.note(lever, moved, true);
    }

    fn note(&self, lever: &str, moved: Moved, is_told: bool) {
        let now_ms = clock::monotonic_ms();
        let mut board = self.board.lock();
        let state = board.levers.entry(lever.to_owned()).or_insert(Lever {
            now: moved.from,
            told: moved.from,
            told_ms: 0,
        });
        state.now = moved.to;
        let is_far = match (state.told, moved.to) {
            (Some(told), Some(now)) => told.abs_diff(now) * 4 >= told,
            (told, now) => told != now,
        };
        let is_soon = now_ms < state.told_ms + TOLD_EVERY_MS && moved.to.is_some();
        let is_told = is_told || moved.reason == LEVER_OFF;
        if !is_told && (!is_far || is_soon) {
            return;
        }
        let moved = Moved { from: state.told, ..moved };
        state.told = moved.to;
        state.told_ms = now_ms;
        if board.decisions.len() == DECISIONS_MAX {
            board.decisions.pop_front();
        }
        let at_s = clock::unix_seconds();
        let decision = Decision { at_s, lever: lever.to_owned(), moved };
        let line = decision.to_string();
        board.decisions.push_back(decision);
        drop(board);
        tracing::info!("optimizer: {line}");
    }

    /// Limits that have moved, then the last decisions, a line each.
    pub(super) fn lines(&self) -> Vec<String> {
        let board = self.board.lock();
        let levers =
            board.levers.iter().map(|(name, it)| format!("limit: {name}: {}", word(it.now)));
        let decisions = board.decisions.iter().map(|decision| format!("decision: {decision}"));
        levers.chain(decisions).collect()
    }

    fn json(&self) -> (serde_json::Value, serde_json::Value) {
        let board = self.board.lock();
        let levers = board.levers.iter().map(|(name, lever)| {
            let limit = lever.now.map_or(serde_json::Value::Null, Into::into);
            (name.clone(), serde_json::json!({ "limit": limit }))
        });
        let decisions = board.decisions.iter().map(|decision| {
            serde_json::json!({
                "time": decision.at_s,
                "lever": decision.lever,
                "from": decision.moved.from,
                "to": decision.moved.to,
                "reason": decision.moved.reason,
            })
        });
        (levers.collect::<serde_json::Map<_, _>>().into(), decisions.collect::<Vec<_>>().into())
    }
}

impl Core {
    /// The member `optimizer` of `/stats`.
    pub(super) fn optimizer_json(&self) -> serde_json::Value {
        let sum = |get: fn(&WorkerStats) -> u64| -> u64 {
            self.workers.iter().map(|worker| get(&worker.stats)).sum()
        };
        let (levers, decisions) = self.tuning.json();
        let tuned = self.app().settings.tuned;
        serde_json::json!({
            "enabled": tuned != Tuned::default(),
            "blocking": { "enabled": tuned.blocking, "limit": self.pool.request_limit() },
            "upstreams": { "enabled": tuned.upstreams },
            "turns": { "enabled": tuned.turns },
            "rates": { "enabled": tuned.rates },
            "weights": { "enabled": tuned.weights },
            "memory": { "enabled": tuned.memory },
            "threads": { "enabled": tuned.threads, "limit": self.pool.threads_max() },
            "workers": { "enabled": tuned.workers, "awake": self.awake_count() },
            "limits": levers,
            "refused": {
                "blocking": sum(|s| s.shed_blocking.get()),
                "upstreams": sum(|s| s.shed_upstreams.get()),
                "turns": sum(|s| s.shed_turns.get()),
            },
            "decisions": decisions,
        })
    }
}

impl Core {
    /// Moves what is kept and taken to the memory there is; `None`: to what is configured. Returns
    /// when to look again, in milliseconds from now.
    pub(super) fn tune_memory(&self, memory: Option<Memory>) -> u64 {
        let config = self.live.config();
        let bytes = config.cache.max_bytes;
        let mut limit = self.memory.lock();
        let moves = match memory {
            Some(memory) => {
                let connections_max = u64::from(config.server.max_connections);
                limit.measured(memory, self.connections(), connections_max, bytes)
            }
            None => limit.lift(bytes),
        };
        if limit.is_reduced() || moves.cache.is_some() {
            self.app().cache.reduce(&config, limit.cache_bytes(bytes), super::now_s());
        }
        // Relaxed: a bound by itself.
        self.connections_tuned.store(limit.connections().unwrap_or(u64::MAX), Relaxed);
        self.socket_bytes.store(limit.socket_bytes().unwrap_or(0), Relaxed);
        self.set_keeps_little(limit.kept_bytes().is_some());
        let next_ms = limit.next_ms();
        drop(limit);
        for (lever, moved) in [
            ("bytes of kept answers", moves.cache),
            ("bytes of a new connection's buffers", moves.sockets),
            ("bytes that a worker keeps for reuse", moves.kept),
            ("connections", moves.connections),
        ] {
            if let Some(moved) = moved {
                self.tuning.moved(lever, moved);
            }
        }
        if moves.cache.is_some_and(|moved| moved.to < moved.from) {
            // A pool that is full has no quiet time.
            drop(self.pool.submit(Box::new(self.trim)));
        }
        next_ms
    }
}

const _: () = assert!(weights::PARTS == WEIGHT_PARTS, "one says what the other keeps");

/// Judges the targets of a route when that is due: how much of their weight counts.
pub(super) fn weigh(core: &Core, app: &App, route: &Route, now_ms: u64) {
    if !app.settings.tuned.weights || !route.is_due(now_ms, weights::WINDOW_MS) {
        return;
    }
    let seen: Vec<_> = route
        .targets
        .iter()
        .map(|target| {
            let load = &target.state.load;
            let (answers, failures, sum_us) = load.take_seen();
            let (parts, usual_us) = load.share();
            (Seen { answers, failures, sum_us }, Share { parts, usual_us })
        })
        .collect();
    let judged = weights::judge(&seen);
    for ((target, (_, before)), judged) in route.targets.iter().zip(&seen).zip(judged) {
        target.state.load.set_share(judged.share.parts, judged.share.usual_us);
        if let Some(reason) = judged.reason {
            core.tell_weight(app, route, target, (before.parts, judged.share.parts, reason));
        }
    }
}

impl Core {
    /// A request was refused because there is no room for it: the rates may follow.
    pub(super) fn rates_refused(&self, app: &App, now_ms: u64) {
        if app.settings.tuned.rates {
            // Who finds it taken leaves it: one refusal more or less says nothing.
            let moved = self.rates.try_lock().and_then(|mut rates| {
                let moved = rates.refused(now_ms)?;
                Some((moved, rates.parts()))
            });
            self.rates_moved(app, moved);
        }
    }

    /// Whether the rates need another look.
    pub(super) fn look_at_rates(&self, app: &App, now_ms: u64) -> bool {
        let mut rates = self.rates.lock();
        let moved = if app.settings.tuned.rates { rates.look(now_ms) } else { rates.lift() };
        let parts = rates.parts();
        drop(rates);
        self.rates_moved(app, moved.map(|moved| (moved, parts)));
        parts < rates::PARTS
    }

    /// Has as many workers take connections as there are processors for; `None`: all.
    pub(super) fn tune_workers(&self, processors: Option<u32>) {
        if self.worker_count() < 2 {
            return;
        }
        let mut limit = self.worker_limit.lock();
        let moved = match processors {
            Some(processors) => limit.measured(processors),
            None => limit.lift(),
        };
        let awake = limit.awake();
        drop(limit);
        if let Some(moved) = moved {
            self.set_awake(awake);
            self.tuning.decided("workers that take connections", moved);
        }
    }

    fn rates_moved(&self, app: &App, moved: Option<(Moved, u32)>) {
        if let Some((moved, parts)) = moved {
            app.firewall.set_rate_share(parts, rates::PARTS);
            self.tuning.moved("the rate limits of addresses, in percent", moved);
        }
    }

    fn tell_weight(
        &self,
        app: &App,
        route: &Route,
        target: &RouteTarget,
        (from, to, reason): (u32, u32, &'static str),
    ) {
        let provider = app.providers.get(target.provider).map_or("", |it| it.name.as_str());
        let model = target.model().unwrap_or(&route.name);
        let lever = format!("the weight of {provider}/{model} in {}, in percent", route.name);
        let percent = |parts: u32| Some(u64::from(parts * 100 / weights::PARTS));
        let (from, to) = (percent(from), percent(to));
        self.tuning.moved(&lever, Moved { from, to, reason });
    }

    /// Gives every target its whole weight again: the lever was switched off.
    pub(super) fn lift_weights(&self) {
        let app = self.app();
        for route in app.router.routes() {
            for target in &route.targets {
                let (parts, usual_us) = target.state.load.share();
                if parts < weights::PARTS {
                    target.state.load.set_share(weights::PARTS, usual_us);
                    let moved = (parts, weights::PARTS, LEVER_OFF);
                    self.tell_weight(&app, route, target, moved);
                }
            }
        }
    }
}

/// What the system has left for this process.
fn memory_left() -> Option<Memory> {
    let (machine, group) = memory::left();
    let memory = |(available, total)| Memory { available, total };
    match (machine.map(memory), group.map(memory)) {
        (Some(machine), Some(group)) => Some(machine.tighter(group)),
        (machine, group) => machine.or(group),
    }
}

impl Server {
    /// What the optimizer has limited and decided, a line each for people.
    pub fn optimizer_lines(&self) -> Vec<String> {
        self.core.tuning.lines()
    }

    /// Share of the blocking threads there may be that are busy, in percent.
    pub fn busy_percent(&self) -> u32 {
        self.core.pool.busy_percent()
    }
}

/// Who would only wait is told to come again.
pub(super) fn overloaded(what: &'static str) -> Failure {
    Failure::new(503, what).code("overloaded").retry_after(1)
}

impl Worker {
    /// Takes up what the optimizer has moved for all workers.
    pub(super) fn follow_tuning(&mut self) {
        self.follow_parking();
        self.bound_reserves(self.core.keeps_little());
    }

    /// Takes up which levers are on: one that is off limits nothing any more.
    pub(super) fn follow_levers(&mut self) {
        let tuned = self.app.settings.tuned;
        if !tuned.turns
            && let Some(moved) = self.turn_limit.lift()
        {
            self.tell_turns(moved);
        }
        if tuned.upstreams {
            return;
        }
        let lifted: Vec<_> = self
            .pools
            .iter_mut()
            .filter_map(|pool| pool.limit.lift().map(|moved| (pool.id, moved)))
            .collect();
        lifted.into_iter().for_each(|(id, moved)| self.tell_upstream(id, moved));
    }

    fn tell_turns(&self, moved: Moved) {
        self.core.tuning.moved(&format!("microseconds in a turn of worker {}", self.index), moved);
    }

    fn tell_upstream(&self, id: u64, moved: Moved) {
        let provider = self.app.providers.iter().find(|provider| provider.id == id);
        let name = provider.map_or("a provider that has gone", |provider| provider.name.as_str());
        self.core.tuning.moved(&format!("provider {name}, worker {}", self.index), moved);
    }

    /// Looks at the memory, the rates, the pool and the processors, and when it does so again.
    pub(super) fn check_memory(&mut self) {
        let is_on = self.app.settings.tuned.memory;
        let memory = if is_on { memory_left() } else { None };
        let mut next_ms = self.core.tune_memory(memory);
        if self.core.look_at_rates(&self.app, self.now_ms) {
            next_ms = next_ms.min(RATES_EVERY_MS);
        }
        if self.core.pool.look(self.now_ms) {
            next_ms = next_ms.min(RATES_EVERY_MS);
        }
        let tuned = self.app.settings.tuned;
        let processors = if tuned.workers { self.core.processors() } else { None };
        self.core.tune_workers(processors);
        let is_on = memory.is_some() || tuned.rates || tuned.threads || tuned.workers;
        let goes_on = is_on && !self.is_draining;
        let at_ms = if goes_on { self.now_ms + next_ms } else { u64::MAX };
        self.memory_deadline.set(&mut self.wheel, at_ms, MARK_MEMORY << MARK_SHIFT);
    }

    pub(super) fn on_memory_timer(&mut self) {
        if self.memory_deadline.fired(&mut self.wheel, self.now_ms, MARK_MEMORY << MARK_SHIFT) {
            self.check_memory();
        }
    }

    /// Whether one more request may be sent to a provider now; it is counted as waiting until
    /// [`Worker::leave_limit`].
    pub(super) fn enter_limit(&mut self, call: Key, index: usize) -> bool {
        if !self.app.settings.tuned.upstreams {
            return true;
        }
        let pool = &mut self.pools[index];
        if !pool.limit.admits() {
            self.stats.shed_upstreams.add(1);
            self.core.rates_refused(&self.app, self.now_ms);
            return false;
        }
        pool.limit.enter();
        let id = pool.id;
        if let Some(state) = self.calls.get_mut(call) {
            state.limited = Some(id);
        }
        true
    }

    /// A call waits for its provider's first byte no more; `took_us` when that has come.
    pub(super) fn leave_limit(&mut self, call: Key, took_us: Option<u64>) {
        let Some(state) = self.calls.get_mut(call) else { return };
        let Some(id) = state.limited.take() else { return };
        self.left_limit(id, took_us);
    }

    /// The same for a call that has been taken out already.
    pub(super) fn left_limit(&mut self, id: u64, took_us: Option<u64>) {
        let now_ms = self.now_ms;
        let Some(pool) = self.pools.iter_mut().find(|pool| pool.id == id) else { return };
        pool.limit.leave();
        let Some(moved) = took_us.and_then(|took_us| pool.limit.measured(took_us, now_ms)) else {
            return;
        };
        self.tell_upstream(id, moved);
    }

    /// Whether a request of the host may begin in this turn.
    pub(super) fn may_begin(&mut self) -> bool {
        if !self.turn_limit.count() {
            self.turn_limit.began();
            return true;
        }
        let late_us = clock::monotonic_us().saturating_sub(self.now_us);
        let may = self.turn_limit.admits(late_us);
        if !may {
            self.stats.shed_turns.add(1);
            self.core.rates_refused(&self.app, self.now_ms);
        }
        may
    }

    /// The turn is over.
    pub(super) fn end_turn(&mut self) {
        if let Some(moved) = self.turn_limit.end(self.now_ms) {
            self.tell_turns(moved);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpStream};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::config;
    use crate::exchange::{Exchange, Handler};
    use crate::server::Setup;

    #[test]
    fn limits_and_decisions_are_told_in_words() {
        let tuning = Tuning::default();
        assert!(tuning.lines().is_empty());
        tuning.moved("a queue", Moved { from: Some(64), to: Some(8), reason: "it stands" });
        tuning.moved("a queue", Moved { from: Some(8), to: Some(9), reason: "it moves" });
        tuning.moved("a peer", Moved { from: None, to: Some(4), reason: "it is slow" });
        // At once, however soon after the last step.
        tuning.moved("a queue", Moved { from: Some(9), to: Some(64), reason: LEVER_OFF });
        let lines = [
            "limit: a peer: 4",
            "limit: a queue: 64",
            "decision: the limit of a queue goes from 64 to 8: it stands",
            "decision: the limit of a peer goes from none to 4: it is slow",
            "decision: the limit of a queue goes from 8 to 64: the lever is off",
        ];
        assert_eq!(tuning.lines(), lines);
    }

    fn ask(client: &mut TcpStream) -> std::io::Result<[u8; 12]> {
        client.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let mut status = [0; 12];
        client.read_exact(&mut status)?;
        Ok(status)
    }

    fn started(sets: &[(&str, &str)]) -> Server {
        let sets = sets.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let listen = Some("127.0.0.1:0".to_owned());
        let sources =
            config::Sources { sets: sets.collect(), listen, ..config::Sources::default() };
        let server = Server::new(config::load(&sources).unwrap(), Setup::default()).unwrap();
        server.start().unwrap();
        server
    }

    struct Large;

    impl Handler for Large {
        fn handle(&self, exchange: &mut Exchange) -> Result<(), String> {
            exchange.response.send(200, "text/plain", &[b'x'; 16 << 20]);
            Ok(())
        }
    }

    /// Wrong: clients that do not read fill the kernel's memory although it is short, or those of
    /// later have small buffers for ever.
    #[test]
    fn while_memory_is_short_the_kernel_keeps_less_for_who_comes() {
        let server = started(&[("server.workers", "1"), ("optimizer.enable", "false")]);
        server.add_route("GET", "/large", false, false, Arc::new(Large)).unwrap();
        // What the kernel takes of an answer that nobody reads.
        let taken = || {
            let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
            client.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let own = client.local_addr().unwrap().to_string();
            let sent = || {
                let all: serde_json::Value =
                    serde_json::from_str(&server.connections_json()).unwrap();
                let all = all["connections"].as_array().unwrap();
                let mut found = all.iter().filter(|it| it["address"] == own);
                found.next().map_or(0, |it| it["sent_bytes"].as_u64().unwrap())
            };
            let deadline = Instant::now() + Duration::from_secs(20);
            let mut before = 0;
            let mut same = 0;
            while same < 5 {
                assert!(Instant::now() < deadline, "it goes on and on");
                std::thread::sleep(Duration::from_millis(20));
                let now = sent();
                same = if now > 0 && now == before { same + 1 } else { 0 };
                before = now;
            }
            before
        };
        let usual = taken();
        server.core.tune_memory(Some(Memory { available: 8, total: 100 }));
        let short = taken();
        server.core.tune_memory(Some(Memory { available: 50, total: 100 }));
        let again = taken();
        assert!(2 * short < usual && 2 * short < again, "{usual} {short} {again}");
        server.stop();
        server.wait(Some(Duration::from_secs(20))).unwrap();
    }

    /// Wrong: scarce memory stops nobody, cuts who is there, or nobody comes in afterwards.
    #[test]
    fn scarce_memory_keeps_further_connections_waiting() {
        let server = started(&[("server.workers", "1"), ("optimizer.enable", "false")]);
        let connect = || {
            let client = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            client
        };
        let mut clients: Vec<TcpStream> = (0..64).map(|_| connect()).collect();
        // Enough to be taken.
        clients[0].write_all(b"\r\n").unwrap();
        for client in &mut clients[1..] {
            assert_eq!(&ask(client).unwrap(), b"HTTP/1.1 200");
        }
        server.core.tune_memory(Some(Memory { available: 4, total: 100 }));
        assert!(server.core.is_full() && server.core.keeps_little());
        let mut late = connect();
        late.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert!(ask(&mut late).is_err());
        assert_eq!(&ask(&mut clients[0]).unwrap(), b"HTTP/1.1 200");
        late.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        server.core.tune_memory(Some(Memory { available: 12, total: 100 }));
        let mut status = [0; 12];
        late.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
        server.core.tune_memory(None);
        assert_eq!(
            server.optimizer_lines(),
            [
                "limit: bytes of a new connection's buffers: none",
                "limit: bytes of kept answers: 67108864",
                "limit: bytes that a worker keeps for reuse: none",
                "limit: connections: none",
                "decision: the limit of bytes of kept answers goes from 67108864 to 33554432: \
                 memory is short",
                "decision: the limit of bytes of a new connection's buffers goes from none to \
                 32768: memory is short",
                "decision: the limit of bytes that a worker keeps for reuse goes from none to \
                 1179648: memory is short",
                "decision: the limit of connections goes from none to 64: memory is scarce",
                "decision: the limit of connections goes from 64 to none: memory is free again",
                "decision: the limit of bytes of kept answers goes from 33554432 to 67108864: \
                 the lever is off",
                "decision: the limit of bytes of a new connection's buffers goes from 32768 to \
                 none: the lever is off",
                "decision: the limit of bytes that a worker keeps for reuse goes from 1179648 to \
                 none: the lever is off",
            ]
        );
        assert!(!server.core.keeps_little());
        server.stop();
        server.wait(Some(Duration::from_secs(20))).unwrap();
    }

    /// The connections of each worker.
    fn spread(server: &Server) -> Vec<u64> {
        server.core.workers.iter().map(|worker| worker.stats.connections.get()).collect()
    }

    fn connect(server: &Server) -> TcpStream {
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client
    }

    /// Wrong: a parked worker takes connections, lets go of those it has, keeps somebody waiting at
    /// the door, or never takes any again.
    #[test]
    fn a_parked_worker_serves_whom_it_has_and_takes_nobody() {
        let server = started(&[("server.workers", "2"), ("optimizer.enable", "false")]);
        let more = |clients: &mut Vec<TcpStream>, count: usize| {
            for _ in 0..count {
                let mut client = connect(&server);
                assert_eq!(&ask(&mut client).unwrap(), b"HTTP/1.1 200");
                clients.push(client);
            }
        };
        let mut clients = Vec::new();
        more(&mut clients, 12);
        let before = spread(&server);
        assert!(before[1] > 0, "{before:?}");
        server.core.tune_workers(Some(2));
        for _ in 0..20 {
            // Who comes in the very moment is served too.
            let mut early: Vec<TcpStream> = (0..8).map(|_| connect(&server)).collect();
            server.core.tune_workers(Some(1));
            early.iter_mut().for_each(|it| assert_eq!(&ask(it).unwrap(), b"HTTP/1.1 200"));
            server.core.tune_workers(Some(2));
        }
        server.core.tune_workers(Some(1));
        let parked = spread(&server)[1];
        more(&mut clients, 40);
        let after = spread(&server);
        assert!(after[1] <= parked && after[0] >= 40, "{before:?} {parked} {after:?}");
        for client in &mut clients {
            let mut rest = [0; 1024];
            client.set_nonblocking(true).unwrap();
            while client.read(&mut rest).is_ok() {}
            client.set_nonblocking(false).unwrap();
            assert_eq!(&ask(client).unwrap(), b"HTTP/1.1 200");
        }
        let stats: serde_json::Value = serde_json::from_str(&server.core.stats_json()).unwrap();
        assert_eq!(
            (&stats["workers"][0]["parked"], &stats["workers"][1]["parked"]),
            (&false.into(), &true.into())
        );
        assert_eq!(stats["optimizer"]["workers"]["awake"], 1);
        server.core.tune_workers(Some(2));
        more(&mut clients, 40);
        let woken = spread(&server);
        assert!(woken[1] > after[1] + 10, "{after:?} {woken:?}");
        let lines = server.optimizer_lines();
        let what = "decision: the limit of workers that take connections goes from";
        for line in [
            format!("{what} 2 to 1: the process may use fewer processors"),
            format!("{what} 1 to 2: the process may use its processors again"),
        ] {
            assert!(lines.contains(&line), "{lines:?}");
        }
        server.core.tune_workers(Some(1));
        drop(clients);
        server.stop();
        server.wait(Some(Duration::from_secs(20))).unwrap();
    }

    /// Wrong: a lever that is switched off while the server runs leaves behind what it has moved.
    #[test]
    fn memory_and_workers_are_given_back_when_a_configuration_has_their_levers_off() {
        // What is told here is not measured away: the levers were never on.
        let server = started(&[("server.workers", "2"), ("optimizer.enable", "false")]);
        server.core.tune_memory(Some(Memory { available: 1, total: 100 }));
        server.core.tune_workers(Some(2));
        server.core.tune_workers(Some(1));
        server.core.change(|_| ());
        let lifted = |lever: &str, to: &str| {
            let line = format!(" {lever} goes from");
            let end = format!(" to {to}: the lever is off");
            server.optimizer_lines().iter().any(|it| it.contains(&line) && it.ends_with(&end))
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        for (lever, to) in [
            ("workers that take connections", "2"),
            ("bytes of kept answers", "67108864"),
            ("bytes that a worker keeps for reuse", "none"),
            ("bytes of a new connection's buffers", "none"),
            ("connections", "none"),
        ] {
            while !lifted(lever, to) {
                assert!(Instant::now() < deadline, "{lever}: {:?}", server.optimizer_lines());
                std::thread::yield_now();
            }
        }
        assert!(server.core.awake_count() == 2 && !server.core.keeps_little());
        server.stop();
        server.wait(Some(Duration::from_secs(20))).unwrap();
    }
}
