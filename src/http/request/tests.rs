use super::*;
use crate::http::framing::BodyDecoder;
use crate::http::head::{Expect, Field};
use crate::http::testing::{Random, cuts, mutate};

const LIMITS: HeadLimits = HeadLimits { request_line: 8192, header_section: 32768, fields: 128 };

/// Everything that a head says, in a form that can be compared.
#[derive(Clone, PartialEq, Debug)]
struct Summary {
    method: Method,
    texts: [Vec<u8>; 3],
    form: TargetForm,
    version: Version,
    fields: Vec<Field>,
    size: usize,
    body: Body,
    keep_alive: bool,
    expect: Expect,
}

fn summary(bytes: &[u8], head: &RequestHead) -> Summary {
    Summary {
        method: head.method,
        texts: [head.method_text, head.target, head.host].map(|span| span.of(bytes).to_vec()),
        form: head.target_form,
        version: head.version,
        fields: head.fields.clone(),
        size: head.size,
        body: head.body,
        keep_alive: head.keep_alive,
        expect: head.expect,
    }
}

type Outcome = Result<Option<Summary>, HeadError>;

/// Parses prefix after prefix with one head, as a connection does.
fn parse_cut(bytes: &[u8], limits: &HeadLimits, ends: &[usize], head: &mut RequestHead) -> Outcome {
    head.reset();
    for &end in ends {
        match parse_request(&bytes[..end], limits, head)? {
            Progress::Complete => return Ok(Some(summary(bytes, head))),
            Progress::Partial => {}
        }
    }
    Ok(None)
}

/// The outcome for the whole input, after checking that every cut gives the same one.
fn outcome(bytes: &[u8], limits: &HeadLimits) -> Outcome {
    let mut head = RequestHead::new();
    let whole = parse_cut(bytes, limits, &[bytes.len()], &mut head);
    for ends in cuts(bytes.len()) {
        let cut = parse_cut(bytes, limits, &ends, &mut head);
        assert_eq!(cut, whole, "cut {ends:?} of {:?}", String::from_utf8_lossy(bytes));
    }
    whole
}

fn accepted(text: &str) -> Summary {
    match outcome(text.as_bytes(), &LIMITS) {
        Ok(Some(summary)) => {
            assert_eq!(summary.size, text.len(), "{text:?}");
            summary
        }
        other => panic!("{text:?} gave {other:?}"),
    }
}

fn refused(text: impl AsRef<[u8]>, error: HeadError) {
    let text = text.as_ref();
    assert_eq!(outcome(text, &LIMITS), Err(error), "{:?}", String::from_utf8_lossy(text));
}

/// The plain case, field by field.
#[test]
fn reads_what_a_client_sends() {
    let text = "POST /v1/chat?a=b HTTP/1.1\r\nHost: localhost:8080\r\nContent-Type:application/json\r\n\
                Content-Length:  12\t\r\nX-Empty:\r\nX-Blank: \t \r\nx-odd!#$%&'*+-.^_`|~9: a\tb \u{e9}\r\n\r\n";
    let bytes = text.as_bytes();
    let mut head = RequestHead::new();
    assert_eq!(parse_request(bytes, &LIMITS, &mut head), Ok(Progress::Complete));
    assert_eq!(head.method, Method::Post);
    assert_eq!(head.method_text.of(bytes), b"POST");
    assert_eq!(head.target.of(bytes), b"/v1/chat?a=b");
    assert_eq!(head.host.of(bytes), b"localhost:8080");
    assert_eq!(head.version, Version::Http11);
    assert_eq!(head.body, Body::Length(12));
    assert_eq!(head.size, bytes.len());
    assert!(head.keep_alive);
    let field = |name: &str| {
        let found = head.find_name(bytes, name.as_bytes()).next();
        found.map(|field| std::str::from_utf8(field.value.of(bytes)).unwrap())
    };
    assert_eq!(field("content-TYPE"), Some("application/json"));
    assert_eq!(field("content-length"), Some("12"));
    assert_eq!(field("x-empty"), Some(""));
    assert_eq!(field("x-blank"), Some(""));
    assert_eq!(field("X-ODD!#$%&'*+-.^_`|~9"), Some("a\tb \u{e9}"));
    assert_eq!(field("x-missing"), None);
    assert_eq!(
        head.find(Known::ContentLength).map(|field| field.value.of(bytes)),
        Some(&b"12"[..])
    );
    assert_eq!(head.find(Known::Cookie), None);
    head.reset();
    assert_eq!(head.find(Known::ContentLength), None);
    assert!(head.fields.is_empty() && head.fields.capacity() > 0);
    outcome(bytes, &LIMITS).unwrap();
}

/// Bytes behind the head belong to the body or to the next request.
#[test]
fn stops_at_the_blank_line() {
    let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\n\0";
    assert_eq!(outcome(text, &LIMITS).unwrap().unwrap().size, 27);
}

/// A head that is read once more before its reset must not grow into the body.
#[test]
fn a_complete_head_stays() {
    let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nX: y\r\n\r\n";
    let mut head = RequestHead::new();
    assert_eq!(parse_request(text, &LIMITS, &mut head), Ok(Progress::Complete));
    let before = summary(text, &head);
    assert_eq!(parse_request(text, &LIMITS, &mut head), Ok(Progress::Complete));
    assert_eq!(summary(text, &head), before);
}

/// Old clients send an empty line after a body; endless ones are an attack.
#[test]
fn skips_a_few_empty_lines() {
    let rest = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for count in 0..=LEADING_EMPTY_LINES_MAX {
        accepted(&("\r\n".repeat(count) + rest));
    }
    refused("\r\n".repeat(LEADING_EMPTY_LINES_MAX + 1) + rest, HeadError::TooManyEmptyLines);
    refused("\r\n".repeat(1000), HeadError::TooManyEmptyLines);
    refused("\n".to_owned() + rest, HeadError::BareLf);
    refused("\r".to_owned() + rest, HeadError::BareCr);
    refused("\r\r\n".to_owned() + rest, HeadError::BareCr);
    refused(" ".to_owned() + rest, HeadError::BadMethod);
    refused(" \r\n".to_owned() + rest, HeadError::BadMethod);
}

/// The request line has one form and no other.
#[test]
fn request_lines() {
    for (line, method) in [
        ("GET / HTTP/1.1", Method::Get),
        ("HEAD /a HTTP/1.0", Method::Head),
        ("OPTIONS * HTTP/1.1", Method::Options),
        ("BREW /pot HTTP/1.1", Method::Other),
        ("get / HTTP/1.1", Method::Other),
        ("M-SEARCH!#$%&'*+.^_`|~ / HTTP/1.1", Method::Other),
        ("GET //evil.com/%2e?a=b?c/d&[x]={y}|\\^`'%zz HTTP/1.1", Method::Get),
        ("TRACE / HTTP/1.1", Method::Trace),
    ] {
        let text = format!("{line}\r\nHost: a\r\n\r\n");
        assert_eq!(accepted(&text).method, method, "{line}");
    }
    for (line, error) in [
        ("GET / HTTP/1.1 ", HeadError::BadVersion),
        ("GET  / HTTP/1.1", HeadError::BadRequestLine),
        ("GET /  HTTP/1.1", HeadError::BadVersion),
        ("GET / a HTTP/1.1", HeadError::BadVersion),
        ("GET\t/ HTTP/1.1", HeadError::BadMethod),
        ("GET /\tHTTP/1.1", HeadError::BadTarget),
        ("GET /", HeadError::BadRequestLine),
        ("GET", HeadError::BadRequestLine),
        ("GET ", HeadError::BadRequestLine),
        ("GET / ", HeadError::BadVersion),
        (" / HTTP/1.1", HeadError::BadMethod),
        ("G@T / HTTP/1.1", HeadError::BadMethod),
        ("GET: / HTTP/1.1", HeadError::BadMethod),
        ("\u{e9} / HTTP/1.1", HeadError::BadMethod),
        ("\x16\x03\x01\x02", HeadError::BadMethod),
        ("GET /\u{e9} HTTP/1.1", HeadError::BadTarget),
        ("GET /#a HTTP/1.1", HeadError::BadTarget),
        ("GET /\"a HTTP/1.1", HeadError::BadTarget),
        ("GET /<a> HTTP/1.1", HeadError::BadTarget),
        ("GET /\x7f HTTP/1.1", HeadError::BadTarget),
        ("GET /\x01 HTTP/1.1", HeadError::BadTarget),
        ("GET /\0 HTTP/1.1", HeadError::Nul),
        ("\0GET / HTTP/1.1", HeadError::Nul),
        ("G\0T / HTTP/1.1", HeadError::Nul),
        ("GET / HTTP/1.1\0", HeadError::Nul),
        ("GET / HTT\0/1.1", HeadError::Nul),
        ("GET a HTTP/1.1", HeadError::BadTarget),
        ("GET ?a HTTP/1.1", HeadError::BadTarget),
        ("GET a:80 HTTP/1.1", HeadError::BadTarget),
        ("GET * HTTP/1.1", HeadError::BadAsterisk),
        ("BREW * HTTP/1.1", HeadError::BadAsterisk),
        ("OPTIONS ** HTTP/1.1", HeadError::BadTarget),
        ("CONNECT a:443 HTTP/1.1", HeadError::Connect),
        ("CONNECT / HTTP/1.1", HeadError::Connect),
        ("GET / http/1.1", HeadError::BadVersion),
        ("GET / HTTP/1.10", HeadError::BadVersion),
        ("GET / HTTP/01.1", HeadError::BadVersion),
        ("GET / HTTP/11", HeadError::BadVersion),
        ("GET / HTTP/1", HeadError::BadVersion),
        ("GET / HTTP/1,1", HeadError::BadVersion),
        ("GET / HTTP 1.1", HeadError::BadVersion),
        ("GET / HTTPS/1.1", HeadError::BadVersion),
        ("GET / HTTP/x.1", HeadError::BadVersion),
        ("GET / HTTP/1.x", HeadError::BadVersion),
        ("GET / ICY/1.1", HeadError::BadVersion),
        ("GET / HTTP/0.9", HeadError::UnsupportedVersion),
        ("GET / HTTP/1.2", HeadError::UnsupportedVersion),
        ("GET / HTTP/1.9", HeadError::UnsupportedVersion),
        ("GET / HTTP/2.0", HeadError::UnsupportedVersion),
        ("GET / HTTP/3.0", HeadError::UnsupportedVersion),
        ("GET / HTTP/9.9", HeadError::UnsupportedVersion),
        ("GET / HTTP/1.1\r", HeadError::BareCr),
        ("GET / HTTP/1.1\rX", HeadError::BareCr),
        ("GET / HTTP/1.1\nHost: b", HeadError::BareLf),
        ("GET /\nHost: b", HeadError::BareLf),
        ("GE\nT / HTTP/1.1", HeadError::BareLf),
        ("GET / HTTP/\n1.1", HeadError::BareLf),
    ] {
        refused(format!("{line}\r\nHost: a\r\n\r\n"), error);
    }
    refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HeadError::UnsupportedVersion);
}

/// An absolute target decides where a request goes; it must be clean and agree with Host.
#[test]
fn absolute_targets() {
    for (target, host) in [
        ("http://a/", "a"),
        ("http://a", "a"),
        ("HTTP://A/b?c", "a"),
        ("http://a?b=http://c/", "a"),
        ("http://a:80/", "a"),
        ("http://a/", "a:80"),
        ("https://a/", "A:443"),
        ("http://[::1]:8080/x", "[::1]:8080"),
    ] {
        let text = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let head = accepted(&text);
        assert_eq!(head.form, TargetForm::Absolute);
        assert_eq!(head.texts[2], host.as_bytes());
    }
    let head = accepted("GET http://a:81/ HTTP/1.0\r\n\r\n");
    assert_eq!(head.texts[2], b"a:81");
    for (target, host, error) in [
        ("http://a/", "b", HeadError::HostMismatch),
        ("http://a/", "a:81", HeadError::HostMismatch),
        ("https://a/", "a:80", HeadError::HostMismatch),
        ("http://a/", "a.", HeadError::HostMismatch),
        ("http:///", "a", HeadError::BadAbsoluteTarget),
        ("http://", "a", HeadError::BadAbsoluteTarget),
        ("http://u@a/", "a", HeadError::BadAbsoluteTarget),
        ("http://u:p@a/", "a", HeadError::BadAbsoluteTarget),
        ("http://a:x/", "a", HeadError::BadAbsoluteTarget),
        ("http://a:99999/", "a", HeadError::BadAbsoluteTarget),
        ("http://a,b/", "a", HeadError::BadAbsoluteTarget),
        ("http://a\\b/", "a", HeadError::BadAbsoluteTarget),
        ("ftp://a/", "a", HeadError::BadAbsoluteTarget),
        ("file:///etc/passwd", "a", HeadError::BadAbsoluteTarget),
        ("http:a", "a", HeadError::BadTarget),
        ("http:/a", "a", HeadError::BadTarget),
    ] {
        refused(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"), error);
    }
    refused("GET http://a/ HTTP/1.1\r\n\r\n", HeadError::MissingHost);
    refused("GET http://a/ HTTP/1.0\r\nHost: b\r\n\r\n", HeadError::HostMismatch);
}

/// Host exactly once and valid; what is not cost other gateways their keys.
#[test]
fn hosts() {
    accepted("GET / HTTP/1.0\r\n\r\n");
    accepted("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    accepted("GET / HTTP/1.1\r\nhOST:a:1\r\n\r\n");
    refused("GET / HTTP/1.1\r\n\r\n", HeadError::MissingHost);
    refused("GET / HTTP/1.1\r\nX-Host: a\r\n\r\n", HeadError::MissingHost);
    for version in ["1.0", "1.1"] {
        let start = format!("GET / HTTP/{version}\r\n");
        refused(format!("{start}Host: a\r\nHost: a\r\n\r\n"), HeadError::RepeatedHost);
        refused(format!("{start}Host: a\r\nX: b\r\nhost: b\r\n\r\n"), HeadError::RepeatedHost);
        for host in
            ["", " \t", "u@a", "a/b", "a#b", "a b", "a, b", "a,b", "a?b", "http://a", "[::1", "a:b"]
        {
            refused(format!("{start}Host: {host}\r\n\r\n"), HeadError::BadHost);
        }
    }
}

/// Each deviation in a field line is a known way to smuggle.
#[test]
fn field_lines() {
    for (lines, error) in [
        ("X : b\r\n", HeadError::BadFieldName),
        ("X\t: b\r\n", HeadError::BadFieldName),
        (": b\r\n", HeadError::BadFieldName),
        ("X\r\n", HeadError::BadFieldName),
        ("X y: b\r\n", HeadError::BadFieldName),
        ("X(: b\r\n", HeadError::BadFieldName),
        ("X\u{e9}: b\r\n", HeadError::BadFieldName),
        ("X\x7f: b\r\n", HeadError::BadFieldName),
        ("X\0: b\r\n", HeadError::Nul),
        ("X\n: b\r\n", HeadError::BareLf),
        ("\nX: b\r\n", HeadError::BareLf),
        ("\rX: b\r\n", HeadError::BareCr),
        (" X: b\r\n", HeadError::ObsoleteFold),
        ("\tX: b\r\n", HeadError::ObsoleteFold),
        ("X: b\r\n c\r\n", HeadError::ObsoleteFold),
        ("X: b\r\n\tc: d\r\n", HeadError::ObsoleteFold),
        ("X: b\r\n \r\n", HeadError::ObsoleteFold),
        ("X: b\nY: c\r\n", HeadError::BareLf),
        ("X:\nY: c\r\n", HeadError::BareLf),
        ("X: b\rY: c\r\n", HeadError::BareCr),
        ("X: b\r\r\n", HeadError::BareCr),
        ("X:\rY\r\n", HeadError::BareCr),
        ("X: b\0\r\n", HeadError::Nul),
        ("X:\0\r\n", HeadError::Nul),
        ("X: b\x01\r\n", HeadError::BadFieldValue),
        ("X: \x0bb\r\n", HeadError::BadFieldValue),
        ("X: b\x0c\r\n", HeadError::BadFieldValue),
        ("X: b\x1b[0m\r\n", HeadError::BadFieldValue),
        ("X: b\x7f\r\n", HeadError::BadFieldValue),
    ] {
        refused(format!("GET / HTTP/1.1\r\n{lines}Host: a\r\n\r\n"), error);
        refused(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"), error);
    }
    refused(b"GET / HTTP/1.1\r\n\xff: b\r\n\r\n", HeadError::BadFieldName);
    accepted("GET / HTTP/1.1\r\nHost: a\r\nX:\t\"(),/:;<=>?@[\\]{}\u{7ff}\r\n\r\n");
}

/// Where the body ends must be said once, plainly, or not at all.
#[test]
fn framing() {
    let post = |lines: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    for (lines, body) in [
        ("", Body::None),
        ("Content-Length: 0\r\n", Body::Length(0)),
        ("content-length:5\r\n", Body::Length(5)),
        ("Content-Length: \t5\t \r\n", Body::Length(5)),
        ("Content-Length: 0005\r\n", Body::Length(5)),
        ("Content-Length: 18446744073709551615\r\n", Body::Length(u64::MAX)),
        ("Transfer-Encoding: chunked\r\n", Body::Chunked),
        ("TRANSFER-ENCODING:Chunked \r\n", Body::Chunked),
        ("X-Content-Length: 5\r\nX-Transfer-Encoding: gzip\r\n", Body::None),
    ] {
        assert_eq!(accepted(&post(lines)).body, body, "{lines:?}");
    }
    for length in [
        "",
        "+5",
        "-5",
        "-0",
        "5 5",
        "5,5",
        "5, 5",
        "5;",
        "0x5",
        "5a",
        "a",
        "5.0",
        "1e3",
        "5_0",
        "\"5\"",
        "18446744073709551616",
        "99999999999999999999999",
        "5\u{a0}",
        "\u{ff15}",
        ",5",
        "5,",
    ] {
        refused(post(&format!("Content-Length: {length}\r\n")), HeadError::BadContentLength);
    }
    for (lines, error) in [
        ("Content-Length: 5\r\nContent-Length: 5\r\n", HeadError::RepeatedContentLength),
        ("Content-Length: 5\r\nX: y\r\ncontent-length: 6\r\n", HeadError::RepeatedContentLength),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", HeadError::LengthAndEncoding),
        ("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", HeadError::LengthAndEncoding),
        ("Content-Length: 5\r\nTransfer-Encoding: gzip, chunked\r\n", HeadError::LengthAndEncoding),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            HeadError::BadTransferEncoding,
        ),
        (
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
            HeadError::BadTransferEncoding,
        ),
        ("Transfer-Encoding: gzip, chunked\r\n", HeadError::UnsupportedCoding),
        ("Transfer-Encoding: gzip,deflate ,\tchunked\r\n", HeadError::UnsupportedCoding),
    ] {
        refused(post(lines), error);
    }
    for coding in [
        "",
        "gzip",
        "identity",
        "chunked, gzip",
        "chunked, chunked",
        "chunked, identity",
        "chunked,",
        ",chunked",
        "gzip,,chunked",
        "chunked;q=1",
        "chunked; a=b",
        "\"chunked\"",
        "xchunked",
        "chunkedx",
        "chunke",
        "chunked chunked",
        "gzip chunked",
        "chunked\u{a0}",
        "'chunked'",
        "chunked, chunked, chunked",
        "gz(ip, chunked",
        "gzip;q=1, chunked",
    ] {
        refused(post(&format!("Transfer-Encoding: {coding}\r\n")), HeadError::BadTransferEncoding);
    }
    for (lines, error) in [
        ("Transfer-Encoding: \x0bchunked\r\n", HeadError::BadFieldValue),
        ("Transfer-Encoding\x0b: chunked\r\n", HeadError::BadFieldName),
        ("Transfer-Encoding : chunked\r\n", HeadError::BadFieldName),
        ("Transfer-Encoding:\r\n chunked\r\n", HeadError::BadTransferEncoding),
        ("X: y\r\n Transfer-Encoding: chunked\r\n", HeadError::ObsoleteFold),
        ("Transfer-Encoding: chunked\rX: y\r\n", HeadError::BareCr),
        ("X: y\nTransfer-Encoding: chunked\r\n", HeadError::BareLf),
    ] {
        refused(post(lines), error);
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    refused(old, HeadError::TransferEncodingInHttp10);
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n";
    refused(old, HeadError::TransferEncodingInHttp10);
    assert_eq!(accepted("POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\n").body, Body::Length(3));
}

/// Who keeps a connection open, and who wants to be asked for its body.
#[test]
fn connection_and_expect() {
    for (version, lines, keep_alive) in [
        ("1.1", "", true),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: CLOSE\r\n", false),
        ("1.1", "Connection: x, \tClose ,y\r\n", false),
        ("1.1", "Connection: keep-alive, close\r\n", false),
        ("1.1", "Connection: close\r\nConnection: keep-alive\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.1", "Connection:\r\nProxy-Connection: close\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: te, keep-alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
        ("1.0", "Proxy-Connection: keep-alive\r\n", false),
    ] {
        let text = format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n");
        assert_eq!(accepted(&text).keep_alive, keep_alive, "{text:?}");
    }
    for (version, lines, expect) in [
        ("1.1", "Expect: 100-continue\r\nContent-Length: 1\r\n", Expect::Continue),
        ("1.1", "Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n", Expect::Continue),
        ("1.1", "Expect: 100-continue\r\n", Expect::None),
        ("1.1", "Expect: 100-continue\r\nContent-Length: 0\r\n", Expect::None),
        ("1.1", "Expect:\r\nContent-Length: 1\r\n", Expect::None),
        ("1.0", "Expect: 100-continue\r\nContent-Length: 1\r\n", Expect::None),
        ("1.1", "Expect: 200-ok\r\n", Expect::Other),
        ("1.1", "Expect: 100-continue=1\r\nContent-Length: 1\r\n", Expect::Other),
        ("1.1", "Expect: 100-continue, x\r\nContent-Length: 1\r\n", Expect::Other),
        ("1.1", "Expect: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n", Expect::Other),
        ("1.0", "Expect: x\r\n", Expect::Other),
    ] {
        let text = format!("PUT / HTTP/{version}\r\nHost: a\r\n{lines}\r\n");
        assert_eq!(accepted(&text).expect, expect, "{text:?}");
    }
}

/// Every limit: at it, one over, a hundred times over.
#[test]
fn limits_hold_exactly() {
    let limits = HeadLimits { request_line: 40, header_section: 60, fields: 3 };
    let with_line = |length: usize| {
        let target = "a".repeat(length - "GET / HTTP/1.1".len());
        format!("GET /{target} HTTP/1.1\r\nHost: a\r\n\r\n")
    };
    assert!(outcome(with_line(40).as_bytes(), &limits).unwrap().is_some());
    let leading = "\r\n\r\n".to_owned() + &with_line(40);
    assert!(outcome(leading.as_bytes(), &limits).unwrap().is_some());
    for length in [41, 42, 43, 4000] {
        let text = with_line(length);
        assert_eq!(outcome(text.as_bytes(), &limits), Err(HeadError::RequestLineTooLong));
    }
    let method = "M".repeat(4000);
    assert_eq!(outcome(method.as_bytes(), &limits), Err(HeadError::MethodTooLong));
    assert_eq!(outcome(&[b'M'; 41], &limits), Ok(None));
    assert_eq!(outcome(&[b'M'; 42], &limits), Err(HeadError::MethodTooLong));

    let with_section = |length: usize| {
        let value = "v".repeat(length - "Host: a\r\nX: \r\n\r\n".len());
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {value}\r\n\r\n")
    };
    assert!(outcome(with_section(60).as_bytes(), &limits).unwrap().is_some());
    for length in [61, 62, 63, 64, 65, 6000] {
        let text = with_section(length);
        assert_eq!(outcome(text.as_bytes(), &limits), Err(HeadError::HeaderSectionTooLarge));
    }
    let name = format!("GET / HTTP/1.1\r\n{}", "n".repeat(6000));
    assert_eq!(outcome(name.as_bytes(), &limits), Err(HeadError::HeaderSectionTooLarge));
    let blanks = format!("GET / HTTP/1.1\r\nX:{}", " ".repeat(600));
    assert_eq!(outcome(blanks.as_bytes(), &limits), Err(HeadError::HeaderSectionTooLarge));

    let with_fields =
        |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X:\r\n".repeat(count - 1));
    assert!(outcome(with_fields(3).as_bytes(), &limits).unwrap().is_some());
    for count in [4, 5, 300] {
        assert_eq!(outcome(with_fields(count).as_bytes(), &limits), Err(HeadError::TooManyFields));
    }
}

/// A head that comes byte by byte must not be read again and again.
#[test]
fn work_is_linear_in_the_bytes() {
    let limits = HeadLimits { request_line: 1 << 20, header_section: 1 << 22, fields: 9 };
    let mut text = b"GET /".to_vec();
    text.resize(300_000, b'a');
    text.extend_from_slice(b" HTTP/1.1\r\nHost: a\r\nX:");
    text.resize(600_000, b' ');
    text.resize(900_000, b'v');
    text.extend_from_slice(b"\r\n\r\n");
    let mut head = RequestHead::new();
    let ends: Vec<usize> = (1..=text.len()).collect();
    // Quadratic work would be 10^11 steps here.
    let outcome = parse_cut(&text, &limits, &ends, &mut head).unwrap();
    assert_eq!(outcome.unwrap().size, text.len());
}

const SEEDS: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /v1/chat/completions?x=%20 HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 12\r\n\
      Content-Type: application/json\r\nConnection: keep-alive\r\n\r\n",
    b"PUT http://a:80/x HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
    b"\r\nOPTIONS * HTTP/1.0\r\nConnection: keep-alive, te\r\nX-A:\t b \xc3\xa9\r\n\r\n",
];

const DICTIONARY: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b": ",
    b"\r\n ",
    b"\r\n\r\n",
    b"Host: b\r\n",
    b"Content-Length: 1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"chunked",
    b", ",
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"CONNECT ",
    b"*",
    b"http://",
    b"%2f",
    b"\x7f",
    b"\x80",
    b"close",
    b"0",
    b"-1",
];

/// The oracle: whatever is accepted here, httparse reads in the same way. And no mutation may
/// panic, depend on cuts, or break what the head promises.
#[test]
fn httparse_accepts_what_is_accepted() {
    let mut random = Random::new(6);
    let mut head = RequestHead::new();
    let mut accepted = 0;
    for round in 0..40_000 {
        let bytes = mutate(&mut random, SEEDS[round % SEEDS.len()], DICTIONARY);
        let whole = parse_cut(&bytes, &LIMITS, &[bytes.len()], &mut head);
        let at = random.below(bytes.len() + 1);
        let cut = parse_cut(&bytes, &LIMITS, &[at, bytes.len()], &mut RequestHead::new());
        assert_eq!(cut, whole, "cut at {at} of {:?}", String::from_utf8_lossy(&bytes));
        let Ok(Some(summary)) = whole else { continue };
        accepted += 1;
        compare_with_httparse(&bytes, &head);
        assert!(summary.size <= bytes.len());
        assert!(summary.version == Version::Http10 || head.facts.has(Known::Host));
        let mut decoder = BodyDecoder::new(summary.body);
        // The body's framing may be broken; it must be an error then, not a panic.
        let _ = decoder.decode(&bytes[summary.size..]);
    }
    assert!(accepted > 2_000, "the mutations are too wild to mean anything: {accepted}");
}

fn compare_with_httparse(bytes: &[u8], head: &RequestHead) {
    let mut storage = [httparse::EMPTY_HEADER; 256];
    let mut theirs = httparse::Request::new(&mut storage);
    let text = String::from_utf8_lossy(bytes);
    match theirs.parse(bytes) {
        Ok(httparse::Status::Complete(size)) => assert_eq!(size, head.size, "{text:?}"),
        other => panic!("httparse says {other:?} of {text:?}"),
    }
    assert_eq!(theirs.method.unwrap().as_bytes(), head.method_text.of(bytes));
    assert_eq!(theirs.path.unwrap().as_bytes(), head.target.of(bytes));
    assert_eq!(theirs.version.unwrap() == 1, head.version == Version::Http11);
    assert_eq!(theirs.headers.len(), head.fields.len(), "{text:?}");
    for (their, our) in theirs.headers.iter().zip(&head.fields) {
        assert_eq!(their.name.as_bytes(), our.name.of(bytes));
        assert_eq!(crate::http::chars::trim(their.value), our.value.of(bytes));
    }
}
