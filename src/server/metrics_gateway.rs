//! What of `/metrics` a gateway has beside its counts: times and targets of models, the optimizer.
//!
//! Labels are names of the configuration and words of ours, so that a client cannot add a series.

use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Value, json};

use super::conn::Doing;
use super::core::{Core, WorkerHandle};
use super::counts::ModelTimes;
use super::metrics::Page;
use crate::ai::health::Circuit;
use crate::base::metrics::Distribution;
use crate::sys::clock;

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

    /// Whether each target of a model may be asked, and how its circuit stands.
    pub(super) fn add_targets(&self, page: &mut Page) {
        let app = self.app();
        let now_ms = clock::monotonic_ms();
        let mut targets = Vec::new();
        for route in app.router.routes() {
            for (index, target) in route.targets.iter().enumerate() {
                let provider = app.providers.get(target.provider);
                let provider = provider.map_or("", |provider| provider.name.as_str());
                targets.push((route.name.as_str(), provider, index.to_string(), target));
            }
        }
        let labels: Vec<_> = targets
            .iter()
            .map(|(model, provider, index, _)| {
                [("model", *model), ("provider", *provider), ("target", index.as_str())]
            })
            .collect();
        let is_open = targets.iter().map(|(.., it)| f64::from(u8::from(it.is_open_for(now_ms))));
        let samples: Vec<_> = labels.iter().map(|label| label.as_slice()).zip(is_open).collect();
        page.gauge(
            "neurohttp_ai_target_available",
            "1: this target of a model is asked; 0: its circuit is open.",
            &samples,
        );
        let mut states = Vec::new();
        for (&[model, provider, index], (.., target)) in labels.iter().zip(&targets) {
            let now = target.circuit(now_ms);
            for circuit in Circuit::ALL {
                let labels = [model, provider, index, ("state", circuit.name())];
                states.push((labels, f64::from(u8::from(circuit == now))));
            }
        }
        let states: Vec<_> = states.iter().map(|(labels, it)| (labels.as_slice(), *it)).collect();
        page.gauge(
            "neurohttp_ai_target_circuit",
            "1: the circuit of this target of a model stands so.",
            &states,
        );
    }

    /// Connections to providers, and who waits for one.
    pub(super) fn add_providers(&self, page: &mut Page) {
        let app = self.app();
        let all = app.providers.iter().map(|it| (it.name.as_str(), self.pool_figures(it.id)));
        let all: Vec<_> = all.collect();
        let mut states = Vec::new();
        for (name, figures) in &all {
            let active = figures.open.saturating_sub(figures.idle);
            for (state, count) in [("active", active), ("idle", figures.idle)] {
                states.push(([("provider", *name), ("state", state)], count as f64));
            }
        }
        let states: Vec<_> = states.iter().map(|(labels, it)| (labels.as_slice(), *it)).collect();
        page.gauge(
            "neurohttp_provider_connections",
            "Connections to a provider: those with a request, or on their way to one, and idle ones.",
            &states,
        );
        let labels: Vec<_> = all.iter().map(|(name, _)| [("provider", *name)]).collect();
        let waiting = all.iter().map(|(_, figures)| figures.waiting as f64);
        let waiting: Vec<_> = labels.iter().map(|label| label.as_slice()).zip(waiting).collect();
        page.gauge(
            "neurohttp_provider_waiting_requests",
            "Requests that wait for a connection to a provider.",
            &waiting,
        );
    }

    /// Connections of clients by what they are doing.
    pub(super) fn add_doing(&self, page: &mut Page) {
        let labels = Doing::ALL.map(|(_, name)| [("state", name)]);
        let counts = self.doing().map(|(_, count)| count as f64);
        let samples: Vec<_> = labels.iter().map(|label| label.as_slice()).zip(counts).collect();
        page.gauge(
            "neurohttp_connections_by_state",
            "Connections open, by what they are doing.",
            &samples,
        );
    }

    /// How many connections are doing what.
    fn doing(&self) -> [(&'static str, u64); Doing::ALL.len()] {
        Doing::ALL.map(|(doing, name)| {
            let of = |worker: &WorkerHandle| worker.stats.doing[doing as usize].get();
            (name, self.workers.iter().map(of).sum())
        })
    }

    pub(super) fn doing_json(&self) -> Value {
        self.doing().into_iter().map(|(name, count)| (name.to_owned(), json!(count))).collect()
    }

    /// What `/stats` says of providers.
    pub(super) fn providers_json(&self) -> Value {
        let app = self.app();
        let now_ms = clock::monotonic_ms();
        let all = app.providers.iter().enumerate().map(|(index, provider)| {
            let figures = self.pool_figures(provider.id);
            let link = app.router.link(index);
            let value = json!({
                "circuit": link.map_or("closed", |link| link.circuit(now_ms).name()),
                "retry_in_ms": link.map_or(0, |link| link.pause_ms(now_ms)),
                "connections": {
                    "active": figures.open.saturating_sub(figures.idle),
                    "idle": figures.idle,
                },
                "waiting": figures.waiting,
            });
            (provider.name.clone(), value)
        });
        all.collect()
    }

    /// What `/stats` says of the targets of models.
    pub(super) fn targets_json(&self) -> Value {
        let app = self.app();
        let now_ms = clock::monotonic_ms();
        let all = app.router.listing().flat_map(|listed| {
            let app = &app;
            listed.route.targets.iter().map(move |target| {
                json!({
                    "model": listed.model.name,
                    "provider": app.providers.get(target.provider).map(|it| it.name.as_str()),
                    "provider_model": target.model(),
                    "circuit": target.circuit(now_ms).name(),
                    "retry_in_ms": target.pause_ms(now_ms),
                })
            })
        });
        all.collect()
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

    /// What the log has not got.
    pub(super) fn add_log(&self, page: &mut Page) {
        page.counter(
            "neurohttp_log_lines_lost_total",
            "Lines of the log that found no room or could not be written.",
            &[(&[], self.log_lost.load(Relaxed) as f64)],
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
