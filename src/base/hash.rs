//! A hash for tables whose keys are the operator's or the host program's.
#![forbid(unsafe_code)]

use std::hash::{BuildHasherDefault, Hasher};

/// What such a table is made with: paths of routes, names of models. Their keys never come from a
/// peer, so no peer can make them collide.
pub type NameHash = BuildHasherDefault<NameHasher>;

/// Takes eight bytes a step.
#[derive(Default, Clone)]
pub struct NameHasher(u64);

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut state = self.0 ^ bytes.len() as u64;
        let mut step = |word: u64| state = (state.rotate_left(5) ^ word).wrapping_mul(FACTOR);
        let (words, tail) = bytes.as_chunks::<8>();
        for word in words {
            step(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..tail.len()].copy_from_slice(tail);
        step(u64::from_le_bytes(last));
        self.0 = state ^ (state >> 32);
    }

    fn write_u8(&mut self, byte: u8) {
        self.0 = self.0.rotate_left(5) ^ u64::from(byte);
    }

    fn finish(&self) -> u64 {
        self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}
