//! Keys with limits of their own, what is counted of models, and what models can do.

use std::sync::{Arc, Barrier, Mutex};

use crate::support::wire::{Answer, Connection};
use crate::upstream::{Gateway, Upstream, provider};

const CHAT: &str = "/v1/chat/completions";
const ASK: &str = r#"{"model":"up/m","messages":[{"role":"user","content":"x"}]}"#;

/// An answer that took so many tokens.
fn took(prompt: u64, completion: u64) -> String {
    let body = format!(
        "{{\"choices\":[],\"usage\":{{\"prompt_tokens\":{prompt},\
         \"completion_tokens\":{completion},\"total_tokens\":{}}}}}",
        prompt + completion
    );
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn key(name: &str, lines: &str) -> String {
    format!("[[key]]\nname = \"{name}\"\nkey = \"key-{name}\"\n{lines}\n")
}

fn ask_as(client: &mut Connection, key: &str, body: &str) -> Answer {
    client.send(format!(
        "POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nx-api-key: key-{key}\r\nContent-Length: {}\
         \r\n\r\n{body}",
        body.len()
    ));
    client.answer()
}

fn get_as(client: &mut Connection, key: &str, path: &str) -> Answer {
    client.send(format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer key-{key}\r\n\r\n"
    ));
    client.answer()
}

fn expect_limit(answer: &Answer, seconds: std::ops::RangeInclusive<u64>) {
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert_eq!(answer.json()["error"]["code"], "rate_limit_exceeded");
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!(seconds.contains(&wait), "{wait}");
}

#[test]
fn requests_of_a_minute_are_limited_key_by_key() {
    let upstream = Upstream::start(|peer| peer.answer_all(took(1, 2).as_bytes()));
    let text = provider("up", upstream.port, "")
        + &key("a", "requests_per_minute = 2")
        + &key("b", "")
        + "[auth]\nkeys = [\"key-c\"]\n";
    let gateway = Gateway::with(&text);
    let mut client = gateway.connect();
    for want in [200, 200] {
        assert_eq!(ask_as(&mut client, "a", ASK).status, want);
        assert_eq!(get_as(&mut client, "a", "/v1/models").status, 200, "not a request to a model");
    }
    expect_limit(&ask_as(&mut client, "a", ASK), 29..=30);
    for other in ["b", "c", "b"] {
        assert_eq!(ask_as(&mut client, other, ASK).status, 200);
    }
    assert_eq!(ask_as(&mut client, "nobody", ASK).status, 401);
    let stats = gateway.connect().get("/stats").answer();
    assert!(!stats.text().contains("key-") && !stats.text().contains("\"a\""), "{}", stats.text());
}

#[test]
fn tokens_of_a_minute_are_those_the_provider_tells() {
    let upstream = Upstream::start(|peer| peer.answer_all(took(5, 295).as_bytes()));
    let text =
        provider("up", upstream.port, "") + &key("a", "tokens_per_minute = 600") + &key("b", "");
    let gateway = Gateway::with(&text);
    let mut client = gateway.connect();
    for _ in 0..2 {
        assert_eq!(ask_as(&mut client, "a", ASK).status, 200);
    }
    // 600 are used; 15 more (what the message counts) come back in one or two seconds.
    expect_limit(&ask_as(&mut client, "a", ASK), 1..=2);
    let long = ASK.replace("\"x\"", &format!("\"{}\"", "word ".repeat(800)));
    expect_limit(&ask_as(&mut client, "a", &long), 60..=60);
    assert_eq!(ask_as(&mut client, "b", &long).status, 200);
}

/// Wrong: requests that wait for their answers hold a token for each byte, so that few of them
/// seem to be all that a key may use; or failures that cost tokens.
#[test]
fn requests_under_way_hold_about_their_tokens() {
    const COUNT: usize = 8;
    let all_asked = Arc::new(Barrier::new(COUNT));
    let barrier = Arc::clone(&all_asked);
    let upstream = Upstream::start(move |peer| {
        peer.request().expect("a request");
        barrier.wait();
        if peer.number < COUNT {
            peer.send("HTTP/1.1 400 X\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
        } else {
            peer.send(took(600, 10).replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
        }
    });
    let text = provider("up", upstream.port, "") + &key("a", "tokens_per_minute = 6000");
    let gateway = Gateway::with(&text);
    // 600 words: 3000 bytes.
    let body = ASK.replace("\"x\"", &format!("\"{}\"", "word ".repeat(600)));
    for want in [400, 200] {
        std::thread::scope(|scope| {
            for _ in 0..COUNT {
                let (gateway, body) = (&gateway, &body);
                scope.spawn(move || {
                    assert_eq!(ask_as(&mut gateway.connect(), "a", body).status, want);
                });
            }
        });
    }
    assert_eq!(upstream.accepted(), 2 * COUNT);
    // Of 6000 about 1100 are left.
    assert_eq!(
        ask_as(
            &mut gateway.connect(),
            "a",
            &ASK.replace("\"x\"", &format!("\"{}\"", "word ".repeat(2_000)))
        )
        .status,
        429
    );
}

#[test]
fn a_stream_of_a_limited_key_tells_its_usage_to_us_alone() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let bodies = Arc::clone(&seen);
    let upstream = Upstream::start(move |peer| {
        while let Some((_, body)) = peer.request() {
            bodies.lock().unwrap().push(String::from_utf8(body).unwrap());
            let events = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":null}\n\n\
                data: {\"choices\":[],\"usage\":{\"prompt_tokens\":400,\"completion_tokens\":200,\
                \"total_tokens\":600}}\n\ndata: [DONE]\n\n";
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\
                 \r\n\r\n{events}",
                events.len()
            ));
        }
    });
    let text =
        provider("up", upstream.port, "") + &key("a", "tokens_per_minute = 600") + &key("b", "");
    let gateway = Gateway::with(&text);
    let mut client = gateway.connect();
    let body = ASK.replace("{\"model\"", "{\"stream\":true,\"model\"");
    let answer = ask_as(&mut client, "a", &body);
    assert_eq!(answer.events().len(), 2, "{}", answer.text());
    expect_limit(&ask_as(&mut client, "a", &body), 1..=9);
    let answer = ask_as(&mut client, "b", &body);
    assert_eq!(answer.events().len(), 3, "without a limit nothing is changed");
    let seen = seen.lock().unwrap();
    assert!(seen[0].contains("\"include_usage\":true"), "{}", seen[0]);
    assert!(!seen[1].contains("include_usage"), "{}", seen[1]);
}

#[test]
fn a_key_sees_and_uses_its_models_only() {
    let upstream = Upstream::start(|peer| peer.answer_all(took(1, 1).as_bytes()));
    let mut text =
        provider("up", upstream.port, "") + &key("a", "models = [\"one\"]") + &key("b", "");
    for name in ["one", "two"] {
        text += &format!(
            "[[model]]\nname = \"{name}\"\naliases = [\"{name}-alias\"]\n\
             targets = [{{ provider = \"up\", model = \"x\" }}]\n"
        );
    }
    let gateway = Gateway::with(&text);
    let mut client = gateway.connect();
    let names = |answer: &Answer| -> Vec<String> {
        let list = answer.json()["data"].as_array().unwrap().clone();
        list.iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&get_as(&mut client, "a", "/v1/models")), ["one"]);
    assert_eq!(names(&get_as(&mut client, "b", "/v1/models")), ["one", "two", "echo"]);
    for (key, model, want) in [
        ("a", "one", 200),
        ("a", "one-alias", 200),
        ("a", "two", 403),
        ("a", "up/x", 403),
        ("b", "two-alias", 200),
    ] {
        let answer = ask_as(&mut client, key, &ASK.replace("up/m", model));
        assert_eq!(answer.status, want, "{key} {model}");
    }
    assert_eq!(get_as(&mut client, "a", "/v1/models/one-alias").status, 200);
    assert_eq!(get_as(&mut client, "a", "/v1/models/two").status, 404);
    assert_eq!(get_as(&mut client, "b", "/v1/models/two").status, 200);
}

#[test]
fn each_model_is_counted() {
    let upstream = Upstream::start(|peer| {
        while peer.request().is_some() {
            if peer.number == 0 {
                peer.send(took(10, 20));
            } else {
                peer.send("HTTP/1.1 400 X\r\nContent-Length: 2\r\n\r\n{}");
            }
        }
    });
    let text = provider("up", upstream.port, "")
        + "[[model]]\nname = \"counted\"\ntargets = [{ provider = \"up\", model = \"x\" }]\n";
    let gateway = Gateway::with(&text);
    let mut client = gateway.connect();
    let body = ASK.replace("up/m", "counted");
    for _ in 0..3 {
        assert_eq!(client.post(CHAT, &body).answer().status, 200);
    }
    client.post(CHAT, ASK).answer();
    let stats: serde_json::Value = serde_json::from_str(&gateway.server.stats_json()).unwrap();
    let counted = &stats["models"]["counted"];
    assert_eq!(counted["requests"], 3, "{stats}");
    assert_eq!(counted["prompt_tokens"], 30);
    assert_eq!(counted["completion_tokens"], 60);
    assert_eq!(counted["latency_ms"]["count"], 3);
    assert_eq!(counted["first_token_ms"]["count"], 3);
    assert!(counted["latency_ms"]["p50"].as_f64().unwrap() > 0.0);
    assert_eq!(stats["models"]["up/*"]["requests"], 1);
    assert!(stats["models"].get("echo").is_none(), "who was not asked is not listed");
}

#[test]
fn a_request_goes_where_it_can_be_served() {
    let plain = Upstream::start(|peer| peer.answer_all(took(1, 1).as_bytes()));
    let able = Upstream::start(|peer| peer.answer_all(took(2, 2).as_bytes()));
    let text = provider("plain", plain.port, "")
        + &provider("able", able.port, "")
        + "[[model]]\nname = \"m\"\ntargets = [\
           { provider = \"plain\", model = \"x\", capabilities = [\"json_schema\"], \
             context_length = 100 },\
           { provider = \"able\", model = \"x\", capabilities = [\"tools\", \"vision\"], \
             context_length = 1000 }]\n";
    let gateway = Gateway::with(&text);
    let mut client = gateway.connect();
    let mut ask = |more: &str, content: &str| {
        let body = format!(
            "{{\"model\":\"m\",{more}\"messages\":[{{\"role\":\"user\",\"content\":{content}}}]}}"
        );
        client.post(CHAT, &body).answer()
    };
    let tools = r#""tools":[{"type":"function","function":{"name":"f"}}],"#;
    let schema =
        r#""response_format":{"type":"json_schema","json_schema":{"name":"s","schema":{}}},"#;
    let image = r#"[{"type":"image_url","image_url":{"url":"https://x/y.png"}}]"#;
    let long = format!("\"{}\"", "word ".repeat(200));
    let longer = format!("\"{}\"", "word ".repeat(1200));
    for (more, content, want) in [
        ("", "\"x\"", "plain"),
        (tools, "\"x\"", "able"),
        ("", image, "able"),
        (schema, "\"x\"", "plain"),
        ("", long.as_str(), "able"),
        ("\"max_tokens\":90,", "\"x\"", "plain"),
        ("\"max_tokens\":900,", "\"x\"", "able"),
    ] {
        let answer = ask(more, content);
        assert_eq!(answer.status, 200, "{more}: {}", answer.text());
        assert_eq!(answer.header("x-neurohttp-provider").as_deref(), Some(want), "{more}");
    }
    for (more, content, code, words) in [
        (schema, image, "unsupported_capability", "together"),
        ("", longer.as_str(), "context_length_exceeded", "maximum context length is 1000"),
        ("\"max_tokens\":2000,", "\"x\"", "context_length_exceeded", "2000 of them"),
    ] {
        let answer = ask(more, content);
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (400, Some(code)));
        assert!(answer.text().contains(words), "{}", answer.text());
    }
    let body = r#"{"model":"m","input":"x"}"#;
    let answer = client.post("/v1/embeddings", body).answer();
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("does not support embeddings"), "{}", answer.text());
}
