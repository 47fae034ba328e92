//! Targets that fail: what is tried where and when, what is left alone, and for how long.

use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::wire::Answer;
use crate::upstream::{ASK, ASK_STREAM, GOOD, Gateway, Peer, Upstream, provider};

const CHAT: &str = "/v1/chat/completions";
/// A good stream.
const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Transfer-Encoding: chunked\r\n\r\nf\r\ndata: {\"a\":1}\n\n\r\n\
    e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";

/// An answer with this status and these fields.
pub fn status(code: u16, fields: &str) -> String {
    format!("HTTP/1.1 {code} X\r\n{fields}Content-Length: 2\r\n\r\n{{}}")
}

/// The tables of a model `m` with one target at each port, in their order.
pub fn model(ports: &[u16], keys: &str) -> String {
    let mut text = String::new();
    let mut targets = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        text += &provider(&format!("p{index}"), *port, "connect_timeout = 300\n");
        targets.push(format!("{{ provider = \"p{index}\", model = \"x\" }}"));
    }
    format!("{text}[[model]]\nname = \"m\"\ntargets = [{}]\n{keys}\n", targets.join(", "))
}

fn ask(gateway: &Gateway, body: &str) -> Answer {
    gateway.connect().post(CHAT, &body.replace("up/m", "m")).answer()
}

pub fn provider_of(answer: &Answer) -> String {
    answer.header("x-neurohttp-provider").unwrap_or_default()
}

/// A port that refuses.
pub fn refusing() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// An upstream that answers its first `count` requests with `bytes` and the others well.
fn failing_first(count: usize, bytes: String) -> (Upstream, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let upstream = Upstream::start(move |peer| {
        while peer.request().is_some() {
            if counter.fetch_add(1, Ordering::SeqCst) < count {
                peer.send(&bytes);
            } else {
                peer.send(GOOD);
            }
        }
    });
    (upstream, asked)
}

#[test]
fn a_500_twice_and_then_well_is_well() {
    let (upstream, asked) = failing_first(2, status(500, ""));
    let gateway = Gateway::with(&model(&[upstream.port], "[retry]\nbackoff = 40\n"));
    let began = Instant::now();
    let answer = ask(&gateway, ASK);
    assert_eq!((answer.status, answer.text()), (200, "{\"ok\":true}"));
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    assert!(began.elapsed() >= Duration::from_millis(20 + 40), "half of 40 and of 80 at least");
    assert_eq!((gateway.calls("retries"), gateway.calls("failed")), (2, 0));
}

#[test]
fn tries_end_with_the_truth_and_attempts_count() {
    for attempts in [0, 1, 3] {
        let (upstream, asked) = failing_first(100, status(503, ""));
        let keys = format!("[retry]\nattempts = {attempts}\nbackoff = 1\n");
        let gateway = Gateway::with(&model(&[upstream.port], &keys));
        let answer = ask(&gateway, ASK);
        assert_eq!((answer.status, asked.load(Ordering::SeqCst)), (502, attempts + 1));
    }
}

#[test]
fn a_requests_own_fault_is_tried_nowhere_else() {
    for code in [400, 404, 413, 422] {
        let (first, asked) = failing_first(1, status(code, ""));
        let second = Upstream::start(|peer| peer.answer_all(GOOD));
        let gateway = Gateway::with(&model(&[first.port, second.port], ""));
        assert_eq!(ask(&gateway, ASK).status, code);
        assert_eq!((asked.load(Ordering::SeqCst), second.accepted()), (1, 0));
    }
}

#[test]
fn a_short_retry_after_is_waited_for() {
    let (upstream, asked) = failing_first(1, status(429, "Retry-After: 1\r\n"));
    let gateway = Gateway::with(&model(&[upstream.port], "[retry]\nbackoff = 1\n"));
    let began = Instant::now();
    assert_eq!(ask(&gateway, ASK).status, 200);
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[test]
fn a_long_retry_after_is_kept_while_others_answer() {
    let (first, asked) = failing_first(1, status(429, "Retry-After: 30\r\n"));
    let second = Upstream::start(|peer| peer.answer_all(GOOD));
    let gateway = Gateway::with(&model(&[first.port, second.port], ""));
    for _ in 0..5 {
        let answer = ask(&gateway, ASK);
        assert_eq!((answer.status, provider_of(&answer).as_str()), (200, "p1"));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1, "the first rests");
}

#[test]
fn failing_answers_open_the_circuit_and_a_probe_closes_it() {
    let second = Upstream::start(|peer| peer.answer_all(GOOD));
    for (pause, times) in [(60_000, 3), (1, 0)] {
        let (first, asked) = failing_first(3, status(500, ""));
        let keys = format!("[breaker]\nfailures = 3\npause = {pause}\n");
        let gateway = Gateway::with(&model(&[first.port, second.port], &keys));
        for _ in 0..10 * times {
            let answer = ask(&gateway, ASK);
            assert_eq!((answer.status, provider_of(&answer).as_str()), (200, "p1"));
        }
        if times > 0 {
            assert_eq!(asked.load(Ordering::SeqCst), 3, "three failures, then it is left alone");
            continue;
        }
        probe_closes(&gateway);
    }
}

fn probe_closes(gateway: &Gateway) {
    crate::support::wait_until("the first is asked again and answers", || {
        provider_of(&ask(gateway, ASK)) == "p0"
    });
    assert_eq!(provider_of(&ask(gateway, ASK)), "p0");
}

#[test]
fn a_refusing_target_is_left_alone_at_once_and_alone_is_asked_again() {
    let dead = refusing();
    let second = Upstream::start(|peer| peer.answer_all(GOOD));
    let gateway = Gateway::with(&model(&[dead, second.port], "[breaker]\npause = 60000\n"));
    for _ in 0..5 {
        assert_eq!(provider_of(&ask(&gateway, ASK)), "p1");
    }
    assert_eq!(gateway.calls("retries"), 1, "one request met it");

    let gateway = Gateway::with(&model(&[dead], "[retry]\nattempts = 0\n"));
    assert_eq!(ask(&gateway, ASK).status, 502);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, dead));
    // Somebody else may have the port by now.
    if let Ok(listener) = listener {
        let back = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut peer = Peer::over(stream);
            peer.request().expect("a request");
            peer.send(GOOD);
        });
        assert_eq!(ask(&gateway, ASK).status, 200, "the only target is asked all the same");
        back.join().unwrap();
    }
}

/// A listener whose queue is full: a connection to it is never established.
pub struct Silent {
    _listener: TcpListener,
    _fillers: Vec<std::net::TcpStream>,
    pub port: u16,
}

pub fn silent() -> Silent {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // SAFETY: the descriptor is the listener's, which is open.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let address = listener.local_addr().unwrap();
    let mut fillers = Vec::new();
    while let Ok(stream) =
        std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200))
    {
        fillers.push(stream);
        assert!(fillers.len() < 64, "the queue does not fill");
    }
    Silent { _listener: listener, _fillers: fillers, port: address.port() }
}

#[test]
fn a_dead_target_costs_one_connect_timeout_once() {
    let dead = silent();
    let second = Upstream::start(|peer| peer.answer_all(GOOD));
    let gateway = Gateway::with(&model(&[dead.port, second.port], "[breaker]\npause = 60000\n"));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..30 {
            scope.spawn(|| {
                let answer = ask(&gateway, ASK);
                assert_eq!((answer.status, provider_of(&answer).as_str()), (200, "p1"));
            });
        }
    });
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    // Who waited when that was known went on at once, who came later did not wait at all.
    let timeouts = gateway.number("timeouts");
    for _ in 0..20 {
        assert_eq!(provider_of(&ask(&gateway, ASK)), "p1");
    }
    assert_eq!(gateway.number("timeouts"), timeouts);

    // Alone it is told at once that nobody answers, once that is known.
    let gateway = Gateway::with(&model(&[dead.port], "[breaker]\npause = 60000\n"));
    assert_eq!(ask(&gateway, ASK).status, 504);
    let answer = ask(&gateway, ASK);
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (503, Some("no_target")));
    assert!(answer.header("retry-after").is_some());
    assert_eq!(gateway.number("timeouts"), 1);
}

#[test]
fn a_stream_whose_head_came_but_no_token_goes_to_the_next_target() {
    let first = Upstream::start(|peer| {
        peer.request().expect("a request");
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        peer.expect_gone();
    });
    let second = Upstream::start(|peer| peer.answer_all(STREAM.as_bytes()));
    let text = model(&[first.port, second.port], "");
    let text = text.replacen("connect_timeout", "first_token_timeout = 100\nconnect_timeout", 1);
    let gateway = Gateway::with(&text);
    let answer = ask(&gateway, ASK_STREAM);
    assert_eq!((answer.status, provider_of(&answer).as_str()), (200, "p1"));
    assert_eq!(answer.events(), ["{\"a\":1}", "[DONE]"]);
}

#[test]
fn a_provider_that_says_it_is_not_well_is_left_alone_before_a_request_meets_it() {
    let first = Upstream::start(|peer| {
        while let Some(head) = peer.head() {
            assert!(head.starts_with("GET /v1/models HTTP/1.1\r\n"), "{head}");
            assert!(head.to_ascii_lowercase().contains("authorization: bearer sk-ours"), "{head}");
            peer.send(status(503, ""));
        }
    });
    let second = Upstream::start(|peer| peer.answer_all(GOOD));
    let text = model(&[first.port, second.port], "[breaker]\npause = 60000\n");
    let text = text.replacen("connect_timeout", "health_path = \"/models\"\nconnect_timeout", 1);
    let gateway = Gateway::with(&text);
    crate::support::wait_until("the first was asked", || first.accepted() > 0);
    // Seen where it meets no request: one would find out by itself.
    let is_left_alone = || {
        let request = "GET /admin/models HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let shown = gateway.connect().send(request).answer().json();
        let models = shown["models"].as_array().unwrap();
        models.iter().any(|model| model["targets"][0]["open"] == serde_json::json!(false))
    };
    crate::support::wait_until("that is known", is_left_alone);
    assert_eq!(provider_of(&ask(&gateway, ASK)), "p1");
}
