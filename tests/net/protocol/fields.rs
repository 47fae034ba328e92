//! Field lines: names, values, and every way to hide one (RFC 9112 section 5).

use super::{Suite, get};

#[test]
fn names() {
    let mut suite = Suite::echo();
    suite.rows(
        "200 open",
        [
            "X: y\r\n",
            "x:y\r\n",
            "X:\r\n",
            "X: \r\n",
            "X:\t\t\r\n",
            "!#$%&'*+-.^_`|~0: y\r\n",
            "X_Y: z\r\n",
            "1: y\r\n",
            "X:: y\r\n",
            "X:y:z\r\n",
            "X: y\r\nX: z\r\n",
        ]
        .map(get),
    );
    suite.rows(
        "400 close",
        [
            ": y\r\n",
            " : y\r\n",
            "X : y\r\n",
            "X\t: y\r\n",
            "X  : y\r\n",
            "X\x0b: y\r\n",
            "X\u{a0}: y\r\n",
            "X\r\n",
            "X\r\n: y\r\n",
            "X y: z\r\n",
            "X\ty: z\r\n",
            "X=y\r\n",
            "X(: y\r\n",
            "X): y\r\n",
            "X<: y\r\n",
            "X>: y\r\n",
            "X@: y\r\n",
            "X,: y\r\n",
            "X;: y\r\n",
            "X\\: y\r\n",
            "X\": y\r\n",
            "X/: y\r\n",
            "X[: y\r\n",
            "X]: y\r\n",
            "X?: y\r\n",
            "X={: y\r\n",
            "X}: y\r\n",
            "\u{e9}: y\r\n",
            "X\u{80}: y\r\n",
            "\u{ff}: y\r\n",
            "X\0: y\r\n",
            "\0X: y\r\n",
            "X\x01: y\r\n",
            "X\x7f: y\r\n",
            "X\r: y\r\n",
            "X\n: y\r\n",
            "\rX: y\r\n",
            "\nX: y\r\n",
        ]
        .map(get),
    );
    suite.end(95);
}

#[test]
fn values() {
    let mut suite = Suite::echo();
    suite.rows(
        "200 open",
        [
            "X: a b\tc\r\n",
            "X: \"(),/:;<=>?@[\\]{}\r\n",
            "X: \u{80}\u{ff}\r\n",
            "X: caf\u{c3}\u{a9}\r\n",
            "X: y \t \r\n",
            "X: \u{a0}\r\n",
        ]
        .map(get),
    );
    for control in (0u8..32).chain([127]).filter(|byte| !b"\t\r\n".contains(byte)) {
        let control = char::from(control);
        suite.row(get(&format!("X: a{control}b\r\n")), "400 close");
        suite.row(get(&format!("X:{control}\r\n")), "400 close");
    }
    suite.rows(
        "400 close",
        [
            "X: a\rb\r\n",
            "X: a\r\r\n",
            "X:\r\r\n",
            "X: a\nb\r\n",
            "X: a\nY: b\r\n",
            "X: a\n\r\n",
            "X: \r\n b\r\n",
            "X: a\r\n b\r\n",
            "X: a\r\n\tb\r\n",
            "X: a\r\n \r\n",
            "X: a\r\n\t\r\n",
            "X: a\r\n  Y: b\r\n",
            " X: a\r\n",
            "\tX: a\r\n",
            "X: a\r\n Transfer-Encoding: chunked\r\n",
        ]
        .map(get),
    );
    suite.end(100);
}

#[test]
fn fields_that_a_proxy_would_obey_change_nothing() {
    let mut suite = Suite::echo();
    suite.rows(
        "200 open",
        [
            "X-HTTP-Method-Override: DELETE\r\n",
            "X-Original-URL: /admin\r\n",
            "X-Rewrite-URL: /admin\r\n",
            "X-Forwarded-Host: evil\r\n",
            "X-Forwarded-Proto: https\r\n",
            "Forwarded: host=evil\r\n",
            "Upgrade: websocket\r\nConnection: upgrade\r\n",
            "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n",
            "Upgrade: TLS/1.2\r\nConnection: Upgrade\r\n",
            "Connection: X-Api-Key, Host, Content-Length\r\n",
            "TE: trailers\r\nConnection: TE\r\n",
            "TE: gzip;q=0.5, trailers\r\n",
            "Max-Forwards: 0\r\n",
            "Range: bytes=0-0\r\n",
            "If-Match: \"x\"\r\n",
            "Trailer: Content-Length\r\n",
            "Keep-Alive: timeout=1000000\r\n",
            "Proxy-Connection: close\r\n",
            "Content-Encoding: gzip\r\n",
            "X-Content-Length: 5\r\n",
            "Content_Length: 5\r\n",
            "Content-Length-X: 5\r\n",
            "X-Transfer-Encoding: chunked\r\n",
            "Transfer_Encoding: chunked\r\n",
        ]
        .map(get),
    );
    suite.end(45);
}
