//! The thread that delivers: a batch of spans as soon as there is one, and everything each
//! interval. One delivery at a time; one that fails for a while is tried again with growing pauses
//! while the queue fills up and then drops (OTLP specification, "Failures").

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Destination, Measures, Shared, SpanRecord, otlp, unix_ns};
use crate::base::limits;

/// An answer of a collector is never read beyond this.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// The first pause after a failure, and the longest.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What came of a delivery.
enum Delivery {
    Taken(Value),
    /// It may be taken later; after so long, if the collector said so.
    Later(String, Option<Duration>),
    Refused(String),
}

/// What the thread knows from one delivery to the next.
struct Sender {
    pause: Duration,
    /// Nothing is sent before.
    not_before: Instant,
    is_failing: bool,
}

/// Delivers until there is no destination any more or the server has ended.
pub(super) fn run(shared: &Arc<Shared>) {
    let mut sender = Sender { pause: PAUSE_MIN, not_before: Instant::now(), is_failing: false };
    let mut delivered = Instant::now();
    loop {
        let mut state = shared.state.lock();
        let (destination, is_over) = loop {
            let Some(destination) = state.destination.clone() else {
                state.is_running = false;
                shared.changed.notify_all();
                return;
            };
            let due = (delivered + destination.interval()).max(sender.not_before);
            let now = Instant::now();
            let has_batch = state.spans.len() >= limits::SPANS_SENT_MAX;
            if state.is_over || now >= due || has_batch && now >= sender.not_before {
                break (destination, state.is_over);
            }
            let until = if has_batch { sender.not_before } else { due };
            shared.changed.wait_until(&mut state, until);
        };
        let count = state.spans.len().min(limits::SPANS_SENT_MAX);
        let spans: Vec<SpanRecord> = state.spans.drain(..count).collect();
        let has_more = !state.spans.is_empty();
        drop(state);
        let is_due = is_over || Instant::now() >= delivered + destination.interval();
        let is_taken = sender.spans(shared, &destination, spans, is_over)
            && (!is_due || has_more || sender.measures(shared, &destination, is_over));
        if is_due && !has_more {
            delivered = Instant::now();
        }
        if is_over && (!is_taken || !has_more) {
            let mut state = shared.state.lock();
            shared.drop_all(&mut state);
            state.is_running = false;
            shared.changed.notify_all();
            return;
        }
    }
}

impl Sender {
    /// Whether the collector answers.
    fn spans(
        &mut self,
        shared: &Shared,
        destination: &Destination,
        spans: Vec<SpanRecord>,
        is_over: bool,
    ) -> bool {
        if spans.is_empty() {
            return true;
        }
        let count = spans.len() as u64;
        let body = otlp::traces(destination.service_name(), &shared.instance, &spans);
        let (sent, dropped) = match deliver(destination, "/v1/traces", &body, is_over) {
            Delivery::Taken(answer) => {
                self.went_well(shared);
                let rejected = rejected(&answer, "rejectedSpans").min(count);
                (count - rejected, rejected)
            }
            Delivery::Refused(reason) => {
                self.failed(shared, &reason, None);
                (0, count)
            }
            Delivery::Later(reason, after) => {
                self.failed(shared, &reason, after);
                if is_over {
                    shared.counts.dropped.fetch_add(count, Relaxed);
                } else {
                    keep(shared, spans);
                }
                return false;
            }
        };
        shared.counts.sent.fetch_add(sent, Relaxed);
        shared.counts.dropped.fetch_add(dropped, Relaxed);
        true
    }

    /// Whether the collector answers. What it does not take is in the next delivery: it is
    /// cumulative.
    fn measures(&mut self, shared: &Shared, destination: &Destination, is_over: bool) -> bool {
        let mut sum = Measures::default();
        for measures in &shared.measures {
            // A copy: the worker is not held up while its figures are added.
            let copy = measures.lock().clone();
            sum.add(&copy);
        }
        let metrics = sum.to_json(shared.since_ns, unix_ns());
        if metrics.is_empty() {
            return true;
        }
        let body = otlp::metrics(destination.service_name(), &shared.instance, metrics).to_string();
        match deliver(destination, "/v1/metrics", body.as_bytes(), is_over) {
            Delivery::Taken(_) => {
                self.went_well(shared);
                true
            }
            Delivery::Refused(reason) => {
                self.failed(shared, &reason, None);
                true
            }
            Delivery::Later(reason, after) => {
                self.failed(shared, &reason, after);
                false
            }
        }
    }

    fn went_well(&mut self, shared: &Shared) {
        self.pause = PAUSE_MIN;
        if std::mem::take(&mut self.is_failing) {
            shared.tell(|| tracing::info!("telemetry is taken again"));
        }
    }

    fn failed(&mut self, shared: &Shared, reason: &str, after: Option<Duration>) {
        shared.counts.failed.fetch_add(1, Relaxed);
        self.not_before = Instant::now() + after.unwrap_or(self.pause).min(PAUSE_MAX);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        if !std::mem::replace(&mut self.is_failing, true) {
            shared.tell(|| tracing::warn!("telemetry was not taken: {reason}"));
        }
    }
}

/// Puts a batch back before those that came meanwhile; the newest find no room.
fn keep(shared: &Shared, spans: Vec<SpanRecord>) {
    let mut state = shared.state.lock();
    for span in spans.into_iter().rev() {
        state.spans.push_front(span);
    }
    let beyond = state.spans.len().saturating_sub(limits::SPANS_WAITING_MAX);
    let kept = state.spans.len() - beyond;
    state.spans.truncate(kept);
    shared.counts.dropped.fetch_add(beyond as u64, Relaxed);
}

fn deliver(destination: &Destination, path: &str, body: &[u8], is_over: bool) -> Delivery {
    let wait_ms = match is_over {
        // Less than the end of the server waits.
        true => limits::TELEMETRY_FLUSH_MS / 2,
        false => limits::TELEMETRY_MS,
    };
    let mut request = destination
        .agent
        .post(format!("{}{path}", destination.endpoint()))
        .config()
        .timeout_global(Some(Duration::from_millis(wait_ms)))
        .build()
        .header("content-type", "application/json");
    for (name, value) in destination.headers() {
        request = request.header(name, value);
    }
    let mut answer = match request.send(body) {
        Ok(answer) => answer,
        Err(error) => return Delivery::Later(error.to_string(), None),
    };
    let status = answer.status().as_u16();
    let reason = || format!("{path}: status {status}");
    match status {
        200..=299 => {
            let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
            let told = text.ok().and_then(|text| serde_json::from_str(&text).ok());
            Delivery::Taken(told.unwrap_or_default())
        }
        429 | 502 | 503 | 504 => {
            let after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
            let seconds = after.and_then(|value| value.trim().parse().ok());
            Delivery::Later(reason(), seconds.map(Duration::from_secs))
        }
        _ => Delivery::Refused(reason()),
    }
}

/// How much of a delivery a collector has not taken: a number of 64 bits, as text or not.
fn rejected(answer: &Value, name: &str) -> u64 {
    let Some(partial) = answer.get("partialSuccess") else { return 0 };
    let rejected = partial.get(name).and_then(|value| match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_u64(),
    });
    rejected.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_success_is_read_in_both_spellings() {
        let rejected = |text: &str| rejected(&serde_json::from_str(text).unwrap(), "rejectedSpans");
        assert_eq!(rejected("{}"), 0);
        assert_eq!(rejected(r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"x"}}"#), 3);
        assert_eq!(rejected(r#"{"partialSuccess":{"rejectedSpans":4}}"#), 4);
        assert_eq!(rejected(r#"{"partialSuccess":{"rejectedSpans":-4}}"#), 0);
        assert_eq!(rejected(r#"{"partialSuccess":[]}"#), 0);
    }
}
