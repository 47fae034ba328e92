//! Where a body ends, and every known way to have two readers disagree about it (RFC 9112
//! sections 6 and 7). What follows the row is the probe: a smuggled request would be seen as one
//! answer too many.

use super::{Suite, chunked, get, post};

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn lengths() {
    let mut suite = Suite::echo();
    for (lines, body, expected) in [
        ("", "", "200= open"),
        ("Content-Length: 0\r\n", "", "200= open"),
        ("Content-Length: 000\r\n", "", "200= open"),
        ("Content-Length: 5\r\n", "hello", "200=hello open"),
        ("Content-Length:5\r\n", "hello", "200=hello open"),
        ("content-length: \t 5 \t\r\n", "hello", "200=hello open"),
        ("CONTENT-LENGTH: 05\r\n", "hello", "200=hello open"),
        ("Content-Length: 0000000000000000000000005\r\n", "hello", "200=hello open"),
        ("Content-Length: 35\r\n", SMUGGLED, "200 open"),
        ("Content-Length: 10\r\n", "hello", "cut"),
        ("Content-Length: 1\r\n", "", "cut"),
        ("Content-Length: 9223372036854775807\r\n", "", "413 close"),
        ("Content-Length: 9223372036854775808\r\n", "", "413 close"),
        ("Content-Length: 18446744073709551615\r\n", "", "413 close"),
    ] {
        suite.row(post(lines, body), expected);
    }
    // A body is a body with any method.
    for method in ["GET", "DELETE", "OPTIONS", "PATCH", "BREW"] {
        let row = format!("{method} / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi");
        suite.row(row, "200=hi open");
    }
    suite.row("HEAD / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi", "200h open");
    for length in [
        "",
        "+5",
        "-5",
        "-0",
        "+0",
        "5 5",
        "5,5",
        "5, 5",
        "5,",
        ",5",
        "5;",
        "5;q=1",
        "0x5",
        "0X5",
        "x5",
        "5h",
        "5a",
        "a",
        "5.0",
        "5.",
        "1e1",
        "0b101",
        "0o5",
        "5_0",
        "1,000",
        "\"5\"",
        "'5'",
        "(5)",
        "5\t5",
        "\u{b2}",
        "\u{d9}\u{a5}",
        "5\u{a0}",
        "18446744073709551616",
        "18446744073709551621",
        "99999999999999999999999999",
        "NaN",
        "inf",
        "null",
        "5\0",
        "\x0b5",
        "5\x0c",
    ] {
        suite.row(post(&format!("Content-Length: {length}\r\n"), "hello"), "400 close");
    }
    suite.rows(
        "400 close",
        [
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 6\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\ncontent-length: 0\r\n",
            "Content-Length: 0\r\nX: y\r\nContent-Length: 37\r\n",
            "Content-Length:\r\nContent-Length: 5\r\n",
            "Content-Length : 5\r\n",
            "Content-Length\t: 5\r\n",
            "Content-Length\x0b: 5\r\n",
            " Content-Length: 5\r\n",
            "X: y\r\n Content-Length: 5\r\n",
            "Content-Length:\r\n 5\r\n",
            "Content-Length: 5\r\n 5\r\n",
            "Content-Length: 5\nX: y\r\n",
            "Content-Length: 5\rX: y\r\n",
            "Content Length: 5\r\n",
            "Content-Length\0: 5\r\n",
            "\0Content-Length: 5\r\n",
            "Content-Length=5\r\n",
        ]
        .map(|lines| post(lines, "hello")),
    );
    suite.end(150);
}

#[test]
fn codings() {
    let mut suite = Suite::echo();
    let body = "5\r\nhello\r\n0\r\n\r\n";
    for value in ["chunked", "Chunked", "CHUNKED", "\tchunked\t", "  chunked "] {
        let lines = format!("Transfer-Encoding: {value}\r\n");
        suite.row(post(&lines, body), "200=hello open");
    }
    // Well formed and not implemented (RFC 9112 section 6.1).
    for value in ["gzip, chunked", "gzip,chunked", "deflate , chunked", "x, y, chunked"] {
        suite.row(post(&format!("Transfer-Encoding: {value}\r\n"), body), "501 close");
    }
    for value in [
        "",
        "identity",
        "gzip",
        "x",
        "cow",
        "chunked, identity",
        "chunked, gzip",
        "chunked, cow",
        "chunked, chunked",
        "chunked,chunked",
        "chunked chunked",
        "chunked,",
        ",chunked",
        ", chunked",
        "chunked, ,",
        "gzip,, chunked",
        "chunked;",
        "chunked;q=1",
        "chunked ; x=y",
        "chunked; chunked",
        "xchunked",
        "chunkedx",
        "chunke",
        "chunked-",
        "chun ked",
        "chunk\u{e9}d",
        "ch\u{fa}nked",
        "chun\u{e2}\u{84}\u{aa}ed",
        "\"chunked\"",
        "'chunked'",
        "[chunked]",
        "chunked\u{a0}",
        "\u{a0}chunked",
        "\u{85}chunked",
        "chunked\0",
        "\0chunked",
        "\x0bchunked",
        "chunked\x0c",
        "\x08chunked",
        "\x1fchunked",
        "chunked\x7f",
    ] {
        suite.row(post(&format!("Transfer-Encoding: {value}\r\n"), body), "400 close");
    }
    suite.rows(
        "400 close",
        [
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\ntransfer-encoding: x\r\n",
            "Transfer-Encoding: x\r\nTransfer-encoding: chunked\r\n",
            "Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding : chunked\r\n",
            "Transfer-Encoding\t: chunked\r\n",
            "Transfer-Encoding\x0b: chunked\r\n",
            "Transfer-Encoding\u{a0}: chunked\r\n",
            " Transfer-Encoding: chunked\r\n",
            "X: y\r\n Transfer-Encoding: chunked\r\n",
            "X: y\r\n\tTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding:\r\n chunked\r\n",
            "Transfer-Encoding: chunked\r\n , identity\r\n",
            "X: y\nTransfer-Encoding: chunked\r\n",
            "X: y\rTransfer-Encoding: chunked\r\n",
            "X: y\r\rTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\nX: y\r\n",
            "Transfer Encoding: chunked\r\n",
            "Transfer-Encoding\0: chunked\r\n",
            "Transfer\r-Encoding: chunked\r\n",
            "Transfer\n-Encoding: chunked\r\n",
        ]
        .map(|lines| post(lines, body)),
    );
    // A name that only looks like it means nothing: there is no body.
    let smuggled = |lines: &str| post(lines, SMUGGLED);
    suite.rows(
        "200= 200= open",
        ["Transfer_Encoding: chunked\r\n", "X-Transfer-Encoding: chunked\r\n"].map(smuggled),
    );
    suite.end(150);
}

#[test]
fn both_or_neither_is_never_guessed() {
    let mut suite = Suite::echo();
    for (length, coding) in [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Content-Length: 0", "Transfer-Encoding: chunked"),
        ("Content-Length: 37", "Transfer-Encoding: chunked"),
        ("Content-Length: 5", "Transfer-Encoding: gzip, chunked"),
        ("Content-Length: 5", "Transfer-Encoding: identity"),
        ("Content-Length: 5", "Transfer-Encoding:"),
        ("Content-Length: 5", "Transfer-Encoding: xchunked"),
        ("Content-Length: x", "Transfer-Encoding: chunked"),
        ("Content-Length:", "Transfer-Encoding: chunked"),
        ("Content-length: 5", "TRANSFER-ENCODING: CHUNKED"),
    ] {
        for body in ["hello", "0\r\n\r\n", &format!("0\r\n\r\n{SMUGGLED}")] {
            suite.row(post(&format!("{length}\r\n{coding}\r\n"), body), "400 close");
            suite.row(post(&format!("{coding}\r\nX: y\r\n{length}\r\n"), body), "400 close");
        }
    }
    // HTTP/1.0 knows no transfer codings (RFC 9112 section 6.1).
    for lines in ["", "Host: h\r\n", "Connection: keep-alive\r\n"] {
        let row = format!("POST / HTTP/1.0\r\n{lines}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
        suite.row(row, "400 close");
    }
    suite.row("POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi", "200=hi close");
    // No framing: no body, and what follows is the next request.
    suite.row(post("", SMUGGLED), "200= 200= open");
    suite.row(get("") + SMUGGLED, "200= 200= open");
    // Without a line end between them they are one method, which this host takes.
    suite.row(post("", "hello"), "200= open");
    suite.end(130);
}

#[test]
fn whole_chunked_bodies() {
    let mut suite = Suite::echo();
    for (body, data) in [
        ("0\r\n\r\n", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", "hello!"),
        ("a\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ("0000000000000005\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5\r\nhello\r\n0000000000000000\r\n\r\n", "hello"),
        ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n"),
        ("5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n"),
        ("5;x\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5;x=y\r\nhello\r\n0;z\r\n\r\n", "hello"),
        ("5;x=\"a;b\\\"c\"\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5;x;y=z;w=\"\"\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5 ; x = y\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5\t;\tx\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5;x=\"\t\u{ff}\"\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5\r\nhello\r\n0\r\nX: y\r\n\r\n", "hello"),
        ("5\r\nhello\r\n0\r\nX:\r\nY: z\t\u{ff}\r\n\r\n", "hello"),
        // Whatever a trailer says, it does not change the message it ends.
        ("5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n", "hello"),
        ("5\r\nhello\r\n0\r\nTransfer-Encoding: gzip\r\nHost: evil\r\n\r\n", "hello"),
        ("5\r\nhello\r\n0\r\nConnection: close\r\n\r\n", "hello"),
    ] {
        suite.row(chunked(body), &format!("200={} open", data.escape_default()));
    }
    suite.end(40);
}

#[test]
fn broken_chunks() {
    let mut suite = Suite::echo();
    suite.rows(
        "400 close",
        [
            "\r\n",
            "x\r\n",
            "g\r\n",
            "-1\r\n",
            "+5\r\nhello\r\n0\r\n\r\n",
            "-5\r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "5h\r\nhello\r\n0\r\n\r\n",
            "5.\r\nhello\r\n0\r\n\r\n",
            "5,\r\nhello\r\n0\r\n\r\n",
            "5_0\r\nhello\r\n0\r\n\r\n",
            "\"5\"\r\nhello\r\n0\r\n\r\n",
            " 5\r\nhello\r\n0\r\n\r\n",
            "\t5\r\nhello\r\n0\r\n\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            "5\t\r\nhello\r\n0\r\n\r\n",
            "5 5\r\nhello\r\n0\r\n\r\n",
            "5\x0b\r\nhello\r\n0\r\n\r\n",
            "5\0\r\nhello\r\n0\r\n\r\n",
            "\0\r\n",
            "5\u{b5}\r\nhello\r\n0\r\n\r\n",
            "\u{ff}\r\n",
            "10000000000000000\r\n",
            "00000000000000005\r\nhello\r\n0\r\n\r\n",
            "fffffffffffffffff\r\n",
            "100000000000000000000000000000005\r\nhello\r\n0\r\n\r\n",
            // Line ends.
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello\r\n0\n\r\n",
            "5\r\nhello\r\n0\r\n\n",
            "5\r\nhello\r\n0\n\n",
            "5\rhello\r\n0\r\n\r\n",
            "5\r\nhello\r0\r\n\r\n",
            "5\r\nhello\r\n0\r\r\n",
            "5\r\r\nhello\r\n0\r\n\r\n",
            "5\n\r\nhello\r\n0\r\n\r\n",
            "\n5\r\nhello\r\n0\r\n\r\n",
            "\r\n5\r\nhello\r\n0\r\n\r\n",
            // Data longer or shorter than announced.
            "5\r\nhello!\r\n0\r\n\r\n",
            "5\r\nhell\r\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhelloX\r\n0\r\n\r\n",
            "5\r\nhello\r\n\r\n0\r\n\r\n",
            "5hello\r\n0\r\n\r\n",
            "3\r\nabcxx0\r\n\r\n",
            // Extensions.
            "5;\r\nhello\r\n0\r\n\r\n",
            "5; \r\nhello\r\n0\r\n\r\n",
            "5;;\r\nhello\r\n0\r\n\r\n",
            "5;x=\r\nhello\r\n0\r\n\r\n",
            "5;=y\r\nhello\r\n0\r\n\r\n",
            "5;x y\r\nhello\r\n0\r\n\r\n",
            "5;x=y z\r\nhello\r\n0\r\n\r\n",
            "5;x=\"y\r\nhello\r\n0\r\n\r\n",
            "5;x=\"y\"z\r\nhello\r\n0\r\n\r\n",
            "5;x=\"\r\n\"\r\nhello\r\n0\r\n\r\n",
            "5;x=\"\\\r\"\r\nhello\r\n0\r\n\r\n",
            "5;x\nhello\r\n0\r\n\r\n",
            "5;x\rhello\r\n0\r\n\r\n",
            "5;x\0\r\nhello\r\n0\r\n\r\n",
            "5;x=\u{e9}\r\nhello\r\n0\r\n\r\n",
            "5;\nx\r\nhello\r\n0\r\n\r\n",
            "2;\nxx\r\n0\r\n\r\n",
            // Trailers.
            "0\r\nX\r\n\r\n",
            "0\r\n: y\r\n\r\n",
            "0\r\nX : y\r\n\r\n",
            "0\r\n X: y\r\n\r\n",
            "0\r\nX: y\r\n z\r\n\r\n",
            "0\r\nX: y\n\r\n",
            "0\r\nX: y\rZ: w\r\n\r\n",
            "0\r\nX: \0\r\n\r\n",
            "0\r\nX y: z\r\n\r\n",
            "0\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        ]
        .map(chunked),
    );
    suite.rows(
        "cut",
        ["", "5", "5\r", "5\r\n", "5\r\nhel", "5\r\nhello", "5\r\nhello\r\n", "5\r\nhello\r\n0"]
            .into_iter()
            .chain([
                "5\r\nhello\r\n0\r\n",
                "5\r\nhello\r\n0\r\n\r",
                "0\r\nX: y\r\n",
                "5;x",
                "5;x=\"y",
            ])
            .map(chunked),
    );
    // The chunked coding ends where it says, not earlier, not later.
    let last = "5\r\nhello\r\n0\r\n\r\n";
    suite.row(chunked(&format!("{last}{SMUGGLED}")), "200=hello 200= open");
    suite.row(chunked(&format!("{last}\r\n{SMUGGLED}")), "200=hello 200= open");
    suite.row(chunked(&format!("{last}X")), "200=hello open");
    suite.row(chunked(&format!("0\r\n\r\n{last}")), "200= 400 close");
    suite.row(chunked("ffffffffffffffff\r\n"), "413 close");
    suite.row(chunked("7fffffffffffffff\r\nx"), "413 close");
    suite.row(chunked("5\r\nhello\r\nfffffffffffffffe\r\n"), "413 close");
    suite.end(160);
}
