//! What a worker answers with: one immutable snapshot, swapped whole when anything changes.

use std::sync::Arc;

use crate::ai::router::Router;
use crate::config::Config;
use crate::exchange::{Handler, Middleware, Observer};
use crate::firewall::Firewall;
use crate::pipeline::auth::Guard;
use crate::pipeline::builtin::{self, Builtin};
use crate::pipeline::complete;
use crate::pipeline::provider::{self, Provider};
use crate::route::Table;

/// A route of the host program.
#[derive(Clone)]
pub struct HostRoute {
    /// Answers its requests.
    pub handler: Arc<dyn Handler>,
    /// The handler may block: it runs on the blocking pool.
    pub blocking: bool,
}

/// A plugin's place behind the middleware before the handlers.
#[derive(Clone)]
pub struct PluginStage {
    /// What passes it.
    pub stage: Arc<dyn Middleware>,
    /// It may block: it runs on the blocking pool.
    pub blocks: bool,
}

/// What the running server tells of itself.
pub trait Status: Send + Sync {
    /// Whether it takes new work.
    fn is_ready(&self) -> bool;
    /// The body of `/stats`.
    fn stats_json(&self) -> String;
    /// Wall time in seconds since 1970.
    fn unix_seconds(&self) -> i64;
    /// Monotonic time in milliseconds.
    fn now_ms(&self) -> u64;
}

/// The settings that stages look at, in the units they use.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Largest request body, in bytes.
    pub body_bytes_max: u64,
    /// Largest request line, in bytes.
    pub request_line_bytes_max: u32,
    /// Largest header section, in bytes.
    pub header_section_bytes_max: u32,
    /// All AI bodies in memory together, in bytes.
    pub ai_bodies_bytes_max: u64,
    /// Time for a whole head, in milliseconds.
    pub header_ms: u64,
    /// Time between two reads of a body, in milliseconds.
    pub body_ms: u64,
    /// Time between two requests, in milliseconds.
    pub idle_ms: u64,
    /// Time without a client taking anything, in milliseconds.
    pub write_ms: u64,
}

/// One snapshot of everything that requests meet.
#[derive(Clone)]
pub struct App {
    /// The host's routes.
    pub routes: Table<HostRoute>,
    /// Ours beside them, unless they were left out.
    pub builtins: Option<Arc<Table<Builtin>>>,
    /// In order of registration.
    pub before: Vec<Arc<dyn Middleware>>,
    /// One of `before` may block: requests go to the pool before it.
    pub before_blocks: bool,
    /// Plugins, behind the middleware before; in the order in which they were loaded.
    pub plugins: Vec<PluginStage>,
    /// Plugins that look at answers, before the middleware after does; called in reverse.
    pub plugins_after: Vec<Arc<dyn Middleware>>,
    /// In order of registration; called in reverse.
    pub after: Vec<Arc<dyn Middleware>>,
    /// Told what happens on connections.
    pub observers: Vec<Arc<dyn Observer>>,
    /// Limits and times.
    pub settings: Settings,
    /// Who may come at all, how often, and with what.
    pub firewall: Arc<Firewall>,
    /// Who may use /v1/*.
    pub guard: Arc<Guard>,
    /// From a model's name to its providers.
    pub router: Arc<Router>,
    /// What stands behind the router's targets, in the same order.
    pub providers: Arc<[Arc<Provider>]>,
    /// When the configuration was taken up, Unix seconds: the age of its models.
    pub created: i64,
    /// The running server.
    pub status: Arc<dyn Status>,
}

impl App {
    /// The snapshot that a configuration asks for, without routes of a host.
    ///
    /// # Errors
    /// One line that says what does not fit together.
    pub fn new(config: &Config, builtins: bool, status: Arc<dyn Status>) -> Result<App, String> {
        Ok(App {
            routes: Table::default(),
            builtins: builtins.then(|| Arc::new(builtin::table())),
            before: Vec::new(),
            before_blocks: false,
            plugins: Vec::new(),
            plugins_after: Vec::new(),
            after: Vec::new(),
            observers: Vec::new(),
            settings: Settings {
                body_bytes_max: config.limits.body,
                request_line_bytes_max: config.limits.request_line,
                header_section_bytes_max: config.limits.header_section,
                ai_bodies_bytes_max: config.limits.ai_bodies,
                header_ms: u64::from(config.timeouts.header),
                body_ms: u64::from(config.timeouts.body),
                idle_ms: u64::from(config.timeouts.idle),
                write_ms: u64::from(config.timeouts.write),
            },
            firewall: Arc::new(Firewall::new(config)?),
            guard: Arc::new(Guard::new(config)),
            router: Arc::new(complete::router(config)?),
            providers: provider::providers(config)?,
            created: status.unix_seconds(),
            status,
        })
    }
}
