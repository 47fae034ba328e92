//! CRC-32 and CRC-32C by carry-less multiplication: asm/x86_64/crc32_*.asm, crc32c_*.asm.

use crate::kernel::scalar;

/// The kernels take at least this much.
const LENGTH_MIN: usize = 16;

/// # Safety
/// What each symbol names below; `data` readable for `length` bytes; `length` at least 16.
type Raw = unsafe extern "C" fn(crc: u32, data: *const u8, length: usize) -> u32;

unsafe extern "C" {
    /// # Safety
    /// SSE4.2 and PCLMULQDQ; see [`Raw`].
    fn nh_crc32_sse42(crc: u32, data: *const u8, length: usize) -> u32;
    /// # Safety
    /// AVX2, PCLMULQDQ and VPCLMULQDQ; see [`Raw`].
    fn nh_crc32_avx2(crc: u32, data: *const u8, length: usize) -> u32;
    /// # Safety
    /// SSE4.2 and PCLMULQDQ; see [`Raw`].
    fn nh_crc32c_sse42(crc: u32, data: *const u8, length: usize) -> u32;
    /// # Safety
    /// AVX2, SSE4.2, PCLMULQDQ and VPCLMULQDQ; `data` readable for `length` bytes.
    fn nh_crc32c_avx2(crc: u32, data: *const u8, length: usize) -> u32;
}

/// # Safety
/// The CPU has what `kernel` needs.
#[inline(always)]
unsafe fn run(kernel: Raw, short: fn(u32, &[u8]) -> u32, crc: u32, data: &[u8]) -> u32 {
    if data.len() < LENGTH_MIN {
        return short(crc, data);
    }
    // SAFETY: the caller checked the features; the slice is readable and at least 16 bytes long.
    unsafe { kernel(crc, data.as_ptr(), data.len()) }
}

/// Needs SSE4.2 and PCLMULQDQ.
pub(in crate::kernel) fn ieee_sse42(crc: u32, data: &[u8]) -> u32 {
    // SAFETY: the table checked the features.
    unsafe { run(nh_crc32_sse42, scalar::crc32::crc32_update, crc, data) }
}

/// Needs AVX2, PCLMULQDQ and VPCLMULQDQ.
pub(in crate::kernel) fn ieee_avx2(crc: u32, data: &[u8]) -> u32 {
    // SAFETY: the table checked the features.
    unsafe { run(nh_crc32_avx2, scalar::crc32::crc32_update, crc, data) }
}

/// Needs SSE4.2 and PCLMULQDQ.
pub(in crate::kernel) fn castagnoli_sse42(crc: u32, data: &[u8]) -> u32 {
    // SAFETY: the table checked the features.
    unsafe { run(nh_crc32c_sse42, scalar::crc32::crc32c_update, crc, data) }
}

/// Needs AVX2, SSE4.2, PCLMULQDQ and VPCLMULQDQ.
pub(in crate::kernel) fn castagnoli_avx2(crc: u32, data: &[u8]) -> u32 {
    // SAFETY: the table checked the features; the slice is readable, and any length will do.
    unsafe { nh_crc32c_avx2(crc, data.as_ptr(), data.len()) }
}
