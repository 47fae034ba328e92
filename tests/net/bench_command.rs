//! `neurohttp bench` against a server of ours: it counts what the server counts, and tells what failed.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;

use crate::support::process::{Server, program};
use crate::support::tls::{Authority, first_certificate};
use crate::support::{PATIENCE, wait_until};

fn bench(arguments: &[&str]) -> Value {
    let mut child = Server::launch(program().arg("bench").args(arguments).arg("--json"));
    serde_json::from_str(child.expect_exit(0).trim()).unwrap()
}

#[test]
fn requests_are_counted_as_the_server_counts_them() {
    let server = Server::gateway(&[]);
    let url = format!("http://127.0.0.1:{}/health", server.port);
    let told = bench(&[&url, "-n", "500", "-c", "7", "-t", "2"]);
    assert_eq!(told["answers"], 500, "{told}");
    assert_eq!(told["status"]["2xx"], 500);
    assert_eq!(told["latency_us"]["count"], 500);
    let latency = |name: &str| told["latency_us"][name].as_u64().unwrap();
    assert!(latency("p50") <= latency("p99") && latency("p99") <= latency("max"), "{told}");
    let stats = server.connect().get("/stats").answer().json();
    assert_eq!(stats["requests"], 501);
    server.stop();
}

#[test]
fn streams_are_counted_by_their_events() {
    let server = Server::gateway(&[]);
    let url = format!("127.0.0.1:{}/v1/chat/completions", server.port);
    let told = bench(&[&url, "--stream", "-n", "20", "-c", "4"]);
    assert_eq!((&told["answers"], &told["first_event_us"]["count"]), (&20.into(), &20.into()));
    assert!(told["events"].as_u64().unwrap() >= 200, "{told}");
    server.stop();
}

#[test]
fn what_fails_is_told() {
    let server = Server::gateway(&[]);
    let port = server.port;
    let told = bench(&[&format!("127.0.0.1:{port}/nothing"), "-n", "5", "-c", "1"]);
    assert_eq!(told["status"]["4xx"], 5);
    server.stop();
    // Nobody listens there any more.
    let url = format!("127.0.0.1:{port}/");
    let mut child = Server::launch(program().args(["bench", &url, "-n", "2", "-c", "1"]));
    let said = child.expect_exit(1);
    assert!(said.contains("not one answer came"), "{said}");
    for wrong in [&["bench"][..], &["bench", "ftp://x"], &["bench", "h", "-c", "0"]] {
        Server::launch(program().args(wrong)).expect_exit(2);
    }
}

#[test]
fn top_shows_one_frame_where_nobody_watches() {
    let server = Server::gateway(&[]);
    let url = format!("127.0.0.1:{}", server.port);
    server.connect().get("/health").answer();
    let frame = Server::launch(program().args(["top", &url])).expect_exit(0);
    assert!(frame.contains("running") && frame.contains("answers"), "{frame}");
    server.stop();
    let said = Server::launch(program().args(["top", &url])).expect_exit(1);
    assert!(said.contains("/stats"), "{said}");
    Server::launch(program().args(["top", "--frob"])).expect_exit(2);
}

/// Wrong: who ends a long load early has waited for nothing.
#[test]
fn an_interrupted_load_tells_what_has_come_so_far() {
    let server = Server::gateway(&[]);
    let url = format!("127.0.0.1:{}/health", server.port);
    let mut child =
        Server::launch(program().args(["bench", &url, "-d", "1h", "-c", "2", "--json"]));
    let answered = || {
        let stats = server.connect().get("/stats").answer().json();
        stats["requests"].as_u64().is_some_and(|requests| requests > 1_000)
    };
    wait_until("some answers", answered);
    child.signal(libc::SIGINT);
    let told: Value = serde_json::from_str(child.expect_exit(0).trim()).unwrap();
    assert!(told["answers"].as_u64().unwrap() > 0, "{told}");
    assert!(told["seconds"].as_f64().unwrap() < 3600.0);
    server.stop();
}

/// Wrong: the first answer of a connection is as slow as its handshake.
#[test]
fn the_time_to_connect_is_no_part_of_the_latency() {
    let authority = Authority::new("bench-connect");
    let issued = authority.issue(&["localhost"]);
    let key = rustls::pki_types::PrivateKeyDer::from_pem_file(&issued.key).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(vec![first_certificate(&issued.cert)], key)
    .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    let peer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // A handshake that takes long is what this is about.
        std::thread::sleep(std::time::Duration::from_secs(1));
        let mut session = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut tls = rustls::Stream::new(&mut session, &mut stream);
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") {
            tls.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        // Until the other side has read it and closes.
        let _ = tls.read(&mut byte);
    });
    let ca = authority.file();
    let told = bench(&[&url, "-n", "1", "-c", "1", "--cacert", ca.to_str().unwrap()]);
    peer.join().unwrap();
    let us = |what: &str| told[what]["max"].as_u64().unwrap();
    assert_eq!((&told["answers"], &told["connect_us"]["count"]), (&1.into(), &1.into()), "{told}");
    assert!(us("connect_us") >= 1_000_000 && us("latency_us") < us("connect_us"), "{told}");
}

/// A terminal of so many columns: the side of who watches, and that of the program.
fn terminal(columns: u16) -> (std::fs::File, OwnedFd) {
    let (mut main, mut side) = (-1, -1);
    let size = libc::winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: both descriptors and the size are alive during the call; the rest may be null.
    let made = unsafe {
        let (name, termios) = (std::ptr::null_mut(), std::ptr::null());
        libc::openpty(&raw mut main, &raw mut side, name, termios, &raw const size)
    };
    assert_eq!(made, 0);
    // SAFETY: both are new and nobody else's.
    unsafe { (std::fs::File::from_raw_fd(main), OwnedFd::from_raw_fd(side)) }
}

fn modes(terminal: &OwnedFd) -> libc::tcflag_t {
    // SAFETY: all zeros is a valid termios, alive during the call.
    unsafe {
        let mut modes: libc::termios = std::mem::zeroed();
        assert_eq!(libc::tcgetattr(terminal.as_raw_fd(), &raw mut modes), 0);
        modes.c_lflag
    }
}

/// Wrong: a narrow terminal is a mess, `q` does nothing, or the shell afterwards shows no letters.
#[test]
fn top_fits_its_terminal_and_leaves_it_as_it_was() {
    let server = Server::gateway(&[]);
    let request = r#"{"prompt":"one two three"}"#;
    server.connect().post("/v1/chat", request).answer();
    let url = format!("127.0.0.1:{}", server.port);
    for by_key in [true, false] {
        let (mut main, side) = terminal(50);
        let before = modes(&side);
        let of_side = || std::process::Stdio::from(side.try_clone().unwrap());
        let mut command = program();
        command.args(["top", &url]).stdin(of_side()).stdout(of_side()).stderr(of_side());
        let mut child = command.spawn().unwrap();
        let mut shown = String::new();
        let mut piece = [0; 4096];
        while !(shown.contains("requests") && shown.contains("echo")) {
            let got = main.read(&mut piece).unwrap();
            shown.push_str(&String::from_utf8_lossy(&piece[..got]));
        }
        assert_ne!(modes(&side), before, "keys are shown");
        if by_key {
            main.write_all(b"xq").unwrap();
        } else {
            // SAFETY: kill takes no pointer; the process is our child and not yet waited for.
            assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGINT) }, 0);
        }
        wait_until("the end", || child.try_wait().unwrap().is_some());
        assert!(child.wait().unwrap().success());
        assert_eq!(modes(&side), before);
        let lines = shown.lines().map(|line| line.trim_start_matches("\u{1b}[H\u{1b}[2J"));
        let wide: Vec<_> = lines.filter(|line| line.chars().count() > 50).collect();
        assert!(wide.is_empty(), "{wide:?}");
    }
    server.stop();
}
