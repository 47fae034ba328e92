//! Clocks, random text, numbers of utils.h.

use super::logging::local_time;
use crate::boundary::guard;
use crate::legacy::memory::{give, monotonic_ns, text, unix_seconds};
use std::ffi::{c_char, c_int};

/// # Safety
/// See utils.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn get_current_time_ns() -> u64 {
    monotonic_ns()
}

/// # Safety
/// See utils.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn get_current_time_us() -> u64 {
    monotonic_ns() / 1_000
}

/// # Safety
/// See utils.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn get_current_time_ms() -> u64 {
    monotonic_ns() / 1_000_000
}

/// # Safety
/// See utils.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn get_current_time_str() -> *mut c_char {
    guard(std::ptr::null_mut(), || give(local_time(unix_seconds()).as_bytes()))
}

const ALPHABET: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// Fills `output` with letters and digits from the system's generator; `false` when it fails.
fn fill_random(output: &mut [u8]) -> bool {
    let mut pool = [0_u8; 256];
    let mut filled = 0;
    while filled < output.len() {
        // SAFETY: writes at most the size of the pool; 256 bytes come whole once the generator is ready.
        let got = unsafe { libc::getrandom(pool.as_mut_ptr().cast(), pool.len(), 0) };
        let Ok(got) = usize::try_from(got) else {
            if std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted {
                continue;
            }
            return false;
        };
        // 248 is the largest multiple of 62 in a byte: what is above would favour the first letters.
        for byte in pool.iter().take(got).filter(|&&byte| byte < 248) {
            let Some(place) = output.get_mut(filled) else { break };
            *place = ALPHABET[usize::from(*byte) % ALPHABET.len()];
            filled += 1;
        }
    }
    true
}

/// # Safety
/// `buffer` is NULL or writable for `length` bytes.
unsafe fn random_string(buffer: *mut c_char, length: usize) {
    guard((), || {
        if buffer.is_null() || length == 0 || length > isize::MAX as usize {
            return;
        }
        // SAFETY: writable for `length` bytes by the caller's promise; zeroed first, since the
        // memory may be uninitialised.
        let output = unsafe {
            std::ptr::write_bytes(buffer, 0, length);
            std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length)
        };
        let (last, letters) = match output.split_last_mut() {
            Some(parts) => parts,
            None => return,
        };
        if !fill_random(letters) {
            letters.fill(0);
        }
        *last = 0;
    });
}

/// # Safety
/// `buffer` is NULL or writable for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn generate_random_string(buffer: *mut c_char, length: usize) {
    // SAFETY: as promised by the caller.
    unsafe { random_string(buffer, length) };
}

/// # Safety
/// `buffer` is NULL or writable for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn generate_random_string_safe(buffer: *mut c_char, length: usize) {
    // SAFETY: as promised by the caller.
    unsafe { random_string(buffer, length) };
}

/// What strtol reads of a whole text, as an int: −1 when it is no number, −2 when it does not fit.
fn parse_int(text: &[u8], base: c_int) -> Result<c_int, c_int> {
    if base != 0 && !(2..=36).contains(&base) {
        return Err(-1);
    }
    let mut rest = text.trim_ascii_start();
    // isspace of the C locale has the vertical tab too.
    while let [0x0b, after @ ..] = rest {
        rest = after.trim_ascii_start();
    }
    let negative = rest.first() == Some(&b'-');
    if matches!(rest.first(), Some(b'-' | b'+')) {
        rest = &rest[1..];
    }
    let prefixed = |digits: &[u8]| matches!(digits, [b'0', b'x' | b'X', digit, ..] if (*digit as char).is_ascii_hexdigit());
    let base = match base {
        0 if prefixed(rest) => 16,
        0 if rest.first() == Some(&b'0') => 8,
        0 => 10,
        _ => base as u32,
    };
    if base == 16 && prefixed(rest) {
        rest = &rest[2..];
    }
    if rest.is_empty() {
        return Err(-1);
    }
    let mut value = 0_i64;
    for &byte in rest {
        let digit = (byte as char).to_digit(base).ok_or(-1)?;
        // Far beyond an int the exact value no longer matters, but later bytes must be digits too.
        value = (value * i64::from(base) + i64::from(digit)).min(1 << 40);
    }
    c_int::try_from(if negative { -value } else { value }).map_err(|_| -2)
}

/// # Safety
/// `str` is NULL or NUL-terminated; `result` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn string_to_int_ex(
    str: *const c_char,
    result: *mut c_int,
    base: c_int,
) -> c_int {
    // SAFETY: as promised by the caller.
    guard(-1, || unsafe { to_int(str, result, base) })
}

/// # Safety
/// `str` is NULL or NUL-terminated; `result` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn string_to_int(str: *const c_char, result: *mut c_int) -> c_int {
    // SAFETY: as promised by the caller.
    guard(-1, || unsafe { to_int(str, result, 10) })
}

/// # Safety
/// `str` is NULL or NUL-terminated; `result` is NULL or writable.
unsafe fn to_int(str: *const c_char, result: *mut c_int, base: c_int) -> c_int {
    // SAFETY: as promised by the caller.
    let Some(text) = (unsafe { text(str) }) else { return -1 };
    if result.is_null() {
        return -1;
    }
    match parse_int(text, base) {
        Ok(value) => {
            // SAFETY: not NULL, so writable.
            unsafe { result.write(value) };
            0
        }
        Err(code) => code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole_texts_within_an_int() {
        for (text, base, expected) in [
            ("42", 10, Ok(42)),
            ("  \t-7", 10, Ok(-7)),
            ("+5", 10, Ok(5)),
            ("2147483647", 10, Ok(i32::MAX)),
            ("-2147483648", 10, Ok(i32::MIN)),
            ("2147483648", 10, Err(-2)),
            ("-99999999999999999999999", 10, Err(-2)),
            ("99999999999999999999999x", 10, Err(-1)),
            ("", 10, Err(-1)),
            ("-", 10, Err(-1)),
            ("12 ", 10, Err(-1)),
            ("1e3", 10, Err(-1)),
            ("ff", 16, Ok(255)),
            ("0xFF", 16, Ok(255)),
            ("0x", 16, Err(-1)),
            ("0x1f", 0, Ok(31)),
            ("017", 0, Ok(15)),
            ("0", 0, Ok(0)),
            ("zz", 36, Ok(1295)),
            ("1", 1, Err(-1)),
            ("1", 37, Err(-1)),
        ] {
            assert_eq!(parse_int(text.as_bytes(), base), expected, "{text:?} base {base}");
        }
    }

    #[test]
    fn random_letters_fill_everything() {
        let mut output = [0_u8; 1000];
        assert!(fill_random(&mut output));
        assert!(output.iter().all(u8::is_ascii_alphanumeric));
        let mut again = [0_u8; 1000];
        assert!(fill_random(&mut again));
        assert_ne!(output, again);
    }
}
