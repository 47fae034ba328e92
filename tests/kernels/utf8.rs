//! UTF-8 validation: every level against the standard library.

use crate::harness::guard::Guarded;
use crate::harness::noise::Noise;
use crate::harness::{LENGTH_EACH_MAX, Place, places, reference, tables, thin};

/// Text in which every kind of sequence comes up, then a few bytes changed or none.
fn sample(noise: &mut Noise, length: usize) -> Vec<u8> {
    let kinds = ["a", "\u{7f}", "\u{80}", "\u{7ff}", "\u{800}", "\u{d7ff}", "\u{e000}", "\u{ffff}"];
    let rare = ["\u{10000}", "\u{10ffff}", "plain text that goes on for a while, and on, and on"];
    let mut text = Vec::new();
    while text.len() < length {
        let all = [&kinds[..], &rare[..]].concat();
        text.extend_from_slice(all[noise.below(all.len())].as_bytes());
    }
    text.truncate(length);
    let hostile =
        [0x80, 0xbf, 0xc0, 0xc1, 0xc2, 0xe0, 0xed, 0xef, 0xf0, 0xf4, 0xf5, 0xff, b'x', 0xa0, 0x9f];
    for _ in 0..noise.below(3) {
        if length > 0 {
            text[noise.below(length)] = hostile[noise.below(hostile.len())];
        }
    }
    text
}

// A sequence let through would pass a filter that reads text; one refused would lose a user's prompt.
#[test]
fn equals_the_reference() {
    let mut noise = Noise::new();
    let seed = noise.seed();
    let mut memory = Guarded::new(LENGTH_EACH_MAX);
    let reference = reference();
    let (mut right, mut wrong) = (0, 0);
    for length in 0..=LENGTH_EACH_MAX {
        for place in places() {
            let data = sample(&mut noise, length);
            let expected = (reference.is_utf8.call)(&data);
            *(if expected { &mut right } else { &mut wrong }) += 1;
            let data = memory.put(place, &data);
            for table in tables() {
                let (found, level) = ((table.is_utf8.call)(data), table.level);
                assert_eq!(
                    found, expected,
                    "is_utf8 {level} seed {seed}: {length} bytes {place:?}"
                );
            }
        }
    }
    assert!(
        right * thin() > 1000 && wrong * thin() > 1000,
        "the samples are one-sided: {right} {wrong}"
    );
}

// Every pair of bytes, and every three that begin a sequence, across the seam of two vectors and blocks.
#[test]
fn every_sequence_across_every_seam() {
    for table in tables() {
        let level = table.level;
        let check = |bytes: &[u8]| {
            for at in [28, 61, 63, 127] {
                let mut data = [b' '; 200];
                data[at..at + bytes.len()].copy_from_slice(bytes);
                let expected = std::str::from_utf8(&data).is_ok();
                assert_eq!(
                    (table.is_utf8.call)(&data),
                    expected,
                    "is_utf8 {level}: {bytes:x?} at {at}"
                );
            }
        };
        for first in (0x80..=0xff).step_by(thin()) {
            for second in 0..=0xff {
                check(&[first, second]);
                for third in [0x7f, 0x80, 0xbf, 0xc0] {
                    check(&[first, second, third]);
                    check(&[first, second, third, 0x80]);
                    check(&[first, second, third, 0xc0]);
                }
            }
        }
    }
}

// Long input, and a sequence cut off by the end.
#[test]
fn long_input() {
    let mut noise = Noise::new();
    let seed = noise.seed();
    let mut memory = Guarded::new(40_000);
    for round in 0..60 {
        let length = noise.below(40_000);
        let mut data = "na\u{ef}ve \u{2014} \u{1f600} text ".repeat(2000).into_bytes();
        data.truncate(length);
        if round % 3 == 0 && length > 0 {
            data[noise.below(length)] = 0xff;
        }
        let expected = std::str::from_utf8(&data).is_ok();
        let data = memory.put(Place::BeforeGuard, &data);
        for table in tables() {
            let level = table.level;
            assert_eq!(
                (table.is_utf8.call)(data),
                expected,
                "is_utf8 {level} seed {seed}: {length}"
            );
        }
    }
}

#[cfg(nh_asm)]
mod raw {
    use super::*;
    use crate::harness::call::watched;
    use neurohttp::kernel::Features;

    type Raw = unsafe extern "C" fn(*const u8, usize) -> u32;

    unsafe extern "C" {
        fn nh_utf8_avx2(data: *const u8, blocks: usize) -> u32;
        fn nh_utf8_avx512(data: *const u8, blocks: usize) -> u32;
    }

    #[test]
    fn keeps_the_calling_convention() {
        let has = Features::detect();
        let kernels: [(bool, Raw); 2] =
            [(has.avx2(), nh_utf8_avx2), (has.avx512bw(), nh_utf8_avx512)];
        for (_, kernel) in kernels.into_iter().filter(|kernel| kernel.0) {
            check_kernel(kernel);
        }
    }

    fn check_kernel(kernel: Raw) {
        let mut noise = Noise::new();
        for blocks in 1..9usize {
            for _ in 0..20 {
                let data = sample(&mut noise, blocks * 64);
                let arguments = [data.as_ptr() as u64, blocks as u64];
                // SAFETY: the features were checked; the blocks are readable.
                let found = unsafe { watched(kernel as *const (), &arguments) };
                let is_open =
                    std::str::from_utf8(&data).is_err_and(|error| error.error_len().is_none());
                let expected = u32::from(std::str::from_utf8(&data).is_ok() || is_open);
                assert_eq!(found.map(|value| value as u32), Ok(expected), "{blocks} blocks");
            }
        }
    }
}
