//! Answers whose usage nobody tells: they are counted all the same, and said to be estimated.

use serde_json::Value;

use crate::support::stage::scratch;
use crate::support::wait_until;
use crate::upstream::{Gateway, Peer, Upstream, provider};

const CHAT: &str = "/v1/chat/completions";
/// What the upstreams say, in pieces: about 4 bytes for each token.
const SAID: &str = "The gateway keeps answering, and it remembers. ";

fn ask(stream: bool) -> String {
    format!(
        "{{\"model\":\"m\",\"stream\":{stream},\"messages\":[{{\"role\":\"user\",\"content\":\
         \"{}\"}}]}}",
        "Tell me what a gateway does. ".repeat(10)
    )
}

fn chunk(data: &str) -> String {
    let event = format!("data: {data}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len())
}

/// A stream of so many words, without its end.
fn words(count: usize) -> String {
    let mut text = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
        Transfer-Encoding: chunked\r\n\r\n"
        .to_owned();
    for word in SAID.split_inclusive(' ').cycle().take(count) {
        text += &chunk(&format!(
            "{{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\
             \"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{word}\"}},\
             \"finish_reason\":null}}]}}"
        ));
    }
    text
}

fn end(usage: &str) -> String {
    usage.to_owned() + &chunk("[DONE]") + "0\r\n\r\n"
}

fn whole(text: &str) -> String {
    let body = format!(
        "{{\"id\":\"c\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\",\
         \"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{text}\"}},\
         \"finish_reason\":\"stop\"}}]}}"
    );
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:";
    format!("{head} {}\r\n\r\n{body}", body.len())
}

fn model(port: u16, more: &str) -> String {
    provider("up", port, "")
        + "[[model]]\nname = \"m\"\ninput_price = 1\noutput_price = 10\n\
           targets = [{ provider = \"up\", model = \"m\" }]\n"
        + more
}

/// A figure of the model in /stats.
fn figure(gateway: &Gateway, name: &str) -> u64 {
    let stats: Value = serde_json::from_str(&gateway.server.stats_json()).unwrap();
    stats["models"]["m"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {stats}"))
}

/// The text has about 80 tokens of prompt; whether a count is near another one.
fn is_near(count: u64, wanted: u64) -> bool {
    count * 4 >= wanted * 3 && count * 3 <= wanted * 4
}

/// Wrong: an answer that was had for nothing, or a guess that looks like a bill.
#[test]
fn answers_without_usage_are_counted_and_marked() {
    let upstream = Upstream::start(|peer| {
        while let Some((_, body)) = peer.request() {
            if String::from_utf8_lossy(&body).contains("\"stream\":true") {
                peer.send(words(400) + &end(""));
            } else {
                peer.send(whole(&SAID.repeat(50)));
            }
        }
    });
    let path = scratch().join("untold.json");
    drop(std::fs::remove_file(&path));
    let log = format!(
        "[log]\nfile = {:?}\nformat = \"json\"\naccess = true\nlevel = \"error\"\n",
        path.display().to_string()
    );
    let gateway = Gateway::with(&model(upstream.port, &log));
    let mut client = gateway.connect();
    let written = (SAID.len() * 50 / 4) as u64;
    let streamed = (SAID.len() * 400 / SAID.split_inclusive(' ').count() / 4) as u64;
    let mut seen = (0, 0);
    for (stream, wanted) in [(false, written), (true, streamed), (true, streamed)] {
        assert_eq!(client.post(CHAT, &ask(stream)).answer().status, 200);
        let now = (figure(&gateway, "prompt_tokens"), figure(&gateway, "completion_tokens"));
        assert!(is_near(now.0 - seen.0, 80), "{seen:?} {now:?}");
        assert!(is_near(now.1 - seen.1, wanted), "{seen:?} {now:?}, wanted {wanted}");
        seen = now;
    }
    assert_eq!(figure(&gateway, "estimated_tokens"), seen.0 + seen.1);
    // What they cost follows, and the line of each request says what it is.
    let stats: Value = serde_json::from_str(&gateway.server.stats_json()).unwrap();
    let cost = stats["models"]["m"]["cost_usd"].as_f64().unwrap();
    assert!((cost - (seen.0 + 10 * seen.1) as f64 / 1e6).abs() < 1e-9, "{cost}");
    let metrics = client.get("/metrics").answer();
    let line =
        format!("neurohttp_ai_model_estimated_tokens_total{{model=\"m\"}} {}", seen.0 + seen.1);
    assert!(metrics.text().contains(&line), "{}", metrics.text());
    let told = || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        text.lines().filter(|line| line.contains("\"tokens_estimated\":true")).count()
    };
    wait_until("the log tells of all three", || told() == 3);
}

/// Wrong: providers whose figures are not believed.
#[test]
fn what_a_provider_tells_is_not_estimated() {
    let usage = "{\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":9,\
        \"total_tokens\":16}}";
    let upstream = Upstream::start(move |peer| {
        while peer.request().is_some() {
            peer.send(words(20) + &end(&chunk(usage)));
        }
    });
    let gateway = Gateway::with(&model(upstream.port, ""));
    assert_eq!(gateway.connect().post(CHAT, &ask(true)).answer().status, 200);
    for (name, wanted) in [("prompt_tokens", 7), ("completion_tokens", 9), ("estimated_tokens", 0)]
    {
        assert_eq!(figure(&gateway, name), wanted, "{name}");
    }
}

/// Wrong: a client that reads all but the last byte and leaves pays nothing; or an upstream that
/// is cut has given its tokens away.
#[test]
fn what_came_before_a_stream_ended_early_is_counted() {
    let leaves = |peer: &mut Peer| {
        peer.request().expect("a request");
        peer.send(words(200));
        peer.expect_gone();
    };
    let dies = |peer: &mut Peer| {
        peer.request().expect("a request");
        peer.send(words(200));
    };
    let wanted = (SAID.len() * 200 / SAID.split_inclusive(' ').count() / 4) as u64;
    let upstream = Upstream::start(leaves);
    let gateway = Gateway::with(&model(upstream.port, ""));
    let mut client = gateway.connect();
    client.post(CHAT, &ask(true));
    let mut seen = 0;
    client.head();
    while seen < words(200).len() - 4_000 {
        seen += client.chunk().expect("more of the stream").len();
    }
    drop(client);
    gateway.wait_cancelled(1);
    wait_until("it is counted", || figure(&gateway, "completion_tokens") > 0);
    assert!(is_near(figure(&gateway, "completion_tokens"), wanted));
    assert!(is_near(figure(&gateway, "prompt_tokens"), 80));

    let upstream = Upstream::start(dies);
    let gateway = Gateway::with(&model(upstream.port, ""));
    let answer = gateway.connect().post(CHAT, &ask(true)).answer();
    assert!(answer.text().contains("upstream_cut"), "{}", answer.text());
    assert!(is_near(figure(&gateway, "completion_tokens"), wanted));
    assert_eq!(figure(&gateway, "failures"), 1);
}

/// Wrong: the tokens an Anthropic stream told at its beginning are all that a cut one costs, or
/// they are forgotten.
#[test]
fn what_a_cut_stream_told_counts_and_what_came_since() {
    let upstream = Upstream::start(|peer| {
        peer.request().expect("a request");
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        peer.send(
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"a\",\
             \"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\
             \"usage\":{\"input_tokens\":1234,\"output_tokens\":1}}}\n\n",
        );
        for _ in 0..50 {
            peer.send(format!(
                "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\
                 \"delta\":{{\"type\":\"text_delta\",\"text\":\"{SAID}\"}}}}\n\n"
            ));
        }
    });
    let text = model(upstream.port, "").replace("\"openai\"", "\"anthropic\"");
    let gateway = Gateway::with(&text);
    let body = ask(true).replace("\"model\"", "\"max_tokens\":9,\"model\"");
    let answer = gateway.connect().post("/v1/messages", &body).answer();
    assert!(answer.text().contains("event: error"), "{}", answer.text());
    assert_eq!(figure(&gateway, "prompt_tokens"), 1234);
    let wanted = (SAID.len() * 50 / 4) as u64;
    assert!(is_near(figure(&gateway, "completion_tokens"), wanted));
}

/// Wrong: a key that is charged by the byte where nobody counts tokens, or not at all.
#[test]
fn a_keys_limit_goes_by_the_estimate() {
    let upstream = Upstream::start(|peer| {
        while peer.request().is_some() {
            peer.send(whole(&SAID.repeat(10)));
        }
    });
    let key = "[[key]]\nname = \"k\"\nkey = \"k\"\ntokens_per_minute = 1000\n";
    let gateway = Gateway::with(&model(upstream.port, key));
    let mut client = gateway.connect();
    let body = ask(false);
    // About 80 tokens each way and 120 back: four pass, and not forty.
    let mut passed = 0;
    while passed < 40 {
        client.send(format!(
            "POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer k\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        match client.answer().status {
            200 => passed += 1,
            status => {
                assert_eq!(status, 429);
                break;
            }
        }
    }
    assert!((4..=7).contains(&passed), "{passed}");
}
