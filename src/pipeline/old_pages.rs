//! The pages of the old program: their bodies, as old clients match on them.
//!
//! The blanks after `:` and `,` belong to them. A server started the old way answers with these instead
//! of the pages in `builtin`.

use crate::ai::dialect::old_chat;
use crate::exchange::Exchange;
use crate::http::status;
use crate::json;
use crate::pipeline::{App, Builtin};

/// What the old program called itself in its `Server` header.
pub const SERVER_NAME: &str = "AIONIC/1.0";

/// The texts of the old error codes, in their order from 0.
pub const ERROR_TEXTS: [&str; 5] = [
    "No error",
    "Memory allocation failed",
    "Invalid parameter",
    "Route not found",
    "Internal server error",
];

/// `GET /`.
pub const LANDING: &str = "<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<title>AIONIC - NeuroHTTP</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; }
code, pre { background: #f2f2f4; padding: .1em .3em; border-radius: .3em; }
pre { padding: 1em; overflow-x: auto; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .3em 1em .3em 0; }
@media (prefers-color-scheme: dark) { body { background: #17171a; color: #e8e8ec; } code, pre { background: #2a2a30; } }
</style>
</head>
<body>
<h1>AIONIC</h1>
<p>The NeuroHTTP server is running.</p>
<table>
<tr><th>Request</th><th>What it does</th></tr>
<tr><td><code>POST /v1/chat</code></td><td>sends a prompt to a model</td></tr>
<tr><td><code>GET /stats</code></td><td>requests, responses, connections</td></tr>
<tr><td><code>GET /health</code></td><td>says that the server is alive</td></tr>
</table>
<h2>Try it</h2>
<pre>curl -X POST http://localhost:8080/v1/chat \\
     -H 'Content-Type: application/json' \\
     -d '{\"prompt\": \"Hello\"}'</pre>
</body>
</html>
";

/// `GET /health`.
pub fn health(now: i64) -> String {
    format!("{{\"status\": \"ok\", \"timestamp\": {now}, \"server\": \"{SERVER_NAME}\"}}")
}

/// `GET /stats`.
pub fn stats(requests: u64, responses: u64, uptime_s: u64, connections: i64, now: i64) -> String {
    format!(
        "{{\"requests\": {requests}, \"responses\": {responses}, \"uptime\": {uptime_s}, \
         \"active_connections\": {connections}, \"timestamp\": {now}}}"
    )
}

/// The answer of `POST /v1/chat`.
pub fn chat(answer: &str, model: &str) -> Vec<u8> {
    let mut body = Vec::new();
    old_chat::encode(answer, model, &mut body);
    body
}

/// What old clients are told when no model has answered; they match on it.
pub const ROUTER_ERROR: &str = "AI Router Error: Failed to process request";

/// Says in the answer's head who answers, as the original did.
pub fn sign(exchange: &mut Exchange) {
    exchange.added.push(b"Server", SERVER_NAME.as_bytes());
}

/// Answers with an old page where there is one. Whether there is.
pub(super) fn answer(builtin: Builtin, app: &App, exchange: &mut Exchange) -> bool {
    let now = app.status.unix_seconds();
    let (kind, body) = match builtin {
        Builtin::Card => ("text/html", LANDING.to_owned()),
        Builtin::Health => ("application/json", health(now)),
        Builtin::Stats => {
            let counts = app.status.counts();
            let connections = i64::try_from(counts.connections).unwrap_or(i64::MAX);
            let body = stats(counts.requests, counts.responses, counts.uptime_s, connections, now);
            ("application/json", body)
        }
        _ => return false,
    };
    sign(exchange);
    exchange.response.send(200, kind, body.as_bytes());
    true
}

/// Puts a failure of ours into its old form, unless it answers one of the newer routes.
pub(super) fn dress(app: &App, exchange: &mut Exchange) {
    let path = exchange.request.path();
    let is_chat = path == b"/v1/chat";
    if path.starts_with(b"/v1/") && !is_chat || super::admin::is_guarded(path) {
        return;
    }
    let Some(failure) = exchange.response.failure.take() else { return };
    if exchange.added.get(b"server").is_none() {
        sign(exchange);
    }
    let response = &mut exchange.response;
    if failure.status == 500 {
        response.clear();
        response.status = 500;
        response.is_bare = true;
        response.close = true;
        return;
    }
    let (code, old, text) = match failure.status {
        404 if is_chat => (502, 4, ROUTER_ERROR),
        502 | 504 if is_chat => (502, 4, ROUTER_ERROR),
        400 | 411 | 413 if is_chat => {
            (if failure.status == 411 { 400 } else { failure.status }, 2, ERROR_TEXTS[2])
        }
        404 | 405 | 501 => {
            let page = failure_page(failure.status, status::reason(failure.status));
            response.send(failure.status, "text/html", page.as_bytes());
            return;
        }
        status => (status, if status < 500 { 2 } else { 4 }, failure.message.as_ref()),
    };
    response.send(code, "application/json", &error(text, old, app.status.unix_seconds()));
}

/// An error: a text and one of the old codes.
pub fn error(text: &str, code: i32, now: i64) -> Vec<u8> {
    let mut body = b"{\"error\": ".to_vec();
    json::escape_into(&mut body, text);
    body.extend_from_slice(format!(", \"code\": {code}, \"timestamp\": {now}}}").as_bytes());
    body
}

/// A page for a status that is no success.
pub fn failure_page(status: u16, reason: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{status} {reason}</title></head>\n\
         <body><h1>{status} {reason}</h1><p>{SERVER_NAME}</p></body></html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_json_with_the_old_blanks() {
        assert_eq!(health(7), r#"{"status": "ok", "timestamp": 7, "server": "AIONIC/1.0"}"#);
        assert_eq!(
            stats(1, 2, 3, 4, 5),
            r#"{"requests": 1, "responses": 2, "uptime": 3, "active_connections": 4, "timestamp": 5}"#
        );
        let chat = String::from_utf8(chat("a \"b\"\n", "m")).unwrap();
        assert_eq!(chat, r#"{"response": "a \"b\"\n", "model": "m", "status": "success"}"#);
        let error = String::from_utf8(error("Route not found", 3, 9)).unwrap();
        assert_eq!(error, r#"{"error": "Route not found", "code": 3, "timestamp": 9}"#);
    }
}
