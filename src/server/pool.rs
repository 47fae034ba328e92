//! The blocking pool: a bounded number of threads, started on need, for whatever may block.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::tuning::Tuning;
use crate::base::limits::POOL_THREAD_IDLE_MS;
use crate::optimizer::load::QueueLimit;
use crate::sys::clock;
use crate::sys::thread::{self, ThreadId};

/// What the pool runs.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// A job that waits.
struct Waiting {
    job: Job,
    /// When a request came to wait, monotonic microseconds; `None`: no request waits on it.
    since_us: Option<u64>,
}

/// A bounded pool of threads with a bounded queue.
pub(super) struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    changed: Condvar,
    /// Relaxed, both: bounds that may change between two jobs.
    threads_max: AtomicUsize,
    queue_max: AtomicUsize,
    /// Called on each thread before its first job: log dispatch and the like.
    dispatch: tracing::Dispatch,
    tuning: Arc<Tuning>,
}

struct State {
    jobs: VecDeque<Waiting>,
    /// How many requests may wait: follows the load.
    limit: QueueLimit,
    idle: usize,
    threads: Vec<JoinHandle<()>>,
    ids: Vec<ThreadId>,
    alive: usize,
    ended: bool,
}

/// The pool does not take the job now.
#[derive(Debug)]
pub(super) struct Full;

impl Pool {
    pub(super) fn new(
        threads_max: usize,
        queue_max: usize,
        dispatch: tracing::Dispatch,
        tuning: Arc<Tuning>,
    ) -> Pool {
        let state = State {
            jobs: VecDeque::new(),
            limit: QueueLimit::new(queue_max),
            idle: 0,
            threads: Vec::new(),
            ids: Vec::new(),
            alive: 0,
            ended: false,
        };
        let inner = Inner {
            state: Mutex::new(state),
            changed: Condvar::new(),
            threads_max: AtomicUsize::new(threads_max.max(1)),
            queue_max: AtomicUsize::new(queue_max),
            dispatch,
            tuning,
        };
        Pool { inner: Arc::new(inner) }
    }

    /// Other bounds. Threads beyond them end when they have been idle for a while.
    pub(super) fn resize(&self, threads_max: usize, queue_max: usize) {
        self.inner.threads_max.store(threads_max.max(1), Relaxed);
        self.inner.queue_max.store(queue_max, Relaxed);
    }

    /// Queues a job; a thread is started when none is idle and there may be more.
    pub(super) fn submit(&self, job: Job) -> Result<(), Full> {
        self.queue(Waiting { job, since_us: None })
    }

    /// The same for a request, whose wait counts.
    pub(super) fn submit_request(&self, job: Job) -> Result<(), Full> {
        self.queue(Waiting { job, since_us: Some(clock::monotonic_us()) })
    }

    fn queue(&self, waiting: Waiting) -> Result<(), Full> {
        let mut state = self.inner.state.lock();
        if state.ended || state.jobs.len() >= self.inner.queue_max.load(Relaxed) + state.idle {
            return Err(Full);
        }
        if state.idle <= state.jobs.len() && state.alive < self.inner.threads_max.load(Relaxed) {
            let inner = Arc::clone(&self.inner);
            let name = "neurohttp-pool".to_owned();
            match Builder::new().name(name).spawn(move || inner.work()) {
                Ok(thread) => {
                    state.alive += 1;
                    state.threads.retain(|thread| !thread.is_finished());
                    state.threads.push(thread);
                }
                Err(_) if state.alive == 0 => return Err(Full),
                Err(_) => {}
            }
        }
        state.jobs.push_back(waiting);
        self.inner.changed.notify_one();
        Ok(())
    }

    /// Whether a job would be taken now.
    pub(super) fn has_room(&self) -> bool {
        let state = self.inner.state.lock();
        !state.ended && state.jobs.len() < self.inner.queue_max.load(Relaxed) + state.idle
    }

    /// Whether one more request may wait, as the load is now.
    pub(super) fn admits_request(&self) -> bool {
        let mut state = self.inner.state.lock();
        let waiting = state.jobs.len().saturating_sub(state.idle);
        // A thread that is not there yet would take it.
        state.alive < self.inner.threads_max.load(Relaxed) || state.limit.admits(waiting)
    }

    /// How many requests may wait now.
    pub(super) fn request_limit(&self) -> u64 {
        self.inner.state.lock().limit.get()
    }

    /// Threads alive and jobs waiting.
    pub(super) fn load(&self) -> (usize, usize) {
        let state = self.inner.state.lock();
        (state.alive, state.jobs.len())
    }

    /// Share of the threads there may be that run a job, in percent.
    pub(super) fn busy_percent(&self) -> u32 {
        let (busy, threads) = {
            let state = self.inner.state.lock();
            (state.alive.saturating_sub(state.idle), self.inner.threads_max.load(Relaxed))
        };
        u32::try_from((busy * 100 / threads.max(1)).min(100)).unwrap_or(100)
    }

    /// Whether the calling thread belongs to this pool.
    pub(super) fn is_own_thread(&self) -> bool {
        self.inner.state.lock().ids.contains(&thread::current())
    }

    /// Takes no more jobs, drops those that wait and joins the threads once their jobs have
    /// returned.
    pub(super) fn end(&self) {
        let mut state = self.inner.state.lock();
        state.ended = true;
        let jobs = std::mem::take(&mut state.jobs);
        let threads = std::mem::take(&mut state.threads);
        drop(state);
        drop(jobs);
        self.inner.changed.notify_all();
        let is_own = self.is_own_thread();
        for thread in threads {
            // A thread of the pool does not wait for itself.
            if !is_own {
                // A job's panic was caught; the thread itself cannot panic.
                drop(thread.join());
            }
        }
    }
}

impl Inner {
    fn work(&self) {
        self.state.lock().ids.push(thread::current());
        tracing::dispatcher::with_default(&self.dispatch, || {
            let mut ran_us = None;
            while let Some(Waiting { job, since_us }) = self.next(ran_us.take()) {
                let began_us = since_us.map(|_| clock::monotonic_us());
                if let (Some(since_us), Some(began_us)) = (since_us, began_us) {
                    self.note_wait(began_us.saturating_sub(since_us), began_us / 1_000);
                }
                // The job answers for itself; this only keeps the thread alive.
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
                    tracing::error!("a job on the blocking pool panicked");
                }
                ran_us = began_us.map(|began_us| clock::monotonic_us().saturating_sub(began_us));
            }
        });
    }

    fn note_wait(&self, waited_us: u64, now_ms: u64) {
        let (floor, ceiling) = (self.threads_max.load(Relaxed), self.queue_max.load(Relaxed));
        let moved = self.state.lock().limit.waited(waited_us, now_ms, floor, ceiling);
        if let Some(moved) = moved {
            self.tuning.moved("waiting blocking requests", moved);
        }
    }

    /// `ran_us` is how long the last request took.
    fn next(&self, ran_us: Option<u64>) -> Option<Waiting> {
        let mut state = self.state.lock();
        if let Some(ran_us) = ran_us {
            state.limit.ran(ran_us);
        }
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            let mut over = state.ended;
            if !over {
                state.idle += 1;
                let limit = Duration::from_millis(POOL_THREAD_IDLE_MS);
                let late = self.changed.wait_for(&mut state, limit).timed_out();
                state.idle -= 1;
                over = late && state.jobs.is_empty();
            }
            if over {
                state.alive -= 1;
                let own = thread::current();
                state.ids.retain(|id| *id != own);
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn jobs_run_and_the_queue_is_bounded() {
        let pool = Pool::new(2, 3, tracing::Dispatch::none(), Arc::default());
        let (hold, held) = channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let (done, results) = channel();
        let mut taken = 0;
        let submit = |n: usize| {
            let (held, done) = (Arc::clone(&held), done.clone());
            pool.submit(Box::new(move || {
                let _ = held.lock().recv();
                let _ = done.send(n);
            }))
        };
        for n in 0..20 {
            taken += usize::from(submit(n).is_ok());
        }
        // Two run or wait to run, three stand in the queue.
        assert!((3..=5).contains(&taken), "{taken}");
        for _ in 0..taken {
            hold.send(()).unwrap();
        }
        let mut got: Vec<_> = (0..taken).map(|_| results.recv().unwrap()).collect();
        got.sort_unstable();
        assert_eq!(got, (0..taken).collect::<Vec<_>>());
        pool.end();
        assert!(submit(99).is_err());
    }

    #[test]
    fn a_panicking_job_does_not_take_its_thread_along() {
        let pool = Pool::new(1, 8, tracing::Dispatch::none(), Arc::default());
        let (done, results) = channel();
        pool.submit(Box::new(|| panic!("on purpose"))).unwrap();
        pool.submit(Box::new(move || done.send(1).unwrap())).unwrap();
        assert_eq!(results.recv(), Ok(1));
        pool.end();
    }
}
