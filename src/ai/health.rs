//! Whether a target may be asked now: a circuit breaker and the rest that a `Retry-After` asks for.
//!
//! A [`Health`] is read by every request and written only when something goes wrong, or right again:
//! on the healthy path it is one shared cache line that nobody writes. A failed connection opens
//! the circuit at once, so a dead target costs one wait and no more; failed answers open it when
//! they outnumber the good ones by a few. When the pause is over one request goes through as the
//! probe; a good answer closes the circuit, a bad one doubles the pause.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use crate::base::limits;

/// How a circuit breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// Failed answers beyond the good ones at which it opens; 0: never.
    pub failures: u32,
    /// The first pause, in milliseconds; doubles each time the probe fails.
    pub pause_ms: u64,
    /// The longest pause, in milliseconds.
    pub pause_max_ms: u64,
}

/// What went wrong with a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No connection, told at once: refused, unresolved, TLS.
    Refused,
    /// No connection within the time for it.
    Silent,
    /// An answer that is none: cut, garbage, 5xx, too late.
    Answer,
}

/// What a request may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Go.
    Free,
    /// Go, as the one that finds out. It must end in [`Health::good`], [`Health::bad`] or
    /// [`Health::unproven`].
    Probe,
    /// Not now; maybe at this time, in milliseconds.
    Closed(u64),
}

/// How a circuit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Circuit {
    /// Requests go.
    Closed,
    /// One request finds out.
    HalfOpen,
    /// Nobody asks.
    Open,
}

impl Circuit {
    /// All of them.
    pub const ALL: [Circuit; 3] = [Circuit::Closed, Circuit::HalfOpen, Circuit::Open];

    /// Its name in figures.
    pub fn name(self) -> &'static str {
        match self {
            Circuit::Closed => "closed",
            Circuit::HalfOpen => "half_open",
            Circuit::Open => "open",
        }
    }
}

/// The state of one target. All its orderings are relaxed: each value is a hint by itself, and a
/// request that sees an old one is a request that came a moment earlier.
#[derive(Debug, Default)]
pub struct Health {
    /// 0: the circuit is closed. Else nobody asks before this time, and after it one.
    open_until_ms: AtomicU64,
    /// Somebody is finding out, at most until this time.
    probe_until_ms: AtomicU64,
    /// What a Retry-After asked for; a good answer does not lift it.
    rest_until_ms: AtomicU64,
    /// Failed answers less good ones, not below 0.
    score: AtomicU32,
    /// How often it has opened without a good answer in between.
    openings: AtomicU32,
    /// It opened because nothing answered at all.
    is_silent: AtomicBool,
}

impl Health {
    /// Whether a request may go, and as what. A probe is taken with the answer.
    pub fn ask(&self, now_ms: u64) -> Admission {
        let rest_ms = self.rest_until_ms.load(Relaxed);
        if now_ms < rest_ms {
            return Admission::Closed(rest_ms);
        }
        let open_ms = self.open_until_ms.load(Relaxed);
        if open_ms == 0 {
            return Admission::Free;
        }
        if now_ms < open_ms {
            return Admission::Closed(open_ms);
        }
        let probe_ms = self.probe_until_ms.load(Acquire);
        let lease_ms = now_ms + limits::PROBE_MS_MAX;
        // Each write of the time since which it is open comes before the probe is free again, so who
        // gets the probe sees what the last one has found.
        let is_mine = now_ms >= probe_ms
            && self.probe_until_ms.compare_exchange(probe_ms, lease_ms, AcqRel, Relaxed).is_ok();
        if !is_mine {
            return Admission::Closed(now_ms + 1);
        }
        match self.open_until_ms.load(Relaxed) {
            same if same == open_ms => Admission::Probe,
            // It was decided between the two looks.
            other => {
                self.unproven();
                if other == 0 { Admission::Free } else { Admission::Closed(other) }
            }
        }
    }

    /// Whether [`Health::ask`] would let somebody go, without taking the probe.
    pub fn is_open_for(&self, now_ms: u64) -> bool {
        let open_ms = self.open_until_ms.load(Relaxed);
        now_ms >= self.rest_until_ms.load(Relaxed)
            && (open_ms == 0 || now_ms >= open_ms && now_ms >= self.probe_until_ms.load(Relaxed))
    }

    /// The circuit is not closed.
    pub fn is_broken(&self) -> bool {
        self.open_until_ms.load(Relaxed) != 0
    }

    /// Whether its circuit is closed, open, or waits for the probe that decides.
    pub fn circuit(&self, now_ms: u64) -> Circuit {
        match self.open_until_ms.load(Relaxed) {
            0 => Circuit::Closed,
            open_ms if now_ms < open_ms => Circuit::Open,
            _ => Circuit::HalfOpen,
        }
    }

    /// Asking all the same would cost a long wait: nothing answered at all.
    pub fn is_hopeless(&self, now_ms: u64) -> bool {
        self.is_silent.load(Relaxed) && !self.is_open_for(now_ms)
    }

    /// What is left of a Retry-After, in milliseconds.
    pub fn rest_ms(&self, now_ms: u64) -> u64 {
        self.rest_until_ms.load(Relaxed).saturating_sub(now_ms)
    }

    /// Until it may be asked again, in milliseconds.
    pub fn pause_ms(&self, now_ms: u64) -> u64 {
        self.rest_ms(now_ms).max(self.open_until_ms.load(Relaxed).saturating_sub(now_ms))
    }

    /// A good answer.
    pub fn good(&self) {
        // On the healthy path these are reads of a line that nobody writes.
        let score = self.score.load(Relaxed);
        if score > 0 {
            self.score.store(score - 1, Relaxed);
        }
        if self.open_until_ms.load(Relaxed) != 0 {
            self.score.store(0, Relaxed);
            self.is_silent.store(false, Relaxed);
            self.open_until_ms.store(0, Relaxed);
            self.probe_until_ms.store(0, Release);
        }
        if self.openings.load(Relaxed) != 0 {
            self.openings.store(0, Relaxed);
        }
    }

    /// Something went wrong. `random` spreads the pauses. Whether the circuit opened by it.
    pub fn bad(&self, trouble: Trouble, breaker: &Breaker, now_ms: u64, random: u64) -> bool {
        if breaker.failures == 0 {
            return false;
        }
        let open_ms = self.open_until_ms.load(Relaxed);
        if trouble == Trouble::Answer && open_ms == 0 {
            let score = self.score.fetch_add(1, Relaxed) + 1;
            if score < breaker.failures {
                return false;
            }
        }
        if now_ms < open_ms {
            // Others that were under way when it opened.
            return false;
        }
        let times = self.openings.load(Relaxed).min(20);
        let pause_ms = breaker.pause_ms.saturating_mul(1 << times).min(breaker.pause_max_ms);
        // Up to a tenth longer: not all gateways probe at once.
        let pause_ms = pause_ms + random % (pause_ms / 10 + 1);
        // Of those who find out at the same time one opens it: the pause doubles once.
        let until_ms = (now_ms + pause_ms).max(1);
        if self.open_until_ms.compare_exchange(open_ms, until_ms, Relaxed, Relaxed).is_err() {
            return false;
        }
        self.openings.store(times + 1, Relaxed);
        self.score.store(0, Relaxed);
        self.is_silent.store(trouble == Trouble::Silent, Relaxed);
        self.probe_until_ms.store(0, Release);
        true
    }

    /// The probe ended without a verdict: its client went.
    pub fn unproven(&self) {
        self.probe_until_ms.store(0, Release);
    }

    /// The target asked for so long a rest.
    pub fn rest(&self, rest_ms: u64, now_ms: u64) {
        self.rest_until_ms.fetch_max(now_ms.saturating_add(rest_ms), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BREAKER: Breaker = Breaker { failures: 3, pause_ms: 1000, pause_max_ms: 3000 };

    #[test]
    fn failed_answers_open_it_and_one_probe_closes_it() {
        let health = Health::default();
        for _ in 0..2 {
            assert!(!health.bad(Trouble::Answer, &BREAKER, 10, 0));
        }
        health.good();
        assert!(!health.bad(Trouble::Answer, &BREAKER, 10, 0), "a good answer makes up for one");
        assert!(health.bad(Trouble::Answer, &BREAKER, 10, 0));
        assert_eq!(health.ask(500), Admission::Closed(1010));
        assert!(!health.is_hopeless(500));
        assert!(!health.bad(Trouble::Answer, &BREAKER, 600, 0), "what was under way counts once");
        assert_eq!(health.ask(1010), Admission::Probe);
        assert!(matches!(health.ask(1011), Admission::Closed(_)), "one probe at a time");
        health.good();
        assert_eq!(health.ask(1012), Admission::Free);
    }

    #[test]
    fn a_failed_probe_doubles_the_pause_up_to_its_limit() {
        let health = Health::default();
        let mut now_ms = 0;
        for pause_ms in [1000, 2000, 3000, 3000] {
            assert!(health.bad(Trouble::Refused, &BREAKER, now_ms, 0));
            now_ms += pause_ms;
            assert_eq!(health.ask(now_ms - 1), Admission::Closed(now_ms));
            assert_eq!(health.ask(now_ms), Admission::Probe);
        }
        health.unproven();
        assert_eq!(health.ask(now_ms), Admission::Probe, "a probe that was given up is free again");
        health.good();
        assert!(health.bad(Trouble::Refused, &BREAKER, now_ms, 0));
        assert_eq!(health.pause_ms(now_ms), 1000, "after a good answer it begins anew");
    }

    /// Wrong: requests of several workers that fail or come at the same time make the pause longer
    /// than one failure does, or probe together.
    #[test]
    fn at_the_same_time_it_opens_once_and_has_one_probe() {
        let breaker = Breaker { pause_max_ms: 1_000_000, ..BREAKER };
        for round in 0..50 {
            let health = Health::default();
            let start = std::sync::Barrier::new(4);
            let mut now_ms = 1_000 * (round + 1);
            for pause_ms in [1000, 2000, 4000] {
                let together = |ask: &(dyn Fn() -> bool + Sync)| {
                    std::thread::scope(|scope| {
                        let all: Vec<_> = (0..4)
                            .map(|_| {
                                scope.spawn(|| {
                                    start.wait();
                                    ask()
                                })
                            })
                            .collect();
                        all.into_iter().map(|it| it.join().unwrap()).collect()
                    })
                };
                let opened: Vec<bool> =
                    together(&|| health.bad(Trouble::Refused, &breaker, now_ms, 0));
                assert_eq!(opened.iter().filter(|it| **it).count(), 1);
                assert_eq!(health.pause_ms(now_ms), pause_ms, "it doubles once");
                now_ms += pause_ms;
                let probes: Vec<bool> = together(&|| health.ask(now_ms) == Admission::Probe);
                assert_eq!(probes.iter().filter(|it| **it).count(), 1);
            }
        }
    }

    #[test]
    fn silence_is_hopeless_and_a_lost_probe_is_not_for_ever() {
        let health = Health::default();
        assert!(health.bad(Trouble::Silent, &BREAKER, 5, 7));
        assert!(health.is_hopeless(6) && !health.is_open_for(6));
        assert_eq!(health.ask(2000), Admission::Probe);
        let later = 2000 + limits::PROBE_MS_MAX;
        assert!(health.is_open_for(later));
        assert_eq!(health.ask(later), Admission::Probe);
    }

    #[test]
    fn a_rest_is_kept_whatever_comes_meanwhile() {
        let health = Health::default();
        health.rest(5000, 100);
        health.rest(1000, 100);
        health.good();
        assert_eq!(health.ask(5099), Admission::Closed(5100));
        assert!(!health.is_hopeless(5099) && !health.is_open_for(5099));
        assert_eq!(health.ask(5100), Admission::Free);
    }

    #[test]
    fn switched_off_it_never_opens() {
        let health = Health::default();
        let off = Breaker { failures: 0, ..BREAKER };
        for _ in 0..100 {
            assert!(!health.bad(Trouble::Silent, &off, 0, 0));
        }
        assert_eq!(health.ask(0), Admission::Free);
    }
}
