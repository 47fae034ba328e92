//! OTLP's messages as JSON (opentelemetry-proto 1.x, "JSON Protobuf Encoding"): names in
//! lowerCamelCase, ids in hexadecimal, 64-bit numbers as strings.

use serde_json::{Value, json};

use super::SpanRecord;
use crate::http::trace_context::write_hex;

/// An attribute's value.
#[derive(Clone, Debug)]
pub(in crate::server) enum Attribute {
    Text(String),
    Number(u64),
    Fraction(f64),
    Flag(bool),
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Attribute {
        Attribute::Text(text.to_owned())
    }
}

impl From<String> for Attribute {
    fn from(text: String) -> Attribute {
        Attribute::Text(text)
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
        ("service.name", service_name.into()),
        ("service.version", version.into()),
        ("service.instance.id", instance.into()),
        ("telemetry.sdk.name", "neurohttp".into()),
        ("telemetry.sdk.language", "rust".into()),
        ("telemetry.sdk.version", version.into()),
    ]) })
}

fn scope() -> Value {
    json!({ "name": "neurohttp", "version": env!("CARGO_PKG_VERSION") })
}

/// The body of a `POST /v1/traces`.
pub(super) fn traces(service_name: &str, instance: &str, spans: &[SpanRecord]) -> Value {
    let spans: Vec<Value> = spans.iter().map(span).collect();
    json!({ "resourceSpans": [{
        "resource": resource(service_name, instance),
        "scopeSpans": [{ "scope": scope(), "spans": spans }],
    }] })
}

/// The body of a `POST /v1/metrics`.
pub(super) fn metrics(service_name: &str, instance: &str, metrics: Vec<Value>) -> Value {
    json!({ "resourceMetrics": [{
        "resource": resource(service_name, instance),
        "scopeMetrics": [{ "scope": scope(), "metrics": metrics }],
    }] })
}

fn span(record: &SpanRecord) -> Value {
    let mut span = json!({
        "traceId": hex(&record.context.trace_id),
        "spanId": hex(&record.context.span_id),
        "name": record.name,
        "kind": record.kind as u8,
        "startTimeUnixNano": number(record.start_ns),
        "endTimeUnixNano": number(record.end_ns),
        "attributes": attributes(&record.attributes),
    });
    if let Some(parent) = &record.parent {
        span["parentSpanId"] = hex(parent).into();
    }
    if record.is_error {
        // 2: error. What went well leaves its status unset.
        span["status"] = json!({ "code": 2 });
    }
    span
}

fn hex(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    write_hex(bytes, &mut out);
    String::from_utf8(out).unwrap_or_default()
}
