//! The structural index of JSON: asm/x86_64/json_index_*.asm.

use crate::kernel::json::{Block, Marks, State};

/// `State` with the pointer that the kernels advance behind it.
#[repr(C)]
struct RawState {
    state: State,
    unicode: *mut u32,
}

type Raw = unsafe extern "C" fn(*const Block, usize, *mut u32, *mut RawState) -> *mut u32;

unsafe extern "C" {
    /// # Safety
    /// AVX2, PCLMULQDQ, BMI1 and POPCNT; `blocks` blocks readable at `data`, at least 1; `out` writable for
    /// 64 entries a block and 8 more, `state.unicode` for 32 a block.
    fn nh_json_index_avx2(
        data: *const Block,
        blocks: usize,
        out: *mut u32,
        state: *mut RawState,
    ) -> *mut u32;
    /// # Safety
    /// AVX-512 F and BW, PCLMULQDQ, BMI1 and POPCNT; else as `nh_json_index_avx2`.
    fn nh_json_index_avx512(
        data: *const Block,
        blocks: usize,
        out: *mut u32,
        state: *mut RawState,
    ) -> *mut u32;
    /// # Safety
    /// AVX-512 F, BW and VBMI2, PCLMULQDQ, BMI1 and POPCNT; else as `nh_json_index_avx2`.
    fn nh_json_index_vbmi2(
        data: *const Block,
        blocks: usize,
        out: *mut u32,
        state: *mut RawState,
    ) -> *mut u32;
}

/// Needs AVX-512 F, BW and VBMI2, PCLMULQDQ, BMI1 and POPCNT.
pub(in crate::kernel) fn vbmi2(state: &mut State, blocks: &[Block], marks: &mut Marks) {
    // SAFETY: the table checked the features.
    unsafe { run(nh_json_index_vbmi2, state, blocks, marks) }
}

/// Needs AVX-512 F and BW, PCLMULQDQ, BMI1 and POPCNT.
pub(in crate::kernel) fn avx512(state: &mut State, blocks: &[Block], marks: &mut Marks) {
    // SAFETY: the table checked the features.
    unsafe { run(nh_json_index_avx512, state, blocks, marks) }
}

/// Needs AVX2, PCLMULQDQ, BMI1 and POPCNT.
pub(in crate::kernel) fn avx2(state: &mut State, blocks: &[Block], marks: &mut Marks) {
    // SAFETY: the table checked the features.
    unsafe { run(nh_json_index_avx2, state, blocks, marks) }
}

/// # Safety
/// The CPU has what `kernel` needs.
#[inline(always)]
unsafe fn run(kernel: Raw, state: &mut State, blocks: &[Block], marks: &mut Marks) {
    assert!(blocks.len() <= Marks::BLOCKS_MAX);
    marks.clear();
    if blocks.is_empty() {
        return;
    }
    let (out, unicode) = marks.as_mut_ptrs();
    let mut raw = RawState { state: state.clone(), unicode };
    // SAFETY: the blocks are readable, at least one of them; marks has room for BLOCKS_MAX and the slack.
    let end = unsafe { kernel(blocks.as_ptr(), blocks.len(), out, &mut raw) };
    *state = raw.state;
    // SAFETY: the kernel wrote the entries from the beginnings to these ends.
    unsafe {
        let positions = end.offset_from_unsigned(out);
        let unicode = raw.unicode.offset_from_unsigned(unicode);
        marks.set_counts(positions, unicode);
    }
}
