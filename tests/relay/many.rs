//! A thousand streams through one worker.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use crate::support::PATIENCE;
use crate::support::process::{Server, program};
use crate::support::stage::scratch;
use crate::support::wire::Connection;
use crate::upstream::provider;

const STREAMS: usize = 1_000;
const EVENTS: usize = 40;

/// Event `number` of the stream that asked with `name`.
fn event(name: &str, number: usize) -> String {
    format!("data: {{\"of\":\"{name}\",\"n\":{number},\"pad\":\"{}\"}}\n\n", "x".repeat(200))
}

/// Takes the streams' requests, then sends every stream's events round by round, each in two
/// pieces, and closes.
fn serve(listener: &TcpListener, count: usize) {
    let mut streams: Vec<(TcpStream, String)> = (0..count)
        .map(|_| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"#\"}]}") {
                let mut piece = [0; 4096];
                let got = stream.read(&mut piece).unwrap();
                assert!(got > 0, "the gateway closed");
                request.extend_from_slice(&piece[..got]);
            }
            let text = String::from_utf8(request).unwrap();
            let name = text.rsplit_once("\"content\":\"").unwrap().1;
            let name = name.split_once('#').unwrap().0.to_owned();
            (stream, name)
        })
        .collect();
    for (stream, _) in &mut streams {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").unwrap();
    }
    for number in 0..EVENTS {
        let cut = 1 + number * 5;
        for half in 0..2 {
            for (stream, name) in &mut streams {
                let text = event(name, number);
                let (one, two) = text.split_at(cut);
                stream.write_all(if half == 0 { one } else { two }.as_bytes()).unwrap();
            }
        }
    }
    for (stream, _) in &mut streams {
        stream.write_all(b"data: [DONE]\n\n").unwrap();
    }
}

fn ask(server: &Server, name: &str) -> Connection {
    let mut client = server.connect();
    client.post(
        "/v1/chat/completions",
        &format!(
            "{{\"model\":\"up/m\",\"stream\":true,\
             \"messages\":[{{\"role\":\"user\",\"content\":\"{name}#\"}}]}}"
        ),
    );
    client
}

/// All of one stream, which must be whole and in order.
fn check(client: &mut Connection, name: &str) {
    let answer = client.answer();
    assert_eq!(answer.status, 200, "{name}");
    let wanted: String = (0..EVENTS).map(|number| event(name, number)).collect();
    assert!(answer.text() == wanted + "data: [DONE]\n\n", "stream {name} is not what was sent");
}

/// Runs `count` streams at once.
fn round(server: &Server, listener: &TcpListener, count: usize) {
    let names: Vec<String> = (0..count).map(|number| format!("s{number}")).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| serve(listener, count));
        let mut clients: Vec<_> = names.iter().map(|name| ask(server, name)).collect();
        for (client, name) in clients.iter_mut().zip(&names) {
            check(client, name);
        }
    });
}

#[test]
fn a_thousand_streams_are_whole_and_leave_nothing_behind() {
    // Each stream is two descriptors of the gateway and two of this process.
    let allowed = crate::support::descriptors_allowed();
    let count = STREAMS.min(allowed.saturating_sub(200) as usize / 2);
    if count < STREAMS {
        eprintln!("only {count}: {allowed} open files are allowed");
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let file = scratch().join("many.toml");
    let port = listener.local_addr().unwrap().port();
    std::fs::write(&file, provider("up", port, "max_connections = 2000")).unwrap();
    let mut command = program();
    command.args(["serve", "--listen", "127.0.0.1:0", "--set", "server.workers=1", "-c"]);
    let server = Server::start(command.arg(&file));
    // What streams leave warm is no growth: buffers for the next ones.
    round(&server, &listener, 8);
    let (memory, descriptors) = (server.resident_kib(), server.descriptors());
    round(&server, &listener, count);
    crate::support::wait_until("every descriptor is closed", || {
        assert_eq!(server.connect().get("/health").answer().status, 200);
        // The one of the last question may still be there.
        server.descriptors() <= descriptors + 1
    });
    // Memory goes back when the crowd has been away for a moment.
    let mut least = u64::MAX;
    crate::support::wait_until("its memory is back", || {
        assert_eq!(server.connect().get("/health").answer().status, 200);
        least = least.min(server.resident_kib().saturating_sub(memory));
        least < 2 * 1024
    });
    eprintln!("{least} KiB more after {count} streams");
    server.stop();
}
