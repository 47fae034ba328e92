//! The index of an HTTP header section, for a parser that walks from mark to mark.
//!
//! A mark is the position of the first byte in a line that is not usual in a field name, of each control byte
//! but HTAB and LF, and of each LF that follows no such byte. In a section that is right these are, line by
//! line, the colon and the carriage return; the marks end with the carriage return of the blank line. Nothing
//! is judged here: the parser looks at the bytes the marks stand on, and goes byte by byte where they are not
//! what they should be.

use std::mem::MaybeUninit;

/// The unit of the kernels, in bytes.
pub const BLOCK: usize = 64;

/// Below this a section is not worth a kernel; none is called.
pub const LENGTH_MIN: usize = BLOCK;

/// Marks of one call at most: those of some hundred lines.
const MARKS_MAX: usize = 256;

/// Room for the marks of one call.
#[derive(Debug)]
pub struct Marks {
    // As a whole, not entry by entry: those the compiler fills with zeros.
    positions: MaybeUninit<[u32; MARKS_MAX]>,
    count: usize,
}

impl Default for Marks {
    fn default() -> Marks {
        Marks::new()
    }
}

impl Marks {
    /// No marks.
    #[inline(always)]
    pub fn new() -> Marks {
        Marks { positions: MaybeUninit::uninit(), count: 0 }
    }

    /// The marks, ascending.
    #[inline(always)]
    pub fn positions(&self) -> &[u32] {
        // SAFETY: the first `count` entries have been written: only `push` and `set_count` change it, and both
        // stay within the array.
        unsafe { std::slice::from_raw_parts(self.positions.as_ptr().cast(), self.count) }
    }

    pub(super) fn clear(&mut self) {
        self.count = 0;
    }

    /// Whether the marks of a whole block fit.
    pub(super) fn has_room(&self) -> bool {
        self.count + BLOCK <= MARKS_MAX
    }

    pub(super) fn push(&mut self, position: u32) {
        assert!(self.count < MARKS_MAX, "has_room was not asked");
        // SAFETY: the entry is within the array.
        unsafe { self.room().0.add(self.count).write(position) };
        self.count += 1;
    }

    /// Where a kernel writes, and how many marks.
    pub(super) fn room(&mut self) -> (*mut u32, usize) {
        (self.positions.as_mut_ptr().cast(), MARKS_MAX)
    }

    /// # Safety
    /// So many entries have been written at the pointer of `room`.
    pub(super) unsafe fn set_count(&mut self, count: usize) {
        self.count = count;
    }
}

/// Indexes a header section, or its beginning: what begins where a line does and may go on behind the
/// section. Positions count from the number given for its first byte. The marks replace those of an
/// earlier call and end early when there is no room for more.
pub type HeadIndex = fn(&[u8], u32, &mut Marks);
