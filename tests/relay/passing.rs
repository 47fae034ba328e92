//! What passes: bytes as they are, wherever they are cut; the request's head rewritten.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use crate::upstream::{ASK, ASK_STREAM, GOOD, Gateway, Upstream};

const CHAT: &str = "/v1/chat/completions";

#[test]
fn answers_pass_unchanged_wherever_they_are_cut() {
    let events = "data: {\"a\":1}\n\ndata: é\n\ndata: [DONE]\n\n";
    for (fields, whole) in [
        ("Content-Type: text/event-stream\r\n", true),
        ("Content-Type: application/json\r\n", false),
    ] {
        let mut body = String::new();
        let (one, two) = events.split_at(20);
        for part in [one, two] {
            body += &format!("{:x};ext=1\r\n{part}\r\n", part.len());
        }
        let answer = format!(
            "HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n{body}0\r\nX-T: 1\r\n\r\n"
        );
        let total = answer.len();
        let next = Mutex::new(0);
        let upstream = Upstream::start(move |peer| {
            while peer.request().is_some() {
                let mut cut = next.lock().unwrap();
                *cut += 1;
                let (one, two) = answer.as_bytes().split_at(*cut);
                peer.send(one);
                // The cut must be seen as two reads: the kernel may not join them.
                std::thread::sleep(std::time::Duration::from_millis(1));
                peer.send(two);
            }
        });
        let gateway = Gateway::before(&upstream, "");
        let mut client = gateway.connect();
        for cut in 1..=total {
            let answer = client.post(CHAT, if whole { ASK_STREAM } else { ASK }).answer();
            assert_eq!(answer.status, 200, "cut at {cut}");
            assert_eq!(answer.text(), events, "cut at {cut}");
        }
        assert_eq!(upstream.accepted(), 1, "one connection serves them all");
    }
}

#[test]
fn the_request_is_ours_on_its_second_hop() {
    let (sender, seen) = channel();
    let sender = Mutex::new(sender);
    let upstream = Upstream::start(move |peer| {
        while let Some(request) = peer.request() {
            sender.lock().unwrap().send(request).unwrap();
            peer.send(GOOD);
        }
    });
    let gateway = Gateway::before(
        &upstream,
        "[[model]]\nname = \"fast\"\ntargets = [{ provider = \"up\", model = \"big-1\" }]",
    );
    let mut client = gateway.connect();
    let body = "{ \"model\" : \"fast\", \"messages\":[], \"x\": 1e5 }";
    client.send(format!(
        "POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer theirs\r\n\
         x-api-key: theirs\r\nCookie: theirs\r\nConnection: X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\n\
         OpenAI-Beta: kept\r\nx-request-id: abc-1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert_eq!(client.answer().status, 200);
    let (head, sent) = seen.recv().unwrap();
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("authorization: bearer sk-ours\r\n"), "{head}");
    assert!(head.contains("x-request-id: abc-1\r\n"), "{head}");
    assert!(head.contains("OpenAI-Beta: kept\r\n"), "{head}");
    let lower = head.to_ascii_lowercase();
    for absent in ["theirs", "x-hop", "\r\nte:", "x-api-key", "cookie"] {
        assert!(!lower.contains(absent), "{absent} in {head}");
    }
    assert_eq!(sent, body.replace("fast", "big-1").as_bytes());
    for path in ["/v1/embeddings", "/v1/completions"] {
        let body = r#"{"model":"up/m","input":"x","prompt":"x"}"#;
        assert_eq!(client.post(path, body).answer().status, 200);
        let (head, sent) = seen.recv().unwrap();
        assert!(head.starts_with(&format!("POST {path} ")), "{head}");
        assert_eq!(sent, body.replace("up/m", "m").as_bytes());
    }
    let answer = client.post(CHAT, &ASK.replace("up/m", "nobody")).answer();
    assert_eq!(answer.status, 404);
    assert_eq!(answer.json()["error"]["code"], "model_not_found");
}

#[test]
fn a_body_of_32_mib_passes_and_more_does_not() {
    let upstream = Upstream::start(|peer| {
        while let Some((_, body)) = peer.request() {
            let text = body.len().to_string();
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
        }
    });
    let gateway = Gateway::before(&upstream, "");
    let frame = r#"{"model":"up/m","pad":""}"#;
    let pad = "x".repeat(32 * 1024 * 1024 - frame.len());
    let body = frame.replace("\"\"}", &format!("\"{pad}\"}}"));
    let answer = gateway.connect().post(CHAT, &body).answer();
    assert_eq!(answer.text(), (body.len() - "up/".len()).to_string());
    let mut client = gateway.connect();
    client.send(format!(
        "POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 33554433\r\n\r\n"
    ));
    assert_eq!(client.answer().status, 413);
}

#[test]
fn interim_answers_and_trailers_stay_on_their_hop() {
    let upstream = Upstream::start(|peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n");
            peer.send("\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nTrailer: X-Sum\r\n");
            peer.send("Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n");
        }
    });
    let gateway = Gateway::before(&upstream, "");
    let mut client = gateway.connect();
    for _ in 0..3 {
        let answer = client.post(CHAT, ASK).answer();
        assert_eq!((answer.status, answer.text()), (200, "ok"));
        assert_eq!(answer.header("trailer"), None);
    }
    assert_eq!(upstream.accepted(), 1);
}

#[test]
fn an_answer_that_comes_before_the_request_is_out_passes() {
    let (answered, has_answer) = std::sync::mpsc::channel();
    let has_answer = std::sync::Mutex::new(has_answer);
    let upstream = Upstream::start(move |peer| {
        // The head is enough to say no. What follows is not read before the client has its answer.
        peer.head().expect("a request");
        peer.send("HTTP/1.1 413 X\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n");
        peer.send("{\"error\":\"large\"");
        has_answer.lock().unwrap().recv().unwrap();
        peer.drain();
    });
    let gateway = Gateway::before(&upstream, "");
    let mut client = gateway.connect();
    let large = ASK.replace("\"x\"", &format!("\"{}\"", "x".repeat(16 << 20)));
    for count in 1..3 {
        let answer = client.post(CHAT, &large).answer();
        assert_eq!((answer.status, answer.text()), (413, "{\"error\":\"large\""));
        answered.send(()).unwrap();
        assert_eq!(upstream.accepted(), count, "half a request is out on it: not used again");
    }
}
