//! What a worker keeps for reuse, so that a warm server asks the allocator for nothing.

/// Things kept for reuse, bounded by the memory they hold together. What was put by last is taken
/// first: it is the likeliest to be in the processor's cache.
pub(super) struct Reserve<T> {
    kept: Vec<(T, usize)>,
    bytes: usize,
    bytes_max: usize,
}

impl<T> Reserve<T> {
    /// An empty one that never holds more than this many bytes.
    pub(super) fn new(bytes_max: usize) -> Reserve<T> {
        Reserve { kept: Vec::new(), bytes: 0, bytes_max }
    }

    /// What was put by last, if there is anything.
    pub(super) fn take(&mut self) -> Option<T> {
        let (thing, bytes) = self.kept.pop()?;
        self.bytes -= bytes;
        Some(thing)
    }

    /// Puts something by, with the bytes that it holds. What finds no room is dropped.
    pub(super) fn put(&mut self, thing: T, bytes: usize) {
        let bytes = bytes + size_of::<(T, usize)>();
        if self.bytes + bytes <= self.bytes_max {
            self.bytes += bytes;
            self.kept.push((thing, bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reserve without a bound would keep what a burst needed for ever.
    #[test]
    fn holds_no_more_than_its_bytes() {
        let overhead = size_of::<(Vec<u8>, usize)>();
        let mut reserve = Reserve::new(3 * (100 + overhead));
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
}
