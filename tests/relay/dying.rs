//! Providers that die at each moment of an answer, as clients of each dialect see it; and what they
//! say of their limits.

use crate::support::wire::Answer;
use crate::upstream::{ASK, ASK_STREAM, GOOD, Gateway, Peer, Upstream, provider};

const CHAT: &str = "/v1/chat/completions";
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Transfer-Encoding: chunked\r\n\r\n";

fn chunk(event: &str) -> String {
    format!("{:x}\r\n{event}\r\n", event.len())
}

fn delta(text: &str, finish: &str) -> String {
    format!(
        "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\
         \"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":{finish}}}]}}\
         \n\n"
    )
}

/// A gateway before an upstream that runs `script` for its first request and answers the others well.
fn before(keys: &str, script: impl Fn(&mut Peer) + Send + Sync + 'static) -> (Upstream, Gateway) {
    let upstream = Upstream::start(move |peer| {
        if peer.number == 0 {
            script(peer);
        } else {
            peer.answer_all(GOOD);
        }
    });
    // A kind that has chat alone: the other dialects are translated.
    let text = provider("up", upstream.port, &format!("{keys}\n[retry]\nattempts = 0\n"));
    let gateway = Gateway::with(&text.replace("\"openai\"", "\"deepseek\""));
    (upstream, gateway)
}

/// What clients of three dialects ask, and how an error looks in the streams of theirs.
const DIALECTS: [(&str, &str, &str, &str); 3] = [
    (CHAT, ASK_STREAM, "data: {\"error\":{", "[DONE]"),
    (
        "/v1/messages",
        r#"{"model":"up/m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"x"}]}"#,
        "event: error\ndata: {\"type\":\"error\",\"error\":{",
        "message_stop",
    ),
    (
        "/v1/responses",
        r#"{"model":"up/m","stream":true,"store":false,"input":"x"}"#,
        "event: response.failed\n",
        "response.completed",
    ),
];

/// Wrong: an error behind the success mark, or a success that counts as a failure.
#[test]
fn who_dies_behind_the_success_mark_has_answered() {
    type End = fn(&mut Peer);
    let ends: [(&str, End); 3] = [
        ("closes", |_| {}),
        ("stalls", |peer| peer.expect_gone()),
        ("closes within the last chunk", |peer| peer.send("0\r")),
    ];
    for (what, end) in ends {
        for (path, body, _, mark) in DIALECTS {
            let (_upstream, gateway) = before("idle_timeout = 150", move |peer| {
                peer.request().expect("a request");
                let all = chunk(&delta("a", "null")) + &chunk(&delta("", "\"stop\""));
                peer.send(HEAD.to_owned() + &all + &chunk("data: [DONE]\n\n"));
                end(peer);
            });
            let answer = gateway.connect().post(path, body).answer();
            let text = answer.text();
            assert!(text.contains(mark) && !text.contains("error\":{"), "{what} {path}: {text}");
            assert_eq!(gateway.calls("failed"), 0, "{what} {path}");
        }
    }
}

/// Wrong: half an event, a success mark, or no word about what happened.
#[test]
fn who_dies_within_a_stream_is_told_in_the_dialects_own_words() {
    type End = fn(&mut Peer);
    let begun = chunk(&delta("a", "null"));
    let half = delta("half", "null")[..60].to_owned();
    let endings: [(&str, String, End); 5] = [
        ("closes between two events", String::new(), |_| {}),
        ("closes within an event", chunk(&half), |_| {}),
        ("closes within a chunk", format!("{:x}\r\n{half}", half.len() + 9), |_| {}),
        ("stalls", chunk(&half), |peer| peer.expect_gone()),
        (
            "says so itself",
            chunk("data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\"}}\n\n"),
            |peer| peer.expect_gone(),
        ),
    ];
    for (what, rest, end) in endings {
        for (path, body, error, mark) in DIALECTS {
            // What passes unread ends as its provider says: nobody adds to its own error.
            if what == "says so itself" && path == CHAT {
                continue;
            }
            let bytes = HEAD.to_owned() + &begun + &rest;
            let (_upstream, gateway) = before("idle_timeout = 150", move |peer| {
                peer.request().expect("a request");
                peer.send(&bytes);
                end(peer);
            });
            let answer = gateway.connect().post(path, body).answer();
            let text = answer.text();
            assert_eq!(answer.status, 200, "{what} {path}: {text}");
            assert!(text.contains(error), "{what} {path}: {text}");
            assert!(!text.contains(mark) && !text.contains("half"), "{what} {path}: {text}");
            assert_eq!(gateway.calls("failed"), 1, "{what} {path}");
        }
    }
}

/// An error answer with these fields and this body.
fn refused(status: u16, fields: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{fields}Content-Length: {}\
         \r\n\r\n{body}",
        body.len()
    )
}

fn told(answer: &Answer) -> (u16, Option<String>) {
    (answer.status, answer.header("retry-after"))
}

/// Wrong: a provider that says in its own way how long to wait is asked again at once, and its
/// clients are not told.
#[test]
fn limits_are_read_in_the_words_of_each_provider() {
    for (fields, body, wait) in [
        ("retry-after-ms: 20500\r\nRetry-After: 99\r\n", "{}", "21"),
        ("Retry-After: 20.5\r\n", "{}", "21"),
        ("x-ratelimit-remaining-tokens: 0\r\nx-ratelimit-reset-tokens: 6m0s\r\n", "{}", "360"),
        (
            "anthropic-ratelimit-requests-remaining: 0\r\n\
             anthropic-ratelimit-requests-reset: 2199-12-31T00:00:00Z\r\n",
            "{}",
            "86400",
        ),
        (
            "",
            r#"{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[
                {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"36s"}]}}"#,
            "36",
        ),
    ] {
        let first = refused(429, fields, body);
        let (limited, good) = (
            Upstream::start(move |peer| peer.answer_all(first.as_bytes())),
            Upstream::start(|peer| peer.answer_all(GOOD)),
        );
        let text = provider("limited", limited.port, "")
            + &provider("good", good.port, "")
            + "[[model]]\nname = \"m\"\ntargets = [{ provider = \"limited\", model = \"x\" }, \
               { provider = \"good\", model = \"x\" }]\n";
        let gateway = Gateway::with(&text);
        let mut client = gateway.connect();
        let answer = client.post(CHAT, &ASK.replace("up/m", "limited/x")).answer();
        assert_eq!(told(&answer), (429, Some(wait.to_owned())), "{fields}{body}");
        let asked = ASK.replace("up/m", "m");
        for _ in 0..3 {
            let answer = client.post(CHAT, &asked).answer();
            assert_eq!(answer.header("x-neurohttp-provider").as_deref(), Some("good"), "{fields}");
        }
        assert_eq!(gateway.calls("retries"), 1, "it rests after it was met once: {fields}{body}");
    }
}

/// Wrong: a request that the first target's format has no place for is refused although another
/// target could serve it; or a failure is told as one.
#[test]
fn targets_that_cannot_be_asked_are_passed_over() {
    let good = Upstream::start(|peer| peer.answer_all(GOOD));
    let failing = Upstream::start(|peer| peer.answer_all(refused(500, "", "{}").as_bytes()));
    let other = provider("other", 9, "").replace("\"openai\"", "\"anthropic\"");
    let model = |first: &str, second: &str| {
        format!(
            "[retry]\nbackoff = 1\n[[model]]\nname = \"m\"\ntargets = [{{ provider = \"{first}\", \
             model = \"x\" }}, {{ provider = \"{second}\", model = \"x\" }}]\n"
        )
    };
    let several = ASK.replace("{\"model\":\"up/m\"", "{\"n\":2,\"model\":\"m\"");
    let text = provider("up", good.port, "") + &other + &model("other", "up");
    let answer = Gateway::with(&text).connect().post(CHAT, &several).answer();
    assert_eq!((answer.status, answer.text()), (200, "{\"ok\":true}"));

    let text = provider("up", failing.port, "") + &other + &model("up", "other");
    let answer = Gateway::with(&text).connect().post(CHAT, &several).answer();
    assert_eq!(answer.status, 502, "{}", answer.text());
    let text = other + &model("other", "other");
    let answer = Gateway::with(&text).connect().post(CHAT, &several).answer();
    assert_eq!((answer.status, answer.json()["error"]["param"].as_str()), (400, Some("n")));
}

/// Wrong: clients of Anthropic, and of OpenAI's newer names, whose prompts warm every cache but the
/// one they meet.
#[test]
fn the_same_user_meets_the_same_target_whatever_it_is_called() {
    let upstreams: Vec<_> = (0..4).map(|_| Upstream::start(|peer| peer.answer_all(GOOD))).collect();
    let mut text = String::new();
    let mut targets = Vec::new();
    for (index, upstream) in upstreams.iter().enumerate() {
        text += &provider(&format!("p{index}"), upstream.port, "");
        targets.push(format!("{{ provider = \"p{index}\", model = \"x\" }}"));
    }
    text += &format!(
        "[[model]]\nname = \"m\"\nstrategy = \"hash\"\ntargets = [{}]\n",
        targets.join(", ")
    );
    let gateway = Gateway::with(&text);
    let mut client = gateway.connect();
    for member in [
        "\"user\":\"USER\"",
        "\"prompt_cache_key\":\"USER\"",
        "\"safety_identifier\":\"USER\"",
        "\"metadata\":{\"user_id\":\"USER\"}",
    ] {
        let mut seen = std::collections::BTreeSet::new();
        for user in 0..16 {
            let member = member.replace("USER", &format!("someone-{user}"));
            let body = ASK.replace("{\"model\":\"up/m\"", &format!("{{{member},\"model\":\"m\""));
            let mut of = || client.post(CHAT, &body).answer().header("x-neurohttp-provider");
            let first = of();
            assert!((0..4).all(|_| of() == first), "{member}");
            seen.insert(first);
        }
        assert!(seen.len() >= 3, "sixteen users on few targets: {seen:?}");
    }
}
