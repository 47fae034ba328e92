//! One spelling for everything: what an application behind us would make of a value after all its
//! decoders.
//!
//! Percent signs (`%3c`, `%u003c`), HTML entities, JavaScript escapes (`\x3c`, `\u003c`), overlong
//! UTF-8, full-width and look-alike characters are decoded, again and again until nothing changes or
//! [`ROUNDS_MAX`] is reached: each round can only shorten the text. Then letters become small,
//! white space and SQL comments one blank (a line break stays one), control characters go.

use super::classes::{CLASS, COMMENT, CONTROL, ENCODED, QUOTE, SEPARATOR, SPACE, STOP, classes};

/// Decoding rounds.
const ROUNDS_MAX: usize = 4;

/// What was seen while decoding.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Rounds that changed something: 2 and more are double encodings.
    pub rounds: u8,
    /// A NUL character.
    pub nul: bool,
    /// A byte in a longer form than it needs.
    pub overlong: bool,
    /// A quote, backslash or caret inside a word: a shell reads over it.
    pub quoted: bool,
    /// A character that separates shell commands.
    pub separator: bool,
    /// Only letters, digits and `_.-`.
    pub plain: bool,
    /// Letters outside ASCII, up to 255.
    pub foreign: u8,
    /// A line break that was written in some code.
    pub broken: bool,
    /// A comment within a word.
    pub split: bool,
}

/// Buffers for normalizing, reused from value to value.
#[derive(Default)]
pub struct Normalizer {
    text: Vec<u8>,
    other: Vec<u8>,
    /// `other` holds what was decoded last.
    is_decoded: bool,
}

impl Normalizer {
    /// The text in its one spelling; it stands in the buffer that is returned.
    pub fn run(&mut self, text: &[u8]) -> (&[u8], Seen) {
        let mut seen = Seen { plain: true, ..Seen::default() };
        let mut found = classes(text);
        if found == 0 {
            self.text.clear();
            self.text.extend_from_slice(text);
            self.text.make_ascii_lowercase();
            return (&self.text, seen);
        }
        seen.plain = false;
        let mut is_first = true;
        while found & (ENCODED | CONTROL) != 0 && usize::from(seen.rounds) < ROUNDS_MAX {
            let from = if is_first { text } else { &self.text };
            self.other.clear();
            let changed = decode(from, &mut self.other, &mut seen);
            if is_first && !changed {
                break;
            }
            is_first = false;
            std::mem::swap(&mut self.text, &mut self.other);
            if !changed {
                break;
            }
            seen.rounds += 1;
            found = classes(&self.text);
        }
        self.is_decoded = !is_first;
        self.other.clear();
        if is_first {
            seen.split = fold(text, found, Comments::Blank, &mut self.other);
        } else {
            found |= classes(&self.text);
            seen.split = fold(&self.text, found, Comments::Blank, &mut self.other);
        }
        std::mem::swap(&mut self.text, &mut self.other);
        seen.quoted = found & QUOTE != 0;
        seen.separator = found & SEPARATOR != 0;
        (&self.text, seen)
    }

    /// The same text with nothing in the place of comments, for who takes them out. `text` is what
    /// the last run was given.
    pub fn joined(&mut self, text: &[u8]) -> &[u8] {
        let from = if self.is_decoded { &self.other } else { text };
        self.text.clear();
        fold(from, COMMENT, Comments::Nothing, &mut self.text);
        &self.text
    }

    /// Gives memory back that has grown beyond so many bytes.
    pub fn shrink(&mut self, bytes_max: usize) {
        for buffer in [&mut self.text, &mut self.other] {
            if buffer.capacity() > bytes_max {
                *buffer = Vec::new();
            }
        }
    }
}

/// One decoding of everything; whether anything was decoded.
fn decode(text: &[u8], out: &mut Vec<u8>, seen: &mut Seen) -> bool {
    let mut changed = false;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let rest = text.get(at + 1..).unwrap_or_default();
        let decoded = match byte {
            b'%' => percent(rest),
            b'&' => entity(rest),
            // Behind another backslash it is one, and the digits are digits.
            b'\\'
                if at > 0
                    && text.get(at - 1) == Some(&b'\\')
                    && rest.first().is_some_and(u8::is_ascii_digit) =>
            {
                None
            }
            b'\\' => escape(rest),
            0x80.. => foreign(text.get(at..).unwrap_or_default(), seen),
            0..=8 | 0x0e..=0x1f | 0x7f => Some((u32::from(byte), 0)),
            _ => {
                // A run without anything to decode.
                let run = rest
                    .iter()
                    .position(|&b| CLASS[usize::from(b)] & (ENCODED | CONTROL) != 0)
                    .unwrap_or(rest.len());
                out.extend_from_slice(text.get(at..=at + run).unwrap_or_default());
                at += run + 1;
                continue;
            }
        };
        let Some((code, used)) = decoded else {
            out.push(byte);
            at += 1;
            continue;
        };
        at += used + 1;
        match code {
            0 => {
                seen.nul = true;
                changed = true;
            }
            DROPPED | 1..=8 | 0x0e..=0x1f | 0x7f => changed = true,
            KEPT => {
                out.extend_from_slice(text.get(at - used - 1..at).unwrap_or_default());
            }
            code if code < 0x80 => {
                seen.broken |= matches!(code, 10 | 13);
                out.push(code as u8);
                changed = true;
            }
            code if byte == b'%' && code < 0x100 => {
                // A byte of a longer character.
                out.push(code as u8);
                changed = true;
            }
            code => {
                let mut buffer = [0; 4];
                let letter = char::from_u32(code).unwrap_or('\u{fffd}');
                out.extend_from_slice(letter.encode_utf8(&mut buffer).as_bytes());
                changed = true;
            }
        }
    }
    changed
}

/// A character that is left out.
const DROPPED: u32 = u32::MAX;
/// A character that stays as it is written.
const KEPT: u32 = u32::MAX - 1;

fn hex(text: &[u8], digits: usize) -> Option<u32> {
    let text = text.get(..digits)?;
    text.iter().try_fold(0, |value: u32, &digit| {
        Some(value.checked_mul(16)? + char::from(digit).to_digit(16)?)
    })
}

fn percent(rest: &[u8]) -> Option<(u32, usize)> {
    if let Some(code) = hex(rest, 2) {
        return Some((code, 2));
    }
    match rest.first() {
        Some(b'u' | b'U') => Some((look_alike(hex(rest.get(1..)?, 4)?), 5)),
        _ => None,
    }
}

fn escape(rest: &[u8]) -> Option<(u32, usize)> {
    match rest.first()? {
        b'x' | b'X' => Some((hex(rest.get(1..)?, 2)?, 3)),
        b'u' | b'U' if rest.get(1) == Some(&b'{') => {
            let end = rest.iter().take(10).position(|&byte| byte == b'}')?;
            Some((look_alike(hex(rest.get(2..)?, end - 2)?), end + 1))
        }
        b'u' | b'U' => Some((look_alike(hex(rest.get(1..)?, 4)?), 5)),
        b'0'..=b'3' => {
            let digits = rest.get(..3)?;
            let value = digits.iter().try_fold(0, |value: u32, &digit| {
                Some(value * 8 + char::from(digit).to_digit(8)?)
            })?;
            (value < 0x80).then_some((value, 3))
        }
        _ => None,
    }
}

/// Letters of the longest name of an entity that is looked at.
const ENTITY_BYTES_MAX: usize = 15;

/// Named entities that spell something an attack needs.
const ENTITIES: &[(&[u8], u32)] = &[
    (b"lt", 0x3c),
    (b"gt", 0x3e),
    (b"quot", 0x22),
    (b"amp", 0x26),
    (b"apos", 0x27),
    (b"nbsp", 0x20),
    (b"sol", 0x2f),
    (b"bsol", 0x5c),
    (b"colon", 0x3a),
    (b"semi", 0x3b),
    (b"lpar", 0x28),
    (b"rpar", 0x29),
    (b"lbrace", 0x7b),
    (b"lcub", 0x7b),
    (b"rbrace", 0x7d),
    (b"rcub", 0x7d),
    (b"lbrack", 0x5b),
    (b"lsqb", 0x5b),
    (b"rbrack", 0x5d),
    (b"rsqb", 0x5d),
    (b"tab", 9),
    (b"newline", 10),
    (b"comma", 0x2c),
    (b"period", 0x2e),
    (b"equals", 0x3d),
    (b"grave", 0x60),
    (b"num", 0x23),
    (b"percnt", 0x25),
    (b"dollar", 0x24),
    (b"lowbar", 0x5f),
    (b"excl", 0x21),
    (b"quest", 0x3f),
    (b"ast", 0x2a),
    (b"plus", 0x2b),
    (b"vert", 0x7c),
    (b"verbar", 0x7c),
    (b"hat", 0x5e),
    (b"commat", 0x40),
    (b"zerowidthspace", DROPPED),
];

fn entity(rest: &[u8]) -> Option<(u32, usize)> {
    if rest.first() == Some(&b'#') {
        let (start, radix) = match rest.get(1) {
            Some(b'x' | b'X') => (2, 16),
            _ => (1, 10),
        };
        let digits = rest.get(start..)?;
        let count =
            digits.iter().take(10).take_while(|&&digit| char::from(digit).is_digit(radix)).count();
        if count == 0 {
            return None;
        }
        let value = digits.iter().take(count).fold(0_u32, |value, &digit| {
            value.saturating_mul(radix) + char::from(digit).to_digit(radix).unwrap_or(0)
        });
        let end = start + count;
        return Some((look_alike(value), end + usize::from(rest.get(end) == Some(&b';'))));
    }
    let mut name = [0; ENTITY_BYTES_MAX];
    let letters = rest.iter().take_while(|byte| byte.is_ascii_alphabetic());
    let count = name.iter_mut().zip(letters).map(|(to, from)| *to = *from).count();
    let name = name.get_mut(..count)?;
    name.make_ascii_lowercase();
    let name: &[u8] = name;
    let has_end = rest.get(count) == Some(&b';');
    let entities = if has_end { ENTITIES } else { ENTITIES.get(..4)? };
    for (index, (known, code)) in entities.iter().enumerate() {
        if has_end && name == *known {
            return Some((*code, count + 1));
        }
        // Browsers read the oldest names without their semicolon too.
        if index < 4 && !has_end && name.starts_with(known) {
            return Some((*code, known.len()));
        }
    }
    None
}

/// A character outside ASCII: what it looks like, or its bytes as they are.
fn foreign(text: &[u8], seen: &mut Seen) -> Option<(u32, usize)> {
    let &[first, ref rest @ ..] = text else { return None };
    let (length, bits) = match first {
        0xc0..=0xdf => (1, u32::from(first & 0x1f)),
        0xe0..=0xef => (2, u32::from(first & 0x0f)),
        0xf0..=0xf7 => (3, u32::from(first & 0x07)),
        _ => return Some((KEPT, 0)),
    };
    let mut code = bits;
    for &byte in rest.get(..length).unwrap_or_default() {
        if byte & 0xc0 != 0x80 {
            return Some((KEPT, 0));
        }
        code = code << 6 | u32::from(byte & 0x3f);
    }
    if rest.len() < length {
        return Some((KEPT, 0));
    }
    let least = [0x80, 0x800, 0x1_0000][length - 1];
    if code < least {
        seen.overlong = true;
        return Some((code, length));
    }
    let like = look_alike(code);
    if like == code {
        seen.foreign = seen.foreign.saturating_add(1);
        return Some((KEPT, length));
    }
    Some((like, length))
}

/// The ASCII character that readers or lenient decoders take this one for, else itself.
fn look_alike(code: u32) -> u32 {
    match code {
        0xff01..=0xff5e => code - 0xff01 + 0x21,
        0xa0 | 0x1680 | 0x2000..=0x200a | 0x202f | 0x205f | 0x3000 => 0x20,
        0x2028 | 0x2029 | 0x85 | 0x560a => 0x0a,
        0x560d => 0x0d,
        0xad | 0x200b..=0x200f | 0x2060 | 0xfeff | 0x180e => DROPPED,
        0x2018 | 0x2019 | 0x201a | 0x2032 | 0x02b9 | 0x02bc | 0x02c8 => 0x27,
        0x201c | 0x201d | 0x201e | 0x2033 | 0x02ba => 0x22,
        0x2044 | 0x2215 => 0x2f,
        0x2216 | 0xfe68 => 0x5c,
        0x2024 | 0x3002 | 0xff61 => 0x2e,
        0x2039 | 0x3008 | 0x2329 | 0xfe64 => 0x3c,
        0x203a | 0x3009 | 0x232a | 0xfe65 => 0x3e,
        0x037e => 0x3b,
        0xfe54 => 0x3b,
        0xfe59 => 0x28,
        0xfe5a => 0x29,
        0x0131 => 0x69,
        0x017f => 0x73,
        0x212a => 0x6b,
        0x24b6..=0x24cf => code - 0x24b6 + 0x61,
        0x24d0..=0x24e9 => code - 0x24d0 + 0x61,
        0x2460..=0x2468 => code - 0x2460 + 0x31,
        0x24ea | 0x24ff => 0x30,
        0x2776..=0x277e => code - 0x2776 + 0x31,
        0x1d400..=0x1d6a3 => (code - 0x1d400) % 26 + 0x61,
        0x1d7ce..=0x1d7ff => (code - 0x1d7ce) % 10 + 0x30,
        0x1f130..=0x1f149 => code - 0x1f130 + 0x61,
        _ => code,
    }
}

/// What stands in the place of a comment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comments {
    Blank,
    Nothing,
}

/// Small letters, one blank for white space and comments, no control characters. Whether a comment
/// stood within a word.
fn fold(text: &[u8], found: u8, comments: Comments, out: &mut Vec<u8>) -> bool {
    if found & (CONTROL | COMMENT) == 0 && has_single_blanks(text) {
        out.extend_from_slice(text);
        out.make_ascii_lowercase();
        return false;
    }
    out.reserve(text.len());
    let mut at = 0;
    let mut is_versioned = false;
    let mut splits = false;
    let is_letter = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphabetic);
    while let Some(&byte) = text.get(at) {
        let class = CLASS[usize::from(byte)];
        if class & (SPACE | CONTROL) != 0 {
            if class & SPACE != 0 {
                blank(out, byte);
            }
            at += 1;
        } else if byte == b'/' && text.get(at + 1) == Some(&b'*') {
            let inner = text.get(at + 2..).unwrap_or_default();
            if inner.first() == Some(&b'!') {
                // MySQL runs what stands in such a comment.
                let digits =
                    inner.iter().skip(1).take(6).take_while(|b| b.is_ascii_digit()).count();
                blank(out, b' ');
                at += 3 + digits;
                is_versioned = true;
                continue;
            }
            match memchr::memmem::find(inner.get(..1024).unwrap_or(inner), b"*/") {
                Some(end) => {
                    splits |= is_letter(out.last()) && is_letter(inner.get(end + 2));
                    if comments == Comments::Blank {
                        blank(out, b' ');
                    }
                    at += end + 4;
                }
                None => {
                    out.extend_from_slice(b"/*");
                    at += 2;
                }
            }
        } else if is_versioned && byte == b'*' && text.get(at + 1) == Some(&b'/') {
            blank(out, b' ');
            is_versioned = false;
            at += 2;
        } else {
            let rest = text.get(at..).unwrap_or_default();
            let run = run_of(rest);
            let from = out.len();
            out.extend_from_slice(rest.get(..run).unwrap_or_default());
            out.get_mut(from..).unwrap_or_default().make_ascii_lowercase();
            at += run;
        }
    }
    splits
}

/// Bytes from here on that are copied as they are, at least one: single blanks are among them.
fn run_of(text: &[u8]) -> usize {
    let is_stop = |byte: u8| CLASS[usize::from(byte)] & (SPACE | CONTROL | STOP) != 0;
    let mut at = 1;
    while let Some(&byte) = text.get(at) {
        if is_stop(byte) {
            let is_single = byte == b' ' && text.get(at + 1).is_some_and(|next| !is_stop(*next));
            if !is_single {
                break;
            }
            at += 1;
        }
        at += 1;
    }
    at.min(text.len())
}

/// Whether white space is single blanks only. Without branches, so that many bytes are looked at at
/// once.
fn has_single_blanks(text: &[u8]) -> bool {
    let others = text.iter().fold(false, |seen, byte| seen | (byte.wrapping_sub(9) < 5));
    let doubles = text
        .iter()
        .zip(text.get(1..).unwrap_or_default())
        .fold(false, |seen, (one, next)| seen | ((*one == b' ') & (*next == b' ')));
    !others && !doubles
}

/// One blank for a run; a line break within it wins.
fn blank(out: &mut Vec<u8>, byte: u8) {
    let is_break = matches!(byte, b'\n' | b'\r');
    match out.last_mut() {
        Some(b'\n') => {}
        Some(last @ b' ') => {
            if is_break {
                *last = b'\n';
            }
        }
        _ => out.push(if is_break { b'\n' } else { b' ' }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: &str) {
        let mut normalizer = Normalizer::default();
        let (got, _) = normalizer.run(text.as_bytes());
        assert_eq!(String::from_utf8_lossy(got), want, "{text:?}");
    }

    #[test]
    fn every_spelling_comes_to_one() {
        for text in [
            "<script>",
            "<SCRIPT>",
            "%3Cscript%3E",
            "%253Cscript%253E",
            "%25253cscript%25253e",
            "%u003cscript%u003e",
            "&lt;script&gt;",
            "&LT;script&#62;",
            "&#x3C;script&#x00003e;",
            "&ltscript&gt",
            "\\x3cscript\\x3e",
            "\\u003cscript\\u003E",
            "\\u{3c}script\\u{3e}",
            "\\074script\\076",
            "\u{ff1c}script\u{ff1e}",
            "<scr\0ipt>",
            "<scr%00ipt>",
            "<scr\u{200b}ipt>",
            "<\u{1d4c8}cript>",
            "<\u{17f}cript>",
            "&amp;lt;script&amp;gt;",
            "%26lt%3Bscript%26gt%3b",
        ] {
            check(text, "<script>");
        }
        check("UNION/**/SELECT", "union select");
        check("UNION /*!50000SELECT*/ 1", "union select 1");
        check("UNION/*foo*/\t\r\n  SELECT", "union\nselect");
        check("a /* open", "a /* open");
        check("%C0%AE%C0%AE%C0%AFetc", "../etc");
        check("100% sure & ready", "100% sure & ready");
        check("Grüße 漢字", "grüße 漢字");
        check("\u{560d}\u{560a}Set-Cookie: a", "\nset-cookie: a");
        check("c:\\new\\table", "c:\\new\\table");
    }

    #[test]
    fn what_was_seen_is_told() {
        let mut normalizer = Normalizer::default();
        assert!(normalizer.run(b"gpt-4o_mini.1").1.plain);
        let seen = normalizer.run(b"a%2500b").1;
        assert!(seen.nul && seen.rounds == 2 && !seen.plain);
        assert!(normalizer.run(b"\xc0\xaf").1.overlong);
        assert_eq!(normalizer.run("漢字".as_bytes()).1.foreign, 2);
        assert!(normalizer.run(b"w'h'o").1.quoted);
    }

    /// Wrong: a text that grows or never comes to rest.
    #[test]
    fn nothing_grows_and_every_text_comes_to_an_end() {
        let mut normalizer = Normalizer::default();
        for piece in
            ["%25", "&amp;", "\\x5c", "/*", "*/", "&#", "\u{ff05}25", "%u0025", "\\", "\0 "]
        {
            let text = piece.repeat(5_000);
            let (got, seen) = normalizer.run(text.as_bytes());
            assert!(got.len() <= text.len() && usize::from(seen.rounds) <= ROUNDS_MAX, "{piece}");
        }
        let mut state = 1_u64;
        for _ in 0..2_000 {
            let text: Vec<u8> = (0..64)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    b"%25&#x;\\u00{}/*! \n\xc0\xafAb3"[(state >> 33) as usize % 23]
                })
                .collect();
            assert!(normalizer.run(&text).0.len() <= text.len());
        }
    }
}
