//! `/metrics`: the counters of all workers in Prometheus' text format 0.0.4.
//!
//! Names follow Prometheus' conventions: base units (seconds, bytes), `_total` for counters, the
//! process's own under the names that every client library uses. No label comes from a client: the
//! cardinality is bounded by the configuration.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};
use prometheus::{Encoder as _, TextEncoder};
use serde_json::Value;

use super::core::Core;
use super::counts::{ModelFigures, dollars};
use super::stats::WorkerStats;
use crate::base::metrics::{BOUNDS_US, Distribution};
use crate::config::GuardAction;
use crate::firewall::Counter as FirewallCounter;
use crate::guard::{Category, Side};
use crate::sys::{clock, proc};

/// Labels and value of one sample.
pub(super) type Sample<'a> = (&'a [(&'static str, &'a str)], f64);

impl Core {
    /// The body of `/metrics`.
    pub(super) fn metrics_text(&self) -> String {
        let mut page = Page::default();
        self.add_traffic(&mut page);
        self.add_doing(&mut page);
        self.add_calls(&mut page);
        self.add_models(&mut page);
        self.add_cache(&mut page);
        self.add_firewall(&mut page);
        self.add_guard(&mut page);
        self.add_model_times(&mut page);
        self.add_targets(&mut page);
        self.add_providers(&mut page);
        self.add_optimizer(&mut page);
        self.add_telemetry(&mut page);
        self.add_log(&mut page);
        self.add_workers(&mut page);
        add_process(&mut page);
        page.text()
    }

    pub(super) fn sum(&self, get: fn(&WorkerStats) -> u64) -> f64 {
        // A double holds counts up to 2^53 exactly; Prometheus keeps doubles anyway.
        self.workers.iter().map(|worker| get(&worker.stats)).sum::<u64>() as f64
    }

    fn times(&self, get: fn(&WorkerStats) -> &crate::base::metrics::Histogram) -> Distribution {
        Distribution::of(self.workers.iter().map(|worker| get(&worker.stats)))
    }

    fn add_traffic(&self, page: &mut Page) {
        page.gauge(
            "neurohttp_build_info",
            "The version that runs.",
            &[(&[("version", env!("CARGO_PKG_VERSION"))], 1.0)],
        );
        page.counter(
            "neurohttp_http_requests_total",
            "Requests whose head was understood.",
            &[(&[], self.sum(|s| s.requests.get()))],
        );
        page.counter(
            "neurohttp_http_responses_total",
            "Answers by the class of their status.",
            &[
                (&[("class", "1xx")], self.sum(|s| s.status[0].get())),
                (&[("class", "2xx")], self.sum(|s| s.status[1].get())),
                (&[("class", "3xx")], self.sum(|s| s.status[2].get())),
                (&[("class", "4xx")], self.sum(|s| s.status[3].get())),
                (&[("class", "5xx")], self.sum(|s| s.status[4].get())),
            ],
        );
        page.histogram(
            "neurohttp_http_request_duration_seconds",
            "From the end of a request's head to the end of its answer.",
            &self.times(|s| &s.request_time),
        );
        for (name, help, get) in [
            (
                "neurohttp_http_malformed_requests_total",
                "Requests whose head could not be understood.",
                (|s| s.malformed.get()) as fn(&WorkerStats) -> u64,
            ),
            ("neurohttp_http_streams_total", "Answers sent as streams.", |s| s.streams.get()),
            (
                "neurohttp_http_cancelled_total",
                "Requests whose client had gone before the answer was complete.",
                |s| s.cancelled.get(),
            ),
            ("neurohttp_timeouts_total", "Deadlines that passed.", |s| s.timeouts.get()),
            ("neurohttp_received_bytes_total", "Bytes read from clients.", |s| {
                s.bytes_received.get()
            }),
            ("neurohttp_sent_bytes_total", "Bytes written to clients.", |s| s.bytes_sent.get()),
            ("neurohttp_connections_accepted_total", "Connections taken.", |s| s.accepted.get()),
            (
                "neurohttp_connections_refused_total",
                "Connections closed at once: their address had all it may have.",
                |s| s.refused.get(),
            ),
        ] {
            page.counter(name, help, &[(&[], self.sum(get))]);
        }
        page.gauge(
            "neurohttp_connections",
            "Connections open.",
            &[(&[], self.sum(|s| s.connections.get()))],
        );
    }

    fn add_calls(&self, page: &mut Page) {
        page.counter(
            "neurohttp_ai_calls_total",
            "Requests to models that were begun.",
            &[(&[], self.sum(|s| s.calls.get()))],
        );
        page.counter(
            "neurohttp_ai_call_failures_total",
            "Requests to models that no target has answered.",
            &[(&[], self.sum(|s| s.call_failures.get()))],
        );
        page.counter(
            "neurohttp_ai_calls_cancelled_total",
            "Requests to models that whoever asked has given up.",
            &[(&[], self.sum(|s| s.calls_cancelled.get()))],
        );
        page.counter(
            "neurohttp_ai_call_retries_total",
            "Further attempts after failed ones.",
            &[(&[], self.sum(|s| s.call_retries.get()))],
        );
        page.counter(
            "neurohttp_ai_call_hedges_total",
            "Second attempts beside late ones.",
            &[(&[], self.sum(|s| s.call_hedges.get()))],
        );
        page.counter(
            "neurohttp_ai_tokens_total",
            "Tokens as the providers have counted them, else as estimated.",
            &[
                (&[("type", "prompt")], self.sum(|s| s.prompt_tokens.get())),
                (&[("type", "completion")], self.sum(|s| s.completion_tokens.get())),
            ],
        );
        page.histogram(
            "neurohttp_ai_time_to_first_token_seconds",
            "From the start of a streamed request to the first piece of its answer.",
            &self.times(|s| &s.first_token_time),
        );
        page.histogram(
            "neurohttp_ai_inter_token_seconds",
            "Between two pieces of a streamed answer.",
            &self.times(|s| &s.token_gap),
        );
        page.gauge(
            "neurohttp_ai_body_bytes",
            "Request bodies for models held in memory.",
            &[(&[], self.ai_bytes() as f64)],
        );
    }

    /// A series for each model of the configuration, asked or not.
    fn add_models(&self, page: &mut Page) {
        let models = self.model_figures();
        let labels: Vec<_> = models.iter().map(|(name, _)| [("model", name.as_str())]).collect();
        let of_each = |get: fn(&ModelFigures) -> u64| -> Vec<Sample<'_>> {
            let figures = models.iter().map(|(_, it)| get(it) as f64);
            labels.iter().map(|label| label.as_slice()).zip(figures).collect()
        };
        page.counter(
            "neurohttp_ai_model_requests_total",
            "Requests to a model that were begun.",
            &of_each(|it| it.requests),
        );
        page.counter(
            "neurohttp_ai_model_failures_total",
            "Requests to a model that no target has answered.",
            &of_each(|it| it.failures),
        );
        page.counter(
            "neurohttp_ai_model_cancelled_total",
            "Requests to a model that whoever asked has given up.",
            &of_each(|it| it.cancelled),
        );
        page.counter(
            "neurohttp_ai_model_prompt_tokens_total",
            "Tokens of prompts to a model, as its providers have counted them, else as estimated.",
            &of_each(|it| it.prompt_tokens),
        );
        page.counter(
            "neurohttp_ai_model_completion_tokens_total",
            "Tokens of a model's answers, as its providers have counted them, else as estimated.",
            &of_each(|it| it.completion_tokens),
        );
        page.counter(
            "neurohttp_ai_model_cached_tokens_total",
            "Of the tokens of prompts, those from the cache of a provider.",
            &of_each(|it| it.cached_tokens),
        );
        page.counter(
            "neurohttp_ai_model_cache_written_tokens_total",
            "Of the tokens of prompts, those put into the cache of a provider.",
            &of_each(|it| it.cache_written_tokens),
        );
        page.counter(
            "neurohttp_ai_model_reasoning_tokens_total",
            "Of the tokens of answers, those of thinking.",
            &of_each(|it| it.reasoning_tokens),
        );
        page.counter(
            "neurohttp_ai_model_estimated_tokens_total",
            "Of all tokens of a model, those of requests whose usage no provider has told.",
            &of_each(|it| it.estimated_tokens),
        );
        let costs = models.iter().map(|(_, it)| dollars(it.cost_nano));
        let costs: Vec<_> = labels.iter().map(|label| label.as_slice()).zip(costs).collect();
        page.counter(
            "neurohttp_ai_model_cost_usd_total",
            "What a model's tokens cost, in US dollars, by the prices of the configuration.",
            &costs,
        );
    }

    fn add_cache(&self, page: &mut Page) {
        let figures = self.app().cache.stats();
        let of = |name: &str| figures.get(name).and_then(Value::as_f64).unwrap_or_default();
        for (name, help, value) in [
            ("neurohttp_cache_hits_total", "Requests answered from the cache.", of("hits")),
            ("neurohttp_cache_misses_total", "Requests the cache had no answer to.", of("misses")),
            (
                "neurohttp_cache_coalesced_total",
                "Requests that shared an answer under way.",
                of("coalesced"),
            ),
            (
                "neurohttp_cache_evictions_total",
                "Answers that went to make room for others.",
                of("evicted"),
            ),
        ] {
            page.counter(name, help, &[(&[], value)]);
        }
        page.gauge("neurohttp_cache_entries", "Answers kept.", &[(&[], of("entries"))]);
        page.gauge("neurohttp_cache_bytes", "Memory of the answers kept.", &[(&[], of("bytes"))]);
    }

    fn add_firewall(&self, page: &mut Page) {
        let app = self.app();
        let stats = app.firewall.stats();
        let all = FirewallCounter::ALL;
        let labels: Vec<_> = all.iter().map(|it| [("event", it.name())]).collect();
        let figures = all.iter().map(|&it| stats.get(it) as f64);
        let samples: Vec<Sample<'_>> =
            labels.iter().map(|label| label.as_slice()).zip(figures).collect();
        page.counter(
            "neurohttp_firewall_events_total",
            "What the firewall has refused, blocked or noted.",
            &samples,
        );
    }

    fn add_guard(&self, page: &mut Page) {
        let app = self.app();
        let stats = app.text_guard.stats();
        let texts: Vec<_> = stats.texts().collect();
        let labels: Vec<_> = texts.iter().map(|(side, _)| [("side", side.name())]).collect();
        let figures = texts.iter().map(|&(_, count)| count as f64);
        let samples: Vec<Sample<'_>> =
            labels.iter().map(|label| label.as_slice()).zip(figures).collect();
        page.counter(
            "neurohttp_guard_texts_total",
            "Texts that the prompt guard has looked into.",
            &samples,
        );
        let finds: Vec<_> = stats.finds().collect();
        let label = |&(side, category, action, _): &(Side, Category, GuardAction, u64)| {
            [("side", side.name()), ("category", category.name()), ("action", action.as_str())]
        };
        let labels: Vec<_> = finds.iter().map(label).collect();
        let figures = finds.iter().map(|it| it.3 as f64);
        let samples: Vec<Sample<'_>> =
            labels.iter().map(|label| label.as_slice()).zip(figures).collect();
        page.counter(
            "neurohttp_guard_finds_total",
            "What the prompt guard has found, and what it has done about it.",
            &samples,
        );
    }

    fn add_workers(&self, page: &mut Page) {
        let names: Vec<_> = (0..self.workers.len()).map(|index| index.to_string()).collect();
        let labels: Vec<_> = names.iter().map(|name| [("worker", name.as_str())]).collect();
        let of_each = |get: fn(&WorkerStats) -> u64| -> Vec<Sample<'_>> {
            let figures = self.workers.iter().map(|worker| get(&worker.stats) as f64);
            labels.iter().map(|label| label.as_slice()).zip(figures).collect()
        };
        page.gauge(
            "neurohttp_worker_connections",
            "Connections open, by worker.",
            &of_each(|s| s.connections.get()),
        );
        page.counter(
            "neurohttp_worker_requests_total",
            "Requests whose head was understood, by worker.",
            &of_each(|s| s.requests.get()),
        );
        let (threads, waiting) = self.pool.load();
        page.gauge(
            "neurohttp_blocking_threads",
            "Threads of the blocking pool.",
            &[(&[], threads as f64)],
        );
        page.gauge(
            "neurohttp_blocking_waiting",
            "Requests that wait for such a thread.",
            &[(&[], waiting as f64)],
        );
    }
}

/// The process under the names of Prometheus' own client libraries.
fn add_process(page: &mut Page) {
    let usage = proc::usage();
    page.counter(
        "process_cpu_seconds_total",
        "User and system time of the process.",
        &[(&[], usage.cpu_us as f64 / 1e6)],
    );
    page.gauge(
        "process_resident_memory_bytes",
        "Resident memory of the process.",
        &[(&[], proc::resident_bytes() as f64)],
    );
    page.gauge(
        "process_open_fds",
        "Descriptors the process has open.",
        &[(&[], usage.open_files as f64)],
    );
    page.gauge(
        "process_max_fds",
        "Descriptors the process may have open.",
        &[(&[], proc::open_files_max(false) as f64)],
    );
    let started_s = clock::unix_seconds() as f64 - usage.age_us as f64 / 1e6;
    page.gauge(
        "process_start_time_seconds",
        "When the process began, in Unix time.",
        &[(&[], started_s.round())],
    );
}

/// Labels and times of one histogram.
pub(super) type Times<'a> = (&'a [(&'static str, &'a str)], &'a Distribution);

/// A page in the making.
#[derive(Default)]
pub(super) struct Page {
    families: Vec<MetricFamily>,
}

impl Page {
    pub(super) fn counter(&mut self, name: &str, help: &str, samples: &[Sample<'_>]) {
        let metrics = samples.iter().map(|&(labels, value)| {
            let mut counter = Counter::default();
            counter.set_value(value);
            let mut metric = Metric::from_label(pairs(labels));
            metric.set_counter(counter);
            metric
        });
        self.add(name, help, MetricType::COUNTER, metrics.collect());
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, samples: &[Sample<'_>]) {
        let metrics = samples.iter().map(|&(labels, value)| {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            let mut metric = Metric::from_label(pairs(labels));
            metric.set_gauge(gauge);
            metric
        });
        self.add(name, help, MetricType::GAUGE, metrics.collect());
    }

    fn histogram(&mut self, name: &str, help: &str, times: &Distribution) {
        self.histograms(name, help, &[(&[], times)]);
    }

    pub(super) fn histograms(&mut self, name: &str, help: &str, all: &[Times<'_>]) {
        let metrics = all.iter().map(|(labels, times)| histogram_of(labels, times));
        self.add(name, help, MetricType::HISTOGRAM, metrics.collect());
    }

    fn add(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        if metrics.is_empty() {
            // The encoder refuses a family without samples.
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.families.push(family);
    }

    fn text(self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.families, &mut text) {
            tracing::error!("the metrics cannot be written: {error}");
        }
        String::from_utf8(text).unwrap_or_default()
    }
}

fn histogram_of(labels: &[(&'static str, &str)], times: &Distribution) -> Metric {
    let mut histogram = Histogram::default();
    let buckets = BOUNDS_US.iter().zip(&times.cumulative).map(|(bound, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound as f64 / 1e6);
        bucket.set_cumulative_count(*count);
        bucket
    });
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(times.count());
    histogram.set_sample_sum(times.sum_us as f64 / 1e6);
    let mut metric = Metric::from_label(pairs(labels));
    metric.set_histogram(histogram);
    metric
}

fn pairs(labels: &[(&'static str, &str)]) -> Vec<LabelPair> {
    let pair = |&(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    labels.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped() {
        let mut page = Page::default();
        page.gauge("a", "b", &[(&[("model", "x\"y\\\nz")], 1.5)]);
        let text = page.text();
        assert_eq!(text, "# HELP a b\n# TYPE a gauge\na{model=\"x\\\"y\\\\\\nz\"} 1.5\n");
    }

    #[test]
    fn a_histogram_ends_with_its_sum_and_count() {
        let histogram = crate::base::metrics::Histogram::default();
        histogram.record(150);
        let mut page = Page::default();
        page.histogram("t_seconds", "h", &Distribution::of([&histogram].into_iter()));
        let text = page.text();
        assert!(text.contains("t_seconds_bucket{le=\"0.0001\"} 0\n"), "{text}");
        assert!(text.contains("t_seconds_bucket{le=\"0.00025\"} 1\n"), "{text}");
        assert!(text.contains("t_seconds_bucket{le=\"+Inf\"} 1\n"), "{text}");
        assert!(text.contains("t_seconds_sum 0.00015\n"), "{text}");
        assert!(text.ends_with("t_seconds_count 1\n"), "{text}");
    }
}
