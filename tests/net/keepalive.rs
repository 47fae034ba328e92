//! When a connection stays open and when it is closed (RFC 9112 section 9).

use crate::support::process::Server;

#[test]
fn the_version_and_the_connection_field_decide() {
    let server = Server::gateway(&[]);
    for (request, stays) in [
        ("GET /health HTTP/1.1\r\nHost: h\r\n\r\n", true),
        ("GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", false),
        ("GET /health HTTP/1.1\r\nHost: h\r\nConnection: X, Close\r\n\r\n", false),
        ("GET /health HTTP/1.0\r\n\r\n", false),
        ("GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
        ("GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n", true),
        ("DELETE /health HTTP/1.1\r\nHost: h\r\n\r\n", true),
    ] {
        let mut connection = server.connect();
        let answer = connection.send(request).answer();
        let field = answer.header("connection").map(|value| value.to_ascii_lowercase());
        if stays {
            assert_ne!(field.as_deref(), Some("close"), "{request:?}");
            if request.contains("HTTP/1.0") {
                assert_eq!(field.as_deref(), Some("keep-alive"));
            }
            assert_eq!(connection.get("/health").answer().status, 200, "{request:?}");
        } else {
            assert_eq!(field.as_deref(), Some("close"), "{request:?}");
            connection.expect_close();
        }
    }
    server.stop();
}

#[test]
fn head_has_the_fields_of_get_and_no_body() {
    let server = Server::gateway(&[]);
    let mut connection = server.connect();
    for target in ["/", "/health", "/ready", "/v1/models", "/nowhere"] {
        let get = connection.get(target).answer();
        connection.send(format!("HEAD {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"));
        let head = connection.answer_to_head();
        assert_eq!(head.status, get.status, "{target}");
        for name in ["content-length", "content-type", "connection"] {
            assert_eq!(head.header(name), get.header(name), "{name} of {target}");
        }
    }
    assert_eq!(connection.get("/health").answer().status, 200);
    server.stop();
}

#[test]
fn an_early_answer_never_desynchronizes() {
    // The body of a request that is refused is read to its end or the connection is closed.
    let server = Server::gateway(&["limits.body=300000"]);
    for (length, target) in [(10, "/nowhere"), (250_000, "/nowhere"), (299_999, "/health")] {
        let mut connection = server.connect();
        connection
            .send(format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n"));
        let body = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n".repeat(length / 30 + 1);
        let _ = connection.try_send(&body[..length]);
        let _ = connection.try_send("GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
        let first = connection.answer();
        assert!([404, 405].contains(&first.status));
        let rest = String::from_utf8(if first.header("connection").as_deref() == Some("close") {
            connection.rest()
        } else {
            let second = connection.answer();
            assert_eq!((second.status, second.text()), (200, r#"{"status":"ok"}"#));
            Vec::new()
        })
        .unwrap();
        assert_eq!(rest, "", "after the answer to {target}");
    }
    server.stop();
}

#[test]
fn a_half_closed_client_gets_its_answers() {
    let server = Server::gateway(&[]);
    let mut connection = server.connect();
    connection.get("/health").get("/ready").finish();
    assert_eq!(connection.answer().status, 200);
    assert_eq!(connection.answer().status, 200);
    connection.expect_close();
    server.stop();
}
