//! The last samples, bounded, with the old ones thinned out on request.

use super::Sample;
use std::collections::VecDeque;

/// Samples kept.
const SAMPLES_MAX: usize = 100;
/// From this length on old samples are thinned out.
const THINNING_FROM: usize = 50;

/// Samples, oldest first.
#[derive(Default)]
pub struct History {
    samples: VecDeque<Sample>,
}

impl History {
    /// Appends. With `thinning` of 2 and more the older half is averaged in groups of that size once the
    /// history is long: fewer samples to keep, and none dropped at once.
    pub fn push(&mut self, sample: Sample, thinning: u32) {
        self.samples.push_back(sample);
        if thinning >= 2 && self.samples.len() > THINNING_FROM {
            let old: Vec<Sample> = self.samples.drain(..THINNING_FROM / 2).collect();
            for group in old.chunks(thinning as usize).rev() {
                self.samples.push_front(mean(group.iter()));
            }
        }
        while self.samples.len() > SAMPLES_MAX {
            self.samples.pop_front();
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// The last one.
    pub fn latest(&self) -> Option<Sample> {
        self.samples.back().copied()
    }

    /// Means of every figure, with the time of the last sample.
    pub fn average(&self) -> Option<Sample> {
        (!self.samples.is_empty()).then(|| mean(self.samples.iter()))
    }

    /// Slope per sample over the last `window` of them, by least squares. `None` below three.
    pub fn trend(&self, window: usize, figure: impl Fn(&Sample) -> f64) -> Option<f64> {
        let from = self.samples.len().saturating_sub(window);
        let values: Vec<f64> = self.samples.iter().skip(from).map(figure).collect();
        if values.len() < 3 {
            return None;
        }
        let count = values.len() as f64;
        let middle = (count - 1.0) / 2.0;
        let mean = values.iter().sum::<f64>() / count;
        let (mut above, mut below) = (0.0, 0.0);
        for (place, value) in values.iter().enumerate() {
            let distance = place as f64 - middle;
            above += distance * (value - mean);
            below += distance * distance;
        }
        Some(above / below)
    }
}

fn mean<'a>(samples: impl ExactSizeIterator<Item = &'a Sample>) -> Sample {
    let count = samples.len().max(1) as f64;
    let mut sum = Sample::default();
    let (mut connections, mut pool) = (0.0, 0.0);
    for sample in samples {
        sum.unix_s = sample.unix_s;
        sum.cpu_percent += sample.cpu_percent / count;
        sum.memory_mb += sample.memory_mb / count;
        sum.requests_per_second += sample.requests_per_second / count;
        sum.response_ms += sample.response_ms / count;
        sum.network_kb_s += sample.network_kb_s / count;
        sum.error_percent += sample.error_percent / count;
        connections += f64::from(sample.connections) / count;
        pool += f64::from(sample.pool_percent) / count;
    }
    sum.connections = connections.round() as u32;
    sum.pool_percent = pool.round() as u32;
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(count: usize, thinning: u32) -> History {
        let mut history = History::default();
        for n in 0..count {
            history.push(Sample { response_ms: n as f64, ..Sample::default() }, thinning);
        }
        history
    }

    #[test]
    fn the_history_is_bounded_and_thinning_keeps_the_order() {
        let plain = filled(1000, 0);
        assert_eq!(plain.len(), SAMPLES_MAX);
        let thinned = filled(1000, 4);
        assert!(thinned.len() <= THINNING_FROM);
        assert!(
            thinned
                .samples
                .iter()
                .zip(thinned.samples.iter().skip(1))
                .all(|(a, b)| a.response_ms < b.response_ms)
        );
        assert_eq!(thinned.latest().map(|s| s.response_ms), Some(999.0));
    }

    #[test]
    fn the_trend_is_the_slope() {
        assert_eq!(filled(2, 0).trend(10, |s| s.response_ms), None);
        let slope = filled(30, 0).trend(10, |s| s.response_ms * 3.0).unwrap();
        assert!((slope - 3.0).abs() < 1e-9);
        assert_eq!(filled(0, 0).average(), None);
    }
}
