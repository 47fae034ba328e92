//! The same walk over the kernels' structural index: from mark to mark instead of byte to byte.
//!
//! It gives a verdict and no reasons: where it says no, the [`Reader`] goes over the document again
//! and says why. Both accept the same documents; the tests hold them against each other and
//! against `serde_json`.
#![forbid(unsafe_code)]

use super::reader::Reader;
use super::text::hex_unit;
use super::{DEPTH_MAX, Member};
use crate::kernel::json::{Indexer, Marks};

/// Below this the set-up costs more than the walk saves.
const LENGTH_MIN: usize = 96;

/// What a document is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// A valid object; the members have been handed out.
    Object,
    /// Valid, but not an object.
    Other,
    /// Not valid.
    Invalid,
}

/// Validates a whole document and calls `f` for each member of its top-level object; what was
/// called for before an `Invalid` has no meaning. `None` when the index does not pay here.
pub(super) fn for_each_member(json: &[u8], f: impl FnMut(Member)) -> Option<Verdict> {
    if json.len() < LENGTH_MIN {
        return None;
    }
    Some(judge(json, Indexer::new(json)?, f))
}

fn judge(json: &[u8], indexer: Indexer<'_>, f: impl FnMut(Member)) -> Verdict {
    let mut marks = Marks::new();
    let walk = Walk {
        json,
        indexer,
        marks: &mut marks,
        base: 0,
        next: 0,
        low_surrogate: 0,
        text_checked: 0,
    };
    walk.document(f).unwrap_or(Verdict::Invalid)
}

/// Goes from mark to mark. `None` as soon as the document is known to be invalid.
struct Walk<'a> {
    json: &'a [u8],
    indexer: Indexer<'a>,
    /// Those of one chunk.
    marks: &'a mut Marks,
    /// What they count from.
    base: usize,
    /// The one that comes next.
    next: usize,
    /// Where the `u` of a low surrogate must stand; 0 when none is due.
    low_surrogate: usize,
    /// So many bytes are known to be UTF-8.
    text_checked: usize,
}

impl Walk<'_> {
    fn document(mut self, mut f: impl FnMut(Member)) -> Option<Verdict> {
        let (position, byte) = self.advance()?;
        let verdict = if byte == b'{' {
            self.top_level(&mut f)?;
            Verdict::Object
        } else {
            self.value(position, byte, 0)?;
            Verdict::Other
        };
        let is_over = self.advance().is_none() && self.next == usize::MAX;
        let is_right = is_over && self.low_surrogate == 0 && self.indexer.strings_are_right();
        (is_right && self.text_is_right(self.json.len())).then_some(verdict)
    }

    /// The members of the top-level object, behind its opening brace.
    fn top_level(&mut self, f: &mut impl FnMut(Member)) -> Option<()> {
        let (mut position, mut byte) = self.advance()?;
        if byte == b'}' {
            return Some(());
        }
        loop {
            let key_start = position + 1;
            let colon = self.colon(byte)?;
            let key = key_start..self.before_blanks(colon).checked_sub(1)?;
            let (start, first) = self.advance()?;
            self.value(start, first, 1)?;
            let (end, closing) = self.advance()?;
            f(Member { key, value: start..self.before_blanks(end) });
            match closing {
                b',' => (position, byte) = self.advance()?,
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    /// A whole value whose first mark is here, with `depth` levels open around it.
    fn value(&mut self, mut position: usize, mut byte: u8, depth: u32) -> Option<()> {
        // The lowest bit is the innermost level: 1 for an object.
        let mut objects: u128 = 0;
        let mut open = depth;
        loop {
            match byte {
                b'"' => {}
                b'{' | b'[' => {
                    if open >= DEPTH_MAX {
                        return None;
                    }
                    let is_object = byte == b'{';
                    let close = if is_object { b'}' } else { b']' };
                    (position, byte) = self.advance()?;
                    if byte != close {
                        objects = objects << 1 | u128::from(is_object);
                        open += 1;
                        if is_object {
                            self.colon(byte)?;
                            (position, byte) = self.advance()?;
                        }
                        continue;
                    }
                }
                _ => self.word(position, byte)?,
            }
            // A value is complete: close what it completes, or go on to the next one.
            loop {
                if open == depth {
                    return Some(());
                }
                (position, byte) = self.advance()?;
                let is_object = objects & 1 == 1;
                match byte {
                    b',' => {
                        (position, byte) = self.advance()?;
                        if is_object {
                            self.colon(byte)?;
                            (position, byte) = self.advance()?;
                        }
                        break;
                    }
                    b'}' if is_object => {}
                    b']' if !is_object => {}
                    _ => return None,
                }
                objects >>= 1;
                open -= 1;
            }
        }
    }

    /// Checks that a key begins here and goes on to its colon.
    #[inline(always)]
    fn colon(&mut self, byte: u8) -> Option<usize> {
        let (position, next) = self.advance()?;
        (byte == b'"' && next == b':').then_some(position)
    }

    /// The next mark: its position and the byte there.
    #[inline(always)]
    fn advance(&mut self) -> Option<(usize, u8)> {
        let at = match self.marks.positions().get(self.next) {
            Some(&at) => {
                self.next += 1;
                at
            }
            None => self.first_of_next_chunk()?,
        };
        let position = self.base + at as usize;
        Some((position, *self.json.get(position)?))
    }

    /// Indexes on until there is a mark. At the end of the document `next` becomes the highest number.
    #[cold]
    fn first_of_next_chunk(&mut self) -> Option<u32> {
        self.next = usize::MAX;
        loop {
            self.base = self.indexer.next_chunk(self.marks)?;
            // What came before is still in the first cache.
            if !self.text_is_right(self.base) {
                self.next = 0;
                return None;
            }
            for index in 0..self.marks.unicode().len() {
                let at = *self.marks.unicode().get(index)?;
                if !self.unicode_escape(self.base + at as usize) {
                    // The marks are still those of a chunk: no end is found where there is none.
                    self.next = 0;
                    return None;
                }
            }
            if let Some(&at) = self.marks.positions().first() {
                self.next = 1;
                return Some(at);
            }
        }
    }

    /// Whether everything before `end` is UTF-8, except for a sequence that `end` cuts.
    fn text_is_right(&mut self, end: usize) -> bool {
        let from = self.text_checked;
        let text = self.json.get(from..end).unwrap_or_default();
        let open = match text.iter().rev().take(3).position(|&byte| byte >= 0xc0) {
            Some(back) if end < self.json.len() => back + 1,
            _ => 0,
        };
        self.text_checked = end - open.min(end);
        crate::kernel::is_utf8(text.get(..text.len() - open).unwrap_or_default())
    }

    /// The end of what stands before the blanks before `position`.
    #[inline]
    fn before_blanks(&self, position: usize) -> usize {
        let head = self.json.get(..position).unwrap_or_default();
        let is_seen = |byte: &u8| !matches!(byte, b' ' | b'\n' | b'\t' | b'\r');
        head.iter().rposition(is_seen).map_or(0, |last| last + 1)
    }

    /// A number, true, false or null; nothing else may touch its end. Structure need not be looked
    /// for, as it has marks of its own; a quote right behind a word has none.
    #[inline(always)]
    fn word(&self, position: usize, byte: u8) -> Option<()> {
        let mut reader = Reader::new(self.json, position);
        match byte {
            b'-' | b'0'..=b'9' => reader.number().ok()?,
            b't' => reader.word(b"true").ok()?,
            b'f' => reader.word(b"false").ok()?,
            b'n' => reader.word(b"null").ok()?,
            _ => return None,
        }
        match reader.peek() {
            None | Some(b',' | b'}' | b']' | b' ' | b'\n' | b'\t' | b'\r') => Some(()),
            Some(_) => None,
        }
    }

    /// At the `u` of an escape: four digits, and surrogates in pairs.
    fn unicode_escape(&mut self, position: usize) -> bool {
        let rest = self.json.get(position + 1..).unwrap_or_default();
        let Some((unit, rest)) = hex_unit(rest) else {
            return false;
        };
        let is_low = (0xdc00..0xe000).contains(&unit);
        let is_due = self.low_surrogate == position;
        if is_low != is_due || (self.low_surrogate != 0 && !is_due) {
            return false;
        }
        self.low_surrogate = 0;
        if (0xd800..0xdc00).contains(&unit) {
            self.low_surrogate = position + 6;
            return rest.starts_with(b"\\u");
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::{Random, mutate};
    use crate::kernel::{self, CpuLevel};

    /// Pieces that mean something to JSON.
    const DICTIONARY: [&[u8]; 12] = [
        b"\"",
        b"\\",
        b"\\\"",
        b"\\u",
        b"\\ud83d\\ude00",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b" ",
    ];

    /// What a walk says and hands out.
    type Outcome = (Verdict, Vec<Member>);

    fn indexed(json: &[u8], level: CpuLevel) -> Option<Outcome> {
        let table = kernel::at(level)?;
        let mut members = Vec::new();
        let verdict = judge(json, Indexer::with(json, &table), |member| members.push(member));
        Some((verdict, members))
    }

    fn read(json: &[u8]) -> Outcome {
        let mut members = Vec::new();
        let verdict = match super::super::for_each_member(json, |member| members.push(member)) {
            Ok(()) => Verdict::Object,
            Err(super::super::JsonError::NotAnObject) => Verdict::Other,
            Err(_) => Verdict::Invalid,
        };
        (verdict, members)
    }

    /// Both walks agree, at every level; members count only where the document is valid.
    fn check(json: &[u8]) -> Verdict {
        let (expected, members) = read(json);
        for level in CpuLevel::ALL {
            let Some((found, found_members)) = indexed(json, level) else { continue };
            let text = json.escape_ascii();
            assert_eq!(found, expected, "{level}: \"{text}\"");
            if expected == Verdict::Object {
                assert_eq!(found_members, members, "{level}: \"{text}\"");
            }
        }
        expected
    }

    // A document that one walk takes and the other refuses would be judged by its length.
    #[test]
    fn agrees_with_the_reader() {
        let valid = [
            "{}",
            " [ ] ",
            "0",
            "\"\"",
            "{\"a\":{\"b\":[1,2,{\"c\":\"d\"}]},\"e\" : \"f\" , \"g\":-1.5e3 }",
            "{\"\\u0061\":\"\\ud83d\\ude00\\\\u0041\",\"k\":[true,false,null]}",
            "{\"text\":\"a long line of text that runs over the end of a block of sixty-four bytes\"}",
        ];
        let invalid = [
            "",
            " ",
            "{",
            "}",
            "[1 2]",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "{\"a\"}",
            "1\"a\"",
            "[1\"a\"]",
            "[true\"a\"]",
            "\"a\"\"b\"",
            "[1}",
            "{\"a\":1]",
            "1x",
            "[truex]",
            "[nul]",
            "\"\\ud83d\"",
            "\"\\ude00\"",
            "\"\\ud83d\\u0041\"",
            "\"\\ud83d \\ude00\"",
            "\"\\u12g4\"",
            "\"\\u123\"",
            "\"\\ud83d\\\\ude00\"",
            "\"\\ude00\\ude00\"",
            "\"\\ud83d\\ud83d\\ude00\"",
            "[-]",
            "[01]",
            "[1e999]",
            "\"\\x\"",
            "\"a",
            "\"a\\\"",
            "{}{}",
            "[]]",
            "{:1}",
            "{\"a\"::1}",
            "[,]",
            "[:]",
            "{1:2}",
            "\\",
            "[\\]",
            "\u{c}1",
            "[\u{1a}]",
            "\u{a0}[]",
            "[\"\t\"]",
            "\u{feff}{}",
        ];
        for json in valid {
            assert_ne!(check(json.as_bytes()), Verdict::Invalid, "{json}");
        }
        for json in invalid {
            assert_eq!(check(json.as_bytes()), Verdict::Invalid, "{json}");
        }
        // The same at every place around the seams of blocks and chunks.
        for json in valid.into_iter().chain(invalid) {
            for blanks in (0..70).chain([4090, 4095, 4096, 4097]) {
                let padded = " ".repeat(blanks) + json;
                let expected =
                    if invalid.contains(&json) { Verdict::Invalid } else { check(json.as_bytes()) };
                assert_eq!(check(padded.as_bytes()), expected, "{blanks} {json}");
                let string = format!("[\"{}\",{json}]", "x".repeat(blanks));
                check(string.as_bytes());
            }
        }
        check(b"[\"\xff\"]");
        check(b"[\"\xc3\"]");
        check(
            b"[\"a long string that has its wrong byte in the second block of it: \xed\xa0\x80\"]",
        );
    }

    // 127 levels pass, 128 fail.
    #[test]
    fn depth_is_bounded() {
        for levels in [1, 126, 127, 128, 129, 5000] {
            let arrays = "[".repeat(levels) + &"]".repeat(levels);
            let expected = if levels <= 127 { Verdict::Other } else { Verdict::Invalid };
            assert_eq!(check(arrays.as_bytes()), expected, "{levels}");
            let objects = "{\"a\":".repeat(levels) + "1" + &"}".repeat(levels);
            let expected = if levels <= 127 { Verdict::Object } else { Verdict::Invalid };
            assert_eq!(check(objects.as_bytes()), expected, "{levels}");
        }
    }

    // Random damage, in documents long enough for several chunks.
    #[test]
    fn agrees_on_damaged_documents() {
        let message = r#"{"role":"user","content":"line\nanother \"quoted\" one, caf\u00e9 \ud83d\ude00 é"},"#;
        let mut random = Random::new(7);
        for repeats in [1, 3, 60, 120] {
            let body = message.repeat(repeats);
            let json = format!(
                r#"{{"model":"m", "stream":true,"messages":[{}],"n":[1,2.5e1,-3],"user":"u"}}"#,
                body.trim_end_matches(',')
            );
            assert_eq!(check(json.as_bytes()), Verdict::Object);
            for _ in 0..400 {
                check(&mutate(&mut random, json.as_bytes(), &DICTIONARY));
            }
        }
    }
}
