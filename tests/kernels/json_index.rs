//! The structural index of JSON: every level against the reference.

use crate::harness::guard::Guarded;
use crate::harness::noise::Noise;
use crate::harness::{Place, places, tables, thin};
use neurohttp::kernel::json::{BLOCK, Indexer, Marks, State};
use neurohttp::kernel::{CpuLevel, Kernels, at};

/// Bytes that mean something to JSON come up often, in runs; so do long stretches that mean nothing.
fn sample(noise: &mut Noise, length: usize) -> Vec<u8> {
    let parts: [&[u8]; 22] = [
        b"\"",
        b"\"",
        b"\\",
        b"\\\\",
        b"\\\"",
        b"\\u00e9",
        b"\\n",
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b" ",
        b"\n",
        b"true",
        b"-1.5",
        b"\x0c",
        b"\x1a",
        b"\xff",
        b"plain",
        b"text that goes on for quite a while",
    ];
    let mut text = Vec::new();
    // Some samples are all alike: only backslashes, only operators, only one long string.
    let (from, count) = match noise.below(4) {
        0 => (noise.below(parts.len() - 3), 3),
        1 => (parts.len() - 2, 2),
        _ => (0, parts.len()),
    };
    while text.len() < length {
        text.extend_from_slice(parts[from + noise.below(count)]);
    }
    text.truncate(length);
    for _ in 0..noise.below(3) {
        if length > 0 {
            text[noise.below(length)] = noise.next() as u8;
        }
    }
    text
}

/// Everything that an index says about a document.
fn index(json: &[u8], table: &Kernels) -> (Vec<usize>, Vec<usize>, bool) {
    let (mut positions, mut unicode) = (Vec::new(), Vec::new());
    let mut marks = Marks::new();
    let mut indexer = Indexer::with(json, table);
    while let Some(base) = indexer.next_chunk(&mut marks) {
        positions.extend(marks.positions().iter().map(|&at| base + at as usize));
        unicode.extend(marks.unicode().iter().map(|&at| base + at as usize));
    }
    (positions, unicode, indexer.strings_are_right())
}

fn check(json: &[u8], context: &str) {
    let reference = at(CpuLevel::Scalar).expect("scalar");
    let expected = index(json, &reference);
    for table in tables() {
        let level = table.level;
        let found = index(json, &table);
        let text = json.escape_ascii();
        assert_eq!(found, expected, "json_index {level} {context}: \"{text}\"");
    }
}

// The reference itself, by hand: marks at operators, opening quotes and first bytes of words.
#[test]
fn marks() {
    let reference = at(CpuLevel::Scalar).expect("scalar");
    let check = |json: &str, positions: &[usize], unicode: &[usize], is_right: bool| {
        let found = index(json.as_bytes(), &reference);
        assert_eq!(found, (positions.to_vec(), unicode.to_vec(), is_right), "{json}");
    };
    check("", &[], &[], true);
    check("{\"a\" : 12}", &[0, 1, 5, 7, 9], &[], true);
    check("[true,\"\\u0041\"]", &[0, 1, 5, 6, 14], &[8], true);
    check("\"\\\\\"x", &[0, 4], &[], true);
    check("\"\\\"x", &[0], &[], false);
    check("\"a\nb\"", &[0], &[], false);
    check("\"\\x\"", &[0], &[], false);
    check("1\"a\"", &[0], &[], true);
    check("\"a\"\"b\"", &[0, 3], &[], true);
}

// A mark too many or too few makes one document of two readers' into two documents.
#[test]
fn equals_the_reference() {
    let mut noise = Noise::new();
    let seed = noise.seed();
    let mut memory = Guarded::new(300);
    for length in 0..=300 {
        for place in places().step_by(7) {
            let json = sample(&mut noise, length);
            check(memory.put(place, &json), &format!("seed {seed} {length} bytes {place:?}"));
        }
    }
}

#[test]
fn equals_the_reference_on_long_input() {
    let mut noise = Noise::new();
    let seed = noise.seed();
    let mut memory = Guarded::new(3 * Marks::BLOCKS_MAX * BLOCK);
    for _ in 0..300 {
        let length = noise.below(3 * Marks::BLOCKS_MAX * BLOCK);
        let json = sample(&mut noise, length);
        check(memory.put(Place::BeforeGuard, &json), &format!("seed {seed}: {length} bytes"));
    }
}

// Runs of backslashes of every length at every offset around the seam of two blocks.
#[test]
fn series_of_backslashes_across_blocks() {
    for length in (1..140).step_by(thin()) {
        for start in 1..130 {
            let mut json = vec![b'"'; start + length + 3];
            json[1..start].fill(b'x');
            json[start..start + length].fill(b'\\');
            check(&json, &format!("{length} backslashes at {start}"));
        }
    }
}

#[cfg(nh_asm)]
mod raw {
    use super::*;
    use crate::harness::call::watched;
    use neurohttp::kernel::Features;

    #[repr(C)]
    struct RawState {
        state: State,
        unicode: *mut u32,
    }

    type Raw = unsafe extern "C" fn(*const u8, usize, *mut u32, *mut RawState) -> *mut u32;

    unsafe extern "C" {
        fn nh_json_index_avx2(
            data: *const u8,
            blocks: usize,
            out: *mut u32,
            state: *mut RawState,
        ) -> *mut u32;
        fn nh_json_index_avx512(
            data: *const u8,
            blocks: usize,
            out: *mut u32,
            state: *mut RawState,
        ) -> *mut u32;
        fn nh_json_index_vbmi2(
            data: *const u8,
            blocks: usize,
            out: *mut u32,
            state: *mut RawState,
        ) -> *mut u32;
    }

    // Also: nothing is written beyond the room that the contract asks for.
    #[test]
    fn keeps_the_calling_convention() {
        let has = Features::detect();
        let kernels: [(bool, Raw); 3] = [
            (has.avx2() && has.pclmulqdq(), nh_json_index_avx2),
            (has.avx512bw() && has.pclmulqdq(), nh_json_index_avx512),
            (has.avx512bw() && has.avx512vbmi2() && has.pclmulqdq(), nh_json_index_vbmi2),
        ];
        for (_, kernel) in kernels.into_iter().filter(|kernel| kernel.0) {
            check_kernel(kernel);
        }
    }

    fn check_kernel(kernel: Raw) {
        let mut noise = Noise::new();
        let mut memory = Guarded::new(4 * (8 * BLOCK + 8));
        let mut unicode_memory = Guarded::new(4 * 32 * 8);
        for round in 0..400 {
            let blocks = 1 + noise.below(8);
            let mut json = sample(&mut noise, blocks * BLOCK);
            if round % 10 == 0 {
                json.fill(b',');
            }
            if round % 10 == 1 {
                json = b"\\u".repeat(blocks * BLOCK / 2);
            }
            let mut expected = Marks::new();
            let reference = at(CpuLevel::Scalar).expect("scalar");
            let (chunks, _) = json.as_chunks::<BLOCK>();
            (reference.json_index.call)(&mut State::default(), chunks, &mut expected);

            let (room, unicode_room) = (4 * (blocks * BLOCK + 8), 4 * 32 * blocks);
            let out = memory.output(Place::BeforeGuard, room).as_mut_ptr();
            let unicode = unicode_memory.output(Place::BeforeGuard, unicode_room).as_mut_ptr();
            let mut state = RawState { state: State::default(), unicode: unicode.cast() };
            let arguments =
                [json.as_ptr() as u64, blocks as u64, out as u64, (&raw mut state) as u64];
            // SAFETY: the features were checked; input and both outputs are as large as the contract says.
            let end = unsafe { watched(kernel as *const (), &arguments) };
            let count = (end.expect("kept") as usize - out as usize) / 4;
            assert!(memory.is_intact_around(Place::BeforeGuard, room));
            assert!(unicode_memory.is_intact_around(Place::BeforeGuard, unicode_room));
            let words = |bytes: &[u8]| -> Vec<u32> {
                bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
            };
            let found = words(memory.at(Place::BeforeGuard, room));
            assert_eq!(&found[..count], expected.positions());
            let count = (state.unicode as usize - unicode as usize) / 4;
            let found = words(unicode_memory.at(Place::BeforeGuard, unicode_room));
            assert_eq!(&found[..count], expected.unicode());
        }
    }
}
