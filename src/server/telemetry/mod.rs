//! Traces and metrics for an OpenTelemetry collector, over OTLP/HTTP as JSON.
//!
//! Off by default: then a request costs one look at its snapshot's settings. On, workers put spans
//! into a bounded queue and measure under a lock of their own; a thread of its own sends them.
//! What the collector does not take is dropped and counted, never waited for. The messages are
//! written here: the opentelemetry crates would bring an asynchronous runtime.

mod export;
mod measures;
mod otlp;
mod spans;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use self::measures::{HttpKey, Measures, OperationKey, Took};
use self::otlp::Attribute;
pub(super) use self::spans::{Observed, error_type};
use crate::base::limits;
use crate::config;
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

/// Where things are sent, and how often.
#[derive(Clone, PartialEq, Eq)]
struct Destination {
    /// Without a slash at the end.
    endpoint: String,
    headers: Vec<(String, String)>,
    service_name: String,
    interval: Duration,
}

impl Destination {
    fn new(config: &config::Telemetry) -> Option<Destination> {
        if config.endpoint.is_empty() {
            return None;
        }
        let field = |secret: &config::Secret| {
            let (name, value) = secret.expose().split_once(':')?;
            Some((name.trim().to_owned(), value.trim().to_owned()))
        };
        Some(Destination {
            endpoint: config.endpoint.trim_end_matches('/').to_owned(),
            headers: config.headers.iter().filter_map(field).collect(),
            service_name: config.service_name.clone(),
            interval: Duration::from_millis(u64::from(config.interval)),
        })
    }
}

/// The way to a collector.
pub(super) struct Telemetry {
    shared: Arc<Shared>,
    dispatch: tracing::Dispatch,
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
    spans: VecDeque<SpanRecord>,
    thread: Option<JoinHandle<()>>,
    is_running: bool,
    is_over: bool,
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
                state: Mutex::default(),
                changed: Condvar::new(),
                measures: (0..workers).map(|_| Mutex::default()).collect(),
                instance: format!("{:016x}{:016x}", random::number(), random::number()),
                since_ns: unix_ns(),
                counts: Counts::default(),
            }),
            dispatch,
        }
    }

    /// Follows the configuration: begins, goes elsewhere or ends.
    pub(super) fn follow(&self, config: &config::Telemetry) {
        let destination = Destination::new(config).map(Arc::new);
        let mut state = self.shared.state.lock();
        if state.is_over || state.destination == destination {
            return;
        }
        state.destination = destination;
        if state.destination.is_none() {
            self.shared.drop_all(&mut state);
        }
        if state.destination.is_some() && !state.is_running {
            self.begin(&mut state);
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    fn begin(&self, state: &mut State) {
        let shared = Arc::clone(&self.shared);
        let dispatch = self.dispatch.clone();
        let send = move || tracing::dispatcher::with_default(&dispatch, || export::run(&shared));
        match Builder::new().name("neurohttp-otlp".to_owned()).spawn(send) {
            Ok(thread) => {
                state.is_running = true;
                state.thread = Some(thread);
            }
            Err(error) => {
                tracing::error!("telemetry cannot be sent: {error}");
                state.destination = None;
            }
        }
    }

    /// The server ends: what waits is sent, but a collector that takes nothing is not waited for.
    pub(super) fn end(&self) {
        let deadline = Instant::now() + Duration::from_millis(limits::TELEMETRY_FLUSH_MS);
        let mut state = self.shared.state.lock();
        state.is_over = true;
        self.shared.changed.notify_all();
        while state.is_running {
            if self.shared.changed.wait_until(&mut state, deadline).timed_out() {
                return;
            }
        }
        let thread = state.thread.take();
        drop(state);
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

impl Shared {
    fn drop_all(&self, state: &mut State) {
        self.counts.dropped.fetch_add(state.spans.len() as u64, Relaxed);
        state.spans.clear();
    }
}

fn unix_ns() -> u64 {
    u64::try_from(clock::unix_ms()).unwrap_or(0).saturating_mul(1_000_000)
}
