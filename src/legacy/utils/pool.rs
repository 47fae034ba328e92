//! String pools of utils.h: strings that are freed together.
//!
//! A pool's memory is a chain of blocks, so earlier strings never move. The chain is kept beside the
//! public struct, under the pool's address: a struct that did not come from create_string_pool (or has
//! been destroyed) is not in the table, and is only used as far as its own fields go.

use crate::boundary::guard;
use crate::legacy::instance::INSTANCE;
use crate::legacy::memory::{allocate, release, text};
use crate::legacy::types::StringPool;
use std::ffi::c_char;

/// A pool grows by blocks of at least this size.
const BLOCK_BYTES_MIN: usize = 256;

/// Memory of one pool. Only pointers that libc gave; freed by destroy_string_pool.
pub struct Blocks {
    blocks: Vec<usize>,
    current: usize,
    current_size: usize,
    current_used: usize,
}

/// Copies a text into the pool. Without `grow` it must fit into what is there. NULL when it does not.
///
/// # Safety
/// `pool` points to a string pool.
pub unsafe fn store(pool: *mut StringPool, content: &[u8], grow: bool) -> *mut c_char {
    let mut pools = INSTANCE.pools.lock();
    // SAFETY: a string pool by the caller's promise; the lock keeps other threads out.
    let public = unsafe { &mut *pool };
    let Some(needed) = content.len().checked_add(1) else { return std::ptr::null_mut() };
    let place = match pools.get_mut(&(pool as usize)) {
        Some(blocks) => {
            let is_full = blocks.current_size - blocks.current_used < needed;
            if is_full && !(grow && blocks.extend(needed, public)) {
                return std::ptr::null_mut();
            }
            let place = blocks.current + blocks.current_used;
            blocks.current_used += needed;
            place
        }
        None => {
            // A struct of the host's own making.
            let free = public.size.saturating_sub(public.used);
            if public.buffer.is_null() || free < needed {
                return std::ptr::null_mut();
            }
            public.buffer as usize + public.used
        }
    };
    public.used += needed;
    let place = place as *mut u8;
    // SAFETY: `needed` bytes from `place` on are inside a block and not given out yet.
    unsafe {
        std::ptr::copy_nonoverlapping(content.as_ptr(), place, content.len());
        place.add(content.len()).write(0);
    }
    place.cast()
}

impl Blocks {
    fn extend(&mut self, needed: usize, public: &mut StringPool) -> bool {
        let size = needed.max(self.current_size.saturating_mul(2)).max(BLOCK_BYTES_MIN);
        let block = allocate(size) as usize;
        let Some(total) = public.size.checked_add(size) else { return false };
        if block == 0 {
            return false;
        }
        self.blocks.push(block);
        (self.current, self.current_size, self.current_used) = (block, size, 0);
        public.size = total;
        true
    }
}

/// # Safety
/// See utils.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn create_string_pool(size: usize) -> *mut StringPool {
    guard(std::ptr::null_mut(), || {
        let buffer = allocate(size);
        let pool = allocate(size_of::<StringPool>()).cast::<StringPool>();
        if buffer.is_null() || pool.is_null() {
            // SAFETY: both came from malloc or are NULL.
            unsafe {
                release(buffer);
                release(pool.cast());
            }
            return std::ptr::null_mut();
        }
        // SAFETY: a new block of the right size.
        unsafe { pool.write(StringPool { buffer: buffer.cast(), size, used: 0 }) };
        let first = buffer as usize;
        let blocks =
            Blocks { blocks: vec![first], current: first, current_size: size, current_used: 0 };
        INSTANCE.pools.lock().insert(pool as usize, blocks);
        pool
    })
}

/// # Safety
/// `pool` is NULL or a string pool; `str` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pool_strdup(pool: *mut StringPool, str: *const c_char) -> *mut c_char {
    guard(std::ptr::null_mut(), || {
        // SAFETY: as promised by the caller.
        match unsafe { text(str) } {
            // SAFETY: not NULL, so a string pool.
            Some(content) if !pool.is_null() => unsafe { store(pool, content, true) },
            _ => std::ptr::null_mut(),
        }
    })
}

/// # Safety
/// `pool` is NULL or came from create_string_pool; its strings are not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn destroy_string_pool(pool: *mut StringPool) {
    guard((), || {
        // A pool that is not in the table was not made by us or is gone already.
        let Some(blocks) = INSTANCE.pools.lock().remove(&(pool as usize)) else { return };
        for block in blocks.blocks {
            // SAFETY: allocated for this pool, whose strings are not used again.
            unsafe { release(block as *mut _) };
        }
        // SAFETY: allocated by create_string_pool.
        unsafe { release(pool.cast()) };
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_strings_stay_where_they_are() {
        // SAFETY: one pool, used as the header says.
        unsafe {
            let pool = create_string_pool(0);
            let mut strings = Vec::new();
            for n in 0..500 {
                let content = format!("text {n}\0");
                strings.push(pool_strdup(pool, content.as_ptr().cast()));
            }
            for (n, &string) in strings.iter().enumerate() {
                assert_eq!(text(string), Some(format!("text {n}").as_bytes()));
            }
            let used: usize = (0..500).map(|n| format!("text {n}").len() + 1).sum();
            assert_eq!((*pool).used, used);
            assert!((*pool).used <= (*pool).size);
            destroy_string_pool(pool);
            destroy_string_pool(pool);
        }
    }

    #[test]
    fn without_growing_what_does_not_fit_is_refused() {
        // SAFETY: as above.
        unsafe {
            let pool = create_string_pool(4);
            assert!(!store(pool, b"abc", false).is_null());
            assert!(store(pool, b"", false).is_null());
            destroy_string_pool(pool);
        }
        let mut buffer = [0 as c_char; 8];
        let mut own = StringPool { buffer: buffer.as_mut_ptr(), size: 8, used: 0 };
        // SAFETY: a struct of the host's own making over memory that lives here.
        unsafe {
            assert!(!pool_strdup(&mut own, c"abc".as_ptr()).is_null());
            assert!(pool_strdup(&mut own, c"abcde".as_ptr()).is_null());
            destroy_string_pool(&mut own);
        }
        assert_eq!(own.used, 4);
    }
}
