//! Where the firewall stands in the life of a request: before the route by address and rate, behind
//! the key check by its outcome, behind the answer by what was not found.

use std::net::IpAddr;

use super::{App, Builtin, Matched, auth};
use crate::base::error::Failure;
use crate::exchange::{Exchange, Peer, Request};
use crate::firewall::{
    Action, Blocked, BodyProfile, Counter, Exhausted, Judgement, Moment, Refusal, resolve_client,
};

/// The address that a request is judged by; one through a Unix socket has none.
fn address_of(request: &Request) -> Option<IpAddr> {
    match request.peer() {
        Peer::Tcp(address) => Some(address.ip()),
        Peer::Unix => None,
    }
}

fn moment(app: &App, now_ms: u64) -> Moment {
    Moment { now_ms, unix_s: app.status.unix_seconds() }
}

/// A head has come: finds out who the client is and whether it may ask.
pub(super) fn on_head(app: &App, request: &mut Request, now_ms: u64) -> Result<(), Failure> {
    let firewall = &app.firewall;
    if !firewall.is_enabled() && firewall.proxies().is_empty() {
        return Ok(());
    }
    let moment = moment(app, now_ms);
    if !firewall.proxies().is_empty() {
        let peer = match request.peer() {
            Peer::Tcp(address) => Some(address),
            Peer::Unix => None,
        };
        let forwarded_for: Vec<&[u8]> = request.header_values(b"x-forwarded-for").collect();
        let forwarded: Vec<&[u8]> = request.header_values(b"forwarded").collect();
        let (first, second) = (forwarded_for.into_iter(), forwarded.into_iter());
        let client = resolve_client(firewall.proxies(), peer, first, second, moment.unix_s);
        if let Some(client) = client {
            request.set_peer(Peer::Tcp(client));
        }
    }
    if !firewall.is_enabled() {
        return Ok(());
    }
    let Some(address) = address_of(request) else {
        return inspect_head(app, request, None, moment);
    };
    if firewall.is_allowed(address, moment.unix_s) {
        return Ok(());
    }
    match firewall.admit(address, request.path(), moment) {
        Ok(()) => {}
        Err(refusal) => refuse(app, request, refused(&refusal))?,
    }
    inspect_head(app, request, Some(address), moment)
}

fn inspect_head(
    app: &App,
    request: &mut Request,
    address: Option<IpAddr>,
    moment: Moment,
) -> Result<(), Failure> {
    if !app.firewall.inspects() {
        return Ok(());
    }
    let judgement = app.firewall.inspect_head(request);
    request.set_suspicion(judgement.score);
    judged(app, request, address, &judgement, moment)
}

/// A request is complete: looks for attacks in its body.
pub(super) fn body(app: &App, exchange: &Exchange, matched: &Matched) -> Result<(), Failure> {
    let (firewall, request) = (&app.firewall, &exchange.request);
    if request.body().is_empty() || !firewall.inspects() {
        return Ok(());
    }
    if matches!(matched, Matched::Builtin(Builtin::Admin(_))) {
        // An operator who lists an attacker's path is none.
        return Ok(());
    }
    let moment = moment(app, app.status.now_ms());
    let address = address_of(request);
    if address.is_some_and(|address| firewall.is_allowed(address, moment.unix_s)) {
        return Ok(());
    }
    let profile = profile_of(request, matched);
    let judgement = firewall.inspect_body(request, profile, request.suspicion());
    judged(app, request, address, &judgement, moment)
}

/// Paths whose bodies are requests to models, whoever answers them.
const MODEL_PATHS: [&[u8]; 8] = [
    b"/v1/chat/completions",
    b"/v1/completions",
    b"/v1/embeddings",
    b"/v1/responses",
    b"/v1/messages",
    b"/v1/messages/count_tokens",
    b"/v1/chat",
    b"/api/chat",
];

pub(super) fn profile_of(request: &Request, matched: &Matched) -> BodyProfile {
    match matched {
        Matched::Builtin(builtin) if builtin.is_ai() => BodyProfile::Model,
        _ if MODEL_PATHS.contains(&request.path()) => BodyProfile::Model,
        _ => BodyProfile::Plain,
    }
}

/// Tells of a judgement, counts it, and refuses the request if it says so.
fn judged(
    app: &App,
    request: &Request,
    address: Option<IpAddr>,
    judgement: &Judgement,
    moment: Moment,
) -> Result<(), Failure> {
    let Some(worst) = judgement.worst().filter(|_| judgement.action != Action::Allow) else {
        return Ok(());
    };
    let firewall = &app.firewall;
    firewall.count(judgement.action);
    let is_dry = firewall.is_dry();
    firewall.stats().recent().add(judgement, address, is_dry, moment.unix_s);
    tracing::warn!(
        request_id = request.id_text(),
        "firewall: {} {} score={} rule={} part={} bytes=\"{}\"{}",
        judgement.action.name(),
        request.peer(),
        judgement.score,
        worst.rule,
        worst.part,
        worst.shown,
        if is_dry { " (dry run)" } else { "" }
    );
    if judgement.action == Action::Log {
        return Ok(());
    }
    if let Some(blocked) = address.and_then(|it| firewall.attacked(it, judgement.score, moment)) {
        tell_block(app, request, &blocked);
    }
    let failure = match judgement.action {
        Action::Limit => Failure::new(429, "the request looks suspicious; try again later")
            .code("request_suspicious")
            .retry_after(SUSPICIOUS_RETRY_S),
        _ => Failure::new(403, "the request was refused by the firewall").code("request_blocked"),
    };
    refuse(app, request, failure)
}

/// What a client of a suspicious request is told to wait, in seconds.
const SUSPICIOUS_RETRY_S: u32 = 30;

/// The key check is done: counts its failures.
pub(super) fn key(
    app: &App,
    request: &Request,
    checked: Result<(), Failure>,
    now_ms: u64,
) -> Result<(), Failure> {
    let is_failure = checked.as_ref().is_err_and(|failure| failure.status == 401);
    if !is_failure {
        return checked;
    }
    let firewall = &app.firewall;
    let moment = moment(app, now_ms);
    // No key at all is no guess.
    let (Some(address), Some(shown)) = (address_of(request), auth::credential(request)) else {
        return checked;
    };
    if !firewall.is_enabled() || firewall.is_allowed(address, moment.unix_s) {
        return checked;
    }
    let by_prefix = firewall.memory().prefix_blocked(shown, moment);
    if let Some(blocked) = firewall.key_failed(address, shown, moment) {
        tell_block(app, request, &blocked);
    }
    match by_prefix {
        Some(blocked) => refuse(app, request, key_failure(&blocked)).and(checked),
        None => checked,
    }
}

/// An answer is made: whoever asks for many paths that are not there is a scanner.
pub(super) fn answered(app: &App, exchange: &Exchange) {
    let firewall = &app.firewall;
    if exchange.response.status != 404 || !firewall.is_enabled() {
        return;
    }
    let Some(address) = address_of(&exchange.request) else { return };
    let moment = moment(app, app.status.now_ms());
    if firewall.is_allowed(address, moment.unix_s) {
        return;
    }
    if let Some(blocked) = firewall.missed(address, exchange.request.path(), moment) {
        tell_block(app, &exchange.request, &blocked);
    }
}

fn tell_block(app: &App, request: &Request, blocked: &Blocked) {
    tracing::warn!(
        request_id = request.id_text(),
        "firewall: {} is blocked for {} s: {}{}",
        request.peer(),
        blocked.left_s,
        blocked.cause.name(),
        if app.firewall.is_dry() { " (dry run: it is not)" } else { "" }
    );
}

/// The failure, unless the firewall only tells.
fn refuse(app: &App, request: &Request, failure: Failure) -> Result<(), Failure> {
    if !app.firewall.is_dry() {
        return Err(failure);
    }
    app.firewall.stats().add(Counter::DryRun);
    tracing::warn!(
        request_id = request.id_text(),
        "firewall: dry run: {} would be refused: {}",
        request.peer(),
        failure.message
    );
    Ok(())
}

fn refused(refusal: &Refusal) -> Failure {
    match refusal {
        Refusal::Denied(_) => {
            Failure::new(403, "the client's address is not admitted").code("address_denied")
        }
        Refusal::Blocked(blocked) => blocked_failure(blocked),
        Refusal::TooOften(policy, exhausted) => too_often(policy, exhausted),
    }
}

fn blocked_failure(blocked: &Blocked) -> Failure {
    let message = "the client's address is blocked for a time";
    Failure::new(403, message).code("address_blocked").retry_after(blocked.left_s)
}

/// A wrong key that begins like many others: it is not even told that it is wrong.
fn key_failure(blocked: &Blocked) -> Failure {
    let message = "keys that begin like this one are refused for a time";
    Failure::new(403, message).code("key_blocked").retry_after(blocked.left_s)
}

fn too_often(policy: &'static str, exhausted: &Exhausted) -> Failure {
    let what = match policy {
        "route" => "to this path",
        _ => "of this client",
    };
    let message = format!("more than {} requests {what} in a minute", exhausted.per_minute);
    let mut failure = Failure::new(429, message).code("rate_limit_exceeded");
    failure.fields = exhausted.fields(policy).into();
    failure.retry_after(exhausted.retry_after_s)
}
