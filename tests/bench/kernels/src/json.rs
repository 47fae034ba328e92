//! JSON and UTF-8.

use crate::contest::{Contest, Settings, chat, dense, print};
use crate::libraries::{SIMDJSON_PADDING, SimdJson};
use neurohttp::kernel::json::{Indexer, Marks};
use neurohttp::kernel::{self, CpuLevel};
use std::hint::black_box;

const SIZES: [usize; 3] = [2048, 100 << 10, 1 << 20];

fn padded(text: &[u8]) -> Vec<u8> {
    let mut padded = text.to_vec();
    padded.resize(text.len() + SIMDJSON_PADDING, b' ');
    padded
}

/// The index alone: no verdict on the grammar.
pub fn index(settings: &Settings) {
    let simdjson = SimdJson::open();
    for (name, make) in [("chat", chat as fn(usize) -> Vec<u8>), ("dense", dense)] {
        let texts: Vec<Vec<u8>> = SIZES.into_iter().map(make).collect();
        let outcomes: Vec<_> = texts
            .iter()
            .map(|text| {
                let mut contest = Contest::new(text.len());
                for level in [CpuLevel::Avx512, CpuLevel::Avx2, CpuLevel::Sse42, CpuLevel::Scalar] {
                    let Some(table) = kernel::at(level) else { continue };
                    contest.ours(&format!("ours, {level}"), move || {
                        let mut marks = Marks::new();
                        let mut indexer = Indexer::with(black_box(text), &table);
                        let mut count = 0;
                        while indexer.next_chunk(&mut marks).is_some() {
                            count += marks.positions().len();
                        }
                        black_box((count, indexer.strings_are_right()));
                    });
                }
                if let Some(stage1) = simdjson
                    .as_ref()
                    .and_then(|library| library.function("sj_stage1", text.len() + 256))
                {
                    let padded = padded(text);
                    assert!(stage1(&padded) > 10);
                    contest.rival("simdjson stage 1", move || {
                        black_box(stage1(black_box(&padded)));
                    });
                }
                contest.run(settings)
            })
            .collect();
        print(&format!("JSON structural index, {name}"), &outcomes);
    }
}

/// The last member of a document, all of which is validated.
pub fn find(settings: &Settings) {
    let simdjson = SimdJson::open();
    for (name, make) in [("chat", chat as fn(usize) -> Vec<u8>), ("dense", dense)] {
        let texts: Vec<Vec<u8>> = SIZES.into_iter().map(make).collect();
        let outcomes: Vec<_> = texts
            .iter()
            .map(|text| {
                let mut contest = Contest::new(text.len());
                contest.ours("ours", || {
                    let mut found = [None];
                    neurohttp::json::members(black_box(text), &["user"], &mut found).unwrap();
                    black_box(found);
                });
                contest.rival("sonic-rs get", || {
                    black_box(sonic_rs::get_from_slice(black_box(text), &["user"]).unwrap());
                });
                contest.rival("sonic-rs IgnoredAny", || {
                    black_box(
                        sonic_rs::from_slice::<serde::de::IgnoredAny>(black_box(text)).is_ok(),
                    );
                });
                contest.rival("serde_json IgnoredAny", || {
                    black_box(
                        serde_json::from_slice::<serde::de::IgnoredAny>(black_box(text)).is_ok(),
                    );
                });
                // Does not validate what it passes over: not a rival, a mark of what is possible.
                if let Some(user) = simdjson
                    .as_ref()
                    .and_then(|library| library.function("sj_user", text.len() + 256))
                {
                    let padded = padded(text);
                    assert_eq!(user(&padded), 3);
                    contest.ours("(simdjson on demand, not validating)", move || {
                        black_box(user(black_box(&padded)));
                    });
                }
                contest.run(settings)
            })
            .collect();
        print(&format!("validated find of the last member, {name}"), &outcomes);
    }
}

pub fn utf8(settings: &Settings) {
    let simdjson = SimdJson::open();
    let prose =
        "The naïve café’s menu — “prix fixe” — cost 25 € … and the rest is plain ASCII text. ";
    let greek = "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. 日本語の文章もあります。😀 ";
    for (name, sample) in
        [("ASCII", "plain text, nothing else; "), ("prose", prose), ("beyond ASCII", greek)]
    {
        let text = sample.repeat((1 << 20) / sample.len() + 1).into_bytes();
        let outcomes: Vec<_> = SIZES
            .into_iter()
            .map(|size| {
                let cut = (0..4)
                    .map(|back| size - back)
                    .find(|&at| std::str::from_utf8(&text[..at]).is_ok());
                let text = &text[..cut.expect("a boundary within four bytes")];
                let mut contest = Contest::new(text.len());
                for level in [CpuLevel::Avx512, CpuLevel::Avx2, CpuLevel::Sse42, CpuLevel::Scalar] {
                    let Some(table) = kernel::at(level) else { continue };
                    contest.ours(&format!("ours, {level}"), move || {
                        black_box((table.is_utf8.call)(black_box(text)));
                    });
                }
                if let Some(call) =
                    simdjson.as_ref().and_then(|library| library.function("sj_utf8", 4096))
                {
                    let padded = padded(text);
                    contest.rival("simdjson", move || {
                        black_box(call(black_box(&padded)));
                    });
                }
                contest.rival("std", || {
                    black_box(std::str::from_utf8(black_box(text)).is_ok());
                });
                contest.run(settings)
            })
            .collect();
        print(&format!("UTF-8 validation, {name}"), &outcomes);
    }
}

/// Text as models write it, and text with nothing to escape.
pub fn escape(settings: &Settings) {
    let answer = "Here is the loop:\n\n```c\nprintf(\"%d\\n\", n);\n```\nIt prints each number, one a line, and \
                  stops at the end of the input. Nothing is kept in memory.\n";
    for (name, sample) in [("answer", answer), ("plain", "A sentence of plain words. ")] {
        let text = sample.repeat((1 << 20) / sample.len() + 1);
        let outcomes: Vec<_> = [16, 200, 2048, 100 << 10]
            .into_iter()
            .map(|size| {
                let text = &text[..size];
                let mut contest = Contest::new(size);
                for level in [CpuLevel::Avx512, CpuLevel::Avx2, CpuLevel::Sse42, CpuLevel::Scalar] {
                    let Some(table) = kernel::at(level) else { continue };
                    let mut out = Vec::with_capacity(1 << 20);
                    contest.ours(&format!("ours, {level}"), move || {
                        out.clear();
                        (table.json_escape.call)(&mut out, black_box(text.as_bytes()));
                        black_box(&out);
                    });
                }
                let mut out = Vec::with_capacity(1 << 20);
                contest.rival("serde_json", move || {
                    out.clear();
                    serde_json::to_writer(&mut out, black_box(text)).unwrap();
                    black_box(&out);
                });
                let mut out = Vec::with_capacity(1 << 20);
                contest.rival("sonic-rs", move || {
                    out.clear();
                    sonic_rs::to_writer(&mut out, black_box(text)).unwrap();
                    black_box(&out);
                });
                contest.run(settings)
            })
            .collect();
        print(&format!("JSON string escape, {name}"), &outcomes);
    }
}
