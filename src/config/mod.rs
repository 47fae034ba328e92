//! The configuration: what stands in `neurohttp.toml`, in the environment and on the command
//! line, checked and put together.
//!
//! [`load`] reads the layers in their order into one [`Config`]; it prints nothing, keeps nothing
//! and changes nothing of the process. Files are read here and only through `files.rs`; the
//! environment is an argument.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::base::error::{Error, ErrorKind};

mod assignment;
mod check;
mod choice;
mod cidr;
mod decimal;
mod draft;
mod files;
pub mod kinds;
pub mod legacy;
mod listen;
mod load;
mod node;
mod origin;
mod parts;
mod print;
mod providers;
mod proxy;
mod reference;
mod schema;
mod secret;
mod settings;
#[cfg(test)]
mod tests;
mod validate;
mod values;

pub(crate) use check::alias as check_own_model_name;
pub use choice::{
    CacheWhen, Capability, DroppedMembers, GuardAction, HashOn, LogFormat, LogLevel, Strategy,
};
pub use cidr::Cidr;
pub use decimal::Decimal;
pub use files::{Stamp as FileStamp, check_plain};
pub use listen::Listen;
pub use load::{Sources, load, load_legacy_default, load_legacy_start};
pub use origin::{Changes, Fresh, Origin, Source};
pub use reference::{KeyReference, TableReference, reference};
pub use secret::Secret;
pub use settings::{
    Admin, Auth, Breaker, Cache, Compression, Dialects, Firewall, Hedge, Key, Limits, Log, Model,
    ModelTarget, Optimizer, Plugins, Provider, Retry, RouteRate, Server, Telemetry, TextGuard,
    Timeouts, TlsCertificate,
};

/// The keys that a running server does not take up: they count from its next start.
pub const RESTART_KEYS: &[&str] = &["server.workers", "server.reuse_port"];

/// A whole, checked configuration. Immutable by custom: a reload makes a new one. The default is
/// what a server has that is told nothing: loopback, no keys, the provider `echo`.
#[derive(Clone)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[limits]`
    pub limits: Limits,
    /// `[timeouts]`
    pub timeouts: Timeouts,
    /// `[[tls]]`
    pub tls: Vec<TlsCertificate>,
    /// `[auth]`
    pub auth: Auth,
    /// `[[key]]`, names and keys unique.
    pub key: Vec<Key>,
    /// `[admin]`
    pub admin: Admin,
    /// `[[provider]]`, names unique, with the built-in `echo` last unless the name was taken.
    pub provider: Vec<Provider>,
    /// `[[model]]`, names and aliases unique, every target's provider known.
    pub model: Vec<Model>,
    /// `[retry]`
    pub retry: Retry,
    /// `[breaker]`
    pub breaker: Breaker,
    /// `[hedge]`
    pub hedge: Hedge,
    /// `[compression]`
    pub compression: Compression,
    /// `[cache]`
    pub cache: Cache,
    /// `[firewall]`
    pub firewall: Firewall,
    /// The files of `firewall.rules` and what they hold, in their order.
    pub firewall_rules: Vec<(String, String)>,
    /// `[guard]`
    pub guard: TextGuard,
    /// `[dialects]`
    pub dialects: Dialects,
    /// `[optimizer]`
    pub optimizer: Optimizer,
    /// `[plugins]`
    pub plugins: Plugins,
    /// `[plugin.NAME]` by NAME: its keys as TOML text, one a line.
    pub plugin: BTreeMap<String, String>,
    /// `[telemetry]`
    pub telemetry: Telemetry,
    /// `[log]`
    pub log: Log,
    /// It came from an old `.conf` file.
    pub legacy: bool,
    /// Warnings to log once, each a line.
    pub notes: Vec<String>,
    /// No `[[provider]]` stands in a file or text, and the environment brought some: the first of
    /// `provider` answers names that nothing else matches.
    pub providers_from_env: bool,
    /// The files that were read, in their order.
    pub files: Vec<PathBuf>,
    /// Where `server.listen` was last set, as an error names it; empty: nowhere.
    pub listen_at: String,
}

impl Default for Config {
    fn default() -> Config {
        Config { provider: vec![providers::echo()], ..Config::without_providers() }
    }
}

impl Config {
    /// The defaults, before anything is known about providers.
    fn without_providers() -> Config {
        Config {
            server: Server::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            tls: Vec::new(),
            auth: Auth::default(),
            key: Vec::new(),
            admin: Admin::default(),
            provider: Vec::new(),
            model: Vec::new(),
            retry: Retry::default(),
            breaker: Breaker::default(),
            hedge: Hedge::default(),
            compression: Compression::default(),
            cache: Cache::default(),
            firewall: Firewall::default(),
            firewall_rules: Vec::new(),
            guard: TextGuard::default(),
            dialects: Dialects::default(),
            optimizer: Optimizer::default(),
            plugins: Plugins::default(),
            plugin: BTreeMap::new(),
            telemetry: Telemetry::default(),
            log: Log::default(),
            legacy: false,
            notes: Vec::new(),
            providers_from_env: false,
            files: Vec::new(),
            listen_at: String::new(),
        }
    }
}

/// Why a configuration was refused. Prints as `FILE:LINE:COL: what, what was expected`; for a
/// variable, an option or `--set` its name stands for file, line and column.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    place: String,
    message: String,
}

impl ConfigError {
    /// An error at a place; an empty place is left out.
    pub fn new(place: impl Into<String>, message: impl Into<String>) -> ConfigError {
        ConfigError { place: place.into(), message: message.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl std::error::Error for ConfigError {}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Error {
        Error::new(ErrorKind::Config, error.to_string())
    }
}
