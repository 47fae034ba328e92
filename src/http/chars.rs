//! Classes of bytes and the searches over them.
//!
//! One table of 256 flag bytes answers every membership question; the searches return the first
//! byte that is *not* of a class, so the caller names the error.
#![forbid(unsafe_code)]

/// `tchar` of RFC 9110 section 5.6.2: names of fields, methods, codings.
pub(super) const TOKEN: u8 = 1;
/// What a request target may hold at all: URI characters, and in a query also those that browsers
/// send unescaped (WHATWG URL, query percent-encode set).
pub(super) const TARGET: u8 = 2;
/// `pchar` or `/` of RFC 3986 section 3.3.
pub(super) const PATH: u8 = 4;
/// `reg-name` of RFC 3986 section 3.2.2 without `%` and without the comma: a list of hosts is how
/// some recipients join two Host fields.
pub(super) const REG_NAME: u8 = 8;
/// Field content: HTAB, SP, VCHAR, obs-text (RFC 9110 section 5.5).
pub(super) const VALUE: u8 = 16;
/// `qdtext` of RFC 9110 section 5.6.4: what a quoted string holds unescaped.
pub(super) const QUOTED: u8 = 32;

/// Those of `PATH` that no normalizing looks at: neither `%` nor the dot.
pub(super) const PLAIN_PATH: u8 = 64;

const fn class_of(byte: u8) -> u8 {
    let alphanumeric = byte.is_ascii_alphanumeric();
    let mut class = 0;
    if alphanumeric || is_in(byte, b"!#$%&'*+-.^_`|~") {
        class |= TOKEN;
    }
    if alphanumeric || is_in(byte, b"-._~!$&'()*+;=") {
        class |= REG_NAME;
    }
    if alphanumeric || is_in(byte, b"-._~!$&'()*+,;=:@/%") {
        class |= PATH;
        if byte != b'%' && byte != b'.' {
            class |= PLAIN_PATH;
        }
    }
    if alphanumeric || is_in(byte, b"-._~!$&'()*+,;=:@/%?[]{}|\\^`") {
        class |= TARGET;
    }
    if byte == b'\t' || (byte >= b' ' && byte != 0x7f) {
        class |= VALUE;
        if byte != b'"' && byte != b'\\' {
            class |= QUOTED;
        }
    }
    class
}

const fn is_in(byte: u8, set: &[u8]) -> bool {
    let mut index = 0;
    while index < set.len() {
        if set[index] == byte {
            return true;
        }
        index += 1;
    }
    false
}

static CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = class_of(byte as u8);
        byte += 1;
    }
    table
};

/// Whether `byte` belongs to `class`.
#[inline(always)]
pub(super) fn is(byte: u8, class: u8) -> bool {
    CLASS[usize::from(byte)] & class != 0
}

/// The index of the first byte at or after `from` that is not in `class`, or the length.
#[inline(always)]
pub(super) fn end_of(bytes: &[u8], from: usize, class: u8) -> usize {
    let mut index = from;
    while let Some(bytes) = bytes.get(index..).and_then(|rest| rest.first_chunk::<4>()) {
        let [a, b, c, d] = bytes.map(|byte| CLASS[usize::from(byte)]);
        if a & b & c & d & class == 0 {
            break;
        }
        index += 4;
    }
    while let Some(&byte) = bytes.get(index) {
        if !is(byte, class) {
            break;
        }
        index += 1;
    }
    index
}

/// Whether every byte belongs to `class` (true for none).
pub(super) fn all(bytes: &[u8], class: u8) -> bool {
    bytes.iter().all(|&byte| is(byte, class))
}

const ONES: u64 = u64::MAX / 255;
const HIGHS: u64 = ONES * 0x80;

/// Eight bytes from `from` on, the first one lowest; `None` near the end.
#[inline(always)]
pub(super) fn word_at(bytes: &[u8], from: usize) -> Option<u64> {
    let word = bytes.get(from..)?.first_chunk::<8>()?;
    Some(u64::from_le_bytes(*word))
}

/// The high bit of each byte that is a control character other than HTAB, or DEL. Exact in every
/// byte: no sum of seven-bit numbers here carries into the next one. HTAB hits as well.
#[inline(always)]
fn control_hits(word: u64) -> u64 {
    let low = word & !HIGHS;
    (!(low + ONES * 0x60) | (low + ONES)) & !word & HIGHS
}

/// The high bit of each byte that is not a letter or hyphen, of which nearly all names consist.
/// Exact in every byte.
#[inline(always)]
fn uncommon_hits(word: u64) -> u64 {
    let low = word & !HIGHS;
    let folded = low | (ONES * 0x20);
    let letter = (folded + ONES * (0x80 - b'a' as u64)) & !(folded + ONES * (0x7f - b'z' as u64));
    let hyphen = !((low ^ (ONES * b'-' as u64)) + !HIGHS);
    !((letter | hyphen) & !word) & HIGHS
}

/// The high bit of each byte that is not in [`TARGET`] (controls and SP, DEL and beyond, and the four that are
/// neither URI characters nor sent by browsers) and of each `!`. Exact in every byte.
#[inline(always)]
fn target_hits(word: u64) -> u64 {
    let low = word & !HIGHS;
    let above_hash = low + ONES * u64::from(0x7f - b'#');
    let angle_bits = ONES * u64::from(!(b'<' ^ b'>') & 0x7f);
    let angle = !(((low ^ (ONES * u64::from(b'<'))) & angle_bits) + !HIGHS);
    (!above_hash | (low + ONES) | angle | word) & HIGHS
}

/// The index of the first byte at or after `from` that is not in [`TARGET`], or the length.
#[inline(always)]
pub(super) fn end_of_target(bytes: &[u8], from: usize) -> usize {
    let mut index = from;
    while let Some(word) = word_at(bytes, index) {
        let hits = target_hits(word);
        if hits == 0 {
            index += 8;
            continue;
        }
        index += (hits.trailing_zeros() / 8) as usize;
        if bytes.get(index) != Some(&b'!') {
            return index;
        }
        index += 1;
    }
    end_of(bytes, index, TARGET)
}

/// The index of the first byte at or after `from` that is not in [`TOKEN`], or the length.
#[inline(always)]
pub(super) fn end_of_token(bytes: &[u8], from: usize) -> usize {
    let mut index = from;
    while let Some(word) = word_at(bytes, index) {
        let hits = uncommon_hits(word);
        if hits == 0 {
            index += 8;
            continue;
        }
        index += (hits.trailing_zeros() / 8) as usize;
        if !bytes.get(index).is_some_and(|&byte| is(byte, TOKEN)) {
            return index;
        }
        index += 1;
    }
    end_of(bytes, index, TOKEN)
}

/// The index of the first byte at or after `from` that may not stand in a field value, or the
/// length.
#[inline(always)]
pub(super) fn end_of_value(bytes: &[u8], from: usize) -> usize {
    let mut index = from;
    while let Some(word) = word_at(bytes, index) {
        let hits = control_hits(word);
        if hits == 0 {
            index += 8;
            continue;
        }
        index += (hits.trailing_zeros() / 8) as usize;
        if bytes.get(index) != Some(&b'\t') {
            return index;
        }
        index += 1;
    }
    end_of(bytes, index, VALUE)
}

/// Fewer than eight bytes as a word, the first one lowest, zeros behind them.
#[cold]
pub(super) fn short_word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// The bits of `lower`, which holds lower-case letters, digits, hyphens and zeros only, that the case of
/// letters changes: 0x20 of each letter and of no other byte, as a carriage return with that bit would be a
/// hyphen.
pub(super) const fn case_bits(lower: u64) -> u64 {
    lower >> 1 & (ONES * 0x20)
}

/// `bytes` without the spaces and tabs at both ends.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let mut rest = trim_start(bytes);
    while let [head @ .., b' ' | b'\t'] = rest {
        rest = head;
    }
    rest
}

/// `bytes` without the spaces and tabs before them.
pub(super) fn trim_start(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [b' ' | b'\t', tail @ ..] = rest {
        rest = tail;
    }
    rest
}

/// The value of a hexadecimal digit.
#[inline]
pub(super) fn hex_value(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A byte in the wrong class is a smuggling or splitting hole.
    #[test]
    fn classes_are_those_of_the_grammar() {
        for byte in 0..=255u8 {
            let printable = (0x21..0x7f).contains(&byte);
            let delimiter = b"\"(),/:;<=>?@[\\]{}".contains(&byte);
            assert_eq!(is(byte, TOKEN), printable && !delimiter, "token {byte:#x}");
            let value = byte == 9 || byte == 0x20 || printable || byte >= 0x80;
            assert_eq!(is(byte, VALUE), value, "value {byte:#x}");
            assert_eq!(is(byte, QUOTED), value && byte != b'"' && byte != b'\\');
            assert_eq!(is(byte, TARGET), printable && !b"\"#<>".contains(&byte), "{byte:#x}");
            assert!(!is(byte, PATH) || is(byte, TARGET));
            let unsafe_in_path = b"\"#<>?[]{}|\\^`".contains(&byte);
            assert_eq!(is(byte, PATH), printable && !unsafe_in_path, "path {byte:#x}");
            assert!(!is(byte, REG_NAME) || is(byte, PATH));
            assert_eq!(is(byte, PLAIN_PATH), is(byte, PATH) && !b"%.".contains(&byte));
        }
    }

    /// The eight-byte searches must stop exactly where the byte-wise one does.
    #[test]
    fn searches_agree_with_the_table() {
        for length in 0..40 {
            for at in 0..length {
                for byte in 0..=255u8 {
                    let mut bytes = vec![b'x'; length];
                    bytes[at] = byte;
                    bytes[length / 2] ^= 0x80;
                    assert_eq!(end_of_token(&bytes, 0), end_of(&bytes, 0, TOKEN));
                    bytes[length / 2] ^= 0x80;
                    assert_eq!(end_of_token(&bytes, 0), end_of(&bytes, 0, TOKEN));
                    assert_eq!(end_of_target(&bytes, 0), end_of(&bytes, 0, TARGET));
                    let expected = end_of(&bytes, 0, VALUE);
                    assert_eq!(end_of_value(&bytes, 0), expected, "{byte:#x} at {at}/{length}");
                }
            }
        }
        assert_eq!(end_of_value(b"\t\t\t\t\t\t\t\t\t\t\r", 0), 10);
        assert_eq!(end_of_value(b"abc", 7), 7);
    }

    /// Folding more than letters would let `Content\rLength` pass for a framing field.
    #[test]
    fn folds_letters_only() {
        let lower = b"a-z09-tx";
        for at in 0..8 {
            for byte in 0..=255u8 {
                let mut text = *b"A-Z09-TX";
                text[at] = byte;
                let word = u64::from_le_bytes(*lower);
                let folds = u64::from_le_bytes(text) | case_bits(word) == word;
                assert_eq!(folds, text.eq_ignore_ascii_case(lower), "{text:?}");
            }
        }
    }

    /// A name at the end of a buffer must read like one within it.
    #[test]
    fn short_words_end_in_zeros() {
        assert_eq!(short_word(b""), 0);
        assert_eq!(short_word(b"te").to_le_bytes(), *b"te\0\0\0\0\0\0");
        assert_eq!(short_word(b"expires").to_le_bytes(), *b"expires\0");
    }

    /// Blank-only values come out empty.
    #[test]
    fn trims_blanks_only() {
        for (input, expected) in
            [(&b" \ta b\t "[..], &b"a b"[..]), (b" \t ", b""), (b"", b""), (b"\x0bx", b"\x0bx")]
        {
            assert_eq!(trim(input), expected);
        }
    }
}
