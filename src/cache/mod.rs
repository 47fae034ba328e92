//! What is kept to be given again: [`store`] is shared, bounded in entries and bytes; [`flight`] is
//! one answer that several requests share while it is made. [`Cache`] is the plain one of the old
//! C surface:
//!
//! A cache of byte strings with a time to live per entry and a bound on their number.
//!
//! It does no I/O and reads no clock: `now_s` is an argument, in seconds of any clock that does not
//! run backwards. It holds no lock either; who shares a cache puts one around it.
//!
//! When a new key finds the cache full, what has expired goes first, then the entry used longest
//! ago.
#![forbid(unsafe_code)]

pub mod flight;
pub mod store;

use crate::base::lru::LruMap;
use std::collections::BTreeSet;
use std::sync::Arc;

struct Entry {
    value: Box<[u8]>,
    /// Last second in which the entry is still good.
    good_until_s: u64,
}

/// What a cache has seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Entries stored now, expired ones that nobody asked for included.
    pub entries: usize,
    /// Look-ups answered.
    pub hits: u64,
    /// Look-ups that found nothing or something expired.
    pub misses: u64,
}

/// A TTL-LRU cache.
pub struct Cache {
    entries: LruMap<Entry>,
    /// The same entries by the time they expire.
    expiry: BTreeSet<(u64, Arc<[u8]>)>,
    entries_max: usize,
    ttl_default_s: u64,
    hits: u64,
    misses: u64,
}

impl Cache {
    /// A cache of at most `entries_max` entries, at least one.
    pub fn new(entries_max: usize, ttl_default_s: u64) -> Cache {
        Cache {
            entries: LruMap::new(),
            expiry: BTreeSet::new(),
            entries_max: entries_max.max(1),
            ttl_default_s,
            hits: 0,
            misses: 0,
        }
    }

    /// How many entries fit.
    pub fn entries_max(&self) -> usize {
        self.entries_max
    }

    /// Changes how many entries fit, at least one; the surplus goes as if the cache were full.
    pub fn set_entries_max(&mut self, entries_max: usize, now_s: u64) {
        self.entries_max = entries_max.max(1);
        while self.entries.len() > self.entries_max {
            self.evict_one(now_s);
        }
    }

    /// Stores a copy, in place of what the key held before. `ttl_s` `None` is the default.
    pub fn set(&mut self, key: &[u8], value: &[u8], ttl_s: Option<u64>, now_s: u64) {
        let good_until_s = now_s.saturating_add(ttl_s.unwrap_or(self.ttl_default_s));
        self.delete(key);
        while self.entries.len() >= self.entries_max {
            self.evict_one(now_s);
        }
        self.entries.insert(key, Entry { value: value.into(), good_until_s });
        self.expiry.insert((good_until_s, Arc::from(key)));
    }

    /// The value while it is good; counts a hit or a miss.
    pub fn get(&mut self, key: &[u8], now_s: u64) -> Option<&[u8]> {
        let expired = self.entries.peek(key).is_some_and(|entry| entry.good_until_s < now_s);
        if expired {
            self.delete(key);
        }
        match self.entries.get_mut(key) {
            Some(entry) => {
                self.hits += 1;
                Some(&entry.value)
            }
            None => {
                self.misses += 1;
                None
            }
        }
    }

    /// Removes a key; whether it was there.
    pub fn delete(&mut self, key: &[u8]) -> bool {
        match self.entries.remove(key) {
            Some(entry) => {
                self.expiry.remove(&(entry.good_until_s, Arc::from(key)));
                true
            }
            None => false,
        }
    }

    /// Removes every entry; the counters of hits and misses go on.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.expiry.clear();
    }

    /// What is stored and what was asked for.
    pub fn counts(&self) -> Counts {
        Counts { entries: self.entries.len(), hits: self.hits, misses: self.misses }
    }

    fn evict_one(&mut self, now_s: u64) {
        let expired = self.expiry.first().filter(|(good_until_s, _)| *good_until_s < now_s);
        if let Some((_, key)) = expired.cloned() {
            self.delete(&key);
        } else if let Some((key, entry)) = self.entries.pop_oldest() {
            self.expiry.remove(&(entry.good_until_s, key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_lives_through_its_last_second() {
        let mut cache = Cache::new(4, 10);
        cache.set(b"k", b"v", None, 100);
        cache.set(b"short", b"v", Some(1), 100);
        assert_eq!(cache.get(b"k", 110), Some(&b"v"[..]));
        assert_eq!(cache.get(b"k", 111), None);
        assert_eq!(cache.get(b"short", 102), None);
        assert_eq!(cache.counts(), Counts { entries: 0, hits: 1, misses: 2 });
    }

    #[test]
    fn replacing_keeps_one_entry_and_takes_the_new_life() {
        let mut cache = Cache::new(2, 10);
        cache.set(b"k", b"old", Some(1), 0);
        cache.set(b"k", b"new", Some(50), 0);
        assert_eq!(cache.get(b"k", 40), Some(&b"new"[..]));
        assert_eq!(cache.counts().entries, 1);
        assert!(cache.delete(b"k"));
        assert!(!cache.delete(b"k"));
    }

    #[test]
    fn a_full_cache_gives_up_the_expired_then_the_unused() {
        let mut cache = Cache::new(3, 1000);
        cache.set(b"a", b"1", None, 0);
        cache.set(b"dead", b"2", Some(1), 0);
        cache.set(b"b", b"3", None, 0);
        cache.set(b"c", b"4", None, 5);
        assert_eq!(cache.get(b"dead", 5), None);
        assert!(cache.get(b"a", 5).is_some());
        cache.set(b"d", b"5", None, 5);
        assert_eq!(cache.get(b"b", 5), None);
        for key in [b"a", b"c", b"d"] {
            assert!(cache.get(key, 5).is_some(), "{key:?}");
        }
    }

    #[test]
    fn shrinking_keeps_the_latest_used_and_clear_keeps_the_counters() {
        let mut cache = Cache::new(8, 10);
        for n in 0..8_u8 {
            cache.set(&[n], &[n], None, 0);
        }
        cache.set_entries_max(2, 0);
        assert_eq!(cache.counts().entries, 2);
        assert_eq!(cache.get(&[7], 0), Some(&[7_u8][..]));
        cache.clear();
        assert_eq!(cache.counts(), Counts { entries: 0, hits: 1, misses: 0 });
    }
}
