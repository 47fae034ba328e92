//! `POST /v1/chat` as the original server answered it.
//!
//! Request: `{"prompt", "model"?}`; without a string `prompt` the whole body is the prompt, whatever its
//! type. Answer: `{"response": "…", "model": "…", "status": "success"}`, blanks and all: old clients
//! match on text. It never streams; further members are ignored.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use crate::base::error::Failure;
use crate::json;

/// The request in the native dialect, with nothing in it but prompt and model.
///
/// # Errors
/// 400 for an empty body.
pub fn native_body(body: &[u8]) -> Result<Vec<u8>, Failure> {
    if body.is_empty() {
        return Err(Failure::new(400, "the request has no body"));
    }
    let member = |name: &[u8]| string_member(body, name);
    let prompt = member(b"prompt").unwrap_or_else(|| String::from_utf8_lossy(body));
    let mut out = b"{\"prompt\":".to_vec();
    json::escape_into(&mut out, &prompt);
    if let Some(model) = member(b"model").filter(|model| !model.is_empty()) {
        out.extend_from_slice(b",\"model\":");
        json::escape_into(&mut out, &model);
    }
    out.push(b'}');
    Ok(out)
}

/// The decoded string member of a JSON object, the first of that name.
fn string_member<'a>(document: &'a [u8], name: &[u8]) -> Option<Cow<'a, str>> {
    let mut found = None;
    json::for_each_member(document, |member| {
        if found.is_none() && document.get(member.key.clone()) == Some(name) {
            found = Some(member.value);
        }
    })
    .ok()?;
    json::string(document.get(found?)?)
}

/// Writes an answer.
pub fn encode(answer: &str, model: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"response\": ");
    json::escape_into(out, answer);
    out.extend_from_slice(b", \"model\": ");
    json::escape_into(out, model);
    out.extend_from_slice(b", \"status\": \"success\"}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_body_becomes_a_prompt() {
        for (body, expected) in [
            (r#"{"prompt":"a\nb","model":"m","stream":true}"#, r#"{"prompt":"a\nb","model":"m"}"#),
            (r#"{"prompt":1}"#, r#"{"prompt":"{\"prompt\":1}"}"#),
            ("just text", r#"{"prompt":"just text"}"#),
            (r#"{"prompt":"x","model":""}"#, r#"{"prompt":"x"}"#),
        ] {
            let native = native_body(body.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(native).unwrap(), expected, "{body}");
        }
        assert_eq!(native_body(b"").unwrap_err().status, 400);
    }
}
