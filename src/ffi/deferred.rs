//! Answers that come later.

use std::ffi::{c_char, c_void};
use std::ptr::{from_mut, null_mut};

use parking_lot::Mutex;

use super::response::{editable, fill, nh_response};
use super::status::nh_status;
use crate::base::error::{Error, ErrorKind};
use crate::boundary::guard::{status, value};
use crate::boundary::handle::{self, Opaque};
use crate::exchange::{Deferred, Pending};

/// An answer that was put off with nh_response_defer. Exactly one of nh_deferred_send,
/// nh_deferred_done and nh_deferred_free ends it; the request is lent until then. One thread at a
/// time uses it, any thread may. It may outlive its server: then it returns NH_ERR_CLOSED.
pub struct nh_deferred {
    _opaque: [u8; 0],
}

impl Opaque for nh_deferred {
    /// Taken out by whoever ends it.
    type Inner = Mutex<Option<Deferred>>;
    const TAG: u16 = 2;
    const NAME: &'static str = "deferred answer";
}

pub(super) fn give(deferred: Deferred) -> *mut nh_deferred {
    handle::give(Mutex::new(Some(deferred)))
}

/// Answers with status, Content-Type (NULL: what was set) and body, and ends the handle. Copies
/// `content_type` and `data`.
/// Returns NH_OK, or NH_ERR_CLOSED when the client has gone or the server has ended: both end the
/// handle. NH_ERR_INVALID_ARGUMENT, NH_ERR_MEMORY, NH_ERR_LIMIT and NH_ERR_STATE (a stream was
/// begun) leave it as it is.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_deferred_send(
    deferred: *mut nh_deferred,
    status_code: i32,
    content_type: *const c_char,
    data: *const c_void,
    len: usize,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for the handle.
        let held = unsafe { handle::hold_to_change(deferred) }?;
        let response = response_of(&mut held.lock())?;
        // SAFETY: the response is the handle's own, and the caller's promise for the rest.
        unsafe { fill(editable(response)?, status_code, content_type, data, len) }?;
        drop(held);
        // SAFETY: the caller's promise for the handle.
        unsafe { finish(deferred) }
    })
}

/// The response of a deferred answer, to set status, headers and body or to begin a stream; then
/// nh_deferred_done. Lent until the handle is ended. NULL on NULL and on a freed handle.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_deferred_response(deferred: *mut nh_deferred) -> *mut nh_response {
    value(null_mut(), || {
        // SAFETY: the caller's promise for the handle.
        let held = unsafe { handle::hold_to_change(deferred) }?;
        response_of(&mut held.lock())
    })
}

/// Sends what the response holds, and ends the handle. After nh_response_stream nothing is sent:
/// the stream lives on.
/// Returns NH_OK, or NH_ERR_CLOSED when the client has gone or the server has ended; both end the
/// handle.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_deferred_done(deferred: *mut nh_deferred) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for the handle.
        unsafe { finish(deferred) }
    })
}

/// 1 when the client has gone or the server has ended, so that nobody waits for the answer, else
/// 0; NH_ERR_INVALID_ARGUMENT on NULL and on a freed handle.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_deferred_cancelled(deferred: *const nh_deferred) -> i32 {
    value(ErrorKind::InvalidArgument as i32, || {
        // SAFETY: the caller's promise for the handle.
        let held = unsafe { handle::hold(deferred) }?;
        let slot = held.lock();
        Ok(i32::from(slot.as_ref().is_none_or(Deferred::is_cancelled)))
    })
}

/// Gives an answer up and frees the handle: the client gets 500. NULL is fine.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_deferred_free(deferred: *mut nh_deferred) {
    if deferred.is_null() {
        return;
    }
    status(|| {
        // SAFETY: the caller's promise for the handle.
        let held = unsafe { handle::end(deferred) }?;
        drop(held.lock().take());
        Ok(())
    });
}

fn response_of(slot: &mut Option<Deferred>) -> Result<*mut nh_response, Error> {
    match slot.as_mut().and_then(Deferred::exchange_mut) {
        Some(exchange) => Ok(from_mut(exchange).cast()),
        None => Err(Error::new(ErrorKind::State, "the deferred answer has been ended")),
    }
}

/// # Safety
/// As [`handle::end`].
unsafe fn finish(deferred: *mut nh_deferred) -> Result<(), Error> {
    // SAFETY: the caller's promise.
    let held = unsafe { handle::end(deferred) }?;
    let Some(mut answer) = held.lock().take() else { return Ok(()) };
    // A stream or a second deferral has taken the answer over; it lives or fails on its own.
    let is_here =
        answer.exchange_mut().is_some_and(|exchange| exchange.pending == Pending::Nothing);
    let is_late = is_here && answer.is_cancelled();
    answer.done();
    if is_late {
        let message = "the client has gone or the server has ended";
        return Err(Error::new(ErrorKind::Closed, message));
    }
    Ok(())
}
