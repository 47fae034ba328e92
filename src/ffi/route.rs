//! Routes of the host.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use super::memory::nh_drop;
use super::request::nh_request;
use super::response::nh_response;
use super::server::nh_server;
use super::status::{NH_OK, nh_status, nh_status_name};
use crate::base::error::{Error, ErrorKind};
use crate::boundary::callback::{Callback, UserData};
use crate::boundary::guard::status;
use crate::boundary::{bytes, handle, last_error, options};
use crate::exchange::{Exchange, Handler, Pending};

/// Answers one request: fills `response`, or defers it, or begins a stream. Both are lent until
/// it returns; the request longer, until every deferred answer and stream of it is finished.
///
/// What it returns: NH_OK; when nothing was filled the answer is 204. Anything else: the client
/// gets 500, and the status and this thread's last error are logged. After nh_response_defer or
/// nh_response_stream it is ignored.
///
/// It runs on a loop, which serves nobody else meanwhile, and must not block; with
/// NH_ROUTE_BLOCKING on a thread of the pool, where it may. Several run at once. It may call
/// everything but what blocks (on a loop) and nh_server_free. C++ exceptions and longjmp must not
/// leave it: an exception ends the process.
/// [loop-thread], with NH_ROUTE_BLOCKING on a pool thread.   Since 1.0.
pub type nh_handler = Option<
    unsafe extern "C-unwind" fn(
        request: *mut nh_request,
        response: *mut nh_response,
        user_data: *mut c_void,
    ) -> nh_status,
>;

/// A flag of nh_server_route: the handler may block, so it runs on the pool.
pub const NH_ROUTE_BLOCKING: u32 = 1;
/// A flag of nh_server_route: answers to GET may be kept and given again, to HEAD too, without the
/// handler. What an answer says decides: Cache-Control (no-store, no-cache and private are not
/// kept; s-maxage and max-age say how long), Expires, Vary; without a word of it, [cache] ttl.
/// An answer with Set-Cookie is not kept, one to a request with Authorization only when it says
/// public, s-maxage or must-revalidate. If-None-Match and If-Modified-Since are answered from what
/// is kept; Range, If-Match and If-Unmodified-Since are the handler's. A request to a route of the
/// host with a method that may change the target (not GET, HEAD, OPTIONS, TRACE), answered with
/// 2xx or 3xx, removes what is kept of that target. A stream is kept when nh_stream_end has ended
/// it, and given again as a whole.
pub const NH_ROUTE_CACHE: u32 = 2;

/// Adds a route, before the start or while serving; it beats every route of our own. `method` is
/// a token in upper case, or "*" for any but CONNECT. `pattern` is a path whose segments may be
/// ":name" (one segment, not empty) and, at the end, "*name" (the rest, without its leading slash,
/// may be empty). Static segments win over ":name", this over "*name". A trailing slash makes
/// another path. Copies `method` and `pattern`. Takes `user_data`; `drop` (may be NULL) frees it
/// exactly once, also when this fails.
/// Returns NH_OK, NH_ERR_INVALID_PATTERN, NH_ERR_DUPLICATE (the same shape, whatever the names),
/// NH_ERR_INVALID_ARGUMENT, NH_ERR_UNSUPPORTED for unknown flags, or NH_ERR_LIMIT.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_server_route(
    server: *mut nh_server,
    method: *const c_char,
    pattern: *const c_char,
    flags: u32,
    handler: nh_handler,
    user_data: *mut c_void,
    drop: nh_drop,
) -> nh_status {
    let user_data = UserData::new(user_data, drop);
    status(|| {
        let callback = Callback::new(handler, user_data)?;
        options::check_flags(flags, NH_ROUTE_BLOCKING | NH_ROUTE_CACHE)?;
        // SAFETY: the caller's promise for handle and texts.
        let (server, method, pattern) = unsafe {
            let server = handle::hold_to_change(server)?;
            (server, bytes::name_text(method, "the method")?, pattern_text(pattern)?)
        };
        let blocking = flags & NH_ROUTE_BLOCKING != 0;
        let is_cached = flags & NH_ROUTE_CACHE != 0;
        let handler = Arc::new(HostHandler { callback });
        server.add_route(method, pattern, blocking, is_cached, handler)
    })
}

/// Removes a route. Requests that have reached it are answered by it; its `user_data` is freed
/// after the last of them. Borrows `method` and `pattern`, which are what it was added with.
/// Returns NH_OK or NH_ERR_NOT_FOUND.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_server_unroute(
    server: *mut nh_server,
    method: *const c_char,
    pattern: *const c_char,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for handle and texts.
        let (server, method, pattern) = unsafe {
            let server = handle::hold_to_change(server)?;
            (server, bytes::name_text(method, "the method")?, pattern_text(pattern)?)
        };
        server.remove_route(method, pattern)
    })
}

/// # Safety
/// `pattern` is NULL or NUL-terminated.
pub(super) unsafe fn pattern_text<'a>(pattern: *const c_char) -> Result<&'a str, Error> {
    // SAFETY: the caller's promise.
    let text = unsafe { bytes::name(pattern, "the pattern") }?;
    std::str::from_utf8(text)
        .map_err(|_| Error::new(ErrorKind::InvalidPattern, "the pattern is not UTF-8"))
}

/// A host's handler as the engine knows it.
struct HostHandler {
    callback: Callback<
        unsafe extern "C-unwind" fn(*mut nh_request, *mut nh_response, *mut c_void) -> nh_status,
    >,
}

impl Handler for HostHandler {
    fn handle(&self, exchange: &mut Exchange) -> Result<(), String> {
        call_handler(&self.callback, exchange)
    }
}

/// Lets a handler in C answer; the error is what to log.
pub(super) fn call_handler(
    callback: &Callback<
        unsafe extern "C-unwind" fn(*mut nh_request, *mut nh_response, *mut c_void) -> nh_status,
    >,
    exchange: &mut Exchange,
) -> Result<(), String> {
    let failures = last_error::failures();
    let request = Arc::as_ptr(&exchange.request).cast_mut().cast();
    let response = std::ptr::from_mut(exchange);
    let (function, user_data) = (callback.function(), callback.user_data());
    // SAFETY: function and data were registered together; both pointers are good until this
    // returns, and nothing else uses the exchange meanwhile.
    let returned = unsafe { function(request, response.cast(), user_data) };
    if returned == NH_OK || exchange.pending != Pending::Nothing {
        return Ok(());
    }
    Err(reason(returned, failures))
}

/// What to log about a status that a callback returned; `failures` is how many calls had failed
/// on this thread before it.
pub(super) fn reason(returned: nh_status, failures: u64) -> String {
    // SAFETY: any number may be asked for; the name is static text.
    let name = unsafe { std::ffi::CStr::from_ptr(nh_status_name(returned)) }.to_string_lossy();
    if last_error::failures() == failures {
        return format!("it returned {returned} ({name})");
    }
    let detail = last_error::message_text();
    format!("it returned {returned} ({name}); the last error there: {detail}")
}
