//! Signatures on tool calls in dialects that have no place for them.
//!
//! Gemini signs its calls and refuses a call that comes back without its signature. Anthropic's
//! messages and OpenAI's responses have no member for it, but every client hands a call's id back
//! as it was: so the signature travels in the id, behind a mark, in characters ids may have.
#![forbid(unsafe_code)]

use std::borrow::Cow;

const MARK: &str = "__ts__";

/// The id a client is told for a call.
pub(super) fn into_id<'i>(id: &'i str, signature: Option<&str>) -> Cow<'i, str> {
    let Some(signature) = signature else {
        return Cow::Borrowed(id);
    };
    let body = signature.trim_end_matches('=');
    let fit = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    // Base64 in full groups comes back with its padding; anything else cannot travel.
    if body.is_empty() || !body.bytes().all(fit) || signature.len() % 4 != 0 {
        return Cow::Borrowed(id);
    }
    let body = body.replace('+', "-").replace('/', "_");
    Cow::Owned(format!("{id}{MARK}{body}"))
}

/// The id of a call as its provider knows it, and the signature that travelled with it.
pub(super) fn from_id(id: &str) -> (&str, Option<String>) {
    let Some((id, body)) = id.rsplit_once(MARK) else {
        return (id, None);
    };
    let mut signature = body.replace('-', "+").replace('_', "/");
    while signature.len() % 4 != 0 {
        signature.push('=');
    }
    (id, Some(signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_come_back_as_they_were() {
        for signature in ["AAAA", "ab+/cQ==", "ab+/cdE=", "Zm9v"] {
            let id = into_id("call_1", Some(signature));
            assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')));
            assert_eq!(from_id(&id), ("call_1", Some(signature.to_owned())));
        }
        assert_eq!(into_id("call_1", None), "call_1");
        assert_eq!(into_id("call_1", Some("not base64!")), "call_1");
        assert_eq!(from_id("call_1"), ("call_1", None));
    }
}
