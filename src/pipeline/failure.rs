//! What an HTTP client is told when a request fails: the error object of the dialect it speaks.

use crate::ai::dialect::Dialect;
use crate::base::error::Failure;
use crate::exchange::{Exchange, Request};

/// The dialect whose error object a path expects: Anthropic's under `/v1/messages`, OpenAI's
/// everywhere else.
pub fn dialect_of(request: &Request) -> Dialect {
    if request.path().starts_with(b"/v1/messages") {
        Dialect::AnthropicMessages
    } else {
        Dialect::OpenAiChat
    }
}

/// Fills the response with a failure.
pub fn answer(exchange: &mut Exchange, failure: &Failure) {
    let dialect = dialect_of(&exchange.request);
    let response = &mut exchange.response;
    response.status = failure.status;
    response.failure = Some(Box::new(failure.clone()));
    response.headers.remove(b"content-type");
    response.headers.push(b"Content-Type", b"application/json");
    if let Some(seconds) = failure.retry_after_s {
        response.headers.remove(b"retry-after");
        response.headers.push(b"Retry-After", seconds.to_string().as_bytes());
    }
    for (name, value) in &failure.fields {
        response.headers.remove(name.as_bytes());
        response.headers.push(name.as_bytes(), value.as_bytes());
    }
    if failure.status == 401 {
        // RFC 9110 section 11.6.1: a 401 names a scheme.
        response.headers.push(b"WWW-Authenticate", b"Bearer");
    }
    response.body.clear();
    dialect.encode_failure(failure, &mut response.body);
}

/// Fills the response of a call that has failed. What an upstream said in the client's own dialect
/// stands in the response already and passes as it is.
pub fn answer_failed_call(exchange: &mut Exchange, failure: &Failure) {
    let response = &mut exchange.response;
    if response.status != failure.status || response.body.is_empty() {
        answer(exchange, failure);
        return;
    }
    if let Some(seconds) = failure.retry_after_s {
        response.headers.remove(b"retry-after");
        response.headers.push(b"Retry-After", seconds.to_string().as_bytes());
    }
}
