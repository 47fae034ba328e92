//! How an old server answers: firewall → middleware → plugins → route → host's handler or page.
//!
//! It runs on a thread that may block. The same steps serve a request of the engine and one that a host
//! reads by itself with server_handle_request.

use super::ai::prompt_router;
use super::ai::stats::note;
use super::instance::INSTANCE;
use super::memory::{monotonic_ns, unix_seconds};
use super::parser::string_member;
use super::plugin::registry;
use super::routes::{Found, HEAD, OPTIONS, Page, Target};
use super::site::Site;
use super::types::{METHODS, Server};
use crate::ai::chat::join_text;
use crate::exchange::{Peer, Request};
use crate::http::{encode, status};
use crate::pipeline::old_pages;
use crate::plugin::Verdict;
use crate::plugin::old::{Answer, OldRequest, OldResponse, method_number};
use std::ffi::c_int;

/// How a request ends.
pub enum Reply {
    /// With this.
    Answer(Answer),
    /// With what a model says; that may take minutes.
    Chat(Chat),
    /// Host code has failed and left no answer.
    Failed(String),
}

/// Answers a request, and the headers that plugins add to whatever answers it.
pub fn reply(site: &Site, request: &Request) -> (Reply, Vec<Vec<u8>>) {
    let mut headers = Vec::new();
    if site.is_guarded && !passes_firewall(request) {
        return (Reply::Answer(error(403, "Forbidden", 2)), headers);
    }
    if request.path().starts_with(b"/v1/") && !is_host_route(request) && !site.guard.admits(request)
    {
        return (Reply::Answer(key_needed()), headers);
    }
    let Some(mut old) = OldRequest::new(request) else {
        return (Reply::Failed("no memory for the request".into()), headers);
    };
    let mut response = OldResponse::new();
    let middleware = INSTANCE.routes.read().middleware();
    for function in middleware {
        // SAFETY: the host's function, with structs that live during the call; no lock is held.
        let code = unsafe { function(old.as_mut_ptr(), response.as_mut_ptr()) };
        if let Some(reply) = decided("middleware", code, &response, false) {
            return (reply, headers);
        }
    }
    if let Some(plugins) = registry() {
        match plugins.judge(old.as_mut_ptr(), &mut response, &mut headers) {
            Verdict::Next => {}
            Verdict::Answered => return (Reply::Answer(response.answer()), headers),
            Verdict::Refused => return (Reply::Answer(error(403, "Forbidden", 2)), headers),
        }
    }
    let found = INSTANCE.routes.read().find(old.path(), old.method());
    let reply = match found {
        Found::Target(Target::Host(handler)) => {
            let server = site.server();
            // SAFETY: as above; the server lives until server_cleanup, which waits for this.
            let code = unsafe { handler(server, old.as_mut_ptr(), response.as_mut_ptr()) };
            let done = decided("handler", code, &response, true);
            done.unwrap_or_else(|| Reply::Answer(response.answer()))
        }
        Found::Target(Target::Page(page)) => page_reply(site, page, request),
        Found::NotAllowed(methods) => Reply::Answer(not_allowed(old.method(), &methods)),
        Found::Nothing => Reply::Answer(html(404, "Not Found")),
    };
    (reply, headers)
}

/// Whether a handler of the host answers: its routes are its own to guard.
fn is_host_route(request: &Request) -> bool {
    let method = method_number(request.method_text());
    let found = INSTANCE.routes.read().find(request.path(), method);
    matches!(found, Found::Target(Target::Host(_)))
}

fn key_needed() -> Answer {
    let mut answer = error(401, "a valid API key is needed", 2);
    answer.headers.push((b"WWW-Authenticate".to_vec(), b"Bearer".to_vec()));
    answer
}

/// What the result of host code means; `None`: go on.
fn decided(who: &str, code: c_int, response: &OldResponse, is_last: bool) -> Option<Reply> {
    if code != 0 {
        let said = response.has_data() && response.status_code() >= 400;
        return Some(match said {
            true => Reply::Answer(response.answer()),
            false => Reply::Failed(format!("an old {who} returned {code}")),
        });
    }
    (is_last || response.has_data()).then(|| Reply::Answer(response.answer()))
}

fn passes_firewall(request: &Request) -> bool {
    let address = match request.peer() {
        Peer::Tcp(address) => address.ip().to_string(),
        Peer::Unix => return true,
    };
    let agent = request.header_values(b"user-agent").next();
    match INSTANCE.firewall.lock().as_mut() {
        Some(firewall) => firewall.check_head(address.as_bytes(), agent, super::firewall::now()),
        None => true,
    }
}

fn page_reply(site: &Site, page: Page, request: &Request) -> Reply {
    match page {
        // A middleware may have led another path here.
        Page::Chat if !site.guard.admits(request) => Reply::Answer(key_needed()),
        Page::Chat => Chat::of(request.body()),
        Page::Root => Reply::Answer(root()),
        Page::Health => Reply::Answer(health()),
        Page::Stats => Reply::Answer(stats(site.server(), site.uptime_s())),
    }
}

/// An answer with a body of ours.
fn page(status: u16, kind: &str, body: Vec<u8>) -> Answer {
    let server = (b"Server".to_vec(), old_pages::SERVER_NAME.as_bytes().to_vec());
    let kind = (b"Content-Type".to_vec(), kind.as_bytes().to_vec());
    Answer { status, headers: vec![server, kind], body, ..Answer::default() }
}

/// `GET /`.
pub fn root() -> Answer {
    page(200, "text/html", old_pages::LANDING.as_bytes().to_vec())
}

/// `GET /health`.
pub fn health() -> Answer {
    page(200, "application/json", old_pages::health(unix_seconds()).into_bytes())
}

/// `GET /stats`.
pub fn stats(server: *mut Server, uptime_s: u64) -> Answer {
    let counts = super::site::Counts::of(server);
    let (requests, responses) = (counts.requests(), counts.responses());
    let body =
        old_pages::stats(requests, responses, uptime_s, counts.connections(), unix_seconds());
    page(200, "application/json", body.into_bytes())
}

/// An error in the old JSON form.
pub fn error(status: u16, text: &str, code: c_int) -> Answer {
    page(status, "application/json", old_pages::error(text, code, unix_seconds()))
}

/// A page that says no more than its status.
pub fn html(status: u16, reason: &str) -> Answer {
    page(status, "text/html", old_pages::failure_page(status, reason).into_bytes())
}

/// 405, or for OPTIONS the methods themselves (RFC 9110 section 9.3.7).
pub fn not_allowed(method: c_int, methods: &[c_int]) -> Answer {
    let mut names: Vec<&str> = Vec::new();
    let with_head = methods.contains(&super::routes::GET).then_some(HEAD);
    for number in methods.iter().copied().chain(with_head).chain([OPTIONS]) {
        let name = usize::try_from(number).ok().and_then(|number| METHODS.get(number));
        names.extend(name.filter(|name| !names.contains(name)));
    }
    let mut answer = match method {
        OPTIONS => Answer { status: 204, ..Answer::default() },
        _ => html(405, "Method Not Allowed"),
    };
    answer.headers.push((b"Allow".to_vec(), names.join(", ").into_bytes()));
    answer
}

/// A prompt on its way to a model.
pub struct Chat {
    prompt: String,
    model: Option<String>,
}

impl Chat {
    /// Reads a `POST /v1/chat` body: the string members of a JSON object, else all of it is the prompt.
    pub fn of(body: &[u8]) -> Reply {
        if body.is_empty() {
            return Reply::Answer(error(400, old_pages::ERROR_TEXTS[2], 2));
        }
        let model = string_member(body, b"model").map(|model| model.into_owned());
        let prompt = match string_member(body, b"prompt") {
            Some(prompt) => prompt.into_owned(),
            None => String::from_utf8_lossy(body).into_owned(),
        };
        Reply::Chat(Chat { prompt, model })
    }

    /// Asks the model and waits.
    pub fn ask(self) -> Answer {
        let name = self.model.or_else(prompt_router::default_name).unwrap_or_default();
        let begun = monotonic_ns();
        match prompt_router::ask(&self.prompt, Some(&name)) {
            Ok(reply) => {
                let elapsed_ms = (monotonic_ns() - begun) as f64 / 1e6;
                let tokens = reply.usage.as_ref().map_or(0, |usage| usage.total_tokens());
                note(&name, Ok((elapsed_ms, tokens)));
                page(200, "application/json", old_pages::chat(&join_text(&reply.parts), &name))
            }
            Err(error) => {
                note(&name, Err(()));
                let line = format!("model {name}: {}", error.reason);
                super::utils::logging::write(super::utils::logging::Level::Error, line.as_bytes());
                self::error(502, old_pages::ROUTER_ERROR, 4)
            }
        }
    }
}

/// An answer as a complete message. `connection` is what its Connection field says; a streaming one is
/// sent in one chunk.
pub fn to_message(answer: &Answer, connection: &str, with_body: bool) -> Vec<u8> {
    let code = match answer.status {
        0 if answer.body.is_empty() => 204,
        0 => 200,
        code => code,
    };
    let mut out = Vec::with_capacity(answer.body.len() + 256);
    match answer.reason.as_slice() {
        b"" => encode::status_line(&mut out, code),
        reason => encode::status_line_with(&mut out, code, reason),
    }
    out.extend_from_slice(b"Date: ");
    out.extend_from_slice(&crate::http::date::imf_fixdate(unix_seconds()));
    out.extend_from_slice(b"\r\n");
    let ours: [&[u8]; 2] = [b"date", b"connection"];
    for (name, value) in &answer.headers {
        if !ours.iter().any(|field| name.eq_ignore_ascii_case(field)) {
            encode::field(&mut out, name, value);
        }
    }
    let bodiless = status::is_bodiless(code);
    if answer.is_streaming && !bodiless {
        encode::field(&mut out, b"Transfer-Encoding", b"chunked");
    } else if !bodiless {
        encode::field(&mut out, b"Content-Length", answer.body.len().to_string().as_bytes());
    }
    encode::field(&mut out, b"Connection", connection.as_bytes());
    out.extend_from_slice(b"\r\n");
    if bodiless || !with_body {
        return out;
    }
    if answer.is_streaming {
        encode::chunk(&mut out, &answer.body);
        out.extend_from_slice(encode::LAST_CHUNK);
    } else {
        out.extend_from_slice(&answer.body);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_complete() {
        let text = |answer: &Answer, with_body| {
            let message = String::from_utf8(to_message(answer, "close", with_body)).unwrap();
            message
                .split_once("\r\n\r\n")
                .map(|(head, body)| (head.to_owned(), body.to_owned()))
                .unwrap()
        };
        let (head, body) = text(&error(404, "Route not found", 3), true);
        assert!(head.starts_with("HTTP/1.1 404 Not Found\r\nDate: "), "{head}");
        assert!(head.contains(
            "\r\nServer: AIONIC/1.0\r\nContent-Type: application/json\r\nContent-Length: "
        ));
        assert!(head.ends_with("\r\nConnection: close"));
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
        assert!(text(&error(404, "x", 3), false).1.is_empty());
        let stream =
            Answer { status: 200, body: b"abc".to_vec(), is_streaming: true, ..Answer::default() };
        assert_eq!(text(&stream, true).1, "3\r\nabc\r\n0\r\n\r\n");
        let (head, body) = text(&Answer::default(), true);
        assert!(head.starts_with("HTTP/1.1 204 ") && body.is_empty() && !head.contains("Length"));
    }

    #[test]
    fn methods_are_told() {
        let allow = |method, methods: &[c_int]| {
            let answer = not_allowed(method, methods);
            let (_, value) =
                answer.headers.iter().find(|(name, _)| name == b"Allow").unwrap().clone();
            (answer.status, String::from_utf8(value).unwrap())
        };
        assert_eq!(allow(1, &[0]), (405, "GET, HEAD, OPTIONS".into()));
        assert_eq!(allow(5, &[1, 1]), (204, "POST, OPTIONS".into()));
    }

    #[test]
    fn bodies_become_prompts() {
        let prompt = |body: &str| match Chat::of(body.as_bytes()) {
            Reply::Chat(chat) => (chat.prompt, chat.model),
            _ => panic!("no prompt in {body}"),
        };
        assert_eq!(prompt(r#"{"prompt":"a\nb","model":"m"}"#), ("a\nb".into(), Some("m".into())));
        assert_eq!(prompt("just text"), ("just text".into(), None));
        assert_eq!(prompt(r#"{"x":1}"#), (r#"{"x":1}"#.into(), None));
        assert!(matches!(Chat::of(b""), Reply::Answer(Answer { status: 400, .. })));
    }
}
