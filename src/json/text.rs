//! JSON strings: reading, writing, and the search that both rest on.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use super::reader::Reader;
use crate::kernel;

/// The text of a raw JSON string with its quotes; `None` when it is not a whole valid string.
pub fn string(raw: &[u8]) -> Option<Cow<'_, str>> {
    let mut reader = Reader::new(raw, 0);
    if reader.peek() != Some(b'"') {
        return None;
    }
    reader.string().ok()?;
    if reader.position != raw.len() {
        return None;
    }
    let inner = raw.get(1..raw.len().checked_sub(1)?)?;
    if memchr::memchr(b'\\', inner).is_none() {
        return std::str::from_utf8(inner).ok().map(Cow::Borrowed);
    }
    unescape(inner).map(Cow::Owned)
}

/// Decodes the inside of a string.
pub(super) fn unescape(raw: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(length) = memchr::memchr(b'\\', rest) {
        text.push_str(std::str::from_utf8(rest.get(..length)?).ok()?);
        let (&kind, tail) = rest.get(length + 1..)?.split_first()?;
        rest = tail;
        match kind {
            b'"' | b'\\' | b'/' => text.push(char::from(kind)),
            b'b' => text.push('\x08'),
            b'f' => text.push('\x0c'),
            b'n' => text.push('\n'),
            b'r' => text.push('\r'),
            b't' => text.push('\t'),
            b'u' => {
                let (unit, tail) = hex_unit(rest)?;
                rest = tail;
                if (0xd800..0xdc00).contains(&unit) {
                    let (low, tail) = hex_unit(rest.strip_prefix(b"\\u")?)?;
                    rest = tail;
                    let low = low.checked_sub(0xdc00).filter(|&low| low < 0x400)?;
                    text.push(char::from_u32(0x10000 + ((unit - 0xd800) << 10) + low)?);
                } else {
                    text.push(char::from_u32(unit)?);
                }
            }
            _ => return None,
        }
    }
    text.push_str(std::str::from_utf8(rest).ok()?);
    Some(text)
}

/// Four hexadecimal digits.
pub(super) fn hex_unit(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_first_chunk::<4>()?;
    let mut unit = 0;
    for &digit in digits {
        unit = unit << 4 | char::from(digit).to_digit(16)?;
    }
    Some((unit, rest))
}

/// Appends `text` as a JSON string with its quotes.
pub fn escape_into(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    kernel::json_escape(out, text.as_bytes());
    out.push(b'"');
}

const ONES: u64 = u64::MAX / 255;
const HIGHS: u64 = ONES * 0x80;

/// The index of the first quote, backslash or control character at or after `from`, or the
/// length. Eight bytes at a time; a borrow raises bits above the lowest hit only, so that one is
/// exact.
#[inline(always)]
pub(super) fn end_of_plain(bytes: &[u8], from: usize) -> usize {
    let mut index = from;
    while let Some(word) = bytes.get(index..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*word);
        let quote = word ^ (ONES * b'"' as u64);
        let backslash = word ^ (ONES * b'\\' as u64);
        let hits = ((word.wrapping_sub(ONES * 0x20) & !word)
            | (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash))
            & HIGHS;
        if hits != 0 {
            return index + (hits.trailing_zeros() / 8) as usize;
        }
        index += 8;
    }
    while let Some(&byte) = bytes.get(index) {
        if byte < 0x20 || byte == b'"' || byte == b'\\' {
            break;
        }
        index += 1;
    }
    index
}
