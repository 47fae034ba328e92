//! The life of a request: the one place that states the order of its stages.
//!
//! ```text
//! head parsed ─ on_head:  firewall (address, rate, head) → route → key → may a body come, and how large
//! body read   ─ run:      firewall (fields) → middleware before → plugins → handler | AI answer | built-in | 404, 405, 501
//! answer made ─ finish:   plugins → middleware after → defaults → compress
//! ```
//! This layer decides; `server` reads, writes, waits and calls these functions. It makes no system
//! call and reads no clock.
#![forbid(unsafe_code)]

pub mod admin;
mod answers;
mod app;
mod auth;
mod builtin;
mod call;
mod complete;
mod compression;
mod dashboard;
mod ending;
mod explain;
mod failure;
mod fit;
mod generation;
mod hooks;
mod inbound;
mod local;
pub mod old_pages;
mod pages;
mod provider;
mod screen;
mod text_guard;

use std::sync::Arc;

use crate::ai::chat::Usage;
use crate::ai::price::Prices;
use crate::base::error::Failure;
use crate::base::limits;
use crate::exchange::{Exchange, Flow, Params, Pattern, Pending, Request, Taken};
use crate::http::coding::Encoder;
use crate::http::head::{Body, Expect};
use crate::http::method::Method;
use crate::route::{Allowed, Found};

pub use admin::{Order, blocks_shown, models_shown};
pub use answers::{
    Answer, AnswerFlight, AnswerPlace, Begin, Cache, Found as Sought, Refusal, Replay, Want,
};
pub use app::{
    App, HostRoute, PluginStage, Renewal, Sampling, Settings, Status, StatusCounts, Tuned,
};
pub use auth::Guard;
pub use builtin::Builtin;
pub use call::{Attempt, Call, Making, Moment, Outgoing, Verdict};
pub use complete::{hit, host_call};
pub use explain::explain;
pub use failure::{answer, answer_failed_call, dialect_of};
pub use generation::{Generation, Generator, Listening, Progress, Question};
pub use hooks::{HookPlace, TextEdit, TextHook};
pub use inbound::{AfterHead, Inbound, Passing, cut_off};
pub use pages::{Making as PageMaking, begin as begin_page, keep};
pub use provider::{BaseUrl, Provider, Proxy, renewed as renewed_providers};

/// What a request's method and target lead to.
#[derive(Default)]
pub enum Matched {
    /// A route of the host.
    Host(HostRoute),
    /// One of ours.
    Builtin(Builtin),
    /// The path is known, the method is not.
    NotAllowed(Allowed),
    /// A method nobody knows.
    NotImplemented,
    /// Nothing.
    #[default]
    Nothing,
}

impl Matched {
    /// The pattern of the route.
    pub fn pattern(&self) -> Option<Pattern> {
        match self {
            Matched::Host(route) => Some(Pattern::Host(Arc::clone(&route.pattern))),
            Matched::Builtin(builtin) => Some(Pattern::Builtin(builtin.route())),
            _ => None,
        }
    }
}

/// What the head of a request allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BodyPlan {
    /// Largest body, in bytes; more is 413.
    pub bytes_max: u64,
    /// The body counts against the budget of all AI bodies.
    pub is_ai: bool,
    /// Somebody will look at the body. If nobody does it is not asked for with 100 (RFC 9110
    /// section 10.1.1), and when it comes it is checked and dropped.
    pub is_wanted: bool,
}

/// What is to be done with an exchange.
pub enum Step {
    /// The response is complete.
    Respond,
    /// It is answered later, through a deferred answer or a stream.
    Later,
    /// The rest may block: call [`run`] again on the blocking pool, with `may_block`.
    Block,
    /// A model is asked.
    Call(Box<Call>),
    /// The response is the head of a stream that is made as the client takes it.
    Pull(Box<dyn Pull>),
}

/// A body that is made piece by piece as the client takes it.
pub trait Pull: Send {
    /// Appends body bytes to `out`, about `bytes_wanted` of them.
    fn pull(&mut self, out: &mut Vec<u8>, bytes_wanted: usize) -> Taken;
    /// What it has taken of a model so far; none when it takes nothing.
    fn spent(&self) -> Option<Spent> {
        None
    }
}

/// What was taken of a model.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    /// Which model, among all that is counted.
    pub number: usize,
    /// The tokens.
    pub usage: Usage,
    /// What they cost.
    pub prices: Prices,
}

/// The head of a request has come: finds its route, checks its key and says what body may follow.
///
/// # Errors
/// The failure to answer with, before any body is read.
pub fn on_head(
    app: &App,
    request: &mut Request,
    matched: &mut Matched,
    params: &mut Params,
    now_ms: u64,
) -> Result<BodyPlan, Failure> {
    screen::on_head(app, request, now_ms)?;
    *matched = find(app, request, params);
    if !params.is_empty() {
        request.swap_params(params);
    }
    if !matches!(matched, Matched::Host(_)) {
        let checked = auth::check(app, request);
        screen::key(app, request, checked, now_ms)?;
    }
    if request.head().expect == Expect::Other {
        return Err(Failure::new(417, "the expectation is not known; only 100-continue is"));
    }
    let plan = match matched {
        Matched::Builtin(builtin) if builtin.is_ai() => {
            if let Some(limits) = app.guard.limits(request) {
                limits.take_request(app.status.monotonic_us())?;
            }
            if request.head().body == Body::None {
                return Err(Failure::new(411, "this request needs a body with a Content-Length"));
            }
            BodyPlan { bytes_max: app.settings.body_bytes_max, is_ai: true, is_wanted: true }
        }
        Matched::Builtin(Builtin::Admin(admin)) if admin.is_change() => {
            // Whatever limits.body is, or it could not be mended from here.
            BodyPlan { bytes_max: limits::ADMIN_BODY_BYTES_MAX, is_ai: false, is_wanted: true }
        }
        _ => {
            let is_wanted = matches!(matched, Matched::Host(_)) || !app.before.is_empty();
            BodyPlan { bytes_max: app.settings.body_bytes_max, is_ai: false, is_wanted }
        }
    };
    match request.head().body {
        Body::Length(bytes) if bytes > plan.bytes_max => Err(too_large(plan.bytes_max)),
        _ => Ok(plan),
    }
}

/// The failure for a body beyond its limit.
pub fn too_large(bytes_max: u64) -> Failure {
    Failure::new(413, format!("the body is larger than {bytes_max} bytes"))
}

/// The request is complete: takes it through the stages up to its answer. With `may_block` the
/// caller is a thread of the blocking pool.
pub fn run(app: &App, exchange: &mut Exchange, matched: &Matched, may_block: bool) -> Step {
    if !may_block && let Err(failure) = screen::body(app, exchange, matched) {
        answer(exchange, &failure);
        return Step::Respond;
    }
    if app.before_blocks && !may_block {
        return Step::Block;
    }
    while let Some(middleware) = app.before.get(exchange.passed) {
        exchange.passed += 1;
        match middleware.pass(exchange) {
            Flow::Next => {}
            Flow::Answered => return answered(exchange),
            Flow::Fail(reason) => return failed(exchange, "middleware", &reason),
        }
    }
    while let Some(plugin) = app.plugins.get(exchange.passed.saturating_sub(app.before.len())) {
        if plugin.blocks && !may_block {
            return Step::Block;
        }
        exchange.passed += 1;
        match plugin.stage.pass(exchange) {
            Flow::Next => {}
            Flow::Answered => return answered(exchange),
            Flow::Fail(reason) => return failed(exchange, "plugin", &reason),
        }
    }
    match matched {
        Matched::Host(route) => {
            if route.is_cached
                && !may_block
                && let Some(step) = pages::find(app, exchange)
            {
                return step;
            }
            if route.blocking && !may_block {
                return Step::Block;
            }
            match route.handler.handle(exchange) {
                Ok(()) => answered(exchange),
                Err(reason) => failed(exchange, "handler", &reason),
            }
        }
        Matched::Builtin(builtin) => builtin.answer(app, exchange, may_block),
        Matched::NotAllowed(allowed) => {
            not_allowed(exchange, allowed);
            Step::Respond
        }
        Matched::NotImplemented => {
            answer(exchange, &Failure::new(501, "the method is not known"));
            Step::Respond
        }
        Matched::Nothing => {
            answer(exchange, &Failure::new(404, "nothing is here").code("not_found"));
            Step::Respond
        }
    }
}

/// The answer is complete: lets the middleware after it edit it. Called once for every answer to
/// a parsed request, on the loop.
pub fn finish(app: &App, exchange: &mut Exchange) {
    exchange.pending = Pending::Finishing;
    screen::answered(app, exchange);
    if app.settings.is_old {
        old_pages::dress(app, exchange);
    }
    for (name, value) in std::mem::take(&mut exchange.added).iter() {
        // It was checked when it was added; one that the server sets itself is left out.
        let _ = exchange.response.add_header(name, value);
    }
    for middleware in app.plugins_after.iter().rev().chain(app.after.iter().rev()) {
        match middleware.pass(exchange) {
            Flow::Next => {}
            Flow::Answered => tracing::warn!(
                request_id = exchange.request.id_text(),
                "a middleware after the answer returned NH_ANSWERED, which means nothing there"
            ),
            Flow::Fail(reason) => tracing::warn!(
                request_id = exchange.request.id_text(),
                "a middleware after the answer failed: {reason}"
            ),
        }
    }
}

/// The encoder for an answer whose body follows its head, if it is to be compressed; its head says
/// so then. `length` is the body's, if that is known.
pub fn compress_stream(app: &App, exchange: &mut Exchange, length: Option<u64>) -> Option<Encoder> {
    app.compressor.as_ref()?.stream(exchange, length)
}

/// Compresses a complete answer, if it is to be compressed. Called after [`finish`].
pub fn compress(app: &App, exchange: &mut Exchange) {
    if let Some(compressor) = &app.compressor {
        compressor.whole(exchange);
    }
}

/// Whether a client that half-closes has gone: true while an AI answer is under way.
pub fn half_close_means_gone(matched: &Matched) -> bool {
    matches!(matched, Matched::Builtin(builtin) if builtin.is_ai())
}

fn find(app: &App, request: &Request, params: &mut Params) -> Matched {
    let (method, text, path) = (request.method(), request.method_text(), request.path());
    let mut allowed = Allowed::default();
    if !app.routes.is_empty() {
        match app.routes.find(method, text, path, params) {
            Found::Route(route) => return Matched::Host(route.clone()),
            Found::NotAllowed(others) => allowed = others,
            Found::Nothing => {}
        }
    }
    if let Some(builtins) = &app.builtins {
        match builtins.find(method, text, path, params) {
            Found::Route(builtin) => return Matched::Builtin(*builtin),
            Found::NotAllowed(others) => allowed.merge(others),
            Found::Nothing => {}
        }
    }
    match (method, allowed == Allowed::default()) {
        (Method::Other, _) => Matched::NotImplemented,
        (Method::Options, true) if path == b"*" || app.builtins.is_some() => {
            Matched::NotAllowed(allowed)
        }
        (_, true) => Matched::Nothing,
        (_, false) => Matched::NotAllowed(allowed),
    }
}

/// 405, or for OPTIONS the methods themselves (RFC 9110 section 9.3.7).
fn not_allowed(exchange: &mut Exchange, allowed: &Allowed) {
    let mut methods = allowed.to_string();
    let is_options = exchange.request.method() == Method::Options;
    if is_options && exchange.request.path() != b"*" && methods.is_empty() {
        answer(exchange, &Failure::new(404, "nothing is here").code("not_found"));
        return;
    }
    if methods.is_empty() {
        methods.push_str("GET, HEAD, POST");
    }
    if !methods.contains("OPTIONS") {
        methods.push_str(", OPTIONS");
    }
    if is_options {
        exchange.response.status = 204;
    } else {
        answer(exchange, &Failure::new(405, "the method is not allowed here"));
    }
    // The text is made of checked method tokens.
    exchange.response.headers.push(b"Allow", methods.as_bytes());
}

fn answered(exchange: &mut Exchange) -> Step {
    match exchange.pending {
        Pending::Nothing => Step::Respond,
        Pending::Deferred | Pending::Stream | Pending::Finishing => Step::Later,
    }
}

fn failed(exchange: &mut Exchange, who: &str, reason: &str) -> Step {
    if exchange.pending != Pending::Nothing {
        // What it returns after it has deferred or begun a stream is ignored (API.md).
        return Step::Later;
    }
    tracing::error!(request_id = exchange.request.id_text(), "a {who} failed: {reason}");
    exchange.response.clear();
    answer(exchange, &Failure::new(500, "the request could not be handled"));
    Step::Respond
}
