//! parser.h: requests from text, responses' memory, and small JSON readers over [`crate::json`].
//!
//! The server does not come through here: it reads messages with [`crate::http`]. This reader is for
//! hosts that hold a request as text; it is as lenient as the original.

use super::memory::{bytes, copy_cut, give, text};
use super::types::{HttpRequest, JsonValue};
use crate::boundary::guard;
use crate::json;
use crate::plugin::old::{empty_request, header_line, method_number, release_request};
use std::borrow::Cow;
use std::ffi::{c_char, c_int, c_void};

/// JSONType numbers.
const JSON_OBJECT: c_int = 0;
const JSON_ARRAY: c_int = 1;
const JSON_STRING: c_int = 2;
const JSON_NUMBER: c_int = 3;
const JSON_BOOLEAN: c_int = 4;
const JSON_NULL: c_int = 5;

/// Keys longer than this are not looked for.
const KEY_BYTES_MAX: usize = 100;

/// A request in parts, before it becomes C memory.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct RequestParts<'a> {
    /// HTTPMethod.
    pub method: c_int,
    /// Up to '?'.
    pub path: Cow<'a, [u8]>,
    /// After '?'.
    pub query: Option<Cow<'a, [u8]>>,
    /// `Name: value` each.
    pub headers: Vec<Vec<u8>>,
    /// What follows the blank line.
    pub body: Option<Cow<'a, [u8]>>,
    /// Value of Content-Type.
    pub content_type: Option<Vec<u8>>,
}

/// Takes one line off; without CR and LF.
fn next_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    if rest.is_empty() {
        return None;
    }
    let (line, after) = match memchr::memchr(b'\n', rest) {
        Some(end) => (&rest[..end], &rest[end + 1..]),
        None => (*rest, &[][..]),
    };
    *rest = after;
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}

/// Reads a request text; `None` when its first line has not three words.
fn read_request(raw: &[u8]) -> Option<RequestParts<'_>> {
    let mut rest = raw;
    let first = next_line(&mut rest)?;
    let mut words =
        first.split(|&byte| byte == b' ' || byte == b'\t').filter(|word| !word.is_empty());
    let (method, target, _version) = (words.next()?, words.next()?, words.next()?);
    let mut parts = RequestParts { method: method_number(method), ..RequestParts::default() };
    match memchr::memchr(b'?', target) {
        Some(mark) => {
            parts.path = Cow::Borrowed(&target[..mark]);
            parts.query = Some(Cow::Borrowed(&target[mark + 1..]));
        }
        None => parts.path = Cow::Borrowed(target),
    }
    while let Some(line) = next_line(&mut rest) {
        if line.is_empty() {
            break;
        }
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
        if name.is_empty() {
            continue;
        }
        if parts.content_type.is_none() && name.eq_ignore_ascii_case(b"content-type") {
            parts.content_type = Some(value.to_vec());
        }
        parts.headers.push(header_line(name, value));
    }
    parts.body = (!rest.is_empty()).then_some(Cow::Borrowed(rest));
    Some(parts)
}

/// Turns parts into C memory; `None` when there is none. free_http_request releases it.
///
/// The header strings stand in the same block as the path, behind it: free_http_request frees the
/// path and never a header, because hosts put literals there.
pub fn to_c(parts: &RequestParts) -> Option<HttpRequest> {
    let mut request = empty_request();
    request.method = parts.method;
    let headers = &parts.headers[..parts.headers.len().min(request.headers.len())];
    let mut block = parts.path.to_vec();
    block.push(0);
    let mut offsets = Vec::with_capacity(headers.len());
    for header in headers {
        offsets.push(block.len());
        block.extend_from_slice(header);
        block.push(0);
    }
    let mut complete = true;
    let mut place = |content: Option<&[u8]>| match content {
        None => std::ptr::null_mut(),
        Some(content) => {
            let copy = give(content);
            complete &= !copy.is_null();
            copy
        }
    };
    request.path = place(Some(&block));
    request.query_string = place(parts.query.as_deref());
    request.body = place(parts.body.as_deref());
    request.content_type = place(parts.content_type.as_deref());
    if !complete {
        // SAFETY: filled above from malloc.
        unsafe { release_request(&mut request) };
        return None;
    }
    request.body_length = parts.body.as_ref().map_or(0, |body| body.len());
    for (slot, offset) in request.headers.iter_mut().zip(&offsets) {
        // SAFETY: the offset lies inside the block that path points to.
        *slot = unsafe { request.path.add(*offset) };
    }
    request.header_count = offsets.len() as c_int;
    Some(request)
}

/// # Safety
/// `raw_request` is NULL or NUL-terminated; `request` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn parse_http_request(
    raw_request: *const c_char,
    request: *mut HttpRequest,
) -> c_int {
    guard(-1, || {
        if request.is_null() {
            return -1;
        }
        // SAFETY: not NULL, so writable; what it held is not read, it may be uninitialised.
        unsafe { request.write(empty_request()) };
        // SAFETY: as promised by the caller.
        let parts = unsafe { text(raw_request) }.and_then(read_request);
        match parts.as_ref().and_then(to_c) {
            Some(filled) => {
                // SAFETY: as above.
                unsafe { request.write(filled) };
                0
            }
            None => -1,
        }
    })
}

/// # Safety
/// `request` is NULL or a filled request whose path, query, body and type came from malloc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free_http_request(request: *mut HttpRequest) {
    guard((), || {
        // SAFETY: NULL or valid by the caller's promise.
        if let Some(request) = unsafe { request.as_mut() } {
            // SAFETY: the caller's promise for the four strings.
            unsafe { release_request(request) };
        }
    });
}

/// The decoded string member `key` of a JSON object, the first of that name.
pub fn string_member<'a>(document: &'a [u8], key: &[u8]) -> Option<Cow<'a, str>> {
    let mut found = None;
    json::for_each_member(document, |member| {
        if found.is_none() && key_text(document, &member).is_some_and(|name| name.as_bytes() == key)
        {
            found = Some(member.value);
        }
    })
    .ok()?;
    json::string(document.get(found?)?)
}

/// The decoded key of a member.
fn key_text(document: &[u8], member: &json::Member) -> Option<String> {
    let from = member.key.start.checked_sub(1)?;
    let quoted = document.get(from..member.key.end.checked_add(1)?)?;
    json::string(quoted).map(Cow::into_owned)
}

/// # Safety
/// `json` is NULL or NUL-terminated; `output` is NULL or writable for `output_size` bytes.
unsafe fn copy_member(
    json: *const c_char,
    key: &[u8],
    output: *mut c_char,
    output_size: usize,
) -> c_int {
    // SAFETY: as promised by the caller.
    let Some(document) = (unsafe { text(json) }) else { return -1 };
    if output.is_null() || output_size == 0 || key.len() > KEY_BYTES_MAX {
        return -1;
    }
    match string_member(document, key) {
        Some(value) => {
            // SAFETY: writable for output_size bytes, which is not 0.
            unsafe { copy_cut(value.as_bytes(), output, output_size) };
            0
        }
        None => -1,
    }
}

/// # Safety
/// `json` is NULL or NUL-terminated; `output` is NULL or writable for `output_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn parse_json(
    json: *const c_char,
    output: *mut c_void,
    output_size: usize,
) -> c_int {
    // SAFETY: as promised by the caller.
    guard(-1, || unsafe { copy_member(json, b"prompt", output.cast(), output_size) })
}

/// # Safety
/// `json` and `key` are NULL or NUL-terminated; `output` is NULL or writable for `output_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn json_get_value(
    json: *const c_char,
    key: *const c_char,
    output: *mut c_char,
    output_size: usize,
) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        let Some(key) = (unsafe { text(key) }) else { return -1 };
        // SAFETY: as promised by the caller.
        unsafe { copy_member(json, key, output, output_size) }
    })
}

/// The kind of a valid document's root.
fn root_kind(document: &[u8]) -> c_int {
    match document.trim_ascii_start().first() {
        Some(b'{') => JSON_OBJECT,
        Some(b'[') => JSON_ARRAY,
        Some(b'"') => JSON_STRING,
        Some(b't' | b'f') => JSON_BOOLEAN,
        Some(b'n') => JSON_NULL,
        _ => JSON_NUMBER,
    }
}

/// Name and text of the first member of a root object; strings decoded, the rest as written.
fn first_member(document: &[u8]) -> Option<(String, Cow<'_, [u8]>)> {
    let mut first = None;
    json::for_each_member(document, |member| {
        first.get_or_insert(member);
    })
    .ok()?;
    let member = first?;
    let key = key_text(document, &member)?;
    let raw = document.get(member.value)?;
    let value = match json::string(raw) {
        Some(decoded) => Cow::Owned(decoded.into_owned().into_bytes()),
        None => Cow::Borrowed(raw),
    };
    Some((key, value))
}

/// # Safety
/// `json` is NULL or readable for `length` bytes; `result` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn parse_json_with_fast_tokenizer(
    json: *const c_char,
    length: usize,
    result: *mut JsonValue,
) -> c_int {
    guard(-1, || {
        let mut filled = JsonValue {
            type_: JSON_NULL,
            key: std::ptr::null_mut(),
            value: std::ptr::null_mut(),
            value_type: JSON_STRING,
        };
        // SAFETY: as promised by the caller.
        let document = unsafe { bytes(json, length) }.filter(|_| !json.is_null());
        let valid = document.filter(|document| json::validate(document).is_ok());
        let mut status = -1;
        if let Some(document) = valid {
            status = 0;
            filled.type_ = root_kind(document);
            if let Some((key, value)) = first_member(document).filter(|_| !result.is_null()) {
                filled.key = give(key.as_bytes());
                filled.value = give(&value);
            }
        }
        if !result.is_null() {
            // SAFETY: not NULL, so writable.
            unsafe { result.write(filled) };
        }
        status
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::legacy::types::METHOD_UNKNOWN;

    fn header<'a>(parts: &'a RequestParts, index: usize) -> &'a str {
        std::str::from_utf8(&parts.headers[index]).unwrap()
    }

    #[test]
    fn a_request_text_is_taken_apart() {
        let parts = read_request(
            b"POST /a%20b?x=1&y HTTP/1.1\r\nHost:  example\r\ncontent-TYPE: application/json \r\n\
              nonsense\r\n: empty\r\nEmpty:\r\n\r\n{\"a\":1}\r\n",
        )
        .unwrap();
        assert_eq!(parts.method, 1);
        assert_eq!(&*parts.path, b"/a%20b");
        assert_eq!(parts.query.as_deref(), Some(&b"x=1&y"[..]));
        assert_eq!(header(&parts, 0), "Host: example");
        assert_eq!(header(&parts, 1), "content-TYPE: application/json");
        assert_eq!(header(&parts, 2), "Empty: ");
        assert_eq!(parts.headers.len(), 3);
        assert_eq!(parts.content_type.as_deref(), Some(&b"application/json"[..]));
        assert_eq!(parts.body.as_deref(), Some(&b"{\"a\":1}\r\n"[..]));
    }

    #[test]
    fn first_lines_need_three_words() {
        for (raw, method) in [
            ("GET / HTTP/1.1\r\n\r\n", Some(0)),
            ("GET / HTTP/1.1", Some(0)),
            ("PATCH  /x\tanything at all\n\n", Some(6)),
            ("BREW /pot HTCPCP/1.0\r\n\r\n", Some(METHOD_UNKNOWN)),
            ("get / HTTP/1.1\r\n\r\n", Some(METHOD_UNKNOWN)),
            ("GET /\r\nHost: x\r\n\r\n", None),
            ("", None),
            ("\r\n\r\n", None),
        ] {
            let parts = read_request(raw.as_bytes());
            assert_eq!(parts.as_ref().map(|parts| parts.method), method, "{raw:?}");
            assert_eq!(parts.and_then(|parts| parts.body), None, "{raw:?}");
        }
    }

    #[test]
    fn headers_live_behind_the_path_and_are_at_most_32() {
        let mut raw = b"GET /path HTTP/1.1\r\n".to_vec();
        for n in 0..40 {
            raw.extend_from_slice(format!("X-{n}: {n}\r\n").as_bytes());
        }
        raw.extend_from_slice(b"\r\n");
        let mut request = to_c(&read_request(&raw).unwrap()).unwrap();
        assert_eq!(request.header_count, 32);
        // SAFETY: filled above.
        unsafe {
            assert_eq!(text(request.path), Some(&b"/path"[..]));
            assert_eq!(text(request.headers[31]), Some(&b"X-31: 31"[..]));
        }
        assert!(request.query_string.is_null() && request.body.is_null());
        // SAFETY: filled above.
        unsafe { release_request(&mut request) };
        assert!(request.path.is_null() && request.header_count == 0);
    }

    #[test]
    fn members_are_found_at_the_top_level_only_and_decoded() {
        for (document, key, expected) in [
            (r#"{"prompt":"a\"b\n\u00e9\ud83d\ude00"}"#, "prompt", Some("a\"b\né😀")),
            (r#"{"x":"prompt","prompt":"yes"}"#, "prompt", Some("yes")),
            (r#"{"x":{"prompt":"inner"}}"#, "prompt", None),
            (r#"{"\u0070rompt":"escaped key"}"#, "prompt", Some("escaped key")),
            (r#"{"prompt":1}"#, "prompt", None),
            (r#"{"prompt":"a"} trailing"#, "prompt", None),
            (r#"["prompt"]"#, "prompt", None),
            (r#"{"prompt":"first","prompt":"second"}"#, "prompt", Some("first")),
            ("", "prompt", None),
            (r#"{"":"empty"}"#, "", Some("empty")),
        ] {
            let found = string_member(document.as_bytes(), key.as_bytes());
            assert_eq!(found.as_deref(), expected, "{document}");
        }
    }

    #[test]
    fn a_document_is_described_by_its_root_and_first_member() {
        for (document, kind) in
            [("{}", JSON_OBJECT), (" [1]", 1), ("\"a\"", 2), ("-1", 3), ("true", 4), ("null", 5)]
        {
            assert_eq!(root_kind(document.as_bytes()), kind, "{document}");
        }
        let first = |document: &'static str| first_member(document.as_bytes());
        assert_eq!(first(r#"{"k":"a\tb","z":1}"#).unwrap().1.as_ref(), b"a\tb");
        assert_eq!(
            first(r#"{"k": [1, 2] }"#).unwrap(),
            ("k".into(), Cow::Borrowed(&b"[1, 2]"[..]))
        );
        assert!(first("{}").is_none());
        assert!(first("[]").is_none());
    }
}
