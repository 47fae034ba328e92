//! The command line: subcommands, exit codes, the order of the configuration's layers.

use std::fs;

use crate::support::process::{Server, program};
use crate::support::stage::scratch;

/// Runs the program with these arguments to its end, which must have this code.
fn run(arguments: &[&str], code: i32) -> String {
    Server::launch(program().args(arguments)).expect_exit(code)
}

fn write(name: &str, text: &str) -> String {
    let path = scratch().join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn version_help_and_kernels() {
    assert_eq!(run(&["--version"], 0).trim(), format!("neurohttp {}", env!("CARGO_PKG_VERSION")));
    let help = run(&["--help"], 0);
    for word in ["serve", "check", "kernels", "--listen", "--set", "-c"] {
        assert!(help.contains(word), "{word} is missing in:\n{help}");
    }
    let kernels = run(&["kernels"], 0);
    assert!(kernels.contains("crc32"), "{kernels}");
}

#[test]
fn wrong_usage_ends_with_2_and_one_line() {
    for arguments in [
        &["--no-such-option"][..],
        &["no-such-command"],
        &["serve", "--listen"],
        &["serve", "--listen", "nonsense"],
        &["serve", "--set", "nonsense"],
        &["serve", "--set", "server.no_such_key=1"],
        &["serve", "--set", "server.workers=many"],
        &["serve", "-c", "/no/such/file.toml"],
        &["check", "-c", "/no/such/file.toml"],
    ] {
        let output = run(arguments, 2);
        assert_eq!(output.trim().lines().count(), 1, "{arguments:?}:\n{output}");
    }
}

#[test]
fn a_wrong_file_is_named_with_line_and_column() {
    for (text, place, word) in [
        ("[server]\nworkers = \"x\"\n", ":2:", "workers"),
        ("[server]\nworkerz = 1\n", ":2:1", "workerz"),
        ("[sever]\n", ":1:", "sever"),
        ("[limits]\n\nbody = -1\n", ":3:", "body"),
        ("[server\n", ":1:", ""),
    ] {
        let file = write("wrong.toml", text);
        for command in ["check", "serve"] {
            let output = run(&[command, "-c", &file], 2);
            assert!(output.contains(&format!("{file}{place}")), "{text}: {output}");
            assert!(output.contains(word), "{output}");
        }
    }
}

#[test]
fn check_prints_the_configuration_with_secrets_masked() {
    let file = write(
        "good.toml",
        "[limits]\nbody = 12345\n[auth]\nkeys = [\"plain-secret\", \"env:KEY_A\"]\n\
         [[provider]]\nname = \"openai\"\napi_key = \"env:KEY_B\"\n",
    );
    let mut command = program();
    command.args(["check", "-c", &file]).env("KEY_A", "hidden-a").env("KEY_B", "hidden-b");
    let output = Server::launch(&mut command).expect_exit(0);
    assert!(output.contains("12345"), "{output}");
    for secret in ["plain-secret", "hidden-a", "hidden-b"] {
        assert!(!output.contains(secret), "{output}");
    }
}

#[test]
fn later_layers_win() {
    // defaults, file, environment, options: each is seen through the one limit it sets.
    let file = write("layers.toml", "[limits]\nbody = 100\nrequest_line = 100\n");
    let mut command = program();
    command
        .args(["serve", "-c", &file, "--listen", "127.0.0.1:0", "--set", "limits.body=300"])
        .env("NEUROHTTP_LIMITS__BODY", "200")
        .env("NEUROHTTP_LIMITS__REQUEST_LINE", "200");
    let server = Server::start(&mut command);
    let mut connection = server.connect();
    let mut too_large = |length: usize| {
        connection.send(format!(
            "POST /v1/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{}",
            " ".repeat(length)
        ));
        connection.answer().status == 413
    };
    assert!(!too_large(300) && too_large(301));
    let target = |length: usize| "/".repeat(length - "GET  HTTP/1.1".len());
    assert_eq!(server.connect().get(&target(201)).answer().status, 414);
    assert_ne!(server.connect().get(&target(200)).answer().status, 414);
    server.stop();
}

#[test]
fn the_file_may_be_named_by_the_environment() {
    let file = write("named.toml", "[server]\nlisten = \"127.0.0.1:0\"\n[limits]\nbody = 10\n");
    let server = Server::start(program().arg("serve").env("NEUROHTTP_CONFIG", &file));
    let answer = server.connect().post("/v1/chat", &" ".repeat(11)).answer();
    assert_eq!(answer.status, 413);
    server.stop();
}

#[test]
fn serving_needs_no_word_and_says_what_to_try() {
    let mut server = Server::start(program().env("NEUROHTTP_SERVER__LISTEN", "127.0.0.1:0"));
    let hint = server.line(|line| line.contains("curl"));
    assert!(hint.contains(&server.port.to_string()), "{hint}");
    server.stop();
}

#[test]
fn what_would_weaken_safety_if_ignored_is_refused() {
    let mut command = program();
    command.args(["serve", "--set", "server.listen=tls://127.0.0.1:0"]);
    let mut server = Server::launch(&mut command);
    let output = server.expect_exit(2);
    assert!(output.contains("server.listen"), "{output}");
}

#[test]
fn chat_answers_at_the_terminal_and_says_what_went_wrong() {
    assert_eq!(run(&["chat", "one", "two", "--", "-m"], 0), "one two -m");
    let file = write(
        "command-chat.toml",
        "[server]\nlisten = \"0.0.0.0:1\"\n[[provider]]\nname = \"up\"\nkind = \"openai\"\n\
         base_url = \"http://127.0.0.1:1/v1\"\napi_key = \"sk-secret\"\n[[model]]\nname = \"far\"\n\
         targets = [{ provider = \"up\" }]\n",
    );
    // Nothing listens there, and nothing of the server's own is opened for a chat.
    let output = run(&["chat", "-c", &file, "-m", "far", "x"], 1);
    assert!(output.contains("neurohttp: the provider cannot be reached"), "{output}");
    assert!(!output.contains("sk-secret"), "{output}");
    assert_eq!(run(&["chat", "-c", &file, "-m", "echo", "x"], 0), "x");
    let output = run(&["chat", "-m", "nobody", "x"], 1);
    assert!(output.contains("nobody"), "{output}");
    run(&["chat", "-m", "echo"], 2);
}
