//! The tests that tests/README.md names are there.

use std::fs;
use std::path::Path;

use crate::support::stage::root;

/// What would break: a trap whose test was renamed or lost.
#[test]
fn every_trap_has_its_test() {
    let mut sources = String::new();
    for folder in ["src", "tests"] {
        read(&root().join(folder), &mut sources);
    }
    let table = fs::read_to_string(root().join("tests/README.md")).unwrap();
    let (_, table) = table.split_once("## Traps").expect("the table");
    let mut count = 0;
    for line in table.lines().filter(|line| line.starts_with('|')).skip(2) {
        let tests = line.trim_end_matches('|').rsplit('|').next().unwrap();
        for name in tests.split('`').skip(1).step_by(2) {
            assert!(sources.contains(&format!("fn {name}()")), "no test has the name {name}");
            count += 1;
        }
    }
    assert!(count > 30, "the table was not read: {count}");
}

fn read(folder: &Path, sources: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, sources);
        } else if path.extension().is_some_and(|it| it == "rs") {
            sources.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}
