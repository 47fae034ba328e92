//! Many connections on one worker, few descriptors, readers that stop: memory and service hold.

use std::os::unix::process::CommandExt;

use crate::support::descriptors_allowed;
use crate::support::process::{Server, program};
use crate::support::wire::Connection;

#[test]
fn ten_thousand_idle_connections_and_a_thousand_streams_on_one_worker() {
    let allowed = descriptors_allowed();
    let share = |wanted: u64| wanted.min(allowed.saturating_sub(200) * wanted / 11_000) as usize;
    let (idle_count, stream_count) = (share(10_000), share(1_000));
    if idle_count < 10_000 {
        eprintln!("only {idle_count} + {stream_count}: {allowed} open files are allowed");
    }
    let server = Server::gateway(&[
        "server.workers=1",
        "server.max_connections=20000",
        "timeouts.header=600000",
        "timeouts.idle=600000",
    ]);
    let words: Vec<String> = (0..200).map(|i| format!("w{i}")).collect();
    let prompt = words.join(" ");
    let body = format!(
        r#"{{"model":"echo","stream":true,"messages":[{{"role":"user","content":"{prompt}"}}]}}"#
    );
    // What a stream leaves warm is no growth.
    check_stream(server.connect().post("/v1/chat/completions", &body), &prompt);
    let (memory, descriptors) = (server.resident_kib(), server.descriptors());

    let mut idle: Vec<Connection> = (0..idle_count).map(|_| server.connect()).collect();
    for connection in &mut idle {
        connection.get("/health");
    }
    for connection in &mut idle {
        assert_eq!(connection.answer().status, 200);
    }
    let idle_kib = server.resident_kib().saturating_sub(memory);
    assert!(idle_kib < 2 * idle_count as u64, "{idle_kib} KiB for {idle_count} idle connections");

    let mut streams: Vec<Connection> = (0..stream_count).map(|_| server.connect()).collect();
    for connection in &mut streams {
        connection.post("/v1/chat/completions", &body);
    }
    for connection in &mut streams {
        check_stream(connection, &prompt);
    }
    for connection in &mut idle {
        connection.get("/health");
    }
    for connection in &mut idle {
        assert_eq!(connection.answer().status, 200);
    }
    drop(streams);
    drop(idle);
    let mut probe = server.connect();
    crate::support::wait_until("every descriptor is back", || {
        assert_eq!(probe.get("/health").answer().status, 200);
        server.descriptors() <= descriptors + 1
    });
    let left = server.resident_kib().saturating_sub(memory);
    assert!(left < 16 * 1024, "{left} KiB more than before all of them came");
    server.stop();
}

/// Reads a streamed chat completion: whole, in order, with its mark of success.
fn check_stream(connection: &mut Connection, prompt: &str) {
    let answer = connection.answer();
    assert_eq!(answer.status, 200);
    let events = answer.events();
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    let mut text = String::new();
    for event in &events[..events.len() - 1] {
        let chunk: serde_json::Value = serde_json::from_str(event).unwrap();
        text += chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
    }
    assert_eq!(text, prompt);
}

#[test]
fn running_out_of_descriptors_is_survived() {
    const ALLOWED: u64 = 64;
    let mut command = program();
    command.args(["serve", "--listen", "127.0.0.1:0", "--set", "server.workers=1"]);
    // SAFETY: setrlimit is async-signal-safe and its argument lives on this stack.
    unsafe {
        command.pre_exec(|| {
            let limit = libc::rlimit { rlim_cur: ALLOWED, rlim_max: ALLOWED };
            match libc::setrlimit(libc::RLIMIT_NOFILE, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let mut server = Server::start(&mut command);
    let mut first = server.connect();
    assert_eq!(first.get("/health").answer().status, 200);
    // More than fit: the rest waits in the kernel's backlog.
    let mut crowd: Vec<Connection> = (0..2 * ALLOWED).map(|_| server.connect()).collect();
    for connection in &mut crowd {
        // In this order they are taken.
        connection.send("\r\n");
    }
    server.line(|line| line.contains("accepting pauses"));
    assert_eq!(first.get("/health").answer().status, 200, "who is in is still served");
    let answer = first.post("/v1/chat", r#"{"prompt":"still here"}"#).answer();
    assert_eq!(answer.json()["response"], "still here");
    let waiting = crowd.split_off(ALLOWED as usize);
    drop(crowd);
    // There is room again: those who waited are let in.
    for mut connection in waiting {
        assert_eq!(connection.get("/health").answer().status, 200);
        drop(connection);
    }
    server.stop();
}

#[test]
fn readers_that_stop_cost_their_queue_and_no_more() {
    const READERS: usize = 10;
    let server = Server::gateway(&["server.workers=1", "timeouts.write=600000"]);
    let prompt = "ten bytes ".repeat(50_000);
    let body = format!("{{\"prompt\":\"{prompt}\",\"stream\":true}}");
    let mut warm = server.connect();
    while warm.post("/v1/chat", &body).head().status != 200 {}
    while warm.chunk().is_some() {}
    let before = server.resident_kib();
    let mut stopped: Vec<Connection> = Vec::new();
    for _ in 0..READERS {
        let mut connection = server.connect();
        connection.receive_little().post("/v1/chat", &body);
        assert_eq!(connection.head().status, 200);
        stopped.push(connection);
    }
    // The whole answer would be many megabytes of events each. What may stay is the request's
    // body, in a few forms, and the bounded queue.
    for _ in 0..100 {
        assert_eq!(warm.get("/health").answer().status, 200);
    }
    let grown = server.resident_kib().saturating_sub(before);
    let allowed = (READERS * (4 * body.len() / 1024 + 600)) as u64;
    assert!(grown < allowed, "{grown} KiB for {READERS} readers, {allowed} allowed");
    // And when they read on, everything comes.
    for mut connection in stopped {
        let mut all = Vec::new();
        while let Some(chunk) = connection.chunk() {
            all.extend(chunk);
        }
        assert!(all.ends_with(b"data: [DONE]\n\n"));
    }
    server.stop();
}

#[test]
fn pipelined_requests_behind_a_slow_reader_stay_in_the_kernel() {
    // A client that sends requests for ever and reads nothing must be stopped by back-pressure.
    let server = Server::gateway(&["server.workers=1", "timeouts.write=600000"]);
    let before = server.resident_kib();
    let mut greedy = server.connect();
    greedy.receive_little();
    let batch = "GET /health HTTP/1.1\r\nHost: h\r\n\r\n".repeat(1000);
    let mut sent = 0u64;
    while sent < 20_000_000 && greedy.can_send() {
        let at = (sent % batch.len() as u64) as usize;
        sent += greedy.send_some(&batch.as_bytes()[at..]) as u64;
    }
    assert!(sent < 20_000_000, "the server took everything");
    let mut probe = server.connect();
    assert_eq!(probe.get("/health").answer().status, 200);
    let grown = server.resident_kib().saturating_sub(before);
    assert!(grown < 4 * 1024, "{grown} KiB for one client that does not read");
    server.stop();
}
