//! What plugins and the server both see: the C structs of the old contract and of the new one.

use crate::boundary::c_structs;
use std::ffi::{c_char, c_int, c_void};

/// `MiddlewareFunc`.
pub type Middleware = Option<unsafe extern "C" fn(*mut HttpRequest, *mut RouteResponse) -> c_int>;

c_structs! {
    /// `HTTPRequest` of parser.h.
    struct HttpRequest = "HTTPRequest" in "parser.h", size 312 align 8 {
        0 method: c_int,
        8 path: *mut c_char,
        16 query_string: *mut c_char,
        24 headers: [*mut c_char; 32],
        280 header_count: c_int,
        288 body: *mut c_char,
        296 body_length: usize,
        304 content_type: *mut c_char,
    }

    /// `RouteResponse` of parser.h.
    struct RouteResponse = "RouteResponse" in "parser.h", size 312 align 8 {
        0 status_code: c_int,
        8 status_message: *mut c_char,
        16 headers: [*mut c_char; 32],
        272 header_count: c_int,
        280 data: *mut c_char,
        288 length: usize,
        296 is_streaming: c_int,
        304 stream_data: *mut c_void,
    }
}

/// Methods of parser.h by their number; 7 is HTTP_UNKNOWN.
pub const METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"];
/// HTTP_UNKNOWN.
pub const METHOD_UNKNOWN: c_int = 7;
