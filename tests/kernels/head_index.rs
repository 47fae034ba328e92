//! The index of an HTTP header section: every level against the reference.

use crate::harness::guard::Guarded;
use crate::harness::noise::Noise;
use crate::harness::{LENGTH_EACH_MAX, Place, places, reference, tables, thin};
use neurohttp::kernel::Kernels;
use neurohttp::kernel::head::Marks;

/// Header lines, right and wrong; any byte may come up.
fn sample(noise: &mut Noise, length: usize) -> Vec<u8> {
    let parts: [&[u8]; 24] = [
        b"\r\n",
        b"\r\n",
        b"\r\n",
        b": ",
        b": ",
        b":",
        b"host",
        b"x-a",
        b"Content-Length",
        b"!#$%&'*+-.^_`|~",
        b"()<>@,;\\\"/[]?={} \t",
        b"\t",
        b" ",
        b"\n",
        b"\r",
        b"\0",
        b"\x19",
        b"\x7f",
        b"\x80",
        b"\xff",
        b"1234567890",
        b"a value of some words",
        b"a-name-that-goes-on-over-the-end-of-a-block-of-sixty-four-bytes",
        b"\x0b",
    ];
    // Some samples are all lines, others all alike.
    let (from, count) = match noise.below(4) {
        0 => (noise.below(parts.len() - 3), 3),
        1 => (0, 9),
        _ => (0, parts.len()),
    };
    let mut text = Vec::new();
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

fn index(section: &[u8], first: u32, table: &Kernels) -> Vec<u32> {
    let mut marks = Marks::new();
    (table.head_index.call)(section, first, &mut marks);
    marks.positions().to_vec()
}

fn check(section: &[u8], context: &str) {
    let first = section.len() as u32 % 1000;
    let expected = index(section, first, &reference());
    for table in tables() {
        let found = index(section, first, &table);
        let (level, text) = (table.level, section.escape_ascii());
        assert_eq!(found, expected, "head_index {level} {context}: \"{text}\"");
    }
}

// The reference itself, by hand.
#[test]
fn marks() {
    let check = |section: &str, expected: &[u32]| {
        assert_eq!(index(section.as_bytes(), 0, &reference()), expected, "{section:?}");
    };
    check("", &[]);
    check("a: b\r\n\r\n", &[1, 4, 6]);
    check("a: b\r\n\r\nc: d\r\n", &[1, 4, 6]);
    check("a:\tb:c\r\nde:\r\n", &[1, 6, 10, 11]);
    check("a b\n\rc", &[1, 3, 4]);
    check("ab", &[]);
    check("a|b:\r", &[1, 4]);
    check("a: \u{7f}\u{80}\r\n", &[1, 3, 6]);
    check("a: \n5\r\n", &[1, 3, 5]);
    check("\nb:\r\n\n", &[0, 2, 3, 5]);
    check("\r\n", &[0]);
    // 256 marks fit; what might not is left out a block at a time.
    let lines = "a:\r\n".repeat(200);
    assert_eq!(index(lines.as_bytes(), 0, &reference()).len(), 224);
}

// A mark that is missing lets a control byte into a value: a second header behind the reader's back.
#[test]
fn equals_the_reference() {
    let mut noise = Noise::new();
    let seed = noise.seed();
    let mut memory = Guarded::new(LENGTH_EACH_MAX);
    for length in 0..=LENGTH_EACH_MAX {
        for place in places().step_by(3).chain([Place::BeforeGuard]) {
            let section = sample(&mut noise, length);
            check(memory.put(place, &section), &format!("seed {seed} {length} bytes {place:?}"));
        }
    }
}

#[test]
fn equals_the_reference_on_long_input() {
    let mut noise = Noise::new();
    let seed = noise.seed();
    let mut memory = Guarded::new(9000);
    for _ in 0..2000 / thin() {
        let length = noise.below(9000);
        let section = sample(&mut noise, length);
        check(memory.put(Place::BeforeGuard, &section), &format!("seed {seed}: {length} bytes"));
    }
}

// Every byte, in a name and in a value, on both sides of the end of a block.
#[test]
fn every_byte() {
    for byte in (0..=255).step_by(thin().min(2)) {
        for at in [0, 1, 5, 62, 63, 64, 65, 100, 127, 128] {
            for line in [&b"name-of-a-field"[..], b"a: value "] {
                let mut section: Vec<u8> = line.iter().copied().cycle().take(130).collect();
                section[at] = byte;
                check(&section, &format!("{byte:#x} at {at}"));
            }
        }
    }
}

#[cfg(nh_asm)]
mod raw {
    use super::*;
    use crate::harness::call::watched;
    use neurohttp::kernel::Features;

    type Raw = unsafe extern "C" fn(*const u8, usize, *mut u32, usize, u32) -> usize;

    unsafe extern "C" {
        fn nh_head_index_avx2(
            data: *const u8,
            length: usize,
            out: *mut u32,
            room: usize,
            first: u32,
        ) -> usize;
        fn nh_head_index_avx512(
            data: *const u8,
            length: usize,
            out: *mut u32,
            room: usize,
            first: u32,
        ) -> usize;
        fn nh_head_index_vbmi2(
            data: *const u8,
            length: usize,
            out: *mut u32,
            room: usize,
            first: u32,
        ) -> usize;
    }

    // Also: nothing is written behind the room, however small and however dense the marks.
    #[test]
    fn keeps_the_calling_convention() {
        let has = Features::detect();
        let bits = has.bmi1() && has.bmi2() && has.popcnt();
        let kernels: [(&str, bool, Raw); 3] = [
            ("avx2", has.avx2() && bits, nh_head_index_avx2),
            ("avx512", has.avx512bw() && bits, nh_head_index_avx512),
            ("vbmi2", has.avx512bw() && has.avx512vbmi2() && bits, nh_head_index_vbmi2),
        ];
        let mut noise = Noise::new();
        let (mut memory, mut out_memory) = (Guarded::new(600), Guarded::new(4096));
        for (name, _, kernel) in kernels.into_iter().filter(|kernel| kernel.1) {
            for round in 0..600 {
                let length = 64 + noise.below(500);
                let mut section = sample(&mut noise, length);
                if round % 8 == 0 {
                    section.fill(b'\n');
                }
                let section = memory.put(Place::BeforeGuard, &section);
                let room = 64 + noise.below(200);
                let out = out_memory.output(Place::BeforeGuard, 4 * room).as_mut_ptr();
                let first = noise.below(1000) as u32;
                let arguments = [
                    section.as_ptr() as u64,
                    length as u64,
                    out as u64,
                    room as u64,
                    u64::from(first) | 0xdead_beef << 32,
                ];
                // SAFETY: the features were checked; input and output are as large as the contract says.
                let count = unsafe { watched(kernel as *const (), &arguments) };
                let count = count.unwrap_or_else(|fault| panic!("{name}: {fault}")) as usize;
                assert!(count <= room, "{name}");
                assert!(out_memory.is_intact_around(Place::BeforeGuard, 4 * room), "{name}");
                let expected = index(section, first, &reference());
                let found: Vec<u32> = out_memory.at(Place::BeforeGuard, 4 * room)[..4 * count]
                    .chunks_exact(4)
                    .map(|mark| u32::from_le_bytes(mark.try_into().expect("four bytes")))
                    .collect();
                let shared = expected.len().min(count);
                assert_eq!(
                    found[..shared],
                    expected[..shared],
                    "{name} length {length} room {room}"
                );
            }
        }
    }
}
