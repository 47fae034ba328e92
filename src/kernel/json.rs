//! The structural index of a JSON document, in pieces, for a reader that walks from mark to mark.
//!
//! A mark is the position of an operator (`{ } [ ] : ,`), of an opening quote, or of the first byte of
//! anything else, outside strings. What lies between a mark and the next is one word or string and the
//! blanks behind it. A quote right behind a word (`1"`) has no mark: the reader finds it where it checks
//! that the word ends. The inside of strings is judged here, but for UTF-8 and for the digits of `\u`,
//! whose places are reported.

use std::mem::MaybeUninit;

/// The unit of the kernels, in bytes.
pub const BLOCK: usize = 64;

/// What a kernel works on.
pub type Block = [u8; BLOCK];

/// Blocks indexed at once: a page of text, so that text and marks stay in the first cache.
const CHUNK_BLOCKS: usize = 64;

/// Kernels write positions in groups of this many and count afterwards.
const SLACK: usize = 8;

/// What is carried from block to block. The layout is that of asm/x86_64/json_index_*.asm.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[repr(C)]
pub struct State {
    /// 0, or all ones when the next byte lies in a string.
    pub in_string: u64,
    /// 1 when the next byte is escaped.
    pub escaped: u64,
    /// 1 when the last byte belongs to a word that is no string. Without meaning within a string.
    pub word: u64,
    /// Not 0 after a control character in a string or an escape that does not exist.
    pub bad: u64,
}

/// Room for the marks of one chunk.
#[derive(Debug)]
pub struct Marks {
    positions: [MaybeUninit<u32>; CHUNK_BLOCKS * BLOCK + SLACK],
    unicode: [MaybeUninit<u32>; CHUNK_BLOCKS * BLOCK / 2],
    position_count: usize,
    unicode_count: usize,
}

impl Default for Marks {
    fn default() -> Marks {
        Marks::new()
    }
}

impl Marks {
    /// The most blocks whose marks fit.
    pub const BLOCKS_MAX: usize = CHUNK_BLOCKS;

    /// No marks.
    pub fn new() -> Marks {
        Marks {
            positions: [MaybeUninit::uninit(); CHUNK_BLOCKS * BLOCK + SLACK],
            unicode: [MaybeUninit::uninit(); CHUNK_BLOCKS * BLOCK / 2],
            position_count: 0,
            unicode_count: 0,
        }
    }

    /// The marks, ascending, counted from the chunk's beginning.
    #[inline]
    pub fn positions(&self) -> &[u32] {
        // SAFETY: the first `position_count` entries have been written: only `push_position` and
        // `set_counts` change the count.
        unsafe { &*(&raw const self.positions[..self.position_count] as *const [u32]) }
    }

    /// Where `u` follows an escaping backslash, ascending, counted from the chunk's beginning.
    #[inline]
    pub fn unicode(&self) -> &[u32] {
        // SAFETY: as for `positions`.
        unsafe { &*(&raw const self.unicode[..self.unicode_count] as *const [u32]) }
    }

    pub(super) fn clear(&mut self) {
        self.position_count = 0;
        self.unicode_count = 0;
    }

    pub(super) fn push_position(&mut self, position: u32) {
        self.positions[self.position_count].write(position);
        self.position_count += 1;
    }

    pub(super) fn push_unicode(&mut self, position: u32) {
        self.unicode[self.unicode_count].write(position);
        self.unicode_count += 1;
    }

    /// Where a kernel writes positions and places of `u`.
    pub(super) fn as_mut_ptrs(&mut self) -> (*mut u32, *mut u32) {
        (self.positions.as_mut_ptr().cast(), self.unicode.as_mut_ptr().cast())
    }

    /// # Safety
    /// So many entries have been written at the pointers of `as_mut_ptrs`.
    pub(super) unsafe fn set_counts(&mut self, positions: usize, unicode: usize) {
        self.position_count = positions;
        self.unicode_count = unicode;
    }
}

/// Indexes blocks, at most [`Marks::BLOCKS_MAX`]; the marks replace those of an earlier call.
pub type JsonIndex = fn(&mut State, &[Block], &mut Marks);

/// Walks a document chunk by chunk.
pub struct Indexer<'a> {
    json: &'a [u8],
    next: usize,
    state: State,
    index: JsonIndex,
}

impl<'a> Indexer<'a> {
    /// With the kernel in use; `None` where only the reference is there, which is no faster than a reader
    /// that goes byte by byte.
    pub fn new(json: &'a [u8]) -> Option<Indexer<'a>> {
        let table = super::table();
        (table.json_index.implementation != super::REFERENCE).then(|| Indexer::with(json, table))
    }

    /// With the kernel of a certain table.
    pub fn with(json: &'a [u8], table: &super::Kernels) -> Indexer<'a> {
        Indexer { json, next: 0, state: State::default(), index: table.json_index.call }
    }

    /// Indexes the next chunk and gives the position in the document that its marks count from; `None` at
    /// the end.
    #[inline]
    pub fn next_chunk(&mut self, marks: &mut Marks) -> Option<usize> {
        let base = self.next;
        let rest = self.json.get(base..)?;
        let (blocks, tail) = rest.as_chunks::<BLOCK>();
        if let Some(blocks) = blocks.get(..CHUNK_BLOCKS.min(blocks.len())).filter(|b| !b.is_empty())
        {
            (self.index)(&mut self.state, blocks, marks);
            self.next += blocks.len() * BLOCK;
            return Some(base);
        }
        // Blanks fill up the last block: they add no mark, and a string that they lie in stays open.
        self.next = usize::MAX;
        if tail.is_empty() {
            return None;
        }
        let mut block = [b' '; BLOCK];
        block[..tail.len()].copy_from_slice(tail);
        (self.index)(&mut self.state, &[block], marks);
        Some(base)
    }

    /// After the last chunk: whether every string ended and held no control character and no unknown
    /// escape.
    pub fn strings_are_right(&self) -> bool {
        self.state.in_string == 0 && self.state.bad == 0
    }
}
