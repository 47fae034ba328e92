//! Plugins in a server of the new API: both contracts, from the host's side, in C.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::cc::{build, c_compiler, succeed};
use support::for_each_link;
use support::process::{Server, clean, program};
use support::stage::{root, scratch};
use support::wire::Connection;

/// An empty folder of one test.
fn folder(name: &str) -> PathBuf {
    let folder = scratch().join("plugins").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Builds a plugin of this repository: it links against nothing.
fn plugin(source: &str, output: &Path, flags: &[&str]) {
    let mut command = c_compiler();
    command.args(["-shared", "-fPIC", "-g"]).args(flags).arg(root().join(source));
    succeed(command.arg("-o").arg(output));
}

#[test]
fn the_new_contract_from_load_to_unload() {
    for_each_link(|link| {
        let folder = folder(&format!("new-{link:?}"));
        plugin("tests/plugins/probe.c", &folder.join("probe.so"), &[]);
        for odd in ["NULL", "ABI", "SIZE", "SHORT", "BEYOND", "FLAGS", "NAME", "INIT"] {
            let output = folder.join(format!("odd-{}.so", odd.to_lowercase()));
            plugin("tests/plugins/odd.c", &output, &[&format!("-DODD_{odd}")]);
        }
        fs::write(folder.join("nothing.c"), "int nothing;\n").unwrap();
        let nothing = folder.join("nothing.c");
        plugin(nothing.to_str().unwrap(), &folder.join("nothing.so"), &[]);
        fs::write(folder.join("text.so"), "no shared object").unwrap();
        let mut command = clean(build("tests/plugins/host.c", link));
        Server::launch(command.arg(&folder)).expect_exit(0);
    });
}

#[test]
fn old_plugins_serve_a_new_server() {
    for_each_link(|link| {
        let folder = folder(&format!("old-{link:?}"));
        let headers = format!("-I{}", root().join("include/legacy").display());
        plugin("tests/plugins/old.c", &folder.join("old.so"), &[&headers]);
        let mut command = clean(build("tests/plugins/old_host.c", link));
        Server::launch(command.arg(&folder)).expect_exit(0);
    });
}

/// The shipped plugins: what `make build` has staged, else, or when flags are asked for, built here.
fn shipped(name: &str) -> PathBuf {
    if let Some(stage) =
        std::env::var_os("NH_STAGE").filter(|_| std::env::var_os("NH_CFLAGS").is_none())
    {
        return Path::new(&stage).join("plugins").join(format!("{name}.so"));
    }
    static ONCE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one_at_a_time = ONCE.lock();
    let output = scratch().join("shipped").join(format!("{name}.so"));
    fs::create_dir_all(output.parent().unwrap()).unwrap();
    let headers = format!("-I{}", root().join("include/legacy").display());
    plugin(&format!("plugins/{name}.c"), &output, &[&headers, "-pthread"]);
    output
}

/// The program with a shipped plugin and its table.
fn with_plugin(name: &str, table: &str) -> Server {
    let folder = folder(&format!("shipped-{name}-{}", table.len()));
    let file = folder.join("neurohttp.toml");
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nworkers = 2\n[firewall]\nenable = false\n[plugins]\nload = [{:?}]\n[plugin.{name}]\n{table}",
        shipped(name)
    );
    fs::write(&file, text).unwrap();
    let mut command = program();
    Server::start(command.arg("-c").arg(file).current_dir(&folder))
}

/// Status and Retry-After of each of `count` requests on one connection.
fn asked(port: u16, client: &str, count: usize) -> Vec<(u16, Option<String>)> {
    let mut connection = Connection::open(port);
    let request = format!("GET /health HTTP/1.1\r\nHost: x\r\nX-Client: {client}\r\n\r\n");
    (0..count)
        .map(|_| {
            let answer = connection.send(&request).answer();
            (answer.status, answer.header("retry-after"))
        })
        .collect()
}

/// What would break: a client that is let through more often than its bucket holds, or one that pays
/// for another's requests.
#[test]
fn the_limiter_counts_exactly_under_load() {
    let server = with_plugin(
        "limiter",
        "by = \"header:X-Client\"\nrequests = 1\nseconds = 3600\nburst = 25\npaths = [\"/health\"]\n\
         exempt = [\"friend\"]\n",
    );
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|n| {
                let (port, client) = (server.port, format!("client-{}", n % 2));
                scope.spawn(move || (client.clone(), asked(port, &client, 50)))
            })
            .collect();
        let mut passed = std::collections::BTreeMap::new();
        for (client, answers) in clients.into_iter().map(|thread| thread.join().unwrap()) {
            for (status, retry_after) in answers {
                match status {
                    200 => *passed.entry(client.clone()).or_insert(0) += 1,
                    429 => {
                        let seconds: u32 = retry_after.unwrap().parse().unwrap();
                        assert!((1..=3600).contains(&seconds), "{seconds}");
                    }
                    other => panic!("{other}"),
                }
            }
        }
        assert_eq!(
            passed.into_iter().collect::<Vec<_>>(),
            [("client-0".into(), 25), ("client-1".into(), 25)]
        );
    });
    assert!(asked(server.port, "friend", 60).iter().all(|(status, _)| *status == 200));
    let mut connection = server.connect();
    let refused =
        connection.send("GET /health HTTP/1.1\r\nHost: x\r\nX-Client: client-0\r\n\r\n").answer();
    assert_eq!(refused.json()["error"]["code"], "rate_limited");
    assert!(refused.header("x-request-id").is_some());
    assert_eq!(connection.get("/ready").answer().status, 200);
    // Without the header the address counts; 25 of them and no more.
    let mut connection = server.connect();
    let passed = (0..30).filter(|_| connection.get("/health").answer().status == 200).count();
    assert_eq!(passed, 25);
    let stats = connection.get("/stats").answer().json();
    assert_eq!(stats["plugins"][0]["name"], "limiter");
    assert!(stats["plugins"][0]["calls"].as_u64().unwrap() > 400);
    server.stop();
}

/// What would break: keys that share a bucket, and a configuration that is taken although it is wrong.
#[test]
fn the_limiter_knows_keys_and_refuses_nonsense() {
    let server = with_plugin("limiter", "by = \"key\"\nrequests = 1\nseconds = 3600\nburst = 2\n");
    let ask = |header: &str| {
        let request = format!("GET /health HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n");
        server.connect().send(request).answer().status
    };
    for (header, status) in [
        ("Authorization: Bearer one", 200),
        ("x-api-key: one", 200),
        ("Authorization: bearer one", 429),
        ("x-api-key: two", 200),
        ("X-None: 1", 200),
        ("X-None: 1", 200),
        ("X-None: 1", 429),
        ("x-api-key: 127.0.0.1", 200),
    ] {
        assert_eq!(ask(header), status, "{header}");
    }
    server.stop();
    for (name, table, says) in [
        ("limiter", "by = \"moon\"\n", "by: expected"),
        ("limiter", "requests = 0\n", "requests: expected"),
        ("limiter", "clients = 3\n", "clients: expected"),
        ("logstats", "format = \"xml\"\n", "format: expected"),
        ("logstats", "file = \"/nowhere/at/all\"\n", "/nowhere/at/all"),
    ] {
        let config = format!("[plugins]\nload = [{:?}]\n[plugin.{name}]\n{table}", shipped(name));
        let file = folder("shipped-wrong").join("neurohttp.toml");
        fs::write(&file, config).unwrap();
        let mut server =
            Server::launch(program().arg("-c").arg(&file).args(["--listen", "127.0.0.1:0"]));
        let output = server.expect_exit(2);
        assert!(output.contains(says) && output.contains("its init failed"), "{output}");
    }
}

/// The rows of a log and of its rotated files, the oldest first.
fn rows(folder: &Path, name: &str, bytes_max: u64) -> Vec<String> {
    let mut files = Vec::new();
    for number in
        (1..).map(|number| folder.join(format!("{name}.{number}"))).take_while(|f| f.exists())
    {
        files.insert(0, number);
    }
    files.push(folder.join(name));
    for file in &files {
        assert!(fs::metadata(file).unwrap().len() <= bytes_max, "{}", file.display());
    }
    files
        .iter()
        .flat_map(|f| fs::read_to_string(f).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// What would break: a row that is lost, cut, or forged by what a client sends.
#[test]
fn logstats_loses_no_row_under_load() {
    let folder_name = "shipped-logstats";
    let table = "file = \"rows.jsonl\"\nmax_bytes = 20000\nkeep = 1000\n";
    let server = with_plugin("logstats", table);
    let folder = scratch().join("plugins").join(format!("{folder_name}-{}", table.len()));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let port = server.port;
            scope.spawn(move || {
                let mut connection = Connection::open(port);
                for n in 0..250 {
                    let request = format!("GET /none/{thread}/{n}?secret=1 HTTP/1.1\r\nHost: x\r\nUser-Agent: a\"b\\\t{n}\r\n\r\n");
                    assert_eq!(connection.send(request).answer().status, 404);
                }
            });
        }
    });
    server.connect().send("nonsense\r\n\r\n").answer();
    server.stop();
    let rows = rows(&folder, "rows.jsonl", 20_000);
    assert_eq!(rows.len(), 1001);
    let mut targets = std::collections::BTreeSet::new();
    for row in &rows {
        let row: serde_json::Value =
            serde_json::from_str(row).unwrap_or_else(|e| panic!("{e}: {row}"));
        if row["status"] == 404 {
            assert!(
                row["ms"].is_number()
                    && row["bytes"].as_u64().unwrap() > 0
                    && row["id"].is_string()
            );
            assert!(row["agent"].as_str().unwrap().starts_with("a\"b\\\t"), "{row}");
            assert_eq!(row["method"], "GET");
            assert!(row["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
            targets.insert(row["target"].as_str().unwrap().to_owned());
        } else {
            assert_eq!((&row["status"], &row["target"]), (&400.into(), &serde_json::Value::Null));
        }
    }
    assert_eq!(targets.len(), 1000);
    assert!(targets.contains("/none/3/249"));
}

#[test]
fn logstats_writes_csv_with_its_names_on_top() {
    let table = "file = \"rows.csv\"\nformat = \"csv\"\nquery = true\n";
    let server = with_plugin("logstats", table);
    let folder = scratch().join("plugins").join(format!("shipped-logstats-{}", table.len()));
    server
        .connect()
        .send("GET /a?b=c,d HTTP/1.1\r\nHost: x\r\nUser-Agent: \"quoted\", x\r\n\r\n")
        .answer();
    server.stop();
    let rows = rows(&folder, "rows.csv", 1 << 20);
    assert_eq!(rows[0], "time,id,peer,method,target,status,bytes,ms,agent");
    assert!(rows[1].ends_with(",\"\"\"quoted\"\", x\""), "{}", rows[1]);
    assert_eq!(rows.len(), 2);
}

/// What would break: a first plugin, copied from the manual, that does not compile or does nothing.
#[test]
fn the_plugin_in_the_manual_works() {
    let manual = fs::read_to_string(root().join("docs/plugins.md")).unwrap();
    let section = manual.split("## The new contract").nth(1).unwrap();
    let code = section.split("```c hello.c\n").nth(1).unwrap().split("```").next().unwrap();
    let folder = folder("manual");
    let (source, object) = (folder.join("hello.c"), folder.join("hello.so"));
    fs::write(&source, code).unwrap();
    plugin(source.to_str().unwrap(), &object, &[]);
    let mut command = program();
    let load = format!("plugins.load={}", object.display());
    let server = Server::start(command.args(["--listen", "127.0.0.1:0", "--set", &load]));
    let answer = server.connect().get("/health").answer();
    assert_eq!(answer.header("x-hello").as_deref(), Some("plugin"));
    let output = server.stop();
    assert!(output.contains("plugin hello: ready"), "{output}");
}

/// A change that an operator asks for; status and body.
fn change(port: u16, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
    // The limiter counts operators too: each change comes from another client.
    static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let client = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let fields = format!("Content-Type: application/json\r\nX-Client: operator-{client}\r\n");
    let fields = format!("{fields}Content-Length: {}\r\n", body.len());
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n{body}");
    let answer = Connection::open(port).send(head).answer();
    (answer.status, answer.json())
}

/// What would break: an operator who cannot get rid of a plugin, a reload that leaves an old one in
/// force or loses one that nobody touched, a path of an operator's that is run as code.
#[test]
fn plugins_change_while_the_server_runs() {
    let folder = folder("live");
    let (limiter, logstats) = (shipped("limiter"), shipped("logstats"));
    let own = folder.join("own");
    fs::create_dir_all(&own).unwrap();
    fs::copy(&logstats, own.join("logstats.so")).unwrap();
    let file = folder.join("a.toml");
    let text = |requests: u32, load: &str, level: &str| {
        let plugins = format!("[plugins]\ndir = {own:?}\nload = [{load}]\n");
        let limits = "by = \"header:x-client\"\nseconds = 3600\n";
        format!(
            "[firewall]\nenable = false\n[log]\nlevel = \"{level}\"\n{plugins}[plugin.limiter]\n\
             {limits}requests = {requests}\nburst = {requests}\n"
        )
    };
    let only = format!("{limiter:?}");
    fs::write(&file, text(1, &only, "info")).unwrap();
    let mut command = program();
    command.args(["serve", "--listen", "127.0.0.1:0", "-c"]).arg(&file).current_dir(&folder);
    let server = Server::start(&mut command);
    let statuses = |client: &str, count| -> Vec<u16> {
        asked(server.port, client, count).into_iter().map(|(status, _)| status).collect()
    };
    let reload = || change(server.port, "POST", "/admin/reload", "{}");
    assert_eq!(statuses("a", 2), [200, 429]);
    // A reload that is not about it leaves it and what it knows alone.
    fs::write(&file, text(1, &only, "debug")).unwrap();
    assert_eq!(reload().0, 200);
    assert_eq!(statuses("a", 1), [429]);
    // Its own table has changed: it begins anew with that.
    fs::write(&file, text(3, &only, "debug")).unwrap();
    assert_eq!(reload().0, 200);
    assert_eq!(statuses("a", 4), [200, 200, 200, 429]);
    // One that does not come refuses the whole, also what would have gone.
    fs::write(&file, text(3, "\"./nothing.so\"", "debug")).unwrap();
    assert_eq!(reload().0, 404);
    assert_eq!(statuses("a", 1), [429]);
    // Named no more, it goes.
    fs::write(&file, text(3, "", "debug")).unwrap();
    fs::rename(own.join("logstats.so"), own.join("logstats.off")).unwrap();
    assert_eq!(reload().0, 200);
    assert_eq!(statuses("a", 5), [200; 5]);
    fs::rename(own.join("logstats.off"), own.join("logstats.so")).unwrap();

    // An operator loads, switches and unloads.
    for path in ["../limiter", "/etc/passwd", "a/b", ".hidden", ""] {
        let body = serde_json::json!({ "name": path }).to_string();
        assert_eq!(change(server.port, "POST", "/admin/plugins", &body).0, 400, "{path}");
    }
    assert_eq!(change(server.port, "POST", "/admin/plugins", r#"{"name": "none"}"#).0, 404);
    let (status, told) = change(server.port, "POST", "/admin/plugins", r#"{"name": "logstats"}"#);
    assert_eq!((status, &told["name"]), (200, &serde_json::json!("logstats")), "{told}");
    assert_eq!(change(server.port, "POST", "/admin/plugins", r#"{"name": "logstats"}"#).0, 409);
    let shown = || {
        let answer = Connection::open(server.port)
            .send("GET /admin/plugins HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .answer();
        answer.json()["plugins"].clone()
    };
    assert_eq!(shown()[0]["enabled"], true);
    let off = change(server.port, "PATCH", "/admin/plugins/logstats", r#"{"enabled": false}"#);
    assert_eq!((off.0, &shown()[0]["enabled"]), (200, &serde_json::json!(false)));
    assert_eq!(change(server.port, "PATCH", "/admin/plugins/x", r#"{"enabled": false}"#).0, 404);
    assert_eq!(change(server.port, "DELETE", "/admin/plugins/logstats", "").0, 200);
    assert_eq!(change(server.port, "DELETE", "/admin/plugins/logstats", "").0, 404);
    assert_eq!(shown(), serde_json::json!([]));
    server.stop();
}
