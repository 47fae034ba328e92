//! What one worker counts of each model: written by it alone, summed when somebody reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::core::Core;

use super::worker::Worker;
use crate::ai::latency::{BUCKETS, bucket_end_us, bucket_of};
use crate::base::metrics::{BOUNDS_US, Counter, Distribution};
use crate::pipeline::Spent;

/// Times, in buckets.
pub(super) struct Durations {
    buckets: [Counter; BUCKETS],
    sum_us: Counter,
}

impl Default for Durations {
    fn default() -> Durations {
        Durations {
            buckets: std::array::from_fn(|_| Counter::default()),
            sum_us: Counter::default(),
        }
    }
}

impl Durations {
    fn add(&self, took_us: u64) {
        if let Some(bucket) = self.buckets.get(bucket_of(took_us)) {
            bucket.add(1);
        }
        self.sum_us.add(took_us);
    }

    /// Adds these times to a distribution over the bounds that all histograms of `/metrics` have. A
    /// bucket counts where it ends, so that no time is told shorter than it was.
    fn add_to(&self, sum: &mut Distribution) {
        for (index, bucket) in self.buckets.iter().enumerate() {
            let (count, end_us) = (bucket.get(), bucket_end_us(index));
            for (bound, total) in BOUNDS_US.iter().zip(&mut sum.cumulative) {
                if end_us <= *bound {
                    *total += count;
                }
            }
            if let Some(all) = sum.cumulative.last_mut() {
                *all += count;
            }
        }
        sum.sum_us = sum.sum_us.wrapping_add(self.sum_us.get());
    }
}

/// What is counted of one model. On cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct ModelCounts {
    requests: Counter,
    failures: Counter,
    cancelled: Counter,
    prompt_tokens: Counter,
    completion_tokens: Counter,
    /// Of those of the prompts: read from the provider's cache, put into it.
    cached_tokens: Counter,
    cache_written_tokens: Counter,
    /// Of those of the answers: thinking.
    reasoning_tokens: Counter,
    /// Of both: those that are estimated.
    estimated_tokens: Counter,
    /// In billionths of a US dollar.
    cost_nano: Counter,
    latency: Durations,
    first_token: Durations,
}

/// What all workers have counted of one model.
#[derive(Default)]
pub(super) struct ModelFigures {
    pub(super) requests: u64,
    pub(super) failures: u64,
    pub(super) cancelled: u64,
    pub(super) prompt_tokens: u64,
    pub(super) completion_tokens: u64,
    pub(super) cached_tokens: u64,
    pub(super) cache_written_tokens: u64,
    pub(super) reasoning_tokens: u64,
    pub(super) estimated_tokens: u64,
    pub(super) cost_nano: u64,
}

/// Billionths of a US dollar as dollars.
pub(super) fn dollars(nano: u64) -> f64 {
    nano as f64 / 1e9
}

/// Of one worker, by the numbers of routes.
pub(super) type Counts = Mutex<Vec<Arc<ModelCounts>>>;

impl Worker {
    /// The counts of a call's model.
    fn counts(&mut self, number: usize) -> Arc<ModelCounts> {
        if let Some(counts) = self.model_counts.get(number) {
            return Arc::clone(counts);
        }
        let mut shared = self.core.workers[self.index].counts.lock();
        while shared.len() <= number {
            shared.push(Arc::default());
        }
        self.model_counts.clone_from(&shared);
        Arc::clone(&shared[number])
    }

    pub(super) fn count_call(&mut self, number: usize) {
        self.counts(number).requests.add(1);
    }

    pub(super) fn count_first_token(&mut self, number: usize, took_us: u64) {
        self.counts(number).first_token.add(took_us);
    }

    /// Counts the tokens of an answer. Returns what they cost, when a price is known.
    pub(super) fn count_usage(&mut self, spent: &Spent) -> Option<u64> {
        let usage = &spent.usage;
        let counts = self.counts(spent.number);
        counts.prompt_tokens.add(usage.prompt_tokens);
        counts.completion_tokens.add(usage.completion_tokens);
        counts.cached_tokens.add(usage.cached.unwrap_or(0));
        counts.cache_written_tokens.add(usage.cache_written.unwrap_or(0));
        counts.reasoning_tokens.add(usage.reasoning.unwrap_or(0));
        if usage.is_estimated {
            counts.estimated_tokens.add(usage.total_tokens());
        }
        self.stats.prompt_tokens.add(usage.prompt_tokens);
        self.stats.completion_tokens.add(usage.completion_tokens);
        if !spent.prices.is_known() {
            return None;
        }
        let cost_nano = spent.prices.cost_nano(usage);
        counts.cost_nano.add(cost_nano);
        self.stats.cost_nano.add(cost_nano);
        Some(cost_nano)
    }

    pub(super) fn count_good(&mut self, number: usize, took_us: u64) {
        self.counts(number).latency.add(took_us);
    }

    pub(super) fn count_failure(&mut self, number: usize) {
        self.stats.call_failures.add(1);
        self.counts(number).failures.add(1);
    }

    pub(super) fn count_cancelled(&mut self, number: usize) {
        self.stats.calls_cancelled.add(1);
        self.counts(number).cancelled.add(1);
    }
}

/// How long one model has taken, over all workers.
#[derive(Default)]
pub(super) struct ModelTimes {
    pub(super) latency: Distribution,
    pub(super) first_token: Distribution,
}

impl Core {
    /// Times of every model, by name.
    pub(super) fn model_times(&self) -> BTreeMap<String, ModelTimes> {
        let all: Vec<_> = self.workers.iter().map(|worker| worker.counts.lock().clone()).collect();
        let app = self.app();
        let mut models: BTreeMap<String, ModelTimes> = BTreeMap::new();
        for route in app.router.routes() {
            let times = models.entry(route.name.clone()).or_default();
            for counts in all.iter().filter_map(|it| it.get(route.number)) {
                counts.latency.add_to(&mut times.latency);
                counts.first_token.add_to(&mut times.first_token);
            }
        }
        models
    }

    /// The figures of every model of the configuration, by its name there.
    pub(super) fn model_figures(&self) -> Vec<(String, ModelFigures)> {
        let all: Vec<_> = self.workers.iter().map(|worker| worker.counts.lock().clone()).collect();
        let app = self.app();
        let mut models = BTreeMap::<&str, ModelFigures>::new();
        for route in app.router.routes() {
            // One series a name: a model and a provider may share theirs.
            let figures = models.entry(&route.name).or_default();
            for counts in all.iter().filter_map(|it| it.get(route.number)) {
                figures.requests += counts.requests.get();
                figures.failures += counts.failures.get();
                figures.cancelled += counts.cancelled.get();
                figures.prompt_tokens += counts.prompt_tokens.get();
                figures.completion_tokens += counts.completion_tokens.get();
                figures.cached_tokens += counts.cached_tokens.get();
                figures.cache_written_tokens += counts.cache_written_tokens.get();
                figures.reasoning_tokens += counts.reasoning_tokens.get();
                figures.estimated_tokens += counts.estimated_tokens.get();
                figures.cost_nano += counts.cost_nano.get();
            }
        }
        models.into_iter().map(|(name, it)| (name.to_owned(), it)).collect()
    }

    /// What `/stats` says of each model that was asked.
    pub(super) fn model_stats(&self) -> Value {
        let all: Vec<_> = self.workers.iter().map(|worker| worker.counts.lock().clone()).collect();
        let app = self.app();
        let mut models = serde_json::Map::new();
        for route in app.router.routes() {
            let of_route: Vec<_> = all.iter().filter_map(|it| it.get(route.number)).collect();
            let sum = |get: fn(&ModelCounts) -> &Counter| -> u64 {
                of_route.iter().map(|counts| get(counts).get()).sum()
            };
            if sum(|c| &c.requests) == 0 {
                continue;
            }
            let value = json!({
                "requests": sum(|c| &c.requests),
                "failures": sum(|c| &c.failures),
                "cancelled": sum(|c| &c.cancelled),
                "prompt_tokens": sum(|c| &c.prompt_tokens),
                "completion_tokens": sum(|c| &c.completion_tokens),
                "cached_tokens": sum(|c| &c.cached_tokens),
                "cache_written_tokens": sum(|c| &c.cache_written_tokens),
                "reasoning_tokens": sum(|c| &c.reasoning_tokens),
                "estimated_tokens": sum(|c| &c.estimated_tokens),
                "cost_usd": dollars(sum(|c| &c.cost_nano)),
                "latency_ms": durations(of_route.iter().map(|c| &c.latency)),
                "first_token_ms": durations(of_route.iter().map(|c| &c.first_token)),
            });
            models.insert(route.name.clone(), value);
        }
        Value::Object(models)
    }
}

/// Mean and quantiles in milliseconds; the latter are exact to an eighth.
fn durations<'d>(all: impl Iterator<Item = &'d Durations>) -> Value {
    let mut buckets = [0_u64; BUCKETS];
    let mut sum_us = 0_u64;
    for durations in all {
        sum_us += durations.sum_us.get();
        for (sum, bucket) in buckets.iter_mut().zip(&durations.buckets) {
            *sum += bucket.get();
        }
    }
    let count: u64 = buckets.iter().sum();
    let ms = |us: u64| us as f64 / 1_000.0;
    let quantile = |part: f64| {
        let rank = ((count as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        let found = buckets.iter().position(|bucket| {
            seen += bucket;
            seen >= rank
        });
        found.map_or(0.0, |index| ms(bucket_end_us(index)))
    };
    json!({
        "count": count,
        "mean": ms(sum_us.checked_div(count).unwrap_or(0)),
        "p50": quantile(0.5),
        "p95": quantile(0.95),
        "p99": quantile(0.99),
    })
}
