//! The index of an HTTP header section: asm/x86_64/head_index_*.asm.

use crate::kernel::head::{LENGTH_MIN, Marks};

/// # Safety
/// What each symbol names below; `length` bytes readable at `data`, at least 64; `out` writable for `room`
/// entries, at least 64; `first` and `length` below 2^32 together.
type Raw = unsafe extern "C" fn(*const u8, usize, *mut u32, usize, u32) -> usize;

unsafe extern "C" {
    /// # Safety
    /// AVX2, BMI1, BMI2 and POPCNT; see [`Raw`].
    fn nh_head_index_avx2(
        data: *const u8,
        length: usize,
        out: *mut u32,
        room: usize,
        first: u32,
    ) -> usize;
    /// # Safety
    /// AVX-512 F and BW, BMI1, BMI2 and POPCNT; see [`Raw`].
    fn nh_head_index_avx512(
        data: *const u8,
        length: usize,
        out: *mut u32,
        room: usize,
        first: u32,
    ) -> usize;
    /// # Safety
    /// AVX-512 F, BW and VBMI2, BMI1, BMI2 and POPCNT; see [`Raw`].
    fn nh_head_index_vbmi2(
        data: *const u8,
        length: usize,
        out: *mut u32,
        room: usize,
        first: u32,
    ) -> usize;
}

/// Needs AVX2, BMI1, BMI2 and POPCNT.
pub(in crate::kernel) fn avx2(data: &[u8], first: u32, marks: &mut Marks) {
    // SAFETY: the table checked the features.
    unsafe { run(nh_head_index_avx2, data, first, marks) }
}

/// Needs AVX-512 F and BW, BMI1, BMI2 and POPCNT.
pub(in crate::kernel) fn avx512(data: &[u8], first: u32, marks: &mut Marks) {
    // SAFETY: the table checked the features.
    unsafe { run(nh_head_index_avx512, data, first, marks) }
}

/// Needs AVX-512 F, BW and VBMI2, BMI1, BMI2 and POPCNT.
pub(in crate::kernel) fn vbmi2(data: &[u8], first: u32, marks: &mut Marks) {
    // SAFETY: the table checked the features.
    unsafe { run(nh_head_index_vbmi2, data, first, marks) }
}

/// # Safety
/// The CPU has what `kernel` needs.
#[inline(always)]
unsafe fn run(kernel: Raw, data: &[u8], first: u32, marks: &mut Marks) {
    if data.len() < LENGTH_MIN {
        return crate::kernel::scalar::head_index::head_index(data, first, marks);
    }
    let (out, room) = marks.room();
    // SAFETY: the caller checked the features; the slice is readable and long enough; marks has the room.
    let count = unsafe { kernel(data.as_ptr(), data.len(), out, room, first) };
    // SAFETY: the kernel wrote so many entries.
    unsafe { marks.set_count(count) };
}
