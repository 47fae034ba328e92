//! Streamed responses.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use super::memory::nh_drop;
use super::server::timeout_of;
use super::status::{NH_OK, nh_status};
use crate::base::error::{Error, ErrorKind};
use crate::boundary::bytes;
use crate::boundary::callback::{Callback, UserData};
use crate::boundary::guard::{guard, status};
use crate::boundary::handle::{self, Opaque};
use crate::exchange::{ReadyFn, StreamQueue, Taken};
use crate::http::sse;
use crate::server::on_loop_thread;

/// The body of a response that is sent while it is made. nh_stream_end or nh_stream_abort ends
/// it; the request is lent until then. It may outlive its server: then it returns NH_ERR_CLOSED.
///
/// Its functions may be called from any thread, writes of several threads too (each is whole);
/// but nothing after nh_stream_end or nh_stream_abort has begun elsewhere, except inside `ready`,
/// where the handle stays valid until the callback returns.
pub struct nh_stream {
    _opaque: [u8; 0],
}

impl Opaque for nh_stream {
    type Inner = Arc<StreamQueue>;
    const TAG: u16 = 3;
    const NAME: &'static str = "stream";
    const ENDED: ErrorKind = ErrorKind::Closed;
}

pub(super) fn give(queue: Arc<StreamQueue>) -> *mut nh_stream {
    handle::give(queue)
}

/// Tells that a stream takes more (NH_OK), or that nobody listens any more (NH_ERR_CLOSED). Runs
/// on the stream's loop, so it must not block; it may write to `stream` and end it. It may run
/// before the write that got NH_ERR_WOULD_BLOCK has returned. `stream` is valid until it returns,
/// whoever ends it elsewhere.
/// [loop-thread]   Since 1.0.
pub type nh_ready_fn = Option<
    unsafe extern "C-unwind" fn(stream: *mut nh_stream, status: nh_status, user_data: *mut c_void),
>;

/// Appends `data` whole or not at all; it is sent when the client takes it. Copies `data`.
/// Returns NH_OK, NH_ERR_WOULD_BLOCK when the stream's queue is full now, NH_ERR_LIMIT when `data`
/// is larger than the whole queue (64 KiB always fit an empty one), or NH_ERR_CLOSED when the
/// client has gone or the server has ended.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_stream_write(
    stream: *mut nh_stream,
    data: *const c_void,
    len: usize,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for both pointers.
        let (queue, data) =
            unsafe { (handle::hold_to_change(stream)?, bytes::payload(data, len, "the data")?) };
        queue.write(data).map_err(stream_error)
    })
}

/// Appends one server-sent event: `event` is its name (NULL: none, a plain message) and must be
/// one line, `data` its text, of which every line becomes a "data:" line. Set Content-Type to
/// "text/event-stream" before the stream begins. Copies both. `data` must be UTF-8.
/// Returns what nh_stream_write returns for the bytes of the whole event, or
/// NH_ERR_INVALID_ARGUMENT.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_stream_event(
    stream: *mut nh_stream,
    event: *const c_char,
    data: *const c_char,
    len: usize,
) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for every pointer.
        let (queue, data) = unsafe {
            (handle::hold_to_change(stream)?, bytes::payload_text(data, len, "the data")?)
        };
        let event = match event.is_null() {
            true => None,
            // SAFETY: not NULL, so NUL-terminated by the caller's promise.
            false => Some(unsafe { bytes::name_text(event, "the event's name") }?),
        };
        if event.is_some_and(|event| event.contains(['\r', '\n'])) {
            let message = "the event's name is more than one line";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        queue
            .write_with(data.len(), |out| sse::write_event(out, event, data.as_bytes()))
            .map_err(stream_error)
    })
}

/// Waits until the stream takes more, at most `timeout_ms` milliseconds; below 0 for ever. After
/// NH_ERR_WOULD_BLOCK: until what was refused fits.
/// Returns NH_OK, NH_ERR_TIMEOUT or NH_ERR_CLOSED.
/// Blocks: NH_ERR_STATE on a thread of any server's loop.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_stream_wait(stream: *mut nh_stream, timeout_ms: i64) -> nh_status {
    status(|| {
        // SAFETY: the caller's promise for the handle.
        let queue = unsafe { handle::hold(stream) }?;
        if on_loop_thread() {
            return Err(stream_error(ErrorKind::State));
        }
        queue.wait(timeout_of(timeout_ms)).map_err(stream_error)
    })
}

/// Has `ready` called once after each NH_ERR_WOULD_BLOCK, when what was refused fits, and once
/// with NH_ERR_CLOSED when the client has gone or the server ends; not after the stream was ended
/// here. A refusal before the registration counts. Registering again replaces. Takes `user_data`;
/// `drop` (may be NULL) frees it exactly once, after the last call: when it is replaced, when the
/// stream is ended here, or when this fails.
/// Returns NH_OK, NH_ERR_INVALID_ARGUMENT, or NH_ERR_CLOSED when nobody listens any more: `ready`
/// is then never called.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_stream_on_ready(
    stream: *mut nh_stream,
    ready: nh_ready_fn,
    user_data: *mut c_void,
    drop: nh_drop,
) -> nh_status {
    let user_data = UserData::new(user_data, drop);
    status(|| {
        let callback = Callback::new(ready, user_data)?;
        // SAFETY: the caller's promise for the handle.
        let held = unsafe { handle::hold_to_change(stream) }?;
        // Weak, since the queue that keeps the callback belongs to the handle.
        let weak = held.downgrade();
        let ready: ReadyFn = Arc::new(move |outcome| {
            // Counted while the callback runs: the handle is valid in it, whoever ends it.
            let Some(held) = weak.upgrade() else { return };
            let told = outcome.map_or_else(|kind| kind as i32, |()| NH_OK);
            let (function, user_data) = (callback.function(), callback.user_data());
            // SAFETY: function and data were registered together; the handle is held.
            guard((), || unsafe { function(held.pointer(), told, user_data) });
        });
        let old = held.on_ready(ready).map_err(stream_error)?;
        std::mem::drop(old);
        Ok(())
    })
}

/// Ends the body well and frees the handle: what was written is still sent.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_stream_end(stream: *mut nh_stream) {
    // SAFETY: the caller's promise for the handle.
    unsafe { end(stream, Taken::End) };
}

/// Cuts the body and frees the handle: the client sees that it is incomplete. What was not sent
/// yet is dropped.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_stream_abort(stream: *mut nh_stream) {
    // SAFETY: the caller's promise for the handle.
    unsafe { end(stream, Taken::Abort) };
}

/// # Safety
/// As [`handle::end`].
unsafe fn end(stream: *mut nh_stream, ending: Taken) {
    status(|| {
        // SAFETY: the caller's promise.
        unsafe { handle::end(stream) }?.finish(ending);
        Ok(())
    });
}

fn stream_error(kind: ErrorKind) -> Error {
    let message = match kind {
        ErrorKind::WouldBlock => "the queue of the stream is full",
        ErrorKind::Limit => "more at once than the queue of a stream ever takes",
        ErrorKind::Closed => "the client has gone or the server has ended",
        ErrorKind::State => "not possible on a loop thread or after the end of the stream",
        ErrorKind::Timeout => "the client takes nothing",
        other => other.c_message().to_str().unwrap_or_default(),
    };
    Error::new(kind, message)
}
