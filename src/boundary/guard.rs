//! No panic crosses into C.
//!
//! Unwinding out of an `extern "C"` function ends the process. So each exported body runs in
//! [`guard`], or in [`status`] and [`value`], which also turn an [`Error`] into what C gets: a
//! number or the type's error value, with the details in [`last_error`].

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::last_error;
use crate::base::error::{Error, ErrorKind};

/// Runs `body`. When it panics, the fault becomes the thread's last error and `on_panic` is
/// returned.
///
/// Costs no lock, no allocation and no system call as long as nothing panics, so it may stand
/// around what a signal handler calls.
pub fn guard<R>(on_panic: R, body: impl FnOnce() -> R) -> R {
    // What a panic leaves half done stays behind a handle, and that refuses further changes.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(value) => value,
        Err(payload) => {
            last_error::set(&Error::new(ErrorKind::Panic, describe(payload.as_ref())));
            // A payload is the panicking code's own object; dropping it may panic once more.
            if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                std::mem::forget(again);
            }
            on_panic
        }
    }
}

/// Runs `body` and returns 0, or the number of its error.
pub fn status(body: impl FnOnce() -> Result<(), Error>) -> i32 {
    guard(ErrorKind::Panic as i32, || match body() {
        Ok(()) => 0,
        Err(error) => last_error::set(&error),
    })
}

/// Runs `body` and returns its value, or `on_error` when it fails or panics.
pub fn value<R: Copy>(on_error: R, body: impl FnOnce() -> Result<R, Error>) -> R {
    guard(on_error, || {
        body().unwrap_or_else(|error| {
            last_error::set(&error);
            on_error
        })
    })
}

/// What a panic said.
fn describe(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    format!("a fault inside the library was caught: {}", text.unwrap_or("no details"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_the_error_value_and_the_last_error() {
        assert_eq!(guard(7, || panic!("on purpose, number {}", 1)), 7);
        assert_eq!(
            last_error::message_text(),
            "a fault inside the library was caught: on purpose, number 1"
        );
        assert_eq!(status(|| panic!("again")), ErrorKind::Panic as i32);
        assert_eq!(value(-1, || panic!("and again")), -1);
        assert!(last_error::message_text().ends_with("and again"));
    }

    #[test]
    fn a_panic_whose_payload_panics_when_dropped_is_caught_too() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("in the destructor of a panic");
            }
        }
        assert_eq!(guard(3, || std::panic::panic_any(Bomb)), 3);
        assert!(last_error::message_text().ends_with("no details"));
    }

    #[test]
    fn errors_become_numbers_and_values_pass() {
        let before = last_error::failures();
        assert_eq!(status(|| Ok(())), 0);
        assert_eq!(value(-1, || Ok(5)), 5);
        assert_eq!(last_error::failures(), before);
        assert_eq!(status(|| Err(Error::new(ErrorKind::State, "not now"))), -5);
        assert_eq!(last_error::message_text(), "not now");
        assert_eq!(value(0, || Err(Error::new(ErrorKind::NotFound, "gone"))), 0);
        assert_eq!(last_error::message_text(), "gone");
    }
}
