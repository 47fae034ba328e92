//! OTLP's messages as JSON (opentelemetry-proto 1.x, "JSON Protobuf Encoding"): names in
//! lowerCamelCase, ids in hexadecimal, 64-bit numbers as strings.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::SpanRecord;
use crate::ai::write::{self, Array, Object};
use crate::http::trace_context::write_hex;

/// About what a span takes.
const SPAN_BYTES: usize = 1024;

/// An attribute's value.
#[derive(Clone, Debug)]
pub(in crate::server) enum Attribute {
    Text(Cow<'static, str>),
    Number(u64),
    Fraction(f64),
    Flag(bool),
}

impl From<&'static str> for Attribute {
    fn from(text: &'static str) -> Attribute {
        Attribute::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Attribute {
    fn from(text: String) -> Attribute {
        Attribute::Text(Cow::Owned(text))
    }
}

impl From<u64> for Attribute {
    fn from(number: u64) -> Attribute {
        Attribute::Number(number)
    }
}

impl From<u16> for Attribute {
    fn from(number: u16) -> Attribute {
        Attribute::Number(u64::from(number))
    }
}

impl From<f64> for Attribute {
    fn from(fraction: f64) -> Attribute {
        Attribute::Fraction(fraction)
    }
}

impl From<bool> for Attribute {
    fn from(flag: bool) -> Attribute {
        Attribute::Flag(flag)
    }
}

/// A number of 64 bits.
pub(super) fn number(number: u64) -> Value {
    Value::String(number.to_string())
}

pub(super) fn attribute(key: &str, value: &Attribute) -> Value {
    let value = match value {
        Attribute::Text(text) => json!({ "stringValue": text }),
        Attribute::Number(it) => json!({ "intValue": number(*it) }),
        Attribute::Fraction(it) => json!({ "doubleValue": it }),
        Attribute::Flag(it) => json!({ "boolValue": it }),
    };
    json!({ "key": key, "value": value })
}

pub(super) fn attributes(all: &[(&'static str, Attribute)]) -> Vec<Value> {
    all.iter().map(|(key, value)| attribute(key, value)).collect()
}

/// Who sends: the attributes of every message.
fn resource(service_name: &str, instance: &str) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    json!({ "attributes": attributes(&[
        ("service.name", service_name.to_owned().into()),
        ("service.version", version.into()),
        ("service.instance.id", instance.to_owned().into()),
        ("telemetry.sdk.name", "neurohttp".into()),
        ("telemetry.sdk.language", "rust".into()),
        ("telemetry.sdk.version", version.into()),
    ]) })
}

fn scope() -> Value {
    json!({ "name": "neurohttp", "version": env!("CARGO_PKG_VERSION") })
}

/// The body of a `POST /v1/traces`. Written as it stands: spans are many, and a tree of values costs
/// ten times what they do.
pub(super) fn traces(service_name: &str, instance: &str, spans: &[SpanRecord]) -> Vec<u8> {
    let mut out = Vec::with_capacity(spans.len() * SPAN_BYTES + 1024);
    out.extend_from_slice(b"{\"resourceSpans\":[{\"resource\":");
    out.extend_from_slice(resource(service_name, instance).to_string().as_bytes());
    out.extend_from_slice(b",\"scopeSpans\":[{\"scope\":");
    out.extend_from_slice(scope().to_string().as_bytes());
    out.extend_from_slice(b",\"spans\":");
    let mut list = Array::begin(&mut out);
    for record in spans {
        write_span(record, list.item());
    }
    list.end();
    out.extend_from_slice(b"}]}]}");
    out
}

/// The body of a `POST /v1/metrics`.
pub(super) fn metrics(service_name: &str, instance: &str, metrics: Vec<Value>) -> Value {
    json!({ "resourceMetrics": [{
        "resource": resource(service_name, instance),
        "scopeMetrics": [{ "scope": scope(), "metrics": metrics }],
    }] })
}

fn write_span(record: &SpanRecord, out: &mut Vec<u8>) {
    let mut span = Object::begin(out);
    write_id(&record.context.trace_id, span.key("traceId"));
    write_id(&record.context.span_id, span.key("spanId"));
    if let Some(parent) = &record.parent {
        write_id(parent, span.key("parentSpanId"));
    }
    span.string("name", &record.name);
    write::number(span.key("kind"), record.kind as u64);
    write_number(record.start_ns, span.key("startTimeUnixNano"));
    write_number(record.end_ns, span.key("endTimeUnixNano"));
    let mut list = Array::begin(span.key("attributes"));
    for (key, value) in &record.attributes {
        write_attribute(key, value, list.item());
    }
    list.end();
    if record.is_error {
        // 2: error. What went well leaves its status unset.
        span.key("status").extend_from_slice(b"{\"code\":2}");
    }
    span.end();
}

fn write_attribute(key: &str, value: &Attribute, out: &mut Vec<u8>) {
    let mut pair = Object::begin(out);
    pair.string("key", key);
    let mut typed = Object::begin(pair.key("value"));
    match value {
        Attribute::Text(text) => _ = typed.string("stringValue", text),
        Attribute::Number(it) => write_number(*it, typed.key("intValue")),
        Attribute::Fraction(it) => {
            let text = Value::from(*it).to_string();
            typed.key("doubleValue").extend_from_slice(text.as_bytes());
        }
        Attribute::Flag(it) => {
            typed.key("boolValue").extend_from_slice(if *it { b"true" } else { b"false" });
        }
    }
    typed.end();
    pair.end();
}

/// A number of 64 bits, as text.
fn write_number(number: u64, out: &mut Vec<u8>) {
    out.push(b'"');
    write::number(out, number);
    out.push(b'"');
}

fn write_id(id: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    write_hex(id, out);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::trace_context::TraceContext;
    use crate::server::telemetry::SpanKind;

    /// Wrong: the message that is written is not the one that is meant, whatever a text holds.
    #[test]
    fn spans_are_written_as_their_values_would_be() {
        let attributes: Vec<(&'static str, Attribute)> = vec![
            ("text", "a \"b\" \\ \n \u{1} \u{1F600}".to_owned().into()),
            ("number", u64::MAX.into()),
            ("fraction", 0.25.into()),
            ("nothing", f64::NAN.into()),
            ("flag", true.into()),
        ];
        let values = super::attributes(&attributes);
        let span = SpanRecord {
            context: TraceContext { trace_id: [0xAB; 16], span_id: [1; 8], is_sampled: true },
            parent: Some([2; 8]),
            name: "GET /\u{7}".to_owned(),
            kind: SpanKind::Server,
            start_ns: 1,
            end_ns: u64::MAX,
            attributes,
            is_error: true,
        };
        let body = traces("n\"", "i", &[span.clone(), SpanRecord { parent: None, ..span }]);
        let body: Value = serde_json::from_slice(&body).unwrap();
        let scoped = &body["resourceSpans"][0]["scopeSpans"][0];
        assert_eq!(body["resourceSpans"][0]["resource"], resource("n\"", "i"));
        assert_eq!(scoped["scope"], scope());
        let mut want = json!({
            "traceId": "ab".repeat(16), "spanId": "01".repeat(8), "parentSpanId": "02".repeat(8),
            "name": "GET /\u{7}", "kind": 2, "startTimeUnixNano": "1",
            "endTimeUnixNano": u64::MAX.to_string(), "attributes": values, "status": { "code": 2 },
        });
        assert_eq!(scoped["spans"][0], want);
        want.as_object_mut().unwrap().remove("parentSpanId");
        assert_eq!(scoped["spans"][1], want);
    }
}
