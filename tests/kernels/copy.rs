//! Copying memory: every level against the reference.

use crate::harness::guard::Guarded;
use crate::harness::noise::Noise;
use crate::harness::{LENGTH_EACH_MAX, Place, places, tables};

/// From here on the kernels themselves run, however large the caches are.
const LARGE: usize = 16 << 20;

// A byte too few is lost data, one too many someone else's.
#[test]
fn equals_the_reference() {
    let mut noise = Noise::new();
    let seed = noise.seed();
    let data = noise.bytes(LENGTH_EACH_MAX);
    let (mut from_memory, mut to_memory) =
        (Guarded::new(LENGTH_EACH_MAX), Guarded::new(LENGTH_EACH_MAX));
    for length in 0..=LENGTH_EACH_MAX {
        for place in places().step_by(7).chain([Place::BeforeGuard]) {
            let from = from_memory.put(place, &data[..length]);
            for table in tables() {
                let level = table.level;
                (table.copy.call)(to_memory.output(place, length), from);
                assert!(to_memory.at(place, length) == from, "copy {level} seed {seed}: {length}");
                assert!(to_memory.is_intact_around(place, length), "copy {level}: {length}");
            }
        }
    }
}

// Past the caches, with every odd end.
#[test]
fn large_memory() {
    let mut noise = Noise::new();
    let seed = noise.seed();
    let part = noise.bytes(65_521);
    let mut from_memory = Guarded::new(LARGE + 20_500);
    let mut to_memory = Guarded::new(LARGE + 20_500);
    for (index, table) in tables().enumerate() {
        let length = LARGE + [0, 1, 255, 16_383, 20_000][(noise.below(5) + index) % 5];
        let (from_place, to_place) = match index % 2 {
            0 => (Place::AfterGuard(noise.below(64)), Place::BeforeGuard),
            _ => (Place::BeforeGuard, Place::AfterGuard(1 + noise.below(63))),
        };
        let from = from_memory.at(from_place, length);
        from.chunks_mut(part.len()).for_each(|to| to.copy_from_slice(&part[..to.len()]));
        let level = table.level;
        (table.copy.call)(to_memory.output(to_place, length), from);
        assert!(to_memory.at(to_place, length) == from, "copy {level} seed {seed}: {length}");
        assert!(to_memory.is_intact_around(to_place, length), "copy {level} seed {seed}: {length}");
    }
}

#[cfg(nh_asm)]
mod raw {
    use super::*;
    use crate::harness::call::watched;
    use neurohttp::kernel::Features;

    type Raw = unsafe extern "C" fn(*mut u8, *const u8, usize);

    unsafe extern "C" {
        fn nh_copy_sse42(to: *mut u8, from: *const u8, blocks: usize);
        fn nh_copy_avx2(to: *mut u8, from: *const u8, blocks: usize);
        fn nh_copy_avx512(to: *mut u8, from: *const u8, blocks: usize);
    }

    const BLOCK: usize = 16 << 10;

    // Any number of blocks, from any alignment, between unreadable pages.
    #[test]
    fn keeps_the_calling_convention() {
        let has = Features::detect();
        let kernels: [(&str, bool, Raw); 3] = [
            ("sse42", true, nh_copy_sse42),
            ("avx2", has.avx2(), nh_copy_avx2),
            ("avx512", has.avx512f(), nh_copy_avx512),
        ];
        let mut noise = Noise::new();
        let (mut from_memory, mut to_memory) = (Guarded::new(4 * BLOCK), Guarded::new(4 * BLOCK));
        for (name, _, kernel) in kernels.into_iter().filter(|kernel| kernel.1) {
            for blocks in 1..=4 {
                for place in places() {
                    let length = BLOCK * blocks;
                    let from = from_memory.at(place, length);
                    noise.fill(from);
                    let to_place =
                        if blocks % 2 == 0 { Place::AfterGuard(0) } else { Place::BeforeGuard };
                    let to = to_memory.output(to_place, length).as_mut_ptr();
                    let arguments = [to as u64, from.as_ptr() as u64, blocks as u64];
                    // SAFETY: the features were checked; both are as long as the contract says, and `to` is
                    // a multiple of 16 KB away from a page.
                    let left = unsafe { watched(kernel as *const (), &arguments) };
                    assert!(left.is_ok(), "{name}: {left:?}");
                    assert!(to_memory.at(to_place, length) == from, "{name}: {blocks} {place:?}");
                    assert!(to_memory.is_intact_around(to_place, length), "{name}: {blocks}");
                }
            }
        }
    }
}
