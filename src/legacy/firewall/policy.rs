//! What the old functions promise of a firewall, over the one that serves: its lists, its memory of
//! clients and its counters. Only what that one does not have is here: patterns, keys, and rates that
//! block.
//!
//! It does no I/O and reads no clock. [`Policy::check`] asks in a fixed order and the first answer
//! decides: lists → block in force → user agent → request data → key → rate.
#![forbid(unsafe_code)]

use super::names::{NAME_BYTES_MAX, Names};
use super::patterns::{Patterns, TEXT_MAX};
use super::window::Window;
use crate::config::Cidr;
use crate::firewall::{AddressSet, Cause, Counter, Entry, Moment, Note, Shared, Table, to_ip};
use std::collections::HashMap;
use std::net::IpAddr;

/// A user agent that holds a pattern of this severity is a scanner.
const SCANNER_SEVERITY: i32 = 10;
/// What that adds to a score.
const SCANNER_SCORE: u32 = 50;
/// Patterns up to this severity in request data are held against nobody.
const HARMLESS_SEVERITY: i32 = 5;
/// The rate is counted over this time.
const RATE_WINDOW_S: i64 = 60;

/// How strict it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Requests of one client in 60 seconds; 0 or less: unlimited.
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

impl Limits {
    fn block_s(&self) -> u32 {
        u32::try_from(self.block_minutes).unwrap_or(0).saturating_mul(60)
    }

    fn is_suspicious(&self, score: u32) -> bool {
        i64::from(score) >= i64::from(self.suspicious_threshold)
    }
}

/// One request as the functions are told of it.
#[derive(Clone, Copy, Default)]
pub struct Request<'a> {
    /// The client.
    pub address: &'a [u8],
    /// The key it showed.
    pub key: Option<&'a [u8]>,
    /// What is searched for patterns.
    pub data: Option<&'a [u8]>,
    /// Its user agent.
    pub agent: Option<&'a [u8]>,
}

/// The six figures of FirewallStats, but for the requests in all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Connections refused: no request came of them.
    pub unheard: u64,
    /// Requests refused by lists, blocks, contents and rates, and keys that led to a block.
    pub blocked: u64,
    /// Requests whose content was suspicious.
    pub suspicious: u64,
    /// Times that failed keys led to a block.
    pub brute_force: u64,
    /// Missing and wrong keys.
    pub invalid_keys: u64,
}

/// What a client did lately, exactly.
#[derive(Clone, Default)]
struct Recent {
    requests: Window,
    failures: Window,
}

impl Entry for Recent {
    fn worth(&self, _now_s: u32) -> u32 {
        0
    }
}

/// The firewall of the old functions.
pub struct Policy {
    shared: Shared,
    limits: Limits,
    names: Names,
    recent: Table<Recent>,
    /// Numbers of the host's for what it has put on the deny list.
    reasons: HashMap<u128, i32>,
    patterns: Patterns,
    keys: Vec<Vec<u8>>,
    started: i64,
}

fn range(place: u128) -> Cidr {
    let address = to_ip(place);
    Cidr { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
}

fn seconds(moment: Moment) -> (i64, u32) {
    let now_s = moment.now_ms / 1_000;
    (now_s as i64, u32::try_from(now_s).unwrap_or(u32::MAX))
}

impl Policy {
    /// One with the built-in patterns and default limits. `keys` empty: none is asked for.
    pub fn new(keys: Vec<Vec<u8>>, now: i64) -> Policy {
        Policy {
            shared: Shared::default(),
            limits: Limits::default(),
            names: Names::default(),
            recent: Table::default(),
            reasons: HashMap::new(),
            patterns: Patterns::built_in(),
            keys,
            started: now,
        }
    }

    /// What a server may have in common with it.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Judges one request and remembers it; whether it may pass.
    pub fn check(&mut self, request: &Request, moment: Moment) -> bool {
        if let Some(passes) = self.check_standing(request.address, moment) {
            return passes;
        }
        let client = self.enter(request.address);
        self.check_content(client, request, moment)
            && self.check_key(client, request.key, moment)
            && self.check_rate(client, moment)
    }

    /// Judges what the head of a request tells: lists, blocks and the user agent, in that order.
    pub fn check_head(&mut self, address: &[u8], agent: Option<&[u8]>, moment: Moment) -> bool {
        self.check_standing(address, moment).unwrap_or_else(|| {
            let client = self.enter(address);
            let request = Request { address, agent, ..Request::default() };
            self.check_content(client, &request, moment)
        })
    }

    /// What lists and blocks say, if they say anything.
    fn check_standing(&self, address: &[u8], moment: Moment) -> Option<bool> {
        let client = self.names.place(address);
        let Shared { allow, deny, memory, stats } = &self.shared;
        if allow.contains(client, moment.unix_s) {
            return Some(true);
        }
        if deny.contains(client, moment.unix_s) {
            stats.add(Counter::Denied);
            return Some(false);
        }
        if memory.blocked(client, moment).is_some() {
            stats.add(Counter::BlockedClients);
            return Some(false);
        }
        if memory.settle(client, moment) {
            self.forget_recent(client, moment);
        }
        None
    }

    fn check_content(&mut self, client: u128, request: &Request, moment: Moment) -> bool {
        let now = moment.unix_s;
        if let Some(agent) = request.agent
            && self.patterns.worst_in(agent, SCANNER_SEVERITY, now).is_some()
        {
            self.shared.memory.suspect(client, SCANNER_SCORE, moment);
            return self.block_for(Cause::Attacks, Counter::AttacksBlocked, client, moment);
        }
        let Some(data) = request.data else { return true };
        let Some(severity) = self.patterns.worst_in(data, HARMLESS_SEVERITY + 1, now) else {
            return true;
        };
        let weight = severity.unsigned_abs() * 5;
        let score = self.shared.memory.suspect(client, weight, moment);
        if !self.limits.is_suspicious(score) {
            self.shared.stats.add(Counter::AttacksLogged);
            return true;
        }
        let alone = self.limits.is_suspicious(weight);
        let cause = if alone { Cause::Attacks } else { Cause::Suspicion };
        self.block_for(cause, Counter::AttacksBlocked, client, moment)
    }

    fn check_key(&self, client: u128, key: Option<&[u8]>, moment: Moment) -> bool {
        if self.keys.is_empty() {
            return true;
        }
        let worse_by = match key {
            Some(key) if self.knows_key(key) => return true,
            Some(_) => 10,
            None => 5,
        };
        let Shared { memory, stats, .. } = &self.shared;
        stats.add(Counter::KeyFailures);
        let score = memory.suspect(client, worse_by, moment);
        let (now_s, used_s) = seconds(moment);
        let window_s = i64::from(self.limits.brute_force_window_s);
        let failures =
            self.recent.with(client, used_s, |recent| recent.failures.add(now_s, window_s));
        let most = i64::from(self.limits.brute_force_threshold);
        if most > 0 && i64::from(failures) >= most {
            stats.add(Counter::BruteForceBlocks);
            return self.block_for(Cause::BruteForce, Counter::BlockedClients, client, moment);
        }
        if self.limits.is_suspicious(score) {
            return self.block_for(Cause::Suspicion, Counter::BlockedClients, client, moment);
        }
        false
    }

    fn check_rate(&self, client: u128, moment: Moment) -> bool {
        let (now_s, used_s) = seconds(moment);
        self.shared.memory.touch(client, moment);
        let seen =
            self.recent.with(client, used_s, |recent| recent.requests.add(now_s, RATE_WINDOW_S));
        let allowed = i64::from(self.limits.requests_per_minute);
        if allowed > 0 && i64::from(seen) > allowed {
            return self.block_for(Cause::RateLimit, Counter::RateLimited, client, moment);
        }
        true
    }

    /// Compares in a time that does not tell how much of a key was right.
    fn knows_key(&self, key: &[u8]) -> bool {
        self.keys.iter().fold(false, |known, candidate| {
            let differences = candidate.iter().zip(key).fold(0, |sum, (a, b)| sum | (a ^ b));
            known | (candidate.len() == key.len() && std::hint::black_box(differences) == 0)
        })
    }

    /// Blocks a client for a request that is counted as refused; so it may not pass.
    fn block_for(&self, cause: Cause, counter: Counter, client: u128, moment: Moment) -> bool {
        self.shared.stats.add(counter);
        self.shared.stats.add(Counter::AutomaticBlocks);
        self.shared.memory.block(client, cause, self.limits.block_s(), moment);
        false
    }

    /// The place of a client that is going to be remembered.
    fn enter(&mut self, address: &[u8]) -> u128 {
        let Shared { allow, deny, memory, .. } = &self.shared;
        self.names.enter(address, |place| {
            let is_listed = |set: &AddressSet| set.contains(place, i64::MIN);
            memory.knows(place) || is_listed(allow) || is_listed(deny)
        })
    }

    fn forget_recent(&self, client: u128, moment: Moment) {
        self.recent.with(client, seconds(moment).1, |recent| *recent = Recent::default());
    }

    fn name_all(&self, places: impl IntoIterator<Item = u128>) -> Vec<Vec<u8>> {
        places.into_iter().map(|place| self.names.text(place)).collect()
    }

    // ---- blocks ----

    /// Why the client is blocked at this time.
    pub fn block_cause(&self, address: &[u8], moment: Moment) -> Option<Cause> {
        let client = self.names.place(address);
        self.shared.memory.blocked(client, moment).map(|blocked| blocked.cause)
    }

    /// Blocks a client from now.
    pub fn block(&mut self, address: &[u8], moment: Moment) {
        let client = self.enter(address);
        self.shared.memory.block(client, Cause::Manual, self.limits.block_s(), moment);
    }

    /// Forgets block, count and score of a client.
    pub fn unblock(&self, address: &[u8], moment: Moment) {
        let client = self.names.place(address);
        if self.shared.memory.knows(client) {
            self.shared.memory.forgive(client, moment);
            self.forget_recent(client, moment);
        }
    }

    /// Clients blocked at this time.
    pub fn blocked(&self, moment: Moment) -> Vec<Vec<u8>> {
        self.name_all(self.shared.memory.blocks(moment).into_iter().map(|(client, _)| client))
    }

    /// Clients with a score above `score`.
    pub fn suspicious(&self, score: u32, moment: Moment) -> Vec<Vec<u8>> {
        self.name_all(self.shared.memory.suspicious(score, moment))
    }

    // ---- lists ----

    /// Lets a client in until a Unix second, or for good. One that is in stays as it is. False when the
    /// list is full.
    pub fn allow(&mut self, address: &[u8], until: Option<i64>, now: i64) -> bool {
        let place = self.enter(address);
        let allow = &mut self.shared.allow;
        let note = Note { until, reason: "".into() };
        allow.contains(place, now) || allow.insert(&range(place), note)
    }

    /// Keeps a client out for good, with a number and a text of the host's. One that is out stays as it
    /// is. False when the list is full.
    pub fn deny(&mut self, address: &[u8], reason: i32, description: &[u8], now: i64) -> bool {
        let place = self.enter(address);
        let deny = &mut self.shared.deny;
        if deny.contains(place, now) {
            return true;
        }
        let description = description.get(..TEXT_MAX).unwrap_or(description);
        let note =
            Note { until: None, reason: String::from_utf8_lossy(description).as_ref().into() };
        let is_listed = deny.insert(&range(place), note);
        if is_listed {
            self.reasons.insert(place, reason);
        }
        is_listed
    }

    /// Takes a client off the list of those let in; whether it was there.
    pub fn disallow(&mut self, address: &[u8], now: i64) -> bool {
        let place = self.names.place(address);
        let was_listed = self.shared.allow.contains(place, now);
        self.shared.allow.remove(&range(place));
        was_listed
    }

    /// Takes a client off the list of those kept out; whether it was there.
    pub fn undeny(&mut self, address: &[u8]) -> bool {
        let place = self.names.place(address);
        self.reasons.remove(&place);
        self.shared.deny.remove(&range(place))
    }

    /// Whether a client is let in.
    pub fn is_allowed(&self, address: &[u8], now: i64) -> bool {
        self.shared.allow.contains(self.names.place(address), now)
    }

    /// Whether a client is kept out.
    pub fn is_denied(&self, address: &[u8], now: i64) -> bool {
        self.shared.deny.contains(self.names.place(address), now)
    }

    /// Clients let in, with the last second of each.
    pub fn allowed(&mut self, now: i64) -> Vec<(Vec<u8>, Option<i64>)> {
        self.shared.allow.drop_expired(now);
        let mut all = Vec::new();
        self.shared.allow.for_each(|range, note| {
            all.push((self.names.text(place_of(range.address)), note.until));
        });
        all
    }

    /// Clients kept out, with the number and the text that were given.
    pub fn denied(&self) -> Vec<(Vec<u8>, i32, Box<str>)> {
        let mut all = Vec::new();
        self.shared.deny.for_each(|range, note| {
            let place = place_of(range.address);
            let reason = self.reasons.get(&place).copied().unwrap_or(0);
            all.push((self.names.text(place), reason, note.reason.clone()));
        });
        all
    }

    // ---- settings and figures ----

    /// The patterns.
    pub fn patterns(&self) -> &Patterns {
        &self.patterns
    }

    /// The same, to be changed.
    pub fn patterns_mut(&mut self) -> &mut Patterns {
        &mut self.patterns
    }

    /// The limits in force.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Takes other limits, also for blocks in force.
    pub fn set_limits(&mut self, limits: Limits, moment: Moment) {
        let longer_s = i64::from(limits.block_s()) - i64::from(self.limits.block_s());
        if longer_s != 0 {
            self.shared.memory.prolong(longer_s, moment);
        }
        self.limits = limits;
    }

    /// The counters, those of servers that share them included.
    pub fn counts(&self) -> Counts {
        let sum = |counters: &[Counter]| -> u64 {
            counters.iter().map(|&counter| self.shared.stats.get(counter)).sum()
        };
        let unheard = sum(&[Counter::ConnectionsDenied]);
        let refused = sum(&[
            Counter::Denied,
            Counter::BlockedClients,
            Counter::RateLimited,
            Counter::AttacksBlocked,
            Counter::AttacksLimited,
        ]);
        Counts {
            unheard,
            blocked: unheard + refused,
            suspicious: sum(&[
                Counter::AttacksBlocked,
                Counter::AttacksLimited,
                Counter::AttacksLogged,
            ]),
            brute_force: sum(&[Counter::BruteForceBlocks]),
            invalid_keys: sum(&[Counter::KeyFailures]),
        }
    }

    /// Clients remembered now.
    pub fn clients(&self) -> usize {
        self.shared.memory.clients()
    }

    /// When it began, in Unix seconds.
    pub fn started(&self) -> i64 {
        self.started
    }

    /// Forgets clients, lists, patterns, keys and counters; the limits stay.
    pub fn clear(&mut self) {
        let cleared = Policy::new(Vec::new(), self.started);
        *self = Policy { limits: self.limits, patterns: Patterns::default(), ..cleared };
    }
}

fn place_of(address: IpAddr) -> u128 {
    crate::firewall::canonical(address)
}

/// Whether a text can be a client.
pub fn is_client(text: &[u8]) -> bool {
    text.len() <= NAME_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &[u8] = b"192.0.2.1";

    fn policy() -> Policy {
        Policy::new(Vec::new(), 0)
    }

    fn at(seconds: u32) -> Moment {
        Moment { now_ms: u64::from(seconds) * 1_000, unix_s: i64::from(seconds) }
    }

    fn ask(policy: &mut Policy, data: &str, agent: &str, now: u32) -> bool {
        let request = Request {
            address: CLIENT,
            key: None,
            data: Some(data.as_bytes()),
            agent: Some(agent.as_bytes()),
        };
        policy.check(&request, at(now))
    }

    #[test]
    fn lists_decide_before_everything_else() {
        let mut policy = policy();
        assert!(policy.deny(CLIENT, 2, b"why", 0) && policy.deny(CLIENT, 3, b"again", 0));
        assert!(!ask(&mut policy, "", "", 1));
        assert!(policy.allow(CLIENT, Some(10), 0));
        assert!(ask(&mut policy, " DROP TABLE", "sqlmap", 9));
        assert!(!ask(&mut policy, "", "", 11));
        assert_eq!(policy.counts().blocked, 2);
        assert_eq!(policy.denied(), [(CLIENT.to_vec(), 2, "why".into())]);
        // An entry whose time is over does not stand in the way of a new one.
        assert!(!policy.disallow(CLIENT, 11) && policy.allow(CLIENT, None, 11));
        assert_eq!(policy.allowed(12), [(CLIENT.to_vec(), None)]);
        assert!(policy.disallow(CLIENT, 12) && policy.undeny(CLIENT) && !policy.undeny(CLIENT));
        assert!(ask(&mut policy, "", "", 13));
    }

    #[test]
    fn a_scanner_is_blocked_at_once_and_released_in_time() {
        let mut policy = policy();
        assert!(!ask(&mut policy, "", "SQLMap/1.7", 0));
        assert_eq!(policy.suspicious(49, at(299)), [CLIENT]);
        assert!(!ask(&mut policy, "", "curl", 299));
        assert_eq!(policy.block_cause(CLIENT, at(299)), Some(Cause::Attacks));
        assert!(ask(&mut policy, "", "curl", 300));
        assert!(policy.suspicious(0, at(300)).is_empty());
        assert_eq!((policy.counts().blocked, policy.counts().suspicious), (2, 1));
    }

    #[test]
    fn content_adds_up_until_the_threshold() {
        let mut first = policy();
        // Severity 8 gives 40, then 38 + 40.
        assert!(ask(&mut first, "x' union select", "", 0));
        assert!(!ask(&mut first, "1 UNION ALL", "", 0));
        assert_eq!(first.block_cause(CLIENT, at(0)), Some(Cause::Suspicion));
        assert_eq!(first.suspicious(77, at(0)).len(), 1);
        assert!(first.suspicious(78, at(0)).is_empty());
        let mut second = policy();
        assert!(!ask(&mut second, "; drop table x", "", 0));
        assert_eq!(second.block_cause(CLIENT, at(0)), Some(Cause::Attacks));
        // Severity 5 is not held against anybody.
        let mut third = policy();
        assert!(ask(&mut third, "../--", "", 0));
        assert_eq!(third.counts().suspicious, 0);
    }

    #[test]
    fn the_rate_is_a_sliding_minute() {
        let mut policy = policy();
        policy.set_limits(Limits { requests_per_minute: 3, ..Limits::default() }, at(0));
        for now in [0, 30, 59] {
            assert!(ask(&mut policy, "", "", now));
        }
        // The first has left the window.
        assert!(ask(&mut policy, "", "", 60));
        assert!(!ask(&mut policy, "", "", 61));
        assert_eq!(policy.block_cause(CLIENT, at(61)), Some(Cause::RateLimit));
        policy.unblock(CLIENT, at(61));
        assert!(ask(&mut policy, "", "", 61));
        policy.set_limits(Limits { requests_per_minute: 0, ..Limits::default() }, at(61));
        assert!((0..1000).all(|_| ask(&mut policy, "", "", 61)));
    }

    #[test]
    fn blocks_last_as_long_as_the_limits_say_now() {
        let mut policy = policy();
        policy.block(CLIENT, at(10));
        policy.set_limits(Limits { block_minutes: 10, ..Limits::default() }, at(20));
        assert!(!ask(&mut policy, "", "", 609) && ask(&mut policy, "", "", 610));
        policy.block(CLIENT, at(700));
        policy.set_limits(Limits { block_minutes: 0, ..Limits::default() }, at(701));
        assert!(ask(&mut policy, "", "", 701) && policy.blocked(at(701)).is_empty());
        policy.block(CLIENT, at(702));
        assert!(ask(&mut policy, "", "", 702));
    }

    #[test]
    fn keys_are_asked_for_and_guessing_ends_in_a_block() {
        let with_key = |policy: &mut Policy, key: Option<&[u8]>| {
            policy.check(&Request { address: b"a", key, ..Request::default() }, at(1))
        };
        let mut first = Policy::new(vec![b"secret".to_vec()], 0);
        assert!(with_key(&mut first, Some(b"secret")));
        for _ in 0..10 {
            assert_eq!(first.block_cause(b"a", at(1)), None);
            assert!(!with_key(&mut first, None));
        }
        assert_eq!(first.block_cause(b"a", at(1)), Some(Cause::BruteForce));
        let counts = first.counts();
        assert_eq!((counts.invalid_keys, counts.brute_force, counts.blocked), (10, 1, 1));
        let mut second = Policy::new(vec![b"secret".to_vec()], 0);
        for _ in 0..5 {
            assert!(!with_key(&mut second, Some(b"secreT")));
        }
        assert_eq!(second.block_cause(b"a", at(1)), None);
        assert!(!with_key(&mut second, Some(b"secre")));
        assert_eq!(second.block_cause(b"a", at(1)), Some(Cause::Suspicion));
        assert_eq!((second.counts().invalid_keys, second.counts().brute_force), (6, 0));
    }

    #[test]
    fn a_flood_of_clients_is_bounded_and_spares_blocks() {
        let mut policy = policy();
        policy.block(b"bad", at(1));
        for n in 0..100_000_u32 {
            let address = std::net::Ipv4Addr::from(n).to_string();
            policy.check(&Request { address: address.as_bytes(), ..Request::default() }, at(2));
        }
        assert!(policy.clients() <= 65_536, "{}", policy.clients());
        assert_eq!(policy.block_cause(b"bad", at(2)), Some(Cause::Manual));
        assert_eq!(policy.blocked(at(2)), [b"bad"]);
        assert!(policy.blocked(at(301)).is_empty());
    }

    /// Wrong: a server's blocks and refusals that the old functions do not see, or the reverse.
    #[test]
    fn what_a_server_does_is_seen_and_the_reverse() {
        use crate::firewall::{Action, Firewall, Refusal};
        let mut policy = policy();
        policy.deny(b"10.0.0.1", 0, b"", 0);
        policy.block(b"10.0.0.2", at(1));
        let mut server = Firewall::new(&crate::config::Config::default()).unwrap();
        server.join(policy.shared());
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let denied = server.admit(ip("10.0.0.1"), b"/", at(2));
        assert!(matches!(denied, Err(Refusal::Denied(_))));
        assert!(matches!(server.admit(ip("10.0.0.2"), b"/", at(2)), Err(Refusal::Blocked(_))));
        for _ in 0..10 {
            server.count(Action::Block);
            server.attacked(ip("10.0.0.3"), 5, at(2));
        }
        assert_eq!(policy.block_cause(b"10.0.0.3", at(2)), Some(Cause::Attacks));
        assert_eq!((policy.counts().blocked, policy.counts().suspicious), (12, 10));
        policy.unblock(b"10.0.0.3", at(3));
        assert!(server.admit(ip("10.0.0.3"), b"/", at(3)).is_ok());
    }
}
