//! Clients that go: the upstream is closed at once, in every phase, and it is counted.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::support::wait_until;
use crate::support::wire::Connection;
use crate::upstream::{ASK, ASK_STREAM, Gateway, Peer, Upstream, provider};

const CHAT: &str = "/v1/chat/completions";

/// An upstream that runs `script`, tells "there", and tells "gone" when the gateway has closed.
fn watched(
    script: impl Fn(&mut Peer) + Send + Sync + 'static,
) -> (Upstream, Receiver<&'static str>) {
    let (sender, seen) = channel();
    let sender = Mutex::new(sender);
    let upstream = Upstream::start(move |peer| {
        script(peer);
        sender.lock().unwrap().send("there").unwrap();
        peer.drain();
        sender.lock().unwrap().send("gone").unwrap();
    });
    (upstream, seen)
}

/// A client asks, the upstream is where it should be, the client goes in each of the ways.
fn check(
    what: &str,
    gateway: &Gateway,
    body: &str,
    seen: &Receiver<&'static str>,
    has_begun: bool,
) {
    for (count, way) in (1..).zip(["closed", "reset", "half-closed"]) {
        let mut client = gateway.connect();
        client.post(CHAT, body);
        assert_eq!(seen.recv().unwrap(), "there", "{what}");
        if has_begun {
            assert_eq!(client.head().status, 200);
        }
        leave(client, way);
        // Far less than any deadline of the gateway.
        assert_eq!(seen.recv_timeout(Duration::from_secs(2)), Ok("gone"), "{what}, {way}");
        gateway.wait_cancelled(count);
    }
}

fn leave(mut client: Connection, way: &str) {
    match way {
        "closed" => drop(client),
        "reset" => client.reset(),
        _ => {
            client.finish();
            client.rest();
        }
    }
}

#[test]
fn while_the_upstream_thinks_or_answers() {
    let (upstream, seen) = watched(|peer| {
        peer.request().expect("a request");
    });
    check("waiting", &Gateway::before(&upstream, ""), ASK, &seen, false);
    let (upstream, seen) = watched(|peer| {
        peer.request().expect("a request");
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun");
    });
    check("a whole answer", &Gateway::before(&upstream, ""), ASK, &seen, true);
    let (upstream, seen) = watched(|peer| {
        peer.request().expect("a request");
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: begun\n\n");
    });
    check("a stream", &Gateway::before(&upstream, ""), ASK_STREAM, &seen, true);
    let (upstream, seen) = watched(|peer| {
        peer.request().expect("a request");
        peer.send("HTTP/1.1 429 X\r\nContent-Length: 100\r\n\r\nbegun");
    });
    check("an error", &Gateway::before(&upstream, ""), ASK, &seen, false);
}

#[test]
fn while_the_connection_is_made() {
    // A handshake that is never answered.
    let (upstream, seen) = watched(|_| {});
    let text = provider("up", upstream.port, "").replace("http://127", "https://127");
    check("the handshake", &Gateway::with(&text), ASK, &seen, false);
    // A proxy that thinks about the tunnel.
    let (proxy, seen) = watched(|peer| {
        assert!(peer.head().expect("a head").starts_with("CONNECT 127.0.0.1:9 HTTP/1.1\r\n"));
    });
    let keys = format!("proxy = \"http://127.0.0.1:{}\"", proxy.port);
    let text = provider("up", 9, &keys).replace("http://127.0.0.1:9/", "https://127.0.0.1:9/");
    check("the tunnel", &Gateway::with(&text), ASK, &seen, false);
    // An upstream that takes the beginning of a large body and no more.
    let (upstream, seen) = watched(|_| {});
    let large = ASK.replace("\"x\"", &format!("\"{}\"", "x".repeat(16 << 20)));
    check("the body", &Gateway::before(&upstream, ""), &large, &seen, false);
}

#[test]
fn while_a_connection_is_waited_for() {
    let (upstream, seen) = watched(|peer| {
        peer.request().expect("a request");
    });
    let gateway = Gateway::before(&upstream, "max_connections = 1");
    let mut first = gateway.connect();
    first.post(CHAT, ASK);
    assert_eq!(seen.recv().unwrap(), "there");
    for (count, way) in (1..).zip(["closed", "reset", "half-closed"]) {
        let mut second = gateway.connect();
        second.post(CHAT, ASK);
        wait_until("the second waits", || gateway.calls("started") == count + 1);
        leave(second, way);
        gateway.wait_cancelled(count);
    }
    drop(first);
    assert_eq!(seen.recv_timeout(Duration::from_secs(2)), Ok("gone"));
    assert_eq!(upstream.accepted(), 1, "no other ever went out");
}

#[test]
fn while_nobody_accepts() {
    // A listener whose queue is full: the kernel drops who comes later, so connecting hangs.
    let full = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    crate::upstream::accept_nothing(&full);
    let port = full.local_addr().unwrap().port();
    let gateway = Gateway::with(&provider("up", port, "connect_timeout = 60000"));
    for (count, way) in (1..).zip(["closed", "reset", "half-closed"]) {
        let mut client = gateway.connect();
        client.post(CHAT, ASK);
        wait_until("the call is under way", || gateway.calls("started") == count);
        leave(client, way);
        gateway.wait_cancelled(count);
    }
}
