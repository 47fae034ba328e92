//! `/admin`: what an operator sees and changes while the server runs; `docs/admin.md` has the
//! shapes.
//!
//! [`check`] says who may. Answers are JSON and never hold a key, a prompt or a credential.

mod guard;
mod shown;

use serde_json::Value;

use super::App;
use crate::exchange::Exchange;

pub use guard::{check, is_guarded};

/// One of the operator's routes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admin {
    /// `GET /admin/models`
    Models,
    /// `GET /admin/firewall`
    Firewall,
    /// `GET /admin/cache`
    Cache,
    /// `GET /admin/plugins`
    Plugins,
    /// `GET /admin/keys`
    Keys,
}

/// Methods and patterns of the operator's routes.
pub(super) const ROUTES: &[(&str, &str, Admin)] = &[
    ("GET", "/admin/models", Admin::Models),
    ("GET", "/admin/firewall", Admin::Firewall),
    ("GET", "/admin/cache", Admin::Cache),
    ("GET", "/admin/plugins", Admin::Plugins),
    ("GET", "/admin/keys", Admin::Keys),
];

impl Admin {
    /// Answers.
    pub(super) fn answer(self, app: &App, exchange: &mut Exchange) {
        let shown = match self {
            Admin::Models => shown::models(app),
            Admin::Firewall => shown::firewall(app),
            Admin::Cache => app.cache.stats(),
            Admin::Plugins => serde_json::json!({ "plugins": app.status.plugins() }),
            Admin::Keys => shown::keys(app),
        };
        send(exchange, &shown);
    }
}

fn send(exchange: &mut Exchange, value: &Value) {
    exchange.response.send(200, "application/json", value.to_string().as_bytes());
    // What an operator sees is nothing for caches on the way.
    exchange.response.headers.push(b"Cache-Control", b"no-store");
}
