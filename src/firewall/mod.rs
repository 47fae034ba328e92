//! The firewall: who may come, how often, and with what.
//!
//! - `address`, `index`: ranges that are let in or kept out, in a prefix trie, flat when they are many;
//! - `client`: who the client is behind trusted proxies;
//! - `rate`, `table`, `memory`: token buckets, offences and blocks of clients, in bounded tables;
//! - `classes`, `normalize`, `gate`, `engine`, `rules`, `scan`: one spelling for all values, one
//!   automaton over all literals, an expression around each; `place`: where a value stands; `shell`, `ssrf`, `redirect`,
//!   `prose`, `base64`: what expressions say badly;
//! - `inspect`, `json`, `multipart`, `xml`: which parts of a request are read, and which are language;
//! - `judge`: from scores to what is done;
//! - `rule_file`, `saved`: rules of an operator, and what was set at run time, as text.
//!
//! It decides and remembers; it does no I/O and reads no clock. What an operator sets is immutable
//! ([`Firewall`] is replaced when it changes), what clients did is shared ([`Memory`], [`Stats`]).
#![forbid(unsafe_code)]

mod address;
mod base64;
mod classes;
mod client;
mod engine;
mod gate;
mod index;
mod inspect;
mod json;
mod judge;
mod memory;
mod multipart;
mod normalize;
pub mod place;
mod prose;
mod rate;
mod recent;
mod redirect;
mod rule_file;
mod rules;
mod saved;
mod scan;
mod shell;
mod ssrf;
mod stats;
mod table;
mod xml;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::config::{self, Cidr, Config};

pub use address::{AddressSet, Note, canonical, client_key, to_ip};
pub use client::resolve as resolve_client;
pub use engine::{CustomRule, Engine};
pub use inspect::BodyProfile;
pub use judge::{Action, Judgement, Thresholds};
pub use memory::{Blocked, Cause, Memory, Moment, Strictness};
pub use rate::{Exhausted, Rate};
pub use rule_file::{parse_csv, parse_toml};
pub use saved::Saved;
pub use scan::Finding;
pub use stats::{Counter, Stats};
pub use table::{Entry, Table};

/// A limit on the requests of each client to some paths.
#[derive(Clone, Debug)]
struct RouteRate {
    /// A path, or its beginning when it ended in `*`.
    path: Box<[u8]>,
    is_prefix: bool,
    rate: Rate,
}

/// Why a client is turned away before its request is looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Its address is on the deny list.
    Denied(Arc<Note>),
    /// It is blocked for a time.
    Blocked(Blocked),
    /// It asks too often; the name of the limit is for its answer.
    TooOften(&'static str, Exhausted),
}

/// Rules that are compiled and not yet taken up.
pub struct MoreRules {
    engine: Arc<Engine>,
    added: Arc<[CustomRule]>,
    before: Arc<Engine>,
}

/// The rules of both, those of `second` in place of those of the same name.
fn merged(first: &[CustomRule], second: &[CustomRule]) -> Vec<CustomRule> {
    let is_kept = |rule: &&CustomRule| !second.iter().any(|new| new.id == rule.id);
    let mut rules: Vec<_> = first.iter().filter(is_kept).cloned().collect();
    rules.extend_from_slice(second);
    rules
}

/// Reads the rule files of a configuration, for nothing but their errors.
///
/// # Errors
/// `FILE:LINE:COL: what, what was expected`.
pub fn check_rules(config: &Config) -> Result<(), String> {
    rule_file::parse_files(&config.firewall_rules).map(drop)
}

/// What several firewalls may have in common.
#[derive(Clone, Default)]
pub struct Shared {
    /// Ranges that are let in.
    pub allow: AddressSet,
    /// Ranges that are kept out.
    pub deny: AddressSet,
    /// What is remembered of clients.
    pub memory: Arc<Memory>,
    /// What is counted.
    pub stats: Arc<Stats>,
}

/// What an operator has set, and the memory of clients.
#[derive(Clone)]
pub struct Firewall {
    is_enabled: bool,
    is_dry: bool,
    allow: AddressSet,
    deny: AddressSet,
    proxies: AddressSet,
    rate: Option<Rate>,
    routes: Arc<[RouteRate]>,
    strictness: Strictness,
    thresholds: Thresholds,
    inspects: bool,
    engine: Arc<Engine>,
    /// Rules of `firewall.rules`.
    filed: Arc<[CustomRule]>,
    /// Rules that were added at run time; they go before those of the same name in a file.
    added: Arc<[CustomRule]>,
    memory: Arc<Memory>,
    stats: Arc<Stats>,
}

impl Firewall {
    /// The firewall that a configuration asks for, with an empty memory.
    ///
    /// # Errors
    /// What is wrong with a rule.
    pub fn new(config: &Config) -> Result<Firewall, String> {
        let disabled: Arc<[String]> = config.firewall.disable_rules.clone().into();
        let filed: Arc<[CustomRule]> = rule_file::parse_files(&config.firewall_rules)?.into();
        let dry: Arc<[String]> = config.firewall.dry_run_rules.clone().into();
        let engine = Arc::new(Engine::with_dry(Arc::clone(&filed), disabled, dry)?);
        let mut firewall = Firewall::with_memory(config, engine, Arc::default(), Arc::default());
        firewall.filed = filed;
        Ok(firewall)
    }

    /// The same with a memory that is there already: what clients did outlives a new configuration.
    fn with_memory(
        config: &Config,
        engine: Arc<Engine>,
        memory: Arc<Memory>,
        stats: Arc<Stats>,
    ) -> Firewall {
        let settings = &config.firewall;
        Firewall {
            is_enabled: settings.enable,
            is_dry: settings.dry_run,
            allow: AddressSet::of(&settings.allow),
            deny: AddressSet::of(&settings.deny),
            proxies: AddressSet::of(&settings.trusted_proxies),
            rate: Rate::new(settings.requests_per_minute, settings.burst),
            routes: settings.routes.iter().filter_map(route_rate).collect(),
            strictness: Strictness {
                block_s: settings.block_minutes.saturating_mul(60),
                score_max: settings.suspicious_threshold,
                failures_max: settings.brute_force_threshold,
                failures_window_s: settings.brute_force_window,
                misses_max: settings.not_found_threshold,
            },
            thresholds: Thresholds {
                log: settings.log_score,
                limit: settings.limit_score,
                block: settings.block_score,
            },
            inspects: settings.inspect,
            engine,
            filed: Arc::from([]),
            added: Arc::from([]),
            memory,
            stats,
        }
    }

    /// The firewall of another configuration with the memory of this one and with what was listed
    /// and taken off lists at run time, over the lists of `before`.
    ///
    /// # Errors
    /// What is wrong with a rule.
    pub fn renewed(&self, config: &Config, before: &Config) -> Result<Firewall, String> {
        let disabled: Arc<[String]> = config.firewall.disable_rules.clone().into();
        let filed: Arc<[CustomRule]> = rule_file::parse_files(&config.firewall_rules)?.into();
        let dry: Arc<[String]> = config.firewall.dry_run_rules.clone().into();
        let engine = &self.engine;
        let is_same = disabled == *engine.disabled() && dry == *engine.dry();
        let engine = if is_same && filed == self.filed {
            Arc::clone(engine)
        } else {
            Arc::new(Engine::with_dry(merged(&filed, &self.added).into(), disabled, dry)?)
        };
        let (memory, stats) = (Arc::clone(&self.memory), Arc::clone(&self.stats));
        let mut firewall = Firewall::with_memory(config, engine, memory, stats);
        (firewall.filed, firewall.added) = (filed, Arc::clone(&self.added));
        firewall.allow.keep_changes(&AddressSet::of(&before.firewall.allow), &self.allow);
        firewall.deny.keep_changes(&AddressSet::of(&before.firewall.deny), &self.deny);
        Ok(firewall)
    }

    /// Whether it does anything.
    pub fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    /// Whether it only tells what it would refuse.
    pub fn is_dry(&self) -> bool {
        self.is_dry
    }

    /// Whether it looks for attacks.
    pub fn inspects(&self) -> bool {
        self.is_enabled && self.inspects
    }

    /// Its rules.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Rules for [`Firewall::take_rules`]: those that are there, and these in place of those of the
    /// same name. Compiled here, so not on a loop.
    ///
    /// # Errors
    /// What is wrong with a rule.
    pub fn with_rules(&self, more: Vec<CustomRule>) -> Result<MoreRules, String> {
        let added = merged(&self.added, &more);
        let all = merged(&self.filed, &added);
        let (disabled, dry) = (self.engine.disabled(), self.engine.dry());
        let engine = Engine::with_dry(all.into(), Arc::clone(disabled), Arc::clone(dry))?;
        let before = Arc::clone(&self.engine);
        Ok(MoreRules { engine: Arc::new(engine), added: added.into(), before })
    }

    /// Takes rules up. False when others were taken up since they were compiled.
    pub fn take_rules(&mut self, rules: &MoreRules) -> bool {
        if !Arc::ptr_eq(&self.engine, &rules.before) {
            return false;
        }
        self.engine = Arc::clone(&rules.engine);
        self.added = Arc::clone(&rules.added);
        true
    }

    /// What it has counted.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What it remembers of clients.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The ranges whose word about clients is believed.
    pub fn proxies(&self) -> &AddressSet {
        &self.proxies
    }

    /// Whether the first bytes of a connection may be a balancer's word about its client.
    pub fn reads_preface(&self, peer: Option<IpAddr>, now: i64) -> bool {
        let trusts = |peer| self.proxies.contains(canonical(peer), now);
        !self.proxies.is_empty() && peer.is_none_or(trusts)
    }

    /// Whether an address is never limited or inspected.
    pub fn is_allowed(&self, address: IpAddr, now: i64) -> bool {
        self.allow.contains(canonical(address), now)
    }

    /// Whether a connection from this address is taken at all.
    pub fn accepts(&self, peer: SocketAddr, now: i64) -> bool {
        if !self.is_enabled || self.deny.is_empty() {
            return true;
        }
        let address = canonical(peer.ip());
        if self.allow.contains(address, now) || !self.deny.contains(address, now) {
            return true;
        }
        self.stats.add(Counter::ConnectionsDenied);
        self.is_dry
    }

    /// Whether the connections of an address are limited: a proxy has those of all its clients.
    pub fn limits_connections(&self, peer: IpAddr, now: i64) -> bool {
        let address = canonical(peer);
        !self.allow.contains(address, now) && !self.proxies.contains(address, now)
    }

    /// Judges a client by its address and the path it asks for.
    ///
    /// # Errors
    /// Why it is turned away.
    pub fn admit(&self, address: IpAddr, path: &[u8], moment: Moment) -> Result<(), Refusal> {
        let whole = canonical(address);
        if let Some(note) = self.deny.find(whole, moment.unix_s) {
            self.stats.add(Counter::Denied);
            return Err(Refusal::Denied(Arc::clone(note)));
        }
        let client = client_key(address);
        if let Some(blocked) = self.memory.blocked(client, moment) {
            self.stats.add(Counter::BlockedClients);
            return Err(Refusal::Blocked(blocked));
        }
        let limited = |name, exhausted| {
            self.stats.add(Counter::RateLimited);
            Refusal::TooOften(name, exhausted)
        };
        let (parts, whole) = self.memory.rate_share();
        if let Some(rate) = self.rate {
            let rate = rate.share(parts, whole);
            self.memory.take(client, rate, moment).map_err(|it| limited("address", it))?;
        }
        for (index, route) in self.routes.iter().enumerate() {
            let applies = match route.is_prefix {
                true => path.starts_with(&route.path),
                false => path == &*route.path,
            };
            if applies {
                let rate = route.rate.share(parts, whole);
                let taken = self.memory.take_route(client, index, rate, moment);
                taken.map_err(|it| limited("route", it))?;
            }
        }
        Ok(())
    }

    /// From now on `parts` of `whole` of every rate limit count, also under a later configuration.
    pub fn set_rate_share(&self, parts: u32, whole: u32) {
        self.memory.set_rate_share(parts, whole);
    }

    /// What lists and blocks say of an address, without counting it.
    pub fn standing(&self, address: IpAddr, moment: Moment) -> Option<Refusal> {
        if let Some(note) = self.deny.find(canonical(address), moment.unix_s) {
            return Some(Refusal::Denied(Arc::clone(note)));
        }
        self.memory.blocked(client_key(address), moment).map(Refusal::Blocked)
    }

    /// A client showed a wrong key.
    pub fn key_failed(&self, address: IpAddr, key: &[u8], moment: Moment) -> Option<Blocked> {
        self.stats.add(Counter::KeyFailures);
        let client = client_key(address);
        let blocked = self.memory.key_failed(client, key, &self.strictness, moment)?;
        self.stats.add(Counter::AutomaticBlocks);
        self.stats.add(Counter::BruteForceBlocks);
        Some(blocked)
    }

    /// A client asked for a path that is not there.
    pub fn missed(&self, address: IpAddr, path: &[u8], moment: Moment) -> Option<Blocked> {
        let blocked = self.memory.missed(client_key(address), path, &self.strictness, moment)?;
        self.stats.add(Counter::AutomaticBlocks);
        Some(blocked)
    }

    /// A client's request was an attack.
    pub fn attacked(&self, address: IpAddr, score: u32, moment: Moment) -> Option<Blocked> {
        let client = client_key(address);
        let blocked = self.memory.attacked(client, score, &self.strictness, moment)?;
        self.stats.add(Counter::AutomaticBlocks);
        Some(blocked)
    }

    // ---- changes at run time ----

    /// Lets a range in, until a Unix second or for good. False when the list is full.
    pub fn allow(&mut self, range: &Cidr, until: Option<i64>) -> bool {
        self.allow.insert(range, Note { until, reason: "".into() })
    }

    /// Keeps a range out, until a Unix second or for good. False when the list is full.
    pub fn deny(&mut self, range: &Cidr, until: Option<i64>, reason: &str) -> bool {
        self.deny.insert(range, Note { until, reason: reason.into() })
    }

    /// Takes a range off both lists and forgets what the clients in it did; false when there was
    /// nothing to forget.
    pub fn forget(&mut self, range: &Cidr, moment: Moment) -> bool {
        let mut found = self.allow.remove(range);
        found |= self.deny.remove(range);
        let only = AddressSet::of(std::slice::from_ref(range));
        for (client, _) in self.memory.blocks(moment) {
            let is_inside = only.contains(client, 0) || client == client_key(range.address);
            if is_inside {
                self.memory.forgive(client, moment);
                found = true;
            }
        }
        found
    }

    /// Takes these lists, and from now on remembers and counts together with whoever shares them.
    pub fn join(&mut self, shared: &Shared) {
        let Shared { allow, deny, memory, stats } = shared.clone();
        (self.allow, self.deny, self.memory, self.stats) = (allow, deny, memory, stats);
    }

    /// Drops list entries whose time is over.
    pub fn drop_expired(&mut self, now: i64) {
        self.allow.drop_expired(now);
        self.deny.drop_expired(now);
    }

    /// Ranges on both lists.
    pub fn lists(&self) -> (&AddressSet, &AddressSet) {
        (&self.allow, &self.deny)
    }
}

fn route_rate(route: &config::RouteRate) -> Option<RouteRate> {
    let rate = Rate::new(route.requests_per_minute, route.burst)?;
    let path = route.path.as_bytes();
    let prefix = path.strip_suffix(b"*");
    Some(RouteRate { path: prefix.unwrap_or(path).into(), is_prefix: prefix.is_some(), rate })
}

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod tests;
