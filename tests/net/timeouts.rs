//! Peers that are slow or silent, on purpose or not.

use std::time::{Duration, Instant};

use crate::support::process::Server;

const SHORT: Duration = Duration::from_millis(300);
/// The wheel and a busy machine may be late by this.
const LATE: Duration = Duration::from_secs(5);

/// The server gives up between the configured time and a little later.
fn in_time(since: Instant) {
    let taken = since.elapsed();
    assert!(taken >= SHORT - Duration::from_millis(50), "too early: {taken:?}");
    assert!(taken < SHORT + LATE, "too late: {taken:?}");
}

#[test]
fn a_slow_head_is_408_however_it_trickles() {
    let server = Server::gateway(&["timeouts.header=300"]);
    let mut connection = server.connect();
    let begun = Instant::now();
    connection.send("GET /health HTTP/1.1\r\nX: ");
    // A byte now and then does not buy time: the whole head has one deadline.
    while connection.quiet_for(Duration::from_millis(60)) {
        let _ = connection.try_send("x");
        assert!(begun.elapsed() < SHORT + LATE, "still waiting for the head");
    }
    in_time(begun);
    let answer = connection.answer();
    assert_eq!(answer.status, 408);
    assert_eq!(answer.header("connection").unwrap(), "close");
    connection.expect_close();
    server.stop();
}

#[test]
fn a_connection_that_never_speaks_is_closed() {
    let server = Server::gateway(&["timeouts.header=300", "timeouts.idle=300"]);
    let begun = Instant::now();
    let rest = server.connect().rest();
    in_time(begun);
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408 "));
    server.stop();
}

#[test]
fn a_body_that_stalls_is_408() {
    let server = Server::gateway(&["timeouts.body=300"]);
    for request in [
        "POST /v1/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{\"pro",
        "POST /v1/chat HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ] {
        let mut connection = server.connect();
        let begun = Instant::now();
        let answer = connection.send(request).answer();
        in_time(begun);
        assert_eq!(answer.status, 408);
        connection.expect_close();
    }
    // The deadline is between two reads: a slow body that moves is fine.
    let mut connection = server.connect();
    let body = r#"{"prompt":"slowly"}"#;
    connection.send(format!(
        "POST /v1/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));
    for byte in body.as_bytes() {
        assert!(connection.quiet_for(Duration::from_millis(30)));
        connection.send([*byte]);
    }
    assert_eq!(connection.answer().status, 200);
    server.stop();
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let server = Server::gateway(&["timeouts.idle=300"]);
    let mut connection = server.connect();
    for _ in 0..2 {
        assert_eq!(connection.get("/health").answer().status, 200);
        let begun = Instant::now();
        assert!(connection.quiet_for(Duration::from_millis(100)));
        assert!(begun.elapsed() < SHORT);
    }
    assert_eq!(connection.get("/health").answer().status, 200);
    let begun = Instant::now();
    connection.expect_close();
    in_time(begun);
    server.stop();
}

#[test]
fn a_client_that_takes_nothing_is_cut() {
    let server = Server::gateway(&["timeouts.write=300", "server.workers=1"]);
    let before = server.descriptors();
    let mut connection = server.connect();
    connection.receive_little();
    let prompt = "word ".repeat(400_000);
    connection.post("/v1/chat", &format!("{{\"prompt\":\"{prompt}\",\"stream\":true}}"));
    assert_eq!(connection.head().status, 200);
    let mut probe = server.connect();
    crate::support::wait_until("the stalled stream is cut", || {
        assert_eq!(probe.get("/health").answer().status, 200);
        server.descriptors() <= before + 1
    });
    let rest = connection.rest();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "a cut stream must not look complete");
    server.stop();
}
