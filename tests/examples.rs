//! The examples of `c_examples/`: each builds without a warning against both libraries, answers
//! what its opening comment promises, and stops cleanly on a signal.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use support::cc::Link;
use support::for_each_link;
use support::process::{Server, example};
use support::stage::{root, scratch};
use support::wire::Connection;

/// Starts an example on a free port.
fn start(name: &str, link: Link) -> Server {
    Server::start(example(name, link).arg("0"))
}

#[test]
fn every_example_is_short_and_named_in_the_readme() {
    let readme = fs::read_to_string(root().join("c_examples/README.md")).unwrap();
    let mut count = 0;
    for entry in fs::read_dir(root().join("c_examples")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with(".c") {
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.lines().count() < 150, "{name} is too long for an example");
            assert!(readme.contains(&format!("`{name}`")), "{name} is missing in the README");
            count += 1;
        }
    }
    assert!(count >= 10);
}

#[test]
fn hello_answers_and_keeps_the_connection() {
    for_each_link(|link| {
        let server = start("hello", link);
        check_hello(&mut server.connect());
        server.stop();
    });
}

fn check_hello(connection: &mut Connection) {
    for (name, text) in [("Ada", "Hello, Ada!\n"), ("Gr%C3%A9ta", "Hello, Gréta!\n")] {
        let answer = connection.get(&format!("/hello/{name}")).answer();
        assert_eq!((answer.status, answer.text()), (200, text));
        assert_eq!(answer.header("content-type").unwrap(), "text/plain");
        assert!(answer.header("date").is_some() && answer.header("x-request-id").is_some());
    }
    let answer = connection
        .send("HEAD /hello/Ada HTTP/1.1\r\nHost: h\r\n\r\nGET /health HTTP/1.1\r\nHost: h\r\n\r\n")
        .answer_to_head();
    assert_eq!((answer.status, answer.header("content-length").as_deref()), (200, Some("12")));
    assert_eq!(connection.answer().status, 200, "/health, pipelined behind a HEAD");
    let answer = connection.post("/hello/Ada", "{}").answer();
    assert_eq!(answer.status, 405);
    assert!(answer.header("allow").unwrap().contains("GET"));
    assert_eq!(connection.get("/hello/Ada/twice").answer().status, 404);
}

#[test]
fn hello_answers_a_pipeline_in_order() {
    let server = start("hello", Link::Shared);
    let mut connection = server.connect();
    let names: Vec<String> = (0..200).map(|i| format!("n{i}")).collect();
    let requests: String =
        names.iter().map(|name| format!("GET /hello/{name} HTTP/1.1\r\nHost: h\r\n\r\n")).collect();
    connection.send(requests);
    for name in &names {
        assert_eq!(connection.answer().text(), format!("Hello, {name}!\n"));
    }
    server.stop();
}

#[test]
fn a_taken_port_is_said_in_one_line() {
    let server = start("hello", Link::Shared);
    let mut second = Server::launch(example("hello", Link::Shared).arg(server.port.to_string()));
    let output = second.expect_exit(1);
    assert!(output.contains("hello: the server does not start: "), "{output}");
    server.stop();
}

#[test]
fn params_reads_every_part_of_a_request() {
    for_each_link(|link| {
        let server = start("params", link);
        check_params(&mut server.connect());
        server.stop();
    });
}

fn check_params(connection: &mut Connection) {
    for (target, status, text) in [
        ("/users/42", 200, "user 42, fields all\n"),
        ("/users/42?fields=a%20b+c&verbose", 200, "user 42, fields a b c, in detail\n"),
        ("/users/42?fields=&fields=x", 200, "user 42, fields \n"),
        ("/users/me", 400, "an id is a number\n"),
        ("/files/docs/2024/plan.txt", 200, "file 'docs/2024/plan.txt'\n"),
        ("/files/a%20b/../c", 200, "file 'c'\n"),
        ("/files/", 200, "file ''\n"),
    ] {
        let answer = connection.get(target).answer();
        assert_eq!((answer.status, answer.text()), (status, text), "{target}");
    }
    connection.send(
        "PATCH /inspect?x=%41 HTTP/1.1\r\nHost: h\r\nX-TEAM: red\r\nContent-Length: 5\r\n\r\nbytes",
    );
    let answer = connection.answer();
    assert_eq!(answer.text(), "PATCH /inspect?x=%41\nteam red\n3 header fields\n5 bytes of body\n");
    assert!(answer.header("x-peer").unwrap().starts_with("127.0.0.1:"));
}

#[test]
fn stream_sends_every_event_in_order() {
    for_each_link(|link| {
        let server = start("stream", link);
        check_stream(&mut server.connect(), 20_000);
        server.stop();
    });
}

fn check_stream(connection: &mut Connection, count: usize) {
    let answer = connection.get(&format!("/count?to={count}")).answer();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type").unwrap(), "text/event-stream");
    assert_eq!(answer.header("transfer-encoding").unwrap(), "chunked");
    let mut wanted: Vec<String> = (1..=count).map(|i| i.to_string()).collect();
    wanted.push("[DONE]".to_owned());
    assert_eq!(answer.events(), wanted);
    assert!(answer.text().ends_with("event: done\ndata: [DONE]\n\n"));
}

#[test]
fn stream_waits_for_a_reader_that_stops() {
    // An endless producer must be held by its bounded queue, not by memory.
    let server = start("stream", Link::Shared);
    check_stream(&mut server.connect(), 1000);
    let before = server.resident_kib();
    let mut idle: Vec<Connection> = Vec::new();
    for _ in 0..20 {
        let mut connection = server.connect();
        connection.receive_little().get("/count?to=18446744073709551614");
        assert_eq!(connection.head().status, 200);
        idle.push(connection);
    }
    // The server is still at everyone's service, and has had its turns to write more.
    for _ in 0..50 {
        check_stream(&mut server.connect(), 1000);
    }
    let grown = server.resident_kib().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB more for 20 readers that do not read");
    for mut connection in idle {
        // The size of the first chunk, then what it begins with.
        let first = connection.take(64);
        assert!(first.windows(9).any(|piece| piece == b"data: 1\n\n"), "{first:?}");
    }
    server.stop();
}

#[test]
fn deferred_answers_from_its_thread() {
    for_each_link(|link| {
        let server = start("deferred", link);
        check_deferred(&server, 8);
        server.stop();
    });
}

fn check_deferred(server: &Server, count: usize) {
    let mut waiting: Vec<Connection> = (0..count).map(|_| server.connect()).collect();
    for (index, connection) in waiting.iter_mut().enumerate() {
        connection.post("/jobs", &format!("job {index}"));
    }
    for (index, connection) in waiting.iter_mut().enumerate() {
        let answer = connection.answer();
        assert_eq!((answer.status, answer.text()), (200, format!("job {index}").as_str()));
    }
}

#[test]
fn deferred_survives_clients_that_leave_and_drains() {
    let server = start("deferred", Link::Shared);
    for index in 0..20 {
        let mut connection = server.connect();
        connection.post("/jobs", "nobody waits for it");
        if index % 2 == 0 { drop(connection) } else { connection.reset() }
    }
    check_deferred(&server, 3);
    server.stop();
}

#[test]
fn what_is_open_when_the_signal_comes_is_answered() {
    let mut server = start("deferred", Link::Shared);
    let mut open: Vec<Connection> = (0..5).map(|_| server.connect()).collect();
    for (index, connection) in open.iter_mut().enumerate() {
        connection.post("/jobs", &format!("job {index}"));
    }
    // The first answer proves that the others have been taken in: one worker thread, in order.
    assert_eq!(open[0].answer().text(), "job 0");
    server.signal(libc::SIGTERM);
    for (index, connection) in open.iter_mut().enumerate().skip(1) {
        assert_eq!(connection.answer().text(), format!("job {index}"));
    }
    server.expect_exit(0);
}

#[test]
fn model_is_served_in_both_apis() {
    for_each_link(|link| {
        let server = start("model", link);
        check_model(&mut server.connect());
        server.stop();
    });
}

fn check_model(connection: &mut Connection) {
    let ask = |extra: &str| {
        format!(r#"{{"model":"parrot",{extra}"messages":[{{"role":"user","content":"a b c"}}]}}"#)
    };
    for (path, extra, expected) in [
        ("/v1/chat/completions", "", r#""content":"a b c""#),
        ("/v1/chat/completions", r#""max_tokens":2,"#, r#""finish_reason":"length""#),
        ("/v1/messages", r#""max_tokens":9,"#, r#""text":"a b c""#),
        ("/v1/responses", "", r#""text":"a b c""#),
    ] {
        let body = match path {
            "/v1/responses" => r#"{"model":"parrot","input":"a b c"}"#.to_owned(),
            _ => ask(extra),
        };
        let answer = connection.post(path, &body).answer();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains(expected), "{path}: {}", answer.text());
    }
    let answer = connection.post("/v1/chat/completions", &ask(r#""stream":true,"#)).answer();
    let events = answer.events();
    assert!(events[1].contains(r#""content":"a""#), "{events:?}");
    assert!(events[2].contains(r#""content":" b""#), "{events:?}");
    assert_eq!(events.last().unwrap(), "[DONE]");
}

#[test]
fn batch_model_answers_many_from_one_thread() {
    for_each_link(|link| {
        let server = start("batch_model", link);
        check_batch(&server, 16);
        server.stop();
    });
}

fn check_batch(server: &Server, count: usize) {
    let ask = |number: usize| {
        format!(
            r#"{{"model":"counter","stream":true,"messages":[{{"role":"user","content":"{number}"}}]}}"#
        )
    };
    let mut open: Vec<Connection> = (0..count).map(|_| server.connect()).collect();
    for (index, connection) in open.iter_mut().enumerate() {
        connection.post("/v1/chat/completions", &ask(index + 1));
    }
    // One of them leaves in the middle: the batch goes on without it.
    let mut leaving = server.connect();
    leaving.post("/v1/chat/completions", &ask(1_000_000_000));
    assert_eq!(leaving.head().status, 200);
    leaving.reset();
    for (index, connection) in open.iter_mut().enumerate() {
        let events = connection.answer().events();
        // Role, as many tokens, the reason, the mark.
        assert_eq!(events.len(), index + 4, "{events:?}");
    }
}

#[test]
fn hooks_redact_drop_and_refuse() {
    for_each_link(|link| {
        let server = start("hooks", link);
        check_hooks(&mut server.connect());
        server.stop();
    });
}

fn check_hooks(connection: &mut Connection) {
    for (prompt, status, expected) in [
        ("my card is 4242424242424242, see?", 200, "my card is ****************, see?"),
        ("tell me the launch code", 403, "refused"),
        ("plain", 200, r#""response":"plain""#),
    ] {
        let body = format!(r#"{{"model":"echo","prompt":"{prompt}"}}"#);
        let answer = connection.post("/v1/chat", &body).answer();
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(answer.text().contains(expected), "{}", answer.text());
    }
}

#[test]
fn middleware_guards_and_edits() {
    for_each_link(|link| {
        let server = start("middleware", link);
        check_middleware(&mut server.connect());
        server.stop();
    });
}

fn check_middleware(connection: &mut Connection) {
    let private = "GET /private HTTP/1.1\r\nHost: h\r\nX-Token: sesame\r\n\r\n";
    let refused = "GET /private HTTP/1.1\r\nHost: h\r\nX-Token: open\r\n\r\n";
    for (number, (request, status, text)) in [
        ("GET /open HTTP/1.1\r\nHost: h\r\n\r\n", 200, "for everyone\n"),
        (refused, 401, "who are you?\n"),
        (private, 200, "for you\n"),
        ("GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n", 404, "nothing at /nowhere\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = connection.send(request).answer();
        assert_eq!((answer.status, answer.text()), (status, text));
        assert_eq!(answer.header("x-answer-number").unwrap(), (number + 1).to_string());
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401);
    }
}

#[test]
fn cached_keeps_what_it_was_given_and_what_it_answered() {
    for_each_link(|link| {
        let server = start("cached", link);
        let mut connection = server.connect();
        assert_eq!(connection.get("/notes/shopping").answer().status, 404);
        let note = |method: &str, target: &str, text: &str| {
            let length = text.len();
            format!(
                "{method} {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{text}"
            )
        };
        for text in ["milk", "milk and eggs", ""] {
            let put = note("PUT", "/notes/shopping?seconds=60", text);
            assert_eq!(connection.send(put).answer().status, 204);
            let answer = connection.get("/notes/shopping").answer();
            assert_eq!((answer.status, answer.text()), (200, text));
        }
        let delete = note("DELETE", "/notes/shopping", "");
        for status in [204, 404] {
            assert_eq!(connection.send(&delete).answer().status, status);
        }
        assert_eq!(connection.get("/notes/shopping").answer().status, 404);
        for state in ["miss", "hit", "hit"] {
            let answer = connection.get("/squares").answer();
            assert_eq!(answer.header("x-neurohttp-cache").as_deref(), Some(state));
            assert!(answer.text().starts_with("1\n4\n9\n") && answer.text().ends_with("10000\n"));
        }
        let again = "GET /squares HTTP/1.1\r\nHost: 127.0.0.1\r\nIf-None-Match: \"1\"\r\n\r\n";
        assert_eq!(connection.send(again).answer().status, 304);
        server.stop();
    });
}

#[test]
fn page_serves_its_file_and_nothing_else() {
    let file = scratch().join("page.html");
    let text: Vec<u8> = (0..3000u32).map(|i| (i * 7) as u8).collect();
    fs::write(&file, &text).unwrap();
    for_each_link(|link| {
        let server = Server::start(example("page", link).arg("0").arg(&file));
        let mut connection = server.connect();
        for _ in 0..3 {
            let answer = connection.get("/page").answer();
            assert_eq!((answer.status, &answer.body), (200, &text));
            assert_eq!(answer.header("content-type").unwrap(), "text/html");
        }
        for target in ["/", "/health", "/v1/models"] {
            assert_eq!(connection.get(target).answer().status, 404, "{target}");
        }
        server.stop();
    });
    let mut missing = Server::launch(example("page", Link::Shared).args(["0", "/no/such/file"]));
    assert!(missing.expect_exit(1).contains("page: cannot read /no/such/file"));
}

#[test]
fn echo_gives_every_body_back() {
    for_each_link(|link| {
        let server = start("echo", link);
        check_echo(&mut server.connect());
        server.stop();
    });
}

fn check_echo(connection: &mut Connection) {
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        for (path, length) in [("/", 0), ("/a/b%20c", 1), ("/v1/chat/completions", 100_000)] {
            let body = vec![b'x'; length];
            connection.send(format!(
                "{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n"
            ));
            let answer = connection.send(&body).answer();
            assert_eq!((answer.status, answer.body.len()), (200, length), "{method} {path}");
            assert_eq!(answer.body, body);
        }
    }
    connection.send(
        "POST /chunks HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
         5;name=value\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\nX-Trailer: t\r\n\r\n",
    );
    assert_eq!(connection.answer().text(), "hello world");
    connection.send("HEAD /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(connection.answer_to_head().header("content-length").unwrap(), "3");
    connection.get("/still/here");
    assert_eq!(connection.answer().status, 200);
}

#[test]
fn echo_takes_long_heads_and_large_bodies() {
    let server = start("echo", Link::Shared);
    let mut connection = server.connect();
    let target = "/".to_owned() + &"t".repeat(100_000);
    let value = "v".repeat(200_000);
    connection.send(format!("GET {target} HTTP/1.1\r\nHost: h\r\nX-Long: {value}\r\n\r\n"));
    assert_eq!(connection.answer().status, 200);
    let body: Vec<u8> = (0..40_000_000u32).map(|i| (i ^ (i >> 8)) as u8).collect();
    let mut connection = server.connect();
    connection
        .send(format!("PUT /large HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len()));
    assert!(connection.send(&body).answer().body == body);
    server.stop();
}

#[test]
fn chat_prints_the_answer_as_it_comes() {
    for_each_link(|link| {
        let output = Server::launch(example("chat", link).args(["say", "\"h\u{00e9}llo\"", "\\n"]))
            .expect_exit(0);
        assert!(output.contains("say \"h\u{00e9}llo\" \\n"), "{output}");
        assert!(output.contains(" tokens"), "{output}");
    });
    let run = |words: &[&str], code| {
        Server::launch(example("chat", Link::Shared).args(words)).expect_exit(code)
    };
    assert!(run(&["-m", "nobody", "x"], 1).contains("chat: NH_ERR_NOT_FOUND: "));
    assert!(run(&[], 2).contains("usage: chat"));
    assert!(run(&["-c", "/no/such/file.toml", "x"], 2).contains("chat: no client: "));
    // A provider that is busy, found through a file, says when to come again.
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let file = scratch().join("chat.toml");
    let port = upstream.local_addr().unwrap().port();
    let text = format!(
        "[[provider]]\nname = \"up\"\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:{port}/v1\"\n"
    );
    fs::write(&file, text).unwrap();
    let busy = std::thread::spawn(move || {
        let (mut stream, _) = upstream.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            let mut piece = [0; 4096];
            let count = stream.read(&mut piece).unwrap();
            assert!(count > 0);
            request.extend_from_slice(&piece[..count]);
        }
        let answer = b"HTTP/1.1 429 X\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).unwrap();
        String::from_utf8(request).unwrap()
    });
    let output = run(&["-c", file.to_str().unwrap(), "-m", "up/m", "a", "b"], 1);
    assert!(output.contains("chat: NH_ERR_LIMIT: "), "{output}");
    assert!(output.contains("chat: try again in 3000 ms"), "{output}");
    assert!(busy.join().unwrap().contains("\"content\":\"a b\""));
}

#[test]
fn gateway_serves_what_its_file_says_and_asks_it_itself() {
    let file = scratch().join("gateway.toml");
    let text = "[[model]]\nname = \"parrot\"\naliases = [\"bird\"]\n\
        targets = [{ provider = \"echo\" }]\n[[provider]]\nname = \"echo\"\nkind = \"echo\"\n\
        [auth]\nkeys = [\"sesame\"]\n";
    fs::write(&file, text).unwrap();
    for_each_link(|link| {
        let mut server = Server::start(example("gateway", link).arg("0").arg(&file));
        let mut connection = server.connect();
        let body = r#"{"model":"bird","messages":[{"role":"user","content":"Hi"}]}"#;
        assert_eq!(connection.post("/v1/chat/completions", body).answer().status, 401);
        connection.send(format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n\
             Authorization: Bearer sesame\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        let answer = connection.answer();
        assert_eq!(answer.json()["choices"][0]["message"]["content"], "Hi");
        let answer = connection.get("/haiku").answer();
        assert_eq!((answer.status, answer.text()), (200, "Write a haiku about sockets."));
        server.line(|line| line.starts_with("gateway[") && line.contains("listening on"));
        server.stop();
    });
    fs::write(&file, "[server]\nports = 1\n").unwrap();
    let output =
        Server::launch(example("gateway", Link::Shared).arg("0").arg(&file)).expect_exit(2);
    assert!(output.contains("gateway: new: ") && output.contains(":2:"), "{output}");
}

#[test]
fn own_loop_does_everything_on_one_thread() {
    for_each_link(|link| {
        let server = start("own_loop", link);
        check_own_loop(&server);
        // The log has a thread of its own, so that a slow terminal holds nobody up.
        assert!(server.threads() <= 2);
        server.stop();
    });
}

fn check_own_loop(server: &Server) {
    let mut connection = server.connect();
    let ticks = |connection: &mut Connection| -> u64 {
        let answer = connection.get("/ticks").answer();
        answer.text().strip_suffix(" ticks\n").unwrap().parse().unwrap()
    };
    let before = ticks(&mut connection);
    support::wait_until("its own clock goes on", || ticks(&mut connection) > before);
    let body = r#"{"prompt":"one two three","stream":true}"#;
    let answer = connection.post("/v1/chat", body).answer();
    assert_eq!(answer.status, 200);
    assert!(answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
}

#[test]
fn own_loop_fires_the_servers_timers() {
    // Nothing but the timer makes the descriptor readable: a client that never ends its head.
    let mut command = example("own_loop", Link::Shared);
    let server = Server::start(command.arg("0").env("NEUROHTTP_TIMEOUTS__HEADER", "200"));
    let mut slow = server.connect();
    slow.send("GET /ticks HTTP/1.1\r\n");
    let answer = slow.answer();
    assert_eq!(answer.status, 408);
    server.stop();
}

#[test]
fn every_signal_ends_with_the_code_0() {
    for (name, signal) in
        [("hello", libc::SIGINT), ("stream", libc::SIGTERM), ("middleware", libc::SIGINT)]
    {
        let mut server = start(name, Link::Shared);
        let mut idle = server.connect();
        assert_eq!(idle.get("/nowhere").answer().status, 404);
        server.signal(signal);
        server.expect_exit(0);
        idle.expect_close();
    }
}

#[test]
fn valgrind_finds_no_error_and_no_leak() {
    // What the C side frees, and what the library keeps behind its handles, adds up to nothing.
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("skipped: valgrind is not installed");
        return;
    }
    let run = |name: &str, visit: &dyn Fn(&Server)| {
        let program = support::cc::build(&format!("c_examples/{name}.c"), Link::Shared);
        let mut command = support::process::clean("valgrind");
        command
            .args(["--quiet", "--leak-check=full", "--error-exitcode=99"])
            .args(["--show-leak-kinds=definite,indirect,possible"])
            .args(["--errors-for-leak-kinds=definite,indirect,possible"])
            .arg(format!("--suppressions={}", root().join("tests/valgrind.supp").display()))
            .arg(program)
            .arg("0");
        let server = Server::start(&mut command);
        visit(&server);
        server.stop();
    };
    run("hello", &|server| check_hello(&mut server.connect()));
    run("params", &|server| check_params(&mut server.connect()));
    run("stream", &|server| {
        check_stream(&mut server.connect(), 2000);
        let mut leaving = server.connect();
        leaving.get("/count?to=100000000");
        assert_eq!(leaving.head().status, 200);
        leaving.reset();
        check_stream(&mut server.connect(), 10);
    });
    run("deferred", &|server| {
        let mut leaving = server.connect();
        leaving.post("/jobs", "nobody waits for it");
        leaving.reset();
        check_deferred(server, 3);
    });
    run("model", &|server| check_model(&mut server.connect()));
    run("batch_model", &|server| check_batch(server, 4));
    run("hooks", &|server| check_hooks(&mut server.connect()));
    run("middleware", &|server| check_middleware(&mut server.connect()));
    run("own_loop", &check_own_loop);
    run("gateway", &|server| {
        let answer = server.connect().get("/haiku").answer();
        assert_eq!(answer.text(), "Write a haiku about sockets.");
    });
    run("echo", &|server| check_echo(&mut server.connect()));
}

#[test]
fn a_client_that_is_slow_to_send_is_served_beside_others() {
    let server = start("hello", Link::Shared);
    let mut slow = server.connect();
    slow.send("GET /hello/sl");
    assert!(slow.quiet_for(Duration::from_millis(50)));
    check_hello(&mut server.connect());
    assert_eq!(slow.send("ow HTTP/1.1\r\nHost: h\r\n\r\n").answer().text(), "Hello, slow!\n");
    server.stop();
}
