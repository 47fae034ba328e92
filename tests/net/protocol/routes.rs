//! Methods on known and unknown paths: 404, 405 with Allow, 501, OPTIONS, HEAD (RFC 9110 sections
//! 9 and 15.5.6).

use super::{Suite, line};

#[test]
fn methods_on_our_own_routes() {
    let mut suite = Suite::gateway(&[]);
    for path in ["/", "/health", "/ready", "/stats"] {
        suite.row(line(&format!("GET {path} HTTP/1.1")), "200 open");
        suite.row(line(&format!("HEAD {path} HTTP/1.1")), "200h open");
        suite.row(line(&format!("OPTIONS {path} HTTP/1.1")), "204 open");
        for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE"] {
            suite.row(line(&format!("{method} {path} HTTP/1.1")), "405 open");
        }
        for method in ["BREW", "get", "GETX", "PROPFIND", "PRI", "!"] {
            suite.row(line(&format!("{method} {path} HTTP/1.1")), "501 open");
        }
        suite.row(line(&format!("CONNECT {path} HTTP/1.1")), "501 close");
    }
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "TRACE", "OPTIONS"] {
        suite.row(line(&format!("{method} /nowhere HTTP/1.1")), "404 open");
    }
    suite.row(line("HEAD /nowhere HTTP/1.1"), "404h open");
    suite.row(line("BREW /nowhere HTTP/1.1"), "501 open");
    suite.row(line("OPTIONS * HTTP/1.1"), "204 open");
    let local =
        |method: &str, path: &str| format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    for path in ["/v1/chat", "/v1/chat/completions", "/v1/completions", "/v1/messages"] {
        suite.row(local("GET", path), "405 open");
        suite.row(local("DELETE", path), "405 open");
        suite.row(local("OPTIONS", path), "204 open");
        suite.row(local("BREW", path), "501 open");
        // No body, no length: 411.
        suite.row(local("POST", path), "411 open");
    }
    // Paths are compared as they are.
    for path in ["/Health", "/health/", "//health", "/health//", "/healthz", "/v1", "/v1/"] {
        suite.row(local("GET", path), "404 open");
    }
    // The normalized path is what counts.
    for path in ["/./health", "/a/../health", "/%68ealth", "/health?x", "http://localhost/health"] {
        suite.row(local("GET", path), "200 open");
    }
    suite.end(170);
}

#[test]
fn allow_names_what_is_allowed() {
    let suite = Suite::gateway(&[]);
    for (request, allowed) in [
        ("POST /health", "GET, HEAD, OPTIONS"),
        ("OPTIONS /health", "GET, HEAD, OPTIONS"),
        ("GET /v1/chat", "POST, OPTIONS"),
        ("OPTIONS /v1/chat", "POST, OPTIONS"),
    ] {
        let row = format!("{request} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let outcome = suite.send(&row, &[]).unwrap();
        assert_eq!(outcome.answers[0].values("allow"), [allowed], "{request}");
    }
    suite.end(0);
}

#[test]
fn head_is_get_without_the_body() {
    let suite = Suite::gateway(&[]);
    for path in ["/", "/health", "/nowhere", "/v1/models"] {
        let ask = |method: &str| {
            let row = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            suite.send(&row, &[method == "HEAD"]).unwrap().answers.remove(0)
        };
        let (get, head) = (ask("GET"), ask("HEAD"));
        assert_eq!(head.status, get.status);
        assert!(head.body.is_empty());
        for name in ["content-length", "content-type", "connection"] {
            assert_eq!(head.values(name), get.values(name), "{name} of {path}");
        }
    }
    let mut suite = suite;
    // A refusal has none either, as soon as the method is known.
    suite.rows(
        "400h close",
        [
            "HEAD / HTTP/1.1\r\n\r\n",
            "HEAD /\t HTTP/1.1\r\nHost: h\r\n\r\n",
            "HEAD / HTTP/1.1\r\nHost: h\r\nX : y\r\n\r\n",
            "HEAD /%00 HTTP/1.1\r\nHost: h\r\n\r\n",
            "HEAD / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        ],
    );
    suite.row(line("HEAD / HTTP/2.0"), "505h close");
    suite.row(line(&format!("HEAD /{} HTTP/1.1", "a".repeat(9000))), "414h close");
    suite.end(12);
}

#[test]
fn trace_gives_nothing_back() {
    let suite = Suite::gateway(&[]);
    let row = "TRACE / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer of-secrets\r\n\r\n";
    let answer = suite.send(row, &[]).unwrap().answers.remove(0);
    assert_eq!(answer.status, 405);
    assert!(!String::from_utf8_lossy(&answer.body).contains("secrets"));
    suite.end(0);
}
