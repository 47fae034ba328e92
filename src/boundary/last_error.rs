//! The calling thread's last error, as C reads it.
//!
//! The one piece of state of the boundary. It belongs to a thread, so it needs no lock, and it is
//! only ever replaced as a whole: a failing call sets message, HTTP status and waiting time
//! together, and a succeeding one leaves them alone.

use std::cell::RefCell;
use std::ffi::{CStr, c_char};

use crate::base::error::{Error, ErrorKind};

/// Longer messages are cut, in bytes: a message is one line for a person.
const MESSAGE_BYTES_MAX: usize = 2048;

struct LastError {
    /// Ends with a NUL and holds no other.
    message: Vec<u8>,
    http: u16,
    retry_after_ms: i64,
    failures: u64,
}

thread_local! {
    static LAST: RefCell<LastError> =
        const {
            RefCell::new(LastError {
                message: Vec::new(),
                http: 0,
                retry_after_ms: -1,
                failures: 0,
            })
        };
}

/// Remembers `error` for this thread and returns its number.
pub fn set(error: &Error) -> i32 {
    with(|last| {
        last.message.clear();
        let text = cut(&error.message).as_bytes();
        // A NUL would end the message early for C: whatever stands behind it would be lost.
        last.message.extend(text.iter().map(|&byte| if byte == 0 { b'?' } else { byte }));
        last.message.push(0);
        last.http = error.http;
        last.retry_after_ms = error.retry_after_ms;
        last.failures = last.failures.wrapping_add(1);
    });
    error.kind as i32
}

/// Remembers an error of `kind` with its general message and returns its number.
pub fn set_kind(kind: ErrorKind) -> i32 {
    set(&Error::new(kind, kind.c_message().to_str().unwrap_or_default()))
}

/// The message, "" when this thread has seen no error. Lent until the thread's next failing call.
pub fn message() -> *const c_char {
    with(|last| match CStr::from_bytes_with_nul(&last.message) {
        Ok(text) => text.as_ptr(),
        Err(_) => c"".as_ptr(),
    })
    .unwrap_or(c"".as_ptr())
}

/// How many calls have failed on this thread: whether one did since is what its change tells.
pub fn failures() -> u64 {
    with(|last| last.failures).unwrap_or(0)
}

/// A copy of the message, for whoever passes it on as the reason of something else.
pub fn message_text() -> String {
    with(|last| {
        let text = last.message.split_last().map_or(&[][..], |(_, text)| text);
        String::from_utf8_lossy(text).into_owned()
    })
    .unwrap_or_default()
}

/// The HTTP status behind the last error, or 0.
pub fn http() -> u16 {
    with(|last| last.http).unwrap_or(0)
}

/// How long the other side asked to wait, in milliseconds, or -1.
pub fn retry_after_ms() -> i64 {
    with(|last| last.retry_after_ms).unwrap_or(-1)
}

/// No more than [`MESSAGE_BYTES_MAX`] of `text`, cut between two characters.
fn cut(text: &str) -> &str {
    let fits =
        |&(start, character): &(usize, char)| start + character.len_utf8() <= MESSAGE_BYTES_MAX;
    let end = text.char_indices().take_while(fits).last();
    let end = end.map_or(0, |(start, character)| start + character.len_utf8());
    text.get(..end).unwrap_or_default()
}

/// `None` while the thread is ending, when its state is gone but destructors may still call us.
fn with<R>(body: impl FnOnce(&mut LastError) -> R) -> Option<R> {
    LAST.try_with(|last| last.try_borrow_mut().ok().map(|mut last| body(&mut last))).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        // SAFETY: the message is NUL-terminated and nothing fails before it is copied.
        unsafe { CStr::from_ptr(message()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn an_error_is_remembered_whole() {
        let before = failures();
        assert_eq!((text().as_str(), http(), retry_after_ms()), ("", 0, -1));
        let error = Error {
            kind: ErrorKind::Limit,
            message: "too many".into(),
            http: 429,
            retry_after_ms: 1500,
        };
        assert_eq!(set(&error), -10);
        assert_eq!((text().as_str(), http(), retry_after_ms()), ("too many", 429, 1500));
        assert_eq!(set_kind(ErrorKind::Closed), -12);
        assert_eq!((text().as_str(), http(), retry_after_ms()), ("it is closed", 0, -1));
        assert_eq!(message_text(), "it is closed");
        assert_eq!(failures(), before + 2);
    }

    #[test]
    fn a_message_stays_one_c_string_of_bounded_length() {
        set(&Error::new(ErrorKind::Io, "a\0b"));
        assert_eq!(text(), "a?b");
        set(&Error::new(ErrorKind::Io, "ä".repeat(MESSAGE_BYTES_MAX)));
        assert_eq!(text(), "ä".repeat(MESSAGE_BYTES_MAX / 2));
    }

    #[test]
    fn threads_do_not_see_each_others_errors() {
        set(&Error::new(ErrorKind::Io, "mine"));
        let other = std::thread::spawn(text).join().unwrap();
        assert_eq!((other.as_str(), text().as_str()), ("", "mine"));
    }
}
