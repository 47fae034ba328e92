//! Rules of an operator: from files, tried dry, changed while the server runs.

use crate::support::process::{Server, program};
use crate::support::stage::scratch;

const PATIENT: &str = "firewall.suspicious_threshold=1000000";

/// A file of this test.
fn file(name: &str, text: &str) -> String {
    let path = scratch().join(format!("rules-{}-{name}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Wrong: a dry rule that refuses or is not told, or one that silences the others.
#[test]
fn a_dry_rule_is_told_and_lets_pass() {
    let mut server = Server::gateway(&[PATIENT, "firewall.dry_run_rules=[\"sqli\"]"]);
    let mut connection = server.connect();
    let attack = "/health?q=1%20union%20select%201,2%20from%20users";
    assert_eq!(connection.get(attack).answer().status, 200);
    let line = server.line(|line| line.contains("firewall: log"));
    assert!(line.contains("rule=sqli."), "{line}");
    let other = "/health?q=%3Cscript%3Ealert(1)%3C/script%3E";
    assert_eq!(connection.get(other).answer().status, 403);
    server.stop();
    let rule = "[[rule]]\nid = \"own.word\"\nliterals = [\"xyzzy\"]\ndry_run = true\n";
    let path = file("dry.toml", rule);
    let mut server = Server::gateway(&[PATIENT, &format!("firewall.rules=[\"{path}\"]")]);
    assert_eq!(server.connect().get("/health?q=xyzzy").answer().status, 200);
    server.line(|line| line.contains("firewall: log") && line.contains("rule=own.word"));
    server.stop();
    std::fs::remove_file(path).unwrap();
}

/// Wrong: rules of a file that are not met, or that stay when the file has changed.
#[test]
fn files_of_rules_are_read_and_watched() {
    let csv = file("words.csv", "pattern,severity\nxyzzy,10\n");
    let config = file(
        "rules.toml",
        &format!("[firewall]\nrules = [\"{csv}\"]\nsuspicious_threshold = 1000000\n"),
    );
    let mut command = program();
    command.args(["serve", "--listen", "127.0.0.1:0", "-c", &config]);
    let mut server = Server::start(&mut command);
    let mut connection = server.connect();
    assert_eq!(connection.get("/health?q=XyZZy").answer().status, 403);
    assert_eq!(connection.get("/health?q=plugh").answer().status, 200);
    std::fs::write(&csv, "plugh,10\n").unwrap();
    let status = |connection: &mut crate::support::wire::Connection, word: &str| {
        connection.get(&format!("/health?q={word}")).answer().status
    };
    crate::support::wait_until("the new rules hold", || status(&mut connection, "plugh") == 403);
    assert_eq!(status(&mut connection, "xyzzy"), 200);
    std::fs::write(&csv, "plugh,11\n").unwrap();
    let line = server.line(|line| line.contains("was not taken up"));
    assert!(line.contains(&format!("{csv}:1:7: severity \"11\"")), "{line}");
    assert_eq!(status(&mut connection, "plugh"), 403, "the rules of before stay");
    server.stop();
    for command in ["serve", "check"] {
        let output = program().args([command, "-c", &config]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(&format!("{csv}:1:7: severity")), "{said}");
    }
    std::fs::remove_file(csv).unwrap();
    std::fs::remove_file(config).unwrap();
}

/// Wrong: a guard that a reload does not switch.
#[test]
fn the_guard_is_switched_by_a_reload() {
    let config = file("guard.toml", "[guard]\nenable = false\n");
    let mut command = program();
    command.args(["serve", "--listen", "127.0.0.1:0", "-c", &config]);
    let server = Server::start(&mut command);
    let mut connection = server.connect();
    let mut says = || {
        let body = r#"{"prompt":"I am me@example.org"}"#;
        connection.post("/v1/chat", body).answer().json()["response"].as_str().unwrap().to_owned()
    };
    assert_eq!(says(), "I am me@example.org");
    std::fs::write(&config, "[guard]\nenable = true\npersonal_prompts = \"redact\"\n").unwrap();
    crate::support::wait_until("the guard is on", || says() == "I am [REDACTED:email]");
    server.stop();
    std::fs::remove_file(config).unwrap();
}
