//! `[compression]` on the wire: negotiated, whole and streamed, and never where it was not asked for.

use std::io::Read as _;

use serde_json::json;

use crate::support::process::Server;
use crate::support::wire::Answer;

const ON: &str = "compression.enable=true";

fn ask(server: &Server, accepted: &str, stream: bool) -> Answer {
    let prompt = "the same words again and again ".repeat(200);
    let messages = json!([{"role": "user", "content": prompt}]);
    let body = json!({"model": "echo", "stream": stream, "messages": messages}).to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: {accepted}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    server.connect().send(request).answer()
}

fn decoded(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let read = match coding {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_end(&mut text),
        "br" => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut text),
        _ => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut text),
    };
    read.unwrap();
    text
}

#[test]
fn a_client_gets_the_coding_it_takes() {
    let server = Server::gateway(&[ON]);
    for coding in ["gzip", "br", "zstd"] {
        let answer = ask(&server, coding, false);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-encoding").as_deref(), Some(coding));
        assert_eq!(answer.header("vary").as_deref(), Some("Accept-Encoding"));
        let length = answer.header("content-length").unwrap();
        assert_eq!(length, answer.body.len().to_string());
        assert!(answer.body.len() < 3000, "{} bytes", answer.body.len());
        let text = decoded(coding, &answer.body);
        let body: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let content = body["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(content.trim_end().ends_with("again and again"), "{content}");
    }
    let plain = ask(&server, "deflate, identity", false);
    assert_eq!(plain.header("content-encoding"), None);
    assert_eq!(plain.header("vary").as_deref(), Some("Accept-Encoding"));
    assert!(plain.json().is_object());
    server.stop();
}

#[test]
fn small_answers_and_event_streams_stay_as_they_are() {
    let server = Server::gateway(&[ON]);
    let small = server
        .connect()
        .send("GET /health HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n")
        .answer();
    assert_eq!((small.header("content-encoding"), small.header("vary")), (None, None));
    let stream = ask(&server, "gzip, br, zstd", true);
    assert_eq!(stream.header("content-encoding"), None);
    assert!(stream.text().contains("[DONE]"));
    server.stop();
}

#[test]
fn an_event_stream_is_compressed_when_that_is_asked_for() {
    let server = Server::gateway(&[ON, "compression.event_streams=true"]);
    for coding in ["gzip", "br", "zstd"] {
        let answer = ask(&server, coding, true);
        assert_eq!(answer.header("content-encoding").as_deref(), Some(coding));
        assert_eq!(answer.header("transfer-encoding").as_deref(), Some("chunked"));
        let text = String::from_utf8(decoded(coding, &answer.body)).unwrap();
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    }
    server.stop();
}

#[test]
fn nothing_is_compressed_unless_configured() {
    let server = Server::gateway(&[]);
    let answer = ask(&server, "gzip, br, zstd", false);
    assert_eq!((answer.header("content-encoding"), answer.header("vary")), (None, None));
    server.stop();
}
