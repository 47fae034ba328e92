//! CRC-32 by carry-less multiplication: asm/x86_64/crc32_*.asm.

/// The kernels take at least this much.
const LENGTH_MIN: usize = 16;

unsafe extern "C" {
    /// # Safety
    /// SSE4.2 and PCLMULQDQ; `data` readable for `length` bytes; `length` at least 16.
    fn nh_crc32_sse42(crc: u32, data: *const u8, length: usize) -> u32;
    /// # Safety
    /// AVX2, PCLMULQDQ and VPCLMULQDQ; `data` readable for `length` bytes; `length` at least 16.
    fn nh_crc32_avx2(crc: u32, data: *const u8, length: usize) -> u32;
}

/// Needs SSE4.2 and PCLMULQDQ.
pub(in crate::kernel) fn sse42(crc: u32, data: &[u8]) -> u32 {
    if data.len() < LENGTH_MIN {
        return crate::kernel::scalar::crc32::crc32_update(crc, data);
    }
    // SAFETY: the table checked the features; the slice is readable and at least 16 bytes long.
    unsafe { nh_crc32_sse42(crc, data.as_ptr(), data.len()) }
}

/// Needs AVX2, PCLMULQDQ and VPCLMULQDQ.
pub(in crate::kernel) fn avx2(crc: u32, data: &[u8]) -> u32 {
    if data.len() < LENGTH_MIN {
        return crate::kernel::scalar::crc32::crc32_update(crc, data);
    }
    // SAFETY: the table checked the features; the slice is readable and at least 16 bytes long.
    unsafe { nh_crc32_avx2(crc, data.as_ptr(), data.len()) }
}
