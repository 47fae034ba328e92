//! Where the firewall stands in the life of a request: before the route by address and rate, behind
//! the key check by its outcome, behind the answer by what was not found.

use std::net::IpAddr;

use super::App;
use super::auth;
use crate::base::error::Failure;
use crate::exchange::{Exchange, Peer, Request};
use crate::firewall::{Blocked, Counter, Exhausted, Moment, Refusal, resolve_client};

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
pub(super) fn head(app: &App, request: &mut Request, now_ms: u64) -> Result<(), Failure> {
    let firewall = &app.firewall;
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
    let Some(address) = address_of(request) else { return Ok(()) };
    if firewall.is_allowed(address, moment.unix_s) {
        return Ok(());
    }
    match firewall.admit(address, request.path(), moment) {
        Ok(()) => Ok(()),
        Err(refusal) => refuse(app, request, refused(&refusal)),
    }
}

/// The key check is done: counts its failures and the requests of its keys.
pub(super) fn key(
    app: &App,
    request: &Request,
    checked: Result<(), Failure>,
    now_ms: u64,
) -> Result<(), Failure> {
    let is_failure = checked.as_ref().is_err_and(|failure| failure.status == 401);
    if !is_failure {
        checked?;
        return key_rate(app, request, moment(app, now_ms));
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
        tell_block(app, address, &blocked);
    }
    match by_prefix {
        Some(blocked) => refuse(app, request, blocked_failure(&blocked)).and(checked),
        None => checked,
    }
}

fn key_rate(app: &App, request: &Request, moment: Moment) -> Result<(), Failure> {
    let Some(limits) = app.guard.limits_of(request) else { return Ok(()) };
    let memory = app.firewall.memory();
    if let Some(rate) = limits.requests {
        let taken =
            memory.with_key(limits.key, 0, moment, |bucket| rate.take(bucket, moment.now_ms));
        taken.map_err(|it| too_often("key", &it))?;
    }
    Ok(())
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
        tell_block(app, address, &blocked);
    }
}

fn tell_block(app: &App, address: IpAddr, blocked: &Blocked) {
    tracing::warn!(
        "firewall: {address} is blocked for {} s: {}{}",
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

fn too_often(policy: &'static str, exhausted: &Exhausted) -> Failure {
    let what = match policy {
        "key" => "of this API key",
        "route" => "to this path",
        _ => "of this client",
    };
    let message = format!("more than {} requests {what} in a minute", exhausted.per_minute);
    let mut failure = Failure::new(429, message).code("rate_limit_exceeded");
    failure.fields = exhausted.fields(policy).into();
    failure.retry_after(exhausted.retry_after_s)
}
