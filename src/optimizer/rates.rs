//! How much of the rate limits of addresses counts while requests are refused for want of room.
//!
//! Under overload somebody must be refused, and chance refuses those who ask seldom as readily as
//! those who ask all the time. Lower limits refuse the latter first.
#![forbid(unsafe_code)]

use super::load::{LEVER_OFF, Moved};

/// A limit is given up and taken back in so many parts.
pub const PARTS: u32 = 8;
/// So many always stay.
const PARTS_MIN: u32 = 2;
/// Between two steps down, and between two steps up.
const DOWN_EVERY_MS: u64 = 1_000;
const UP_EVERY_MS: u64 = 2_000;
/// Fewer refusals than these between two steps down are chance.
const REFUSED_MIN: u32 = 10;

/// The share of every rate limit that counts.
#[derive(Debug)]
pub struct RateLimit {
    parts: u32,
    refused: u32,
    window_ms: u64,
    /// Of the last refusal, or the last step up.
    quiet_from_ms: u64,
}

impl Default for RateLimit {
    fn default() -> RateLimit {
        RateLimit { parts: PARTS, refused: 0, window_ms: 0, quiet_from_ms: 0 }
    }
}

impl RateLimit {
    /// Parts of the limits that count, of [`PARTS`].
    pub fn parts(&self) -> u32 {
        self.parts
    }

    /// A request was refused because there is no room for it.
    pub fn refused(&mut self, now_ms: u64) -> Option<Moved> {
        self.quiet_from_ms = now_ms;
        self.refused += 1;
        if now_ms.saturating_sub(self.window_ms) < DOWN_EVERY_MS {
            return None;
        }
        // After a pause the window says nothing about a second.
        let is_fresh = now_ms.saturating_sub(self.window_ms) < 2 * DOWN_EVERY_MS;
        let count = std::mem::replace(&mut self.refused, 0);
        self.window_ms = now_ms;
        (is_fresh && count >= REFUSED_MIN)
            .then(|| {
                self.set((self.parts - 1).max(PARTS_MIN), "requests are refused for want of room")
            })
            .flatten()
    }

    /// Takes a look: is it quiet?
    pub fn look(&mut self, now_ms: u64) -> Option<Moved> {
        if now_ms.saturating_sub(self.quiet_from_ms) < UP_EVERY_MS {
            return None;
        }
        self.quiet_from_ms = now_ms;
        self.set((self.parts + 1).min(PARTS), "nobody is refused any more")
    }

    /// Gives everything back: the lever was switched off.
    pub fn lift(&mut self) -> Option<Moved> {
        self.set(PARTS, LEVER_OFF)
    }

    fn set(&mut self, parts: u32, reason: &'static str) -> Option<Moved> {
        let from = std::mem::replace(&mut self.parts, parts);
        let percent = |parts| Some(u64::from(parts * 100 / PARTS));
        (from != parts).then(|| Moved { from: percent(from), to: percent(parts), reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wrong: a few refusals count as overload, the limits fall to nothing, or never rise again.
    #[test]
    fn limits_follow_refusals_and_come_back() {
        let mut limit = RateLimit::default();
        // One every 200 ms is chance; so is a burst.
        for at in 0..50 {
            assert_eq!(limit.refused(at * 200), None);
        }
        for _ in 0..100 {
            assert_eq!(limit.refused(20_000), None);
        }
        let mut moves = Vec::new();
        for at in 0..1_000 {
            moves.extend(limit.refused(30_000 + at * 10).map(|moved| moved.to));
        }
        assert_eq!(moves, [87, 75, 62, 50, 37, 25].map(Some));
        assert_eq!(limit.parts(), 2);
        assert_eq!(limit.look(40_500), None);
        let mut moves = Vec::new();
        for at in 0..30 {
            moves.extend(limit.look(41_000 + at * 1_000).map(|moved| moved.to));
        }
        assert_eq!(moves, [37, 50, 62, 75, 87, 100].map(Some));
        for at in 0..300 {
            limit.refused(90_000 + at * 10);
        }
        let lifted = limit.lift().unwrap();
        assert_eq!((lifted.to, limit.parts(), limit.lift()), (Some(100), PARTS, None));
    }
}
