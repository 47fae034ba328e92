//! The response head of an upstream, which is as hostile as any client (RFC 9112 sections 4 to 6).
//!
//! Choices, where the RFCs leave one:
//! - The space before an empty reason phrase may be missing; servers in the field leave it out.
//! - A status outside 100 to 599, a version other than 1.0 and 1.1, and 101 are errors.
//! - Framing fields that repeat, conflict or cannot be framed are errors, as in requests.
//! - A 1xx, 204 or 304 response or an answer to HEAD has no body, whatever its fields say; when a
//!   1xx or 204 announces one all the same, the connection is not used again.
#![forbid(unsafe_code)]

use super::chars;
use super::fields::{self, Phase, error_at};
use super::head::{Body, HeadError, HeadLimits, Progress, ResponseHead, Span, Version};
use super::method::Method;
use super::request::parse_version;
use super::status::is_bodiless;

/// Parses a response head, with the same rules for partial input as
/// [`parse_request`](super::head::parse_request). `request_method` is that of the request which
/// is answered. 1xx responses are complete heads without a body: reset and go on behind them.
pub fn parse_response(
    bytes: &[u8],
    limits: &HeadLimits,
    request_method: Method,
    head: &mut ResponseHead,
) -> Result<Progress, HeadError> {
    if head.scan.phase < Phase::LineStart {
        let end = (limits.request_line as usize).saturating_add(2);
        let window = bytes.get(..end).unwrap_or(bytes);
        match parse_line(window, head)? {
            Progress::Complete => {}
            Progress::Partial if bytes.len() >= end => return Err(HeadError::BadStatusLine),
            Progress::Partial => return Ok(Progress::Partial),
        }
    }
    if head.scan.phase == Phase::Done {
        return Ok(Progress::Complete);
    }
    let end = head.scan.section.saturating_add(limits.header_section as usize);
    let window = bytes.get(..end).unwrap_or(bytes);
    match fields::parse::<false>(
        window,
        limits.fields,
        &mut head.scan,
        &mut head.fields,
        &mut head.facts,
    )? {
        Progress::Complete => finish(request_method, head),
        Progress::Partial if bytes.len() >= end => Err(HeadError::HeaderSectionTooLarge),
        Progress::Partial => Ok(Progress::Partial),
    }
}

/// `HTTP/1.1 200 OK`. The fixed part is short, so it is looked at anew until it is whole.
fn parse_line(window: &[u8], head: &mut ResponseHead) -> Result<Progress, HeadError> {
    let scan = &mut head.scan;
    if scan.phase != Phase::Reason {
        head.version = match parse_version(window)? {
            Some(version) => version,
            None => return Ok(Progress::Partial),
        };
        let mut status = 0u16;
        for (index, &byte) in window.iter().enumerate().take(12).skip(8) {
            match (index, byte) {
                (8, b' ') => {}
                (9.., b'0'..=b'9') => status = status * 10 + u16::from(byte - b'0'),
                _ => return Err(error_at(byte, HeadError::BadStatusLine)),
            }
        }
        if window.len() < 12 {
            return Ok(Progress::Partial);
        }
        if !(100..600).contains(&status) {
            return Err(HeadError::BadStatus);
        }
        if status == 101 {
            return Err(HeadError::SwitchingProtocols);
        }
        head.status = status;
        match window.get(12) {
            None => return Ok(Progress::Partial),
            Some(b' ') => scan.mark = 13,
            Some(b'\r') => scan.mark = 12,
            Some(&byte) => return Err(error_at(byte, HeadError::BadStatusLine)),
        }
        scan.position = scan.mark;
        scan.phase = Phase::Reason;
    }

    scan.position = chars::end_of_value(window, scan.position);
    match (window.get(scan.position), window.get(scan.position + 1)) {
        (Some(b'\r'), Some(b'\n')) => {}
        (Some(b'\r'), Some(_)) => return Err(HeadError::BareCr),
        (Some(b'\r') | None, _) => return Ok(Progress::Partial),
        (Some(&byte), _) => return Err(error_at(byte, HeadError::BadStatusLine)),
    }
    head.reason = Span::new(scan.mark, scan.position);
    scan.position += 2;
    scan.section = scan.position;
    scan.phase = Phase::LineStart;
    Ok(Progress::Complete)
}

/// Framing and the fate of the connection (RFC 9112 section 6.3).
fn finish(request_method: Method, head: &mut ResponseHead) -> Result<Progress, HeadError> {
    let is_http11 = head.version == Version::Http11;
    let announced = head.facts.framing(is_http11)?;
    head.keep_alive = head.facts.keeps_alive(is_http11);
    head.body = if is_bodiless(head.status) || request_method == Method::Head {
        let may_announce = head.status == 304 || request_method == Method::Head;
        if !may_announce && !matches!(announced, None | Some(Body::Length(0))) {
            head.keep_alive = false;
        }
        Body::None
    } else {
        announced.unwrap_or(Body::UntilClose)
    };
    head.keep_alive &= head.body != Body::UntilClose;
    head.size = head.scan.position;
    Ok(Progress::Complete)
}

#[cfg(test)]
mod tests;
