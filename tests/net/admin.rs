//! The operator's routes: who may use them, what they show.

use std::net::Ipv4Addr;

use serde_json::json;

use crate::support::process::Server;
use crate::support::wire::{Answer, Connection};

/// A request with these field lines.
fn ask(server: &Server, first: &str, fields: &[&str]) -> Answer {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    server.connect().send(format!("{first} HTTP/1.1\r\n{fields}\r\n")).answer()
}

fn code(answer: &Answer) -> String {
    answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn without_a_key_only_this_machine_is_answered() {
    let server = Server::gateway(&["server.listen=0.0.0.0:0"]);
    const HOST: &str = "Host: localhost";
    for (fields, status) in [
        (&[HOST][..], 200),
        (&["Host: 127.0.0.1:8080"], 200),
        (&["Host: [::1]"], 200),
        (&[HOST, "Origin: http://localhost:3000"], 200),
        (&["Host: example.com"], 403),
        (&[HOST, "Origin: http://example.com"], 403),
        (&[HOST, "Origin: null"], 403),
        (&[HOST, "X-Forwarded-For: 127.0.0.1"], 403),
        (&[HOST, "Forwarded: for=127.0.0.1"], 403),
        (&[HOST, "Via: 1.1 front"], 403),
    ] {
        for path in ["/admin/models", "/admin/nothing-here", "/dashboard/nothing-here"] {
            let answer = ask(&server, &format!("GET {path}"), fields);
            let want = if status == 200 && path.ends_with("here") { 404 } else { status };
            assert_eq!(answer.status, want, "{path} {fields:?}");
            if status == 403 {
                assert_eq!(code(&answer), "not_loopback");
            }
        }
    }
    server.stop();
}

#[test]
fn another_machine_is_refused_without_a_key() {
    let server = Server::gateway(&["firewall.trusted_proxies=127.0.0.1/32"]);
    let request = "GET /admin/models HTTP/1.1\r\nHost: localhost\r\n";
    let forwarded = format!("{request}X-Forwarded-For: 203.0.113.7\r\n\r\n");
    assert_eq!(server.connect().send(forwarded).answer().status, 403);
    let other = Connection::open_from(Ipv4Addr::new(127, 0, 0, 2), server.port).unwrap();
    let mut other = other;
    assert_eq!(other.send(format!("{request}\r\n")).answer().status, 200);
    server.stop();
}

#[test]
fn with_a_key_only_the_key_counts() {
    let server = Server::gateway(&["admin.key=secret-of-the-operator"]);
    for (fields, status) in [
        (&["Host: example.com", "Authorization: Bearer secret-of-the-operator"][..], 200),
        (&["Host: example.com", "x-api-key: secret-of-the-operator"], 200),
        (&["Host: localhost"], 401),
        (&["Host: localhost", "Authorization: Bearer secret-of-the-operato"], 401),
        (&["Host: localhost", "Authorization: Bearer secret-of-the-operatorr"], 401),
        (&["Host: localhost", "Authorization: Basic secret-of-the-operator"], 401),
    ] {
        let answer = ask(&server, "GET /admin/models", fields);
        assert_eq!(answer.status, status, "{fields:?}");
        if status == 401 {
            assert_eq!(answer.header("www-authenticate").unwrap(), "Bearer");
            assert!(!answer.text().contains("secret"), "{}", answer.text());
        }
    }
    server.stop();
}

#[test]
fn what_is_shown_holds_no_secret() {
    let server = Server::gateway(&[
        "key.team-a.key=sk-team-a",
        "key.team-a.requests_per_minute=60",
        "key.team-a.models=fast",
        "auth.keys=sk-plain",
        "provider.up.kind=openai",
        "provider.up.base_url=http://127.0.0.1:9",
        "provider.up.api_key=sk-upstream",
        "model.fast.targets=[{ provider = \"up\", model = \"big\", weight = 3 }]",
        "firewall.deny=203.0.113.0/24",
        "auth.open=true",
    ]);
    let mut all = String::new();
    let mut show = |path: &str| {
        let answer = ask(&server, &format!("GET {path}"), &["Host: localhost"]);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("cache-control").unwrap(), "no-store");
        all.push_str(answer.text());
        answer.json()
    };
    let models = show("/admin/models");
    assert_eq!(models["default"], "fast");
    let fast = &models["models"][0];
    assert_eq!(fast["name"], "fast");
    assert_eq!(fast["strategy"], "priority");
    assert_eq!(fast["available"], true);
    assert_eq!(fast["targets"][0]["provider"], "up");
    assert_eq!(fast["targets"][0]["model"], "big");
    assert_eq!(fast["targets"][0]["open"], true);
    let keys = show("/admin/keys");
    let team = json!({
        "name": "team-a", "models": ["fast"], "requests_per_minute": 60, "tokens_per_minute": 0,
    });
    assert_eq!(keys, json!({ "keys": [team], "without_name": 1 }));
    let firewall = show("/admin/firewall");
    assert_eq!(firewall["deny"][0]["range"], "203.0.113.0/24");
    assert_eq!(firewall["blocked"], json!([]));
    assert_eq!(show("/admin/cache")["entries"], 0);
    assert_eq!(show("/admin/plugins"), json!({ "plugins": [] }));
    assert!(!all.contains("sk-"), "{all}");
    server.stop();
}

/// The key of operators, where one is set.
pub const KEY: &str = "x-api-key: sk-operator";

/// A change, as `curl -X METHOD -H 'Content-Type: application/json' -d BODY` asks for it.
pub fn change(server: &Server, method: &str, path: &str, body: &str) -> Answer {
    let length = body.len();
    let fields = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n");
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}{KEY}");
    server.connect().send(format!("{head}\r\n\r\n{body}")).answer()
}

/// What a route shows.
pub fn shown(server: &Server, path: &str) -> serde_json::Value {
    let answer = ask(server, &format!("GET {path}"), &["Host: localhost", KEY]);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

/// The text that a model answers a prompt with, or the status and code.
fn chat(server: &Server, model: &str) -> Result<String, (u16, String)> {
    let body = json!({ "model": model, "messages": [{ "role": "user", "content": "hi" }] });
    let answer = server.connect().post("/v1/chat/completions", &body.to_string()).answer();
    match answer.status {
        200 => Ok(answer.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()),
        status => Err((status, code(&answer))),
    }
}

/// The program with a file of its own, so that it can be read anew.
fn from_file(name: &str, text: &str) -> (Server, std::path::PathBuf) {
    let file = crate::support::stage::scratch().join(format!("admin-{name}.toml"));
    std::fs::write(&file, text).unwrap();
    let mut command = crate::support::process::program();
    command.args(["serve", "--listen", "127.0.0.1:0", "--set", "admin.key=sk-operator", "-c"]);
    command.arg(&file);
    (Server::start(&mut command), file)
}

#[test]
fn a_change_must_be_json_and_come_from_no_other_page() {
    let server = Server::gateway(&[]);
    let post = |fields: &[&str]| {
        let mut all = vec!["Host: localhost:80", "Content-Length: 0"];
        all.extend(fields);
        ask(&server, "POST /admin/cache/clear", &all)
    };
    const JSON: &str = "Content-Type: application/json";
    for (fields, status) in [
        (&[JSON][..], 200),
        (&["Content-Type: Application/JSON; charset=utf-8"], 200),
        (&[JSON, "Origin: http://localhost:80"], 200),
        (&[JSON, "Sec-Fetch-Site: same-origin"], 200),
        (&[], 415),
        (&["Content-Type: text/plain"], 415),
        (&["Content-Type: application/x-www-form-urlencoded"], 415),
        (&[JSON, "Origin: http://localhost:3000"], 403),
        (&[JSON, "Origin: http://example.com"], 403),
        (&[JSON, "Sec-Fetch-Site: cross-site"], 403),
        (&[JSON, "Sec-Fetch-Site: same-site"], 403),
    ] {
        assert_eq!(post(fields).status, status, "{fields:?}");
    }
    for (body, message) in [
        ("[1]", "no JSON object"),
        ("{", "no JSON"),
        (r#"{"range": 5}"#, "no string"),
        ("{}", "missing"),
        (r#"{"range": "10.0.0.0/8", "seconds": -1}"#, "from 0 up"),
        (r#"{"range": "10.0.0.0/8", "frob": 1}"#, "`frob` is not known"),
        (r#"{"range": "ten"}"#, "no address range"),
    ] {
        let answer = change(&server, "POST", "/admin/firewall/deny", body);
        assert_eq!(answer.status, 400, "{body}");
        let error = answer.json()["error"].clone();
        assert!(error["message"].as_str().unwrap().contains(message), "{body}: {error}");
        assert_eq!(error["type"], "invalid_request_error");
    }
    let huge = format!("POST /admin/cache/clear HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\n");
    let huge = format!("{huge}Content-Length: 300000\r\n\r\n");
    assert_eq!(server.connect().send(huge).answer().status, 413);
    assert_eq!(ask(&server, "GET /admin/reload", &["Host: localhost"]).status, 405);
    server.stop();
}

/// What would break: every account on the machine is more than an operator.
#[test]
fn without_a_key_nobody_gets_at_credentials_files_or_code() {
    let server = Server::gateway(&["provider.up.kind=openai", "provider.up.api_key=sk-up"]);
    for (method, path, body, code_of) in [
        ("PUT", "config/provider.up.base_url", r#"{"value": "http://x/"}"#, "admin_key_needed"),
        ("PUT", "config/log.file", r#"{"value": "/tmp/x"}"#, "admin_key_needed"),
        ("PUT", "config/admin.key", r#"{"value": "mine"}"#, "admin_key_needed"),
        ("PUT", "config/server.listen", r#"{"value": "0.0.0.0:0"}"#, "admin_key_needed"),
        ("PUT", "config/plugins.dir", r#"{"value": "/tmp"}"#, "file_only"),
        ("PUT", "keys/mine", r#"{"key": "mine"}"#, "admin_key_needed"),
        ("POST", "plugins", r#"{"name": "logstats", "config": ""}"#, "admin_key_needed"),
    ] {
        let answer = change(&server, method, &format!("/admin/{path}"), body);
        assert_eq!((answer.status, code(&answer).as_str()), (403, code_of), "{path}");
    }
    let burst = change(&server, "PUT", "/admin/config/firewall.burst", r#"{"value": 5}"#);
    assert_eq!(burst.status, 200);
    let output = server.stop();
    assert!(output.contains("set plugins.dir: refused: "), "{output}");
}

#[test]
fn keys_are_set_checked_and_kept() {
    let (mut server, file) = from_file("set", "[limits]\nbody = 1000\n");
    let told = change(&server, "PUT", "/admin/config/firewall.burst", r#"{"value": 50}"#);
    assert_eq!(told.json(), json!({ "changed": ["firewall.burst"], "needs_restart": [] }));
    let told = change(&server, "PUT", "/admin/config/server.workers", r#"{"value": "3"}"#);
    let (changed, restart) = (["server.workers"], ["server.workers"]);
    assert_eq!(told.json(), json!({ "changed": changed, "needs_restart": restart }));
    for (key, body) in [
        ("firewall.burst", r#"{"value": "many"}"#),
        ("firewall.frob", r#"{"value": 1}"#),
        ("frob", r#"{"value": 1}"#),
        ("limits.body", r#"{"value": -1}"#),
        ("limits.body", r#"{"value": null}"#),
        ("server.listen", r#"{"value": ["nowhere"]}"#),
        ("tls.cert", r#"{"value": "x"}"#),
        ("model.x.targets", r#"{"value": [{"provider": "nobody"}]}"#),
    ] {
        let answer = change(&server, "PUT", &format!("/admin/config/{key}"), body);
        assert_eq!(answer.status, 400, "{key} {body}: {}", answer.text());
    }
    // What was refused has left nothing behind.
    let config = shown(&server, "/admin/config");
    assert_eq!(config["set"], json!(["firewall.burst", "server.workers"]));
    assert_eq!(config["needs_restart"], json!(["server.workers"]));
    assert_eq!(config["files"], json!([file.display().to_string()]));
    let toml = config["toml"].as_str().unwrap().to_owned();
    assert!(toml.contains("burst = 50") && toml.contains("body = 1000"), "{toml}");
    // A reload keeps what was set.
    std::fs::write(&file, "[limits]\nbody = 500\n[firewall]\nburst = 7\n").unwrap();
    server.line(|line| line.contains("a file has changed") && line.contains("limits.body"));
    let told = change(&server, "POST", "/admin/reload", "");
    assert_eq!(told.json(), json!({ "changed": [], "needs_restart": ["server.workers"] }));
    let toml = shown(&server, "/admin/config")["toml"].as_str().unwrap().to_owned();
    assert!(toml.contains("burst = 50") && toml.contains("body = 500"), "{toml}");
    // Until it is taken back.
    assert_eq!(change(&server, "DELETE", "/admin/config/limits.body", "").status, 404);
    assert_eq!(change(&server, "DELETE", "/admin/config/firewall.burst", "").status, 200);
    let toml = shown(&server, "/admin/config")["toml"].as_str().unwrap().to_owned();
    assert!(toml.contains("burst = 7\n"), "{toml}");
    server.stop();
}

#[test]
fn models_come_go_and_are_switched() {
    let text = "[[model]]\nname = \"a\"\ntargets = [{ provider = \"echo\" }]\n";
    let (server, _) = from_file("models", text);
    assert_eq!(chat(&server, "a"), Ok("hi".to_owned()));
    let unknown = Err((404, "model_not_found".to_owned()));
    assert_eq!(chat(&server, "lab/b.1"), unknown);
    let body = r#"{"targets": [{"provider": "echo", "model": "e"}], "aliases": ["bee"]}"#;
    let told = change(&server, "PUT", "/admin/models/lab/b.1", body);
    assert_eq!(told.json()["changed"], json!(["model.lab/b.1"]));
    assert_eq!(chat(&server, "bee"), Ok("hi".to_owned()));
    let told = change(&server, "PATCH", "/admin/models/lab/b.1", r#"{"default": true}"#);
    assert_eq!(
        (told.status, &shown(&server, "/admin/models")["default"]),
        (200, &json!("lab/b.1"))
    );
    change(&server, "PATCH", "/admin/models/a", r#"{"available": false}"#);
    let switched_off = Err((503, "model_unavailable".to_owned()));
    assert_eq!(chat(&server, "a"), switched_off);
    // All of it outlives a reload.
    assert_eq!(change(&server, "POST", "/admin/reload", "").status, 200);
    assert_eq!(chat(&server, "a"), switched_off);
    assert_eq!(shown(&server, "/admin/models")["default"], "lab/b.1");
    change(&server, "PATCH", "/admin/models/a", r#"{"available": true}"#);
    assert_eq!(chat(&server, "a"), Ok("hi".to_owned()));
    for name in ["a", "lab/b.1"] {
        assert_eq!(change(&server, "DELETE", &format!("/admin/models/{name}"), "").status, 200);
        assert_eq!(chat(&server, name), unknown, "{name}");
        assert_eq!(change(&server, "DELETE", &format!("/admin/models/{name}"), "").status, 404);
    }
    assert_eq!(change(&server, "POST", "/admin/reload", "").status, 200);
    assert_eq!(chat(&server, "a"), unknown);
    let body = r#"{"targets": [{"provider": "echo"}]}"#;
    assert_eq!(change(&server, "PUT", "/admin/models/a", body).status, 200);
    assert_eq!(chat(&server, "a"), Ok("hi".to_owned()));
    for (body, why) in [
        (r#"{"targets": []}"#, "no targets"),
        (r#"{"targets": [{"provider": "nobody"}]}"#, "no provider"),
        (r#"{"strategy": "best"}"#, "no strategy"),
        (r#"{}"#, "nothing"),
        (r#"{"a.b": 1}"#, "a point"),
    ] {
        assert_eq!(change(&server, "PUT", "/admin/models/c", body).status, 400, "{why}");
    }
    let nobody = change(&server, "PATCH", "/admin/models/nobody", r#"{"available": true}"#);
    assert_eq!(nobody.status, 404);
    server.stop();
}

#[test]
fn keys_come_and_go_and_no_line_tells_them() {
    let (server, _) = from_file("keys", "[auth]\nkeys = [\"sk-first\"]\n");
    let status = |key: &str| {
        let fields = ["Host: x".to_owned(), format!("x-api-key: {key}")];
        ask(&server, "GET /v1/models", &[&fields[0], &fields[1]]).status
    };
    assert_eq!((status("sk-first"), status("sk-second")), (200, 401));
    let body = r#"{"key": "sk-second", "models": ["echo"], "requests_per_minute": 5}"#;
    let told = change(&server, "PUT", "/admin/keys/team-b", body);
    assert_eq!(told.json()["changed"], json!(["key.team-b"]));
    assert_eq!((status("sk-first"), status("sk-second")), (200, 200));
    // A limit changes, the key stays.
    change(&server, "PUT", "/admin/keys/team-b", r#"{"requests_per_minute": 9}"#);
    let key = shown(&server, "/admin/keys")["keys"][0].clone();
    assert_eq!((&key["requests_per_minute"], &key["models"]), (&json!(9), &json!(["echo"])));
    assert_eq!(status("sk-second"), 200);
    assert_eq!(change(&server, "DELETE", "/admin/keys/team-b", "").status, 200);
    assert_eq!(change(&server, "DELETE", "/admin/keys/team-b", "").status, 404);
    assert_eq!((status("sk-first"), status("sk-second")), (200, 401));
    assert_eq!(change(&server, "PUT", "/admin/keys/c", r#"{"models": ["echo"]}"#).status, 400);
    let config = shown(&server, "/admin/config").to_string();
    assert!(!config.contains("sk-"), "{config}");
    let output = server.stop();
    assert!(output.contains("admin: 127.0.0.1:"), "{output}");
    assert!(output.contains("set key.team-b.key, key.team-b.models"), "{output}");
    assert!(output.contains("remove key.team-b"), "{output}");
    assert!(!output.contains("sk-"), "{output}");
}

#[test]
fn the_firewall_and_the_cache_are_changed() {
    let (mut server, _) = from_file("firewall", "[firewall]\ndeny = [\"198.51.100.0/24\"]\n");
    let post = |path: &str, body: &str| change(&server, "POST", path, body).status;
    assert_eq!(post("/admin/firewall/allow", r#"{"range": "10.0.0.0/8", "seconds": 60}"#), 200);
    let deny = r#"{"range": "203.0.113.0/24", "reason": "scanner"}"#;
    assert_eq!(post("/admin/firewall/deny", deny), 200);
    assert_eq!(post("/admin/firewall/block", r#"{"address": "127.0.0.9"}"#), 200);
    assert_eq!(post("/admin/firewall/forget", r#"{"range": "198.51.100.0/24"}"#), 200);
    assert_eq!(post("/admin/firewall/forget", r#"{"range": "192.0.2.0/24"}"#), 404);
    // Lists outlive a reload, and so does what was taken off them.
    assert_eq!(post("/admin/reload", ""), 200);
    let firewall = shown(&server, "/admin/firewall");
    let ranges = |list: &str| -> Vec<String> {
        let list = firewall[list].as_array().unwrap();
        list.iter().map(|it| it["range"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ranges("allow"), ["10.0.0.0/8"]);
    assert_eq!(ranges("deny"), ["127.0.0.9/32", "203.0.113.0/24"]);
    assert_eq!(firewall["deny"][1]["reason"], "scanner");
    let from = std::net::Ipv4Addr::new(127, 0, 0, 9);
    let mut blocked = Connection::open_from(from, server.port).unwrap();
    drop(blocked.try_send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert!(blocked.rest_or_reset().is_empty());
    assert_eq!(post("/admin/firewall/unblock", r#"{"address": "127.0.0.9"}"#), 200);
    let mut free = Connection::open_from(from, server.port).unwrap();
    assert_eq!(free.get("/health").answer().status, 200);

    let body = json!({ "messages": [{ "role": "user", "content": "hi" }], "temperature": 0 });
    let cached = || {
        let answer = server.connect().post("/v1/chat/completions", &body.to_string()).answer();
        answer.header("x-neurohttp-cache").unwrap()
    };
    assert_eq!((cached().as_str(), cached().as_str()), ("miss", "hit"));
    assert_eq!(post("/admin/reload", ""), 200);
    assert_eq!(cached(), "hit");
    assert_eq!(post("/admin/cache/clear", ""), 200);
    assert_eq!(shown(&server, "/admin/cache")["entries"], 0);
    assert_eq!(cached(), "miss");
    server.line(|line| line.contains("admin: 127.0.0.1:") && line.contains("clear the cache"));
    server.line(|line| line.contains(": block 127.0.0.9"));
    server.stop();
}

/// The list, which the test's own request stands in too.
fn connections(server: &Server) -> serde_json::Value {
    let answer = ask(server, "GET /admin/connections", &["Host: localhost"]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[test]
fn who_is_connected_is_shown_and_can_be_closed() {
    let server = Server::gateway(&["server.workers=2"]);
    let mut quiet = server.connect();
    let answer = quiet.send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").answer();
    assert_eq!(answer.status, 200);
    let mut half = server.connect();
    half.send("POST /v1/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab");
    // Its bytes may still be on their way.
    let list = (0..200)
        .map(|_| connections(&server))
        .find(|list| {
            list["connections"].as_array().unwrap().iter().any(|row| row["state"] == "body")
        })
        .expect("a connection in its body");
    assert_eq!(list["is_complete"], json!(true));
    let rows = list["connections"].as_array().unwrap();
    assert_eq!(list["total"], json!(rows.len()));
    let of = |state: &str| rows.iter().find(|row| row["state"] == state).unwrap();
    let idle = of("idle");
    assert_eq!(idle["requests"], json!(1));
    assert_eq!(idle["received_bytes"], json!(41));
    let sent = idle["sent_bytes"].as_u64().unwrap();
    assert!(sent > 100, "{idle}");
    assert!(idle["sent_per_second"].as_u64().unwrap() <= sent * 1_000, "{idle}");
    assert!(idle["received_per_second"].is_u64(), "{idle}");
    assert!(idle["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{idle}");
    assert_eq!(idle["tls"], json!(false));
    // The one that asks.
    assert_eq!(of("answering")["requests"], json!(1));
    let delete = |id: &str| {
        let line = format!("DELETE /admin/connections/{id}");
        ask(&server, &line, &["Host: localhost", "Content-Type: application/json"]).status
    };
    assert_eq!(delete(idle["id"].as_str().unwrap()), 200);
    quiet.expect_close();
    assert_eq!(delete(idle["id"].as_str().unwrap()), 404);
    for id in ["7-1", "0-zz", "-", "0-", "99999999999999999999-1"] {
        assert_eq!(delete(id), 404, "{id}");
    }
    drop(half);
    server.stop();
}
