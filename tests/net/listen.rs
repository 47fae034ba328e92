//! Where a server listens: Unix sockets, several addresses, taken ones.

use std::fs;
use std::os::unix::net::UnixListener;

use crate::support::process::{Server, program};
use crate::support::stage::scratch;
use crate::support::wire::Connection;

fn on_unix(path: &std::path::Path) -> std::process::Command {
    let mut command = program();
    command.args(["serve", "--listen", &format!("unix:{}", path.display())]);
    command
}

#[test]
fn a_unix_socket_is_served_and_removed() {
    let path = scratch().join("serve.sock");
    let _ = fs::remove_file(&path);
    // One that a dead process has left is replaced.
    drop(UnixListener::bind(&path).unwrap());
    for _ in 0..2 {
        let mut server = Server::launch(&mut on_unix(&path));
        server.line(|line| line.contains("listening on unix:"));
        let mut connection = Connection::open_unix(&path);
        for _ in 0..3 {
            assert_eq!(connection.get("/health").answer().status, 200);
        }
        let answer = connection.post("/v1/chat", r#"{"prompt":"over a file"}"#).answer();
        assert_eq!(answer.json()["response"], "over a file");
        server.stop();
        assert!(!path.exists(), "the socket's file is removed at the end");
    }
}

#[test]
fn the_socket_of_a_living_server_is_not_taken() {
    let path = scratch().join("taken.sock");
    let _ = fs::remove_file(&path);
    let mut first = Server::launch(&mut on_unix(&path));
    first.line(|line| line.contains("listening on unix:"));
    let mut second = Server::launch(&mut on_unix(&path));
    let output = second.expect_exit(1);
    assert!(output.contains("taken.sock"), "{output}");
    assert_eq!(Connection::open_unix(&path).get("/health").answer().status, 200);
    first.stop();
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let path = scratch().join("not-a-socket");
    fs::write(&path, "precious").unwrap();
    let output = Server::launch(&mut on_unix(&path)).expect_exit(1);
    assert!(output.contains("not-a-socket"), "{output}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[test]
fn several_addresses_are_served_at_once() {
    let path = scratch().join("several.sock");
    let _ = fs::remove_file(&path);
    let mut command = program();
    command
        .arg("serve")
        .arg("--set")
        .arg(format!("server.listen=127.0.0.1:0,127.0.0.1:0,unix:{}", path.display()));
    let mut server = Server::start(&mut command);
    server.line(|line| line.contains("listening on unix:"));
    let ports: Vec<u16> = server
        .output()
        .lines()
        .filter_map(|line| line.split_once("listening on 127.0.0.1:")?.1.trim().parse().ok())
        .collect();
    assert_eq!(ports.len(), 2, "{}", server.output());
    for port in ports {
        assert_eq!(Connection::open(port).get("/health").answer().status, 200);
    }
    assert_eq!(Connection::open_unix(&path).get("/health").answer().status, 200);
    server.stop();
}

#[test]
fn a_taken_port_ends_with_one_line() {
    let first = Server::gateway(&[]);
    let mut command = program();
    command.args(["serve", "--listen", &format!("127.0.0.1:{}", first.port)]);
    let output = Server::launch(&mut command).expect_exit(1);
    assert!(output.contains(&format!("127.0.0.1:{}", first.port)), "{output}");
    assert!(output.contains("in use"), "{output}");
    first.stop();
}

#[test]
fn listening_beyond_loopback_with_a_credential_needs_keys() {
    let mut command = program();
    command.args(["serve", "--listen", "0.0.0.0:0"]).env("OPENAI_API_KEY", "sk-test");
    let output = Server::launch(&mut command).expect_exit(2);
    assert!(output.contains("auth"), "{output}");
    assert!(!output.contains("sk-test"), "{output}");
}
