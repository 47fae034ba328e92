//! JSON string escape: asm/x86_64/json_escape_*.asm.

use std::arch::x86_64::{
    __m128i, _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
};
use std::mem;

/// The unit of the kernels, in bytes.
const BLOCK: usize = 32;

/// What a block may become: every byte six.
const BLOCK_ESCAPED_MAX: usize = 6 * BLOCK;

/// Kernels store whole vectors and count afterwards.
const SLACK: usize = 32;

/// Blocks escaped between two looks at the room: bounds what is reserved beyond what is needed.
const BLOCKS_AT_ONCE: usize = 64;

unsafe extern "C" {
    /// # Safety
    /// AVX2 and BMI1; `blocks` at least 1; `data` readable for 32 bytes a block and 32 more; `out` writable
    /// for 192 bytes a block and 32 more.
    fn nh_json_escape_avx2(data: *const u8, blocks: usize, out: *mut u8) -> *mut u8;
}

/// Needs AVX2 and BMI1.
pub(in crate::kernel) fn avx2(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while rest.len() >= 2 * BLOCK {
        let blocks = (rest.len() / BLOCK - 1).min(BLOCKS_AT_ONCE);
        // SAFETY: the table checked the features; `rest` is at least a block longer than `blocks` of them.
        unsafe { append(out, rest, blocks) };
        rest = &rest[blocks * BLOCK..];
    }
    if rest.is_empty() {
        return;
    }
    // The kernel would wait here for the stores of the copy below.
    if append_plain(out, rest) {
        return;
    }
    // Letters go through as they are, so those that fill up the last block can be taken off again.
    let mut padded = [b'x'; 3 * BLOCK];
    // SAFETY: `rest` is below two blocks, the array three.
    unsafe { copy_short(padded.as_mut_ptr(), rest) };
    let blocks = rest.len().div_ceil(BLOCK);
    // SAFETY: the table checked the features; `rest` is below two blocks, the array three.
    unsafe { append(out, &padded, blocks) };
    out.truncate(out.len() - (blocks * BLOCK - rest.len()));
}

/// Appends fewer than 64 bytes as they are, unless one of them must be escaped: then `out` stays as it was.
#[inline(always)]
fn append_plain(out: &mut Vec<u8>, text: &[u8]) -> bool {
    out.reserve(text.len());
    // SAFETY: as many bytes as there are behind the end were reserved.
    let hits = unsafe { copy_short(out.as_mut_ptr_range().end, text) };
    // SAFETY: the bytes were reserved, and written just now.
    unsafe { out.set_len(out.len() + if hits == 0 { text.len() } else { 0 }) };
    hits == 0
}

/// Copies fewer than 64 bytes in two overlapping pieces: a call of memcpy costs more than the rest. Gives
/// what is not zero when one of them must be escaped.
///
/// # Safety
/// `to` is writable for as many bytes.
#[inline(always)]
unsafe fn copy_short(to: *mut u8, from: &[u8]) -> u32 {
    /// The first N bytes and the last N, which may overlap, once they are copied.
    ///
    /// # Safety
    /// `to` is writable for as many bytes as `from` has.
    #[inline(always)]
    unsafe fn ends<const N: usize>(to: *mut u8, from: &[u8]) -> Option<([u8; N], [u8; N])> {
        let (&first, &last) = from.first_chunk::<N>().zip(from.last_chunk::<N>())?;
        // SAFETY: `from` has at least N bytes, so both pieces lie within what is writable.
        unsafe {
            to.cast::<[u8; N]>().write_unaligned(first);
            to.add(from.len() - N).cast::<[u8; N]>().write_unaligned(last);
        }
        Some((first, last))
    }
    let word = |bytes: [u8; 8]| u128::from(u64::from_le_bytes(bytes));
    // SAFETY: the caller's promise.
    unsafe {
        if let Some((first, last)) = ends::<32>(to, from) {
            let [a, b, c, d] = [&first[..16], &first[16..], &last[..16], &last[16..]]
                .map(|half| half.first_chunk().map_or(0, |&half| hits(u128::from_le_bytes(half))));
            a | b | c | d
        } else if let Some((first, last)) = ends::<16>(to, from) {
            hits(u128::from_le_bytes(first)) | hits(u128::from_le_bytes(last))
        } else if let Some((first, last)) = ends::<8>(to, from) {
            hits(word(first) | word(last) << 64)
        } else if let Some((first, last)) = ends::<4>(to, from) {
            let (first, last) = (u32::from_le_bytes(first), u32::from_le_bytes(last));
            hits(!0 << 64 | u128::from(last) << 32 | u128::from(first))
        } else {
            let mut word = !0u32;
            for (at, &byte) in from.iter().enumerate() {
                word = word << 8 | u32::from(byte);
                to.add(at).write(byte);
            }
            hits(!0 << 32 | u128::from(word))
        }
    }
}

/// A bit for each byte that must be escaped.
#[inline(always)]
fn hits(bytes: u128) -> u32 {
    // SAFETY: SSE2 is part of x86-64, and the vector is 16 bytes of any value.
    let hits = unsafe {
        let bytes = mem::transmute::<u128, __m128i>(bytes);
        let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x22));
        let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x5c));
        let control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
        _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), control))
    };
    hits as u32
}

/// # Safety
/// AVX2 and BMI1; `text` is longer than `blocks` blocks by one block or more; `blocks` is at least 1.
unsafe fn append(out: &mut Vec<u8>, text: &[u8], blocks: usize) {
    out.reserve(blocks * BLOCK_ESCAPED_MAX + SLACK);
    let end = out.as_mut_ptr_range().end;
    // SAFETY: the caller vouches for text and CPU; as much as the contract asks for was reserved.
    let written =
        unsafe { nh_json_escape_avx2(text.as_ptr(), blocks, end).offset_from_unsigned(end) };
    // SAFETY: so many bytes behind the old end have been written, within what was reserved.
    unsafe { out.set_len(out.len() + written) };
}
