//! Requests to models: what is asked, who answers, in which form.

use std::sync::Arc;

use super::call::{Asked, Call};
use super::{App, Step, answer, old_pages, provider};
use crate::ai::dialect::{Dialect, old_chat};
use crate::ai::router::{self, HashOn, Router, RouterBuilder, Strategy};
use crate::ai::scan;
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
    let mut asked = Asked::Request(Arc::clone(&exchange.request));
    if dialect == Dialect::OldChat {
        old_pages::sign(exchange);
        let body = old_chat::native_body(exchange.request.body())?.into();
        asked = Asked::Bytes { body, id: exchange.request.id_text().into() };
    }
    let scan = scan::scan(asked.body())?;
    let plan = app.router.resolve(scan.model.as_deref())?;
    if !app.guard.allows_model(&exchange.request, &plan.model) {
        let message = format!("the API key may not use the model {}", plan.model);
        return Err(Failure::new(403, message).code("model_not_allowed").param("model"));
    }
    Ok(Step::Call(Box::new(Call::new(asked, dialect, scan, plan))))
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
    let asked = Asked::Bytes { body: body.into(), id: id.into() };
    Ok(Call::new(asked, Dialect::OpenAiChat, scan, plan))
}

/// Both dialects list models under the same path; Anthropic's clients always name their version.
fn speaks_anthropic(exchange: &Exchange) -> bool {
    exchange.request.header_values(b"anthropic-version").next().is_some()
}

/// `GET /v1/models`
pub(super) fn models(app: &App, exchange: &mut Exchange) {
    let mut body = Vec::new();
    if speaks_anthropic(exchange) {
        app.router.encode_models_anthropic(app.created, &mut body);
    } else {
        app.router.encode_models(app.created, &mut body);
    }
    exchange.response.send(200, "application/json", &body);
}

/// `GET /v1/models/{id}`
pub(super) fn model(app: &App, exchange: &mut Exchange) {
    let name = exchange.request.param(b"id").unwrap_or_default();
    let name = String::from_utf8_lossy(name).into_owned();
    let mut body = Vec::new();
    let found = match speaks_anthropic(exchange) {
        true => app.router.encode_model_anthropic(&name, app.created, &mut body),
        false => app.router.encode_model(&name, app.created, &mut body),
    };
    match found {
        Ok(()) => exchange.response.send(200, "application/json", &body),
        Err(failure) => answer(exchange, &failure),
    }
}
