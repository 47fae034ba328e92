//! Targets of redirects that look like a path of this site and lead elsewhere: browsers read
//! backslashes as slashes, leave out tabs and line breaks, and need no slashes behind a scheme.
//!
//! An absolute URL with its two slashes is not told: single sign-on is made of those, and only the
//! application knows its own hosts.

use std::ops::Range;

use super::place;

/// Where names are those of an application's fields.
pub const PLACES: u16 = place::QUERY | place::FORM | place::JSON;

/// What names of fields with a target hold.
const NAMES: [&[u8]; 8] =
    [b"redir", b"return", b"next", b"continue", b"dest", b"goto", b"forward", b"callback"];
/// The longest such name, in bytes.
const NAME_BYTES_MAX: usize = 32;
/// What is shown of a target, in bytes.
const TARGET_BYTES: usize = 40;

/// Whether a field of this name leads somewhere.
fn leads(name: &[u8]) -> bool {
    let mut small = [0; NAME_BYTES_MAX];
    let Some(small) = small.get_mut(..name.len()) else { return false };
    small.copy_from_slice(name);
    small.make_ascii_lowercase();
    NAMES.iter().any(|part| memchr::memmem::find(small, part).is_some())
}

/// The target, in a normalized value of a field of this name.
pub fn find(text: &[u8], name: &[u8]) -> Option<Range<usize>> {
    if !matches!(text.first(), Some(b'/' | b'\\' | b'h' | b' ' | b'\n')) || !leads(name) {
        return None;
    }
    let mut near = [0; TARGET_BYTES];
    let mut length = 0;
    let kept = text.iter().filter(|byte| !byte.is_ascii_whitespace());
    for (place, byte) in near.iter_mut().zip(kept) {
        *place = if *byte == b'\\' { b'/' } else { *byte };
        length += 1;
    }
    let target = near.get(..length)?;
    let is_host =
        |rest: &[u8]| rest.first().is_some_and(|b| b.is_ascii_alphanumeric() || *b >= 0x80);
    let scheme = [&b"https:"[..], b"http:"].into_iter().find_map(|it| target.strip_prefix(it));
    let is_outward = match scheme {
        // As it is written everywhere, unless what is a host to a reader is a user to a browser.
        Some(rest) if rest.starts_with(b"//") && text.get(5..).is_some_and(is_plain) => {
            let end = |byte: &u8| matches!(byte, b'/' | b'?' | b'#');
            let rest = rest.get(2..)?;
            let authority = rest.split(end).next()?;
            memchr::memchr(b'@', authority).is_some()
        }
        Some(rest) => rest
            .iter()
            .position(|b| *b != b'/')
            .is_some_and(|at| rest.get(at..).is_some_and(is_host)),
        None => target.strip_prefix(b"//").is_some_and(|rest| {
            let at = rest.iter().position(|b| *b != b'/');
            at.is_some_and(|at| rest.get(at..).is_some_and(is_host))
        }),
    };
    is_outward.then_some(0..text.len().min(TARGET_BYTES))
}

/// Whether two slashes, and no more, stand here as slashes.
fn is_plain(rest: &[u8]) -> bool {
    let rest = rest.strip_prefix(b":").unwrap_or(rest);
    rest.strip_prefix(b"//").is_some_and(|rest| !matches!(rest.first(), Some(b'/' | b'\\')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_elsewhere_are_told_from_paths_and_plain_links() {
        for (text, want) in [
            ("//evil.example", true),
            ("///evil.example/%2f..", true),
            ("/\\evil.example", true),
            ("\\\\evil.example", true),
            ("/ /evil.example", true),
            ("https:evil.example", true),
            ("https:/evil.example", true),
            ("https:\\evil.example", true),
            ("https:\\\\evil.example", true),
            ("http:///evil.example", true),
            ("https://www.example.com@evil.example/", true),
            ("https://app.example.com/cb?mail=a@b", false),
            ("http://app.example.com", false),
            ("/account/settings?tab=keys", false),
            ("/a//b", false),
            ("//", false),
            ("/", false),
            ("home", false),
            ("https", false),
        ] {
            assert_eq!(find(text.as_bytes(), b"next").is_some(), want, "{text}");
            assert!(find(text.as_bytes(), b"src").is_none());
        }
        assert!(find(b"//evil.example", b"returnUrl").is_some());
        assert!(find(b"//evil.example", b"REDIRECT_URI").is_some());
    }
}
