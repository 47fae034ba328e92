//! What crosses the old boundary: C text in, and libc `malloc` memory out, which hosts `free`.

use std::ffi::{c_char, c_int, c_void};

/// The bytes of a C string without its NUL; `None` for NULL.
///
/// # Safety
/// `text` is NULL or points to a NUL-terminated string that stays unchanged during `'a`.
pub unsafe fn text<'a>(text: *const c_char) -> Option<&'a [u8]> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not NULL, and NUL-terminated by the caller's promise.
    Some(unsafe { std::ffi::CStr::from_ptr(text) }.to_bytes())
}

/// A C string that must be UTF-8; `None` for NULL or other bytes.
///
/// # Safety
/// As [`text`].
pub unsafe fn utf8<'a>(pointer: *const c_char) -> Option<&'a str> {
    // SAFETY: the caller's promise is the same.
    std::str::from_utf8(unsafe { text(pointer) }?).ok()
}

/// A file name from C.
///
/// # Safety
/// As [`text`].
pub unsafe fn path<'a>(pointer: *const c_char) -> Option<&'a std::path::Path> {
    use std::os::unix::ffi::OsStrExt;
    // SAFETY: the caller's promise is the same.
    let bytes = unsafe { text(pointer) }?;
    Some(std::path::Path::new(std::ffi::OsStr::from_bytes(bytes)))
}

/// `length` bytes at `data`; `None` for NULL unless the length is 0, and for lengths no object has.
///
/// # Safety
/// `data` is NULL or readable for `length` bytes that stay unchanged during `'a`.
pub unsafe fn bytes<'a>(data: *const c_char, length: usize) -> Option<&'a [u8]> {
    if length == 0 {
        return Some(&[]);
    }
    if data.is_null() || length > isize::MAX as usize {
        return None;
    }
    // SAFETY: readable for `length` bytes by the caller's promise; the length fits an object.
    Some(unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length) })
}

/// `size` bytes from `malloc`, at least one; NULL when there is no memory.
pub fn allocate(size: usize) -> *mut c_void {
    // SAFETY: malloc takes any size.
    unsafe { libc::malloc(size.max(1)) }
}

/// Gives memory back to libc. NULL is ignored.
///
/// # Safety
/// `pointer` is NULL or came from `malloc` and is not used again.
pub unsafe fn release(pointer: *mut c_void) {
    // SAFETY: the caller's promise is that of free.
    unsafe { libc::free(pointer) }
}

/// A malloc'd copy with a NUL behind it; NULL when there is no memory.
pub fn give(content: &[u8]) -> *mut c_char {
    let Some(size) = content.len().checked_add(1) else { return std::ptr::null_mut() };
    let copy = allocate(size).cast::<u8>();
    if !copy.is_null() {
        // SAFETY: the block has room for the content and one more byte, and is new.
        unsafe {
            std::ptr::copy_nonoverlapping(content.as_ptr(), copy, content.len());
            copy.add(content.len()).write(0);
        }
    }
    copy.cast()
}

/// Puts a malloc'd array of malloc'd strings into `*list` and their number into `*count`. The array
/// is never NULL, also when it is empty. Returns 0, or -1 (NULL output, no memory).
///
/// # Safety
/// `list` and `count` are NULL or writable.
pub unsafe fn give_list<T: AsRef<[u8]>>(
    items: &[T],
    list: *mut *mut *mut c_char,
    count: *mut c_int,
) -> c_int {
    let Ok(number) = c_int::try_from(items.len()) else { return -1 };
    if list.is_null() || count.is_null() {
        return -1;
    }
    let array = allocate(items.len() * size_of::<*mut c_char>()).cast::<*mut c_char>();
    if array.is_null() {
        return -1;
    }
    for (index, item) in items.iter().enumerate() {
        let copy = give(item.as_ref());
        if copy.is_null() {
            for done in 0..index {
                // SAFETY: entries before `index` were written below and are ours.
                unsafe { release((*array.add(done)).cast()) };
            }
            // SAFETY: allocated above, not handed out.
            unsafe { release(array.cast()) };
            return -1;
        }
        // SAFETY: the array has one place per item.
        unsafe { array.add(index).write(copy) };
    }
    // SAFETY: both outputs are writable by the caller's promise.
    unsafe {
        list.write(array);
        count.write(number);
    }
    0
}

/// Copies `content` into a C buffer of `size` bytes, cut to fit, NUL-terminated.
///
/// # Safety
/// `output` is writable for `size` bytes; `size` is not 0.
pub unsafe fn copy_cut(content: &[u8], output: *mut c_char, size: usize) {
    let length = content.len().min(size.saturating_sub(1));
    // SAFETY: length + 1 <= size bytes are writable; a Rust slice never overlaps the output that
    // the caller hands over for writing.
    unsafe {
        std::ptr::copy_nonoverlapping(content.as_ptr(), output.cast::<u8>(), length);
        output.add(length).write(0);
    }
}

/// Seconds of the wall clock, as `time(NULL)`.
pub fn unix_seconds() -> i64 {
    match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(_) => 0,
    }
}

/// Nanoseconds of the monotonic clock.
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec; the monotonic clock always exists on Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_goes_out_and_comes_back() {
        let copy = give(b"abc");
        // SAFETY: made above.
        unsafe {
            assert_eq!(text(copy), Some(&b"abc"[..]));
            release(copy.cast());
            assert_eq!(text(std::ptr::null()), None);
        }
    }

    #[test]
    fn an_empty_list_still_has_an_array() {
        let (mut list, mut count) = (std::ptr::null_mut(), 7);
        // SAFETY: both outputs live here.
        unsafe {
            assert_eq!(give_list::<&[u8]>(&[], &mut list, &mut count), 0);
            assert!(!list.is_null());
            assert_eq!(count, 0);
            release(list.cast());
            assert_eq!(give_list(&[b"x"], std::ptr::null_mut(), &mut count), -1);
        }
    }

    #[test]
    fn a_copy_is_cut_and_terminated() {
        let mut output = [b'#' as c_char; 6];
        // SAFETY: four of the six bytes are offered.
        unsafe { copy_cut(b"abcdef", output.as_mut_ptr(), 4) };
        let seen: Vec<u8> = output.iter().map(|&c| c as u8).collect();
        assert_eq!(seen, b"abc\0##");
    }
}
