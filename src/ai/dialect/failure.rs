//! Error bodies.
#![forbid(unsafe_code)]

use crate::ai::write::{self, Object};
use crate::base::error::Failure;

/// `{"error":{"message","type","param","code"}}`
pub(super) fn openai(failure: &Failure, out: &mut Vec<u8>) {
    write::object(out, |o| {
        o.object("error", |e| openai_members(failure, e));
    });
}

/// The members of OpenAI's error object.
pub(super) fn openai_members(failure: &Failure, e: &mut Object<'_>) {
    e.string("message", &failure.message)
        .string("type", failure.kind)
        .string_or_null("param", failure.param.as_deref())
        .string_or_null("code", failure.code.as_deref());
}

/// `{"type":"error","error":{"type","message"}}`
pub(super) fn anthropic(failure: &Failure, out: &mut Vec<u8>) {
    write::object(out, |o| anthropic_members(failure, o));
}

/// The members of Anthropic's error answer.
pub(super) fn anthropic_members(failure: &Failure, o: &mut Object<'_>) {
    o.string("type", "error").object("error", |e| {
        e.string("type", anthropic_type(failure.status)).string("message", &failure.message);
    });
}

/// Anthropic's error types by status (their page "Errors").
fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        _ => "api_error",
    }
}
