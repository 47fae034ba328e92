//! What is remembered of clients: their buckets, offences and blocks. Shared by all workers.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::rate::{Exhausted, Rate};
use super::table::{Bucket, Entry, Table};

/// The longest an automatic block becomes, in seconds.
const BLOCK_S_MAX: u32 = 24 * 3600;
/// After this long without a block the next one is short again, in seconds.
const STRIKES_KEPT_S: u32 = 24 * 3600;
/// The score of an address halves in this time, in seconds.
const SCORE_HALVES_S: f32 = 60.0;
/// Different missing paths are counted over this time, in seconds.
const MISSES_S: u32 = 60;
/// Bytes of a wrong key that count as its prefix.
pub const KEY_PREFIX_BYTES: usize = 8;

/// The time of a request: monotonic, and Unix seconds for what ends at a date.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Moment {
    /// Monotonic milliseconds.
    pub now_ms: u64,
    /// Unix seconds.
    pub unix_s: i64,
}

impl Moment {
    fn seconds(self) -> u32 {
        u32::try_from(self.now_ms / 1_000).unwrap_or(u32::MAX)
    }
}

/// Why an address is blocked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Cause {
    /// The sum of its attacks.
    #[default]
    Attacks,
    /// Wrong keys.
    BruteForce,
    /// It asked for many different paths that are not there.
    Scanner,
    /// By hand.
    Manual,
    /// Too many requests, where that leads to a block.
    RateLimit,
    /// The sum of smaller things, where it is kept.
    Suspicion,
}

impl Cause {
    /// All of them.
    pub const ALL: [Cause; 6] = [
        Cause::Attacks,
        Cause::BruteForce,
        Cause::Scanner,
        Cause::Manual,
        Cause::RateLimit,
        Cause::Suspicion,
    ];

    /// The cause of this name.
    pub fn from_name(name: &str) -> Option<Cause> {
        Cause::ALL.into_iter().find(|cause| cause.name() == name)
    }

    /// Its name in logs and statistics.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Attacks => "attacks",
            Cause::BruteForce => "brute-force",
            Cause::Scanner => "scanner",
            Cause::Manual => "manual",
            Cause::RateLimit => "rate-limit",
            Cause::Suspicion => "suspicion",
        }
    }
}

/// How strict the memory is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Strictness {
    /// The first block of an address, in seconds; each further one lasts twice as long.
    pub block_s: u32,
    /// Score that leads to a block.
    pub score_max: u32,
    /// Wrong keys that lead to a block.
    pub failures_max: u32,
    /// They are counted over this time, in seconds.
    pub failures_window_s: u32,
    /// Different missing paths in a minute that lead to a block; 0: never.
    pub misses_max: u32,
}

/// Events counted over a sliding time: those of the current span, and a share of the one before.
#[derive(Clone, Copy, Default)]
struct Window {
    since_s: u32,
    count: u32,
    before: u32,
}

impl Window {
    fn add(&mut self, now_s: u32, span_s: u32) -> u32 {
        let span_s = span_s.max(1);
        let passed = now_s.saturating_sub(self.since_s);
        if passed >= span_s {
            self.before = if passed < 2 * span_s { self.count } else { 0 };
            self.count = 0;
            self.since_s = now_s - passed % span_s;
        }
        self.count = self.count.saturating_add(1);
        let left = u64::from(span_s - now_s.saturating_sub(self.since_s).min(span_s));
        let share = u64::from(self.before) * left / u64::from(span_s);
        self.count.saturating_add(u32::try_from(share).unwrap_or(u32::MAX))
    }
}

/// What is known of one client or of one prefix of wrong keys.
#[derive(Clone, Copy, Default)]
struct Standing {
    bucket: u64,
    failures: Window,
    /// One bit per group of missing paths: how many are set tells how many different ones there
    /// were.
    misses: u64,
    misses_since_s: u32,
    score: f32,
    scored_s: u32,
    blocked_until_s: u32,
    strikes: u8,
    cause: Cause,
}

impl Standing {
    fn had_block(&self) -> bool {
        self.blocked_until_s > 0
    }

    fn block(&mut self, cause: Cause, strictness: &Strictness, now_s: u32) -> u32 {
        if now_s.saturating_sub(self.blocked_until_s) > STRIKES_KEPT_S {
            self.strikes = 0;
        }
        let doubled = u64::from(strictness.block_s) << self.strikes.min(20);
        let limit = u64::from(BLOCK_S_MAX.max(strictness.block_s));
        let lasts_s = u32::try_from(doubled.min(limit)).unwrap_or(u32::MAX);
        self.strikes = self.strikes.saturating_add(1);
        self.blocked_until_s = now_s.saturating_add(lasts_s).max(1);
        self.cause = cause;
        self.score = 0.0;
        self.misses = 0;
        self.failures = Window::default();
        self.blocked_until_s
    }
}

impl Entry for Standing {
    fn worth(&self, now_s: u32) -> u32 {
        if self.blocked_until_s > now_s {
            return 3;
        }
        let has_strikes = now_s.saturating_sub(self.blocked_until_s) < STRIKES_KEPT_S;
        let has_offended = self.score >= 1.0 || self.failures.count > 0;
        if self.strikes > 0 && has_strikes { 2 } else { u32::from(has_offended) }
    }
}

/// A block in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blocked {
    /// Why.
    pub cause: Cause,
    /// How long it lasts from now, in seconds.
    pub left_s: u32,
}

/// The memory.
pub struct Memory {
    clients: Table<Standing>,
    prefixes: Table<Standing>,
    routes: Table<Bucket>,
    /// No block lasts longer than this, in seconds; a look at it spares the look-up.
    last_block_s: AtomicU32,
    last_prefix_block_s: AtomicU32,
    /// How much of the rate limits counts: the parts above 16 bits that say of how many; 0: all.
    rate_share: AtomicU64,
}

impl Default for Memory {
    fn default() -> Self {
        Memory {
            clients: Table::default(),
            prefixes: Table::default(),
            routes: Table::default(),
            last_block_s: AtomicU32::new(0),
            last_prefix_block_s: AtomicU32::new(0),
            rate_share: AtomicU64::new(0),
        }
    }
}

impl Memory {
    /// The block of a client, if one is in force.
    pub fn blocked(&self, client: u128, moment: Moment) -> Option<Blocked> {
        let now_s = moment.seconds();
        // Relaxed: who was blocked by another worker this instant may get one answer more.
        if self.last_block_s.load(Ordering::Relaxed) <= now_s {
            return None;
        }
        let standing = self.clients.get(client)?;
        let left_s = standing.blocked_until_s.checked_sub(now_s).filter(|left| *left > 0)?;
        Some(Blocked { cause: standing.cause, left_s })
    }

    /// Takes a request from the client's bucket.
    ///
    /// # Errors
    /// When it is empty.
    pub fn take(&self, client: u128, rate: Rate, moment: Moment) -> Result<(), Exhausted> {
        self.clients.with(client, moment.seconds(), |standing| {
            rate.take(&mut standing.bucket, moment.now_ms)
        })
    }

    /// Parts of the rate limits that count, and how many there are.
    pub fn rate_share(&self) -> (u32, u32) {
        // Relaxed: both are in one number.
        let share = self.rate_share.load(Ordering::Relaxed);
        if share == 0 { (1, 1) } else { ((share >> 16) as u32, (share & 0xFFFF) as u32) }
    }

    /// Says how many of them count. Both are below 65,536.
    pub fn set_rate_share(&self, parts: u32, whole: u32) {
        self.rate_share.store(u64::from(parts) << 16 | u64::from(whole), Ordering::Relaxed);
    }

    /// Takes a request of a client from the bucket of a route.
    ///
    /// # Errors
    /// When it is empty.
    pub fn take_route(
        &self,
        client: u128,
        route: usize,
        rate: Rate,
        moment: Moment,
    ) -> Result<(), Exhausted> {
        let key = self.routes.key_of((client, route));
        let take = |bucket: &mut Bucket| rate.take(&mut bucket.0, moment.now_ms);
        self.routes.with(key, moment.seconds(), take)
    }

    /// A request was an attack of this score: the client may come to be blocked.
    pub fn attacked(
        &self,
        client: u128,
        score: u32,
        strictness: &Strictness,
        moment: Moment,
    ) -> Option<Blocked> {
        let now_s = moment.seconds();
        let until_s = self.clients.with(client, now_s, |standing| {
            let passed = now_s.saturating_sub(standing.scored_s) as f32;
            standing.score *= (-passed / SCORE_HALVES_S).exp2();
            standing.score += score as f32;
            standing.scored_s = now_s;
            let is_enough = standing.score >= strictness.score_max as f32;
            is_enough.then(|| standing.block(Cause::Attacks, strictness, now_s))
        })?;
        Some(self.note_block(Cause::Attacks, until_s, now_s))
    }

    /// A client showed a wrong key. Where those that begin like it come too often already, one is enough:
    /// who guesses from many addresses has one guess from each.
    pub fn key_failed(
        &self,
        client: u128,
        key: &[u8],
        strictness: &Strictness,
        moment: Moment,
    ) -> Option<Blocked> {
        let now_s = moment.seconds();
        let is_too_often = self.prefix_blocked(key, moment).is_some();
        let count = |standing: &mut Standing, failures_max: u32| {
            let count = standing.failures.add(now_s, strictness.failures_window_s);
            let is_enough = count >= failures_max;
            is_enough.then(|| standing.block(Cause::BruteForce, strictness, now_s))
        };
        let count_of_prefix = |standing: &mut _| count(standing, strictness.failures_max);
        if let Some(until_s) = self.prefixes.with(self.prefix_of(key), now_s, count_of_prefix) {
            // Relaxed: as in `blocked`.
            self.last_prefix_block_s.fetch_max(until_s, Ordering::Relaxed);
        }
        let failures_max = if is_too_often { 1 } else { strictness.failures_max };
        let until_s = self.clients.with(client, now_s, |standing| count(standing, failures_max))?;
        Some(self.note_block(Cause::BruteForce, until_s, now_s))
    }

    /// Whether wrong keys that begin like this one come too often, from whatever addresses.
    pub fn prefix_blocked(&self, key: &[u8], moment: Moment) -> Option<Blocked> {
        let now_s = moment.seconds();
        if self.last_prefix_block_s.load(Ordering::Relaxed) <= now_s {
            return None;
        }
        let standing = self.prefixes.get(self.prefix_of(key))?;
        let left_s = standing.blocked_until_s.checked_sub(now_s).filter(|left| *left > 0)?;
        Some(Blocked { cause: standing.cause, left_s })
    }

    fn prefix_of(&self, key: &[u8]) -> u128 {
        self.prefixes.key_of(key.get(..KEY_PREFIX_BYTES).unwrap_or(key))
    }

    /// A client asked for a path that is not there.
    pub fn missed(
        &self,
        client: u128,
        path: &[u8],
        strictness: &Strictness,
        moment: Moment,
    ) -> Option<Blocked> {
        if strictness.misses_max == 0 {
            return None;
        }
        let now_s = moment.seconds();
        let bit = 1_u64 << (self.clients.key_of(path) & 63);
        let until_s = self.clients.with(client, now_s, |standing| {
            if now_s.saturating_sub(standing.misses_since_s) >= MISSES_S {
                standing.misses = 0;
                standing.misses_since_s = now_s;
            }
            standing.misses |= bit;
            let is_enough = different(standing.misses) >= strictness.misses_max;
            is_enough.then(|| standing.block(Cause::Scanner, strictness, now_s))
        })?;
        Some(self.note_block(Cause::Scanner, until_s, now_s))
    }

    fn note_block(&self, cause: Cause, until_s: u32, now_s: u32) -> Blocked {
        self.last_block_s.fetch_max(until_s, Ordering::Relaxed);
        Blocked { cause, left_s: until_s.saturating_sub(now_s) }
    }

    /// Blocks a client as it was blocked before, for so many seconds; a longer block stays.
    pub fn restore(&self, client: u128, blocked: Blocked, moment: Moment) {
        let now_s = moment.seconds();
        let until_s = now_s.saturating_add(blocked.left_s);
        self.clients.with(client, now_s, |standing| {
            if standing.blocked_until_s < until_s {
                standing.blocked_until_s = until_s;
                standing.cause = blocked.cause;
                standing.strikes = standing.strikes.max(1);
            }
        });
        self.note_block(blocked.cause, until_s, now_s);
    }

    /// Forgets what a client did.
    pub fn forgive(&self, client: u128, moment: Moment) {
        self.clients.with(client, moment.seconds(), |standing| *standing = Standing::default());
    }

    /// Clients whose block is in force, with its cause and the seconds left.
    pub fn blocks(&self, moment: Moment) -> Vec<(u128, Blocked)> {
        let now_s = moment.seconds();
        let mut blocks = Vec::new();
        if self.last_block_s.load(Ordering::Relaxed) > now_s {
            self.clients.for_each(|client, standing| {
                if standing.blocked_until_s > now_s {
                    let left_s = standing.blocked_until_s - now_s;
                    blocks.push((client, Blocked { cause: standing.cause, left_s }));
                }
            });
        }
        blocks
    }

    // ---- for who decides about clients by rules of its own ----

    /// Whether anything is remembered of a client.
    pub fn knows(&self, client: u128) -> bool {
        self.clients.get(client).is_some()
    }

    /// Remembers that a client was there.
    pub fn touch(&self, client: u128, moment: Moment) {
        self.clients.with(client, moment.seconds(), |_| ());
    }

    /// Blocks a client for so many seconds from now, however long it was blocked for. Its score stays.
    pub fn block(&self, client: u128, cause: Cause, lasts_s: u32, moment: Moment) {
        let now_s = moment.seconds();
        let until_s = now_s.saturating_add(lasts_s);
        self.clients.with(client, now_s, |standing| {
            standing.blocked_until_s = until_s;
            standing.cause = cause;
        });
        self.note_block(cause, until_s, now_s);
    }

    /// Adds to the score of a client, of which 95 % are left, and returns it.
    pub fn suspect(&self, client: u128, by: u32, moment: Moment) -> u32 {
        let now_s = moment.seconds();
        self.clients.with(client, now_s, |standing| {
            let left = standing.score as u64 * 95 / 100;
            let score = u32::try_from(left).unwrap_or(u32::MAX).saturating_add(by);
            standing.score = score as f32;
            standing.scored_s = now_s;
            score
        })
    }

    /// Forgets a client whose block is over; whether it had one.
    pub fn settle(&self, client: u128, moment: Moment) -> bool {
        let now_s = moment.seconds();
        let standing = self.clients.get(client);
        let is_over = standing.is_some_and(|it| it.had_block() && it.blocked_until_s <= now_s);
        if is_over {
            self.forgive(client, moment);
        }
        is_over
    }

    /// Clients with a score above this one, but for those whose block is over.
    pub fn suspicious(&self, above: u32, moment: Moment) -> Vec<u128> {
        let now_s = moment.seconds();
        let mut clients = Vec::new();
        self.clients.for_each(|client, standing| {
            let is_over = standing.had_block() && standing.blocked_until_s <= now_s;
            if standing.score > above as f32 && !is_over {
                clients.push(client);
            }
        });
        clients
    }

    /// Lets every block in force end so many seconds later, or earlier.
    pub fn prolong(&self, by_s: i64, moment: Moment) {
        let now_s = moment.seconds();
        let mut last_s = now_s;
        self.clients.for_each(|_, standing| {
            if standing.blocked_until_s > now_s {
                let until_s = i64::from(standing.blocked_until_s).saturating_add(by_s);
                let until_s = until_s.clamp(i64::from(now_s), i64::from(u32::MAX));
                standing.blocked_until_s = until_s as u32;
                last_s = last_s.max(standing.blocked_until_s);
            }
        });
        self.last_block_s.fetch_max(last_s, Ordering::Relaxed);
    }

    /// Clients that are remembered.
    pub fn clients(&self) -> usize {
        let mut count = 0;
        self.clients.for_each(|_, _| count += 1);
        count
    }
}

/// How many different things set these bits, when each sets one by chance: linear counting.
fn different(bits: u64) -> u32 {
    let free = f64::from(bits.count_zeros());
    if free == 0.0 { u32::MAX } else { (-64.0 * (free / 64.0).ln()).round() as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Strictness = Strictness {
        block_s: 300,
        score_max: 50,
        failures_max: 3,
        failures_window_s: 60,
        misses_max: 40,
    };

    fn at(seconds: u64) -> Moment {
        Moment { now_ms: seconds * 1_000, unix_s: 0 }
    }

    #[test]
    fn attacks_add_up_fade_and_escalate() {
        let memory = Memory::default();
        for _ in 0..9 {
            assert_eq!(memory.attacked(1, 5, &STRICT, at(10)), None);
        }
        let blocked = memory.attacked(1, 5, &STRICT, at(10)).unwrap();
        assert_eq!((blocked.cause, blocked.left_s), (Cause::Attacks, 300));
        assert_eq!(memory.blocked(1, at(309)).map(|b| b.left_s), Some(1));
        assert_eq!(memory.blocked(1, at(310)), None);
        assert_eq!(memory.blocked(2, at(20)), None);
        // Again: twice as long, and so on up to a day.
        let mut now = 310;
        for want in [600, 1200, 2400, 4800, 9600, 19_200, 38_400, 76_800, 86_400, 86_400] {
            let blocked = memory.attacked(1, 50, &STRICT, at(now)).unwrap();
            assert_eq!(blocked.left_s, want);
            now += u64::from(want);
        }
        let blocked = memory.attacked(1, 50, &STRICT, at(now + 100_000)).unwrap();
        assert_eq!(blocked.left_s, 300);
        // One attack a minute is forgotten as fast as it comes.
        assert!((0..1000).all(|n| memory.attacked(3, 20, &STRICT, at(n * 60)).is_none()));
        memory.forgive(1, at(now + 100_000));
        assert_eq!(memory.blocked(1, at(now + 100_000)), None);
    }

    #[test]
    fn wrong_keys_block_the_address_and_the_prefix() {
        let memory = Memory::default();
        let key = |n: u8| [b"sk-abcde".as_slice(), &[n]].concat();
        assert_eq!(memory.key_failed(1, &key(1), &STRICT, at(1)), None);
        assert_eq!(memory.key_failed(2, &key(2), &STRICT, at(1)), None);
        assert_eq!(memory.prefix_blocked(&key(9), at(1)), None);
        assert_eq!(memory.key_failed(3, &key(3), &STRICT, at(1)), None);
        assert!(memory.prefix_blocked(&key(9), at(1)).is_some());
        assert_eq!(memory.prefix_blocked(b"sk-other", at(1)), None);
        // From now on one more guess is enough.
        assert!(memory.key_failed(4, &key(4), &STRICT, at(1)).is_some());
        assert_eq!(memory.key_failed(1, b"x", &STRICT, at(2)), None);
        let blocked = memory.key_failed(1, b"x", &STRICT, at(2)).unwrap();
        assert_eq!(blocked.cause, Cause::BruteForce);
        // Slow guesses leave the window.
        assert!((0..100).all(|n| memory.key_failed(9, b"yy", &STRICT, at(n * 60)).is_none()));
    }

    /// Wrong: wrong keys that are forgotten because very many others come in between.
    #[test]
    fn a_flood_of_addresses_does_not_make_wrong_keys_forgotten() {
        let memory = Memory::default();
        let rate = Rate::new(60, 10).unwrap();
        let guesser = u128::MAX;
        for number in 0..STRICT.failures_max - 1 {
            let key = format!("{number}-guess-guess");
            assert_eq!(memory.key_failed(guesser, key.as_bytes(), &STRICT, at(1)), None);
        }
        for client in 0..200_000 {
            assert!(memory.take(client << 64, rate, at(2)).is_ok());
        }
        let blocked = memory.key_failed(guesser, b"last-guess", &STRICT, at(3));
        assert_eq!(blocked.map(|it| it.cause), Some(Cause::BruteForce));
    }

    #[test]
    fn many_different_missing_paths_are_a_scanner_the_same_one_is_not() {
        let memory = Memory::default();
        assert!((0..1000).all(|_| memory.missed(1, b"/favicon.ico", &STRICT, at(5)).is_none()));
        let caught = (0..100_u32)
            .position(|n| memory.missed(2, format!("/p{n}").as_bytes(), &STRICT, at(5)).is_some());
        assert!(caught.is_some_and(|n| (20..80).contains(&n)), "{caught:?}");
        assert_eq!(memory.blocked(2, at(6)).map(|b| b.cause), Some(Cause::Scanner));
        let slow = (0..100)
            .all(|n| memory.missed(3, format!("/p{n}").as_bytes(), &STRICT, at(n * 3)).is_none());
        assert!(slow);
    }
}
