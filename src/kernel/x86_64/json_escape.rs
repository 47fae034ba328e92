//! JSON string escape: asm/x86_64/json_escape_*.asm.

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
    if is_plain(rest) {
        append_plain(out, rest);
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

/// Whether there is nothing to escape, eight bytes at a time.
#[inline(always)]
fn is_plain(text: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    // The high bit of each byte that must be escaped, and of some above the first such byte.
    let hits = |word: [u8; 8]| {
        let word = u64::from_le_bytes(word);
        let (quote, backslash) = (word ^ (ONES * 0x22), word ^ (ONES * 0x5c));
        (word.wrapping_sub(ONES * 0x20) & !word)
            | (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash)
    };
    let (words, tail) = text.as_chunks::<8>();
    let mut all = words.iter().fold(0, |all, &word| all | hits(word));
    match text.last_chunk::<8>() {
        Some(&last) => all |= hits(last),
        None => {
            let mut word = [b'x'; 8];
            word.iter_mut().zip(tail).for_each(|(to, &from)| *to = from);
            all |= hits(word);
        }
    }
    all & (ONES * 0x80) == 0
}

/// Appends fewer than 64 bytes as they are.
#[inline(always)]
fn append_plain(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(text.len());
    // SAFETY: the bytes behind the end are reserved, and written before they are counted.
    unsafe {
        copy_short(out.as_mut_ptr_range().end, text);
        out.set_len(out.len() + text.len());
    }
}

/// Copies fewer than 64 bytes in two overlapping pieces: a call of memcpy costs more than the rest.
///
/// # Safety
/// `to` is writable for as many bytes.
#[inline(always)]
unsafe fn copy_short(to: *mut u8, from: &[u8]) {
    /// # Safety
    /// `to` is writable for as many bytes as `from` has.
    #[inline(always)]
    unsafe fn ends<const N: usize>(to: *mut u8, from: &[u8]) -> bool {
        let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) else {
            return false;
        };
        // SAFETY: `from` has at least N bytes, so both pieces lie within what is writable.
        unsafe {
            to.cast::<[u8; N]>().write_unaligned(*first);
            to.add(from.len() - N).cast::<[u8; N]>().write_unaligned(*last);
        }
        true
    }
    // SAFETY: the caller's promise.
    let is_copied = unsafe {
        ends::<32>(to, from)
            || ends::<16>(to, from)
            || ends::<8>(to, from)
            || ends::<4>(to, from)
            || ends::<2>(to, from)
            || ends::<1>(to, from)
    };
    debug_assert!(is_copied);
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
