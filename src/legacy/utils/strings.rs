//! Texts of utils.h.

use super::logging::print;
use super::pool;
use crate::boundary::guard;
use crate::legacy::memory::{allocate, bytes, give, release, text};
use crate::legacy::types::StringPool;
use memchr::memmem;
use std::ffi::{c_char, c_int};
use std::fmt::Write as _;

/// All occurrences of `what` replaced; `None` for an empty `what` or a result beyond all memory.
fn replaced(original: &[u8], what: &[u8], with: &[u8]) -> Option<Vec<u8>> {
    if what.is_empty() {
        return None;
    }
    let mut result = Vec::new();
    let mut rest = 0;
    for found in memmem::find_iter(original, what) {
        result.try_reserve(found - rest + with.len()).ok()?;
        result.extend_from_slice(&original[rest..found]);
        result.extend_from_slice(with);
        rest = found + what.len();
    }
    result.try_reserve(original.len() - rest).ok()?;
    result.extend_from_slice(&original[rest..]);
    Some(result)
}

/// # Safety
/// All are NULL or NUL-terminated.
unsafe fn replace(orig: *const c_char, rep: *const c_char, with: *const c_char) -> Option<Vec<u8>> {
    // SAFETY: as promised by the caller.
    let (original, what, with) = unsafe { (text(orig)?, text(rep)?, text(with)) };
    replaced(original, what, with.unwrap_or_default())
}

/// # Safety
/// All are NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn str_replace(
    orig: *const c_char,
    rep: *const c_char,
    with: *const c_char,
) -> *mut c_char {
    guard(std::ptr::null_mut(), || {
        // SAFETY: as promised by the caller.
        unsafe { replace(orig, rep, with) }.map_or(std::ptr::null_mut(), |result| give(&result))
    })
}

/// # Safety
/// The texts are NULL or NUL-terminated; `pool` is NULL or a string pool.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn str_replace_ex(
    orig: *const c_char,
    rep: *const c_char,
    with: *const c_char,
    pool: *mut StringPool,
) -> *mut c_char {
    guard(std::ptr::null_mut(), || {
        // SAFETY: as promised by the caller.
        let Some(result) = (unsafe { replace(orig, rep, with) }) else {
            return std::ptr::null_mut();
        };
        if pool.is_null() {
            return give(&result);
        }
        // SAFETY: a string pool by the caller's promise.
        unsafe { pool::store(pool, &result, false) }
    })
}

/// # Safety
/// Both are NULL or NUL-terminated; `count` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn str_split(
    str: *const c_char,
    delim: *const c_char,
    count: *mut c_int,
) -> *mut *mut c_char {
    guard(std::ptr::null_mut(), || {
        // SAFETY: as promised by the caller.
        let (Some(text), Some(delimiter)) = (unsafe { (text(str), text(delim)) }) else {
            return std::ptr::null_mut();
        };
        if delimiter.is_empty() || count.is_null() {
            return std::ptr::null_mut();
        }
        let mut fields = Vec::new();
        let mut rest = 0;
        for found in memmem::find_iter(text, delimiter) {
            fields.push(&text[rest..found]);
            rest = found + delimiter.len();
        }
        fields.push(&text[rest..]);
        let Ok(number) = c_int::try_from(fields.len()) else { return std::ptr::null_mut() };
        let array = allocate((fields.len() + 1) * size_of::<*mut c_char>()).cast::<*mut c_char>();
        if array.is_null() {
            return array;
        }
        for (index, field) in fields.iter().enumerate() {
            let copy = give(field);
            // SAFETY: the array has a place for each field and one more; earlier places are filled.
            unsafe {
                array.add(index).write(copy);
                if copy.is_null() {
                    (0..index).for_each(|done| release((*array.add(done)).cast()));
                    release(array.cast());
                    return std::ptr::null_mut();
                }
            }
        }
        // SAFETY: the last place of the array; `count` is not NULL, so writable.
        unsafe {
            array.add(fields.len()).write(std::ptr::null_mut());
            count.write(number);
        }
        array
    })
}

/// # Safety
/// `str` is NULL or a NUL-terminated text that may be changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn str_trim(str: *mut c_char) -> *mut c_char {
    guard(std::ptr::null_mut(), || {
        // SAFETY: as promised by the caller.
        let Some(content) = (unsafe { text(str) }) else { return std::ptr::null_mut() };
        let blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
        let Some(first) = content.iter().position(|byte| !blank(byte)) else {
            // SAFETY: the text has at least its NUL; a blank one becomes empty at its beginning.
            unsafe { str.write(0) };
            return str;
        };
        let last = content.iter().rposition(|byte| !blank(byte)).unwrap_or(first);
        // SAFETY: last + 1 is at most the place of the NUL.
        unsafe {
            str.add(last + 1).write(0);
            str.add(first)
        }
    })
}

/// # Safety
/// Both are NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn str_starts_with(str: *const c_char, prefix: *const c_char) -> c_int {
    // SAFETY: as promised by the caller.
    guard(0, || match unsafe { (text(str), text(prefix)) } {
        (Some(text), Some(prefix)) => c_int::from(text.starts_with(prefix)),
        _ => 0,
    })
}

/// # Safety
/// Both are NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn str_ends_with(str: *const c_char, suffix: *const c_char) -> c_int {
    // SAFETY: as promised by the caller.
    guard(0, || match unsafe { (text(str), text(suffix)) } {
        (Some(text), Some(suffix)) => c_int::from(text.ends_with(suffix)),
        _ => 0,
    })
}

fn url_encoded(text: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(text.len());
    for &byte in text {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(byte);
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            encoded.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    encoded
}

fn url_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'+', _) => decoded.push(b' '),
            (b'%', [high, low, beyond @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    decoded.push(high << 4 | low);
                    rest = beyond;
                }
                _ => decoded.push(b'%'),
            },
            (byte, _) => decoded.push(*byte),
        }
    }
    decoded
}

/// # Safety
/// `str` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn url_encode(str: *const c_char) -> *mut c_char {
    guard(std::ptr::null_mut(), || {
        // SAFETY: as promised by the caller.
        unsafe { text(str) }.map_or(std::ptr::null_mut(), |text| give(&url_encoded(text)))
    })
}

/// # Safety
/// `str` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn url_decode(str: *const c_char) -> *mut c_char {
    guard(std::ptr::null_mut(), || {
        // SAFETY: as promised by the caller.
        unsafe { text(str) }.map_or(std::ptr::null_mut(), |text| give(&url_decoded(text)))
    })
}

/// Sixteen bytes a line: offset, hex, text.
fn hex_dump(data: &[u8]) -> String {
    let mut dump = String::new();
    for (index, line) in data.chunks(16).enumerate() {
        let _ = write!(dump, "{:08x} ", index * 16);
        for place in 0..16 {
            let _ = match line.get(place) {
                Some(byte) => write!(dump, " {byte:02x}"),
                None => write!(dump, "   "),
            };
        }
        dump.push_str("  |");
        dump.extend(
            line.iter().map(|&byte| if (0x20..0x7f).contains(&byte) { byte as char } else { '.' }),
        );
        dump.push_str("|\n");
    }
    dump
}

/// # Safety
/// `data` is NULL or readable for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn print_hex(data: *const c_char, length: usize) {
    guard((), || {
        // SAFETY: as promised by the caller.
        let Some(data) = (unsafe { bytes(data, length) }) else { return };
        // In pieces, so that a large block does not need four times its size at once.
        for (index, piece) in data.chunks(1 << 16).enumerate() {
            let dump = hex_dump(piece);
            if index == 0 {
                print(dump.as_bytes());
            } else {
                for line in dump.lines().zip(0_usize..) {
                    let offset = (index << 16) + line.1 * 16;
                    print(
                        format!("{offset:08x}{}\n", line.0.get(8..).unwrap_or_default()).as_bytes(),
                    );
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_replaced_everywhere() {
        for (original, what, with, expected) in [
            ("a-b-c", "-", "+", Some("a+b+c")),
            ("aaaa", "aa", "b", Some("bb")),
            ("abc", "x", "y", Some("abc")),
            ("abc", "b", "", Some("ac")),
            ("", "b", "c", Some("")),
            ("abc", "", "c", None),
        ] {
            let result = replaced(original.as_bytes(), what.as_bytes(), with.as_bytes());
            assert_eq!(result.as_deref(), expected.map(str::as_bytes), "{original} {what} {with}");
        }
    }

    #[test]
    fn url_coding_goes_both_ways() {
        for (plain, coded) in
            [("a b&c=/ü", "a%20b%26c%3D%2F%C3%BC"), ("-_.~Az9", "-_.~Az9"), ("", "")]
        {
            assert_eq!(url_encoded(plain.as_bytes()), coded.as_bytes());
            assert_eq!(url_decoded(coded.as_bytes()), plain.as_bytes());
        }
        for (coded, plain) in
            [("a+b", "a b"), ("%", "%"), ("%4", "%4"), ("%zz%41", "%zzA"), ("%%41", "%A")]
        {
            assert_eq!(url_decoded(coded.as_bytes()), plain.as_bytes(), "{coded}");
        }
    }

    #[test]
    fn a_dump_shows_offset_hex_and_text() {
        let dump = hex_dump(b"0123456789abcdef\x00~");
        assert_eq!(
            dump,
            "00000000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  |0123456789abcdef|\n\
             00000010  00 7e                                            |.~|\n"
        );
    }
}
