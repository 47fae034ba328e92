//! Who may use `/v1/*`: keys, or the loopback rule when there are none.

use crate::support::process::{Server, program};

const BODY: &str = r#"{"prompt":"hi"}"#;

fn status(server: &Server, host: &str, fields: &str) -> u16 {
    let mut connection = server.connect();
    connection.send(format!(
        "POST /v1/chat HTTP/1.1\r\nHost: {host}\r\n{fields}Content-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    ));
    let answer = connection.answer();
    if answer.status >= 400 {
        assert!(answer.json()["error"]["message"].is_string());
    }
    answer.status
}

#[test]
fn without_keys_only_loopback_names_are_answered() {
    let server = Server::gateway(&[]);
    for (host, fields, wanted) in [
        ("127.0.0.1", "", 200),
        ("localhost:8080", "", 200),
        ("[::1]:8080", "", 200),
        ("localhost", "Origin: http://localhost:3000\r\n", 200),
        ("evil.example", "", 403),
        ("localhost.evil.example", "", 403),
        ("127.0.0.1", "Origin: https://evil.example\r\n", 403),
        ("127.0.0.1", "Origin: null\r\n", 403),
    ] {
        assert_eq!(status(&server, host, fields), wanted, "{host} {fields}");
    }
    // The rule guards /v1/* alone.
    let mut connection = server.connect();
    connection.send("GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert_eq!(connection.answer().status, 200);
    server.stop();
}

#[test]
fn open_answers_everyone() {
    let server = Server::gateway(&["auth.open=true"]);
    assert_eq!(status(&server, "api.example", ""), 200);
    assert_eq!(status(&server, "api.example", "Origin: https://example.com\r\n"), 200);
    server.stop();
}

#[test]
fn keys_guard_v1_and_nothing_else() {
    let server = Server::gateway(&["auth.keys=[\"right\", \"also right\"]"]);
    for (fields, wanted) in [
        ("Authorization: Bearer right\r\n", 200),
        ("authorization: bearer right\r\n", 200),
        ("Authorization: Bearer also right\r\n", 200),
        ("x-api-key: right\r\n", 200),
        ("", 401),
        ("Authorization: Bearer wrong\r\n", 401),
        ("Authorization: Bearer righ\r\n", 401),
        ("Authorization: Bearer rightx\r\n", 401),
        ("Authorization: Basic right\r\n", 401),
        ("Authorization: Bearer \r\n", 401),
        ("x-api-key: wrong\r\n", 401),
    ] {
        assert_eq!(status(&server, "api.example", fields), wanted, "{fields}");
    }
    let mut connection = server.connect();
    for target in ["/", "/health", "/ready"] {
        assert_eq!(connection.get(target).answer().status, 200);
    }
    server.stop();
}

#[test]
fn a_key_is_checked_before_a_body_is_read() {
    let server = Server::gateway(&["auth.keys=[\"right\"]"]);
    let mut connection = server.connect();
    connection.send(
        "POST /v1/chat HTTP/1.1\r\nHost: h\r\nContent-Length: 30000000\r\n\
         Expect: 100-continue\r\n\r\n",
    );
    assert_eq!(connection.interim().status, 401);
    server.stop();
}

#[test]
fn a_key_may_come_from_the_environment() {
    let mut command = program();
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--set", "auth.keys=env:MY_KEY"])
        .env("MY_KEY", "from outside");
    let server = Server::start(&mut command);
    assert_eq!(status(&server, "h", "x-api-key: from outside\r\n"), 200);
    assert_eq!(status(&server, "h", "x-api-key: env:MY_KEY\r\n"), 401);
    server.stop();
}
