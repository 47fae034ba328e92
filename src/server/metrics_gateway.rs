//! The part of `/metrics` that a gateway has: models and their targets, the cache, the firewall, the
//! optimizer.
//!
//! Labels are names of the configuration and words of ours, so that a client cannot add a series.

use super::core::Core;
use super::counts::Totals;
use super::metrics::Page;
use crate::base::metrics::Distribution;
use crate::firewall;

impl Core {
    /// Every model of the configuration, also before anybody has asked for it: rates begin at 0.
    pub(super) fn add_models(&self, page: &mut Page) {
        let models = self.model_totals();
        let labels: Vec<_> = models.keys().map(|name| [("model", name.as_str())]).collect();
        let of_each = |get: fn(&Totals) -> u64| -> Vec<_> {
            let values = models.values().map(|totals| get(totals) as f64);
            labels.iter().map(|label| label.as_slice()).zip(values).collect()
        };
        for (name, help, get) in [
            (
                "neurohttp_ai_model_requests_total",
                "Requests to a model.",
                (|t| t.requests) as fn(&Totals) -> u64,
            ),
            (
                "neurohttp_ai_model_failures_total",
                "Requests to a model that no target has answered.",
                |t| t.failures,
            ),
            (
                "neurohttp_ai_model_cancelled_total",
                "Requests to a model that whoever asked has given up.",
                |t| t.cancelled,
            ),
        ] {
            page.counter(name, help, &of_each(get));
        }
        let kinds = ["prompt", "completion"];
        let pairs: Vec<_> = models
            .iter()
            .flat_map(|(name, totals)| {
                let values = [totals.prompt_tokens, totals.completion_tokens];
                kinds.into_iter().zip(values).map(move |(kind, value)| {
                    ([("model", name.as_str()), ("type", kind)], value as f64)
                })
            })
            .collect();
        let samples: Vec<_> =
            pairs.iter().map(|(label, value)| (label.as_slice(), *value)).collect();
        page.counter(
            "neurohttp_ai_model_tokens_total",
            "Tokens of a model as its providers have counted them.",
            &samples,
        );
        let times = |get: fn(&Totals) -> &Distribution| -> Vec<_> {
            let all = models.values().map(get);
            labels.iter().map(|label| label.as_slice()).zip(all).collect()
        };
        page.histograms(
            "neurohttp_ai_model_duration_seconds",
            "From the start of a request to a model to the end of its answer.",
            &times(|totals| &totals.latency),
        );
        page.histograms(
            "neurohttp_ai_model_time_to_first_token_seconds",
            "From the start of a request to a model to the first piece of its answer.",
            &times(|totals| &totals.first_token),
        );
    }

    /// Whether each target of a model may be asked.
    pub(super) fn add_targets(&self, page: &mut Page) {
        let app = self.app();
        let now_ms = crate::sys::clock::monotonic_ms();
        let targets: Vec<_> = app
            .router
            .routes()
            .flat_map(|route| {
                route.targets.iter().enumerate().map(|(index, target)| {
                    let provider = app.providers.get(target.provider);
                    let provider = provider.map_or("", |provider| provider.name.as_str());
                    let is_open = target.is_open_for(now_ms);
                    (route.name.clone(), provider.to_owned(), index.to_string(), is_open)
                })
            })
            .collect();
        let labels: Vec<_> = targets
            .iter()
            .map(|(model, provider, index, _)| {
                [("model", model.as_str()), ("provider", provider), ("target", index)]
            })
            .collect();
        let values = targets.iter().map(|(.., is_open)| f64::from(u8::from(*is_open)));
        let samples: Vec<_> = labels.iter().map(|label| label.as_slice()).zip(values).collect();
        page.gauge(
            "neurohttp_ai_target_available",
            "1: this target of a model is asked; 0: its circuit is open.",
            &samples,
        );
    }

    pub(super) fn add_cache(&self, page: &mut Page) {
        let cache = self.app().cache.stats();
        let figure =
            |name: &str| cache.get(name).and_then(serde_json::Value::as_f64).unwrap_or(0.0);
        for (name, help, member) in [
            ("neurohttp_cache_hits_total", "Answers given from the cache.", "hits"),
            ("neurohttp_cache_misses_total", "Requests whose answer was not kept.", "misses"),
            (
                "neurohttp_cache_coalesced_total",
                "Requests that shared the answer of another one in the making.",
                "coalesced",
            ),
            ("neurohttp_cache_evictions_total", "Answers that had to make room.", "evicted"),
        ] {
            page.counter(name, help, &[(&[], figure(member))]);
        }
        page.gauge("neurohttp_cache_entries", "Answers kept.", &[(&[], figure("entries"))]);
        page.gauge("neurohttp_cache_bytes", "Bytes of answers kept.", &[(&[], figure("bytes"))]);
    }

    pub(super) fn add_firewall(&self, page: &mut Page) {
        let app = self.app();
        let stats = app.firewall.stats();
        let labels: Vec<_> =
            firewall::Counter::ALL.iter().map(|counter| [("event", counter.name())]).collect();
        let values = firewall::Counter::ALL.iter().map(|counter| stats.get(*counter) as f64);
        let samples: Vec<_> = labels.iter().map(|label| label.as_slice()).zip(values).collect();
        page.counter("neurohttp_firewall_events_total", "What the firewall has done.", &samples);
    }

    pub(super) fn add_optimizer(&self, page: &mut Page) {
        page.counter(
            "neurohttp_optimizer_refused_total",
            "Requests refused by a limit that follows the load.",
            &[
                (&[("limit", "blocking")], self.sum(|s| s.shed_blocking.get())),
                (&[("limit", "turns")], self.sum(|s| s.shed_turns.get())),
                (&[("limit", "upstreams")], self.sum(|s| s.shed_upstreams.get())),
            ],
        );
        page.gauge(
            "neurohttp_blocking_waiting_limit",
            "Requests that may wait for a thread of the blocking pool.",
            &[(&[], self.pool.request_limit() as f64)],
        );
    }
}
