//! What can be wrong with a head.
#![forbid(unsafe_code)]

use std::fmt;

/// Declares [`HeadError`] with the status and the words of each case from one list.
macro_rules! head_errors {
    ($($(#[$doc:meta])* $name:ident = $status:literal, $message:literal;)*) => {
        /// Why a head is refused. The connection is closed after any of these: where the next
        /// message would begin is not known.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        pub enum HeadError { $($(#[$doc])* $name,)* }

        impl HeadError {
            /// Every case.
            pub const ALL: &'static [HeadError] = &[$(HeadError::$name,)*];

            /// The status that the client of a refused request gets: 400, 414, 431, 501 or 505.
            /// An upstream's refused response makes 502, whatever this says.
            pub fn status(&self) -> u16 {
                match self { $(HeadError::$name => $status,)* }
            }

            /// What was expected, in lower case without a full stop.
            pub fn message(&self) -> &'static str {
                match self { $(HeadError::$name => $message,)* }
            }
        }
    };
}

head_errors! {
    /// More empty lines before the request line than are skipped.
    TooManyEmptyLines = 400, "too many empty lines before the request line";
    /// A line feed without a carriage return before it.
    BareLf = 400, "a line must end in CR LF, not in LF alone";
    /// A carriage return without a line feed after it.
    BareCr = 400, "a carriage return must be followed by a line feed";
    /// A NUL byte.
    Nul = 400, "a NUL byte is not allowed in a head";
    /// The request line is not METHOD SP target SP version.
    BadRequestLine = 400, "the request line must be: method, space, target, space, version";
    /// The method is empty or not a token.
    BadMethod = 400, "the method must be a token";
    /// The method is longer than a whole request line may be.
    MethodTooLong = 501, "the method is too long";
    /// The target holds a byte that no request target may hold, or has none of the four forms.
    BadTarget = 400, "the request target is not valid";
    /// The request line exceeds its limit.
    RequestLineTooLong = 414, "the request line is too long";
    /// The version is not HTTP/d.d.
    BadVersion = 400, "the version must be HTTP/1.1 or HTTP/1.0";
    /// A version other than 1.0 and 1.1.
    UnsupportedVersion = 505, "only HTTP/1.1 and HTTP/1.0 are supported";
    /// CONNECT, which this server never tunnels.
    Connect = 501, "CONNECT is not supported";
    /// The asterisk form with another method than OPTIONS.
    BadAsterisk = 400, "the target * is for OPTIONS only";
    /// An absolute target whose scheme is not http or https, or whose authority is not valid.
    BadAbsoluteTarget = 400, "an absolute target must be http or https with a valid host";
    /// A line that begins with a blank: folding, or smuggling.
    ObsoleteFold = 400, "a header line must not begin with a blank";
    /// A field name is empty or holds something else than token characters.
    BadFieldName = 400, "a header name must be a token, followed by a colon at once";
    /// A field value holds a control character.
    BadFieldValue = 400, "a header value must not hold control characters";
    /// The header section exceeds its limit.
    HeaderSectionTooLarge = 431, "the header section is too large";
    /// More fields than allowed.
    TooManyFields = 431, "there are too many header fields";
    /// HTTP/1.1 without Host.
    MissingHost = 400, "Host is required in HTTP/1.1";
    /// More than one Host.
    RepeatedHost = 400, "Host must be there exactly once";
    /// Host is not uri-host [":" port].
    BadHost = 400, "Host must be one host name or address with an optional port";
    /// Host and the authority of an absolute target differ.
    HostMismatch = 400, "Host must agree with the host of the target";
    /// Content-Length is not a decimal number below 2^64.
    BadContentLength = 400, "Content-Length must be one decimal number";
    /// Content-Length is there twice, even with the same value.
    RepeatedContentLength = 400, "Content-Length must be there only once";
    /// Transfer-Encoding is repeated, malformed or does not end in chunked.
    BadTransferEncoding = 400, "Transfer-Encoding must be exactly: chunked";
    /// A well-formed Transfer-Encoding with a coding before chunked.
    UnsupportedCoding = 501, "the only supported transfer coding is chunked";
    /// Transfer-Encoding in HTTP/1.0.
    TransferEncodingInHttp10 = 400, "Transfer-Encoding is not allowed in HTTP/1.0";
    /// Both Content-Length and Transfer-Encoding.
    LengthAndEncoding = 400, "Content-Length and Transfer-Encoding exclude each other";
    /// A percent sign without two hexadecimal digits.
    BadPercent = 400, "a percent sign in the path must be followed by two hexadecimal digits";
    /// A control character, encoded in the path.
    EncodedControl = 400, "the path must not hold an encoded control character";
    /// The decoded path is not UTF-8.
    PathNotUtf8 = 400, "the decoded path must be UTF-8";
    /// Dot segments lead above the root, or hide behind encoded slashes or backslashes.
    AboveRoot = 400, "the path must not lead above the root";
    /// The status line is not version SP three digits [SP reason].
    BadStatusLine = 502, "the status line must be: version, space, three digits, reason";
    /// The status is not 100 to 599.
    BadStatus = 502, "the status must be 100 to 599";
    /// 101: nothing was asked to be switched.
    SwitchingProtocols = 502, "101 was not asked for";
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for HeadError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// A status outside the contract's list would surprise a client.
    #[test]
    fn statuses_are_those_of_the_contract() {
        for error in HeadError::ALL {
            assert!([400, 414, 431, 501, 502, 505].contains(&error.status()), "{error:?}");
            let message = error.to_string();
            assert!(!message.is_empty() && !message.ends_with('.'));
        }
    }
}
