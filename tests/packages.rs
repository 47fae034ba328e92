//! What is shipped beside the program: units, fronts, packages. Each is checked by the tool it is made
//! for, where that is installed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

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
