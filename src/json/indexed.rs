//! The same walk over the kernels' structural index: from mark to mark instead of byte to byte.
//!
//! It gives a verdict and no reasons: where it says no, the [`Reader`] goes over the document again
//! and says why. Both accept the same documents; the tests hold them against each other and
//! against `serde_json`.
#![forbid(unsafe_code)]

use std::ops::Range;

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
pub(super) fn for_each_member(json: &[u8], mut f: impl FnMut(Member)) -> Option<Verdict> {
    if json.len() < LENGTH_MIN {
        return None;
    }
    let indexer = Indexer::new(json)?;
    Some(walk(json, indexer, &mut f).unwrap_or(Verdict::Invalid))
}

/// What may stand at the next mark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expect {
    Value,
    ValueOrClose,
    Key,
    KeyOrClose,
    Colon,
    CommaOrClose,
    Nothing,
}

struct Walk<'a> {
    json: &'a [u8],
    expect: Expect,
    /// Levels open.
    depth: u32,
    /// The lowest bit is the innermost level: 1 for an object.
    objects: u128,
    root_is_object: bool,
    key: Range<usize>,
    value_start: usize,
    /// Where the `u` of a low surrogate must stand; 0 when none is due.
    low_surrogate: usize,
}

/// `None` as soon as the document is known to be invalid.
fn walk(json: &[u8], mut indexer: Indexer<'_>, f: &mut impl FnMut(Member)) -> Option<Verdict> {
    let mut walk = Walk {
        json,
        expect: Expect::Value,
        depth: 0,
        objects: 0,
        root_is_object: false,
        key: 0..0,
        value_start: 0,
        low_surrogate: 0,
    };
    let mut marks = Marks::new();
    while let Some(base) = indexer.next_chunk(&mut marks) {
        for &at in marks.unicode() {
            walk.unicode_escape(base + at as usize)?;
        }
        for &at in marks.positions() {
            walk.mark(base + at as usize, f)?;
        }
    }
    let is_whole = walk.expect == Expect::Nothing && walk.low_surrogate == 0;
    if !is_whole || !indexer.strings_are_right() || !crate::kernel::is_utf8(json) {
        return None;
    }
    Some(if walk.root_is_object { Verdict::Object } else { Verdict::Other })
}

impl Walk<'_> {
    #[inline(always)]
    fn mark(&mut self, position: usize, f: &mut impl FnMut(Member)) -> Option<()> {
        let byte = *self.json.get(position)?;
        match self.expect {
            Expect::CommaOrClose => {
                let is_object = self.objects & 1 == 1;
                match byte {
                    b',' => {
                        self.end_member(position, f);
                        self.expect = if is_object { Expect::Key } else { Expect::Value };
                    }
                    b'}' if is_object => {
                        self.end_member(position, f);
                        self.close();
                    }
                    b']' if !is_object => self.close(),
                    _ => return None,
                }
            }
            Expect::Key | Expect::KeyOrClose => match byte {
                b'"' => {
                    if self.depth == 1 {
                        self.key.start = position + 1;
                    }
                    self.expect = Expect::Colon;
                }
                b'}' if self.expect == Expect::KeyOrClose => self.close(),
                _ => return None,
            },
            Expect::Colon => {
                if byte != b':' {
                    return None;
                }
                if self.depth == 1 {
                    self.key.end = self.before_blanks(position).saturating_sub(1);
                }
                self.expect = Expect::Value;
            }
            Expect::Value | Expect::ValueOrClose => {
                if self.depth == 1 {
                    self.value_start = position;
                }
                match byte {
                    b'"' => self.complete(),
                    b'{' | b'[' => self.open(byte == b'{')?,
                    b']' if self.expect == Expect::ValueOrClose => self.close(),
                    _ => self.word(position, byte)?,
                }
            }
            Expect::Nothing => return None,
        }
        Some(())
    }

    #[inline(always)]
    fn complete(&mut self) {
        self.expect = if self.depth == 0 { Expect::Nothing } else { Expect::CommaOrClose };
    }

    #[inline(always)]
    fn open(&mut self, is_object: bool) -> Option<()> {
        if self.depth >= DEPTH_MAX {
            return None;
        }
        if self.depth == 0 {
            self.root_is_object = is_object;
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(is_object);
        self.expect = if is_object { Expect::KeyOrClose } else { Expect::ValueOrClose };
        Some(())
    }

    #[inline(always)]
    fn close(&mut self) {
        self.depth -= 1;
        self.objects >>= 1;
        self.complete();
    }

    /// At a comma or brace: hands out the member before it, if that is one of the top level.
    #[inline(always)]
    fn end_member(&mut self, position: usize, f: &mut impl FnMut(Member)) {
        if self.depth == 1 && self.root_is_object {
            let value = self.value_start..self.before_blanks(position);
            f(Member { key: self.key.clone(), value });
        }
    }

    /// The end of what stands before the blanks before `position`.
    fn before_blanks(&self, position: usize) -> usize {
        let head = self.json.get(..position).unwrap_or_default();
        let is_seen = |byte: &u8| !matches!(byte, b' ' | b'\n' | b'\t' | b'\r');
        head.iter().rposition(is_seen).map_or(0, |last| last + 1)
    }

    /// A number, true, false or null; nothing else may touch its end. Structure need not be looked
    /// for, as it has marks of its own; a quote right behind a word has none.
    #[inline(always)]
    fn word(&mut self, position: usize, byte: u8) -> Option<()> {
        let mut reader = Reader::new(self.json, position);
        match byte {
            b'-' | b'0'..=b'9' => reader.number().ok()?,
            b't' => reader.word(b"true").ok()?,
            b'f' => reader.word(b"false").ok()?,
            b'n' => reader.word(b"null").ok()?,
            _ => return None,
        }
        if !matches!(reader.peek(), None | Some(b',' | b'}' | b']' | b' ' | b'\n' | b'\t' | b'\r'))
        {
            return None;
        }
        self.complete();
        Some(())
    }

    /// At the `u` of an escape: four digits, and surrogates in pairs.
    #[inline(always)]
    fn unicode_escape(&mut self, position: usize) -> Option<()> {
        let (unit, rest) = hex_unit(self.json.get(position + 1..)?)?;
        let is_low = (0xdc00..0xe000).contains(&unit);
        let is_due = self.low_surrogate == position;
        if is_low != is_due || (self.low_surrogate != 0 && !is_due) {
            return None;
        }
        self.low_surrogate = 0;
        if (0xd800..0xdc00).contains(&unit) {
            if !rest.starts_with(b"\\u") {
                return None;
            }
            self.low_surrogate = position + 6;
        }
        Some(())
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
        let verdict = walk(json, Indexer::with(json, &table), &mut |member| members.push(member))
            .unwrap_or(Verdict::Invalid);
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
