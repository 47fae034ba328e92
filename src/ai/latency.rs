//! How long answers take: a histogram of times that forgets, and when a second attempt pays.
//!
//! Buckets grow by an eighth, so a quantile is exact to that and a histogram is a small array.
//! Old times count half after each thousand new ones.
#![forbid(unsafe_code)]

/// Buckets: the first holds up to 1 ms, the last what takes longer than about half an hour.
pub const BUCKETS: usize = 128;
/// Upper end of the first bucket, in microseconds.
const FIRST_US: f64 = 1_000.0;
/// How much larger each is than the one before: 8 for each factor of e.
const STEPS_PER_E: f64 = 8.0;
/// So many times are remembered in full.
const REMEMBERED: u32 = 1_000;
/// A quantile of fewer times says nothing.
const TIMES_MIN: u32 = 20;

/// Times, the later ones counting more.
#[derive(Clone, Debug)]
pub struct Times {
    buckets: [u32; BUCKETS],
    count: u32,
}

impl Default for Times {
    fn default() -> Times {
        Times { buckets: [0; BUCKETS], count: 0 }
    }
}

impl Times {
    /// Something took so long.
    pub fn add(&mut self, took_us: u64) {
        if let Some(bucket) = self.buckets.get_mut(bucket_of(took_us)) {
            *bucket += 1;
            self.count += 1;
        }
        if self.count >= 2 * REMEMBERED {
            self.count = 0;
            for bucket in &mut self.buckets {
                *bucket /= 2;
                self.count += *bucket;
            }
        }
    }

    /// The time after which all but a twentieth are over, in microseconds, with two standard errors
    /// of room below: where exactly a twentieth is slow, the slow ones must not lift it. None while
    /// too few are known.
    pub fn p95_us(&self) -> Option<u64> {
        if self.count < TIMES_MIN {
            return None;
        }
        let count = f64::from(self.count);
        let rank = count * 0.95 - 2.0 * (count * 0.95 * 0.05).sqrt();
        let rank = (rank as u32).max(self.count / 2);
        let mut seen = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            seen += bucket;
            if seen >= rank {
                return Some(bucket_end_us(index));
            }
        }
        None
    }
}

/// The bucket of a time.
pub fn bucket_of(took_us: u64) -> usize {
    let steps = ((took_us as f64) / FIRST_US).ln() * STEPS_PER_E;
    if steps <= 0.0 { 0 } else { (steps.ceil() as usize).min(BUCKETS - 1) }
}

/// The longest time of a bucket, in microseconds.
pub fn bucket_end_us(index: usize) -> u64 {
    (FIRST_US * (index as f64 / STEPS_PER_E).exp()).ceil() as u64
}

/// When and how often a second attempt is started beside one that is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HedgePolicy {
    /// Second attempts for each hundred requests; 0: none.
    pub share_percent: u32,
    /// Not before this time, in milliseconds.
    pub after_min_ms: u64,
}

/// The second attempts of one model.
#[derive(Clone, Debug, Default)]
pub struct Hedge {
    times: Times,
    /// The 95th percentile, looked up anew every few times.
    p95_us: Option<u64>,
    news: u32,
    /// What requests have earned, in hundredths of an attempt.
    saved: u64,
}

impl Hedge {
    /// Earned attempts are not kept beyond this: a quiet hour does not pay for a storm.
    const SAVED_MAX: u64 = 1_000;

    /// A first attempt took so long to its first token, or was overtaken after so long.
    pub fn add(&mut self, took_us: u64) {
        self.times.add(took_us);
        self.news += 1;
        if self.p95_us.is_none() || self.news >= 16 {
            self.news = 0;
            self.p95_us = self.times.p95_us();
        }
    }

    /// A request begins: after how many milliseconds without a token a second attempt pays.
    pub fn begin(&mut self, policy: &HedgePolicy) -> Option<u64> {
        self.saved = (self.saved + u64::from(policy.share_percent)).min(Hedge::SAVED_MAX);
        let p95_ms = self.p95_us?.div_ceil(1_000);
        Some(p95_ms.max(policy.after_min_ms).max(1))
    }

    /// The time has come: whether an attempt is left.
    pub fn spend(&mut self) -> bool {
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

    #[test]
    fn quantiles_are_exact_to_an_eighth() {
        let mut times = Times::default();
        for n in 1..=1_000_u64 {
            times.add(n * 1_000);
        }
        let p95 = times.p95_us().unwrap() as f64;
        assert!((900_000.0..1_070_000.0).contains(&p95), "{p95}");
        assert_eq!(Times::default().p95_us(), None);
        times.add(0);
        times.add(u64::MAX);
        assert!(bucket_end_us(bucket_of(u64::MAX)) > 1_800_000_000);
    }

    #[test]
    fn a_slow_twentieth_does_not_lift_the_quantile() {
        for first in 0..20 {
            let mut times = Times::default();
            for n in 0..5_000_u64 {
                times.add(if n % 20 == first { 500_000 } else { 10_000 });
                if n > 200 {
                    assert!(times.p95_us().unwrap() < 12_000, "{first} {n}");
                }
            }
        }
    }

    #[test]
    fn what_changes_is_forgotten() {
        let mut times = Times::default();
        for _ in 0..2_000 {
            times.add(1_000_000);
        }
        for _ in 0..20_000 {
            times.add(2_000);
        }
        assert!(times.p95_us().unwrap() < 3_000);
    }

    #[test]
    fn second_attempts_are_capped_by_a_share_of_requests() {
        let policy = HedgePolicy { share_percent: 5, after_min_ms: 10 };
        let mut hedge = Hedge::default();
        assert_eq!(hedge.begin(&policy), None, "nothing is known yet");
        for _ in 0..100 {
            hedge.add(2_000);
        }
        let mut spent = 0;
        for _ in 0..1_000 {
            assert_eq!(hedge.begin(&policy), Some(10));
            spent += u32::from(hedge.spend());
        }
        assert!((49..=51).contains(&spent), "{spent}");
    }
}
