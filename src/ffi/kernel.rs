//! CPU kernels.

use std::ffi::{c_char, c_void};

use crate::boundary::bytes;
use crate::boundary::guard::{guard, value};
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
