//! Three times as much as can be done: what is taken is done quickly, the rest is told so at once.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use neurohttp::ffi::*;

use crate::support::*;

/// What a crowd has seen in the second half of its time.
struct Seen {
    served: usize,
    refused: usize,
    /// 99 of 100 answers took no longer than this.
    p99: Duration,
}

fn answer(reader: &mut BufReader<TcpStream>) -> (u16, bool) {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    let (mut length, mut has_pause) = (0, false);
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        let lower = line.trim_end().to_ascii_lowercase();
        if lower.is_empty() {
            break;
        }
        if let Some(value) = lower.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
        has_pause |= lower.starts_with("retry-after: ");
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (status, has_pause)
}

/// So many clients ask again and again; one that is refused waits a moment.
fn crowd(port: u16, clients: usize, time: Duration) -> Seen {
    let times = Mutex::new(Vec::new());
    let refused = Mutex::new(0);
    let over = AtomicBool::new(false);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while !over.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
                    let (status, has_pause) = answer(&mut reader);
                    let counts = began.elapsed() > time / 2;
                    match status {
                        200 if counts => times.lock().unwrap().push(asked.elapsed()),
                        200 => {}
                        503 => {
                            assert!(has_pause, "a refusal says when to come again");
                            *refused.lock().unwrap() += usize::from(counts);
                            // The pause of a client that has been told to come later.
                            std::thread::sleep(Duration::from_millis(20));
                        }
                        other => panic!("{other}"),
                    }
                }
            });
        }
        std::thread::sleep(time);
        over.store(true, Ordering::Relaxed);
    });
    let mut times = times.into_inner().unwrap();
    times.sort();
    let p99 = times[times.len() * 99 / 100];
    Seen { served: times.len(), refused: refused.into_inner().unwrap(), p99 }
}

/// A pool of two threads whose handler takes 20 ms: 100 requests a second at most.
fn slow(config: &str) -> Host {
    let host = Host::new(&format!("[server]\nblocking_threads = 2\n{config}"));
    host.route("GET", "/", NH_ROUTE_BLOCKING, |_, response| {
        std::thread::sleep(Duration::from_millis(20));
        send(response, "done")
    });
    host.start();
    host
}

#[test]
fn a_crowd_before_a_slow_handler_is_thinned_and_the_rest_is_quick() {
    let time = Duration::from_secs(4);
    let off = slow("[optimizer]\nenable = false\n");
    let without = crowd(off.port(), 48, time);
    assert_eq!(without.refused, 0);
    drop(off);
    let on = slow("");
    let with = crowd(on.port(), 48, time);
    eprintln!(
        "without: {} served, p99 {:?}; with: {} served, {} refused, p99 {:?}",
        without.served, without.p99, with.served, with.refused, with.p99
    );
    assert!(with.refused > 0);
    assert!(with.p99 * 2 < without.p99, "{:?} against {:?}", with.p99, without.p99);
    assert!(with.served * 10 >= without.served * 8, "{} of {}", with.served, without.served);
    let stats: serde_json::Value = serde_json::from_str(&on.get("/stats").body).unwrap();
    let optimizer = &stats["optimizer"];
    assert!(optimizer["refused"]["blocking"].as_u64().unwrap() > 0, "{optimizer}");
    let decisions = optimizer["decisions"].as_array().unwrap();
    assert!(decisions.iter().all(|it| !it["reason"].as_str().unwrap().is_empty()));
    assert!(!decisions.is_empty(), "{optimizer}");
    assert!(on.logged(&["optimizer: the limit of waiting blocking requests"]));
}

#[test]
fn load_that_is_merely_high_is_let_in() {
    let host = slow("");
    // Two threads, two clients.
    let seen = crowd(host.port(), 2, Duration::from_secs(1));
    assert_eq!(seen.refused, 0);
}
