//! Which of a model's targets a request goes to.
//!
//! Pure but for the shared [`Load`] of each target: time, chance and the value to hash are
//! arguments. A strategy orders; health, capabilities and what was tried already decide who is in
//! the order at all.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::base::limits;

/// How a model's targets are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Strategy {
    /// In their order.
    #[default]
    Priority,
    /// By chance, by weight.
    Weighted,
    /// In turn, by weight.
    RoundRobin,
    /// The quickest first.
    LeastLatency,
    /// The one with the fewest requests under way first.
    LeastBusy,
    /// The same for the same user or header.
    Hash,
}

impl Strategy {
    /// From its name in the configuration.
    pub fn from_name(name: &str) -> Option<Strategy> {
        Some(match name {
            "priority" => Strategy::Priority,
            "weighted" => Strategy::Weighted,
            "round_robin" => Strategy::RoundRobin,
            "least_latency" => Strategy::LeastLatency,
            "least_busy" => Strategy::LeastBusy,
            "hash" => Strategy::Hash,
            _ => return None,
        })
    }

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Strategy::Priority => "priority",
            Strategy::Weighted => "weighted",
            Strategy::RoundRobin => "round_robin",
            Strategy::LeastLatency => "least_latency",
            Strategy::LeastBusy => "least_busy",
            Strategy::Hash => "hash",
        }
    }

    /// Whether it goes by the weights of targets alone: then parts of them may be given up.
    pub fn weighs(self) -> bool {
        matches!(self, Strategy::Weighted | Strategy::RoundRobin)
    }

    /// Whether it looks at the [`Load`] of targets. Only then is that kept up to date: it is
    /// shared by all workers, so that their choices agree.
    pub fn reads_load(self) -> bool {
        matches!(self, Strategy::LeastLatency | Strategy::LeastBusy)
    }
}

/// What a target is doing, as far as its strategy asks. On a cache line of its own; relaxed
/// throughout, for each value is an estimate.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Load {
    under_way: AtomicU32,
    /// The peak-sensitive mean of times to the first token, in microseconds as the bits of an f64.
    mean_us: AtomicU64,
    /// When the mean was last moved, in milliseconds.
    moved_ms: AtomicU64,
    /// Parts of its weight that are given up, of [`WEIGHT_PARTS`].
    given_up: AtomicU32,
    /// Attempts that were answered and that failed since [`Load::take_seen`], and the times to the
    /// first token of the former, in microseconds.
    answers: AtomicU32,
    failures: AtomicU32,
    sum_us: AtomicU64,
    /// The usual time to its first token, in microseconds as the bits of an f64.
    usual_us: AtomicU64,
}

/// A weight has so many parts.
pub const WEIGHT_PARTS: u32 = 16;

/// In which time the memory of a latency fades to a third, in milliseconds.
const FADE_MS: f64 = 10_000.0;
/// A target nobody has measured is tried before others, but not by many requests at once.
const UNKNOWN_US: f64 = 1_000_000.0;

impl Load {
    /// A request goes to it.
    pub fn begin(&self) {
        self.under_way.fetch_add(1, Relaxed);
    }

    /// It has ended, however.
    pub fn end(&self) {
        self.under_way.fetch_sub(1, Relaxed);
    }

    /// Requests under way.
    pub fn under_way(&self) -> u32 {
        self.under_way.load(Relaxed)
    }

    /// Its first token came after so long. A longer time counts at once, a shorter one slowly: who
    /// has become slow is left alone quickly.
    pub fn measured(&self, took_us: u64, now_ms: u64) {
        let took = took_us.max(1) as f64;
        let mean = f64::from_bits(self.mean_us.load(Relaxed));
        let kept = self.kept(now_ms);
        let next = if took >= mean { took } else { mean * kept + took * (1.0 - kept) };
        self.mean_us.store(next.to_bits(), Relaxed);
        self.moved_ms.store(now_ms, Relaxed);
    }

    /// An attempt was answered after so long; counted while weights may move.
    pub fn answered(&self, took_us: u64) {
        self.answers.fetch_add(1, Relaxed);
        self.sum_us.fetch_add(took_us, Relaxed);
    }

    /// An attempt failed.
    pub fn failed(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    /// Answers, failures and the sum of times since the last time this was asked.
    pub fn take_seen(&self) -> (u32, u32, u64) {
        let (answers, failures) = (self.answers.swap(0, Relaxed), self.failures.swap(0, Relaxed));
        (answers, failures, self.sum_us.swap(0, Relaxed))
    }

    /// Parts of its weight that count, of [`WEIGHT_PARTS`], and its usual time in microseconds.
    pub fn share(&self) -> (u32, f64) {
        let parts = WEIGHT_PARTS.saturating_sub(self.given_up.load(Relaxed)).max(1);
        (parts, f64::from_bits(self.usual_us.load(Relaxed)))
    }

    /// Says how many parts count from now on.
    pub fn set_share(&self, parts: u32, usual_us: f64) {
        self.given_up.store(WEIGHT_PARTS.saturating_sub(parts.max(1)), Relaxed);
        self.usual_us.store(usual_us.to_bits(), Relaxed);
    }

    /// How much of the memory is left.
    fn kept(&self, now_ms: u64) -> f64 {
        let passed_ms = now_ms.saturating_sub(self.moved_ms.load(Relaxed));
        // Two answers in one millisecond still move it.
        (-(passed_ms.max(limits::LATENCY_STEP_MS) as f64) / FADE_MS).exp()
    }

    /// What one more request would cost: the faded latency times the requests that share it.
    fn cost(&self, now_ms: u64) -> f64 {
        let mean = f64::from_bits(self.mean_us.load(Relaxed));
        let under_way = f64::from(self.under_way());
        if mean == 0.0 {
            return under_way * UNKNOWN_US;
        }
        let passed_ms = now_ms.saturating_sub(self.moved_ms.load(Relaxed)) as f64;
        mean * (-passed_ms / FADE_MS).exp() * (under_way + 1.0)
    }
}

/// One target as a strategy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'l> {
    /// Its share.
    pub weight: u32,
    /// What it is doing.
    pub load: &'l Load,
    /// A number of its own that stays the same as long as it is the same target.
    pub identity: u64,
}

/// What a choice depends on beside the targets.
#[derive(Clone, Copy, Debug)]
pub struct Chance {
    /// Milliseconds of a clock that does not run backwards.
    pub now_ms: u64,
    /// Any number.
    pub random: u64,
    /// The hash of what [`Strategy::Hash`] goes by; none: by weight and chance.
    pub hashed: Option<u64>,
    /// Which turn it is, for [`Strategy::RoundRobin`].
    pub turn: u64,
}

/// The first choice among the candidates whose bit is set in `open`; none when no bit is.
pub fn choose<'l>(
    strategy: Strategy,
    candidates: impl Iterator<Item = Candidate<'l>> + Clone,
    open: u64,
    turns: &Turns,
    chance: &Chance,
) -> Option<usize> {
    let mut all = those_in(candidates.clone(), open);
    match strategy {
        Strategy::Priority => all.next().map(|(index, _)| index),
        Strategy::Weighted => by_chance(all, chance.random),
        Strategy::RoundRobin => {
            let index = turns.find(chance.turn, open)?;
            let parts = candidates.clone().nth(index).map_or(WEIGHT_PARTS, |c| c.load.share().0);
            // What has given up a part of its weight lets that part of its turns go.
            let keeps = (chance.random >> 32) % u64::from(WEIGHT_PARTS) < u64::from(parts);
            let others = those_in(candidates, open & !(1 << index));
            (!keeps).then(|| by_chance(others, chance.random)).flatten().or(Some(index))
        }
        Strategy::LeastBusy => {
            // Shares of the weight; equals in turn.
            let busy =
                |c: &Candidate<'_>| f64::from(c.load.under_way() + 1) / f64::from(c.weight.max(1));
            least(all, chance.random, busy)
        }
        Strategy::LeastLatency => least(all, chance.random, |c| c.load.cost(chance.now_ms)),
        Strategy::Hash => match chance.hashed {
            // Weighted rendezvous hashing: when a target goes, only what it had moves.
            Some(hashed) => least(all, 0, |c| {
                let mixed = mix(hashed ^ c.identity);
                let unit = ((mixed >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
                -unit.ln() / f64::from(c.weight.max(1))
            }),
            None => by_chance(all, chance.random),
        },
    }
}

/// The candidate with the lowest value; among equals one by chance.
fn least<'l>(
    all: impl Iterator<Item = (usize, Candidate<'l>)>,
    random: u64,
    value: impl Fn(&Candidate<'l>) -> f64,
) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    let mut equals = 0;
    for (index, candidate) in all {
        let value = value(&candidate);
        match best {
            Some((_, least)) if value > least => {}
            Some((_, least)) if value == least => {
                equals += 1;
                if mix(random ^ equals).is_multiple_of(equals + 1) {
                    best = Some((index, value));
                }
            }
            _ => {
                best = Some((index, value));
                equals = 0;
            }
        }
    }
    best.map(|(index, _)| index)
}

/// The candidates whose bit is set in `open`, with their places.
fn those_in<'l>(
    candidates: impl Iterator<Item = Candidate<'l>> + Clone,
    open: u64,
) -> impl Iterator<Item = (usize, Candidate<'l>)> + Clone {
    candidates.enumerate().take(64).filter(move |(index, _)| open >> index & 1 == 1)
}

fn by_chance<'l>(
    all: impl Iterator<Item = (usize, Candidate<'l>)> + Clone,
    random: u64,
) -> Option<usize> {
    let weight = |c: &Candidate<'_>| u64::from(c.weight.max(1)) * u64::from(c.load.share().0);
    let sum: u64 = all.clone().map(|(_, c)| weight(&c)).sum();
    let mut at = mix(random).checked_rem(sum)?;
    for (index, candidate) in all {
        match at.checked_sub(weight(&candidate)) {
            Some(rest) => at = rest,
            None => return Some(index),
        }
    }
    None
}

/// A hash that is the same in every process (FNV-1a).
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

/// Spreads a number over all its bits (the finalizer of SplitMix64).
pub fn mix(mut number: u64) -> u64 {
    number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    number = (number ^ number >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ number >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ number >> 31
}

/// The order in which targets take their turns: each as often as its weight, evenly spread.
#[derive(Clone, Debug, Default)]
pub struct Turns(Box<[u8]>);

impl Turns {
    /// For these weights. Large ones are rounded to a cycle of bounded length.
    pub fn new(weights: &[u32]) -> Turns {
        let weights: Vec<u64> = weights.iter().take(64).map(|w| u64::from((*w).max(1))).collect();
        let divisor = weights.iter().fold(0, |a, b| gcd(a, *b)).max(1);
        let sum: u64 = weights.iter().map(|w| w / divisor).sum();
        let cycle = (limits::TURNS_MAX as u64).max(weights.len() as u64);
        let scaled: Vec<i64> = weights
            .iter()
            .map(|w| match w / divisor {
                w if sum <= cycle => w as i64,
                w => (w * cycle / sum).max(1) as i64,
            })
            .collect();
        let sum: i64 = scaled.iter().sum();
        // Each turn everyone earns its weight; the richest takes the turn and pays for all.
        let mut earned = vec![0_i64; scaled.len()];
        let mut order = Vec::with_capacity(sum as usize);
        for _ in 0..sum {
            for (earned, weight) in earned.iter_mut().zip(&scaled) {
                *earned += weight;
            }
            let richest = (0..earned.len()).rev().max_by_key(|index| earned[*index]).unwrap_or(0);
            earned[richest] -= sum;
            order.push(richest as u8);
        }
        Turns(order.into())
    }

    /// Whose turn it is: the first from `turn` on whose bit is set.
    fn find(&self, turn: u64, open: u64) -> Option<usize> {
        let len = self.0.len() as u64;
        let from = turn.checked_rem(len)? as usize;
        let (before, after) = self.0.split_at(from);
        let mut all = after.iter().chain(before);
        all.find(|index| open >> **index & 1 == 1).map(|index| usize::from(*index))
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chance(number: u64) -> Chance {
        Chance { now_ms: 0, random: number, hashed: Some(mix(number)), turn: number }
    }

    /// How often each of three targets is chosen in `count` requests.
    fn shares(strategy: Strategy, weights: [u32; 3], open: u64, count: u64) -> [u64; 3] {
        let loads: [Load; 3] = Default::default();
        let turns = Turns::new(&weights);
        let mut counts = [0; 3];
        for number in 0..count {
            let candidates: Vec<_> = (0..3)
                .map(|i| Candidate { weight: weights[i], load: &loads[i], identity: i as u64 + 9 })
                .collect();
            let index = choose(strategy, candidates.iter().copied(), open, &turns, &chance(number))
                .unwrap();
            counts[index] += 1;
            loads[index].begin();
        }
        counts
    }

    #[test]
    fn shares_follow_the_weights() {
        assert_eq!(shares(Strategy::Priority, [1, 5, 9], 7, 10), [10, 0, 0]);
        assert_eq!(shares(Strategy::Priority, [1, 5, 9], 4, 10), [0, 0, 10]);
        assert_eq!(shares(Strategy::RoundRobin, [1, 1, 1], 7, 9), [3, 3, 3]);
        assert_eq!(shares(Strategy::RoundRobin, [2, 1, 1], 7, 8), [4, 2, 2]);
        assert_eq!(shares(Strategy::RoundRobin, [1, 1, 1], 5, 8), [3, 0, 5]);
        assert_eq!(shares(Strategy::LeastBusy, [1, 1, 1], 7, 9), [3, 3, 3]);
        for strategy in [Strategy::Weighted, Strategy::Hash] {
            let [a, b, c] = shares(strategy, [1, 1, 2], 7, 40_000);
            for (count, want) in [(a, 10_000), (b, 10_000), (c, 20_000)] {
                assert!(count.abs_diff(want) < want / 20, "{strategy:?} {a} {b} {c}");
            }
        }
    }

    #[test]
    fn turns_are_spread_and_bounded() {
        assert_eq!(*Turns::new(&[3, 1]).0, [0, 0, 1, 0]);
        assert_eq!(*Turns::new(&[50, 50]).0, [0, 1]);
        let long = Turns::new(&[1_000_000, 999_999, 1]);
        assert!(long.0.len() <= limits::TURNS_MAX + 3);
        assert!(long.0.contains(&2), "the lightest has its turn");
        assert_eq!(Turns::default().find(7, 1), None);
    }

    #[test]
    fn nothing_open_is_no_choice() {
        let load = Load::default();
        let candidates = [Candidate { weight: 1, load: &load, identity: 1 }];
        for name in ["priority", "weighted", "round_robin", "least_latency", "least_busy", "hash"] {
            let strategy = Strategy::from_name(name).unwrap();
            let turns = Turns::new(&[1]);
            assert_eq!(
                choose(strategy, candidates.iter().copied(), 0, &turns, &chance(3)),
                None,
                "{name}"
            );
            assert_eq!(
                choose(strategy, candidates.iter().copied(), 1, &turns, &chance(3)),
                Some(0),
                "{name}"
            );
        }
    }

    #[test]
    fn the_same_user_stays_when_others_go() {
        let loads: [Load; 4] = Default::default();
        let candidates: Vec<_> = (0..4)
            .map(|i| Candidate { weight: 1, load: &loads[i], identity: mix(i as u64) })
            .collect();
        let turns = Turns::new(&[1; 4]);
        let pick = |user, open| {
            choose(Strategy::Hash, candidates.iter().copied(), open, &turns, &chance(user)).unwrap()
        };
        let mut moved = 0;
        for user in 0..1000 {
            let before = pick(user, 0b1111);
            assert_eq!(before, pick(user, 0b1111));
            let after = pick(user, 0b0111);
            assert!(before == 3 || before == after, "only the one who went loses its users");
            moved += usize::from(before != after);
        }
        assert!((150..350).contains(&moved), "{moved}");
    }

    #[test]
    fn the_quick_one_is_preferred_and_the_slow_one_tried_again_later() {
        let loads: [Load; 2] = Default::default();
        let candidates: Vec<_> =
            loads.iter().map(|load| Candidate { weight: 1, load, identity: 0 }).collect();
        let turns = Turns::new(&[1, 1]);
        let pick = |now_ms| {
            let chance = Chance { now_ms, random: 1, hashed: None, turn: 0 };
            choose(Strategy::LeastLatency, candidates.iter().copied(), 3, &turns, &chance).unwrap()
        };
        loads[0].measured(500_000, 0);
        assert_eq!(pick(0), 1, "the unknown one is tried");
        loads[1].measured(10_000, 0);
        assert_eq!(pick(1), 1);
        for _ in 0..60 {
            loads[1].begin();
        }
        assert_eq!(pick(1), 0, "a queue costs more than slowness");
        for _ in 0..60 {
            loads[1].end();
        }
        loads[1].measured(900_000, 2);
        assert_eq!(pick(3), 0, "a peak counts at once");
        for step in 0..2000 {
            loads[1].measured(10_000, 3 + step * 10);
        }
        assert_eq!(pick(20_010), 1);
        loads[1].measured(10_000, 60_000);
        assert_eq!(pick(60_000), 0, "an old memory of slowness fades");
    }
}
