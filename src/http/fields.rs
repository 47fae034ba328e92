//! The header section: the part that requests and responses share (RFC 9112 section 5).
//!
//! An automaton over single bytes with fast searches inside its states. `Scan` keeps where it is
//! between calls, so its bytes are looked at once however they arrive. Before it, whole lines are
//! taken up by the marks of a kernel; the first one that is not as it should be ends that, and the
//! automaton says why. So a byte is looked at by each of them once at most.
#![forbid(unsafe_code)]

use super::chars;
use super::head::{Body, Expect, Field, HeadError, Known, Progress, Span};
use crate::kernel::{self, head::Marks};

/// Where an automaton stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
#[repr(u8)]
pub(super) enum Phase {
    /// Before the start line.
    #[default]
    Start,
    /// In the method of a request.
    Method,
    /// In the target of a request.
    Target,
    /// In the version (request) or in the whole fixed part of the status line (response).
    Version,
    /// In the reason phrase of a response.
    Reason,
    /// At the beginning of a header line.
    LineStart,
    /// In a field name.
    Name,
    /// In the blanks before a field value.
    Blanks,
    /// In a field value.
    Value,
    /// Behind the blank line.
    Done,
}

/// The state of a parser between two calls.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
    pub(super) phase: Phase,
    /// The next byte to look at.
    pub(super) position: usize,
    /// Where the current line (start line) or element (fields) begins.
    pub(super) mark: usize,
    /// Where the header section begins.
    pub(super) section: usize,
    /// The name of the field whose value is being read.
    name: Span,
    /// Which one that is.
    known: Known,
}

/// What Transfer-Encoding says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Coding {
    #[default]
    None,
    Chunked,
    Unsupported,
}

/// What the fields say about framing and the connection, gathered line by line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    seen: u64,
    pub(super) host: Span,
    length: u64,
    coding: Coding,
    close: bool,
    keep_alive: bool,
    expect: Expect,
}

impl Facts {
    /// Whether a field with this known name has been read.
    #[inline(always)]
    pub(super) fn has(&self, known: Known) -> bool {
        self.seen & known.bit() != 0
    }

    /// Whether the connection stays open after this message, by version and Connection
    /// (RFC 9112 section 9.3). `close` wins.
    pub(super) fn keeps_alive(&self, is_http11: bool) -> bool {
        !self.close && (is_http11 || self.keep_alive)
    }

    /// Whether a Connection field names keep-alive.
    pub(super) fn names_keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// What Expect asks for, given version and body.
    pub(super) fn expectation(&self, is_http11: bool, body: Body) -> Expect {
        match self.expect {
            Expect::Continue if !is_http11 || matches!(body, Body::None | Body::Length(0)) => {
                Expect::None
            }
            expect => expect,
        }
    }

    /// Where the body ends as the fields say it; `None` when they say nothing
    /// (RFC 9112 section 6.3).
    pub(super) fn framing(&self, is_http11: bool) -> Result<Option<Body>, HeadError> {
        let has_length = self.has(Known::ContentLength);
        match self.coding {
            Coding::None if has_length => Ok(Some(Body::Length(self.length))),
            Coding::None => Ok(None),
            _ if !is_http11 => Err(HeadError::TransferEncodingInHttp10),
            _ if has_length => Err(HeadError::LengthAndEncoding),
            Coding::Unsupported => Err(HeadError::UnsupportedCoding),
            Coding::Chunked => Ok(Some(Body::Chunked)),
        }
    }

    /// Takes up a field; `value` is what its span of that name covers.
    #[inline(always)]
    fn add<const REQUEST: bool>(
        &mut self,
        value: &[u8],
        field: Field,
        fields: &mut Vec<Field>,
    ) -> Result<(), HeadError> {
        fields.push(field);
        if field.known.is_framing() {
            self.note::<REQUEST>(field.known, value, field.value)?;
        }
        self.seen |= field.known.bit();
        Ok(())
    }

    /// Takes up one field that decides framing or connection. What belongs to requests only is
    /// skipped in responses.
    #[inline]
    fn note<const REQUEST: bool>(
        &mut self,
        known: Known,
        value: &[u8],
        span: Span,
    ) -> Result<(), HeadError> {
        match known {
            Known::Host if REQUEST => {
                if self.has(Known::Host) {
                    return Err(HeadError::RepeatedHost);
                }
                self.host = span;
            }
            Known::Expect if REQUEST => self.note_expect(value),
            Known::Connection => self.note_connection(value),
            Known::ContentLength => {
                // Equal duplicates are refused as well: RFC 9110 section 8.6 allows it, and no
                // sender has a reason for them that is not an attack or a fault.
                if self.has(Known::ContentLength) {
                    return Err(HeadError::RepeatedContentLength);
                }
                self.length = decimal(value).ok_or(HeadError::BadContentLength)?;
            }
            Known::TransferEncoding => {
                if self.has(Known::TransferEncoding) {
                    return Err(HeadError::BadTransferEncoding);
                }
                self.coding = coding(value)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn note_connection(&mut self, value: &[u8]) {
        // As nearly all write it.
        if value == b"keep-alive" {
            self.keep_alive = true;
            return;
        }
        for option in value.split(|&byte| byte == b',') {
            let option = chars::trim(option);
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            }
        }
    }

    fn note_expect(&mut self, value: &[u8]) {
        for expectation in value.split(|&byte| byte == b',') {
            let expectation = chars::trim(expectation);
            if expectation.is_empty() {
                continue;
            }
            let is_continue = expectation.eq_ignore_ascii_case(b"100-continue");
            if !is_continue || self.expect == Expect::Other {
                self.expect = Expect::Other;
            } else {
                self.expect = Expect::Continue;
            }
        }
    }
}

/// One or more digits below 2^64, nothing else: no sign, blank, list or other base.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let mut value = 0u64;
    if text.len() < 20 {
        // Below 10^19, which is below 2^64.
        for &byte in text {
            if !byte.is_ascii_digit() {
                return None;
            }
            value = value * 10 + u64::from(byte - b'0');
        }
        return Some(value);
    }
    for &byte in text {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
    }
    Some(value)
}

/// `chunked` in any case of letters; a well-formed list that ends in chunked, with other codings
/// before it, is told apart from what cannot be framed at all (RFC 9112 section 6.1).
fn coding(value: &[u8]) -> Result<Coding, HeadError> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(Coding::Chunked);
    }
    let mut codings = value.rsplit(|&byte| byte == b',').map(chars::trim);
    if !codings.next().is_some_and(|last| last.eq_ignore_ascii_case(b"chunked")) {
        return Err(HeadError::BadTransferEncoding);
    }
    for coding in codings {
        let is_token = !coding.is_empty() && chars::all(coding, chars::TOKEN);
        if !is_token || coding.eq_ignore_ascii_case(b"chunked") {
            return Err(HeadError::BadTransferEncoding);
        }
    }
    Ok(Coding::Unsupported)
}

/// What a byte means that ends a search where it may not stand: the line errors, else `other`.
#[cold]
pub(super) fn error_at(byte: u8, other: HeadError) -> HeadError {
    match byte {
        b'\n' => HeadError::BareLf,
        0 => HeadError::Nul,
        _ => other,
    }
}

/// Reads whole header lines by their marks, from a line's beginning on. `None` when the rest is for the
/// automaton: where a line is not whole or not right, or where there is no kernel.
#[inline]
fn parse_lines<const REQUEST: bool>(
    window: &[u8],
    fields_max: u16,
    scan: &mut Scan,
    fields: &mut Vec<Field>,
    facts: &mut Facts,
) -> Result<Option<Progress>, HeadError> {
    let mut marks = Marks::new();
    loop {
        let base = scan.position;
        let Some(section) = window.get(base..) else { return Ok(None) };
        if !kernel::head_index(section, base as u32, &mut marks) {
            return Ok(None);
        }
        let (lines, rest) = marks.positions().as_chunks::<2>();
        let count_before = fields.len();
        let room = usize::from(fields_max).saturating_sub(count_before);
        fields.resize(count_before + lines.len().min(room), Field::default());
        let new = fields.get_mut(count_before..).unwrap_or_default();
        let taken = take_lines(window, base, lines, new);
        fields.truncate(count_before + taken.count);
        for field in fields.get(count_before..).unwrap_or_default() {
            if field.known.is_framing() {
                facts.note::<REQUEST>(field.known, field.value.of(window), field.value)?;
                facts.seen |= field.known.bit();
            }
        }
        facts.seen |= taken.seen;
        let start = taken.end;
        scan.position = start;
        if taken.count < lines.len() {
            return Ok(None);
        }
        if let [end] = rest
            && *end as usize == start
            && window.get(start..start + 2) == Some(b"\r\n")
        {
            scan.position = start + 2;
            scan.phase = Phase::Done;
            return Ok(Some(Progress::Complete));
        }
        if start == base {
            return Ok(None);
        }
    }
}

/// What [`take_lines`] took up.
struct Taken {
    /// How many lines.
    count: usize,
    /// The index behind the last of them.
    end: usize,
    /// The known names met.
    seen: u64,
}

/// Fills in the fields of lines, whose marks are a colon and an end each, up to the first that is not right. The
/// first of them begins at `start`. Apart from all else, so that what it works with fits the registers.
#[inline(never)]
fn take_lines(window: &[u8], start: usize, lines: &[[u32; 2]], fields: &mut [Field]) -> Taken {
    let mut taken = Taken { count: 0, end: start, seen: 0 };
    for (&[colon, end], field) in lines.iter().zip(fields) {
        let (start, colon, end) = (taken.end, colon as usize, end as usize);
        let Some((text, [b'\r', b'\n', ..])) = window.split_at_checked(end) else { break };
        let Some(line) = text.get(start..) else { break };
        let cut = line.split_at_checked(colon.wrapping_sub(start));
        let Some((name @ [_, ..], [b':', value @ ..])) = cut else { break };
        let known = Known::from_start(line, name);
        let (before, after) = blanks(value);
        *field = Field {
            name: Span::new(start, colon),
            value: Span::new(colon + 1 + before, end - after),
            known,
        };
        taken.count += 1;
        taken.end = end + 2;
        taken.seen |= known.bit();
    }
    taken
}

/// How many blanks stand before and behind a value.
#[inline(always)]
fn blanks(text: &[u8]) -> (usize, usize) {
    if let ([b' ', first, ..], [.., last]) = (text, text)
        && *first > b' '
        && *last > b' '
    {
        return (1, 0);
    }
    uncommon_blanks(text)
}

#[cold]
fn uncommon_blanks(text: &[u8]) -> (usize, usize) {
    let value = chars::trim_start(text);
    (text.len() - value.len(), value.len() - chars::trim(value).len())
}

/// Reads header lines from `scan.position` on up to the blank line. `window` ends where the
/// section's limit does; the caller knows whether it was cut there.
#[inline]
pub(super) fn parse<const REQUEST: bool>(
    window: &[u8],
    fields_max: u16,
    scan: &mut Scan,
    fields: &mut Vec<Field>,
    facts: &mut Facts,
) -> Result<Progress, HeadError> {
    if scan.phase == Phase::LineStart
        && let Some(progress) = parse_lines::<REQUEST>(window, fields_max, scan, fields, facts)?
    {
        return Ok(progress);
    }
    let mut phase = scan.phase;
    let mut position = scan.position;
    let mut mark = scan.mark;
    let mut name = scan.name;
    let mut known = scan.known;

    macro_rules! partial {
        () => {{
            *scan = Scan { phase, position, mark, section: scan.section, name, known };
            return Ok(Progress::Partial);
        }};
    }

    loop {
        if phase == Phase::LineStart {
            match window.get(position) {
                Some(&byte) if chars::is(byte, chars::TOKEN) => {}
                None => partial!(),
                Some(b'\r') => match window.get(position + 1) {
                    None => partial!(),
                    Some(b'\n') => {
                        scan.position = position + 2;
                        scan.phase = Phase::Done;
                        return Ok(Progress::Complete);
                    }
                    Some(_) => return Err(HeadError::BareCr),
                },
                Some(b' ' | b'\t') => return Err(HeadError::ObsoleteFold),
                Some(&byte) => return Err(error_at(byte, HeadError::BadFieldName)),
            }
            if fields.len() >= usize::from(fields_max) {
                return Err(HeadError::TooManyFields);
            }
            mark = position;
            phase = Phase::Name;
        }

        if phase == Phase::Name {
            position = chars::end_of_token(window, position);
            match window.get(position) {
                None => partial!(),
                Some(b':') => {}
                Some(&byte) => return Err(error_at(byte, HeadError::BadFieldName)),
            }
            name = Span::new(mark, position);
            let line = window.get(mark..).unwrap_or_default();
            known = Known::from_start(line, line.get(..position - mark).unwrap_or_default());
            position += 1;
            phase = Phase::Blanks;
        }

        if phase == Phase::Blanks {
            loop {
                match window.get(position) {
                    None => partial!(),
                    Some(b' ' | b'\t') => position += 1,
                    Some(_) => break,
                }
            }
            mark = position;
            phase = Phase::Value;
        }

        position = chars::end_of_value(window, position);
        match (window.get(position), window.get(position + 1)) {
            (Some(b'\r'), Some(b'\n')) => {}
            (Some(b'\r'), Some(_)) => return Err(HeadError::BareCr),
            (Some(b'\r') | None, _) => partial!(),
            (Some(&byte), _) => return Err(error_at(byte, HeadError::BadFieldValue)),
        }
        // The blanks before it are gone already.
        let value = chars::trim(window.get(mark..position).unwrap_or_default());
        let span = Span::new(mark, mark + value.len());
        facts.add::<REQUEST>(value, Field { name, value: span, known }, fields)?;
        position += 2;
        phase = Phase::LineStart;
    }
}
