//! Models that are switched off and on and taken out over HTTP while requests run.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use crate::reload::start;
use crate::support::process::Server;
use crate::support::wait_until;
use crate::support::wire::Answer;
use crate::upstream::{ASK, ASK_STREAM, GOOD, Upstream, provider};

const CHAT: &str = "/v1/chat/completions";

fn change(server: &Server, line: &str, body: &str) -> Answer {
    let length = body.len();
    let fields = "Host: localhost\r\nContent-Type: application/json\r\n";
    let request = format!("{line} HTTP/1.1\r\n{fields}Content-Length: {length}\r\n\r\n{body}");
    let answer = server.connect().send(request).answer();
    assert_eq!(answer.status, 200, "{line}: {}", answer.text());
    answer
}

/// What clients have seen of one model.
#[derive(Default)]
struct Seen {
    good: AtomicU64,
    /// 503: switched off.
    off: AtomicU64,
    /// 404: taken out.
    gone: AtomicU64,
}

impl Seen {
    fn add(&self, answer: &Answer) {
        let counter = match answer.status {
            200 => {
                assert_eq!(answer.text(), "{\"ok\":true}");
                &self.good
            }
            503 => {
                assert_eq!(answer.json()["error"]["code"], "model_unavailable");
                &self.off
            }
            404 => {
                assert_eq!(answer.json()["error"]["code"], "model_not_found");
                &self.gone
            }
            _ => panic!("{}: {}", answer.status, answer.text()),
        };
        counter.fetch_add(1, Ordering::SeqCst);
    }
}

/// Waits until a counter has moved by so much that no request from before is among what it counts.
fn wait_more(what: &str, counter: &AtomicU64) {
    let before = counter.load(Ordering::SeqCst);
    wait_until(what, || counter.load(Ordering::SeqCst) >= before + 2 * CLIENTS);
}

const CLIENTS: u64 = 4;

/// Wrong: a request that is lost or answered by a model that is off, a stream that is cut, another
/// model that notices anything.
#[test]
fn a_model_is_switched_and_taken_out_under_load() {
    let (go, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let upstream = Upstream::start(move |peer| {
        while let Some((_, body)) = peer.request() {
            if !body.windows(6).any(|part| part == b"stream") {
                peer.send(GOOD);
                continue;
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n");
            peer.send("Transfer-Encoding: chunked\r\n\r\nf\r\ndata: {\"a\":1}\n\n\r\n");
            gate.lock().unwrap().recv().unwrap();
            peer.send("e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
        }
    });
    let table = |name: &str| {
        format!(
            "[[model]]\nname = \"{name}\"\ntargets = [{{ provider = \"up\", model = \"x\" }}]\n"
        )
    };
    let text = provider("up", upstream.port, "") + &table("a") + &table("b");
    let (server, _) = start("switching", &text, 2);
    let seen: Arc<[Seen; 2]> = Arc::default();
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (seen, is_over) = (Arc::clone(&seen), Arc::clone(&is_over));
            let mut client = server.connect();
            std::thread::spawn(move || {
                while !is_over.load(Ordering::SeqCst) {
                    for (name, seen) in ["a", "b"].iter().zip(seen.iter()) {
                        seen.add(&client.post(CHAT, &ASK.replace("up/m", name)).answer());
                    }
                }
            })
        })
        .collect();
    let [a, b] = &*seen;
    wait_more("both models answer", &a.good);
    let mut stream = server.connect();
    stream.post(CHAT, &ASK_STREAM.replace("up/m", "a"));
    assert_eq!(stream.head().status, 200);
    assert_eq!(stream.chunk().unwrap(), b"data: {\"a\":1}\n\n");
    for _ in 0..3 {
        change(&server, "PATCH /admin/models/a", r#"{"available": false}"#);
        wait_more("it is off for all", &a.off);
        let good = a.good.load(Ordering::SeqCst);
        wait_more("it stays off", &a.off);
        assert_eq!(a.good.load(Ordering::SeqCst), good, "a model that is off has answered");
        change(&server, "PATCH /admin/models/a", r#"{"available": true}"#);
        wait_more("it is back", &a.good);
    }
    change(&server, "DELETE /admin/models/a", "");
    wait_more("it is gone for all", &a.gone);
    let good = a.good.load(Ordering::SeqCst);
    wait_more("it stays gone", &a.gone);
    assert_eq!(a.good.load(Ordering::SeqCst), good, "a model that is gone has answered");
    let listed = server.connect().get("/v1/models").answer();
    assert!(!listed.text().contains("\"id\":\"a\"") && listed.text().contains("\"id\":\"b\""));
    go.send(()).unwrap();
    assert_eq!(stream.chunk().unwrap(), b"data: [DONE]\n\n", "the stream was cut");
    assert_eq!(stream.chunk(), None);
    is_over.store(true, Ordering::SeqCst);
    for client in clients {
        client.join().unwrap();
    }
    assert_eq!((b.off.load(Ordering::SeqCst), b.gone.load(Ordering::SeqCst)), (0, 0));
    assert!(b.good.load(Ordering::SeqCst) > 0);
    server.stop();
}
