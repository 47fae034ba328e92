//! The request head (RFC 9112 sections 2, 3, 5 and 6).
//!
//! Choices, where the RFCs leave one:
//! - Up to [`LEADING_EMPTY_LINES_MAX`] empty lines (CR LF) before the request line are skipped.
//! - CONNECT is refused with 501, whatever its target: nothing here tunnels.
//! - A method that fills the whole request line is 501, a longer line otherwise 414.
//! - A version of the form HTTP/d.d other than 1.0 and 1.1 is 505, the HTTP/2 preface among them;
//!   anything else is 400.
//! - A target holds URI characters only; `[ ] { } | \ ^` and the backtick are let through for
//!   queries, where browsers send them, and refused in paths by [`resolve`](super::target::resolve).
//!   No fragment, no byte outside ASCII.
//! - Host must agree with an absolute target. RFC 9112 section 3.2.2 has it ignored; but a sender
//!   must make them equal, so a difference is an attack on whatever looks at the other one.
#![forbid(unsafe_code)]

use super::authority;
use super::chars;
use super::fields::{self, Phase, error_at};
use super::head::{
    Body, HeadError, HeadLimits, Known, Progress, RequestHead, Span, TargetForm, Version,
};
use super::method::Method;

/// Empty lines before a request line that are skipped; some old clients send one after a body
/// (RFC 9112 section 2.2).
pub const LEADING_EMPTY_LINES_MAX: usize = 4;

/// Parses a request head.
///
/// `bytes` begins where the head begins. After [`Progress::Partial`] call again with the same
/// bytes and more behind them; what was taken up is not scanned again. An error is reported as soon as the bytes
/// make it certain, and does not depend on how they were cut. `head` is new or
/// [`reset`](RequestHead::reset); after an error its content has no meaning.
pub fn parse_request(
    bytes: &[u8],
    limits: &HeadLimits,
    head: &mut RequestHead,
) -> Result<Progress, HeadError> {
    if head.scan.phase < Phase::LineStart {
        match parse_line(bytes, limits.request_line as usize, head)? {
            Progress::Complete => {}
            Progress::Partial => return Ok(Progress::Partial),
        }
    }
    if head.scan.phase == Phase::Done {
        return Ok(Progress::Complete);
    }
    let end = head.scan.section.saturating_add(limits.header_section as usize);
    let window = bytes.get(..end).unwrap_or(bytes);
    match fields::parse::<true>(
        window,
        limits.fields,
        &mut head.scan,
        &mut head.fields,
        &mut head.facts,
    )? {
        Progress::Complete => finish(window, head),
        Progress::Partial if bytes.len() >= end => Err(HeadError::HeaderSectionTooLarge),
        Progress::Partial => Ok(Progress::Partial),
    }
}

/// Skips empty lines, then reads the request line.
#[inline]
fn parse_line(
    bytes: &[u8],
    line_max: usize,
    head: &mut RequestHead,
) -> Result<Progress, HeadError> {
    if head.scan.phase == Phase::Start {
        loop {
            let position = head.scan.position;
            match bytes.get(position) {
                None => return Ok(Progress::Partial),
                Some(b'\r') => match bytes.get(position + 1) {
                    None => return Ok(Progress::Partial),
                    Some(b'\n') if position >= 2 * LEADING_EMPTY_LINES_MAX => {
                        return Err(HeadError::TooManyEmptyLines);
                    }
                    Some(b'\n') => head.scan.position += 2,
                    Some(_) => return Err(HeadError::BareCr),
                },
                Some(_) => break,
            }
        }
        head.scan.mark = head.scan.position;
        head.scan.phase = Phase::Method;
    }
    let end = head.scan.mark.saturating_add(line_max).saturating_add(2);
    let window = bytes.get(..end).unwrap_or(bytes);
    match parse_line_within(window, head)? {
        Progress::Partial if bytes.len() >= end => Err(if head.scan.phase == Phase::Method {
            HeadError::MethodTooLong
        } else {
            HeadError::RequestLineTooLong
        }),
        progress => Ok(progress),
    }
}

/// Reads the request line from a window that ends where its limit does.
#[inline]
fn parse_line_within(window: &[u8], head: &mut RequestHead) -> Result<Progress, HeadError> {
    let scan = &mut head.scan;
    if scan.phase == Phase::Method {
        scan.position = match window.get(scan.position..) {
            Some([b'G', b'E', b'T', b' ', ..]) => scan.position + 3,
            Some([b'P', b'O', b'S', b'T', b' ', ..]) => scan.position + 4,
            _ => chars::end_of(window, scan.position, chars::TOKEN),
        };
        match window.get(scan.position) {
            None => return Ok(Progress::Partial),
            Some(b' ') if scan.position > scan.mark => {}
            Some(b'\r') => return Err(HeadError::BadRequestLine),
            Some(&byte) => return Err(error_at(byte, HeadError::BadMethod)),
        }
        head.method_text = Span::new(scan.mark, scan.position);
        // Set before the rest is known, so that a refusal of it is sent to HEAD without a body.
        head.method = Method::from_token(head.method_text.of(window));
        scan.position += 1;
        head.target = Span::new(scan.position, scan.position);
        scan.phase = Phase::Target;
    }

    if scan.phase == Phase::Target {
        scan.position = chars::end_of_target(window, scan.position);
        match window.get(scan.position) {
            None => return Ok(Progress::Partial),
            Some(b' ') if scan.position > head.target.start as usize => {}
            Some(b' ' | b'\r') => return Err(HeadError::BadRequestLine),
            Some(&byte) => return Err(error_at(byte, HeadError::BadTarget)),
        }
        head.target.end = scan.position as u32;
        scan.position += 1;
        scan.phase = Phase::Version;
    }

    let rest = window.get(scan.position..).unwrap_or_default();
    head.version = match parse_version(rest)? {
        Some(version) => version,
        None => return Ok(Progress::Partial),
    };
    match (rest.get(8), rest.get(9)) {
        (Some(b'\r'), Some(b'\n')) => {}
        (Some(b'\r'), Some(_)) => return Err(HeadError::BareCr),
        (Some(b'\r') | None, None) => return Ok(Progress::Partial),
        (Some(&byte), _) => return Err(error_at(byte, HeadError::BadVersion)),
        (None, Some(_)) => return Err(HeadError::BadVersion),
    }
    scan.position += 10;
    scan.section = scan.position;
    scan.phase = Phase::LineStart;
    check_target(window, head)?;
    Ok(Progress::Complete)
}

/// The version at the start of `rest`; `None` when its eight bytes are not all there yet.
#[inline]
pub(super) fn parse_version(rest: &[u8]) -> Result<Option<Version>, HeadError> {
    match rest.first_chunk::<8>() {
        Some(b"HTTP/1.1") => Ok(Some(Version::Http11)),
        Some(b"HTTP/1.0") => Ok(Some(Version::Http10)),
        _ => other_version(rest),
    }
}

/// Byte by byte against HTTP/d.d, so that the first wrong byte decides.
#[cold]
fn other_version(rest: &[u8]) -> Result<Option<Version>, HeadError> {
    for (&byte, &expected) in rest.iter().zip(b"HTTP/0.0") {
        let fits = if expected == b'0' { byte.is_ascii_digit() } else { byte == expected };
        if !fits {
            return Err(error_at(byte, HeadError::BadVersion));
        }
    }
    if rest.len() >= 8 { Err(HeadError::UnsupportedVersion) } else { Ok(None) }
}

/// The form of the target, once the line is whole.
#[inline]
fn check_target(bytes: &[u8], head: &mut RequestHead) -> Result<(), HeadError> {
    if head.method == Method::Connect {
        return Err(HeadError::Connect);
    }
    let target = head.target.of(bytes);
    match target {
        [b'/', ..] => {
            head.target_form = TargetForm::Origin;
            Ok(())
        }
        b"*" if head.method == Method::Options => {
            head.target_form = TargetForm::Asterisk;
            Ok(())
        }
        b"*" => Err(HeadError::BadAsterisk),
        _ => check_absolute(target, head),
    }
}

/// `http://authority` or `https://authority`, then nothing, a path or a query.
fn check_absolute(target: &[u8], head: &mut RequestHead) -> Result<(), HeadError> {
    let Some(scheme) = memchr::memmem::find(target, b"://") else {
        return Err(HeadError::BadTarget);
    };
    let name = target.get(..scheme).unwrap_or_default();
    if !name.eq_ignore_ascii_case(b"http") && !name.eq_ignore_ascii_case(b"https") {
        return Err(HeadError::BadAbsoluteTarget);
    }
    let start = scheme + 3;
    let rest = target.get(start..).unwrap_or_default();
    let length = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
    if authority::parse(rest.get(..length).unwrap_or_default()).is_none() {
        return Err(HeadError::BadAbsoluteTarget);
    }
    let start = head.target.start as usize + start;
    head.authority = Span::new(start, start + length);
    head.target_form = TargetForm::Absolute;
    Ok(())
}

/// What only the whole head can tell: host, framing, connection.
#[inline]
fn finish(bytes: &[u8], head: &mut RequestHead) -> Result<Progress, HeadError> {
    let is_http11 = head.version == Version::Http11;
    check_host(bytes, head, is_http11)?;
    head.body = head.facts.framing(is_http11)?.unwrap_or(Body::None);
    head.keep_alive = head.facts.keeps_alive(is_http11);
    head.expect = head.facts.expectation(is_http11, head.body);
    head.size = head.scan.position;
    Ok(Progress::Complete)
}

#[inline]
fn check_host(bytes: &[u8], head: &mut RequestHead, is_http11: bool) -> Result<(), HeadError> {
    let target_authority = head.authority;
    if !head.facts.has(Known::Host) {
        if is_http11 {
            return Err(HeadError::MissingHost);
        }
        head.host = target_authority;
        return Ok(());
    }
    head.host = head.facts.host;
    let host = authority::parse(head.host.of(bytes)).ok_or(HeadError::BadHost)?;
    if target_authority.is_empty() {
        return Ok(());
    }
    let is_https = head.target.of(bytes).get(4).is_some_and(|&byte| byte != b':');
    let default_port = if is_https { 443 } else { 80 };
    match authority::parse(target_authority.of(bytes)) {
        Some(other) if host.agrees_with(&other, default_port) => Ok(()),
        _ => Err(HeadError::HostMismatch),
    }
}

#[cfg(test)]
mod tests;
