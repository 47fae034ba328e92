//! What workers tell: a span for each request and one for each attempt at a model, and their
//! measures.

use std::sync::Arc;

use super::{Attribute, HttpKey, OperationKey, SpanKind, SpanRecord, Took, unix_ns};
use crate::ai::balance;
use crate::ai::chat::Usage;
use crate::base::error::Failure;
use crate::base::slab::Key;
use crate::exchange::{Exchange, Peer, Request, Trace};
use crate::http::head::Version;
use crate::http::method::Method;
use crate::http::trace_context::{SpanId, TraceContext};
use crate::pipeline::{Provider, Sampling};
use crate::server::access::{Told, path_of};
use crate::server::counts::dollars;
use crate::server::worker::Worker;

/// Of an answer only so much is searched for the name of the model that gives it, in bytes.
const MODEL_WITHIN_BYTES: usize = 4096;
/// Bytes of that name, at most.
const MODEL_BYTES_MAX: usize = 256;

/// An attempt at a model that is under way.
pub(in crate::server) struct Observed {
    operation: &'static str,
    provider: Arc<Provider>,
    /// The model's name in the configuration, and the provider's.
    route: String,
    model: String,
    /// Its span, and that of the request.
    context: TraceContext,
    parent: Option<SpanId>,
    is_stream: bool,
    began_us: u64,
    pub(in crate::server) first_token_us: Option<u64>,
    pub(in crate::server) usage: Option<Usage>,
    pub(in crate::server) cost_nano: Option<u64>,
    /// What the provider calls the model that answers, and how far it was looked for.
    answered_by: Option<String>,
    searched_bytes: usize,
}

impl Observed {
    /// Looks for the name of the model in the first bytes of the answer. In a JSON string the
    /// quotes around `model` would be escaped.
    pub(in crate::server) fn look(&mut self, bytes: &[u8]) {
        if self.answered_by.is_some() || self.searched_bytes >= MODEL_WITHIN_BYTES {
            return;
        }
        self.searched_bytes += bytes.len();
        let bytes = bytes.get(..MODEL_WITHIN_BYTES).unwrap_or(bytes);
        self.answered_by = model_in(bytes).map(str::to_owned);
    }
}

/// The value of a member `model` or `modelVersion`.
fn model_in(bytes: &[u8]) -> Option<&str> {
    let names = [&b"\"model\""[..], b"\"modelVersion\""];
    let rest = names.iter().find_map(|name| {
        let at = memchr::memmem::find(bytes, name)?;
        bytes.get(at + name.len()..)
    })?;
    let rest = rest.trim_ascii_start().strip_prefix(b":")?;
    let rest = rest.trim_ascii_start().strip_prefix(b"\"")?;
    let name = rest.get(..memchr::memchr(b'"', rest)?)?;
    let is_plain = name.len() <= MODEL_BYTES_MAX && !name.contains(&b'\\');
    std::str::from_utf8(name).ok().filter(|name| is_plain && !name.is_empty())
}

/// How a failure is called: the provider's status, or our own word.
pub(in crate::server) fn error_type(failure: &Failure) -> String {
    match (failure.upstream_status, &failure.code) {
        (Some(status), _) => status.to_string(),
        (None, Some(code)) => code.to_string(),
        (None, None) => failure.status.to_string(),
    }
}

/// The conventions' name of a kind of provider.
fn provider_name(kind: &str) -> &str {
    match kind {
        "gemini" => "gcp.gemini",
        "mistral" => "mistral_ai",
        "xai" => "x_ai",
        "azure" => "azure.ai.openai",
        other => other,
    }
}

fn method_name(method: Method) -> &'static str {
    match method.as_str() {
        "" => "_OTHER",
        name => name,
    }
}

impl Worker {
    fn random_id<const N: usize>(&mut self) -> [u8; N] {
        let mut id = [0; N];
        while id == [0; N] {
            for part in id.chunks_mut(8) {
                self.chance = balance::mix(self.chance);
                let bytes = self.chance.to_be_bytes();
                part.copy_from_slice(bytes.get(..part.len()).unwrap_or(&bytes));
            }
        }
        id
    }

    /// The place of a request in a trace: the one that its client says, else a new one.
    pub(in crate::server) fn place(&mut self, request: &Request, sampling: Sampling) -> Trace {
        let mut values = request.header_values(b"traceparent");
        let told = match (values.next(), values.next()) {
            (Some(value), None) => TraceContext::parse(value),
            _ => None,
        };
        self.placed(told, sampling)
    }

    /// The place of what nobody has asked for over HTTP.
    pub(in crate::server) fn placed(
        &mut self,
        told: Option<TraceContext>,
        sampling: Sampling,
    ) -> Trace {
        let span_id = self.random_id();
        match told {
            Some(TraceContext { trace_id, span_id: parent, is_sampled }) => Trace {
                context: TraceContext { trace_id, span_id, is_sampled },
                parent: Some(parent),
                route: None,
            },
            None => {
                let trace_id = self.random_id();
                let is_sampled = sampling.takes(&trace_id);
                let context = TraceContext { trace_id, span_id, is_sampled };
                Trace { context, parent: None, route: None }
            }
        }
    }

    /// A moment of the loop's clock as nanoseconds since 1970.
    fn unix_ns_at(&self, at_us: u64) -> u64 {
        unix_ns().saturating_sub(self.now_us.saturating_sub(at_us).saturating_mul(1_000))
    }

    /// A request is answered, or nobody waits for it any more.
    pub(in crate::server) fn report_request(&mut self, told: &Told, exchange: &Exchange) {
        let request = &exchange.request;
        let Some(trace) = request.trace() else { return };
        let took_us = self.now_us.saturating_sub(told.started_us);
        let method = method_name(request.method());
        let scheme = if told.is_tls { "https" } else { "http" };
        let key = HttpKey { method, scheme, status: told.status, route: trace.route.clone() };
        if let Some(measures) = self.core.telemetry.measures(self.index) {
            measures.lock().request(key, took_us);
        }
        if !trace.context.is_sampled {
            return;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let version = match request.head().version {
            Version::Http10 => "1.0",
            Version::Http11 => "1.1",
        };
        let mut attributes: Vec<(&'static str, Attribute)> = vec![
            ("http.request.method", method.into()),
            ("url.path", text(path_of(request.target_text())).into()),
            ("url.scheme", scheme.into()),
            ("network.protocol.version", version.into()),
            ("neurohttp.request.id", request.id_text().to_owned().into()),
        ];
        if let Peer::Tcp(address) = request.peer() {
            attributes.push(("client.address", address.ip().to_string().into()));
            attributes.push(("client.port", address.port().into()));
        }
        if let Some(route) = &trace.route {
            attributes.push(("http.route", route.as_str().to_owned().into()));
        }
        match told.status {
            0 => attributes.push(("error.type", "cancelled".into())),
            status => attributes.push(("http.response.status_code", status.into())),
        }
        if told.status >= 500 {
            attributes.push(("error.type", told.status.to_string().into()));
        }
        let name = match &trace.route {
            Some(route) => format!("{method} {}", route.as_str()),
            None => method.to_owned(),
        };
        let span = SpanRecord {
            context: trace.context,
            parent: trace.parent,
            name,
            kind: SpanKind::Server,
            start_ns: self.unix_ns_at(told.started_us),
            end_ns: self.unix_ns_at(self.now_us),
            attributes,
            is_error: told.status >= 500,
        };
        self.core.telemetry.add(span);
    }

    /// An attempt begins.
    pub(in crate::server) fn observe(&mut self, key: Key) {
        let began_us = self.now_us;
        let Some(state) = self.calls.get_mut(key) else { return };
        state.observed = None;
        let (Some(app), Some(call)) = (&state.app, &state.call) else { return };
        if app.settings.sampling.is_none() {
            return;
        }
        let Some(step) = call.traced() else { return };
        let Some(provider) = app.providers.get(step.provider) else { return };
        state.observed = Some(Box::new(Observed {
            operation: step.operation,
            provider: Arc::clone(provider),
            route: step.route.to_owned(),
            model: step.model.to_owned(),
            context: step.context,
            parent: step.parent,
            is_stream: call.is_stream(),
            began_us,
            first_token_us: None,
            usage: None,
            cost_nano: None,
            answered_by: None,
            searched_bytes: 0,
        }));
    }

    /// An attempt is over; `error` says how, when it has failed.
    pub(in crate::server) fn report_attempt(&mut self, key: Key, error: Option<String>) {
        let observed = self.calls.get_mut(key).and_then(|state| state.observed.take());
        if let Some(observed) = observed {
            self.report_observed(*observed, error);
        }
    }

    /// The same for an attempt that has left its call.
    pub(in crate::server) fn report_observed(&mut self, observed: Observed, error: Option<String>) {
        let took_us = self.now_us.saturating_sub(observed.began_us);
        let provider = &observed.provider;
        let name = provider_name(&provider.kind);
        let series = OperationKey {
            operation: observed.operation,
            provider: name.to_owned(),
            model: observed.route.clone(),
            address: provider.base.host.clone(),
            port: provider.base.port,
            error: error.clone().unwrap_or_default(),
        };
        let usage = observed.usage;
        let took = Took {
            took_us,
            first_token_us: observed.first_token_us.filter(|_| observed.is_stream),
            tokens: usage.map(|usage| (usage.prompt_tokens, usage.completion_tokens)),
        };
        if let Some(measures) = self.core.telemetry.measures(self.index) {
            measures.lock().operation(series, &took);
        }
        if !observed.context.is_sampled {
            return;
        }
        let is_local = provider.base.host.is_empty();
        let mut attributes: Vec<(&'static str, Attribute)> = vec![
            ("gen_ai.operation.name", observed.operation.into()),
            ("gen_ai.provider.name", name.to_owned().into()),
            ("gen_ai.request.model", observed.model.as_str().to_owned().into()),
            ("neurohttp.provider", provider.name.as_str().to_owned().into()),
            ("neurohttp.model", observed.route.as_str().to_owned().into()),
        ];
        if !is_local {
            attributes.push(("server.address", provider.base.host.as_str().to_owned().into()));
            attributes.push(("server.port", provider.base.port.into()));
        }
        if let Some(model) = observed.answered_by {
            attributes.push(("gen_ai.response.model", model.into()));
        }
        if let Some(usage) = usage {
            attributes.push(("gen_ai.usage.input_tokens", usage.prompt_tokens.into()));
            attributes.push(("gen_ai.usage.output_tokens", usage.completion_tokens.into()));
            if let Some(cached) = usage.cached {
                attributes.push(("gen_ai.usage.cache_read.input_tokens", cached.into()));
            }
            if let Some(written) = usage.cache_written {
                attributes.push(("gen_ai.usage.cache_creation.input_tokens", written.into()));
            }
            if usage.is_estimated {
                attributes.push(("neurohttp.usage.estimated", true.into()));
            }
        }
        if let Some(cost_nano) = observed.cost_nano {
            attributes.push(("neurohttp.cost_usd", dollars(cost_nano).into()));
        }
        if let Some(first_us) = took.first_token_us {
            let seconds = first_us as f64 / 1e6;
            attributes.push(("gen_ai.response.time_to_first_chunk", seconds.into()));
        }
        let is_error = error.is_some();
        if let Some(error) = error {
            attributes.push(("error.type", error.into()));
        }
        let span = SpanRecord {
            context: observed.context,
            parent: observed.parent,
            name: format!("{} {}", observed.operation, observed.model),
            kind: if is_local { SpanKind::Internal } else { SpanKind::Client },
            start_ns: self.unix_ns_at(observed.began_us),
            end_ns: self.unix_ns_at(self.now_us),
            attributes,
            is_error,
        };
        self.core.telemetry.add(span);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_that_answers_is_found_where_it_stands() {
        for (text, model) in [
            (r#"data: {"id":"x","model":"gpt-4o-2024","choices":[]}"#, Some("gpt-4o-2024")),
            (r#"{ "model" : "m" }"#, Some("m")),
            (r#"{"candidates":[],"modelVersion":"gemini-2"}"#, Some("gemini-2")),
            (r#"{"content":"\"model\":\"forged\"","#, None),
            (r#"{"model":"cut"#, None),
            (r#"{"model":"a\u0062"}"#, None),
            (r#"{"model":null}"#, None),
            (r#"{"model":""}"#, None),
        ] {
            assert_eq!(model_in(text.as_bytes()), model, "{text}");
        }
        let long = format!("{{\"model\":\"{}\"}}", "m".repeat(MODEL_BYTES_MAX + 1));
        assert_eq!(model_in(long.as_bytes()), None);
    }
}
