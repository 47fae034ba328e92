//! Three times as much as can be done: what is taken is done quickly, the rest is told so at once.

use std::ffi::CString;
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
                    // Not what is still answered when the time is over: that is the length of a queue.
                    let counts = began.elapsed() > time / 2 && began.elapsed() <= time;
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
    let on = slow("");
    // At the same time: what else the machine does, it does to both.
    let (off_port, on_port) = (off.port(), on.port());
    let (without, with) = std::thread::scope(|scope| {
        let without = scope.spawn(move || crowd(off_port, 48, time));
        let with = crowd(on_port, 48, time);
        (without.join().unwrap(), with)
    });
    assert_eq!(without.refused, 0);
    drop(off);
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
    off_and_on(&on, "blocking", 48);
    assert!(on.logged(&["the limit of waiting blocking requests", "the lever is off"]));
}

fn optimizer(host: &Host) -> serde_json::Value {
    let stats: serde_json::Value = serde_json::from_str(&host.get("/stats").body).unwrap();
    stats["optimizer"].clone()
}

fn set(host: &Host, key: &str, value: &str) {
    let (key, value) = (CString::new(key).unwrap(), CString::new(value).unwrap());
    let status = unsafe { nh_server_set(host.server, key.as_ptr(), value.as_ptr()) };
    assert_eq!(status, NH_OK, "{}", last_message());
}

/// A lever that refuses this crowd refuses nobody while it is switched off, and does again when it
/// is on.
fn off_and_on(host: &Host, lever: &str, clients: usize) {
    let key = format!("optimizer.{lever}");
    set(host, &key, "false");
    assert_eq!(optimizer(host)[lever]["enabled"], false);
    let off = crowd(host.port(), clients, Duration::from_secs(2));
    assert_eq!(off.refused, 0, "{lever} is off");
    set(host, &key, "true");
    let on = crowd(host.port(), clients, Duration::from_secs(4));
    assert!(on.refused > 0, "{lever} is on again");
}

/// Wrong: a crowd before a handler that computes on the loop only waits; or the limit does not
/// follow its lever.
#[test]
fn a_crowd_before_a_computing_handler_is_thinned_while_the_lever_is_on() {
    let host = Host::new("[firewall]\nenable = false\n");
    host.route("GET", "/", 0, |_, response| {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(5) {
            std::hint::spin_loop();
        }
        send(response, "done")
    });
    host.start();
    let seen = crowd(host.port(), 48, Duration::from_secs(4));
    assert!(seen.refused > 0 && seen.served > 0, "{}", optimizer(&host));
    assert!(optimizer(&host)["refused"]["turns"].as_u64().unwrap() > 0);
    off_and_on(&host, "turns", 48);
    for reason in ["every turn begins its last requests too late", "the lever is off"] {
        assert!(
            host.logged(&["optimizer: the limit of microseconds in a turn", reason]),
            "{reason}"
        );
    }
}

/// Wrong: handlers that wait for something else have no more threads than there are at first, while
/// requests wait for one; or a number that the operator has named is moved.
#[test]
fn a_pool_whose_handlers_wait_gets_more_threads() {
    let threads = 4 * std::thread::available_parallelism().unwrap().get();
    let clients = (6 * threads).min(1024);
    let begin = |config: &str| {
        let host = Host::new(&format!("{config}[firewall]\nenable = false\n"));
        host.route("GET", "/", NH_ROUTE_BLOCKING, |_, response| {
            std::thread::sleep(Duration::from_millis(50));
            send(response, "done")
        });
        host.start();
        host
    };
    let fixed = begin(&format!("[server]\nblocking_threads = {threads}\n"));
    let free = begin("");
    let time = Duration::from_secs(16);
    let (fixed_port, free_port) = (fixed.port(), free.port());
    let (few, many) = std::thread::scope(|scope| {
        let few = scope.spawn(move || crowd(fixed_port, clients, time));
        let many = crowd(free_port, clients, time);
        (few.join().unwrap(), many)
    });
    let limit = |host: &Host| optimizer(host)["threads"]["limit"].as_u64().unwrap() as usize;
    eprintln!("{threads} threads: {} served; {}: {}", few.served, limit(&free), many.served);
    assert!(many.served * 2 > few.served * 3, "{} and {}", few.served, many.served);
    assert!(limit(&free) > threads && limit(&free) <= (4 * threads).min(512).max(threads));
    assert_eq!((limit(&fixed), &optimizer(&fixed)["threads"]["enabled"]), (threads, &false.into()));
    let lever = "optimizer: the limit of threads of the blocking pool";
    assert!(free.logged(&[lever, "requests wait for a thread"]));
    assert!(!fixed.logged(&[lever]));
    set(&free, "optimizer.threads", "false");
    assert_eq!(limit(&free), threads);
    assert!(free.logged(&[lever, "the lever is off"]));
    set(&free, "optimizer.threads", "true");
    let began = Instant::now();
    while limit(&free) == threads {
        assert!(began.elapsed() < Duration::from_secs(60), "{}", optimizer(&free));
        crowd(free.port(), clients, Duration::from_secs(1));
    }
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
    // Off: they are whole at once.
    assert!(modest_client(on.port()) > without);
    let limit = || {
        let limits = &optimizer(&on)["limits"];
        limits["the rate limits of addresses, in percent"]["limit"].as_u64().unwrap()
    };
    assert!(limit() < 100);
    set(&on, "optimizer.rates", "false");
    let began = Instant::now();
    while limit() < 100 {
        assert!(began.elapsed() < PATIENCE, "the limits stay low");
    }
    assert!(on.logged(&["the rate limits of addresses, in percent", "the lever is off"]));
}
