//! JSON without a tree: what the hot path needs of a document, and strict validation in the same
//! pass (RFC 8259).
//!
//! What is accepted is exactly what `serde_json` accepts as a `Value` with its default settings:
//! UTF-8 only and without a byte order mark, paired surrogates, at most 127 levels, numbers within
//! the range of a double. Values are handed out as ranges of the document, so that they can be
//! read, or replaced in place, without writing the rest again.
//!
//! Nothing here recurses: the open levels are one bit each.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// Levels of arrays and objects that may be open at once.
pub const DEPTH_MAX: u32 = 127;

/// One member of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its key, raw and without the quotes.
    pub key: Range<usize>,
    /// Its value, raw; a string with its quotes.
    pub value: Range<usize>,
}

/// Why a document is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JsonError {
    /// It is not JSON.
    Syntax {
        /// Where that shows.
        offset: usize,
        /// What was expected, in lower case without a full stop.
        what: &'static str,
    },
    /// It is JSON, but not an object.
    NotAnObject,
    /// A wanted member is there twice: readers would disagree about which counts.
    Duplicate {
        /// Its index in the list of wanted names.
        index: usize,
    },
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JsonError::Syntax { offset, what } => {
                write!(f, "invalid JSON at byte {offset}: {what}")
            }
            JsonError::NotAnObject => f.write_str("a JSON object is expected"),
            JsonError::Duplicate { .. } => f.write_str("a member is there twice"),
        }
    }
}

impl std::error::Error for JsonError {}

/// Validates a whole document and finds members of its top-level object.
///
/// `found[i]` becomes the raw value of the member named `wanted[i]`, or `None`; keys are compared
/// after unescaping. Both slices have the same length.
pub fn members(
    json: &[u8],
    wanted: &[&str],
    found: &mut [Option<Range<usize>>],
) -> Result<(), JsonError> {
    debug_assert_eq!(wanted.len(), found.len());
    found.fill(None);
    let mut duplicate = None;
    for_each_member(json, |member| {
        let raw = json.get(member.key).unwrap_or_default();
        if let Some(index) = wanted.iter().position(|name| key_is(raw, name))
            && let Some(place) = found.get_mut(index)
        {
            if place.is_some() {
                duplicate.get_or_insert(index);
            }
            *place = Some(member.value);
        }
    })?;
    match duplicate {
        Some(index) => Err(JsonError::Duplicate { index }),
        None => Ok(()),
    }
}

/// Validates a whole document and calls `f` for each member of its top-level object. What was
/// called for before an error stands.
pub fn for_each_member(json: &[u8], mut f: impl FnMut(Member)) -> Result<(), JsonError> {
    let mut reader = Reader { json, position: 0 };
    reader.skip_blanks();
    if reader.peek() != Some(b'{') {
        reader.value(0)?;
        reader.end()?;
        return Err(JsonError::NotAnObject);
    }
    reader.position += 1;
    reader.skip_blanks();
    if reader.peek() == Some(b'}') {
        reader.position += 1;
        return reader.end();
    }
    loop {
        let key = reader.key()?;
        let start = reader.position;
        reader.value(1)?;
        f(Member {
            key,
            value: start..reader.position,
        });
        reader.skip_blanks();
        match reader.peek() {
            Some(b',') => reader.position += 1,
            Some(b'}') => break,
            _ => return Err(reader.error("a comma or a closing brace was expected")),
        }
        reader.skip_blanks();
    }
    reader.position += 1;
    reader.end()
}

/// Validates a whole document.
pub fn validate(json: &[u8]) -> Result<(), JsonError> {
    let mut reader = Reader { json, position: 0 };
    reader.skip_blanks();
    reader.value(0)?;
    reader.end()
}

/// The range of the value that a path such as `choices.0.message.content` leads to; `None` when
/// there is no such value. Validates the whole document.
///
/// A part of the path is a member's name, or within an array an index. Of repeated members the
/// last counts. The empty path is the document itself. A name that holds a dot cannot be reached.
pub fn find_path(json: &[u8], path: &str) -> Result<Option<Range<usize>>, JsonError> {
    validate(json)?;
    let mut reader = Reader { json, position: 0 };
    reader.skip_blanks();
    let start = reader.position;
    reader.value(0)?;
    let mut range = start..reader.position;
    if path.is_empty() {
        return Ok(Some(range));
    }
    for part in path.split('.') {
        match child(json, range, part)? {
            Some(value) => range = value,
            None => return Ok(None),
        }
    }
    Ok(Some(range))
}

/// The member or element `part` of the valid value at `range`.
fn child(json: &[u8], range: Range<usize>, part: &str) -> Result<Option<Range<usize>>, JsonError> {
    let mut reader = Reader {
        json,
        position: range.start,
    };
    let is_object = match reader.peek() {
        Some(b'{') => true,
        Some(b'[') => false,
        _ => return Ok(None),
    };
    let wanted = if is_object { None } else { index(part) };
    if !is_object && wanted.is_none() {
        return Ok(None);
    }
    let mut found = None;
    let mut count = 0;
    reader.position += 1;
    reader.skip_blanks();
    while !matches!(reader.peek(), None | Some(b'}' | b']')) {
        let matches = if is_object {
            let key = reader.key()?;
            key_is(json.get(key).unwrap_or_default(), part)
        } else {
            wanted == Some(count)
        };
        count += 1;
        let start = reader.position;
        reader.value(0)?;
        if matches {
            found = Some(start..reader.position);
        }
        reader.skip_blanks();
        if reader.peek() == Some(b',') {
            reader.position += 1;
            reader.skip_blanks();
        }
    }
    Ok(found)
}

/// A decimal index without sign or leading zeros.
fn index(part: &str) -> Option<usize> {
    let is_plain = part == "0" || !part.starts_with('0');
    if is_plain && part.bytes().all(|byte| byte.is_ascii_digit()) {
        part.parse().ok()
    } else {
        None
    }
}

/// Whether a raw key, without its quotes, spells this name.
fn key_is(raw: &[u8], name: &str) -> bool {
    if memchr::memchr(b'\\', raw).is_none() {
        return raw == name.as_bytes();
    }
    unescape(raw).is_some_and(|key| key == name)
}

/// The text of a raw JSON string with its quotes; `None` when it is not a whole valid string.
pub fn string(raw: &[u8]) -> Option<Cow<'_, str>> {
    let mut reader = Reader {
        json: raw,
        position: 0,
    };
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
fn unescape(raw: &[u8]) -> Option<String> {
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
fn hex_unit(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_first_chunk::<4>()?;
    let mut unit = 0;
    for &digit in digits {
        unit = unit << 4 | char::from(digit).to_digit(16)?;
    }
    Some((unit, rest))
}

/// Appends `text` as a JSON string with its quotes.
pub fn escape_into(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.reserve(text.len() + 2);
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut start = 0;
    loop {
        let end = end_of_plain(bytes, start);
        out.extend_from_slice(bytes.get(start..end).unwrap_or_default());
        let Some(&byte) = bytes.get(end) else { break };
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            _ => {
                let high = HEX[usize::from(byte >> 4)];
                let low = HEX[usize::from(byte & 15)];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
        }
        start = end + 1;
    }
    out.push(b'"');
}

/// The document with the bytes at `range` replaced. A range that does not lie within it is
/// brought to its bounds.
pub fn replace(json: &[u8], range: Range<usize>, with: &[u8]) -> Vec<u8> {
    let end = range.end.min(json.len());
    let start = range.start.min(end);
    let mut out = Vec::with_capacity(json.len() - (end - start) + with.len());
    out.extend_from_slice(json.get(..start).unwrap_or_default());
    out.extend_from_slice(with);
    out.extend_from_slice(json.get(end..).unwrap_or_default());
    out
}

const ONES: u64 = u64::MAX / 255;
const HIGHS: u64 = ONES * 0x80;

/// The index of the first quote, backslash or control character at or after `from`, or the
/// length. Eight bytes at a time; a borrow raises bits above the lowest hit only, so that one is
/// exact.
#[inline(always)]
fn end_of_plain(bytes: &[u8], from: usize) -> usize {
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

/// Walks a document and checks every byte of it.
struct Reader<'a> {
    json: &'a [u8],
    position: usize,
}

impl Reader<'_> {
    #[inline(always)]
    fn peek(&self) -> Option<u8> {
        self.json.get(self.position).copied()
    }

    #[cold]
    fn error(&self, what: &'static str) -> JsonError {
        JsonError::Syntax {
            offset: self.position.min(self.json.len()),
            what,
        }
    }

    #[inline(always)]
    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.position += 1;
        }
    }

    /// Only blanks may follow.
    fn end(&mut self) -> Result<(), JsonError> {
        self.skip_blanks();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.error("nothing more was expected")),
        }
    }

    /// A key, its colon and the blanks behind it; gives the range within the quotes.
    fn key(&mut self) -> Result<Range<usize>, JsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.error("a member's name in quotes was expected"));
        }
        let start = self.position + 1;
        self.string()?;
        let end = self.position - 1;
        self.skip_blanks();
        if self.peek() != Some(b':') {
            return Err(self.error("a colon was expected"));
        }
        self.position += 1;
        self.skip_blanks();
        Ok(start..end)
    }

    /// A whole value, with `depth` levels open around it.
    fn value(&mut self, depth: u32) -> Result<(), JsonError> {
        // The lowest bit is the innermost level: 1 for an object.
        let mut objects: u128 = 0;
        let mut open = depth;
        loop {
            match self.peek() {
                Some(b'"') => self.string()?,
                Some(b'{' | b'[') => {
                    if open >= DEPTH_MAX {
                        return Err(self.error("not more than 127 levels are allowed"));
                    }
                    let is_object = self.peek() == Some(b'{');
                    self.position += 1;
                    self.skip_blanks();
                    let close = if is_object { b'}' } else { b']' };
                    if self.peek() == Some(close) {
                        self.position += 1;
                    } else {
                        objects = objects << 1 | u128::from(is_object);
                        open += 1;
                        if is_object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.word(b"true")?,
                Some(b'f') => self.word(b"false")?,
                Some(b'n') => self.word(b"null")?,
                _ => return Err(self.error("a value was expected")),
            }
            // A value is complete: close what it completes, or go on to the next one.
            loop {
                if open == depth {
                    return Ok(());
                }
                self.skip_blanks();
                let is_object = objects & 1 == 1;
                match self.peek() {
                    Some(b',') => {
                        self.position += 1;
                        self.skip_blanks();
                        if is_object {
                            self.key()?;
                        }
                        break;
                    }
                    Some(b'}') if is_object => {}
                    Some(b']') if !is_object => {}
                    _ => return Err(self.error("a comma or a closing bracket was expected")),
                }
                self.position += 1;
                objects >>= 1;
                open -= 1;
            }
        }
    }

    fn word(&mut self, word: &'static [u8]) -> Result<(), JsonError> {
        let rest = self.json.get(self.position..).unwrap_or_default();
        if !rest.starts_with(word) {
            return Err(self.error("true, false or null was expected"));
        }
        self.position += word.len();
        Ok(())
    }

    /// A string, from its opening to behind its closing quote.
    #[inline]
    fn string(&mut self) -> Result<(), JsonError> {
        let start = self.position + 1;
        self.position = start;
        loop {
            self.position = end_of_plain(self.json, self.position);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(_) => return Err(self.error("a control character must be escaped")),
                None => return Err(self.error("the string does not end")),
            }
        }
        let inner = self.json.get(start..self.position).unwrap_or_default();
        if let Err(error) = std::str::from_utf8(inner) {
            self.position = start + error.valid_up_to();
            return Err(self.error("text must be UTF-8"));
        }
        self.position += 1;
        Ok(())
    }

    /// An escape; two of them for a pair of surrogates.
    #[cold]
    fn escape(&mut self) -> Result<(), JsonError> {
        let rest = self.json.get(self.position + 1..).unwrap_or_default();
        match rest {
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => {
                self.position += 2;
                return Ok(());
            }
            [b'u', rest @ ..] => match hex_unit(rest) {
                Some((0xd800..=0xdbff, rest)) => {
                    let low = rest.strip_prefix(b"\\u").and_then(hex_unit);
                    if let Some((0xdc00..=0xdfff, _)) = low {
                        self.position += 12;
                        return Ok(());
                    }
                }
                Some((0xdc00..=0xdfff, _)) | None => {}
                Some(_) => {
                    self.position += 6;
                    return Ok(());
                }
            },
            _ => {}
        }
        Err(self.error("the escape is not valid"))
    }

    /// A number within the range of a double.
    fn number(&mut self) -> Result<(), JsonError> {
        let start = self.position;
        if self.peek() == Some(b'-') {
            self.position += 1;
        }
        match self.peek() {
            Some(b'0') => {
                self.position += 1;
                if matches!(self.peek(), Some(b'0'..=b'9')) {
                    return Err(self.error("a number must not begin with 0"));
                }
            }
            _ => self.digits()?,
        }
        let mut is_long = self.position - start > 300;
        if self.peek() == Some(b'.') {
            self.position += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.position += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.position += 1;
            }
            self.digits()?;
            is_long = true;
        }
        if is_long && self.is_out_of_range(start) {
            self.position = start;
            return Err(self.error("the number is out of range"));
        }
        Ok(())
    }

    /// One or more digits.
    #[inline]
    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.position;
        while let Some(b'0'..=b'9') = self.peek() {
            self.position += 1;
        }
        if self.position == start {
            return Err(self.error("a digit was expected"));
        }
        Ok(())
    }

    /// Whether the number that begins at `start` and ends here is beyond a double.
    fn is_out_of_range(&self, start: usize) -> bool {
        let text = self.json.get(start..self.position).unwrap_or_default();
        let number = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse::<f64>().ok());
        !number.is_some_and(f64::is_finite)
    }
}
