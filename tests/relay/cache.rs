//! Answers that are kept and shared: one call for many, never across keys.

use std::sync::Arc;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use neurohttp::server::client::Client;

use crate::support::wire::{Answer, Connection};
use crate::upstream::{Gateway, Peer, Upstream, provider};

pub const CHAT: &str = "/v1/chat/completions";
pub const ASK: &str =
    r#"{"model":"up/m","temperature":0,"messages":[{"role":"user","content":"x"}]}"#;
pub const ASK_STREAM: &str =
    r#"{"model":"up/m","temperature":0,"stream":true,"messages":[{"role":"user","content":"x"}]}"#;

/// A whole chat completion that says `text`.
pub fn whole(text: &str) -> String {
    let body = format!(
        "{{\"id\":\"c1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\",\
         \"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{text}\"}},\
         \"finish_reason\":\"stop\"}}],\"usage\":{{\"prompt_tokens\":1,\"completion_tokens\":2,\
         \"total_tokens\":3}}}}"
    );
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn chunk(data: &str) -> String {
    let event = format!("data: {data}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len())
}

pub fn delta(text: &str) -> String {
    chunk(&format!(
        "{{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\
         \"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}"
    ))
}

pub const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Transfer-Encoding: chunked\r\n\r\n";

pub fn stream_end() -> String {
    chunk(
        "{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\
         \"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}",
    ) + &chunk("[DONE]")
        + "0\r\n\r\n"
}

/// Answers each request by its number, whole or as a stream, as it asks.
fn numbering() -> (Upstream, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let upstream = Upstream::start(move |peer| {
        while let Some((_, body)) = peer.request() {
            let number = counter.fetch_add(1, Ordering::SeqCst).to_string();
            if String::from_utf8_lossy(&body).contains("\"stream\":true") {
                peer.send(format!("{STREAM_HEAD}{}{}", delta(&number), stream_end()));
            } else {
                peer.send(whole(&number));
            }
        }
    });
    (upstream, asked)
}

pub fn mark(answer: &Answer) -> String {
    answer.header("x-neurohttp-cache").unwrap_or_default()
}

pub fn with_fields(client: &mut Connection, fields: &str, body: &str) -> Answer {
    client.send(format!(
        "POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    client.answer()
}

#[test]
fn what_is_asked_again_is_answered_again() {
    let (upstream, asked) = numbering();
    let gateway = Gateway::before(&upstream, "");
    let mut client = gateway.connect();
    for body in [ASK, ASK_STREAM] {
        let first = client.post(CHAT, body).answer();
        let again = client.post(CHAT, &body.replace(":\"x\"", ": \"\\u0078\"")).answer();
        assert_eq!((first.status, again.status), (200, 200));
        assert_eq!(mark(&again), "hit");
        assert_eq!(again.header("x-neurohttp-provider").as_deref(), Some("up"));
        assert_eq!(again.header("content-type"), first.header("content-type"));
        if body == ASK {
            assert_eq!((mark(&first).as_str(), again.text()), ("miss", first.text()));
        } else {
            // Made of the whole answer that was there.
            assert_eq!(mark(&first), "hit");
            assert_eq!(again.events().last().map(String::as_str), Some("[DONE]"));
        }
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    // Another dialect, and the host program, get the same answer.
    let anthropic = r#"{"model":"up/m","temperature":0,"max_tokens":9,
        "messages":[{"role":"user","content":"x"}]}"#;
    let openai = ASK.replace("\"temperature\"", "\"max_tokens\":9,\"temperature\"");
    assert_eq!(mark(&client.post(CHAT, &openai).answer()), "miss");
    let other = client.post("/v1/messages", anthropic).answer();
    assert_eq!((other.status, mark(&other).as_str()), (200, "hit"), "{}", other.text());
    assert_eq!(other.json()["content"][0]["text"], "1");
    let host = Client::of(&gateway.server);
    for _ in 0..3 {
        assert_eq!(host.chat(ASK.as_bytes()).unwrap().text, "0");
    }
    let mut text = String::new();
    let reply = host.chat_stream(ASK.as_bytes(), &mut |delta| {
        text += delta.text;
        true
    });
    assert_eq!((reply.unwrap().text.as_str(), text.as_str()), ("0", "0"));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[test]
fn what_may_not_be_kept_is_not() {
    let (upstream, asked) = numbering();
    let gateway = Gateway::before(&upstream, "");
    let mut client = gateway.connect();
    let warm = ASK.replace("\"temperature\":0", "\"temperature\":0.5");
    for (fields, body, marks) in [
        ("", warm.as_str(), ["bypass", "bypass"]),
        ("Cache-Control: no-store\r\n", ASK, ["bypass", "bypass"]),
        ("Cache-Control: no-cache\r\n", ASK, ["bypass", "bypass"]),
    ] {
        let before = asked.load(Ordering::SeqCst);
        for want in marks {
            assert_eq!(mark(&with_fields(&mut client, fields, body)), want, "{fields}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), before + 2);
    }
    // What no-cache has fetched is there for others.
    let answer = client.post(CHAT, ASK).answer();
    assert_eq!((mark(&answer).as_str(), asked.load(Ordering::SeqCst)), ("hit", 6));

    let failing = Upstream::start(|peer| {
        let answer = match peer.number {
            0 => "HTTP/1.1 400 X\r\nContent-Length: 2\r\n\r\n{}".to_owned(),
            1 => format!("{STREAM_HEAD}{}0\r\n\r\n", delta("no end")),
            2 => whole("x").replace("\r\n\r\n", "\r\nCache-Control: no-store\r\n\r\n"),
            _ => whole("good"),
        };
        peer.request().expect("a request");
        peer.send(answer);
        peer.send("garbage that ends the connection");
    });
    let gateway = Gateway::before(&failing, "");
    let mut client = gateway.connect();
    for body in [ASK, ASK_STREAM, ASK] {
        assert_eq!(mark(&client.post(CHAT, body).answer()).replace("bypass", "miss"), "miss");
    }
    let answer = client.post(CHAT, ASK).answer();
    assert_eq!((mark(&answer).as_str(), answer.status), ("miss", 200));
    assert_eq!(mark(&client.post(CHAT, ASK).answer()), "hit");
}

/// Wrong: a request whose bytes repeat is taken for another's, for one with other switches, for one
/// of models that have changed, or is answered although it asks for a fresh answer.
#[test]
fn bytes_that_repeat_are_still_read_for_what_they_are() {
    let (upstream, asked) = numbering();
    let text = provider("up", upstream.port, "") + "[auth]\nkeys = [\"key-a\", \"key-b\"]\n";
    let gateway = Gateway::with(&text);
    let mut client = gateway.connect();
    let mut told = |fields: &str, body: &str| {
        let answer = with_fields(&mut client, fields, body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        (mark(&answer), answer.json()["choices"][0]["message"]["content"].to_string())
    };
    let (a, b) = ("Authorization: Bearer key-a\r\n", "Authorization: Bearer key-b\r\n");
    let beta = "Authorization: Bearer key-a\r\nOpenAI-Beta: x=1\r\n";
    for (number, fields) in [a, b, beta].into_iter().enumerate() {
        let text = format!("\"{number}\"");
        assert_eq!(told(fields, ASK), ("miss".to_owned(), text.clone()));
        for _ in 0..3 {
            assert_eq!(told(fields, ASK), ("hit".to_owned(), text.clone()));
        }
    }
    let fresh = "Authorization: Bearer key-a\r\nCache-Control: no-cache\r\n";
    assert_eq!(told(fresh, ASK), ("bypass".to_owned(), "\"3\"".to_owned()));
    assert_eq!(told(a, ASK), ("hit".to_owned(), "\"3\"".to_owned()));
    // The same length, one letter apart.
    assert_eq!(told(a, &ASK.replace("\"x\"", "\"y\"")).0, "miss");
    assert_eq!(asked.load(Ordering::SeqCst), 5);
    gateway.server.cache_clear();
    assert_eq!(told(a, ASK), ("miss".to_owned(), "\"5\"".to_owned()));
}

#[test]
fn no_answer_crosses_keys() {
    let (upstream, asked) = numbering();
    let keys = "[auth]\nkeys = [\"key-a\", \"key-b\"]\n";
    let gateway = Gateway::before(&upstream, keys);
    let mut client = gateway.connect();
    let mut texts = Vec::new();
    for key in ["key-a", "key-b", "key-a", "key-b"] {
        let fields = format!("Authorization: Bearer {key}\r\n");
        texts.push(with_fields(&mut client, &fields, ASK).text().to_owned());
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert_ne!(texts[0], texts[1]);
    assert_eq!((&texts[2], &texts[3]), (&texts[0], &texts[1]));
    let host = Client::of(&gateway.server);
    assert_eq!(host.chat(ASK.as_bytes()).unwrap().text, "2", "the host is one more");
}

/// `count` clients ask at once while the upstream holds its answer until all have; returns the
/// marks they were told.
fn crowd(body: &'static str, count: usize, workers: usize) -> Vec<String> {
    let all_asked = Arc::new(Barrier::new(2));
    let barrier = Arc::clone(&all_asked);
    let upstream = Upstream::start(move |peer: &mut Peer| {
        let Some((_, _)) = peer.request() else { return };
        assert_eq!(peer.number, 0, "one call serves all");
        if body == ASK {
            barrier.wait();
            peer.send(whole("shared"));
        } else {
            peer.send(format!("{STREAM_HEAD}{}", delta("one")));
            barrier.wait();
            for n in 0..20 {
                peer.send(delta(&format!("{n}")));
            }
            peer.send(stream_end());
        }
    });
    let gateway = Gateway::with_workers(&provider("up", upstream.port, ""), workers);
    let mut clients: Vec<_> = (0..count).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.post(CHAT, body);
    }
    crate::support::wait_until("all share it", || {
        gateway.cache("coalesced") + gateway.cache("hits") == count as u64 - 1
    });
    all_asked.wait();
    let mut first: Option<Vec<u8>> = None;
    let mut marks = Vec::new();
    for client in &mut clients {
        let answer = client.answer();
        assert_eq!(answer.status, 200);
        assert_eq!(*first.get_or_insert(answer.body.clone()), answer.body);
        marks.push(mark(&answer));
    }
    assert_eq!(upstream.accepted(), 1);
    marks
}

#[test]
fn two_hundred_at_once_cause_one_call() {
    for (body, workers) in [(ASK, 1), (ASK, 4), (ASK_STREAM, 1), (ASK_STREAM, 4)] {
        let marks = crowd(body, 200, workers);
        assert_eq!(marks.iter().filter(|mark| *mark == "miss").count(), 1);
        assert_eq!(marks.iter().filter(|mark| *mark == "coalesced").count(), 199);
    }
}

#[test]
fn a_slow_listener_stalls_nobody_and_the_last_who_leaves_cancels() {
    let go_on = Arc::new(Barrier::new(2));
    let barrier = Arc::clone(&go_on);
    let upstream = Upstream::start(move |peer: &mut Peer| {
        peer.request().expect("a request");
        let piece = delta(&"y".repeat(16_000));
        peer.send(STREAM_HEAD);
        for _ in 0..200 {
            peer.send(&piece);
        }
        peer.send(stream_end());
        // The second request: cancelled when both have gone.
        peer.request().expect("another request");
        peer.send(format!("{STREAM_HEAD}{}", delta("z")));
        barrier.wait();
        peer.expect_gone();
    });
    let gateway = Gateway::before(&upstream, "");
    let (mut slow, mut quick) = (gateway.connect(), gateway.connect());
    slow.receive_little().post(CHAT, ASK_STREAM);
    slow.head();
    quick.post(CHAT, ASK_STREAM);
    let answer = quick.answer();
    assert!(answer.body.len() > 3_000_000);
    assert_eq!(answer.events().last().map(String::as_str), Some("[DONE]"));

    let other = ASK_STREAM.replace("\"x\"", "\"other\"");
    let (mut one, mut two) = (gateway.connect(), gateway.connect());
    one.post(CHAT, &other);
    one.head();
    two.post(CHAT, &other);
    two.head();
    drop(one);
    assert!(two.chunk().is_some());
    drop(two);
    go_on.wait();
    gateway.wait_cancelled(1);
}

#[test]
fn bounds_hold() {
    let (upstream, asked) = numbering();
    let gateway = Gateway::before(&upstream, "[cache]\nmax_entries = 2\nwhen = \"always\"\n");
    let mut client = gateway.connect();
    for n in 0..5 {
        let body = ASK.replace("\"x\"", &format!("\"{n}\"")).replace("\"temperature\":0,", "");
        assert_eq!(mark(&client.post(CHAT, &body).answer()), "miss");
        assert_eq!(mark(&client.post(CHAT, &body).answer()), "hit");
    }
    assert!(gateway.cache("entries") <= 2);
    assert_eq!(asked.load(Ordering::SeqCst), 5);
    let gateway = Gateway::before(&upstream, "[cache]\nenable = false\n");
    let mut client = gateway.connect();
    for _ in 0..2 {
        assert_eq!(mark(&client.post(CHAT, ASK).answer()), "bypass");
    }
}
