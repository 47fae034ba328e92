//! What a request target means: its path, decoded and normalized, and its query.
//!
//! The rules, once and for all stages:
//! - The path ends at the first `?`; the rest is the query, kept as sent.
//! - The path holds RFC 3986 path characters only; a raw backslash, quote, bracket or byte outside
//!   ASCII is refused. A percent sign without two hexadecimal digits is refused.
//! - Percent-encoding is decoded once. A decoded control character (`%00`, `%0A`, `%7F` …) is
//!   refused; the decoded path must be UTF-8, so overlong forms are refused too.
//! - An encoded slash never becomes a separator: it stays in the path as the three bytes `%2F`.
//!   A route parameter may hold one (a model name such as `provider%2Fmodel`), and a host that
//!   joins a parameter to a directory does not leave it.
//! - Dot segments are removed after decoding (RFC 3986 section 5.2.4). One that leads above the
//!   root is refused, not dropped. So is one that hides behind an encoded slash or a backslash
//!   (`..%2Fa`, `..%5Ca`, `..%252Fa`): whoever decodes again must not find it.
//! - Empty segments stay: `/a//b` is not `/a/b`. A trailing slash stays.
//! - An absolute target without a path means `/`; the asterisk form has the path `*`.
#![forbid(unsafe_code)]

use super::chars;
use super::head::{HeadError, RequestHead, Span, TargetForm};

/// A resolved target. Reuse it: its storage is needed only by paths that are not plain.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// The path where it differs from what was sent.
    decoded: Vec<u8>,
    is_decoded: bool,
    path: Span,
    query: Span,
    has_query: bool,
}

impl Target {
    /// An empty target.
    pub fn new() -> Target {
        Target::default()
    }

    /// The decoded, normalized path. `bytes` are those that were resolved.
    #[inline]
    pub fn path<'a>(&'a self, bytes: &'a [u8]) -> &'a [u8] {
        if self.is_decoded { &self.decoded } else { self.path.of(bytes) }
    }

    /// The path as sent; empty when an absolute target has none.
    pub fn raw_path<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        self.path.of(bytes)
    }

    /// The query as sent, without its `?`; empty when there is none.
    #[inline]
    pub fn query<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        self.query.of(bytes)
    }

    /// Where the query stands.
    pub fn query_span(&self) -> Span {
        self.query
    }

    /// Whether there is a `?` at all.
    pub fn has_query(&self) -> bool {
        self.has_query
    }
}

/// Resolves the target of a parsed head. `bytes` are those the head was parsed from.
pub fn resolve(head: &RequestHead, bytes: &[u8], target: &mut Target) -> Result<(), HeadError> {
    let start = match head.target_form {
        TargetForm::Absolute => head.authority.end,
        TargetForm::Origin | TargetForm::Asterisk => head.target.start,
    };
    let whole = Span { start, end: head.target.end };
    let text = whole.of(bytes);
    let mark = match head.target_form {
        TargetForm::Asterisk => None,
        _ => memchr::memchr(b'?', text),
    };
    target.has_query = mark.is_some();
    let path_length = mark.unwrap_or(text.len());
    let path_end = start + path_length as u32;
    target.path = Span { start, end: path_end };
    target.query = Span { start: (path_end + 1).min(whole.end), end: whole.end };
    target.is_decoded = false;
    let path = target.path.of(bytes);
    if is_plain(path) || head.target_form == TargetForm::Asterisk {
        return Ok(());
    }
    target.is_decoded = true;
    target.decoded.clear();
    if path.is_empty() {
        target.decoded.push(b'/');
        return Ok(());
    }
    decode_path(path, &mut target.decoded)?;
    if std::str::from_utf8(&target.decoded).is_err() {
        return Err(HeadError::PathNotUtf8);
    }
    let length = remove_dot_segments(&mut target.decoded)?;
    target.decoded.truncate(length);
    Ok(())
}

/// Whether decoding and normalizing would change nothing: a slash, then path characters without
/// a percent sign, and no segment that begins with a dot.
#[inline]
fn is_plain(path: &[u8]) -> bool {
    if chars::all(path, chars::PLAIN_PATH) {
        return !path.is_empty();
    }
    let mut before = 0;
    for &byte in path {
        if !chars::is(byte, chars::PATH) || byte == b'%' || (byte == b'.' && before == b'/') {
            return false;
        }
        before = byte;
    }
    !path.is_empty()
}

fn decode_path(path: &[u8], decoded: &mut Vec<u8>) -> Result<(), HeadError> {
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'%' {
            if !chars::is(*byte, chars::PATH) {
                return Err(HeadError::BadTarget);
            }
            decoded.push(*byte);
            continue;
        }
        let (byte, tail) = decode_pair(tail).ok_or(HeadError::BadPercent)?;
        rest = tail;
        match byte {
            0..=0x1f | 0x7f => return Err(HeadError::EncodedControl),
            b'/' => decoded.extend_from_slice(b"%2F"),
            _ => decoded.push(byte),
        }
    }
    Ok(())
}

/// The byte of two hexadecimal digits, and what follows them.
fn decode_pair(text: &[u8]) -> Option<(u8, &[u8])> {
    let (&[high, low], rest) = text.split_first_chunk::<2>()?;
    Some((chars::hex_value(high)? << 4 | chars::hex_value(low)?, rest))
}

/// Removes dot segments in place and returns the new length.
fn remove_dot_segments(path: &mut [u8]) -> Result<usize, HeadError> {
    let mut length = 0;
    let mut slash = 0;
    while slash < path.len() {
        let start = slash + 1;
        let rest = path.get(start..).unwrap_or_default();
        let end = start + memchr::memchr(b'/', rest).unwrap_or(rest.len());
        let is_last = end == path.len();
        let segment = path.get(start..end).unwrap_or_default();
        let is_dot = segment == b".";
        if segment == b".." {
            let kept = path.get(..length).unwrap_or_default();
            length = memchr::memrchr(b'/', kept).ok_or(HeadError::AboveRoot)?;
        } else if hides_dots(segment) {
            return Err(HeadError::AboveRoot);
        }
        if !is_dot && segment != b".." {
            path.copy_within(slash..end, length);
            length += end - slash;
        } else if is_last {
            if let Some(byte) = path.get_mut(length) {
                *byte = b'/';
            }
            length += 1;
        }
        slash = end;
    }
    Ok(length)
}

/// Whether a further decoding, or a reader for whom a backslash separates, would find a dot
/// segment in this one.
fn hides_dots(segment: &[u8]) -> bool {
    if memchr::memchr2(b'%', b'\\', segment).is_none() {
        return false;
    }
    let mut part = Vec::new();
    let mut rest = segment;
    while let [byte, tail @ ..] = rest {
        let (byte, tail) = match byte {
            // Decode as long as it yields something new; each round removes two bytes.
            b'%' => decode_fully(tail),
            _ => (*byte, tail),
        };
        if byte == b'/' || byte == b'\\' {
            if is_dots(&part) {
                return true;
            }
            part.clear();
        } else {
            part.push(byte);
        }
        rest = tail;
    }
    is_dots(&part)
}

fn is_dots(part: &[u8]) -> bool {
    part == b"." || part == b".."
}

/// What stands behind a percent sign, however often it was encoded (`%252F` → `%2F` → `/`).
fn decode_fully(after_percent: &[u8]) -> (u8, &[u8]) {
    let mut rest = after_percent;
    loop {
        match decode_pair(rest) {
            None => return (b'%', rest),
            Some((b'%', tail)) if decode_pair(tail).is_some() => rest = tail,
            Some(decoded) => return decoded,
        }
    }
}

/// The decoded value of the first parameter with this name; false (and an empty `out`) when there
/// is none.
///
/// `+` is a blank, a broken percent sign stays as it is, `?d` has the value "".
pub fn query_value(query: &[u8], name: &[u8], out: &mut Vec<u8>) -> bool {
    for pair in query.split(|&byte| byte == b'&') {
        if pair.is_empty() {
            continue;
        }
        let cut = memchr::memchr(b'=', pair).unwrap_or(pair.len());
        let (key, value) = pair.split_at_checked(cut).unwrap_or((pair, &[]));
        out.clear();
        decode_form(key, out);
        if out == name {
            out.clear();
            decode_form(value.get(1..).unwrap_or_default(), out);
            return true;
        }
    }
    out.clear();
    false
}

/// Decodes `application/x-www-form-urlencoded` text.
fn decode_form(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match byte {
            b'+' => out.push(b' '),
            b'%' => match decode_pair(tail) {
                Some((byte, tail)) => {
                    out.push(byte);
                    rest = tail;
                }
                None => out.push(b'%'),
            },
            _ => out.push(*byte),
        }
    }
}

#[cfg(test)]
mod tests;
