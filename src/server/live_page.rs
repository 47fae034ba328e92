//! The figures that live pages are fed with: one thread of its own while somebody watches.

use std::sync::{Arc, Weak};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};

use super::core::{Core, RUNNING};
use super::stats::WorkerStats;
use crate::base::error::ErrorKind;
use crate::base::metrics::{BOUNDS_US, Distribution, Histogram};
use crate::exchange::{StreamQueue, Taken};
use crate::sys::clock;

/// Pages that watch at once.
const LISTENERS_MAX: usize = 32;
/// Between two sets of figures.
const PERIOD: Duration = Duration::from_secs(1);

/// Who watches, and the thread that tells them.
#[derive(Default)]
pub(super) struct LivePage {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    listeners: Vec<Arc<StreamQueue>>,
    thread: Option<JoinHandle<()>>,
    is_running: bool,
    is_over: bool,
}

impl LivePage {
    pub(super) fn has_room(&self) -> bool {
        let state = self.state.lock();
        !state.is_over && state.listeners.len() < LISTENERS_MAX
    }

    /// One more watches.
    pub(super) fn add(&self, core: &Weak<Core>, queue: Arc<StreamQueue>) {
        let mut state = self.state.lock();
        if state.is_over {
            drop(state);
            queue.finish(Taken::End);
            return;
        }
        state.listeners.push(queue);
        if state.is_running {
            self.changed.notify_all();
            return;
        }
        let core = Weak::clone(core);
        let name = "neurohttp-live".to_owned();
        match Builder::new().name(name).spawn(move || feed(&core)) {
            Ok(thread) => {
                state.is_running = true;
                // The one before has nothing left to do.
                state.thread = Some(thread);
            }
            Err(error) => {
                tracing::error!("live pages cannot be fed: {error}");
                let listeners = std::mem::take(&mut state.listeners);
                drop(state);
                listeners.iter().for_each(|queue| queue.finish(Taken::Abort));
            }
        }
    }

    /// The server ends: nobody is told anything any more.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.is_over = true;
        let listeners = std::mem::take(&mut state.listeners);
        let thread = state.thread.take();
        drop(state);
        self.changed.notify_all();
        for queue in listeners {
            queue.finish(Taken::End);
        }
        if let Some(thread) = thread {
            // It has no callbacks and waits for nobody.
            drop(thread.join());
        }
    }

    /// Sends figures to everybody. False when nobody is left.
    fn tell(&self, text: &str) -> bool {
        let listeners = self.state.lock().listeners.clone();
        // No lock is held: a queue wakes its worker.
        let gone: Vec<_> = listeners
            .iter()
            .filter(|queue| match queue.write(text.as_bytes()) {
                // A page that does not read misses figures, not its stream.
                Ok(()) | Err(ErrorKind::WouldBlock) => false,
                Err(_) => true,
            })
            .collect();
        let mut state = self.state.lock();
        state.listeners.retain(|queue| !gone.iter().any(|other| Arc::ptr_eq(queue, other)));
        state.is_running = !state.listeners.is_empty() && !state.is_over;
        state.is_running
    }
}

fn feed(core: &Weak<Core>) {
    loop {
        let Some(core) = core.upgrade() else { return };
        if core.state() != RUNNING {
            let listeners = {
                let mut state = core.live_page.state.lock();
                state.is_running = false;
                std::mem::take(&mut state.listeners)
            };
            // A drain does not wait for pages that only watch.
            listeners.iter().for_each(|queue| queue.finish(Taken::End));
            return;
        }
        let text = format!("data: {}\n\n", core.live_json());
        if !core.live_page.tell(&text) {
            return;
        }
        let mut state = core.live_page.state.lock();
        if !state.is_over {
            core.live_page.changed.wait_for(&mut state, PERIOD);
        }
    }
}

impl Core {
    /// `/stats` and what a page needs beside it.
    fn live_json(&self) -> Value {
        let mut stats: Value = serde_json::from_str(&self.stats_json()).unwrap_or_default();
        let times = |get: fn(&WorkerStats) -> &Histogram| {
            let all = Distribution::of(self.workers.iter().map(|worker| get(&worker.stats)));
            json!(all.cumulative)
        };
        let app = self.app();
        let live = json!({
            "time_ms": clock::unix_seconds() * 1_000,
            "clock_us": clock::monotonic_us(),
            "bounds_us": BOUNDS_US,
            "request_time": times(|s| &s.request_time),
            "first_token_time": times(|s| &s.first_token_time),
            "token_gap": times(|s| &s.token_gap),
            "routes": crate::pipeline::models_shown(&app),
            "blocks": crate::pipeline::blocks_shown(&app),
            "version": env!("CARGO_PKG_VERSION"),
        });
        if let (Value::Object(stats), Value::Object(live)) = (&mut stats, live) {
            stats.extend(live);
        }
        stats
    }
}
