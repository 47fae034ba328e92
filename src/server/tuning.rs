//! The optimizer at work: what its limits are now, what it has decided, and why.
//!
//! The limits themselves live where the work waits: the pool's in `server/pool.rs`, an upstream's
//! with a worker's connections to it, that of a turn with its worker. Here they only tell of
//! themselves, and only when they move.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use parking_lot::Mutex;

use super::Server;
use super::core::Core;
use super::stats::WorkerStats;
use super::worker::Worker;
use crate::base::error::Failure;
use crate::base::slab::Key;
use crate::optimizer::load::Moved;
use crate::sys::clock;

/// Decisions that are kept.
const DECISIONS_MAX: usize = 32;
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
        write!(f, "the limit of {lever} goes from {from} to {to}: {reason}")
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
        if !is_far || (now_ms < state.told_ms + TOLD_EVERY_MS && moved.to.is_some()) {
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
    fn lines(&self) -> Vec<String> {
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
            "enabled": tuned.blocking || tuned.upstreams || tuned.turns,
            "blocking": { "enabled": tuned.blocking, "limit": self.pool.request_limit() },
            "upstreams": { "enabled": tuned.upstreams },
            "turns": { "enabled": tuned.turns },
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
    /// Whether one more request may be sent to a provider now; it is counted as waiting until
    /// [`Worker::leave_limit`].
    pub(super) fn enter_limit(&mut self, call: Key, index: usize) -> bool {
        if !self.app.settings.tuned.upstreams {
            return true;
        }
        let pool = &mut self.pools[index];
        if !pool.limit.admits() {
            self.stats.shed_upstreams.add(1);
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
        let provider = self.app.providers.iter().find(|provider| provider.id == id);
        let name = provider.map_or("a provider that has gone", |provider| provider.name.as_str());
        self.core.tuning.moved(&format!("provider {name}, worker {}", self.index), moved);
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
        }
        may
    }

    /// The turn is over.
    pub(super) fn end_turn(&mut self) {
        if let Some(moved) = self.turn_limit.end(self.now_ms) {
            self.core
                .tuning
                .moved(&format!("microseconds in a turn of worker {}", self.index), moved);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_decisions_are_told_in_words() {
        let tuning = Tuning::default();
        assert!(tuning.lines().is_empty());
        tuning.moved("a queue", Moved { from: Some(64), to: Some(8), reason: "it stands" });
        tuning.moved("a queue", Moved { from: Some(8), to: Some(9), reason: "it moves" });
        tuning.moved("a peer", Moved { from: None, to: Some(4), reason: "it is slow" });
        let lines = [
            "limit: a peer: 4",
            "limit: a queue: 9",
            "decision: the limit of a queue goes from 64 to 8: it stands",
            "decision: the limit of a peer goes from none to 4: it is slow",
        ];
        assert_eq!(tuning.lines(), lines);
    }
}
