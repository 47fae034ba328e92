//! A server inside the host's own event loop.

use std::ffi::c_int;

use super::server::{nh_server, timeout_of};
use super::status::nh_status;
use crate::base::error::{Error, ErrorKind};
use crate::boundary::guard::status;
use crate::boundary::handle;
use crate::server::on_loop_thread;

/// Instead of nh_server_start: listens, but starts no worker threads; the host calls
/// nh_server_poll whenever `*fd` is readable, as it is while there is work or a timer is due.
/// Threads for blocking routes and upkeep start on need. Lends `*fd` until nh_server_free: watch
/// it level-triggered, do nothing else with it.
/// Returns NH_OK, NH_ERR_STATE when it was started, attached or stopped before,
/// NH_ERR_ADDRESS_IN_USE or NH_ERR_IO.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_server_attach(server: *mut nh_server, fd: *mut c_int) -> nh_status {
    status(|| {
        let fd = handle::output(fd, "place for the descriptor")?;
        // SAFETY: the caller's promise for the handle.
        let lent = unsafe { handle::hold_to_change(server) }?.attach()?;
        // SAFETY: the caller's place for the result.
        unsafe { fd.write(lent) };
        Ok(())
    })
}

/// Does the work of an attached server that is due, waiting for some at most `timeout_ms`
/// milliseconds (0: not at all, below 0: for ever). Handlers and the other callbacks for the loop
/// run inside it, on this thread, which counts as the server's loop thread from then on. How many
/// events it handled goes to `*handled` unless that is NULL; none is NH_OK and 0.
/// Returns NH_OK, NH_ERR_CLOSED once the server was stopped and is drained, or NH_ERR_STATE when
/// it is not attached, when another thread polls it, and inside a callback on a loop.
/// [any-thread], one at a time.   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_server_poll(
    server: *mut nh_server,
    timeout_ms: i32,
    handled: *mut u32,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for the handle.
        let server = unsafe { handle::hold_to_change(server) }?;
        if on_loop_thread() {
            let message = "a server cannot be polled inside a callback on a loop";
            return Err(Error::new(ErrorKind::State, message));
        }
        let count = server.poll(timeout_of(i64::from(timeout_ms)))?;
        if !handled.is_null() {
            let handled = handle::output(handled, "place for the count")?;
            // SAFETY: the caller's place for the result.
            unsafe { handled.write(u32::try_from(count).unwrap_or(u32::MAX)) };
        }
        Ok(())
    })
}
