//! CRC-32 (IEEE) and CRC-32C: every level against the reference; the first also against crc32fast.

use crate::harness::guard::Guarded;
use crate::harness::noise::Noise;
use crate::harness::{LENGTH_EACH_MAX, Place, places, reference, tables};

/// Random lengths go up to this: several turns of the widest loop, and a partial page.
const LENGTH_MAX: usize = 70_000;

// A kernel that reads outside its input, or whose sum depends on alignment or length, would corrupt gzip
// and PNG data silently.
#[test]
fn equals_the_reference() {
    let mut noise = Noise::new();
    let seed = noise.seed();
    let data = noise.bytes(LENGTH_EACH_MAX);
    let mut memory = Guarded::new(LENGTH_EACH_MAX);
    let reference = reference();
    for table in tables() {
        for length in 0..=LENGTH_EACH_MAX {
            let start = noise.next() as u32;
            let expected = (reference.crc32.call)(start, &data[..length]);
            let castagnoli = (reference.crc32c.call)(start, &data[..length]);
            for place in places() {
                let found = (table.crc32.call)(start, memory.put(place, &data[..length]));
                let level = table.level;
                assert_eq!(found, expected, "crc32 {level} seed {seed}: {length} bytes {place:?}");
                let found = (table.crc32c.call)(start, memory.put(place, &data[..length]));
                assert_eq!(
                    found, castagnoli,
                    "crc32c {level} seed {seed}: {length} bytes {place:?}"
                );
            }
        }
    }
}

#[test]
fn equals_the_reference_on_long_input() {
    let mut noise = Noise::new();
    let seed = noise.seed();
    let mut memory = Guarded::new(LENGTH_MAX);
    let reference = reference();
    for round in 0..40 {
        let length = noise.below(LENGTH_MAX);
        let data = noise.bytes(length);
        let place = Place::AfterGuard(noise.below(64));
        let place = if round % 2 == 0 { Place::BeforeGuard } else { place };
        let start = noise.next() as u32;
        let data = memory.put(place, &data);
        let expected = (reference.crc32.call)(start, data);
        let mut oracle = crc32fast::Hasher::new_with_initial(start);
        oracle.update(data);
        assert_eq!(expected, oracle.finalize(), "crc32 reference seed {seed}: {length} bytes");
        for table in tables() {
            let found = (table.crc32.call)(start, data);
            let level = table.level;
            assert_eq!(found, expected, "crc32 {level} seed {seed}: {length} bytes {place:?}");
            let found = (table.crc32c.call)(start, data);
            let expected = (reference.crc32c.call)(start, data);
            assert_eq!(found, expected, "crc32c {level} seed {seed}: {length} bytes {place:?}");
        }
    }
}

#[cfg(nh_asm)]
mod raw {
    use super::*;
    use crate::harness::call::watched;
    use neurohttp::kernel::{CpuLevel, Features};

    type Raw = unsafe extern "C" fn(u32, *const u8, usize) -> u32;

    unsafe extern "C" {
        fn nh_crc32_sse42(crc: u32, data: *const u8, length: usize) -> u32;
        fn nh_crc32_avx2(crc: u32, data: *const u8, length: usize) -> u32;
        fn nh_crc32_avx512(crc: u32, data: *const u8, length: usize) -> u32;
        fn nh_crc32c_sse42(crc: u32, data: *const u8, length: usize) -> u32;
        fn nh_crc32c_avx2(crc: u32, data: *const u8, length: usize) -> u32;
        fn nh_crc32c_avx512(crc: u32, data: *const u8, length: usize) -> u32;
    }

    // A kernel that loses a callee-saved register breaks its caller far away from here.
    #[test]
    fn keeps_the_calling_convention() {
        let has = Features::detect();
        let clmul = has.sse42() && has.pclmulqdq();
        let wide = has.avx2() && has.vpclmulqdq() && clmul;
        let widest = wide && has.level() >= CpuLevel::Avx512;
        let reference = reference();
        let (ieee, castagnoli) = (reference.crc32.call, reference.crc32c.call);
        type Reference = fn(u32, &[u8]) -> u32;
        // Name, whether this CPU has what it needs, the least length, kernel and reference.
        let kernels: [(&str, bool, usize, Raw, Reference); 6] = [
            ("crc32 sse42", clmul, 16, nh_crc32_sse42, ieee),
            ("crc32 avx2", wide, 16, nh_crc32_avx2, ieee),
            ("crc32 avx512", widest, 256, nh_crc32_avx512, ieee),
            ("crc32c sse42", clmul, 16, nh_crc32c_sse42, castagnoli),
            ("crc32c avx2", wide, 16, nh_crc32c_avx2, castagnoli),
            ("crc32c avx512", widest, 256, nh_crc32c_avx512, castagnoli),
        ];
        let mut noise = Noise::new();
        let seed = noise.seed();
        let data = noise.bytes(5000);
        for (name, _, least, kernel, reference) in kernels.into_iter().filter(|kernel| kernel.1) {
            for length in (least..LENGTH_EACH_MAX)
                .chain([511, 512, 513, 1000, 1023, 1024, 1279, 1280, 1500, 1600, 1900, 5000])
            {
                let start = noise.next();
                let arguments = [start, data.as_ptr() as u64, length as u64];
                // SAFETY: the features were checked; the data is readable, as much as the kernel needs. The
                // upper half of the 32-bit argument is garbage on purpose.
                let found = unsafe { watched(kernel as *const (), &arguments) };
                let expected = reference(start as u32, &data[..length]);
                let found = found.map(|value| value as u32);
                assert_eq!(found, Ok(expected), "{name} seed {seed}: {length} bytes");
            }
        }
    }
}
