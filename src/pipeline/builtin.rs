//! Our own routes: the server card, liveness, readiness, statistics, models, AI answers.

use super::admin::{self, Admin};
use super::{App, Step, answer, complete, dashboard, old_pages};
use crate::ai::dialect::Dialect;
use crate::base::error::Failure;
use crate::exchange::Exchange;
use crate::route::Table;

/// One of our own routes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Builtin {
    /// `GET /`
    Card,
    /// `GET /health`
    Health,
    /// `GET /ready`
    Ready,
    /// `GET /stats`
    Stats,
    /// `GET /metrics`
    Metrics,
    /// `GET /v1/models`
    Models,
    /// `GET /v1/models/{id}`
    Model,
    /// `GET /dashboard`
    Dashboard,
    /// `GET /dashboard/live`
    DashboardLive,
    /// One of the operator's routes.
    Admin(Admin),
    /// A request to a model.
    Ai(Dialect),
}

impl Builtin {
    /// Whether it is a request to a model.
    pub fn is_ai(self) -> bool {
        matches!(self, Builtin::Ai(_))
    }

    /// The pattern of its path.
    pub fn route(self) -> &'static str {
        match self {
            Builtin::Card => "/",
            Builtin::Health => "/health",
            Builtin::Ready => "/ready",
            Builtin::Stats => "/stats",
            Builtin::Metrics => "/metrics",
            Builtin::Models => "/v1/models",
            Builtin::Model => "/v1/models/{id}",
            Builtin::Dashboard => "/dashboard",
            Builtin::DashboardLive => "/dashboard/live",
            Builtin::Admin(admin) => admin.pattern(),
            Builtin::Ai(Dialect::OpenAiChat) => "/v1/chat/completions",
            Builtin::Ai(Dialect::OpenAiCompletions) => "/v1/completions",
            Builtin::Ai(Dialect::OpenAiEmbeddings) => "/v1/embeddings",
            Builtin::Ai(Dialect::OpenAiResponses) => "/v1/responses",
            Builtin::Ai(Dialect::AnthropicMessages) => "/v1/messages",
            Builtin::Ai(Dialect::AnthropicCountTokens) => "/v1/messages/count_tokens",
            Builtin::Ai(Dialect::NativeChat | Dialect::OldChat) => "/v1/chat",
        }
    }

    pub(super) fn answer(self, app: &App, exchange: &mut Exchange, may_block: bool) -> Step {
        const JSON: &str = "application/json";
        if app.settings.is_old && old_pages::answer(self, app, exchange) {
            return Step::Respond;
        }
        match self {
            Builtin::Ai(Dialect::NativeChat) if app.settings.is_old => {
                return complete::begin(app, exchange, Dialect::OldChat, may_block);
            }
            Builtin::Card => {
                exchange.response.send(200, JSON, card().as_bytes());
                exchange.response.headers.push(b"X-Content-Type-Options", b"nosniff");
            }
            Builtin::Health => exchange.response.send(200, JSON, b"{\"status\":\"ok\"}"),
            Builtin::Ready if app.status.is_ready() => {
                exchange.response.send(200, JSON, b"{\"status\":\"ready\"}");
            }
            Builtin::Ready => {
                let failure = Failure::new(503, "the server is draining").code("draining");
                answer(exchange, &failure.retry_after(1));
            }
            Builtin::Stats => {
                exchange.response.send(200, JSON, app.status.stats_json().as_bytes());
            }
            Builtin::Metrics => {
                const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
                exchange.response.send(200, TEXT, app.status.metrics_text().as_bytes());
            }
            Builtin::Models => complete::models(app, exchange),
            Builtin::Model => complete::model(app, exchange),
            Builtin::Dashboard => dashboard::page(exchange),
            Builtin::DashboardLive => return dashboard::live(app, exchange),
            Builtin::Admin(admin) => return admin.answer(app, exchange, may_block),
            Builtin::Ai(dialect) => return complete::begin(app, exchange, dialect, may_block),
        }
        Step::Respond
    }
}

/// The server card: who answers here and where its parts are.
fn card() -> &'static str {
    concat!(
        "{\"name\":\"neurohttp\",\"version\":\"",
        env!("CARGO_PKG_VERSION"),
        "\",\"endpoints\":[\"/health\",\"/ready\",\"/stats\",\"/metrics\",\"/dashboard\",\"/v1/chat\",\"/v1/chat/completions\",",
        "\"/v1/completions\",\"/v1/embeddings\",\"/v1/responses\",\"/v1/messages\",",
        "\"/v1/messages/count_tokens\",",
        "\"/v1/models\"]}"
    )
}

/// The table of our own routes.
pub(super) fn table() -> Table<Builtin> {
    let mut table = Table::default();
    for (method, pattern, builtin) in [
        ("GET", "/", Builtin::Card),
        ("GET", "/health", Builtin::Health),
        ("GET", "/ready", Builtin::Ready),
        ("GET", "/stats", Builtin::Stats),
        ("GET", "/metrics", Builtin::Metrics),
        ("GET", "/dashboard", Builtin::Dashboard),
        ("GET", "/dashboard/live", Builtin::DashboardLive),
        ("GET", "/v1/models", Builtin::Models),
        ("GET", "/v1/models/*id", Builtin::Model),
        ("POST", "/v1/chat", Builtin::Ai(Dialect::NativeChat)),
        ("POST", "/v1/chat/completions", Builtin::Ai(Dialect::OpenAiChat)),
        ("POST", "/v1/completions", Builtin::Ai(Dialect::OpenAiCompletions)),
        ("POST", "/v1/embeddings", Builtin::Ai(Dialect::OpenAiEmbeddings)),
        ("POST", "/v1/responses", Builtin::Ai(Dialect::OpenAiResponses)),
        ("POST", "/v1/messages", Builtin::Ai(Dialect::AnthropicMessages)),
        ("POST", "/v1/messages/count_tokens", Builtin::Ai(Dialect::AnthropicCountTokens)),
    ] {
        let added = table.insert(method, pattern, builtin);
        debug_assert!(added.is_ok(), "{pattern}");
    }
    for (method, pattern, admin) in admin::ROUTES {
        let added = table.insert(method, pattern, Builtin::Admin(*admin));
        debug_assert!(added.is_ok(), "{pattern}");
    }
    table
}
