//! What the workers of one server share.

use std::collections::HashMap;
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::addresses::Addresses;
use super::certificates::Certificates;
use super::counts::{Counts, dollars};
use super::listener::Listener;
use super::live_page::LivePage;
use super::log;
use super::mailbox::{Mailbox, Message};
use super::pool::{Bounds, Pool};
use super::reload::Live;
use super::stats::WorkerStats;
use super::telemetry::Telemetry;
use super::tuning::Tuning;
use super::upstream::PoolCounts;
use crate::base::error::Failure;
use crate::config::Config;
use crate::exchange::StreamQueue;
use crate::kernel;
use crate::optimizer::pressure::MemoryLimit;
use crate::optimizer::rates::RateLimit;
use crate::optimizer::threads;
use crate::optimizer::workers::WorkerLimit;
use crate::pipeline::{App, Order, Provider, Status, StatusCounts};
use crate::plugin::Registry;
use crate::sys::thread::{self, ThreadId};
use crate::sys::{clock, memory, proc};

/// Not started.
pub(super) const NEW: u8 = 0;
/// Serving.
pub(super) const RUNNING: u8 = 1;
/// No new connections; what is under way is finished.
pub(super) const DRAINING: u8 = 2;
/// Everything is cut.
pub(super) const STOPPED: u8 = 3;

/// How to speak TLS with providers, by their ids.
pub(super) type ClientTls = HashMap<u64, (Weak<Provider>, Arc<rustls::ClientConfig>)>;

/// Threads and waiting jobs of the blocking pool. A number of threads that the configuration names
/// is fixed.
fn pool_bounds(config: &Config) -> Bounds {
    let optimizer = &config.optimizer;
    let (threads, is_fixed) = match config.server.blocking_threads as usize {
        0 => (4 * proc::processors() as usize, !optimizer.enable || !optimizer.threads),
        threads => (threads, true),
    };
    Bounds {
        threads,
        threads_most: if is_fixed { threads } else { threads::most(threads) },
        waiting: config.server.blocking_queue as usize,
        limits_waiting: optimizer.enable && optimizer.blocking,
    }
}

/// One worker as the others see it.
pub(super) struct WorkerHandle {
    /// Its thread, once it runs; none in an attached server.
    pub(super) thread: OnceLock<ThreadId>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) stats: Arc<WorkerStats>,
    pub(super) counts: Counts,
    /// Its connections to providers.
    pub(super) pools: Mutex<Vec<Arc<PoolCounts>>>,
}

/// What the workers of one server share.
pub(super) struct Core {
    state: AtomicU8,
    pub(super) version: AtomicU64,
    app: Mutex<Option<Arc<App>>>,
    pub(super) workers: Vec<WorkerHandle>,
    /// Open while the server takes connections. The workers have it too: the sockets are closed
    /// when the last of them has let go.
    listeners: Mutex<Arc<[Arc<Listener>]>>,
    /// Those of configurations before, until every worker has let go.
    leaving: Mutex<Vec<Weak<Listener>>>,
    /// Port of the first TCP listener.
    port: AtomicU16,
    pub(super) pool: Pool,
    /// What the optimizer has decided.
    pub(super) tuning: Arc<Tuning>,
    /// Who watches.
    pub(super) live_page: LivePage,
    /// The way to a collector.
    pub(super) telemetry: Telemetry,
    /// Lines of the log that were dropped or could not be written.
    pub(super) log_lost: Arc<AtomicU64>,
    connections_max: AtomicU64,
    /// No more than these while memory is short.
    pub(super) connections_tuned: AtomicU64,
    /// What the kernel keeps for a new connection, each way; 0: as the system has it.
    pub(super) socket_bytes: AtomicU32,
    /// Gives memory that nobody uses back to the system. Can take milliseconds.
    pub(super) trim: fn(),
    pub(super) memory: Mutex<MemoryLimit>,
    pub(super) rates: Mutex<RateLimit>,
    pub(super) worker_limit: Mutex<WorkerLimit>,
    /// The first so many workers take connections, the others are parked.
    awake: AtomicUsize,
    /// Memory is short: workers keep little of it for reuse.
    keeps_little: AtomicBool,
    drain_ms: AtomicU64,
    /// How to speak TLS with the providers that want it, by their id.
    tls: Mutex<ClientTls>,
    /// What listeners that speak TLS show.
    certificates: Mutex<Option<Arc<Certificates>>>,
    /// Its configuration and how that changes.
    pub(super) live: Live,
    pub(super) addresses: Addresses,
    ai_bytes: AtomicU64,
    /// How many of the workers run: all, or one that the host drives.
    worker_count: AtomicUsize,
    /// The thread that drives the loop of an attached server.
    polling_thread: Mutex<Option<ThreadId>>,
    ended: Mutex<usize>,
    all_ended: Condvar,
    started_us: u64,
    /// Plugins of this server.
    pub(super) plugins: Registry,
    /// Observers have been told that it stops.
    told_stopping: AtomicBool,
    /// A worker could not be kept running: the server has stopped for it.
    is_broken: AtomicBool,
}

impl Core {
    pub(super) fn new(
        config: &Config,
        workers: Vec<WorkerHandle>,
        dispatch: tracing::Dispatch,
        certificates: Option<Certificates>,
        live: Live,
    ) -> Core {
        let count = workers.len();
        let tuning = Arc::<Tuning>::default();
        Core {
            state: AtomicU8::new(NEW),
            version: AtomicU64::new(0),
            app: Mutex::new(None),
            workers,
            listeners: Mutex::default(),
            leaving: Mutex::default(),
            port: AtomicU16::new(0),
            telemetry: Telemetry::new(count, dispatch.clone()),
            log_lost: log::lost(&dispatch),
            pool: Pool::new(pool_bounds(config), dispatch, Arc::clone(&tuning)),
            tuning,
            live_page: LivePage::default(),
            connections_max: AtomicU64::new(u64::from(config.server.max_connections)),
            connections_tuned: AtomicU64::new(u64::MAX),
            socket_bytes: AtomicU32::new(0),
            trim: memory::trim,
            memory: Mutex::default(),
            rates: Mutex::default(),
            worker_limit: Mutex::new(WorkerLimit::new(count)),
            awake: AtomicUsize::new(count),
            keeps_little: AtomicBool::new(false),
            drain_ms: AtomicU64::new(u64::from(config.timeouts.drain)),
            tls: Mutex::default(),
            certificates: Mutex::new(certificates.map(Arc::new)),
            live,
            addresses: Addresses::default(),
            ai_bytes: AtomicU64::new(0),
            worker_count: AtomicUsize::new(count),
            polling_thread: Mutex::new(None),
            ended: Mutex::new(0),
            all_ended: Condvar::new(),
            started_us: clock::monotonic_us(),
            plugins: Registry::default(),
            told_stopping: AtomicBool::new(false),
            is_broken: AtomicBool::new(false),
        }
    }

    pub(super) fn state(&self) -> u8 {
        self.state.load(Ordering::Acquire)
    }

    /// Moves from one state to a later one; false when it was not in `from`.
    pub(super) fn advance(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Begins the drain; a server that was not started is not to be started any more.
    /// Async-signal-safe.
    pub(super) fn stop(&self) {
        if self.advance(RUNNING, DRAINING) {
            self.wake_all();
        } else {
            self.advance(NEW, STOPPED);
        }
    }

    /// Cuts everything.
    pub(super) fn cut(&self) {
        self.state.store(STOPPED, Ordering::Release);
        self.wake_all();
    }

    /// Cuts everything because a worker cannot go on.
    pub(super) fn cut_broken(&self) {
        self.is_broken.store(true, Ordering::Release);
        self.cut();
    }

    /// Whether the server has stopped because a worker could not go on.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Acquire)
    }

    fn wake_all(&self) {
        for worker in &self.workers {
            worker.mailbox.wake();
        }
    }

    pub(super) fn app(&self) -> Arc<App> {
        let app = self.app.lock();
        match &*app {
            Some(app) => Arc::clone(app),
            None => unreachable!("a server is built with its first snapshot"),
        }
    }

    /// Changes the snapshot; workers take it up at their next turn. It is copied only when a
    /// worker holds it.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut App) -> R) -> R {
        let mut held = self.app.lock();
        let Some(shared) = held.as_mut() else {
            unreachable!("a server is built with its first snapshot")
        };
        let app = Arc::make_mut(shared);
        app.epoch += 1;
        let result = change(app);
        // Release pairs with the acquire of the workers.
        self.version.fetch_add(1, Ordering::Release);
        drop(held);
        if self.state() != NEW {
            // An idle worker would keep the old snapshot, and what was removed from it, alive.
            self.wake_all();
        }
        result
    }

    /// Tells the observers, once, that the server stops.
    pub(super) fn tell_stopping(&self, app: &App) {
        // Relaxed: nothing but the telling depends on it.
        if !self.told_stopping.swap(true, Ordering::Relaxed) {
            for observer in &app.observers {
                observer.stopping();
            }
        }
    }

    /// Lets go of what the host has registered: its destructors run now, although a client may
    /// still use the models.
    pub(super) fn forget_host(&self) {
        let host = self.change(|app| {
            use std::mem::take;
            let (before, after) = (take(&mut app.before), take(&mut app.after));
            let models = (take(&mut app.generators), take(&mut app.hooks));
            ((take(&mut app.routes), before, after, take(&mut app.observers)), models)
        });
        // Outside the lock that `change` holds.
        drop(host);
    }

    pub(super) fn set_first(&self, app: App, tls: ClientTls) {
        *self.app.lock() = Some(Arc::new(app));
        *self.tls.lock() = tls;
    }

    /// Adds how to speak TLS with new providers; of those that nobody holds any more it goes.
    pub(super) fn add_tls(&self, more: ClientTls) {
        let mut tls = self.tls.lock();
        tls.retain(|_, (provider, _)| provider.strong_count() > 0);
        tls.extend(more);
    }

    /// Asked when a connection is dialled.
    pub(super) fn tls_of(&self, provider: u64) -> Option<Arc<rustls::ClientConfig>> {
        self.tls.lock().get(&provider).map(|(_, config)| Arc::clone(config))
    }

    /// What listeners that speak TLS show; there when one of them does.
    pub(super) fn certificates(&self) -> Option<Arc<Certificates>> {
        self.certificates.lock().clone()
    }

    pub(super) fn set_certificates(&self, certificates: Option<Certificates>) {
        *self.certificates.lock() = certificates.map(Arc::new);
    }

    /// Takes up the settings that no snapshot holds.
    pub(super) fn take_settings(&self, config: &Config) {
        // Relaxed: each is a bound by itself.
        self.connections_max.store(u64::from(config.server.max_connections), Ordering::Relaxed);
        self.drain_ms.store(u64::from(config.timeouts.drain), Ordering::Relaxed);
        self.pool.resize(pool_bounds(config));
    }

    /// What is under way when the server stops gets so long, in milliseconds.
    pub(super) fn drain_ms(&self) -> u64 {
        self.drain_ms.load(Ordering::Relaxed)
    }

    /// Whether this worker takes no connections for now.
    pub(super) fn is_parked(&self, worker: usize) -> bool {
        // Relaxed: a worker that is about to park may take one more.
        worker >= self.awake.load(Ordering::Relaxed)
    }

    /// How many workers take connections.
    pub(super) fn awake_count(&self) -> usize {
        self.awake.load(Ordering::Relaxed).min(self.worker_count())
    }

    /// How many processors the workers may use; `None`: the system does not tell.
    pub(super) fn processors(&self) -> Option<u32> {
        proc::processors_of(self.workers.iter().filter_map(|worker| worker.thread.get().copied()))
    }

    /// So many workers take connections from now on.
    pub(super) fn set_awake(&self, count: usize) {
        self.awake.store(count, Ordering::Relaxed);
        self.tell_tuned();
    }

    /// Whether workers keep little memory for reuse.
    pub(super) fn keeps_little(&self) -> bool {
        // Relaxed: a bound by itself.
        self.keeps_little.load(Ordering::Relaxed)
    }

    /// Whether they do from now on.
    pub(super) fn set_keeps_little(&self, is_little: bool) {
        if self.keeps_little.swap(is_little, Ordering::Relaxed) != is_little {
            self.tell_tuned();
        }
    }

    fn tell_tuned(&self) {
        for worker in &self.workers {
            // One that has ended has nothing to take up.
            worker.mailbox.post(Message::Tuned);
        }
    }

    pub(super) fn worker_count(&self) -> usize {
        // Relaxed: written once, before anything runs.
        self.worker_count.load(Ordering::Relaxed)
    }

    /// The host drives one loop itself.
    pub(super) fn set_attached(&self) {
        self.worker_count.store(1, Ordering::Relaxed);
    }

    pub(super) fn set_polling_thread(&self) {
        *self.polling_thread.lock() = Some(thread::current());
    }

    /// Whether the calling thread drives the loop of an attached server.
    pub(super) fn is_polling_thread(&self) -> bool {
        *self.polling_thread.lock() == Some(thread::current())
    }

    pub(super) fn listeners(&self) -> Arc<[Arc<Listener>]> {
        Arc::clone(&self.listeners.lock())
    }

    /// Listeners that are the configuration's no more, and that a worker may still hold.
    pub(super) fn leaving_listeners(&self) -> Vec<Weak<Listener>> {
        self.leaving.lock().clone()
    }

    pub(super) fn set_listeners(&self, listeners: Vec<Arc<Listener>>) {
        let address = listeners.iter().find_map(|listener| listener.address);
        // Relaxed: whoever learns that the server runs learns it through a lock.
        self.port.store(address.map_or(0, |address| address.port()), Ordering::Relaxed);
        let now: Arc<[Arc<Listener>]> = listeners.into();
        let before = std::mem::replace(&mut *self.listeners.lock(), Arc::clone(&now));
        let mut leaving = self.leaving.lock();
        let held: Vec<_> = leaving.iter().filter_map(Weak::upgrade).collect();
        let has_left = |it: &&Arc<Listener>| !now.iter().any(|new| new.id == it.id);
        *leaving = held.iter().chain(&*before).filter(has_left).map(Arc::downgrade).collect();
    }

    /// No connection is taken any more.
    pub(super) fn close_listeners(&self) {
        let listeners = std::mem::take(&mut *self.listeners.lock());
        drop(listeners);
    }

    pub(super) fn port(&self) -> u16 {
        self.port.load(Ordering::Relaxed)
    }

    pub(super) fn connections(&self) -> u64 {
        self.workers.iter().map(|worker| worker.stats.connections.get()).sum()
    }

    /// How many connections there may be: server.max_connections, or fewer while memory is short.
    pub(super) fn connections_max(&self) -> u64 {
        let max = self.connections_max.load(Ordering::Relaxed);
        max.min(self.connections_tuned.load(Ordering::Relaxed))
    }

    /// Whether there are as many connections as there may be. Read at accept only.
    pub(super) fn is_full(&self) -> bool {
        self.connections() >= self.connections_max()
    }

    /// A worker with clearly fewer connections than this one, or when this one is parked one that is
    /// not. Long streams make an even hand-out uneven; a small lead is not worth a message.
    pub(super) fn less_loaded(&self, own: usize) -> Option<&Mailbox> {
        if self.worker_count() < 2 {
            return None;
        }
        let awake = self.awake.load(Ordering::Relaxed);
        let load = |worker: &WorkerHandle| worker.stats.connections.get();
        let mine = load(&self.workers[own]);
        let (other, least) = self
            .workers
            .iter()
            .take(awake)
            .enumerate()
            .map(|(index, worker)| (index, load(worker)))
            .min_by_key(|(_, load)| *load)?;
        let clearly = own >= awake || mine > least + 2 + least / 8;
        (clearly && other != own).then(|| &*self.workers[other].mailbox)
    }

    pub(super) fn reserve_ai_bytes(&self, bytes: u64, bytes_max: u64) -> bool {
        // Relaxed: the sum alone matters.
        let taken = self.ai_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if taken > bytes_max {
            self.ai_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Bytes of AI bodies that workers have reserved.
    pub(super) fn ai_bytes(&self) -> u64 {
        self.ai_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn return_ai_bytes(&self, bytes: u64) {
        self.ai_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn worker_ended(&self) {
        *self.ended.lock() += 1;
        self.all_ended.notify_all();
    }

    /// Waits until every worker has ended; false when the time is over.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> bool {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut ended = self.ended.lock();
        while *ended < self.worker_count() {
            match deadline {
                None => self.all_ended.wait(&mut ended),
                Some(deadline) => {
                    if self.all_ended.wait_until(&mut ended, deadline).timed_out() {
                        return *ended >= self.worker_count();
                    }
                }
            }
        }
        true
    }
}

/// What the snapshot tells of the server. It does not keep the server alive: the server keeps the
/// snapshot.
pub(super) struct CoreStatus(pub(super) Weak<Core>);

impl Status for CoreStatus {
    fn is_ready(&self) -> bool {
        self.0.upgrade().is_some_and(|core| core.state() == RUNNING)
    }

    fn unix_seconds(&self) -> i64 {
        clock::unix_seconds()
    }

    fn now_ms(&self) -> u64 {
        clock::monotonic_ms()
    }

    fn monotonic_us(&self) -> u64 {
        clock::monotonic_us()
    }

    fn counts(&self) -> StatusCounts {
        self.0.upgrade().map_or_else(StatusCounts::default, |core| core.counts())
    }

    fn operate(&self, order: &Order, who: &str) -> Result<serde_json::Value, Failure> {
        match self.0.upgrade() {
            Some(core) => core.operate(order, who),
            None => Err(Failure::new(503, "the server has ended")),
        }
    }

    fn config(&self) -> serde_json::Value {
        self.0.upgrade().map_or_else(|| serde_json::json!({}), |core| core.config_json())
    }

    fn plugins(&self) -> Vec<serde_json::Value> {
        let list = |core: Arc<Core>| core.plugins.list().iter().map(|it| it.stats()).collect();
        self.0.upgrade().map_or_else(Vec::new, list)
    }

    fn has_room_to_watch(&self) -> bool {
        self.0.upgrade().is_some_and(|core| core.live_page.has_room())
    }

    fn watch(&self, queue: Arc<StreamQueue>) {
        if let Some(core) = self.0.upgrade() {
            core.live_page.add(&self.0, queue);
        }
    }

    fn connections(&self) -> serde_json::Value {
        self.0.upgrade().map_or(serde_json::Value::Null, |core| core.connections_json())
    }

    fn stats_json(&self) -> String {
        self.0.upgrade().map_or_else(|| "{}".to_owned(), |core| core.stats_json())
    }

    fn metrics_text(&self) -> String {
        self.0.upgrade().map_or_else(String::new, |core| core.metrics_text())
    }
}

impl Core {
    fn counts(&self) -> StatusCounts {
        let sum = |get: fn(&WorkerStats) -> u64| -> u64 {
            self.workers.iter().map(|worker| get(&worker.stats)).sum()
        };
        StatusCounts {
            requests: sum(|s| s.requests.get()),
            responses: sum(|s| s.responses.get()),
            uptime_s: (clock::monotonic_us() - self.started_us) / 1_000_000,
            connections: self.connections(),
        }
    }

    fn telemetry_json(&self) -> serde_json::Value {
        let [sent, dropped, failed, waiting] = self.telemetry.figures();
        serde_json::json!({
            "enabled": self.app().settings.sampling.is_some(),
            "spans_sent": sent,
            "spans_dropped": dropped,
            "spans_waiting": waiting,
            "failures": failed,
        })
    }

    /// What `/stats` says.
    pub(super) fn stats_json(&self) -> String {
        let sum = |get: fn(&WorkerStats) -> u64| -> u64 {
            self.workers.iter().map(|worker| get(&worker.stats)).sum()
        };
        let (pool_threads, pool_waiting) = self.pool.load();
        let plugins: Vec<_> = self.plugins.list().iter().map(|plugin| plugin.stats()).collect();
        let workers: Vec<_> = self
            .workers
            .iter()
            .enumerate()
            .map(|(index, worker)| {
                serde_json::json!({
                    "connections": worker.stats.connections.get(),
                    "accepted": worker.stats.accepted.get(),
                    "requests": worker.stats.requests.get(),
                    "parked": self.is_parked(index),
                })
            })
            .collect();
        serde_json::json!({
            "uptime_seconds": (clock::monotonic_us() - self.started_us) / 1_000_000,
            "state": match self.state() {
                NEW => "new",
                RUNNING => "running",
                DRAINING => "draining",
                _ => "stopped",
            },
            "requests": sum(|s| s.requests.get()),
            "responses": sum(|s| s.responses.get()),
            "responses_by_class": {
                "1xx": sum(|s| s.status[0].get()),
                "2xx": sum(|s| s.status[1].get()),
                "3xx": sum(|s| s.status[2].get()),
                "4xx": sum(|s| s.status[3].get()),
                "5xx": sum(|s| s.status[4].get()),
            },
            "malformed": sum(|s| s.malformed.get()),
            "streams": sum(|s| s.streams.get()),
            "cancelled": sum(|s| s.cancelled.get()),
            "timeouts": sum(|s| s.timeouts.get()),
            "optimizer": self.optimizer_json(),
            "calls": {
                "started": sum(|s| s.calls.get()),
                "failed": sum(|s| s.call_failures.get()),
                "cancelled": sum(|s| s.calls_cancelled.get()),
                "retries": sum(|s| s.call_retries.get()),
                "hedges": sum(|s| s.call_hedges.get()),
                "prompt_tokens": sum(|s| s.prompt_tokens.get()),
                "completion_tokens": sum(|s| s.completion_tokens.get()),
                "cost_usd": dollars(sum(|s| s.cost_nano.get())),
            },
            "models": self.model_stats(),
            "cache": self.app().cache.stats(),
            "providers": self.providers_json(),
            "targets": self.targets_json(),
            "connections": {
                "active": self.connections(),
                "by_state": self.doing_json(),
                "accepted": sum(|s| s.accepted.get()),
                "refused": sum(|s| s.refused.get()),
            },
            "bytes": {
                "received": sum(|s| s.bytes_received.get()),
                "sent": sum(|s| s.bytes_sent.get()),
            },
            "blocking_pool": {
                "threads": pool_threads,
                "threads_max": self.pool.threads_max(),
                "waiting": pool_waiting,
            },
            "firewall": self.app().firewall.stats().to_json(),
            "guard": self.app().text_guard.stats().to_json(),
            "ai_bodies_bytes": self.ai_bytes(),
            "telemetry": self.telemetry_json(),
            "log": { "lines_lost": self.log_lost.load(Ordering::Relaxed) },
            "memory_resident_bytes": proc::resident_bytes(),
            "kernels": {
                "level": kernel::level().name(),
                "cpu_level": kernel::report().cpu_level().name(),
                "assembly": kernel::report().has_assembly(),
                "self_test": kernel::report().self_test(),
            },
            "plugins": plugins,
            "workers": workers,
        })
        .to_string()
    }
}
