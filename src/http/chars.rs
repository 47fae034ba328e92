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

/// The index of the first byte at or after `from` that may not stand in a field value, or the
/// length.
///
/// Eight bytes at a time: a byte below 0x20 or equal to 0x7f raises its own high bit. A borrow may
/// raise bits above the lowest hit, never below it, so the lowest one is exact; a hit that is a
/// tab is stepped over.
#[inline(always)]
pub(super) fn end_of_value(bytes: &[u8], from: usize) -> usize {
    const ONES: u64 = u64::MAX / 255;
    let mut index = from;
    loop {
        let Some(word) = bytes.get(index..).and_then(|rest| rest.first_chunk::<8>()) else {
            return end_of(bytes, index, VALUE);
        };
        let word = u64::from_le_bytes(*word);
        let delete = word ^ (ONES * 0x7f);
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let hits = (control | (delete.wrapping_sub(ONES) & !delete)) & (ONES * 0x80);
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
            assert_eq!(
                is(byte, TARGET),
                printable && !b"\"#<>".contains(&byte),
                "{byte:#x}"
            );
            assert!(!is(byte, PATH) || is(byte, TARGET));
            let unsafe_in_path = b"\"#<>?[]{}|\\^`".contains(&byte);
            assert_eq!(
                is(byte, PATH),
                printable && !unsafe_in_path,
                "path {byte:#x}"
            );
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
                    assert_eq!(
                        end_of_value(&bytes, 0),
                        expected,
                        "{byte:#x} at {at}/{length}"
                    );
                }
            }
        }
        assert_eq!(end_of_value(b"\t\t\t\t\t\t\t\t\t\t\r", 0), 10);
        assert_eq!(end_of_value(b"abc", 7), 7);
    }

    /// Blank-only values come out empty.
    #[test]
    fn trims_blanks_only() {
        for (input, expected) in [
            (&b" \ta b\t "[..], &b"a b"[..]),
            (b" \t ", b""),
            (b"", b""),
            (b"\x0bx", b"\x0bx"),
        ] {
            assert_eq!(trim(input), expected);
        }
    }
}
