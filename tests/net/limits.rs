//! The limits of the configuration with their status codes.

use crate::support::process::Server;
use crate::support::wire::Answer;

/// Sends bytes that exceed a limit and returns the answer, after which the server must close.
fn refused(server: &Server, request: &str) -> Answer {
    let mut connection = server.connect();
    let _ = connection.try_send(request);
    let answer = connection.answer();
    assert!(answer.json()["error"]["message"].is_string());
    assert_eq!(answer.header("connection").as_deref(), Some("close"));
    connection.expect_close();
    answer
}

#[test]
fn a_long_request_line_is_414() {
    let server = Server::gateway(&["limits.request_line=100"]);
    let fits = "/".to_owned() + &"a".repeat(100 - "GET / HTTP/1.1".len());
    assert_eq!(server.connect().get(&fits).answer().status, 404);
    let target = fits + "a";
    assert_eq!(refused(&server, &format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")).status, 414);
    // It does not take the end of the line to know.
    assert_eq!(refused(&server, &format!("GET {}", "/a".repeat(5000))).status, 414);
    server.stop();
}

#[test]
fn a_long_header_section_is_431() {
    let server = Server::gateway(&["limits.header_section=1000"]);
    let head =
        |length| format!("GET /health HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(length));
    assert_eq!(server.connect().send(head(900)).answer().status, 200);
    assert_eq!(refused(&server, &head(1000)).status, 431);
    assert_eq!(refused(&server, &head(100_000)).status, 431);
    let many = "A: b\r\n".repeat(150);
    let many = format!("GET /health HTTP/1.1\r\nHost: h\r\n{many}\r\n");
    assert_eq!(refused(&server, &many).status, 431);
    server.stop();
}

#[test]
fn a_large_body_is_413() {
    let server = Server::gateway(&["limits.body=1000"]);
    let prompt = |length: usize| format!("{{\"prompt\":\"{}\"}}", "x".repeat(length - 13));
    assert_eq!(server.connect().post("/v1/chat", &prompt(1000)).answer().status, 200);
    // It is told before the body comes, and a client that asks first gets no 100.
    let over = "POST /v1/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1001\r\n";
    for expect in ["", "Expect: 100-continue\r\n"] {
        let mut connection = server.connect();
        let answer = connection.send(format!("{over}{expect}\r\n")).interim();
        assert_eq!(answer.status, 413);
        assert!(answer.json()["error"]["message"].is_string());
        // The body comes all the same: it is dropped, or the connection closed.
        let _ = connection.try_send(" ".repeat(1001));
        if answer.header("connection").as_deref() == Some("close") {
            connection.expect_close();
        } else {
            assert_eq!(connection.get("/health").answer().status, 200);
        }
    }
    let chunked = "POST /v1/chat HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("200\r\n{}\r\n", "x".repeat(0x200));
    assert_eq!(refused(&server, &format!("{chunked}{chunk}{chunk}")).status, 413);
    assert_eq!(refused(&server, &format!("{chunked}3e9\r\n")).status, 413);
    server.stop();
}

#[test]
fn connections_beyond_the_maximum_wait_or_are_refused() {
    let server = Server::gateway(&["server.max_connections=4", "server.workers=1"]);
    let mut first: Vec<_> = (0..4).map(|_| server.connect()).collect();
    for connection in &mut first {
        assert_eq!(connection.get("/health").answer().status, 200);
    }
    let mut fifth = server.connect();
    let _ = fifth.try_send("GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
    // Those who are in keep being served, whatever the fifth gets.
    for connection in &mut first {
        assert_eq!(connection.get("/health").answer().status, 200);
    }
    drop(first);
    let rest = {
        // The fifth is let in now, unless it has been refused: with 503, or by closing.
        let bytes = fifth.finish().rest();
        String::from_utf8(bytes).unwrap()
    };
    assert!(
        rest.is_empty() || rest.starts_with("HTTP/1.1 200 ") || rest.starts_with("HTTP/1.1 503 "),
        "{rest}"
    );
    crate::support::wait_until("there is room again", || {
        let mut connection = server.connect();
        let _ = connection.try_send("GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        connection.rest().starts_with(b"HTTP/1.1 200 ")
    });
    server.stop();
}
