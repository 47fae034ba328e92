//! What an operator asks a server to change: from the body of a request to an [`Order`].

use serde_json::{Map, Value};

use super::Admin;
use crate::base::error::Failure;
use crate::exchange::Request;

/// One change.
#[derive(Clone, PartialEq, Eq)]
pub enum Order {
    /// Read the configuration anew.
    Reload,
    /// Set keys over everything else, as `--set` does. With `replaces` the table of that name has
    /// none but these.
    Set {
        /// Keys and values, as `section.key` and text.
        sets: Vec<(String, String)>,
        /// `model.NAME`
        replaces: Option<String>,
    },
    /// Forget what was set of a key at run time.
    Unset(String),
    /// Take a table out: `key.NAME`.
    RemoveTable(String),
    /// Take a model out.
    RemoveModel(String),
    /// Switch a model on or off, and make it the default.
    Model {
        /// Its name or alias.
        name: String,
        /// On or off.
        is_available: Option<bool>,
        /// Make it the default.
        is_default: bool,
    },
    /// Let a range in, for seconds or (0) for good.
    Allow {
        /// The range.
        range: String,
        /// For so long.
        seconds: i64,
    },
    /// Keep a range out, for seconds or (0) for good; without: as long as the configuration blocks.
    Deny {
        /// The range.
        range: String,
        /// For so long.
        seconds: Option<i64>,
        /// For whoever is told.
        reason: String,
    },
    /// Take a range off both lists and lift blocks in it.
    Forget(String),
    /// Remove all that is kept.
    ClearCache,
    /// Load a plugin by its bare name.
    LoadPlugin {
        /// The name.
        name: String,
        /// Its configuration, as TOML; none: what the server's holds for it.
        text: Option<String>,
    },
    /// Switch a plugin on or off.
    EnablePlugin {
        /// The name.
        name: String,
        /// On or off.
        is_enabled: bool,
    },
    /// Close a connection by its id.
    CloseConnection(String),
    /// Unload a plugin.
    UnloadPlugin(String),
}

/// What only a file may say: it decides which code of which file runs in the server.
const OF_FILES_ONLY: &[&str] = &["plugins."];
/// What makes more of whoever may set it: code and files of the server's user, credentials of
/// providers, who is let in. Without `admin.key` everybody with an account on the machine could.
const OF_KEY_HOLDERS: &[&str] = &[
    "admin.",
    "auth.",
    "firewall.rules",
    "key.",
    "log.file",
    "telemetry.endpoint",
    "telemetry.headers",
    "plugin.",
    "provider.",
    "server.listen",
];

impl Order {
    /// Checks that whoever is let in may ask for it. `shows_key`: it showed `admin.key`.
    ///
    /// # Errors
    /// 403 for what is set in files only, or by those who show a key only.
    pub(super) fn check(&self, shows_key: bool) -> Result<(), Failure> {
        let begins =
            |key: &str, list: &[&str]| list.iter().any(|beginning| key.starts_with(beginning));
        let keys: Vec<&str> = match self {
            Order::Set { sets, .. } => sets.iter().map(|(key, _)| key.as_str()).collect(),
            Order::Unset(key) | Order::RemoveTable(key) => vec![key],
            // What a plugin is told may name files.
            Order::LoadPlugin { text: Some(_), .. } => vec!["plugin."],
            _ => Vec::new(),
        };
        if let Some(key) = keys.iter().find(|key| begins(key, OF_FILES_ONLY)) {
            let message = format!("{key} is set in the configuration's file only");
            return Err(Failure::new(403, message).code("file_only"));
        }
        match keys.iter().find(|key| begins(key, OF_KEY_HOLDERS)) {
            Some(key) if !shows_key => {
                let message = format!("{key} is changed only where admin.key is set");
                Err(Failure::new(403, message).code("admin_key_needed"))
            }
            _ => Ok(()),
        }
    }
}

/// As the audit line tells it; values may be secrets and are left out.
impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let on = |on: &bool| if *on { "on" } else { "off" };
        let long = |seconds: &i64| match seconds {
            0 => "for good".to_owned(),
            seconds => format!("for {seconds} s"),
        };
        let why = |reason: &str| match reason {
            "" => String::new(),
            reason => format!(": {reason}"),
        };
        match self {
            Order::Reload => f.write_str("reload"),
            Order::Set { sets, .. } => {
                let keys: Vec<&str> = sets.iter().map(|(key, _)| key.as_str()).collect();
                write!(f, "set {}", keys.join(", "))
            }
            Order::Unset(key) => write!(f, "unset {key}"),
            Order::RemoveTable(table) => write!(f, "remove {table}"),
            Order::RemoveModel(name) => write!(f, "remove model.{name}"),
            Order::Model { name, is_available, is_default } => {
                write!(f, "model {name}")?;
                if let Some(available) = is_available {
                    write!(f, " {}", on(available))?;
                }
                f.write_str(if *is_default { " as the default" } else { "" })
            }
            Order::Allow { range, seconds } => write!(f, "allow {range} {}", long(seconds)),
            Order::Deny { range, seconds: Some(seconds), reason } => {
                write!(f, "deny {range} {}{}", long(seconds), why(reason))
            }
            Order::Deny { range, seconds: None, reason } => {
                write!(f, "block {range}{}", why(reason))
            }
            Order::Forget(range) => write!(f, "forget {range}"),
            Order::ClearCache => f.write_str("clear the cache"),
            Order::LoadPlugin { name, .. } => write!(f, "load plugin {name}"),
            Order::EnablePlugin { name, is_enabled } => {
                write!(f, "plugin {name} {}", on(is_enabled))
            }
            Order::CloseConnection(id) => write!(f, "close connection {id:?}"),
            Order::UnloadPlugin(name) => write!(f, "unload plugin {name}"),
        }
    }
}

/// The order that a request gives.
///
/// # Errors
/// 400 that says what is wrong with its body.
pub(super) fn read(route: Admin, request: &Request) -> Result<Order, Failure> {
    let mut body = Body::of(request)?;
    let name = || {
        let name = request.param(b"name").unwrap_or_default();
        String::from_utf8(name.to_vec()).map_err(|_| bad("name", "the name is not UTF-8"))
    };
    let order = match route {
        Admin::Reload => Order::Reload,
        Admin::SetKey => {
            let value = body.take("value")?;
            let value = value.ok_or_else(|| bad("value", "`value` is missing"))?;
            let text = match value {
                // As on the command line: what it means is the key's affair.
                Value::String(text) => text,
                value => plain(&value)?,
            };
            Order::Set { sets: vec![(name()?, text)], replaces: None }
        }
        Admin::UnsetKey => Order::Unset(name()?),
        Admin::PutModel => {
            let table = format!("model.{}", name()?);
            Order::Set { sets: body.take_sets(&table)?, replaces: Some(table) }
        }
        Admin::PatchModel => {
            let is_available = body.flag("available")?;
            let is_default = body.flag("default")?;
            if is_default == Some(false) {
                let message = "a default is changed by making another model the default";
                return Err(bad("default", message));
            }
            if is_available.is_none() && is_default.is_none() {
                return Err(bad("available", "`available` or `default` is expected"));
            }
            Order::Model { name: name()?, is_available, is_default: is_default == Some(true) }
        }
        Admin::DeleteModel => Order::RemoveModel(name()?),
        Admin::PutKey => {
            let table = format!("key.{}", name()?);
            Order::Set { sets: body.take_sets(&table)?, replaces: None }
        }
        Admin::DeleteKey => Order::RemoveTable(format!("key.{}", name()?)),
        Admin::Allow => {
            Order::Allow { range: body.must("range")?, seconds: body.seconds()?.unwrap_or(0) }
        }
        Admin::Deny => Order::Deny {
            range: body.must("range")?,
            seconds: Some(body.seconds()?.unwrap_or(0)),
            reason: body.text("reason")?.unwrap_or_default(),
        },
        Admin::Block => Order::Deny {
            range: body.must("address")?,
            seconds: body.seconds()?,
            reason: body.text("reason")?.unwrap_or_default(),
        },
        Admin::Forget => Order::Forget(body.must("range")?),
        Admin::Unblock => Order::Forget(body.must("address")?),
        Admin::ClearCache => Order::ClearCache,
        Admin::LoadPlugin => {
            let name = body.must("name")?;
            let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            if name.starts_with('.') || !name.bytes().all(is_bare) {
                let message = "a plugin is loaded by its bare name, from plugins.dir";
                return Err(bad("name", message));
            }
            Order::LoadPlugin { name, text: body.text("config")? }
        }
        Admin::PatchPlugin => {
            let is_enabled = body.flag("enabled")?;
            let is_enabled = is_enabled.ok_or_else(|| bad("enabled", "`enabled` is missing"))?;
            Order::EnablePlugin { name: name()?, is_enabled }
        }
        Admin::CloseConnection => Order::CloseConnection(name()?),
        Admin::UnloadPlugin => Order::UnloadPlugin(name()?),
        Admin::Models
        | Admin::Firewall
        | Admin::Cache
        | Admin::Plugins
        | Admin::Keys
        | Admin::Connections
        | Admin::Config => unreachable!("what is shown changes nothing"),
    };
    body.end()?;
    Ok(order)
}

fn bad(param: &str, message: impl Into<String>) -> Failure {
    Failure::new(400, message.into()).code("invalid_request").param(param.to_owned())
}

/// The members of a request's body.
struct Body(Map<String, Value>);

impl Body {
    fn of(request: &Request) -> Result<Body, Failure> {
        let bytes = request.body();
        if bytes.trim_ascii().is_empty() {
            return Ok(Body(Map::new()));
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(members)) => Ok(Body(members)),
            Ok(_) => Err(Failure::new(400, "the body is no JSON object").code("invalid_json")),
            Err(error) => {
                Err(Failure::new(400, format!("the body is no JSON: {error}")).code("invalid_json"))
            }
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "read like its kin")]
    fn take(&mut self, name: &str) -> Result<Option<Value>, Failure> {
        Ok(self.0.remove(name).filter(|value| !value.is_null()))
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        match self.take(name)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(bad(name, format!("`{name}` is no string"))),
        }
    }

    fn must(&mut self, name: &str) -> Result<String, Failure> {
        let text = self.text(name)?.filter(|text| !text.is_empty());
        text.ok_or_else(|| bad(name, format!("`{name}` is missing")))
    }

    fn flag(&mut self, name: &str) -> Result<Option<bool>, Failure> {
        match self.take(name)? {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(bad(name, format!("`{name}` is neither true nor false"))),
        }
    }

    fn seconds(&mut self) -> Result<Option<i64>, Failure> {
        match self.take("seconds")? {
            None => Ok(None),
            Some(value) => match value.as_i64().filter(|seconds| *seconds >= 0) {
                Some(seconds) => Ok(Some(seconds)),
                None => Err(bad("seconds", "`seconds` is no whole number from 0 up")),
            },
        }
    }

    /// All members, as keys of a table.
    fn take_sets(&mut self, table: &str) -> Result<Vec<(String, String)>, Failure> {
        let members = std::mem::take(&mut self.0);
        if members.is_empty() {
            return Err(Failure::new(400, "the body names no key").code("invalid_request"));
        }
        let one = |(key, value): (String, Value)| match key.contains('.') {
            true => Err(bad(&key, "a key of a table has no point in it")),
            false => Ok((format!("{table}.{key}"), plain(&value)?)),
        };
        members.into_iter().map(one).collect()
    }

    /// Nothing is left.
    fn end(self) -> Result<(), Failure> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(bad(name, format!("the member `{name}` is not known"))),
        }
    }
}

/// A value as `--set` takes it. A string is quoted, so that it stays one.
fn plain(value: &Value) -> Result<String, Failure> {
    let mut out = String::new();
    write_toml(value, &mut out)?;
    Ok(out)
}

fn write_toml(value: &Value, out: &mut String) -> Result<(), Failure> {
    match value {
        Value::Null => return Err(bad("value", "null is no value of the configuration")),
        // JSON's escapes are TOML's too, but for one byte.
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.push_str(&value.to_string().replace('\u{7f}', "\\u007f"));
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_toml(item, out)?;
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (index, (key, value)) in members.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { " " });
                write_toml(&Value::String(key.clone()), out)?;
                out.push_str(" = ");
                write_toml(value, out)?;
            }
            out.push_str(" }");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_become_toml() {
        for (value, want) in [
            (json!(50), "50"),
            (json!(true), "true"),
            (json!("a\"b\n\u{7f}"), r#""a\"b\n\u007f""#),
            (json!(["10.0.0.0/8", "::1"]), r#"["10.0.0.0/8", "::1"]"#),
            (
                json!([{"provider": "echo", "weight": 2}]),
                r#"[{ "provider" = "echo", "weight" = 2 }]"#,
            ),
            (json!({}), "{ }"),
        ] {
            let toml = plain(&value).unwrap();
            assert_eq!(toml, want);
            assert!(format!("x = {toml}").parse::<toml::Table>().is_ok(), "{toml}");
        }
        assert!(plain(&json!([null])).is_err());
    }

    #[test]
    fn who_has_no_key_gets_no_more_than_the_server_s_traffic() {
        let set =
            |key: &str| Order::Set { sets: vec![(key.to_owned(), String::new())], replaces: None };
        for (key, without, with) in [
            ("firewall.burst", true, true),
            ("model.x.targets", true, true),
            ("log.level", true, true),
            ("log.file", false, true),
            ("provider.openai.base_url", false, true),
            ("key.a.key", false, true),
            ("auth.open", false, true),
            ("admin.key", false, true),
            ("server.listen", false, true),
            ("plugin.logstats.file", false, true),
            ("plugins.dir", false, false),
            ("plugins.load", false, false),
        ] {
            assert_eq!(set(key).check(false).is_ok(), without, "{key}");
            assert_eq!(set(key).check(true).is_ok(), with, "{key}");
            assert_eq!(Order::Unset(key.to_owned()).check(false).is_ok(), without, "{key}");
        }
        let load = |text| Order::LoadPlugin { name: "p".to_owned(), text };
        assert!(load(None).check(false).is_ok());
        assert!(load(Some(String::new())).check(false).is_err());
    }

    #[test]
    fn an_audit_line_holds_no_value() {
        let sets = vec![("key.a.key".to_owned(), "sk-secret".to_owned())];
        let told = Order::Set { sets, replaces: None }.to_string();
        assert_eq!(told, "set key.a.key");
        let load = Order::LoadPlugin { name: "p".into(), text: Some("token = 1".into()) };
        assert_eq!(load.to_string(), "load plugin p");
    }
}
