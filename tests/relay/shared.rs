//! Answers that many share, when those who share them leave, fail or are not who they seem.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use crate::cache::{
    ASK, ASK_STREAM, CHAT, STREAM_HEAD, delta, mark, stream_end, whole, with_fields,
};
use crate::support::wait_until;
use crate::support::wire::{Answer, Connection};
use crate::upstream::{Gateway, Peer, Upstream, provider};

/// An upstream that answers each request by its number when the test says so. False: its connection
/// ends then.
fn on_command(
    script: impl Fn(&mut Peer, usize) -> bool + Send + Sync + 'static,
) -> (Upstream, std::sync::mpsc::Sender<()>, Arc<AtomicUsize>) {
    let (go, wait) = channel();
    let wait = Mutex::new(wait);
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let upstream = Upstream::start(move |peer| {
        while peer.request().is_some() {
            let number = counter.fetch_add(1, Ordering::SeqCst);
            if wait.lock().unwrap().recv().is_err() || !script(peer, number) {
                return;
            }
        }
    });
    (upstream, go, asked)
}

/// So many clients that share one answer in the making, on four workers.
fn crowd(gateway: &Gateway, count: usize, body: &str) -> Vec<Connection> {
    let before = gateway.cache("coalesced");
    let led = gateway.cache("misses") + 1;
    let mut clients: Vec<_> = (0..count).map(|_| gateway.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.post(CHAT, body);
        if number == 0 {
            wait_until("it is made for the first", || gateway.cache("misses") == led);
        }
    }
    let all = before + count as u64 - 1;
    wait_until("all share it", || gateway.cache("coalesced") == all);
    clients
}

/// Wrong: the request that an answer is made for takes it along when its client goes, or nobody
/// counts what it took.
#[test]
fn whoever_leaves_the_others_have_the_whole_answer() {
    for body in [ASK, ASK_STREAM] {
        let is_stream = body == ASK_STREAM;
        let (upstream, go, asked) = on_command(move |peer, _| {
            if !is_stream {
                peer.send(whole("all of it"));
                return true;
            }
            peer.send(format!("{STREAM_HEAD}{}", delta("all of it")));
            for number in 0..50 {
                peer.send(delta(&format!(" {number}")));
            }
            peer.send(stream_end());
            true
        });
        let gateway = Gateway::with_workers(&provider("up", upstream.port, ""), 4);
        let mut clients = crowd(&gateway, 40, body);
        // Every other one leaves, the first, for which it is made, among them.
        let mut number = 0;
        clients.retain(|_| {
            number += 1;
            number % 2 == 0
        });
        wait_until("they have gone", || {
            let stats: serde_json::Value =
                serde_json::from_str(&gateway.server.stats_json()).unwrap();
            let workers = stats["workers"].as_array().unwrap();
            let open = workers.iter().map(|it| it["connections"].as_u64().unwrap()).sum::<u64>();
            open == 20
        });
        go.send(()).unwrap();
        let answers: Vec<Answer> = clients.iter_mut().map(Connection::answer).collect();
        for answer in &answers {
            assert_eq!((answer.status, mark(answer).as_str()), (200, "coalesced"));
            assert_eq!(answer.body, answers[0].body);
            if is_stream {
                assert_eq!(answer.events().last().map(String::as_str), Some("[DONE]"));
                assert_eq!(answer.events().len(), 53);
            }
        }
        assert_eq!((asked.load(Ordering::SeqCst), gateway.calls("cancelled")), (1, 0));
        // It is kept like any other.
        assert_eq!(mark(&gateway.connect().post(CHAT, body).answer()), "hit");
        if !is_stream {
            assert_eq!(gateway.calls("completion_tokens"), 2, "counted once");
        }
    }
}

/// Wrong: a failure is told to one of many, is asked for by each of them again, or is kept.
#[test]
fn a_failure_is_everybodys_and_the_next_asks_anew() {
    let (upstream, go, asked) = on_command(|peer, number| {
        match number {
            0 => peer.send("HTTP/1.1 500 X\r\nContent-Length: 2\r\n\r\n{}"),
            1 => peer.send("HTTP/1.1 429 X\r\nRetry-After: 30\r\nContent-Length: 2\r\n\r\n{}"),
            2 => peer.send("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"cut"),
            3 => peer.send(format!("{STREAM_HEAD}{}0\r\n\r\n", delta("no mark"))),
            _ => peer.send(whole("good")),
        }
        number != 2
    });
    let text =
        provider("up", upstream.port, "") + "[retry]\nattempts = 0\n[breaker]\nfailures = 0\n";
    let gateway = Gateway::with_workers(&text, 4);
    for (number, body) in [ASK, ASK, ASK, ASK_STREAM].into_iter().enumerate() {
        let mut clients = crowd(&gateway, 30, body);
        go.send(()).unwrap();
        for client in &mut clients {
            if number == 2 {
                let bytes = client.rest_or_reset();
                assert!(bytes.starts_with(b"HTTP/1.1 200") && bytes.ends_with(b"{\"cut"));
                continue;
            }
            let answer = client.answer();
            assert_eq!(answer.status, [502, 429, 200, 200][number], "{}", answer.text());
            if number == 3 {
                assert_eq!(answer.events().len(), 1, "what came, and no mark of an end");
            }
        }
        assert_eq!(asked.load(Ordering::SeqCst), number + 1, "one call for all");
    }
    go.send(()).unwrap();
    let mut client = gateway.connect();
    for want in ["miss", "hit"] {
        let answer = client.post(CHAT, ASK).answer();
        assert_eq!((answer.status, mark(&answer).as_str()), (200, want));
    }
}

/// Wrong: an answer made for one key reaches another, whoever asks first, in whatever dialect, at the
/// same time or later; or a key gets from the cache what it may not ask for.
#[test]
fn keys_share_nothing_however_they_ask() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let upstream = Upstream::start(move |peer| {
        while let Some((_, body)) = peer.request() {
            let number = counter.fetch_add(1, Ordering::SeqCst);
            let is_stream = String::from_utf8_lossy(&body).contains("\"stream\":true");
            match is_stream {
                true => peer.send(format!(
                    "{STREAM_HEAD}{}{}",
                    delta(&number.to_string()),
                    stream_end()
                )),
                false => peer.send(whole(&number.to_string())),
            }
        }
    });
    let text = provider("up", upstream.port, "")
        + "[[model]]\nname = \"m\"\naliases = [\"alias\"]\n\
           targets = [{ provider = \"up\", model = \"m\" }]\n[auth]\nkeys = [\"key-a\", \"key-b\"]\n\
           [[key]]\nname = \"narrow\"\nkey = \"key-c\"\nmodels = [\"another\"]\n";
    let gateway = Gateway::with_workers(&text, 4);
    let openai = r#"{"model":"m","max_tokens":9,"temperature":0,"messages":[{"role":"user","content":"x"}]}"#;
    let post = |path: &str, fields: &str, body: &str| {
        let mut client = gateway.connect();
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\n{fields}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        client.answer()
    };
    let said = |answer: &Answer| {
        let json = answer.json();
        let openai = json["choices"][0]["message"]["content"].as_str();
        openai.or_else(|| json["content"][0]["text"].as_str()).unwrap_or_default().to_owned()
    };
    // All at once, two keys in turn.
    let texts: Vec<(usize, String)> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..40)
            .map(|number| {
                scope.spawn(move || {
                    let key = ["key-a", "key-b"][number % 2];
                    let fields = format!("Authorization: Bearer {key}\r\n");
                    (number % 2, said(&post(CHAT, &fields, openai)))
                })
            })
            .collect();
        all.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let of = |key: usize| -> HashSet<&str> {
        texts.iter().filter(|(k, _)| *k == key).map(|(_, text)| text.as_str()).collect()
    };
    assert_eq!((of(0).len(), of(1).len(), asked.load(Ordering::SeqCst)), (1, 1, 2));
    assert!(of(0).is_disjoint(&of(1)));
    // The same key in the other way to show it, by an alias and in the other dialect.
    for (path, body) in [
        (CHAT, openai.to_owned()),
        (CHAT, openai.replace("\"m\"", "\"alias\"")),
        ("/v1/messages", openai.to_owned()),
    ] {
        for (key, place) in [("key-a", 0), ("key-b", 1)] {
            for fields in
                [format!("x-api-key: {key}\r\n"), format!("Authorization: bearer {key}\r\n")]
            {
                let answer = post(path, &fields, &body);
                assert_eq!((answer.status, mark(&answer).as_str()), (200, "hit"), "{path}");
                assert!(of(place).contains(said(&answer).as_str()), "{path} {key}");
            }
        }
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    // What is kept is of no use to who may not ask.
    assert_eq!(post(CHAT, "x-api-key: key-c\r\n", openai).status, 403);
    assert_eq!(post(CHAT, "x-api-key: key-d\r\n", openai).status, 401);
    assert_eq!(post(CHAT, "", openai).status, 401);
}

/// Wrong: requests that differ in what changes an answer share one.
#[test]
fn whatever_changes_an_answer_has_its_own() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let upstream = Upstream::start(move |peer| {
        while peer.request().is_some() {
            peer.send(whole(&counter.fetch_add(1, Ordering::SeqCst).to_string()));
        }
    });
    let text = provider("up", upstream.port, "") + "[cache]\nwhen = \"always\"\n";
    let gateway = Gateway::with(&text);
    let mut client = gateway.connect();
    let bare = r#"{"model":"up/m","messages":[{"role":"user","content":"x"}]}"#;
    let members = [
        "",
        "\"n\":2,",
        "\"n\":3,",
        "\"temperature\":0,",
        "\"temperature\":1,",
        "\"top_p\":0.5,",
        "\"seed\":1,",
        "\"seed\":2,",
        "\"seed\":-1,",
        "\"user\":\"a\",",
        "\"user\":\"b\",",
        "\"max_tokens\":5,",
        "\"stop\":\"x\",",
        "\"stop\":[\"x\",\"y\"],",
        "\"logprobs\":true,",
        "\"logit_bias\":{\"5\":1},",
        "\"presence_penalty\":1,",
        "\"service_tier\":\"flex\",",
        "\"response_format\":{\"type\":\"json_object\"},",
        "\"tools\":[],",
        "\"metadata\":{\"a\":\"b\"},",
        "\"reasoning_effort\":\"low\",",
        "\"modalities\":[\"text\"],",
        "\"prompt_cache_key\":\"k\",",
        "\"store\":true,",
        "\"unheard_of\":1,",
    ];
    for (count, member) in members.iter().enumerate() {
        let body = bare.replacen('{', &format!("{{{member}"), 1);
        let first = client.post(CHAT, &body).answer();
        assert_eq!(
            (mark(&first).as_str(), asked.load(Ordering::SeqCst)),
            ("miss", count + 1),
            "{body}"
        );
        assert_eq!(mark(&client.post(CHAT, &body).answer()), "hit", "{body}");
    }
    let fields = [
        "OpenAI-Beta: a=1\r\n",
        "OpenAI-Beta: a=2\r\n",
        "openai-organization: o\r\n",
        "OpenAI-Project: p\r\n",
        "anthropic-beta: b\r\n",
    ];
    for field in fields {
        for want in ["miss", "hit"] {
            assert_eq!(mark(&with_fields(&mut client, field, bare)), want, "{field}");
        }
    }
}
