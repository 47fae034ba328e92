//! Copying memory: the standard library, which calls the system's memcpy, is the specification.

/// Copies `from` to `to`, which has the same length.
pub fn copy(to: &mut [u8], from: &[u8]) {
    to.copy_from_slice(from);
}
