//! UTF-8 validation: asm/x86_64/utf8_*.asm.

const BLOCK: usize = 64;

/// # Safety
/// What each symbol names below; `data` readable for `blocks` times 64 bytes; `blocks` at least 1.
type Raw = unsafe extern "C" fn(data: *const u8, blocks: usize) -> u32;

unsafe extern "C" {
    /// # Safety
    /// AVX2; see [`Raw`].
    fn nh_utf8_avx2(data: *const u8, blocks: usize) -> u32;
    /// # Safety
    /// AVX-512 F and BW; see [`Raw`].
    fn nh_utf8_avx512(data: *const u8, blocks: usize) -> u32;
}

/// Up to here the standard library is as fast.
const SHORT_MAX: usize = 16;

/// Needs AVX2.
pub(in crate::kernel) fn avx2(data: &[u8]) -> bool {
    // SAFETY: the table checked the feature.
    unsafe { run(nh_utf8_avx2, data) }
}

/// Needs AVX-512 F and BW.
pub(in crate::kernel) fn avx512(data: &[u8]) -> bool {
    // SAFETY: the table checked the features.
    unsafe { run(nh_utf8_avx512, data) }
}

/// # Safety
/// The CPU has what `kernel` needs.
#[inline(always)]
unsafe fn run(kernel: Raw, data: &[u8]) -> bool {
    let (blocks, _) = data.as_chunks::<BLOCK>();
    if !blocks.is_empty() {
        // SAFETY: the caller checked the features; the blocks are readable, at least one of them.
        let is_right = unsafe { kernel(data.as_ptr(), blocks.len()) } == 1;
        if !is_right {
            return false;
        }
    }
    let rest = rest(data, blocks.len() * BLOCK);
    if rest.len() <= SHORT_MAX {
        return crate::kernel::scalar::utf8::is_utf8(rest);
    }
    // Zeros behind the end turn a sequence that it cuts into a wrong one.
    let mut padded = [0; 2 * BLOCK];
    padded[..rest.len()].copy_from_slice(rest);
    // SAFETY: as above; the array is two blocks long.
    unsafe { kernel(padded.as_ptr(), 2) == 1 }
}

/// What follows the first `length` bytes, from the beginning of a sequence that their end cuts: less than a
/// block and three bytes.
fn rest(data: &[u8], length: usize) -> &[u8] {
    let (head, _) = data.split_at(length);
    let back = head.iter().rev().take(3).position(|&byte| byte >= 0xc0).map_or(0, |at| at + 1);
    // A byte of ASCII in between means that nothing is open; what is read twice is right then too.
    &data[length - back..]
}
