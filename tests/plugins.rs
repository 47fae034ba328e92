//! Plugins in a server of the new API: both contracts, from the host's side, in C.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::cc::{build, c_compiler, succeed};
use support::for_each_link;
use support::process::{Server, clean};
use support::stage::{root, scratch};

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
