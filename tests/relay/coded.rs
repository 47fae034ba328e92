//! Answers in a coding that nobody asked for and we do not read: they pass whole, or fail clearly.
//! What we read, such as gzip, is in `crossing.rs`.

use neurohttp::base::error::ErrorKind;
use neurohttp::server::client::Client;

use crate::support::wire::Answer;
use crate::upstream::{ASK, ASK_STREAM, Gateway, Upstream};

/// Some bytes that are no text; `br` is what they are said to be.
const ZIPPED: &[u8] = &[
    31, 139, 8, 0, 0, 0, 0, 0, 2, 255, 171, 86, 202, 207, 86, 178, 42, 41, 42, 77, 173, 5, 0, 144,
    95, 212, 167, 11, 0, 0, 0,
];

fn upstream(status: &str, kind: &str) -> Upstream {
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Encoding: br\r\n\
         Retry-After: 5\r\nContent-Length: {}\r\n\r\n",
        ZIPPED.len()
    );
    Upstream::start(move |peer| {
        let (asked, _) = peer.request().expect("a request");
        assert!(asked.contains("Accept-Encoding: identity\r\n"), "{asked}");
        peer.send([head.as_bytes(), ZIPPED].concat());
        peer.drain();
    })
}

fn answered(status: &str, kind: &str, body: &str, accepts: &str) -> Answer {
    let upstream = upstream(status, kind);
    let gateway = Gateway::before(&upstream, "");
    let mut client = gateway.connect();
    client.send(format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n{accepts}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    client.answer()
}

#[test]
fn a_client_that_can_read_it_gets_it_whole() {
    for (kind, body) in [("application/json", ASK), ("text/event-stream", ASK_STREAM)] {
        for accepts in
            ["", "Accept-Encoding: gzip, BR;q=0.5\r\n", "Accept-Encoding: gzip;q=0, *\r\n"]
        {
            let answer = answered("200", kind, body, accepts);
            assert_eq!((answer.status, answer.body.as_slice()), (200, ZIPPED), "{accepts}");
            assert_eq!(answer.header("content-encoding").as_deref(), Some("br"));
        }
    }
}

#[test]
fn a_client_that_cannot_read_it_is_told() {
    for accepts in [
        "Accept-Encoding: identity\r\n",
        "Accept-Encoding: br;q=0.0\r\n",
        "Accept-Encoding: *;q=0\r\n",
        "Accept-Encoding:\r\n",
    ] {
        let answer = answered("200", "application/json", ASK, accepts);
        assert_eq!(answer.status, 502, "{accepts}");
        assert_eq!(answer.json()["error"]["code"], "upstream_garbage");
        assert_eq!(answer.header("content-encoding"), None);
    }
}

#[test]
fn of_an_error_the_head_counts() {
    for (status, want) in [("429", 429), ("400", 400), ("401", 502), ("500", 502)] {
        let answer = answered(status, "application/json", ASK, "");
        assert_eq!(answer.status, want, "{status}");
        assert!(answer.json()["error"]["message"].is_string());
        assert_eq!(answer.header("content-encoding"), None);
        assert_eq!(answer.header("retry-after").as_deref(), Some("5"));
    }
}

#[test]
fn the_host_program_is_told() {
    let upstream = upstream("200", "application/json");
    let gateway = Gateway::before(&upstream, "");
    let error = Client::of(&gateway.server).chat(ASK.as_bytes()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Upstream);
}
