//! Memory and callback data that cross the boundary.

use std::ffi::c_void;

use crate::boundary::bytes;
use crate::boundary::guard::guard;

/// Frees the `user_data` of a callback. Called exactly once, after the last call that uses it:
/// when the registration fails, when the callback is replaced or removed, or when what it was
/// registered with is freed; on the thread where that happens. It must not call back into what
/// it was registered with.
pub type nh_drop = Option<unsafe extern "C-unwind" fn(user_data: *mut c_void)>;

/// Frees what a function of this library gives you ("Gives ... free it with nh_free"), and
/// nothing else. NULL is fine.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_free(pointer: *mut c_void) {
    // SAFETY: the caller's promise.
    guard((), || unsafe { bytes::free(pointer) });
}
