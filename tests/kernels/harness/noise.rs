//! Random input that a failure can be repeated with.

/// A seeded generator (xorshift64*; Vigna, "An experimental exploration of Marsaglia's xorshift
/// generators, scrambled").
pub struct Noise {
    seed: u64,
    state: u64,
}

impl Noise {
    /// From `NEUROHTTP_TEST_SEED`, else from a fixed seed: a test run is the same everywhere.
    pub fn new() -> Noise {
        let seed = std::env::var("NEUROHTTP_TEST_SEED")
            .map_or(0x6e65_7572_6f68_7474, |text| text.parse().expect("a decimal seed"));
        Noise { seed, state: seed | 1 }
    }

    /// For failure messages.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    pub fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = (self.next() >> 56) as u8;
        }
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes);
        bytes
    }
}
