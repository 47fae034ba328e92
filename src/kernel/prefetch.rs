//! A hint to the processor: what it will be asked for soon.
//!
//! A thousand requests under way are more than its nearest caches hold. Whoever is about to read
//! many parts of a cold object asks for all of them at once: they then come side by side, and
//! behind the next system call, instead of one after the other.

/// Asks for every cache line of a value. Changes nothing and reads nothing.
#[inline]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        const LINE_BYTES: usize = 64;
        let start = std::ptr::from_ref(value).cast::<i8>();
        for offset in (0..size_of::<T>()).step_by(LINE_BYTES) {
            // SAFETY: a prefetch never faults, and the address lies within the value.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(offset)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
