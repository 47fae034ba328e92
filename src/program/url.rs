//! The URLs that commands take: `http://` and `https://`, without credentials.

/// A URL, split.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Url {
    /// `https`.
    pub(crate) is_tls: bool,
    /// Name or address, an IPv6 address without its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Host and port as the Host field has them.
    pub(crate) authority: String,
    /// Path and query; begins with a slash.
    pub(crate) target: String,
}

impl Url {
    /// Splits a URL; without a scheme it is `http`.
    ///
    /// # Errors
    /// One line that says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Url, String> {
        let wrong = |what: &str| format!("{text}: {what}");
        let (is_tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) => return Err(wrong("http:// or https:// is expected")),
            None => (false, text),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let target = target.split('#').next().unwrap_or_default();
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        if authority.contains('@') {
            return Err(wrong("a name and password have no place in it; use -H"));
        }
        if target.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err(wrong("blanks and letters beyond ASCII are to be percent-encoded"));
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(|| wrong("] is missing"))?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| wrong("no IPv6 address"))?;
                (host, rest.strip_prefix(':'))
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_name) {
            return Err(wrong("a host is expected"));
        }
        let port = match port {
            Some(digits) => digits.parse().ok().filter(|port| *port != 0),
            None => Some(if is_tls { 443 } else { 80 }),
        };
        Ok(Url {
            is_tls,
            host: host.to_owned(),
            port: port.ok_or_else(|| wrong("the port is a number from 1 to 65535"))?,
            authority: authority.to_owned(),
            target,
        })
    }

    /// As it is written, without a path.
    pub(crate) fn base(&self) -> String {
        format!("{}://{}", if self.is_tls { "https" } else { "http" }, self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split() {
        for (text, want) in [
            ("http://a", (false, "a", 80, "a", "/")),
            ("https://a.b:8443/x?y=z#frag", (true, "a.b", 8443, "a.b:8443", "/x?y=z")),
            ("127.0.0.1:8080/health", (false, "127.0.0.1", 8080, "127.0.0.1:8080", "/health")),
            ("http://[::1]:81?q", (false, "::1", 81, "[::1]:81", "/?q")),
        ] {
            let url = Url::parse(text).unwrap();
            let got = (url.is_tls, &*url.host, url.port, &*url.authority, &*url.target);
            assert_eq!(got, want, "{text}");
        }
        for text in [
            "ftp://a",
            "http://",
            "http://a:0",
            "http://a:x",
            "http://u:p@a",
            "http://a/ b",
            "http://[x]",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }
}
