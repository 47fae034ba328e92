//! Errors: one table joins an error's kind, its number in C and its words; [`Failure`] is what an
//! HTTP client is told.

use std::borrow::Cow;
use std::fmt;

/// Declares [`ErrorKind`] and the table of names and messages from one list.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $number:literal, $name:literal, $message:literal;)*) => {
        /// What went wrong, as a C caller sees it. Numbers are permanent: add at the end only.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr(i32)]
        pub enum ErrorKind { $($(#[$doc])* $kind = $number,)* }

        impl ErrorKind {
            /// Every kind, in the order of its number.
            pub const ALL: &'static [ErrorKind] = &[$(ErrorKind::$kind,)*];

            /// The name of the constant in C, NUL-terminated.
            pub fn c_name(self) -> &'static std::ffi::CStr {
                match self { $(ErrorKind::$kind => $name,)* }
            }

            /// One English line, NUL-terminated.
            pub fn c_message(self) -> &'static std::ffi::CStr {
                match self { $(ErrorKind::$kind => $message,)* }
            }

            /// The kind with this number, if there is one.
            pub fn from_number(number: i32) -> Option<ErrorKind> {
                match number { $($number => Some(ErrorKind::$kind),)* _ => None }
            }
        }
    };
}

kinds! {
    /// An argument is NULL, out of range or malformed.
    InvalidArgument = -1, c"NH_ERR_INVALID_ARGUMENT", c"an argument is missing, malformed or out of range";
    /// A route pattern cannot be used.
    InvalidPattern = -2, c"NH_ERR_INVALID_PATTERN", c"the route pattern is not valid";
    /// It is there already.
    Duplicate = -3, c"NH_ERR_DUPLICATE", c"it exists already";
    /// There is no such thing.
    NotFound = -4, c"NH_ERR_NOT_FOUND", c"it does not exist";
    /// Not possible now: the object is in another state, or this thread may not do it.
    State = -5, c"NH_ERR_STATE", c"not possible in this state or on this thread";
    /// The configuration is wrong.
    Config = -6, c"NH_ERR_CONFIG", c"the configuration is not valid";
    /// A system call failed.
    Io = -7, c"NH_ERR_IO", c"input or output failed";
    /// The address to listen on is taken.
    AddressInUse = -8, c"NH_ERR_ADDRESS_IN_USE", c"the address is already in use";
    /// Out of memory.
    Memory = -9, c"NH_ERR_MEMORY", c"out of memory";
    /// A limit was reached.
    Limit = -10, c"NH_ERR_LIMIT", c"a limit was reached";
    /// Nothing more fits now; try again when it is ready.
    WouldBlock = -11, c"NH_ERR_WOULD_BLOCK", c"it would have to wait";
    /// The other side has gone, or the handle's server has ended.
    Closed = -12, c"NH_ERR_CLOSED", c"it is closed";
    /// Cancelled by the caller.
    Cancelled = -13, c"NH_ERR_CANCELLED", c"it was cancelled";
    /// A deadline passed.
    Timeout = -14, c"NH_ERR_TIMEOUT", c"a deadline passed";
    /// The provider failed.
    Upstream = -15, c"NH_ERR_UPSTREAM", c"the upstream failed";
    /// Refused by firewall, guard or key check.
    Denied = -16, c"NH_ERR_DENIED", c"it was denied";
    /// Not supported by this build or version.
    Unsupported = -17, c"NH_ERR_UNSUPPORTED", c"it is not supported";
    /// A plugin failed.
    Plugin = -18, c"NH_ERR_PLUGIN", c"a plugin failed";
    /// A fault inside the library was caught.
    Panic = -19, c"NH_ERR_PANIC", c"a fault inside the library was caught";
}

/// An error inside the library, on its way to a caller in Rust or C.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// Its kind.
    pub kind: ErrorKind,
    /// What happened, in detail: lower case, no full stop.
    pub message: Cow<'static, str>,
    /// The HTTP status that stands behind it, or 0.
    pub http: u16,
    /// What a 429 or 503 asked to wait, in milliseconds, or -1.
    pub retry_after_ms: i64,
}

impl Error {
    /// An error without an HTTP status.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Error {
        Error { kind, message: message.into(), http: 0, retry_after_ms: -1 }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// What an HTTP client is told when a request fails: the members of OpenAI's error object and
/// the status. Never holds a key, a prompt or an upstream credential.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// HTTP status, 400..=599.
    pub status: u16,
    /// `error.type`, for example `invalid_request_error`.
    pub kind: &'static str,
    /// `error.code`, for example `model_not_found`.
    pub code: Option<Cow<'static, str>>,
    /// `error.param`: the member that is wrong.
    pub param: Option<Cow<'static, str>>,
    /// `error.message`: one English sentence.
    pub message: Cow<'static, str>,
    /// Seconds for Retry-After.
    pub retry_after_s: Option<u32>,
    /// The status a provider answered with, when it has failed and not we.
    pub upstream_status: Option<u16>,
    /// Header fields that belong to it, name and value.
    pub fields: Box<[(&'static str, String)]>,
}

impl Failure {
    /// A failure with the usual `type` of its status.
    pub fn new(status: u16, message: impl Into<Cow<'static, str>>) -> Failure {
        let kind = match status {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            503 => "overloaded_error",
            _ => "api_error",
        };
        Failure {
            status,
            kind,
            code: None,
            param: None,
            message: message.into(),
            retry_after_s: None,
            upstream_status: None,
            fields: Box::default(),
        }
    }

    /// The same with an `error.code`.
    pub fn code(mut self, code: impl Into<Cow<'static, str>>) -> Failure {
        self.code = Some(code.into());
        self
    }

    /// The same with an `error.param`.
    pub fn param(mut self, param: impl Into<Cow<'static, str>>) -> Failure {
        self.param = Some(param.into());
        self
    }

    /// The same with a Retry-After.
    pub fn retry_after(mut self, seconds: u32) -> Failure {
        self.retry_after_s = Some(seconds);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_come_back() {
        for (index, kind) in ErrorKind::ALL.iter().enumerate() {
            assert_eq!(*kind as i32, -(index as i32) - 1);
            assert_eq!(ErrorKind::from_number(*kind as i32), Some(*kind));
            assert!(kind.c_name().to_bytes().starts_with(b"NH_ERR_"));
        }
        assert_eq!(ErrorKind::from_number(0), None);
    }
}
