//! Which library this is.

use std::ffi::c_char;

/// The version of the source that this header belongs to.
pub const NH_VERSION_MAJOR: u32 = 1;
/// Grows with every release that adds something.
pub const NH_VERSION_MINOR: u32 = 0;
/// Grows with every release that only mends something.
pub const NH_VERSION_PATCH: u32 = 0;

/// The binary interface that this header describes: the number in the library's soname. It
/// changes when something is removed or takes on another meaning, never when something is added.
pub const NH_ABI_VERSION: u32 = 1;

/// The version of the library in use, such as "1.0.0". Static text, never NULL. A program runs
/// with any library of the same NH_ABI_VERSION whose version is not lower than its header's.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The binary interface of the library in use: compare it with NH_ABI_VERSION when the library
/// was loaded at run time.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_abi_version() -> u32 {
    NH_ABI_VERSION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_has_the_version_of_the_package() {
        let header = format!("{NH_VERSION_MAJOR}.{NH_VERSION_MINOR}.{NH_VERSION_PATCH}");
        assert_eq!(header, env!("CARGO_PKG_VERSION"));
        // SAFETY: the version is static text.
        let version = unsafe { std::ffi::CStr::from_ptr(nh_version()) };
        assert_eq!(version.to_str(), Ok(header.as_str()));
    }
}
