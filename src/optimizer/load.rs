//! How much work is let in: three limits that follow the waiting they cause.
//!
//! Overload must not become collapse: who would wait for long in a queue that only grows is better
//! told so at once. Each limit watches the wait itself, not a proxy for it:
//!
//! - [`QueueLimit`], for a queue we own and see whole: the blocking pool's. A queue that never
//!   empties within a window is a standing one (Nichols and Jacobson, "Controlling Queue Delay",
//!   2012) and only adds delay; it is shortened until the wait is about the time the work takes.
//! - [`PeerLimit`], for a queue that somebody else has: an upstream's. A longer time to the first
//!   byte may be a longer prompt as well as a longer queue, and no figure tells them apart. So the
//!   limit is an experiment: fewer requests at once, and only if that makes them quicker it stays.
//! - [`TurnLimit`], for work done on the loop itself: what waits there is what one turn has read.
//!
//! None of them limits anything before there is evidence, so load that is merely high, and a
//! thousand long streams, pass untouched. No I/O, no clock, no lock: times come in.
#![forbid(unsafe_code)]

/// Between two decisions of a queue's limit.
const QUEUE_WINDOW_MS: u64 = 100;
/// What a queue may cost at least and at most before it counts as too long.
const WAIT_US_MIN: u64 = 2_000;
const WAIT_US_MAX: u64 = 200_000;

/// Why a limit is given back whose lever was switched off.
pub const LEVER_OFF: &str = "the lever is off";

/// A limit has moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moved {
    /// What it was; `None`: no limit.
    pub from: Option<u64>,
    /// What it is now.
    pub to: Option<u64>,
    /// Why.
    pub reason: &'static str,
}

/// How many jobs may wait in a queue of ours.
#[derive(Debug)]
pub struct QueueLimit {
    limit: f64,
    window_ms: u64,
    /// Shortest wait in this window; none yet: the highest number.
    wait_min_us: u64,
    /// Mean time that a job runs.
    run_us: f64,
    was_reached: bool,
}

impl QueueLimit {
    /// A limit that begins where it ends: at what the configuration allows.
    pub fn new(ceiling: usize) -> QueueLimit {
        QueueLimit {
            limit: ceiling as f64,
            window_ms: 0,
            wait_min_us: u64::MAX,
            run_us: 0.0,
            was_reached: false,
        }
    }

    /// Whether one more may wait behind `waiting` others.
    pub fn admits(&mut self, waiting: usize) -> bool {
        let is_below = (waiting as f64) < self.limit;
        self.was_reached |= !is_below;
        is_below
    }

    /// The limit as it is.
    pub fn get(&self) -> u64 {
        self.limit as u64
    }

    /// Lets as many wait as are configured: the lever was switched off.
    pub fn lift(&mut self, ceiling: usize) -> Option<Moved> {
        let before = self.get();
        *self = QueueLimit::new(ceiling);
        let reason = LEVER_OFF;
        (before < self.get()).then(|| Moved { from: Some(before), to: Some(self.get()), reason })
    }

    /// Mean time that a job runs, in microseconds.
    pub fn run_us(&self) -> u64 {
        self.run_us as u64
    }

    /// A job has run for so long.
    pub fn ran(&mut self, took_us: u64) {
        let took_us = took_us as f64;
        self.run_us =
            if self.run_us == 0.0 { took_us } else { self.run_us * 0.95 + took_us * 0.05 };
    }

    /// A job has waited for so long. The limit stays between `floor` and `ceiling`.
    pub fn waited(
        &mut self,
        waited_us: u64,
        now_ms: u64,
        floor: usize,
        ceiling: usize,
    ) -> Option<Moved> {
        self.wait_min_us = self.wait_min_us.min(waited_us);
        if now_ms.saturating_sub(self.window_ms) < QUEUE_WINDOW_MS {
            return None;
        }
        // After a pause the window says nothing about a queue that stands.
        let is_fresh = now_ms - self.window_ms < 10 * QUEUE_WINDOW_MS;
        self.window_ms = now_ms;
        let wait_us = std::mem::replace(&mut self.wait_min_us, u64::MAX);
        let was_reached = std::mem::take(&mut self.was_reached);
        let target_us = (self.run_us as u64).clamp(WAIT_US_MIN, WAIT_US_MAX);
        let before = self.get();
        let (floor, ceiling) = (floor.max(1) as f64, ceiling.max(1) as f64);
        let reason = if is_fresh && wait_us > target_us {
            let factor = (target_us as f64 / wait_us as f64).clamp(0.5, 0.95);
            self.limit *= factor;
            "every job waits longer than it runs"
        } else if was_reached && wait_us > target_us / 2 {
            return None;
        } else {
            self.limit += (self.limit / 8.0).max(1.0);
            "the queue empties again"
        };
        self.limit = self.limit.clamp(floor.min(ceiling), ceiling);
        let after = self.get();
        (after != before).then_some(Moved { from: Some(before), to: Some(after), reason })
    }
}

/// Between two decisions about a peer.
const PEER_WINDOW_MS: u64 = 1_000;
/// Fewer answers than this in a window say nothing.
const PEER_SAMPLES_MIN: u32 = 10;
/// A peer is never limited below this many requests that wait for their first byte.
pub const PEER_FLOOR: u32 = 8;
/// Windows that an experiment lasts.
const TRIAL_WINDOWS: u32 = 2;
/// Windows without a refusal after which a limit is lifted.
const QUIET_WINDOWS: u32 = 10;

/// How many requests may wait for a peer's first byte at once.
#[derive(Debug)]
pub struct PeerLimit {
    limit: Option<u32>,
    waiting: u32,
    window_ms: u64,
    sum_us: u64,
    count: u32,
    peak: u32,
    was_reached: bool,
    /// What the first byte takes when nothing is wrong, in microseconds; 0: not known.
    base_us: f64,
    /// Mean before the experiment that runs, and its windows so far.
    trial: Option<(f64, u32)>,
    quiet: u32,
}

impl Default for PeerLimit {
    fn default() -> PeerLimit {
        PeerLimit {
            limit: None,
            waiting: 0,
            window_ms: 0,
            sum_us: 0,
            count: 0,
            peak: 0,
            was_reached: false,
            base_us: 0.0,
            trial: None,
            quiet: 0,
        }
    }
}

impl PeerLimit {
    /// Whether one more may be sent now.
    pub fn admits(&mut self) -> bool {
        let is_below = self.limit.is_none_or(|limit| self.waiting < limit);
        self.was_reached |= !is_below;
        is_below
    }

    /// One more waits.
    pub fn enter(&mut self) {
        self.waiting += 1;
        self.peak = self.peak.max(self.waiting);
    }

    /// One waits no more, whatever came of it.
    pub fn leave(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// Limits nothing any more: the lever was switched off. Those who wait go on.
    pub fn lift(&mut self) -> Option<Moved> {
        let limit = self.limit.map(u64::from);
        *self = PeerLimit { waiting: self.waiting, ..PeerLimit::default() };
        limit.map(|limit| Moved { from: Some(limit), to: None, reason: LEVER_OFF })
    }

    /// A first byte has come after so long.
    pub fn measured(&mut self, took_us: u64, now_ms: u64) -> Option<Moved> {
        self.sum_us = self.sum_us.saturating_add(took_us);
        self.count += 1;
        if self.window_ms == 0 {
            self.window_ms = now_ms;
        }
        if now_ms.saturating_sub(self.window_ms) < PEER_WINDOW_MS || self.count < PEER_SAMPLES_MIN {
            return None;
        }
        let mean_us = self.sum_us as f64 / f64::from(self.count);
        self.window_ms = now_ms;
        (self.sum_us, self.count) = (0, 0);
        let peak = std::mem::replace(&mut self.peak, self.waiting);
        let was_reached = std::mem::take(&mut self.was_reached);
        let before = self.limit;
        let reason = self.decide(mean_us, peak, was_reached);
        let wide = |limit: Option<u32>| limit.map(u64::from);
        reason.filter(|_| self.limit != before).map(|reason| Moved {
            from: wide(before),
            to: wide(self.limit),
            reason,
        })
    }

    fn decide(&mut self, mean_us: f64, peak: u32, was_reached: bool) -> Option<&'static str> {
        if self.base_us == 0.0 {
            self.base_us = mean_us;
            return None;
        }
        if let Some((before_us, windows)) = self.trial {
            if mean_us <= before_us * 0.85 {
                // Fewer at once are quicker: there was a queue.
                self.trial = None;
            } else if windows + 1 < TRIAL_WINDOWS {
                self.trial = Some((before_us, windows + 1));
                return None;
            } else {
                self.trial = None;
                self.limit = None;
                self.base_us = mean_us;
                return Some("fewer at once were not quicker: the answers themselves take longer");
            }
        }
        if mean_us > 2.0 * self.base_us && peak > PEER_FLOOR {
            let from = self.limit.map_or(peak, |limit| limit.min(peak));
            let factor = (1.5 * self.base_us / mean_us).max(0.5);
            let to = ((f64::from(from) * factor) as u32).max(PEER_FLOOR);
            self.quiet = 0;
            if self.limit.is_none_or(|limit| to < limit) {
                self.limit = Some(to);
                self.trial = Some((mean_us, 0));
            }
            return Some("first bytes take twice their usual time");
        }
        // Down at once, up slowly: congestion must not become what is usual.
        let weight = if mean_us < self.base_us { 0.3 } else { 0.02 };
        self.base_us += (mean_us - self.base_us) * weight;
        let limit = self.limit?;
        if was_reached {
            self.quiet = 0;
            self.limit = Some(limit + (limit / 8).max(1));
            return Some("first bytes are quick again");
        }
        self.quiet += 1;
        if self.quiet >= QUIET_WINDOWS {
            self.quiet = 0;
            self.limit = None;
            return Some("nobody was refused for a while");
        }
        None
    }
}

/// A turn is looked at from so many requests on: fewer cannot be a queue.
pub const TURN_REQUESTS_MIN: u32 = 4;
/// So long must every turn be late before anybody is refused.
const TURN_STANDING_MS: u64 = 100;
/// So long must every turn be in time before nobody is refused any more, however late.
const TURN_QUIET_MS: u64 = 2_000;
/// Requests of a turn that are cheap may wait this long; of dear ones, twice what one costs.
const CHEAP_US: u64 = 1_000;
const CHEAP_WAIT_US: u64 = 50_000;
const DEAR_WAIT_US_MIN: u64 = 10_000;
const DEAR_WAIT_US_MAX: u64 = 200_000;

/// How late work on the loop may begin.
#[derive(Debug, Default)]
pub struct TurnLimit {
    /// Mean cost of a request, in microseconds.
    cost_us: u64,
    /// Requests of this turn, and how many of them were done.
    requests: u32,
    done: u32,
    is_late: bool,
    late_since_ms: Option<u64>,
    last_late_ms: u64,
    is_shedding: bool,
}

impl TurnLimit {
    /// One more request of this turn is about to begin. Whether the clock is worth a look.
    #[inline]
    pub fn count(&mut self) -> bool {
        self.requests += 1;
        self.requests >= TURN_REQUESTS_MIN || self.is_shedding
    }

    /// Whether a request may begin, so long after its turn has. One that may is counted as done.
    pub fn admits(&mut self, late_us: u64) -> bool {
        if self.done > 0 {
            let each_us = late_us / u64::from(self.done);
            self.cost_us =
                if self.cost_us == 0 { each_us } else { (self.cost_us * 7 + each_us) / 8 };
        }
        let target_us = self.target_us();
        if late_us > target_us {
            self.is_late = true;
            if self.is_shedding {
                return false;
            }
        }
        self.done += 1;
        true
    }

    /// A request began without a look at the clock.
    #[inline]
    pub fn began(&mut self) {
        self.done += 1;
    }

    /// How late a request may begin.
    pub fn target_us(&self) -> u64 {
        if self.cost_us < CHEAP_US {
            CHEAP_WAIT_US
        } else {
            (2 * self.cost_us).clamp(DEAR_WAIT_US_MIN, DEAR_WAIT_US_MAX)
        }
    }

    /// Refuses nobody any more: the lever was switched off.
    pub fn lift(&mut self) -> Option<Moved> {
        let from = Some(self.target_us());
        let was_shedding = std::mem::take(self).is_shedding;
        was_shedding.then_some(Moved { from, to: None, reason: LEVER_OFF })
    }

    /// The turn is over.
    pub fn end(&mut self, now_ms: u64) -> Option<Moved> {
        let was_late = std::mem::take(&mut self.is_late);
        (self.requests, self.done) = (0, 0);
        if !was_late {
            let quiet_ms = now_ms.saturating_sub(self.last_late_ms);
            if quiet_ms >= TURN_STANDING_MS {
                self.late_since_ms = None;
            }
            // Refusing makes turns short: one that is in time does not mean that the crowd has gone.
            if self.is_shedding && quiet_ms >= TURN_QUIET_MS {
                self.is_shedding = false;
                return Some(Moved {
                    from: Some(self.target_us()),
                    to: None,
                    reason: "every turn was in time for a while",
                });
            }
            return None;
        }
        self.last_late_ms = now_ms;
        let since_ms = *self.late_since_ms.get_or_insert(now_ms);
        if !self.is_shedding && now_ms.saturating_sub(since_ms) >= TURN_STANDING_MS {
            self.is_shedding = true;
            return Some(Moved {
                from: None,
                to: Some(self.target_us()),
                reason: "every turn begins its last requests too late",
            });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pool of `threads` whose jobs take `run_us`, asked `rate` times a second for `seconds`.
    /// Returns goodput and the longest wait in the last second.
    fn pool(
        limit: &mut QueueLimit,
        threads: usize,
        run_us: u64,
        rate: u64,
        seconds: u64,
    ) -> (u64, u64) {
        let mut free_at = vec![0_u64; threads];
        let mut queue = std::collections::VecDeque::new();
        let (mut done, mut longest) = (0, 0);
        let last = (seconds - 1) * 1_000_000;
        for n in 0..rate * seconds {
            let now_us = n * 1_000_000 / rate;
            while let Some(&asked_us) = queue.front() {
                let (place, &free) = free_at.iter().enumerate().min_by_key(|(_, at)| **at).unwrap();
                let begins = free.max(asked_us);
                if begins > now_us {
                    break;
                }
                queue.pop_front();
                free_at[place] = begins + run_us;
                limit.ran(run_us);
                limit.waited(begins - asked_us, begins / 1_000, threads, 1024);
                if begins >= last {
                    done += 1;
                    longest = longest.max(begins - asked_us);
                }
            }
            if limit.admits(queue.len()) {
                queue.push_back(now_us);
            }
        }
        (done, longest)
    }

    #[test]
    fn a_standing_queue_is_shortened_and_goodput_stays() {
        let mut limit = QueueLimit::new(1024);
        // 8 threads, 10 ms: 800 a second at most. Three times that is asked.
        let (done, longest) = pool(&mut limit, 8, 10_000, 2_400, 5);
        assert!(done >= 760, "{done}");
        assert!(longest <= 20_000, "{longest} us");
    }

    #[test]
    fn load_below_saturation_and_a_burst_are_let_in() {
        let mut limit = QueueLimit::new(1024);
        pool(&mut limit, 8, 10_000, 700, 5);
        assert!(limit.get() >= 1000, "{}", limit.get());
        // 300 at once: they are through in less than half a second.
        assert!((0..300).all(|waiting| limit.admits(waiting)));
        for n in 0..300_u64 {
            limit.ran(10_000);
            limit.waited(n / 8 * 10_000, 10_000 + n / 8 * 10, 8, 1024);
        }
        assert!(limit.get() >= 64, "{}", limit.get());
    }

    #[test]
    fn the_limit_recovers() {
        let mut limit = QueueLimit::new(1024);
        pool(&mut limit, 8, 10_000, 4_000, 5);
        assert!(limit.get() < 64);
        let mut now_ms = 10_000;
        while limit.get() < 1024 && now_ms < 30_000 {
            limit.waited(0, now_ms, 8, 1024);
            now_ms += 20;
        }
        assert_eq!(limit.get(), 1024, "after {now_ms} ms");
    }

    /// An upstream that serves `slots` at once, each for `base_us`.
    struct Upstream {
        slots: u32,
        base_us: u64,
        now_ms: u64,
    }

    impl Upstream {
        /// As many clients ask again as soon as they are answered or refused. Returns the mean of
        /// the last window.
        fn serve(&mut self, limit: &mut PeerLimit, clients: u32, windows: u32) -> f64 {
            let mut mean = self.base_us as f64;
            for _ in 0..windows {
                let mut inside = 0;
                for _ in 0..clients {
                    if limit.admits() {
                        limit.enter();
                        inside += 1;
                    }
                }
                mean = self.base_us as f64 * (f64::from(inside) / f64::from(self.slots)).max(1.0);
                for _ in 0..inside {
                    limit.leave();
                }
                self.now_ms += PEER_WINDOW_MS + 1;
                for _ in 0..PEER_SAMPLES_MIN {
                    limit.measured(mean as u64, self.now_ms);
                }
            }
            mean
        }
    }

    #[test]
    fn a_queue_at_an_upstream_is_found_by_experiment() {
        let mut limit = PeerLimit::default();
        let mut upstream = Upstream { slots: 32, base_us: 50_000, now_ms: 1 };
        upstream.serve(&mut limit, 16, 5);
        assert_eq!(limit.limit, None);
        let mean = upstream.serve(&mut limit, 320, 20);
        assert!(mean <= 150_000.0, "{mean}");
        assert!(limit.limit.is_some_and(|limit| limit >= 32), "{limit:?}");
        // The crowd has gone.
        upstream.serve(&mut limit, 16, 20);
        assert_eq!(limit.limit, None);
    }

    #[test]
    fn longer_answers_are_no_queue() {
        let mut limit = PeerLimit::default();
        let mut upstream = Upstream { slots: 10_000, base_us: 50_000, now_ms: 1 };
        upstream.serve(&mut limit, 100, 5);
        upstream.base_us = 400_000;
        upstream.serve(&mut limit, 800, 6);
        assert_eq!(limit.limit, None, "{limit:?}");
        assert!(limit.base_us > 300_000.0);
    }

    /// A turn of `ready` requests of `cost_us` each; how many were done.
    fn turn(limit: &mut TurnLimit, ready: u32, cost_us: u64, now_ms: &mut u64) -> (u32, u64) {
        let (mut at_us, mut done, mut worst) = (0, 0, 0);
        for _ in 0..ready {
            let may = if limit.count() {
                limit.admits(at_us)
            } else {
                limit.began();
                true
            };
            if may {
                done += 1;
                at_us += cost_us;
                worst = at_us;
            } else {
                at_us += 15;
            }
        }
        *now_ms += (at_us / 1_000).max(1);
        limit.end(*now_ms);
        (done, worst)
    }

    #[test]
    fn turns_full_of_dear_work_are_cut_and_cheap_ones_are_not() {
        let (mut limit, mut now_ms) = (TurnLimit::default(), 1_000);
        for _ in 0..5 {
            turn(&mut limit, 64, 5_000, &mut now_ms);
        }
        let (done, worst) = turn(&mut limit, 64, 5_000, &mut now_ms);
        assert!((2..=4).contains(&done), "{done}");
        assert!(worst <= 20_000, "{worst}");
        // Short turns in between do not let a backlog in again.
        turn(&mut limit, 2, 5_000, &mut now_ms);
        assert!(turn(&mut limit, 64, 5_000, &mut now_ms).0 <= 4);
        now_ms += TURN_QUIET_MS;
        turn(&mut limit, 2, 5_000, &mut now_ms);
        assert_eq!(turn(&mut limit, 64, 5_000, &mut now_ms).0, 64);
        let mut cheap = TurnLimit::default();
        for _ in 0..1_000 {
            assert_eq!(turn(&mut cheap, 256, 40, &mut now_ms).0, 256);
        }
        // One late turn is no standing queue.
        let mut once = TurnLimit::default();
        assert_eq!(turn(&mut once, 64, 5_000, &mut now_ms).0, 64);
        assert_eq!(turn(&mut once, 2, 5_000, &mut now_ms).0, 2);
        assert_eq!(turn(&mut once, 64, 5_000, &mut now_ms).0, 64);
    }
}
