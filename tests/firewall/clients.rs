//! Addresses, rates, wrong keys, scanners: who is turned away, and who is not.

use std::io::Write as _;

use crate::support::process::{Server, program};
use crate::support::stage::scratch;
use crate::support::tls::Authority;
use crate::support::wire::{Answer, Connection};

/// Behind this the test is a proxy that names its clients.
const BEHIND_PROXY: &str = "firewall.trusted_proxies=[\"127.0.0.1\"]";

fn ask(server: &Server, client: &str, target: &str) -> Answer {
    let mut connection = server.connect();
    connection.send(format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {client}\r\n\r\n"
    ));
    connection.answer()
}

fn code(answer: &Answer) -> String {
    answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_denied_address_is_refused_at_accept() {
    let server = Server::gateway(&["firewall.deny=[\"127.0.0.0/8\"]"]);
    let mut connection = server.connect();
    // It may be closed before anything is sent.
    let _ = connection.try_send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(connection.rest_or_reset().is_empty());
    server.stop();
    let allowed = Server::gateway(&[
        "firewall.deny=[\"127.0.0.0/8\"]",
        "firewall.allow=[\"127.0.0.1\"]",
        "firewall.requests_per_minute=1",
        "firewall.burst=1",
    ]);
    let mut connection = allowed.connect();
    for _ in 0..5 {
        assert_eq!(connection.get("/health").answer().status, 200);
    }
    allowed.stop();
}

#[test]
fn the_client_behind_a_trusted_proxy_is_judged() {
    let server = Server::gateway(&[BEHIND_PROXY, "firewall.deny=[\"203.0.113.0/24\"]"]);
    let refused = ask(&server, "203.0.113.7", "/health");
    assert_eq!((refused.status, code(&refused).as_str()), (403, "address_denied"));
    assert_eq!(ask(&server, "198.51.100.1", "/health").status, 200);
    assert_eq!(ask(&server, "203.0.113.7, 198.51.100.1", "/health").status, 200);
    server.stop();
    let server = Server::gateway(&["firewall.deny=[\"203.0.113.0/24\"]"]);
    assert_eq!(ask(&server, "203.0.113.7", "/health").status, 200, "nobody is trusted");
    server.stop();
}

#[test]
fn the_proxy_protocol_names_the_client() {
    let server = Server::gateway(&[BEHIND_PROXY, "firewall.deny=[\"203.0.113.0/24\"]"]);
    let ask = |preface: &[u8]| {
        let mut connection = server.connect();
        // In pieces, as slow networks bring it.
        let (first, second) = preface.split_at(preface.len() / 2);
        connection.send(first);
        connection.send(second);
        connection.get("/health").answer().status
    };
    assert_eq!(ask(b"PROXY TCP4 203.0.113.7 127.0.0.1 4711 80\r\n"), 403);
    assert_eq!(ask(b"PROXY TCP4 198.51.100.7 127.0.0.1 4711 80\r\n"), 200);
    assert_eq!(ask(b"PROXY UNKNOWN\r\n"), 200);
    let block = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\x7f\0\0\x01\x12\x67\0\x50";
    assert_eq!(ask(block), 403);
    assert_eq!(ask(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"), 200);
    let mut connection = server.connect();
    connection.send("PROXY TCP4 nonsense\r\n");
    assert!(connection.rest_or_reset().is_empty());
    server.stop();
    // From anybody else it is a request that cannot be understood.
    let server = Server::gateway(&[]);
    let mut connection = server.connect();
    connection.send("PROXY TCP4 203.0.113.7 127.0.0.1 4711 80\r\n\r\n");
    assert_eq!(connection.answer().status, 400);
    server.stop();
}

/// Wrong: a client that says within TLS, where its balancer cannot read, who it is.
#[test]
fn the_proxy_protocol_stands_before_tls() {
    let authority = Authority::new("tls-behind-balancer");
    let issued = authority.issue(&["a.test"]);
    let file = scratch().join("tls-behind-balancer.toml");
    let (cert, key) = (issued.cert.display(), issued.key.display());
    std::fs::write(&file, format!("[[tls]]\ncert = \"{cert}\"\nkey = \"{key}\"\n")).unwrap();
    let mut command = program();
    command.args(["serve", "-c"]).arg(&file).args(["--set", "server.listen=tls://127.0.0.1:0"]);
    command.args(["--set", BEHIND_PROXY]);
    command.args(["--set", "firewall.deny=[\"203.0.113.0/24\"]"]);
    let server = Server::start(&mut command);
    let client = authority.client(None, &[]);
    let denied = &b"PROXY TCP4 203.0.113.7 127.0.0.1 4711 443\r\n"[..];
    let block = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\x7f\0\0\x01\x12\x67\0\x50";
    for (preface, want) in [
        (denied, 403),
        (&block[..], 403),
        (b"PROXY TCP4 198.51.100.7 127.0.0.1 4711 443\r\n", 200),
        (b"PROXY UNKNOWN\r\n", 200),
        (b"", 200),
    ] {
        // In pieces, as slow networks bring it.
        for cut in [0, 1, preface.len() / 2] {
            let (first, second) = preface.split_at(cut.min(preface.len()));
            let mut connection = Connection::open_tls(server.port, &client, "a.test");
            let socket = &mut connection.tls().sock;
            socket.write_all(first).unwrap();
            socket.write_all(second).unwrap();
            let answer = connection.get("/health").answer();
            assert_eq!(answer.status, want, "{}", preface.escape_ascii());
        }
    }
    let mut connection = Connection::open_tls(server.port, &client, "a.test");
    connection.send(b"PROXY TCP4 198.51.100.7 127.0.0.1 4711 443\r\n\r\n");
    assert_eq!(connection.answer().status, 400);
    server.stop();
}

#[test]
fn rates_are_kept_per_client_and_told() {
    let server =
        Server::gateway(&[BEHIND_PROXY, "firewall.requests_per_minute=6", "firewall.burst=3"]);
    for _ in 0..3 {
        assert_eq!(ask(&server, "2001:db8::1", "/health").status, 200);
    }
    // The same customer's other address.
    let refused = ask(&server, "2001:db8::2", "/health");
    assert_eq!((refused.status, code(&refused).as_str()), (429, "rate_limit_exceeded"));
    let wait: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=10).contains(&wait), "{wait}");
    for (name, want) in [
        ("ratelimit-policy", "\"address\";q=6;w=60".to_owned()),
        ("ratelimit", format!("\"address\";r=0;t={wait}")),
        ("ratelimit-limit", "6".to_owned()),
        ("ratelimit-remaining", "0".to_owned()),
        ("ratelimit-reset", wait.to_string()),
    ] {
        assert_eq!(refused.header(name), Some(want), "{name}");
    }
    assert_eq!(ask(&server, "2001:db8:0:1::1", "/health").status, 200);
    assert_eq!(ask(&server, "198.51.100.1", "/health").status, 200);
    server.stop();
}

#[test]
fn routes_have_limits_of_their_own() {
    let server = Server::gateway(&[
        "firewall.routes=[{path = \"/health\", requests_per_minute = 1, burst = 2}]",
    ]);
    let mut connection = server.connect();
    let statuses: Vec<u16> = (0..3).map(|_| connection.get("/health").answer().status).collect();
    assert_eq!(statuses, [200, 200, 429]);
    assert_eq!(connection.get("/").answer().status, 200);
    server.stop();
}

#[test]
fn wrong_keys_block_their_address_and_those_that_begin_like_them() {
    let server = Server::gateway(&[
        BEHIND_PROXY,
        "auth.keys=[\"sk-right-key\"]",
        "firewall.brute_force_threshold=3",
    ]);
    let ask = |client: &str, key: &str| {
        let mut connection = server.connect();
        connection.send(format!(
            "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {client}\r\n\
             Authorization: Bearer {key}\r\n\r\n"
        ));
        connection.answer()
    };
    for number in 0..3 {
        assert_eq!(ask("198.51.100.1", &format!("guess-{number}-abcdefgh")).status, 401);
    }
    let refused = ask("198.51.100.1", "sk-right-key");
    assert_eq!((refused.status, code(&refused).as_str()), (403, "address_blocked"));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(ask("198.51.100.2", "sk-right-key").status, 200);
    // Many addresses, one beginning.
    for number in 10..13 {
        assert_eq!(ask(&format!("198.51.100.{number}"), &format!("sk-right-{number}")).status, 401);
    }
    let refused = ask("198.51.100.20", "sk-right-zzz");
    assert_eq!((refused.status, code(&refused).as_str()), (403, "key_blocked"));
    // Whoever guessed while guesses were too many has had the last one, a right one too.
    let refused = ask("198.51.100.20", "sk-right-key");
    assert_eq!((refused.status, code(&refused).as_str()), (403, "address_blocked"));
    assert_eq!(ask("198.51.100.21", "sk-right-key").status, 200, "a right key is never locked out");
    server.stop();
}

#[test]
fn a_scanner_is_blocked_and_an_impatient_client_is_not() {
    let server = Server::gateway(&[BEHIND_PROXY, "firewall.not_found_threshold=40"]);
    for _ in 0..200 {
        assert_eq!(ask(&server, "198.51.100.1", "/favicon.ico").status, 404);
    }
    let blocked = (0..200).any(|n| ask(&server, "198.51.100.2", &format!("/p{n}")).status == 403);
    assert!(blocked);
    assert_eq!(ask(&server, "198.51.100.3", "/health").status, 200);
    server.stop();
}

#[test]
fn a_dry_run_refuses_nobody_and_tells() {
    let mut server = Server::gateway(&[
        BEHIND_PROXY,
        "firewall.dry_run=true",
        "firewall.deny=[\"198.51.100.0/24\"]",
    ]);
    assert_eq!(ask(&server, "198.51.100.1", "/health").status, 200);
    server.line(|line| line.contains("dry run") && line.contains("198.51.100.1"));
    let stats = ask(&server, "1.2.3.4", "/stats").json();
    assert_eq!(stats["firewall"]["dry_run"], 1);
    server.stop();
}

/// Wrong: a balancer, or who is let in whatever happens, has but the connections of one client.
/// (Those of others: `net/floods.rs`.)
#[test]
fn connections_of_allowed_and_trusted_addresses_are_not_limited() {
    for free in ["firewall.allow=[\"127.0.0.1\"]", "firewall.trusted_proxies=[\"127.0.0.0/8\"]"] {
        let server = Server::gateway(&["limits.connections_per_address=1", free]);
        let mut connections: Vec<Connection> = (0..3).map(|_| server.connect()).collect();
        for connection in &mut connections {
            assert_eq!(connection.get("/health").answer().status, 200);
        }
        server.stop();
    }
}
