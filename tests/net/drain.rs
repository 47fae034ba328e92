//! The end: what is under way is answered, what is idle is closed, what stalls is cut.

use std::time::{Duration, Instant};

use crate::support::cc::Link;
use crate::support::process::{Server, example};

#[test]
fn idle_and_half_spoken_connections_do_not_hold_the_end() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut server = Server::gateway(&[]);
        let mut idle = server.connect();
        assert_eq!(idle.get("/health").answer().status, 200);
        let mut silent = server.connect();
        crate::support::wait_until("the silent one is taken", || {
            let stats = idle.get("/stats").answer().json();
            stats["connections"]["active"] == 2
        });
        let begun = Instant::now();
        server.signal(signal);
        server.expect_exit(0);
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        idle.expect_close();
        silent.expect_close();
    }
}

#[test]
fn a_stream_under_way_is_finished() {
    let mut server = Server::gateway(&["server.workers=1"]);
    let prompt = "word ".repeat(100_000);
    let mut stream = server.connect();
    stream
        .receive_little()
        .post("/v1/chat", &format!("{{\"prompt\":\"{prompt}\",\"stream\":true}}"));
    assert_eq!(stream.head().status, 200);
    server.signal(libc::SIGTERM);
    // Nobody new comes in once the drain has begun.
    let port = server.port;
    crate::support::wait_until("the listener is closed", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_err()
    });
    assert!(server.alive(), "it must wait for the stream");
    let mut all = Vec::new();
    while let Some(chunk) = stream.chunk() {
        all.extend(chunk);
    }
    assert!(all.ends_with(b"data: [DONE]\n\n"));
    server.expect_exit(0);
}

#[test]
fn a_stalled_client_is_cut_at_the_end_of_the_drain() {
    let mut server = Server::gateway(&["timeouts.drain=300", "server.workers=1"]);
    let prompt = "word ".repeat(400_000);
    let mut stalled = server.connect();
    stalled
        .receive_little()
        .post("/v1/chat", &format!("{{\"prompt\":\"{prompt}\",\"stream\":true}}"));
    assert_eq!(stalled.head().status, 200);
    let begun = Instant::now();
    server.signal(libc::SIGTERM);
    server.expect_exit(0);
    assert!(begun.elapsed() >= Duration::from_millis(250));
    assert!(!stalled.rest().ends_with(b"0\r\n\r\n"));
}

#[test]
fn a_deferred_answer_is_waited_for() {
    let mut server = Server::start(example("deferred", Link::Shared).arg("0"));
    let mut connection = server.connect();
    let mut probe = server.connect();
    connection.post("/jobs", "work").post("/jobs", "never begun or answered in full");
    assert_eq!(probe.get("/health").answer().status, 200);
    assert_eq!(connection.answer().text(), "work");
    server.signal(libc::SIGTERM);
    server.expect_exit(0);
}
