//! The server: starts workers, drains them, stops them.
//!
//! States go one way: new → running → draining → stopped. Nothing here is global: any number of
//! servers live in one process.

mod access;
mod addresses;
mod begun;
mod call;
mod census;
mod certificates;
pub mod client;
mod coded;
mod conn;
mod core;
mod counts;
mod deadline;
#[cfg(test)]
mod eyeballs;
mod firewall;
mod health;
mod hedge;
mod host;
mod listener;
mod live_page;
mod log;
mod mailbox;
mod metrics;
mod metrics_gateway;
mod operate;
mod plugins;
mod pool;
mod reload;
mod reserve;
mod resolve;
mod serve;
mod share;
mod stats;
mod supervise;
mod telemetry;
mod tls;
mod transport;
mod tuning;
mod upstream;
mod watch;
mod worker;

use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

use self::core::{Core, CoreStatus, DRAINING, NEW, RUNNING, STOPPED, WorkerHandle};
use crate::base::error::{Error, ErrorKind};
use crate::base::limits;
use crate::config::{Config, Source};
use crate::exchange::{Handler, Middleware, Observer};
use crate::kernel;
use crate::pipeline::{App, Generator, HookPlace, HostRoute, Status, TextHook};
use crate::route::RouteError;
use crate::sys::thread::{self, ThreadId};
use crate::sys::timerfd::TimerFd;
use crate::sys::{memory, proc};
use begun::{Begun, Tell};
use counts::Counts;
use listener::Listener;
use mailbox::{Mailbox, Message};
use reload::Live;
use worker::Worker;

pub use log::LogSink;
pub use mailbox::on_loop_thread;
pub use plugins::refused;
pub use reload::{PluginDoor, Reloaded};
pub use watch::Watcher;

/// What a server is built with beside its configuration.
#[derive(Default)]
pub struct Setup {
    /// Leave our own routes out.
    pub no_builtins: bool,
    /// Takes the log lines; else they go where the configuration says.
    pub log: Option<Arc<dyn LogSink>>,
    /// Where its configuration is read anew; without it [`Server::reload`] is not possible.
    pub source: Option<Source>,
    /// The process is this server and nothing else: pages of the program's file that it does not
    /// need just now may leave it.
    pub owns_process: bool,
}

/// A loop that the host drives.
struct Attached {
    worker: Box<Worker>,
    timer: TimerFd,
}

/// A server.
pub struct Server {
    core: Arc<Core>,
    dispatch: tracing::Dispatch,
    /// What the workers are built with at the start.
    seats: Mutex<Vec<(Arc<Mailbox>, Receiver<Message>)>>,
    /// The loop that the host drives.
    attached: Mutex<Option<Attached>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Of the workers, told by themselves.
    thread_ids: Arc<Mutex<Vec<ThreadId>>>,
}

impl Server {
    /// A server that does not listen yet.
    ///
    /// # Errors
    /// `Config` when the configuration does not fit together, `Io` when the log cannot be opened
    /// or the system gives no descriptors.
    pub fn new(config: Config, setup: Setup) -> Result<Server, Error> {
        if config.legacy && setup.log.is_none() {
            log::make_folder(&config.log);
        }
        let dispatch = log::dispatch(&config.log, setup.log)?;
        if !setup.no_builtins {
            config.exposure_check()?;
        }
        let count = match config.server.workers {
            0 => proc::processors(),
            count => count,
        };
        let mut seats = Vec::new();
        let mut handles = Vec::new();
        for _ in 0..count {
            let (mailbox, receiver) = Mailbox::new().map_err(io_error)?;
            handles.push(WorkerHandle {
                thread: OnceLock::new(),
                mailbox: Arc::clone(&mailbox),
                stats: Arc::default(),
                counts: Counts::default(),
                pools: Mutex::default(),
            });
            seats.push((mailbox, receiver));
        }
        let unfit = |message| Error::new(ErrorKind::Config, message);
        // Before the files are read that it names.
        let live = Live::new(config, setup.source, !setup.no_builtins, dispatch.clone());
        let config = live.config();
        let certificates = certificates::Certificates::load(&config.tls).map_err(unfit)?;
        let mut core = Core::new(&config, handles, dispatch.clone(), certificates, live);
        if setup.owns_process {
            core.trim = memory::trim_process;
        }
        let core = Arc::new(core);
        let status = Arc::new(CoreStatus(Arc::downgrade(&core))) as Arc<dyn Status>;
        let app = App::new(&config, !setup.no_builtins, status).map_err(unfit)?;
        let ways = || {
            let collector = telemetry::Destination::new(&config.telemetry).map_err(unfit)?;
            Ok::<_, Error>((reload::client_tls(app.providers.iter())?, collector))
        };
        let (configs, collector) = tracing::dispatcher::with_default(&dispatch, ways)?;
        core.set_first(app, configs);
        core.telemetry.aim(collector);
        Ok(Server {
            core,
            dispatch,
            seats: Mutex::new(seats),
            attached: Mutex::default(),
            threads: Mutex::default(),
            thread_ids: Arc::default(),
        })
    }

    /// Its configuration now.
    pub fn config(&self) -> Arc<Config> {
        self.core.live.config()
    }

    /// Opens the log file anew, after a rotation. Without a file it does nothing.
    pub fn reopen_log(&self) {
        log::reopen(&self.dispatch);
    }

    /// What `/metrics` says.
    pub fn metrics_text(&self) -> String {
        self.core.metrics_text()
    }

    /// Runs `body` with this server's log.
    pub fn with_log<R>(&self, body: impl FnOnce() -> R) -> R {
        tracing::dispatcher::with_default(&self.dispatch, body)
    }

    /// Listens and serves on threads of its own.
    ///
    /// # Errors
    /// `State` when it was started before, `AddressInUse`, `Io`; then it can be started again
    /// unless the error is `State`.
    pub fn start(&self) -> Result<(), Error> {
        self.start_with(|| listener::open(&self.config()))
    }

    /// The same on a TCP socket that listens already and does not block; `listen` of the
    /// configuration is not used.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_on(&self, socket: OwnedFd) -> Result<(), Error> {
        self.start_with(|| Ok(vec![Arc::new(listener::adopt(socket)?)]))
    }

    /// The same on sockets that were opened for it, one for each address of `server.listen`, in
    /// that order.
    ///
    /// # Errors
    /// As [`Server::start`]; `InvalidArgument` when there are more or fewer.
    pub fn start_on_all(&self, sockets: Vec<OwnedFd>) -> Result<(), Error> {
        let config = self.config();
        let listen = &config.server.listen;
        if sockets.len() != listen.len() {
            let message = format!("{} sockets for {} addresses", sockets.len(), listen.len());
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        self.start_with(|| {
            let pairs = listen.iter().zip(sockets);
            pairs.map(|(listen, socket)| listener::adopt_as(listen, socket).map(Arc::new)).collect()
        })
    }

    fn start_with(
        &self,
        open: impl FnOnce() -> Result<Vec<Arc<Listener>>, Error>,
    ) -> Result<(), Error> {
        let mut seats = self.seats.lock();
        if self.core.state() != NEW || seats.is_empty() {
            return Err(Error::new(ErrorKind::State, "the server was started or stopped before"));
        }
        let listeners = open()?;
        self.core.set_listeners(listeners);
        if !self.core.advance(NEW, RUNNING) {
            self.core.close_listeners();
            return Err(Error::new(ErrorKind::State, "the server was stopped before"));
        }
        self.announce();
        for (index, (mailbox, receiver)) in seats.drain(..).enumerate() {
            if let Err(error) = self.start_worker(index, mailbox, receiver) {
                self.core.cut();
                return Err(error);
            }
        }
        drop(seats);
        self.tell_started();
        Ok(())
    }

    /// Listens, without threads: the host calls [`Server::poll`] whenever the descriptor returned
    /// is readable. The descriptor stays the server's.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn attach(&self) -> Result<RawFd, Error> {
        let mut seats = self.seats.lock();
        if self.core.state() != NEW || seats.is_empty() {
            return Err(Error::new(ErrorKind::State, "the server was started before"));
        }
        let listeners = listener::open(&self.config())?;
        self.core.set_listeners(listeners);
        self.core.set_attached();
        let (mailbox, receiver) = seats.swap_remove(0);
        seats.clear();
        let made = self.with_log(|| {
            let worker = Worker::new(Arc::clone(&self.core), 0, mailbox, receiver)?;
            let timer = TimerFd::new()?;
            worker.watch_timer(timer.as_raw_fd())?;
            timer.arm(Some(0));
            Ok((worker, timer))
        });
        let (worker, timer) = made.map_err(|error| {
            self.core.close_listeners();
            io_error(error)
        })?;
        let fd = worker.epoll_fd();
        if !self.core.advance(NEW, RUNNING) {
            self.core.close_listeners();
            return Err(Error::new(ErrorKind::State, "the server was stopped before"));
        }
        self.announce();
        *self.attached.lock() = Some(Attached { worker: Box::new(worker), timer });
        drop(seats);
        self.tell_started();
        Ok(fd)
    }

    fn tell_started(&self) {
        self.core.telemetry.start();
        self.with_log(|| {
            for observer in &self.core.app().observers {
                observer.started();
            }
        });
    }

    /// Handles what is due, waiting for it at most `timeout`; returns how many events it handled.
    ///
    /// # Errors
    /// `State` when the server is not attached or another thread polls it at the same time,
    /// `Closed` once it is stopped and drained.
    pub fn poll(&self, timeout: Option<Duration>) -> Result<usize, Error> {
        let Some(mut attached) = self.attached.try_lock() else {
            return Err(Error::new(ErrorKind::State, "another thread polls the server"));
        };
        let Some(Attached { worker, timer }) = attached.as_mut() else {
            return Err(match self.core.state() {
                STOPPED => Error::new(ErrorKind::Closed, "the server has stopped"),
                _ => Error::new(ErrorKind::State, "the server is not attached"),
            });
        };
        self.core.set_polling_thread();
        let wait_ms = timeout.map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX));
        let turned = self.with_log(|| supervise::turn(|| worker.turn_for_host(wait_ms)));
        let Ok(turned) = turned else {
            // The host watches this loop's descriptor: another loop cannot take its place.
            self.with_log(|| supervise::turn(|| *attached = None)).ok();
            self.core.worker_ended();
            self.core.cut_broken();
            return Err(supervise::broken());
        };
        match turned {
            Some(handled) => {
                timer.arm(worker.next_in_ms());
                Ok(handled)
            }
            None => {
                self.with_log(|| worker.end_for_host());
                *attached = None;
                self.core.worker_ended();
                self.core.cut();
                Err(Error::new(ErrorKind::Closed, "the server has stopped"))
            }
        }
    }

    fn announce(&self) {
        self.with_log(|| {
            for note in &self.config().notes {
                tracing::warn!("{note}");
            }
            let kernels = kernel::report();
            let level = kernels.level();
            if kernels.has_unknown_cap() {
                tracing::warn!("NEUROHTTP_CPU is no level and has no effect");
            }
            if kernels.rejected().is_empty() {
                tracing::info!("CPU kernels: {level}");
            } else {
                let self_test = kernels.self_test();
                tracing::warn!("CPU kernels: {level}, as the self-test says: {self_test}");
            }
            for listener in self.core.listeners().iter() {
                tracing::info!("listening on {listener}");
            }
        });
    }

    fn start_worker(
        &self,
        index: usize,
        mailbox: Arc<Mailbox>,
        receiver: Receiver<Message>,
    ) -> Result<(), Error> {
        let core = Arc::clone(&self.core);
        let dispatch = self.dispatch.clone();
        let thread_ids = Arc::clone(&self.thread_ids);
        let begun = Arc::new(Begun::default());
        let told = Tell(Arc::clone(&begun));
        // The worker is built on its own thread: what it holds never moves between threads.
        let body = move || {
            thread_ids.lock().push(thread::current());
            // A worker starts once.
            let _ = core.workers[index].thread.set(thread::current());
            tracing::dispatcher::with_default(&dispatch, || {
                match Worker::new(Arc::clone(&core), index, mailbox, receiver) {
                    Ok(worker) => {
                        told.tell(Ok(()));
                        supervise::run(&core, worker);
                    }
                    Err(error) => told.tell(Err(io_error(error))),
                }
            });
            core.worker_ended();
        };
        let thread = Builder::new().name(format!("neurohttp-{index}")).spawn(body);
        let thread = thread.map_err(|error| {
            self.core.worker_ended();
            io_error(error)
        })?;
        self.threads.lock().push(thread);
        begun.wait()
    }

    /// Begins the drain. Async-signal-safe: atomics and writes to eventfds only.
    pub fn stop(&self) {
        self.core.stop();
    }

    /// Waits until it is stopped and drained.
    ///
    /// # Errors
    /// `State` before the start and on a thread of the server, `Timeout`, `Panic` when it has
    /// stopped because a worker could not go on.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<(), Error> {
        if self.core.state() == NEW {
            return Err(Error::new(ErrorKind::State, "the server has not been started"));
        }
        if self.is_own_thread() {
            return Err(Error::new(ErrorKind::State, "a thread of the server cannot wait for it"));
        }
        if !self.seats.lock().is_empty() {
            // Stopped before it was started.
            return Ok(());
        }
        if self.attached.try_lock().is_none_or(|attached| attached.is_some()) {
            let message = "the server is attached: it is drained by polling it";
            return Err(Error::new(ErrorKind::State, message));
        }
        if self.core.wait(timeout) {
            self.core.cut();
            if self.core.is_broken() { Err(supervise::broken()) } else { Ok(()) }
        } else {
            Err(Error::new(ErrorKind::Timeout, "the server still has work"))
        }
    }

    /// Stops at once and waits for callbacks that are running. Inside one of them it only begins
    /// the stop and returns false.
    pub fn shutdown(&self) -> bool {
        if self.is_inside() {
            self.stop();
            return false;
        }
        if self.core.state() != NEW {
            self.with_log(|| self.core.tell_stopping(&self.core.app()));
        }
        self.core.cut();
        // An attached loop ends here: nobody polls it any more.
        if let Some(mut attached) = self.attached.try_lock()
            && let Some(Attached { mut worker, .. }) = attached.take()
        {
            self.with_log(|| worker.end_for_host());
            self.core.worker_ended();
        }
        for thread in std::mem::take(&mut *self.threads.lock()) {
            // A worker that panicked has said so; there is nothing left to do for it.
            drop(thread.join());
        }
        self.core.close_listeners();
        self.core.live_page.end();
        self.core.telemetry.end();
        self.core.pool.end();
        self.with_log(|| self.core.plugins.clear());
        self.core.forget_host();
        true
    }

    /// Port of the first TCP listener, 0 before the start or without one.
    pub fn port(&self) -> u16 {
        self.core.port()
    }

    /// Who is connected, JSON. Waits for the workers, a second at most.
    pub fn connections_json(&self) -> String {
        self.core.connections_json().to_string()
    }

    /// What `/stats` says.
    pub fn stats_json(&self) -> String {
        self.core.stats_json()
    }

    /// Adds a route, before the start or while serving. `method` "*" is any but CONNECT. Answers of
    /// one that `is_cached` may be kept and given again.
    ///
    /// # Errors
    /// `InvalidArgument` for the method, `InvalidPattern`, `Duplicate`, `Limit`.
    pub fn add_route(
        &self,
        method: &str,
        pattern: &str,
        blocking: bool,
        is_cached: bool,
        handler: Arc<dyn Handler>,
    ) -> Result<(), Error> {
        // When it is refused it is dropped below, where no lock is held: a host's destructor runs.
        let handler_kept = Arc::clone(&handler);
        let route =
            HostRoute { handler: handler_kept, blocking, is_cached, pattern: Arc::from(pattern) };
        self.core.change(|app| app.routes.insert(method, pattern, route)).map_err(|error| {
            let kind = match error {
                RouteError::Pattern(_) => ErrorKind::InvalidPattern,
                RouteError::Method => ErrorKind::InvalidArgument,
                RouteError::Duplicate => ErrorKind::Duplicate,
                RouteError::Full => ErrorKind::Limit,
            };
            Error::new(kind, format!("{method} {pattern}: {error}"))
        })
    }

    /// Keeps an entry of the host program in the cache; `ttl_s` `None` is the configured time.
    ///
    /// # Errors
    /// `Limit`: it is too large.
    pub fn cache_put(&self, key: &[u8], value: &[u8], ttl_s: Option<u64>) -> Result<(), Error> {
        if self.core.app().cache.put_entry(key, value, ttl_s, now_s()) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Limit, "the value is larger than the cache keeps"))
    }

    /// An entry of the host program.
    pub fn cache_get(&self, key: &[u8]) -> Option<Arc<[u8]>> {
        self.core.app().cache.entry(key, now_s())
    }

    /// Removes an entry of the host program; whether it was there.
    pub fn cache_delete(&self, key: &[u8]) -> bool {
        self.core.app().cache.delete_entry(key)
    }

    /// Removes everything that is kept: the host's entries, models' and routes' answers.
    pub fn cache_clear(&self) {
        self.core.app().cache.clear();
    }

    /// Removes a route; requests in flight finish.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn remove_route(&self, method: &str, pattern: &str) -> Result<(), Error> {
        match self.core.change(|app| app.routes.remove(method, pattern)) {
            Some(_) => Ok(()),
            None => Err(Error::new(ErrorKind::NotFound, format!("no route {method} {pattern}"))),
        }
    }

    /// Adds a middleware before the handlers. One that may block sends every request to the pool.
    ///
    /// # Errors
    /// `Limit`.
    pub fn add_before(&self, middleware: Arc<dyn Middleware>, blocking: bool) -> Result<(), Error> {
        self.core.change(|app| {
            app.before_blocks |= blocking;
            push_middleware(&mut app.before, &middleware)
        })
    }

    /// Adds a middleware after the answer.
    ///
    /// # Errors
    /// `Limit`.
    pub fn add_after(&self, middleware: Arc<dyn Middleware>) -> Result<(), Error> {
        self.core.change(|app| push_middleware(&mut app.after, &middleware))
    }

    /// Puts a model of the host program under its name, before the start or while serving.
    ///
    /// # Errors
    /// `Duplicate`, `InvalidArgument` for the name.
    pub fn add_model(&self, name: &str, generator: Arc<dyn Generator>) -> Result<(), Error> {
        crate::config::check_own_model_name(name)
            .map_err(|expected| Error::new(ErrorKind::InvalidArgument, expected))?;
        // When it is refused it is dropped by the caller, where no lock is held.
        let added = self.core.change(|app| app.add_generator(name, Arc::clone(&generator)));
        match added {
            Ok((true, _)) => Ok(()),
            Ok((false, _)) => {
                Err(Error::new(ErrorKind::Duplicate, format!("there is a model {name} already")))
            }
            Err(message) => Err(Error::new(ErrorKind::InvalidArgument, message)),
        }
    }

    /// Adds a hook on texts.
    ///
    /// # Errors
    /// `Limit`.
    pub fn add_hook(&self, place: HookPlace, hook: Arc<dyn TextHook>) -> Result<(), Error> {
        if self.core.change(|app| app.hooks.add(place, Arc::clone(&hook))) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Limit, "too many hooks"))
    }

    /// Removes a hook, wherever it stands.
    pub fn remove_hook(&self, hook: &Arc<dyn TextHook>) {
        self.core.change(|app| app.hooks.remove(hook));
    }

    /// Adds one who is told what happens on connections.
    ///
    /// # Errors
    /// `Limit`.
    pub fn add_observer(&self, observer: Arc<dyn Observer>) -> Result<(), Error> {
        self.core.change(|app| {
            if app.observers.len() >= limits::MIDDLEWARES_MAX {
                return Err(Error::new(ErrorKind::Limit, "too many observers"));
            }
            app.observers.push(observer);
            Ok(())
        })
    }

    /// Whether the calling thread is, or may be, inside a callback of this server.
    pub fn is_inside(&self) -> bool {
        let own = thread::current();
        self.thread_ids.lock().contains(&own)
            || self.core.pool.is_own_thread()
            // The loop is locked as long as it is polled, by this thread then.
            || self.core.is_polling_thread() && self.attached.try_lock().is_none()
    }

    /// Whether the calling thread is one of this server's workers or of its blocking pool, or the
    /// one that polls it: a call that waits for the server must not come from there.
    pub fn is_own_thread(&self) -> bool {
        let own = thread::current();
        self.thread_ids.lock().contains(&own)
            || self.core.pool.is_own_thread()
            || self.core.is_polling_thread() && self.core.state() != STOPPED
    }

    /// Whether it has been told to stop.
    pub fn is_stopping(&self) -> bool {
        matches!(self.core.state(), DRAINING | STOPPED)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown();
    }
}

fn push_middleware(
    list: &mut Vec<Arc<dyn Middleware>>,
    middleware: &Arc<dyn Middleware>,
) -> Result<(), Error> {
    if list.len() >= limits::MIDDLEWARES_MAX {
        return Err(Error::new(ErrorKind::Limit, "too many middlewares"));
    }
    list.push(Arc::clone(middleware));
    Ok(())
}

/// The clock that kept entries are dated by.
fn now_s() -> u64 {
    u64::try_from(crate::sys::clock::unix_seconds()).unwrap_or(0)
}

fn io_error(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, error.to_string())
}
