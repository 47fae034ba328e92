//! Middleware of the host.

use std::ffi::c_void;
use std::sync::Arc;

use super::memory::nh_drop;
use super::request::nh_request;
use super::response::nh_response;
use super::route::reason;
use super::server::nh_server;
use super::status::nh_status;
use crate::boundary::callback::{Callback, UserData};
use crate::boundary::guard::status;
use crate::boundary::{handle, last_error};
use crate::exchange::{Exchange, Flow, Middleware, Pending};

/// What a middleware returns: go on.
pub const NH_NEXT: i32 = 0;
/// What a middleware before the handler returns: the response is filled, deferred or streams, go
/// no further.
pub const NH_ANSWERED: i32 = 1;

/// Looks at one request on its way to its handler, or at one response on its way out. Both are
/// lent until it returns.
///
/// What it returns: NH_NEXT; before the handler also NH_ANSWERED. Anything else, such as a
/// negative nh_status, answers 500 and is logged. After the handler everything but NH_NEXT is
/// only logged.
///
/// It runs on a loop and must not block; several run at once. It may call everything but what
/// blocks and nh_server_free. C++ exceptions and longjmp must not leave it: an exception ends the
/// process.
/// [loop-thread]   Since 1.0.
pub type nh_middleware = Option<
    unsafe extern "C-unwind" fn(
        request: *mut nh_request,
        response: *mut nh_response,
        user_data: *mut c_void,
    ) -> i32,
>;

/// Adds a middleware in front of the handlers, our own routes' too; in order of registration.
/// Before the start or while serving. Takes `user_data`; `drop` (may be NULL) frees it exactly
/// once, also when this fails.
/// Returns NH_OK, NH_ERR_INVALID_ARGUMENT or NH_ERR_LIMIT.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_server_before(
    server: *mut nh_server,
    middleware: nh_middleware,
    user_data: *mut c_void,
    drop: nh_drop,
) -> nh_status {
    let user_data = UserData::new(user_data, drop);
    status(|| {
        let callback = Callback::new(middleware, user_data)?;
        // SAFETY: the caller's promise for the handle.
        let server = unsafe { handle::hold_to_change(server) }?;
        server.add_before(Arc::new(HostMiddleware { callback }), false)
    })
}

/// Adds a middleware behind the answer, in reverse order of registration. It sees every answer to
/// a request that could be parsed: 404s, errors, those of a middleware before and deferred ones
/// too, and may edit status, headers and body. Of a stream it sees the head only. Nothing can be
/// deferred here any more. Before the start or while serving. Takes `user_data`; `drop` (may be
/// NULL) frees it exactly once, also when this fails.
/// Returns NH_OK, NH_ERR_INVALID_ARGUMENT or NH_ERR_LIMIT.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_server_after(
    server: *mut nh_server,
    middleware: nh_middleware,
    user_data: *mut c_void,
    drop: nh_drop,
) -> nh_status {
    let user_data = UserData::new(user_data, drop);
    status(|| {
        let callback = Callback::new(middleware, user_data)?;
        // SAFETY: the caller's promise for the handle.
        let server = unsafe { handle::hold_to_change(server) }?;
        server.add_after(Arc::new(HostMiddleware { callback }))
    })
}

/// A host's middleware as the engine knows it.
struct HostMiddleware {
    callback: Callback<
        unsafe extern "C-unwind" fn(*mut nh_request, *mut nh_response, *mut c_void) -> i32,
    >,
}

impl Middleware for HostMiddleware {
    fn pass(&self, exchange: &mut Exchange) -> Flow {
        call_middleware(self.callback.function(), self.callback.user_data(), exchange)
    }
}

/// Lets a middleware in C look at an exchange. `user_data` is what it was registered with.
pub(super) fn call_middleware(
    function: unsafe extern "C-unwind" fn(*mut nh_request, *mut nh_response, *mut c_void) -> i32,
    user_data: *mut c_void,
    exchange: &mut Exchange,
) -> Flow {
    let failures = last_error::failures();
    let request = Arc::as_ptr(&exchange.request).cast_mut().cast();
    let response = std::ptr::from_mut(exchange);
    // SAFETY: function and data were registered together; both pointers are good until this
    // returns, and nothing else uses the exchange meanwhile.
    let returned = unsafe { function(request, response.cast(), user_data) };
    match (returned, exchange.pending) {
        // Whatever it says, the response is no longer here for anybody else to fill.
        (_, Pending::Deferred | Pending::Stream) => Flow::Answered,
        (NH_NEXT, _) => Flow::Next,
        (NH_ANSWERED, _) => Flow::Answered,
        (other, _) => Flow::Fail(reason(other, failures)),
    }
}
