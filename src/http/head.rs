//! Heads of messages: what a parsed one looks like.
//!
//! [`parse_request`] and [`parse_response`] fill a head that is reused from message to message.
//! All text stays where it is: a head holds [`Span`]s, relative to the first byte that was handed
//! to the parser.
#![forbid(unsafe_code)]

pub use super::error::HeadError;
pub use super::known::Known;
pub use super::request::{LEADING_EMPTY_LINES_MAX, parse_request};
pub use super::response::parse_response;

use super::fields::{Facts, Scan};
use super::method::Method;

/// A range of bytes within a head.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Hash)]
pub struct Span {
    /// Index of the first byte.
    pub start: u32,
    /// Index after the last byte.
    pub end: u32,
}

impl Span {
    /// The span from `start` to `end`.
    #[inline(always)]
    pub(super) fn new(start: usize, end: usize) -> Span {
        // Positions are bounded by the limits, which are u32 themselves.
        Span { start: start as u32, end: end as u32 }
    }

    /// Its bytes; empty when it does not lie within `bytes`.
    #[inline]
    pub fn of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.range()).unwrap_or_default()
    }

    /// The same as a range.
    #[inline]
    pub fn range(&self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Bytes in it.
    #[inline]
    pub fn len(&self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    /// Whether it holds nothing.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Protocol version of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
}

/// One header field as received.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Field {
    /// Its name, a token.
    pub name: Span,
    /// Its value without the blanks around it; may be empty.
    pub value: Span,
    /// Which known name it is.
    pub known: Known,
}

/// How the body of a message is delimited (RFC 9112 section 6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Body {
    /// There is none.
    #[default]
    None,
    /// This many bytes, as Content-Length says; may be 0.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
    /// Everything up to the end of the connection; responses only.
    UntilClose,
}

/// What Expect asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Expect {
    /// Nothing; also `100-continue` of a request without a body or in HTTP/1.0, where RFC 9110
    /// section 10.1.1 has it ignored.
    #[default]
    None,
    /// `100-continue` before a body.
    Continue,
    /// Something else: 417.
    Other,
}

/// Form of a request target (RFC 9112 section 3.2). The authority form does not occur: CONNECT is
/// refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TargetForm {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://host/path?query`
    Absolute,
    /// `*`, with OPTIONS only.
    Asterisk,
}

/// How far a parser came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// The head is whole; `size` says where it ends.
    Complete,
    /// More bytes are needed.
    Partial,
}

/// Bounds of a head. What is exactly at a bound passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadLimits {
    /// Bytes of the request line or status line, without its CR LF.
    pub request_line: u32,
    /// Bytes of the header section: all lines with their ends, the blank line included.
    pub header_section: u32,
    /// Number of fields.
    pub fields: u16,
}

impl Default for HeadLimits {
    fn default() -> HeadLimits {
        HeadLimits { request_line: 8192, header_section: 32768, fields: 128 }
    }
}

/// A parsed request head. Keep one per connection or worker and [`reset`](RequestHead::reset) it
/// before each request.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The method as sent; what tells unknown ones apart.
    pub method_text: Span,
    /// The request target as sent.
    pub target: Span,
    /// Its form.
    pub target_form: TargetForm,
    /// The protocol version.
    pub version: Version,
    /// All fields in the order received.
    pub fields: Vec<Field>,
    /// Bytes of the whole head, with skipped empty lines before and the blank line after it.
    pub size: usize,
    /// Where the body ends.
    pub body: Body,
    /// Whether the connection may be used again, as far as the client is concerned.
    pub keep_alive: bool,
    /// What Expect asks for.
    pub expect: Expect,
    /// The host (with port) that the request is for: the value of Host, or in HTTP/1.0 without
    /// one the authority of an absolute target, else empty. Checked.
    pub host: Span,
    pub(super) authority: Span,
    pub(super) scan: Scan,
    pub(super) facts: Facts,
}

impl RequestHead {
    /// An empty head.
    pub fn new() -> RequestHead {
        RequestHead::default()
    }

    /// Forgets everything but the capacity for fields.
    pub fn reset(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = RequestHead { fields, ..RequestHead::default() };
    }

    /// Whether a Connection field names keep-alive (RFC 9112 section 9.3).
    pub fn asks_to_stay(&self) -> bool {
        self.facts.names_keep_alive()
    }

    /// The first field with this known name.
    #[inline]
    pub fn find(&self, known: Known) -> Option<&Field> {
        find(&self.fields, &self.facts, known)
    }

    /// All fields with this name, in any case of letters.
    pub fn find_name<'a>(
        &'a self,
        bytes: &'a [u8],
        name: &'a [u8],
    ) -> impl Iterator<Item = &'a Field> {
        find_name(&self.fields, bytes, name)
    }
}

/// A parsed response head, reused like a [`RequestHead`].
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    /// Status code, 100 to 599 without 101.
    pub status: u16,
    /// The protocol version.
    pub version: Version,
    /// The reason phrase, often empty.
    pub reason: Span,
    /// All fields in the order received.
    pub fields: Vec<Field>,
    /// Bytes of the whole head, with the blank line after it.
    pub size: usize,
    /// Where the body ends.
    pub body: Body,
    /// Whether the connection may be used again after the body.
    pub keep_alive: bool,
    pub(super) scan: Scan,
    pub(super) facts: Facts,
}

impl ResponseHead {
    /// An empty head.
    pub fn new() -> ResponseHead {
        ResponseHead::default()
    }

    /// Forgets everything but the capacity for fields.
    pub fn reset(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = ResponseHead { fields, ..ResponseHead::default() };
    }

    /// The first field with this known name.
    #[inline]
    pub fn find(&self, known: Known) -> Option<&Field> {
        find(&self.fields, &self.facts, known)
    }

    /// All fields with this name, in any case of letters.
    pub fn find_name<'a>(
        &'a self,
        bytes: &'a [u8],
        name: &'a [u8],
    ) -> impl Iterator<Item = &'a Field> {
        find_name(&self.fields, bytes, name)
    }
}

/// A miss, the usual case, is one test of a bit.
#[inline]
fn find<'a>(fields: &'a [Field], facts: &Facts, known: Known) -> Option<&'a Field> {
    if !facts.has(known) {
        return None;
    }
    fields.iter().find(|field| field.known == known)
}

fn find_name<'a>(
    fields: &'a [Field],
    bytes: &'a [u8],
    name: &'a [u8],
) -> impl Iterator<Item = &'a Field> {
    let known = Known::from_name(name);
    fields.iter().filter(move |field| {
        field.known == known
            && (known != Known::Other || field.name.of(bytes).eq_ignore_ascii_case(name))
    })
}
