//! A shared store of values with a time to live, bounded in entries and in bytes.
//!
//! Shards keep workers out of each other's way; each holds its lock for one look-up or one
//! insertion. What has expired goes first, then what was used longest ago. A value larger than a
//! quarter of a shard is not kept: one answer must not empty the store.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::base::lru::LruMap;

/// How many locks a large store has.
const SHARDS: usize = 8;

/// Small stores stay exact: one shard keeps the order of use over all entries.
fn shards_for(entries_max: usize, bytes_max: usize) -> usize {
    if entries_max >= 512 && bytes_max >= 16 << 20 { SHARDS } else { 1 }
}

/// What a value is found by: a digest.
pub type Key = [u8; 32];

struct Entry<V> {
    value: V,
    bytes: usize,
    /// Last second in which it is still good.
    good_until_s: u64,
}

struct Shard<V> {
    entries: LruMap<Entry<V>>,
    expiry: BTreeSet<(u64, Key)>,
    bytes: usize,
}

impl<V> Shard<V> {
    fn new() -> Shard<V> {
        Shard { entries: LruMap::new(), expiry: BTreeSet::new(), bytes: 0 }
    }

    fn remove(&mut self, key: &Key) -> Option<V> {
        let entry = self.entries.remove(key)?;
        self.expiry.remove(&(entry.good_until_s, *key));
        self.bytes -= entry.bytes;
        Some(entry.value)
    }

    fn evict_one(&mut self, now_s: u64) -> bool {
        let expired = self.expiry.first().filter(|(good_until_s, _)| *good_until_s < now_s);
        if let Some((_, key)) = expired.copied() {
            return self.remove(&key).is_some();
        }
        match self.entries.pop_oldest() {
            Some((key, entry)) => {
                if let Ok(key) = Key::try_from(&*key) {
                    self.expiry.remove(&(entry.good_until_s, key));
                }
                self.bytes -= entry.bytes;
                true
            }
            None => false,
        }
    }
}

/// What a store holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Entries, expired ones that nobody asked for included.
    pub entries: u64,
    /// Bytes they were said to take.
    pub bytes: u64,
    /// Entries that went to make room.
    pub evicted: u64,
}

/// The store.
pub struct Store<V> {
    shards: [Mutex<Shard<V>>; SHARDS],
    /// How many of them are used.
    used: AtomicUsize,
    /// Of each of them.
    entries_max: AtomicUsize,
    bytes_max: AtomicUsize,
    evicted: AtomicU64,
}

impl<V: Clone> Store<V> {
    /// A store of at most so many entries and bytes together.
    pub fn new(entries_max: usize, bytes_max: usize) -> Store<V> {
        let used = shards_for(entries_max, bytes_max);
        Store {
            shards: std::array::from_fn(|_| Mutex::new(Shard::new())),
            used: AtomicUsize::new(used),
            entries_max: AtomicUsize::new((entries_max / used).max(1)),
            bytes_max: AtomicUsize::new((bytes_max / used).max(1)),
            evicted: AtomicU64::new(0),
        }
    }

    /// Changes the bounds; what is kept stays as far as it fits. Callers take turns; a look-up
    /// meanwhile may miss.
    pub fn resize(&self, entries_max: usize, bytes_max: usize, now_s: u64) {
        let used = shards_for(entries_max, bytes_max);
        // Relaxed: every value is a bound by itself.
        self.entries_max.store((entries_max / used).max(1), Relaxed);
        self.bytes_max.store((bytes_max / used).max(1), Relaxed);
        if self.used.swap(used, Relaxed) == used {
            for shard in &self.shards {
                self.make_room(&mut shard.lock(), 0, 0, now_s);
            }
            return;
        }
        for shard in &self.shards {
            let mut old = std::mem::replace(&mut *shard.lock(), Shard::new());
            while let Some((key, entry)) = old.entries.pop_oldest() {
                if let Ok(key) = Key::try_from(&*key)
                    && entry.good_until_s >= now_s
                    && entry.bytes <= self.value_bytes_max()
                {
                    self.insert(&key, entry, now_s);
                }
            }
        }
    }

    /// The largest value that is kept, in bytes.
    pub fn value_bytes_max(&self) -> usize {
        self.bytes_max.load(Relaxed) / 4
    }

    fn shard(&self, key: &Key) -> &Mutex<Shard<V>> {
        let [first, ..] = *key;
        let used = self.used.load(Relaxed).clamp(1, SHARDS);
        &self.shards[usize::from(first) % used]
    }

    /// The value while it is good.
    pub fn get(&self, key: &Key, now_s: u64) -> Option<V> {
        let mut shard = self.shard(key).lock();
        let expired = shard.entries.peek(key).is_some_and(|entry| entry.good_until_s < now_s);
        let gone = if expired { shard.remove(key) } else { None };
        let found = shard.entries.get_mut(key).map(|entry| entry.value.clone());
        drop(shard);
        // What a value owns is freed outside the lock.
        drop(gone);
        found
    }

    /// Keeps a value that takes `bytes`, in place of what the key held. False when it is too large.
    pub fn put(&self, key: &Key, value: V, bytes: usize, ttl_s: u64, now_s: u64) -> bool {
        if bytes > self.value_bytes_max() {
            return false;
        }
        self.insert(key, Entry { value, bytes, good_until_s: now_s.saturating_add(ttl_s) }, now_s);
        true
    }

    fn insert(&self, key: &Key, entry: Entry<V>, now_s: u64) {
        let mut shard = self.shard(key).lock();
        let gone = shard.remove(key);
        self.make_room(&mut shard, 1, entry.bytes, now_s);
        shard.bytes += entry.bytes;
        shard.expiry.insert((entry.good_until_s, *key));
        shard.entries.insert(key, entry);
        drop(shard);
        drop(gone);
    }

    /// Evicts until so many entries and bytes more fit.
    fn make_room(&self, shard: &mut Shard<V>, entries: usize, bytes: usize, now_s: u64) {
        let entries_max = self.entries_max.load(Relaxed);
        let bytes_max = self.bytes_max.load(Relaxed);
        let mut evicted = 0;
        while (shard.entries.len() + entries > entries_max || shard.bytes + bytes > bytes_max)
            && shard.evict_one(now_s)
        {
            evicted += 1;
        }
        // Relaxed: a figure for people.
        self.evicted.fetch_add(evicted, Relaxed);
    }

    /// Removes a key; whether it was there.
    pub fn delete(&self, key: &Key) -> bool {
        let gone = self.shard(key).lock().remove(key);
        gone.is_some()
    }

    /// Removes everything.
    pub fn clear(&self) {
        for shard in &self.shards {
            let old = std::mem::replace(&mut *shard.lock(), Shard::new());
            drop(old);
        }
    }

    /// What it holds.
    pub fn figures(&self) -> Figures {
        let mut figures = Figures { evicted: self.evicted.load(Relaxed), ..Figures::default() };
        for shard in &self.shards {
            let shard = shard.lock();
            figures.entries += shard.entries.len() as u64;
            figures.bytes += shard.bytes as u64;
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn key(n: u8) -> Key {
        let mut key = [0; 32];
        key[1] = n;
        key
    }

    #[test]
    fn values_live_through_their_last_second() {
        let store = Store::new(10, 1_000);
        assert!(store.put(&key(1), "a", 10, 5, 100));
        assert_eq!(store.get(&key(1), 105), Some("a"));
        assert_eq!(store.get(&key(1), 106), None);
        let figures = store.figures();
        assert_eq!((figures.entries, figures.bytes), (0, 0));
    }

    #[test]
    fn entries_and_bytes_are_bounded() {
        let store = Store::new(3, 1_000);
        for n in 0..4 {
            assert!(store.put(&key(n), n, 10, 5, 0));
            store.get(&key(0), 0);
        }
        assert_eq!(store.get(&key(1), 0), None, "used longest ago");
        assert_eq!(store.get(&key(0), 0), Some(0));
        for n in 4..7 {
            assert!(store.put(&key(n), n, 250, 5, 0));
        }
        let figures = store.figures();
        assert!(figures.bytes <= 1_000 && figures.entries <= 3, "{figures:?}");
        assert!(!store.put(&key(9), 9, 251, 5, 0), "too large to keep");
        store.clear();
        assert_eq!(store.figures().bytes, 0);
    }

    #[test]
    fn what_has_expired_goes_first_and_a_key_holds_one_value() {
        let store = Store::new(2, 1_000);
        store.put(&key(1), "old", 10, 100, 0);
        store.put(&key(2), "dead", 10, 1, 0);
        store.get(&key(2), 0);
        store.put(&key(3), "new", 10, 100, 50);
        assert_eq!(store.get(&key(1), 50), Some("old"));
        store.put(&key(1), "newer", 20, 100, 50);
        assert_eq!(store.get(&key(1), 50), Some("newer"));
        assert_eq!(store.figures().bytes, 30);
        assert!(store.delete(&key(1)) && !store.delete(&key(1)));
    }

    /// Wrong: a new bound that forgets what fits, or that is exceeded.
    #[test]
    fn a_new_bound_keeps_what_fits() {
        let key = |n: u32| -> Key {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&n.to_le_bytes());
            key
        };
        let store = Store::new(1000, 32 << 20);
        for n in 0..100 {
            assert!(store.put(&key(n), n, 100, 60, 0));
        }
        // From eight shards to one, and to fewer entries.
        store.resize(10, 1 << 20, 1);
        assert_eq!(store.figures().entries, 10);
        assert!(store.put(&key(1000), 1000, 100, 60, 1));
        assert_eq!(store.figures().entries, 10);
        store.resize(5, 1 << 20, 1);
        assert_eq!((store.figures().entries, store.get(&key(1000), 1)), (5, Some(1000)));
        // And back: all that is there stays.
        store.resize(1000, 32 << 20, 1);
        assert_eq!((store.figures().entries, store.get(&key(1000), 1)), (5, Some(1000)));
        assert_eq!(store.figures().bytes, 500);
        // What has expired meanwhile does not move.
        store.resize(10, 1 << 20, 100);
        assert_eq!(store.figures().entries, 0);
    }

    /// Wrong: a shard that all keys fall into, or a budget that shards exceed together.
    #[test]
    fn many_threads_share_it() {
        let store = Arc::new(Store::new(1_000, 32 << 20));
        std::thread::scope(|scope| {
            for thread in 0..4_u32 {
                let store = Arc::clone(&store);
                scope.spawn(move || {
                    for n in 0..5_000_u32 {
                        let mut key = [0; 32];
                        key[..4].copy_from_slice(&(n.wrapping_mul(2_654_435_761)).to_le_bytes());
                        if n % 3 == thread % 3 {
                            store.put(&key, n, 1_000, 10, 0);
                        } else if let Some(found) = store.get(&key, 0) {
                            assert_eq!(found, n);
                        }
                    }
                });
            }
        });
        assert!(store.figures().entries <= 1_000);
    }
}
