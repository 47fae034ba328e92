//! What a handler fills.

use std::ffi::{c_char, c_void};
use std::ptr::null;

use super::deferred::{self, nh_deferred};
use super::request::lend_text;
use super::status::nh_status;
use super::stream::{self, nh_stream};
use crate::base::error::{Error, ErrorKind};
use crate::base::limits;
use crate::boundary::guard::{status, value};
use crate::boundary::{bytes, handle};
use crate::exchange::{Exchange, HeaderError, Pending};

/// A response in the making. Lent until the handler or middleware returns, one of a deferred
/// answer until that is ended. One thread at a time uses it.
///
/// After nh_response_defer or nh_response_stream it can no longer be changed: NH_ERR_STATE.
pub struct nh_response {
    _opaque: [u8; 0],
}

/// Sets the status, 200 to 599. Without it a response with a body is 200, one without 204.
/// Returns NH_OK, NH_ERR_INVALID_ARGUMENT or NH_ERR_STATE.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_response_status(
    response: *mut nh_response,
    status_code: i32,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise.
        let exchange = unsafe { editable(response) }?;
        exchange.response.status = checked_status(status_code)?;
        Ok(())
    })
}

/// Sets a header, in place of all of that name. Copies `name` and `value`. Content-Length,
/// Transfer-Encoding, Keep-Alive, Upgrade and Date are the server's own and refused, as is what
/// could split the response; "Connection: close" is taken as a wish to close.
/// Returns NH_OK, NH_ERR_INVALID_ARGUMENT, NH_ERR_LIMIT or NH_ERR_STATE.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_response_header(
    response: *mut nh_response,
    name: *const c_char,
    value: *const c_char,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for every pointer.
        let (exchange, name, value) = unsafe {
            (editable(response)?, bytes::name(name, "the name")?, bytes::name(value, "the value")?)
        };
        exchange.response.set_header(name, value).map_err(header_error)
    })
}

/// Adds one more header of that name, as Set-Cookie needs; else as nh_response_header.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_response_add_header(
    response: *mut nh_response,
    name: *const c_char,
    value: *const c_char,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for every pointer.
        let (exchange, name, value) = unsafe {
            (editable(response)?, bytes::name(name, "the name")?, bytes::name(value, "the value")?)
        };
        exchange.response.add_header(name, value).map_err(header_error)
    })
}

/// The status as the response stands: 0 while nothing has filled it, 200 when it has a body and
/// no status was set; NH_ERR_INVALID_ARGUMENT on NULL.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_response_get_status(response: *const nh_response) -> i32 {
    value(ErrorKind::InvalidArgument as i32, || {
        // SAFETY: the caller's promise.
        let response = &unsafe { readable(response) }?.response;
        Ok(match response.is_filled() {
            true => i32::from(response.effective_status()),
            false => 0,
        })
    })
}

/// The value of a header that was set, the first of that name, in any case; NULL when there is
/// none. Borrows `name`. Lends the value as long as the request lives.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_response_get_header(
    response: *const nh_response,
    name: *const c_char,
    len: *mut usize,
) -> *const c_char {
    value(null(), || {
        // SAFETY: the caller's promise for every pointer.
        unsafe {
            let (exchange, name) = (readable(response)?, bytes::name(name, "the name")?);
            Ok(lend_text(&exchange.request, exchange.response.headers.get(name), len))
        }
    })
}

/// The body as it stands; `*len` is 0 and the pointer not NULL when there is none. Lends it until
/// the response is changed or sent. No NUL follows it: `len` says where it ends.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_response_get_body(
    response: *const nh_response,
    len: *mut usize,
) -> *const c_void {
    value(null(), || {
        // SAFETY: the caller's promise for both pointers.
        let body = unsafe {
            let body = &readable(response)?.response.body;
            bytes::write_len(len, body.len());
            body
        };
        Ok(match body.as_slice() {
            [] => c"".as_ptr().cast(),
            bytes => bytes.as_ptr().cast(),
        })
    })
}

/// Sets the body, in place of an earlier one. Copies `data`, which may be NULL when `len` is 0.
/// With 204, 205 and 304 a body is dropped and that is logged.
/// Returns NH_OK, NH_ERR_INVALID_ARGUMENT, NH_ERR_MEMORY or NH_ERR_STATE.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_response_body(
    response: *mut nh_response,
    data: *const c_void,
    len: usize,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for both pointers.
        let (exchange, body) =
            unsafe { (editable(response)?, bytes::payload(data, len, "the body")?) };
        let mut copy = Vec::new();
        let body = prepare(&mut exchange.response.body, body, &mut copy)?;
        exchange.response.body.clear();
        exchange.response.body.extend_from_slice(body);
        Ok(())
    })
}

/// Sets status, Content-Type and body at once; when it fails, none of them. `content_type` NULL
/// leaves what was set. Copies `content_type` and `data`.
/// Returns NH_OK, NH_ERR_INVALID_ARGUMENT, NH_ERR_MEMORY, NH_ERR_LIMIT or NH_ERR_STATE.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_response_send(
    response: *mut nh_response,
    status_code: i32,
    content_type: *const c_char,
    data: *const c_void,
    len: usize,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise.
        let exchange = unsafe { editable(response) }?;
        // SAFETY: the caller's promise.
        unsafe { fill(exchange, status_code, content_type, data, len) }
    })
}

/// Puts the answer off: the handler may return, and any thread answers later. What the response
/// holds so far goes along; `response` itself can no longer be changed. Gives `*out`, which one of
/// nh_deferred_send, nh_deferred_done and nh_deferred_free ends.
/// Returns NH_OK, or NH_ERR_STATE when it was deferred or streams already, and in a middleware
/// after the answer.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_response_defer(
    response: *mut nh_response,
    out: *mut *mut nh_deferred,
) -> nh_status {
    status(|| {
        let out = handle::output(out, "place for the deferred answer")?;
        // SAFETY: the caller's promise.
        let deferred = unsafe { editable(response) }?.defer().ok_or_else(moved)?;
        // SAFETY: the caller's place for the result.
        unsafe { out.write(deferred::give(deferred)) };
        Ok(())
    })
}

/// Sends status and headers as they stand and opens the body, which follows piece by piece; set
/// Content-Type before. `response` can no longer be changed. Gives `*out`, which nh_stream_end or
/// nh_stream_abort ends.
/// Returns NH_OK, or NH_ERR_STATE when it was deferred or streams already, and in a middleware
/// after the answer.
/// Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_response_stream(
    response: *mut nh_response,
    out: *mut *mut nh_stream,
) -> nh_status {
    status(|| {
        let out = handle::output(out, "place for the stream")?;
        // SAFETY: the caller's promise.
        let exchange = unsafe { editable(response) }?;
        let queue = exchange.start_stream(limits::STREAM_QUEUE_BYTES).ok_or_else(moved)?;
        // SAFETY: the caller's place for the result.
        unsafe { out.write(stream::give(queue)) };
        Ok(())
    })
}

/// Fills a response whole, or leaves it as it is.
///
/// # Safety
/// `content_type` is NULL or NUL-terminated, `data` is readable as `len` says.
pub(super) unsafe fn fill(
    exchange: &mut Exchange,
    status_code: i32,
    content_type: *const c_char,
    data: *const c_void,
    len: usize,
) -> Result<(), Error> {
    let status_code = checked_status(status_code)?;
    // SAFETY: the caller's promise.
    let body = unsafe { bytes::payload(data, len, "the body") }?;
    let mut copy = Vec::new();
    let body = prepare(&mut exchange.response.body, body, &mut copy)?;
    if !content_type.is_null() {
        // SAFETY: the caller's promise.
        let value = unsafe { bytes::name(content_type, "the content type") }?;
        exchange.response.set_header(b"Content-Type", value).map_err(header_error)?;
    }
    exchange.response.status = status_code;
    exchange.response.body.clear();
    exchange.response.body.extend_from_slice(body);
    Ok(())
}

/// Makes room in `body` for `new`, so that storing it cannot fail. What nh_response_get_body lent
/// may be given back as the new body, whole or in part: that is first copied to `copy`.
fn prepare<'a>(
    body: &mut Vec<u8>,
    new: &'a [u8],
    copy: &'a mut Vec<u8>,
) -> Result<&'a [u8], Error> {
    let own = body.as_ptr().addr()..body.as_ptr().addr() + body.capacity();
    let new = if own.contains(&new.as_ptr().addr()) {
        copy.try_reserve_exact(new.len()).map_err(|_| no_memory())?;
        copy.extend_from_slice(new);
        copy.as_slice()
    } else {
        new
    };
    body.try_reserve(new.len().saturating_sub(body.len())).map_err(|_| no_memory())?;
    Ok(new)
}

/// A response that can still be changed.
///
/// # Safety
/// `response` is NULL or lent by us, and nobody else uses it.
pub(super) unsafe fn editable<'a>(response: *mut nh_response) -> Result<&'a mut Exchange, Error> {
    // SAFETY: the caller's promise.
    let exchange: &mut Exchange = unsafe { handle::lent_mut(response.cast(), "response") }?;
    match exchange.pending {
        Pending::Nothing | Pending::Finishing => Ok(exchange),
        Pending::Deferred | Pending::Stream => Err(moved()),
    }
}

/// # Safety
/// `response` is NULL or lent by us, and nobody changes it.
unsafe fn readable<'a>(response: *const nh_response) -> Result<&'a Exchange, Error> {
    // SAFETY: the caller's promise.
    unsafe { handle::lent(response.cast::<Exchange>(), "response") }
}

fn checked_status(status_code: i32) -> Result<u16, Error> {
    match u16::try_from(status_code) {
        Ok(status_code @ 200..=599) => Ok(status_code),
        _ => {
            let message = format!("{status_code} is no status of a response, 200 to 599 are");
            Err(Error::new(ErrorKind::InvalidArgument, message))
        }
    }
}

fn header_error(error: HeaderError) -> Error {
    let (kind, message) = match error {
        HeaderError::Name => (ErrorKind::InvalidArgument, "the header's name is not a token"),
        HeaderError::Value => (
            ErrorKind::InvalidArgument,
            "the header's value holds a control character, or blanks at its ends",
        ),
        HeaderError::Reserved => (ErrorKind::InvalidArgument, "the header is the server's own"),
        HeaderError::TooLarge => (ErrorKind::Limit, "the headers of the response are too large"),
    };
    Error::new(kind, message)
}

fn moved() -> Error {
    let message = "the answer has been deferred, streams, or cannot be put off any more";
    Error::new(ErrorKind::State, message)
}

fn no_memory() -> Error {
    Error::new(ErrorKind::Memory, "out of memory for a body")
}
