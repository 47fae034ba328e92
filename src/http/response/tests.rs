use super::*;
use crate::http::head::Field;
use crate::http::testing::{Random, cuts, mutate};

const LIMITS: HeadLimits = HeadLimits { request_line: 8192, header_section: 32768, fields: 128 };

type Summary = (u16, Version, Vec<u8>, Vec<Field>, usize, Body, bool);
type Outcome = Result<Option<Summary>, HeadError>;

fn parse_cut(
    bytes: &[u8],
    limits: &HeadLimits,
    method: Method,
    ends: &[usize],
    head: &mut ResponseHead,
) -> Outcome {
    head.reset();
    for &end in ends {
        if parse_response(&bytes[..end], limits, method, head)? == Progress::Complete {
            return Ok(Some((
                head.status,
                head.version,
                head.reason.of(bytes).to_vec(),
                head.fields.clone(),
                head.size,
                head.body,
                head.keep_alive,
            )));
        }
    }
    Ok(None)
}

/// The outcome for the whole input, after checking that every cut gives the same one.
fn outcome(bytes: &[u8], limits: &HeadLimits, method: Method) -> Outcome {
    let mut head = ResponseHead::new();
    let whole = parse_cut(bytes, limits, method, &[bytes.len()], &mut head);
    for ends in cuts(bytes.len()) {
        let cut = parse_cut(bytes, limits, method, &ends, &mut head);
        assert_eq!(cut, whole, "cut {ends:?} of {:?}", String::from_utf8_lossy(bytes));
    }
    whole
}

fn accepted(text: &str, method: Method) -> Summary {
    outcome(text.as_bytes(), &LIMITS, method).unwrap().expect(text)
}

fn refused(text: impl AsRef<[u8]>, error: HeadError) {
    let text = text.as_ref();
    let outcome = outcome(text, &LIMITS, Method::Post);
    assert_eq!(outcome, Err(error), "{:?}", String::from_utf8_lossy(text));
}

/// What providers send.
#[test]
fn status_lines() {
    for (line, status, reason) in [
        ("HTTP/1.1 200 OK", 200, "OK"),
        ("HTTP/1.1 200 ", 200, ""),
        ("HTTP/1.1 200", 200, ""),
        ("HTTP/1.0 404 Not  Found\t!", 404, "Not  Found\t!"),
        ("HTTP/1.1 599 \u{e9}", 599, "\u{e9}"),
        ("HTTP/1.1 100 Continue", 100, "Continue"),
    ] {
        let head = accepted(&format!("{line}\r\n\r\n"), Method::Post);
        assert_eq!((head.0, head.2.as_slice()), (status, reason.as_bytes()), "{line}");
    }
    for (line, error) in [
        ("\r\nHTTP/1.1 200 OK", HeadError::BadVersion),
        ("http/1.1 200 OK", HeadError::BadVersion),
        ("HTTP/1.1", HeadError::BadStatusLine),
        ("HTTP/1.1 ", HeadError::BadStatusLine),
        ("HTTP/1.1  200 OK", HeadError::BadStatusLine),
        ("HTTP/1.1\t200 OK", HeadError::BadStatusLine),
        ("HTTP/1.1 20 OK", HeadError::BadStatusLine),
        ("HTTP/1.1 2000 OK", HeadError::BadStatusLine),
        ("HTTP/1.1 +20 OK", HeadError::BadStatusLine),
        ("HTTP/1.1 20x OK", HeadError::BadStatusLine),
        ("HTTP/1.1 200\tOK", HeadError::BadStatusLine),
        ("HTTP/1.1 200 O\x01K", HeadError::BadStatusLine),
        ("HTTP/1.1 200 O\x7fK", HeadError::BadStatusLine),
        ("HTTP/1.1 200 O\0K", HeadError::Nul),
        ("HTTP/1.1 200 O\nK", HeadError::BareLf),
        ("HTTP/1.1 200 O\rK", HeadError::BareCr),
        ("HTTP/1.1 200\n", HeadError::BareLf),
        ("HTTP/1.1 099 OK", HeadError::BadStatus),
        ("HTTP/1.1 000 OK", HeadError::BadStatus),
        ("HTTP/1.1 600 OK", HeadError::BadStatus),
        ("HTTP/1.1 999 OK", HeadError::BadStatus),
        ("HTTP/1.1 101 Switching Protocols", HeadError::SwitchingProtocols),
        ("HTTP/2.0 200 OK", HeadError::UnsupportedVersion),
        ("HTTP/1.2 200 OK", HeadError::UnsupportedVersion),
        ("ICY 200 OK", HeadError::BadVersion),
        ("<html>", HeadError::BadVersion),
        ("SSH-2.0-OpenSSH", HeadError::BadVersion),
        ("\x15\x03\x01", HeadError::BadVersion),
    ] {
        refused(format!("{line}\r\n\r\n"), error);
    }
}

/// A body taken for the next response, or the other way round, hands one client another's answer.
#[test]
fn bodies() {
    let head = |status: u16, lines: &str, method: Method| {
        let text = format!("HTTP/1.1 {status} X\r\n{lines}\r\n");
        let head = accepted(&text, method);
        (head.5, head.6)
    };
    let (length, chunked) = ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n");
    assert_eq!(head(200, length, Method::Get), (Body::Length(5), true));
    assert_eq!(head(200, chunked, Method::Get), (Body::Chunked, true));
    assert_eq!(head(200, "", Method::Get), (Body::UntilClose, false));
    assert_eq!(head(200, "Connection: keep-alive\r\n", Method::Get), (Body::UntilClose, false));
    assert_eq!(head(205, "", Method::Get), (Body::UntilClose, false));
    assert_eq!(head(500, "Content-Length: 0\r\n", Method::Get), (Body::Length(0), true));
    assert_eq!(head(200, length, Method::Head), (Body::None, true));
    assert_eq!(head(200, chunked, Method::Head), (Body::None, true));
    assert_eq!(head(200, "", Method::Head), (Body::None, true));
    assert_eq!(head(304, length, Method::Get), (Body::None, true));
    assert_eq!(head(204, "", Method::Get), (Body::None, true));
    assert_eq!(head(204, "Content-Length: 0\r\n", Method::Get), (Body::None, true));
    assert_eq!(head(204, length, Method::Get), (Body::None, false));
    assert_eq!(head(204, chunked, Method::Get), (Body::None, false));
    assert_eq!(head(103, length, Method::Get), (Body::None, false));
    assert_eq!(head(100, "", Method::Get), (Body::None, true));
    assert!(!head(200, &format!("{length}Connection: close\r\n"), Method::Get).1);
    let old = accepted("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", Method::Get);
    assert_eq!((old.5, old.6), (Body::Length(5), false));
    let old = "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n";
    assert!(accepted(old, Method::Get).6);
    // Fields of requests mean nothing here.
    head(200, "Host: a\r\nHost: b, c\r\nExpect: x\r\nContent-Length: 0\r\n", Method::Get);
}

/// Framing that two readers could understand differently is refused, also where there is no body.
#[test]
fn hostile_framing() {
    for status in ["200", "204", "304"] {
        for (lines, error) in [
            ("Content-Length: 5\r\nContent-Length: 5\r\n", HeadError::RepeatedContentLength),
            ("Content-Length: 5\r\nContent-Length: 6\r\n", HeadError::RepeatedContentLength),
            ("Content-Length: 5, 5\r\n", HeadError::BadContentLength),
            ("Content-Length: -1\r\n", HeadError::BadContentLength),
            ("Content-Length: 18446744073709551616\r\n", HeadError::BadContentLength),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", HeadError::LengthAndEncoding),
            ("Transfer-Encoding: gzip\r\n", HeadError::BadTransferEncoding),
            ("Transfer-Encoding: chunked, gzip\r\n", HeadError::BadTransferEncoding),
            ("Transfer-Encoding: identity\r\n", HeadError::BadTransferEncoding),
            ("Transfer-Encoding: gzip, chunked\r\n", HeadError::UnsupportedCoding),
            (" X: y\r\n", HeadError::ObsoleteFold),
            ("X: y\r\n z\r\n", HeadError::ObsoleteFold),
            ("X : y\r\n", HeadError::BadFieldName),
            ("X: y\nZ: z\r\n", HeadError::BareLf),
            ("X: y\0\r\n", HeadError::Nul),
        ] {
            refused(format!("HTTP/1.1 {status} OK\r\n{lines}\r\n"), error);
        }
    }
    let old = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    refused(old, HeadError::TransferEncodingInHttp10);
}

/// An endless head must end at its limit.
#[test]
fn limits_hold_exactly() {
    let limits = HeadLimits { request_line: 20, header_section: 30, fields: 2 };
    let check = |text: String| outcome(text.as_bytes(), &limits, Method::Get);
    let line = |reason: usize| format!("HTTP/1.1 200 {}\r\n\r\n", "r".repeat(reason));
    assert!(check(line(7)).unwrap().is_some());
    for reason in [8, 9, 700] {
        assert_eq!(check(line(reason)), Err(HeadError::BadStatusLine));
    }
    let section = |value: usize| format!("HTTP/1.1 200 OK\r\nX:{}\r\n\r\n", "v".repeat(value));
    assert!(check(section(24)).unwrap().is_some());
    for value in [25, 26, 27, 28, 3000] {
        assert_eq!(check(section(value)), Err(HeadError::HeaderSectionTooLarge));
    }
    let fields = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "X:\r\n".repeat(count));
    assert!(check(fields(2)).unwrap().is_some());
    assert_eq!(check(fields(3)), Err(HeadError::TooManyFields));
    assert_eq!(check(fields(300)), Err(HeadError::TooManyFields));
}

const SEEDS: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.0 429 \r\nRetry-After: 5\r\nContent-Length: 17\r\nConnection: keep-alive\r\n\r\n",
    b"HTTP/1.1 204\r\nServer: x y\t(z)\r\n\r\n",
];

const DICTIONARY: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b"\r\n ",
    b"\r\n\r\n",
    b"200",
    b"101",
    b"304",
    b"Content-Length: 1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"HTTP/1.0",
    b"\x7f",
    b"\x80",
];

/// The oracle again: what is accepted here, httparse reads in the same way.
#[test]
fn httparse_accepts_what_is_accepted() {
    let mut random = Random::new(7);
    let mut head = ResponseHead::new();
    let mut accepted = 0;
    for round in 0..30_000 {
        let bytes = mutate(&mut random, SEEDS[round % SEEDS.len()], DICTIONARY);
        let whole = parse_cut(&bytes, &LIMITS, Method::Get, &[bytes.len()], &mut head);
        let ends = [random.below(bytes.len() + 1), bytes.len()];
        let cut = parse_cut(&bytes, &LIMITS, Method::Get, &ends, &mut ResponseHead::new());
        assert_eq!(cut, whole, "cut {ends:?} of {:?}", String::from_utf8_lossy(&bytes));
        if !matches!(whole, Ok(Some(_))) {
            continue;
        }
        accepted += 1;
        let mut storage = [httparse::EMPTY_HEADER; 256];
        let mut theirs = httparse::Response::new(&mut storage);
        let status = theirs.parse(&bytes);
        assert_eq!(status, Ok(httparse::Status::Complete(head.size)), "{bytes:?}");
        assert_eq!(theirs.code, Some(head.status));
        assert_eq!(theirs.headers.len(), head.fields.len());
        for (their, our) in theirs.headers.iter().zip(&head.fields) {
            assert_eq!(their.name.as_bytes(), our.name.of(&bytes));
            assert_eq!(chars::trim(their.value), our.value.of(&bytes));
        }
    }
    assert!(accepted > 2_000, "the mutations are too wild to mean anything: {accepted}");
}
