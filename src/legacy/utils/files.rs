//! Files of utils.h.

use crate::boundary::guard;
use crate::legacy::memory::{allocate, give, path};
use std::ffi::{c_char, c_int};
use std::io::Read;

/// A whole file in malloc'd memory with a NUL behind it, and its size; else an errno.
fn read_whole(name: &std::path::Path) -> Result<(*mut c_char, usize), c_int> {
    let code = |error: std::io::Error| error.raw_os_error().unwrap_or(libc::EIO);
    let mut file = std::fs::File::open(name).map_err(code)?;
    let metadata = file.metadata().map_err(code)?;
    if metadata.is_dir() {
        return Err(libc::EISDIR);
    }
    let bound = c_int::MAX as u64;
    if metadata.len() > bound {
        return Err(libc::EFBIG);
    }
    // The size in the metadata is a hint only: /proc says 0, and a file may grow meanwhile.
    let mut content = Vec::new();
    content.try_reserve(metadata.len() as usize).map_err(|_| libc::ENOMEM)?;
    file.by_ref().take(bound + 1).read_to_end(&mut content).map_err(code)?;
    if content.len() as u64 > bound {
        return Err(libc::EFBIG);
    }
    let copy = allocate(content.len() + 1).cast::<u8>();
    if copy.is_null() {
        return Err(libc::ENOMEM);
    }
    // SAFETY: the block has room for the content and a NUL, and is new.
    unsafe {
        std::ptr::copy_nonoverlapping(content.as_ptr(), copy, content.len());
        copy.add(content.len()).write(0);
    }
    Ok((copy.cast(), content.len()))
}

/// # Safety
/// `filename` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn read_file(filename: *const c_char) -> *mut c_char {
    guard(std::ptr::null_mut(), || {
        // SAFETY: as promised by the caller.
        let Some(name) = (unsafe { path(filename) }) else { return std::ptr::null_mut() };
        read_whole(name).map_or(std::ptr::null_mut(), |(content, _)| content)
    })
}

/// # Safety
/// `filename` is NULL or NUL-terminated; the outputs are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn read_file_ex(
    filename: *const c_char,
    out_size: *mut usize,
    error_code: *mut c_int,
) -> *mut c_char {
    guard(std::ptr::null_mut(), || {
        // SAFETY: as promised by the caller.
        let read = match unsafe { path(filename) } {
            Some(name) => read_whole(name),
            None => Err(libc::EINVAL),
        };
        let (content, size, code) = match read {
            Ok((content, size)) => (content, size, 0),
            Err(code) => (std::ptr::null_mut(), 0, code),
        };
        // SAFETY: each output is writable when it is not NULL.
        unsafe {
            if !out_size.is_null() {
                out_size.write(size);
            }
            if !error_code.is_null() {
                error_code.write(code);
            }
        }
        content
    })
}

fn make_directory(name: &std::path::Path, parents: bool) -> c_int {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().mode(0o755).recursive(parents).create(name);
    if made.is_ok() || name.is_dir() { 0 } else { -1 }
}

/// # Safety
/// `path` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mkdir_if_not_exists(path: *const c_char) -> c_int {
    // SAFETY: as promised by the caller.
    guard(-1, || unsafe { self::path(path) }.map_or(-1, |name| make_directory(name, false)))
}

/// # Safety
/// `path` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn create_directory(path: *const c_char) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        let name = unsafe { self::path(path) }.filter(|name| !name.as_os_str().is_empty());
        name.map_or(-1, |name| make_directory(name, true))
    })
}

/// # Safety
/// `path` is NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn is_file_exists(path: *const c_char) -> c_int {
    // SAFETY: as promised by the caller.
    guard(0, || unsafe { self::path(path) }.map_or(0, |name| c_int::from(name.exists())))
}

/// # Safety
/// See utils.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn get_executable_path() -> *mut c_char {
    use std::os::unix::ffi::OsStrExt;
    guard(std::ptr::null_mut(), || match std::env::current_exe() {
        Ok(name) => give(name.as_os_str().as_bytes()),
        Err(_) => std::ptr::null_mut(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::legacy::memory::release;

    #[test]
    fn files_without_a_size_are_read_too_and_directories_are_refused() {
        let (content, size) = read_whole(std::path::Path::new("/proc/self/status")).unwrap();
        assert!(size > 0);
        // SAFETY: malloc'd by read_whole.
        unsafe { release(content.cast()) };
        assert_eq!(read_whole(std::path::Path::new("/")), Err(libc::EISDIR));
        assert_eq!(read_whole(std::path::Path::new("/nowhere/at/all")), Err(libc::ENOENT));
    }
}
