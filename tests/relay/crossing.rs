//! What happens between two dialects, and beside them: compressed answers, usage that is asked for
//! and hidden, what cannot cross, counting tokens, hooks on what passes.

use std::io::Write;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use flate2::Compression;
use flate2::write::GzEncoder;
use neurohttp::pipeline::{HookPlace, TextEdit, TextHook};

use crate::support::wire::Answer;
use crate::upstream::{ASK, ASK_STREAM, Gateway, Upstream, provider};

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
/// The same question in Anthropic's dialect.
const ASK_MESSAGES: &str =
    r#"{"model":"up/m","max_tokens":9,"top_k":3,"messages":[{"role":"user","content":"x"}]}"#;

const WHOLE: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"größer secret"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;

fn chunk(delta: &str, finish: &str) -> String {
    format!(
        "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
    )
}

const USAGE: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}\n\n";

fn stream() -> Vec<String> {
    vec![
        chunk(r#"{"role":"assistant","content":""}"#, "null"),
        chunk(r#"{"content":"grö"}"#, "null"),
        chunk(r#"{"content":"secret"}"#, "null"),
        chunk("{}", "\"stop\""),
        USAGE.to_owned(),
        "data: [DONE]\n\n".to_owned(),
    ]
}

fn ask(upstream: &Upstream, keys: &str, path: &str, body: &str) -> Answer {
    Gateway::before(upstream, keys).connect().post(path, body).answer()
}

/// An upstream that answers with this body; its pieces are chunks.
fn answering(fields: &str, pieces: Vec<Vec<u8>>) -> Upstream {
    let head =
        format!("HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    Upstream::start(move |peer| {
        while peer.request().is_some() {
            let mut answer = head.clone();
            for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
                answer.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                // Each piece is a write of its own. A gateway that cannot use it hangs up.
                answer.extend_from_slice(piece);
                answer.extend_from_slice(b"\r\n");
                if !peer.try_send(std::mem::take(&mut answer)) {
                    return;
                }
            }
            peer.try_send("0\r\n\r\n");
        }
    })
}

/// Wrong: a decoder for each chunk, compressed bytes taken for JSON, or a length that is another's.
#[test]
fn gzip_answers_are_read_by_one_decoder() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(WHOLE.as_bytes()).unwrap();
    let coded = encoder.finish().unwrap();
    let pieces: Vec<Vec<u8>> = coded.chunks(7).map(<[u8]>::to_vec).collect();
    let fields = "Content-Type: application/json\r\nContent-Encoding: gzip\r\n";
    let upstream = answering(fields, pieces);
    let gateway = Gateway::before(&upstream, "");
    let mut client = gateway.connect();
    let answer = client.post(CHAT, ASK).answer();
    assert_eq!((answer.status, answer.text()), (200, WHOLE));
    assert!(answer.header("content-encoding").is_none());
    let answer = client.post(MESSAGES, ASK_MESSAGES).answer();
    assert!(answer.text().contains("größer"), "{}", answer.text());
    assert_eq!(gateway.calls("completion_tokens"), 4);
}

/// Wrong: an event that waits in the decoder until the stream has ended.
#[test]
fn gzip_streams_are_read_as_they_come() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let mut pieces = Vec::new();
    for event in stream() {
        encoder.write_all(event.as_bytes()).unwrap();
        encoder.flush().unwrap();
        pieces.push(std::mem::take(encoder.get_mut()));
    }
    pieces.push(encoder.finish().unwrap());
    let fields = "Content-Type: text/event-stream\r\nContent-Encoding: gzip\r\n";
    let upstream = answering(fields, pieces);
    let answer = ask(&upstream, "", CHAT, ASK_STREAM);
    assert_eq!(answer.text(), stream().concat());
    let body = ASK_MESSAGES.replacen('{', "{\"stream\":true,", 1);
    let answer = ask(&upstream, "", MESSAGES, &body);
    assert!(answer.text().contains("grö") && answer.text().contains("message_stop"));
}

#[test]
fn a_broken_or_unknown_coding_is_a_502() {
    for (coding, body) in [("gzip", WHOLE.as_bytes().to_vec()), ("br", vec![1, 2, 3])] {
        let fields = format!("Content-Type: application/json\r\nContent-Encoding: {coding}\r\n");
        let upstream = answering(&fields, vec![body]);
        let answer = ask(&upstream, "", MESSAGES, ASK_MESSAGES);
        assert_eq!(answer.status, 502, "{coding}: {}", answer.text());
    }
}

/// Wrong: a dialect that repeats the whole text at its end and keeps it without a bound.
#[test]
fn an_endless_stream_is_not_kept_without_end() {
    let event = chunk(&format!(r#"{{"content":"{}"}}"#, "x".repeat(1 << 20)), "null");
    let upstream = Upstream::start(move |peer| {
        if peer.request().is_none() {
            return;
        }
        let _ = peer.try_send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        while peer.try_send(&event) {}
    });
    let text = provider("up", upstream.port, "").replace("\"openai\"", "\"together\"");
    let gateway = Gateway::with(&text);
    let body = r#"{"model":"up/m","stream":true,"input":"x"}"#;
    let answer = gateway.connect().post("/v1/responses", body).answer();
    let end = answer.text().rsplit("event: ").next().unwrap().to_owned();
    assert!(end.starts_with("response.failed") && end.contains("upstream_too_large"), "{end}");
    assert!(answer.text().len() < 40 << 20, "{}", answer.text().len());
}

/// Wrong: a bound of a codec's own below that of bodies.
#[test]
fn a_body_of_31_mib_is_translated_whole() {
    let upstream = Upstream::start(|peer| {
        while let Some((_, body)) = peer.request() {
            let text = WHOLE.replace("größer secret", &body.len().to_string());
            let length = text.len();
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{text}"
            ));
        }
    });
    let size = 31 << 20;
    let body = ASK_MESSAGES.replace("\"x\"", &format!("\"{}\"", "é".repeat(size / 2)));
    let answer = ask(&upstream, "", MESSAGES, &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.json()["content"][0]["text"].as_str().unwrap().to_owned();
    assert!(text.parse::<usize>().unwrap() > size, "{text}");
}

/// Wrong: a stream of Google's that is refused because it is one array, or is told only at its end.
#[test]
fn a_gemini_stream_may_be_an_array() {
    let item = |text: &str, more: &str| {
        format!(
            r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}}],"role":"model"}}{more}}}]}}"#
        )
    };
    let text = format!("[{},\r\n{}\n]", item("grö", ""), item("ßer", r#","finishReason":"STOP""#));
    let pieces: Vec<Vec<u8>> = text.as_bytes().chunks(7).map(<[u8]>::to_vec).collect();
    let upstream = answering("Content-Type: application/json; charset=UTF-8\r\n", pieces);
    let config = provider("up", upstream.port, "").replace("\"openai\"", "\"gemini\"");
    assert!(config.contains("gemini"), "{config}");
    let gateway = Gateway::with(&config);
    let answer = gateway.connect().post(CHAT, ASK_STREAM).answer();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type").as_deref(), Some("text/event-stream"));
    let text = answer.text();
    assert!(
        text.contains("{\"content\":\"grö\"}") && text.contains("{\"content\":\"ßer\"}"),
        "{text}"
    );
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
}

/// Wrong: a client that sees what it did not ask for, or one that misses what it did.
#[test]
fn usage_is_asked_for_and_hidden_from_who_did_not_ask() {
    let (sender, seen) = channel();
    let sender = Mutex::new(sender);
    let events = stream().concat();
    let upstream = Upstream::start(move |peer| {
        while let Some((_, body)) = peer.request() {
            sender.lock().unwrap().send(String::from_utf8(body).unwrap()).unwrap();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length";
            peer.send(format!("{head}: {}\r\n\r\n{events}", events.len()));
        }
    });
    let gateway = Gateway::before(&upstream, "[dialects]\nstream_usage = true");
    let mut client = gateway.connect();
    let answer = client.post(CHAT, ASK_STREAM).answer();
    assert_eq!(answer.text(), stream().concat().replace(USAGE, ""));
    assert!(seen.recv().unwrap().contains("\"include_usage\":true"));
    assert_eq!(gateway.calls("prompt_tokens"), 3);
    let asked = ASK_STREAM.replacen('{', "{\"stream_options\":{\"include_usage\":true},", 1);
    let answer = client.post(CHAT, &asked).answer();
    assert_eq!(answer.text(), stream().concat());
    seen.recv().unwrap();
    // Without the key, the body goes out as it came.
    let answer = ask(&upstream, "", CHAT, ASK_STREAM);
    assert_eq!(answer.text(), stream().concat());
    assert!(!seen.recv().unwrap().contains("include_usage"));
}

/// Wrong: something lost in silence.
#[test]
fn what_cannot_cross_is_named_or_refused() {
    let fields = "Content-Type: application/json\r\n";
    let upstream = answering(fields, vec![WHOLE.as_bytes().to_vec()]);
    let answer = ask(&upstream, "", MESSAGES, ASK_MESSAGES);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-neurohttp-dropped").as_deref(), Some("top_k"));
    assert_eq!(answer.header("x-neurohttp-provider").as_deref(), Some("up"));
    assert_eq!(answer.header("x-neurohttp-model").as_deref(), Some("up/m"));
    let answer = ask(&upstream, "[dialects]\ndropped = \"refuse\"", MESSAGES, ASK_MESSAGES);
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("top_k"), "{}", answer.text());
    assert!(answer.text().contains("invalid_request_error"), "{}", answer.text());
}

/// Wrong: a loop that stands still while a vocabulary is unpacked, or a count that never comes.
#[test]
fn tokens_are_counted_without_a_provider() {
    let gateway = Gateway::with("");
    let mut client = gateway.connect();
    let count = |client: &mut crate::support::wire::Connection, text: &str| {
        let body = format!(
            "{{\"model\":\"echo\",\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}]}}"
        );
        let answer = client.post("/v1/messages/count_tokens", &body).answer();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let body: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
        body["input_tokens"].as_u64().unwrap()
    };
    let few = count(&mut client, "hello world");
    assert_eq!(count(&mut client, "hello world"), few, "the second time on the loop");
    assert_eq!(few, 2 + 4 + 3);
    let many = count(&mut client, &"hello world ".repeat(5_000));
    assert!(many >= 10_000, "{many}");
    let answer = client.post("/v1/messages/count_tokens", "{\"model\":\"echo\"}").answer();
    assert_eq!(answer.status, 400);
}

/// Stars in the place of the secret; "x" becomes "y"; refuses "no".
struct Stars;

impl TextHook for Stars {
    fn look(&self, edit: &mut TextEdit) -> bool {
        let text = String::from_utf8(edit.text().to_vec()).unwrap();
        let text = text.trim_end_matches('\0');
        match text {
            "no" => return false,
            "x" => assert!(edit.replace("y")),
            text if text.contains("secret") => {
                assert!(edit.replace(&text.replace("secret", "***")))
            }
            _ => {}
        }
        true
    }
}

/// Wrong: a body that passes unread past the hooks, or one that loses more than its text.
#[test]
fn hooks_see_what_passes() {
    let (sender, seen) = channel();
    let sender = Mutex::new(sender);
    let upstream = Upstream::start(move |peer| {
        while let Some((_, body)) = peer.request() {
            let is_stream = body.windows(8).any(|piece| piece == b"\"stream\"");
            sender.lock().unwrap().send(String::from_utf8(body).unwrap()).unwrap();
            let (kind, body) = match is_stream {
                true => ("text/event-stream", stream().concat()),
                false => ("application/json", WHOLE.to_owned()),
            };
            let len = body.len();
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\n\r\n{body}"
            ));
        }
    });
    let gateway = Gateway::before(&upstream, "");
    for place in [HookPlace::Prompt, HookPlace::Delta, HookPlace::Reply] {
        gateway.server.add_hook(place, Arc::new(Stars)).unwrap();
    }
    let mut client = gateway.connect();
    let answer = client.post(CHAT, ASK).answer();
    assert_eq!(answer.text(), WHOLE.replace("secret", "***"));
    assert_eq!(seen.recv().unwrap(), ASK.replace("up/m", "m").replace("\"x\"", "\"y\""));
    let answer = client.post(CHAT, ASK_STREAM).answer();
    assert_eq!(answer.text(), stream().concat().replace("secret", "***"));
    seen.recv().unwrap();
    let answer = client.post(CHAT, &ASK.replace("\"x\"", "\"no\"")).answer();
    assert_eq!(answer.status, 403);
    let answer = client.post(MESSAGES, ASK_MESSAGES).answer();
    assert!(answer.text().contains("größer ***"), "{}", answer.text());
}
