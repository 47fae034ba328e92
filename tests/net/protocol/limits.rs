//! Every limit at the limit, one over it, and a hundred times over.

use super::{Suite, chunked};

/// What is expected at the limit, and beyond it.
fn check(suite: &mut Suite, limit: usize, row: impl Fn(usize) -> String, at: &str, over: &str) {
    suite.row(row(limit - 1), at);
    suite.row(row(limit), at);
    suite.row(row(limit + 1), over);
    suite.row(row(limit + 2), over);
    suite.row(row(limit * 100), over);
}

#[test]
fn heads() {
    let mut suite = Suite::gateway(&["limits.request_line=100", "limits.header_section=1000"]);
    let line = |size: usize| {
        let target = "a".repeat(size - "GET / HTTP/1.1".len());
        format!("GET /{target} HTTP/1.1\r\nHost: h\r\n\r\n")
    };
    check(&mut suite, 100, line, "404 open", "414 close");
    let query = |size: usize| {
        let query = "q".repeat(size - "GET /health? HTTP/1.1".len());
        format!("GET /health?{query} HTTP/1.1\r\nHost: h\r\n\r\n")
    };
    check(&mut suite, 100, query, "200 open", "414 close");
    let method = |size: usize| {
        format!("{} / HTTP/1.1\r\nHost: h\r\n\r\n", "M".repeat(size - " / HTTP/1.1".len()))
    };
    suite.row(method(100), "501 open");
    suite.row(method(101), "414 close");
    // A method that fills the line by itself is no method anybody knows.
    suite.row(method(120), "501 close");
    suite.row(method(10_000), "501 close");
    let section = |size: usize| {
        let value = "v".repeat(size - "Host: h\r\nX: \r\n\r\n".len());
        format!("GET /health HTTP/1.1\r\nHost: h\r\nX: {value}\r\n\r\n")
    };
    check(&mut suite, 1000, section, "200 open", "431 close");
    let name = |size: usize| {
        let name = "n".repeat(size - "Host: h\r\n:\r\n\r\n".len());
        format!("GET /health HTTP/1.1\r\nHost: h\r\n{name}:\r\n\r\n")
    };
    check(&mut suite, 1000, name, "200 open", "431 close");
    let blanks = |size: usize| {
        let blanks = " ".repeat(size - "Host: h\r\nX:\r\n\r\n".len());
        format!("GET /health HTTP/1.1\r\nHost: h\r\nX:{blanks}\r\n\r\n")
    };
    check(&mut suite, 1000, blanks, "200 open", "431 close");
    suite.end(35);
}

#[test]
fn the_number_of_fields() {
    let mut suite = Suite::echo();
    let fields =
        |count: usize| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
    check(&mut suite, 128, fields, "200 open", "431 close");
    suite.end(5);
}

#[test]
fn bodies() {
    let mut suite = Suite::gateway(&["limits.body=1000"]);
    let post = |lines: &str, body: &str| {
        format!("POST /v1/chat HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n{body}")
    };
    let prompt = |size: usize| format!("{{\"prompt\":\"{}\"}}", "p".repeat(size - 13));
    let length = |size: usize| post(&format!("Content-Length: {size}\r\n"), &prompt(size));
    check(&mut suite, 1000, length, "200 open", "413 close");
    let one_chunk = |size: usize| {
        let body = format!("{size:x}\r\n{}\r\n0\r\n\r\n", prompt(size));
        post("Transfer-Encoding: chunked\r\n", &body)
    };
    check(&mut suite, 1000, one_chunk, "200 open", "413 close");
    let small_chunks = |size: usize| {
        let mut body = String::new();
        for byte in prompt(size).chars() {
            body += &format!("1\r\n{byte}\r\n");
        }
        post("Transfer-Encoding: chunked\r\n", &(body + "0\r\n\r\n"))
    };
    check(&mut suite, 1000, small_chunks, "200 open", "413 close");
    suite.end(15);
}

#[test]
fn everything_around_chunks() {
    let mut suite = Suite::echo();
    let digits =
        |count: usize| chunked(&format!("{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(count - 1)));
    check(&mut suite, 16, digits, "200=hello open", "400 close");
    let extension =
        |size: usize| chunked(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(size - 1)));
    check(&mut suite, 1024, extension, "200=hello open", "400 close");
    let quoted =
        |size: usize| chunked(&format!("5;x=\"{}\"\r\nhello\r\n0\r\n\r\n", "q".repeat(size - 5)));
    check(&mut suite, 1024, quoted, "200=hello open", "400 close");
    // In sum: each chunk of one byte brings 1023 bytes of extension beyond its data.
    let many = |count: usize| {
        let chunk = format!("1;{}\r\nx\r\n", "x".repeat(1023));
        chunked(&(chunk.repeat(count) + "0\r\n\r\n"))
    };
    check(&mut suite, 16, many, "200 open", "400 close");
    let trailer = |size: usize| {
        chunked(&format!("0\r\nX: {}\r\n\r\n", "t".repeat(size - "X: \r\n\r\n".len())))
    };
    check(&mut suite, 8192, trailer, "200= open", "400 close");
    let trailers = |size: usize| {
        // Each line is eight bytes; the blank line ends them.
        let first = size - 2 - (size - 8) / 8 * 8;
        let first = format!("X:{}\r\n", "t".repeat(first - 4));
        chunked(&format!("0\r\n{first}{}\r\n", "A: bcd\r\n".repeat((size - 8) / 8)))
    };
    check(&mut suite, 8192, trailers, "200= open", "400 close");
    suite.end(30);
}
