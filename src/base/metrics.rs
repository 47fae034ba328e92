//! Counters and histograms with one writer each: a worker writes its own with plain loads and
//! stores, whoever reads sums those of all workers. So counting costs no locked instruction and
//! writes no cache line that another worker reads on its way.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one thread changes and any thread reads.
#[derive(Default, Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; on the writer's thread only, wrapping.
    pub fn add(&self, amount: u64) {
        // Relaxed: each counter stands alone, and only its worker writes it.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// Takes away; on the writer's thread only, wrapping.
    pub fn sub(&self, amount: u64) {
        self.add(amount.wrapping_neg());
    }

    /// The number as it is now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets; on the writer's thread only.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// Upper bounds of the buckets, in microseconds: from what a built-in answer takes to what a long
/// generation does. A last bucket has no bound.
pub const BOUNDS_US: [u64; 20] = [
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
];

/// How long something took, how often.
#[derive(Default, Debug)]
pub struct Histogram {
    /// Not cumulative; the last one is for what exceeds every bound.
    counts: [Counter; BOUNDS_US.len() + 1],
    sum_us: Counter,
}

impl Histogram {
    /// Counts one duration, in microseconds; on the writer's thread only.
    pub fn record(&self, elapsed_us: u64) {
        let bucket = BOUNDS_US.partition_point(|bound| *bound < elapsed_us);
        // `partition_point` is at most the length of the bounds, one less than that of the counts.
        if let Some(count) = self.counts.get(bucket) {
            count.add(1);
        }
        self.sum_us.add(elapsed_us);
    }
}

/// The sum of several histograms.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Distribution {
    /// How many took at most as long as the bound of the same index in [`BOUNDS_US`]; the last one
    /// counts all.
    pub cumulative: [u64; BOUNDS_US.len() + 1],
    /// All durations together, in microseconds.
    pub sum_us: u64,
}

impl Distribution {
    /// Sums histograms of several workers.
    pub fn of<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Distribution {
        let mut sum = Distribution::default();
        for histogram in histograms {
            for (total, count) in sum.cumulative.iter_mut().zip(&histogram.counts) {
                *total += count.get();
            }
            sum.sum_us = sum.sum_us.wrapping_add(histogram.sum_us.get());
        }
        let mut before = 0;
        for count in &mut sum.cumulative {
            before += *count;
            *count = before;
        }
        sum
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.cumulative.last().copied().unwrap_or(0)
    }

    /// The duration that this share (0 to 1) of all stayed within, in microseconds, as the bound
    /// of its bucket, between whose ends it is interpolated; 0 when there were none.
    pub fn quantile_us(&self, share: f64) -> u64 {
        let rank = share.clamp(0.0, 1.0) * self.count() as f64;
        let at = self.cumulative.partition_point(|count| (*count as f64) < rank);
        let (Some(&upper), lower) = (
            BOUNDS_US.get(at).or(BOUNDS_US.last()),
            at.checked_sub(1).and_then(|at| BOUNDS_US.get(at)).copied().unwrap_or(0),
        ) else {
            return 0;
        };
        let before = at.checked_sub(1).and_then(|at| self.cumulative.get(at)).copied().unwrap_or(0);
        let within = self.cumulative.get(at).copied().unwrap_or(0).saturating_sub(before);
        if within == 0 {
            return 0;
        }
        let part = (rank - before as f64) / within as f64;
        lower + (upper.saturating_sub(lower) as f64 * part) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for us in [0, 100, 101, 1_000, 300_000_000, 300_000_001] {
            histogram.record(us);
        }
        let sum = Distribution::of([&histogram, &histogram].into_iter());
        assert_eq!(sum.count(), 12);
        assert_eq!(sum.sum_us, 2 * (100 + 101 + 1_000 + 300_000_000 + 300_000_001));
        let upto = |bound: u64| {
            let at = BOUNDS_US.iter().position(|it| *it == bound).unwrap();
            sum.cumulative[at]
        };
        assert_eq!((upto(100), upto(250), upto(500), upto(1_000)), (4, 6, 6, 8));
        assert_eq!(upto(300_000_000), 10);
    }

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let histogram = Histogram::default();
        assert_eq!(Distribution::of([&histogram].into_iter()).quantile_us(0.5), 0);
        for _ in 0..99 {
            histogram.record(900);
        }
        histogram.record(40_000);
        let sum = Distribution::of([&histogram].into_iter());
        let (median, last) = (sum.quantile_us(0.5), sum.quantile_us(1.0));
        assert!((500..=1_000).contains(&median), "{median}");
        assert_eq!(last, 50_000);
        assert!(sum.quantile_us(0.99) <= 1_000);
    }

    #[test]
    fn the_bounds_ascend() {
        assert!(BOUNDS_US.is_sorted_by(|a, b| a < b));
    }
}
