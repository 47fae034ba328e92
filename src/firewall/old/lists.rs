//! Lists of addresses, as text, each entry for a time or for good.

use std::collections::HashMap;

/// Entries a list takes.
const ENTRIES_MAX: usize = 1 << 20;

/// What the deny list knows of an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Denied {
    /// A number of the caller's.
    pub reason: i32,
    /// Free text of the caller's.
    pub description: Vec<u8>,
    /// When it was added, in Unix seconds.
    pub added: i64,
}

struct Entry<T> {
    order: u64,
    until: Option<i64>,
    note: T,
}

/// Addresses with a note each.
pub struct AddressList<T> {
    entries: HashMap<Box<[u8]>, Entry<T>>,
    added: u64,
}

impl<T> Default for AddressList<T> {
    fn default() -> Self {
        AddressList { entries: HashMap::new(), added: 0 }
    }
}

impl<T> AddressList<T> {
    /// Adds an address, for good or until a Unix second (inclusive). One that is there stays as it is.
    /// `false` when the list is full.
    pub fn add(&mut self, address: &[u8], note: T, until: Option<i64>) -> bool {
        if self.entries.contains_key(address) {
            return true;
        }
        if self.entries.len() >= ENTRIES_MAX {
            return false;
        }
        self.added += 1;
        self.entries.insert(address.into(), Entry { order: self.added, until, note });
        true
    }

    /// Removes an address; whether it was there.
    pub fn remove(&mut self, address: &[u8]) -> bool {
        self.entries.remove(address).is_some()
    }

    /// Whether the address is on the list at this time; an entry whose time is over is dropped.
    pub fn contains(&mut self, address: &[u8], now: i64) -> bool {
        match self.entries.get(address) {
            Some(entry) if entry.until.is_none_or(|until| now <= until) => true,
            Some(_) => {
                self.entries.remove(address);
                false
            }
            None => false,
        }
    }

    /// Drops the entries whose time is over and lists the others in order of addition: address, last
    /// second, note.
    pub fn entries(&mut self, now: i64) -> Vec<(&[u8], Option<i64>, &T)> {
        self.entries.retain(|_, entry| entry.until.is_none_or(|until| now <= until));
        let mut all: Vec<_> = self.entries.iter().collect();
        all.sort_unstable_by_key(|(_, entry)| entry.order);
        all.into_iter().map(|(address, entry)| (&**address, entry.until, &entry.note)).collect()
    }

    /// Entries that are in force.
    pub fn count(&mut self, now: i64) -> usize {
        self.entries.retain(|_, entry| entry.until.is_none_or(|until| now <= until));
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stand_in_order_and_leave_in_time() {
        let mut list = AddressList::default();
        assert!(list.add(b"b", 1, None));
        assert!(list.add(b"a", 2, Some(10)));
        assert!(list.add(b"b", 3, Some(1)));
        let names: Vec<_> =
            list.entries(10).into_iter().map(|(a, u, n)| (a.to_vec(), u, *n)).collect();
        assert_eq!(names, [(b"b".to_vec(), None, 1), (b"a".to_vec(), Some(10), 2)]);
        assert!(!list.contains(b"a", 11));
        assert_eq!(list.count(11), 1);
        assert!(list.remove(b"b"));
        assert!(!list.remove(b"b"));
    }
}
