//! What a worker answers with: one immutable snapshot, swapped whole when anything changes.

use std::collections::HashMap;
use std::sync::Arc;

use super::admin::Order;
use crate::ai::health::Breaker;
use crate::ai::latency::HedgePolicy;
use crate::ai::provider::Wire;
use crate::ai::retry::Retry;
use crate::ai::router::Router;
use crate::base::error::Failure;
use crate::config::{Config, DroppedMembers};
use crate::exchange::{Handler, Middleware, Observer, StreamQueue};
use crate::firewall::Firewall;
use crate::guard::TextGuard;
use crate::http::trace_context::TraceId;
use crate::pipeline::answers::Cache;
use crate::pipeline::auth::Guard;
use crate::pipeline::builtin::{self, Builtin};
use crate::pipeline::complete;
use crate::pipeline::compression::Compressor;
use crate::pipeline::generation::Generator;
use crate::pipeline::hooks::Hooks;
use crate::pipeline::provider::{self, Provider};
use crate::route::Table;

/// A route of the host program.
#[derive(Clone)]
pub struct HostRoute {
    /// Answers its requests.
    pub handler: Arc<dyn Handler>,
    /// The handler may block: it runs on the blocking pool.
    pub blocking: bool,
    /// Its answers may be kept.
    pub is_cached: bool,
    /// As it was registered.
    pub pattern: Arc<str>,
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
    /// Microseconds of a clock that does not run backwards.
    fn monotonic_us(&self) -> u64;
    /// The body of `/metrics`, in Prometheus' text format.
    fn metrics_text(&self) -> String;
    /// Wall time in seconds since 1970.
    fn unix_seconds(&self) -> i64;
    /// Monotonic time in milliseconds.
    fn now_ms(&self) -> u64;
    /// Carries out what an operator asks for; `who` is for the log. It may block.
    ///
    /// # Errors
    /// What the operator is told.
    fn operate(&self, order: &Order, who: &str) -> Result<serde_json::Value, Failure>;
    /// The configuration, as an operator sees it.
    fn config(&self) -> serde_json::Value;
    /// The plugins, as an operator sees them.
    fn plugins(&self) -> Vec<serde_json::Value>;
    /// Whether one more page may watch.
    fn has_room_to_watch(&self) -> bool;
    /// Feeds a live page until it goes or the server ends.
    fn watch(&self, queue: Arc<StreamQueue>);
    /// Who is connected. It waits for the workers: not on a loop.
    fn connections(&self) -> serde_json::Value;
    /// What the old `/stats` tells.
    fn counts(&self) -> StatusCounts;
}

/// The figures of the old `/stats`.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatusCounts {
    /// Requests so far.
    pub requests: u64,
    /// Answers so far.
    pub responses: u64,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Connections now.
    pub connections: u64,
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
    /// Open connections of one client address; 0: unlimited.
    pub connections_per_address: u32,
    /// Time for a whole head, in milliseconds.
    pub header_ms: u64,
    /// Time between two reads of a body, in milliseconds.
    pub body_ms: u64,
    /// Time between two requests, in milliseconds.
    pub idle_ms: u64,
    /// Time without a client taking anything, in milliseconds.
    pub write_ms: u64,
    /// A request that cannot reach its model whole is refused; else the answer's head names what
    /// was lost.
    pub refuses_dropped: bool,
    /// Streams that pass through are asked for their usage.
    pub asks_stream_usage: bool,
    /// What follows a failed attempt.
    pub retry: Retry,
    /// When a target is left alone.
    pub breaker: Breaker,
    /// When a second attempt is started.
    pub hedge: HedgePolicy,
    /// Of so many requests one gets a line in the log; 0: none.
    pub access_every: u64,
    /// What is told to a collector; none: nothing is.
    pub sampling: Option<Sampling>,
    /// Which limits follow the load.
    pub tuned: Tuned,
    /// Started the old way: our own pages and errors keep the old shapes.
    pub is_old: bool,
}

/// Which of the traces that begin here are recorded: so many of a million.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sampling(u64);

impl Sampling {
    /// Whether this one is. Another server with the same share decides alike.
    pub fn takes(self, id: &TraceId) -> bool {
        // The last seven bytes are random in every trace (W3C Trace Context, "random").
        let [.., a, b, c, d, e, f, g] = *id;
        let number = u64::from_be_bytes([0, a, b, c, d, e, f, g]);
        u128::from(number) * 1_000_000 < u128::from(self.0) << 56
    }
}

/// Which limits the optimizer moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tuned {
    /// Requests that wait for a thread of the blocking pool.
    pub blocking: bool,
    /// Requests that wait for a provider's first byte.
    pub upstreams: bool,
    /// How late a host's handler may begin in a turn of the loop.
    pub turns: bool,
    /// How requests are shared among the targets of a model.
    pub weights: bool,
    /// How often an address may ask while requests are refused for want of room.
    pub rates: bool,
    /// What is kept and taken while memory is short.
    pub memory: bool,
    /// How many threads the blocking pool may have.
    pub threads: bool,
    /// How many workers take connections.
    pub workers: bool,
}

/// Another configuration, as a snapshot takes it up.
pub struct Renewal<'c> {
    /// The configuration.
    pub config: &'c Config,
    /// The one before it.
    pub before: &'c Config,
    /// Its providers.
    pub providers: Arc<[Arc<Provider>]>,
    /// Models or providers are others than before.
    pub models_changed: bool,
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
    /// Compresses answers, when that was asked for.
    pub compressor: Option<Arc<Compressor>>,
    /// Who may use /v1/*.
    pub guard: Arc<Guard>,
    /// From a model's name to its providers.
    pub router: Arc<Router>,
    /// What stands behind the router's targets, in the same order.
    pub providers: Arc<[Arc<Provider>]>,
    /// The models of the host program, by name.
    pub generators: Arc<HashMap<String, Arc<dyn Generator>>>,
    /// What the host program does with texts on their way.
    pub hooks: Hooks,
    /// Looks into prompts and answers, when that was asked for.
    pub text_guard: TextGuard,
    /// Answers that are kept.
    pub cache: Arc<Cache>,
    /// Changes with every change of the snapshot.
    pub epoch: u64,
    /// When the configuration was taken up, Unix seconds: the age of its models.
    pub created: i64,
    /// The running server.
    pub status: Arc<dyn Status>,
}

impl Settings {
    /// What a configuration says.
    pub fn new(config: &Config) -> Settings {
        Settings {
            body_bytes_max: config.limits.body,
            request_line_bytes_max: config.limits.request_line,
            header_section_bytes_max: config.limits.header_section,
            ai_bodies_bytes_max: config.limits.ai_bodies,
            connections_per_address: config.limits.connections_per_address,
            header_ms: u64::from(config.timeouts.header),
            body_ms: u64::from(config.timeouts.body),
            idle_ms: u64::from(config.timeouts.idle),
            write_ms: u64::from(config.timeouts.write),
            asks_stream_usage: config.dialects.stream_usage,
            refuses_dropped: config.dialects.dropped == DroppedMembers::Refuse,
            retry: Retry {
                attempts: config.retry.attempts,
                backoff_ms: u64::from(config.retry.backoff),
                budget_percent: config.retry.budget,
            },
            hedge: HedgePolicy {
                share_percent: config.hedge.share,
                after_min_ms: u64::from(config.hedge.after_min),
            },
            breaker: Breaker {
                failures: config.breaker.failures,
                pause_ms: u64::from(config.breaker.pause),
                pause_max_ms: u64::from(config.breaker.pause_max),
            },
            access_every: match config.log.access {
                true => u64::from(config.log.access_every),
                false => 0,
            },
            sampling: (!config.telemetry.endpoint.is_empty())
                .then(|| Sampling(config.telemetry.sample_ratio.millionths())),
            tuned: Tuned {
                blocking: config.optimizer.enable && config.optimizer.blocking,
                upstreams: config.optimizer.enable && config.optimizer.upstreams,
                turns: config.optimizer.enable && config.optimizer.turns,
                weights: config.optimizer.enable && config.optimizer.weights,
                rates: config.optimizer.enable
                    && config.optimizer.rates
                    && config.firewall.enable
                    && (config.firewall.requests_per_minute > 0
                        || !config.firewall.routes.is_empty()),
                memory: config.optimizer.enable && config.optimizer.memory,
                threads: config.optimizer.enable
                    && config.optimizer.threads
                    && config.server.blocking_threads == 0,
                workers: config.optimizer.enable && config.optimizer.workers,
            },
            is_old: config.legacy,
        }
    }
}

impl App {
    /// Puts a model of the host program under its name. False: a model has that name. What stood
    /// there for a model that was removed meanwhile comes back, to be dropped where no lock is
    /// held.
    ///
    /// # Errors
    /// One line that says what is wrong with the name.
    pub fn add_generator(
        &mut self,
        name: &str,
        generator: Arc<dyn Generator>,
    ) -> Result<(bool, Option<Arc<dyn Generator>>), String> {
        let host = self.providers.iter().position(|provider| provider.wire == Wire::Host);
        let host = host.ok_or("there is no provider for models of the host program")?;
        let is_added = Arc::make_mut(&mut self.router).add_own(name, host)?;
        if !is_added {
            return Ok((false, None));
        }
        let old = Arc::make_mut(&mut self.generators).insert(name.to_owned(), generator);
        Ok((true, old))
    }

    /// Takes up another configuration. What the host program and plugins have registered, what was
    /// changed at run time, and the state of whatever stays as it was are kept.
    ///
    /// # Errors
    /// One line that says what does not fit together; nothing has changed then.
    pub fn renew(&mut self, next: &Renewal<'_>) -> Result<(), String> {
        let (config, before) = (next.config, next.before);
        // Every field, so that a new one is thought of: it is kept, or follows the configuration.
        let App {
            routes: _,
            builtins: _,
            before: _,
            before_blocks: _,
            plugins: _,
            plugins_after: _,
            after: _,
            observers: _,
            hooks: _,
            epoch: _,
            status,
            generators,
            settings,
            firewall,
            compressor,
            guard,
            text_guard,
            router,
            providers,
            cache,
            created,
        } = self;
        let mut renewed = complete::router(config)?;
        let is_same = |name: &str| {
            let find =
                |all: &[Arc<Provider>]| all.iter().find(|it| it.name == name).map(|it| it.id);
            let id = find(&next.providers);
            id.is_some() && id == find(providers)
        };
        let own: Vec<String> = generators.keys().cloned().collect();
        let host = next.providers.iter().position(|provider| provider.wire == Wire::Host);
        renewed.inherit(router, is_same, (&own, host))?;
        *firewall = Arc::new(firewall.renewed(config, before)?);
        *router = Arc::new(renewed);
        *providers = Arc::clone(&next.providers);
        *cache = Arc::new(cache.renewed(config, next.models_changed));
        *settings = Settings::new(config);
        *compressor = Compressor::new(&config.compression).map(Arc::new);
        *guard = Arc::new(guard.renewed(config));
        *text_guard = text_guard.renewed(&config.guard);
        if next.models_changed {
            *created = status.unix_seconds();
        }
        Ok(())
    }

    /// Takes what [`App::renew`] has made of a copy of this snapshot.
    pub fn follow(&mut self, renewed: &App) {
        self.settings = renewed.settings.clone();
        self.firewall = Arc::clone(&renewed.firewall);
        self.compressor.clone_from(&renewed.compressor);
        self.guard = Arc::clone(&renewed.guard);
        self.text_guard = renewed.text_guard.clone();
        self.router = Arc::clone(&renewed.router);
        self.providers = Arc::clone(&renewed.providers);
        self.cache = Arc::clone(&renewed.cache);
        self.created = renewed.created;
    }

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
            settings: Settings::new(config),
            firewall: Arc::new(Firewall::new(config)?),
            compressor: Compressor::new(&config.compression).map(Arc::new),
            guard: Arc::new(Guard::new(config)),
            router: Arc::new(complete::router(config)?),
            providers: provider::providers(config)?,
            generators: Arc::default(),
            hooks: Hooks::default(),
            text_guard: TextGuard::new(&config.guard),
            cache: Arc::new(Cache::new(config)),
            epoch: 0,
            created: status.unix_seconds(),
            status,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_traces_is_taken() {
        let id = |tail: u64| (u128::from(u64::MAX) << 64 | u128::from(tail)).to_be_bytes();
        let top = (1_u64 << 56) - 1;
        for (millionths, tail, is_taken) in [
            (0, 0, false),
            (1_000_000, top, true),
            (500_000, top / 2, true),
            (500_000, top / 2 + 1, false),
            // What stands before the last seven bytes does not count.
            (1, u64::MAX - top, true),
        ] {
            assert_eq!(Sampling(millionths).takes(&id(tail)), is_taken, "{millionths} {tail}");
        }
    }
}
