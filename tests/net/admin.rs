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
