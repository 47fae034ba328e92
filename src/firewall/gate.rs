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
    /// Literals of two bytes, one bit for each pair.
    pairs: Bits,
    /// Literals of three, by another hash, so that what deceives the first deceives not this one.
    short: Bits,
    /// Longer ones by four bytes, by that hash.
    quads: Bits,
}

impl Gate {
    /// The gate of these literals, each of two bytes or more.
    pub fn of(literals: &[String]) -> Gate {
        let empty = || Box::new([0; WORDS]);
        let mut gate = Gate { triples: empty(), pairs: empty(), short: empty(), quads: empty() };
        for literal in literals {
            match *literal.as_bytes() {
                [a, b, c, d, ..] => {
                    set(&mut gate.triples, hash([a, b, c, 0]));
                    set(&mut gate.quads, second_hash([a, b, c, d]));
                }
                [a, b, c] => {
                    set(&mut gate.triples, hash([a, b, c, 0]));
                    set(&mut gate.short, second_hash([a, b, c, 0]));
                }
                [a, b] => {
                    set(&mut gate.pairs, pair(a, b));
                    for c in 0..=255 {
                        set(&mut gate.triples, hash([a, b, c, 0]));
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
            // Four bytes at each place, read anew: no place waits for the one before it.
            let found = rest.windows(4).position(
                |four| matches!(*four, [a, b, c, _] if is_set(&self.triples, hash([a, b, c, 0]))),
            );
            let Some(at) = found else {
                // The last three bytes are the automaton's to judge.
                let last = from.max(text.len().saturating_sub(3));
                return (last + 2 <= text.len()).then_some(last);
            };
            from += at;
            if let Some(&[a, b, c, d]) = rest.get(at..).and_then(|rest| rest.first_chunk())
                && (is_set(&self.quads, second_hash([a, b, c, d]))
                    || is_set(&self.pairs, pair(a, b))
                    || is_set(&self.short, second_hash([a, b, c, 0])))
            {
                return Some(from);
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
fn second_hash(bytes: [u8; 4]) -> usize {
    (u32::from_le_bytes(bytes).wrapping_mul(0x85eb_ca6b) >> 16) as usize
}

#[inline(always)]
fn pair(a: u8, b: u8) -> usize {
    usize::from(u16::from_le_bytes([a, b]))
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
