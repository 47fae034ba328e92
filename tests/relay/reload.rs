//! Another configuration under traffic: nothing is lost, nothing leaks, what stays keeps its state.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::support::process::{Server, program};
use crate::support::stage::scratch;
use crate::support::wait_until;
use crate::support::wire::{Answer, Connection};
use crate::upstream::{ASK, ASK_STREAM, GOOD, Upstream, provider};

fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, file).unwrap();
}

/// The program with this text as its configuration file.
pub fn start(name: &str, text: &str, workers: usize) -> (Server, PathBuf) {
    let folder = scratch().join(format!("relay-reload-{name}"));
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("a.toml");
    fs::write(&file, text).unwrap();
    let mut command = program();
    command.args(["serve", "--listen", "127.0.0.1:0", "--set"]);
    command.arg(format!("server.workers={workers}")).arg("-c").arg(&file);
    (Server::start(&mut command), file)
}

fn reload(server: &Server) -> Answer {
    let head = "POST /admin/reload HTTP/1.1\r\nHost: localhost\r\n";
    let fields = "Content-Type: application/json\r\nContent-Length: 0\r\n";
    let answer = server.connect().send(format!("{head}{fields}\r\n")).answer();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

const EVENT: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\
    \"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\
    \"finish_reason\":null}]}\n\n";

/// Wrong: a reload cuts a stream, sends it elsewhere, or keeps the connection of a provider that is
/// no more.
#[test]
fn a_stream_goes_on_under_the_configuration_it_began_with() {
    let (go, gate) = channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let old = Upstream::start(move |peer| {
        assert!(peer.request().is_some());
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n");
        peer.send("Transfer-Encoding: chunked\r\n\r\n");
        peer.send(format!("{:x}\r\n{EVENT}\r\n", EVENT.len()));
        gate.lock().unwrap().recv().unwrap();
        peer.send(format!("{:x}\r\n{EVENT}\r\n", EVENT.len()));
        peer.send("e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
        // Not kept: its provider has gone.
        peer.expect_gone();
    });
    let new = Upstream::start(|peer| peer.answer_all(GOOD));
    let (server, file) = start("stream", &provider("up", old.port, ""), 1);
    let mut stream = server.connect();
    stream.post("/v1/chat/completions", ASK_STREAM);
    assert_eq!(stream.head().status, 200);
    assert!(stream.chunk().is_some());
    replace(&file, &provider("up", new.port, ""));
    reload(&server);
    assert_eq!(server.connect().post("/v1/chat/completions", ASK).answer().status, 200);
    go.send(()).unwrap();
    let mut rest = Vec::new();
    while let Some(chunk) = stream.chunk() {
        rest.extend(chunk);
    }
    assert!(String::from_utf8(rest).unwrap().ends_with("data: [DONE]\n\n"));
    assert_eq!((old.accepted(), new.accepted()), (1, 1));
    server.stop();
}

/// Wrong: a reload forgets what a key has used, that a target is broken, or the connections that
/// are kept; or an answer of other targets is given from the cache.
#[test]
fn what_stays_keeps_its_state() {
    let good = Upstream::start(|peer| peer.answer_all(GOOD));
    let other = Upstream::start(|peer| peer.answer_all(GOOD));
    let text = |target: &str, port: u16, level: &str| {
        let dead = provider("dead", 9, "connect_timeout = 500");
        let model = |name: &str, target: &str| {
            format!("[[model]]\nname = \"{name}\"\ntargets = [{{ provider = \"{target}\" }}]\n")
        };
        format!(
            "{}{dead}{}{}[[key]]\nname = \"k\"\nkey = \"sk-k\"\nrequests_per_minute = 3\n\
             [auth]\nkeys = [\"sk-free\"]\n[retry]\nattempts = 0\n[breaker]\npause = 60000\n\
             pause_max = 60000\n[log]\nlevel = \"{level}\"\n",
            provider("up", port, ""),
            model("broken", "dead"),
            model("m", target)
        )
    };
    let (server, file) = start("state", &text("up", good.port, "info"), 1);
    let ask = |key: &str, model: &str| {
        let body = format!(
            r#"{{"model":"{model}","temperature":0,"messages":[{{"role":"user","content":"x"}}]}}"#
        );
        let fields = format!("Authorization: Bearer {key}\r\nContent-Type: application/json\r\n");
        let head = format!("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n{fields}");
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        server.connect().send(request).answer()
    };
    let cached = |answer: &Answer| answer.header("x-neurohttp-cache").unwrap_or_default();
    assert_eq!(ask("sk-k", "m").status, 200);
    assert_eq!(ask("sk-k", "m").status, 200);
    assert_eq!(ask("sk-free", "broken").status, 502);
    let open = || {
        let shown = "GET /admin/models HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let models = server.connect().send(shown).answer().json()["models"].clone();
        let is_it = |it: &&serde_json::Value| it["name"] == "broken";
        let model = models.as_array().unwrap().iter().find(is_it).unwrap().clone();
        model["targets"][0]["open"].as_bool().unwrap()
    };
    assert!(!open());
    assert_eq!((cached(&ask("sk-free", "m")), good.accepted()), ("miss".to_owned(), 1));
    // Something else changes.
    replace(&file, &text("up", good.port, "debug"));
    reload(&server);
    assert!(!open());
    assert_eq!(ask("sk-k", "m").status, 200);
    assert_eq!(ask("sk-k", "m").status, 429);
    assert_eq!(cached(&ask("sk-free", "m")), "hit");
    assert_eq!(good.accepted(), 1);
    // The model leads elsewhere.
    replace(&file, &text("up", other.port, "debug"));
    reload(&server);
    let answer = ask("sk-free", "m");
    assert_eq!((answer.status, cached(&answer), other.accepted()), (200, "miss".to_owned(), 1));
    // Its own provider has not changed, so the broken one is still left alone.
    assert!(!open());
    server.stop();
}

/// Wrong: only the configuration of the start decides whether providers are asked for their health.
#[test]
fn health_is_asked_for_from_a_reload_on() {
    let up = Upstream::start(|peer| {
        while peer.head().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let (server, file) = start("health", &provider("up", up.port, ""), 1);
    assert_eq!(server.connect().get("/health").answer().status, 200);
    assert_eq!(up.accepted(), 0);
    replace(&file, &provider("up", up.port, "health_path = \"/models\""));
    reload(&server);
    wait_until("it is asked", || up.accepted() > 0);
    server.stop();
}

/// Requests of one client until it is told to end; how many were answered.
fn load(port: u16, round: impl Fn(&mut Connection), over: &AtomicBool) -> usize {
    let mut connection = Connection::open(port);
    let mut count = 0;
    while !over.load(Ordering::Relaxed) {
        round(&mut connection);
        count += 1;
    }
    count
}

/// Wrong: one of a thousand reloads loses a request, cuts a connection, or leaves a descriptor, a
/// thread or memory behind.
#[test]
fn a_thousand_reloads_under_load_lose_and_leak_nothing() {
    let upstreams = [
        Upstream::start(|peer| peer.answer_all(GOOD)),
        Upstream::start(|peer| peer.answer_all(GOOD)),
    ];
    let socket = scratch().join("relay-reload-many.sock");
    let text = |turn: usize| {
        let port = upstreams[turn % 2].port;
        let more = match turn % 4 {
            0 => format!(", \"unix:{}\"", socket.display()),
            1 => ", \"127.0.0.1:0\"".to_owned(),
            _ => String::new(),
        };
        let models = if turn.is_multiple_of(3) { "x" } else { "y" };
        format!(
            "{}[[model]]\nname = \"{models}\"\ntargets = [{{ provider = \"up\", model = \"m\" }}]\n\
             [[key]]\nname = \"k\"\nkey = \"sk-{}\"\nrequests_per_minute = {}\n[auth]\nopen = true\n\
             keys = [\"sk-all\"]\n[cache]\nmax_entries = {}\nmax_bytes = {}\n[firewall]\n\
             burst = {}\ndeny = [\"203.0.113.{}/32\"]\ndisable_rules = [{}]\n[compression]\n\
             enable = {}\n[server]\nlisten = [\"127.0.0.1:0\"{more}]\nmax_connections = {}\n",
            provider("up", port, ""),
            turn % 5,
            100 + turn % 7,
            if turn.is_multiple_of(2) { 1000 } else { 100 },
            if turn.is_multiple_of(2) { 64 << 20 } else { 1 << 20 },
            100 + turn % 9,
            turn % 250,
            if turn.is_multiple_of(50) { "\"xss\"" } else { "" },
            turn.is_multiple_of(2),
            9_000 + turn % 10,
        )
    };
    let folder = scratch().join("relay-reload-many");
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("a.toml");
    fs::write(&file, text(0)).unwrap();
    let mut command = program();
    command.args(["serve", "--set", "server.workers=2", "--set", "log.level=\"error\"", "-c"]);
    let mut server = Server::start(command.arg(&file));
    let over = Arc::new(AtomicBool::new(false));
    let port = server.port;
    let asked = |path: &str, body: &str| {
        let fields = "Authorization: Bearer sk-all\r\nContent-Type: application/json\r\n";
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\n{fields}");
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())
    };
    let whole = asked("/v1/chat/completions", ASK);
    let stream = asked("/v1/chat", r#"{"model":"echo","prompt":"one two three","stream":true}"#);
    let health = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n".repeat(8);
    let spawn = |request: String, answers: usize| {
        let over = Arc::clone(&over);
        let round = move |connection: &mut Connection| {
            connection.send(&request);
            for _ in 0..answers {
                let answer = connection.answer();
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        };
        std::thread::spawn(move || load(port, round, &over))
    };
    let clients = [spawn(whole, 1), spawn(stream, 1), spawn(health, 8)];
    let mut operator = Connection::open(port);
    let order = "POST /admin/reload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\
        \r\nContent-Length: 0\r\n\r\n";
    let taken = AtomicUsize::new(0);
    let mut turn_over = |turn: usize| {
        replace(&file, &text(turn));
        let answer = operator.send(order).answer();
        assert_eq!(answer.status, 200, "{turn}: {}", answer.text());
        let is_other = answer.json()["changed"].as_array().is_some_and(|it| !it.is_empty());
        taken.fetch_add(usize::from(is_other), Ordering::Relaxed);
    };
    let begun = Instant::now();
    // What comes with use is there after these.
    (1..=200).for_each(&mut turn_over);
    let (memory, threads) = (server.resident_kib(), server.threads());
    (201..=1000).for_each(&mut turn_over);
    // As it was measured: listeners as at turn 200.
    turn_over(1200);
    let took = begun.elapsed();
    let after = server.resident_kib();
    over.store(true, Ordering::Relaxed);
    let counts = clients.map(|client| client.join().unwrap());
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    assert!(took < Duration::from_secs(300), "{took:?}");
    assert!(taken.load(Ordering::Relaxed) > 500, "{taken:?}");
    assert!(after < memory + 12 * 1024, "{memory} KiB have become {after} KiB");
    assert!(server.threads() <= threads + 4, "{} threads", server.threads());
    drop(operator);
    // Epoll and eventfd of each worker, sockets, the watcher: no more than at the start.
    wait_until("descriptors are given back", || server.descriptors() <= 32);
    eprintln!("{counts:?} rounds during 1001 reloads in {took:?}; {memory} KiB, then {after} KiB");
    let output = server.output();
    assert!(!output.contains("ERROR"), "{output}");
    server.stop();
}
