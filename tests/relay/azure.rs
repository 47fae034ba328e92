//! Azure: the deployment in the path, the version in the query, the key in a header of its own.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use crate::upstream::{ASK, ASK_STREAM, Gateway, Upstream, provider};

const CHAT: &str = "/v1/chat/completions";
const WHOLE: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"gpt-5","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop","content_filter_results":{}}],"prompt_filter_results":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;
/// Azure's streams begin with a chunk about its filter, without choices.
const STREAM: &str = concat!(
    "data: {\"choices\":[],\"created\":0,\"id\":\"\",\"model\":\"\",\"object\":\"\",\"prompt_filter_results\":[{\"prompt_index\":0,\"content_filter_results\":{}}]}\n\n",
    "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-5\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n",
    "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-5\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hello\"},\"finish_reason\":null}]}\n\n",
    "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-5\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    "data: [DONE]\n\n",
);
const VECTORS: &str = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]}],"model":"e","usage":{"prompt_tokens":1,"total_tokens":1}}"#;

/// A resource that answers what is asked, and what it was sent.
fn resource() -> (Upstream, Receiver<(String, String)>) {
    let (sender, seen) = channel();
    let sender = Mutex::new(sender);
    let upstream = Upstream::start(move |peer| {
        while let Some((head, body)) = peer.request() {
            let body = String::from_utf8(body).unwrap();
            let (kind, answer) = match body.contains("\"stream\":true") {
                true => ("text/event-stream", STREAM),
                false if head.contains("/embeddings") => ("application/json", VECTORS),
                false => ("application/json", WHOLE),
            };
            sender.lock().unwrap().send((head, body)).unwrap();
            let length = answer.len();
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{answer}"
            ));
        }
    });
    (upstream, seen)
}

fn gateway(upstream: &Upstream, path: &str) -> Gateway {
    let text = provider("up", upstream.port, "");
    Gateway::with(&text.replace("\"openai\"", "\"azure\"").replace("/v1\"", &format!("{path}\"")))
}

/// Wrong: another address, two credentials or the wrong one, a client's key that reaches Azure.
#[test]
fn a_resource_is_asked_by_deployment_version_and_its_own_header() {
    let (upstream, seen) = resource();
    for (base, before, after) in [
        ("", "/openai/deployments/m", "?api-version=2024-10-21"),
        ("/openai", "/openai/deployments/m", "?api-version=2024-10-21"),
        ("/openai/v1", "/openai/v1", ""),
    ] {
        let gateway = gateway(&upstream, base);
        let mut client = gateway.connect();
        let messages =
            r#"{"model":"up/m","max_tokens":9,"messages":[{"role":"user","content":"x"}]}"#;
        let messages_stream = messages.replacen('{', "{\"stream\":true,", 1);
        let input = r#"{"model":"up/m","input":"x"}"#;
        for (path, body, called, told) in [
            (CHAT, ASK, "/chat/completions", WHOLE),
            (CHAT, ASK_STREAM, "/chat/completions", STREAM),
            ("/v1/embeddings", input, "/embeddings", VECTORS),
            ("/v1/messages", messages, "/chat/completions", "\"text\":\"hello\""),
            ("/v1/messages", &messages_stream, "/chat/completions", "event: message_stop"),
        ] {
            client.send(format!(
                "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer theirs\r\napi-key: theirs\r\n\
                 x-api-key: theirs\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ));
            let answer = client.answer();
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            assert!(answer.text().contains(told), "{path}: {}", answer.text());
            let (head, sent) = seen.recv().unwrap();
            let line = format!("POST {before}{called}{after} HTTP/1.1\r\n");
            assert!(head.starts_with(&line), "{path}: {head}");
            let lower = head.to_ascii_lowercase();
            assert_eq!(lower.matches("\r\napi-key: sk-ours\r\n").count(), 1, "{head}");
            assert!(!lower.contains("authorization") && !lower.contains("theirs"), "{head}");
            assert!(sent.contains("\"model\":\"m\""), "{sent}");
        }
    }
}

/// Wrong: responses sent to a version that has none.
#[test]
fn responses_pass_to_the_present_api_alone() {
    let (upstream, seen) = resource();
    for (base, called) in [
        ("", "/openai/deployments/m/chat/completions?api-version=2024-10-21"),
        ("/openai/v1", "/openai/v1/responses"),
    ] {
        let gateway = gateway(&upstream, base);
        let body = r#"{"model":"up/m","input":"x"}"#;
        assert_eq!(gateway.connect().post("/v1/responses", body).answer().status, 200);
        let (head, _) = seen.recv().unwrap();
        assert!(head.starts_with(&format!("POST {called} HTTP/1.1\r\n")), "{head}");
    }
}
