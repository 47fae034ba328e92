//! The allocator's free memory.

/// Gives memory that nobody uses back to the system. Can take milliseconds.
pub fn trim() {
    // SAFETY: malloc_trim takes no pointer and may be called from any thread.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
