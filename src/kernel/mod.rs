//! CPU kernels: one safe function per job, the only door to asm/.
//!
//! Each job has a reference in plain Rust (`scalar`) that says what it does; every other implementation
//! gives the same result on every input. A [`Kernels`] table holds one implementation per job. The table in
//! use is chosen once per process, from what the CPU has and the system saves, capped by the environment
//! variable `NEUROHTTP_CPU` (`scalar`, `sse42`, `avx2`, `avx512`), and only after it has passed a self-test
//! against the reference; one that fails it is left for the next lower level, and [`report`] says so.
//!
//! What is not here: anything that knows a protocol. A kernel sees bytes.
//!
//! How to add one: asm/README.md. Tests: tests/kernels, at every level the CPU has.

mod cpu;
pub mod head;
pub mod json;
mod prefetch;
mod report;
mod scalar;
mod self_test;
#[cfg(all(nh_asm, not(miri)))]
mod x86_64;

pub use cpu::{CpuLevel, Features};
pub use prefetch::prefetch;
pub use report::{JobReport, Rejected, Report};

use std::sync::OnceLock;

/// Adds bytes to a checksum: (sum of what came before, bytes) to the new sum.
pub type CrcUpdate = fn(u32, &[u8]) -> u32;

/// Appends the escaped inside of a JSON string: (output, text).
pub type JsonEscape = fn(&mut Vec<u8>, &[u8]);

/// Whether bytes are UTF-8 (RFC 3629).
pub type IsUtf8 = fn(&[u8]) -> bool;

/// Copies memory of one length that does not overlap: (to, from).
pub type Copy = fn(&mut [u8], &[u8]);

/// One implementation of a job.
#[derive(Debug, Clone, Copy)]
pub struct Job<F> {
    /// Who does it: `rust`, `nasm` with its instruction set, or the name of a crate.
    pub implementation: &'static str,
    /// The function itself.
    pub call: F,
}

/// One implementation for each job, all within one [`CpuLevel`].
#[derive(Debug, Clone, Copy)]
pub struct Kernels {
    /// No implementation in this table goes beyond it.
    pub level: CpuLevel,
    /// Copying large memory.
    pub copy: Job<Copy>,
    /// CRC-32 (IEEE), as in zlib, gzip and PNG.
    pub crc32: Job<CrcUpdate>,
    /// CRC-32C (Castagnoli), as in iSCSI, ext4 and gRPC.
    pub crc32c: Job<CrcUpdate>,
    /// Index of an HTTP header section: see [`head`].
    pub head_index: Job<head::HeadIndex>,
    /// Escaping of JSON strings.
    pub json_escape: Job<JsonEscape>,
    /// Structural index of JSON: see [`json`].
    pub json_index: Job<json::JsonIndex>,
    /// Whether bytes are UTF-8.
    pub is_utf8: Job<IsUtf8>,
}

/// The implementation that is the specification.
const REFERENCE: &str = "rust";

const fn reference<F>(call: F) -> Job<F> {
    Job { implementation: REFERENCE, call }
}

#[cfg(all(nh_asm, not(miri)))]
const fn kernel<F>(implementation: &'static str, call: F) -> Job<F> {
    Job { implementation, call }
}

impl Kernels {
    /// The table of a level on a CPU with these features, which must reach that level.
    ///
    /// The ladder: the reference first, then each step replaces what it does better.
    fn build(level: CpuLevel, features: Features) -> Kernels {
        let mut table = Kernels {
            level,
            copy: reference(scalar::copy::copy),
            crc32: reference(scalar::crc32::crc32_update),
            crc32c: reference(scalar::crc32::crc32c_update),
            head_index: reference(scalar::head_index::head_index),
            json_escape: reference(scalar::json_escape::json_escape),
            json_index: reference(scalar::json_index::json_index),
            is_utf8: reference(scalar::utf8::is_utf8),
        };
        if level < CpuLevel::Sse42 {
            return table;
        }
        table.crc32 = Job { implementation: "crc32fast", call: crc32fast_update };
        #[cfg(all(nh_asm, not(miri)))]
        table.raise_to_assembly(features);
        #[cfg(not(all(nh_asm, not(miri))))]
        let _ = features;
        table
    }

    #[cfg(all(nh_asm, not(miri)))]
    fn raise_to_assembly(&mut self, features: Features) {
        use x86_64::{copy, crc32, head_index, json_escape, json_index, utf8};
        let clmul = features.pclmulqdq();
        self.copy = kernel("nasm sse2, libc below the last cache", copy::sse42);
        if clmul {
            self.crc32 = kernel("nasm sse4.2 pclmulqdq", crc32::ieee_sse42);
            self.crc32c = kernel("nasm sse4.2 pclmulqdq", crc32::castagnoli_sse42);
        }
        if self.level < CpuLevel::Avx2 {
            return;
        }
        self.copy = kernel("nasm avx2, libc below the last cache", copy::avx2);
        if clmul {
            self.json_index = kernel("nasm avx2", json_index::avx2);
        }
        self.head_index = kernel("nasm avx2", head_index::avx2);
        self.json_escape = kernel("nasm avx2", json_escape::avx2);
        self.is_utf8 = kernel("nasm avx2", utf8::avx2);
        if clmul && features.vpclmulqdq() {
            self.crc32 = kernel("nasm avx2 vpclmulqdq", crc32::ieee_avx2);
            self.crc32c = kernel("nasm avx2 vpclmulqdq", crc32::castagnoli_avx2);
        }
        if self.level < CpuLevel::Avx512 {
            return;
        }
        if clmul && features.vpclmulqdq() {
            self.crc32 = kernel("nasm avx512 vpclmulqdq", crc32::ieee_avx512);
            self.crc32c = kernel("nasm avx512 vpclmulqdq", crc32::castagnoli_avx512);
        }
        self.copy = kernel("nasm avx512, libc below the last cache", copy::avx512);
        if clmul {
            self.json_index = kernel("nasm avx512", json_index::avx512);
        }
        self.head_index = kernel("nasm avx512", head_index::avx512);
        if features.avx512vbmi2() {
            self.head_index = kernel("nasm avx512 vbmi2", head_index::vbmi2);
            if clmul {
                self.json_index = kernel("nasm avx512 vbmi2", json_index::vbmi2);
            }
        }
        self.is_utf8 = kernel("nasm avx512", utf8::avx512);
    }

    /// Who does each job, in a fixed order.
    fn jobs(&self) -> Vec<JobReport> {
        [
            ("copy", self.copy.implementation),
            ("crc32", self.crc32.implementation),
            ("crc32c", self.crc32c.implementation),
            ("head_index", self.head_index.implementation),
            ("json_escape", self.json_escape.implementation),
            ("json_index", self.json_index.implementation),
            ("is_utf8", self.is_utf8.implementation),
        ]
        .map(|(job, implementation)| JobReport { job, implementation })
        .to_vec()
    }
}

/// CRC-32 where assembly is missing: the crate detects and uses what the CPU has.
fn crc32fast_update(crc: u32, data: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(crc);
    hasher.update(data);
    hasher.finalize()
}

/// What was found and chosen, once.
struct Chosen {
    table: Kernels,
    report: Report,
}

/// The process-wide choice: written once, never changed (documented exception to "no global state").
static CHOSEN: OnceLock<Chosen> = OnceLock::new();

fn chosen() -> &'static Chosen {
    CHOSEN.get_or_init(|| {
        let cap =
            std::env::var_os("NEUROHTTP_CPU").map(|value| value.to_string_lossy().into_owned());
        choose(Features::detect(), cap, Kernels::build)
    })
}

/// Chooses the highest table within the cap that passes the self-test.
fn choose(
    features: Features,
    cap_text: Option<String>,
    build: fn(CpuLevel, Features) -> Kernels,
) -> Chosen {
    let cap = cap_text.as_deref().and_then(CpuLevel::from_name);
    let level_max = features.level().min(cap.unwrap_or(CpuLevel::Avx512));
    let mut rejected = Vec::new();
    for level in CpuLevel::ALL.into_iter().rev().filter(|&level| level <= level_max) {
        let table = build(level, features);
        match self_test::run(&table) {
            Ok(()) => {
                let report = Report::new(features, cap_text, &table, rejected);
                return Chosen { table, report };
            }
            Err(job) => rejected.push(Rejected { level, job }),
        }
    }
    // Not even the reference gave its own published values. Nothing better is left to run.
    let table = build(CpuLevel::Scalar, features);
    let report = Report::new(features, cap_text, &table, rejected);
    Chosen { table, report }
}

/// The table in use. The first call chooses it, in well under a millisecond.   [any-thread]
pub fn table() -> &'static Kernels {
    &chosen().table
}

/// The level of the table in use.
pub fn level() -> CpuLevel {
    table().level
}

/// What the CPU has, what was chosen and why: for `neurohttp kernels`, the log and /stats.
pub fn report() -> &'static Report {
    &chosen().report
}

/// A table of its own for a level, for tests and benchmarks; `None` where the CPU does not reach it.
pub fn at(level: CpuLevel) -> Option<Kernels> {
    let features = Features::detect();
    (level <= features.level()).then(|| Kernels::build(level, features))
}

/// Below this the system's memcpy is the best there is, and no table is asked.
pub const COPY_LARGE_MIN: usize = 4 << 20;

/// Copies `from` to `to`. What is too large for the caches goes past them.
///
/// # Panics
/// When the lengths differ.
#[inline(always)]
pub fn copy(to: &mut [u8], from: &[u8]) {
    if from.len() < COPY_LARGE_MIN {
        to.copy_from_slice(from);
    } else {
        copy_large(to, from);
    }
}

/// Apart, so that a short copy costs no more than the call of memcpy.
#[cold]
#[inline(never)]
fn copy_large(to: &mut [u8], from: &[u8]) {
    (table().copy.call)(to, from);
}

/// CRC-32 (IEEE, as zlib) of `data`.
pub fn crc32(data: &[u8]) -> u32 {
    crc32_update(0, data)
}

/// Adds `data` to the CRC-32 (IEEE, as zlib) `crc` of what came before; 0 begins a new sum.
pub fn crc32_update(crc: u32, data: &[u8]) -> u32 {
    (table().crc32.call)(crc, data)
}

/// CRC-32C (Castagnoli, RFC 3720 appendix B.4) of `data`.
pub fn crc32c(data: &[u8]) -> u32 {
    crc32c_update(0, data)
}

/// Adds `data` to the CRC-32C `crc` of what came before; 0 begins a new sum.
pub fn crc32c_update(crc: u32, data: &[u8]) -> u32 {
    (table().crc32c.call)(crc, data)
}

/// Indexes the header section that `data` begins with, at position `first`; `false`, and nothing done, where
/// only the reference is there or too little data, so that a parser that goes byte by byte is faster.
#[inline]
pub fn head_index(data: &[u8], first: u32, marks: &mut head::Marks) -> bool {
    let job = table().head_index;
    if data.len() < head::LENGTH_MIN || job.implementation == REFERENCE {
        return false;
    }
    (job.call)(data, first, marks);
    true
}

/// Appends `text` to `out` as the inside of a JSON string: quote, backslash and control characters escaped
/// (RFC 8259 section 7), all else as it is; no quotes around it. Reserves up to 12 KiB more than it fills.
pub fn json_escape(out: &mut Vec<u8>, text: &[u8]) {
    (table().json_escape.call)(out, text)
}

/// Whether `data` is UTF-8 (RFC 3629).
pub fn is_utf8(data: &[u8]) -> bool {
    (table().is_utf8.call)(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    // A cap above the CPU, an unknown word or none at all leave the CPU's own level; a lower one binds.
    #[test]
    fn cap_binds_downwards_only() {
        let features = Features::detect();
        let check = |cap: Option<&str>, expected: CpuLevel| {
            let chosen = choose(features, cap.map(str::to_owned), Kernels::build);
            assert_eq!(chosen.table.level, expected, "{cap:?}");
            assert!(chosen.report.rejected().is_empty(), "{cap:?}: {}", chosen.report);
        };
        check(None, features.level());
        check(Some("avx512"), features.level());
        check(Some("turbo"), features.level());
        check(Some("scalar"), CpuLevel::Scalar);
        check(Some("sse42"), features.level().min(CpuLevel::Sse42));
    }

    // A kernel that computes something else must not be used, and the operator must learn of it.
    #[test]
    fn a_failing_level_falls_back() {
        let features = Features::detect();
        if features.level() == CpuLevel::Scalar {
            return;
        }
        let chosen = choose(features, None, |level, features| {
            let mut table = Kernels::build(level, features);
            if level == features.level() {
                table.is_utf8 = Job { implementation: "broken", call: |_| true };
            }
            table
        });
        assert!(chosen.table.level < features.level());
        assert_ne!(chosen.table.is_utf8.implementation, "broken");
        let failed = format!("is_utf8 FAILED at level {}", features.level());
        assert_eq!(chosen.report.self_test(), failed);
        assert!(chosen.report.to_string().contains(&failed), "{}", chosen.report);
    }

    // A table must never name a level the CPU lacks.
    #[test]
    fn forced_levels_stop_at_the_cpu() {
        for level in CpuLevel::ALL {
            match at(level) {
                Some(table) => assert_eq!(table.level, level),
                None => assert!(level > Features::detect().level()),
            }
        }
    }
}
