//! How many threads the blocking pool may have: more while requests wait for one, as long as more
//! get done by it; fewer again when they are not needed.
//!
//! A handler that waits for something else gains by more threads; one that computes does not, and
//! no figure of ours tells them apart. So each step up is an experiment that must pay. No I/O, no
//! clock, no lock: times come in.
#![forbid(unsafe_code)]

use super::load::Moved;

/// Between two decisions, if enough requests were done in the meantime.
const WINDOW_MS: u64 = 1_000;
const DONE_MIN: u32 = 10;
/// A wait below this is none.
const WAIT_US_MIN: u64 = 2_000;
/// After an experiment that did not pay.
const REST_MS: u64 = 60_000;
/// Windows without need before there are fewer.
const QUIET_WINDOWS: u32 = 3;
/// No more than so many times the configured number, and never more than this many.
const TIMES_MAX: usize = 4;
const THREADS_MAX: usize = 512;

/// The most that a pool may grow to.
pub fn most(threads: usize) -> usize {
    (threads * TIMES_MAX).min(THREADS_MAX).max(threads)
}

/// How many threads there may be.
#[derive(Debug)]
pub struct ThreadLimit {
    threads: usize,
    /// The bounds.
    least: usize,
    most: usize,
    window_ms: u64,
    done: u32,
    /// Shortest wait in this window; none yet: the highest number.
    wait_min_us: u64,
    was_refused: bool,
    /// Most threads that were busy at once in this window.
    busy_max: usize,
    /// Requests a second before the experiment that runs, the threads then, and whether a window of
    /// it is over: in the first the queue settles.
    trial: Option<(f64, usize, bool)>,
    rest_until_ms: u64,
    quiet: u32,
}

impl ThreadLimit {
    /// Between these bounds, beginning with the fewest.
    pub fn new(least: usize, most: usize) -> ThreadLimit {
        let least = least.max(1);
        ThreadLimit {
            threads: least,
            least,
            most: most.max(least),
            window_ms: 0,
            done: 0,
            wait_min_us: u64::MAX,
            was_refused: false,
            busy_max: 0,
            trial: None,
            rest_until_ms: 0,
            quiet: 0,
        }
    }

    /// The number as it is.
    pub fn get(&self) -> usize {
        self.threads
    }

    /// Whether there are more than configured.
    pub fn is_raised(&self) -> bool {
        self.threads > self.least
    }

    /// Other bounds. What was moved stays, within them.
    pub fn bound(&mut self, least: usize, most: usize) -> Option<Moved> {
        let least = least.max(1);
        // A number that was only ever configured follows the configuration without a word.
        let was_raised = self.is_raised();
        (self.least, self.most) = (least, most.max(least));
        self.trial = None;
        let to = if was_raised { self.threads.clamp(least, self.most) } else { least };
        let moved = self.set(to, "the lever is off, or its bounds are others");
        moved.filter(|_| was_raised)
    }

    /// A request was refused because too many wait.
    pub fn refused(&mut self) {
        self.was_refused = true;
    }

    /// A request has waited for a thread; so many threads are busy, with the one that takes it.
    pub fn waited(&mut self, waited_us: u64, busy: usize) {
        self.wait_min_us = self.wait_min_us.min(waited_us);
        self.busy_max = self.busy_max.max(busy);
    }

    /// A request is done. `run_us` is the mean time that they take.
    pub fn done(&mut self, run_us: u64, now_ms: u64) -> Option<Moved> {
        self.done += 1;
        let elapsed_ms = now_ms.saturating_sub(self.window_ms);
        if elapsed_ms < WINDOW_MS || self.done < DONE_MIN {
            return None;
        }
        self.end_window(run_us, elapsed_ms, now_ms)
    }

    /// Takes a look, for a pool in which nothing may happen any more; so many threads are busy.
    pub fn look(&mut self, busy: usize, now_ms: u64) -> Option<Moved> {
        if !self.is_raised() || now_ms.saturating_sub(self.window_ms) < 2 * WINDOW_MS {
            return None;
        }
        self.busy_max = self.busy_max.max(busy);
        self.trial = None;
        (self.was_refused, self.wait_min_us) = (false, u64::MAX);
        self.end_window(0, u64::MAX, now_ms)
    }

    fn end_window(&mut self, run_us: u64, elapsed_ms: u64, now_ms: u64) -> Option<Moved> {
        self.window_ms = now_ms;
        let done = std::mem::take(&mut self.done);
        let busy = std::mem::take(&mut self.busy_max);
        let wait_us = std::mem::replace(&mut self.wait_min_us, u64::MAX);
        let is_waited_for = wait_us != u64::MAX && wait_us >= (run_us / 2).max(WAIT_US_MIN);
        let is_needed = std::mem::take(&mut self.was_refused) || is_waited_for;
        // After a pause the window says nothing about a second.
        if elapsed_ms > 10 * WINDOW_MS && done > 0 {
            self.trial = None;
            return None;
        }
        let rate = f64::from(done) * 1_000.0 / elapsed_ms as f64;
        if let Some((before, threads, has_settled)) = self.trial.take() {
            if !has_settled {
                self.trial = Some((before, threads, true));
                return None;
            }
            // Half of what the threads are more by must be seen in what gets done.
            let gain = (self.threads - threads) as f64 / threads as f64 / 2.0;
            if is_needed && rate < before * (1.0 + gain) {
                self.rest_until_ms = now_ms + REST_MS;
                return self.set(threads, "more threads did not get more done");
            }
        }
        if is_needed {
            self.quiet = 0;
            let more = (self.threads + (self.threads / 2).max(1)).min(self.most);
            if more == self.threads || now_ms < self.rest_until_ms {
                return None;
            }
            self.trial = Some((rate, self.threads, false));
            return self.set(more, "requests wait for a thread");
        }
        self.quiet += 1;
        let fewer = (self.threads - (self.threads / 8).max(1).min(self.threads)).max(self.least);
        if self.quiet < QUIET_WINDOWS || busy > fewer {
            return None;
        }
        self.set(fewer, "no request waits for a thread")
    }

    fn set(&mut self, threads: usize, reason: &'static str) -> Option<Moved> {
        let from = std::mem::replace(&mut self.threads, threads);
        let wide = |threads: usize| Some(threads as u64);
        (from != threads).then(|| Moved { from: wide(from), to: wide(threads), reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pool whose requests take `run_us` on a thread, or of the machine's time when they compute
    /// on `processors`; so many clients ask again at once. Returns the moves, and the threads.
    fn pool(
        limit: &mut ThreadLimit,
        now_ms: &mut u64,
        clients: usize,
        run_us: u64,
        processors: Option<usize>,
        seconds: u64,
    ) -> Vec<(u64, &'static str)> {
        let mut moves = Vec::new();
        let end_ms = *now_ms + seconds * 1_000;
        while *now_ms < end_ms {
            let busy = limit.get().min(clients);
            let together = processors.map_or(busy, |processors| busy.min(processors)).max(1);
            let took_us = run_us * busy as u64 / together as u64;
            // One round of all the threads.
            *now_ms += took_us / 1_000;
            let waited_us = if clients > busy { took_us } else { 0 };
            for _ in 0..busy {
                limit.waited(waited_us, busy);
                let moved = limit.done(took_us, *now_ms);
                moves.extend(moved.map(|moved| (moved.to.unwrap(), moved.reason)));
            }
        }
        moves
    }

    /// Wrong: requests wait although threads that could do them are not started; there are more of
    /// them than the bound; or they stay when the crowd has gone.
    #[test]
    fn waiting_handlers_get_threads_and_lose_them_again() {
        let (mut limit, mut now_ms) = (ThreadLimit::new(8, most(8)), 100_000);
        let moves = pool(&mut limit, &mut now_ms, 100, 50_000, None, 20);
        let reason = "requests wait for a thread";
        assert_eq!(moves, [(12, reason), (18, reason), (27, reason), (32, reason)]);
        // A crowd that just fits keeps what it needs.
        pool(&mut limit, &mut now_ms, 20, 50_000, None, 60);
        assert!((20..=23).contains(&limit.get()), "{limit:?}");
        pool(&mut limit, &mut now_ms, 1, 50_000, None, 60);
        assert_eq!(limit.get(), 8);
    }

    /// Wrong: threads are added that only fight for the processors.
    #[test]
    fn handlers_that_compute_keep_their_threads() {
        let (mut limit, mut now_ms) = (ThreadLimit::new(8, most(8)), 100_000);
        let moves = pool(&mut limit, &mut now_ms, 100, 5_000, Some(2), 55);
        let did_not_pay = "more threads did not get more done";
        assert_eq!(moves, [(12, "requests wait for a thread"), (8, did_not_pay)]);
    }

    /// Wrong: threads that nobody asks for any more stay for ever, or those at work are taken.
    #[test]
    fn a_pool_that_falls_silent_shrinks_by_looks() {
        let (mut limit, mut now_ms) = (ThreadLimit::new(2, most(2)), 100_000);
        pool(&mut limit, &mut now_ms, 100, 50_000, None, 20);
        assert_eq!(limit.get(), 8);
        for _ in 0..60 {
            now_ms += 1_000;
            limit.look(8, now_ms);
        }
        assert_eq!(limit.get(), 8, "all are busy");
        for _ in 0..60 {
            now_ms += 1_000;
            limit.look(0, now_ms);
        }
        assert_eq!(limit.get(), 2);
        assert_eq!(limit.look(0, now_ms + 60_000), None);
    }

    #[test]
    fn other_bounds_are_taken_up_at_once() {
        let (mut limit, mut now_ms) = (ThreadLimit::new(2, most(2)), 100_000);
        assert_eq!(limit.bound(4, 16), None, "the configuration's own");
        assert_eq!(limit.get(), 4);
        pool(&mut limit, &mut now_ms, 100, 50_000, None, 20);
        assert_eq!(limit.get(), 16);
        let moved = limit.bound(3, 3).unwrap();
        assert_eq!((moved.from, moved.to, limit.get()), (Some(16), Some(3), 3));
        pool(&mut limit, &mut now_ms, 100, 50_000, None, 20);
        assert_eq!((limit.get(), limit.is_raised()), (3, false), "it is fixed");
        assert_eq!((most(1), most(200), most(1_000)), (4, 512, 1_000));
    }
}
