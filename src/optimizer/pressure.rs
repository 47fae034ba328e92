//! What is given up while memory is short: kept answers, memory kept for reuse and the kernel's
//! buffers of connections that come, then further connections.
//!
//! A process that reaches the end of its memory is ended, with everything in it. Kept answers can
//! be had again; a connection that is not taken yet goes to another server, or waits.
#![forbid(unsafe_code)]

use super::load::{LEVER_OFF, Moved};
use crate::base::limits::{KEPT_BUFFERS_BYTES, KEPT_CALLS_BYTES, KEPT_EXCHANGES_BYTES};

/// Parts that the cache's bytes are given up and taken back in.
const PARTS: u32 = 16;
/// How much must be free: percent of what there is, and in a large machine bytes. Below the first
/// the cache shrinks, below the second no further connection is taken; from the third on what was
/// given up is taken back.
const SHORT: (u64, u64) = (10, 1 << 30);
const SCARCE: (u64, u64) = (5, 256 << 20);
const EASY: (u64, u64) = (15, 3 << 29);
/// What the kernel keeps for a connection that comes while memory is short, each way, in bytes.
const SOCKET_BYTES: u32 = 32 * 1024;
/// What a worker keeps for reuse then: what it otherwise keeps however long nobody asks for it.
const KEPT_BYTES: u64 = (KEPT_BUFFERS_BYTES + KEPT_EXCHANGES_BYTES + KEPT_CALLS_BYTES) as u64;
/// So many connections are always taken.
const CONNECTIONS_FLOOR: u64 = 64;
/// Between two looks while memory is short, and while it is not.
const SHORT_EVERY_MS: u64 = 1_000;
const EASY_EVERY_MS: u64 = 5_000;

/// Memory of the machine, or of the group that the process may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// Bytes that can be had without taking them from anybody.
    pub available: u64,
    /// Bytes there are.
    pub total: u64,
}

impl Memory {
    fn has(self, (percent, bytes): (u64, u64)) -> bool {
        let share = u128::from(self.total) * u128::from(percent) / 100;
        u128::from(self.available) >= share.min(u128::from(bytes))
    }

    /// The one that runs out first.
    #[must_use]
    pub fn tighter(self, other: Memory) -> Memory {
        let parts = |own: u64, total: u64| u128::from(own) * u128::from(total.max(1));
        if parts(other.available, self.total) < parts(self.available, other.total) {
            other
        } else {
            self
        }
    }
}

/// The bounds that follow the memory there is.
#[derive(Debug)]
pub struct MemoryLimit {
    parts: u32,
    connections: Option<u64>,
    socket_bytes: Option<u32>,
    is_easy: bool,
}

impl Default for MemoryLimit {
    fn default() -> MemoryLimit {
        MemoryLimit { parts: PARTS, connections: None, socket_bytes: None, is_easy: true }
    }
}

/// What one look at the memory has moved.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct MemoryMoves {
    /// Bytes of the cache.
    pub cache: Option<Moved>,
    /// Connections at once.
    pub connections: Option<Moved>,
    /// Bytes of the kernel's buffers of a new connection, each way.
    pub sockets: Option<Moved>,
    /// Bytes that a worker keeps for reuse.
    pub kept: Option<Moved>,
}

impl MemoryLimit {
    /// Bytes that the cache may hold, of those that it is configured to.
    pub fn cache_bytes(&self, configured: u64) -> u64 {
        (u128::from(configured) * u128::from(self.parts) / u128::from(PARTS)) as u64
    }

    /// How many connections there may be at once; `None`: as configured.
    pub fn connections(&self) -> Option<u64> {
        self.connections
    }

    /// Bytes of the kernel's buffers of a new connection; `None`: as the system has it.
    pub fn socket_bytes(&self) -> Option<u32> {
        self.socket_bytes
    }

    /// Bytes that a worker keeps for reuse; `None`: as usual.
    pub fn kept_bytes(&self) -> Option<u64> {
        // They cost nothing that is missed, as the buffers of sockets do: they go and come together.
        self.socket_bytes.map(|_| KEPT_BYTES)
    }

    /// Whether the cache has fewer bytes than configured.
    pub fn is_reduced(&self) -> bool {
        self.parts < PARTS
    }

    /// When to look again, in milliseconds from now.
    pub fn next_ms(&self) -> u64 {
        if self.is_easy && !self.is_reduced() { EASY_EVERY_MS } else { SHORT_EVERY_MS }
    }

    /// Takes a look. `connections` are those there are, of `connections_max`; the cache is
    /// configured to hold `cache_bytes`.
    pub fn measured(
        &mut self,
        memory: Memory,
        connections: u64,
        connections_max: u64,
        cache_bytes: u64,
    ) -> MemoryMoves {
        let mut moves = MemoryMoves::default();
        let before = self.parts;
        let mut reason = "";
        if !memory.has(SHORT) {
            self.parts = (before / 2).max(1);
            reason = "memory is short";
        } else if memory.has(EASY) && before < PARTS {
            self.parts = before + 1;
            reason = "memory is free again";
        }
        if self.parts != before {
            let bytes = |parts| MemoryLimit { parts, ..MemoryLimit::default() };
            moves.cache = Some(Moved {
                from: Some(bytes(before).cache_bytes(cache_bytes)),
                to: Some(self.cache_bytes(cache_bytes)),
                reason,
            });
        }
        let sockets = match self.socket_bytes {
            None if !memory.has(SHORT) => Some((Some(SOCKET_BYTES), "memory is short")),
            Some(_) if memory.has(EASY) => Some((None, "memory is free again")),
            _ => None,
        };
        if let Some((bytes, reason)) = sockets {
            let kept = self.kept_bytes();
            let from = std::mem::replace(&mut self.socket_bytes, bytes);
            moves.kept = Some(Moved { from: kept, to: self.kept_bytes(), reason });
            moves.sockets =
                Some(Moved { from: from.map(u64::from), to: bytes.map(u64::from), reason });
        }
        let limit = match self.connections {
            None if !memory.has(SCARCE) => {
                let most = connections.max(CONNECTIONS_FLOOR);
                (most < connections_max).then_some((most, "memory is scarce"))
            }
            Some(most) if memory.has(SHORT) => Some((most, "memory is free again")),
            _ => None,
        };
        if let Some((most, reason)) = limit {
            let from = self.connections;
            self.connections = if from.is_none() { Some(most) } else { None };
            moves.connections = Some(Moved { from, to: self.connections, reason });
        }
        self.is_easy = memory.has(EASY) && self.connections.is_none();
        moves
    }

    /// Gives everything back: the lever was switched off.
    pub fn lift(&mut self, cache_bytes: u64) -> MemoryMoves {
        let reason = LEVER_OFF;
        let (before, connections) = (self.cache_bytes(cache_bytes), self.connections);
        let was_reduced = self.is_reduced();
        let (sockets, kept) = (self.socket_bytes, self.kept_bytes());
        *self = MemoryLimit::default();
        MemoryMoves {
            cache: was_reduced.then_some(Moved {
                from: Some(before),
                to: Some(cache_bytes),
                reason,
            }),
            connections: connections.map(|from| Moved { from: Some(from), to: None, reason }),
            sockets: sockets.map(|from| Moved { from: Some(from.into()), to: None, reason }),
            kept: kept.map(|from| Moved { from: Some(from), to: None, reason }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(percent: u64) -> Memory {
        Memory { available: percent * 10, total: 1_000 }
    }

    /// Wrong: the bounds move while memory is neither short nor easy, fall to nothing, do not come
    /// back, or forbid what is configured less than that.
    #[test]
    fn what_is_given_up_comes_back() {
        let mut limit = MemoryLimit::default();
        let mut sockets = Vec::new();
        let mut look = |percent, connections| {
            let moves = limit.measured(free(percent), connections, 10_000, 1600);
            sockets.extend(moves.sockets.map(|moved| (percent, moved.to)));
            assert_eq!(moves.kept.is_some(), moves.sockets.is_some());
            let to = |moved: Option<Moved>| moved.map(|moved| moved.to);
            (to(moves.cache), to(moves.connections), limit.next_ms())
        };
        assert_eq!(look(50, 3_000), (None, None, 5_000));
        assert_eq!(look(12, 3_000), (None, None, 1_000));
        assert_eq!(look(9, 3_000), (Some(Some(800)), None, 1_000));
        assert_eq!(look(4, 3_000), (Some(Some(400)), Some(Some(3_000)), 1_000));
        assert_eq!(look(4, 2_000), (Some(Some(200)), None, 1_000));
        assert_eq!(look(4, 2_000), (Some(Some(100)), None, 1_000));
        assert_eq!(look(4, 2_000), (None, None, 1_000));
        assert_eq!(look(8, 2_000), (None, None, 1_000));
        assert_eq!(look(12, 2_000), (None, Some(None), 1_000));
        for part in 2..=16 {
            let (cache, connections, _) = look(20, 2_000);
            assert_eq!((cache, connections), (Some(Some(part * 100)), None));
        }
        assert_eq!(look(20, 2_000), (None, None, 5_000));
        // Few connections are always taken, and never more than configured.
        assert_eq!(look(1, 3).1, Some(Some(64)));
        assert_eq!(sockets, [(9, Some(32_768)), (20, None), (1, Some(32_768))]);
        let mut limit = MemoryLimit::default();
        assert_eq!(limit.measured(free(1), 3, 10, 1600).connections, None);
        assert_eq!(
            limit.lift(1600).cache.map(|it| (it.from, it.to)),
            Some((Some(800), Some(1600)))
        );
        assert_eq!(limit.lift(1600), MemoryMoves::default());
    }

    /// Wrong: a tenth of a large machine counts as nothing.
    #[test]
    fn a_large_machine_is_short_of_bytes_not_of_percent() {
        let large = |available| Memory { available, total: 1 << 40 };
        assert!(large(1 << 30).has(SHORT) && !large((1 << 30) - 1).has(SHORT));
        assert!(large(256 << 20).has(SCARCE) && !large((256 << 20) - 1).has(SCARCE));
        assert!(large(u64::MAX).has(EASY) && !free(14).has(EASY) && free(15).has(EASY));
    }

    #[test]
    fn the_tighter_one_counts_whatever_its_size() {
        let (large, small) = (free(50), Memory { available: 2, total: 10 });
        assert_eq!(large.tighter(small), small);
        assert_eq!(small.tighter(large), small);
        assert_eq!(Memory { available: u64::MAX, total: u64::MAX }.tighter(free(1)), free(1));
    }
}
