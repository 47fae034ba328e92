//! What an operator's routes ask of a running server.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::core::Core;
use super::reload::Reloaded;
use crate::base::error::{Error, ErrorKind, Failure};
use crate::config::Config;
use crate::pipeline::Order;

impl Core {
    /// Carries an order out. `who` gave it.
    ///
    /// # Errors
    /// What the operator is told.
    pub(super) fn operate(&self, order: &Order, who: &str) -> Result<Value, Failure> {
        self.carry_out(order, who).map_err(failure)
    }

    fn carry_out(&self, order: &Order, who: &str) -> Result<Value, Error> {
        let done = || json!({ "done": true });
        Ok(match order {
            Order::Reload => told(&self.reload(who, |_| ())?),
            Order::Set { sets, replaces } => {
                if let Some(name) = replaces.as_ref().and_then(|it| it.strip_prefix("model.")) {
                    // A program may have taken it out; it is wanted again.
                    self.change(|app| Arc::make_mut(&mut app.router).forgive(name));
                }
                told(&self.reload(who, |changes| {
                    if let Some(table) = replaces {
                        changes.remove(table);
                    }
                    for (key, value) in sets {
                        changes.set(key, value);
                    }
                })?)
            }
            Order::Unset(key) => {
                if !self.live.changes().unset(key) {
                    return Err(missing(format!("{key} was not set at run time")));
                }
                told(&self.reload(who, |changes| {
                    changes.unset(key);
                })?)
            }
            Order::RemoveTable(table) => {
                let config = self.live.config();
                let name = table.strip_prefix("key.").unwrap_or_default();
                if !config.key.iter().any(|key| key.name == name) {
                    return Err(missing(format!("there is no {table}")));
                }
                told(&self.reload(who, |changes| changes.remove(table))?)
            }
            Order::RemoveModel(name) => self.remove_model(name, who)?,
            Order::Model { name, is_available, is_default } => {
                let is_known = self.change(|app| {
                    let router = Arc::make_mut(&mut app.router);
                    (!is_default || router.set_default(name))
                        && is_available.is_none_or(|it| router.set_available(name, it))
                });
                if !is_known {
                    return Err(missing(format!("there is no model {name:?} for that")));
                }
                done()
            }
            Order::Allow { range, seconds } => {
                self.firewall_allow(range, *seconds)?;
                done()
            }
            Order::Deny { range, seconds, reason } => {
                let config = self.live.config();
                let block_s = i64::from(config.firewall.block_minutes) * 60;
                self.firewall_deny(range, seconds.unwrap_or(block_s), reason)?;
                done()
            }
            Order::Forget(range) => {
                self.firewall_forget(range)?;
                done()
            }
            Order::ClearCache => {
                self.app().cache.clear();
                done()
            }
            Order::LoadPlugin { name, text } => {
                let name = self.load_plugin(Path::new(name), text.as_deref())?;
                json!({ "name": name })
            }
            Order::EnablePlugin { name, is_enabled } => {
                if !self.plugins.set_enabled(name, *is_enabled) {
                    return Err(missing(format!("there is no plugin {name}")));
                }
                done()
            }
            Order::CloseConnection(id) => {
                if !self.close_connection(id) {
                    return Err(missing(format!("there is no connection {id}")));
                }
                done()
            }
            Order::UnloadPlugin(name) => match self.plugins.unload_and_tell(name) {
                Some(has_ended) => json!({ "ended": has_ended }),
                None => return Err(missing(format!("there is no plugin {name}"))),
            },
        })
    }

    /// A model of the configuration goes with its table; one of the program, and `echo`, by itself.
    fn remove_model(&self, name: &str, who: &str) -> Result<Value, Error> {
        if self.live.config().model.iter().any(|model| model.name == name) {
            let table = format!("model.{name}");
            return Ok(told(&self.reload(who, |changes| changes.remove(&table))?));
        }
        let is_own_name = |listed: crate::ai::router::Listed<'_>| listed.model.name == name;
        let is_known = self.change(|app| {
            let is_it = app.router.listing().any(is_own_name);
            is_it && Arc::make_mut(&mut app.router).remove(name)
        });
        match is_known {
            true => Ok(told(&Reloaded::default())),
            false => Err(missing(format!("there is no model {name:?}"))),
        }
    }

    /// What `/admin/config` shows: no value of a secret.
    pub(super) fn config_json(&self) -> Value {
        let config = self.live.config();
        let changes = self.live.changes();
        let set: Vec<&str> = changes.sets.iter().map(|(key, _)| key.as_str()).collect();
        let files: Vec<String> =
            config.files.iter().map(|file| file.display().to_string()).collect();
        json!({
            "toml": config.to_toml_masked(),
            "files": files,
            "set": set,
            "removed": changes.removed,
            "needs_restart": Config::needing_restart(&self.live.differences_from_start()),
        })
    }
}

fn told(reloaded: &Reloaded) -> Value {
    json!({ "changed": reloaded.changed, "needs_restart": reloaded.needs_restart })
}

fn missing(message: String) -> Error {
    Error::new(ErrorKind::NotFound, message)
}

/// What an HTTP client is told.
fn failure(error: Error) -> Failure {
    let with = |status| Failure::new(status, error.message.clone());
    match error.kind {
        ErrorKind::NotFound => with(404).code("not_found"),
        ErrorKind::Duplicate | ErrorKind::State | ErrorKind::Limit => {
            with(409).code("not_possible")
        }
        ErrorKind::Timeout => with(503).code("busy").retry_after(1),
        ErrorKind::Panic | ErrorKind::Memory => with(500),
        ErrorKind::Config | ErrorKind::Io | ErrorKind::AddressInUse => {
            with(400).code("invalid_configuration")
        }
        _ => with(400).code("invalid_request"),
    }
}
