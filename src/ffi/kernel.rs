//! CPU kernels, and what rests on them: checksums, JSON, copies.

use std::ffi::{c_char, c_void};
use std::ops::Range;

use super::status::nh_status;
use crate::base::error::{Error, ErrorKind};
use crate::boundary::guard::{guard, status, value};
use crate::boundary::{bytes, handle};
use crate::json::{self, JsonError};
use crate::kernel::{self, CpuLevel};

/// The IEEE CRC-32 of `len` bytes, as zlib's crc32 and gzip have it. Borrows `data`, which may be
/// NULL when `len` is 0. Returns 0 when the arguments are invalid.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_crc32(data: *const c_void, len: usize) -> u32 {
    // SAFETY: the caller's promise.
    value(0, || Ok(kernel::crc32(unsafe { bytes::payload(data, len, "data") }?)))
}

/// Goes on with a CRC-32: the result over all bytes so far and these. `crc` is an earlier result,
/// 0 to begin. Borrows `data`, which may be NULL when `len` is 0. Returns `crc` when the arguments
/// are invalid.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_crc32_update(crc: u32, data: *const c_void, len: usize) -> u32 {
    // SAFETY: the caller's promise.
    value(crc, || Ok(kernel::crc32_update(crc, unsafe { bytes::payload(data, len, "data") }?)))
}

/// The CRC-32C (Castagnoli; iSCSI, ext4, gRPC) of `len` bytes. Borrows `data`, which may be NULL
/// when `len` is 0. Returns 0 when the arguments are invalid.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_crc32c(data: *const c_void, len: usize) -> u32 {
    // SAFETY: the caller's promise.
    value(0, || Ok(kernel::crc32c(unsafe { bytes::payload(data, len, "data") }?)))
}

/// Finds a member of the object that a JSON document is. The whole document is validated, as
/// strictly as RFC 8259 has it: UTF-8 without a byte order mark, paired surrogates, at most 127
/// levels, numbers within the range of a double. Names are compared after unescaping; of a member
/// that is there twice the last one counts.
/// Borrows `json`, `len` bytes; `member` ends with a NUL. `*value` becomes the raw value, a string
/// with its quotes, and `*value_len` its length. Lends it: it lies within `json` and no NUL ends
/// it.
/// Returns NH_OK, NH_ERR_NOT_FOUND without such a member or without an object, or
/// NH_ERR_INVALID_ARGUMENT when it is not JSON; the message says where.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_json_find(
    json: *const c_char,
    len: usize,
    member: *const c_char,
    value: *mut *const c_char,
    value_len: *mut usize,
) -> nh_status {
    status(|| {
        let value = handle::output(value, "place for the value")?;
        let value_len = handle::output(value_len, "place for the value's length")?;
        // SAFETY: the caller's promise.
        let (document, member) = unsafe {
            (bytes::payload(json.cast(), len, "json")?, bytes::name_text(member, "member")?)
        };
        let mut found = [None];
        match json::members(document, &[member], &mut found) {
            Ok(()) | Err(JsonError::Duplicate { .. }) => {}
            Err(JsonError::NotAnObject) => return Err(not_found("the document is not an object")),
            Err(error) => return Err(not_json(error)),
        }
        let [found] = found;
        let found = part(document, found).ok_or_else(|| not_found("there is no such member"))?;
        // SAFETY: the caller's places for the results.
        unsafe {
            value.write(found.as_ptr().cast());
            value_len.write(found.len());
        }
        Ok(())
    })
}

/// Reads the value that a path leads to, such as "choices.0.message.content": names of members,
/// and within arrays indices from 0. The empty path is the whole document. A name that holds a dot
/// cannot be reached; of a member that is there twice the last one counts. The whole document is
/// validated as by nh_json_find.
/// Borrows `json`, `len` bytes; `path` ends with a NUL. Gives `*value`, NUL-terminated: a string
/// decoded, anything else as it stands in the document; free it with nh_free. Its length goes to
/// `*value_len` unless that is NULL; a decoded string may hold NULs of its own.
/// Returns NH_OK, NH_ERR_NOT_FOUND, NH_ERR_MEMORY, or NH_ERR_INVALID_ARGUMENT when it is not JSON;
/// the message says where.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_json_get(
    json: *const c_char,
    len: usize,
    path: *const c_char,
    value: *mut *mut c_char,
    value_len: *mut usize,
) -> nh_status {
    status(|| {
        let value = handle::output(value, "place for the value")?;
        // SAFETY: the caller's promise.
        let (document, path) =
            unsafe { (bytes::payload(json.cast(), len, "json")?, bytes::name_text(path, "path")?) };
        let found = json::find_path(document, path).map_err(not_json)?;
        let raw = part(document, found).ok_or_else(|| not_found("the path leads nowhere"))?;
        let text = json::string(raw);
        let text = text.as_ref().map_or(raw, |text| text.as_bytes());
        let copy = bytes::give(text)?;
        // SAFETY: the caller's places for the results.
        unsafe {
            value.write(copy);
            bytes::write_len(value_len, text.len());
        }
        Ok(())
    })
}

fn part(document: &[u8], range: Option<Range<usize>>) -> Option<&[u8]> {
    document.get(range?)
}

fn not_found(message: &'static str) -> Error {
    Error::new(ErrorKind::NotFound, message)
}

fn not_json(error: JsonError) -> Error {
    Error::new(ErrorKind::InvalidArgument, error.to_string())
}

/// Copies `len` bytes that do not overlap, as memcpy does, and as fast; what is too large for the
/// caches goes past them, and is faster for that. Returns `to`. Nothing is copied when one of the
/// pointers is NULL.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_copy(to: *mut c_void, from: *const c_void, len: usize) -> *mut c_void {
    if to.is_null() || from.is_null() {
        return to;
    }
    let (target, source) = (to.cast::<u8>(), from.cast::<u8>());
    if len > isize::MAX as usize {
        return to;
    }
    if len < kernel::COPY_LARGE_MIN {
        // No guard here: nothing in a call of memcpy panics, and a short one should cost no more.
        // SAFETY: the caller's promise.
        unsafe { target.copy_from_nonoverlapping(source, len) };
        return to;
    }
    // SAFETY: the caller's promise.
    unsafe { copy_large(target, source, len) };
    to
}

/// Apart, so that a short copy pays for nothing of it.
///
/// # Safety
/// Both are readable or writable for `len` bytes, no more than an object has, and do not overlap.
#[cold]
#[inline(never)]
unsafe fn copy_large(target: *mut u8, source: *const u8, len: usize) {
    guard((), || {
        // SAFETY: the caller's promise.
        let (target, source) = unsafe {
            (std::slice::from_raw_parts_mut(target, len), std::slice::from_raw_parts(source, len))
        };
        kernel::copy(target, source);
    });
}

/// Which CPU kernels were chosen: "scalar", "sse42", "avx2" or "avx512". Static text, never NULL.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_cpu_level() -> *const c_char {
    let level = guard(CpuLevel::Scalar, kernel::level);
    let name = match level {
        CpuLevel::Scalar => c"scalar",
        CpuLevel::Sse42 => c"sse42",
        CpuLevel::Avx2 => c"avx2",
        CpuLevel::Avx512 => c"avx512",
    };
    name.as_ptr()
}
