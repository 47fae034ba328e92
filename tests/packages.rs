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

/// Whether a tool is there; says so when it is not.
fn has(tool: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        let places = std::env::split_paths(&path);
        places.chain([PathBuf::from("/usr/sbin")]).any(|folder| folder.join(tool).is_file())
    });
    if !found {
        eprintln!("skipped: no {tool}");
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
