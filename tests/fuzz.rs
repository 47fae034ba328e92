//! Replays the corpora of `tests/fuzz`: seeds by hand, and what a fuzzer found worth keeping; then
//! mutates them for a while. `make fuzz` lets a real fuzzer at the same functions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "fuzz/targets.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use targets::{FuzzTarget, TARGETS};

/// Mutations of each target's corpus: seconds in an unoptimized build.
const MUTATIONS: usize = 4_000;

fn corpus(target: &FuzzTarget) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target.name);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "{} holds {} files", folder.display(), files.len());
    files.into_iter().map(|file| (file.clone(), std::fs::read(file).unwrap())).collect()
}

fn check(target: &FuzzTarget, bytes: &[u8], what: &str) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))).is_err() {
        panic!("{} does not hold for {what}: \"{}\"", target.name, bytes.escape_ascii());
    }
}

#[test]
fn every_corpus_is_replayed() {
    for target in TARGETS {
        check(target, b"", "nothing");
        for (file, bytes) in corpus(target) {
            check(target, &bytes, &file.display().to_string());
        }
    }
}

#[test]
fn mutations_of_every_corpus_hold_too() {
    // xorshift with a fixed seed: the same inputs everywhere.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % bound.max(1)
    };
    for target in TARGETS {
        let files = corpus(target);
        for round in 0..MUTATIONS {
            let mut bytes = files[below(files.len())].1.clone();
            bytes.truncate(2_000);
            for _ in 0..=below(4) {
                let at = below(bytes.len() + 1);
                match below(5) {
                    0 if at < bytes.len() => bytes[at] ^= 1 << below(8),
                    1 => bytes.insert(at, b"\r\n\0 \t:;,%/.=0aA\"\x80\xff"[below(18)]),
                    2 if at < bytes.len() => {
                        let end = (at + 1 + below(6)).min(bytes.len());
                        bytes.drain(at..end);
                    }
                    3 => {
                        let other = &files[below(files.len())].1;
                        let start = below(other.len());
                        let end = (start + below(30)).min(other.len());
                        bytes.splice(at..at, other[start..end].iter().copied());
                    }
                    _ => bytes.truncate(at),
                }
            }
            check(target, &bytes, &format!("mutation {round}"));
        }
    }
}
