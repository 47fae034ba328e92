//! What the CPU and the operating system support.
//!
//! A vector extension counts only when the system saves its registers (XCR0); CPUID alone does not say so.

use std::fmt;

/// How far the kernels of a table may go. Each level includes the ones before it.
///
/// The order is meaningful: a cap keeps every level at or below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CpuLevel {
    /// Plain Rust: the reference of every job.
    Scalar,
    /// SSE4.2 with SSSE3 and POPCNT.
    Sse42,
    /// AVX2 with BMI1, BMI2 and LZCNT.
    Avx2,
    /// AVX-512 F, BW, DQ, VL and CD.
    Avx512,
}

impl CpuLevel {
    /// Every level, the lowest first.
    pub const ALL: [CpuLevel; 4] =
        [CpuLevel::Scalar, CpuLevel::Sse42, CpuLevel::Avx2, CpuLevel::Avx512];

    /// The name used in `NEUROHTTP_CPU`, in reports and by `nh_cpu_level`.
    pub const fn name(self) -> &'static str {
        match self {
            CpuLevel::Scalar => "scalar",
            CpuLevel::Sse42 => "sse42",
            CpuLevel::Avx2 => "avx2",
            CpuLevel::Avx512 => "avx512",
        }
    }

    /// The level of that name; `None` for any other text.
    pub fn from_name(name: &str) -> Option<CpuLevel> {
        CpuLevel::ALL.into_iter().find(|level| level.name() == name)
    }
}

impl fmt::Display for CpuLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Generates the set of CPU features the kernels ask about, with their names for reports.
macro_rules! features {
    ($($bit:expr, $field:ident, $name:literal;)*) => {
        /// The CPU features that kernels ask about. All are absent on other CPUs than x86-64.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Features(u32);

        impl Features {
            $(
                #[doc = concat!("Whether ", $name, " is there and saved by the system.")]
                pub const fn $field(self) -> bool {
                    self.0 & (1 << $bit) != 0
                }
            )*

            /// The names of the features found, in a fixed order.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                [$(($bit, $name)),*]
                    .into_iter()
                    .filter(move |(bit, _)| self.0 & (1 << bit) != 0)
                    .map(|(_, name)| name)
            }
        }
    };
}

features! {
    0, ssse3, "ssse3";
    1, sse42, "sse4.2";
    2, popcnt, "popcnt";
    3, pclmulqdq, "pclmulqdq";
    4, avx2, "avx2";
    5, bmi1, "bmi1";
    6, bmi2, "bmi2";
    7, lzcnt, "lzcnt";
    8, vpclmulqdq, "vpclmulqdq";
    9, avx512f, "avx512f";
    10, avx512bw, "avx512bw";
    11, avx512dq, "avx512dq";
    12, avx512vl, "avx512vl";
    13, avx512cd, "avx512cd";
    14, avx512vbmi, "avx512vbmi";
    15, avx512vbmi2, "avx512vbmi2";
    16, erms, "erms";
    17, fsrm, "fsrm";
}

impl Features {
    /// Asks the CPU. Costs a few hundred cycles, more under a hypervisor: called once.
    pub fn detect() -> Features {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        return x86::detect();
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        Features::default()
    }

    /// The highest level these features allow.
    pub const fn level(self) -> CpuLevel {
        if !(self.sse42() && self.ssse3() && self.popcnt()) {
            return CpuLevel::Scalar;
        }
        if !(self.avx2() && self.bmi1() && self.bmi2() && self.lzcnt()) {
            return CpuLevel::Sse42;
        }
        let foundation = self.avx512f() && self.avx512bw() && self.avx512dq();
        if foundation && self.avx512vl() && self.avx512cd() {
            CpuLevel::Avx512
        } else {
            CpuLevel::Avx2
        }
    }
}

/// Bytes of the largest cache that this CPU names, `None` where it names none.
#[cfg(all(nh_asm, not(miri)))]
pub(super) fn last_cache_bytes() -> Option<usize> {
    x86::last_cache_bytes()
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86 {
    use super::Features;
    use std::arch::x86_64::{__cpuid_count, _xgetbv, CpuidResult};

    /// XCR0 bits: SSE and AVX state.
    const XCR0_AVX: u64 = 0x06;
    /// XCR0 bits: the above, mask registers, upper halves of zmm0-15, zmm16-31.
    const XCR0_AVX512: u64 = 0xe6;

    #[target_feature(enable = "xsave")]
    fn xcr0() -> u64 {
        // SAFETY: XGETBV with index 0 is defined wherever CPUID reports OSXSAVE, which the caller checked.
        unsafe { _xgetbv(0) }
    }

    /// The registers of one CPUID leaf.
    #[allow(
        unused_unsafe,
        reason = "CPUID became a safe function after the oldest Rust we support"
    )]
    fn cpuid(leaf: u32, sub_leaf: u32) -> CpuidResult {
        // SAFETY: CPUID exists on every x86-64 CPU.
        unsafe { __cpuid_count(leaf, sub_leaf) }
    }

    pub(super) fn detect() -> Features {
        // Bit positions: Intel SDM volume 2A, "CPUID"; AMD APM volume 3, appendix E.
        let leaf_max = cpuid(0, 0).eax;
        let basic = cpuid(1, 0);
        let extended = if leaf_max >= 7 { Some(cpuid(7, 0)) } else { None };
        let (ebx7, ecx7, edx7) = extended.map_or((0, 0, 0), |leaf| (leaf.ebx, leaf.ecx, leaf.edx));
        let amd_ecx =
            if cpuid(0x8000_0000, 0).eax > 0x8000_0000 { cpuid(0x8000_0001, 0).ecx } else { 0 };

        let xcr0 = if bit(basic.ecx, 27) {
            // SAFETY: OSXSAVE (leaf 1, ECX bit 27) says that XSAVE and XGETBV are enabled.
            unsafe { xcr0() }
        } else {
            0
        };
        let avx = bit(basic.ecx, 28) && xcr0 & XCR0_AVX == XCR0_AVX;
        let avx512 = avx && xcr0 & XCR0_AVX512 == XCR0_AVX512;

        let found = [
            bit(basic.ecx, 9),
            bit(basic.ecx, 20),
            bit(basic.ecx, 23),
            bit(basic.ecx, 1),
            avx && bit(ebx7, 5),
            avx && bit(ebx7, 3),
            avx && bit(ebx7, 8),
            bit(amd_ecx, 5),
            avx && bit(ecx7, 10),
            avx512 && bit(ebx7, 16),
            avx512 && bit(ebx7, 30),
            avx512 && bit(ebx7, 17),
            avx512 && bit(ebx7, 31),
            avx512 && bit(ebx7, 28),
            avx512 && bit(ecx7, 1),
            avx512 && bit(ecx7, 6),
            bit(ebx7, 9),
            bit(edx7, 4),
        ];
        Features(found.iter().enumerate().fold(0, |set, (at, &is)| set | (u32::from(is) << at)))
    }

    /// Intel SDM volume 2A, CPUID leaf 4; AMD APM volume 3, appendix E, leaf 0x8000001D: one cache a sub-leaf,
    /// in the same form.
    #[cfg(nh_asm)]
    pub(super) fn last_cache_bytes() -> Option<usize> {
        let leaves = [(0, 4), (0x8000_0000, 0x8000_001d)];
        let leaves = leaves.into_iter().filter(|&(base, leaf)| cpuid(base, 0).eax >= leaf);
        let caches = leaves.flat_map(|(_, leaf)| (0..8).map(move |index| cpuid(leaf, index)));
        // The five lowest bits are the kind of the cache; 0 is none.
        let sizes = caches.filter(|cache| cache.eax & 0x1f != 0).map(|cache| {
            let [ways, partitions, line] =
                [cache.ebx >> 22, cache.ebx >> 12 & 0x3ff, cache.ebx & 0xfff];
            [ways, partitions, line, cache.ecx]
                .iter()
                .fold(1, |product: usize, &less_one| product.saturating_mul(less_one as usize + 1))
        });
        sizes.max()
    }

    fn bit(register: u32, index: u32) -> bool {
        register >> index & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A wrong bit position would send a kernel to a CPU that cannot run it.
    #[test]
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    fn agrees_with_the_standard_library() {
        let found = Features::detect();
        let expected = [
            (found.ssse3(), is_x86_feature_detected!("ssse3")),
            (found.sse42(), is_x86_feature_detected!("sse4.2")),
            (found.popcnt(), is_x86_feature_detected!("popcnt")),
            (found.pclmulqdq(), is_x86_feature_detected!("pclmulqdq")),
            (found.avx2(), is_x86_feature_detected!("avx2")),
            (found.bmi1(), is_x86_feature_detected!("bmi1")),
            (found.bmi2(), is_x86_feature_detected!("bmi2")),
            (found.lzcnt(), is_x86_feature_detected!("lzcnt")),
            (found.vpclmulqdq(), is_x86_feature_detected!("vpclmulqdq")),
            (found.avx512f(), is_x86_feature_detected!("avx512f")),
            (found.avx512bw(), is_x86_feature_detected!("avx512bw")),
            (found.avx512dq(), is_x86_feature_detected!("avx512dq")),
            (found.avx512vl(), is_x86_feature_detected!("avx512vl")),
            (found.avx512cd(), is_x86_feature_detected!("avx512cd")),
            (found.avx512vbmi(), is_x86_feature_detected!("avx512vbmi")),
            (found.avx512vbmi2(), is_x86_feature_detected!("avx512vbmi2")),
        ];
        for (index, (ours, theirs)) in expected.into_iter().enumerate() {
            assert_eq!(ours, theirs, "feature {index}");
        }
    }

    // Levels are ordered and their names go both ways: NEUROHTTP_CPU depends on both.
    #[test]
    fn level_names() {
        for pair in CpuLevel::ALL.windows(2) {
            assert!(pair[0] < pair[1]);
        }
        for level in CpuLevel::ALL {
            assert_eq!(CpuLevel::from_name(level.name()), Some(level));
        }
        assert_eq!(CpuLevel::from_name("AVX2"), None);
        assert_eq!(CpuLevel::from_name(""), None);
    }

    // One missing feature keeps the level down.
    #[test]
    fn level_needs_all_its_features() {
        assert_eq!(Features(0).level(), CpuLevel::Scalar);
        assert_eq!(Features(0b111).level(), CpuLevel::Sse42);
        assert_eq!(Features(0b101).level(), CpuLevel::Scalar);
        assert_eq!(Features(0b1111_0111).level(), CpuLevel::Avx2);
        assert_eq!(Features(0b0111_0111).level(), CpuLevel::Sse42);
        assert_eq!(Features(0x3e00 | 0b1111_0111).level(), CpuLevel::Avx512);
        assert_eq!(Features(0x1e00 | 0b1111_0111).level(), CpuLevel::Avx2);
    }
}
