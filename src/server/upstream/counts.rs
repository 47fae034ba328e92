//! How many connections to providers there are, for others than their worker to see.

use std::sync::Arc;

use crate::base::metrics::Counter;
use crate::server::core::Core;
use crate::server::worker::Worker;

/// A worker's connections to one provider.
pub(in crate::server) struct PoolCounts {
    provider: u64,
    open: Counter,
    idle: Counter,
    waiting: Counter,
}

impl PoolCounts {
    pub(super) fn of(provider: u64) -> Arc<PoolCounts> {
        Arc::new(PoolCounts {
            provider,
            open: Counter::default(),
            idle: Counter::default(),
            waiting: Counter::default(),
        })
    }
}

/// The connections of all workers to one provider, and the requests that wait for one.
#[derive(Clone, Copy, Default)]
pub(in crate::server) struct PoolFigures {
    pub(in crate::server) open: u64,
    pub(in crate::server) idle: u64,
    pub(in crate::server) waiting: u64,
}

impl Core {
    pub(in crate::server) fn pool_figures(&self, provider: u64) -> PoolFigures {
        let mut sum = PoolFigures::default();
        for worker in &self.workers {
            for counts in worker.pools.lock().iter().filter(|it| it.provider == provider) {
                sum.open += counts.open.get();
                sum.idle += counts.idle.get();
                sum.waiting += counts.waiting.get();
            }
        }
        sum
    }
}

impl Worker {
    /// Has others see how many connections there are.
    pub(in crate::server) fn tell_pools(&self) {
        for pool in &self.pools {
            pool.counts.open.set(pool.open as u64);
            pool.counts.idle.set(pool.idle.len() as u64);
            pool.counts.waiting.set(pool.waiting.len() as u64);
        }
    }

    /// Those that were pruned are not told of any more.
    pub(super) fn prune_counts(&self) {
        let is_kept = |counts: &Arc<PoolCounts>| {
            self.pools.iter().any(|pool| Arc::ptr_eq(&pool.counts, counts))
        };
        self.core.workers[self.index].pools.lock().retain(is_kept);
    }
}
