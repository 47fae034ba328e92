//! stream.h, first half: streams into sockets of the host's. The framing is [`crate::http::encode`]'s.
//!
//! The mutex in the struct keeps two threads' chunks apart; it is held while bytes go out and never
//! while a callback of the host runs.

use super::memory::{allocate, bytes, monotonic_ns, release};
use super::socket::{SendError, send_all};
use super::types::{
    StreamConfig, StreamData, StreamDataCallback, StreamErrorCallback, StreamStats,
};
use super::utils::logging::print;
use crate::boundary::guard;
use crate::http::encode::chunk_header;
use std::ffi::{CStr, c_char, c_int, c_void};

/// StreamResult codes.
pub(super) const SUCCESS: c_int = 0;
pub(super) const ERROR_NULL: c_int = 1;
pub(super) const ERROR_MEMORY: c_int = 3;
const ERROR_TIMEOUT: c_int = 4;
const ERROR_CLOSED: c_int = 5;
pub(super) const ERROR_OVERFLOW: c_int = 6;

/// Used where a configuration says 0.
const BUFFER_BYTES: usize = 8192;
/// What stream_init sets.
const TIMEOUT_MS: u32 = 5000;
/// The highest socket priority that needs no privilege.
const PRIORITY_MAX: u8 = 6;
/// The end of a chunked body (RFC 9112 section 7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Holds a mutex of a struct that hosts may copy about.
pub(super) struct Held(*mut libc::pthread_mutex_t);

impl Held {
    /// # Safety
    /// `mutex` is initialised (all zero counts) and stays where it is while held.
    pub(super) unsafe fn new(mutex: *mut libc::pthread_mutex_t) -> Held {
        // SAFETY: the caller's promise.
        unsafe { libc::pthread_mutex_lock(mutex) };
        Held(mutex)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: locked by this thread in `new`.
        unsafe { libc::pthread_mutex_unlock(self.0) };
    }
}

/// An initialised mutex.
pub(super) fn new_mutex() -> libc::pthread_mutex_t {
    libc::PTHREAD_MUTEX_INITIALIZER
}

/// # Safety
/// `stream` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stream_init(stream: *mut StreamData, client_fd: c_int) -> c_int {
    let config = StreamConfig {
        buffer_size: BUFFER_BYTES,
        chunked_encoding: 1,
        timeout_ms: TIMEOUT_MS,
        non_blocking: 0,
        priority: 0,
    };
    // SAFETY: as promised by the caller.
    guard(ERROR_MEMORY, || unsafe { open(stream, client_fd, &config) })
}

/// # Safety
/// `stream` is NULL or writable; `config` is NULL or readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stream_init_ex(
    stream: *mut StreamData,
    client_fd: c_int,
    config: *const StreamConfig,
) -> c_int {
    guard(ERROR_MEMORY, || {
        // SAFETY: NULL or readable by the caller's promise.
        match unsafe { config.as_ref() } {
            // SAFETY: as promised by the caller.
            Some(config) => unsafe { open(stream, client_fd, config) },
            None => ERROR_NULL,
        }
    })
}

/// # Safety
/// `stream` is NULL or writable.
unsafe fn open(stream: *mut StreamData, client_fd: c_int, config: &StreamConfig) -> c_int {
    if stream.is_null() || client_fd < 0 {
        return ERROR_NULL;
    }
    let buffer_size = if config.buffer_size == 0 { BUFFER_BYTES } else { config.buffer_size };
    let buffer = allocate(buffer_size).cast::<c_char>();
    if buffer.is_null() {
        return ERROR_MEMORY;
    }
    if config.non_blocking != 0 {
        set_non_blocking(client_fd);
    }
    set_priority(client_fd, config.priority);
    // SAFETY: writable by the caller's promise; what it held is not read.
    unsafe {
        stream.write(StreamData {
            client_fd,
            buffer,
            buffer_size,
            buffer_position: 0,
            is_active: 1,
            chunked_encoding: u8::from(config.chunked_encoding != 0),
            mutex: new_mutex(),
            config: StreamConfig { buffer_size, ..*config },
            stats: StreamStats::default(),
            data_callback: None,
            error_callback: None,
            user_data: std::ptr::null_mut(),
            last_activity_ns: monotonic_ns(),
        });
    }
    SUCCESS
}

fn set_non_blocking(fd: c_int) {
    // SAFETY: plain descriptor flags; a wrong descriptor is an error that the first send reports.
    unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFL);
        if flags >= 0 {
            libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK);
        }
    }
}

/// A higher number goes first in the kernel's queue when several streams are ready. Best effort.
fn set_priority(fd: c_int, priority: u8) {
    let value = c_int::from(priority.min(PRIORITY_MAX));
    if value > 0 {
        let length = size_of::<c_int>() as libc::socklen_t;
        // SAFETY: the option is an int that lives here.
        unsafe {
            libc::setsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_PRIORITY,
                (&raw const value).cast(),
                length,
            )
        };
    }
}

/// Who is called after a send, with what.
struct Callbacks {
    data: StreamDataCallback,
    data_user: *mut c_void,
    error: StreamErrorCallback,
    error_user: *mut c_void,
}

/// Sends one piece under the stream's mutex.
///
/// # Safety
/// `stream` points to an initialised stream.
unsafe fn send_piece(
    stream: *mut StreamData,
    data: &[u8],
    timeout_ms: Option<u32>,
) -> (c_int, Callbacks) {
    // SAFETY: initialised by the caller's promise.
    let held = unsafe { Held::new(&raw mut (*stream).mutex) };
    // SAFETY: the mutex keeps other calls out.
    let state = unsafe { &mut *stream };
    let callbacks = Callbacks {
        data: state.data_callback,
        data_user: state.user_data,
        error: state.error_callback,
        error_user: state.user_data,
    };
    if state.is_active == 0 {
        return (ERROR_NULL, callbacks);
    }
    let begun = monotonic_ns();
    let timeout_ms = u64::from(timeout_ms.unwrap_or(state.config.timeout_ms));
    let deadline = (timeout_ms > 0).then(|| begun.saturating_add(timeout_ms * 1_000_000));
    let mut size_line = Vec::new();
    let result = if state.chunked_encoding != 0 {
        chunk_header(&mut size_line, data.len());
        send_all(state.client_fd, &[&size_line, data, b"\r\n"], deadline)
    } else {
        send_all(state.client_fd, &[data], deadline)
    };
    let now = monotonic_ns();
    let stats = &mut state.stats;
    stats.operations_count += 1;
    stats.total_time_ns += now - begun;
    let code = match result {
        Ok(sent) => {
            stats.bytes_sent += sent as u64;
            stats.bytes_written += data.len() as u64;
            stats.chunks_sent += 1;
            state.last_activity_ns = now;
            SUCCESS
        }
        Err((sent, error)) => {
            stats.bytes_sent += sent as u64;
            // Half a chunk is on the wire: nothing that follows could be understood.
            if sent > 0 || error == SendError::Closed {
                state.is_active = 0;
            }
            if error == SendError::Timeout { ERROR_TIMEOUT } else { ERROR_CLOSED }
        }
    };
    drop(held);
    (code, callbacks)
}

/// Sends, then tells the host.
///
/// # Safety
/// `stream` is NULL or initialised; `data` is NULL or readable for `length` bytes.
unsafe fn send(
    stream: *mut StreamData,
    data: *const c_char,
    length: usize,
    timeout_ms: Option<u32>,
    instead: Option<(StreamDataCallback, *mut c_void)>,
) -> c_int {
    // SAFETY: as promised by the caller.
    let Some(content) = (unsafe { bytes(data, length) }) else { return ERROR_NULL };
    if stream.is_null() || content.is_empty() {
        return ERROR_NULL;
    }
    // SAFETY: initialised by the caller's promise.
    let (code, callbacks) = unsafe { send_piece(stream, content, timeout_ms) };
    let (on_data, user) = instead.unwrap_or((callbacks.data, callbacks.data_user));
    // SAFETY: the host's functions, called as the header says, with no lock of ours held.
    unsafe {
        match (code, on_data, callbacks.error) {
            (SUCCESS, Some(on_data), _) => on_data(data, length, user),
            (ERROR_TIMEOUT | ERROR_CLOSED, _, Some(on_error)) => {
                on_error(code, callbacks.error_user)
            }
            _ => {}
        }
    }
    code
}

/// # Safety
/// `stream` is NULL or initialised; `data` is NULL or readable for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stream_send_chunk(
    stream: *mut StreamData,
    data: *const c_char,
    length: usize,
) -> c_int {
    // SAFETY: as promised by the caller.
    guard(ERROR_MEMORY, || unsafe { send(stream, data, length, None, None) })
}

/// # Safety
/// As [`stream_send_chunk`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stream_send_chunk_ex(
    stream: *mut StreamData,
    data: *const c_char,
    length: usize,
    timeout_ms: u32,
) -> c_int {
    // SAFETY: as promised by the caller.
    guard(ERROR_MEMORY, || unsafe { send(stream, data, length, Some(timeout_ms), None) })
}

/// # Safety
/// As [`stream_send_chunk`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stream_send_with_callback(
    stream: *mut StreamData,
    data: *const c_char,
    length: usize,
    callback: StreamDataCallback,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: as promised by the caller.
    guard(ERROR_MEMORY, || unsafe { send(stream, data, length, None, Some((callback, user_data))) })
}

/// # Safety
/// `stream` is NULL or initialised.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stream_end(stream: *mut StreamData) -> c_int {
    guard(-1, || {
        if stream.is_null() {
            return -1;
        }
        // SAFETY: initialised by the caller's promise; the mutex keeps other calls out.
        let _held = unsafe { Held::new(&raw mut (*stream).mutex) };
        // SAFETY: as above.
        let state = unsafe { &mut *stream };
        if state.is_active == 0 {
            return -1;
        }
        state.is_active = 0;
        if state.chunked_encoding == 0 {
            return 0;
        }
        let timeout_ms = u64::from(state.config.timeout_ms);
        let deadline =
            (timeout_ms > 0).then(|| monotonic_ns().saturating_add(timeout_ms * 1_000_000));
        match send_all(state.client_fd, &[LAST_CHUNK], deadline) {
            Ok(sent) => {
                state.stats.bytes_sent += sent as u64;
                0
            }
            Err(_) => -1,
        }
    })
}

/// # Safety
/// `stream` is NULL or initialised.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stream_cleanup(stream: *mut StreamData) {
    guard((), || {
        if stream.is_null() {
            return;
        }
        // SAFETY: initialised by the caller's promise; the mutex keeps other calls out.
        unsafe {
            let _held = Held::new(&raw mut (*stream).mutex);
            release((*stream).buffer.cast());
            (*stream).buffer = std::ptr::null_mut();
            (*stream).buffer_size = 0;
            (*stream).buffer_position = 0;
            (*stream).is_active = 0;
        }
    });
}

/// # Safety
/// `stream` is NULL or initialised; `stats` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stream_get_stats(stream: *const StreamData, stats: *mut StreamStats) {
    guard((), || {
        if stream.is_null() || stats.is_null() {
            return;
        }
        // SAFETY: as promised by the caller; the mutex is the one member that is written.
        unsafe {
            let _held = Held::new((&raw const (*stream).mutex).cast_mut());
            stats.write((*stream).stats);
        }
    });
}

/// # Safety
/// `stream` is NULL or initialised.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stream_set_callbacks(
    stream: *mut StreamData,
    data_callback: StreamDataCallback,
    error_callback: StreamErrorCallback,
    user_data: *mut c_void,
) {
    guard((), || {
        if stream.is_null() {
            return;
        }
        // SAFETY: initialised by the caller's promise; the mutex keeps other calls out.
        unsafe {
            let _held = Held::new(&raw mut (*stream).mutex);
            (*stream).data_callback = data_callback;
            (*stream).error_callback = error_callback;
            (*stream).user_data = user_data;
        }
    });
}

/// # Safety
/// See stream.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stream_result_to_string(result: c_int) -> *const c_char {
    let name: &'static CStr = match result {
        SUCCESS => c"SUCCESS",
        ERROR_NULL => c"NULL_POINTER",
        2 => c"INVALID_FD",
        ERROR_MEMORY => c"MEMORY_ERROR",
        ERROR_TIMEOUT => c"TIMEOUT",
        ERROR_CLOSED => c"CONNECTION_CLOSED",
        ERROR_OVERFLOW => c"BUFFER_OVERFLOW",
        _ => c"UNKNOWN_ERROR",
    };
    name.as_ptr()
}

/// # Safety
/// `stream` is NULL or initialised.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stream_print_stats(stream: *const StreamData) {
    guard((), || {
        if stream.is_null() {
            return;
        }
        // SAFETY: as promised by the caller.
        let (fd, stats) = unsafe {
            let _held = Held::new((&raw const (*stream).mutex).cast_mut());
            ((*stream).client_fd, (*stream).stats)
        };
        let text = format!(
            "Stream statistics (descriptor {fd})\nBytes sent: {}\nBytes received: {}\nChunks sent: {}\n\
             Operations: {}\nTotal time: {} ns\nBytes written: {}\nBytes read: {}\n",
            stats.bytes_sent,
            stats.bytes_received,
            stats.chunks_sent,
            stats.operations_count,
            stats.total_time_ns,
            stats.bytes_written,
            stats.bytes_read
        );
        print(text.as_bytes());
    });
}
