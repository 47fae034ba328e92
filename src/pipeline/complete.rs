//! Requests to models: what is asked, who answers, in which form.

use std::sync::Arc;

use super::answers::{Answer, Replay, Spelling, Use, Want};
use super::auth::{Charge, Limits};
use super::call::{Asked, Call};
use super::{App, Step, answer, fit, old_pages, provider, text_guard};
use crate::ai::canonical;
use crate::ai::dialect::{Dialect, old_chat};
use crate::ai::estimate;
use crate::ai::price::Prices;
use crate::ai::router::{self, HashOn, Plan, Router, RouterBuilder, Strategy};
use crate::ai::scan::{self, Scan};
use crate::base::error::Failure;
use crate::config::{Config, Decimal, kinds};
use crate::exchange::{Exchange, Request};

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
    if !config.provider.iter().any(provider::is_host) {
        builder.provider(provider::HOST, false);
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
                abilities: abilities(model, target),
                context_tokens: match target.context_length {
                    0 => u64::from(model.context_length),
                    tokens => u64::from(tokens),
                },
                prices: prices(model, target),
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

/// What a target can do: as it says itself, else as its model says, else anything.
fn abilities(model: &crate::config::Model, target: &crate::config::ModelTarget) -> Option<u8> {
    let named = match target.capabilities.is_empty() {
        true => &model.capabilities,
        false => &target.capabilities,
    };
    let bits = named.iter().map(|name| 1 << *name as u8);
    (!named.is_empty()).then(|| bits.fold(0, |all, bit: u8| all | bit))
}

/// What the tokens of a target cost: as it says itself, else as its model says.
fn prices(model: &crate::config::Model, target: &crate::config::ModelTarget) -> Prices {
    // A dollar for a million tokens is a millionth of one for each.
    let prices = |[input, output, cached, cache_written]: [Decimal; 4]| {
        let or_input = |price: Decimal| if price.is_zero() { input } else { price };
        Prices {
            input: input.millionths(),
            output: output.millionths(),
            cached: or_input(cached).millionths(),
            cache_written: or_input(cache_written).millionths(),
        }
    };
    let own = prices([
        target.input_price,
        target.output_price,
        target.cached_price,
        target.cache_write_price,
    ]);
    if own.is_known() {
        return own;
    }
    prices([model.input_price, model.output_price, model.cached_price, model.cache_write_price])
}

/// Begins to answer a request to a model.
pub(super) fn begin(app: &App, exchange: &mut Exchange, dialect: Dialect, may_block: bool) -> Step {
    match try_begin(app, exchange, dialect, may_block) {
        Ok(step) => step,
        Err(failure) => {
            answer(exchange, &failure);
            Step::Respond
        }
    }
}

fn try_begin(
    app: &App,
    exchange: &mut Exchange,
    dialect: Dialect,
    may_block: bool,
) -> Result<Step, Failure> {
    let mut asked = Asked::Request(Arc::clone(&exchange.request));
    if dialect == Dialect::OldChat {
        old_pages::sign(exchange);
        let body = old_chat::native_body(exchange.request.body())?.into();
        asked = Asked::Bytes { body, id: exchange.request.id_text().into() };
    }
    if !may_block && text_guard::must_wait(app, asked.body()) {
        return Ok(Step::Block);
    }
    let mut scan = scan::scan(asked.body())?;
    let plan = app.router.resolve(scan.model.as_deref())?;
    let names = [plan.model.as_str(), plan.route.name.as_str()];
    if !app.guard.allows_model(&exchange.request, &names) {
        let message = format!("the API key may not use the model {}", plan.model);
        return Err(Failure::new(403, message).code("model_not_allowed").param("model"));
    }
    // Before anything is looked up or counted: what is kept and what is sent is what it leaves.
    let (screened, mut found) = text_guard::screen_prompt(app, &asked)?;
    let mut tell = || found.iter_mut().for_each(text_guard::Found::tell);
    if let Some(body) = screened {
        scan = scan::scan(&body)?;
        asked = asked.edited(body.into());
    }
    let body = asked.body();
    let (want, spelling) = match want(app, &exchange.request, body, dialect, &scan, &plan) {
        Some((want, spelling)) => (Some(want), spelling),
        None => (None, None),
    };
    let unfit = match fit::unfit(&plan, dialect, body, &scan, may_block)? {
        Some(unfit) => unfit,
        None => return Ok(Step::Block),
    };
    let mut call = Call::new(asked, dialect, scan, plan);
    call.belong(exchange.request.trace());
    call.leave_out(unfit);
    call.want = want;
    if let Some(answer) = hit(app, &mut call) {
        tell();
        if let (Some(spelling), Some(want)) = (spelling, &call.want) {
            app.cache.remember_spelling(&spelling, call.body(), want);
        }
        answer.fill(&mut exchange.response, b"hit");
        return Ok(match answer.is_stream() {
            true => Step::Pull(Box::new(Replay::new(answer))),
            false => Step::Respond,
        });
    }
    if let Some(limits) = app.guard.limits(&exchange.request)
        && limits.counts_tokens()
    {
        let charged = charge(app, limits, dialect, call.body(), may_block);
        match charged.inspect_err(|_| tell())? {
            Some(charge) => call.charge = Some(charge),
            None => return Ok(Step::Block),
        }
    }
    tell();
    Ok(Step::Call(Box::new(call)))
}

/// Takes the tokens of a request of its key's limit. A token has at least one byte, so where there is
/// room for as many tokens as bytes there is enough, and an estimate is taken until the usage is
/// known; else they are counted, which may block: none asks for that.
fn charge(
    app: &App,
    limits: &Arc<Limits>,
    dialect: Dialect,
    body: &[u8],
    may_block: bool,
) -> Result<Option<Charge>, Failure> {
    let now_us = app.status.monotonic_us();
    let bytes = body.len() as u64;
    if limits.take_tokens(bytes, now_us).is_ok() {
        let mut charge = Charge::new(Arc::clone(limits), bytes);
        // What others may use meanwhile must not shrink by the bytes. A short body is nearly all
        // text; in a long one images may be.
        charge.reduce(estimate::held_tokens(body), now_us);
        return Ok(Some(charge));
    }
    if !may_block {
        return Ok(None);
    }
    let tokens = fit::count(dialect, body);
    limits.take_tokens(tokens, now_us)?;
    Ok(Some(Charge::new(Arc::clone(limits), tokens)))
}

/// The clock that kept answers are dated by.
fn seconds(app: &App) -> u64 {
    u64::try_from(app.status.unix_seconds()).unwrap_or(0)
}

/// What a request wants of the cache, if anything; and how it is spelt, unless that was known.
fn want(
    app: &App,
    request: &Request,
    body: &[u8],
    dialect: Dialect,
    scan: &Scan,
    plan: &Plan,
) -> Option<(Want, Option<Spelling>)> {
    // Hooks see every request and may refuse it: no answer goes past them.
    if !app.hooks.is_empty() || !app.cache.is_for(dialect, scan.temperature, scan.seeded) {
        return None;
    }
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
    // Switches of a provider's API that a client sets in its head are part of what it asks.
    let mut switches = Vec::new();
    for index in 0..request.header_count() {
        let Some((name, value)) = request.header_at(index) else { continue };
        let is_switch = [&b"openai-"[..], b"anthropic-"]
            .iter()
            .any(|prefix| name.get(..prefix.len()).is_some_and(|n| n.eq_ignore_ascii_case(prefix)));
        let is_usual = name.eq_ignore_ascii_case(b"anthropic-version") && value == b"2023-06-01";
        if is_switch && !is_usual {
            switches.push(0);
            switches.extend_from_slice(&name.to_ascii_lowercase());
            switches.push(0);
            switches.extend_from_slice(value);
        }
    }
    let form = (dialect, scan.stream, scan.include_usage);
    let tenant = app.guard.tenant(request);
    let mut spelling = None;
    if usage == Use::Full {
        spelling = app.cache.spelling(app.epoch, &tenant, dialect, &switches, body);
        let spelt = spelling.as_ref().and_then(|it| app.cache.spelt(it, body, form));
        if let Some(want) = spelt {
            return Some((want, None));
        }
    }
    let mut text = canonical::canonical(dialect, &plan.route.name, body)?;
    if plan.passes_name() {
        text.extend_from_slice(plan.model.as_bytes());
    }
    text.extend_from_slice(&switches);
    if let Some(guard) = app.text_guard.fingerprint() {
        text.extend_from_slice(guard.as_bytes());
    }
    Some((app.cache.want(&tenant, &text, form, usage), spelling))
}

/// What a call of the host program wants of the cache.
fn host_want(app: &App, body: &[u8], scan: &Scan, plan: &Plan) -> Option<Want> {
    let dialect = Dialect::OpenAiChat;
    if !app.hooks.is_empty() || !app.cache.is_for(dialect, scan.temperature, scan.seeded) {
        return None;
    }
    let mut text = canonical::canonical(dialect, &plan.route.name, body)?;
    if plan.passes_name() {
        text.extend_from_slice(plan.model.as_bytes());
    }
    if let Some(guard) = app.text_guard.fingerprint() {
        text.extend_from_slice(guard.as_bytes());
    }
    let form = (dialect, scan.stream, scan.include_usage);
    Some(app.cache.want(&app.guard.host_tenant(), &text, form, Use::Full))
}

/// A kept answer to a call.
pub fn hit(app: &App, call: &mut Call) -> Option<Arc<Answer>> {
    let want = call.want.clone()?;
    call.date(app.status.unix_seconds());
    app.cache.find(&want, || call.meta_for_kept(), seconds(app))
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
    let mut asked = Asked::Bytes { body: body.into(), id: id.into() };
    let (screened, mut found) = text_guard::screen_prompt(app, &asked)?;
    found.iter_mut().for_each(text_guard::Found::tell);
    if let Some(screened) = screened {
        scan = scan::scan(&screened)?;
        asked = asked.edited(screened.into());
    }
    let want = host_want(app, asked.body(), &scan, &plan);
    let mut call = Call::new(asked, Dialect::OpenAiChat, scan, plan);
    call.want = want;
    Ok(call)
}

/// Both dialects list models under the same path; Anthropic's clients always name their version.
fn speaks_anthropic(exchange: &Exchange) -> bool {
    exchange.request.header_values(b"anthropic-version").next().is_some()
}

/// `GET /v1/models`: those that the key may use.
pub(super) fn models(app: &App, exchange: &mut Exchange) {
    let mut body = Vec::new();
    let request = &exchange.request;
    let is_allowed = |name: &str| app.guard.allows_model(request, &[name]);
    if speaks_anthropic(exchange) {
        app.router.encode_models_anthropic(app.created, is_allowed, &mut body);
    } else {
        app.router.encode_models(app.created, is_allowed, &mut body);
    }
    exchange.response.send(200, "application/json", &body);
}

/// `GET /v1/models/{id}`
pub(super) fn model(app: &App, exchange: &mut Exchange) {
    let name = exchange.request.param(b"id").unwrap_or_default();
    let name = String::from_utf8_lossy(name).into_owned();
    let mut body = Vec::new();
    let own = app.router.resolve(Some(&name)).ok().map(|plan| Arc::clone(&plan.route));
    let names = [name.as_str(), own.as_ref().map_or(name.as_str(), |route| &route.name)];
    if !app.guard.allows_model(&exchange.request, &names) {
        // What a key may not use does not exist for it.
        answer(exchange, &router::not_found(&name));
        return;
    }
    let found = match speaks_anthropic(exchange) {
        true => app.router.encode_model_anthropic(&name, app.created, &mut body),
        false => app.router.encode_model(&name, app.created, &mut body),
    };
    match found {
        Ok(()) => exchange.response.send(200, "application/json", &body),
        Err(failure) => answer(exchange, &failure),
    }
}
