//! How many workers take connections: all of them, or fewer while the process may use fewer
//! processors than it began with (a control group or an affinity that was narrowed).
//!
//! Workers that share a processor only interrupt each other. One that is parked takes no further
//! connection and serves those it has. Nothing else parks a worker: one without work costs nothing.
#![forbid(unsafe_code)]

use super::load::{LEVER_OFF, Moved};

/// How many workers take connections.
#[derive(Debug)]
pub struct WorkerLimit {
    workers: usize,
    awake: usize,
    /// Processors at the first look.
    usual: Option<u32>,
}

impl WorkerLimit {
    /// All of so many.
    pub fn new(workers: usize) -> WorkerLimit {
        WorkerLimit { workers, awake: workers, usual: None }
    }

    /// How many take connections; the others are parked.
    pub fn awake(&self) -> usize {
        self.awake
    }

    /// The process may use so many processors now. As many of each ten workers are awake as there
    /// are of each ten processors that there were, and one at least.
    pub fn measured(&mut self, processors: u32) -> Option<Moved> {
        let usual = *self.usual.get_or_insert(processors.max(1));
        let share = (self.workers * processors as usize).div_ceil(usual as usize);
        let reason = match processors < usual {
            true => "the process may use fewer processors",
            false => "the process may use its processors again",
        };
        self.set(share.clamp(1, self.workers.max(1)), reason)
    }

    /// Wakes all of them: the lever was switched off.
    pub fn lift(&mut self) -> Option<Moved> {
        self.set(self.workers, LEVER_OFF)
    }

    fn set(&mut self, awake: usize, reason: &'static str) -> Option<Moved> {
        let from = std::mem::replace(&mut self.awake, awake);
        let wide = |count: usize| Some(count as u64);
        (from != awake).then(|| Moved { from: wide(from), to: wide(awake), reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wrong: workers are parked without cause, all of them are, or they never wake.
    #[test]
    fn workers_follow_the_processors_there_are() {
        let mut limit = WorkerLimit::new(8);
        assert_eq!(limit.measured(8), None);
        let mut awake = |processors| {
            limit.measured(processors);
            limit.awake()
        };
        assert_eq!([4, 3, 1, 0, 5, 8, 16].map(&mut awake), [4, 3, 1, 1, 5, 8, 8]);
        // Somebody wants four workers on each processor, or half a worker: it stays so.
        let mut many = WorkerLimit::new(8);
        let mut few = WorkerLimit::new(2);
        assert_eq!((many.measured(2), few.measured(4)), (None, None));
        assert_eq!(many.measured(1).and_then(|moved| moved.to), Some(4));
        assert_eq!((few.measured(2).and_then(|moved| moved.to), few.awake()), (Some(1), 1));
        let lifted = many.lift().unwrap();
        assert_eq!((lifted.from, lifted.to, many.lift()), (Some(4), Some(8), None));
    }
}
