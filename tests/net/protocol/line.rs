//! Method, version and the shape of the request line (RFC 9112 sections 2 and 3).

use super::{Suite, line};

#[test]
fn shapes_of_the_request_line() {
    let mut suite = Suite::echo();
    suite.rows(
        "400 close",
        [
            "GET  / HTTP/1.1",
            "GET /  HTTP/1.1",
            "GET / HTTP/1.1 ",
            " GET / HTTP/1.1",
            "\tGET / HTTP/1.1",
            "GET\t/ HTTP/1.1",
            "GET /\tHTTP/1.1",
            "GET\x0b/ HTTP/1.1",
            "GET\x0c/\x0cHTTP/1.1",
            "GET\u{a0}/ HTTP/1.1",
            "GET /\u{85}HTTP/1.1",
            "GET / a HTTP/1.1",
            "GET / HTTP/1.1 a",
            "GET",
            "GET ",
            "GET /",
            "GET / ",
            "GET HTTP/1.1",
            "/ HTTP/1.1",
            "HTTP/1.1 200 OK",
            "GET: / HTTP/1.1",
            "G@T / HTTP/1.1",
            "GET, / HTTP/1.1",
            "\"GET\" / HTTP/1.1",
            "GE\0T / HTTP/1.1",
            "GET\0/ HTTP/1.1",
            "GET /\0 HTTP/1.1",
            "GET / HTTP/1.1\0",
            "\0",
            "G\u{c9}T / HTTP/1.1",
            "\u{ef}\u{bb}\u{bf}GET / HTTP/1.1",
            "GET / HTTP/1.1\rX: y",
            "GET / HTTP/1.1\r",
            "GET /\r HTTP/1.1",
            "GET\r / HTTP/1.1",
            "GET / HTTP/1.1\nX: y",
            "GET /\n HTTP/1.1",
            "G\nET / HTTP/1.1",
            "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03",
            "\x05\x01\0",
            "* OK IMAP4",
        ]
        .map(line),
    );
    // A whole message with other line ends than CR LF.
    suite.rows(
        "400 close",
        [
            "GET / HTTP/1.1\nHost: h\n\n",
            "GET / HTTP/1.1\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\n\n",
            "GET / HTTP/1.1\r\nHost: h\n\n",
            "GET / HTTP/1.1\rHost: h\r\r",
            "GET / HTTP/1.1\r\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\n\r\r\n",
        ],
    );
    suite.end(100);
}

#[test]
fn empty_lines_before_a_request() {
    let mut suite = Suite::echo();
    let request = line("GET / HTTP/1.1");
    for count in 0..=4 {
        suite.row("\r\n".repeat(count) + &request, "200 open");
        suite.row(format!("{request}{}{request}", "\r\n".repeat(count)), "200 200 open");
    }
    for count in [5, 6, 500] {
        suite.row("\r\n".repeat(count) + &request, "400 close");
        suite.row(format!("{request}{}{request}", "\r\n".repeat(count)), "200 400 close");
    }
    for start in ["\n", "\r", "\r\r\n", "\n\r\n", " \r\n", "\r\n\n", "\r\n ", "\0\r\n", "\r\n\t"] {
        suite.row(format!("{start}{request}"), "400 close");
    }
    suite.end(35);
}

#[test]
fn methods() {
    let mut suite = Suite::echo();
    // A host's route for any method takes every token but CONNECT.
    for method in [
        "GET",
        "POST",
        "PUT",
        "DELETE",
        "OPTIONS",
        "TRACE",
        "PATCH",
        "PROPFIND",
        "PURGE",
        "BREW",
        "get",
        "Get",
        "gET",
        "GETX",
        "X",
        "PRI",
        "M-SEARCH",
        "!#$%&'*+-.^_`|~0",
        "connect",
    ] {
        suite.row(line(&format!("{method} / HTTP/1.1")), "200 open");
    }
    suite.row(line("HEAD / HTTP/1.1"), "200h open");
    suite.row(line(&format!("{} / HTTP/1.1", "M".repeat(1000))), "200 open");
    suite.rows(
        "501 close",
        [
            "CONNECT h:443 HTTP/1.1",
            "CONNECT h:80 HTTP/1.0",
            "CONNECT / HTTP/1.1",
            "CONNECT http://h/ HTTP/1.1",
            "CONNECT * HTTP/1.1",
            "CONNECT [::1]:443 HTTP/1.1",
        ]
        .map(line),
    );
    suite.end(50);
}

#[test]
fn versions() {
    let mut suite = Suite::echo();
    suite.rows(
        "505 close",
        [
            "GET / HTTP/0.9",
            "GET / HTTP/1.2",
            "GET / HTTP/1.9",
            "GET / HTTP/2.0",
            "GET / HTTP/2.1",
            "GET / HTTP/3.0",
            "GET / HTTP/0.0",
            "GET / HTTP/9.9",
        ]
        .map(line),
    );
    suite.row("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 close");
    suite.row("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0", "505 close");
    suite.rows(
        "400 close",
        [
            "GET / http/1.1",
            "GET / Http/1.1",
            "GET / HTTP/1",
            "GET / HTTP/2",
            "GET / HTTP/3",
            "GET / HTTP/",
            "GET / HTTP",
            "GET / HTTP/1.",
            "GET / HTTP/.1",
            "GET / HTTP/11",
            "GET / HTTP/1.10",
            "GET / HTTP/1.01",
            "GET / HTTP/01.1",
            "GET / HTTP/10.1",
            "GET / HTTP/1.1.1",
            "GET / HTTP/1,1",
            "GET / HTTP/1-1",
            "GET / HTTP/-1.1",
            "GET / HTTP/+1.1",
            "GET / HTTP/1.x",
            "GET / HTTP/x.1",
            "GET / HTTP/1.1a",
            "GET / HTTP 1.1",
            "GET / HTTP/ 1.1",
            "GET / HTTP /1.1",
            "GET / HTTPS/1.1",
            "GET / XHTTP/1.1",
            "GET / HTP/1.1",
            "GET / RTSP/1.0",
            "GET / SIP/2.0",
            "GET / ICY/1.1",
            "GET / \u{ef}TTP/1.1",
        ]
        .map(line),
    );
    // HTTP/0.9: a line and nothing else.
    suite.row("GET /\r\n", "400 close");
    suite.row("GET /\r\n\r\n", "400 close");
    suite.row("GET /\n", "400 close");
    suite.end(85);
}
