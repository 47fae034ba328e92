//! Between the engine's exchange and the structs of the old contract, which handlers, middleware and
//! plugins of yesterday read and fill.

use super::abi::{HttpRequest, METHOD_UNKNOWN, METHODS, RouteResponse};
use crate::boundary::c_memory::{bytes, give, release, text};
use crate::exchange::{Exchange, HeaderLines, Request};
use crate::http::encode;
use crate::http::framing::BodyDecoder;
use crate::http::head::Body;
use std::ffi::c_int;

/// The number of a method's name.
pub fn method_number(name: &[u8]) -> c_int {
    let known = METHODS.iter().position(|method| method.as_bytes() == name);
    known.map_or(METHOD_UNKNOWN, |number| number as c_int)
}

/// `Name: value`.
pub fn header_line(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(name.len() + 2 + value.len());
    line.extend_from_slice(name);
    line.extend_from_slice(b": ");
    line.extend_from_slice(value);
    line
}

/// An empty request.
pub fn empty_request() -> HttpRequest {
    // SAFETY: integers and pointers; all zero is the empty request.
    unsafe { std::mem::zeroed() }
}

/// An empty response.
pub fn empty_response() -> RouteResponse {
    // SAFETY: integers and pointers; all zero is the empty response.
    unsafe { std::mem::zeroed() }
}

/// Frees what a request owns and empties it. Header strings are never freed: hosts put literals there.
///
/// # Safety
/// `path`, `query_string`, `body` and `content_type` are NULL or came from malloc.
pub unsafe fn release_request(request: &mut HttpRequest) {
    for owned in [request.path, request.query_string, request.body, request.content_type] {
        // SAFETY: the caller's promise; they are forgotten below.
        unsafe { release(owned.cast()) };
    }
    *request = empty_request();
}

/// Frees what a response owns and empties it.
///
/// # Safety
/// `data`, `stream_data` and the counted headers are NULL or came from malloc.
pub unsafe fn release_response(response: &mut RouteResponse) {
    // SAFETY: the caller's promise; all are forgotten below.
    unsafe {
        release(response.data.cast());
        release(response.stream_data);
        for header in used_headers(response) {
            release(header.cast());
        }
    }
    *response = empty_response();
}

/// The counted headers, as far as the array goes.
fn used_headers(response: &RouteResponse) -> Vec<*mut std::ffi::c_char> {
    let count = usize::try_from(response.header_count).unwrap_or(0);
    response.headers.iter().take(count).copied().collect()
}

/// The header lines of a response, NULL ones left out.
///
/// # Safety
/// The counted headers are NULL or NUL-terminated.
unsafe fn header_lines(response: &RouteResponse) -> Vec<Vec<u8>> {
    let headers = used_headers(response).into_iter();
    // SAFETY: the caller's promise.
    headers.filter_map(|header| unsafe { text(header) }).map(<[u8]>::to_vec).collect()
}

/// A request of the engine in old clothes. Its four strings are C memory that a middleware may replace;
/// the header strings belong to this value.
pub struct OldRequest {
    request: Box<HttpRequest>,
    _headers: Vec<Box<[u8]>>,
}

// The pointers are into memory that this value owns.
// SAFETY: nothing in it is tied to a thread.
unsafe impl Send for OldRequest {}

impl OldRequest {
    /// `None` when there is no memory.
    pub fn new(source: &Request) -> Option<OldRequest> {
        let (path, query) = raw_path_and_query(source);
        let mut request = Box::new(empty_request());
        request.method = method_number(source.method_text());
        request.path = give(path);
        let mut complete = !request.path.is_null();
        let mut place = |content: Option<&[u8]>| match content {
            None => std::ptr::null_mut(),
            Some(content) => {
                let copy = give(content);
                complete &= !copy.is_null();
                copy
            }
        };
        request.query_string = place(query);
        let body = source.body();
        request.body = place(Some(body).filter(|body| !body.is_empty()));
        request.body_length = body.len();
        request.content_type = place(source.header_values(b"content-type").next());
        let mut headers = Vec::new();
        for index in 0..source.header_count().min(request.headers.len()) {
            let Some((name, value)) = source.header_at(index) else { break };
            let mut line = header_line(name, value);
            line.push(0);
            let mut line = line.into_boxed_slice();
            request.headers[index] = line.as_mut_ptr().cast();
            headers.push(line);
        }
        request.header_count = headers.len() as c_int;
        let this = OldRequest { request, _headers: headers };
        complete.then_some(this)
    }

    /// For handlers; good as long as this value lives.
    pub fn as_mut_ptr(&mut self) -> *mut HttpRequest {
        &mut *self.request
    }

    /// The path as it stands now; a middleware may have changed it.
    pub fn path(&self) -> &[u8] {
        // SAFETY: NULL or NUL-terminated, ours or what a middleware put there by the header's rules.
        unsafe { text(self.request.path) }.unwrap_or(b"")
    }

    /// HTTPMethod as it stands now.
    pub fn method(&self) -> c_int {
        self.request.method
    }
}

impl Drop for OldRequest {
    fn drop(&mut self) {
        // SAFETY: ours from malloc, or what a middleware put there by the header's rules.
        unsafe { release_request(&mut self.request) };
    }
}

/// Path and query as received, escapes and all; of an absolute target the part behind the authority.
fn raw_path_and_query(request: &Request) -> (&[u8], Option<&[u8]>) {
    let mut target = request.target_text();
    if !target.starts_with(b"/")
        && let Some(scheme) = memchr::memmem::find(target, b"://")
    {
        let rest = &target[scheme + 3..];
        target = memchr::memchr2(b'/', b'?', rest).map_or(b"/", |start| &rest[start..]);
        if target.starts_with(b"?") {
            return (b"/", Some(&target[1..]));
        }
    }
    match memchr::memchr(b'?', target) {
        Some(mark) => (&target[..mark], Some(&target[mark + 1..])),
        None => (target, None),
    }
}

/// A response in the making by old code.
pub struct OldResponse(Box<RouteResponse>);

// SAFETY: it owns what its pointers lead to.
unsafe impl Send for OldResponse {}

impl OldResponse {
    /// An empty one.
    pub fn new() -> OldResponse {
        OldResponse(Box::new(empty_response()))
    }

    /// For handlers; good as long as this value lives.
    pub fn as_mut_ptr(&mut self) -> *mut RouteResponse {
        &mut *self.0
    }

    /// Whether `data` is set.
    pub fn has_data(&self) -> bool {
        !self.0.data.is_null()
    }

    /// `status_code`.
    pub fn status_code(&self) -> c_int {
        self.0.status_code
    }

    /// Takes the headers out, for a response that somebody else will fill.
    pub fn take_headers(&mut self) -> Vec<Vec<u8>> {
        // SAFETY: filled by the header's rules.
        let lines = unsafe { header_lines(&self.0) };
        for header in used_headers(&self.0) {
            // SAFETY: came from malloc by the header's rules; forgotten at once.
            unsafe { release(header.cast()) };
        }
        self.0.headers.fill(std::ptr::null_mut());
        self.0.header_count = 0;
        lines
    }

    /// What it says.
    pub fn answer(&self) -> Answer {
        // SAFETY: filled by the header's rules.
        unsafe { Answer::of(&self.0) }
    }
}

impl Default for OldResponse {
    fn default() -> Self {
        OldResponse::new()
    }
}

impl Drop for OldResponse {
    fn drop(&mut self) {
        // SAFETY: filled by the header's rules: malloc'd or NULL.
        unsafe { release_response(&mut self.0) };
    }
}

/// What an old response says, free of its wire form.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// 200 to 599; 0: nothing was said.
    pub status: u16,
    /// Name and value each.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// Without transfer coding.
    pub body: Vec<u8>,
    /// To be sent in chunks.
    pub is_streaming: bool,
    /// The message asked to close the connection.
    pub close: bool,
    /// The reason phrase, where the host has one of its own; empty: the usual one.
    pub reason: Vec<u8>,
}

/// Longer reason phrases are cut.
const REASON_BYTES_MAX: usize = 128;

/// A host's `status_message` as a reason phrase (RFC 9112 section 4): what could end the line is
/// no phrase.
///
/// # Safety
/// `text` is NULL or NUL-terminated.
unsafe fn reason_of(text: *const std::ffi::c_char) -> Vec<u8> {
    if text.is_null() {
        return Vec::new();
    }
    // SAFETY: the caller's promise.
    let text = unsafe { std::ffi::CStr::from_ptr(text) }.to_bytes();
    let text = text.get(..REASON_BYTES_MAX).unwrap_or(text).trim_ascii();
    if crate::http::encode::valid_value(text) { text.to_vec() } else { Vec::new() }
}

impl Answer {
    /// Reads a response.
    ///
    /// # Safety
    /// `data` is NULL or readable for `length` bytes; the counted headers and `status_message` are NULL
    /// or NUL-terminated.
    pub unsafe fn of(response: &RouteResponse) -> Answer {
        // SAFETY: the caller's promise.
        let (data, lines) = unsafe {
            (bytes(response.data, response.length).unwrap_or(b""), header_lines(response))
        };
        let mut answer = match data.starts_with(b"HTTP/1.").then(|| message(data)).flatten() {
            Some(answer) => answer,
            None => Answer { body: data.to_vec(), ..Answer::default() },
        };
        if answer.status == 0 {
            answer.status = status_of(response.status_code);
            // SAFETY: the caller's promise.
            answer.reason = unsafe { reason_of(response.status_message) };
            if answer.status == 0 && !response.data.is_null() {
                answer.status = 200;
            }
        }
        answer.is_streaming = response.is_streaming != 0;
        answer.add_lines(&lines);
        let has_type =
            answer.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(b"content-type"));
        if !has_type && !answer.body.is_empty() && !data.starts_with(b"HTTP/1.") {
            let json = matches!(answer.body.first(), Some(b'{' | b'['));
            let kind: &[u8] = if json { b"application/json" } else { b"text/plain" };
            answer.headers.push((b"Content-Type".to_vec(), kind.to_vec()));
        }
        answer
    }

    /// Adds `Name: value` lines; those that could split the message are dropped and logged.
    pub fn add_lines(&mut self, lines: &[Vec<u8>]) {
        for (name, value) in fields(lines) {
            self.headers.push((name.to_vec(), value.to_vec()));
        }
    }

    /// Fills the engine's response.
    pub fn fill(self, exchange: &mut Exchange) {
        let stay = self.status == 200 && exchange.request.asks_to_stay();
        let response = &mut exchange.response;
        response.status = self.status;
        response.reason = (!self.reason.is_empty()).then(|| self.reason.into_boxed_slice());
        for (name, value) in &self.headers {
            if name.eq_ignore_ascii_case(b"connection") {
                continue;
            }
            // Framing and Date are the server's own; the message said nothing new with them.
            let _ = response.add_header(name, value);
        }
        // The original turned "Connection: close" of a 200 around for clients that asked to stay.
        response.close |= self.close && !stay;
        if !self.is_streaming {
            response.body = self.body;
            return;
        }
        if let Some(queue) = exchange.start_stream(self.body.len().max(1)) {
            // The queue takes the whole body by its bound; a client that has gone needs none.
            let _ = queue.write(&self.body);
            queue.finish(crate::exchange::Taken::End);
        }
    }
}

/// Name and value of `Name: value` lines; those that could split the message are dropped and logged.
fn fields(lines: &[Vec<u8>]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines.iter().filter_map(|line| {
        let field = memchr::memchr(b':', line)
            .map(|colon| (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii()))
            .filter(|(name, value)| encode::valid_name(name) && encode::valid_value(value));
        if field.is_none() {
            tracing::warn!("a header that is no \"Name: value\" line was dropped");
        }
        field
    })
}

/// Adds `Name: value` lines to headers that go out with whatever answers.
pub fn add_lines(headers: &mut HeaderLines, lines: &[Vec<u8>]) {
    for (name, value) in fields(lines) {
        if headers.as_bytes().len() + name.len() + value.len() < HeaderLines::BYTES_MAX {
            headers.push(name, value);
        }
    }
}

/// A status that may be sent; 0 for what is none.
fn status_of(code: c_int) -> u16 {
    u16::try_from(code).ok().filter(|code| (200..=599).contains(code)).unwrap_or(0)
}

/// Takes a complete message apart: status line, header lines, blank line, body. Lenient about line ends;
/// `None` when the first line has no status.
fn message(data: &[u8]) -> Option<Answer> {
    let mut rest = data;
    let status_line = next_line(&mut rest);
    let mut words = status_line.split(|&byte| byte == b' ').skip(1);
    let status = status_of(std::str::from_utf8(words.next()?).ok()?.parse().ok()?);
    if status == 0 {
        return None;
    }
    let mut answer = Answer { status, ..Answer::default() };
    let mut lines = Vec::new();
    while !rest.is_empty() {
        let line = next_line(&mut rest);
        if line.is_empty() {
            break;
        }
        lines.push(line.to_vec());
    }
    answer.add_lines(&lines);
    let value_of = |wanted: &[u8]| {
        let mut fields = answer.headers.iter();
        fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.clone())
    };
    let is_chunked = value_of(b"transfer-encoding")
        .is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    let length: Option<usize> = value_of(b"content-length")
        .and_then(|value| std::str::from_utf8(&value).ok()?.parse().ok());
    answer.close =
        value_of(b"connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close"));
    let framing: [&[u8]; 2] = [b"content-length", b"transfer-encoding"];
    answer
        .headers
        .retain(|(name, _)| !framing.iter().any(|field| name.eq_ignore_ascii_case(field)));
    answer.body = match (is_chunked, length) {
        (true, _) => unchunked(rest).unwrap_or_else(|| rest.to_vec()),
        (false, Some(length)) => rest[..length.min(rest.len())].to_vec(),
        (false, None) => rest.to_vec(),
    };
    Some(answer)
}

fn next_line<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let (line, after) = match memchr::memchr(b'\n', rest) {
        Some(end) => (&rest[..end], &rest[end + 1..]),
        None => (*rest, &[][..]),
    };
    *rest = after;
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The content of a chunked body; `None` when it is not whole.
fn unchunked(mut data: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = BodyDecoder::new(Body::Chunked);
    let mut content = Vec::new();
    while !decoder.is_done() {
        let piece = decoder.decode(data).ok()?;
        if piece.consumed == 0 {
            return None;
        }
        content.extend_from_slice(&data[piece.data.clone()]);
        data = &data[piece.consumed..];
    }
    Some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a response with this data and these headers.
    fn answer(status: c_int, data: Option<&str>, headers: &[&str]) -> Answer {
        let mut response = OldResponse::new();
        response.0.status_code = status;
        if let Some(data) = data {
            response.0.data = give(data.as_bytes());
            response.0.length = data.len();
        }
        for (slot, header) in response.0.headers.iter_mut().zip(headers) {
            *slot = give(header.as_bytes());
        }
        response.0.header_count = headers.len() as c_int;
        response.answer()
    }

    fn show(answer: &Answer) -> String {
        let headers: Vec<String> = answer
            .headers
            .iter()
            .map(|(name, value)| {
                format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
            })
            .collect();
        let body = String::from_utf8_lossy(&answer.body);
        let close = if answer.close { " close" } else { "" };
        format!("{} [{}] {body}{close}", answer.status, headers.join(","))
    }

    /// `status_message` (LEGACY: results on the wire) reaches the status line, and nothing else does.
    #[test]
    fn a_filled_status_message_is_the_reason_phrase() {
        for (text, expected) in [
            (c"I am a teapot", &b"I am a teapot"[..]),
            (c" OK ", b"OK"),
            (c"", b""),
            (c"OK\r\nSet-Cookie: evil", b""),
        ] {
            let mut response = OldResponse::new();
            response.0.status_code = 418;
            response.0.status_message = text.as_ptr().cast_mut();
            assert_eq!(response.answer().reason, expected, "{text:?}");
        }
        assert!(answer(200, Some("x"), &[]).reason.is_empty());
    }

    #[test]
    fn messages_and_bodies_are_told_apart() {
        for (status, data, headers, expected) in [
            (0, Some("plain"), &[][..], "200 [Content-Type=text/plain] plain"),
            (0, Some("{}"), &[], "200 [Content-Type=application/json] {}"),
            (418, Some("[1]"), &["X-A: b"], "418 [X-A=b,Content-Type=application/json] [1]"),
            (200, Some("<p>"), &["content-type: text/html"], "200 [content-type=text/html] <p>"),
            (
                200,
                Some(
                    "HTTP/1.1 201 Made\r\nA: b\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi and more",
                ),
                &["C: d"],
                "201 [A=b,Connection=close,C=d] hi close",
            ),
            (0, Some("HTTP/1.0 404 x\nA: b\n\nbody"), &[], "404 [A=b] body"),
            (
                0,
                Some(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
                ),
                &[],
                "200 [] abcde",
            ),
            (0, Some("HTTP/1.1 200 OK"), &[], "200 [] "),
            (
                0,
                Some("HTTP/1.1 nonsense"),
                &["X-A: 1\r\nSet-Cookie: evil"],
                "200 [] HTTP/1.1 nonsense",
            ),
            (0, Some("HTTP/1.1 999 x\r\n\r\n"), &["no colon"], "200 [] HTTP/1.1 999 x\r\n\r\n"),
            (503, None, &[], "503 [] "),
            (0, None, &[], "0 [] "),
            (7, None, &[], "0 [] "),
        ] {
            assert_eq!(show(&answer(status, data, headers)), expected, "{data:?}");
        }
    }

    #[test]
    fn counts_out_of_range_read_nothing_beyond_the_array() {
        let mut response = OldResponse::new();
        response.0.header_count = 1000;
        assert_eq!(response.answer(), Answer::default());
        assert!(response.take_headers().is_empty());
        response.0.header_count = -5;
        assert_eq!(response.answer(), Answer::default());
    }

    #[test]
    fn methods_have_their_numbers() {
        for (name, number) in [("GET", 0), ("PATCH", 6), ("BREW", 7), ("", 7), ("get", 7)] {
            assert_eq!(method_number(name.as_bytes()), number);
        }
    }
}
