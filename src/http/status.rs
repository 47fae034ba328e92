//! Status codes: reason phrases and ready-made status lines (RFC 9110 section 15 and the IANA
//! registry).
#![forbid(unsafe_code)]

/// One list gives the phrase and the whole status line, so that a line is one copy of constant
/// bytes.
macro_rules! statuses {
    ($($status:literal $reason:literal)*) => {
        /// The standard reason phrase; empty when the status has none.
        pub fn reason(status: u16) -> &'static str {
            match status {
                $($status => $reason,)*
                _ => "",
            }
        }

        /// The whole `HTTP/1.1 200 OK\r\n` of a registered status.
        pub fn line(status: u16) -> Option<&'static [u8]> {
            match status {
                $($status => Some(
                    concat!("HTTP/1.1 ", stringify!($status), " ", $reason, "\r\n").as_bytes(),
                ),)*
                _ => None,
            }
        }

        /// Every registered status.
        pub const REGISTERED: &[u16] = &[$($status,)*];
    };
}

statuses! {
    100 "Continue"
    101 "Switching Protocols"
    102 "Processing"
    103 "Early Hints"
    200 "OK"
    201 "Created"
    202 "Accepted"
    203 "Non-Authoritative Information"
    204 "No Content"
    205 "Reset Content"
    206 "Partial Content"
    207 "Multi-Status"
    208 "Already Reported"
    226 "IM Used"
    300 "Multiple Choices"
    301 "Moved Permanently"
    302 "Found"
    303 "See Other"
    304 "Not Modified"
    305 "Use Proxy"
    307 "Temporary Redirect"
    308 "Permanent Redirect"
    400 "Bad Request"
    401 "Unauthorized"
    402 "Payment Required"
    403 "Forbidden"
    404 "Not Found"
    405 "Method Not Allowed"
    406 "Not Acceptable"
    407 "Proxy Authentication Required"
    408 "Request Timeout"
    409 "Conflict"
    410 "Gone"
    411 "Length Required"
    412 "Precondition Failed"
    413 "Content Too Large"
    414 "URI Too Long"
    415 "Unsupported Media Type"
    416 "Range Not Satisfiable"
    417 "Expectation Failed"
    418 "I'm a teapot"
    421 "Misdirected Request"
    422 "Unprocessable Content"
    423 "Locked"
    424 "Failed Dependency"
    425 "Too Early"
    426 "Upgrade Required"
    428 "Precondition Required"
    429 "Too Many Requests"
    431 "Request Header Fields Too Large"
    451 "Unavailable For Legal Reasons"
    500 "Internal Server Error"
    501 "Not Implemented"
    502 "Bad Gateway"
    503 "Service Unavailable"
    504 "Gateway Timeout"
    505 "HTTP Version Not Supported"
    506 "Variant Also Negotiates"
    507 "Insufficient Storage"
    508 "Loop Detected"
    510 "Not Extended"
    511 "Network Authentication Required"
}

/// Whether a response with this status never has a body (RFC 9110 section 6.4.1; 205 is the
/// server's own duty: it may not generate content, but its framing is that of any other).
pub fn is_bodiless(status: u16) -> bool {
    status < 200 || status == 204 || status == 304
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A phrase with a control character in it would split a response.
    #[test]
    fn phrases_and_lines_agree() {
        assert_eq!(reason(200), "OK");
        assert_eq!(reason(299), "");
        assert_eq!(line(600), None);
        for &status in REGISTERED {
            let text = reason(status);
            assert!(!text.is_empty() && text.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
            let expected = format!("HTTP/1.1 {status} {text}\r\n");
            assert_eq!(line(status), Some(expected.as_bytes()));
        }
        assert!(REGISTERED.is_sorted());
    }

    /// A body after one of these would be taken for the next response.
    #[test]
    fn bodiless_statuses() {
        for status in [100, 103, 199, 204, 304] {
            assert!(is_bodiless(status));
        }
        for status in [200, 205, 206, 301, 404, 500] {
            assert!(!is_bodiless(status));
        }
    }
}
