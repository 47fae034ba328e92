//! Traces and metrics as a collector gets them: OTLP's JSON, W3C trace context on both sides, and
//! a collector that is slow, full or dead.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use neurohttp::config;
use neurohttp::exchange::{Exchange, Handler};
use neurohttp::server::{Server, Setup};
use serde_json::{Value, json};

use crate::support::wait_until;
use crate::support::wire::{Answer, Connection};
use crate::upstream::{Gateway, Peer, Upstream, provider};
use crate::ways::private_tls;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const CHAT: &str = "/v1/chat/completions";

/// What was sent: path, head and message.
type Got = Arc<Mutex<Vec<(String, String, Value)>>>;

/// A collector that checks what every message must have.
struct Collector {
    upstream: Upstream,
    got: Got,
}

impl Collector {
    /// Answers the deliveries with these, the last one for ever.
    fn start(answers: &'static [&'static str]) -> Collector {
        let got = Got::default();
        let kept = Arc::clone(&got);
        let upstream = Upstream::start(move |peer| {
            while let Some((head, body)) = delivery(peer) {
                let message = serde_json::from_slice(&body).unwrap();
                let path = head.split(' ').nth(1).unwrap().to_owned();
                assert!(head.starts_with("POST ") && !body.is_empty(), "{head}");
                assert!(head.to_ascii_lowercase().contains("content-type: application/json"));
                let count = {
                    let mut kept = kept.lock().unwrap();
                    kept.push((path, head, message));
                    kept.len()
                };
                let answer = answers[(count - 1).min(answers.len() - 1)];
                peer.send(format!(
                    "HTTP/1.1 {answer}\r\nContent-Type: application/json\r\nContent-Length: 2\
                     \r\n\r\n{{}}"
                ));
            }
        });
        Collector { upstream, got }
    }

    fn table(&self, keys: &str) -> String {
        let port = self.upstream.port;
        format!("[telemetry]\nendpoint = \"http://127.0.0.1:{port}\"\n{keys}\n")
    }

    fn messages(&self, path: &str) -> Vec<Value> {
        let got = self.got.lock().unwrap();
        got.iter().filter(|(to, ..)| to == path).map(|(.., message)| message.clone()).collect()
    }

    /// All spans so far.
    fn spans(&self) -> Vec<Value> {
        let of = |message: Value| -> Vec<Value> {
            let resource = &message["resourceSpans"][0];
            assert_eq!(attribute(&resource["resource"], "service.name"), "here");
            assert_eq!(attribute(&resource["resource"], "telemetry.sdk.language"), "rust");
            let scope = &resource["scopeSpans"][0];
            assert_eq!(scope["scope"]["name"], "neurohttp");
            let spans = scope["spans"].as_array().unwrap().clone();
            spans.iter().for_each(check);
            spans
        };
        self.messages("/v1/traces").into_iter().flat_map(of).collect()
    }

    /// The spans once there are so many.
    fn wait(&self, count: usize) -> Vec<Value> {
        wait_until("the spans", || self.spans().len() >= count);
        let spans = self.spans();
        assert_eq!(spans.len(), count, "{spans:?}");
        spans
    }

    /// The newest figures of a metric, when it has come.
    fn metric(&self, name: &str) -> Option<Value> {
        let message = self.messages("/v1/metrics").pop()?;
        let metrics = message["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].clone();
        metrics.as_array().unwrap().iter().find(|it| it["name"] == name).cloned()
    }
}

fn delivery(peer: &mut Peer) -> Option<(String, Vec<u8>)> {
    let head = peer.head()?;
    let lower = head.to_ascii_lowercase().replace("content-length", "Content-Length");
    let body = peer.body(&lower);
    Some((head, body))
}

/// What OTLP's JSON asks of every span.
fn check(span: &Value) {
    let is_hex = |name: &str, digits: usize| {
        let text = span[name].as_str().unwrap_or_default();
        let is_fit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        text.len() == digits && text.bytes().all(is_fit) && text.bytes().any(|b| b != b'0')
    };
    assert!(is_hex("traceId", 32) && is_hex("spanId", 16), "{span}");
    assert!(span.get("parentSpanId").is_none() || is_hex("parentSpanId", 16), "{span}");
    let time = |name: &str| span[name].as_str().unwrap().parse::<u64>().unwrap();
    let (start, end) = (time("startTimeUnixNano"), time("endTimeUnixNano"));
    assert!(start <= end && start > 1_700_000_000_000_000_000, "{span}");
    assert!(span["kind"].is_u64() && span["name"].is_string());
    for attribute in span["attributes"].as_array().unwrap() {
        assert!(attribute["key"].is_string(), "{attribute}");
        let value = attribute["value"].as_object().unwrap();
        assert_eq!(value.len(), 1);
        let (kind, value) = value.iter().next().unwrap();
        match kind.as_str() {
            "stringValue" => assert!(value.is_string()),
            "intValue" => drop(value.as_str().unwrap().parse::<i64>().unwrap()),
            "doubleValue" => assert!(value.is_f64()),
            "boolValue" => assert!(value.is_boolean()),
            other => panic!("{other}"),
        }
    }
}

/// The value of an attribute; null when it is not there.
fn attribute(of: &Value, name: &str) -> Value {
    let all = of["attributes"].as_array().unwrap();
    let mut found = all.iter().filter(|it| it["key"] == name);
    let value = found.next().map(|it| it["value"].as_object().unwrap());
    assert!(found.next().is_none(), "{name} twice in {of}");
    value.map_or(Value::Null, |value| value.values().next().unwrap().clone())
}

fn of_kind(spans: &[Value], kind: u64) -> Vec<&Value> {
    spans.iter().filter(|span| span["kind"] == kind).collect()
}

const KEYS: &str = "service_name = \"here\"\ninterval = 100";

fn whole(status: &str) -> Vec<u8> {
    let body = "{\"id\":\"c\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m-2024\",\
        \"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"x\"},\
        \"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":30,\"completion_tokens\":2,\
        \"total_tokens\":32,\"prompt_tokens_details\":{\"cached_tokens\":7}}}";
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// An upstream that notes the trace fields it is sent, and answers with these statuses in turn.
fn provider_of(statuses: &'static [&'static str]) -> (Upstream, Arc<Mutex<Vec<Vec<String>>>>) {
    let heads = Arc::<Mutex<Vec<Vec<String>>>>::default();
    let kept = Arc::clone(&heads);
    let upstream = Upstream::start(move |peer| {
        while let Some((head, _)) = peer.request() {
            let fields = head.lines().filter(|line| line.to_ascii_lowercase().starts_with("trace"));
            let count = {
                let mut kept = kept.lock().unwrap();
                kept.push(fields.map(str::to_owned).collect());
                kept.len()
            };
            peer.send(whole(statuses[(count - 1).min(statuses.len() - 1)]));
        }
    });
    (upstream, heads)
}

fn ask(client: &mut Connection, fields: &str) -> Answer {
    let body = r#"{"model":"fast","messages":[{"role":"user","content":"x"}]}"#;
    let length = body.len();
    client.send(format!(
        "POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    ));
    client.answer()
}

fn models(upstream: &Upstream) -> String {
    provider("up", upstream.port, "")
        + "[[model]]\nname = \"fast\"\ninput_price = 10\n\
           targets = [{ provider = \"up\", model = \"m\" }]\n[retry]\nbackoff = 1\n"
}

/// Wrong: a collector cannot read it, or the steps of a request do not hang together.
#[test]
fn a_request_is_one_trace_from_its_client_to_the_provider() {
    let collector = Collector::start(&["200 OK"]);
    let (upstream, heads) = provider_of(&["200 OK"]);
    let keys = format!("{KEYS}\nheaders = [\"x-collector-key: secret one\"]");
    let gateway = Gateway::with(&(models(&upstream) + &collector.table(&keys)));
    let fields =
        format!("traceparent: 00-{TRACE}-{PARENT}-01\r\ntracestate: a=1\r\nTraceState: b@c=2\r\n");
    assert_eq!(ask(&mut gateway.connect(), &fields).status, 200);
    let spans = collector.wait(2);
    let (request, attempt) = (of_kind(&spans, 2)[0], of_kind(&spans, 3)[0]);
    assert_eq!((&request["traceId"], &request["parentSpanId"]), (&json!(TRACE), &json!(PARENT)));
    assert_eq!(request["name"], format!("POST {CHAT}"));
    for (name, value) in [
        ("http.request.method", json!("POST")),
        ("http.route", json!(CHAT)),
        ("url.path", json!(CHAT)),
        ("url.scheme", json!("http")),
        ("http.response.status_code", json!("200")),
        ("network.protocol.version", json!("1.1")),
        ("client.address", json!("127.0.0.1")),
        ("error.type", Value::Null),
    ] {
        assert_eq!(attribute(request, name), value, "{name}");
    }
    assert_eq!(attempt["traceId"], TRACE);
    assert_eq!(attempt["parentSpanId"], request["spanId"]);
    assert_eq!(attempt["name"], "chat m");
    for (name, value) in [
        ("gen_ai.operation.name", json!("chat")),
        ("gen_ai.provider.name", json!("openai")),
        ("gen_ai.request.model", json!("m")),
        ("gen_ai.response.model", json!("m-2024")),
        ("gen_ai.usage.input_tokens", json!("30")),
        ("gen_ai.usage.output_tokens", json!("2")),
        ("gen_ai.usage.cache_read.input_tokens", json!("7")),
        ("server.address", json!("127.0.0.1")),
        ("server.port", json!(upstream.port.to_string())),
        ("neurohttp.cost_usd", json!(0.0003)),
        ("error.type", Value::Null),
    ] {
        assert_eq!(attribute(attempt, name), value, "{name}");
    }
    assert!(spans.iter().all(|span| span.get("status").is_none()), "{spans:?}");
    let span = attempt["spanId"].as_str().unwrap();
    let sent = [format!("traceparent: 00-{TRACE}-{span}-01"), "tracestate: a=1,b@c=2".to_owned()];
    assert_eq!(heads.lock().unwrap()[..], [sent.to_vec()]);
    let got = collector.got.lock().unwrap();
    assert!(got.iter().all(|(_, head, _)| head.contains("x-collector-key: secret one")));
}

/// Wrong: a field that is no trace context joins or breaks traces.
#[test]
fn what_is_no_trace_context_begins_a_new_trace() {
    let collector = Collector::start(&["200 OK"]);
    let (upstream, heads) = provider_of(&["200 OK"]);
    let gateway = Gateway::with(&(models(&upstream) + &collector.table(KEYS)));
    let good = format!("00-{TRACE}-{PARENT}-01");
    let values = [
        good.replace("00-4", "ff-4"),
        good.to_ascii_uppercase(),
        format!("{good}-x"),
        good.replace(PARENT, "0000000000000000"),
        "\u{1f600}".to_owned(),
        // Twice is not once.
        format!("{good}\r\ntraceparent: {good}"),
    ];
    let mut client = gateway.connect();
    for value in &values {
        let fields = format!("traceparent: {value}\r\ntracestate: a=1\r\n");
        assert_eq!(ask(&mut client, &fields).status, 200, "{value}");
    }
    let spans = collector.wait(2 * values.len());
    let requests = of_kind(&spans, 2);
    assert!(requests.iter().all(|span| span.get("parentSpanId").is_none()));
    let mut traces: Vec<_> =
        requests.iter().map(|span| span["traceId"].as_str().unwrap()).collect();
    traces.sort_unstable();
    traces.dedup();
    assert!(traces.len() == values.len() && !traces.contains(&TRACE), "{traces:?}");
    for fields in heads.lock().unwrap().iter() {
        assert!(fields.len() == 1 && !fields[0].contains(TRACE), "{fields:?}");
    }
}

/// Wrong: nothing is recorded where something should be, or all of it.
#[test]
fn a_share_is_recorded_and_a_client_decides_for_its_own() {
    let collector = Collector::start(&["200 OK"]);
    let (upstream, heads) = provider_of(&["200 OK"]);
    let keys = format!("{KEYS}\nsample_ratio = 0");
    let gateway = Gateway::with(&(models(&upstream) + &collector.table(&keys)));
    let mut client = gateway.connect();
    assert_eq!(ask(&mut client, "").status, 200);
    for flags in ["00", "01"] {
        let fields = format!("traceparent: 00-{TRACE}-{PARENT}-{flags}\r\n");
        assert_eq!(ask(&mut client, &fields).status, 200);
    }
    let spans = collector.wait(2);
    assert!(spans.iter().all(|span| span["traceId"] == TRACE));
    let heads = heads.lock().unwrap();
    let ends: Vec<_> = heads.iter().map(|fields| &fields[0][fields[0].len() - 3..]).collect();
    assert_eq!(ends, ["-00", "-00", "-01"]);
    // Metrics are of all requests.
    let count = || {
        let metric = collector.metric("gen_ai.client.operation.duration")?;
        metric["histogram"]["dataPoints"][0]["count"].as_str().map(str::to_owned)
    };
    wait_until("the metrics", || count().as_deref() == Some("3"));
    let metric = collector.metric("gen_ai.client.token.usage").unwrap();
    assert_eq!(
        (&metric["unit"], &metric["histogram"]["aggregationTemporality"]),
        (&json!("{token}"), &json!(2))
    );
    let points = metric["histogram"]["dataPoints"].as_array().unwrap();
    let types: Vec<_> = points.iter().map(|it| attribute(it, "gen_ai.token.type")).collect();
    assert_eq!(types, ["input", "output"]);
    assert_eq!((&points[0]["sum"], &points[0]["count"]), (&json!(90.0), &json!("3")));
    assert_eq!(attribute(&points[0], "gen_ai.request.model"), "fast");
    let (counts, bounds) = (&points[0]["bucketCounts"], &points[0]["explicitBounds"]);
    assert_eq!(counts.as_array().unwrap().len(), bounds.as_array().unwrap().len() + 1);
    // 16 < 30 <= 64.
    assert_eq!((&counts[3], &bounds[3]), (&json!("3"), &json!(64.0)));
    let metric = collector.metric("http.server.request.duration").unwrap();
    assert_eq!(metric["unit"], "s");
    let point = &metric["histogram"]["dataPoints"][0];
    assert_eq!(attribute(point, "http.response.status_code"), "200");
    assert_eq!(attribute(point, "http.route"), CHAT);
}

/// Wrong: an attempt that failed cannot be told from one that went well.
#[test]
fn each_attempt_is_a_step_of_its_own() {
    let collector = Collector::start(&["200 OK"]);
    let (upstream, _) = provider_of(&["500 Internal Server Error", "200 OK"]);
    let gateway = Gateway::with(&(models(&upstream) + &collector.table(KEYS)));
    assert_eq!(ask(&mut gateway.connect(), "").status, 200);
    let spans = collector.wait(3);
    let (request, attempts) = (of_kind(&spans, 2)[0], of_kind(&spans, 3));
    assert!(attempts.iter().all(|span| span["parentSpanId"] == request["spanId"]));
    assert_ne!(attempts[0]["spanId"], attempts[1]["spanId"]);
    assert_eq!(attribute(attempts[0], "error.type"), "500");
    assert_eq!(attempts[0]["status"]["code"], 2);
    assert_eq!(attribute(attempts[1], "error.type"), Value::Null);
}

/// Wrong: a stream has no time to its first token.
#[test]
fn a_stream_tells_when_its_first_token_came() {
    let collector = Collector::start(&["200 OK"]);
    let upstream = Upstream::start(|peer| {
        let event = "data: {\"model\":\"m-2\",\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
        let body = format!("{event}{event}data: [DONE]\n\n");
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length:";
        peer.answer_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes());
    });
    let gateway = Gateway::with(&(models(&upstream) + &collector.table(KEYS)));
    let body = r#"{"model":"fast","stream":true,"messages":[{"role":"user","content":"x"}]}"#;
    assert_eq!(gateway.connect().post(CHAT, body).answer().status, 200);
    let spans = collector.wait(2);
    let attempt = of_kind(&spans, 3)[0];
    assert_eq!(attribute(attempt, "gen_ai.response.model"), "m-2");
    assert!(attribute(attempt, "gen_ai.response.time_to_first_chunk").is_f64());
    wait_until("the metric", || collector.metric("gen_ai.server.time_to_first_token").is_some());
}

/// Wrong: without a collector a request is slower, or its trace is not the client's any more.
#[test]
fn without_a_collector_what_the_client_says_goes_through() {
    let (upstream, heads) = provider_of(&["200 OK"]);
    let gateway = Gateway::with(&models(&upstream));
    let fields = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\ntracestate: a=1\r\n");
    assert_eq!(ask(&mut gateway.connect(), &fields).status, 200);
    let sent = [format!("traceparent: 00-{TRACE}-{PARENT}-01"), "tracestate: a=1".to_owned()];
    assert_eq!(heads.lock().unwrap()[..], [sent.to_vec()]);
    let stats = gateway.connect().get("/stats").answer().json();
    assert_eq!(
        (&stats["telemetry"]["enabled"], &stats["telemetry"]["spans_dropped"]),
        (&json!(false), &json!(0))
    );
}

fn telemetry(gateway: &Gateway, name: &str) -> u64 {
    let stats: Value = serde_json::from_str(&gateway.server.stats_json()).unwrap();
    stats["telemetry"][name].as_u64().unwrap()
}

/// Wrong: a collector that has no time loses spans, or one that refuses them gets them for ever.
#[test]
fn what_a_busy_collector_does_not_take_comes_again() {
    let collector =
        Collector::start(&["503 Busy\r\nRetry-After: 0", "429 Later\r\nRetry-After: 0", "200 OK"]);
    let gateway = Gateway::with(&collector.table(KEYS));
    assert_eq!(gateway.connect().get("/health").answer().status, 200);
    wait_until("the span", || telemetry(&gateway, "spans_sent") == 1);
    let spans = collector.spans();
    assert!(spans.len() == 3 && spans.iter().all(|span| span["spanId"] == spans[0]["spanId"]));
    assert_eq!((telemetry(&gateway, "failures"), telemetry(&gateway, "spans_dropped")), (2, 0));

    let collector = Collector::start(&["400 No"]);
    let gateway = Gateway::with(&collector.table(KEYS));
    assert_eq!(gateway.connect().get("/health").answer().status, 200);
    wait_until("the drop", || telemetry(&gateway, "spans_dropped") == 1);
    assert_eq!(collector.spans().len(), 1);
}

/// Wrong: a collector that hangs holds up requests, the end of the server, or memory without bound.
#[test]
fn a_collector_that_hangs_or_is_dead_holds_nobody_up() {
    let hanging = Upstream::start(|peer| assert!(peer.drain() > 0));
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead_port = dead.local_addr().unwrap().port();
    drop(dead);
    for port in [hanging.port, dead_port] {
        let table = format!("[telemetry]\nendpoint = \"http://127.0.0.1:{port}\"\n{KEYS}\n");
        let gateway = Gateway::with(&table);
        let mut client = gateway.connect();
        let request = "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
        for _ in 0..60 {
            client.send(request.repeat(100));
            (0..100).for_each(|_| assert_eq!(client.answer().status, 200));
        }
        wait_until("a drop", || telemetry(&gateway, "spans_dropped") > 0);
        assert!(telemetry(&gateway, "spans_waiting") <= 4096);
        let began = Instant::now();
        gateway.server.shutdown();
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}

/// Wrong: the last requests of a server are never told.
#[test]
fn the_end_of_a_server_sends_what_waits() {
    let collector = Collector::start(&["200 OK"]);
    let keys = KEYS.replace("100", "3600000");
    let gateway = Gateway::with(&collector.table(&keys));
    assert_eq!(gateway.connect().get("/health").answer().status, 200);
    assert_eq!(gateway.connect().get("/nothing").answer().status, 404);
    drop(gateway);
    let spans = collector.spans();
    let names: Vec<_> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["GET /health", "GET"]);
    assert!(collector.metric("http.server.request.duration").is_some());
}

/// Wrong: a collector of one's own authority, or behind a proxy, cannot be reached; one whose
/// certificate nobody has vouched for is told everything; the proxy learns the collector's key.
#[test]
fn a_collector_may_be_private_and_behind_a_proxy() {
    const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    let (cert, config) = private_tls("telemetry-tunnel");
    let paths = Arc::<Mutex<Vec<String>>>::default();
    let kept = Arc::clone(&paths);
    let proxy = Upstream::start(move |peer| {
        let head = peer.head().expect("a head");
        assert!(head.starts_with("CONNECT 127.0.0.1:9 HTTP/1.1\r\n"), "{head}");
        assert!(head.to_ascii_lowercase().contains("\r\nproxy-authorization: basic dtpw\r\n"));
        assert!(!head.contains("x-secret"), "{head}");
        peer.send("HTTP/1.1 200 Connection established\r\n\r\n");
        let Some((head, body)) = peer.request_tls(Arc::clone(&config), TAKEN) else { return };
        assert!(head.contains("x-secret: k"), "{head}");
        let _: Value = serde_json::from_slice(&body).unwrap();
        kept.lock().unwrap().push(head.split(' ').nth(1).unwrap().to_owned());
    });
    let table = |keys: &str| {
        let headers = "headers = [\"x-secret: k\"]";
        format!("[telemetry]\nendpoint = \"https://127.0.0.1:9\"\n{headers}\n{keys}\n{KEYS}\n")
    };
    let named = format!("http://u:p@127.0.0.1:{}", proxy.port);
    let own = format!("proxy = \"{named}\"\nca_file = \"{}\"", cert.display());
    let gateway = Gateway::with(&table(&own));
    assert_eq!(gateway.connect().get("/health").answer().status, 200);
    wait_until("the span", || telemetry(&gateway, "spans_sent") > 0);
    wait_until("the path", || !paths.lock().unwrap().is_empty());
    assert_eq!(paths.lock().unwrap()[0], "/v1/traces");
    drop(gateway);

    // The environment names it; without the authority its certificate is for nobody.
    let before = paths.lock().unwrap().len();
    let trusting = format!("ca_file = \"{}\"", cert.display());
    let variables = [("HTTPS_PROXY", &*named), ("NO_PROXY", "x.test")];
    let gateway = Gateway::in_environment(&table(&trusting), &variables);
    wait_until("a delivery", || {
        assert_eq!(gateway.connect().get("/health").answer().status, 200);
        paths.lock().unwrap().len() > before
    });
    drop(gateway);
    let before = proxy.accepted();
    let gateway = Gateway::in_environment(&table(""), &variables);
    assert_eq!(gateway.connect().get("/health").answer().status, 200);
    wait_until("a failure", || telemetry(&gateway, "failures") > 0);
    assert!(proxy.accepted() > before);
    assert_eq!(telemetry(&gateway, "spans_sent"), 0);
    drop(gateway);
    let before = proxy.accepted();
    let variables = [("https_proxy", &*named), ("no_proxy", "a.test,127.0.0.1")];
    let gateway = Gateway::in_environment(&table(""), &variables);
    assert_eq!(gateway.connect().get("/health").answer().status, 200);
    wait_until("a failure", || telemetry(&gateway, "failures") > 0);
    assert_eq!(proxy.accepted(), before, "asked although it is to be passed by");
}

/// Wrong: an authority that cannot be read is found out when spans are lost.
#[test]
fn a_missing_authority_is_told_at_the_start() {
    let text = "[server]\nlisten = \"127.0.0.1:0\"\n[telemetry]\n\
        endpoint = \"https://c.test\"\nca_file = \"/nonexistent/ca.pem\"\n";
    let sources = config::Sources { text: Some(text), ..config::Sources::default() };
    let made = Server::new(config::load(&sources).unwrap(), Setup::default());
    let error = made.err().unwrap().to_string();
    assert!(error.contains("telemetry: ca_file /nonexistent/ca.pem"), "{error}");
}

/// Wrong: the tokens of an answer that is made as it is sent are missing.
#[test]
fn an_echo_that_is_streamed_tells_its_tokens() {
    let collector = Collector::start(&["200 OK"]);
    let gateway = Gateway::with(&collector.table(KEYS));
    let body = r#"{"model":"echo","stream":true,"messages":[{"role":"user","content":"a b c"}]}"#;
    let answer = gateway.connect().post(CHAT, body).answer();
    assert_eq!(answer.status, 200);
    let spans = collector.wait(2);
    let (request, attempt) = (of_kind(&spans, 2)[0], of_kind(&spans, 1)[0]);
    assert_eq!(attempt["parentSpanId"], request["spanId"]);
    for (name, value) in [
        ("gen_ai.operation.name", json!("chat")),
        ("gen_ai.usage.input_tokens", json!("3")),
        ("gen_ai.usage.output_tokens", json!("3")),
        ("error.type", Value::Null),
    ] {
        assert_eq!(attribute(attempt, name), value, "{name}");
    }
    wait_until("the metric", || collector.metric("gen_ai.client.token.usage").is_some());
}

struct Nothing;

impl Handler for Nothing {
    fn handle(&self, _: &mut Exchange) -> Result<(), String> {
        Ok(())
    }
}

/// Wrong: requests to a host's routes are told by their path, or not told apart at all.
#[test]
fn routes_of_the_host_and_the_operator_have_their_patterns() {
    let collector = Collector::start(&["200 OK"]);
    let gateway = Gateway::with(&collector.table(KEYS));
    gateway.server.add_route("GET", "/users/:id/x", false, false, Arc::new(Nothing)).unwrap();
    let mut client = gateway.connect();
    assert_eq!(client.get("/users/17/x").answer().status, 204);
    assert_eq!(client.get("/admin/models").answer().status, 200);
    assert_eq!(client.get("/users/17").answer().status, 404);
    let spans = collector.wait(3);
    let told: Vec<_> = spans
        .iter()
        .map(|span| (span["name"].as_str().unwrap(), attribute(span, "http.route")))
        .collect();
    let route = |text: &str| json!(text);
    assert_eq!(
        told,
        [
            ("GET /users/:id/x", route("/users/:id/x")),
            ("GET /admin/models", route("/admin/models")),
            ("GET", Value::Null),
        ]
    );
    let has_route = || {
        let metric = collector.metric("http.server.request.duration")?;
        let points = metric["histogram"]["dataPoints"].as_array()?.clone();
        Some(points.iter().any(|point| attribute(point, "http.route") == "/users/:id/x"))
    };
    wait_until("the metric", || has_route() == Some(true));
}
