//! UTF-8 validation: asm/x86_64/utf8_*.asm.

const BLOCK: usize = 64;

unsafe extern "C" {
    /// # Safety
    /// AVX2; `data` readable for `blocks` times 64 bytes; `blocks` at least 1.
    fn nh_utf8_avx2(data: *const u8, blocks: usize) -> u32;
}

/// Needs AVX2.
pub(in crate::kernel) fn avx2(data: &[u8]) -> bool {
    let (blocks, _) = data.as_chunks::<BLOCK>();
    if blocks.is_empty() {
        return crate::kernel::scalar::utf8::is_utf8(data);
    }
    // SAFETY: the table checked the feature; the blocks are readable, at least one of them.
    let is_right = unsafe { nh_utf8_avx2(data.as_ptr(), blocks.len()) } == 1;
    is_right && crate::kernel::scalar::utf8::is_utf8(rest(data, blocks.len() * BLOCK))
}

/// What follows the first `length` bytes, from the beginning of a sequence that their end cuts.
fn rest(data: &[u8], length: usize) -> &[u8] {
    let (head, _) = data.split_at(length);
    let back = head.iter().rev().take(3).position(|&byte| byte >= 0xc0).map_or(0, |at| at + 1);
    // A byte of ASCII in between means that nothing is open; what is read twice is right then too.
    &data[length - back..]
}
