//! No panic crosses the C boundary: a body runs here and a panic becomes the caller's error value.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `body`; returns what it returns, or `on_panic` when it panicked.
///
/// What a panicking body leaves behind must still be sound for the next call: callers keep shared
/// state behind locks that do not poison and change it in steps that are each complete.
pub fn guard<R>(on_panic: R, body: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(on_panic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_the_error_value() {
        assert_eq!(guard(-1, || 7), 7);
        assert_eq!(guard(-1, || panic!("on purpose")), -1);
    }
}
