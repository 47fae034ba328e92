//! What a key may use in a minute: requests, tokens.
//!
//! A bucket holds one minute's worth and fills evenly; all of it may be used at once. Its whole
//! state is one number, the time at which it will be full again, so that workers share it without a
//! lock (the generic cell rate algorithm).
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A minute in microseconds.
const MINUTE_US: u64 = 60_000_000;

/// Why nothing was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Short {
    /// In so many microseconds there will be enough.
    Wait(u64),
    /// There will never be: it is more than a minute's worth.
    Never,
}

/// One limit. Relaxed throughout: the number stands alone.
#[derive(Debug)]
pub struct Bucket {
    per_minute: u64,
    full_at_us: AtomicU64,
}

impl Bucket {
    /// Full. `per_minute` is at least 1.
    pub fn new(per_minute: u64) -> Bucket {
        Bucket { per_minute: per_minute.max(1), full_at_us: AtomicU64::new(0) }
    }

    /// What it holds at most.
    pub fn per_minute(&self) -> u64 {
        self.per_minute
    }

    fn cost_us(&self, units: u64) -> u64 {
        let cost_us = match units.checked_mul(MINUTE_US) {
            Some(product) => product / self.per_minute,
            None => {
                let product = u128::from(units) * u128::from(MINUTE_US);
                u64::try_from(product / u128::from(self.per_minute)).unwrap_or(u64::MAX)
            }
        };
        cost_us.min(u64::MAX / 4)
    }

    /// Takes so many units, or nothing.
    pub fn take(&self, units: u64, now_us: u64) -> Result<(), Short> {
        if units > self.per_minute {
            return Err(Short::Never);
        }
        let cost_us = self.cost_us(units);
        let mut full_at_us = self.full_at_us.load(Relaxed);
        loop {
            let next_us = full_at_us.max(now_us).saturating_add(cost_us);
            let limit_us = now_us.saturating_add(MINUTE_US);
            if next_us > limit_us {
                return Err(Short::Wait(next_us - limit_us));
            }
            match self.full_at_us.compare_exchange_weak(full_at_us, next_us, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(seen) => full_at_us = seen,
            }
        }
    }

    /// Corrects what was taken to what was used. More than it holds leaves it in debt: later
    /// requests wait for it.
    pub fn settle(&self, taken: u64, used: u64, now_us: u64) {
        let change = |full_at_us: u64| {
            if used >= taken {
                let more_us = self.cost_us(used - taken);
                Some(full_at_us.max(now_us).saturating_add(more_us).min(u64::MAX / 2))
            } else {
                Some(full_at_us.saturating_sub(self.cost_us(taken - used)))
            }
        };
        // It cannot fail: the closure always has an answer.
        let _ = self.full_at_us.fetch_update(Relaxed, Relaxed, change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minutes_worth_goes_at_once_and_then_evenly() {
        let bucket = Bucket::new(3);
        let now = 1_000_000;
        for _ in 0..3 {
            assert_eq!(bucket.take(1, now), Ok(()));
        }
        assert_eq!(bucket.take(1, now), Err(Short::Wait(20_000_000)));
        assert_eq!(bucket.take(1, now + 19_999_999), Err(Short::Wait(1)));
        assert_eq!(bucket.take(1, now + 20_000_000), Ok(()));
        assert_eq!(bucket.take(3, now + 80_000_000), Ok(()));
        assert_eq!(bucket.take(4, now + 900_000_000), Err(Short::Never));
    }

    #[test]
    fn what_was_used_replaces_what_was_taken() {
        let bucket = Bucket::new(60);
        assert_eq!(bucket.take(60, 0), Ok(()));
        bucket.settle(60, 10, 0);
        assert_eq!(bucket.take(50, 0), Ok(()));
        bucket.settle(50, 170, 0);
        assert_eq!(bucket.take(1, 0), Err(Short::Wait(121_000_000)), "a debt is waited for");
        bucket.settle(0, u64::MAX, 0);
        assert!(matches!(bucket.take(1, 5), Err(Short::Wait(_))));
    }

    #[test]
    fn threads_never_get_more_together() {
        let bucket = Bucket::new(1_000);
        let taken = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while bucket.take(1, 7).is_ok() {
                        taken.fetch_add(1, Relaxed);
                    }
                });
            }
        });
        assert_eq!(taken.load(Relaxed), 1_000);
    }
}
