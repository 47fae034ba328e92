//! What an answer from the cache costs beside a built-in one: over HTTP, and in process through the
//! client, with other bytes for the same question and with the same bytes. Run by `make bench`.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::TcpStream;

use neurohttp::config::{self, Sources};
use neurohttp::server::client::Client;
use neurohttp::server::{Server, Setup};

/// CPU time of the process, in nanoseconds: server and client, whatever else the machine does.
fn cpu_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is alive during the call.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The median of runs, in microseconds of CPU each.
fn median_us(runs: usize, each: usize, mut what: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let began_ns = cpu_ns();
            (0..each).for_each(|_| what());
            (cpu_ns() - began_ns) as f64 / each as f64 / 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[runs / 2]
}

fn load(text: &str) -> config::Config {
    let listen = Some("127.0.0.1:0".to_owned());
    let sets = vec![("server.workers".to_owned(), "1".to_owned())];
    let sources = Sources { text: Some(text), listen, sets, ..Sources::default() };
    config::load(&sources).unwrap_or_else(|error| panic!("{error}"))
}

/// Sends a request and reads its answer, whose length the first one has told.
fn round(stream: &mut TcpStream, request: &[u8], answer: &mut [u8]) {
    stream.write_all(request).expect("the server listens");
    stream.read_exact(answer).expect("the server answers");
}

fn answer_bytes(stream: &mut TcpStream, request: &[u8]) -> Vec<u8> {
    stream.write_all(request).expect("the server listens");
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut piece).expect("the server answers");
        answer.extend_from_slice(&piece[..count]);
        let Some(at) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&answer[..at]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.and_then(|text| text.parse().ok()).expect("a length");
        if answer.len() >= at + 4 + length {
            return answer;
        }
    }
}

fn chat(blanks: usize) -> String {
    let gap = |places: usize| " ".repeat(blanks / places % 16 + 1);
    format!(
        r#"{{"model":"echo",{}"temperature":0,{}"messages":[{{"role":"user","content":"{}"}}]{}}}"#,
        gap(1),
        gap(16),
        "What does a kept answer cost? ".repeat(30),
        gap(256)
    )
}

fn main() {
    let text = "[cache]\nenable = true\nmax_entries = 10000\n[log]\nlevel = \"error\"\n\
        [firewall]\nrequests_per_minute = 0\n";
    let server = Server::new(load(text), Setup::default()).expect("a server");
    server.start().expect("a port");
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    let body = chat(0);
    let head = "Host: localhost\r\nContent-Type: application/json\r\n";
    let hit = format!(
        "POST /v1/chat/completions HTTP/1.1\r\n{head}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let health = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    answer_bytes(&mut stream, hit.as_bytes());
    let mut kept = answer_bytes(&mut stream, hit.as_bytes());
    let shown = String::from_utf8_lossy(&kept).to_ascii_lowercase();
    assert!(shown.contains("x-neurohttp-cache: hit"), "{shown}");
    let mut built_in = answer_bytes(&mut stream, health);
    let hit_us = median_us(31, 2_000, || round(&mut stream, hit.as_bytes(), &mut kept));
    let built_in_us = median_us(31, 2_000, || round(&mut stream, health, &mut built_in));
    println!("built-in answer       {built_in_us:8.2} us, both ends");
    println!("hit over HTTP         {hit_us:8.2} us, {:.2} more", hit_us - built_in_us);
    server.shutdown();

    let client = Client::new(load(text), None).expect("a client");
    client.chat(body.as_bytes()).expect("echo answers");
    let same_us = median_us(31, 2_000, || {
        black_box(client.chat(black_box(body.as_bytes()))).expect("a kept answer");
    });
    // Each form is new to the client: 4,096 spellings of one question, a run for each sixteenth.
    let forms: Vec<String> = (0..4096).map(chat).collect();
    let mut at = 1;
    let other_us = median_us(15, 256, || {
        black_box(client.chat(forms[at % forms.len()].as_bytes())).expect("a kept answer");
        at += 1;
    });
    println!("hit in process        {other_us:8.2} us, {same_us:.2} when the bytes repeat");
}
