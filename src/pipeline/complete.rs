//! Requests to models: what is asked, who answers, in which form.

use std::sync::Arc;

use super::answers::{Answer, Replay, Use, Want};
use super::call::{Asked, Call};
use super::{App, Step, answer};
use crate::ai::canonical;
use crate::ai::dialect::Dialect;
use crate::ai::router::{self, HashOn, Plan, Router, RouterBuilder, Strategy};
use crate::ai::scan::{self, Scan};
use crate::base::error::Failure;
use crate::config::{Config, kinds};
use crate::exchange::Exchange;

/// The router that a configuration asks for.
///
/// # Errors
/// One line that says what does not fit together.
pub(super) fn router(config: &Config) -> Result<Router, String> {
    let mut builder = RouterBuilder::new();
    for provider in &config.provider {
        let index = builder.provider(&provider.name, config.providers_from_env);
        let kind = kinds::find(&provider.kind);
        if kind.is_some_and(|kind| kind.dialect == kinds::Dialect::Echo) {
            builder.echo(index);
        }
    }
    for model in &config.model {
        let mut targets = Vec::new();
        for target in &model.targets {
            let provider = config.provider.iter().position(|p| p.name == target.provider);
            let provider = provider.ok_or_else(|| {
                format!("model {}: there is no provider {}", model.name, target.provider)
            })?;
            targets.push(router::Target {
                provider,
                model: target.model.clone(),
                weight: target.weight,
            });
        }
        builder.model(router::Model {
            name: model.name.clone(),
            aliases: model.aliases.clone(),
            targets,
            strategy: Strategy::from_name(model.strategy.as_str()).unwrap_or_default(),
            hash_on: match &model.hash_on {
                crate::config::HashOn::User => HashOn::User,
                crate::config::HashOn::Header(name) => HashOn::Header(name.clone()),
            },
            is_default: model.default,
        });
    }
    builder.build()
}

/// Begins to answer a request to a model.
pub(super) fn begin(app: &App, exchange: &mut Exchange, dialect: Dialect) -> Step {
    match try_begin(app, exchange, dialect) {
        Ok(step) => step,
        Err(failure) => {
            answer(exchange, &failure);
            Step::Respond
        }
    }
}

fn try_begin(app: &App, exchange: &mut Exchange, dialect: Dialect) -> Result<Step, Failure> {
    let scan = scan::scan(exchange.request.body())?;
    let plan = app.router.resolve(scan.model.as_deref())?;
    if !app.guard.allows_model(&exchange.request, &plan.model) {
        let message = format!("the API key may not use the model {}", plan.model);
        return Err(Failure::new(403, message).code("model_not_allowed").param("model"));
    }
    let want = want(app, exchange, dialect, &scan, &plan);
    let asked = Asked::Request(Arc::clone(&exchange.request));
    let mut call = Call::new(asked, dialect, scan, plan);
    call.want = want;
    if let Some(answer) = hit(app, &mut call) {
        answer.fill(&mut exchange.response, b"hit");
        return Ok(match answer.is_stream() {
            true => Step::Pull(Box::new(Replay::new(answer))),
            false => Step::Respond,
        });
    }
    Ok(Step::Call(Box::new(call)))
}

/// The clock that kept answers are dated by.
fn seconds(app: &App) -> u64 {
    u64::try_from(app.status.unix_seconds()).unwrap_or(0)
}

/// What a request wants of the cache, if anything.
fn want(
    app: &App,
    exchange: &Exchange,
    dialect: Dialect,
    scan: &Scan,
    plan: &Plan,
) -> Option<Want> {
    if !app.cache.is_for(dialect, scan.temperature, scan.seeded) {
        return None;
    }
    let request = &exchange.request;
    let mut control = Vec::new();
    request.header(b"cache-control", &mut control);
    control.make_ascii_lowercase();
    let says = |directive: &[u8]| {
        control.split(|&b| b == b',').any(|found| found.trim_ascii() == directive)
    };
    if says(b"no-store") {
        return None;
    }
    let usage = match says(b"no-cache") || says(b"max-age=0") {
        true => Use::Refresh,
        false => Use::Full,
    };
    let mut text = canonical::canonical(dialect, &plan.route.name, request.body())?;
    if plan.passes_name() {
        text.extend_from_slice(plan.model.as_bytes());
    }
    // Switches of a provider's API that a client sets in its head are part of what it asks.
    for index in 0..request.header_count() {
        let Some((name, value)) = request.header_at(index) else { continue };
        let is_switch = [&b"openai-"[..], b"anthropic-"]
            .iter()
            .any(|prefix| name.get(..prefix.len()).is_some_and(|n| n.eq_ignore_ascii_case(prefix)));
        let is_usual = name.eq_ignore_ascii_case(b"anthropic-version") && value == b"2023-06-01";
        if is_switch && !is_usual {
            text.push(0);
            text.extend_from_slice(&name.to_ascii_lowercase());
            text.push(0);
            text.extend_from_slice(value);
        }
    }
    let form = (dialect, scan.stream, scan.include_usage);
    Some(app.cache.want(&app.guard.tenant(request), &text, form, usage))
}

/// What a call of the host program wants of the cache.
fn host_want(app: &App, body: &[u8], scan: &Scan, plan: &Plan) -> Option<Want> {
    let dialect = Dialect::OpenAiChat;
    if !app.cache.is_for(dialect, scan.temperature, scan.seeded) {
        return None;
    }
    let mut text = canonical::canonical(dialect, &plan.route.name, body)?;
    if plan.passes_name() {
        text.extend_from_slice(plan.model.as_bytes());
    }
    let form = (dialect, scan.stream, scan.include_usage);
    Some(app.cache.want(&app.guard.host_tenant(), &text, form, Use::Full))
}

/// A kept answer to a call.
pub fn hit(app: &App, call: &mut Call) -> Option<Arc<Answer>> {
    let want = call.want.clone()?;
    call.date(app.status.unix_seconds());
    app.cache.find(&want, || call.meta(), seconds(app))
}

/// A call of the host program: an OpenAI chat request. `stream` counts, whatever the JSON says.
///
/// # Errors
/// What an HTTP client would be told.
pub fn host_call(app: &App, body: &[u8], stream: bool, id: &str) -> Result<Call, Failure> {
    let scan = scan::scan(body)?;
    let body = scan::set_stream(body, &scan, stream);
    let mut scan = scan::scan(&body)?;
    let mut body = body;
    if stream && !scan.include_usage {
        let patch = scan::Patch { model: None, include_usage: true };
        body = scan::patch(&body, &scan, &patch);
        scan = scan::scan(&body)?;
    }
    let plan = app.router.resolve(scan.model.as_deref())?;
    let want = host_want(app, &body, &scan, &plan);
    let asked = Asked::Bytes { body: body.into(), id: id.into() };
    let mut call = Call::new(asked, Dialect::OpenAiChat, scan, plan);
    call.want = want;
    Ok(call)
}

/// `GET /v1/models`
pub(super) fn models(app: &App, exchange: &mut Exchange) {
    let mut body = Vec::new();
    app.router.encode_models(app.created, &mut body);
    exchange.response.send(200, "application/json", &body);
}

/// `GET /v1/models/{id}`
pub(super) fn model(app: &App, exchange: &mut Exchange) {
    let name = exchange.request.param(b"id").unwrap_or_default();
    let name = String::from_utf8_lossy(name).into_owned();
    let mut body = Vec::new();
    match app.router.encode_model(&name, app.created, &mut body) {
        Ok(()) => exchange.response.send(200, "application/json", &body),
        Err(failure) => answer(exchange, &failure),
    }
}
