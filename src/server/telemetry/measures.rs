//! What one worker has measured for a collector: histograms under the names of the semantic
//! conventions. Written by the worker, read when it is time to send.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::otlp::{attribute, attributes, number};
use crate::exchange::Pattern;

/// Series of one worker, at most; what is more counts together, as the specification of the SDK
/// says (`otel.metric.overflow`).
const SERIES_MAX: usize = 1_000;

/// Bounds that the conventions name, in seconds and in tokens.
const OPERATION_S: &[f64] =
    &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const FIRST_TOKEN_S: &[f64] =
    &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
const REQUEST_S: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
const TOKENS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// How often something was how large.
#[derive(Clone, Debug)]
struct Histogram {
    bounds: &'static [f64],
    /// Not cumulative; the last one is for what exceeds every bound.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Histogram {
        Histogram { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    fn record(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum += value;
    }

    fn add(&mut self, other: &Histogram) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum += other.sum;
    }

    fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// The requests that one series counts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::server) struct HttpKey {
    pub(in crate::server) method: &'static str,
    pub(in crate::server) scheme: &'static str,
    /// 0: the client had gone before an answer.
    pub(in crate::server) status: u16,
    pub(in crate::server) route: Option<Pattern>,
}

/// The attempts at models that one series counts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(in crate::server) struct OperationKey {
    pub(in crate::server) operation: &'static str,
    pub(in crate::server) provider: String,
    /// The model's name in the configuration: a client cannot add a series.
    pub(in crate::server) model: String,
    /// Of the provider; empty: it is in this process.
    pub(in crate::server) address: String,
    pub(in crate::server) port: u16,
    /// Empty: it went well.
    pub(in crate::server) error: String,
}

/// What one attempt came to.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::server) struct Took {
    pub(in crate::server) took_us: u64,
    pub(in crate::server) first_token_us: Option<u64>,
    pub(in crate::server) tokens: Option<(u64, u64)>,
}

#[derive(Clone, Debug)]
struct Operations {
    duration: Histogram,
    first_token: Histogram,
    input: Histogram,
    output: Histogram,
}

/// What one worker has measured.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct Measures {
    http: BTreeMap<HttpKey, Histogram>,
    operations: BTreeMap<OperationKey, Operations>,
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

impl Measures {
    /// A request was answered.
    pub(in crate::server) fn request(&mut self, mut key: HttpKey, took_us: u64) {
        if self.http.len() >= SERIES_MAX && !self.http.contains_key(&key) {
            key = HttpKey { method: "", scheme: "", status: 0, route: None };
        }
        let histogram = self.http.entry(key).or_insert_with(|| Histogram::new(REQUEST_S));
        histogram.record(seconds(took_us));
    }

    /// An attempt at a model is over.
    pub(in crate::server) fn operation(&mut self, mut key: OperationKey, took: &Took) {
        if self.operations.len() >= SERIES_MAX && !self.operations.contains_key(&key) {
            key = OperationKey::default();
        }
        let all = self.operations.entry(key).or_insert_with(|| Operations {
            duration: Histogram::new(OPERATION_S),
            first_token: Histogram::new(FIRST_TOKEN_S),
            input: Histogram::new(TOKENS),
            output: Histogram::new(TOKENS),
        });
        all.duration.record(seconds(took.took_us));
        if let Some(us) = took.first_token_us {
            all.first_token.record(seconds(us));
        }
        if let Some((input, output)) = took.tokens {
            all.input.record(input as f64);
            all.output.record(output as f64);
        }
    }

    /// Adds what another worker has measured.
    pub(in crate::server) fn add(&mut self, other: &Measures) {
        for (key, more) in &other.http {
            let own = self.http.entry(key.clone());
            own.and_modify(|own| own.add(more)).or_insert_with(|| more.clone());
        }
        for (key, more) in &other.operations {
            let own = self.operations.entry(key.clone());
            own.and_modify(|own| {
                own.duration.add(&more.duration);
                own.first_token.add(&more.first_token);
                own.input.add(&more.input);
                own.output.add(&more.output);
            })
            .or_insert_with(|| more.clone());
        }
    }

    /// The `metrics` of an OTLP message, cumulative since `since_ns`.
    pub(super) fn to_json(&self, since_ns: u64, now_ns: u64) -> Vec<Value> {
        let point = |attributes: Value, histogram: &Histogram| {
            json!({
                "attributes": attributes,
                "startTimeUnixNano": number(since_ns),
                "timeUnixNano": number(now_ns),
                "count": number(histogram.count()),
                "sum": histogram.sum,
                "bucketCounts": histogram.counts.iter().map(|it| number(*it)).collect::<Vec<_>>(),
                "explicitBounds": histogram.bounds,
            })
        };
        let mut metrics = Vec::new();
        let mut add = |name: &str, unit: &str, description: &str, points: Vec<Value>| {
            if !points.is_empty() {
                // 2: cumulative.
                let histogram = json!({ "aggregationTemporality": 2, "dataPoints": points });
                metrics.push(json!({
                    "name": name, "unit": unit, "description": description, "histogram": histogram,
                }));
            }
        };
        let requests = self.http.iter().map(|(key, it)| point(of_request(key), it));
        add(
            "http.server.request.duration",
            "s",
            "Duration of HTTP server requests.",
            requests.collect(),
        );
        let of = |get: fn(&Operations) -> &Histogram| -> Vec<Value> {
            let all = self.operations.iter().filter(|(_, it)| get(it).count() > 0);
            all.map(|(key, it)| point(Value::Array(of_operation(key)), get(it))).collect()
        };
        add(
            "gen_ai.client.operation.duration",
            "s",
            "GenAI operation duration.",
            of(|it| &it.duration),
        );
        add(
            "gen_ai.server.time_to_first_token",
            "s",
            "Time to generate first token for successful responses.",
            of(|it| &it.first_token),
        );
        let typed = |get: fn(&Operations) -> &Histogram, kind: &str| -> Vec<Value> {
            let all = self.operations.iter().filter(|(_, it)| get(it).count() > 0);
            let with_type = |key: &OperationKey| {
                let mut attributes = of_operation(key);
                attributes.push(attribute("gen_ai.token.type", &kind.to_owned().into()));
                Value::Array(attributes)
            };
            all.map(|(key, it)| point(with_type(key), get(it))).collect()
        };
        let mut tokens = typed(|it| &it.input, "input");
        tokens.extend(typed(|it| &it.output, "output"));
        add(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used.",
            tokens,
        );
        metrics
    }
}

fn of_request(key: &HttpKey) -> Value {
    if key.method.is_empty() {
        return json!([attribute("otel.metric.overflow", &true.into())]);
    }
    let mut all =
        vec![("http.request.method", key.method.into()), ("url.scheme", key.scheme.into())];
    if let Some(route) = &key.route {
        all.push(("http.route", route.as_str().to_owned().into()));
    }
    match key.status {
        0 => all.push(("error.type", "cancelled".into())),
        status => all.push(("http.response.status_code", status.into())),
    }
    if key.status >= 500 {
        all.push(("error.type", key.status.to_string().into()));
    }
    Value::Array(attributes(&all))
}

fn of_operation(key: &OperationKey) -> Vec<Value> {
    if key.operation.is_empty() {
        return vec![attribute("otel.metric.overflow", &true.into())];
    }
    let mut all = vec![
        ("gen_ai.operation.name", key.operation.into()),
        ("gen_ai.provider.name", key.provider.as_str().to_owned().into()),
        ("gen_ai.request.model", key.model.as_str().to_owned().into()),
    ];
    if !key.address.is_empty() {
        all.push(("server.address", key.address.as_str().to_owned().into()));
        all.push(("server.port", key.port.into()));
    }
    if !key.error.is_empty() {
        all.push(("error.type", key.error.as_str().to_owned().into()));
    }
    attributes(&all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wrong: an operator's collector falls over because clients can make series.
    #[test]
    fn series_are_bounded() {
        let mut measures = Measures::default();
        for at in 0..2 * SERIES_MAX {
            let key = OperationKey {
                operation: "chat",
                model: at.to_string(),
                ..OperationKey::default()
            };
            measures.operation(key, &Took { took_us: 1, ..Took::default() });
        }
        assert_eq!(measures.operations.len(), SERIES_MAX + 1);
        let metrics = measures.to_json(1, 2);
        let points = metrics[0]["histogram"]["dataPoints"].as_array().unwrap();
        let counted: u64 = points
            .iter()
            .map(|point| point["count"].as_str().unwrap().parse::<u64>().unwrap())
            .sum();
        assert_eq!(counted, 2 * SERIES_MAX as u64);
        let overflow = json!({ "key": "otel.metric.overflow", "value": { "boolValue": true } });
        assert_eq!(points[0]["attributes"], json!([overflow]));
    }

    #[test]
    fn a_value_on_a_bound_is_below_it() {
        let mut histogram = Histogram::new(&[1.0, 4.0]);
        for value in [1.0, 1.5, 4.0, 4.5] {
            histogram.record(value);
        }
        assert_eq!(histogram.counts, [1, 2, 1]);
        let mut sum = histogram.clone();
        sum.add(&histogram);
        assert_eq!((sum.count(), sum.sum), (8, 22.0));
    }
}
