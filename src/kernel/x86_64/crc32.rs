//! CRC-32 and CRC-32C by carry-less multiplication: asm/x86_64/crc32_*.asm, crc32c_*.asm.

use crate::kernel::scalar;

/// The kernels take at least this much.
const LENGTH_MIN: usize = 16;

/// Those of 512 bits take at least this much.
const WIDE_LENGTH_MIN: usize = 256;

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
    /// AVX-512 F, AVX2, PCLMULQDQ and VPCLMULQDQ; see [`Raw`], but `length` at least 256.
    fn nh_crc32_avx512(crc: u32, data: *const u8, length: usize) -> u32;
    /// # Safety
    /// SSE4.2 and PCLMULQDQ; see [`Raw`].
    fn nh_crc32c_sse42(crc: u32, data: *const u8, length: usize) -> u32;
    /// # Safety
    /// AVX2, SSE4.2, PCLMULQDQ and VPCLMULQDQ; `data` readable for `length` bytes.
    fn nh_crc32c_avx2(crc: u32, data: *const u8, length: usize) -> u32;
    /// # Safety
    /// AVX-512 F, AVX2, SSE4.2, PCLMULQDQ and VPCLMULQDQ; see [`Raw`], but `length` at least 256.
    fn nh_crc32c_avx512(crc: u32, data: *const u8, length: usize) -> u32;
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

/// # Safety
/// The CPU has what `kernel`, one of 512 bits, needs.
#[inline(always)]
unsafe fn run_wide(kernel: Raw, short: fn(u32, &[u8]) -> u32, crc: u32, data: &[u8]) -> u32 {
    /// From here on it pays to begin at a line of the cache: loads across two of them cost a sixth.
    const ALIGN_LENGTH_MIN: usize = 16 << 10;

    if data.len() < WIDE_LENGTH_MIN {
        return short(crc, data);
    }
    let unaligned = if data.len() < ALIGN_LENGTH_MIN { 0 } else { data.as_ptr().align_offset(64) };
    let (first, data) = data.split_at_checked(unaligned).unwrap_or((&[], data));
    let crc = if first.is_empty() { crc } else { short(crc, first) };
    // SAFETY: the caller checked the features; the slice is readable and long enough.
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

/// Needs AVX-512 F, AVX2, PCLMULQDQ and VPCLMULQDQ.
pub(in crate::kernel) fn ieee_avx512(crc: u32, data: &[u8]) -> u32 {
    // SAFETY: the table checked the features.
    unsafe { run_wide(nh_crc32_avx512, ieee_avx2, crc, data) }
}

/// Needs AVX-512 F, AVX2, SSE4.2, PCLMULQDQ and VPCLMULQDQ.
pub(in crate::kernel) fn castagnoli_avx512(crc: u32, data: &[u8]) -> u32 {
    // SAFETY: the table checked the features.
    unsafe { run_wide(nh_crc32c_avx512, castagnoli_avx2, crc, data) }
}
