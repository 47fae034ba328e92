//! Ways to an upstream other than a plain connection, and clients that do not read.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::support::stage::scratch;
use crate::support::wire::Answer;
use crate::upstream::{ASK, ASK_STREAM, GOOD, Gateway, Peer, Upstream, provider};

const CHAT: &str = "/v1/chat/completions";

fn ask_tls(port: u16, keys: &str) -> Answer {
    let text = provider("up", port, keys).replace("http://127.0.0.1", "https://127.0.0.1");
    Gateway::with(&text).connect().post(CHAT, ASK).answer()
}

/// A private authority's certificate for 127.0.0.1, and a server's configuration with it.
pub fn private_tls(name: &str) -> (PathBuf, Arc<rustls::ServerConfig>) {
    use rustls::pki_types::pem::PemObject;
    let folder = scratch().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    openssl.args(["-nodes", "-days", "2", "-subj", "/CN=upstream", "-addext"]);
    openssl.args(["subjectAltName=IP:127.0.0.1", "-addext"]);
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
    (cert, Arc::new(config))
}

#[test]
fn a_private_authority_is_trusted_only_where_it_is_named() {
    let (cert, config) = private_tls("relay-tls");
    let upstream = Upstream::start(move |peer| {
        peer.answer_tls(Arc::clone(&config), GOOD);
    });
    let answer = ask_tls(upstream.port, &format!("ca_file = \"{}\"", cert.display()));
    assert_eq!(answer.text(), "{\"ok\":true}");
    let answer = ask_tls(upstream.port, "");
    assert_eq!(answer.status, 502);
    assert_eq!(answer.json()["error"]["code"], "upstream_unreachable");
}

#[test]
fn sessions_are_resumed() {
    let (cert, config) = private_tls("relay-resumed");
    let (sender, resumed) = std::sync::mpsc::channel();
    let sender = Mutex::new(sender);
    let upstream = Upstream::start(move |peer| {
        let was = peer.answer_tls(
            Arc::clone(&config),
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        );
        sender.lock().unwrap().send(was).unwrap();
    });
    let text = provider("up", upstream.port, &format!("ca_file = \"{}\"", cert.display()));
    let gateway = Gateway::with(&text.replace("http://127", "https://127"));
    let mut client = gateway.connect();
    for count in 0..3 {
        assert_eq!(client.post(CHAT, ASK).answer().text(), "ok");
        assert_eq!(resumed.recv().unwrap(), count > 0, "connection {count}");
    }
}

#[test]
fn bytes_behind_an_answer_end_a_tls_connection_too() {
    let (cert, config) = private_tls("relay-behind");
    let upstream = Upstream::start(move |peer| {
        let evil = [GOOD, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"].concat();
        peer.answer_tls(Arc::clone(&config), &evil);
        peer.drain();
    });
    let text = provider("up", upstream.port, &format!("ca_file = \"{}\"", cert.display()));
    let gateway = Gateway::with(&text.replace("http://127", "https://127"));
    let mut client = gateway.connect();
    for count in 1..4 {
        assert_eq!(client.post(CHAT, ASK).answer().text(), "{\"ok\":true}");
        assert_eq!(upstream.accepted(), count);
    }
}

/// Asks for an https upstream through a proxy that runs `script` after it has read the CONNECT.
fn ask_through(
    what: &str,
    keys: &str,
    script: impl Fn(&mut Peer) + Send + Sync + 'static,
) -> Answer {
    let proxy = Upstream::start(move |peer| {
        let head = peer.head().expect("a head");
        assert!(
            head.starts_with("CONNECT 127.0.0.1:9 HTTP/1.1\r\nHost: 127.0.0.1:9\r\n"),
            "{head}"
        );
        assert!(head.contains("\r\nProxy-Authorization: Basic dTpw\r\n"), "{head}");
        assert!(!head.contains("sk-ours"), "the key is not the proxy's to know: {head}");
        script(peer);
    });
    let keys = format!("proxy = \"http://u:p@127.0.0.1:{}\"\n{keys}", proxy.port);
    let text = provider("up", 9, &keys).replace("http://127.0.0.1:9/", "https://127.0.0.1:9/");
    let answer = Gateway::with(&text).connect().post(CHAT, ASK).answer();
    eprintln!("{what}: {}", answer.text());
    answer
}

#[test]
fn https_goes_through_a_tunnel() {
    let (cert, config) = private_tls("relay-tunnel");
    let ca = format!("ca_file = \"{}\"", cert.display());
    let answer = ask_through("open", &ca, move |peer| {
        peer.send("HTTP/1.1 200 Connection established\r\nVia: 1.1 p\r\n\r\n");
        peer.answer_tls(Arc::clone(&config), GOOD);
    });
    assert_eq!((answer.status, answer.text()), (200, "{\"ok\":true}"));
    for (what, bytes) in [
        ("it wants another password", "HTTP/1.1 407 X\r\nContent-Length: 0\r\n\r\n"),
        ("it cannot", "HTTP/1.1 502 X\r\nContent-Length: 0\r\n\r\n"),
        ("it closes", ""),
        ("it breaks off", "HTTP/1.1 200 Conn"),
        ("it talks nonsense", "nonsense\r\n\r\n"),
    ] {
        let answer = ask_through(what, "", move |peer| peer.send(bytes));
        assert_eq!(answer.status, 502, "{what}");
        assert_eq!(answer.json()["error"]["code"], "upstream_unreachable", "{what}");
    }
    let answer = ask_through("it says nothing", "connect_timeout = 150", |peer| {
        peer.drain();
    });
    assert_eq!(answer.status, 504);
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
    // Half an event is not handed on, and that the stream broke off is told.
    let event = 1008;
    assert!(
        all.len() >= sent - sent % event,
        "what the gateway took reaches a client that reads on"
    );
    assert!(all[..sent - sent % event].chunks(event).all(|piece| piece.ends_with(b"x\n\n")));
    assert!(String::from_utf8_lossy(&all).contains("upstream_cut"));
}
