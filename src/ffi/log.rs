//! Log lines, as they reach the host.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use crate::boundary::callback::{Callback, UserData};
use crate::boundary::guard::guard;
use crate::server::LogSink;

/// Severity of a log line: something failed that should not.
pub const NH_LOG_ERROR: i32 = 1;
/// Severity of a log line: something is not as it should be.
pub const NH_LOG_WARN: i32 = 2;
/// Severity of a log line: what the server does.
pub const NH_LOG_INFO: i32 = 3;
/// Severity of a log line: how it does it.
pub const NH_LOG_DEBUG: i32 = 4;
/// Severity of a log line: every step.
pub const NH_LOG_TRACE: i32 = 5;

/// Takes one log line: its severity (NH_LOG_), its text without time and line end, and the
/// length of that. Lends `message`, NUL-terminated and without control characters, during the
/// call. Called on any thread, on several at once, so it must not block for long; what it logs
/// itself by calling the library is dropped.
/// [any-thread]   Since 1.0.
pub type nh_log_fn = Option<
    unsafe extern "C-unwind" fn(
        level: i32,
        message: *const c_char,
        len: usize,
        user_data: *mut c_void,
    ),
>;

/// Where log lines go: to `log`, else (None) where the configuration says. `user_data` is freed
/// when the last line has been logged, at once without `log`.
pub(super) fn sink(log: nh_log_fn, user_data: UserData) -> Option<Arc<dyn LogSink>> {
    let callback = Callback::new(Some(log?), user_data).ok()?;
    Some(Arc::new(HostLog { callback }))
}

/// Hands log lines to the host.
struct HostLog {
    callback: Callback<
        unsafe extern "C-unwind" fn(
            level: i32,
            message: *const c_char,
            len: usize,
            user_data: *mut c_void,
        ),
    >,
}

thread_local! {
    /// This thread is inside a host's log callback: what that logs would come back to it.
    static LOGGING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

impl LogSink for HostLog {
    fn line(&self, level: i32, message: &str) {
        if LOGGING.try_with(|logging| logging.replace(true)).unwrap_or(true) {
            return;
        }
        let text: Vec<u8> = message.bytes().filter(|&byte| byte != 0).chain([0]).collect();
        let (function, user_data) = (self.callback.function(), self.callback.user_data());
        // SAFETY: function and data were registered together; the text is NUL-terminated and
        // outlives the call.
        guard((), || unsafe { function(level, text.as_ptr().cast(), text.len() - 1, user_data) });
        LOGGING.set(false);
    }
}
