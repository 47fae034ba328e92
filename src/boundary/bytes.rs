//! Text and bytes from C and to C.
//!
//! Payloads come as pointer and length, names as NUL-terminated text. Text goes out
//! NUL-terminated, its length beside it when C asks for that.

use std::ffi::{c_char, c_void};

use crate::base::error::{Error, ErrorKind};

/// As a length: the bytes end before the first NUL. `NH_ZERO_TERMINATED` in C.
pub const ZERO_TERMINATED: usize = usize::MAX;

/// Names, patterns, paths and header values from C are no longer than this, in bytes. Without a
/// bound a text that lacks its NUL would be read until something breaks.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;

/// A payload: `len` bytes from `data` on, or up to the NUL when `len` is [`ZERO_TERMINATED`].
/// NULL is fine when `len` is 0.
///
/// # Errors
/// `InvalidArgument` for NULL with a length and for a length that no object can have.
///
/// # Safety
/// `data` is readable as said, and stays unchanged as long as the slice is used.
pub unsafe fn payload<'a>(data: *const c_void, len: usize, name: &str) -> Result<&'a [u8], Error> {
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(invalid(format!("{name} is NULL but its length is not 0")));
    }
    let len = match len {
        // SAFETY: the caller says that a NUL ends it.
        ZERO_TERMINATED => unsafe { libc::strlen(data.cast()) },
        _ => len,
    };
    if isize::try_from(len).is_err() {
        return Err(invalid(format!("the length of {name} is larger than any object")));
    }
    // SAFETY: readable for `len` bytes by the caller's promise, and no longer than an object.
    Ok(unsafe { std::slice::from_raw_parts(data.cast(), len) })
}

/// A payload that must be UTF-8 text.
///
/// # Errors
/// As [`payload`], and `InvalidArgument` when it is not UTF-8.
///
/// # Safety
/// As [`payload`].
pub unsafe fn payload_text<'a>(
    data: *const c_char,
    len: usize,
    name: &str,
) -> Result<&'a str, Error> {
    // SAFETY: the caller's promise.
    utf8(unsafe { payload(data.cast(), len, name) }?, name)
}

/// A NUL-terminated name or value of at most [`TEXT_BYTES_MAX`] bytes, without its NUL.
///
/// # Errors
/// `InvalidArgument` when it is NULL or longer.
///
/// # Safety
/// `text` is readable up to its NUL, and stays unchanged as long as the slice is used.
pub unsafe fn name<'a>(text: *const c_char, name: &str) -> Result<&'a [u8], Error> {
    if text.is_null() {
        return Err(invalid(format!("{name} is NULL")));
    }
    // SAFETY: readable up to its NUL, and strnlen stops there or at the bound.
    let len = unsafe { libc::strnlen(text, TEXT_BYTES_MAX + 1) };
    if len > TEXT_BYTES_MAX {
        return Err(invalid(format!("{name} is longer than {TEXT_BYTES_MAX} bytes")));
    }
    // SAFETY: `len` bytes were read just now.
    Ok(unsafe { std::slice::from_raw_parts(text.cast(), len) })
}

/// A NUL-terminated name that must be UTF-8.
///
/// # Errors
/// As [`name`], and `InvalidArgument` when it is not UTF-8.
///
/// # Safety
/// As [`name`].
pub unsafe fn name_text<'a>(text: *const c_char, what: &str) -> Result<&'a str, Error> {
    // SAFETY: the caller's promise.
    utf8(unsafe { name(text, what) }?, what)
}

/// NULL, or a NUL-terminated payload that must be UTF-8 and may be long, such as a whole
/// configuration.
///
/// # Errors
/// `InvalidArgument` when it is not UTF-8.
///
/// # Safety
/// As [`name`].
pub unsafe fn optional_text<'a>(text: *const c_char, what: &str) -> Result<Option<&'a str>, Error> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    unsafe { payload_text(text, ZERO_TERMINATED, what) }.map(Some)
}

/// Writes a length where C wants it; NULL means that it does not.
///
/// # Safety
/// `to` is NULL or writable.
pub unsafe fn write_len(to: *mut usize, len: usize) {
    if !to.is_null() {
        // SAFETY: writable by the caller's promise; C aligns its own size_t, but nothing is lost
        // by not relying on it.
        unsafe { to.write_unaligned(len) };
    }
}

/// A NUL-terminated copy that C frees with `nh_free`.
///
/// # Errors
/// `Memory`.
pub fn give(bytes: &[u8]) -> Result<*mut c_char, Error> {
    let memory = || Error::new(ErrorKind::Memory, "out of memory for a result");
    let room = bytes.len().checked_add(1).ok_or_else(memory)?;
    // SAFETY: any size may be asked for.
    let copy: *mut u8 = unsafe { libc::malloc(room) }.cast();
    if copy.is_null() {
        return Err(memory());
    }
    // SAFETY: `copy` is new and one byte longer than `bytes`.
    unsafe { copy.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    // SAFETY: the last of its bytes.
    unsafe { copy.add(bytes.len()).write(0) };
    Ok(copy.cast())
}

/// Frees what [`give`] gave. NULL is fine.
///
/// # Safety
/// `pointer` came from [`give`] and has not been freed.
pub unsafe fn free(pointer: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { libc::free(pointer) };
}

fn utf8<'a>(bytes: &'a [u8], name: &str) -> Result<&'a str, Error> {
    std::str::from_utf8(bytes)
        .map_err(|error| invalid(format!("{name} is not UTF-8 at byte {}", error.valid_up_to())))
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_read_by_length_or_up_to_the_nul() {
        let text = c"ab\xff";
        let check = |len, expected: &[u8]| {
            // SAFETY: no length given below is beyond the text.
            let read = unsafe { payload(text.as_ptr().cast(), len, "data") };
            assert_eq!(read.unwrap(), expected);
        };
        check(0, b"");
        check(2, b"ab");
        check(4, b"ab\xff\0");
        check(ZERO_TERMINATED, b"ab\xff");
    }

    #[test]
    fn impossible_payloads_are_refused() {
        // SAFETY: nothing is read of any of them.
        unsafe {
            assert_eq!(payload(std::ptr::null(), 0, "data").unwrap(), b"");
            for (pointer, len) in [
                (std::ptr::null(), 1),
                (std::ptr::null(), ZERO_TERMINATED),
                (c"".as_ptr().cast(), usize::MAX - 1),
                (c"".as_ptr().cast(), usize::MAX / 2 + 1),
            ] {
                let error = payload(pointer, len, "data").unwrap_err();
                assert_eq!(error.kind, ErrorKind::InvalidArgument);
            }
        }
    }

    #[test]
    fn names_are_bounded_and_text_is_checked() {
        let longest = std::ffi::CString::new(vec![b'a'; TEXT_BYTES_MAX]).unwrap();
        let longer = std::ffi::CString::new(vec![b'a'; TEXT_BYTES_MAX + 1]).unwrap();
        // SAFETY: all are NULL or NUL-terminated.
        unsafe {
            assert_eq!(name(longest.as_ptr(), "name").unwrap().len(), TEXT_BYTES_MAX);
            assert!(name(longer.as_ptr(), "name").is_err());
            assert_eq!(name(std::ptr::null(), "name").unwrap_err().message, "name is NULL");
            assert_eq!(name(c"\xff".as_ptr(), "name").unwrap(), b"\xff");
            let error = name_text(c"ab\xff".as_ptr(), "name").unwrap_err();
            assert_eq!(error.message, "name is not UTF-8 at byte 2");
            assert_eq!(optional_text(std::ptr::null(), "text").unwrap(), None);
            assert_eq!(optional_text(longer.as_ptr(), "text").unwrap().unwrap().len(), 65537);
            assert_eq!(payload_text(c"abc".as_ptr(), 2, "text").unwrap(), "ab");
        }
    }

    #[test]
    fn what_is_given_ends_with_a_nul() {
        for bytes in [&b""[..], b"abc", b"a\0b"] {
            let copy = give(bytes).unwrap();
            // SAFETY: one byte longer than `bytes`, freed once.
            unsafe {
                let all = std::slice::from_raw_parts(copy.cast::<u8>(), bytes.len() + 1);
                assert_eq!(all.split_last(), Some((&0, bytes)));
                free(copy.cast());
            }
        }
        let mut len = 0;
        // SAFETY: NULL, or a local.
        unsafe {
            free(std::ptr::null_mut());
            write_len(std::ptr::null_mut(), 1);
            write_len(&mut len, 2);
        }
        assert_eq!(len, 2);
    }
}
