//! The main job, offline: chat whole and streamed, models, and the errors of the dialect.

use serde_json::{Value, json};

use crate::support::process::Server;
use crate::support::wire::Answer;

fn post(server: &Server, target: &str, body: &Value) -> Answer {
    server.connect().post(target, &body.to_string()).answer()
}

#[test]
fn a_prompt_comes_back() {
    let server = Server::gateway(&[]);
    let answer = post(&server, "/v1/chat", &json!({"prompt": "Hello, \"wörld\" \u{1f600}"}));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type").unwrap(), "application/json");
    let body = answer.json();
    assert_eq!(body["response"], "Hello, \"wörld\" \u{1f600}");
    assert_eq!(body["model"], "echo");
    assert!(body["usage"].is_object());
    server.stop();
}

#[test]
fn a_chat_completion_has_the_known_shape() {
    let server = Server::gateway(&[]);
    let request = json!({"model": "echo", "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "first"},
        {"role": "user", "content": [{"type": "text", "text": "in parts"}]},
    ]});
    let answer = post(&server, "/v1/chat/completions", &request);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], "echo");
    assert!(body["id"].is_string() && body["created"].is_u64());
    let choice = &body["choices"][0];
    assert_eq!(choice["index"], 0);
    assert_eq!(choice["message"]["role"], "assistant");
    assert_eq!(choice["message"]["content"], "in parts");
    assert_eq!(choice["finish_reason"], "stop");
    let usage = &body["usage"];
    let (prompt, completion) = (&usage["prompt_tokens"], &usage["completion_tokens"]);
    assert_eq!(
        usage["total_tokens"].as_u64().unwrap(),
        prompt.as_u64().unwrap() + completion.as_u64().unwrap()
    );
    assert_eq!(answer.header("x-neurohttp-model").unwrap(), "echo");
    assert_eq!(answer.header("x-neurohttp-provider").unwrap(), "echo");
    server.stop();
}

/// The pieces of a streamed chat completion, put together.
fn text_of(events: &[String]) -> String {
    events
        .iter()
        .filter(|event| *event != "[DONE]")
        .map(|event| serde_json::from_str::<Value>(event).unwrap())
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect()
}

#[test]
fn a_stream_comes_token_by_token() {
    let server = Server::gateway(&[]);
    let prompt = "one two  three\nfour \u{1f600} five";
    let request = json!({"model": "echo", "stream": true, "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": prompt}]});
    let mut connection = server.connect();
    let answer = connection.post("/v1/chat/completions", &request.to_string()).answer();
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").unwrap().starts_with("text/event-stream"));
    let events = answer.events();
    assert_eq!(events.last().unwrap(), "[DONE]");
    assert_eq!(text_of(&events), prompt);
    assert!(events.len() > 5, "more than one piece");
    let chunks: Vec<Value> = events[..events.len() - 1]
        .iter()
        .map(|event| serde_json::from_str(event).unwrap())
        .collect();
    assert!(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk"));
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]));
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let reasons = chunks.iter().filter(|c| c["choices"][0]["finish_reason"] == "stop").count();
    assert_eq!(reasons, 1);
    let usage = &chunks.last().unwrap()["usage"];
    assert!(usage["total_tokens"].as_u64().unwrap() > 0);
    // The connection is whole afterwards.
    assert_eq!(connection.get("/health").answer().status, 200);
    server.stop();
}

#[test]
fn the_short_form_streams_too() {
    let server = Server::gateway(&[]);
    let answer = post(&server, "/v1/chat", &json!({"prompt": "a b c", "stream": true}));
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").unwrap().starts_with("text/event-stream"));
    let deltas: Vec<Value> = answer
        .events()
        .iter()
        .filter(|event| *event != "[DONE]")
        .map(|event| serde_json::from_str(event).unwrap())
        .collect();
    let text: String = deltas.iter().filter_map(|delta| delta["delta"].as_str()).collect();
    assert_eq!(text, "a b c");
    let last = deltas.last().unwrap();
    assert_eq!(last["done"], json!(true));
    assert_eq!(last["usage"]["completion_tokens"], json!(3));
    server.stop();
}

#[test]
fn models_are_listed_and_looked_up() {
    let server = Server::gateway(&[]);
    let mut connection = server.connect();
    let list = connection.get("/v1/models").answer().json();
    assert_eq!(list["object"], "list");
    let ids: Vec<&str> =
        list["data"].as_array().unwrap().iter().filter_map(|model| model["id"].as_str()).collect();
    assert!(ids.contains(&"echo"), "{list}");
    let model = connection.get("/v1/models/echo").answer().json();
    assert_eq!((&model["id"], &model["object"]), (&json!("echo"), &json!("model")));
    let answer = connection.get("/v1/models/none").answer();
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (404, &json!("model_not_found")));
    server.stop();
}

#[test]
fn wrong_requests_get_the_dialects_errors() {
    let server = Server::gateway(&[]);
    let mut connection = server.connect();
    let hello = r#""messages":[{"role":"user","content":"x"}]"#;
    for (target, body, status) in [
        ("/v1/chat/completions", "".to_owned(), 400),
        ("/v1/chat/completions", "{".to_owned(), 400),
        ("/v1/chat/completions", "[]".to_owned(), 400),
        ("/v1/chat/completions", "null".to_owned(), 400),
        ("/v1/chat/completions", "{}".to_owned(), 400),
        ("/v1/chat/completions", r#"{"messages":[]}"#.to_owned(), 400),
        ("/v1/chat/completions", r#"{"messages":"hello"}"#.to_owned(), 400),
        ("/v1/chat/completions", r#"{"messages":[{"role":7}]}"#.to_owned(), 400),
        ("/v1/chat/completions", format!(r#"{{"model":7,{hello}}}"#), 400),
        ("/v1/chat/completions", format!(r#"{{"stream":"yes",{hello}}}"#), 400),
        ("/v1/chat/completions", format!("{{{hello}}} and more"), 400),
        ("/v1/chat/completions", format!(r#"{{"model":"none",{hello}}}"#), 404),
        ("/v1/chat/completions", format!(r#"{{"model":"none/none",{hello}}}"#), 404),
        ("/v1/chat", r#"{"prompt":7}"#.to_owned(), 400),
        ("/v1/chat", r#"{"message":"x"}"#.to_owned(), 400),
        ("/v1/chat", "[".repeat(100_000), 400),
    ] {
        let answer = connection.post(target, &body).answer();
        let shown: String = body.chars().take(80).collect();
        assert_eq!(answer.status, status, "{shown} got {}", answer.text());
        let error = &answer.json()["error"];
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{shown}");
        assert!(error["type"].is_string());
        assert!(error.get("param").is_some() && error.get("code").is_some(), "{shown}");
        if status == 404 {
            assert_eq!(error["code"], "model_not_found");
        }
    }
    // Bytes that are not UTF-8 are a malformed request too.
    connection.send(
        b"POST /v1/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14\r\n\r\n{\"prompt\":\"\xff\"}",
    );
    assert_eq!(connection.answer().status, 400);
    assert_eq!(connection.get("/v1/chat").answer().status, 405);
    server.stop();
}

#[test]
fn a_request_id_is_taken_over_when_sane_else_made() {
    let server = Server::gateway(&[]);
    let mut connection = server.connect();
    let mut ask = |id: &str| {
        connection.send(format!("GET /health HTTP/1.1\r\nHost: h\r\nX-Request-Id: {id}\r\n\r\n"));
        connection.answer().header("x-request-id").unwrap()
    };
    assert_eq!(ask("abc-123_X.y"), "abc-123_X.y");
    let long = "x".repeat(1000);
    let made = [ask(""), ask("two words"), ask("<script>"), ask(&long)];
    for (index, id) in made.iter().enumerate() {
        assert!(id.len() >= 8 && id.len() < 200 && !id.contains([' ', '<']), "{id}");
        assert!(!made[..index].contains(id), "twice the same");
    }
    server.stop();
}

#[test]
fn a_client_that_leaves_a_stream_is_noticed() {
    let server = Server::gateway(&["server.workers=1"]);
    let before = server.descriptors();
    let prompt = "word ".repeat(200_000);
    let body = format!("{{\"prompt\":\"{prompt}\",\"stream\":true}}");
    for way in 0..6 {
        let mut connection = server.connect();
        connection.receive_little().post("/v1/chat", &body);
        assert_eq!(connection.head().status, 200);
        match way % 3 {
            0 => drop(connection),
            1 => connection.reset(),
            _ => {
                connection.finish(); // on an AI answer, half closed is gone
                let rest = connection.rest();
                assert!(!rest.ends_with(b"0\r\n\r\n"));
            }
        }
    }
    let mut probe = server.connect();
    crate::support::wait_until("every stream is gone", || {
        assert_eq!(probe.get("/health").answer().status, 200);
        server.descriptors() <= before + 1
    });
    server.stop();
}

#[test]
fn the_statistics_are_json_and_name_nobody() {
    let server = Server::gateway(&["auth.keys=[\"a-secret-key\"]"]);
    let mut connection = server.connect();
    connection.send(
        "POST /v1/chat HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer a-secret-key\r\n\
         Content-Length: 28\r\n\r\n{\"prompt\":\"a secret prompt!\"}"
            .replace("28", "29"),
    );
    assert_eq!(connection.answer().status, 200);
    for target in ["/stats", "/", "/ready"] {
        let answer = connection.get(target).answer();
        assert_eq!(answer.status, 200, "{target}");
        assert!(answer.json().is_object());
        let is_told =
            ["a-secret-key", "a secret prompt"].iter().any(|it| answer.text().contains(it));
        assert!(!is_told, "{}", answer.text());
    }
    let kernels = connection.get("/stats").answer().json()["kernels"].clone();
    let level = kernels["level"].as_str().expect("a level").to_owned();
    assert_eq!(kernels["self_test"], "passed", "{kernels}");
    let output = server.stop();
    assert!(!output.contains("secret"), "{output}");
    assert!(output.contains(&format!("CPU kernels: {level}")), "{output}");
}

/// A gateway that takes what a provider refuses, or reads another value than the provider, can be deceived.
/// The library's corpus is in src/json/tests.rs; this is what it means at the door.
#[test]
fn json_is_taken_as_strictly_as_others_take_it() {
    let server = Server::gateway(&[]);
    let check = |body: &[u8], status: u16, code: &str| {
        let mut connection = server.connect();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        connection.send([head.as_bytes(), body].concat());
        let answer = connection.answer();
        let text = body.escape_ascii();
        assert_eq!(answer.status, status, "{text}: {}", answer.text());
        if status != 200 {
            assert_eq!(answer.json()["error"]["code"], code, "{text}");
        }
    };
    let with = |member: &str| {
        format!(r#"{{"model":"echo","messages":[{{"role":"user","content":"hi"}}]{member}}}"#)
    };
    let nested = |levels| format!(r#","x":{}{}"#, "[".repeat(levels), "]".repeat(levels));
    for member in
        ["", r#","x":"\ud83d\ude00""#, r#","x":123456789012345678901234567890"#, r#","x":1e-999"#]
    {
        check(with(member).as_bytes(), 200, "");
    }
    check(with(&nested(126)).as_bytes(), 200, "");
    check(with(&nested(127)).as_bytes(), 400, "invalid_json");
    for member in [r#","x":"\ud800""#, r#","x":1e999"#, ",", r#","x":01"#, r#","x":NaN"#] {
        check(with(member).as_bytes(), 400, "invalid_json");
    }
    check(format!("\u{feff}{}", with("")).as_bytes(), 400, "invalid_json");
    check(&[with("").as_bytes(), b"\0"].concat(), 400, "invalid_json");
    check(with("").replace("hi", "\u{1}").as_bytes(), 400, "invalid_json");
    check(
        &with("")
            .into_bytes()
            .iter()
            .map(|&b| if b == b'h' { 0xff } else { b })
            .collect::<Vec<_>>(),
        400,
        "invalid_json",
    );
    for member in [r#","model":"echo""#, r#","mod\u0065l":"echo""#, r#","messages":[]"#] {
        check(with(member).as_bytes(), 400, "duplicate_member");
    }
    check(
        with("").replace("user\"", "user\",\"role\":\"system\"").as_bytes(),
        400,
        "duplicate_member",
    );
}
