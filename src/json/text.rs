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
const BLOCK: usize = 64;

/// The index of the first quote, backslash or control character at or after `from`, or the
/// length.
#[inline(always)]
pub(super) fn end_of_plain(bytes: &[u8], from: usize) -> usize {
    let mut index = from;
    loop {
        // Four words decide about keys and other short runs.
        for _ in 0..4 {
            let Some(word) = bytes.get(index..).and_then(|rest| rest.first_chunk::<8>()) else {
                return end_of_plain_bytes(bytes, index);
            };
            let hits = plain_hits(u64::from_le_bytes(*word));
            if hits != 0 {
                return index + (hits.trailing_zeros() / 8) as usize;
            }
            index += 8;
        }
        index = skip_plain_blocks(bytes, index);
    }
}

/// The high bit of each byte that ends a run of plain text. A borrow raises bits above the lowest
/// hit only, so that one is exact.
#[inline(always)]
fn plain_hits(word: u64) -> u64 {
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    ((word.wrapping_sub(ONES * 0x20) & !word)
        | (quote.wrapping_sub(ONES) & !quote)
        | (backslash.wrapping_sub(ONES) & !backslash))
        & HIGHS
}

#[inline(always)]
fn ends_plain(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// Skips blocks without such a byte. Whether a block has one, not where, is what compilers turn
/// into vector code.
#[inline]
fn skip_plain_blocks(bytes: &[u8], from: usize) -> usize {
    let mut index = from;
    while let Some(block) = bytes.get(index..).and_then(|rest| rest.first_chunk::<BLOCK>()) {
        if block.iter().fold(false, |ends, &byte| ends | ends_plain(byte)) {
            break;
        }
        index += BLOCK;
    }
    index
}

/// Byte by byte, for the last few.
fn end_of_plain_bytes(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    from + rest.iter().position(|&byte| ends_plain(byte)).unwrap_or(rest.len())
}
