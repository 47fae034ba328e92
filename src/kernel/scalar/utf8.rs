//! UTF-8 (RFC 3629): the standard library is the specification.

/// Whether all of `data` is UTF-8.
pub fn is_utf8(data: &[u8]) -> bool {
    std::str::from_utf8(data).is_ok()
}
