//! Token buckets, each in one number.
//!
//! A bucket is kept as the time at which it would be full again (the generic cell rate algorithm):
//! a new bucket is 0, nothing has to refill it, and taking a token moves the time by what one token
//! takes to come back.

/// How fast tokens come and how many a bucket holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Tokens in a minute; more than 0.
    per_minute: u32,
    /// Tokens of a full bucket; more than 0.
    capacity: u32,
}

/// A bucket had too few tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exhausted {
    /// Tokens in a minute.
    pub per_minute: u32,
    /// Tokens of a full bucket.
    pub capacity: u32,
    /// Whole seconds until the next try can succeed, at least 1.
    pub retry_after_s: u32,
}

const MINUTE_NS: u64 = 60_000_000_000;

impl Rate {
    /// `None` where there is no limit. A bucket holds at least one token.
    pub fn new(per_minute: u32, capacity: u32) -> Option<Rate> {
        (per_minute > 0).then(|| Rate { per_minute, capacity: capacity.max(1) })
    }

    /// `parts` of `whole` of it; never less than one token.
    pub fn share(self, parts: u32, whole: u32) -> Rate {
        let of = |number: u32| {
            (u64::from(number) * u64::from(parts) / u64::from(whole.max(1))).max(1) as u32
        };
        Rate { per_minute: of(self.per_minute), capacity: of(self.capacity) }
    }

    fn token_ns(self) -> u64 {
        MINUTE_NS / u64::from(self.per_minute)
    }

    /// Takes one token out of a bucket.
    ///
    /// # Errors
    /// When it has none; then the bucket is as before.
    pub fn take(self, full_at_ns: &mut u64, now_ms: u64) -> Result<(), Exhausted> {
        let now_ns = now_ms.saturating_mul(1_000_000);
        let token_ns = self.token_ns();
        let full_at = (*full_at_ns).max(now_ns);
        let slack_ns = token_ns.saturating_mul(u64::from(self.capacity - 1));
        let late_ns = (full_at - now_ns).saturating_sub(slack_ns);
        if late_ns > 0 {
            return Err(self.exhausted(late_ns));
        }
        *full_at_ns = full_at + token_ns;
        Ok(())
    }

    /// Takes tokens that were spent already: the bucket may come to owe some.
    pub fn charge(self, full_at_ns: &mut u64, tokens: u64, now_ms: u64) {
        let now_ns = now_ms.saturating_mul(1_000_000);
        let cost_ns = self.token_ns().saturating_mul(tokens);
        *full_at_ns = (*full_at_ns).max(now_ns).saturating_add(cost_ns);
    }

    /// Whether a bucket holds a token, without taking it.
    ///
    /// # Errors
    /// When it holds none.
    pub fn has_token(self, full_at_ns: u64, now_ms: u64) -> Result<(), Exhausted> {
        let mut copy = full_at_ns;
        self.take(&mut copy, now_ms)
    }

    fn exhausted(self, late_ns: u64) -> Exhausted {
        let seconds = late_ns.div_ceil(1_000_000_000).max(1);
        Exhausted {
            per_minute: self.per_minute,
            capacity: self.capacity,
            retry_after_s: u32::try_from(seconds).unwrap_or(u32::MAX),
        }
    }
}

impl Exhausted {
    /// The fields that tell a client of the limit: those of draft-ietf-httpapi-ratelimit-headers
    /// (from version 08 on), and the three names of earlier versions that clients still read.
    pub fn fields(&self, policy: &'static str) -> Vec<(&'static str, String)> {
        let (quota, wait) = (self.per_minute, self.retry_after_s);
        vec![
            ("RateLimit-Policy", format!("\"{policy}\";q={quota};w=60")),
            ("RateLimit", format!("\"{policy}\";r=0;t={wait}")),
            ("RateLimit-Limit", quota.to_string()),
            ("RateLimit-Remaining", "0".to_owned()),
            ("RateLimit-Reset", wait.to_string()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let rate = Rate::new(60, 3).unwrap();
        let mut bucket = 0;
        let now = 1_000_000;
        for _ in 0..3 {
            assert_eq!(rate.take(&mut bucket, now), Ok(()));
        }
        let refused = rate.take(&mut bucket, now).unwrap_err();
        assert_eq!(refused.retry_after_s, 1);
        assert!(rate.take(&mut bucket, now + 999).is_err());
        assert_eq!(rate.take(&mut bucket, now + 1_000), Ok(()));
        assert!(rate.take(&mut bucket, now + 1_000).is_err());
        // A long rest fills the bucket, not more.
        let later = now + 1_000_000;
        assert_eq!((0..5).filter(|_| rate.take(&mut bucket, later).is_ok()).count(), 3);
    }

    #[test]
    fn odd_numbers_do_no_harm() {
        assert_eq!(Rate::new(0, 10), None);
        let mut bucket = 0;
        let slow = Rate::new(1, 0).unwrap();
        assert_eq!(slow.take(&mut bucket, 5), Ok(()));
        assert_eq!(slow.take(&mut bucket, 5).unwrap_err().retry_after_s, 60);
        let fast = Rate::new(u32::MAX, u32::MAX).unwrap();
        let mut bucket = 0;
        assert_eq!((0..1000).filter(|_| fast.take(&mut bucket, 1).is_ok()).count(), 1000);
        slow.charge(&mut bucket, u64::MAX, u64::MAX);
        assert!(slow.has_token(bucket, 1).is_err());
        // A clock that stands back finds a bucket that is full later: never longer than its size.
        let mut bucket = 0;
        assert_eq!(slow.take(&mut bucket, 1_000_000), Ok(()));
        assert!(slow.take(&mut bucket, 0).is_err());
    }
}
