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

mod indexed;
mod number;
mod reader;
mod text;

use std::fmt;
use std::ops::Range;

pub use text::{escape_into, string};

use indexed::Verdict;
use reader::Reader;

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
    let mut duplicate = None;
    let mut note = |found: &mut [Option<Range<usize>>], member: Member| {
        let raw = json.get(member.key).unwrap_or_default();
        if let Some(index) = index_of(raw, wanted)
            && let Some(place) = found.get_mut(index)
        {
            if place.is_some() {
                duplicate.get_or_insert(index);
            }
            *place = Some(member.value);
        }
    };
    found.fill(None);
    match indexed::for_each_member(json, |member| note(found, member)) {
        Some(Verdict::Object) => {}
        Some(Verdict::Other) => return Err(JsonError::NotAnObject),
        // What the index refuses, the reader refuses too, and says why.
        Some(Verdict::Invalid) | None => {
            found.fill(None);
            for_each_member(json, |member| note(found, member))?;
        }
    }
    match duplicate {
        Some(index) => Err(JsonError::Duplicate { index }),
        None => Ok(()),
    }
}

/// Validates a whole document and calls `f` for each member of its top-level object. What was
/// called for before an error stands.
pub fn for_each_member(json: &[u8], mut f: impl FnMut(Member)) -> Result<(), JsonError> {
    let mut reader = Reader::new(json, 0);
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
        f(Member { key, value: start..reader.position });
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
    if let Some(Verdict::Object | Verdict::Other) = indexed::for_each_member(json, drop) {
        return Ok(());
    }
    let mut reader = Reader::new(json, 0);
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
    let mut reader = Reader::new(json, 0);
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
    let mut reader = Reader::new(json, range.start);
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
            index_of(json.get(key).unwrap_or_default(), &[part]).is_some()
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

/// Which of these names a raw key, without its quotes, spells.
#[inline]
fn index_of(raw: &[u8], names: &[&str]) -> Option<usize> {
    if !raw.contains(&b'\\') {
        return names.iter().position(|name| name.as_bytes() == raw);
    }
    let key = text::unescape(raw)?;
    names.iter().position(|name| *name == key)
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

#[cfg(test)]
mod tests;
