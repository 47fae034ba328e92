//! `make install` and `make uninstall`: what is put where, a program linked through pkg-config
//! from there, and nothing left at the end.
//!
//! It installs what `make build` has staged, so it runs as a part of `make test` only.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::cc::{STRICT, succeed};
use support::process::{Server, clean};
use support::stage::{root, scratch};

/// A fresh folder for one test.
fn fresh(name: &str) -> PathBuf {
    let folder = scratch().join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn make(arguments: &[String]) -> String {
    // The flags of a make around us speak of its own jobs.
    let mut command = Command::new("make");
    command.args(["-C", root().to_str().unwrap()]).args(arguments);
    succeed(command.env_remove("MAKEFLAGS").env_remove("MAKELEVEL"))
}

fn staged() -> bool {
    let staged = std::env::var_os("NH_STAGE").is_some();
    if !staged {
        eprintln!("skipped: needs what `make build` stages; `make test` runs it");
    }
    staged
}

/// Files and links below a folder, by their path inside it.
fn entries(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else {
                let path = entry.path();
                found.insert(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

/// The flags that pkg-config gives for what is installed under `prefix`.
fn pkg_config(prefix: &Path, arguments: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.args(arguments).arg("neurohttp");
    let output = succeed(command.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")));
    output.split_whitespace().map(str::to_owned).collect()
}

/// Compiles hello.c as a user would and lets it answer.
fn check_program(prefix: &Path, flags: &[String], name: &str) {
    let program = prefix.join(name);
    succeed(
        Command::new("cc")
            .args(STRICT)
            .arg(root().join("c_examples/hello.c"))
            .arg("-o")
            .arg(&program)
            .args(flags),
    );
    let mut command = clean(&program);
    command.env("LD_LIBRARY_PATH", prefix.join("lib")).arg("0");
    let server = Server::start(&mut command);
    let answer = server.connect().get("/hello/you").answer();
    assert_eq!(answer.text(), "Hello, you!\n");
    server.stop();
}

#[test]
fn installs_links_and_uninstalls() {
    if !staged() {
        return;
    }
    let prefix = fresh("install-prefix");
    let arguments = [format!("PREFIX={}", prefix.display())];
    make(&[&["install".to_owned()], &arguments[..]].concat());
    let version = env!("CARGO_PKG_VERSION");
    let installed = entries(&prefix);
    for wanted in [
        "bin/neurohttp",
        "bin/aionic",
        "include/neurohttp.h",
        "lib/libneurohttp.a",
        "lib/libneurohttp.so",
        "lib/libneurohttp.so.1",
        &format!("lib/libneurohttp.so.{version}"),
        "lib/pkgconfig/neurohttp.pc",
        "share/doc/neurohttp/README.md",
    ] {
        assert!(installed.contains(wanted), "{wanted} is not among {installed:?}");
    }
    assert!(fs::symlink_metadata(prefix.join("lib/libneurohttp.so.1")).unwrap().is_symlink());
    let program = clean(prefix.join("bin/neurohttp")).arg("--version").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&program.stdout).trim(), format!("neurohttp {version}"));

    assert_eq!(pkg_config(&prefix, &["--modversion"]), [version]);
    check_program(&prefix, &pkg_config(&prefix, &["--cflags", "--libs"]), "shared");
    // The archive alone, with all that it needs.
    for link in ["libneurohttp.so", "libneurohttp.so.1"] {
        fs::remove_file(prefix.join("lib").join(link)).unwrap();
    }
    check_program(&prefix, &pkg_config(&prefix, &["--cflags", "--libs", "--static"]), "static");
    let needed = succeed(Command::new("readelf").arg("-d").arg(prefix.join("static")));
    assert!(!needed.contains("libneurohttp"), "{needed}");

    for program in ["shared", "static"] {
        fs::remove_file(prefix.join(program)).unwrap();
    }
    make(&[&["uninstall".to_owned()], &arguments[..]].concat());
    assert_eq!(entries(&prefix), BTreeSet::new());
}

#[test]
fn a_destdir_is_a_stage_and_leaves_no_trace_in_the_files() {
    if !staged() {
        return;
    }
    let stage = fresh("install-destdir");
    let arguments = ["PREFIX=/usr".to_owned(), format!("DESTDIR={}", stage.display())];
    make(&[&["install".to_owned()], &arguments[..]].concat());
    assert!(stage.join("usr/bin/neurohttp").exists());
    let pc = fs::read_to_string(stage.join("usr/lib/pkgconfig/neurohttp.pc")).unwrap();
    assert!(pc.contains("prefix=/usr\n") && !pc.contains("install-destdir"), "{pc}");

    // What belongs to others stays, and so does a configuration that was edited.
    fs::write(stage.join("usr/lib/other.so"), "other").unwrap();
    let mut left = BTreeSet::from(["usr/lib/other.so".to_owned()]);
    let sample = stage.join("etc/neurohttp/neurohttp.toml");
    if sample.exists() {
        fs::write(&sample, "[server]\nworkers = 3\n").unwrap();
        make(&[&["install".to_owned()], &arguments[..]].concat());
        assert_eq!(fs::read_to_string(&sample).unwrap(), "[server]\nworkers = 3\n");
        left.insert("etc/neurohttp/neurohttp.toml".to_owned());
    }
    make(&[&["uninstall".to_owned()], &arguments[..]].concat());
    assert_eq!(entries(&stage), left);
}
