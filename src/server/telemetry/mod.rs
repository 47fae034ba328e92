//! Traces and metrics for an OpenTelemetry collector, over OTLP/HTTP as JSON.
//!
//! Off by default: then a request costs one look at its snapshot's settings. On, workers put spans
//! into a bounded queue and measure under a lock of their own; a thread of its own sends them.
//! What the collector does not take is dropped and counted, never waited for. The messages are
//! written here: the opentelemetry crates would bring an asynchronous runtime.

mod destination;
mod export;
mod measures;
mod otlp;
mod spans;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

pub(super) use self::destination::Destination;
use self::measures::{HttpKey, Measures, OperationKey, Took};
use self::otlp::Attribute;
pub(super) use self::spans::{Observed, error_type};
use crate::base::limits;
use crate::http::trace_context::{SpanId, TraceContext};
use crate::sys::{clock, random};

/// What a span stands for, by its number in OTLP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SpanKind {
    Internal = 1,
    Server = 2,
    Client = 3,
}

/// A step that is over.
#[derive(Clone, Debug)]
pub(super) struct SpanRecord {
    context: TraceContext,
    parent: Option<SpanId>,
    name: String,
    kind: SpanKind,
    start_ns: u64,
    end_ns: u64,
    attributes: Vec<(&'static str, Attribute)>,
    is_error: bool,
}

/// The way to a collector.
pub(super) struct Telemetry {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// There is something to do for the thread, or it has done everything.
    changed: Condvar,
    /// Of each worker; it is held for a moment by its worker, or by the thread that sends.
    measures: Box<[Mutex<Measures>]>,
    /// Names this start of the server.
    instance: String,
    since_ns: u64,
    counts: Counts,
}

#[derive(Default)]
struct State {
    destination: Option<Arc<Destination>>,
    /// Workers run: what there is to send is sent.
    has_begun: bool,
    spans: VecDeque<SpanRecord>,
    thread: Option<JoinHandle<()>>,
    is_running: bool,
    is_over: bool,
    /// The server's log, until the server has ended: the thread may outlive it.
    log: Option<tracing::Dispatch>,
    /// The thread is saying something to it.
    is_telling: bool,
}

/// What became of spans and deliveries.
#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

impl Telemetry {
    pub(super) fn new(workers: usize, dispatch: tracing::Dispatch) -> Telemetry {
        Telemetry {
            shared: Arc::new(Shared {
                state: Mutex::new(State { log: Some(dispatch), ..State::default() }),
                changed: Condvar::new(),
                measures: (0..workers).map(|_| Mutex::default()).collect(),
                instance: format!("{:016x}{:016x}", random::number(), random::number()),
                since_ns: unix_ns(),
                counts: Counts::default(),
            }),
        }
    }

    /// Begins, goes elsewhere or ends; before [`Telemetry::start`] it is only noted.
    pub(super) fn aim(&self, destination: Option<Destination>) {
        let mut state = self.shared.state.lock();
        if state.is_over || state.destination.as_deref() == destination.as_ref() {
            return;
        }
        state.destination = destination.map(Arc::new);
        if state.destination.is_none() {
            self.shared.drop_all(&mut state);
        }
        self.run(state);
    }

    /// The server has started.
    pub(super) fn start(&self) {
        let mut state = self.shared.state.lock();
        state.has_begun = true;
        self.run(state);
    }

    /// Sees to it that somebody sends, when there is something to send to.
    fn run(&self, mut state: MutexGuard<'_, State>) {
        let mut begun = Ok(());
        if state.has_begun && state.destination.is_some() && !state.is_running && !state.is_over {
            begun = self.begin(&mut state);
        }
        drop(state);
        self.shared.changed.notify_all();
        if let Err(error) = begun {
            self.shared.tell(|| tracing::error!("telemetry cannot be sent: {error}"));
        }
    }

    fn begin(&self, state: &mut State) -> std::io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let send = move || export::run(&shared);
        match Builder::new().name("neurohttp-otlp".to_owned()).spawn(send) {
            Ok(thread) => {
                state.is_running = true;
                state.thread = Some(thread);
                Ok(())
            }
            Err(error) => {
                state.destination = None;
                Err(error)
            }
        }
    }

    /// The server ends: what waits is sent, but a collector that takes nothing is not waited for.
    /// Nothing is said to the log any more when this has returned.
    pub(super) fn end(&self) {
        let deadline = Instant::now() + Duration::from_millis(limits::TELEMETRY_FLUSH_MS);
        let mut state = self.shared.state.lock();
        state.is_over = true;
        self.shared.changed.notify_all();
        while state.is_running && Instant::now() < deadline {
            self.shared.changed.wait_until(&mut state, deadline);
        }
        // A callback of the host's that runs is waited for, as everywhere.
        while state.is_telling {
            self.shared.changed.wait(&mut state);
        }
        let log = state.log.take();
        let thread = state.thread.take().filter(|_| !state.is_running);
        drop(state);
        drop(log);
        if let Some(thread) = thread {
            drop(thread.join());
        }
    }

    /// A step is over. Dropped when too many wait.
    fn add(&self, span: SpanRecord) {
        let mut state = self.shared.state.lock();
        if state.destination.is_none() || state.spans.len() >= limits::SPANS_WAITING_MAX {
            drop(state);
            self.shared.counts.dropped.fetch_add(1, Relaxed);
            return;
        }
        state.spans.push_back(span);
        let is_batch = state.spans.len() == limits::SPANS_SENT_MAX;
        drop(state);
        if is_batch {
            self.shared.changed.notify_all();
        }
    }

    /// What one worker measures.
    fn measures(&self, worker: usize) -> Option<&Mutex<Measures>> {
        self.shared.measures.get(worker)
    }

    /// Spans sent and dropped, deliveries that failed, spans that wait.
    pub(super) fn figures(&self) -> [u64; 4] {
        let counts = &self.shared.counts;
        let waiting = self.shared.state.lock().spans.len() as u64;
        [
            counts.sent.load(Relaxed),
            counts.dropped.load(Relaxed),
            counts.failed.load(Relaxed),
            waiting,
        ]
    }
}

/// Somebody is speaking to the log until this is dropped.
struct Telling<'s>(&'s Shared);

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        self.0.state.lock().is_telling = false;
        self.0.changed.notify_all();
    }
}

impl Shared {
    /// Says something to the server's log, unless the server has ended. No lock is held: the log may
    /// be a callback of the host's.
    fn tell(&self, say: impl FnOnce()) {
        let mut state = self.state.lock();
        while state.is_telling {
            self.changed.wait(&mut state);
        }
        let Some(log) = state.log.clone() else { return };
        state.is_telling = true;
        drop(state);
        let telling = Telling(self);
        tracing::dispatcher::with_default(&log, say);
        drop(log);
        drop(telling);
    }

    fn drop_all(&self, state: &mut State) {
        self.counts.dropped.fetch_add(state.spans.len() as u64, Relaxed);
        state.spans.clear();
    }
}

fn unix_ns() -> u64 {
    u64::try_from(clock::unix_ms()).unwrap_or(0).saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::server::log::{self, LogSink};

    struct Counted(AtomicU64);

    impl LogSink for Counted {
        fn line(&self, _: i32, _: &str) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn span() -> SpanRecord {
        SpanRecord {
            context: TraceContext { trace_id: [1; 16], span_id: [1; 8], is_sampled: true },
            parent: None,
            name: "x".to_owned(),
            kind: SpanKind::Internal,
            start_ns: 1,
            end_ns: 2,
            attributes: Vec::new(),
            is_error: false,
        }
    }

    /// Wrong: a host's log is called, or held, when its server has ended.
    #[test]
    fn a_collector_that_hangs_keeps_nothing_of_the_host() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let sink = Arc::new(Counted(AtomicU64::new(0)));
        let host = Arc::clone(&sink) as Arc<dyn LogSink>;
        let dispatch = log::dispatch(&config::Log::default(), Some(host)).unwrap();
        let telemetry = Telemetry::new(1, dispatch);
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let to = config::Telemetry { endpoint, interval: 3_600_000, ..Default::default() };
        telemetry.aim(Destination::new(&to).unwrap());
        telemetry.start();
        for _ in 0..limits::SPANS_SENT_MAX {
            telemetry.add(span());
        }
        // The delivery is under way, and nobody answers it.
        let (stream, _) = listener.accept().unwrap();
        telemetry.end();
        assert_eq!((Arc::strong_count(&sink), sink.0.load(Relaxed)), (1, 0));
        drop(stream);
        // It fails now, and says nothing.
        let deadline = Instant::now() + Duration::from_secs(30);
        while telemetry.shared.state.lock().is_running {
            assert!(Instant::now() < deadline, "the thread does not end");
            std::thread::yield_now();
        }
        assert_eq!((Arc::strong_count(&sink), sink.0.load(Relaxed)), (1, 0));
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let telemetry = Telemetry::new(1, tracing::Dispatch::none());
        telemetry.add(span());
        assert_eq!(telemetry.figures(), [0, 1, 0, 0], "nobody takes it");
        // Nobody delivers here: the queue alone is what this is about.
        let endpoint = "http://127.0.0.1:9".to_owned();
        let to = config::Telemetry { endpoint, ..Default::default() };
        telemetry.aim(Destination::new(&to).unwrap());
        for _ in 0..limits::SPANS_WAITING_MAX + 5 {
            telemetry.add(span());
        }
        assert_eq!(telemetry.figures(), [0, 6, 0, limits::SPANS_WAITING_MAX as u64]);
    }
}
