//! One old server between server_init and server_cleanup: the host's struct, its listening socket, and
//! the engine that serves it.

use super::answer::{Reply, reply};
use super::instance::INSTANCE;
use super::memory::monotonic_ns;
use super::types::Server;
use super::utils::logging::{Level, write};
use crate::base::error::{Error, ErrorKind, Failure};
use crate::config::Config;
use crate::exchange::{Exchange, Flow, Middleware, Observer, Outcome, Peer, Request};
use crate::firewall::Shared;
use crate::pipeline::{self, Guard};
use crate::server::{LogSink, Server as Engine, Setup};
use parking_lot::Mutex;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Prompts under way in all old servers; more are refused.
const CHATS_MAX: usize = 256;
/// How long a stop waits for requests in flight.
pub const DRAIN: Duration = Duration::from_secs(10);

/// The counters in a host's struct. Hosts read them at any time, so they change in place, atomically.
#[derive(Clone, Copy)]
pub struct Counts(*mut Server);

impl Counts {
    /// Of a struct that lives as long as the result is used, or NULL.
    pub fn of(server: *mut Server) -> Counts {
        Counts(server)
    }

    fn counter(&self, place: impl FnOnce(*mut Server) -> *mut u64) -> Option<&AtomicU64> {
        // SAFETY: the struct lives until server_cleanup, is aligned, and these places are only changed
        // atomically; `place` makes a pointer without reading.
        (!self.0.is_null()).then(|| unsafe { AtomicU64::from_ptr(place(self.0)) })
    }

    fn connection_counter(&self) -> Option<&AtomicI32> {
        // SAFETY: as above.
        (!self.0.is_null())
            .then(|| unsafe { AtomicI32::from_ptr(&raw mut (*self.0).active_connections) })
    }

    fn add(&self, place: impl FnOnce(*mut Server) -> *mut u64, amount: u64) {
        if let Some(counter) = self.counter(place) {
            counter.fetch_add(amount, Relaxed);
        }
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        // SAFETY: makes a pointer to a field only.
        let counter = self.counter(|s| unsafe { &raw mut (*s).stats.total_requests });
        counter.map_or(0, |counter| counter.load(Relaxed))
    }

    /// Answers so far.
    pub fn responses(&self) -> u64 {
        // SAFETY: makes a pointer to a field only.
        let counter = self.counter(|s| unsafe { &raw mut (*s).stats.total_responses });
        counter.map_or(0, |counter| counter.load(Relaxed))
    }

    /// Connections now.
    pub fn connections(&self) -> i64 {
        self.connection_counter().map_or(0, |counter| i64::from(counter.load(Relaxed)))
    }

    /// Counts a request.
    pub fn request(&self) {
        // SAFETY: makes a pointer to a field only.
        self.add(|s| unsafe { &raw mut (*s).stats.total_requests }, 1);
    }

    /// Counts received bytes.
    pub fn received(&self, bytes: usize) {
        // SAFETY: makes a pointer to a field only.
        self.add(|s| unsafe { &raw mut (*s).stats.bytes_received }, bytes as u64);
    }

    /// Counts sent bytes.
    pub fn sent(&self, bytes: usize) {
        // SAFETY: makes a pointer to a field only.
        self.add(|s| unsafe { &raw mut (*s).stats.bytes_sent }, bytes as u64);
    }

    /// Counts an answer and moves the mean of the times; `busy` sums them up.
    pub fn response(&self, status: u16, elapsed_us: u64, busy: &AtomicU64) {
        INSTANCE.answers.fetch_add(1, Relaxed);
        if status >= 500 {
            INSTANCE.failures.fetch_add(1, Relaxed);
        }
        // SAFETY: makes a pointer to a field only.
        let responses = self.counter(|s| unsafe { &raw mut (*s).stats.total_responses });
        let Some(responses) = responses else { return };
        let total_us = busy.fetch_add(elapsed_us, Relaxed) + elapsed_us;
        let count = responses.fetch_add(1, Relaxed) + 1;
        let mean_ms = total_us as f64 / 1000.0 / count as f64;
        // SAFETY: makes a pointer to a field only; a double is stored by its bits.
        let mean = self.counter(|s| unsafe { (&raw mut (*s).stats.avg_response_time).cast() });
        if let Some(mean) = mean {
            mean.store(mean_ms.to_bits(), Relaxed);
        }
    }
}

/// One old server.
pub struct Site {
    server: usize,
    config: Config,
    socket: OwnedFd,
    /// Who may use /v1/*.
    pub guard: Guard,
    /// Requests are judged by the firewall.
    pub is_guarded: bool,
    /// Time for a request that server_handle_request reads, in milliseconds.
    pub request_ms: u64,
    /// Sum of all answers' times, in microseconds.
    pub busy_us: AtomicU64,
    started_ns: AtomicU64,
    engine: Mutex<Option<Arc<Engine>>>,
}

impl Site {
    /// A server that listens on `socket` but does not accept yet.
    pub fn new(server: *mut Server, config: Config, socket: OwnedFd, request_ms: u64) -> Site {
        Site {
            server: server as usize,
            guard: Guard::new(&config),
            is_guarded: config.firewall.enable,
            config,
            socket,
            request_ms,
            busy_us: AtomicU64::new(0),
            started_ns: AtomicU64::new(0),
            engine: Mutex::new(None),
        }
    }

    /// The host's struct.
    pub fn server(&self) -> *mut Server {
        self.server as *mut Server
    }

    /// The keys it was given.
    pub fn keys(&self) -> Vec<Vec<u8>> {
        self.config.auth.keys.iter().map(|key| key.expose().as_bytes().to_vec()).collect()
    }

    /// Its counters.
    pub fn counts(&self) -> Counts {
        Counts::of(self.server())
    }

    /// The engine that serves.
    pub fn engine(&self) -> Option<Arc<Engine>> {
        self.engine.lock().clone()
    }

    /// Counts a request, which the firewall is asked about.
    pub fn count_request(&self) {
        self.counts().request();
        if self.is_guarded {
            INSTANCE.checked.fetch_add(1, Relaxed);
        }
    }

    /// Shares lists, memory and counters of the firewall with the engine, if one serves.
    pub fn share(&self, shared: &Shared) {
        if let Some(engine) = self.engine().filter(|_| self.is_guarded) {
            engine.firewall_join(shared);
        }
    }

    /// Seconds since the start; 0 before.
    pub fn uptime_s(&self) -> u64 {
        match self.started_ns.load(Relaxed) {
            0 => 0,
            started => monotonic_ns().saturating_sub(started) / 1_000_000_000,
        }
    }

    /// Serves from threads of the engine's.
    ///
    /// # Errors
    /// `State` when it serves already, else what the engine says.
    pub fn start(self: &Arc<Site>) -> Result<(), Error> {
        let shared = INSTANCE.firewall.lock().as_ref().map(|firewall| firewall.shared().clone());
        let mut place = self.engine.lock();
        if place.is_some() {
            return Err(Error::new(ErrorKind::State, "the server is running"));
        }
        let io = |error: std::io::Error| Error::new(ErrorKind::Io, error.to_string());
        // The engine closes its own copy; the host's socket stays until server_cleanup.
        let socket = self.socket.try_clone().map_err(io)?;
        let setup = Setup { no_builtins: true, log: Some(Arc::new(OldLog)), ..Setup::default() };
        let engine = Arc::new(Engine::new(self.config.clone(), setup)?);
        engine.add_observer(Arc::new(Publisher { site: Arc::clone(self) }))?;
        engine.add_before(Arc::new(Stage { site: Arc::clone(self) }), true)?;
        if let Some(shared) = shared {
            engine.firewall_join(&shared);
        }
        self.started_ns.store(monotonic_ns(), Relaxed);
        engine.start_on(socket)?;
        *place = Some(engine);
        Ok(())
    }

    /// Whether the engine serves.
    pub fn is_running(&self) -> bool {
        self.engine().is_some_and(|engine| !engine.is_stopping())
    }

    /// Finishes what is under way and ends the threads. Called by a handler of its own it only begins:
    /// the thread cannot wait for itself.
    pub fn stop(&self) {
        let Some(engine) = self.engine() else { return };
        engine.stop();
        if engine.is_own_thread() {
            return;
        }
        if engine.wait(Some(DRAIN)).is_err() {
            write(Level::Warning, b"requests were cut off: they took too long to finish");
        }
        engine.shutdown();
        // The snapshot in the engine holds this site; letting go of it breaks the circle.
        self.engine.lock().take();
    }
}

/// Lines of the engine in the old log.
struct OldLog;

impl LogSink for OldLog {
    fn line(&self, level: i32, message: &str) {
        let level = match level {
            1 => Level::Error,
            2 => Level::Warning,
            3 => Level::Info,
            _ => Level::Debug,
        };
        write(level, message.as_bytes());
    }
}

/// Publishes what happens in the host's struct.
struct Publisher {
    site: Arc<Site>,
}

impl Observer for Publisher {
    fn connected(&self, _peer: Peer) {
        if let Some(counter) = self.site.counts().connection_counter() {
            counter.fetch_add(1, Relaxed);
        }
    }

    fn disconnected(&self, _peer: Peer) {
        if let Some(counter) = self.site.counts().connection_counter() {
            counter.fetch_sub(1, Relaxed);
        }
    }

    fn moved(&self, received: usize, sent: usize) {
        let counts = self.site.counts();
        counts.received(received);
        counts.sent(sent);
    }

    fn requested(&self, _request: &Request) {
        self.site.count_request();
    }

    fn answered(&self, request: Option<&Request>, outcome: &Outcome) {
        let counts = self.site.counts();
        if request.is_none() {
            // Bytes that are no request are answered too, and the original's users count them.
            counts.request();
        }
        counts.response(outcome.status, outcome.elapsed_us, &self.site.busy_us);
    }
}

/// The old server in the engine's pipeline: it answers everything, so nothing behind it is reached.
struct Stage {
    site: Arc<Site>,
}

/// One prompt under way, counted as long as it lives.
struct ChatPlace;

impl ChatPlace {
    fn take() -> Option<ChatPlace> {
        // Relaxed: the number alone matters. A place too many is dropped, which gives it back.
        let before = INSTANCE.chats.fetch_add(1, Relaxed);
        Some(ChatPlace).filter(|_| before < CHATS_MAX)
    }
}

impl Drop for ChatPlace {
    fn drop(&mut self) {
        INSTANCE.chats.fetch_sub(1, Relaxed);
    }
}

impl Middleware for Stage {
    fn pass(&self, exchange: &mut Exchange) -> Flow {
        let (reply, headers) = reply(&self.site, &exchange.request);
        match reply {
            Reply::Answer(mut answer) => {
                answer.add_lines(&headers);
                answer.fill(exchange);
                Flow::Answered
            }
            Reply::Failed(reason) => Flow::Fail(reason),
            Reply::Chat(chat) => {
                // Prompts take their time: the pool's threads are for the host's handlers.
                let Some(place) = ChatPlace::take() else {
                    let busy = Failure::new(503, "too many prompts are under way");
                    pipeline::answer(exchange, &busy.retry_after(1));
                    return Flow::Answered;
                };
                let Some(mut deferred) = exchange.defer() else { return Flow::Answered };
                let work = move || {
                    let mut answer = chat.ask();
                    answer.add_lines(&headers);
                    if let Some(exchange) = deferred.exchange_mut() {
                        answer.fill(exchange);
                    }
                    deferred.done();
                    drop(place);
                };
                // Without a thread the deferred answer is dropped, which answers 500.
                drop(std::thread::Builder::new().name("old-chat".into()).spawn(work));
                Flow::Answered
            }
        }
    }
}
