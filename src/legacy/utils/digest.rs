//! Digests and Base64 of utils.h.

use crate::boundary::guard;
use crate::legacy::memory::{bytes, give, text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use sha2::Sha256;
use std::ffi::{c_char, c_int, c_uchar};

fn hex(digest: &[u8]) -> Vec<u8> {
    let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
    digest.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// # Safety
/// `str` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn md5_string(str: *const c_char) -> *mut c_char {
    guard(std::ptr::null_mut(), || {
        // SAFETY: as promised by the caller.
        unsafe { text(str) }.map_or(std::ptr::null_mut(), |text| give(&hex(&Md5::digest(text))))
    })
}

/// # Safety
/// `str` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sha256_string(str: *const c_char) -> *mut c_char {
    guard(std::ptr::null_mut(), || {
        // SAFETY: as promised by the caller.
        unsafe { text(str) }.map_or(std::ptr::null_mut(), |text| give(&hex(&Sha256::digest(text))))
    })
}

/// # Safety
/// `input` is NULL or readable for `length` bytes; `output` is NULL or has room as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn base64_encode(
    input: *const c_uchar,
    length: c_int,
    output: *mut c_char,
) -> c_int {
    guard(-1, || {
        let Ok(length) = usize::try_from(length) else { return -1 };
        // SAFETY: as promised by the caller.
        let Some(input) = (unsafe { bytes(input.cast(), length) }) else { return -1 };
        let encoded = STANDARD.encode(input);
        let Ok(written) = c_int::try_from(encoded.len()) else { return -1 };
        if output.is_null() {
            return -1;
        }
        // SAFETY: the caller provides the encoded length and one byte for the NUL.
        unsafe {
            std::ptr::copy_nonoverlapping(encoded.as_ptr(), output.cast::<u8>(), encoded.len());
            output.add(encoded.len()).write(0);
        }
        written
    })
}

/// # Safety
/// `input` is NULL or NUL-terminated; `output` is NULL or has room for what it decodes to;
/// `out_length` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn base64_decode(
    input: *const c_char,
    output: *mut c_uchar,
    out_length: *mut c_int,
) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        let Some(input) = (unsafe { text(input) }) else { return -1 };
        if output.is_null() || out_length.is_null() {
            return -1;
        }
        let Ok(decoded) = STANDARD.decode(input) else { return -1 };
        let Ok(length) = c_int::try_from(decoded.len()) else { return -1 };
        // SAFETY: the caller provides the room; the outputs are not NULL.
        unsafe {
            std::ptr::copy_nonoverlapping(decoded.as_ptr(), output, decoded.len());
            out_length.write(length);
        }
        0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_standards() {
        // RFC 1321 appendix A.5 and FIPS 180-2 appendix B.1.
        assert_eq!(hex(&Md5::digest(b"abc")), b"900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(
            hex(&Sha256::digest(b"abc")),
            b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
