//! Ranges of version 4 laid out flat, for sets of very many.
//!
//! A trie of 100,000 ranges is chased through memory that no cache holds. Here the ranges are cut to
//! intervals that follow each other, each with the narrowest range that holds it; a table by the upper
//! 16 bits of an address leads to the few intervals that come into question.

use super::address::Note;
use std::sync::Arc;

/// The address bits above those of version 4: ::ffff:0:0/96.
const ABOVE: u128 = 0xffff;
/// Length of the prefix above them.
const PREFIX: u8 = 96;
/// No range.
const NONE: u32 = u32::MAX;

/// The ranges of a set at one time.
pub struct Index {
    /// Where intervals begin, ascending; the first at 0.
    starts: Box<[u32]>,
    /// For each its range, or [`NONE`].
    owners: Box<[u32]>,
    /// For each value of the upper 16 bits the interval in which it begins.
    table: Box<[u32]>,
    ranges: Box<[(u8, Arc<Note>)]>,
}

impl Index {
    /// Lays out ranges in the order of a trie: by address, the wider first. None when one of them
    /// ends, or is not of version 4.
    pub fn of(ranges: impl Iterator<Item = (u128, u8, Arc<Note>)>) -> Option<Index> {
        let mut index = Layout::default();
        for (number, (bits, length, note)) in (0_u32..).zip(ranges) {
            if note.until.is_some() || length < PREFIX || bits >> 32 != ABOVE {
                return None;
            }
            let start = bits as u32;
            let last = start | u32::MAX.checked_shr(u32::from(length - PREFIX)).unwrap_or(0);
            index.close_before(u64::from(start));
            index.mark(u64::from(start), number);
            index.open.push((u64::from(last), number));
            index.ranges.push((length, note));
        }
        index.close_before(1 << 32);
        Some(index.finish())
    }

    /// The narrowest range that holds the address, with its length; `Err` for an address that is
    /// not of version 4.
    pub fn find(&self, address: u128) -> Result<Option<(u8, &Arc<Note>)>, ()> {
        if address >> 32 != ABOVE {
            return Err(());
        }
        let address = address as u32;
        let upper = (address >> 16) as usize;
        let from = self.table.get(upper).map_or(0, |&at| at as usize);
        let to = self.table.get(upper + 1).map_or(self.starts.len(), |&at| at as usize + 1);
        let near = self.starts.get(from..to.max(from)).unwrap_or_default();
        let at = from + near.partition_point(|&start| start <= address);
        let owner = at.checked_sub(1).and_then(|at| self.owners.get(at)).copied();
        let range = owner.and_then(|owner| self.ranges.get(owner as usize));
        Ok(range.map(|(length, note)| (*length, note)))
    }
}

#[derive(Default)]
struct Layout {
    starts: Vec<u32>,
    owners: Vec<u32>,
    ranges: Vec<(u8, Arc<Note>)>,
    /// Ranges around the place reached, the narrowest last: their last address and number.
    open: Vec<(u64, u32)>,
}

impl Layout {
    fn close_before(&mut self, place: u64) {
        while let Some(&(last, _)) = self.open.last().filter(|(last, _)| *last < place) {
            self.open.pop();
            let around = self.open.last().map_or(NONE, |&(_, number)| number);
            self.mark(last + 1, around);
        }
    }

    fn mark(&mut self, place: u64, owner: u32) {
        // Behind the last address nothing begins.
        let Ok(place) = u32::try_from(place) else { return };
        if self.starts.last() == Some(&place) {
            if let Some(last) = self.owners.last_mut() {
                *last = owner;
            }
            return;
        }
        self.starts.push(place);
        self.owners.push(owner);
    }

    fn finish(mut self) -> Index {
        if self.starts.first() != Some(&0) {
            self.starts.insert(0, 0);
            self.owners.insert(0, NONE);
        }
        let mut table = Vec::with_capacity(1 << 16);
        let mut at = 0;
        for upper in 0..1_u32 << 16 {
            while self.starts.get(at + 1).is_some_and(|&start| start <= upper << 16) {
                at += 1;
            }
            table.push(at as u32);
        }
        Index {
            starts: self.starts.into(),
            owners: self.owners.into(),
            table: table.into(),
            ranges: self.ranges.into(),
        }
    }
}
