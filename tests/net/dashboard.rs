//! The live page: what it is made of, who may see it, what feeds it.

use crate::support::process::Server;
use crate::support::wait_until;
use crate::support::wire::Answer;

fn ask(server: &Server, first: &str, fields: &str) -> Answer {
    server.connect().send(format!("{first} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")).answer()
}

#[test]
fn the_page_is_one_document_under_a_strict_policy() {
    let server = Server::gateway(&[]);
    let page = ask(&server, "GET /dashboard", "");
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type").as_deref(), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options").as_deref(), Some("nosniff"));
    assert!(page.text().contains("<title>NeuroHTTP</title>"));
    let tag = page.header("etag").unwrap().to_owned();
    let again = ask(&server, "GET /dashboard", &format!("If-None-Match: \"x\", {tag}\r\n"));
    assert_eq!((again.status, again.text()), (304, ""));
    let head = server
        .connect()
        .send("HEAD /dashboard HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .answer_to_head();
    assert_eq!(head.status, 200);
    let elsewhere =
        server.connect().send("GET /dashboard HTTP/1.1\r\nHost: a.test\r\n\r\n").answer();
    assert_eq!(elsewhere.status, 403);
    server.stop();
}

#[test]
fn figures_come_every_second_and_a_drain_does_not_wait_for_them() {
    let server = Server::gateway(&[]);
    let mut page = server.connect();
    page.send("GET /dashboard/live HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = page.head();
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type").as_deref(), Some("text/event-stream"));
    let mut requests = Vec::new();
    while requests.len() < 3 {
        let chunk = page.chunk().expect("figures");
        let text = String::from_utf8(chunk).unwrap();
        let event = text.strip_prefix("data: ").and_then(|rest| rest.strip_suffix("\n\n"));
        let figures: serde_json::Value = serde_json::from_str(event.expect("an event")).unwrap();
        assert_eq!(figures["state"], "running");
        assert_eq!(figures["request_time"].as_array().unwrap().len(), 21);
        assert_eq!(figures["routes"]["models"][0]["name"], "echo");
        requests.push(figures["requests"].as_u64().unwrap());
        assert_eq!(ask(&server, "GET /health", "").status, 200);
    }
    assert!(requests[0] < requests[2], "{requests:?}");
    let began = std::time::Instant::now();
    server.stop();
    assert!(began.elapsed() < std::time::Duration::from_secs(10));
}

#[test]
fn with_a_key_the_page_is_open_and_its_figures_are_not() {
    let server = Server::gateway(&["admin.key=sk-operator"]);
    assert_eq!(ask(&server, "GET /dashboard", "").status, 200);
    assert_eq!(ask(&server, "GET /dashboard/live", "").status, 401);
    let mut page = server.connect();
    page.send(
        "GET /dashboard/live HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-operator\r\n\r\n",
    );
    assert_eq!(page.head().status, 200);
    assert!(page.chunk().is_some());
    drop(page);
    server.stop();
}

#[test]
fn so_many_pages_watch_and_one_more_when_one_has_gone() {
    let server = Server::gateway(&[]);
    let watch = || {
        let mut page = server.connect();
        page.send("GET /dashboard/live HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let status = page.head().status;
        (status, page)
    };
    let mut pages: Vec<_> = (0..32).map(|_| watch()).collect();
    assert!(pages.iter().all(|(status, _)| *status == 200));
    assert_eq!(watch().0, 503);
    pages.truncate(20);
    wait_until("room", || watch().0 == 200);
    drop(pages);
    server.stop();
}
