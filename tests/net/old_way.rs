//! The program started the old way: from an old `.conf`, or under the name `aionic` with the old files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::support::process::{Server, clean, program};
use crate::support::stage::{scratch, stage};
use crate::support::wire::Answer;

/// An empty folder of one test.
fn folder(name: &str) -> PathBuf {
    let folder = scratch().join("old-way").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The names of a head's fields, in their order, the request's id left out.
fn names(answer: &Answer) -> Vec<String> {
    let lines = answer.head.split("\r\n").skip(1);
    let names = lines.map(|line| line.split_once(':').unwrap().0.to_owned());
    names.filter(|name| name != "x-request-id").collect()
}

const OLD_ORDER: [&str; 5] = ["Date", "Server", "Content-Type", "Content-Length", "Connection"];

#[test]
fn an_old_file_brings_the_old_pages() {
    let folder = folder("conf");
    let file = folder.join("old.conf");
    fs::write(&file, "port = 0\nthread_count = 1\nlog_file = logs/aionic.log\n").unwrap();
    let server = Server::start(program().arg("-c").arg(&file).current_dir(&folder));
    let mut connection = server.connect();
    let mut get = |target: &str| {
        connection.send(format!("GET {target} HTTP/1.1\r\nHost: anywhere\r\n\r\n")).answer()
    };
    let landing = get("/");
    assert_eq!((landing.status, names(&landing)), (200, OLD_ORDER.map(str::to_owned).to_vec()));
    assert_eq!(landing.header("server").as_deref(), Some("AIONIC/1.0"));
    assert_eq!(landing.header("connection").as_deref(), Some("keep-alive"));
    assert_eq!(landing.header("content-type").as_deref(), Some("text/html"));
    let health = get("/health");
    assert_eq!(names(&health), OLD_ORDER);
    assert!(health.text().starts_with("{\"status\": \"ok\", \"timestamp\": "), "{}", health.text());
    assert!(health.text().ends_with(", \"server\": \"AIONIC/1.0\"}"));
    let stats = get("/stats");
    assert!(
        stats.text().starts_with("{\"requests\": 3, \"responses\": 2, \"uptime\": "),
        "{}",
        stats.text()
    );
    assert!(stats.text().contains(", \"active_connections\": 1, \"timestamp\": "));
    let nowhere = get("/nowhere");
    assert_eq!((nowhere.status, names(&nowhere)), (404, OLD_ORDER.map(str::to_owned).to_vec()));
    assert_eq!(nowhere.header("content-type").as_deref(), Some("text/html"));
    let options = server.connect().send("OPTIONS / HTTP/1.1\r\nHost: anywhere\r\n\r\n").answer();
    assert_eq!((options.status, options.header("server").as_deref()), (204, Some("AIONIC/1.0")));
    // The newer routes are there too, in their own form.
    let models = get("/v1/models");
    assert_eq!(models.json()["object"], "list");

    let post = |target: &str, body: &str| server.connect().post(target, body).answer();
    let chat = post("/v1/chat", r#"{"prompt": "a \"b\"", "model": "echo", "stream": true}"#);
    assert_eq!(chat.text(), r#"{"response": "a \"b\"", "model": "echo", "status": "success"}"#);
    assert_eq!(chat.header("server").as_deref(), Some("AIONIC/1.0"));
    assert_eq!(chat.header("content-type").as_deref(), Some("application/json"));
    let plain = post("/v1/chat", "no json at all");
    assert_eq!(plain.json()["response"], "no json at all");
    let empty = post("/v1/chat", "");
    assert_eq!(empty.status, 400);
    assert!(
        empty.text().starts_with("{\"error\": \"Invalid parameter\", \"code\": 2, \"timestamp\": ")
    );
    let unknown = post("/v1/chat", r#"{"prompt": "x", "model": "no-such-model"}"#);
    assert_eq!(unknown.status, 502);
    assert!(unknown.text().contains("\"AI Router Error: Failed to process request\""));
    let method = post("/health", "x");
    assert_eq!((method.status, method.header("allow").is_some()), (405, true));

    let mut connection = server.connect();
    let broken = connection.send("nonsense\r\n\r\n").rest();
    assert_eq!(
        String::from_utf8(broken).unwrap(),
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    server.stop();
    assert!(folder.join("logs/aionic.log").exists());
}

#[test]
fn keys_of_an_old_file_are_asked_for() {
    let folder = folder("keys");
    let file = folder.join("old.conf");
    fs::write(&file, "port = 0\napi_key = one\napi_key = two\n").unwrap();
    let server = Server::start(program().arg("-c").arg(&file));
    let chat = |header: &str| {
        let request =
            format!("POST /v1/chat HTTP/1.1\r\nHost: x\r\n{header}Content-Length: 2\r\n\r\nhi");
        server.connect().send(request).answer().status
    };
    assert_eq!(chat(""), 401);
    assert_eq!(chat("Authorization: Bearer two\r\n"), 200);
    assert_eq!(server.connect().get("/health").answer().status, 200);
    server.stop();
}

#[test]
fn under_the_old_name_the_old_files_are_layered() {
    let folder = folder("aionic");
    fs::create_dir_all(folder.join("config")).unwrap();
    let aionic = folder.join("aionic");
    symlink(&stage().program, &aionic).unwrap();
    let start = || {
        let mut command = clean(&aionic);
        command.current_dir(&folder).env("AIONIC_ENV", "test");
        command
    };
    // Without its files it says which is missing.
    let output = Server::launch(&mut start()).expect_exit(2);
    assert!(output.contains("config/aionic.conf"), "{output}");

    let write = |name: &str, text: &str| fs::write(folder.join("config").join(name), text).unwrap();
    write("aionic.conf", "port = 1\napi_key = base\n");
    write("test.conf", "port = 2\nthread_count = 1\napi_key = test\n");
    write("local.conf", "port = 0\n");
    let server = Server::start(&mut start());
    let key = |key: &str| {
        let request = format!(
            "POST /v1/chat HTTP/1.1\r\nHost: x\r\nx-api-key: {key}\r\nContent-Length: 2\r\n\r\nhi"
        );
        server.connect().send(request).answer().status
    };
    assert_eq!((key("base"), key("test"), key("other")), (200, 200, 401));
    server.stop();

    // base.conf stands in for aionic.conf; plugins/ is loaded, and what is refused is told.
    write("base.conf", "port = 1\n");
    fs::create_dir_all(folder.join("plugins")).unwrap();
    fs::write(folder.join("plugins/broken.so"), "no object").unwrap();
    let server = Server::start(&mut start());
    let chat =
        "POST /v1/chat HTTP/1.1\r\nHost: x\r\nx-api-key: base\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(server.connect().send(chat).answer().status, 401);
    let output = server.stop();
    assert!(output.contains("broken.so refused"), "{output}");
}
