//! Slots with generations: a key that outlived its slot finds nothing.

/// Index and generation in one word. The generation is never 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Key(pub u64);

impl Key {
    /// Place of the slot.
    pub fn index(self) -> usize {
        (self.0 & 0xFFFF_FFFF) as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// The highest bits of a key are the user's to mark it with: generations stay below.
const GENERATION_MAX: u32 = 0x0FFF_FFFF;

enum Slot<T> {
    Free { next: u32 },
    Used(T),
}

/// Slots in chunks, so that growing never moves or doubles what is there.
pub struct Slab<T> {
    chunks: Vec<Vec<(u32, Slot<T>)>>,
    free: u32,
    len: usize,
}

const CHUNK: usize = 128;
const NONE: u32 = u32::MAX;

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { chunks: Vec::new(), free: NONE, len: 0 }
    }
}

impl<T> Slab<T> {
    /// How many slots are used.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn slot(&self, index: usize) -> Option<&(u32, Slot<T>)> {
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)
    }

    fn slot_mut(&mut self, index: usize) -> Option<&mut (u32, Slot<T>)> {
        self.chunks.get_mut(index / CHUNK)?.get_mut(index % CHUNK)
    }

    /// Puts a value into a free slot.
    pub fn insert(&mut self, value: T) -> Key {
        self.len += 1;
        if self.free != NONE {
            let index = self.free as usize;
            if let Some((generation, slot)) = self.slot_mut(index) {
                let generation = *generation;
                if let Slot::Free { next } = *slot {
                    *slot = Slot::Used(value);
                    self.free = next;
                    return Key(u64::from(generation) << 32 | index as u64);
                }
            }
            unreachable!("the free list names a used slot");
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let last = self.chunks.len() - 1;
        let chunk = &mut self.chunks[last];
        chunk.push((1, Slot::Used(value)));
        let index = last * CHUNK + chunk.len() - 1;
        Key(1 << 32 | index as u64)
    }

    /// Where the value of a key stands, if it does: what to prefetch. Reads nothing of it.
    pub fn place(&self, key: Key) -> Option<&impl Sized> {
        self.slot(key.index())
    }

    /// The value of a key, if it is still there.
    pub fn get(&self, key: Key) -> Option<&T> {
        match self.slot(key.index())? {
            (generation, Slot::Used(value)) if *generation == key.generation() => Some(value),
            _ => None,
        }
    }

    /// The value of a key, if it is still there.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.slot_mut(key.index())? {
            (generation, Slot::Used(value)) if *generation == key.generation() => Some(value),
            _ => None,
        }
    }

    /// Takes a value out; its key finds nothing from now on.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let free = self.free;
        let (generation, slot) = self.slot_mut(key.index())?;
        if *generation != key.generation() || matches!(slot, Slot::Free { .. }) {
            return None;
        }
        *generation = if *generation >= GENERATION_MAX { 1 } else { *generation + 1 };
        let old = std::mem::replace(slot, Slot::Free { next: free });
        self.free = key.index() as u32;
        self.len -= 1;
        match old {
            Slot::Used(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }

    /// The keys of all used slots.
    pub fn keys(&self) -> Vec<Key> {
        let mut keys = Vec::with_capacity(self.len);
        for (place, chunk) in self.chunks.iter().enumerate() {
            for (offset, (generation, slot)) in chunk.iter().enumerate() {
                if matches!(slot, Slot::Used(_)) {
                    let index = (place * CHUNK + offset) as u64;
                    keys.push(Key(u64::from(*generation) << 32 | index));
                }
            }
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_keys_find_nothing_and_slots_are_reused() {
        let mut slab = Slab::default();
        let keys: Vec<_> = (0..1_000).map(|n| slab.insert(n)).collect();
        assert_eq!(slab.len(), 1_000);
        for key in keys.iter().step_by(3) {
            assert!(slab.remove(*key).is_some());
            assert_eq!(slab.remove(*key), None);
        }
        let again = slab.insert(7);
        assert_ne!(Some(&again), keys.iter().rev().step_by(3).next());
        for (n, key) in keys.iter().enumerate() {
            let want = if n % 3 == 0 { None } else { Some(&n) };
            assert_eq!(slab.get(*key), want);
        }
        assert_eq!(slab.get(again), Some(&7));
        assert_eq!(slab.keys().len(), slab.len());
    }
}
