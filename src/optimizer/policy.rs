//! What a sample means when held against thresholds.

use super::Sample;
use std::fmt;

/// Limits beyond which something should be done.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Thresholds {
    /// Percent per core.
    pub cpu_percent: f64,
    /// MiB resident.
    pub memory_mb: f64,
    /// Milliseconds.
    pub response_ms: f64,
    /// KiB per second; 0: no limit.
    pub network_kb_s: f64,
    /// Percent of answers; 0: no limit.
    pub error_percent: f64,
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds {
            cpu_percent: 80.0,
            memory_mb: 512.0,
            response_ms: 300.0,
            network_kb_s: 0.0,
            error_percent: 0.0,
        }
    }
}

/// One thing to do, with the figure that says so.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Advice {
    /// The processors are full: admit less.
    ShedLoad {
        /// Percent per core.
        cpu_percent: f64,
    },
    /// Memory is short: make caches smaller.
    ShrinkCaches {
        /// MiB resident.
        memory_mb: f64,
    },
    /// Answers are slow: more threads where handlers wait.
    AddThreads {
        /// Milliseconds.
        response_ms: f64,
    },
    /// More bytes than wanted.
    LimitTraffic {
        /// KiB per second.
        network_kb_s: f64,
    },
    /// Handlers or upstreams fail.
    LookAtErrors {
        /// Percent of answers.
        error_percent: f64,
    },
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Advice::ShedLoad { cpu_percent } => {
                write!(f, "processors are at {cpu_percent:.0} %: admit fewer requests at a time")
            }
            Advice::ShrinkCaches { memory_mb } => {
                write!(f, "{memory_mb:.0} MB are resident: make caches smaller")
            }
            Advice::AddThreads { response_ms } => {
                write!(f, "answers take {response_ms:.0} ms: add threads if handlers wait")
            }
            Advice::LimitTraffic { network_kb_s } => {
                write!(f, "{network_kb_s:.0} KB/s pass: limit rates")
            }
            Advice::LookAtErrors { error_percent } => {
                write!(
                    f,
                    "{error_percent:.1} % of the answers are errors: look at handlers and upstreams"
                )
            }
        }
    }
}

impl Thresholds {
    /// What the sample calls for.
    pub fn advice(&self, sample: &Sample, cores: u32) -> Vec<Advice> {
        let mut advice = Vec::new();
        let cpu_percent = sample.cpu_percent / f64::from(cores.max(1));
        if cpu_percent > self.cpu_percent {
            advice.push(Advice::ShedLoad { cpu_percent });
        }
        if sample.memory_mb > self.memory_mb {
            advice.push(Advice::ShrinkCaches { memory_mb: sample.memory_mb });
        }
        if sample.response_ms > self.response_ms {
            advice.push(Advice::AddThreads { response_ms: sample.response_ms });
        }
        if self.network_kb_s > 0.0 && sample.network_kb_s > self.network_kb_s {
            advice.push(Advice::LimitTraffic { network_kb_s: sample.network_kb_s });
        }
        if self.error_percent > 0.0 && sample.error_percent > self.error_percent {
            advice.push(Advice::LookAtErrors { error_percent: sample.error_percent });
        }
        advice
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_beyond_its_threshold_is_advised() {
        let thresholds = Thresholds::default();
        let sample = Sample {
            cpu_percent: 150.0,
            memory_mb: 600.0,
            error_percent: 50.0,
            ..Sample::default()
        };
        assert_eq!(thresholds.advice(&sample, 2), [Advice::ShrinkCaches { memory_mb: 600.0 }]);
        assert_eq!(thresholds.advice(&sample, 1).len(), 2);
        let strict = Thresholds { error_percent: 1.0, ..thresholds };
        assert_eq!(strict.advice(&sample, 2).len(), 2);
        assert!(thresholds.advice(&Sample::default(), 1).is_empty());
    }
}
