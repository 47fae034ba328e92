//! Where in a text a literal may begin.
//!
//! One bit for each hash of three bytes that a literal begins with: nearly every place of a text is
//! passed over by a look at it. Where it is set, the hash of four bytes tells most of the rest. So the
//! automaton of all literals stays small and is asked seldom.

const WORDS: usize = 1024;
type Bits = Box<[u64; WORDS]>;

/// How literals begin.
pub struct Gate {
    /// By three bytes; a literal of two stands under all third ones.
    triples: Bits,
    /// By three bytes, of literals that are no longer: the automaton is asked at once.
    short: Bits,
    /// By four bytes, of longer literals.
    quads: Bits,
}

impl Gate {
    /// The gate of these literals, each of two bytes or more.
    pub fn of(literals: &[String]) -> Gate {
        let empty = || Box::new([0; WORDS]);
        let mut gate = Gate { triples: empty(), short: empty(), quads: empty() };
        for literal in literals {
            match *literal.as_bytes() {
                [a, b, c, d, ..] => {
                    set(&mut gate.triples, hash([a, b, c, 0]));
                    set(&mut gate.quads, hash([a, b, c, d]));
                }
                [a, b, c] => {
                    set(&mut gate.triples, hash([a, b, c, 0]));
                    set(&mut gate.short, hash([a, b, c, 0]));
                }
                [a, b] => {
                    for c in 0..=255 {
                        set(&mut gate.triples, hash([a, b, c, 0]));
                        set(&mut gate.short, hash([a, b, c, 0]));
                    }
                }
                _ => {}
            }
        }
        gate
    }

    /// The next place at or behind `from` where a literal may begin.
    #[inline]
    pub fn next(&self, text: &[u8], from: usize) -> Option<usize> {
        let mut from = from;
        loop {
            let rest = text.get(from..)?;
            let (&[a, b], behind) = rest.split_first_chunk::<2>()?;
            let mut word = u32::from_le_bytes([0, a, b, 0]);
            let found = behind.iter().position(|&byte| {
                word = word >> 8 | u32::from(byte) << 16;
                is_set(&self.triples, hash_word(word))
            });
            let Some(at) = found else {
                // The last two bytes may be a literal.
                let last = from.max(text.len().saturating_sub(2));
                return (last + 2 == text.len()).then_some(last);
            };
            from += at;
            match text.get(from..).and_then(|rest| rest.first_chunk::<4>()) {
                Some(&quad) => {
                    let triple = hash([quad[0], quad[1], quad[2], 0]);
                    if is_set(&self.quads, hash(quad)) || is_set(&self.short, triple) {
                        return Some(from);
                    }
                }
                None => return Some(from),
            }
            from += 1;
        }
    }
}

#[inline(always)]
fn hash(bytes: [u8; 4]) -> usize {
    hash_word(u32::from_le_bytes(bytes))
}

#[inline(always)]
fn hash_word(word: u32) -> usize {
    (word.wrapping_mul(0x9e37_79b1) >> 16) as usize
}

#[inline(always)]
fn is_set(bits: &Bits, place: usize) -> bool {
    bits[place / 64 % WORDS] >> (place % 64) & 1 == 1
}

fn set(bits: &mut Bits, place: usize) {
    bits[place / 64 % WORDS] |= 1 << (place % 64);
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
                for behind in ["", "y", "yy", "yyyyyy"] {
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
