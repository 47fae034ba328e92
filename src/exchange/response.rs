//! The response in the making: status, header lines, body.

use crate::base::error::Failure;
use crate::http::encode;

/// Why a header was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderError {
    /// The name is not a token (RFC 9110 section 5.6.2).
    Name,
    /// The value holds what could split the message, or blanks at its ends.
    Value,
    /// The field belongs to the server: framing, Date.
    Reserved,
    /// The header section would grow beyond its bound.
    TooLarge,
}

/// Header lines ready for the wire, in order.
#[derive(Default, Clone)]
pub struct HeaderLines {
    text: Vec<u8>,
    /// Whether a line has been there that the server adds when nobody else has.
    may_have_server: bool,
    may_have_request_id: bool,
}

impl HeaderLines {
    /// The most one response may carry, in bytes.
    pub const BYTES_MAX: usize = 64 * 1024;

    /// The lines as they go out, each ended by CRLF.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// Name and value of each line.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines().filter_map(|line| {
            let colon = memchr::memchr(b':', line)?;
            Some((&line[..colon], line.get(colon + 2..).unwrap_or(b"")))
        })
    }

    /// Each line without its end.
    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.text[..];
        std::iter::from_fn(move || {
            let end = memchr::memchr(b'\n', rest)?;
            let line = rest.get(..end.checked_sub(1)?)?;
            rest = &rest[end + 1..];
            Some(line)
        })
    }

    /// The value of the first line of this name, any case.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.lines().find_map(|line| {
            let (have, rest) = line.split_at_checked(name.len())?;
            let is_it = rest.first() == Some(&b':') && have.eq_ignore_ascii_case(name);
            is_it.then(|| rest.get(2..).unwrap_or(b""))
        })
    }

    /// Whether there is a Server field.
    pub fn has_server(&self) -> bool {
        self.may_have_server && self.get(b"server").is_some()
    }

    /// Whether there is an x-request-id field.
    pub fn has_request_id(&self) -> bool {
        self.may_have_request_id && self.get(b"x-request-id").is_some()
    }

    /// Removes every line of this name.
    pub fn remove(&mut self, name: &[u8]) {
        if self.get(name).is_none() {
            return;
        }
        let old = std::mem::take(self);
        for (have, value) in old.iter() {
            if !have.eq_ignore_ascii_case(name) {
                self.push(have, value);
            }
        }
    }

    /// Adds a line. Name and value must have been checked.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        match name.len() {
            6 => self.may_have_server |= name.eq_ignore_ascii_case(b"server"),
            12 => self.may_have_request_id |= name.eq_ignore_ascii_case(b"x-request-id"),
            _ => {}
        }
        encode::field(&mut self.text, name, value);
    }

    /// Forgets all lines, keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.may_have_server = false;
        self.may_have_request_id = false;
    }
}

/// The response in the making.
#[derive(Clone, Default)]
pub struct Response {
    /// The status; 0 while nothing has filled the response.
    pub status: u16,
    /// Header lines other than framing, Date, Server and the request id.
    pub headers: HeaderLines,
    /// The body.
    pub body: Vec<u8>,
    /// The connection is to be closed after this response.
    pub close: bool,
    /// The failure that it tells, when it is one of ours.
    pub failure: Option<Box<Failure>>,
    /// A reason phrase in place of the usual one; it holds nothing that ends a line.
    pub reason: Option<Box<[u8]>>,
    /// Goes out as a status line, its length and `Connection: close`, and no more.
    pub is_bare: bool,
}

impl Response {
    /// Above this a reused response gives its memory back, in bytes.
    const KEPT_BYTES_MAX: usize = 16 * 1024;

    /// Whether anything has filled it.
    pub fn is_filled(&self) -> bool {
        self.status != 0 || !self.body.is_empty()
    }

    /// The status that will be sent: 200 with a body, 204 without, unless one was set.
    pub fn effective_status(&self) -> u16 {
        match self.status {
            0 if self.body.is_empty() => 204,
            0 => 200,
            status => status,
        }
    }

    /// Sets a header, replacing those of the same name.
    ///
    /// # Errors
    /// [`HeaderError`]; then nothing has changed.
    pub fn set_header(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeaderError> {
        if self.check(name, value)? {
            self.headers.remove(name);
            self.headers.push(name, value);
        }
        Ok(())
    }

    /// Adds one more header of that name.
    ///
    /// # Errors
    /// [`HeaderError`]; then nothing has changed.
    pub fn add_header(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeaderError> {
        if self.check(name, value)? {
            self.headers.push(name, value);
        }
        Ok(())
    }

    /// Fills status, content type and body at once.
    pub fn send(&mut self, status: u16, content_type: &str, body: &[u8]) {
        self.status = status;
        self.failure = None;
        self.headers.remove(b"content-type");
        if !content_type.is_empty() {
            self.headers.push(b"Content-Type", content_type.as_bytes());
        }
        self.body.clear();
        self.body.extend_from_slice(body);
    }

    /// Bytes of memory that it keeps for reuse.
    pub fn kept_bytes(&self) -> usize {
        self.headers.text.capacity() + self.body.capacity()
    }

    /// Empties it for reuse.
    pub fn clear(&mut self) {
        self.status = 0;
        self.headers.clear();
        if self.headers.text.capacity() > Self::KEPT_BYTES_MAX {
            self.headers = HeaderLines::default();
        }
        if self.body.capacity() > Self::KEPT_BYTES_MAX {
            self.body = Vec::new();
        }
        self.body.clear();
        self.close = false;
        self.failure = None;
        self.reason = None;
        self.is_bare = false;
    }

    /// Whether the line is to be stored. `Connection: close` is a wish that is noted instead.
    fn check(&mut self, name: &[u8], value: &[u8]) -> Result<bool, HeaderError> {
        if !encode::valid_name(name) {
            return Err(HeaderError::Name);
        }
        if !encode::valid_value(value) {
            return Err(HeaderError::Value);
        }
        const RESERVED: [&[u8]; 5] =
            [b"content-length", b"transfer-encoding", b"keep-alive", b"upgrade", b"date"];
        if RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
            return Err(HeaderError::Reserved);
        }
        if name.eq_ignore_ascii_case(b"connection") {
            if value.eq_ignore_ascii_case(b"close") {
                self.close = true;
                return Ok(false);
            }
            return Err(HeaderError::Reserved);
        }
        if self.headers.as_bytes().len() + name.len() + value.len() + 4 > HeaderLines::BYTES_MAX {
            return Err(HeaderError::TooLarge);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_set_added_and_removed() {
        let mut response = Response::default();
        response.set_header(b"X-A", b"1").unwrap();
        response.add_header(b"Set-Cookie", b"a=1").unwrap();
        response.add_header(b"Set-Cookie", b"b=2").unwrap();
        response.set_header(b"x-a", b"2").unwrap();
        assert_eq!(
            response.headers.as_bytes(),
            b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nx-a: 2\r\n"
        );
        assert_eq!(response.headers.get(b"X-a"), Some(&b"2"[..]));
        response.headers.remove(b"set-cookie");
        assert_eq!(response.headers.as_bytes(), b"x-a: 2\r\n");
        response.set_header(b"X-Empty", b"").unwrap();
        assert_eq!(response.headers.get(b"x-empty"), Some(&b""[..]));
    }

    #[test]
    fn nothing_can_split_a_response_or_touch_its_framing() {
        let mut response = Response::default();
        for value in [&b"a\r\nB: c"[..], b"a\nb", b"a\rb", b"a\0b"] {
            assert_eq!(response.set_header(b"X", value), Err(HeaderError::Value));
        }
        for name in [&b""[..], b"a b", b"a:b", b"a\r\n"] {
            assert_eq!(response.set_header(name, b"x"), Err(HeaderError::Name));
        }
        for name in [&b"Content-Length"[..], b"transfer-encoding", b"DATE", b"Upgrade"] {
            assert_eq!(response.set_header(name, b"1"), Err(HeaderError::Reserved));
        }
        response.set_header(b"Connection", b"Close").unwrap();
        assert!(response.close);
        assert!(response.headers.as_bytes().is_empty());
    }
}
