//! Host: exactly one, valid, and in agreement with the target (RFC 9112 section 3.2).

use super::{Suite, line};

fn host(value: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n")
}

#[test]
fn one_valid_host() {
    let mut suite = Suite::echo();
    suite.rows(
        "200 open",
        [
            "h",
            "H",
            "example.com",
            "example.com:80",
            "example.com:",
            "example.com:0",
            "example.com:65535",
            "example.com.",
            "xn--bcher-kva.example",
            "my_host",
            "127.0.0.1",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:8080",
            "[2001:db8::1]",
            "[::ffff:192.0.2.1]",
            "a%41",
            "a!$&'()*+;=b",
            "\th\t",
            "   h   ",
            "-",
            "0",
        ]
        .map(host),
    );
    suite.rows(
        "400 close",
        [
            "",
            " ",
            "\t",
            ":",
            ":80",
            "h h",
            "h,h",
            "h, h",
            "h;h h",
            "a,b",
            "u@h",
            "u:p@h",
            "@h",
            "h@",
            "h/",
            "h/path",
            "/h",
            "h?q",
            "h#f",
            "h\\",
            "h\\@evil",
            "http://h",
            "https://h/",
            "h:port",
            "h:80a",
            "h:-1",
            "h:+80",
            "h:80:80",
            "h:65536",
            "h:99999999999999999999",
            "h: 80",
            "h :80",
            "h:80/",
            "h:80@evil",
            "h:80#@evil",
            "[::1",
            "::1",
            "[::1]a",
            "[::1]:a",
            "[::1]80",
            "[]",
            "[h]",
            "[127.0.0.1]",
            "[::1%25lo]",
            "[::1%lo]",
            "[v1.a]",
            "[[::1]]",
            "h%",
            "h%4",
            "h%zz",
            "h%00",
            "h%0d%0a",
            "h%20h",
            "h%2f",
            "h%40evil",
            "h%23",
            "h%3a80",
            "\"h\"",
            "<h>",
            "{h}",
            "h|h",
            "h^",
            "h`",
            "\u{e9}",
            "\u{c3}\u{a9}.example",
            "h\u{80}",
            "h\u{ff}",
            "h\th",
        ]
        .map(host),
    );
    suite.end(150);
}

#[test]
fn exactly_one_host() {
    let mut suite = Suite::echo();
    suite.rows(
        "400 close",
        [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nX-Host: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHosts: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHos: h\r\n\r\n",
            "GET / HTTP/1.1\r\nX-Forwarded-Host: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nhost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nHOST: evil\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nX: y\r\nHost:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost:\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost\t: h\r\n\r\n",
            "GET / HTTP/1.1\r\n Host: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\n h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost:\r\n h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost= h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\0.evil\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\x0b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n",
            "GET http://h/ HTTP/1.1\r\n\r\n",
            // An HTTP/1.0 request may do without, but not lie.
            "GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a b\r\n\r\n",
            "GET / HTTP/1.0\r\nHost:\r\n\r\n",
        ],
    );
    suite.rows("200 close", ["GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\nHost: h\r\n\r\n"]);
    suite.end(60);
}

#[test]
fn an_absolute_target_and_host_agree() {
    let mut suite = Suite::echo();
    suite.rows(
        "200 open",
        [
            "GET http://h/ HTTP/1.1",
            "GET http://h HTTP/1.1",
            "GET HTTP://H/ HTTP/1.1",
            "GET http://h:80/ HTTP/1.1",
            "GET http://h:/ HTTP/1.1",
            "GET http://h?q HTTP/1.1",
            "GET http://h/a?b=http://c/ HTTP/1.1",
            "POST https://h/ HTTP/1.1",
        ]
        .map(line),
    );
    suite.rows(
        "400 close",
        [
            "GET http://evil/ HTTP/1.1",
            "GET http://h.evil/ HTTP/1.1",
            "GET http://h:8080/ HTTP/1.1",
            "GET http://h:443/ HTTP/1.1",
            "GET https://h:80/ HTTP/1.1",
            "GET http://u@h/ HTTP/1.1",
            "GET http://u:p@h/ HTTP/1.1",
            "GET http://h@evil/ HTTP/1.1",
            "GET http://h\\@evil/ HTTP/1.1",
            "GET http://h%2fevil/ HTTP/1.1",
            "GET http://h#evil HTTP/1.1",
            "GET http://h,evil/ HTTP/1.1",
            "GET http://h:port/ HTTP/1.1",
            "GET http://h:65536/ HTTP/1.1",
            "GET http:///h HTTP/1.1",
            "GET http:// HTTP/1.1",
            "GET http://:80/ HTTP/1.1",
            "GET http://? HTTP/1.1",
            "GET http:/h HTTP/1.1",
            "GET http:h HTTP/1.1",
            "GET http//h HTTP/1.1",
            "GET ://h/ HTTP/1.1",
            "GET //h HTTP/1.1 ",
            "GET ftp://h/ HTTP/1.1",
            "GET file:///etc/passwd HTTP/1.1",
            "GET ws://h/ HTTP/1.1",
            "GET httpx://h/ HTTP/1.1",
            "GET javascript:alert HTTP/1.1",
            "GET urn:isbn:1 HTTP/1.1",
            "GET [::1]/ HTTP/1.1",
            "GET h:80 HTTP/1.1",
            "GET h HTTP/1.1",
        ]
        .map(line),
    );
    suite.row("GET http://evil/ HTTP/1.0\r\nHost: h\r\n\r\n", "400 close");
    suite.row("GET http://h/ HTTP/1.0\r\n\r\n", "200 close");
    suite.end(75);
}
