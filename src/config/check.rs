//! What single texts of the configuration must look like.
#![forbid(unsafe_code)]

use super::kinds;

/// Characters of a name, at most.
const NAME_CHARS_MAX: usize = 256;
/// Bytes of a URL, at most.
const URL_BYTES_MAX: usize = 2048;

/// Text that is there.
pub(crate) fn not_empty(text: &str) -> Result<(), &'static str> {
    if text.is_empty() { Err("a name") } else { Ok(()) }
}

/// A content coding.
pub(crate) fn coding(text: &str) -> Result<(), &'static str> {
    match text {
        "gzip" | "br" | "zstd" => Ok(()),
        _ => Err("gzip, br or zstd"),
    }
}

/// A media type, or all of a kind.
pub(crate) fn media_type(text: &str) -> Result<(), &'static str> {
    let is_token = |part: &str| {
        let is_fit = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b);
        !part.is_empty() && part.bytes().all(is_fit)
    };
    let fits = text
        .split_once('/')
        .is_some_and(|(kind, own)| is_token(kind) && (own == "*" || is_token(own)));
    if fits { Ok(()) } else { Err("a type such as application/json or text/*") }
}

/// A name for people: of a key.
pub(crate) fn plain_name(text: &str) -> Result<(), &'static str> {
    let fits = !text.is_empty()
        && text.chars().count() <= NAME_CHARS_MAX
        && !text.chars().any(char::is_control);
    if fits { Ok(()) } else { Err("a name of 1 to 256 characters on one line") }
}

/// A name that a client may ask for, or that a provider knows.
pub(crate) fn model_name(text: &str) -> Result<(), &'static str> {
    let fits = plain_name(text).is_ok() && !text.contains(char::is_whitespace);
    if fits { Ok(()) } else { Err("a model's name of 1 to 256 characters without blanks") }
}

/// A further name of a model. `*` would hide what the name `*` means.
pub(crate) fn alias(text: &str) -> Result<(), &'static str> {
    if text == "*" { Err("a name: only `name` can be \"*\"") } else { model_name(text) }
}

/// A provider's name: `provider/model` is cut at the first slash.
pub(crate) fn provider_name(text: &str) -> Result<(), &'static str> {
    let fits = model_name(text).is_ok() && !text.contains('/');
    if fits {
        Ok(())
    } else {
        Err("a provider's name of 1 to 256 characters without blank or slash")
    }
}

/// A path that requests are limited on.
pub(crate) fn route_path(text: &str) -> Result<(), &'static str> {
    let fits = text.starts_with('/')
        && text.len() <= URL_BYTES_MAX
        && !text.contains(char::is_whitespace)
        && text.find('*').is_none_or(|star| star + 1 == text.len());
    if fits { Ok(()) } else { Err("a path such as /v1/chat, or /v1/* for all that begin so") }
}

/// A kind of provider.
pub(crate) fn kind_name(text: &str) -> Result<(), &'static str> {
    match kinds::find(text) {
        Some(_) => Ok(()),
        None => Err(kinds::expected()),
    }
}

/// The address where a provider's API begins; empty: the kind's own.
pub(crate) fn base_url(text: &str) -> Result<(), &'static str> {
    const EXPECTED: &str = "http://HOST[:PORT][/PATH] or https://… without user, query or fragment";
    if text.is_empty() {
        return Ok(());
    }
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        return Err(EXPECTED);
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let fits = is_url_text(text) && !rest.contains(['@', '?', '#']) && is_host_port(authority);
    if fits { Ok(()) } else { Err(EXPECTED) }
}

/// A path that is asked for a provider's health; empty: none.
pub(crate) fn health_path(text: &str) -> Result<(), &'static str> {
    let fits = text.is_empty() || text.starts_with('/') && is_url_text(text) && !text.contains('#');
    if fits { Ok(()) } else { Err("a path such as /models, or nothing") }
}

/// The address of a proxy; empty: none.
pub(crate) fn proxy_url(text: &str) -> Result<(), &'static str> {
    const EXPECTED: &str = "http://[USER:PASSWORD@]HOST:PORT, or nothing";
    if text.is_empty() {
        return Ok(());
    }
    let Some(rest) = text.strip_prefix("http://") else {
        return Err(EXPECTED);
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let fits = is_url_text(text) && !host.contains(['/', '?', '#']) && is_host_port(host);
    if fits { Ok(()) } else { Err(EXPECTED) }
}

fn is_url_text(text: &str) -> bool {
    text.len() <= URL_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// `name`, `name:80`, `1.2.3.4:80`, `[::1]:80`.
fn is_host_port(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) if host.parse::<std::net::Ipv6Addr>().is_ok() => (host, port),
            _ => return false,
        },
        None => match text.find(':') {
            Some(colon) => text.split_at(colon),
            None => (text, ""),
        },
    };
    let name_fits = text.starts_with('[')
        || host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    let port_fits = match port.strip_prefix(':') {
        Some(digits) => {
            digits.bytes().all(|byte| byte.is_ascii_digit())
                && digits.parse::<u16>().is_ok_and(|port| port > 0)
        }
        None => port.is_empty(),
    };
    !host.is_empty() && name_fits && port_fits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wrong: a URL that the relay cannot use, or that carries a credential into a log line.
    #[test]
    fn urls_are_checked() {
        fn check(text: &str, expected: bool) {
            assert_eq!(base_url(text).is_ok(), expected, "{text}");
        }
        check("https://api.openai.com/v1", true);
        check("http://127.0.0.1:11434", true);
        check("http://[::1]:8000/v1", true);
        check("", true);
        check("https://user@host/v1", false);
        check("https://host/v1?x=1", false);
        check("https://host:0/", false);
        check("https://host:65536/", false);
        check("https://", false);
        check("https://[::1/", false);
        check("https://ho st/", false);
        check("ftp://host/", false);
        check("api.openai.com/v1", false);
        check(&format!("https://host/{}", "a".repeat(2048)), false);
    }

    /// Wrong: a proxy that cannot be dialled.
    #[test]
    fn proxies_are_checked() {
        fn check(text: &str, expected: bool) {
            assert_eq!(proxy_url(text).is_ok(), expected, "{text}");
        }
        check("", true);
        check("http://proxy:3128", true);
        check("http://user:pass@proxy:3128/", true);
        check("https://proxy:3128", false);
        check("http://proxy:3128/path", false);
        check("proxy:3128", false);
    }

    /// Wrong: `provider/model` can no longer be cut, or a name breaks a log line.
    #[test]
    fn names_are_checked() {
        assert!(provider_name("open-ai").is_ok());
        assert!(provider_name("a/b").is_err());
        assert!(provider_name("").is_err());
        assert!(model_name("meta/llama-3:free").is_ok());
        assert!(model_name("*").is_ok());
        assert!(model_name("a b").is_err());
        assert!(alias("*").is_err());
        assert!(plain_name("team a").is_ok());
        assert!(plain_name("team\na").is_err());
        assert!(plain_name(&"a".repeat(257)).is_err());
    }
}
