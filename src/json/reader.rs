//! The walk over a document that checks every byte of it.
#![forbid(unsafe_code)]

use std::ops::Range;

use super::number;
use super::text::{end_of_plain, hex_unit};
use super::{DEPTH_MAX, JsonError};

/// Walks a document and checks every byte of it.
pub(super) struct Reader<'a> {
    json: &'a [u8],
    pub(super) position: usize,
}

impl<'a> Reader<'a> {
    #[inline]
    pub(super) fn new(json: &'a [u8], position: usize) -> Reader<'a> {
        Reader { json, position }
    }

    #[inline(always)]
    pub(super) fn peek(&self) -> Option<u8> {
        self.json.get(self.position).copied()
    }

    #[cold]
    pub(super) fn error(&self, what: &'static str) -> JsonError {
        JsonError::Syntax { offset: self.position.min(self.json.len()), what }
    }

    #[inline(always)]
    pub(super) fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.position += 1;
        }
    }

    /// Only blanks may follow.
    pub(super) fn end(&mut self) -> Result<(), JsonError> {
        self.skip_blanks();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.error("nothing more was expected")),
        }
    }

    /// A key, its colon and the blanks behind it; gives the range within the quotes.
    pub(super) fn key(&mut self) -> Result<Range<usize>, JsonError> {
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
    pub(super) fn value(&mut self, depth: u32) -> Result<(), JsonError> {
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

    pub(super) fn word(&mut self, word: &'static [u8]) -> Result<(), JsonError> {
        let rest = self.json.get(self.position..).unwrap_or_default();
        if !rest.starts_with(word) {
            return Err(self.error("true, false or null was expected"));
        }
        self.position += word.len();
        Ok(())
    }

    /// A string, from its opening to behind its closing quote.
    #[inline]
    pub(super) fn string(&mut self) -> Result<(), JsonError> {
        let start = self.position + 1;
        self.position = start;
        loop {
            self.position = end_of_plain(self.json, self.position);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => match self.json.get(self.position + 1) {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                        self.position += 2;
                    }
                    _ => self.unicode_escape()?,
                },
                Some(_) => return Err(self.error("a control character must be escaped")),
                None => return Err(self.error("the string does not end")),
            }
        }
        let inner = self.json.get(start..self.position).unwrap_or_default();
        if !inner.is_ascii()
            && let Err(error) = std::str::from_utf8(inner)
        {
            self.position = start + error.valid_up_to();
            return Err(self.error("text must be UTF-8"));
        }
        self.position += 1;
        Ok(())
    }

    /// An escape of four hexadecimal digits; two of them for a pair of surrogates.
    #[cold]
    fn unicode_escape(&mut self) -> Result<(), JsonError> {
        let rest = self.json.get(self.position + 1..).unwrap_or_default();
        match rest.strip_prefix(b"u").and_then(hex_unit) {
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
        }
        Err(self.error("the escape is not valid"))
    }

    /// A number within the range of a double.
    pub(super) fn number(&mut self) -> Result<(), JsonError> {
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
        let text = self.json.get(start..self.position).unwrap_or_default();
        if is_long && !number::is_in_range(text) {
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
}
