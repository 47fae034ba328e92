//! What an operator sees: `/metrics` as Prometheus reads it, and a log line for each request.

use std::collections::{BTreeSet, HashMap};
use std::fs;

use serde_json::{Value, json};

use crate::support::process::Server;
use crate::support::stage::scratch;

/// Samples of a page in the text format 0.0.4, by name and labels as written. Panics on anything
/// the format's description does not allow.
fn samples(page: &str) -> HashMap<String, f64> {
    let mut kinds = HashMap::new();
    let mut samples = HashMap::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap();
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{line}");
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end).filter(|base| kinds.contains_key(*base)));
        let kind = kinds.get(base.unwrap_or(name)).unwrap_or_else(|| panic!("no TYPE: {line}"));
        assert_eq!(base.is_some(), kind == "histogram", "{line}");
        let value = value.parse().unwrap();
        assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {line}");
    }
    let of_kind = kinds.iter().filter(|(_, kind)| *kind == "histogram");
    of_kind.for_each(|(name, _)| check_histogram(name, page, &samples));
    samples
}

/// Buckets are cumulative in the order of their bounds, and the last one has all.
fn check_histogram(name: &str, page: &str, samples: &HashMap<String, f64>) {
    let prefix = format!("{name}_bucket{{");
    let mut before: Option<(String, f64, f64)> = None;
    let mut series = 0;
    for line in page.lines().filter_map(|line| line.strip_prefix(&prefix)) {
        let (labels, count) = line.rsplit_once("} ").unwrap();
        let (labels, bound) = labels.rsplit_once("le=\"").unwrap();
        let bound: f64 = bound.trim_end_matches('"').replace("+Inf", "inf").parse().unwrap();
        let count: f64 = count.parse().unwrap();
        if let Some((same, lower, fewer)) = &before
            && same == labels
        {
            assert!(*lower < bound && *fewer <= count, "{name}: {line}");
        }
        before = Some((labels.to_owned(), bound, count));
        if bound.is_infinite() {
            let labels = labels.trim_end_matches(',');
            let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
            assert_eq!(samples[&format!("{name}_count{labels}")], count, "{name}: {line}");
            assert!(samples.contains_key(&format!("{name}_sum{labels}")));
            series += 1;
        }
    }
    assert!(series > 0, "{name} has no bucket without a bound");
}

fn metrics(server: &Server) -> HashMap<String, f64> {
    let answer = server.connect().get("/metrics").answer();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type").unwrap(), "text/plain; version=0.0.4; charset=utf-8");
    samples(answer.text())
}

#[test]
fn the_page_counts_what_has_happened() {
    let server = Server::gateway(&[]);
    let before = metrics(&server);
    server.connect().get("/health").answer();
    server.connect().get("/nothing-here").answer();
    let request = json!({"prompt": "one two three", "stream": true});
    server.connect().post("/v1/chat", &request.to_string()).answer();
    let after = metrics(&server);
    let more = |series: &str| after[series] - before[series];
    assert_eq!(more("neurohttp_http_requests_total"), 4.0);
    assert_eq!(more("neurohttp_http_responses_total{class=\"2xx\"}"), 3.0);
    assert_eq!(more("neurohttp_http_responses_total{class=\"4xx\"}"), 1.0);
    assert_eq!(more("neurohttp_http_streams_total"), 1.0);
    assert_eq!(more("neurohttp_ai_calls_total"), 1.0);
    // The page's own request ends after the page is written.
    assert_eq!(more("neurohttp_http_request_duration_seconds_count"), 4.0);
    let buckets = "neurohttp_http_request_duration_seconds_bucket{le=\"+Inf\"}";
    assert_eq!(after[buckets], after["neurohttp_http_request_duration_seconds_count"]);
    let workers: f64 = after
        .iter()
        .filter(|(series, _)| series.starts_with("neurohttp_worker_requests_total{"))
        .map(|(_, value)| value)
        .sum();
    assert_eq!(workers, after["neurohttp_http_requests_total"]);
    assert!(after["process_resident_memory_bytes"] > 1e6);
    assert!(after["process_open_fds"] >= 5.0);
    assert!(after["process_start_time_seconds"] > 1.7e9);
    server.stop();
}

#[test]
fn the_document_lists_every_name() {
    let server = Server::gateway(&[]);
    let request = json!({"model": "echo", "messages": [{"role": "user", "content": "x"}]});
    server.connect().post("/v1/chat/completions", &request.to_string()).answer();
    let answer = server.connect().get("/metrics").answer();
    let page = answer.text();
    assert_eq!(samples(page)["neurohttp_ai_model_requests_total{model=\"echo\"}"], 1.0);
    let served: BTreeSet<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| {
            let (name, kind) = line.split_once(' ').unwrap();
            format!("| `{name}` | {kind} |")
        })
        .collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let manual = fs::read_to_string(path).unwrap();
    let listed: BTreeSet<_> = manual
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split_inclusive('|').take(3).collect::<String>())
        .collect();
    assert_eq!(served, listed);
    server.stop();
}

/// The access lines of a JSON log.
fn access_lines(path: &std::path::Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["message"] == "request").collect()
}

#[test]
fn every_request_gets_one_line_without_query_or_key() {
    let path = scratch().join("access.json");
    drop(fs::remove_file(&path));
    let file = format!("log.file={}", path.display());
    let server = Server::gateway(&[
        &file,
        "log.access=true",
        "log.format=json",
        "log.level=error",
        "auth.keys=sesame-key",
    ]);
    server.connect().get("/health?token=hidden-query").answer();
    server
        .connect()
        .send("GET /a%22%5Cb HTTP/1.1\r\nHost: x\r\nx-request-id: mine-1\r\n\r\n")
        .answer();
    server.connect().send("no request at all\r\n\r\n").answer();
    let body = json!({"model": "echo", "messages": [{"role": "user", "content": "hidden prompt"}]});
    let body = body.to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sesame-key\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    server.connect().send(request).answer();
    server.stop();
    let lines = access_lines(&path);
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0]["path"], "/health");
    assert_eq!(lines[0]["method"], "GET");
    assert_eq!(lines[0]["status"], 200);
    assert!(lines[0]["bytes"].as_u64().unwrap() > 0 && lines[0]["elapsed_us"].is_u64());
    assert!(lines[0]["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(lines[1]["id"], "mine-1");
    assert_eq!(lines[1]["path"], "/a%22%5Cb");
    assert_eq!(lines[2]["model"], "echo");
    assert_eq!(lines[2]["provider"], "echo");
    let text = fs::read_to_string(&path).unwrap();
    let refused = text.lines().find(|line| line.contains("malformed request")).unwrap();
    assert!(refused.contains("\"status\":400") && !refused.contains("no request"), "{refused}");
    assert!(!text.contains("hidden") && !text.contains("sesame"), "{text}");
}

#[test]
fn of_several_requests_one_is_told() {
    let path = scratch().join("sampled.json");
    drop(fs::remove_file(&path));
    let file = format!("log.file={}", path.display());
    let server = Server::gateway(&[
        &file,
        "log.access=true",
        "log.access_every=10",
        "log.format=json",
        "server.workers=1",
    ]);
    let mut connection = server.connect();
    for _ in 0..40 {
        connection.get("/health").answer();
    }
    server.stop();
    assert_eq!(access_lines(&path).len(), 4);
}

/// Wrong: after a rotation the program writes on into the file that was moved away.
#[test]
fn a_hang_up_opens_the_log_anew() {
    let (path, moved) = (scratch().join("rotated.log"), scratch().join("rotated.log.1"));
    for file in [&path, &moved] {
        drop(fs::remove_file(file));
    }
    let file = format!("log.file={}", path.display());
    let server = Server::gateway(&[&file, "log.access=true"]);
    fs::rename(&path, &moved).unwrap();
    server.signal(libc::SIGHUP);
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while !path.exists() {
        assert!(std::time::Instant::now() < deadline, "the file was not opened anew");
        server.connect().get("/health").answer();
    }
    server.connect().get("/ready").answer();
    server.stop();
    assert!(fs::read_to_string(&path).unwrap().contains("path=/ready"));
}

/// Wrong: a full disk stops the server, or holds a worker up.
#[test]
fn a_full_disk_is_no_reason_to_stop_serving() {
    let server = Server::gateway(&["log.file=/dev/full", "log.access=true", "server.workers=1"]);
    let mut connection = server.connect();
    for _ in 0..200 {
        assert_eq!(connection.get("/health").answer().status, 200);
    }
    // What was lost is counted, and shown in both places.
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    loop {
        let stats = connection.get("/stats").answer().json();
        if stats["log"]["lines_lost"].as_u64().unwrap() >= 200 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{}", stats["log"]);
    }
    let page = connection.get("/metrics").answer();
    let text = page.text();
    let lost = text.lines().find_map(|line| line.strip_prefix("neurohttp_log_lines_lost_total "));
    assert!(lost.unwrap().parse::<f64>().unwrap() >= 200.0, "{text}");
    server.stop();
}
