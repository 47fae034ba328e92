//! What of `/metrics` a gateway has beside its counts: times and targets of models, the optimizer.
//!
//! Labels are names of the configuration and words of ours, so that a client cannot add a series.

use super::core::Core;
use super::counts::ModelTimes;
use super::metrics::Page;
use crate::base::metrics::Distribution;

impl Core {
    /// How long models take. Every model of the configuration, also before anybody has asked for it.
    pub(super) fn add_model_times(&self, page: &mut Page) {
        let models = self.model_times();
        let labels: Vec<_> = models.keys().map(|name| [("model", name.as_str())]).collect();
        let times = |get: fn(&ModelTimes) -> &Distribution| -> Vec<_> {
            labels.iter().map(|label| label.as_slice()).zip(models.values().map(get)).collect()
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

    /// What became of what a collector is told.
    pub(super) fn add_telemetry(&self, page: &mut Page) {
        let [sent, dropped, failed, waiting] = self.telemetry.figures();
        page.counter(
            "neurohttp_telemetry_spans_total",
            "Steps of traces that a collector has taken, and those that were dropped.",
            &[(&[("result", "sent")], sent as f64), (&[("result", "dropped")], dropped as f64)],
        );
        page.counter(
            "neurohttp_telemetry_failures_total",
            "Deliveries that a collector has not taken.",
            &[(&[], failed as f64)],
        );
        page.gauge(
            "neurohttp_telemetry_waiting_spans",
            "Steps of traces that wait for their delivery.",
            &[(&[], waiting as f64)],
        );
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
