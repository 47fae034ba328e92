//! Requests to models: what is asked, who answers, in which form.

use std::sync::Arc;

use super::{App, Pull, Step, answer};
use crate::ai::chat;
use crate::ai::dialect::{Dialect, Meta, StreamEncoder};
use crate::ai::provider::echo::{self, EchoGenerator};
use crate::ai::router::{self, HashOn, Router, RouterBuilder, Strategy};
use crate::ai::scan::{self, Scan};
use crate::base::error::Failure;
use crate::config::Config;
use crate::config::kinds;
use crate::exchange::{Exchange, Taken};

/// A provider as the relay needs it.
pub struct Provider {
    /// Its configured name.
    pub name: String,
    /// Answers inside the process.
    pub is_echo: bool,
}

/// The providers of a configuration, in its order.
pub(super) fn providers(config: &Config) -> Arc<[Provider]> {
    config
        .provider
        .iter()
        .map(|provider| Provider {
            name: provider.name.clone(),
            is_echo: kinds::find(&provider.kind)
                .is_some_and(|kind| kind.dialect == kinds::Dialect::Echo),
        })
        .collect()
}

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
    let Some(target) = plan.targets.first() else {
        return Err(Failure::new(503, "the model has no targets").code("no_target"));
    };
    let provider = &app.providers[target.provider];
    let meta = Meta {
        id: answer_id(dialect, exchange),
        model: plan.model.clone(),
        created: app.status.unix_seconds(),
    };
    mark(exchange, &provider.name, &plan.model);
    local(exchange, dialect, &scan, meta)
}

/// Answers inside the process.
fn local(
    exchange: &mut Exchange,
    dialect: Dialect,
    scan: &Scan,
    meta: Meta,
) -> Result<Step, Failure> {
    let request = dialect.decode_request(exchange.request.body())?;
    if scan.stream {
        stream_head(exchange);
        return Ok(Step::Pull(Box::new(EchoPull {
            generator: echo::generate(&request),
            encoder: dialect.stream_encoder(meta, request.include_usage),
        })));
    }
    let reply: chat::Reply = echo::reply(&request);
    exchange.response.status = 200;
    exchange.response.headers.push(b"Content-Type", b"application/json");
    dialect.encode_reply(&reply, &meta, &mut exchange.response.body);
    Ok(Step::Respond)
}

/// The head of a streamed answer. Proxies in front of us must not collect it.
fn stream_head(exchange: &mut Exchange) {
    let response = &mut exchange.response;
    response.status = 200;
    response.headers.push(b"Content-Type", b"text/event-stream");
    response.headers.push(b"Cache-Control", b"no-cache");
    response.headers.push(b"X-Accel-Buffering", b"no");
}

/// Says who has answered. Names that could split the head are left out.
fn mark(exchange: &mut Exchange, provider: &str, model: &str) {
    let response = &mut exchange.response;
    response.headers.push(b"x-neurohttp-cache", b"bypass");
    drop(response.set_header(b"x-neurohttp-provider", provider.as_bytes()));
    drop(response.set_header(b"x-neurohttp-model", model.as_bytes()));
}

/// The answer's id: letters and digits of the request's.
fn answer_id(dialect: Dialect, exchange: &Exchange) -> String {
    let id = exchange.request.id_text().chars().filter(char::is_ascii_alphanumeric);
    dialect.id_prefix().chars().chain(id).collect()
}

/// An echo as the body of a stream.
struct EchoPull {
    generator: EchoGenerator,
    encoder: Box<dyn StreamEncoder>,
}

impl Pull for EchoPull {
    fn pull(&mut self, out: &mut Vec<u8>, bytes_wanted: usize) -> Taken {
        while out.len() < bytes_wanted {
            match self.generator.next() {
                Some(delta) => self.encoder.event(&delta, out),
                None => {
                    self.encoder.finish(out);
                    return Taken::End;
                }
            }
        }
        Taken::More
    }
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
