//! What is shipped beside the program: units, fronts, packages. Each is checked by the tool it is made
//! for, where that is installed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::cc::succeed;
use support::stage::{root, scratch};

/// A fresh folder for one test.
fn fresh(name: &str) -> PathBuf {
    let folder = scratch().join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Where a tool is, in the path or where only root looks.
fn tool(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    places.map(|folder| folder.join(name)).find(|file| file.is_file()).unwrap_or_default()
}

/// Whether a tool is there; says so when it is not.
fn has(name: &str) -> bool {
    let found = tool(name).is_file();
    if !found {
        eprintln!("skipped: no {name}");
    }
    found
}

/// The units as they are installed, with a program that is there.
fn units(folder: &Path) {
    let service = fs::read_to_string(root().join("config/systemd/neurohttp.service.in")).unwrap();
    let service =
        service.replace("@SYSCONFDIR@", "/etc").replace("@PREFIX@/bin/neurohttp", "/bin/true");
    fs::write(folder.join("neurohttp.service"), service).unwrap();
    let socket = root().join("config/systemd/neurohttp.socket");
    fs::copy(socket, folder.join("neurohttp.socket")).unwrap();
}

/// What would break: a unit that systemd does not understand, or one that is left open.
#[test]
fn the_units_are_understood_and_locked_down() {
    if !has("systemd-analyze") {
        return;
    }
    let folder = fresh("units");
    units(&folder);
    let run =
        |words: &[&str]| succeed(Command::new("systemd-analyze").args(words).current_dir(&folder));
    let said = run(&["verify", "--man=no", "./neurohttp.socket", "./neurohttp.service"]);
    assert!(!said.contains("neurohttp."), "{said}");
    let exposure =
        run(&["security", "--offline=true", "--threshold=20", "--no-pager", "./neurohttp.service"]);
    assert!(exposure.contains("OK"), "{exposure}");
}

/// What would break: a front that its own proxy refuses.
#[test]
fn the_fronts_are_understood() {
    let fronts = root().join("config/fronts");
    if has("nginx") {
        let folder = fresh("nginx");
        let mut nginx = Command::new(tool("nginx"));
        nginx.args(["-t", "-q", "-e", "stderr", "-g"]);
        nginx.arg(format!("pid {}/pid;", folder.display()));
        succeed(nginx.arg("-c").arg(fronts.join("nginx.conf")));
    }
    if has("haproxy") {
        let mut haproxy = Command::new(tool("haproxy"));
        let said = succeed(haproxy.args(["-c", "-f"]).arg(fronts.join("haproxy.cfg")));
        assert!(!said.contains("WARNING"), "{said}");
    }
}

/// What would break: an image that runs as root, copies what is not installed, or is never well.
#[test]
fn the_container_file_agrees_with_what_is_installed() {
    let text = fs::read_to_string(root().join("Containerfile")).unwrap();
    let stages = text.lines().filter(|line| line.starts_with("FROM ")).count();
    assert_eq!(stages, 2, "{text}");
    let last = text.rsplit("\nFROM ").next().unwrap();
    assert!(last.contains("\nUSER neurohttp\n") && last.contains("\nHEALTHCHECK "), "{text}");
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    for line in last.lines().filter_map(|line| line.strip_prefix("COPY --from=build /installed")) {
        let name = line.split(' ').next().unwrap().rsplit('/').next().unwrap();
        assert!(makefile.contains(name), "{line}");
    }
    // The server answers where the image says and the health check asks.
    let server = support::process::Server::gateway(&[]);
    assert_eq!(server.connect().get("/health").answer().status, 200);
    assert!(last.contains("0.0.0.0:8080") && last.contains("127.0.0.1:8080/health"), "{text}");
    server.stop();
    let ignored = fs::read_to_string(root().join(".dockerignore")).unwrap();
    assert!(ignored.contains("target") && ignored.contains("build"), "{ignored}");
}

/// The system calls of a set of systemd's, with those of the sets in it.
fn calls_of(set: &str) -> BTreeSet<String> {
    let said = succeed(Command::new("systemd-analyze").args(["syscall-filter", set]));
    let mut calls = BTreeSet::new();
    for word in said.lines().skip(1).map(str::trim) {
        match word.starts_with('@') {
            true => calls.extend(calls_of(word)),
            false if word.starts_with('#') => {}
            false => drop(calls.insert(word.to_owned())),
        }
    }
    calls
}

/// What would break: a service that systemd's filter ends or lames.
#[test]
fn every_system_call_passes_the_filter_of_the_unit() {
    if !has("strace") || !has("systemd-analyze") {
        return;
    }
    let unit = fs::read_to_string(root().join("config/systemd/neurohttp.service.in")).unwrap();
    let mut allowed = calls_of("@default");
    for line in unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        for set in line.trim_start_matches('~').split(' ') {
            match line.starts_with('~') {
                true => allowed = &allowed - &calls_of(set),
                false => allowed.extend(calls_of(set)),
            }
        }
    }
    let counts = fresh("strace").join("counts");
    let log = counts.with_file_name("log");
    let mut command = support::process::clean("strace");
    command.args(["-f", "-q", "-c", "-U", "name", "-o"]).arg(&counts);
    command.arg(&support::stage::stage().program).args(["serve", "--listen", "127.0.0.1:0"]);
    // A provider that is looked up, one that speaks TLS and is not there, a log that is opened anew.
    command.arg("--set").arg(format!("log.file={}", log.display()));
    command.args(["--set", "provider.openai.base_url=https://localhost:1/v1"]);
    let mut server = support::process::Server::launch(&mut command);
    let line = server.line(|line| line.contains("NeuroHTTP") || line.contains("PTRACE"));
    if line.contains("PTRACE") {
        eprintln!("skipped: no tracing here: {line}");
        return;
    }
    let port = line.rsplit(':').next().unwrap().trim().parse().unwrap();
    let connect = || support::wire::Connection::open(port);
    let stream = r#"{"prompt": "one two three", "stream": true}"#;
    assert_eq!(connect().post("/v1/chat", stream).answer().status, 200);
    let far = r#"{"prompt": "x", "model": "openai/m"}"#;
    assert_eq!(connect().post("/v1/chat", far).answer().status, 502);
    for page in ["/stats", "/metrics"] {
        assert_eq!(connect().get(page).answer().status, 200);
    }
    let children = format!("/proc/{0}/task/{0}/children", server.pid());
    let child: i32 = fs::read_to_string(children).unwrap().trim().parse().unwrap();
    for signal in [libc::SIGHUP, libc::SIGTERM] {
        // SAFETY: kill takes no pointer; the process is traced by our child and still runs.
        assert_eq!(unsafe { libc::kill(child, signal) }, 0);
    }
    server.expect_exit(0);
    let counts = fs::read_to_string(counts).unwrap();
    let used: BTreeSet<String> = counts
        .lines()
        .map(|line| line.trim().to_owned())
        .filter(|line| {
            !line.is_empty() && line.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        })
        .filter(|line| line != "syscall" && line != "total")
        .collect();
    assert!(used.len() > 30 && used.contains("epoll_wait"), "{counts}");
    let refused: Vec<_> = used.difference(&allowed).collect();
    assert!(refused.is_empty(), "{refused:?}");
}
