//! The documents: those that are made of the program's own words are fresh, and what the others show
//! is true.
//!
//! `NEUROHTTP_WRITE_DOCS=1` (`make docs`) writes the made ones anew.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod c_api;
mod configuration;
mod header;
mod links;
mod man;
mod roff;
mod sample;
mod snippets;
mod traps;

use std::fs;

use support::stage::root;

/// Compares a document with what it is made of, or writes it.
fn compare(path: &str, fresh: &str) {
    let file = root().join(path);
    if std::env::var_os("NEUROHTTP_WRITE_DOCS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, fresh).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    let differs = found.lines().zip(fresh.lines()).position(|(found, fresh)| found != fresh);
    assert!(found == fresh, "{path} is not what it is made of (line {differs:?}): make docs");
}
