//! What tokens are counted and what they cost: by model, and in the line of each request.

use serde_json::Value;

use crate::support::stage::scratch;
use crate::support::wait_until;
use crate::upstream::{Gateway, Upstream, provider};

/// An answer of 1000 tokens read, 600 of them from the cache, and 10 written, 4 of them thinking.
const USAGE: &str = "\"usage\":{\"prompt_tokens\":1000,\"completion_tokens\":10,\
    \"total_tokens\":1010,\"prompt_tokens_details\":{\"cached_tokens\":600},\
    \"completion_tokens_details\":{\"reasoning_tokens\":4}}";

fn whole() -> Vec<u8> {
    let body = format!(
        "{{\"id\":\"c\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m-2024\",\
         \"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"x\"}},\
         \"finish_reason\":\"stop\"}}],{USAGE}}}"
    );
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:";
    format!("{head} {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Model `a` says its prices, `b` its target's, `c` none.
fn models() -> String {
    let target = "provider = \"up\", model = \"m\"";
    format!(
        "[[model]]\nname = \"a\"\ninput_price = 3\noutput_price = 15.0\ncached_price = 0.3\n\
         targets = [{{ {target} }}]\n\
         [[model]]\nname = \"b\"\ninput_price = 1000\n\
         targets = [{{ {target}, output_price = 2.5 }}]\n\
         [[model]]\nname = \"c\"\ntargets = [{{ {target} }}]\n"
    )
}

fn ask(model: &str, more: &str) -> String {
    format!(
        "{{\"model\":\"{model}\",{more}\"messages\":[{{\"role\":\"user\",\"content\":\"x y\"}}]}}"
    )
}

fn lines(path: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Wrong: a bill that nobody can check, or one that differs between the pages.
#[test]
fn tokens_and_their_cost_are_told_everywhere_alike() {
    let upstream = Upstream::start(|peer| peer.answer_all(&whole()));
    let path = scratch().join("cost.json");
    drop(std::fs::remove_file(&path));
    let log = format!(
        "[log]\nfile = {:?}\nformat = \"json\"\naccess = true\nlevel = \"error\"\n",
        path.display().to_string()
    );
    let gateway = Gateway::with(&(provider("up", upstream.port, "") + &models() + &log));
    let mut client = gateway.connect();
    // The last one may be shared and kept: its first request is told what it took all the same.
    for body in [ask("a", ""), ask("b", ""), ask("c", ""), ask("a", "\"temperature\":0,")] {
        let answer = client.post("/v1/chat/completions", &body).answer();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let kept = client.post("/v1/chat/completions", &ask("a", "\"temperature\":0,")).answer();
    assert_eq!(kept.header("x-neurohttp-cache").as_deref(), Some("hit"));

    // 400 * 3 + 600 * 0.3 + 10 * 15 dollars for a million; 10 * 2.5.
    let (a, b) = (0.00153, 0.000025);
    let stats = client.get("/stats").answer().json();
    for (model, count, cost) in [("a", 2.0, 2.0 * a), ("b", 1.0, b), ("c", 1.0, 0.0)] {
        let model = &stats["models"][model];
        let near = |name: &str, wanted: f64| {
            let told = model[name].as_f64().unwrap();
            assert!((told - wanted).abs() < 1e-12, "{name}: {told} is not {wanted}");
        };
        near("prompt_tokens", 1000.0 * count);
        near("completion_tokens", 10.0 * count);
        near("cached_tokens", 600.0 * count);
        near("reasoning_tokens", 4.0 * count);
        near("cost_usd", cost);
    }
    let all = stats["calls"]["cost_usd"].as_f64().unwrap();
    assert!((all - 2.0 * a - b).abs() < 1e-12, "{all}");
    let page = client.get("/metrics").answer();
    for line in [
        "neurohttp_ai_model_cost_usd_total{model=\"a\"} 0.00306",
        "neurohttp_ai_model_cached_tokens_total{model=\"a\"} 1200",
        "neurohttp_ai_model_reasoning_tokens_total{model=\"b\"} 4",
        "neurohttp_ai_model_cost_usd_total{model=\"c\"} 0",
    ] {
        assert!(page.text().lines().any(|told| told == line), "no {line} in {}", page.text());
    }

    let asked = || -> Vec<Value> {
        lines(&path).into_iter().filter(|line| line["path"] == "/v1/chat/completions").collect()
    };
    wait_until("five lines", || asked().len() == 5);
    let told = asked();
    for (line, cost) in told.iter().zip([Some(a), Some(b), None, Some(a)]) {
        assert_eq!(line["cost_usd"].as_f64(), cost, "{line}");
        assert_eq!((&line["prompt_tokens"], &line["cached_tokens"]), (&1000.into(), &600.into()));
        assert_eq!(
            (&line["completion_tokens"], &line["reasoning_tokens"]),
            (&10.into(), &4.into())
        );
        assert_eq!(line["provider"], "up");
        assert!(line["id"].is_string() && line["elapsed_us"].is_u64());
    }
    assert_eq!((&told[4]["cache"], &told[4]["cost_usd"]), (&"hit".into(), &Value::Null));
}

/// Wrong: who tries the gateway with echo sees no token counted.
#[test]
fn tokens_of_echo_are_counted() {
    let gateway = Gateway::with("[cache]\nenable = false\n");
    let mut client = gateway.connect();
    for more in ["", "\"stream\":true,"] {
        let answer = client.post("/v1/chat/completions", &ask("echo", more)).answer();
        assert_eq!(answer.status, 200);
    }
    assert_eq!((gateway.calls("prompt_tokens"), gateway.calls("completion_tokens")), (4, 4));
    let stats = client.get("/stats").answer().json();
    assert_eq!(stats["models"]["echo"]["completion_tokens"], 4);
}
