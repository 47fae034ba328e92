//! Copying large memory: asm/x86_64/copy_*.asm.

use crate::kernel::cpu::last_cache_bytes;
use crate::kernel::scalar;
use std::sync::OnceLock;

/// The unit of the kernels, in bytes.
const BLOCK: usize = 4 * 4096;

/// From this length on at the latest memory is copied past the caches.
const LARGE_MAX: usize = 16 << 20;

/// What the kernels' destination is aligned to.
const LINE: usize = 64;

/// # Safety
/// What each symbol names below; `to` aligned to 64 bytes; both readable or writable for `blocks` times 16 KB, at least 1, without overlap.
type Raw = unsafe extern "C" fn(to: *mut u8, from: *const u8, blocks: usize);

unsafe extern "C" {
    /// # Safety
    /// See [`Raw`].
    fn nh_copy_sse42(to: *mut u8, from: *const u8, blocks: usize);
    /// # Safety
    /// AVX; see [`Raw`].
    fn nh_copy_avx2(to: *mut u8, from: *const u8, blocks: usize);
    /// # Safety
    /// AVX-512 F; see [`Raw`].
    fn nh_copy_avx512(to: *mut u8, from: *const u8, blocks: usize);
}

/// From this length on memory is copied past the caches: what does not fit into the last one is gone from
/// there before it is used. A large one is shared by many cores, and a read from it costs little less than one
/// from memory: so much of it is never counted on.
fn large() -> usize {
    static LARGE: OnceLock<usize> = OnceLock::new();
    *LARGE.get_or_init(|| {
        last_cache_bytes().unwrap_or(32 << 20).clamp(crate::kernel::COPY_LARGE_MIN, LARGE_MAX)
    })
}

/// # Safety
/// The CPU has what `kernel` needs.
unsafe fn run(kernel: Raw, to: &mut [u8], from: &[u8]) {
    assert_eq!(to.len(), from.len(), "copies have one length");
    if to.len() < large() {
        return scalar::copy::copy(to, from);
    }
    let ahead = to.as_ptr().align_offset(LINE).min(to.len());
    let (head, to) = to.split_at_mut(ahead);
    let (from_head, from) = from.split_at(ahead);
    head.copy_from_slice(from_head);
    let blocks = to.len() / BLOCK;
    let (whole, tail) = to.split_at_mut(blocks * BLOCK);
    let (from_whole, from_tail) = from.split_at(blocks * BLOCK);
    // SAFETY: the caller checked the features; both slices are `blocks` blocks long, some hundreds; as one
    // of them is mutable they do not overlap; `whole` begins where a line does.
    unsafe { kernel(whole.as_mut_ptr(), from_whole.as_ptr(), blocks) };
    tail.copy_from_slice(from_tail);
}

/// Needs no more than every x86-64 CPU has.
pub(in crate::kernel) fn sse42(to: &mut [u8], from: &[u8]) {
    // SAFETY: SSE2 is part of x86-64.
    unsafe { run(nh_copy_sse42, to, from) }
}

/// Needs AVX.
pub(in crate::kernel) fn avx2(to: &mut [u8], from: &[u8]) {
    // SAFETY: the table checked the features.
    unsafe { run(nh_copy_avx2, to, from) }
}

/// Needs AVX-512 F.
pub(in crate::kernel) fn avx512(to: &mut [u8], from: &[u8]) {
    // SAFETY: the table checked the features.
    unsafe { run(nh_copy_avx512, to, from) }
}
