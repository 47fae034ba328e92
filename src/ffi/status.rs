//! Status numbers, their words, and the thread's last error.

use std::ffi::c_char;

use crate::base::error::ErrorKind;
use crate::boundary::guard::guard;
use crate::boundary::last_error;

/// What a call came to: NH_OK, or one of the negative NH_ERR_ numbers. Numbers are permanent, new
/// ones are added; take any other negative number for a failure too.
pub type nh_status = i32;

/// It worked.
pub const NH_OK: nh_status = 0;
/// An argument is NULL, malformed or out of range, or a handle has been freed.
pub const NH_ERR_INVALID_ARGUMENT: nh_status = -1;
/// A route pattern cannot be used.
pub const NH_ERR_INVALID_PATTERN: nh_status = -2;
/// It exists already.
pub const NH_ERR_DUPLICATE: nh_status = -3;
/// There is no such thing.
pub const NH_ERR_NOT_FOUND: nh_status = -4;
/// Not possible in this state, or not on this thread.
pub const NH_ERR_STATE: nh_status = -5;
/// The configuration is not valid; the message names file, line and column.
pub const NH_ERR_CONFIG: nh_status = -6;
/// A system call failed.
pub const NH_ERR_IO: nh_status = -7;
/// The address to listen on is taken.
pub const NH_ERR_ADDRESS_IN_USE: nh_status = -8;
/// Out of memory.
pub const NH_ERR_MEMORY: nh_status = -9;
/// A limit was reached.
pub const NH_ERR_LIMIT: nh_status = -10;
/// Nothing more fits now; it will be possible later.
pub const NH_ERR_WOULD_BLOCK: nh_status = -11;
/// The client has gone, or the server has ended.
pub const NH_ERR_CLOSED: nh_status = -12;
/// It was cancelled.
pub const NH_ERR_CANCELLED: nh_status = -13;
/// A deadline passed.
pub const NH_ERR_TIMEOUT: nh_status = -14;
/// The provider failed.
pub const NH_ERR_UPSTREAM: nh_status = -15;
/// Refused by firewall, guard or key check.
pub const NH_ERR_DENIED: nh_status = -16;
/// Not supported by this version or build.
pub const NH_ERR_UNSUPPORTED: nh_status = -17;
/// A plugin failed.
pub const NH_ERR_PLUGIN: nh_status = -18;
/// A fault inside the library was caught. The handle it happened on can be read and freed, but
/// not changed any more.
pub const NH_ERR_PANIC: nh_status = -19;

/// The name of a status, such as "NH_ERR_LIMIT"; "unknown" for a number that is none. Static
/// text, never NULL.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_status_name(status: nh_status) -> *const c_char {
    let name = match (status, ErrorKind::from_number(status)) {
        (NH_OK, _) => c"NH_OK",
        (_, Some(kind)) => kind.c_name(),
        (_, None) => c"unknown",
    };
    name.as_ptr()
}

/// A status in one English line. Static text, never NULL.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_status_message(status: nh_status) -> *const c_char {
    let message = match (status, ErrorKind::from_number(status)) {
        (NH_OK, _) => c"it worked",
        (_, Some(kind)) => kind.c_message(),
        (_, None) => c"the status is not known to this version",
    };
    message.as_ptr()
}

/// What went wrong in this thread's last failing call, in detail; "" when none has failed. Never
/// NULL. A call that succeeds leaves it as it is, so ask only after a failure.
/// Lends the text until this thread's next failing call.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_last_error_message() -> *const c_char {
    guard(c"".as_ptr(), last_error::message)
}

/// The HTTP status behind this thread's last failure when there is one, such as 429 from a
/// provider or our own 404 for a model; else 0.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_last_error_http() -> i32 {
    guard(0, || i32::from(last_error::http()))
}

/// How long the 429 or 503 behind this thread's last failure asked to wait, in milliseconds;
/// -1 when it did not ask.
/// [any-thread]   Since 1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nh_last_error_retry_after_ms() -> i64 {
    guard(-1, last_error::retry_after_ms)
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    fn text(pointer: *const c_char) -> &'static str {
        // SAFETY: every text here is static or this thread's last error, and NUL-terminated.
        unsafe { CStr::from_ptr(pointer) }.to_str().unwrap()
    }

    #[test]
    fn constants_and_table_agree() {
        let constants = [
            NH_ERR_INVALID_ARGUMENT,
            NH_ERR_INVALID_PATTERN,
            NH_ERR_DUPLICATE,
            NH_ERR_NOT_FOUND,
            NH_ERR_STATE,
            NH_ERR_CONFIG,
            NH_ERR_IO,
            NH_ERR_ADDRESS_IN_USE,
            NH_ERR_MEMORY,
            NH_ERR_LIMIT,
            NH_ERR_WOULD_BLOCK,
            NH_ERR_CLOSED,
            NH_ERR_CANCELLED,
            NH_ERR_TIMEOUT,
            NH_ERR_UPSTREAM,
            NH_ERR_DENIED,
            NH_ERR_UNSUPPORTED,
            NH_ERR_PLUGIN,
            NH_ERR_PANIC,
        ];
        let kinds: Vec<i32> = ErrorKind::ALL.iter().map(|kind| *kind as i32).collect();
        assert_eq!(constants[..], kinds);
        // SAFETY: any number may be asked for.
        unsafe {
            assert_eq!(text(nh_status_name(NH_ERR_LIMIT)), "NH_ERR_LIMIT");
            assert_eq!(text(nh_status_name(NH_OK)), "NH_OK");
            assert_eq!(text(nh_status_name(i32::MIN)), "unknown");
            assert_eq!(text(nh_status_message(NH_ERR_CLOSED)), "it is closed");
            assert!(!text(nh_status_message(1)).is_empty());
        }
    }
}
