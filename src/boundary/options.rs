//! Option structs that grow.
//!
//! Every option struct begins with its size as the caller's header knew it. A program built
//! against an older header passes fewer bytes: what is missing is the default, which is zero in
//! every field. One built against a newer header passes more: what we do not know must be zero,
//! or something would be ignored in silence.

use std::ffi::c_void;

use crate::base::error::{Error, ErrorKind};

/// The least and the most bytes an option struct may say it has.
const BYTES_MIN: usize = 8;
const BYTES_MAX: usize = 4096;

/// An option struct.
///
/// # Safety
/// The type is `repr(C)`, begins with `struct_size: usize`, has no padding, and all zero bytes
/// are a valid value.
pub unsafe trait Options: Sized {
    /// The offset of each field's end, ascending. A field that the caller's struct holds only in
    /// part is missing: half a pointer is no pointer.
    const FIELD_ENDS: &'static [usize];
}

/// An option struct as it was passed.
pub struct Passed<T> {
    /// The part that we know.
    pub options: T,
    beyond: bool,
}

impl<T> Passed<T> {
    /// The options, when nothing stands behind them that we do not know. Apart from reading, so
    /// that the destructors among the options can be taken over first.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn check(&self) -> Result<(), Error> {
        if self.beyond {
            let message = "the options use fields that this version of the library does not know";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        Ok(())
    }
}

/// Reads an option struct; NULL means that every field is default.
///
/// # Errors
/// `InvalidArgument` when its size is impossible.
///
/// # Safety
/// `from` is NULL or readable for as many bytes as its first field says.
pub unsafe fn read<T: Options>(from: *const T) -> Result<Passed<T>, Error> {
    // SAFETY: all zero bytes are a valid value of an option struct.
    let mut options: T = unsafe { std::mem::zeroed() };
    if from.is_null() {
        return Ok(Passed { options, beyond: false });
    }
    // SAFETY: the size comes first and is always there.
    let size = unsafe { from.cast::<usize>().read_unaligned() };
    check_size(size)?;
    let known = T::FIELD_ENDS.iter().copied().rfind(|&end| end <= size).unwrap_or(0);
    // SAFETY: readable for `size` bytes, which is no less than `known`; `options` is as long as
    // its last field's end.
    unsafe {
        (&raw mut options).cast::<u8>().copy_from_nonoverlapping(from.cast(), known);
    }
    let rest = size.saturating_sub(size_of::<T>());
    // SAFETY: readable for `size` bytes.
    let rest = unsafe { std::slice::from_raw_parts(from.cast::<u8>().add(size - rest), rest) };
    Ok(Passed { options, beyond: rest.iter().any(|&byte| byte != 0) })
}

/// Fills an option struct of `struct_size` bytes with the defaults.
///
/// # Errors
/// `InvalidArgument` when it is NULL or its size is impossible; then nothing is written.
///
/// # Safety
/// `to` is NULL or writable for `struct_size` bytes.
pub unsafe fn init(to: *mut c_void, struct_size: usize) -> Result<(), Error> {
    if to.is_null() {
        return Err(Error::new(ErrorKind::InvalidArgument, "the options are NULL"));
    }
    check_size(struct_size)?;
    // SAFETY: writable for `struct_size` bytes.
    unsafe { to.cast::<u8>().write_bytes(0, struct_size) };
    // SAFETY: at least eight bytes.
    unsafe { to.cast::<usize>().write_unaligned(struct_size) };
    Ok(())
}

/// Refuses flag bits that are not in `known`.
///
/// # Errors
/// `Unsupported`.
pub fn check_flags(flags: u32, known: u32) -> Result<(), Error> {
    match flags & !known {
        0 => Ok(()),
        unknown => {
            let message = format!("the flag bits {unknown:#x} are not known to this version");
            Err(Error::new(ErrorKind::Unsupported, message))
        }
    }
}

fn check_size(size: usize) -> Result<(), Error> {
    if (BYTES_MIN..=BYTES_MAX).contains(&size) {
        return Ok(());
    }
    let message = format!("a struct_size of {size}; it must be set by the struct's init function");
    Err(Error::new(ErrorKind::InvalidArgument, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Debug, PartialEq, Clone, Copy)]
    struct Known {
        struct_size: usize,
        count: u32,
        flags: u32,
        value: u64,
    }

    // SAFETY: plain numbers without padding.
    unsafe impl Options for Known {
        const FIELD_ENDS: &'static [usize] = &[8, 12, 16, 24];
    }

    /// What a caller with room for 40 bytes passes when it says that it has `size`.
    fn passed(size: usize, fill: &[(usize, u8)]) -> Result<Passed<Known>, Error> {
        let mut memory = [0_u64; 5];
        // SAFETY: `memory` is 40 bytes; sizes beyond are refused before they are read.
        unsafe {
            let bytes: *mut u8 = memory.as_mut_ptr().cast();
            bytes.cast::<usize>().write(size);
            for &(place, value) in fill {
                bytes.add(place).write(value);
            }
            read(bytes.cast::<Known>())
        }
    }

    #[test]
    fn sizes_older_equal_and_newer() {
        let fields = [(8, 1), (12, 2), (16, 3), (23, 1)];
        let value = 1 << 56 | 3;
        for (size, count, flags, expected) in [
            (8, 0, 0, 0),
            (11, 0, 0, 0),
            (12, 1, 0, 0),
            (16, 1, 2, 0),
            (20, 1, 2, 0), // half a field
            (24, 1, 2, value),
            (40, 1, 2, value),
        ] {
            let read = passed(size, &fields).unwrap();
            assert_eq!(
                (read.options.count, read.options.flags, read.options.value),
                (count, flags, expected),
                "{size}"
            );
            read.check().unwrap();
        }
    }

    #[test]
    fn a_newer_field_that_is_set_is_unsupported() {
        for place in [24, 39] {
            let read = passed(40, &[(8, 9), (place, 1)]).unwrap();
            assert_eq!(read.options.count, 9);
            assert_eq!(read.check().unwrap_err().kind, ErrorKind::Unsupported);
        }
        passed(39, &[(39, 1)]).unwrap().check().unwrap();
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for size in [0, 7, 4097, usize::MAX] {
            assert_eq!(passed(size, &[]).err().unwrap().kind, ErrorKind::InvalidArgument);
        }
        // SAFETY: NULL is read as all defaults.
        let defaults = unsafe { read::<Known>(std::ptr::null()) }.unwrap();
        assert_eq!(defaults.options, Known { struct_size: 0, count: 0, flags: 0, value: 0 });
    }

    #[test]
    fn init_fills_what_the_caller_has_and_no_more() {
        let mut memory = [0xaa_u8; 48];
        // SAFETY: 40 of 48 bytes; the refused ones write nothing.
        unsafe {
            init(memory.as_mut_ptr().cast(), 40).unwrap();
            assert!(init(memory.as_mut_ptr().cast(), 7).is_err());
            assert!(init(memory.as_mut_ptr().cast(), 4097).is_err());
            assert!(init(std::ptr::null_mut(), 40).is_err());
        }
        assert_eq!(memory[..8], 40_usize.to_ne_bytes());
        assert_eq!(memory[8..40], [0; 32]);
        assert_eq!(memory[40..], [0xaa; 8]);
    }

    #[test]
    fn unknown_flags_are_refused() {
        check_flags(3, 3).unwrap();
        check_flags(0, 0).unwrap();
        assert_eq!(check_flags(4, 3).unwrap_err().kind, ErrorKind::Unsupported);
    }
}
