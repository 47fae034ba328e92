//! Durations by the thousandfold: counts in buckets of less than one percent, whatever the size.

/// Parts of each power of two: a bucket is at most 1/128 of its value wide.
const PARTS: u64 = 128;
/// Beyond it, about 19 hours, everything is one bucket.
const US_MAX: u64 = (1 << 36) - 1;
const BUCKETS: usize = bucket(US_MAX) + 1;

/// Durations, in microseconds.
#[derive(Clone)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    count: u64,
    sum: u128,
    least: u64,
    most: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; BUCKETS], count: 0, sum: 0, least: u64::MAX, most: 0 }
    }
}

/// Values below `PARTS` have a bucket each; above, each power of two has `PARTS` buckets.
const fn bucket(us: u64) -> usize {
    let us = if us > US_MAX { US_MAX } else { us };
    if us < PARTS {
        return us as usize;
    }
    let shift = us.ilog2() - PARTS.ilog2();
    (shift as u64 * PARTS + (us >> shift)) as usize
}

/// The middle of a bucket.
fn middle(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / PARTS).saturating_sub(1);
    let first = (bucket - shift * PARTS) << shift;
    first + (1 << shift) / 2
}

impl Histogram {
    pub(super) fn record(&mut self, us: u64) {
        // The bucket of the largest value is the last one.
        if let Some(count) = self.counts.get_mut(bucket(us)) {
            *count += 1;
        }
        self.count += 1;
        self.sum += u128::from(us);
        self.least = self.least.min(us);
        self.most = self.most.max(us);
    }

    pub(super) fn merge(&mut self, other: &Histogram) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.least = self.least.min(other.least);
        self.most = self.most.max(other.most);
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum as f64 / self.count as f64 }
    }

    /// The duration that this share (0 to 1) of all stayed within.
    pub(super) fn quantile(&self, share: f64) -> f64 {
        let rank = ((share * self.count as f64).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return middle(index).clamp(self.least, self.most) as f64;
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_narrow_and_in_order() {
        let mut last = 0;
        for us in (0..100_000).chain((17..36).map(|power| (1 << power) + 12345)) {
            let at = bucket(us);
            assert!(at >= last && at < BUCKETS, "{us}");
            last = at;
            let off = middle(at).abs_diff(us) as f64;
            assert!(off <= us as f64 / 128.0, "{us}: {}", middle(at));
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), 0.0);
        let mut other = Histogram::default();
        for us in 1..=500 {
            histogram.record(us);
            other.record(us + 500);
        }
        histogram.merge(&other);
        assert_eq!(histogram.count(), 1000);
        assert_eq!((histogram.least, histogram.most, histogram.mean()), (1, 1000, 500.5));
        for (share, want) in [(0.0, 1.0), (0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let got = histogram.quantile(share);
            assert!((got - want).abs() <= want / 100.0, "{share}: {got}");
        }
    }
}
