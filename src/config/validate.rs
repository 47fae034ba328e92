//! Checks that need more than one key: names that must be unique or known, keys that belong
//! together, and the open-or-guarded rule.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};

use super::schema::Scope;
use super::values::{nearest, shown};
use super::{Config, ConfigError, Listen, Model};
use crate::base::limits;

/// Addresses to listen on, at most.
const LISTENERS_MAX: usize = 64;

/// Checks a configuration whose values are each right by themselves.
pub(crate) fn check(config: &mut Config, scope: &Scope<'_>) -> Result<(), ConfigError> {
    check_listeners(config, scope)?;
    check_tls(config, scope)?;
    check_keys(config, scope)?;
    check_models(config, scope)?;
    check_telemetry(config, scope)?;
    note_masks(config);
    Ok(())
}

fn check_listeners(config: &Config, scope: &Scope<'_>) -> Result<(), ConfigError> {
    let listen = &config.server.listen;
    if listen.is_empty() || listen.len() > LISTENERS_MAX {
        return Err(scope.at("server.listen").error(format!(
            "`listen` has {} addresses, expected 1 to {LISTENERS_MAX}",
            listen.len()
        )));
    }
    for (index, address) in listen.iter().enumerate() {
        // Port 0 picks another one each time.
        let picks = matches!(address, Listen::Tcp(it) | Listen::Tls(it) if it.port() == 0);
        if !picks && listen.iter().take(index).any(|earlier| is_same(earlier, address)) {
            return Err(scope.at(&format!("server.listen[{index}]")).error(format!(
                "`listen` names \"{}\" twice, expected each address once",
                shown(&address.to_string())
            )));
        }
    }
    Ok(())
}

fn is_same(one: &Listen, other: &Listen) -> bool {
    match (one, other) {
        (Listen::Tcp(one) | Listen::Tls(one), Listen::Tcp(other) | Listen::Tls(other)) => {
            one == other
        }
        (Listen::Unix(one), Listen::Unix(other)) => one == other,
        _ => false,
    }
}

fn check_tls(config: &Config, scope: &Scope<'_>) -> Result<(), ConfigError> {
    for (index, tls) in config.tls.iter().enumerate() {
        for (key, value) in [("cert", &tls.cert), ("key", &tls.key)] {
            if value.is_empty() {
                return Err(scope
                    .at(&format!("tls[{index}]"))
                    .error(format!("[[tls]] has no `{key}`, expected the path of a PEM file")));
            }
        }
    }
    let speaks_tls = |listen: &Listen| matches!(listen, Listen::Tls(_));
    match config.server.listen.iter().position(speaks_tls) {
        Some(index) if config.tls.is_empty() => Err(scope
            .at(&format!("server.listen[{index}]"))
            .error("there is no certificate for a tls:// listener, expected a [[tls]] table")),
        _ => Ok(()),
    }
}

/// A key that stands twice would have two sets of rights.
fn check_keys(config: &Config, scope: &Scope<'_>) -> Result<(), ConfigError> {
    let mut owners: HashMap<&str, Option<&str>> = HashMap::new();
    for (index, key) in config.auth.keys.iter().enumerate() {
        if key.is_empty() {
            return Err(scope
                .at(&format!("auth.keys[{index}]"))
                .error("`keys` holds an empty key, expected one of at least one character"));
        }
        owners.insert(key.expose(), None);
    }
    for key in &config.key {
        let path = format!("key.{}", key.name);
        let name = shown(&key.name);
        if key.key.is_empty() {
            return Err(scope
                .at(&path)
                .error(format!("[[key]] \"{name}\" has no `key`, expected one")));
        }
        if let Some(owner) = owners.insert(key.key.expose(), Some(&key.name)) {
            let owner = owner.map_or("[auth] keys".to_owned(), |it| format!("\"{}\"", shown(it)));
            return Err(scope.at(&format!("{path}.key")).error(format!(
                "[[key]] \"{name}\" has the same key as {owner}, expected one of its own"
            )));
        }
    }
    Ok(())
}

fn check_models(config: &Config, scope: &Scope<'_>) -> Result<(), ConfigError> {
    let providers: Vec<&str> = config.provider.iter().map(|it| it.name.as_str()).collect();
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    let mut default: Option<&str> = None;
    for model in &config.model {
        let path = format!("model.{}", model.name);
        let name = shown(&model.name);
        let aliases = model.aliases.iter().enumerate();
        let all = std::iter::once((format!("{path}.name"), &model.name))
            .chain(aliases.map(|(index, alias)| (format!("{path}.aliases[{index}]"), alias)));
        for (path, each) in all {
            if let Some(owner) = names.insert(each, &model.name) {
                return Err(scope.at(&path).error(format!(
                    "the name \"{}\" is taken by model \"{}\", expected each name and alias once",
                    shown(each),
                    shown(owner)
                )));
            }
        }
        if model.targets.is_empty() {
            return Err(scope
                .at(&path)
                .error(format!("model \"{name}\" has no `targets`, expected at least one")));
        }
        if model.targets.len() > limits::TARGETS_MAX {
            return Err(scope.at(&format!("{path}.targets")).error(format!(
                "model \"{name}\" has {} targets, expected at most {}",
                model.targets.len(),
                limits::TARGETS_MAX
            )));
        }
        for (index, target) in model.targets.iter().enumerate() {
            if !providers.contains(&target.provider.as_str()) {
                return Err(scope.at(&format!("{path}.targets[{index}].provider")).error(format!(
                    "unknown provider \"{}\", expected {}",
                    shown(&target.provider),
                    nearest(&target.provider, &providers)
                )));
            }
        }
        if model.default {
            check_default(model, default, scope)?;
            default = Some(&model.name);
        }
    }
    Ok(())
}

fn check_default(
    model: &Model,
    earlier: Option<&str>,
    scope: &Scope<'_>,
) -> Result<(), ConfigError> {
    let at = scope.at(&format!("model.{}.default", model.name));
    if let Some(earlier) = earlier {
        return Err(at.error(format!(
            "models \"{}\" and \"{}\" are both the default, expected at most one",
            shown(earlier),
            shown(&model.name)
        )));
    }
    // A request without a name has none that could go through.
    if model.name == "*" && model.targets.iter().any(|target| target.model.is_none()) {
        return Err(at.error(
            "model \"*\" is the default and a target of it has no `model`, expected every target \
             to name one",
        ));
    }
    Ok(())
}

/// The printed form of a configuration loads, but its masks are no keys.
/// What is sent to a collector must be header fields. Not repeated in the error: they hold keys.
fn check_telemetry(config: &Config, scope: &Scope<'_>) -> Result<(), ConfigError> {
    for (index, field) in config.telemetry.headers.iter().enumerate() {
        let fits = field.is_mask()
            || field.expose().split_once(':').is_some_and(|(name, value)| {
                let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
                let value = value.trim();
                !name.is_empty()
                    && name.bytes().all(is_token)
                    && !value.is_empty()
                    && value.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
            });
        if !fits {
            return Err(scope
                .at(&format!("telemetry.headers[{index}]"))
                .error(format!("`headers[{index}]` is not usable, expected \"NAME: VALUE\"")));
        }
    }
    Ok(())
}

fn note_masks(config: &mut Config) {
    let mut masked: Vec<String> = Vec::new();
    let keys = config.auth.keys.iter().map(|key| ("auth.keys".to_owned(), key));
    let tables = config.key.iter().map(|it| (format!("key.{}.key", it.name), &it.key));
    let admin = config.admin.key.iter().map(|key| ("admin.key".to_owned(), key));
    let providers = config
        .provider
        .iter()
        .filter_map(|it| Some((format!("provider.{}.api_key", it.name), it.api_key.as_ref()?)));
    let headers = config.telemetry.headers.iter().map(|it| ("telemetry.headers".to_owned(), it));
    for (path, secret) in keys.chain(tables).chain(admin).chain(providers).chain(headers) {
        if secret.is_mask() {
            masked.push(format!("`{}` is the mask of a printed configuration", shown(&path)));
        }
    }
    config.notes.append(&mut masked);
}

impl Config {
    /// No key is configured and `auth.open` is false: `/v1/*` answers only a loopback Host.
    pub fn is_guarded_only(&self) -> bool {
        self.auth.keys.is_empty() && self.key.is_empty() && !self.auth.open
    }

    /// Refuses a server that others can reach and that would spend a provider's credential for
    /// anyone: a listener that is not loopback, a provider with a key, and neither keys of our own
    /// nor `auth.open = true`. To be asked before a server that serves `/v1/*` starts.
    pub fn exposure_check(&self) -> Result<(), ConfigError> {
        if !self.is_guarded_only() {
            return Ok(());
        }
        let Some(listen) = self.server.listen.iter().find(|listen| !listen.is_loopback()) else {
            return Ok(());
        };
        let Some(provider) = self.provider.iter().find(|provider| provider.api_key.is_some())
        else {
            return Ok(());
        };
        Err(ConfigError::new(
            &self.listen_at,
            format!(
                "{listen} is open to others while provider \"{}\" has a credential, expected keys \
                 in [auth] or [[key]], auth.open = true, or a loopback address",
                shown(&provider.name)
            ),
        ))
    }

    /// The model that answers a request without a name: the one with `default = true`, else the
    /// first that is not `*`, else `echo`.
    pub fn default_model(&self) -> &str {
        let chosen = self.model.iter().find(|model| model.default);
        chosen
            .or_else(|| self.model.iter().find(|model| model.name != "*"))
            .map_or("echo", |model| &model.name)
    }
}
