//! JSON string escape: every level against the reference, and the reference against serde_json.

use crate::harness::guard::Guarded;
use crate::harness::noise::Noise;
use crate::harness::{LENGTH_EACH_MAX, Place, places, reference, tables};

/// Plain text with more or fewer bytes to escape in it; any byte may come up.
fn sample(noise: &mut Noise, length: usize) -> Vec<u8> {
    let mut text = noise.bytes(length);
    let share = [1, 2, 8, 60, 1000][noise.below(5)];
    for byte in &mut text {
        if noise.below(share) != 0 {
            *byte = b'a' + *byte % 26;
        } else if noise.below(2) == 0 {
            *byte = b"\"\\\n\x1f\x00/\x7f\x80"[noise.below(8)];
        }
    }
    text
}

fn escaped(call: fn(&mut Vec<u8>, &[u8]), before: &[u8], text: &[u8]) -> Vec<u8> {
    let mut out = before.to_vec();
    call(&mut out, text);
    out
}

// A byte that slips through unescaped ends a string early: what follows is read as structure.
#[test]
fn equals_the_reference() {
    let mut noise = Noise::new();
    let seed = noise.seed();
    let mut memory = Guarded::new(LENGTH_EACH_MAX);
    let reference = reference().json_escape.call;
    for length in 0..=LENGTH_EACH_MAX {
        for place in places().step_by(5).chain([Place::BeforeGuard]) {
            let text = sample(&mut noise, length);
            let text = memory.put(place, &text);
            let expected = escaped(reference, b"before", text);
            for table in tables() {
                let found = escaped(table.json_escape.call, b"before", text);
                let level = table.level;
                assert_eq!(found, expected, "json_escape {level} seed {seed}: {length} {place:?}");
            }
        }
    }
}

#[test]
fn equals_the_reference_on_long_input() {
    let mut noise = Noise::new();
    let seed = noise.seed();
    let mut memory = Guarded::new(20_000);
    let reference = reference().json_escape.call;
    for _ in 0..100 {
        let length = noise.below(20_000);
        let text = sample(&mut noise, length);
        let text = memory.put(Place::BeforeGuard, &text);
        let expected = escaped(reference, b"", text);
        for table in tables() {
            let level = table.level;
            let found = escaped(table.json_escape.call, b"", text);
            assert!(found == expected, "json_escape {level} seed {seed}: {length}");
        }
    }
}

// What we write must be what others read: every scalar value below 0x100, one by one.
#[test]
fn reference_is_read_back() {
    for code in 0..0x100 {
        let text: String = char::from_u32(code).into_iter().collect();
        let inside = escaped(reference().json_escape.call, b"", text.as_bytes());
        let json = [&b"\""[..], &inside, b"\""].concat();
        assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text, "{code:#x}");
        assert_eq!(json, serde_json::to_vec(&text).unwrap(), "{code:#x}");
    }
}

#[cfg(nh_asm)]
mod raw {
    use super::*;
    use crate::harness::call::watched;
    use neurohttp::kernel::Features;

    unsafe extern "C" {
        fn nh_json_escape_avx2(data: *const u8, blocks: usize, out: *mut u8) -> *mut u8;
    }

    // Also: input and output are exactly as large as the contract asks for.
    #[test]
    fn keeps_the_calling_convention() {
        if !Features::detect().avx2() {
            return;
        }
        let mut noise = Noise::new();
        let (mut memory, mut out_memory) = (Guarded::new(32 * 10), Guarded::new(192 * 10));
        for round in 0..400 {
            let blocks = 1 + noise.below(8);
            let mut text = sample(&mut noise, 32 * blocks + 32);
            if round % 8 == 0 {
                text.fill(1);
            }
            let text = memory.put(Place::BeforeGuard, &text);
            let room = 192 * blocks + 32;
            let out = out_memory.output(Place::BeforeGuard, room).as_mut_ptr();
            let arguments = [text.as_ptr() as u64, blocks as u64, out as u64];
            // SAFETY: AVX2 is there; input and output are as large as the contract says.
            let end = unsafe { watched(nh_json_escape_avx2 as *const (), &arguments) };
            let length = end.expect("kept") as usize - out as usize;
            assert!(out_memory.is_intact_around(Place::BeforeGuard, room));
            let expected = escaped(reference().json_escape.call, b"", &text[..32 * blocks]);
            assert_eq!(&out_memory.at(Place::BeforeGuard, room)[..length], expected);
        }
    }
}
