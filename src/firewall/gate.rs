//! Where in a text a literal may begin.
//!
//! A table by the hash of four bytes says whether a literal begins with them, and whether one goes on
//! with them two bytes behind its beginning. Where both are so, a literal may begin: that is one look-up
//! for each place of a text, no branch, and passes over nearly all of them. Few literals are shorter
//! than four bytes, and nearly all of those begin with a sign: they have a table by their first two
//! bytes, which is asked only where signs are. So the automaton of all literals stays small and is asked
//! seldom.

use std::ops::ControlFlow;

const HEADS: usize = 1 << 16;
const PAIRS: usize = 1 << 16;

/// Places that are looked at together: as many as a word holds bytes.
const STEP: usize = 8;
/// Places of which it is asked at once whether there are signs among them.
const CHUNK: usize = 32;
/// Bytes that the hash is of.
const HASHED: usize = 4;
/// A chunk, the places behind it at which literals go on that begin in it, and what those need.
const LOOKED_AT: usize = CHUNK + STEP + HASHED;

/// Of the fourth byte only the lowest three bits count, as the lowest byte of the factor says. So a
/// literal of three bytes, behind which any may stand, is eight entries and not 256.
const FACTOR: u32 = 0x1027_c520;
const FOURTH_BYTES: u8 = 8;

/// A literal begins with these four bytes and goes on.
const LONG: u8 = 1;
/// A literal is these four bytes, or fewer of them.
const WHOLE: u8 = 2;
/// These four stand two bytes behind the beginning of one.
const GOES_ON: u8 = 4;

/// A bit in each byte of a word.
const fn each_byte(bit: u8) -> u64 {
    u64::from_le_bytes([bit; STEP])
}

/// How literals begin.
pub struct Gate {
    heads: Box<[u8; HEADS]>,
    /// Which third bytes follow two in a short literal: a bit for each of eight classes.
    pairs: Box<[u8; PAIRS]>,
    /// A literal of two bytes, an operator's, begins with what words are made of.
    is_short_anywhere: bool,
}

impl Gate {
    /// The gate of these literals, each of two bytes or more.
    pub fn of(literals: &[String]) -> Gate {
        let (heads, pairs) = (Box::new([0; HEADS]), Box::new([0; PAIRS]));
        let mut gate = Gate { heads, pairs, is_short_anywhere: false };
        let three = |a, b, c| (0..FOURTH_BYTES).map(move |d| index(&[a, b, c, d]));
        for literal in literals {
            match *literal.as_bytes() {
                [a, b, c, d, e, f, ..] => {
                    gate.heads[index(&[a, b, c, d])] |= LONG;
                    gate.heads[index(&[c, d, e, f])] |= GOES_ON;
                }
                [a, b, c, d, e] => {
                    gate.heads[index(&[a, b, c, d])] |= LONG;
                    three(c, d, e).for_each(|index| gate.heads[index] |= GOES_ON);
                }
                [a, b, c, d] => gate.heads[index(&[a, b, c, d])] |= WHOLE,
                [a, b, c] if is_of_words(a) => {
                    three(a, b, c).for_each(|index| gate.heads[index] |= WHOLE);
                }
                [a, b, c] => gate.pairs[pair(a, b)] |= class(c),
                [a, b] => {
                    gate.pairs[pair(a, b)] = u8::MAX;
                    gate.is_short_anywhere |= is_of_words(a);
                }
                _ => {}
            }
        }
        gate
    }

    /// Calls `body` with each place where a literal may begin, in order, until it breaks.
    #[inline]
    pub fn each(&self, text: &[u8], mut body: impl FnMut(usize) -> ControlFlow<()>) {
        let mut from = 0;
        loop {
            let (chunk, seen) = self.next(text, from);
            let Some(left) = text.len().checked_sub(chunk + 1) else { return };
            for (word, mut seen) in seen.into_iter().enumerate() {
                while seen != 0 {
                    let byte = seen.trailing_zeros() as usize / 8;
                    seen &= !(0xff << (8 * byte));
                    let at = word * STEP + byte;
                    if at < left && body(chunk + at).is_break() {
                        return;
                    }
                }
            }
            from = chunk + CHUNK;
        }
    }

    /// The next chunk in which literals may begin: where it is, and a byte for each of its places, of
    /// which those are not 0. It is behind the end when there is none.
    #[inline(never)]
    fn next(&self, text: &[u8], from: usize) -> (usize, [u64; CHUNK / STEP]) {
        let mut from = from;
        let mut here = None;
        while let Some(chunk) = text.get(from..).and_then(|rest| rest.first_chunk()) {
            let (seen, behind) = self.look(chunk, here);
            if seen != [0; CHUNK / STEP] {
                return (from, seen);
            }
            here = Some(behind);
            from += CHUNK;
        }
        while let Some(rest) = text.get(from..).filter(|rest| !rest.is_empty()) {
            // Blanks behind the end: the automaton knows that they are not there.
            let mut last = [b' '; LOOKED_AT];
            let length = rest.len().min(LOOKED_AT);
            last.get_mut(..length)
                .unwrap_or_default()
                .copy_from_slice(rest.get(..length).unwrap_or_default());
            let (seen, _) = self.look(&last, None);
            if seen != [0; CHUNK / STEP] {
                return (from, seen);
            }
            from += CHUNK;
        }
        (text.len(), [0; CHUNK / STEP])
    }

    /// Where in a chunk literals may begin, and what the heads behind it are. `here` are those at its
    /// beginning, when they are known.
    #[inline(always)]
    fn look(&self, chunk: &[u8; LOOKED_AT], here: Option<u64>) -> ([u64; CHUNK / STEP], u64) {
        let mut here = here.unwrap_or_else(|| self.heads_at(part(chunk, 0)));
        let mut seen = [0; CHUNK / STEP];
        for (word, seen) in seen.iter_mut().enumerate() {
            let behind = self.heads_at(part(chunk, (word + 1) * STEP));
            let going_on = (here >> 16 | behind << 48) >> GOES_ON.trailing_zeros();
            *seen = here & each_byte(WHOLE) | here & going_on & each_byte(LONG);
            here = behind;
        }
        if self.is_short_anywhere || !is_all_of_words(chunk) {
            for (word, seen) in seen.iter_mut().enumerate() {
                *seen |= self.pairs_at(part(chunk, word * STEP));
            }
        }
        (seen, here)
    }

    /// What the table of heads says of eight places, a byte for each.
    #[inline(always)]
    fn heads_at(&self, bytes: &[u8; STEP + HASHED]) -> u64 {
        let head = |at: usize| u64::from(self.heads[index(part(bytes, at))]) << (8 * at);
        (0..STEP).fold(0, |heads, at| heads | head(at))
    }

    /// The same of the table of pairs: where a short literal may begin.
    #[inline(always)]
    fn pairs_at(&self, bytes: &[u8; STEP + HASHED]) -> u64 {
        let short = |at: usize| {
            let [a, b, c] = *part(bytes, at);
            u64::from(self.pairs[pair(a, b)] & class(c)) << (8 * at)
        };
        (0..STEP).fold(0, |pairs, at| pairs | short(at))
    }
}

/// Some of the bytes; they are there.
#[inline(always)]
fn part<const ALL: usize, const PART: usize>(bytes: &[u8; ALL], from: usize) -> &[u8; PART] {
    bytes.get(from..).and_then(|rest| rest.first_chunk()).unwrap_or(&[0; PART])
}

#[inline(always)]
fn index(four: &[u8; HASHED]) -> usize {
    (u32::from_le_bytes(*four).wrapping_mul(FACTOR) >> 16) as usize
}

/// One of eight bits.
#[inline(always)]
fn class(byte: u8) -> u8 {
    1 << (byte.wrapping_mul(0x9d) >> 5)
}

#[inline(always)]
fn pair(a: u8, b: u8) -> usize {
    usize::from(u16::from_le_bytes([a, b]))
}

/// Whether words and what stands between them are made of it.
#[inline(always)]
fn is_of_words(byte: u8) -> bool {
    (byte.wrapping_sub(b'a') < 26) | (byte == b' ') | (byte.wrapping_sub(b',') < 3)
}

/// Without branches, so that many bytes are looked at at once.
#[inline(always)]
fn is_all_of_words(chunk: &[u8; LOOKED_AT]) -> bool {
    let chunk = chunk.first_chunk::<CHUNK>();
    chunk.is_some_and(|chunk| chunk.iter().fold(true, |all, &byte| all & is_of_words(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(gate: &Gate, text: &[u8]) -> Vec<usize> {
        let mut places = Vec::new();
        gate.each(text, |at| {
            places.push(at);
            ControlFlow::Continue(())
        });
        places
    }

    /// Wrong: a literal that the gate passes over, wherever it stands.
    #[test]
    fn every_literal_is_let_through() {
        let literals = ["or", "--", "abc", "a(b", "'x'", "from", "union", "union select", "<scr"];
        let literals = literals.map(str::to_owned);
        let all: Vec<String> = super::super::rules::all()
            .flat_map(|spec| super::super::rules::literals(&spec))
            .collect();
        for literals in [&literals[..], &literals[1..], &all] {
            let gate = Gate::of(literals);
            for literal in literals {
                for before in 0..=CHUNK + 1 {
                    // Each way to fill up the bytes that are looked at together.
                    let before = &"or abc union 'x' from words of prose, and so on"[..before];
                    for behind in ["", "y", "yy", "yyyy", "yyyyy", &"y".repeat(CHUNK)] {
                        let text = format!("{before}{literal}{behind}");
                        let found = places(&gate, text.as_bytes());
                        assert!(found.contains(&before.len()), "{literal:?} in {text:?}");
                        assert!(found.is_sorted() && found.iter().all(|at| *at < text.len()));
                    }
                }
            }
            let text = "the quick brown fox jumps".repeat(100);
            let found = places(&gate, text.as_bytes()).len();
            assert!(found < 50, "{found}");
        }
        let mut seen = 0;
        Gate::of(&literals).each(b"-- -- --", |_| {
            seen += 1;
            ControlFlow::Break(())
        });
        assert_eq!(seen, 1, "it goes on after a break");
    }
}
