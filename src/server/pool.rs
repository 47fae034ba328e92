//! The blocking pool: a bounded number of threads, started on need, for whatever may block. Within
//! its bounds the number follows the load.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::tuning::Tuning;
use crate::base::limits::POOL_THREAD_IDLE_MS;
use crate::optimizer::load::{Moved, QueueLimit};
use crate::optimizer::threads::ThreadLimit;
use crate::sys::clock;
use crate::sys::thread::{self, ThreadId};

/// What the pool may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Bounds {
    /// Threads as configured.
    pub(super) threads: usize,
    /// Threads when the load asks for more.
    pub(super) threads_most: usize,
    /// Jobs that wait.
    pub(super) waiting: usize,
    /// How many requests may wait follows the load.
    pub(super) limits_waiting: bool,
}

/// What the pool runs.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// A job that waits.
struct Waiting {
    job: Job,
    /// When a request came to wait, monotonic microseconds; `None`: no request waits on it.
    since_us: Option<u64>,
    /// No thread was free: it waits for one, not only until one has woken.
    is_queued: bool,
}

/// A bounded pool of threads with a bounded queue.
pub(super) struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    changed: Condvar,
    /// Relaxed, both: bounds that may change between two jobs. The first is written with the state
    /// locked.
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
    /// How many threads there may be: follows it too.
    thread_limit: ThreadLimit,
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
    pub(super) fn new(bounds: Bounds, dispatch: tracing::Dispatch, tuning: Arc<Tuning>) -> Pool {
        let state = State {
            jobs: VecDeque::new(),
            limit: QueueLimit::new(bounds.waiting),
            thread_limit: ThreadLimit::new(bounds.threads, bounds.threads_most),
            idle: 0,
            threads: Vec::new(),
            ids: Vec::new(),
            alive: 0,
            ended: false,
        };
        let inner = Inner {
            state: Mutex::new(state),
            changed: Condvar::new(),
            threads_max: AtomicUsize::new(bounds.threads.max(1)),
            queue_max: AtomicUsize::new(bounds.waiting),
            dispatch,
            tuning,
        };
        Pool { inner: Arc::new(inner) }
    }

    /// Other bounds. Threads beyond them end when their jobs have returned.
    pub(super) fn resize(&self, bounds: Bounds) {
        let mut state = self.inner.state.lock();
        self.inner.queue_max.store(bounds.waiting, Relaxed);
        let lifted = match bounds.limits_waiting {
            true => None,
            false => state.limit.lift(bounds.waiting),
        };
        let moved = state.thread_limit.bound(bounds.threads, bounds.threads_most);
        self.inner.take_threads(&state);
        drop(state);
        self.inner.tell_waiting(lifted);
        self.inner.tell_threads(moved);
    }

    /// Has fewer threads when they are not needed any more. True while there may be more than are
    /// configured.
    pub(super) fn look(&self, now_ms: u64) -> bool {
        let mut state = self.inner.state.lock();
        let busy = state.alive.saturating_sub(state.idle);
        let moved = state.thread_limit.look(busy, now_ms);
        self.inner.take_threads(&state);
        let is_raised = state.thread_limit.is_raised();
        drop(state);
        self.inner.tell_threads(moved);
        is_raised
    }

    /// How many threads there may be now.
    pub(super) fn threads_max(&self) -> usize {
        self.inner.threads_max.load(Relaxed)
    }

    /// Queues a job; a thread is started when none is idle and there may be more.
    pub(super) fn submit(&self, job: Job) -> Result<(), Full> {
        self.queue(Waiting { job, since_us: None, is_queued: false })
    }

    /// The same for a request, whose wait counts.
    pub(super) fn submit_request(&self, job: Job) -> Result<(), Full> {
        let since_us = Some(clock::monotonic_us());
        self.queue(Waiting { job, since_us, is_queued: false })
    }

    fn queue(&self, mut waiting: Waiting) -> Result<(), Full> {
        let mut state = self.inner.state.lock();
        if state.ended || state.jobs.len() >= self.inner.queue_max.load(Relaxed) + state.idle {
            return Err(Full);
        }
        let all_are_busy = state.idle <= state.jobs.len();
        let may_start = state.alive < self.inner.threads_max.load(Relaxed);
        waiting.is_queued = all_are_busy && !may_start;
        if all_are_busy && may_start {
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
        let admits =
            state.alive < self.inner.threads_max.load(Relaxed) || state.limit.admits(waiting);
        if !admits {
            state.thread_limit.refused();
        }
        admits
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
            let mut ran = None;
            while let Some(Waiting { job, since_us, is_queued }) = self.next(ran.take()) {
                let began_us = since_us.map(|_| clock::monotonic_us());
                if let (Some(since_us), Some(began_us)) = (since_us, began_us) {
                    // How long a free thread takes to wake says nothing about a queue.
                    let waited_us = if is_queued { began_us.saturating_sub(since_us) } else { 0 };
                    self.note_wait(waited_us, began_us / 1_000);
                }
                // The job answers for itself; this only keeps the thread alive.
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
                    tracing::error!("a job on the blocking pool panicked");
                }
                ran = began_us.map(|began_us| (began_us, clock::monotonic_us()));
            }
        });
    }

    fn note_wait(&self, waited_us: u64, now_ms: u64) {
        let (floor, ceiling) = (self.threads_max.load(Relaxed), self.queue_max.load(Relaxed));
        let mut state = self.state.lock();
        let busy = state.alive.saturating_sub(state.idle);
        state.thread_limit.waited(waited_us, busy);
        let moved = state.limit.waited(waited_us, now_ms, floor, ceiling);
        drop(state);
        self.tell_waiting(moved);
    }

    /// Has the threads end that there may not be any more.
    fn take_threads(&self, state: &State) {
        let threads = state.thread_limit.get();
        if self.threads_max.swap(threads, Relaxed) > threads {
            self.changed.notify_all();
        }
    }

    fn tell_waiting(&self, moved: Option<Moved>) {
        if let Some(moved) = moved {
            self.tuning.moved("waiting blocking requests", moved);
        }
    }

    fn tell_threads(&self, moved: Option<Moved>) {
        if let Some(moved) = moved {
            self.tuning.decided("threads of the blocking pool", moved);
        }
    }

    /// The next job; `None`: the thread ends. `ran` is when the last request began and ended.
    fn next(&self, ran: Option<(u64, u64)>) -> Option<Waiting> {
        let mut state = self.state.lock();
        if let Some((began_us, ended_us)) = ran {
            state.limit.ran(ended_us.saturating_sub(began_us));
            let mean_us = state.limit.run_us();
            let moved = state.thread_limit.done(mean_us, ended_us / 1_000);
            if moved.is_some() {
                self.take_threads(&state);
                MutexGuard::unlocked(&mut state, || self.tell_threads(moved));
            }
        }
        loop {
            // Somebody is left for every job: there may always be one thread.
            if state.alive > self.threads_max.load(Relaxed) {
                self.leave(&mut state);
                return None;
            }
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
                self.leave(&mut state);
                return None;
            }
        }
    }
}

impl Inner {
    /// The thread ends. Who has woken it for a job finds another one.
    fn leave(&self, state: &mut State) {
        state.alive -= 1;
        let own = thread::current();
        state.ids.retain(|id| *id != own);
        if !state.jobs.is_empty() {
            self.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    fn bounds(threads: usize, threads_most: usize, waiting: usize) -> Bounds {
        Bounds { threads, threads_most, waiting, limits_waiting: true }
    }

    fn until(what: &str, is_so: impl Fn() -> bool) {
        let began = std::time::Instant::now();
        while !is_so() {
            assert!(began.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
            thread_rest();
        }
    }

    fn thread_rest() {
        std::thread::sleep(Duration::from_millis(5));
    }

    /// Wrong: waiting requests do not get more threads, there are more than the bound, a job is
    /// lost when threads end, or they stay although the configuration takes them back.
    #[test]
    fn the_pool_grows_while_requests_wait_and_shrinks_again() {
        let tuning = Arc::<Tuning>::default();
        let pool = Pool::new(bounds(2, 8, 1024), tracing::Dispatch::none(), Arc::clone(&tuning));
        let (done, results) = channel();
        let mut asked = 0;
        let began = std::time::Instant::now();
        let mut ask = |upto: usize| {
            while pool.load().1 < upto {
                let done = done.clone();
                let job = move || {
                    std::thread::sleep(Duration::from_millis(10));
                    done.send(()).unwrap();
                };
                pool.submit_request(Box::new(job)).unwrap();
                asked += 1;
            }
            thread_rest();
        };
        // A trial that a busy machine spoils takes threads away again.
        while pool.load().0 < 8 {
            assert!(began.elapsed() < Duration::from_secs(60), "{:?}", tuning.lines());
            ask(40);
            assert!(pool.load().0 <= 8);
        }
        // Back to what is configured, with jobs waiting: all of them are done by who is left.
        pool.resize(bounds(2, 2, 1024));
        until("the others have ended", || pool.load().0 == 2);
        for n in 0..asked {
            assert!(results.recv_timeout(Duration::from_secs(20)).is_ok(), "{n} of {asked}");
        }
        let lines = tuning.lines();
        for line in [
            "limit: threads of the blocking pool: 2",
            "decision: the limit of threads of the blocking pool goes from 2 to 3: requests wait for a thread",
            " to 2: the lever is off, or its bounds are others",
        ] {
            assert!(lines.iter().any(|it| it.ends_with(line)), "{line}: {lines:?}");
        }
        pool.end();
    }

    #[test]
    fn jobs_run_and_the_queue_is_bounded() {
        let pool = Pool::new(bounds(2, 2, 3), tracing::Dispatch::none(), Arc::default());
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

    /// Wrong: on a busy machine, where a thread takes its time to wake, a request that found it free
    /// counts as evidence of a queue.
    #[test]
    fn a_free_thread_that_wakes_late_is_no_queue() {
        let tuning = Arc::<Tuning>::default();
        let pool = Pool::new(bounds(2, 8, 64), tracing::Dispatch::none(), Arc::clone(&tuning));
        let (done, results) = channel();
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_millis(400) {
            let done = done.clone();
            let job: Job = Box::new(move || done.send(()).unwrap());
            let since_us = Some(clock::monotonic_us() - 100_000);
            assert!(pool.queue(Waiting { job, since_us, is_queued: false }).is_ok());
            results.recv_timeout(Duration::from_secs(20)).unwrap();
            until("the thread is free", || pool.busy_percent() == 0);
        }
        assert!(tuning.lines().is_empty(), "{:?}", tuning.lines());
        assert_eq!((pool.request_limit(), pool.threads_max()), (64, 2));
        pool.end();
    }

    #[test]
    fn a_panicking_job_does_not_take_its_thread_along() {
        let pool = Pool::new(bounds(1, 1, 8), tracing::Dispatch::none(), Arc::default());
        let (done, results) = channel();
        pool.submit(Box::new(|| panic!("on purpose"))).unwrap();
        pool.submit(Box::new(move || done.send(1).unwrap())).unwrap();
        assert_eq!(results.recv(), Ok(1));
        pool.end();
    }
}
