//! What `/stats` and `/metrics` tell of connections, circuits and providers while things happen.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use neurohttp::ai::chat::FinishReason;
use neurohttp::pipeline::{Generation, Generator, Question};
use serde_json::{Value, json};

use crate::support::wait_until;
use crate::upstream::{ASK, ASK_STREAM, GOOD, Gateway, Upstream, provider};

const CHAT: &str = "/v1/chat/completions";

fn stats(gateway: &Gateway) -> Value {
    serde_json::from_str(&gateway.server.stats_json()).unwrap()
}

/// Wrong: an operator cannot tell idle connections from work, or figures drift away from the truth.
#[test]
fn connections_are_counted_by_what_they_do() {
    let (go_on, waits) = channel::<()>();
    let waits = Mutex::new(waits);
    let upstream = Upstream::start(move |peer| {
        let Some((_, body)) = peer.request() else { return };
        if String::from_utf8_lossy(&body).contains("stream") {
            peer.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n\
                 data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n",
            );
            // Until the client has gone.
            peer.drain();
            return;
        }
        waits.lock().unwrap().recv().unwrap();
        peer.send(GOOD);
        peer.answer_all(GOOD);
    });
    let gateway = Gateway::before(&upstream, "");
    let by_state = |wanted: Value| {
        wait_until("the states", || stats(&gateway)["connections"]["by_state"] == wanted);
    };
    let states = |idle, reading, answering, streaming| {
        json!({ "idle": idle, "reading": reading, "answering": answering,
            "streaming": streaming, "closing": 0 })
    };
    by_state(states(0, 0, 0, 0));
    let idle = gateway.connect();
    let mut reading = gateway.connect();
    reading.send(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{",
    );
    let mut answering = gateway.connect();
    answering.post(CHAT, ASK);
    let mut streaming = gateway.connect();
    streaming.post(CHAT, ASK_STREAM);
    by_state(states(1, 1, 1, 1));
    let connections = |wanted: Value| {
        wait_until("the connections", || {
            stats(&gateway)["providers"]["up"]["connections"] == wanted
        });
    };
    connections(json!({ "active": 2, "idle": 0 }));
    go_on.send(()).unwrap();
    assert_eq!(answering.answer().status, 200);
    by_state(states(2, 1, 0, 1));
    connections(json!({ "active": 1, "idle": 1 }));
    let page = gateway.server.metrics_text();
    for line in [
        "neurohttp_connections_by_state{state=\"streaming\"} 1",
        "neurohttp_provider_connections{provider=\"up\",state=\"idle\"} 1",
        "neurohttp_provider_waiting_requests{provider=\"up\"} 0",
    ] {
        assert!(page.lines().any(|told| told == line), "no {line} in {page}");
    }
    drop((idle, reading, answering, streaming));
    by_state(states(0, 0, 0, 0));
    connections(json!({ "active": 0, "idle": 1 }));
}

/// Wrong: a target that is left alone looks well.
#[test]
fn an_open_circuit_is_told_with_its_pause() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = dead.local_addr().unwrap().port();
    drop(dead);
    let text = provider("up", port, "")
        + "[[model]]\nname = \"fast\"\ntargets = [{ provider = \"up\", model = \"m\" }]\n\
           [breaker]\npause = 60000\npause_max = 60000\n[retry]\nattempts = 0\n";
    let gateway = Gateway::with(&text);
    let before = stats(&gateway);
    assert_eq!(before["providers"]["up"]["circuit"], "closed");
    assert_eq!(
        (&before["targets"][0]["circuit"], &before["targets"][0]["retry_in_ms"]),
        (&json!("closed"), &json!(0))
    );
    let ask = ASK.replace("up/m", "fast");
    assert_eq!(gateway.connect().post(CHAT, &ask).answer().status, 502);
    let after = stats(&gateway);
    let target = &after["targets"][0];
    for (name, value) in
        [("model", "fast"), ("provider", "up"), ("provider_model", "m"), ("circuit", "open")]
    {
        assert_eq!(target[name], value, "{target}");
    }
    assert!(target["retry_in_ms"].as_u64().unwrap() > 0);
    assert_eq!(after["providers"]["up"]["circuit"], "open");
    assert_eq!(after["providers"]["echo"]["circuit"], "closed");
    let page = gateway.server.metrics_text();
    for (state, value) in [("closed", 0), ("half_open", 0), ("open", 1)] {
        let line = format!(
            "neurohttp_ai_target_circuit{{model=\"fast\",provider=\"up\",target=\"0\",state=\"{state}\"}} {value}"
        );
        assert!(page.lines().any(|told| told == line), "no {line} in {page}");
    }
}

/// Says one word, and another when it is told to.
struct Slow(Mutex<std::sync::mpsc::Receiver<()>>);

impl Generator for Slow {
    fn generate(&self, _: Arc<Question>, generation: Arc<Generation>) {
        generation.text("one ").unwrap();
        self.0.lock().unwrap().recv().unwrap();
        generation.text("two").unwrap();
        generation.end(Ok(FinishReason::Stop));
    }
}

/// Wrong: the times of a host program's own models are told of as if there were none.
#[test]
fn models_of_the_host_have_their_times() {
    let (go_on, waits) = channel::<()>();
    let gateway = Gateway::with("");
    gateway.server.add_model("mine", Arc::new(Slow(Mutex::new(waits)))).unwrap();
    let mut client = gateway.connect();
    client.post(CHAT, &ASK_STREAM.replace("up/m", "mine"));
    let has = |line: &str| gateway.server.metrics_text().lines().any(|told| told == line);
    wait_until("the first word", || has("neurohttp_ai_time_to_first_token_seconds_count 1"));
    assert!(has("neurohttp_ai_inter_token_seconds_count 0"));
    go_on.send(()).unwrap();
    assert_eq!(client.answer().status, 200);
    assert!(has("neurohttp_ai_inter_token_seconds_count 1"));
    assert_eq!(stats(&gateway)["models"]["mine"]["first_token_ms"]["count"], 1);
}
