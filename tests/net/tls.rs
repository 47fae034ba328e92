//! TLS listeners: certificates by name, client certificates, resumption, deadlines, and that HTTP
//! is the same through them.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, HandshakeKind};

use crate::support::process::{Server, program};
use crate::support::stage::scratch;
use crate::support::tls::{Authority, Issued, first_certificate};
use crate::support::wire::Connection;

/// A gateway with one listener that speaks TLS and these tables: certificate, client authorities.
fn gateway(tables: &[(&Issued, Option<&Authority>)], settings: &[&str]) -> Server {
    static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut text = String::new();
    for (issued, authority) in tables {
        let (cert, key) = (issued.cert.display(), issued.key.display());
        let _ = writeln!(text, "[[tls]]\ncert = \"{cert}\"\nkey = \"{key}\"");
        if let Some(authority) = authority {
            let _ = writeln!(text, "client_ca = \"{}\"", authority.file().display());
        }
    }
    let file = scratch().join(format!("tls-{number}.toml"));
    std::fs::write(&file, text).unwrap();
    let mut command = program();
    command.args(["serve", "-c"]).arg(&file).args(["--listen", "tls://127.0.0.1:0"]);
    for setting in settings {
        command.args(["--set", setting]);
    }
    Server::start(&mut command)
}

fn simple(name: &str, settings: &[&str]) -> (Server, Arc<ClientConfig>) {
    let authority = Authority::new(name);
    let server = gateway(&[(&authority.issue(&["a.test"]), None)], settings);
    (server, authority.client(None, &["http/1.1"]))
}

#[test]
fn both_versions_serve_and_speak_http_1_1_only() {
    let authority = Authority::new("tls-versions");
    let server = gateway(&[(&authority.issue(&["a.test"]), None)], &[]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for alpn in [&["http/1.1"][..], &["h2", "http/1.1"], &[]] {
            let client = authority.client_of(&[version], None, alpn);
            let mut connection = Connection::open_tls(server.port, &client, "a.test");
            for _ in 0..3 {
                assert_eq!(connection.get("/health").answer().status, 200);
            }
            let tls = &connection.tls().conn;
            assert_eq!(tls.protocol_version(), Some(version.version));
            let wanted = (!alpn.is_empty()).then_some(&b"http/1.1"[..]);
            assert_eq!(tls.alpn_protocol(), wanted);
        }
        // Who speaks only HTTP/2 is told so in the handshake (RFC 7301 section 3.2).
        let client = authority.client_of(&[version], None, &["h2"]);
        let mut connection = Connection::open_tls(server.port, &client, "a.test");
        let error = connection.try_send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap_err();
        assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    }
    server.stop();
}

#[test]
fn the_name_asked_for_chooses_the_certificate() {
    let authority = Authority::new("tls-names");
    let first = authority.issue(&["a.test", "also-a.test", "127.0.0.1"]);
    let second = authority.issue(&["b.test", "*.b.test"]);
    let third = authority.issue(&["deep.b.test"]);
    let server = gateway(&[(&first, None), (&second, None), (&third, None)], &[]);
    let client = authority.client(None, &[]);
    for (name, issued) in [
        ("a.test", &first),
        ("A.TEST", &first),
        ("also-a.test", &first),
        ("b.test", &second),
        ("any.b.test", &second),
        // Exactly before by wildcard; an address is no name to ask for.
        ("deep.b.test", &third),
        ("127.0.0.1", &first),
    ] {
        let mut connection = Connection::open_tls(server.port, &client, name);
        assert_eq!(connection.get("/health").answer().status, 200, "{name}");
        let shown = connection.tls().conn.peer_certificates().unwrap()[0].clone();
        assert_eq!(shown, first_certificate(&issued.cert), "{name}");
    }
    // A name that nobody has: the first is shown, and the client refuses it.
    for name in ["c.test", "two.labels.b.test"] {
        let mut connection = Connection::open_tls(server.port, &client, name);
        let error = connection.try_send("GET / HTTP/1.1\r\nHost: c\r\n\r\n").unwrap_err();
        assert!(error.to_string().contains("certificate"), "{error}");
    }
    server.stop();
}

#[test]
fn plain_and_tls_listeners_serve_side_by_side() {
    let authority = Authority::new("tls-beside");
    let issued = authority.issue(&["a.test"]);
    let file = scratch().join("tls-beside.toml");
    let (cert, key) = (issued.cert.display(), issued.key.display());
    std::fs::write(&file, format!("[[tls]]\ncert = \"{cert}\"\nkey = \"{key}\"\n")).unwrap();
    let mut command = program();
    command.args(["serve", "-c"]).arg(&file);
    command.args(["--set", "server.listen=127.0.0.1:0,tls://127.0.0.1:0"]);
    let mut server = Server::start(&mut command);
    let line = server.line(|line| line.contains("listening on tls://127.0.0.1:"));
    let port: u16 = line.rsplit_once(':').unwrap().1.trim().parse().unwrap();
    assert_ne!(port, server.port);
    let client = authority.client(None, &[]);
    for _ in 0..3 {
        assert_eq!(server.connect().get("/health").answer().status, 200);
        let mut connection = Connection::open_tls(port, &client, "a.test");
        assert_eq!(connection.get("/health").answer().status, 200);
    }
    // Each says so when it is spoken to like the other.
    let mut confused = Connection::open(port);
    let answer = confused.get("/health").answer();
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("https"), "{}", answer.text());
    confused.expect_close();
    let mut confused = server.connect();
    let answer = confused.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\0\0\r\n").answer();
    assert_eq!(answer.status, 400);
    confused.expect_close();
    server.stop();
}

// A client that names a weaker suite first gets the one that the server prefers.
#[test]
fn the_order_of_cipher_suites_is_the_servers() {
    let authority = Authority::new("tls-order");
    let server = gateway(&[(&authority.issue(&["a.test"]), None)], &[]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut suites = Vec::new();
        for is_turned in [false, true] {
            let mut crypto = rustls::crypto::ring::default_provider();
            if is_turned {
                crypto.cipher_suites.reverse();
            }
            let client = authority.client_with(crypto, &[version], None, &[]);
            let mut connection = Connection::open_tls(server.port, &client, "a.test");
            assert_eq!(connection.get("/health").answer().status, 200);
            suites.push(connection.tls().conn.negotiated_cipher_suite().unwrap().suite());
        }
        assert_eq!(suites[0], suites[1]);
    }
    server.stop();
}

#[test]
fn sessions_are_resumed() {
    let authority = Authority::new("tls-resumption");
    let server = gateway(&[(&authority.issue(&["a.test"]), None)], &[]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = authority.client_of(&[version], None, &[]);
        let mut kinds = Vec::new();
        for _ in 0..3 {
            let mut connection = Connection::open_tls(server.port, &client, "a.test");
            assert_eq!(connection.get("/health").answer().status, 200);
            kinds.push(connection.tls().conn.handshake_kind().unwrap());
        }
        assert_eq!(kinds[0], HandshakeKind::Full);
        assert_eq!(kinds[1..], [HandshakeKind::Resumed, HandshakeKind::Resumed]);
    }
    server.stop();
}

#[test]
fn client_certificates_are_asked_for_and_verified() {
    let authority = Authority::new("tls-clients");
    let stranger = Authority::new("tls-strangers");
    let open = authority.issue(&["open.test"]);
    let guarded = authority.issue(&["guarded.test"]);
    let server = gateway(&[(&open, None), (&guarded, Some(&authority))], &[]);
    let (ours, theirs) = (authority.issue(&["client"]), stranger.issue(&["client"]));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let ask = |client: &Arc<ClientConfig>, name: &str| {
            let mut connection = Connection::open_tls(server.port, client, name);
            // In TLS 1.3 a client learns of a refusal only when it reads.
            let sent = connection.try_send("GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
            let tls = connection.tls();
            let mut bytes = [0; 12];
            sent.and_then(|()| tls.read_exact(&mut bytes)).map(|()| {
                assert_eq!(&bytes, b"HTTP/1.1 200");
            })
        };
        let with = authority.client_of(&[version], Some(&ours), &[]);
        let with_other = authority.client_of(&[version], Some(&theirs), &[]);
        let without = authority.client_of(&[version], None, &[]);
        for client in [&with, &without, &with_other] {
            ask(client, "open.test").unwrap();
        }
        ask(&with, "guarded.test").unwrap();
        ask(&with, "guarded.test").unwrap();
        for client in [&without, &with_other] {
            let error = ask(client, "guarded.test").unwrap_err().to_string();
            assert!(error.contains("alert"), "{error}");
        }
    }
    server.stop();
}

#[test]
fn a_handshake_may_come_in_any_pieces() {
    let (server, client) = simple("tls-pieces", &[]);
    let name = rustls::pki_types::ServerName::try_from("a.test").unwrap();
    let mut tls = rustls::ClientConnection::new(client, name).unwrap();
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    // Each byte of the request is a record of its own, too.
    let request = b"GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let mut answer = Vec::new();
    let mut sent = 0;
    loop {
        if !tls.is_handshaking() && sent < request.len() {
            tls.writer().write_all(&request[sent..=sent]).unwrap();
            sent += 1;
        }
        let mut out = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut out).unwrap();
        }
        for byte in &out {
            socket.write_all(std::slice::from_ref(byte)).unwrap();
        }
        if !tls.is_handshaking() && sent < request.len() {
            continue;
        }
        if tls.read_tls(&mut socket).unwrap() == 0 {
            break;
        }
        let state = tls.process_new_packets().unwrap();
        let mut bytes = vec![0; state.plaintext_bytes_to_read()];
        tls.reader().read_exact(&mut bytes).unwrap();
        answer.extend(bytes);
        if state.peer_has_closed() {
            break;
        }
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", answer.escape_ascii());
    server.stop();
}

#[test]
fn a_slow_handshake_meets_the_deadline_of_a_head() {
    let (server, client) = simple("tls-slow", &["timeouts.header=300", "server.workers=1"]);
    let name = rustls::pki_types::ServerName::try_from("a.test").unwrap();
    let mut tls = rustls::ClientConnection::new(Arc::clone(&client), name).unwrap();
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).unwrap();
    // Nothing at all, the beginning of a hello, all of it and then nothing, a byte now and then.
    for (begin, trickle) in [(0, false), (5, false), (hello.len(), false), (1, true)] {
        let begun = Instant::now();
        let mut connection = Connection::open(server.port);
        connection.send(&hello[..begin]);
        let mut at = begin;
        let end = loop {
            if trickle && at < hello.len() {
                let _ = connection.try_send(&hello[at..=at]);
                at += 1;
            }
            if !trickle || !connection.quiet_for(Duration::from_millis(20)) {
                break connection.rest();
            }
        };
        // What was said before is TLS or nothing.
        assert!(end.is_empty() || [0x15, 0x16].contains(&end[0]), "{}", end.escape_ascii());
        let taken = begun.elapsed();
        assert!(taken >= Duration::from_millis(250), "{taken:?}");
        assert!(taken < Duration::from_secs(6), "{taken:?}");
    }
    // After the handshake the head has its own time, and 408 comes through TLS.
    let mut connection = Connection::open_tls(server.port, &client, "a.test");
    connection.send("GET / HT");
    assert_eq!(connection.answer().status, 408);
    connection.expect_close();
    server.stop();
}

#[test]
fn garbage_instead_of_a_hello_ends_the_connection() {
    let (server, client) = simple("tls-garbage", &["server.workers=1"]);
    let before = server.descriptors();
    for bytes in [
        &b"\0"[..],
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\xff\xff",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"\x17\x03\x03\x00\x05hello",
        b"\x80\x2e\x01\x00\x02\x00\x15",
        &[0xff; 40_000],
        &[0x16; 40_000],
    ] {
        let mut connection = Connection::open(server.port);
        let _ = connection.try_send(bytes);
        let rest = connection.finish().rest();
        assert!(!rest.starts_with(b"HTTP"), "{}", rest.escape_ascii());
    }
    let mut probe = Connection::open_tls(server.port, &client, "a.test");
    crate::support::wait_until("the descriptors are back", || {
        assert_eq!(probe.get("/health").answer().status, 200);
        server.descriptors() <= before + 1
    });
    server.stop();
}

#[test]
fn large_bodies_and_streams_pass_whole() {
    let (server, client) = simple("tls-large", &[]);
    let mut connection = Connection::open_tls(server.port, &client, "a.test");
    let words: String = (0..600_000).map(|i| format!("w{i} ")).collect();
    let prompt = words.trim_end();
    for _ in 0..2 {
        let body = format!("{{\"prompt\":\"{prompt}\"}}");
        let answer = connection.post("/v1/chat", &body).answer();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["response"], prompt);
    }
    // Slowly read, the stream waits for its reader.
    connection.receive_little();
    let prompt = "word ".repeat(40_000);
    connection.post("/v1/chat", &format!("{{\"prompt\":\"{prompt}\",\"stream\":true}}"));
    assert_eq!(connection.head().status, 200);
    let mut text = Vec::new();
    while let Some(chunk) = connection.chunk() {
        text.extend(chunk);
    }
    assert!(text.ends_with(b"data: [DONE]\n\n"));
    assert_eq!(connection.get("/health").answer().status, 200);
    server.stop();
}

#[test]
fn limits_and_framing_hold_through_tls() {
    let settings = ["limits.request_line=100", "limits.header_section=1000", "limits.body=1000"];
    let (server, client) = simple("tls-limits", &settings);
    let long = "x".repeat(100_000);
    for (request, status) in [
        (format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n"), 414),
        (format!("GET / HTTP/1.1\r\nHost: h\r\nX: {long}\r\n\r\n"), 431),
        ("POST /v1/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1001\r\n\r\n".into(), 413),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("GET / HTTP/2.0\r\nHost: h\r\n\r\n".into(), 505),
    ] {
        let mut connection = Connection::open_tls(server.port, &client, "a.test");
        let _ = connection.try_send(&request);
        assert_eq!(connection.answer().status, status, "{status}");
        // The end is said by TLS too: a client can tell it from a cut.
        connection.expect_close();
    }
    let mut connection = Connection::open_tls(server.port, &client, "a.test");
    connection.send("GET /health HTTP/1.1\r\nHost: h\r\n\r\n".repeat(500));
    for _ in 0..500 {
        assert_eq!(connection.answer().status, 200);
    }
    // A half-closed client gets its answer, and the server's goodbye.
    connection.get("/health").finish();
    assert_eq!(connection.answer().status, 200);
    connection.expect_close();
    server.stop();
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let authority = Authority::new("tls-files");
    let (one, other) = (authority.issue(&["a.test"]), authority.issue(&["b.test"]));
    let missing = authority.file().with_file_name("missing.pem");
    let empty = authority.file().with_file_name("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for (cert, key, wanted) in [
        (&missing, &one.key, "missing.pem"),
        (&one.cert, &missing, "missing.pem"),
        (&empty, &one.key, "empty.pem"),
        (&one.cert, &empty, "empty.pem"),
        (&one.key, &one.key, "a.test.key"),
        (&one.cert, &other.key, "b.test.key"),
    ] {
        let file = scratch().join("tls-files.toml");
        let (cert, key) = (cert.display(), key.display());
        std::fs::write(&file, format!("[[tls]]\ncert = \"{cert}\"\nkey = \"{key}\"\n")).unwrap();
        let mut command = program();
        command.args(["serve", "-c"]).arg(&file).args(["--listen", "tls://127.0.0.1:0"]);
        let output = Server::launch(&mut command).expect_exit(2);
        assert!(output.contains(wanted), "{output}");
    }
}
