//! `neurohttp bench` against a server of ours: it counts what the server counts, and tells what failed.

use serde_json::Value;

use crate::support::process::{Server, program};

fn bench(arguments: &[&str]) -> Value {
    let mut child = Server::launch(program().arg("bench").args(arguments).arg("--json"));
    serde_json::from_str(child.expect_exit(0).trim()).unwrap()
}

#[test]
fn requests_are_counted_as_the_server_counts_them() {
    let server = Server::gateway(&[]);
    let url = format!("http://127.0.0.1:{}/health", server.port);
    let told = bench(&[&url, "-n", "500", "-c", "7", "-t", "2"]);
    assert_eq!(told["answers"], 500, "{told}");
    assert_eq!(told["status"]["2xx"], 500);
    assert_eq!(told["latency_us"]["count"], 500);
    let latency = |name: &str| told["latency_us"][name].as_u64().unwrap();
    assert!(latency("p50") <= latency("p99") && latency("p99") <= latency("max"), "{told}");
    let stats = server.connect().get("/stats").answer().json();
    assert_eq!(stats["requests"], 501);
    server.stop();
}

#[test]
fn streams_are_counted_by_their_events() {
    let server = Server::gateway(&[]);
    let url = format!("127.0.0.1:{}/v1/chat/completions", server.port);
    let told = bench(&[&url, "--stream", "-n", "20", "-c", "4"]);
    assert_eq!((&told["answers"], &told["first_event_us"]["count"]), (&20.into(), &20.into()));
    assert!(told["events"].as_u64().unwrap() >= 200, "{told}");
    server.stop();
}

#[test]
fn what_fails_is_told() {
    let server = Server::gateway(&[]);
    let port = server.port;
    let told = bench(&[&format!("127.0.0.1:{port}/nothing"), "-n", "5", "-c", "1"]);
    assert_eq!(told["status"]["4xx"], 5);
    server.stop();
    // Nobody listens there any more.
    let url = format!("127.0.0.1:{port}/");
    let mut child = Server::launch(program().args(["bench", &url, "-n", "2", "-c", "1"]));
    let said = child.expect_exit(1);
    assert!(said.contains("not one answer came"), "{said}");
    for wrong in [&["bench"][..], &["bench", "ftp://x"], &["bench", "h", "-c", "0"]] {
        Server::launch(program().args(wrong)).expect_exit(2);
    }
}

#[test]
fn top_shows_one_frame_where_nobody_watches() {
    let server = Server::gateway(&[]);
    let url = format!("127.0.0.1:{}", server.port);
    server.connect().get("/health").answer();
    let frame = Server::launch(program().args(["top", &url])).expect_exit(0);
    assert!(frame.contains("running") && frame.contains("answers"), "{frame}");
    server.stop();
    let said = Server::launch(program().args(["top", &url])).expect_exit(1);
    assert!(said.contains("/stats"), "{said}");
    Server::launch(program().args(["top", "--frob"])).expect_exit(2);
}
