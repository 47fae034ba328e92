//! A map that remembers the order of use, for tables that must stay bounded under a flood.
//!
//! Entries stand in a vector of slots; two links per slot make a list from the latest used to the
//! one used longest ago, so every operation is constant time and nothing is allocated per use. The
//! map itself has no bound: its owner decides when to call [`LruMap::pop_oldest`].

use std::collections::HashMap;
use std::sync::Arc;

/// No slot.
const NONE: usize = usize::MAX;

struct Slot<V> {
    key: Arc<[u8]>,
    value: V,
    newer: usize,
    older: usize,
}

/// Byte-string keys to values, in order of use.
pub struct LruMap<V> {
    slots: Vec<Option<Slot<V>>>,
    vacant: Vec<usize>,
    index: HashMap<Arc<[u8]>, usize>,
    newest: usize,
    oldest: usize,
}

impl<V> Default for LruMap<V> {
    fn default() -> Self {
        LruMap::new()
    }
}

impl<V> LruMap<V> {
    /// An empty map.
    pub fn new() -> LruMap<V> {
        LruMap {
            slots: Vec::new(),
            vacant: Vec::new(),
            index: HashMap::new(),
            newest: NONE,
            oldest: NONE,
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The value, without counting as a use.
    pub fn peek(&self, key: &[u8]) -> Option<&V> {
        let at = *self.index.get(key)?;
        self.slots.get(at)?.as_ref().map(|slot| &slot.value)
    }

    /// The value; its entry becomes the latest used.
    pub fn get_mut(&mut self, key: &[u8]) -> Option<&mut V> {
        let at = *self.index.get(key)?;
        self.unlink(at);
        self.link_newest(at);
        self.slots.get_mut(at)?.as_mut().map(|slot| &mut slot.value)
    }

    /// The value, made first when the key is new; its entry becomes the latest used.
    pub fn get_or_insert_with(&mut self, key: &[u8], make: impl FnOnce() -> V) -> &mut V {
        let at = match self.index.get(key) {
            Some(&at) => {
                self.unlink(at);
                at
            }
            None => self.occupy(key, make()),
        };
        self.link_newest(at);
        match &mut self.slots[at] {
            Some(slot) => &mut slot.value,
            None => unreachable!("the index names occupied slots only"),
        }
    }

    /// Sets a value as the latest used; returns the one it replaces.
    pub fn insert(&mut self, key: &[u8], value: V) -> Option<V> {
        if let Some(present) = self.get_mut(key) {
            return Some(std::mem::replace(present, value));
        }
        let at = self.occupy(key, value);
        self.link_newest(at);
        None
    }

    /// Puts a new key into a slot that no list names yet.
    fn occupy(&mut self, key: &[u8], value: V) -> usize {
        let key: Arc<[u8]> = Arc::from(key);
        let slot = Slot { key: Arc::clone(&key), value, newer: NONE, older: NONE };
        let at = match self.vacant.pop() {
            Some(at) => {
                self.slots[at] = Some(slot);
                at
            }
            None => {
                self.slots.push(Some(slot));
                self.slots.len() - 1
            }
        };
        self.index.insert(key, at);
        at
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &[u8]) -> Option<V> {
        let at = self.index.remove(key)?;
        self.unlink(at);
        self.vacant.push(at);
        self.slots.get_mut(at)?.take().map(|slot| slot.value)
    }

    /// Takes out the entry used longest ago.
    pub fn pop_oldest(&mut self) -> Option<(Arc<[u8]>, V)> {
        let key = Arc::clone(&self.slots.get(self.oldest)?.as_ref()?.key);
        let value = self.remove(&key)?;
        Some((key, value))
    }

    /// Every entry, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &V)> {
        self.slots.iter().flatten().map(|slot| (&*slot.key, &slot.value))
    }

    /// Removes everything and gives the memory back.
    pub fn clear(&mut self) {
        *self = LruMap::new();
    }

    fn slot(&mut self, at: usize) -> Option<&mut Slot<V>> {
        self.slots.get_mut(at)?.as_mut()
    }

    fn unlink(&mut self, at: usize) {
        let Some(slot) = self.slot(at) else { return };
        let (newer, older) = (slot.newer, slot.older);
        match self.slot(newer) {
            Some(neighbour) => neighbour.older = older,
            None => self.newest = older,
        }
        match self.slot(older) {
            Some(neighbour) => neighbour.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_newest(&mut self, at: usize) {
        let before = self.newest;
        if let Some(slot) = self.slot(at) {
            slot.newer = NONE;
            slot.older = before;
        }
        match self.slot(before) {
            Some(neighbour) => neighbour.newer = at,
            None => self.oldest = at,
        }
        self.newest = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_used_longest_ago_goes_first() {
        let mut map = LruMap::new();
        for name in ["a", "b", "c"] {
            map.insert(name.as_bytes(), name);
        }
        assert_eq!(map.get_mut(b"a"), Some(&mut "a"));
        assert_eq!(map.insert(b"b", "B"), Some("b"));
        let order: Vec<_> = std::iter::from_fn(|| map.pop_oldest()).map(|(_, v)| v).collect();
        assert_eq!(order, ["c", "a", "B"]);
        assert!(map.is_empty());
    }

    #[test]
    fn removing_anywhere_keeps_the_links() {
        for gone in [b"a", b"b", b"c"] {
            let mut map = LruMap::new();
            for name in [b"a", b"b", b"c"] {
                map.insert(name, *name);
            }
            assert!(map.remove(gone).is_some());
            assert!(map.remove(gone).is_none());
            map.insert(b"d", *b"d");
            let mut order = Vec::new();
            while let Some((key, _)) = map.pop_oldest() {
                order.push(key[0]);
            }
            let expected: Vec<u8> = b"abcd".iter().copied().filter(|c| *c != gone[0]).collect();
            assert_eq!(order, expected);
        }
    }

    /// Against a plain list as the reference, with a fixed sequence of operations.
    #[test]
    fn a_long_mixed_run_agrees_with_a_list() {
        let mut map = LruMap::new();
        let mut list: Vec<u8> = Vec::new();
        let mut state = 12345_u32;
        for _ in 0..20_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (key, what) = ((state >> 8) as u8 % 20, state >> 28);
            match what {
                0..=5 => {
                    map.insert(&[key], key);
                    list.retain(|k| *k != key);
                    list.push(key);
                }
                6..=10 => {
                    let hit = map.get_mut(&[key]).is_some();
                    assert_eq!(hit, list.contains(&key));
                    if hit {
                        list.retain(|k| *k != key);
                        list.push(key);
                    }
                }
                11..=13 => {
                    assert_eq!(map.remove(&[key]).is_some(), list.contains(&key));
                    list.retain(|k| *k != key);
                }
                _ => {
                    let oldest = map.pop_oldest().map(|(_, v)| v);
                    let expected = if list.is_empty() { None } else { Some(list.remove(0)) };
                    assert_eq!(oldest, expected);
                }
            }
            assert_eq!(map.len(), list.len());
        }
    }
}
