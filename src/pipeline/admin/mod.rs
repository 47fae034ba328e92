//! `/admin`: what an operator sees and changes while the server runs; `docs/admin.md` has the
//! shapes.
//!
//! [`check`] says who may. Answers are JSON and never hold a key, a prompt or a credential. Whatever
//! changes something is an [`Order`], carried out on the blocking pool, and one line in the log.

mod guard;
mod order;
mod shown;

use serde_json::Value;

use super::{App, Step, answer};
use crate::exchange::Exchange;

pub use guard::{check, is_guarded};
pub use order::Order;
pub use shown::{blocks as blocks_shown, models as models_shown};

/// Declares the operator's routes: those that show, then those that change.
macro_rules! routes {
    (
        shows { $($shown:ident $show_method:literal $show_path:literal,)* }
        changes { $($change:ident $method:literal $path:literal,)* }
    ) => {
        /// One of the operator's routes.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Admin {
            $(#[doc = concat!("`", $show_method, " ", $show_path, "`")] $shown,)*
            $(#[doc = concat!("`", $method, " ", $path, "`")] $change,)*
        }

        /// Methods and patterns of the operator's routes.
        pub(super) const ROUTES: &[(&str, &str, Admin)] = &[
            $(($show_method, $show_path, Admin::$shown),)*
            $(($method, $path, Admin::$change),)*
        ];

        impl Admin {
            /// Whether it changes something: then its body is read.
            pub fn is_change(self) -> bool {
                matches!(self, $(Admin::$change)|*)
            }

            /// The pattern of its path.
            pub fn pattern(self) -> &'static str {
                match self {
                    $(Admin::$shown => $show_path,)*
                    $(Admin::$change => $path,)*
                }
            }
        }
    };
}

routes! {
    shows {
        Models "GET" "/admin/models",
        Firewall "GET" "/admin/firewall",
        Cache "GET" "/admin/cache",
        Plugins "GET" "/admin/plugins",
        Keys "GET" "/admin/keys",
        Config "GET" "/admin/config",
        Connections "GET" "/admin/connections",
    }
    changes {
        Reload "POST" "/admin/reload",
        SetKey "PUT" "/admin/config/*name",
        UnsetKey "DELETE" "/admin/config/*name",
        PutModel "PUT" "/admin/models/*name",
        PatchModel "PATCH" "/admin/models/*name",
        DeleteModel "DELETE" "/admin/models/*name",
        PutKey "PUT" "/admin/keys/*name",
        DeleteKey "DELETE" "/admin/keys/*name",
        Allow "POST" "/admin/firewall/allow",
        Deny "POST" "/admin/firewall/deny",
        Forget "POST" "/admin/firewall/forget",
        Block "POST" "/admin/firewall/block",
        Unblock "POST" "/admin/firewall/unblock",
        ClearCache "POST" "/admin/cache/clear",
        LoadPlugin "POST" "/admin/plugins",
        PatchPlugin "PATCH" "/admin/plugins/*name",
        CloseConnection "DELETE" "/admin/connections/:name",
        UnloadPlugin "DELETE" "/admin/plugins/*name",
    }
}

impl Admin {
    /// Answers.
    pub(super) fn answer(self, app: &App, exchange: &mut Exchange, may_block: bool) -> Step {
        if self.is_change() {
            if !may_block {
                return Step::Block;
            }
            self.change(app, exchange);
            return Step::Respond;
        }
        // Asking the workers takes a wait.
        if self == Admin::Connections && !may_block {
            return Step::Block;
        }
        let shown = match self {
            Admin::Connections => app.status.connections(),
            Admin::Models => shown::models(app),
            Admin::Firewall => shown::firewall(app),
            Admin::Cache => app.cache.stats(),
            Admin::Plugins => serde_json::json!({ "plugins": app.status.plugins() }),
            Admin::Keys => shown::keys(app),
            _ => app.status.config(),
        };
        send(exchange, &shown);
        Step::Respond
    }

    fn change(self, app: &App, exchange: &mut Exchange) {
        let request = &exchange.request;
        let order = match order::read(self, request) {
            Ok(order) => order,
            Err(failure) => return answer(exchange, &failure),
        };
        let peer = request.peer();
        let may = order.check(app.guard.admin_key().is_some());
        match may.and_then(|()| app.status.operate(&order, &format!("admin {peer}"))) {
            Ok(told) => {
                tracing::info!(request_id = request.id_text(), "admin: {peer}: {order}");
                send(exchange, &told);
            }
            Err(failure) => {
                tracing::warn!(
                    request_id = request.id_text(),
                    "admin: {peer}: {order}: refused: {}",
                    failure.message
                );
                answer(exchange, &failure);
            }
        }
    }
}

fn send(exchange: &mut Exchange, value: &Value) {
    exchange.response.send(200, "application/json", value.to_string().as_bytes());
    // What an operator sees is nothing for caches on the way.
    exchange.response.headers.push(b"Cache-Control", b"no-store");
}
