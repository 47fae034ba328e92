//! CRC-32 and CRC-32C.

use crate::contest::{Contest, Settings, noise, print};
use crate::libraries::{Deflate, IsaL};
use crc_fast::CrcAlgorithm::{Crc32Iscsi, Crc32IsoHdlc};
use neurohttp::kernel::{self, CpuLevel, CrcUpdate, Kernels};
use std::hint::black_box;

const SIZES: [usize; 4] = [64, 1024, 65536, 16 << 20];

type Call<'a> = Box<dyn Fn(&[u8]) -> u32 + 'a>;

pub fn ieee(settings: &Settings) {
    let (isal, deflate) = (IsaL::open(), Deflate::open());
    let mut rivals: Vec<(&str, Call)> = vec![
        ("crc32fast", Box::new(crc32fast::hash)),
        ("crc-fast", Box::new(|data| crc_fast::checksum(Crc32IsoHdlc, data) as u32)),
    ];
    if let Some(call) = deflate.as_ref().and_then(Deflate::crc32) {
        rivals.push(("libdeflate", Box::new(call)));
    }
    if let Some(call) = isal.as_ref().and_then(IsaL::crc32) {
        rivals.push(("ISA-L", Box::new(call)));
    }
    contests("CRC-32", settings, kernel::crc32, |table| table.crc32.call, &rivals);
}

pub fn castagnoli(settings: &Settings) {
    let isal = IsaL::open();
    let mut rivals: Vec<(&str, Call)> =
        vec![("crc-fast", Box::new(|data| crc_fast::checksum(Crc32Iscsi, data) as u32))];
    if let Some(call) = isal.as_ref().and_then(IsaL::crc32c) {
        rivals.push(("ISA-L", Box::new(call)));
    }
    contests("CRC-32C", settings, kernel::crc32c, |table| table.crc32c.call, &rivals);
}

fn contests(
    name: &str,
    settings: &Settings,
    ours: fn(&[u8]) -> u32,
    of: fn(&Kernels) -> CrcUpdate,
    rivals: &[(&str, Call)],
) {
    let big = noise(16 << 20);
    let expected = ours(&big);
    for (rival, call) in rivals {
        assert_eq!(call(&big), expected, "{rival}");
    }
    let outcomes: Vec<_> = SIZES
        .into_iter()
        .map(|size| {
            let data = &big[..size];
            let mut contest = Contest::new(size);
            contest.ours("ours", || {
                black_box(ours(black_box(data)));
            });
            for table in CpuLevel::ALL.into_iter().rev().filter_map(kernel::at) {
                let call = of(&table);
                contest.ours(&format!("ours, {}", table.level), move || {
                    black_box(call(0, black_box(data)));
                });
            }
            for (rival, call) in rivals {
                contest.rival(rival, || {
                    black_box(call(black_box(data)));
                });
            }
            contest.run(settings)
        })
        .collect();
    print(name, &outcomes);
}
