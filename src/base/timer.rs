//! A hierarchical timing wheel.
//!
//! Time is cut into ticks of [`TICK_MS`]. The lowest level has one slot per tick for the next 64
//! ticks, each higher level slots 64 times as wide. Arming and cancelling are constant time; when
//! the lowest level has gone round once, the next slot of the level above is dealt out to it.
//! A timer never fires early, and at most one tick late by the wheel's own doing.
//!
//! Whoever re-arms on every request keeps the real deadline beside the timer and re-arms only when
//! the timer fires too early: so a busy connection costs the wheel nothing.

/// Length of a tick, in milliseconds.
pub const TICK_MS: u64 = 8;

const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 5;
const NONE: u32 = u32::MAX;
/// Longest time ahead, in ticks; later deadlines fire here and are armed again by their owner.
const HORIZON_TICKS: u64 = (1 << (SLOT_BITS * LEVELS as u32)) - 1;

/// Names an armed timer until it fires or is cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimerId(u32);

#[derive(Clone, Copy)]
struct Node {
    key: u64,
    deadline_tick: u64,
    next: u32,
    previous: u32,
    /// Slot the node hangs in, `level * SLOTS + slot`; NONE when free.
    slot: u32,
}

/// The wheel. `key` is the owner's; the wheel only gives it back.
pub struct Wheel {
    nodes: Vec<Node>,
    free: u32,
    heads: [u32; SLOTS * LEVELS],
    /// One bit per non-empty slot and level.
    occupied: [u64; LEVELS],
    now_tick: u64,
    armed: usize,
}

impl Wheel {
    /// A wheel whose time begins at `now_ms`.
    pub fn new(now_ms: u64) -> Wheel {
        Wheel {
            nodes: Vec::new(),
            free: NONE,
            heads: [NONE; SLOTS * LEVELS],
            occupied: [0; LEVELS],
            now_tick: now_ms / TICK_MS,
            armed: 0,
        }
    }

    /// How many timers are armed.
    pub fn armed(&self) -> usize {
        self.armed
    }

    /// Arms a timer for `deadline_ms`. A deadline in the past fires at the next turn.
    pub fn arm(&mut self, deadline_ms: u64, key: u64) -> TimerId {
        let tick = deadline_ms.div_ceil(TICK_MS);
        let index = if self.free == NONE {
            self.nodes.push(Node {
                key: 0,
                deadline_tick: 0,
                next: NONE,
                previous: NONE,
                slot: NONE,
            });
            (self.nodes.len() - 1) as u32
        } else {
            let index = self.free;
            self.free = self.nodes[index as usize].next;
            index
        };
        let node = &mut self.nodes[index as usize];
        node.key = key;
        node.deadline_tick = tick;
        self.link(index);
        self.armed += 1;
        TimerId(index)
    }

    /// Cancels an armed timer. The id must not be used again.
    pub fn cancel(&mut self, id: TimerId) {
        let Some(node) = self.nodes.get(id.0 as usize) else { return };
        if node.slot == NONE {
            return;
        }
        self.unlink(id.0);
        self.release(id.0);
    }

    /// Milliseconds from `now_ms` until something may have to be done, `None` when nothing is
    /// armed. Never later than the earliest deadline; earlier when a level has to be dealt out.
    pub fn next_in_ms(&self, now_ms: u64) -> Option<u64> {
        if self.armed == 0 {
            return None;
        }
        let mut best = u64::MAX;
        for level in 0..LEVELS {
            if self.occupied[level] == 0 {
                continue;
            }
            let shift = SLOT_BITS * level as u32;
            let position = self.now_tick >> shift;
            let turned = self.occupied[level].rotate_right((position & 63) as u32);
            // Slot 0 of the turned word is the current one: on the lowest level it is due, on
            // higher ones it was dealt out and means a whole round ahead.
            let ahead = if level == 0 {
                u64::from(turned.trailing_zeros())
            } else {
                match (turned & !1).trailing_zeros() {
                    64 => 64,
                    ahead => u64::from(ahead),
                }
            };
            best = best.min(((position + ahead) << shift).max(self.now_tick));
        }
        Some((best * TICK_MS).saturating_sub(now_ms))
    }

    /// Moves time on to `now_ms` and hands the keys of all timers that are due to `fire`. Their
    /// ids are free afterwards.
    pub fn advance(&mut self, now_ms: u64, mut fire: impl FnMut(u64)) {
        let target = now_ms / TICK_MS;
        while self.now_tick <= target {
            if self.armed == 0 {
                self.now_tick = target;
                return;
            }
            let slot = (self.now_tick & 63) as usize;
            if slot == 0 {
                self.deal_out();
            }
            let mut index = std::mem::replace(&mut self.heads[slot], NONE);
            self.occupied[0] &= !(1 << slot);
            while index != NONE {
                let node = self.nodes[index as usize];
                self.release(index);
                fire(node.key);
                index = node.next;
            }
            if self.now_tick == target {
                return;
            }
            self.now_tick = self.next_stop(target);
        }
    }

    /// The next tick at or before `target` at which anything hangs or a level turns.
    fn next_stop(&self, target: u64) -> u64 {
        let ahead = self.now_tick + 1;
        let round_end = (self.now_tick | 63) + 1;
        let turned = self.occupied[0].rotate_right((ahead & 63) as u32);
        let next = ahead + u64::from(turned.trailing_zeros().min(63));
        next.min(round_end).min(target)
    }

    /// Deals the current slots of the higher levels out to the lower ones.
    fn deal_out(&mut self) {
        for level in 1..LEVELS {
            let position = self.now_tick >> (SLOT_BITS * level as u32);
            let slot = (position & 63) as usize;
            let mut index = std::mem::replace(&mut self.heads[level * SLOTS + slot], NONE);
            self.occupied[level] &= !(1 << slot);
            while index != NONE {
                let next = self.nodes[index as usize].next;
                self.link(index);
                index = next;
            }
            if slot != 0 {
                break;
            }
        }
    }

    fn link(&mut self, index: u32) {
        let tick = self.nodes[index as usize].deadline_tick;
        let tick = tick.clamp(self.now_tick, self.now_tick + HORIZON_TICKS);
        // The level is the highest one at which the deadline and now differ.
        let differ = (tick ^ self.now_tick) | 1;
        let level = ((63 - differ.leading_zeros()) / SLOT_BITS) as usize;
        // Across the top of the horizon the difference can show above the last level.
        let level = level.min(LEVELS - 1);
        let slot = ((tick >> (SLOT_BITS * level as u32)) & 63) as usize;
        let place = level * SLOTS + slot;
        let old = self.heads[place];
        let node = &mut self.nodes[index as usize];
        node.slot = place as u32;
        node.next = old;
        node.previous = NONE;
        if old != NONE {
            self.nodes[old as usize].previous = index;
        }
        self.heads[place] = index;
        self.occupied[level] |= 1 << slot;
    }

    fn unlink(&mut self, index: u32) {
        let node = self.nodes[index as usize];
        let place = node.slot as usize;
        if node.previous == NONE {
            self.heads[place] = node.next;
            if node.next == NONE {
                self.occupied[place / SLOTS] &= !(1 << (place % SLOTS));
            }
        } else {
            self.nodes[node.previous as usize].next = node.next;
        }
        if node.next != NONE {
            self.nodes[node.next as usize].previous = node.previous;
        }
    }

    fn release(&mut self, index: u32) {
        let node = &mut self.nodes[index as usize];
        node.slot = NONE;
        node.next = self.free;
        node.previous = NONE;
        self.free = index;
        self.armed -= 1;
        if self.armed == 0 && self.nodes.len() > 1024 {
            self.nodes = Vec::new();
            self.free = NONE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every timer fires once, never early and never more than two ticks late.
    #[test]
    fn timers_fire_in_time_whatever_their_distance() {
        let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        for start in [0, 1, 503, 4_095, 32_760, 2_097_145, 1 << 33] {
            let mut wheel = Wheel::new(start);
            let mut due = Vec::new();
            for key in 0..2_000_u64 {
                let ahead = match key % 5 {
                    0 => random() % 64,
                    1 => random() % 4_000,
                    2 => random() % 300_000,
                    3 => random() % 20_000_000,
                    _ => 512 * (random() % 100),
                };
                due.push(start + ahead);
                wheel.arm(start + ahead, key);
            }
            let mut fired = vec![false; due.len()];
            let mut now = start;
            while wheel.armed() > 0 {
                let wait = wheel.next_in_ms(now).unwrap();
                now += wait.max(1);
                wheel.advance(now, |key| {
                    let deadline = due[key as usize];
                    assert!(!fired[key as usize], "fired twice");
                    fired[key as usize] = true;
                    assert!(now >= deadline, "{key} fired at {now} before {deadline}");
                    assert!(now <= deadline + 2 * TICK_MS, "{key} fired at {now}, due {deadline}");
                });
            }
            assert!(fired.iter().all(|&fired| fired));
        }
    }

    #[test]
    fn a_long_sleep_fires_everything_that_is_due() {
        let mut wheel = Wheel::new(1_000);
        for key in 0..1_000 {
            wheel.arm(1_000 + key * 37, key);
        }
        let mut count = 0;
        wheel.advance(1_000 + 1_000 * 37 + TICK_MS, |_| count += 1);
        assert_eq!(count, 1_000);
        assert_eq!(wheel.next_in_ms(50_000), None);
    }

    #[test]
    fn a_cancelled_timer_is_silent_and_its_place_is_reused() {
        let mut wheel = Wheel::new(0);
        let ids: Vec<_> = (0..100).map(|key| wheel.arm(100 + key, key)).collect();
        for id in ids.iter().step_by(2) {
            wheel.cancel(*id);
        }
        let mut seen = Vec::new();
        wheel.advance(500, |key| seen.push(key));
        seen.sort_unstable();
        assert_eq!(seen, (0..100).filter(|key| key % 2 == 1).collect::<Vec<_>>());
        wheel.arm(600, 7);
        assert!(wheel.nodes.len() <= 100);
    }

    #[test]
    fn far_deadlines_are_cut_to_the_horizon() {
        let mut wheel = Wheel::new(0);
        wheel.arm(u64::MAX / 2, 1);
        assert_eq!(wheel.armed(), 1);
        assert!(wheel.next_in_ms(0).is_some());
    }
}
