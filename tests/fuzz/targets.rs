//! What each fuzz target checks: plain functions over bytes. A fuzzer feeds them, `tests/fuzz.rs`
//! replays the committed corpora through them. Each panics when a property does not hold:
//! - the outcome does not depend on how the bytes were cut into reads;
//! - what our tokenizer accepts, httparse reads in the same way;
//! - what comes out keeps what its documentation promises;
//! - the work grows no faster than the input.

use std::net::SocketAddr;
use std::sync::LazyLock;

use neurohttp::config::Config;
use neurohttp::exchange::{Peer, Request};
use neurohttp::firewall::{Action, BodyProfile, Firewall, Judgement};
use neurohttp::http::encode;
use neurohttp::http::framing::BodyDecoder;
use neurohttp::http::head::{
    self, Body, Field, HeadError, HeadLimits, Progress, RequestHead, ResponseHead, Version,
};
use neurohttp::http::method::Method;
use neurohttp::http::sse::{SseEvent, SseReader};
use neurohttp::http::target::{self, Target};
use neurohttp::http::trace_context::{self, TraceContext};

/// One target.
pub struct FuzzTarget {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// What is called with the bytes.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[FuzzTarget] = &[
    FuzzTarget { name: "request_head", run: request_head },
    FuzzTarget { name: "response_head", run: response_head },
    FuzzTarget { name: "chunked_body", run: chunked_body },
    FuzzTarget { name: "sse", run: sse },
    FuzzTarget { name: "target", run: target },
    FuzzTarget { name: "trace_context", run: trace_context },
    FuzzTarget { name: "firewall", run: firewall },
];

/// Small, so that a fuzzer reaches them.
const LIMITS: HeadLimits = HeadLimits { request_line: 200, header_section: 600, fields: 12 };

/// The ends of the reads that `bytes` come in: whole, byte by byte, and in pieces whose sizes the
/// bytes themselves give.
fn cuts(bytes: &[u8]) -> [Vec<usize>; 3] {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        at = (at + 1 + usize::from(bytes[at] % 23)).min(bytes.len());
        pieces.push(at);
    }
    pieces.push(bytes.len());
    [vec![bytes.len()], (0..=bytes.len()).collect(), pieces]
}

/// A request's head, then its target, then its body.
pub fn request_head(bytes: &[u8]) {
    let mut outcomes = Vec::new();
    for ends in cuts(bytes) {
        let mut head = RequestHead::new();
        outcomes.push(parse_request(bytes, &ends, &mut head).map(|whole| {
            let texts = [head.method_text, head.target, head.host];
            let texts = texts.map(|span| span.of(bytes).to_vec());
            let facts = (head.method, head.version, head.target_form, head.body, head.expect);
            let seen = (texts, facts, head.keep_alive, head.size, head.fields.clone());
            whole.then_some((seen, head))
        }));
    }
    let same = |one: &Result<Option<_>, HeadError>, other: &Result<Option<_>, HeadError>| match (
        one, other,
    ) {
        (Ok(Some((one, _))), Ok(Some((other, _)))) => one == other,
        (Ok(None), Ok(None)) => true,
        (Err(one), Err(other)) => one == other,
        _ => false,
    };
    assert!(outcomes.iter().all(|outcome| same(outcome, &outcomes[0])), "cuts matter");
    let Ok(Some((_, head))) = &outcomes[0] else { return };
    assert!(head.size <= bytes.len());
    let mut storage = [httparse::EMPTY_HEADER; 16];
    let mut theirs = httparse::Request::new(&mut storage);
    assert_eq!(theirs.parse(bytes), Ok(httparse::Status::Complete(head.size)));
    assert_eq!(theirs.method.map(str::as_bytes), Some(head.method_text.of(bytes)));
    assert_eq!(theirs.path.map(str::as_bytes), Some(head.target.of(bytes)));
    assert_eq!(theirs.version, Some(u8::from(head.version == Version::Http11)));
    same_fields(theirs.headers, &head.fields, bytes);
    assert!(head.version == Version::Http10 || !head.host.is_empty());
    let mut resolved = Target::new();
    if target::resolve(head, bytes, &mut resolved).is_ok() {
        check_path(resolved.path(bytes));
    }
    decode_in_pieces(head.body, &bytes[head.size..]);
}

fn parse_request(bytes: &[u8], ends: &[usize], head: &mut RequestHead) -> Result<bool, HeadError> {
    for &end in ends {
        if head::parse_request(&bytes[..end], &LIMITS, head)? == Progress::Complete {
            return Ok(true);
        }
    }
    Ok(false)
}

fn same_fields(theirs: &[httparse::Header<'_>], ours: &[Field], bytes: &[u8]) {
    assert_eq!(theirs.len(), ours.len());
    for (their, our) in theirs.iter().zip(ours) {
        assert_eq!(their.name.as_bytes(), our.name.of(bytes));
        let blank = |byte: &&u8| matches!(byte, b' ' | b'\t');
        let start = their.value.iter().take_while(blank).count();
        let end = their.value.iter().rev().take_while(blank).count();
        let value = their.value.get(start..their.value.len() - end).unwrap_or_default();
        assert_eq!(value, our.value.of(bytes));
        assert!(encode::valid_name(our.name.of(bytes)) && encode::valid_value(our.value.of(bytes)));
    }
}

/// A response's head and its body; the first byte says what was asked.
pub fn response_head(bytes: &[u8]) {
    let Some((&first, bytes)) = bytes.split_first() else { return };
    let method = if first % 2 == 0 { Method::Post } else { Method::Head };
    let mut outcomes = Vec::new();
    for ends in cuts(bytes) {
        let mut head = ResponseHead::new();
        let mut outcome = Ok(None);
        for &end in &ends {
            match head::parse_response(&bytes[..end], &LIMITS, method, &mut head) {
                Ok(Progress::Partial) => {}
                Ok(Progress::Complete) => {
                    let seen = (head.status, head.version, head.reason, head.size);
                    outcome = Ok(Some((seen, head.body, head.keep_alive, head.fields.clone())));
                    break;
                }
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        outcomes.push(outcome);
    }
    assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "cuts matter");
    let Ok(Some(((status, version, _, size), body, keep_alive, fields))) = &outcomes[0] else {
        return;
    };
    assert!((100..600).contains(status) && *status != 101);
    assert!(!(*keep_alive && *body == Body::UntilClose));
    assert!(method != Method::Head || *body == Body::None);
    let mut storage = [httparse::EMPTY_HEADER; 16];
    let mut theirs = httparse::Response::new(&mut storage);
    assert_eq!(theirs.parse(bytes), Ok(httparse::Status::Complete(*size)));
    assert_eq!(theirs.code, Some(*status));
    assert_eq!(theirs.version, Some(u8::from(*version == Version::Http11)));
    same_fields(theirs.headers, fields, bytes);
    decode_in_pieces(*body, &bytes[*size..]);
}

/// A chunked body; and the same bytes written as chunks come back.
pub fn chunked_body(bytes: &[u8]) {
    decode_in_pieces(Body::Chunked, bytes);
    let mut chunks = Vec::new();
    for piece in bytes.chunks(1 + bytes.len() / 3) {
        encode::chunk(&mut chunks, piece);
    }
    chunks.extend_from_slice(encode::LAST_CHUNK);
    let size = chunks.len();
    chunks.extend_from_slice(b"GET / HTTP/1.1\r\n");
    let (data, consumed, is_done) = decode(Body::Chunked, &chunks, &[chunks.len()]).unwrap();
    assert!(is_done);
    assert_eq!((data.as_slice(), consumed), (bytes, size));
}

fn decode_in_pieces(body: Body, bytes: &[u8]) {
    let [whole, bytewise, pieces] = cuts(bytes).map(|ends| decode(body, bytes, &ends));
    assert_eq!(whole, bytewise);
    assert_eq!(whole, pieces);
    if let Ok((data, consumed, is_done)) = whole {
        assert!(consumed <= bytes.len() && data.len() <= consumed);
        assert!(is_done || consumed == bytes.len());
    }
}

/// Data, bytes taken and whether the body is complete.
fn decode(body: Body, bytes: &[u8], ends: &[usize]) -> Result<(Vec<u8>, usize, bool), String> {
    let mut decoder = BodyDecoder::new(body);
    let mut data = Vec::new();
    let mut at = 0;
    for &end in ends {
        while at < end && !decoder.is_done() {
            let piece = decoder.decode(&bytes[at..end]).map_err(|error| error.to_string())?;
            assert!(piece.consumed > 0 && piece.data.end <= piece.consumed);
            data.extend_from_slice(&bytes[at..][piece.data]);
            at += piece.consumed;
            assert_eq!(piece.done, decoder.is_done());
        }
    }
    Ok((data, at, decoder.is_done()))
}

/// A stream of events.
pub fn sse(bytes: &[u8]) {
    const EVENT_BYTES_MAX: usize = 200;
    let outcomes = cuts(bytes).map(|ends| {
        let mut reader = SseReader::new(EVENT_BYTES_MAX);
        let mut events = Vec::new();
        let mut keep = |event: SseEvent<'_>| {
            assert!(event.data.len() + event.event.len() <= EVENT_BYTES_MAX);
            let texts = [event.event, event.data, event.id].map(<[u8]>::to_vec);
            events.push((texts, event.retry));
        };
        let mut at = 0;
        let mut result = Ok(());
        for end in ends {
            result = reader.feed(&bytes[at..end], &mut keep);
            if result.is_err() {
                break;
            }
            at = end;
        }
        reader.finish(&mut keep);
        (events, result)
    });
    assert_eq!(outcomes[0], outcomes[1]);
    assert_eq!(outcomes[0], outcomes[2]);
}

/// A request target: what it is resolved to, and that resolving that again changes nothing.
pub fn target(bytes: &[u8]) {
    let Some(path) = resolve(bytes) else { return };
    if path == b"*" {
        return;
    }
    check_path(&path);
    let mut again = Vec::new();
    let mut rest = path.as_slice();
    while let Some((&byte, tail)) = rest.split_first() {
        if rest.starts_with(b"%2F") {
            again.extend_from_slice(b"%2F");
            rest = &rest[3..];
            continue;
        }
        rest = tail;
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            again.push(byte);
        } else {
            again.extend_from_slice(format!("%{byte:02x}").as_bytes());
        }
    }
    assert_eq!(resolve(&again).as_deref(), Some(path.as_slice()), "{}", again.escape_ascii());
}

/// The path a target means, if it is one.
fn resolve(text: &[u8]) -> Option<Vec<u8>> {
    let bytes = [b"OPTIONS ", text, b" HTTP/1.0\r\n\r\n"].concat();
    let limits = HeadLimits { request_line: 1 << 20, ..HeadLimits::default() };
    let mut head = RequestHead::new();
    match head::parse_request(&bytes, &limits, &mut head) {
        Ok(Progress::Complete) => {}
        _ => return None,
    }
    let mut resolved = Target::new();
    target::resolve(&head, &bytes, &mut resolved).ok()?;
    let mut value = Vec::new();
    target::query_value(resolved.query(&bytes), b"q", &mut value);
    assert!(value.len() <= text.len());
    Some(resolved.path(&bytes).to_vec())
}

/// What every path that a handler sees keeps.
fn check_path(path: &[u8]) {
    let text = std::str::from_utf8(path).expect("a path is UTF-8");
    if text == "*" {
        return;
    }
    assert!(text.starts_with('/'), "{text:?}");
    assert!(!text.bytes().any(|byte| byte < 0x20 || byte == 0x7f), "{text:?}");
    let mut decoded = text.to_owned();
    for _ in 0..4 {
        let separated = decoded.replace('\\', "/");
        let escapes = separated.split('/').any(|segment| segment == "." || segment == "..");
        assert!(!escapes, "{text:?}");
        for (encoded, plain) in [("%2F", "/"), ("%2f", "/"), ("%5C", "\\"), ("%5c", "\\")] {
            decoded = decoded.replace(encoded, plain);
        }
        for (encoded, plain) in [("%2E", "."), ("%2e", "."), ("%25", "%")] {
            decoded = decoded.replace(encoded, plain);
        }
    }
}

/// A `traceparent` on the first line, fields of `tracestate` on the others: what is passed on is
/// taken in the same way by the next one.
pub fn trace_context(bytes: &[u8]) {
    let mut lines = bytes.split(|&byte| byte == b'\n');
    let parent = lines.next().unwrap_or_default();
    if let Some(context) = TraceContext::parse(parent) {
        let mut out = Vec::new();
        context.write(&mut out);
        assert_eq!(TraceContext::parse(&out), Some(context));
        assert!(encode::valid_value(&out) && out[3..52] == parent[3..52]);
    }
    if let Some(state) = trace_context::state(lines) {
        assert!(!state.is_empty() && state.len() <= 512 && encode::valid_value(&state));
        assert_eq!(trace_context::state(std::iter::once(&state[..])), Some(state.clone()));
    }
}

/// A firewall whose rules only tell: so none of them ends the search.
static FIREWALL: LazyLock<Option<Firewall>> = LazyLock::new(|| {
    let mut config = Config::default();
    let all = Firewall::new(&config).ok()?;
    config.firewall.dry_run_rules = all.engine().rule_ids().map(str::to_owned).collect();
    Firewall::new(&config).ok()
});

/// What this thread has taken of the processor: what others do on the machine counts less.
fn thread_cpu_us() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is alive during the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now) };
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000
}

/// Bytes that the unit of a time is repeated to; the longer input has so many times as many.
const SHORT_BYTES: usize = 1 << 9;
const TIMES: usize = 8;
/// What the clock, a first look at a rule and the machine may add.
const SLACK_US: u64 = 20_000;

/// Ways to stand in a request: a byte chooses one.
const KINDS: [&str; 8] = [
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=b",
    "text/xml",
    "text/plain",
    "application/x-unknown",
    "model",
    "target",
];

/// A request that the bytes are part of, after the first byte's choice.
fn inspected(kind: &str, bytes: &[u8]) -> Option<Request> {
    let (content_type, body) = match kind {
        "target" => ("text/plain", &b""[..]),
        "model" => ("application/json", bytes),
        kind => (kind, bytes),
    };
    let mut raw = b"POST /".to_vec();
    if kind == "target" {
        raw.extend_from_slice(b"?q=");
        raw.extend(bytes.iter().filter(|byte| byte.is_ascii_graphic()));
    }
    let length = body.len();
    raw.extend_from_slice(
        format!(
            " HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
        )
        .as_bytes(),
    );
    let limits = HeadLimits { request_line: 1 << 20, header_section: 1 << 20, fields: 64 };
    let (mut head, mut target) = (RequestHead::new(), Target::new());
    head::parse_request(&raw, &limits, &mut head).ok()?;
    target::resolve(&head, &raw, &mut target).ok()?;
    let mut request = Request::default();
    request.fill(&raw, &mut head, &mut target, Peer::Tcp(SocketAddr::from(([127, 0, 0, 1], 1))), 1);
    request.body_mut().extend_from_slice(body);
    Some(request)
}

/// A request as the firewall reads it: twice the same, told in printable bytes, in a time that grows
/// no faster than the request.
pub fn firewall(bytes: &[u8]) {
    let (Some(firewall), Some((first, rest))) = (FIREWALL.as_ref(), bytes.split_first()) else {
        return;
    };
    let kind = KINDS[usize::from(first % 8)];
    let profile = if kind == "model" { BodyProfile::Model } else { BodyProfile::Plain };
    let judge = |request: &Request| {
        let head = firewall.inspect_head(request);
        (firewall.inspect_body(request, profile, head.score), head)
    };
    let Some(request) = inspected(kind, rest) else { return };
    let told = |judgement: &Judgement| {
        judgement.findings.iter().map(|it| (it.rule.clone(), it.part.clone())).collect::<Vec<_>>()
    };
    let (one, other) = (judge(&request), judge(&request));
    assert_eq!((told(&one.0), told(&one.1)), (told(&other.0), told(&other.1)));
    for it in one.0.findings.iter().chain(&one.1.findings) {
        assert!(
            it.is_dry
                && it.shown.len() <= 4 * 48
                && it.shown.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
        );
    }
    assert!(one.0.action <= Action::Log && one.1.action <= Action::Log);
    if rest.is_empty() {
        return;
    }
    let cpu_us = |bytes: usize| {
        let request = inspected(kind, &rest.repeat(bytes / rest.len() + 1))?;
        let began_us = thread_cpu_us();
        judge(&request);
        Some(thread_cpu_us() - began_us)
    };
    let long_bytes = SHORT_BYTES.max(rest.len()) * TIMES;
    // The first long look warms every rule that it meets.
    if let (Some(_), Some(short_us), Some(long_us)) =
        (cpu_us(long_bytes), cpu_us(long_bytes / TIMES), cpu_us(long_bytes))
    {
        let most_us = 3 * TIMES as u64 * short_us + SLACK_US;
        assert!(long_us <= most_us, "{kind}: {short_us} us, then {long_us} us");
    }
}
