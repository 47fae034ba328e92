//! Whether, where and when a request is tried again before its client has seen a byte.
//!
//! Another target is tried at once; the same one after a pause that doubles, with jitter, and not
//! before its `Retry-After`. A [`Budget`] bounds the further tries of all requests together, so
//! that a failing provider is not hit harder for failing.
#![forbid(unsafe_code)]

use crate::base::error::Failure;
use crate::base::limits;

/// How often and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Further tries of one request.
    pub attempts: u32,
    /// The pause before the first try on the same target, in milliseconds.
    pub backoff_ms: u64,
    /// Further tries for each hundred requests; 0: none beyond the reserve of the budget.
    pub budget_percent: u32,
}

/// Where a failed request may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// Nowhere: it is the request's own fault, or nothing would change.
    Nowhere,
    /// On other targets only: the same one would take as long, or refuse again.
    Elsewhere,
    /// On other targets, or on the same one after a pause.
    Anywhere,
}

/// Where a request that failed like this may be tried again.
pub fn place(failure: &Failure) -> Where {
    match (failure.status, failure.code.as_deref()) {
        (429, _) => Where::Anywhere,
        (_, Some("upstream_unreachable" | "upstream_cut" | "upstream_garbage")) => Where::Anywhere,
        (_, Some("upstream_failed")) => match failure.upstream_status {
            Some(500..=599 | 408 | 409 | 425) => Where::Anywhere,
            _ => Where::Elsewhere,
        },
        (500.., _) => Where::Elsewhere,
        _ => Where::Nowhere,
    }
}

impl Retry {
    /// The pause before the `nth` pause-worthy try, from 0, in milliseconds: half of it is by
    /// chance. `retry_after_ms` is a floor; none when that is longer than a client should be held.
    pub fn pause_ms(&self, nth: u32, retry_after_ms: Option<u64>, random: u64) -> Option<u64> {
        let floor_ms = retry_after_ms.unwrap_or(0);
        if floor_ms > limits::RETRY_AFTER_WAIT_MS_MAX {
            return None;
        }
        let full_ms = self.backoff_ms.saturating_mul(1 << nth.min(16)).min(limits::BACKOFF_MS_MAX);
        let half_ms = full_ms / 2;
        Some((half_ms + random % (full_ms - half_ms + 1)).max(floor_ms))
    }
}

/// Bounds the further tries of all requests: each request earns a part of one, and a reserve fills
/// with time.
#[derive(Debug)]
pub struct Budget {
    /// In hundredths of a try.
    saved: u64,
    filled_ms: u64,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { saved: Budget::SAVED_MAX, filled_ms: 0 }
    }
}

impl Budget {
    const SAVED_MAX: u64 = limits::RETRY_RESERVE * 100;

    /// A request has come.
    pub fn earn(&mut self, retry: &Retry) {
        self.saved = (self.saved + u64::from(retry.budget_percent)).min(Budget::SAVED_MAX);
    }

    /// Whether one further try is left.
    pub fn spend(&mut self, now_ms: u64) -> bool {
        let passed_ms = now_ms.saturating_sub(self.filled_ms);
        self.filled_ms = now_ms;
        let filled = passed_ms.saturating_mul(limits::RETRIES_PER_SECOND) / 10;
        self.saved = self.saved.saturating_add(filled).min(Budget::SAVED_MAX);
        match self.saved.checked_sub(100) {
            Some(left) => {
                self.saved = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ai::provider::decode_failure;

    #[test]
    fn failures_are_tried_again_where_that_can_help() {
        let failed = |status| decode_failure(status, None, b"{}");
        for (failure, want) in [
            (failed(400), Where::Nowhere),
            (failed(404), Where::Nowhere),
            (failed(422), Where::Nowhere),
            (failed(429), Where::Anywhere),
            (failed(500), Where::Anywhere),
            (failed(503), Where::Anywhere),
            (failed(529), Where::Anywhere),
            (failed(402), Where::Elsewhere),
            (failed(401), Where::Elsewhere),
            (Failure::new(502, "x").code("upstream_unreachable"), Where::Anywhere),
            (Failure::new(502, "x").code("upstream_cut"), Where::Anywhere),
            (Failure::new(502, "x").code("upstream_garbage"), Where::Anywhere),
            (Failure::new(502, "x").code("upstream_too_large"), Where::Elsewhere),
            (Failure::new(504, "x").code("upstream_timeout"), Where::Elsewhere),
            (Failure::new(503, "x").code("overloaded"), Where::Elsewhere),
        ] {
            assert_eq!(place(&failure), want, "{failure:?}");
        }
    }

    #[test]
    fn pauses_double_and_a_retry_after_is_their_floor() {
        let retry = Retry { attempts: 9, backoff_ms: 100, budget_percent: 20 };
        for (nth, low, high) in [(0, 50, 100), (1, 100, 200), (2, 200, 400)] {
            for random in 0..1000 {
                let pause_ms = retry.pause_ms(nth, None, random).unwrap();
                assert!((low..=high).contains(&pause_ms), "{nth} {pause_ms}");
            }
        }
        assert_eq!(retry.pause_ms(0, Some(1000), 5), Some(1000));
        assert_eq!(retry.pause_ms(0, Some(limits::RETRY_AFTER_WAIT_MS_MAX + 1), 5), None);
        assert!(retry.pause_ms(60, None, u64::MAX).unwrap() <= limits::BACKOFF_MS_MAX);
        assert_eq!(Retry { backoff_ms: 0, ..retry }.pause_ms(3, None, 77), Some(0));
    }

    #[test]
    fn the_budget_follows_the_requests_and_fills_with_time() {
        let retry = Retry { attempts: 2, backoff_ms: 1, budget_percent: 20 };
        let mut budget = Budget::default();
        let reserve = (0..).take_while(|_| budget.spend(0)).count() as u64;
        assert_eq!(reserve, limits::RETRY_RESERVE);
        for _ in 0..50 {
            budget.earn(&retry);
        }
        assert_eq!((0..).take_while(|_| budget.spend(0)).count(), 10);
        let second = (0..).take_while(|_| budget.spend(1000)).count() as u64;
        assert_eq!(second, limits::RETRIES_PER_SECOND);
    }
}
