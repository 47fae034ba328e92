//! What the tests of this module share: a seeded generator, mutations, and every way to cut.
#![forbid(unsafe_code)]

/// A small generator (xorshift); the same seed gives the same numbers everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 11) as usize % bound
    }
}

/// Changes `bytes` in one to four places: flips, inserts, removes, repeats, or moves in a piece of
/// `dictionary`.
pub(crate) fn mutate(random: &mut Random, bytes: &[u8], dictionary: &[&[u8]]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..1 + random.below(4) {
        let at = random.below(out.len() + 1);
        match random.below(6) {
            0 if at < out.len() => out[at] ^= 1 << random.below(8),
            1 if at < out.len() => out[at] = random.next() as u8,
            2 => out.insert(at, random.next() as u8),
            3 if at < out.len() => {
                let end = (at + 1 + random.below(8)).min(out.len());
                out.drain(at..end);
            }
            4 if at < out.len() => {
                let end = (at + 1 + random.below(16)).min(out.len());
                let piece = out[at..end].to_vec();
                out.splice(at..at, piece);
            }
            _ => {
                let piece = dictionary[random.below(dictionary.len())];
                let end = if random.below(2) == 0 { at } else { (at + piece.len()).min(out.len()) };
                out.splice(at..end, piece.iter().copied());
            }
        }
    }
    out
}

/// Cuts of `length` bytes into reads: whole, byte by byte, and at every single place.
pub(crate) fn cuts(length: usize) -> impl Iterator<Item = Vec<usize>> {
    let bytewise = (1..=length).collect();
    let single = (0..length).map(move |at| vec![at, length]);
    [vec![length], bytewise].into_iter().chain(single)
}
