//! Where in a text a literal may begin.
//!
//! A table of all pairs of bytes says of each at which place of a literal it may stand: as its first
//! two bytes, as the second and third, as the third and fourth. A literal may begin where three pairs
//! in a row say so; nearly every place of a text is passed over by that. Where they do, the hash of
//! the four bytes, and the one behind them, tell most of the rest. So the automaton of all literals
//! stays small and is asked seldom.

const PAIRS: usize = 1 << 16;
const WORDS: usize = 1024;

/// Places that are looked at together: as many as eight bytes hold whole.
const STEP: usize = 5;

/// What a pair may be, for each of three rows of bits: at the beginning of a literal, one byte behind
/// it, two bytes behind it.
const SECOND: u16 = 4;
const THIRD: u16 = 8;
/// In each row: of literals of four bytes and more, of three, of two. Who is too short for a row goes
/// through.
const LONG: u16 = 1;
const THREE: u16 = 2;
const TWO: u16 = 4;
const ALL: u16 = LONG | THREE | TWO;

/// How literals begin.
pub struct Gate {
    pairs: Box<[u16; PAIRS]>,
    /// One bit for each hash of the first four bytes of a long one.
    quads: Box<[u64; WORDS]>,
    /// Which fifth bytes follow those four, by the same hash: a bit for each of eight classes.
    fifths: Box<[u8; PAIRS]>,
}

impl Gate {
    /// The gate of these literals, each of two bytes or more.
    pub fn of(literals: &[String]) -> Gate {
        let mut pairs = Box::new([TWO << SECOND | (TWO | THREE) << THIRD; PAIRS]);
        let mut quads = Box::new([0; WORDS]);
        let mut fifths = Box::new([0; PAIRS]);
        for literal in literals {
            match *literal.as_bytes() {
                [a, b, c, d, ref rest @ ..] => {
                    pairs[pair(a, b)] |= LONG;
                    pairs[pair(b, c)] |= LONG << SECOND;
                    pairs[pair(c, d)] |= LONG << THIRD;
                    let place = hash([a, b, c, d]);
                    quads[place / 64 % WORDS] |= 1 << (place % 64);
                    fifths[place % PAIRS] |= rest.first().map_or(u8::MAX, |&fifth| class(fifth));
                }
                [a, b, c] => {
                    pairs[pair(a, b)] |= THREE;
                    pairs[pair(b, c)] |= THREE << SECOND;
                }
                [a, b] => pairs[pair(a, b)] |= TWO,
                _ => {}
            }
        }
        Gate { pairs, quads, fifths }
    }

    /// The next place at or behind `from` where a literal may begin.
    #[inline]
    pub fn next(&self, text: &[u8], from: usize) -> Option<usize> {
        let mut from = from;
        while let Some(eight) = text.get(from..).and_then(|rest| rest.first_chunk::<8>()) {
            if let Some(at) = self.first::<STEP>(u64::from_le_bytes(*eight)) {
                if self.goes_on(text, from + at) {
                    return Some(from + at);
                }
                from += at + 1;
                continue;
            }
            from += STEP;
        }
        // Behind the end there are zeros: of literals with those the automaton knows better.
        let rest = text.get(from..).filter(|rest| rest.len() >= 2)?;
        let mut eight = [0; 8];
        eight.get_mut(..rest.len())?.copy_from_slice(rest);
        let at = self.first::<{ STEP + 1 }>(u64::from_le_bytes(eight))?;
        (at + 2 <= rest.len()).then_some(from + at)
    }

    /// The first of the places in eight bytes where a literal may begin.
    #[inline(always)]
    fn first<const PLACES: usize>(&self, word: u64) -> Option<usize> {
        let look = |at: usize| self.pairs[usize::from((word >> (8 * at)) as u16)];
        let looks: [u16; 8] = std::array::from_fn(look);
        let begins: [u16; PLACES] = std::array::from_fn(|at| {
            looks[at] & looks[at + 1] >> SECOND & looks[at + 2] >> THIRD & ALL
        });
        if begins.iter().fold(0, |all, one| all | one) == 0 {
            return None;
        }
        begins.iter().enumerate().find_map(|(at, begin)| {
            // A short one, or a long one whose first four bytes are known.
            let four = (word >> (8 * at)) as u32;
            (begin & !LONG != 0 || *begin != 0 && self.has_quad(four)).then_some(at)
        })
    }

    /// Whether the fifth byte at a place is one of a long literal, or a short one may begin there.
    fn goes_on(&self, text: &[u8], from: usize) -> bool {
        let Some(&[a, b, c, d, fifth]) = text.get(from..).and_then(|rest| rest.first_chunk())
        else {
            return true;
        };
        let first = self.pairs[pair(a, b)];
        first & TWO != 0
            || first & (self.pairs[pair(b, c)] >> SECOND) & THREE != 0
            || self.fifths[hash([a, b, c, d]) % PAIRS] & class(fifth) != 0
    }

    fn has_quad(&self, four: u32) -> bool {
        let place = hash(four.to_le_bytes());
        self.quads[place / 64 % WORDS] >> (place % 64) & 1 == 1
    }
}

#[inline(always)]
fn hash(bytes: [u8; 4]) -> usize {
    (u32::from_le_bytes(bytes).wrapping_mul(0x85eb_ca6b) >> 16) as usize
}

/// One of eight bits.
fn class(byte: u8) -> u8 {
    1 << (byte.wrapping_mul(0x9d) >> 5)
}

#[inline(always)]
fn pair(a: u8, b: u8) -> usize {
    usize::from(u16::from_le_bytes([a, b]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wrong: a literal that the gate passes over, wherever it stands.
    #[test]
    fn every_literal_is_let_through() {
        let literals = ["or", "--", "abc", "a(b", "union select", "<scr"].map(str::to_owned);
        let gate = Gate::of(&literals);
        for literal in &literals {
            for before in ["", "x", "xx", "union", "orabc"] {
                for behind in ["", "y", "yy", "yyyyyy", "yyyyyyyyyyyy"] {
                    let text = format!("{before}{literal}{behind}");
                    let mut from = 0;
                    let mut is_found = false;
                    while let Some(at) = gate.next(text.as_bytes(), from) {
                        is_found |= at == before.len();
                        from = at + 1;
                    }
                    assert!(is_found, "{literal} in {text}");
                }
            }
        }
        let mut places = 0;
        let text = "the quick brown fox jumps".repeat(100);
        let mut from = 0;
        while let Some(at) = gate.next(text.as_bytes(), from) {
            (places, from) = (places + 1, at + 1);
        }
        assert!(places < 50, "{places}");
    }
}
