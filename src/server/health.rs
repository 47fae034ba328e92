//! Asks providers whether they are well, so that no request has to find out.
//!
//! The first worker keeps the time; a thread of the blocking pool asks, with the blocking client.

use std::sync::Arc;
use std::time::Duration;

use super::worker::{MARK_HEALTH, MARK_SHIFT, Worker};
use crate::ai::balance;
use crate::ai::health::Trouble;
use crate::pipeline::{App, Provider};
use crate::sys::clock;

impl Worker {
    /// Asks who is due, and sets when it looks again. Done by the first worker only.
    pub(super) fn check_health(&mut self) {
        let app = Arc::clone(&*self.app);
        let mut next_ms = u64::MAX;
        for (index, provider) in app.providers.iter().enumerate() {
            if provider.health_path.is_empty() || provider.base.host.is_empty() {
                continue;
            }
            let due_ms = self.health_due.get(&provider.id).copied().unwrap_or(0);
            let due_ms = if due_ms <= self.now_ms {
                self.ask_health(&app, index);
                self.now_ms + provider.health_ms
            } else {
                due_ms
            };
            self.health_due.insert(provider.id, due_ms);
            next_ms = next_ms.min(due_ms);
        }
        self.health_due.retain(|id, _| app.providers.iter().any(|provider| provider.id == *id));
        let at_ms = if self.is_draining { u64::MAX } else { next_ms };
        self.health_deadline.set(&mut self.wheel, at_ms, MARK_HEALTH << MARK_SHIFT);
    }

    pub(super) fn on_health_timer(&mut self) {
        if self.health_deadline.fired(&mut self.wheel, self.now_ms, MARK_HEALTH << MARK_SHIFT) {
            self.check_health();
        }
    }

    fn ask_health(&self, app: &Arc<App>, index: usize) {
        let app = Arc::clone(app);
        let job = Box::new(move || {
            let (Some(provider), Some(link)) = (app.providers.get(index), app.router.link(index))
            else {
                return;
            };
            if is_well(provider) {
                link.good();
                return;
            }
            let now_us = clock::monotonic_us();
            let breaker = &app.settings.breaker;
            let random = balance::mix(now_us);
            if link.bad(Trouble::Refused, breaker, now_us / 1_000, random) {
                tracing::warn!("the provider {} is not well and left alone", provider.name);
            }
        });
        // A full pool has more urgent work: the next question will be asked.
        drop(self.core.pool.submit(job));
    }
}

fn is_well(provider: &Provider) -> bool {
    let base = &provider.base;
    let scheme = if base.is_tls { "https" } else { "http" };
    let url = format!("{scheme}://{}{}{}", base.authority, base.path, provider.health_path);
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_millis(provider.connect_ms)))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .build()
        .into();
    let mut request = agent.get(url);
    let lines = std::str::from_utf8(&provider.credential).unwrap_or_default();
    for (name, value) in lines.split("\r\n").filter_map(|line| line.split_once(": ")) {
        request = request.header(name, value);
    }
    request.call().is_ok_and(|answer| answer.status().as_u16() < 500)
}
