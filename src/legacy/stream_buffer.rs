//! stream.h, second half: byte buffers with one position for reading and writing.

use super::memory::{allocate, bytes, release};
use super::stream::{ERROR_MEMORY, ERROR_NULL, ERROR_OVERFLOW, Held, SUCCESS, new_mutex};
use super::types::{StreamBuffer, StreamStats};
use crate::boundary::guard;
use std::ffi::{c_char, c_int, c_void};

/// What stream_buffer_init lets a buffer grow to.
const CAPACITY_MAX: usize = 10 << 20;
/// A first allocation by growing.
const CAPACITY_MIN: usize = 64;

/// The capacity a buffer should take so that `needed` bytes fit: doubled until it is enough, never
/// beyond `capacity_max`. `None` when `needed` itself is beyond it.
fn grown_capacity(capacity: usize, needed: usize, capacity_max: usize) -> Option<usize> {
    if needed > capacity_max {
        return None;
    }
    let mut grown = capacity.max(CAPACITY_MIN);
    while grown < needed {
        grown = grown.saturating_mul(2);
    }
    Some(grown.min(capacity_max))
}

/// # Safety
/// `buffer` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stream_buffer_init(
    buffer: *mut StreamBuffer,
    initial_size: usize,
) -> c_int {
    // SAFETY: as promised by the caller.
    guard(ERROR_MEMORY, || unsafe { open(buffer, initial_size, true, CAPACITY_MAX) })
}

/// # Safety
/// `buffer` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stream_buffer_init_ex(
    buffer: *mut StreamBuffer,
    initial_size: usize,
    auto_expand: u8,
    max_capacity: usize,
) -> c_int {
    // SAFETY: as promised by the caller.
    guard(ERROR_MEMORY, || unsafe { open(buffer, initial_size, auto_expand != 0, max_capacity) })
}

/// # Safety
/// `buffer` is NULL or writable.
unsafe fn open(
    buffer: *mut StreamBuffer,
    capacity: usize,
    auto_expand: bool,
    max_capacity: usize,
) -> c_int {
    if buffer.is_null() {
        return ERROR_NULL;
    }
    let mut data = std::ptr::null_mut();
    if capacity > 0 {
        data = allocate(capacity).cast::<c_char>();
        if data.is_null() {
            return ERROR_MEMORY;
        }
    }
    // SAFETY: writable by the caller's promise; what it held is not read.
    unsafe {
        buffer.write(StreamBuffer {
            data,
            size: 0,
            pos: 0,
            capacity,
            mutex: new_mutex(),
            stats: StreamStats::default(),
            auto_expand: u8::from(auto_expand),
            max_capacity,
        });
    }
    SUCCESS
}

/// # Safety
/// `buffer` is NULL or initialised; `data` is NULL or readable for `length` bytes.
unsafe fn put(
    buffer: *mut StreamBuffer,
    data: *const c_void,
    length: usize,
    expand: bool,
) -> c_int {
    // SAFETY: as promised by the caller.
    let Some(content) = (unsafe { bytes(data.cast(), length) }) else { return ERROR_NULL };
    if buffer.is_null() || content.is_empty() {
        return ERROR_NULL;
    }
    // SAFETY: initialised by the caller's promise; the mutex keeps other calls out.
    let _held = unsafe { Held::new(&raw mut (*buffer).mutex) };
    // SAFETY: as above.
    let state = unsafe { &mut *buffer };
    // Hosts set pos by hand, to anything.
    let Some(end) = state.pos.checked_add(length) else { return ERROR_OVERFLOW };
    if end > state.capacity || state.data.is_null() {
        if !expand || state.auto_expand == 0 {
            return ERROR_OVERFLOW;
        }
        let Some(grown) = grown_capacity(state.capacity, end, state.max_capacity) else {
            return ERROR_OVERFLOW;
        };
        // SAFETY: data is NULL or came from malloc.
        let moved = unsafe { libc::realloc(state.data.cast(), grown) }.cast::<c_char>();
        if moved.is_null() {
            return ERROR_MEMORY;
        }
        (state.data, state.capacity) = (moved, grown);
    }
    // SAFETY: `end` bytes fit. A gap after a position set beyond the size is filled, for it would be
    // read back as part of the content.
    unsafe {
        if state.pos > state.size {
            std::ptr::write_bytes(state.data.add(state.size), 0, state.pos - state.size);
        }
        std::ptr::copy(content.as_ptr(), state.data.add(state.pos).cast::<u8>(), length);
    }
    state.pos = end;
    state.size = state.size.max(end);
    state.stats.operations_count += 1;
    state.stats.bytes_written += length as u64;
    SUCCESS
}

/// # Safety
/// `buffer` is NULL or initialised; `data` is NULL or readable for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stream_buffer_write(
    buffer: *mut StreamBuffer,
    data: *const c_void,
    length: usize,
) -> c_int {
    // SAFETY: as promised by the caller.
    guard(ERROR_MEMORY, || unsafe { put(buffer, data, length, true) })
}

/// # Safety
/// As [`stream_buffer_write`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stream_buffer_write_ex(
    buffer: *mut StreamBuffer,
    data: *const c_void,
    length: usize,
    expand: u8,
) -> c_int {
    // SAFETY: as promised by the caller.
    guard(ERROR_MEMORY, || unsafe { put(buffer, data, length, expand != 0) })
}

/// # Safety
/// `buffer` is NULL or initialised; `output` is NULL or writable for `length` bytes.
unsafe fn take(
    buffer: *mut StreamBuffer,
    output: *mut c_void,
    length: usize,
    advance: bool,
) -> c_int {
    if buffer.is_null() || output.is_null() || length == 0 {
        return ERROR_NULL;
    }
    // SAFETY: initialised by the caller's promise; the mutex keeps other calls out.
    let _held = unsafe { Held::new(&raw mut (*buffer).mutex) };
    // SAFETY: as above.
    let state = unsafe { &mut *buffer };
    let end = match state.pos.checked_add(length) {
        Some(end) if end <= state.size && end <= state.capacity && !state.data.is_null() => end,
        _ => return ERROR_OVERFLOW,
    };
    // SAFETY: the bytes up to `end` are filled; the output is writable by the caller's promise.
    unsafe { std::ptr::copy(state.data.add(state.pos).cast::<u8>(), output.cast::<u8>(), length) };
    if advance {
        state.pos = end;
    }
    state.stats.operations_count += 1;
    state.stats.bytes_read += length as u64;
    SUCCESS
}

/// # Safety
/// `buffer` is NULL or initialised; `output` is NULL or writable for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stream_buffer_read(
    buffer: *mut StreamBuffer,
    output: *mut c_void,
    length: usize,
) -> c_int {
    // SAFETY: as promised by the caller.
    guard(ERROR_MEMORY, || unsafe { take(buffer, output, length, true) })
}

/// # Safety
/// As [`stream_buffer_read`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stream_buffer_read_ex(
    buffer: *mut StreamBuffer,
    output: *mut c_void,
    length: usize,
    advance: u8,
) -> c_int {
    // SAFETY: as promised by the caller.
    guard(ERROR_MEMORY, || unsafe { take(buffer, output, length, advance != 0) })
}

/// # Safety
/// `buffer` is NULL or initialised.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stream_buffer_reset(buffer: *mut StreamBuffer) {
    guard((), || {
        if buffer.is_null() {
            return;
        }
        // SAFETY: initialised by the caller's promise; the mutex keeps other calls out.
        unsafe {
            let _held = Held::new(&raw mut (*buffer).mutex);
            (*buffer).size = 0;
            (*buffer).pos = 0;
        }
    });
}

/// # Safety
/// `buffer` is NULL or initialised.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stream_buffer_cleanup(buffer: *mut StreamBuffer) {
    guard((), || {
        if buffer.is_null() {
            return;
        }
        // SAFETY: initialised by the caller's promise; the mutex keeps other calls out.
        unsafe {
            let _held = Held::new(&raw mut (*buffer).mutex);
            release((*buffer).data.cast());
            (*buffer).data = std::ptr::null_mut();
            (*buffer).size = 0;
            (*buffer).pos = 0;
            (*buffer).capacity = 0;
        }
    });
}

/// # Safety
/// `buffer` is NULL or initialised; `stats` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stream_buffer_get_stats(
    buffer: *const StreamBuffer,
    stats: *mut StreamStats,
) {
    guard((), || {
        if buffer.is_null() || stats.is_null() {
            return;
        }
        // SAFETY: as promised by the caller; the mutex is the one member that is written.
        unsafe {
            let _held = Held::new((&raw const (*buffer).mutex).cast_mut());
            stats.write((*buffer).stats);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_doubles_up_to_its_bound() {
        for (capacity, needed, max, expected) in [
            (0, 1, 1000, Some(64)),
            (64, 65, 1000, Some(128)),
            (600, 601, 1000, Some(1000)),
            (600, 1000, 1000, Some(1000)),
            (600, 1001, 1000, None),
            (1, usize::MAX, usize::MAX, Some(usize::MAX)),
        ] {
            assert_eq!(
                grown_capacity(capacity, needed, max),
                expected,
                "{capacity} {needed} {max}"
            );
        }
    }
}
