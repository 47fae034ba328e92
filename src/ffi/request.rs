//! What a handler reads of a request.

use std::ffi::{c_char, c_void};
use std::ptr::null;

use super::status::nh_status;
use crate::base::error::{Error, ErrorKind};
use crate::boundary::guard::{status, value};
use crate::boundary::{bytes, handle};
use crate::exchange::Request;

/// A request. Lent until its handler has returned and every deferred answer and stream of it is
/// finished: it survives the connection. What its functions lend lives as long as it does.
///
/// One thread at a time uses it; the functions here only read, so they may overlap.
pub struct nh_request {
    _opaque: [u8; 0],
}

/// The method as received, such as "GET". Lends it; NULL only on NULL.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_request_method(
    request: *const nh_request,
    len: *mut usize,
) -> *const c_char {
    // SAFETY: the caller's promise for both pointers.
    unsafe { lend(request, len, Request::method_text) }
}

/// The path without the query, percent-decoded and normalized: it begins with a slash and holds
/// no "." and ".." segments. Lends it; NULL only on NULL. Bytes of the client's choice: not always
/// UTF-8.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_request_path(
    request: *const nh_request,
    len: *mut usize,
) -> *const c_char {
    // SAFETY: the caller's promise for both pointers.
    unsafe { lend(request, len, Request::path) }
}

/// The request target as received: path and query, or the absolute form. Lends it; NULL only on
/// NULL.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_request_target(
    request: *const nh_request,
    len: *mut usize,
) -> *const c_char {
    // SAFETY: the caller's promise for both pointers.
    unsafe { lend(request, len, Request::target_text) }
}

/// The decoded value of a query parameter: the first of that name, "" when it has no value ("?d"),
/// NULL when there is none. "+" is a blank; a broken percent escape stays as it is. Borrows
/// `name`, lends the value. It may hold a NUL (%00): then it is longer than strlen says.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_request_query(
    request: *const nh_request,
    name: *const c_char,
    len: *mut usize,
) -> *const c_char {
    value(null(), || {
        // SAFETY: the caller's promise for every pointer.
        unsafe {
            let (request, name) = (request_of(request)?, bytes::name(name, "the name")?);
            let mut decoded = Vec::new();
            let found = request.query_value(name, &mut decoded);
            Ok(lend_text(request, found.then_some(&decoded), len))
        }
    })
}

/// What stands in the path for a ":name" or "*name" of the route's pattern; "" for an empty rest,
/// NULL when the pattern has no such name. Borrows `name` (without ":" or "*"), lends the value,
/// decoded.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_request_param(
    request: *const nh_request,
    name: *const c_char,
    len: *mut usize,
) -> *const c_char {
    value(null(), || {
        // SAFETY: the caller's promise for every pointer.
        unsafe {
            let (request, name) = (request_of(request)?, bytes::name(name, "the name")?);
            Ok(lend_text(request, request.param(name), len))
        }
    })
}

/// The value of a header, NULL when it was not sent. `name` in any case. Repeated fields are
/// joined with ", " (Cookie with "; "). Borrows `name`, lends the value.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_request_header(
    request: *const nh_request,
    name: *const c_char,
    len: *mut usize,
) -> *const c_char {
    value(null(), || {
        // SAFETY: the caller's promise for every pointer.
        unsafe {
            let (request, name) = (request_of(request)?, bytes::name(name, "the name")?);
            let mut joined = Vec::new();
            let found = request.header(name, &mut joined);
            Ok(lend_text(request, found.then_some(&joined), len))
        }
    })
}

/// How many header fields were received, repeated ones counted each; 0 on NULL.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_request_header_count(request: *const nh_request) -> usize {
    // SAFETY: the caller's promise.
    value(0, || Ok(unsafe { request_of(request) }?.header_count()))
}

/// Name and value of one header field as received, in order of arrival; `index` counts from 0.
/// Lends both. `name` or `value` may be NULL when it is not wanted.
/// Returns NH_OK, or NH_ERR_NOT_FOUND from nh_request_header_count on.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_request_header_at(
    request: *const nh_request,
    index: usize,
    name: *mut *const c_char,
    value: *mut *const c_char,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise.
        let request = unsafe { request_of(request) }?;
        let Some(field) = request.header_at(index) else {
            let message = format!("no header {index}, there are {}", request.header_count());
            return Err(Error::new(ErrorKind::NotFound, message));
        };
        for (text, out) in [(field.0, name), (field.1, value)] {
            if !out.is_null() {
                let out = handle::output(out, "place for the header")?;
                // SAFETY: the caller's place for the result.
                unsafe { out.write(request.lend(text).start.cast()) };
            }
        }
        Ok(())
    })
}

/// The body, decoded from its transfer coding. Lends it, never NULL except on NULL; without a
/// body `*len` is 0. A NUL stands behind its last byte, so a body of text can be read as text.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_request_body(
    request: *const nh_request,
    len: *mut usize,
) -> *const c_void {
    value(null(), || {
        // SAFETY: the caller's promise.
        let body = unsafe { request_of(request) }?.body();
        // SAFETY: NULL or the caller's place for the length.
        unsafe { bytes::write_len(len, body.len()) };
        Ok(match body {
            [] => c"".as_ptr().cast(),
            _ => body.as_ptr().cast(),
        })
    })
}

/// Who sent the request: "127.0.0.1:4711", "[::1]:4711", or "unix:" for a Unix socket; behind a
/// trusted proxy the client that it names. Lends it; NULL only on NULL.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_request_peer(
    request: *const nh_request,
    len: *mut usize,
) -> *const c_char {
    value(null(), || {
        // SAFETY: the caller's promise for both pointers.
        unsafe {
            let request = request_of(request)?;
            let peer = request.peer().to_string();
            Ok(lend_text(request, Some(peer.as_bytes()), len))
        }
    })
}

/// The id of the request: the client's x-request-id when it was sane, else one of ours. It is on
/// the response and in every log line about it. Lends it; NULL only on NULL.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_request_id(
    request: *const nh_request,
    len: *mut usize,
) -> *const c_char {
    // SAFETY: the caller's promise for both pointers.
    unsafe { lend(request, len, Request::id) }
}

/// # Safety
/// `request` is NULL or lent by us.
unsafe fn request_of<'a>(request: *const nh_request) -> Result<&'a Request, Error> {
    // SAFETY: the caller's promise; a request is only read while C has it.
    unsafe { handle::lent(request.cast::<Request>(), "request") }
}

/// # Safety
/// `request` is NULL or lent by us, `len` is NULL or writable.
unsafe fn lend(
    request: *const nh_request,
    len: *mut usize,
    text: impl FnOnce(&Request) -> &[u8],
) -> *const c_char {
    value(null(), || {
        // SAFETY: the caller's promise.
        let request = unsafe { request_of(request) }?;
        // SAFETY: the caller's promise.
        Ok(unsafe { lend_text(request, Some(text(request)), len) })
    })
}

/// Lends `text` for as long as the request lives; NULL when there is none.
///
/// # Safety
/// `len` is NULL or writable.
pub(super) unsafe fn lend_text(
    request: &Request,
    text: Option<impl AsRef<[u8]>>,
    len: *mut usize,
) -> *const c_char {
    let Some(text) = text else { return null() };
    let lent = request.lend(text.as_ref());
    // SAFETY: the caller's promise.
    unsafe { bytes::write_len(len, lent.len) };
    lent.start.cast()
}
