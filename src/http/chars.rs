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
fn word_at(bytes: &[u8], from: usize) -> Option<u64> {
    let word = bytes.get(from..)?.first_chunk::<8>()?;
    Some(u64::from_le_bytes(*word))
}

/// The high bit of each byte that equals `byte`. A borrow may raise bits above the lowest hit,
/// never below it: the lowest one is exact.
#[inline(always)]
fn hits(word: u64, byte: u8) -> u64 {
    let zero_where_equal = word ^ (ONES * byte as u64);
    zero_where_equal.wrapping_sub(ONES) & !zero_where_equal & HIGHS
}

/// The index of the first `byte` at or after `from`, or the length. For distances of a few bytes,
/// where the call of a vector search costs more than it gains.
#[inline(always)]
pub(super) fn find_near(bytes: &[u8], from: usize, byte: u8) -> usize {
    let mut index = from;
    while let Some(word) = word_at(bytes, index) {
        let hits = hits(word, byte);
        if hits != 0 {
            return index + (hits.trailing_zeros() / 8) as usize;
        }
        index += 8;
    }
    while bytes.get(index).is_some_and(|&other| other != byte) {
        index += 1;
    }
    index
}

/// The index of the first byte at or after `from` that may not stand in a field value, or the
/// length. A byte below 0x20 raises its own high bit when 0x20 is taken from it; a hit that is a
/// tab is stepped over.
#[inline(always)]
pub(super) fn end_of_value(bytes: &[u8], from: usize) -> usize {
    let mut index = from;
    while let Some(word) = word_at(bytes, index) {
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let hits = control | hits(word, 0x7f);
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

/// Whether `text` equals `lower`, which holds lower-case letters, digits and hyphens only, in any
/// case of letters. Of each letter the bit 0x20 is ignored, of no other byte: a carriage return
/// with that bit would be a hyphen.
#[inline(always)]
pub(super) fn equals_lower(text: &[u8], lower: &[u8]) -> bool {
    #[inline(always)]
    fn same(text: u64, lower: u64) -> bool {
        text | (lower >> 1 & (ONES * 0x20)) == lower
    }
    if text.len() != lower.len() {
        return false;
    }
    let (mut texts, mut lowers) = (text, lower);
    while let (Some((text, text_rest)), Some((lower, lower_rest))) =
        (texts.split_first_chunk::<8>(), lowers.split_first_chunk::<8>())
    {
        if !same(u64::from_le_bytes(*text), u64::from_le_bytes(*lower)) {
            return false;
        }
        (texts, lowers) = (text_rest, lower_rest);
    }
    if let (Some(text), Some(lower)) = (text.last_chunk::<8>(), lower.last_chunk::<8>()) {
        return same(u64::from_le_bytes(*text), u64::from_le_bytes(*lower));
    }
    texts.iter().zip(lowers).all(|(&text, &lower)| same(u64::from(text), u64::from(lower)))
}

/// `bytes` without the spaces and tabs at both ends.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [b' ' | b'\t', tail @ ..] = rest {
        rest = tail;
    }
    while let [head @ .., b' ' | b'\t'] = rest {
        rest = head;
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
        }
    }

    /// The eight-byte search must stop exactly where the byte-wise one does.
    #[test]
    fn value_search_agrees_with_the_table() {
        for length in 0..40 {
            for at in 0..length {
                for byte in 0..=255u8 {
                    let mut bytes = vec![b'x'; length];
                    bytes[at] = byte;
                    bytes[length / 2] ^= 0x80;
                    let expected = end_of(&bytes, 0, VALUE);
                    assert_eq!(end_of_value(&bytes, 0), expected, "{byte:#x} at {at}/{length}");
                }
            }
        }
        assert_eq!(end_of_value(b"\t\t\t\t\t\t\t\t\t\t\r", 0), 10);
        assert_eq!(end_of_value(b"abc", 7), 7);
    }

    /// A wrong hit would cut a name in the wrong place.
    #[test]
    fn near_search_finds_the_first() {
        for length in 0..30 {
            for at in 0..=length {
                let mut bytes = vec![b':' ^ 1; length];
                bytes.extend_from_slice(b";:;:");
                bytes[at] = b':';
                assert_eq!(find_near(&bytes, 0, b':'), at);
                assert_eq!(find_near(&bytes[..at], 0, b':'), at);
            }
        }
        assert_eq!(find_near(b"ab", 5, b':'), 5);
    }

    /// Folding more than letters would let `Content\rLength` pass for a framing field.
    #[test]
    fn folds_letters_only() {
        for name in ["te", "date", "trailer", "keep-alive", "x-api-key9", "transfer-encoding"] {
            for at in 0..name.len() {
                for byte in 0..=255u8 {
                    let mut text = name.to_uppercase().into_bytes();
                    text[at] = byte;
                    let expected = text.eq_ignore_ascii_case(name.as_bytes());
                    assert_eq!(equals_lower(&text, name.as_bytes()), expected, "{text:?}");
                }
            }
            assert!(!equals_lower(&name.as_bytes()[1..], name.as_bytes()));
        }
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
