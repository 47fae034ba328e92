//! asm_utils.h over [`crate::kernel`]: every name runs on every CPU, all levels give the same result.

use super::memory::bytes;
use super::types::CpuFeatures;
use crate::boundary::guard;
use std::ffi::{c_char, c_int, c_void};

/// `cpu_features` of asm_utils.h: three bytes, 1 for what processor and system support.
///
/// It is filled through its dynamic symbol: an executable that is not position-independent has its own
/// copy of it, and that one must change.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "the name is part of the old interface")]
pub static mut cpu_features: CpuFeatures = CpuFeatures { sse42: 0, avx2: 0, avx512: 0 };

/// What processor and operating system support.
fn detected() -> CpuFeatures {
    #[cfg(target_arch = "x86_64")]
    {
        CpuFeatures {
            sse42: u8::from(is_x86_feature_detected!("sse4.2")),
            avx2: u8::from(is_x86_feature_detected!("avx2")),
            avx512: u8::from(is_x86_feature_detected!("avx512f")),
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        CpuFeatures { sse42: 0, avx2: 0, avx512: 0 }
    }
}

/// Fills [`cpu_features`] and returns what it holds.
fn detect() -> CpuFeatures {
    let features = detected();
    let place = &raw mut cpu_features;
    // SAFETY: the symbol is three bytes wherever it lies. Every thread writes the same values, each as one
    // volatile byte, so nobody can read anything but them or the zeros before.
    unsafe {
        (&raw mut (*place).sse42).write_volatile(features.sse42);
        (&raw mut (*place).avx2).write_volatile(features.avx2);
        (&raw mut (*place).avx512).write_volatile(features.avx512);
    }
    features
}

/// # Safety
/// See asm_utils.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detect_cpu_features() {
    guard((), || {
        detect();
    });
}

/// # Safety
/// See asm_utils.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn has_sse42_support() -> c_int {
    guard(0, || c_int::from(detect().sse42))
}

/// # Safety
/// See asm_utils.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn has_avx2_support() -> c_int {
    guard(0, || c_int::from(detect().avx2))
}

/// # Safety
/// See asm_utils.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn has_avx512_support() -> c_int {
    guard(0, || c_int::from(detect().avx512))
}

/// # Safety
/// `data` is NULL or readable for `length` bytes.
unsafe fn checksum(data: *const c_void, length: usize) -> u32 {
    // SAFETY: as promised by the caller.
    guard(0, || unsafe { bytes(data.cast(), length) }.map_or(0, crate::kernel::crc32))
}

/// # Safety
/// `data` is NULL or readable for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn crc32_asm(data: *const c_void, length: usize) -> u32 {
    // SAFETY: as promised by the caller.
    unsafe { checksum(data, length) }
}

/// # Safety
/// `data` is NULL or readable for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn crc32_asm_avx2(data: *const c_void, length: usize) -> u32 {
    // SAFETY: as promised by the caller.
    unsafe { checksum(data, length) }
}

/// # Safety
/// `json` is NULL or readable for `length` bytes.
unsafe fn scan(json: *const c_char, length: usize) {
    guard((), || {
        // SAFETY: as promised by the caller.
        if let Some(document) = unsafe { bytes(json, length) } {
            // The result is nobody's: the old interface has no way to tell it.
            let _ = std::hint::black_box(crate::json::validate(document));
        }
    });
}

/// # Safety
/// `json` is NULL or readable for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn json_fast_tokenizer(json: *const c_char, length: usize) {
    // SAFETY: as promised by the caller.
    unsafe { scan(json, length) };
}

/// # Safety
/// `json` is NULL or readable for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn json_fast_tokenizer_avx2(json: *const c_char, length: usize) {
    // SAFETY: as promised by the caller.
    unsafe { scan(json, length) };
}

/// # Safety
/// `dest` is writable and `src` readable for `n` bytes, or they are NULL; they do not overlap.
unsafe fn copy(dest: *mut c_void, src: *const c_void, n: usize) -> *mut c_void {
    if dest.is_null() || src.is_null() || n > isize::MAX as usize {
        return dest;
    }
    let (target, source) = (dest.cast::<u8>(), src.cast::<u8>());
    if n < crate::kernel::COPY_LARGE_MIN {
        // SAFETY: the caller's promise.
        unsafe { target.copy_from_nonoverlapping(source, n) };
        return dest;
    }
    guard((), || {
        // SAFETY: readable and writable without overlap by the caller's promise.
        let (target, source) = unsafe {
            (std::slice::from_raw_parts_mut(target, n), std::slice::from_raw_parts(source, n))
        };
        crate::kernel::copy(target, source);
    });
    dest
}

/// # Safety
/// `dest` is writable and `src` readable for `n` bytes, or they are NULL; they do not overlap.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy_asm(
    dest: *mut c_void,
    src: *const c_void,
    n: usize,
) -> *mut c_void {
    // SAFETY: as promised by the caller.
    unsafe { copy(dest, src, n) }
}

/// # Safety
/// As [`memcpy_asm`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy_asm_avx2(
    dest: *mut c_void,
    src: *const c_void,
    n: usize,
) -> *mut c_void {
    // SAFETY: as promised by the caller.
    unsafe { copy(dest, src, n) }
}

/// # Safety
/// As [`memcpy_asm`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy_asm_avx512(
    dest: *mut c_void,
    src: *const c_void,
    n: usize,
) -> *mut c_void {
    // SAFETY: as promised by the caller.
    unsafe { copy(dest, src, n) }
}
