//! What the client is told when an upstream fails, and that the next request is served.

use std::net::{Ipv4Addr, TcpListener};

use crate::support::wire::Answer;
use crate::upstream::{ASK, ASK_STREAM, GOOD, Gateway, Peer, Upstream, provider};

const CHAT: &str = "/v1/chat/completions";

/// Has the first connection run `script` after its first request; later ones answer well. The
/// gateway must give `status` and `code`, serve the next request and answer nothing twice.
fn check(
    what: &str,
    keys: &str,
    ask: &str,
    script: impl Fn(&mut Peer) + Send + Sync + 'static,
    (status, code): (u16, &str),
) -> Answer {
    eprintln!("{what}");
    let upstream = Upstream::start(move |peer| {
        if peer.number == 0 {
            peer.request().expect("a request");
            script(peer);
        } else {
            peer.answer_all(GOOD);
        }
    });
    // What follows a failure when nothing may be tried again; the rest is `routing.rs`.
    let gateway = Gateway::before(&upstream, &format!("{keys}\n[retry]\nattempts = 0\n"));
    let mut client = gateway.connect();
    let answer = client.post(CHAT, ask).answer();
    assert_eq!(answer.status, status, "{what}: {}", answer.text());
    assert_eq!(answer.json()["error"]["code"], code, "{what}");
    let next = client.post(CHAT, ASK).answer();
    assert_eq!((next.status, next.text()), (200, "{\"ok\":true}"), "{what}");
    assert_eq!(upstream.accepted(), 2, "{what}: a failed connection is not used again");
    answer
}

#[test]
fn an_answer_that_fails_before_its_body_is_a_truthful_502() {
    let reset = |peer: &mut Peer| peer.reset_on_close();
    check("reset before the head", "", ASK, reset, (502, "upstream_cut"));
    check("closed before the head", "", ASK, |_| {}, (502, "upstream_cut"));
    let within = |peer: &mut Peer| peer.send("HTTP/1.1 200 OK\r\nContent-");
    check("closed within the head", "", ASK, within, (502, "upstream_cut"));
    for (what, bytes) in [
        ("garbage", "\x16\x03\x01 what is this\r\n\r\n".to_owned()),
        ("switching protocols", "HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned()),
        ("a transfer coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n".to_owned()),
        ("another protocol", "SSH-2.0-OpenSSH_9.9\r\n\r\n".to_owned()),
        ("an oversized head", format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(70_000))),
        ("only interim answers", "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(20)),
        (
            "two lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx".to_owned(),
        ),
    ] {
        let script = move |peer: &mut Peer| {
            peer.send(&bytes);
            peer.expect_gone();
        };
        check(what, "", ASK, script, (502, "upstream_garbage"));
    }
}

#[test]
fn a_stalled_upstream_is_504() {
    for (what, keys, ask) in [
        ("total", "total_timeout = 150", ASK),
        ("first token", "first_token_timeout = 150", ASK_STREAM),
    ] {
        check(what, keys, ask, Peer::expect_gone, (504, "upstream_timeout"));
    }
}

#[test]
fn a_redirect_is_502() {
    let script = |peer: &mut Peer| {
        peer.send("HTTP/1.1 302 Found\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n");
        peer.expect_gone();
    };
    check("redirect", "", ASK, script, (502, "upstream_failed"));
}

/// One answer of the upstream with this head and body, as the client sees it.
fn answered(status: &str, fields: &str, body: &str) -> Answer {
    let bytes = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{fields}Content-Length: {}\
         \r\n\r\n{body}",
        body.len()
    );
    let upstream = Upstream::start(move |peer| peer.answer_all(bytes.as_bytes()));
    let gateway = Gateway::before(&upstream, "");
    gateway.connect().post(CHAT, ASK).answer()
}

#[test]
fn errors_of_the_upstream_come_as_the_contract_maps_them() {
    let body = r#"{"error":{"message":"its own words","type":"t","code":"c"}}"#;
    for status in ["400", "404", "413", "422", "429"] {
        let answer = answered(status, "Retry-After: 7\r\n", body);
        assert_eq!((answer.status.to_string().as_str(), answer.text()), (status, body));
        assert_eq!(answer.header("retry-after").as_deref(), Some("7"), "{status}");
    }
    for status in ["401", "403"] {
        let answer = answered(status, "", body);
        assert_eq!(answer.status, 502);
        assert_eq!(answer.json()["error"]["code"], "upstream_auth");
        assert!(!answer.text().contains("its own words"), "{}", answer.text());
    }
    for status in ["402", "500", "503", "529"] {
        let answer = answered(status, "Retry-After: 9\r\n", body);
        assert_eq!(answer.status, 502, "{status}");
        assert_eq!(answer.header("retry-after").as_deref(), Some("9"), "{status}");
    }
    let dated = answered("429", "Retry-After: Tue, 31 Dec 2199 23:59:59 GMT\r\n", body);
    assert_eq!(dated.header("retry-after").as_deref(), Some("86400"));
}

#[test]
fn of_an_error_that_cannot_be_read_the_head_counts() {
    let own = |answer: &Answer| {
        assert!(answer.json()["error"]["message"].is_string(), "{}", answer.text());
        assert_eq!(answer.header("retry-after").as_deref(), Some("4"));
    };
    for (what, length, body, stays, keys) in [
        ("cut", 100, "begun".to_owned(), false, ""),
        ("stalled", 100, "begun".to_owned(), true, "total_timeout = 150"),
        ("stalled later", 100, "begun".to_owned(), true, "idle_timeout = 150"),
        ("too large", 10 << 20, "x".repeat(1 << 20), true, ""),
    ] {
        for (status, want) in [(429, 429), (400, 400), (403, 502), (500, 502)] {
            let body = body.clone();
            let upstream = Upstream::start(move |peer| {
                peer.request().expect("a request");
                peer.send(format!(
                    "HTTP/1.1 {status} X\r\nRetry-After: 4\r\nContent-Length: {length}\r\n\r\n"
                ));
                peer.send(&body);
                if stays {
                    peer.drain();
                }
            });
            let gateway = Gateway::before(&upstream, keys);
            let answer = gateway.connect().post(CHAT, ASK).answer();
            assert_eq!(answer.status, want, "{what}: {}", answer.text());
            own(&answer);
        }
    }
}

/// What a client reads when the upstream sends `bytes` and closes: all until the gateway closes,
/// and how many answers began in it.
fn cut(bytes: &'static str, keys: &str, stays: bool) -> String {
    let upstream = Upstream::start(move |peer| {
        peer.request().expect("a request");
        peer.send(bytes);
        if stays {
            peer.expect_gone();
        }
    });
    let gateway = Gateway::before(&upstream, keys);
    let mut client = gateway.connect();
    client.send(format!(
        "POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {}\
         \r\n\r\n{ASK_STREAM}",
        ASK_STREAM.len()
    ));
    let text = String::from_utf8(client.rest()).unwrap();
    assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
    assert_eq!(upstream.accepted(), 1);
    text
}

#[test]
fn a_body_that_is_cut_ends_cut_for_the_client() {
    let text = cut("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "", false);
    assert!(text.ends_with("\r\n\r\nabc"), "{text}");
    let text = cut("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "", false);
    assert!(text.contains("abc") && !text.contains("\r\n0\r\n"), "{text}");
    let text = cut(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX",
        "[retry]\nattempts = 0",
        true,
    );
    assert!(!text.contains("\r\n0\r\n"), "{text}");
    let stalled = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc";
    for keys in ["idle_timeout = 150", "total_timeout = 150"] {
        assert!(cut(stalled, keys, true).ends_with("\r\n\r\nabc"));
    }
}

#[test]
fn a_reset_does_not_end_a_body_that_ends_with_its_connection() {
    for (reset, whole) in [(false, true), (true, false)] {
        let (sender, read) = std::sync::mpsc::channel();
        let (sender, read) = (std::sync::Mutex::new(sender), std::sync::Mutex::new(read));
        let upstream = Upstream::start(move |peer| {
            peer.request().expect("a request");
            peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nabc");
            // Only when the client has it: a reset takes along what is still on its way.
            read.lock().unwrap().recv().unwrap();
            if reset {
                peer.reset_on_close();
            }
        });
        let gateway = Gateway::before(&upstream, "");
        let mut client = gateway.connect();
        client.post(CHAT, ASK);
        assert_eq!(client.head().status, 200);
        assert_eq!(client.chunk().as_deref(), Some(&b"abc"[..]));
        sender.lock().unwrap().send(()).unwrap();
        let rest = String::from_utf8(client.take(usize::from(whole) * 5)).unwrap();
        if whole {
            assert_eq!(rest, "0\r\n\r\n");
        } else {
            assert_eq!(client.rest(), b"", "the client must see the cut");
        }
    }
}

#[test]
fn comments_are_no_token() {
    let upstream = Upstream::start(|peer| {
        peer.request().expect("a request");
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        while peer.still_takes(b": no data: yet\n\n") {}
    });
    let gateway = Gateway::before(&upstream, "first_token_timeout = 200");
    let answer = gateway.connect().post(CHAT, ASK_STREAM).answer();
    assert!(answer.text().contains("upstream_timeout"), "{}", answer.text());
    assert!(!answer.text().contains("[DONE]"));
}

#[test]
fn a_stream_that_dies_ends_with_an_error_event() {
    const BEGIN: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
        Transfer-Encoding: chunked\r\n\r\n10\r\ndata: {\"a\":1}\n\nd\r\n";
    for (keys, stays) in [("", false), ("idle_timeout = 150", true)] {
        let text = cut(BEGIN, keys, stays);
        assert!(text.contains("data: {\"a\":1}\n\n"), "{text}");
        assert!(text.contains("\"error\""), "{text}");
        assert!(!text.contains("[DONE]"), "{text}");
        assert!(text.ends_with("0\r\n\r\n"), "{text}");
    }
}

#[test]
fn a_refused_target_leads_to_the_next_and_alone_to_502() {
    let refusing = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let dead = refusing.local_addr().unwrap().port();
    drop(refusing);
    let upstream = Upstream::start(|peer| peer.answer_all(GOOD));
    let text = format!(
        "{}{}[[model]]\nname = \"both\"\ntargets = [{{ provider = \"dead\", model = \"a\" }}, \
         {{ provider = \"up\", model = \"b\" }}]\n",
        provider("dead", dead, ""),
        provider("up", upstream.port, "")
    );
    let gateway = Gateway::with(&text);
    let mut client = gateway.connect();
    let answer = client.post(CHAT, &ASK.replace("up/m", "dead/m")).answer();
    assert_eq!(answer.status, 502);
    assert_eq!(answer.json()["error"]["code"], "upstream_unreachable");
    let answer = client.post(CHAT, &ASK.replace("up/m", "both")).answer();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-neurohttp-provider").as_deref(), Some("up"));
}

#[test]
fn a_kept_connection_that_went_stale_costs_no_request() {
    let upstream = Upstream::start(|peer| {
        peer.request().expect("a request");
        peer.send(GOOD);
        if peer.number == 0 {
            // The next request is swallowed: the gateway cannot know that we had closed before.
            peer.request().expect("a second request");
            peer.reset_on_close();
        }
    });
    let gateway = Gateway::before(&upstream, "");
    let mut client = gateway.connect();
    for _ in 0..10 {
        assert_eq!(client.post(CHAT, ASK).answer().status, 200);
    }
}

#[test]
fn bytes_behind_an_answer_end_the_connection() {
    let upstream = Upstream::start(|peer| {
        peer.request().expect("a request");
        peer.send([GOOD, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"].concat());
        peer.expect_gone();
    });
    let gateway = Gateway::before(&upstream, "");
    let mut client = gateway.connect();
    for _ in 0..5 {
        assert_eq!(client.post(CHAT, ASK).answer().text(), "{\"ok\":true}");
    }
    assert_eq!(upstream.accepted(), 5);
}

#[test]
fn connections_beyond_the_cap_wait_for_a_bounded_time() {
    let upstream = Upstream::start(|peer| {
        peer.request().expect("a request");
        peer.expect_gone();
    });
    let gateway = Gateway::before(&upstream, "max_connections = 1\nconnect_timeout = 150");
    let mut first = gateway.connect();
    first.post(CHAT, ASK);
    crate::support::wait_until("the first is there", || upstream.accepted() == 1);
    let answer = gateway.connect().post(CHAT, ASK).answer();
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
    assert_eq!(upstream.accepted(), 1);
}
