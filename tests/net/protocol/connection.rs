//! How long a connection lives, pipelines, Expect, early answers, half-close (RFC 9112 section 9,
//! RFC 9110 section 10.1.1).

use super::{Suite, get, post};

#[test]
fn persistence() {
    let mut suite = Suite::echo();
    for (lines, expected) in [
        ("", "200 open"),
        ("Connection: keep-alive\r\n", "200 open"),
        ("Connection:\r\n", "200 open"),
        ("Connection: ,\r\n", "200 open"),
        ("Connection: closed\r\n", "200 open"),
        ("Connection: xclose\r\n", "200 open"),
        ("Connection: \"close\"\r\n", "200 open"),
        ("Connection: clo se\r\n", "200 open"),
        ("X-Connection: close\r\n", "200 open"),
        ("Connection: upgrade\r\n", "200 open"),
        ("Connection: close\r\n", "200 close"),
        ("connection:CLOSE\r\n", "200 close"),
        ("Connection: close, keep-alive\r\n", "200 close"),
        ("Connection: keep-alive, close\r\n", "200 close"),
        ("Connection: ,close,\r\n", "200 close"),
        ("Connection: te\t,\tclose\r\n", "200 close"),
        ("Connection: keep-alive\r\nConnection: close\r\n", "200 close"),
        ("Connection: close\r\nConnection: keep-alive\r\n", "200 close"),
    ] {
        suite.row(get(lines), expected);
        suite.row(post(&format!("{lines}Content-Length: 2\r\n"), "hi"), expected);
        // What follows the last request is nobody's.
        let following = if expected.ends_with("open") { "200 200 open" } else { "200 close" };
        suite.row(get(lines) + &get(""), following);
    }
    for (lines, expected) in [
        ("", "200 close"),
        ("Host: h\r\n", "200 close"),
        ("Connection: close\r\n", "200 close"),
        ("Connection: keep-alive, close\r\n", "200 close"),
        ("Keep-Alive: timeout=5\r\n", "200 close"),
        ("Proxy-Connection: keep-alive\r\n", "200 close"),
        ("Connection: keep-alive\r\n", "200 open"),
        ("Connection: Keep-Alive\r\n", "200 open"),
        ("Connection: te, keep-alive\r\n", "200 open"),
    ] {
        suite.row(format!("GET / HTTP/1.0\r\n{lines}\r\n"), expected);
        suite.row(
            format!("POST / HTTP/1.0\r\n{lines}Content-Length: 2\r\n\r\nhi"),
            &expected.replace("200", "200=hi"),
        );
    }
    let stays = suite.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &[]).unwrap();
    assert_eq!(stays.answers[0].values("connection"), ["keep-alive"]);
    suite.end(130);
}

#[test]
fn pipelines() {
    let mut suite = Suite::echo();
    for count in [2, 3, 100, 600] {
        suite.row(get("").repeat(count), &format!("{}open", "200 ".repeat(count)));
    }
    let one = post("Content-Length: 3\r\n", "one");
    let two = post("Transfer-Encoding: chunked\r\n", "3\r\ntwo\r\n0\r\n\r\n");
    let head = "HEAD / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nhead";
    suite.row(format!("{one}{two}{one}"), "200=one 200=two 200=one open");
    suite.row(format!("{head}{one}{head}{two}"), "200h 200=one 200h 200=two open");
    // A refusal ends it, whatever stands behind.
    suite.row(format!("{one}GET\r\n\r\n{two}"), "200=one 400 close");
    suite.row(format!("{one}GET / HTTP/2.0\r\nHost: h\r\n\r\n{two}"), "200=one 505 close");
    suite.row(format!("{one}{}{two}", get("Host: h\r\n")), "200=one 400 close");
    suite.row(format!("{one}{}", get("Connection: close\r\n")), "200=one 200 close");
    let broken = post("Transfer-Encoding: chunked\r\n", "x\r\n");
    suite.row(format!("{one}{broken}{two}"), "200=one 400 close");
    suite.end(16);
}

#[test]
fn expectations() {
    let mut suite = Suite::echo();
    for value in ["100-continue", "100-Continue", "100-CONTINUE", " 100-continue ", "", ","] {
        suite.row(post(&format!("Expect: {value}\r\nContent-Length: 2\r\n"), "hi"), "200=hi open");
        suite.row(get(&format!("Expect: {value}\r\n")), "200 open");
    }
    for value in [
        "x",
        "100",
        "100-continu",
        "100-continue-x",
        "100-continue;q=1",
        "100-continue, x",
        "x, 100-continue",
        "\"100-continue\"",
        "200-ok",
        "a=b",
    ] {
        suite.row(get(&format!("Expect: {value}\r\n")), "417 open");
        suite.row(post(&format!("Expect: {value}\r\nContent-Length: 2\r\n"), "hi"), "417 close");
    }
    suite.row(get("Expect: 100-continue\r\nExpect: x\r\n"), "417 open");
    suite.row(get("Expect: x\r\nExpect: 100-continue\r\n"), "417 open");
    suite.row(
        "PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
        "200=hi close",
    );
    suite.row(post("Expect: 100-continue\r\nContent-Length: 0\r\n", ""), "200= open");
    suite.end(50);
}

#[test]
fn a_body_is_asked_for_only_when_it_is_wanted() {
    let suite = Suite::gateway(&["limits.body=1000", "auth.keys=secret"]);
    let ask = |target: &str, lines: &str| {
        format!("POST {target} HTTP/1.1\r\nHost: h\r\n{lines}Expect: 100-continue\r\n\r\n")
    };
    let key = "x-api-key: secret\r\n";
    for (target, lines, expected) in [
        ("/v1/chat", "Content-Length: 10\r\n".to_owned(), 401),
        ("/v1/chat", format!("{key}Content-Length: 1001\r\n"), 413),
        ("/nowhere", "Content-Length: 10\r\n".to_owned(), 404),
        ("/nowhere", "Transfer-Encoding: chunked\r\n".to_owned(), 404),
        ("/health", "Content-Length: 10\r\n".to_owned(), 405),
    ] {
        let mut connection = suite.server.connect();
        let answer = connection.send(ask(target, &lines)).interim();
        assert_eq!(answer.status, expected, "{target} {lines}");
        // Who waited for 100 may send the body or not: only closing is safe.
        assert_eq!(answer.header("connection").as_deref(), Some("close"));
        connection.expect_close();
    }
    let mut connection = suite.server.connect();
    let body = r#"{"prompt":"wanted"}"#;
    connection.send(ask("/v1/chat", &format!("{key}Content-Length: {}\r\n", body.len())));
    assert_eq!(connection.interim().status, 100);
    assert_eq!(connection.send(body).answer().status, 200);
    suite.end(0);
}

#[test]
fn early_answers_drain_or_close() {
    let mut suite = Suite::gateway(&["limits.body=1000000"]);
    let target = |target: &str, lines: &str, body: &str| {
        format!("POST {target} HTTP/1.1\r\nHost: h\r\n{lines}\r\n{body}")
    };
    // A small body is read and dropped; the connection lives on.
    suite.row(target("/nowhere", "Content-Length: 5\r\n", "hello"), "404 open");
    suite.row(
        target("/nowhere", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        "404 open",
    );
    let body = "x".repeat(100_000);
    suite.row(target("/nowhere", "Content-Length: 100000\r\n", &body), "404 open");
    suite.row(target("/health", "Content-Length: 100000\r\n", &body), "405 open");
    // A large one is not worth it.
    let body = "x".repeat(900_000);
    suite.row(target("/nowhere", "Content-Length: 900000\r\n", &body), "404 close");
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    suite.row(target("/nowhere", "Transfer-Encoding: chunked\r\n", &chunks), "404 close");
    // One that breaks its framing is refused, whatever the answer would have been.
    suite.row(target("/nowhere", "Transfer-Encoding: chunked\r\n", "5\r\nhelloX\r\n"), "400 close");
    suite.row(target("/health", "Transfer-Encoding: chunked\r\n", "x\r\n"), "400 close");
    suite.row(target("/health", "Content-Length: 5\r\n", "hell"), "cut");
    suite.end(8);
}

#[test]
fn half_closed_clients_get_their_answers() {
    let mut suite = Suite::echo();
    suite.row(get(""), "200 cut");
    suite.row(get("").repeat(3), "200 200 200 cut");
    suite.row(post("Content-Length: 2\r\n", "hi"), "200=hi cut");
    suite.row(post("Transfer-Encoding: chunked\r\n", "2\r\nhi\r\n0\r\n\r\n"), "200=hi cut");
    // What is not whole has no answer; what stands before it has.
    suite.rows(
        "200 cut",
        ["G", "GET", "GET /", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: h\r\n", "\r\n"]
            .map(|rest| get("") + rest),
    );
    suite.row(get("") + &post("Content-Length: 3\r\n", "hi"), "200 cut");
    suite.rows("cut", ["", "\r", "\r\n", "G", "GET / HTTP/1.1\r\nHost: h\r\n\r"]);
    suite.end(28);
}

#[test]
fn old_clients_get_streams_without_chunks() {
    let suite = Suite::gateway(&[]);
    let body = r#"{"prompt":"one two three","stream":true}"#;
    for (version, lines, is_chunked) in
        [("1.0", "", false), ("1.0", "Connection: keep-alive\r\n", false), ("1.1", "", true)]
    {
        let mut connection = suite.server.connect();
        connection.send(format!(
            "POST /v1/chat HTTP/{version}\r\nHost: localhost\r\n{lines}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        let answer = connection.answer();
        assert_eq!(answer.status, 200);
        assert!(answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
        assert_eq!(answer.header("transfer-encoding").is_some(), is_chunked);
        assert_eq!(answer.header("content-length"), None);
        // The end of the connection is the end of the body, whatever the client had asked for.
        let closes = answer.header("connection").as_deref() == Some("close");
        assert_eq!(closes, !is_chunked, "{}", answer.head);
    }
    suite.end(0);
}
