//! Request methods (RFC 9110 section 9, PATCH: RFC 5789).
#![forbid(unsafe_code)]

/// A request method. Any token that is not known is [`Method::Other`]; its text stays in the head.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
#[repr(u8)]
pub enum Method {
    /// GET
    #[default]
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
    /// CONNECT; no request head with it is ever accepted.
    Connect,
    /// OPTIONS
    Options,
    /// TRACE
    Trace,
    /// PATCH
    Patch,
    /// Any other token.
    Other,
}

impl Method {
    /// Every known method, in the order of its number.
    pub const KNOWN: [Method; 9] = [
        Method::Get,
        Method::Head,
        Method::Post,
        Method::Put,
        Method::Delete,
        Method::Connect,
        Method::Options,
        Method::Trace,
        Method::Patch,
    ];

    /// The method of this token. Methods are case-sensitive: `get` is [`Method::Other`].
    #[inline]
    pub fn from_token(token: &[u8]) -> Method {
        match token {
            b"GET" => Method::Get,
            b"POST" => Method::Post,
            b"HEAD" => Method::Head,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"CONNECT" => Method::Connect,
            b"OPTIONS" => Method::Options,
            b"TRACE" => Method::Trace,
            b"PATCH" => Method::Patch,
            _ => Method::Other,
        }
    }

    /// Its token; empty for [`Method::Other`].
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Connect => "CONNECT",
            Method::Options => "OPTIONS",
            Method::Trace => "TRACE",
            Method::Patch => "PATCH",
            Method::Other => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A method that does not come back from its own text would be routed wrongly.
    #[test]
    fn tokens_come_back() {
        for (index, method) in Method::KNOWN.into_iter().enumerate() {
            assert_eq!(method as usize, index);
            assert_eq!(Method::from_token(method.as_str().as_bytes()), method);
        }
        for other in [&b""[..], b"get", b"GETS", b"GE", b"BREW", b"Post", b"PATCHX"] {
            assert_eq!(Method::from_token(other), Method::Other);
        }
        assert_eq!(Method::Other.as_str(), "");
    }
}
