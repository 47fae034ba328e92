//! What a worker keeps for reuse, so that a warm server asks the allocator for nothing.

/// Things kept for reuse, bounded by the memory they hold together. What was put by last is taken
/// first: it is the likeliest to be in the processor's cache.
pub(super) struct Reserve<T> {
    kept: Vec<(T, usize)>,
    bytes: usize,
    /// What is kept however long nobody asks for it.
    bytes_min: usize,
    bytes_max: usize,
    /// Nothing is kept beyond `bytes_min` now.
    keeps_little: bool,
    /// The fewest that were kept since the last trim: these nobody has needed.
    fewest: usize,
}

impl<T> Reserve<T> {
    /// An empty one that never holds more than `bytes_max`, and that [`Reserve::trim`] brings down
    /// to `bytes_min`.
    pub(super) fn new(bytes_min: usize, bytes_max: usize) -> Reserve<T> {
        Reserve { kept: Vec::new(), bytes: 0, bytes_min, bytes_max, keeps_little: false, fewest: 0 }
    }

    /// What was put by last, if there is anything.
    pub(super) fn take(&mut self) -> Option<T> {
        let (thing, bytes) = self.kept.pop()?;
        self.bytes -= bytes;
        self.fewest = self.fewest.min(self.kept.len());
        Some(thing)
    }

    /// Puts something by, with the bytes that it holds. What finds no room is dropped.
    pub(super) fn put(&mut self, thing: T, bytes: usize) {
        let bytes = bytes + size_of::<(T, usize)>();
        let bytes_max = if self.keeps_little { self.bytes_min } else { self.bytes_max };
        if self.bytes + bytes <= bytes_max {
            self.bytes += bytes;
            self.kept.push((thing, bytes));
        }
    }

    /// Whether there is more than is kept for ever.
    #[inline]
    pub(super) fn is_large(&self) -> bool {
        self.bytes > self.bytes_min
    }

    /// Drops what nobody has needed since the last time, the longest kept first, as far as that is
    /// more than is kept for ever. Returns the bytes.
    pub(super) fn trim(&mut self) -> usize {
        let before = self.bytes;
        let mut count = 0;
        for (_, bytes) in self.kept.iter().take(self.fewest) {
            if self.bytes <= self.bytes_min {
                break;
            }
            self.bytes -= bytes;
            count += 1;
        }
        self.kept.drain(..count);
        self.fewest = self.kept.len();
        before - self.bytes
    }

    /// Whether it keeps no more than its `bytes_min` from now on. Returns the bytes that it has
    /// dropped, the longest kept first.
    pub(super) fn bound(&mut self, keeps_little: bool) -> usize {
        self.keeps_little = keeps_little;
        if !keeps_little {
            return 0;
        }
        self.fewest = self.kept.len();
        self.trim()
    }

    /// Drops all of it.
    pub(super) fn clear(&mut self) {
        self.kept = Vec::new();
        self.bytes = 0;
        self.fewest = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERHEAD: usize = size_of::<(Vec<u8>, usize)>();

    /// A reserve without a bound would keep what a burst needed for ever.
    #[test]
    fn holds_no_more_than_its_bytes() {
        let mut reserve = Reserve::new(0, 3 * (100 + OVERHEAD));
        for place in 0..5_u8 {
            reserve.put(vec![place; 100], 100);
        }
        reserve.put(Vec::new(), 0);
        assert_eq!(reserve.take().map(|thing| thing[0]), Some(2));
        reserve.put(vec![9; 200], 200);
        assert_eq!(reserve.take().map(|thing| thing[0]), Some(1));
        assert_eq!(reserve.take().map(|thing| thing[0]), Some(0));
        assert_eq!(reserve.take(), None);
        reserve.put(vec![7; 200], 200);
        assert_eq!(reserve.take().map(|thing| thing.len()), Some(200));
    }

    /// While memory is short it would keep what a burst needed, or nothing ever after.
    #[test]
    fn keeps_little_while_it_is_told_to() {
        let one = 100 + OVERHEAD;
        let mut reserve = Reserve::new(2 * one, 100 * one);
        let fill = |reserve: &mut Reserve<Vec<u8>>| {
            (0..10_u8).for_each(|place| reserve.put(vec![place; 100], 100));
        };
        fill(&mut reserve);
        assert_eq!(reserve.bound(true), 8 * one);
        fill(&mut reserve);
        assert!(!reserve.is_large());
        assert_eq!(reserve.bound(true), 0);
        assert_eq!(reserve.bound(false), 0);
        fill(&mut reserve);
        assert_eq!(reserve.kept.len(), 12);
    }

    /// What a burst has left goes, what every moment needs stays.
    #[test]
    fn trims_what_nobody_has_needed() {
        let one = 100 + OVERHEAD;
        let mut reserve = Reserve::new(2 * one, 100 * one);
        for place in 0..10_u8 {
            reserve.put(vec![place; 100], 100);
        }
        assert!(reserve.is_large());
        assert_eq!(reserve.trim(), 0, "they came since the last time");
        // Four are in use at once.
        let lent: Vec<_> = (0..4).filter_map(|_| reserve.take()).collect();
        lent.into_iter().for_each(|thing| reserve.put(thing, 100));
        assert_eq!(reserve.trim(), 6 * one);
        assert_eq!(reserve.trim(), 2 * one, "down to what is kept for ever");
        assert_eq!(reserve.trim(), 0);
        assert!(!reserve.is_large());
        assert_eq!(reserve.take().map(|thing| thing[0]), Some(6), "the last lent is the first");
        reserve.clear();
        assert_eq!(reserve.take(), None);
        assert_eq!(reserve.trim(), 0);
    }
}
