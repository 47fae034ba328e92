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

/// The share of its answers that a client gets which asks ten times a second, beside a crowd that
/// asks all the time from one address; after the crowd has been there for six seconds.
fn modest_client(port: u16) -> f64 {
    let over = AtomicBool::new(false);
    let ask = |stream: &mut TcpStream, reader: &mut BufReader<TcpStream>, address: &str| {
        let head =
            format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {address}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        answer(reader).0
    };
    let connect = || {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        (stream, reader)
    };
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                let (mut stream, mut reader) = connect();
                while !over.load(Ordering::Relaxed) {
                    if ask(&mut stream, &mut reader, "192.0.2.1") != 200 {
                        // It does not wait as long as it was told to.
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }
            });
        }
        std::thread::sleep(Duration::from_secs(6));
        let (mut stream, mut reader) = connect();
        let mut good = 0;
        for _ in 0..40 {
            good += usize::from(ask(&mut stream, &mut reader, "192.0.2.2") == 200);
            // The pace that is measured.
            std::thread::sleep(Duration::from_millis(100));
        }
        over.store(true, Ordering::Relaxed);
        good as f64 / 40.0
    })
}

/// Wrong: under overload who asks seldom is refused as often as who asks all the time, or a limit
/// that was lowered never rises again.
#[test]
fn under_overload_who_asks_most_is_refused_first() {
    let firewall = "[firewall]\nenable = true\nrequests_per_minute = 12000\nburst = 100\n\
        trusted_proxies = [\"127.0.0.1/32\"]\n";
    let off = slow(&format!("{firewall}[optimizer]\nrates = false\n"));
    let without = modest_client(off.port());
    drop(off);
    let on = slow(firewall);
    let with = modest_client(on.port());
    eprintln!("a client that asks seldom gets {without} of its answers without, {with} with");
    assert!(with > without + 0.2, "{without} without, {with} with");
    assert!(on.logged(&["optimizer: the rate limits of addresses, in percent"]));
    let is_back = || {
        let stats: serde_json::Value = serde_json::from_str(&on.get("/stats").body).unwrap();
        stats["optimizer"]["limits"]["the rate limits of addresses, in percent"]["limit"] == 100
    };
    let began = Instant::now();
    while !is_back() {
        assert!(began.elapsed() < Duration::from_secs(60), "the limits stay low");
        std::thread::sleep(Duration::from_millis(100));
    }
}
