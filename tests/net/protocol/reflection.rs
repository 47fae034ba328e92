//! No byte of a request can split the answer to it, whatever the answer says back.

use std::process::Command;

use super::Suite;
use crate::support::process::{Server, program};

#[test]
fn request_ids_are_taken_over_only_when_they_are_sane() {
    let suite = Suite::gateway(&[]);
    for (id, is_kept) in [
        ("abc-123_X.y", true),
        ("", false),
        ("a b", false),
        ("a\tb", false),
        ("a,b\"c", false),
        ("\u{e9}", false),
        ("<script>", false),
        (&"x".repeat(5000), false),
    ] {
        let row = format!("GET /health HTTP/1.1\r\nHost: h\r\nX-Request-Id: {id}\r\n\r\n");
        let outcome = suite.send(&row, &[]).unwrap();
        let ids = outcome.answers[0].values("x-request-id");
        assert_eq!(ids.len(), 1, "{id}");
        assert!(!ids[0].is_empty());
        assert_eq!(ids[0] == id, is_kept, "{id:?} became {ids:?}");
    }
    suite.end(0);
}

fn any_model() -> Command {
    let mut command = program();
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    command.args(["--set", "provider.echo.kind=echo"]);
    command.args(["--set", "model.*.targets=[{ provider = \"echo\" }]"]);
    command
}

#[test]
fn bodies_cannot_write_heads() {
    let suite = Suite::of(Server::start(&mut any_model()));
    let split = r"x\r\nSet-Cookie: a=b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    for model in
        [split, r"x\nSet-Cookie: a=b", r"x\rSet-Cookie: a=b", r"x\u0000", r"\u00e9\u2028", " "]
    {
        for (target, rest) in [
            ("/v1/chat", r#""prompt":"p""#),
            ("/v1/chat/completions", r#""messages":[{"role":"user","content":"p"}]"#),
            ("/v1/messages", r#""max_tokens":5,"messages":[{"role":"user","content":"p"}]"#),
            ("/v1/completions", r#""prompt":"p""#),
        ] {
            for stream in ["", r#","stream":true"#] {
                let body = format!(r#"{{"model":"{model}",{rest}{stream}}}"#);
                let row = format!(
                    "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let outcome = suite.send(&row, &[]).unwrap_or_else(|what| panic!("{row}: {what}"));
                assert_eq!(outcome.answers.len(), 1, "{row}");
                assert!(outcome.is_open, "{row}");
                assert!(outcome.answers[0].values("set-cookie").is_empty(), "{row}");
            }
        }
    }
    suite.end(0);
}

#[test]
fn targets_and_fields_cannot_write_heads() {
    // The firewall would refuse some of it before.
    let mut suite = Suite::gateway(&["firewall.inspect=false"]);
    suite.rows(
        "400 close",
        [
            "GET /%0d%0aSet-Cookie:%20a=b HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /v1/models/%0d%0aX:%20y HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "GET /%E5%98%8A%E5%98%8DX HTTP/1.1\r\nHost: h%0d%0aX: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nX-Request-Id: a\rSet-Cookie: a=b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nX-Request-Id: a\nSet-Cookie: a=b\r\n\r\n",
        ],
    );
    // Two characters whose low bytes are LF and CR: text, nothing else.
    suite.row("GET /%E5%98%8A%E5%98%8DX:y HTTP/1.1\r\nHost: h\r\n\r\n", "404 open");
    suite.row("GET /v1/models/%E5%98%8A HTTP/1.1\r\nHost: localhost\r\n\r\n", "404 open");
    suite.row("GET /?%0d%0aSet-Cookie:%20a=b HTTP/1.1\r\nHost: h\r\n\r\n", "200 open");
    suite.end(14);
}
