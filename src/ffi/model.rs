//! The models that a client can call.

use std::ffi::c_char;

use super::client::nh_client;
use super::status::nh_status;
use crate::base::error::Error;
use crate::boundary::bytes;
use crate::boundary::guard::status;
use crate::boundary::handle::{self, Held};

/// The models as GET /v1/models lists them: JSON. Gives `*out`, NUL-terminated; free it with
/// nh_free. Its length goes to `*len` unless that is NULL.
/// Returns NH_OK, NH_ERR_CLOSED or NH_ERR_MEMORY.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_models_json(
    client: *mut nh_client,
    out: *mut *mut c_char,
    len: *mut usize,
) -> nh_status {
    status(|| {
        let out = handle::output(out, "place for the models")?;
        // SAFETY: the caller's promise for the handle.
        let text = unsafe { handle::hold(client) }?.models_json()?;
        let copy = bytes::give(text.as_bytes())?;
        // SAFETY: the caller's places for the results.
        unsafe {
            out.write(copy);
            bytes::write_len(len, text.len());
        }
        Ok(())
    })
}

/// What was counted as JSON, as nh_server_stats_json tells it of a server: `models` has requests,
/// failures, tokens, latency and time to first token of each model that was asked, `calls` and
/// `cache` the sums. A client of nh_server_client tells its server's. Gives `*out`, NUL-terminated;
/// free it with nh_free. Its length goes to `*len` unless that is NULL.
/// Returns NH_OK, NH_ERR_CLOSED or NH_ERR_MEMORY.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_client_stats_json(
    client: *mut nh_client,
    out: *mut *mut c_char,
    len: *mut usize,
) -> nh_status {
    status(|| {
        let out = handle::output(out, "place for the statistics")?;
        // SAFETY: the caller's promise for the handle.
        let text = unsafe { handle::hold(client) }?.stats_json()?;
        let copy = bytes::give(text.as_bytes())?;
        // SAFETY: the caller's places for the results.
        unsafe {
            out.write(copy);
            bytes::write_len(len, text.len());
        }
        Ok(())
    })
}

/// Takes a model out of service (0) or back into it (anything else), for its server's clients over
/// HTTP too. Calls in progress are not touched. Borrows `model`.
/// Returns NH_OK, NH_ERR_NOT_FOUND or NH_ERR_CLOSED.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_model_set_available(
    client: *mut nh_client,
    model: *const c_char,
    available: i32,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for both pointers.
        let (client, model) = unsafe { client_and_model(client, model) }?;
        client.set_available(model, available != 0)
    })
}

/// Makes a model the one that requests without a model get. Borrows `model`.
/// Returns NH_OK, NH_ERR_NOT_FOUND or NH_ERR_CLOSED.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_model_set_default(
    client: *mut nh_client,
    model: *const c_char,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for both pointers.
        let (client, model) = unsafe { client_and_model(client, model) }?;
        client.set_default(model)
    })
}

/// Removes a model and its aliases; calls in progress end as they would have. Borrows `model`.
/// Returns NH_OK, NH_ERR_NOT_FOUND or NH_ERR_CLOSED.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_model_remove(
    client: *mut nh_client,
    model: *const c_char,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for both pointers.
        let (client, model) = unsafe { client_and_model(client, model) }?;
        client.remove(model)
    })
}

/// # Safety
/// `client` is NULL or a handle, `model` is NULL or NUL-terminated.
unsafe fn client_and_model<'a>(
    client: *mut nh_client,
    model: *const c_char,
) -> Result<(Held<nh_client>, &'a str), Error> {
    // SAFETY: the caller's promise.
    unsafe { Ok((handle::hold_to_change(client)?, bytes::name_text(model, "the model")?)) }
}
