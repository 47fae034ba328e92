//! The blocking pool: a bounded number of threads, started on need, for whatever may block.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::base::limits::POOL_THREAD_IDLE_MS;
use crate::sys::thread::{self, ThreadId};

/// What the pool runs.
pub(super) type Job = Box<dyn FnOnce() + Send>;

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
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
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
    pub(super) fn new(threads_max: usize, queue_max: usize, dispatch: tracing::Dispatch) -> Pool {
        let inner = Inner {
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
            threads_max: AtomicUsize::new(threads_max.max(1)),
            queue_max: AtomicUsize::new(queue_max),
            dispatch,
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
        state.jobs.push_back(job);
        self.inner.changed.notify_one();
        Ok(())
    }

    /// Whether a job would be taken now.
    pub(super) fn has_room(&self) -> bool {
        let state = self.inner.state.lock();
        !state.ended && state.jobs.len() < self.inner.queue_max.load(Relaxed) + state.idle
    }

    /// Threads alive and jobs waiting.
    pub(super) fn load(&self) -> (usize, usize) {
        let state = self.inner.state.lock();
        (state.alive, state.jobs.len())
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
            while let Some(job) = self.next() {
                // The job answers for itself; this only keeps the thread alive.
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
                    tracing::error!("a job on the blocking pool panicked");
                }
            }
        });
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
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
        let pool = Pool::new(2, 3, tracing::Dispatch::none());
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
        let pool = Pool::new(1, 8, tracing::Dispatch::none());
        let (done, results) = channel();
        pool.submit(Box::new(|| panic!("on purpose"))).unwrap();
        pool.submit(Box::new(move || done.send(1).unwrap())).unwrap();
        assert_eq!(results.recv(), Ok(1));
        pool.end();
    }
}
