//! Errors of providers, in any of their forms, to what the client is told.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use super::wait;
use crate::ai::tree::{self, Node};
use crate::base::error::Failure;

/// Longest text of an upstream's error that is handed on, in characters.
const MESSAGE_CHARS_MAX: usize = 4096;

/// Translates an upstream's error answer.
///
/// 400, 404, 413, 422 and 429 are the client's to know and keep status and text; 401 and 403 are
/// about our credential: 502 `upstream_auth` without the text; everything else is a 502. A
/// Retry-After is kept, else that of Google's details. Reads OpenAI's, Anthropic's, Gemini's, Ollama's and FastAPI's error bodies.
pub fn decode_failure(status: u16, retry_after_s: Option<u32>, body: &[u8]) -> Failure {
    let tree = tree::parse(body).ok();
    let mut failure = match status {
        401 | 403 => {
            let message = "The provider of this model did not accept the gateway's credential.";
            Failure::new(502, message).code("upstream_auth")
        }
        400 | 404 | 413 | 422 | 429 => {
            let found = tree.as_ref().map(words).unwrap_or_default();
            let message = found.message.unwrap_or_else(|| {
                format!("The provider answered with status {status} and no readable reason.")
            });
            let mut failure = Failure::new(status, message);
            failure.code = found.code.map(Cow::Owned);
            failure.param = found.param.map(Cow::Owned);
            failure
        }
        _ => Failure::new(502, format!("The provider failed with status {status}."))
            .code("upstream_failed"),
    };
    failure.retry_after_s = retry_after_s.or_else(|| {
        let tree = tree.as_ref().filter(|_| matches!(status, 429 | 503))?;
        // Gemini's array form wraps the object once more.
        wait::in_details(tree.items().first().unwrap_or(tree).get("error")?)
    });
    failure.upstream_status = Some(status);
    failure
}

/// An error a provider put into a stream that had begun well.
pub(super) fn in_stream(node: &Node<'_>) -> Failure {
    let found = words(node);
    let message = found.message.unwrap_or_else(|| "The provider ended the stream in error.".into());
    let mut failure = Failure::new(502, message);
    failure.code = Some(found.code.map_or(Cow::Borrowed("upstream_failed"), Cow::Owned));
    failure
}

#[derive(Default)]
struct Words {
    message: Option<String>,
    code: Option<String>,
    param: Option<String>,
}

/// Finds message, code and param in any of the shapes providers use.
fn words(root: &Node<'_>) -> Words {
    // Gemini's array form wraps the object once more.
    let root = root.items().first().unwrap_or(root);
    let error = root.get("error").unwrap_or(root);
    let detail = root.get("detail").or(root.get("message"));
    let message = error
        .text()
        .or_else(|| error.text_of("message"))
        .or_else(|| detail.and_then(Node::text))
        // FastAPI and Mistral: a list of what is wrong where.
        .or_else(|| {
            let detail = detail.map(|d| d.get("detail").unwrap_or(d));
            detail.and_then(|d| d.items().first()).and_then(|first| first.text_of("msg"))
        });
    let code = error.text_of("code").or_else(|| error.text_of("status"));
    Words { message: message.map(cut), code: code.map(cut), param: error.text_of("param").map(cut) }
}

fn cut(text: &str) -> String {
    text.chars().take(MESSAGE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_providers_error_body_is_read() {
        for (status, body, expected, message) in [
            (400, r#"{"error":{"message":"bad","type":"t","param":"p","code":"c"}}"#, 400, "bad"),
            (
                404,
                r#"{"type":"error","error":{"type":"not_found_error","message":"no"}}"#,
                404,
                "no",
            ),
            (
                429,
                r#"{"error":{"code":429,"message":"slow","status":"RESOURCE_EXHAUSTED"}}"#,
                429,
                "slow",
            ),
            (
                400,
                r#"[{"error":{"code":400,"message":"arr","status":"INVALID_ARGUMENT"}}]"#,
                400,
                "arr",
            ),
            (404, r#"{"error":"model 'x' not found"}"#, 404, "model 'x' not found"),
            (422, r#"{"detail":[{"loc":["body","x"],"msg":"Extra inputs"}]}"#, 422, "Extra inputs"),
            (422, r#"{"object":"error","message":{"detail":[{"msg":"Nope"}]}}"#, 422, "Nope"),
            (400, r#"{"message":"plain"}"#, 400, "plain"),
            (413, "<html>", 413, "The provider answered with status 413 and no readable reason."),
            (
                500,
                r#"{"error":{"message":"secret stack"}}"#,
                502,
                "The provider failed with status 500.",
            ),
            (
                401,
                r#"{"error":{"message":"key sk-1 is wrong"}}"#,
                502,
                "The provider of this model did not accept the gateway's credential.",
            ),
        ] {
            let failure = decode_failure(status, Some(7), body.as_bytes());
            assert_eq!(failure.status, expected, "{body}");
            assert_eq!(failure.message, message, "{body}");
            assert_eq!(failure.retry_after_s, Some(7));
        }
        let auth = decode_failure(403, None, b"{}");
        assert_eq!(auth.code.as_deref(), Some("upstream_auth"));
    }
}
