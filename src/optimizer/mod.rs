//! The optimizer: readings in, samples, means, a trend and advice out.
//!
//! It measures nothing and changes nothing itself: its owner takes a [`Reading`] of the process, hands
//! it over and acts on the advice. No I/O, no clock, no lock.
#![forbid(unsafe_code)]

mod history;
pub mod load;
mod policy;
pub mod pressure;
pub mod rates;
pub mod threads;
pub mod weights;
pub mod workers;

pub use policy::{Advice, Thresholds};

use history::History;
use std::fmt::Write;

/// Between two samples.
pub const SAMPLE_INTERVAL_MS: u64 = 5000;
/// Samples that a trend is drawn from.
pub const TREND_SAMPLES: usize = 10;

/// Running totals and momentary values of the process at one time.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Reading {
    /// Monotonic milliseconds.
    pub at_ms: u64,
    /// Unix seconds.
    pub unix_s: i64,
    /// Processor time used so far, all threads.
    pub cpu_us: u64,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Requests so far.
    pub requests: u64,
    /// Answers so far.
    pub responses: u64,
    /// Answers with a status from 500 up, so far.
    pub failures: u64,
    /// Bytes received and sent so far.
    pub network_bytes: u64,
    /// Mean time to answer, in milliseconds.
    pub response_ms: f64,
    /// Connections now.
    pub connections: u32,
    /// Share of the pool's threads that are busy, in percent.
    pub pool_percent: u32,
}

/// What two readings say about the time between them.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Sample {
    /// Unix seconds of the later reading.
    pub unix_s: i64,
    /// Percent of one core.
    pub cpu_percent: f64,
    /// MiB resident.
    pub memory_mb: f64,
    /// Requests per second.
    pub requests_per_second: f64,
    /// Mean time to answer, in milliseconds.
    pub response_ms: f64,
    /// Connections.
    pub connections: u32,
    /// Share of the pool's threads that are busy, in percent.
    pub pool_percent: u32,
    /// KiB per second, both directions.
    pub network_kb_s: f64,
    /// Share of answers with a status from 500 up, in percent.
    pub error_percent: f64,
}

impl Sample {
    /// From two readings. Without an earlier one the rates are 0: there is no time to divide by.
    pub fn between(earlier: Option<&Reading>, now: &Reading) -> Sample {
        let mut sample = Sample {
            unix_s: now.unix_s,
            memory_mb: now.resident_bytes as f64 / 1_048_576.0,
            response_ms: now.response_ms,
            connections: now.connections,
            pool_percent: now.pool_percent,
            ..Sample::default()
        };
        let Some(earlier) = earlier else { return sample };
        let elapsed_ms = now.at_ms.saturating_sub(earlier.at_ms) as f64;
        if elapsed_ms > 0.0 {
            let per_second =
                |later: u64, before: u64| later.saturating_sub(before) as f64 * 1000.0 / elapsed_ms;
            sample.cpu_percent = per_second(now.cpu_us, earlier.cpu_us) / 10_000.0;
            sample.requests_per_second = per_second(now.requests, earlier.requests);
            sample.network_kb_s = per_second(now.network_bytes, earlier.network_bytes) / 1024.0;
        }
        let answers = now.responses.saturating_sub(earlier.responses);
        if answers > 0 {
            let failures = now.failures.saturating_sub(earlier.failures);
            sample.error_percent = failures as f64 * 100.0 / answers as f64;
        }
        sample
    }
}

/// What can be chosen.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Choices {
    /// Whether samples are taken by themselves.
    pub automatic: bool,
    /// Whether the report tells a trend.
    pub trend: bool,
    /// Old samples are thinned out by this factor; below 2: kept as they are.
    pub thinning: u32,
}

/// History and settings.
pub struct Optimizer {
    history: History,
    last: Option<Reading>,
    /// Limits that advice is measured by.
    pub thresholds: Thresholds,
    /// What the owner chose.
    pub choices: Choices,
    cores: u32,
}

impl Optimizer {
    /// An optimizer for a machine with this many cores.
    pub fn new(cores: u32) -> Optimizer {
        Optimizer {
            history: History::default(),
            last: None,
            thresholds: Thresholds::default(),
            choices: Choices { automatic: true, trend: true, thinning: 0 },
            cores: cores.max(1),
        }
    }

    /// Whether a sample is due. The first always is.
    pub fn due(&self, now_ms: u64) -> bool {
        match &self.last {
            Some(last) => now_ms.saturating_sub(last.at_ms) >= SAMPLE_INTERVAL_MS,
            None => true,
        }
    }

    /// Takes a reading into the history and says what it means.
    pub fn record(&mut self, reading: Reading) -> (Sample, Vec<Advice>) {
        let sample = Sample::between(self.last.as_ref(), &reading);
        self.last = Some(reading);
        self.history.push(sample, self.choices.thinning);
        (sample, self.thresholds.advice(&sample, self.cores))
    }

    /// What a reading would say now, without taking it into the history.
    pub fn preview(&self, reading: &Reading) -> Sample {
        Sample::between(self.last.as_ref(), reading)
    }

    /// The latest sample.
    pub fn latest(&self) -> Option<Sample> {
        self.history.latest()
    }

    /// Means over the history.
    pub fn average(&self) -> Option<Sample> {
        self.history.average()
    }

    /// By how much the mean time to answer changes from sample to sample, over the last `window` of them.
    pub fn trend_ms(&self, window: usize) -> Option<f64> {
        self.history.trend(window, |sample| sample.response_ms)
    }

    /// The state in words, for people.
    pub fn report(&self) -> String {
        let mut text = String::from("Performance report\n");
        let (Some(latest), Some(average)) = (self.latest(), self.average()) else {
            text.push_str("no sample yet\n");
            return text;
        };
        let mut row = |name: &str, now: f64, mean: f64, unit: &str| {
            let _ = writeln!(text, "{name:<20} {now:>12.2} {unit:<6} mean {mean:.2}");
        };
        row("cpu", latest.cpu_percent, average.cpu_percent, "%");
        row("memory", latest.memory_mb, average.memory_mb, "MB");
        row("response time", latest.response_ms, average.response_ms, "ms");
        row("requests", latest.requests_per_second, average.requests_per_second, "/s");
        row("connections", f64::from(latest.connections), f64::from(average.connections), "");
        row("network", latest.network_kb_s, average.network_kb_s, "KB/s");
        row("errors", latest.error_percent, average.error_percent, "%");
        let _ = writeln!(text, "samples {}", self.history.len());
        if self.choices.trend
            && let Some(per_sample) = self.trend_ms(TREND_SAMPLES)
        {
            let _ = writeln!(text, "response time changes by {per_sample:+.3} ms a sample");
        }
        for advice in self.thresholds.advice(&latest, self.cores) {
            let _ = writeln!(text, "advice: {advice}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(seconds: u64) -> Reading {
        Reading {
            at_ms: seconds * 1000,
            unix_s: seconds as i64,
            cpu_us: seconds * 500_000,
            resident_bytes: 64 << 20,
            requests: seconds * 100,
            responses: seconds * 100,
            failures: seconds * 25,
            network_bytes: seconds * 2048,
            response_ms: seconds as f64,
            connections: 3,
            pool_percent: 10,
        }
    }

    #[test]
    fn rates_come_from_two_readings() {
        let mut optimizer = Optimizer::new(1);
        assert!(optimizer.due(0));
        let (first, _) = optimizer.record(reading(10));
        assert_eq!((first.cpu_percent, first.memory_mb), (0.0, 64.0));
        assert!(!optimizer.due(14_999));
        assert!(optimizer.due(15_000));
        let (second, _) = optimizer.record(reading(20));
        assert_eq!(second.cpu_percent, 50.0);
        assert_eq!(second.requests_per_second, 100.0);
        assert_eq!(second.network_kb_s, 2.0);
        assert_eq!(second.error_percent, 25.0);
        assert_eq!(optimizer.average().map(|mean| mean.response_ms), Some(15.0));
    }

    #[test]
    fn a_clock_that_stands_still_divides_nothing_by_zero() {
        let same = reading(5);
        assert_eq!(Sample::between(Some(&same), &same).cpu_percent, 0.0);
    }

    #[test]
    fn the_report_names_trend_and_advice() {
        let mut optimizer = Optimizer::new(1);
        assert!(optimizer.report().contains("no sample yet"));
        optimizer.thresholds.response_ms = 10.0;
        for seconds in 1..=12 {
            optimizer.record(reading(seconds * 5));
        }
        let report = optimizer.report();
        assert!(report.contains("changes by +5.000 ms"), "{report}");
        assert!(report.contains("advice: answers take"), "{report}");
        optimizer.choices.trend = false;
        assert!(!optimizer.report().contains("changes by"));
    }
}
