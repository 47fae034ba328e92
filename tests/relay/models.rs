//! Which provider gets a request, by the name of the model.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use crate::support::wire::Answer;
use crate::upstream::{GOOD, Gateway, Upstream, provider};

/// An upstream that answers well and tells heads and bodies.
fn recording() -> (Upstream, Receiver<(String, String)>) {
    let (sender, seen) = channel();
    let sender = Mutex::new(sender);
    let upstream = Upstream::start(move |peer| {
        while let Some((head, body)) = peer.request() {
            let body = String::from_utf8(body).unwrap();
            sender.lock().unwrap().send((head, body)).unwrap();
            peer.send(GOOD);
        }
    });
    (upstream, seen)
}

fn ask(gateway: &Gateway, model: &str) -> Answer {
    let model = if model.is_empty() { String::new() } else { format!("\"model\":\"{model}\",") };
    let body = format!("{{{model}\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]}}");
    gateway.connect().post("/v1/chat/completions", &body).answer()
}

#[test]
fn names_aliases_and_the_star_lead_to_their_targets() {
    let (one, seen_one) = recording();
    let (two, seen_two) = recording();
    let text = format!(
        "{}{}[[model]]\nname = \"fast\"\naliases = [\"quick\", \"a/b\"]\n\
         targets = [{{ provider = \"one\", model = \"small-1\" }}]\n\
         [[model]]\nname = \"*\"\ntargets = [{{ provider = \"two\" }}]\n",
        provider("one", one.port, ""),
        provider("two", two.port, "")
    );
    let gateway = Gateway::with(&text);
    for (asked, is_one, sent) in [
        ("fast", true, "small-1"),
        ("quick", true, "small-1"),
        // An alias comes before a provider's name, cut at the first slash.
        ("a/b", true, "small-1"),
        ("one/x", true, "x"),
        ("two/meta/llama", false, "meta/llama"),
        ("nobody/x", false, "nobody/x"),
        ("whatever", false, "whatever"),
        // Nothing asked: the first model that is not the star.
        ("", true, "small-1"),
    ] {
        let answer = ask(&gateway, asked);
        assert_eq!(answer.status, 200, "{asked}: {}", answer.text());
        let (_, body) = if is_one { &seen_one } else { &seen_two }.try_recv().expect(asked);
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["model"], sent, "{asked}");
        let name = if is_one { "one" } else { "two" };
        assert_eq!(answer.header("x-neurohttp-provider").as_deref(), Some(name), "{asked}");
    }
    assert_eq!(ask(&gateway, "echo").json()["choices"][0]["message"]["content"], "hi");
    assert!(seen_one.try_recv().is_err() && seen_two.try_recv().is_err());
}

#[test]
fn a_name_that_leads_nowhere_is_404() {
    let (one, _seen) = recording();
    let gateway = Gateway::before(&one, "");
    for name in ["unheard-of", "nobody/x", "up/"] {
        let answer = ask(&gateway, name);
        assert_eq!(answer.status, 404, "{name}");
        assert_eq!(answer.json()["error"]["code"], "model_not_found", "{name}");
    }
}

#[test]
fn a_key_in_the_environment_makes_a_provider() {
    let (upstream, seen) = recording();
    let url = format!("http://127.0.0.1:{}/v1", upstream.port);
    let variables = [("OPENAI_API_KEY", "sk-environment"), ("OPENAI_BASE_URL", url.as_str())];
    let gateway = Gateway::in_environment("", &variables);
    for (asked, sent) in [("gpt-any", "gpt-any"), ("openai/gpt-b", "gpt-b")] {
        let answer = ask(&gateway, asked);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let (head, body) = seen.recv().unwrap();
        assert!(head.contains("uthorization: Bearer sk-environment\r\n"), "{head}");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["model"], sent);
        assert!(!answer.head.contains("sk-environment"));
    }
    // Without a name: echo, which costs nobody anything.
    assert_eq!(ask(&gateway, "").json()["choices"][0]["message"]["content"], "hi");
    assert!(!gateway.server.stats_json().contains("sk-environment"));
}

#[test]
fn embeddings_and_completions_pass_through_a_model() {
    let (upstream, seen) = recording();
    let gateway = Gateway::before(
        &upstream,
        "[[model]]\nname = \"vec\"\ntargets = [{ provider = \"up\", model = \"emb-3\" }]",
    );
    for (path, body) in [
        ("/v1/embeddings", r#"{"input":["a","b"],"model":"vec","dimensions":8}"#),
        ("/v1/completions", r#"{"prompt":"a","model":"vec","echo":true,"stream":true}"#),
    ] {
        let answer = gateway.connect().post(path, body).answer();
        assert_eq!((answer.status, answer.text()), (200, "{\"ok\":true}"), "{path}");
        let (head, sent) = seen.recv().unwrap();
        assert!(head.starts_with(&format!("POST {path} HTTP/1.1\r\n")), "{head}");
        assert_eq!(sent, body.replace("vec", "emb-3"));
    }
}
