//! CRC-32 and CRC-32C.

use crate::contest::{Contest, Settings, noise, print};
use crate::libraries::{Deflate, IsaL};
use crc_fast::CrcAlgorithm::Crc32IsoHdlc;
use neurohttp::kernel::{self, CpuLevel};
use std::hint::black_box;

const SIZES: [usize; 4] = [64, 1024, 65536, 16 << 20];

pub fn ieee(settings: &Settings) {
    let big = noise(16 << 20);
    let expected = kernel::crc32(&big);
    let (isal, deflate) = (IsaL::open(), Deflate::open());
    let isal = isal.as_ref().and_then(IsaL::crc32);
    let deflate = deflate.as_ref().and_then(Deflate::crc32);
    assert_eq!(crc32fast::hash(&big), expected);
    assert_eq!(crc_fast::checksum(Crc32IsoHdlc, &big) as u32, expected);
    let outcomes: Vec<_> = SIZES
        .into_iter()
        .map(|size| {
            let data = &big[..size];
            let mut contest = Contest::new(size);
            contest.ours("ours", || {
                black_box(kernel::crc32(black_box(data)));
            });
            for level in CpuLevel::ALL {
                if let Some(table) = kernel::at(level) {
                    contest.ours(&format!("ours, {level}"), move || {
                        black_box((table.crc32.call)(0, black_box(data)));
                    });
                }
            }
            contest.rival("crc32fast", || {
                black_box(crc32fast::hash(black_box(data)));
            });
            contest.rival("crc-fast", || {
                black_box(crc_fast::checksum(Crc32IsoHdlc, black_box(data)));
            });
            if let Some(call) = &deflate {
                assert_eq!(call(&big), expected);
                contest.rival("libdeflate", || {
                    black_box(call(black_box(data)));
                });
            }
            if let Some(call) = &isal {
                assert_eq!(call(&big), expected);
                contest.rival("ISA-L", || {
                    black_box(call(black_box(data)));
                });
            }
            contest.run(settings)
        })
        .collect();
    print("CRC-32", &outcomes);
}
