//! The firewall of the old `firewall_*` functions: address lists, patterns, keys, rates and a score per
//! address, in the order and with the numbers that those functions promise.
//! It decides and remembers; it does no I/O, holds no lock and reads no clock (`now` is Unix time in
//! seconds, because whitelist entries expire at a date). Addresses are compared as text. Memory is
//! bounded: [`ADDRESSES_MAX`] addresses are remembered, the ones seen longest ago go first.
//!
//! [`Firewall::check`] asks in a fixed order and the first answer decides:
//! lists → block in force → user agent → request data → key → rate.
#![forbid(unsafe_code)]

mod lists;
mod rules;
mod saved;
mod window;

pub use lists::{AddressList, Denied};
pub use rules::{Pattern, SEVERITY_MAX, TEXT_MAX};

use crate::base::lru::LruMap;
use rules::Rules;
use window::Window;

/// Addresses remembered at a time.
pub const ADDRESSES_MAX: usize = 65_536;

/// A user agent that holds a pattern of this severity is a scanner.
const SCANNER_SEVERITY: i32 = 10;
/// Patterns up to this severity in request data are noted by nobody.
const HARMLESS_SEVERITY: i32 = 5;
/// The rate is counted over this time.
const RATE_WINDOW_S: i64 = 60;

/// How strict a firewall is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Requests of one address in 60 seconds; 0 or less: unlimited.
    pub requests_per_minute: i32,
    /// How long a block lasts.
    pub block_minutes: i32,
    /// The score that leads to a block.
    pub suspicious_threshold: i32,
    /// Failed keys within the window that lead to a block; 0 or less: never.
    pub brute_force_threshold: i32,
    /// That window, in seconds.
    pub brute_force_window_s: i32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            requests_per_minute: 60,
            block_minutes: 5,
            suspicious_threshold: 50,
            brute_force_threshold: 10,
            brute_force_window_s: 300,
        }
    }
}

/// Why an address is blocked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// Too many requests, or blocked by hand.
    RateLimit,
    /// Too many failed keys.
    BruteForce,
    /// A pattern in the request or the user agent.
    AttackPattern,
    /// The sum of smaller things.
    Suspicious,
}

/// One request as the firewall sees it.
#[derive(Clone, Copy, Default)]
pub struct Request<'a> {
    /// The client's address.
    pub address: &'a [u8],
    /// The key it showed.
    pub key: Option<&'a [u8]>,
    /// What is searched for patterns.
    pub data: Option<&'a [u8]>,
    /// Its user agent.
    pub agent: Option<&'a [u8]>,
}

/// The answer of [`Firewall::check`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Let it pass.
    Allow,
    /// The address is on the deny list.
    Listed,
    /// The address is blocked, from before or from now on.
    Blocked(Cause),
    /// Keys are required and this request has none or a wrong one.
    KeyRefused,
}

impl Verdict {
    /// Whether the request may pass.
    pub fn allows(self) -> bool {
        self == Verdict::Allow
    }
}

/// Counters since the start or the last [`Firewall::clear`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Requests checked.
    pub requests: u64,
    /// Requests refused by lists, blocks, patterns and rates, and key failures that led to a block.
    pub blocked: u64,
    /// Times that content raised a score.
    pub suspicious: u64,
    /// Times that failed keys led to a block.
    pub brute_force: u64,
    /// Missing and wrong keys.
    pub invalid_keys: u64,
    /// Requests with a pattern that mattered.
    pub pattern_hits: u64,
}

#[derive(Default)]
struct Address {
    requests: Window,
    key_failures: Window,
    score: i32,
    block: Option<(i64, Cause)>,
}

impl Address {
    /// Older suspicion fades with each new one.
    fn raise_score(&mut self, by: i32) {
        self.score = (i64::from(self.score) * 95 / 100) as i32 + by;
    }
}

/// The firewall's memory.
pub struct Firewall {
    limits: Limits,
    addresses: LruMap<Address>,
    allow: AddressList<()>,
    deny: AddressList<Denied>,
    rules: Rules,
    keys: Vec<Vec<u8>>,
    counts: Counts,
    started: i64,
}

impl Firewall {
    /// A firewall with the built-in patterns and default limits. `keys` empty: none is asked for.
    pub fn new(keys: Vec<Vec<u8>>, now: i64) -> Firewall {
        Firewall {
            limits: Limits::default(),
            addresses: LruMap::new(),
            allow: AddressList::default(),
            deny: AddressList::default(),
            rules: Rules::built_in(),
            keys,
            counts: Counts::default(),
            started: now,
        }
    }

    /// Judges one request and remembers it.
    pub fn check(&mut self, request: &Request, now: i64) -> Verdict {
        self.counts.requests += 1;
        if let Some(verdict) = self.check_standing(request.address, now) {
            return verdict;
        }
        let verdict = self.check_content(request, now);
        if verdict != Verdict::Allow {
            return verdict;
        }
        let verdict = self.check_key(request, now);
        if verdict != Verdict::Allow {
            return verdict;
        }
        self.check_rate(request.address, now)
    }

    /// Judges what the head of a request tells: lists, blocks and the user agent, in the order of
    /// [`Firewall::check`]. Data, keys and rates are not looked at.
    pub fn check_head(&mut self, address: &[u8], agent: Option<&[u8]>, now: i64) -> Verdict {
        self.counts.requests += 1;
        match self.check_standing(address, now) {
            Some(verdict) => verdict,
            None => self.check_content(&Request { address, agent, ..Request::default() }, now),
        }
    }

    /// What lists and blocks say, if they say anything.
    fn check_standing(&mut self, address: &[u8], now: i64) -> Option<Verdict> {
        if self.allow.contains(address, now) {
            return Some(Verdict::Allow);
        }
        if self.deny.contains(address, now) {
            self.counts.blocked += 1;
            return Some(Verdict::Listed);
        }
        let cause = self.block_in_force(address, now)?;
        self.counts.blocked += 1;
        Some(Verdict::Blocked(cause))
    }

    fn check_content(&mut self, request: &Request, now: i64) -> Verdict {
        if let Some(agent) = request.agent
            && self.rules.worst_in(agent, SCANNER_SEVERITY, now).is_some()
        {
            self.counts.pattern_hits += 1;
            self.counts.suspicious += 1;
            self.address(request.address, now).raise_score(50);
            return self.refuse(request.address, Cause::AttackPattern, now);
        }
        let Some(data) = request.data else { return Verdict::Allow };
        let Some(severity) = self.rules.worst_in(data, HARMLESS_SEVERITY + 1, now) else {
            return Verdict::Allow;
        };
        self.counts.pattern_hits += 1;
        self.counts.suspicious += 1;
        let threshold = self.limits.suspicious_threshold;
        let address = self.address(request.address, now);
        let alone = severity * 5 >= threshold;
        address.raise_score(severity * 5);
        if address.score < threshold {
            return Verdict::Allow;
        }
        let cause = if alone { Cause::AttackPattern } else { Cause::Suspicious };
        self.refuse(request.address, cause, now)
    }

    fn check_key(&mut self, request: &Request, now: i64) -> Verdict {
        if self.keys.is_empty() {
            return Verdict::Allow;
        }
        let worse_by = match request.key {
            Some(key) if self.knows_key(key) => return Verdict::Allow,
            Some(_) => 10,
            None => 5,
        };
        self.counts.invalid_keys += 1;
        let limits = self.limits;
        let address = self.address(request.address, now);
        address.raise_score(worse_by);
        let failures = address.key_failures.add(now, i64::from(limits.brute_force_window_s));
        let cause = if limits.brute_force_threshold > 0
            && i64::from(failures) >= i64::from(limits.brute_force_threshold)
        {
            self.counts.brute_force += 1;
            Cause::BruteForce
        } else if address.score >= limits.suspicious_threshold {
            Cause::Suspicious
        } else {
            return Verdict::KeyRefused;
        };
        self.refuse(request.address, cause, now)
    }

    fn check_rate(&mut self, address: &[u8], now: i64) -> Verdict {
        let allowed = i64::from(self.limits.requests_per_minute);
        let seen = self.address(address, now).requests.add(now, RATE_WINDOW_S);
        if allowed > 0 && i64::from(seen) > allowed {
            return self.refuse(address, Cause::RateLimit, now);
        }
        Verdict::Allow
    }

    /// Compares in a time that does not tell how much of a key was right.
    fn knows_key(&self, key: &[u8]) -> bool {
        self.keys.iter().fold(false, |known, candidate| {
            let differences = candidate.iter().zip(key).fold(0, |sum, (a, b)| sum | (a ^ b));
            known | (candidate.len() == key.len() && std::hint::black_box(differences) == 0)
        })
    }

    fn refuse(&mut self, address: &[u8], cause: Cause, now: i64) -> Verdict {
        self.counts.blocked += 1;
        self.address(address, now).block = Some((now, cause));
        Verdict::Blocked(cause)
    }

    /// The entry of an address, made on first sight.
    fn address(&mut self, address: &[u8], now: i64) -> &mut Address {
        if self.addresses.peek(address).is_none() {
            self.make_room(now);
        }
        self.addresses.get_or_insert_with(address, Address::default)
    }

    /// Drops the address seen longest ago. A few blocked ones are passed over, so that a flood of new
    /// addresses does not lift the blocks first.
    fn make_room(&mut self, now: i64) {
        let mut passed_over = 0;
        while self.addresses.len() >= ADDRESSES_MAX {
            let Some((key, entry)) = self.addresses.pop_oldest() else { return };
            let blocked = entry.block.is_some_and(|(since, _)| self.lasts(since, now));
            if blocked && passed_over < 8 {
                passed_over += 1;
                self.addresses.insert(&key, entry);
            }
        }
    }

    fn lasts(&self, since: i64, now: i64) -> bool {
        now.saturating_sub(since) < i64::from(self.limits.block_minutes).saturating_mul(60)
    }

    /// The cause of a block in force. One that is over is forgotten together with count and score.
    fn block_in_force(&mut self, address: &[u8], now: i64) -> Option<Cause> {
        let (since, cause) = self.addresses.peek(address)?.block?;
        if self.lasts(since, now) {
            return Some(cause);
        }
        self.unblock(address);
        None
    }

    /// Why the address is blocked at this time.
    pub fn block_cause(&self, address: &[u8], now: i64) -> Option<Cause> {
        let (since, cause) = self.addresses.peek(address)?.block?;
        self.lasts(since, now).then_some(cause)
    }

    /// Blocks an address from now.
    pub fn block(&mut self, address: &[u8], now: i64) {
        self.address(address, now).block = Some((now, Cause::RateLimit));
    }

    /// Forgets block, count and score of an address.
    pub fn unblock(&mut self, address: &[u8]) {
        if let Some(entry) = self.addresses.get_mut(address) {
            *entry = Address::default();
        }
    }

    /// Addresses blocked at this time.
    pub fn blocked(&self, now: i64) -> Vec<Vec<u8>> {
        self.addresses_where(|entry| entry.block.is_some_and(|(since, _)| self.lasts(since, now)))
    }

    /// Addresses with a score above `score`.
    pub fn suspicious(&self, score: i32) -> Vec<Vec<u8>> {
        self.addresses_where(|entry| entry.score > score)
    }

    fn addresses_where(&self, wanted: impl Fn(&Address) -> bool) -> Vec<Vec<u8>> {
        let found = self.addresses.iter().filter(|(_, entry)| wanted(entry));
        found.map(|(address, _)| address.to_vec()).collect()
    }

    /// Addresses that are never inspected.
    pub fn allow_list(&mut self) -> &mut AddressList<()> {
        &mut self.allow
    }

    /// Addresses that are always refused.
    pub fn deny_list(&mut self) -> &mut AddressList<Denied> {
        &mut self.deny
    }

    /// Adds a text to look for, cut to [`TEXT_MAX`] bytes; present already is fine. Whether it is one:
    /// not empty, severity 1 to [`SEVERITY_MAX`].
    pub fn add_pattern(&mut self, text: &[u8], severity: i32) -> bool {
        self.rules.add(text, severity)
    }

    /// Removes a pattern; whether it was there.
    pub fn remove_pattern(&mut self, text: &[u8]) -> bool {
        self.rules.remove(text)
    }

    /// The patterns in order of addition.
    pub fn patterns(&self) -> &[Pattern] {
        self.rules.patterns()
    }

    /// The limits in force.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Takes other limits.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The counters.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Addresses remembered now.
    pub fn address_count(&self) -> usize {
        self.addresses.len()
    }

    /// When it began, in Unix seconds.
    pub fn started(&self) -> i64 {
        self.started
    }

    /// Forgets addresses, lists, patterns, keys and counters; the limits stay.
    pub fn clear(&mut self) {
        self.addresses.clear();
        self.allow = AddressList::default();
        self.deny = AddressList::default();
        self.rules = Rules::default();
        self.keys.clear();
        self.counts = Counts::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn firewall() -> Firewall {
        Firewall::new(Vec::new(), 0)
    }

    fn ask(firewall: &mut Firewall, data: &str, agent: &str, now: i64) -> Verdict {
        let request = Request {
            address: b"192.0.2.1",
            key: None,
            data: Some(data.as_bytes()),
            agent: Some(agent.as_bytes()),
        };
        firewall.check(&request, now)
    }

    #[test]
    fn lists_decide_before_everything_else() {
        let mut firewall = firewall();
        firewall.deny_list().add(
            b"192.0.2.1",
            Denied { reason: 0, description: vec![], added: 0 },
            None,
        );
        assert_eq!(ask(&mut firewall, "", "", 1), Verdict::Listed);
        firewall.allow_list().add(b"192.0.2.1", (), Some(10));
        assert_eq!(ask(&mut firewall, " DROP TABLE", "sqlmap", 9), Verdict::Allow);
        assert_eq!(ask(&mut firewall, "", "", 11), Verdict::Listed);
    }

    #[test]
    fn a_scanner_is_blocked_at_once_and_released_in_time() {
        let mut firewall = firewall();
        assert_eq!(ask(&mut firewall, "", "SQLMap/1.7", 0), Verdict::Blocked(Cause::AttackPattern));
        assert_eq!(ask(&mut firewall, "", "curl", 299), Verdict::Blocked(Cause::AttackPattern));
        assert_eq!(firewall.block_cause(b"192.0.2.1", 299), Some(Cause::AttackPattern));
        assert_eq!(ask(&mut firewall, "", "curl", 300), Verdict::Allow);
        assert!(firewall.suspicious(0).is_empty());
        assert_eq!(firewall.counts().blocked, 2);
    }

    #[test]
    fn content_adds_up_until_the_threshold() {
        let mut firewall = firewall();
        // Severity 8 gives 40, then 38 + 40.
        assert_eq!(ask(&mut firewall, "x' union select", "", 0), Verdict::Allow);
        assert_eq!(ask(&mut firewall, "1 UNION ALL", "", 0), Verdict::Blocked(Cause::Suspicious));
        let mut firewall = super::Firewall::new(Vec::new(), 0);
        assert_eq!(
            ask(&mut firewall, "; drop table x", "", 0),
            Verdict::Blocked(Cause::AttackPattern)
        );
        // Severity 5 is not held against anybody.
        let mut firewall = super::Firewall::new(Vec::new(), 0);
        assert_eq!(ask(&mut firewall, "../--", "", 0), Verdict::Allow);
        assert_eq!(firewall.counts().pattern_hits, 0);
    }

    #[test]
    fn the_rate_is_a_sliding_minute() {
        let mut firewall = firewall();
        firewall.set_limits(Limits { requests_per_minute: 3, ..Limits::default() });
        for now in [0, 30, 59] {
            assert_eq!(ask(&mut firewall, "", "", now), Verdict::Allow);
        }
        // The first has left the window.
        assert_eq!(ask(&mut firewall, "", "", 60), Verdict::Allow);
        assert_eq!(ask(&mut firewall, "", "", 61), Verdict::Blocked(Cause::RateLimit));
        firewall.unblock(b"192.0.2.1");
        assert_eq!(ask(&mut firewall, "", "", 61), Verdict::Allow);
        firewall.set_limits(Limits { requests_per_minute: 0, ..Limits::default() });
        for _ in 0..1000 {
            assert_eq!(ask(&mut firewall, "", "", 61), Verdict::Allow);
        }
    }

    #[test]
    fn keys_are_asked_for_and_guessing_ends_in_a_block() {
        let with_key = |firewall: &mut Firewall, key: Option<&[u8]>| {
            firewall.check(&Request { address: b"a", key, ..Request::default() }, 0)
        };
        let mut firewall = Firewall::new(vec![b"secret".to_vec()], 0);
        assert_eq!(with_key(&mut firewall, Some(b"secret")), Verdict::Allow);
        for _ in 0..9 {
            assert_eq!(with_key(&mut firewall, None), Verdict::KeyRefused);
        }
        assert_eq!(with_key(&mut firewall, None), Verdict::Blocked(Cause::BruteForce));
        assert_eq!(firewall.counts().brute_force, 1);
        let mut firewall = Firewall::new(vec![b"secret".to_vec()], 0);
        for _ in 0..5 {
            assert_eq!(with_key(&mut firewall, Some(b"secreT")), Verdict::KeyRefused);
        }
        assert_eq!(with_key(&mut firewall, Some(b"secre")), Verdict::Blocked(Cause::Suspicious));
        assert_eq!((firewall.counts().invalid_keys, firewall.counts().brute_force), (6, 0));
    }

    #[test]
    fn a_flood_of_addresses_stays_bounded_and_keeps_blocks() {
        let mut firewall = firewall();
        firewall.block(b"bad", 0);
        for n in 0..(ADDRESSES_MAX as u32 + 1000) {
            firewall.check(&Request { address: &n.to_le_bytes(), ..Request::default() }, 1);
        }
        assert_eq!(firewall.address_count(), ADDRESSES_MAX);
        assert_eq!(firewall.block_cause(b"bad", 1), Some(Cause::RateLimit));
        assert_eq!(firewall.blocked(1), [b"bad"]);
        assert!(firewall.blocked(300).is_empty());
    }
}
