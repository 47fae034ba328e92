//! Copies and searches.

use crate::contest::{Contest, Settings, chat, noise, print};
use aho_corasick::{AhoCorasick, MatchKind};
use memchr::memmem;
use neurohttp::kernel;
use std::cell::RefCell;
use std::hint::black_box;

pub fn copy(settings: &Settings) {
    const SIZES: [usize; 6] = [64, 1024, 64 << 10, 1 << 20, 16 << 20, 64 << 20];
    let from = noise(64 << 20);
    let outcomes: Vec<_> = SIZES
        .into_iter()
        .map(|size| {
            let from = &from[..size];
            // Both write to the same place: where it lies within a page matters more than who writes.
            let to = RefCell::new(vec![1u8; size]);
            let to = &to;
            let mut contest = Contest::new(size);
            contest.ours("ours", move || {
                kernel::copy(black_box(&mut to.borrow_mut()[..]), black_box(from));
            });
            contest.rival("glibc memcpy", move || {
                let mut to = to.borrow_mut();
                let (to, from) = (black_box(&mut to[..]), black_box(from));
                assert_eq!(to.len(), from.len());
                // SAFETY: both are equally long and apart.
                unsafe { libc::memcpy(to.as_mut_ptr().cast(), from.as_ptr().cast(), from.len()) };
            });
            contest.run(settings)
        })
        .collect();
    print("copy", &outcomes);
}

/// There is no kernel of ours for these: libraries among themselves.
pub fn search(settings: &Settings) {
    let literals = [
        "<script",
        "union select",
        "../",
        "onerror=",
        "/etc/passwd",
        "xp_cmdshell",
        "sleep(",
        "${jndi:",
    ];
    let texts: Vec<Vec<u8>> = [200, 2048, 100 << 10].into_iter().map(chat).collect();
    let in_any_case = AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .build(literals)
        .expect("few short literals");
    // Only leftmost searches use Teddy.
    let teddy = AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostFirst)
        .build(literals)
        .expect("few short literals");
    let outcomes: Vec<_> = texts
        .iter()
        .map(|text| {
            let mut contest = Contest::new(text.len());
            let (in_any_case, teddy) = (&in_any_case, &teddy);
            contest.rival("aho-corasick in any case", move || {
                black_box(in_any_case.is_match(black_box(&text[..])));
            });
            contest.rival("lower case, then aho-corasick (Teddy)", move || {
                black_box(teddy.is_match(&black_box(&text[..]).to_ascii_lowercase()));
            });
            contest.rival("lower case, then memchr's memmem for each", move || {
                let lower = black_box(&text[..]).to_ascii_lowercase();
                black_box(
                    literals.iter().any(|one| memmem::find(&lower, one.as_bytes()).is_some()),
                );
            });
            contest.run(settings)
        })
        .collect();
    print("several literals in any case", &outcomes);

    let outcomes: Vec<_> = [8, 24, 200]
        .into_iter()
        .map(|size| {
            let one: Vec<u8> = noise(size).iter().map(|byte| b'a' + byte % 26).collect();
            let other = one.to_ascii_uppercase();
            let mut contest = Contest::new(size);
            let (first, second) = (one.clone(), other.clone());
            contest.rival("std eq_ignore_ascii_case", move || {
                black_box(black_box(&first[..]).eq_ignore_ascii_case(black_box(&second[..])));
            });
            contest.rival("glibc strncasecmp", move || {
                let (one, other) = (black_box(&one[..]), black_box(&other[..]));
                // SAFETY: both are equally long.
                black_box(unsafe {
                    libc::strncasecmp(one.as_ptr().cast(), other.as_ptr().cast(), one.len())
                });
            });
            contest.run(settings)
        })
        .collect();
    print("compare in any case", &outcomes);
}
