//! Every key of the configuration, changed while the server runs: it is taken up, and where that can
//! be seen from outside it is seen; or it is one of the few that need a restart, and the answer says
//! so.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;

use neurohttp::config::{RESTART_KEYS, reference};
use serde_json::{Value, json};

use crate::admin::{KEY, change, shown};
use crate::support::process::{Server, program};
use crate::support::stage::scratch;
use crate::support::tls::Authority;
use crate::support::wait_until;
use crate::support::wire::{Answer, Connection};

/// Looks from outside whether the value is in force.
type Seen = fn(&Server);

/// Keys whose other value does not follow from their default, and keys whose effect can be seen.
fn rows() -> Vec<(&'static str, Value, Option<Seen>)> {
    let none = None;
    let file = |name: &str| json!(scratch().join(name).display().to_string());
    let echo = json!([{ "provider": "echo" }]);
    let list = |text: &str| json!([text]);
    vec![
        (
            "server.listen",
            json!(["127.0.0.1:0", format!("unix:{}", scratch().join("live.sock").display())]),
            Some(|_| {
                let socket = scratch().join("live.sock");
                wait_until("the socket", || socket.exists());
                let answer = Connection::open_unix(&socket).get("/health").answer();
                assert_eq!(answer.status, 200);
            }),
        ),
        (
            "server.max_connections",
            json!(3),
            Some(|server| {
                let open: Vec<_> = (0..4).map(|_| server.connect()).collect();
                let mut over = server.connect();
                over.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
                assert!(over.quiet_for(std::time::Duration::from_millis(50)));
                drop(open);
                assert_eq!(over.answer().status, 200);
            }),
        ),
        (
            "limits.request_line",
            json!(100),
            Some(|server| {
                let long = format!("/{}", "x".repeat(200));
                assert_eq!(server.connect().get(&long).answer().status, 414);
            }),
        ),
        (
            "limits.header_section",
            json!(300),
            Some(|server| {
                let field = format!("X: {}", "x".repeat(400));
                assert_eq!(ask(server, "GET /health", &[&field], "").status, 431);
            }),
        ),
        (
            "limits.body",
            json!(1000),
            Some(|server| {
                let fields = "Content-Length: 1001\r\nExpect: 100-continue\r\n";
                let head = format!("POST /nothing HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
                assert_eq!(server.connect().send(head).answer().status, 413);
            }),
        ),
        (
            "limits.connections_per_address",
            json!(2),
            Some(|server| {
                let from = || {
                    let mut one = Connection::open_from([127, 0, 0, 5].into(), server.port)?;
                    one.try_send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
                    Some(one)
                };
                let (mut first, mut second) = (from().unwrap(), from().unwrap());
                assert_eq!((first.answer().status, second.answer().status), (200, 200));
                assert!(from().is_none_or(|mut third| third.rest_or_reset().is_empty()));
            }),
        ),
        (
            "limits.ai_bodies",
            json!(65536),
            Some(|server| {
                let body = json!({ "prompt": "x".repeat(100_000) }).to_string();
                let fields = format!("x-api-key: sk-k\r\nContent-Length: {}\r\n", body.len());
                let head = format!("POST /v1/chat HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
                assert_eq!(server.connect().send(head).answer().status, 503);
            }),
        ),
        (
            "timeouts.header",
            json!(60),
            Some(|server| {
                let mut slow = server.connect();
                assert_eq!(slow.send("GET / HTTP/1.1\r\n").answer().status, 408);
            }),
        ),
        (
            "timeouts.body",
            json!(60),
            Some(|server| {
                let head = "POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n";
                assert_eq!(server.connect().send(head).answer().status, 408);
            }),
        ),
        (
            "timeouts.idle",
            json!(60),
            Some(|server| {
                let mut idle = server.connect();
                assert_eq!(idle.get("/health").answer().status, 200);
                idle.expect_close();
            }),
        ),
        (
            "auth.keys",
            list("sk-live"),
            Some(|server| {
                assert_eq!(ask(server, "GET /v1/models", &[], "").status, 401);
                let key = ["Authorization: Bearer sk-live"];
                assert_eq!(ask(server, "GET /v1/models", &key, "").status, 200);
            }),
        ),
        ("server.workers", json!(3), none),
        ("auth.open", json!(true), none),
        (
            "key.k.key",
            json!("sk-other"),
            Some(|server| {
                assert_eq!(ask(server, "GET /v1/models", &["x-api-key: sk-k"], "").status, 401);
                assert_eq!(ask(server, "GET /v1/models", &["x-api-key: sk-other"], "").status, 200);
            }),
        ),
        ("key.k.models", list("m"), Some(|server| assert_eq!(asks(server, "echo").status, 403))),
        (
            "key.k.requests_per_minute",
            json!(1),
            Some(|server| {
                assert_eq!(asks(server, "echo").status, 200);
                assert_eq!(asks(server, "echo").status, 429);
            }),
        ),
        (
            "key.k.tokens_per_minute",
            json!(1),
            Some(|server| assert_eq!(asks(server, "echo").status, 429)),
        ),
        ("provider.p.kind", json!("ollama"), none),
        ("provider.p.base_url", json!("http://127.0.0.1:10/v1"), none),
        ("provider.p.api_key", json!("sk-live"), none),
        ("provider.p.proxy", json!("http://127.0.0.1:9"), none),
        ("provider.p.health_path", json!("/models"), none),
        ("provider.p.ca_file", json!(""), none),
        ("model.m.aliases", list("em"), Some(|server| assert_eq!(asks(server, "em").status, 502))),
        ("model.m.targets", echo, Some(|server| assert_eq!(asks(server, "m").status, 200))),
        ("model.m.strategy", json!("weighted"), none),
        ("model.m.hash_on", json!("header:x-user"), none),
        ("model.m.capabilities", list("tools"), none),
        (
            "model.n.default",
            json!(true),
            Some(|server| assert_eq!(shown(server, "/admin/models")["default"], "n")),
        ),
        (
            "compression.enable",
            json!(true),
            Some(|server| {
                let answer = ask(server, "GET /stats", &["Accept-Encoding: gzip"], "");
                assert_eq!(answer.header("content-encoding").as_deref(), Some("gzip"));
            }),
        ),
        ("compression.codings", list("gzip"), none),
        ("compression.types", list("text/plain"), none),
        (
            "cache.enable",
            json!(false),
            Some(|server| {
                let told: Vec<_> = (0..2).map(|_| cached(server, Some(0.0))).collect();
                assert!(!told.contains(&"hit".to_owned()), "{told:?}");
            }),
        ),
        (
            "cache.when",
            json!("always"),
            Some(|server| {
                let told = (cached(server, Some(0.7)), cached(server, Some(0.7)));
                assert_eq!(told, ("miss".to_owned(), "hit".to_owned()));
            }),
        ),
        (
            "cache.max_entries",
            json!(1),
            Some(|server| {
                for temperature in [0.0, 0.0, 1.0] {
                    cached(server, Some(temperature));
                }
                assert!(shown(server, "/admin/cache")["entries"].as_u64().unwrap() <= 1);
            }),
        ),
        (
            "firewall.enable",
            json!(false),
            Some(|server| assert_eq!(ask(server, ATTACK, &[], "").status, 200)),
        ),
        (
            "firewall.requests_per_minute",
            json!(1),
            Some(|server| {
                let from = Connection::open_from([127, 0, 0, 7].into(), server.port);
                let mut from = from.unwrap();
                let statuses: BTreeSet<u16> =
                    (0..200).map(|_| from.get("/health").answer().status).collect();
                assert_eq!(statuses, BTreeSet::from([200, 429]));
            }),
        ),
        ("firewall.allow", list("10.0.0.0/8"), none),
        (
            "firewall.deny",
            list("127.0.0.8"),
            Some(|server| {
                let from = Connection::open_from([127, 0, 0, 8].into(), server.port);
                assert!(from.is_none_or(|mut it| it.rest_or_reset().is_empty()));
            }),
        ),
        (
            "firewall.trusted_proxies",
            list("127.0.0.1"),
            Some(|server| {
                // Who the client is, is told where it is refused.
                let body = r#"{"value": ["127.0.0.1"]}"#;
                assert_eq!(
                    change(server, "PUT", "/admin/config/firewall.trusted_proxies", body).status,
                    200
                );
                let attack = ask(server, ATTACK, &["X-Forwarded-For: 203.0.113.7"], "");
                assert_eq!(attack.status, 403);
            }),
        ),
        (
            "firewall.routes",
            json!([{ "path": "/ready", "requests_per_minute": 1, "burst": 1 }]),
            Some(|server| {
                let mut connection = server.connect();
                let last = (0..4).map(|_| connection.get("/ready").answer().status).last();
                assert_eq!(last, Some(429));
            }),
        ),
        (
            "firewall.inspect",
            json!(false),
            Some(|server| assert_eq!(ask(server, ATTACK, &[], "").status, 200)),
        ),
        (
            "firewall.disable_rules",
            list("sqli"),
            Some(|server| assert_eq!(ask(server, ATTACK, &[], "").status, 200)),
        ),
        (
            "firewall.rules",
            file("live-rules.toml"),
            Some(|server| {
                // It names its file; what is in it is read anew by itself.
                let asks = |word| ask(server, &format!("GET /?q={word}-elephant"), &[], "").status;
                assert_eq!((asks("purple"), asks("green")), (403, 200));
                fs::write(scratch().join("live-rules.toml"), rule("green")).unwrap();
                wait_until("the other rule", || asks("green") == 403);
                assert_eq!(asks("purple"), 200);
            }),
        ),
        (
            "firewall.dry_run",
            json!(true),
            Some(|server| assert_eq!(ask(server, ATTACK, &[], "").status, 200)),
        ),
        (
            "firewall.rules",
            json!([own_rules()]),
            Some(|server| {
                assert_eq!(ask(server, "GET /?q=xyzzy7", &[], "").status, 403);
            }),
        ),
        (
            "guard.enable",
            json!(true),
            Some(|server| {
                let secret = "AKIAIOSFODNN7EXAMPLE";
                let messages =
                    json!([{ "role": "user", "content": format!("my key is {secret}") }]);
                let body = json!({ "model": "echo", "messages": messages }).to_string();
                let fields = ["x-api-key: sk-k"];
                let answer = ask(server, "POST /v1/chat/completions", &fields, &body);
                assert_eq!(answer.status, 200);
                assert!(!answer.text().contains(secret), "{}", answer.text());
            }),
        ),
        (
            "telemetry.endpoint",
            json!("http://127.0.0.1:9"),
            Some(|server| assert_eq!(telemetry(server)["enabled"], true)),
        ),
        ("telemetry.headers", list("x-key: k"), none),
        ("telemetry.proxy", json!("http://127.0.0.1:9"), none),
        (
            "telemetry.ca_file",
            json!(Authority::new("live-telemetry").file().display().to_string()),
            none,
        ),
        ("telemetry.service_name", json!("another"), none),
        ("dialects.dropped", json!("refuse"), none),
        ("log.level", json!("debug"), none),
        ("log.format", json!("json"), none),
        (
            "log.file",
            file("live.log"),
            Some(|server| {
                let line = |path: &str| {
                    let text = fs::read_to_string(scratch().join("live.log")).unwrap_or_default();
                    text.contains(path)
                };
                change(server, "PUT", "/admin/config/log.access", r#"{"value": true}"#);
                server.connect().get("/health").answer();
                wait_until("the line", || line("path=/health"));
                change(server, "DELETE", "/admin/config/log.access", "");
            }),
        ),
        ("log.access", json!(true), none),
        (
            "admin.key",
            json!("sk-other-operator"),
            Some(|server| {
                assert_eq!(ask(server, "GET /admin/models", &[KEY], "").status, 401);
                let key = ["x-api-key: sk-other-operator"];
                assert_eq!(ask(server, "GET /admin/models", &key, "").status, 200);
            }),
        ),
    ]
}

/// A rule of an operator's.
fn rule(word: &str) -> String {
    format!("[[rule]]\nid = \"own.word\"\nliterals = [\"{word}-elephant\"]\nscore = 9\n")
}

const ATTACK: &str = "GET /?q=1%27%20UNION%20SELECT%20password%20FROM%20users--";

/// A file with one rule of our own.
fn own_rules() -> String {
    let file = scratch().join("own-rules.toml");
    let rule = "[[rule]]\nid = \"own.word\"\nscore = 5\nliterals = [\"xyzzy\"]\n";
    fs::write(&file, rule).unwrap();
    file.display().to_string()
}

fn ask(server: &Server, first: &str, fields: &[&str], body: &str) -> Answer {
    let mut head = format!("{first} HTTP/1.1\r\nHost: localhost\r\n");
    for field in fields {
        head.push_str(&format!("{field}\r\n"));
    }
    let length = format!("Content-Length: {}\r\n", body.len());
    let length = if first.starts_with("GET") { "" } else { &length };
    server.connect().send(format!("{head}{length}\r\n{body}")).answer()
}

fn telemetry(server: &Server) -> Value {
    server.connect().get("/stats").answer().json()["telemetry"].clone()
}

fn asks(server: &Server, model: &str) -> Answer {
    let body = json!({ "model": model, "messages": [{ "role": "user", "content": "hi" }] });
    ask(server, "POST /v1/chat/completions", &["x-api-key: sk-k"], &body.to_string())
}

fn cached(server: &Server, temperature: Option<f64>) -> String {
    let mut body = json!({ "model": "echo", "messages": [{ "role": "user", "content": "hi" }] });
    body["temperature"] = json!(temperature);
    let fields = ["x-api-key: sk-k"];
    let answer = ask(server, "POST /v1/chat/completions", &fields, &body.to_string());
    answer.header("x-neurohttp-cache").unwrap_or_default()
}

/// Other values than the default, as far as they follow from it and from what the key takes.
fn others(default: &str, expected: &str) -> Vec<Value> {
    if let Some((_, words)) = expected.split_once("one of ") {
        let words = words.split(", ").map(|word| json!(word));
        // As JSON text: the word itself is never equal to a default with its quotes.
        let others = words.filter(|word| {
            let text = word.to_string();
            text != default
        });
        return match default.starts_with('[') {
            true => others.map(|word| json!([word])).collect(),
            false => others.collect(),
        };
    }
    match (default, default.parse::<u64>()) {
        ("true", _) => vec![json!(false)],
        ("false", _) => vec![json!(true)],
        (_, Ok(number)) => vec![json!(number + 1), json!(number.saturating_sub(1))],
        ("[]", _) => vec![json!(["x"])],
        ("\"\"", _) => vec![json!("x")],
        _ => Vec::new(),
    }
}

/// Every key that a configuration can have, with its default; tables with a name have one here.
fn keys() -> Vec<(String, String, String)> {
    let mut keys = Vec::new();
    for table in reference() {
        let name = table.header.trim_matches(['[', ']']).to_owned();
        let prefix = match name.as_str() {
            // Set in the file only; tests/plugins.rs changes them there.
            "plugins" => continue,
            // Elements of the lists `model.targets` and `firewall.routes`; and of [[tls]], below.
            name if name.starts_with('`') || name == "tls" => continue,
            "plugin.NAME" => {
                keys.push(("plugin.x.anything".to_owned(), "1".to_owned(), String::new()));
                continue;
            }
            "provider" => "provider.p".to_owned(),
            "model" => "model.m".to_owned(),
            "key" => "key.k".to_owned(),
            name => name.to_owned(),
        };
        for key in table.keys.iter().filter(|key| key.name != "name") {
            let prefix = if key.name == "default" { "model.n" } else { &prefix };
            let name = format!("{prefix}.{}", key.name);
            keys.push((name, key.default.clone(), key.expected.clone()));
        }
    }
    keys
}

#[test]
fn every_key_changes_live_or_says_that_it_needs_a_restart() {
    fs::write(scratch().join("live-rules.toml"), rule("purple")).unwrap();
    let file = scratch().join("live.toml");
    let text = "[server]\nworkers = 2\n[[provider]]\nname = \"p\"\nkind = \"openai\"\n\
        base_url = \"http://127.0.0.1:9/v1\"\n[[model]]\nname = \"m\"\n\
        targets = [{ provider = \"p\" }]\n[[model]]\nname = \"n\"\n\
        targets = [{ provider = \"echo\" }]\n[[key]]\nname = \"k\"\nkey = \"sk-k\"\n\
        [retry]\nattempts = 0\n[breaker]\nfailures = 0\npause = 1\npause_max = 40000\n";
    fs::write(&file, text).unwrap();
    let mut command = program();
    let mut server = Server::start(
        command
            .args(["serve", "--set", "server.listen=127.0.0.1:0", "--set", "admin.key=sk-operator"])
            .arg("-c")
            .arg(&file),
    );
    let rows = rows();
    let keys = keys();
    for (key, _, _) in &rows {
        assert!(keys.iter().any(|(known, _, _)| known == key), "no key {key}");
    }
    for (key, default, expected) in &keys {
        let row = rows.iter().find(|(known, _, _)| known == key);
        let values = match row {
            Some((_, value, _)) => vec![value.clone()],
            None => others(default, expected),
        };
        assert!(!values.is_empty(), "no other value for {key} = {default}: add a row");
        let put = |value: &Value| {
            let body = json!({ "value": value }).to_string();
            change(&server, "PUT", &format!("/admin/config/{key}"), &body)
        };
        let told = values.iter().map(put).find(|answer| answer.status == 200);
        let told = told.unwrap_or_else(|| panic!("{key}: {}", put(&values[0]).text())).json();
        let changed = key.rsplit_once('.').filter(|(table, _)| table.contains('.'));
        let changed = changed.map_or(key.as_str(), |(table, _)| table);
        let is_same = row.is_some_and(|(_, value, _)| value == &json!("") || value == &json!([]));
        let has =
            |list: &str, key: &str| told[list].as_array().unwrap().iter().any(|told| told == key);
        assert!(has("changed", changed) || is_same, "{key}: {told}");
        let needs = RESTART_KEYS.contains(&key.as_str());
        assert_eq!(has("needs_restart", key), needs, "{key}: {told}");
        if let Some((_, _, Some(seen))) = row {
            seen(&server);
        }
        if key == "admin.key" {
            let fields = ["x-api-key: sk-other-operator", "Content-Type: application/json"];
            assert_eq!(ask(&server, "DELETE /admin/config/admin.key", &fields, "").status, 200);
            continue;
        }
        let back = change(&server, "DELETE", &format!("/admin/config/{key}"), "");
        assert_eq!(back.status, 200, "{key}: {}", back.text());
        assert!(server.alive());
    }
    // After all of it the server is what it was.
    let toml = shown(&server, "/admin/config");
    assert_eq!((&toml["set"], &toml["needs_restart"]), (&json!([]), &json!([])));
    assert_eq!(asks(&server, "n").status, 200);
    assert_eq!(ask(&server, ATTACK, &[], "").status, 403);
    server.stop();
}

/// The tables of [[tls]] have no names: they change in the file.
#[test]
fn tables_of_tls_change_with_the_file() {
    let authority = Authority::new("live-tls");
    let (first, second) = (authority.issue(&["localhost"]), authority.issue(&["localhost"]));
    let file = scratch().join("live-tls.toml");
    let text = |issued: &crate::support::tls::Issued, client_ca: &str| {
        format!(
            "[server]\nlisten = \"tls://127.0.0.1:0\"\n[[tls]]\ncert = {:?}\nkey = {:?}\n\
             client_ca = {client_ca:?}\n",
            issued.cert.display().to_string(),
            issued.key.display().to_string(),
        )
    };
    fs::write(&file, text(&first, "")).unwrap();
    let mut command = program();
    let server = Server::start(command.args(["serve", "-c"]).arg(&file));
    let answered = |shows: Option<&crate::support::tls::Issued>| {
        let client = authority.client(shows, &[]);
        let mut connection = Connection::open_tls(server.port, &client, "localhost");
        let sent = connection.try_send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut first = [0];
        sent.is_ok() && connection.tls().read(&mut first).is_ok_and(|got| got == 1)
    };
    assert!(answered(None));
    fs::write(file.with_extension("new"), text(&second, "")).unwrap();
    fs::rename(file.with_extension("new"), &file).unwrap();
    wait_until("the second certificate", || {
        let client = authority.client(None, &[]);
        let mut connection = Connection::open_tls(server.port, &client, "localhost");
        assert_eq!(connection.get("/health").answer().status, 200);
        let shown = connection.tls().conn.peer_certificates().unwrap()[0].clone();
        shown == crate::support::tls::first_certificate(&second.cert)
    });
    let client_ca = authority.file().display().to_string();
    fs::write(file.with_extension("new"), text(&second, &client_ca)).unwrap();
    fs::rename(file.with_extension("new"), &file).unwrap();
    wait_until("client certificates are asked for", || !answered(None));
    assert!(answered(Some(&first)));
    server.stop();
}
