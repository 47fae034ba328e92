//! Whole requests of `tests/data/firewall`: those of published exploits are refused, those of
//! applications and of people who ask models about exploits pass.

use serde_json::json;

use super::corpus::{BLOCK, Bench, parsed};
use super::inspect::BodyProfile;
use crate::exchange::Request;

fn read(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/firewall/");
    std::fs::read_to_string(format!("{folder}{name}")).unwrap()
}

/// The requests of a file by their names: behind each `###` a name, then the request as it is sent.
fn requests(corpus: &str) -> impl Iterator<Item = (&str, String, String)> {
    corpus.split("\n### ").skip(1).map(|one| {
        let (name, text) = one.split_once('\n').unwrap();
        let (head, body) = text.trim_end().split_once("\n\n").unwrap_or((text.trim_end(), ""));
        let is_multipart = head.contains("multipart/form-data; boundary");
        let body = if is_multipart { body.replace('\n', "\r\n") } else { body.to_owned() };
        (name, head.replace('\n', "\r\n"), body)
    })
}

fn profile_of(request: &Request) -> BodyProfile {
    let is_model = request.path().starts_with(b"/v1/");
    if is_model { BodyProfile::Model } else { BodyProfile::Plain }
}

/// Wrong: a published exploit in the spelling in which it is sent.
#[test]
fn published_exploits_are_refused() {
    let mut bench = Bench::new();
    let (mut all, mut missed) = (0, Vec::new());
    for (name, head, body) in requests(&read("exploits.http")) {
        all += 1;
        // What is no request to the parser is refused by it.
        let Some(request) = parsed(&head, body.as_bytes()) else { continue };
        let score = bench.score(&request, profile_of(&request));
        if score < BLOCK {
            missed.push(format!("{score} {name} {:?}", bench.scan.findings()));
        }
    }
    println!("exploits: missed {} of {all}\n{}", missed.len(), missed.join("\n"));
    assert!(missed.is_empty());
}

/// Wrong: a request that somebody sends in good faith.
#[test]
fn requests_in_good_faith_pass() {
    let mut bench = Bench::new();
    let (mut all, mut refused) = (0, Vec::new());
    for (name, head, body) in requests(&read("good-faith.http")) {
        all += 1;
        let request = parsed(&head, body.as_bytes()).unwrap();
        let score = bench.score(&request, profile_of(&request));
        // Neither 403 nor 429.
        if score >= BLOCK - 1 {
            refused.push(format!("{score} {name} {:?}", bench.scan.findings()));
        }
    }
    println!("good faith: refused {} of {all}\n{}", refused.len(), refused.join("\n"));
    assert!(refused.is_empty());
}

/// A text in every part of a request in which language stands, in each dialect.
fn bodies(text: &str) -> Vec<(&'static str, serde_json::Value)> {
    let arguments = json!({ "command": text, "files": [{ "path": text, "$where": text }] });
    let tool = |name: &str| json!({ "name": name, "description": text });
    vec![
        (
            "/v1/chat/completions",
            json!({
                "model": "m",
                "stop": [text],
                "tools": [{ "type": "function", "function": {
                    "name": "run",
                    "description": text,
                    "parameters": { "type": "object", "properties": { text: { "default": text } } },
                } }],
                "prediction": { "type": "content", "content": text },
                "messages": [
                    { "role": "system", "content": text },
                    { "role": "developer", "content": [{ "type": "text", "text": text }] },
                    { "role": "user", "name": "ann", "content": text },
                    { "role": "assistant", "refusal": text, "reasoning_content": text, "tool_calls": [
                        { "id": "call_1", "type": "function", "function": {
                            "name": "run", "arguments": arguments.to_string() } },
                        { "id": "call_2", "type": "custom", "custom": { "name": "c", "input": text } },
                    ] },
                    { "role": "tool", "tool_call_id": "call_1", "content": text },
                    { "role": "function", "name": "run", "content": text },
                ],
            }),
        ),
        (
            "/v1/messages",
            json!({
                "model": "m",
                "max_tokens": 9,
                "system": [{ "type": "text", "text": text, "cache_control": { "type": "ephemeral" } }],
                "stop_sequences": [text],
                "tools": [{ "name": "run", "description": text, "input_schema": {
                    "type": "object", "properties": { "q": { "description": text, "enum": [text] } } } }],
                "messages": [
                    { "role": "user", "content": text },
                    { "role": "user", "content": [
                        { "type": "text", "text": text },
                        { "type": "document", "title": text, "context": text,
                          "source": { "type": "text", "media_type": "text/plain", "data": text } },
                        { "type": "document", "source": { "type": "content", "content": [
                            { "type": "text", "text": text }] } },
                    ] },
                    { "role": "assistant", "content": [
                        { "type": "thinking", "thinking": text, "signature": "c2ln" },
                        { "type": "tool_use", "id": "toolu_1", "name": "run", "input": arguments },
                        { "type": "text", "text": text, "citations": [{ "cited_text": text }] },
                    ] },
                    { "role": "user", "content": [
                        { "type": "tool_result", "tool_use_id": "toolu_1", "content": text },
                        { "type": "tool_result", "tool_use_id": "toolu_2", "is_error": true,
                          "content": [{ "type": "text", "text": text }] },
                    ] },
                ],
            }),
        ),
        (
            "/v1/responses",
            json!({
                "model": "m",
                "instructions": text,
                "tools": [tool("run"), { "type": "function", "name": "f", "description": text,
                    "parameters": { "type": "object", "properties": { "q": { "pattern": text } } } }],
                "input": [
                    { "role": "user", "content": text },
                    { "type": "message", "role": "user", "content": [
                        { "type": "input_text", "text": text }] },
                    { "type": "message", "role": "assistant", "content": [
                        { "type": "output_text", "text": text, "annotations": [{ "title": text }] }] },
                    { "type": "reasoning", "summary": [{ "type": "summary_text", "text": text }] },
                    { "type": "function_call", "call_id": "c1", "name": "run",
                      "arguments": arguments.to_string() },
                    { "type": "function_call_output", "call_id": "c1", "output": text },
                    { "type": "function_call_output", "call_id": "c1", "output": [
                        { "type": "input_text", "text": text }] },
                    { "type": "local_shell_call", "call_id": "c2", "action": {
                        "type": "exec", "command": ["bash", "-lc", text] } },
                    { "type": "shell_call_output", "call_id": "c3", "output": [
                        { "stdout": text, "stderr": text, "outcome": { "type": "exit" } }] },
                    { "type": "apply_patch_call", "call_id": "c4", "operation": {
                        "type": "update_file", "path": "src/a.rs", "diff": text } },
                    { "type": "mcp_call", "name": "m", "arguments": text, "output": text },
                    { "type": "custom_tool_call", "name": "c", "input": text },
                    { "type": "custom_tool_call_output", "output": text },
                ],
            }),
        ),
        ("/v1/responses", json!({ "model": "m", "input": text })),
        ("/v1/completions", json!({ "model": "m", "prompt": [text], "suffix": text })),
        ("/v1/embeddings", json!({ "model": "m", "input": [text, text] })),
        ("/v1/chat", json!({ "prompt": text })),
    ]
}

/// Wrong: a request that is refused, or even told, for what people, tools or documents say.
#[test]
fn language_passes_in_every_dialect() {
    let mut bench = Bench::new();
    let corpus = read("prompts.txt");
    let (mut all, mut told, mut plain) = (0, Vec::new(), 0);
    let prompts = corpus.split("\n### ").skip(1).map(|one| one.split_once('\n').unwrap());
    for (name, text) in prompts {
        all += 1;
        for (path, body) in bodies(text.trim_end()) {
            let head = format!("POST {path} HTTP/1.1\r\nContent-Type: application/json");
            let request = parsed(&head, body.to_string().as_bytes()).unwrap();
            let score = bench.score(&request, BodyProfile::Model);
            if score > 0 {
                told.push(format!("{score} {name} {path} {:?}", bench.scan.findings()));
            }
        }
        let body = json!({ "q": text }).to_string();
        let head = "POST /x HTTP/1.1\r\nContent-Type: application/json";
        let request = parsed(head, body.as_bytes()).unwrap();
        if bench.score(&request, BodyProfile::Plain) >= BLOCK - 1 {
            println!("refused in a plain field: {name} {:?}", bench.scan.findings());
            plain += 1;
        }
    }
    println!("prompts: told {} of {all}, refused in a plain field {plain}", told.len());
    println!("{}", told.join("\n"));
    assert!(told.is_empty());
}

/// Wrong: a password, a key or what somebody wrote in a line of the log.
#[test]
fn neither_secrets_nor_language_are_shown() {
    let mut bench = Bench::new();
    let sql = "' union select password from users--";
    let form = "POST /x HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded";
    let json = "POST /x HTTP/1.1\r\nContent-Type: application/json";
    let written = "please tell me what is wrong with this: select a from b; drop table users";
    for (head, body, is_shown) in [
        (form.to_owned(), format!("id={sql}"), true),
        (form.to_owned(), format!("Password={sql}"), false),
        (form.to_owned(), format!("csrf_token={sql}"), false),
        (json.to_owned(), json!({ "id": sql }).to_string(), true),
        (json.to_owned(), json!({ "apiKey": sql }).to_string(), false),
        (json.to_owned(), json!({ "q": written }).to_string(), false),
        (format!("GET /x HTTP/1.1\r\nX-Auth-Token: {sql}"), String::new(), false),
        (format!("GET /x HTTP/1.1\r\nCookie: a={sql}"), String::new(), false),
        (format!("GET /x HTTP/1.1\r\nX-Id: {sql}"), String::new(), true),
    ] {
        let request = parsed(&head, body.as_bytes()).unwrap();
        assert!(bench.score(&request, BodyProfile::Plain) > 0, "{head} {body}");
        let mut findings = bench.scan.findings().iter();
        assert!(findings.all(|it| it.shown.is_empty() != is_shown), "{head} {body}");
    }
}
