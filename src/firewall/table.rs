//! A table of fixed size for what is remembered of clients.
//!
//! Shards of sets of eight places each. A key has one set; when its places are taken, the entry that
//! is worth least and was used longest ago gives way. So a flood of new keys costs constant time per
//! key and no memory, and what it displaces first is itself. The hash is keyed, so that nobody can
//! choose addresses that meet in one set. A shard takes its memory with its first entry.

use std::hash::{BuildHasher, RandomState};

use parking_lot::Mutex;

const SHARDS: usize = 64;
const SETS: usize = 128;
const WAYS: usize = 8;

/// What a table keeps of a key. The default is what is known of a key that is not in it.
pub trait Entry: Clone + Default {
    /// The higher, the later it gives way to another.
    fn worth(&self, now_s: u32) -> u32;
}

/// A bucket in a table.
#[derive(Clone, Copy, Default)]
pub struct Bucket(pub u64);

impl Entry for Bucket {
    fn worth(&self, now_s: u32) -> u32 {
        // A full one is as good as none.
        u32::from(self.0 > u64::from(now_s) * 1_000_000_000)
    }
}

#[derive(Clone)]
struct Place<V> {
    key: u128,
    /// Seconds, plus one: 0 is a free place.
    used: u32,
    value: V,
}

/// The table.
pub struct Table<V> {
    shards: Box<[Mutex<Vec<Place<V>>>]>,
    hash: RandomState,
}

impl<V: Entry> Default for Table<V> {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(Vec::new())).collect();
        Table { shards, hash: RandomState::new() }
    }
}

impl<V: Entry> Table<V> {
    /// A key for anything.
    pub fn key_of(&self, parts: impl std::hash::Hash) -> u128 {
        u128::from(self.hash.hash_one(parts))
    }

    fn place_of(&self, key: u128) -> (usize, usize) {
        let hash = self.hash.hash_one(key) as usize;
        (hash % SHARDS, hash / SHARDS % SETS * WAYS)
    }

    /// Runs `body` on the entry of a key, making room for it if it has none.
    pub fn with<R>(&self, key: u128, now_s: u32, body: impl FnOnce(&mut V) -> R) -> R {
        let (shard, set) = self.place_of(key);
        let mut fallback = V::default();
        let Some(shard) = self.shards.get(shard) else { return body(&mut fallback) };
        let mut places = shard.lock();
        if places.is_empty() {
            let free = Place { key: 0, used: 0, value: V::default() };
            places.resize(SETS * WAYS, free);
        }
        let Some(ways) = places.get_mut(set..set + WAYS) else { return body(&mut fallback) };
        let mut chosen = 0;
        let mut least = (u32::MAX, u32::MAX);
        for (way, place) in ways.iter().enumerate() {
            if place.used != 0 && place.key == key {
                chosen = way;
                break;
            }
            let rank =
                if place.used == 0 { (0, 0) } else { (place.value.worth(now_s), place.used) };
            if rank < least {
                least = rank;
                chosen = way;
            }
        }
        let Some(place) = ways.get_mut(chosen) else { return body(&mut fallback) };
        if place.used == 0 || place.key != key {
            *place = Place { key, used: 0, value: V::default() };
        }
        place.used = now_s.saturating_add(1);
        body(&mut place.value)
    }

    /// What is known of a key.
    pub fn get(&self, key: u128) -> Option<V> {
        let (shard, set) = self.place_of(key);
        let places = self.shards.get(shard)?.lock();
        let ways = places.get(set..set + WAYS)?;
        ways.iter()
            .find(|place| place.used != 0 && place.key == key)
            .map(|place| place.value.clone())
    }

    /// Every entry, shard by shard.
    pub fn for_each(&self, mut f: impl FnMut(u128, &mut V)) {
        for shard in &self.shards {
            for place in shard.lock().iter_mut().filter(|place| place.used != 0) {
                f(place.key, &mut place.value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Default)]
    struct Marked(bool);

    impl Entry for Marked {
        fn worth(&self, _: u32) -> u32 {
            u32::from(self.0)
        }
    }

    /// Wrong: a flood grows the table, or drives out what matters.
    #[test]
    fn a_flood_of_keys_is_bounded_and_spares_what_is_worth_more() {
        let table = Table::<Marked>::default();
        let marked = 500_u128;
        for key in 0..marked {
            table.with(key << 64, 1, |value| value.0 = true);
        }
        // Ten million distinct addresses; fewer where nothing is optimized.
        let flood = if cfg!(debug_assertions) { 100_000 } else { 10_000_000_u128 };
        for key in 0..flood {
            table.with(key << 64 | 1, 2, |_| ());
        }
        let mut entries = 0;
        table.for_each(|_, _| entries += 1);
        assert!(entries <= SHARDS * SETS * WAYS);
        let kept = (0..marked).filter(|key| table.get(key << 64).is_some_and(|v| v.0)).count();
        assert_eq!(kept as u128, marked);
        assert!(table.shards.iter().all(|shard| shard.lock().capacity() <= SETS * WAYS));
    }

    #[test]
    fn an_entry_is_found_again() {
        let table = Table::<Bucket>::default();
        table.with(7, 1, |bucket| bucket.0 = 9);
        assert_eq!(table.with(7, 2, |bucket| bucket.0), 9);
        assert!(table.get(8).is_none());
    }
}
