//! Ways to an upstream other than a plain connection, and clients that do not read.

use std::sync::Arc;

use crate::support::stage::scratch;
use crate::support::wire::Answer;
use crate::upstream::{ASK, ASK_STREAM, GOOD, Gateway, Upstream, provider};

const CHAT: &str = "/v1/chat/completions";

fn ask_tls(port: u16, keys: &str) -> Answer {
    let text = provider("up", port, keys).replace("http://127.0.0.1", "https://127.0.0.1");
    Gateway::with(&text).connect().post(CHAT, ASK).answer()
}

#[test]
fn a_private_authority_is_trusted_only_where_it_is_named() {
    use rustls::pki_types::pem::PemObject;
    let folder = scratch().join("relay-tls");
    std::fs::create_dir_all(&folder).unwrap();
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj"]);
    openssl.args(["/CN=upstream", "-addext", "subjectAltName=IP:127.0.0.1", "-addext"]);
    openssl.args(["basicConstraints=critical,CA:FALSE", "-out"]).arg(&cert);
    crate::support::cc::succeed(openssl.arg("-keyout").arg(&key));
    let chain = vec![rustls::pki_types::CertificateDer::from_pem_file(&cert).unwrap()];
    let secret = rustls::pki_types::PrivateKeyDer::from_pem_file(&key).unwrap();
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .unwrap();
    let config = Arc::new(config);
    let upstream = Upstream::start(move |peer| peer.answer_tls(Arc::clone(&config), GOOD));
    let answer = ask_tls(upstream.port, &format!("ca_file = \"{}\"", cert.display()));
    assert_eq!(answer.text(), "{\"ok\":true}");
    let answer = ask_tls(upstream.port, "");
    assert_eq!(answer.status, 502);
    assert_eq!(answer.json()["error"]["code"], "upstream_unreachable");
}

#[test]
fn a_proxy_gets_the_target_in_absolute_form() {
    let proxy = Upstream::start(|peer| {
        let (head, _) = peer.request().expect("a request");
        assert!(head.starts_with("POST http://127.0.0.1:9/v1/chat/completions "), "{head}");
        peer.send(GOOD);
    });
    let keys = format!("proxy = \"http://127.0.0.1:{}\"", proxy.port);
    let gateway = Gateway::with(&provider("up", 9, &keys));
    assert_eq!(gateway.connect().post(CHAT, ASK).answer().status, 200);
}

#[test]
fn bodies_beyond_the_budget_are_503() {
    let upstream = Upstream::start(|peer| peer.answer_all(GOOD));
    let gateway = Gateway::before(&upstream, "[limits]\nai_bodies = 65536");
    let mut client = gateway.connect();
    assert_eq!(client.post(CHAT, ASK).answer().status, 200);
    let large = ASK.replace("\"x\"", &format!("\"{}\"", "x".repeat(70_000)));
    assert_eq!(client.post(CHAT, &large).answer().status, 503);
}

#[test]
fn a_client_that_does_not_read_stops_its_upstream() {
    const EVENTS: usize = 40_000;
    let (sender, full) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let upstream = Upstream::start(move |peer| {
        peer.request().expect("a request");
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        let event = format!("data: {}\n\n", "x".repeat(1000));
        let sent = peer.send_until_full(&event.repeat(100).into_bytes(), EVENTS / 100);
        sender.lock().unwrap().send(sent).unwrap();
    });
    let gateway = Gateway::before(&upstream, "");
    let mut client = gateway.connect();
    client.post(CHAT, ASK_STREAM);
    assert_eq!(client.head().status, 200);
    let sent = full.recv().unwrap();
    assert!(sent < EVENTS * 1008, "the gateway took everything");
    let mut all = Vec::new();
    while let Some(chunk) = client.chunk() {
        all.extend(chunk);
    }
    assert_eq!(all.len(), sent, "what the gateway took reaches a client that reads on");
}
