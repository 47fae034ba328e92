//! Where a message begins and ends, and what is refused because that is in doubt (RFC 9112).

use crate::support::cc::Link;
use crate::support::process::{Server, example};

fn echo() -> Server {
    Server::start(example("echo", Link::Shared).arg("0"))
}

/// A refused head: this status, then the close, and nothing else.
fn check_refused(server: &Server, request: &str, statuses: &[u16]) {
    let mut connection = server.connect();
    // What follows a refused message must not be taken for a request of its own.
    let _ = connection.try_send(format!("{request}GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"));
    let answer = connection.answer();
    assert!(statuses.contains(&answer.status), "{request:?} got {}", answer.head);
    assert_eq!(answer.header("connection").as_deref(), Some("close"), "{request:?}");
    let error = &answer.json()["error"];
    assert!(error["message"].is_string() && error["type"].is_string(), "{request:?}");
    connection.expect_close();
}

#[test]
fn heads_in_doubt_are_refused_and_closed() {
    let server = echo();
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
        ("GET / HTTP/1.2\r\nHost: h\r\n\r\n", 505),
        ("GET / HTTX/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET /\r\nHost: h\r\n\r\n", 400),
        ("GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (" GET / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("G(T / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET nowhere HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET /a\tb HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET /../etc HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET http://other/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET * HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", 501),
        ("GET / HTTP/1.1\r\nHost: h\r\nName : value\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nNo colon\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\n: no name\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n folded\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\0c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: h\n\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: \r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 2\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nExpect: a-miracle\r\nContent-Length: 1\r\n\r\n", 417),
    ] {
        check_refused(&server, request, &[status]);
    }
    server.stop();
}

#[test]
fn broken_chunks_are_refused_and_closed() {
    let server = echo();
    let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "xyz\r\n",
        "-1\r\n",
        "\r\n",
        " 5\r\nhello\r\n",
        "0x5\r\nhello\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "ffffffffffffffff\r\n",
        "10000000000000000\r\n",
        "5;ext\nhello\r\n",
        "0\r\nBad Trailer: x\r\n\r\n",
    ] {
        check_refused(&server, &format!("{head}{body}"), &[400, 413]);
    }
    server.stop();
}

#[test]
fn a_request_may_come_in_any_pieces() {
    let server = echo();
    let request = "POST /p?q HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3;a=\"b\"\r\nabc\r\nA\r\n0123456789\r\n000\r\nX: y\r\n\r\n";
    for cut in 1..request.len() {
        let (first, second) = request.split_at(cut);
        let mut connection = server.connect();
        connection.send(first);
        assert_eq!(connection.send(second).answer().text(), "abc0123456789", "cut at {cut}");
    }
    let mut connection = server.connect();
    for byte in request.as_bytes() {
        connection.send([*byte]);
    }
    assert_eq!(connection.answer().text(), "abc0123456789");
    server.stop();
}

#[test]
fn a_pipeline_may_come_in_any_pieces() {
    let server = echo();
    let requests = "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\none\
                    GET /2 HTTP/1.1\r\nHost: h\r\n\r\n\
                    PUT /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
                    5\r\nthree\r\n0\r\n\r\n\
                    HEAD /4 HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nfour\
                    POST /5 HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nfive";
    for cut in 1..requests.len() {
        let (first, second) = requests.split_at(cut);
        let mut connection = server.connect();
        connection.send(first).send(second);
        assert_eq!(connection.answer().text(), "one", "cut at {cut}");
        assert_eq!(connection.answer().text(), "");
        assert_eq!(connection.answer().text(), "three");
        assert_eq!(connection.answer_to_head().header("content-length").unwrap(), "4");
        assert_eq!(connection.answer().text(), "five");
    }
    server.stop();
}

#[test]
fn what_is_unusual_but_plain_is_taken() {
    let server = echo();
    for request in [
        "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET http://h/path HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nhost:h\r\nEMPTY:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
        "GET /?q=[a]|{b} HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX: caf\u{e9}\t!\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 000\r\n\r\n",
        "OPTIONS / HTTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        assert_eq!(server.connect().send(request).answer().status, 200, "{request:?}");
    }
    server.stop();
}

#[test]
fn a_body_is_asked_for_when_the_client_waits() {
    let server = echo();
    let mut connection = server.connect();
    for _ in 0..3 {
        connection
            .send("PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 4\r\n\r\n");
        assert_eq!(connection.interim().status, 100);
        assert_eq!(connection.send("body").answer().text(), "body");
    }
    // The body is there already: nothing to ask for.
    connection
        .send("PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody");
    assert_eq!(connection.answer().text(), "body");
    // An HTTP/1.0 client knows no 100.
    connection
        .send("PUT / HTTP/1.0\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody");
    assert_eq!(connection.interim().status, 200);
    server.stop();
}

#[test]
fn a_client_that_leaves_within_a_message_leaves_nothing_behind() {
    let server = echo();
    let before = server.descriptors();
    for request in [
        "GET",
        "GET / HTTP/1.1\r\nHost: h\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ] {
        for way in 0..3 {
            let mut connection = server.connect();
            connection.send(request);
            match way {
                0 => drop(connection),
                1 => connection.reset(),
                _ => {
                    // Half closed within a message: it can never be whole.
                    connection.finish();
                    let rest = String::from_utf8(connection.rest()).unwrap();
                    assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 400 "), "{rest}");
                }
            }
        }
    }
    let mut probe = server.connect();
    crate::support::wait_until("the descriptors are back", || {
        assert_eq!(probe.get("/").answer().status, 200);
        server.descriptors() <= before + 1
    });
    server.stop();
}
